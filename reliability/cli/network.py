"""Counting the answers of a network under errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reliability.cli.guards import exit_1_on_failure, exit_2_on_bad_input, refusing
from reliability.cli.inputs import given, programming_at
from reliability.cli.network_inputs import network_options
from reliability.cli.options import (
    ChipsOption,
    ImageChoices,
    OffsetOption,
    RunChoices,
    SecondOption,
    ThresholdOption,
    opened,
)
from reliability.networks.images import load_image_set

if TYPE_CHECKING:
    import xarray as xr

    from bnn.evaluation.precision import Precision
    from bnn.images.sets import ImageSet
    from bnn.networks.network import FoldedNetwork
    from reliability.networks.plan import EvaluationPlan

network_commands = typer.Typer()


@network_commands.command()
@opened
def evaluate(
    *,
    network: Annotated[Path, typer.Argument(help="Network written by `train`, or zoo:NAME.")],
    out: Annotated[Path, typer.Option(help="Table of counts to write (.nc).")],
    pictures: ImageChoices,
    errors: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of cases of errors (docs/errors.md): unequal flips, stuck cells, "
            "faulty lines, read errors, protected layers. Without it: a grid of BER."
        ),
    ] = None,
    device: Annotated[
        Path | None,
        typer.Option(
            help="Directory written by `fit`: every cell gets a resistance from the posterior and "
            "is sensed, one posterior draw for each chip."
        ),
    ] = None,
    programming: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VALUE",
            help="With --device: programming value, SI or with its unit: 24uA. Repeatable.",
        ),
    ] = None,
    second: SecondOption = None,
    scheme: Annotated[
        str | None, typer.Option(help="With --device: 1T1R (default) or 2T2R.")
    ] = None,
    one_is: Annotated[
        str | None,
        typer.Option("--one-is", help="With --device: state of the weight +1, LRS or HRS."),
    ] = None,
    scrambled: Annotated[
        bool,
        typer.Option(
            "--scrambled",
            help="With --device: about half of the weights are stored inverted, by a known "
            "pseudo-random mask that is undone at reading.",
        ),
    ] = False,
    threshold_ohm: ThresholdOption = None,
    offset_ln_r: OffsetOption = None,
    protect: Annotated[
        list[str] | None,
        typer.Option(help="Layer whose weights stay exact, e.g. output. Repeatable."),
    ] = None,
    chips: ChipsOption = None,
    unequal_chips: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Over the grid of BER: chips that are also counted with unequal rates of stored "
            "ones and zeros, 50 unless said; 0: none. A decision needs them where the two states "
            "of the device fail at different rates.",
        ),
    ] = None,
    extend: Annotated[
        Path | None,
        typer.Option(help="Earlier table of the same evaluation: its chips are taken over."),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="auto, incremental, packed or dense; the counts are the same.")
    ] = "auto",
    memory: Annotated[
        float,
        typer.Option("--memory", help="GB that the engine may take; images in parts if less."),
    ] = 2.0,
    standard_error: Annotated[
        float | None,
        typer.Option(
            help="Stop once the mean accuracy loss has this standard error (a fraction); "
            "--chips is then the most."
        ),
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(
            help="With --standard-error: of the mean loss on this test-set (default), or of the "
            "population that it came from."
        ),
    ] = None,
    least_images: Annotated[
        int | None,
        typer.Option(
            help="With --standard-error: begin with so many random images and take more as needed."
        ),
    ] = None,
    running: RunChoices,
) -> None:
    """Count right answers of a network under errors, chip by chip."""
    from bnn.evaluation.runner import check_engine
    from reliability.files.output import check_file, staged_file
    from reliability.files.progress import Narrator
    from reliability.networks.plan import memory_statement, outcome_lines, precision_lines
    from reliability.networks.records import open_network
    from reliability.networks.study import counting_words, evaluate_network, save_counts
    from reliability.networks.treatments import treatment_of

    of_device = given(
        programming=programming or None,
        second=second,
        scheme=scheme,
        one_is=one_is,
        threshold_ohm=threshold_ohm,
        offset_ln_r=offset_ln_r,
        scrambled=scrambled or None,
    )
    with exit_2_on_bad_input():
        check_file(out, force=running.force, suffix=".nc")
        folded, record = open_network(network)
        options = network_options(
            pictures.images, seed=running.seed, threads=running.threads, chips=chips
        )
        options = replace(options, **given(unequal_chips=unequal_chips))
        if unequal_chips and (errors is not None or device is not None):
            raise ValueError(
                "--unequal-chips goes with the grid of BER; --errors and --device have rates of "
                "their own, leave it out"
            )
        image_set = load_image_set(
            pictures.images, pictures.images_dir, pictures.download, [(network, folded, record)]
        )
        check_engine(engine)
        precision = _precision(standard_error, question, least_images, options.chips, extend)
        plan = _plan(folded, image_set, errors, device, of_device, protect or [], running.seed)
        limit, count = _bytes_of(memory), len(image_set.test_images)
        if least_images is not None and least_images > count:
            raise ValueError(
                f"--least-images {least_images}: {pictures.images} has {count} test images; give "
                "no more"
            )
        step, taken = memory_statement(plan, folded, count, engine=engine, memory=limit)
        table = None if extend is None else _extended(extend, options.chips)
    with (
        exit_1_on_failure(),
        staged_file(out, force=running.force) as stage,
        Narrator(quiet=running.quiet) as narrator,
    ):
        used = "the cheapest" if engine == "auto" else engine
        most = "up to " if precision is not None else ""
        counted = f"{options.chips} chips"
        if plan.unequal is not None:
            rates = len(plan.labels)
            counted = counting_words(folded, image_set, options, treatment_of(record), rates)
        narrator.say(
            f"evaluating {plan.words}: {most}{counted}, {used} engine, {step} images at a time, "
            f"{taken / 1e9:.2g} GB"
        )
        earlier = None
        if extend is not None and table is not None:
            how = {"engine": engine, "threads": running.threads, "memory": limit}
            # whether chips can be added is found out by counting one
            with refusing():
                earlier = _earlier(extend, table, plan, how)
        study = evaluate_network(
            folded,
            image_set,
            options,
            record,
            plan=plan,
            engine=engine,
            memory=limit,
            precision=precision,
            earlier=earlier,
            tick=narrator.tick,
        )
        save_counts(study, stage)
        if "seconds" in study.counts.attrs:
            narrator.say(f"counting took {study.counts.attrs['seconds']:.1f} s")
    for line in (*outcome_lines(plan, study.counts), *precision_lines(study.counts)):
        typer.echo(line)
    typer.echo(f"counts: {out}")


def _bytes_of(memory: float) -> int:
    """Bytes of so many GB."""
    if not 0 < memory <= 1e6:
        raise ValueError(f"--memory {memory}: give GB above 0, at most a million, such as 2")
    return int(memory * 1e9)


def _precision(
    standard_error: float | None,
    question: str | None,
    least_images: int | None,
    chips: int,
    extend: Path | None,
) -> Precision | None:
    """When to stop; None after a number of chips."""
    from bnn.evaluation.precision import Precision

    if standard_error is None:
        for name, value in (("--question", question), ("--least-images", least_images)):
            if value is not None:
                raise ValueError(f"{name} {value} goes with --standard-error; give one, or drop it")
        return None
    if extend is not None:
        raise ValueError("--extend goes with a number of --chips, not with --standard-error")
    known = {"test-set": "test set", "population": "population"}
    if question is not None and question not in known:
        raise ValueError(f"--question {question!r} is not known; known: {', '.join(known)}")
    return Precision(
        standard_error,
        chips,
        **given(question=known.get(question or ""), least_images=least_images),
    )


def _plan(
    network: FoldedNetwork,
    images: ImageSet,
    errors: Path | None,
    device: Path | None,
    of_device: dict[str, Any],
    protect: list[str],
    seed: int,
) -> EvaluationPlan:
    """What is counted: a device, cases of errors, or a grid of BER."""
    from bnn.errors.files import read_error_cases
    from reliability.networks.plan import direct_plan, errors_plan, rates_plan
    from reliability.networks.study import BER_GRID

    protected = frozenset(protect)
    if device is None and of_device:
        name = "--" + next(iter(of_device)).replace("_", "-")
        raise ValueError(f"{name} goes with --device; name the directory written by `fit`")
    if device is not None and errors is not None:
        raise ValueError("--device and --errors are two sources of errors; give one of them")
    if errors is not None:
        if protect:
            raise ValueError(
                f"--protect {protect[0]} goes without --errors; write protected in the file"
            )
        return errors_plan(network, images, read_error_cases(errors), seed=seed)
    if device is None:
        return rates_plan(network, images, BER_GRID, seed=seed, protected=protected)
    from reliability.decision.second_variable import at_one_second
    from reliability.device.files import load_study

    study = at_one_second(load_study(device), of_device.get("second"))
    frame = study.main.frame
    if "programming" not in of_device and not frame.is_single:
        raise ValueError("--device needs --programming X: the value that chips are programmed at")
    programmed = [
        programming_at(text, frame, "--programming") for text in of_device.get("programming", [])
    ] or [frame.low]
    return direct_plan(
        network,
        images,
        study.main,
        programmed,
        scheme=of_device.get("scheme", "1T1R"),
        one_is=of_device.get("one_is", "LRS"),
        scrambled=of_device.get("scrambled", False),
        sensing=study.sensing(of_device.get("threshold_ohm"), of_device.get("offset_ln_r")),
        seed=seed,
        protected=protected,
    )


def _extended(path: Path, chips: int) -> xr.Dataset:
    """Counts of an earlier table that further chips can be added to."""
    from reliability.networks.study import load_counts

    found = load_counts(path).counts
    have = found.sizes["chip"]
    if found["chip"].values.tolist() != list(range(have)) or "image_ranges" in found.attrs:
        raise ValueError(f"{path}: not a table of the chips from 0 on all images; give another")
    if have >= chips:
        raise ValueError(f"{path} holds {have} chips; ask for more with --chips")
    return found


def _earlier(path: Path, found: xr.Dataset, plan: EvaluationPlan, how: dict[str, Any]) -> Any:
    """An earlier table with one chip more, which shows that it can be added to."""
    from bnn.evaluation.evaluation import combine

    one = plan.count(chips=1, first_chip=found.sizes["chip"], **how)
    try:
        return combine(found, one)
    except ValueError as error:
        raise ValueError(f"{path}: not the same evaluation: {error}") from None
