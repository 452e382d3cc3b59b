"""Counting the answers of a network under errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reliability.cli.guards import exit_2_on_bad_input, exit_2_on_refusal
from reliability.cli.inputs import given, programming_at
from reliability.cli.network_inputs import network_options
from reliability.cli.options import (
    ChipsOption,
    ImageChoices,
    OffsetOption,
    Output,
    SecondOption,
    SimulationChoices,
    ThresholdOption,
    opened,
    option,
)

if TYPE_CHECKING:
    import xarray as xr

    from bnn.evaluation.precision import Precision
    from bnn.images.sets import ImageSet
    from bnn.networks.network import FoldedNetwork
    from reliability.networks.plan import EvaluationPlan

network_commands = typer.Typer()


@dataclass(frozen=True)
class CellChoices:
    """Cells of a fitted device, programmed and read."""

    programming: list[str] | None = option(
        metavar="VALUE",
        help="With --device: programming value, SI or with its unit: 24uA. Repeatable.",
    )
    second: SecondOption = None
    scheme: str | None = option(help="With --device: 1T1R (default) or 2T2R.")
    one_is: str | None = option(help="With --device: state of the weight +1, LRS or HRS.")
    scrambled: bool = option(
        "--scrambled",
        default=False,
        help="With --device: about half of the weights are stored inverted, by a known "
        "pseudo-random mask that is undone at reading.",
    )
    threshold_ohm: ThresholdOption = None
    offset_ln_r: OffsetOption = None


@dataclass(frozen=True)
class ErrorChoices:
    """Where the errors of the weights come from."""

    errors: Path | None = option(
        help="TOML file of cases of errors (docs/errors.md): unequal flips, stuck cells, "
        "faulty lines, read errors, protected layers. Without it: a grid of BER."
    )
    device: Path | None = option(
        help="Directory written by `fit`: every cell gets a resistance from the posterior and "
        "is sensed, one posterior draw for each chip."
    )
    cells: CellChoices = CellChoices()
    protect: list[str] | None = option(
        help="Layer whose weights stay exact, e.g. output. Repeatable."
    )

    def plan(self, network: FoldedNetwork, images: ImageSet, *, seed: int) -> EvaluationPlan:
        """What is counted: a device, cases of errors, or a grid of BER.

        Raises
        ------
        ValueError
            Options that do not go together, or files that cannot be used.
        """
        from bnn.errors.files import read_error_cases
        from reliability.networks.direct_route import ProgrammedCells
        from reliability.networks.plan import direct_plan, errors_plan, rates_plan
        from reliability.networks.study import BER_GRID

        protected, cells = frozenset(self.protect or []), self.cells
        said = [
            name
            for name, value in vars(cells).items()
            if value not in (None, []) and value is not False
        ]
        if self.device is None and said:
            name = "--" + said[0].replace("_", "-")
            raise ValueError(f"{name} goes with --device; name the directory written by `fit`")
        if self.device is not None and self.errors is not None:
            raise ValueError("--device and --errors are two sources of errors; give one of them")
        if self.errors is not None:
            if self.protect:
                raise ValueError(
                    f"--protect {self.protect[0]} goes without --errors; write protected in the "
                    "file"
                )
            return errors_plan(network, images, read_error_cases(self.errors), seed=seed)
        if self.device is None:
            return rates_plan(network, images, BER_GRID, seed=seed, protected=protected)
        from reliability.decision.second_variable import at_one_second
        from reliability.device.files import load_study

        study = at_one_second(load_study(self.device), cells.second)
        frame = study.main.frame
        if not cells.programming and not frame.is_single:
            raise ValueError(
                "--device needs --programming X: the value that chips are programmed at"
            )
        programmed = [
            programming_at(text, frame, "--programming") for text in cells.programming or []
        ] or [frame.low]
        stored = ProgrammedCells(
            study.main,
            programmed,
            "1T1R" if cells.scheme is None else cells.scheme,
            study.sensing(cells.threshold_ohm, cells.offset_ln_r),
            "LRS" if cells.one_is is None else cells.one_is,
            cells.scrambled,
            protected,
        )
        return direct_plan(network, images, stored, seed=seed)


@dataclass(frozen=True)
class CountChoices:
    """How many chips are counted, on how many images."""

    chips: ChipsOption = None
    unequal_chips: int | None = option(
        min=0,
        help="Over the grid of BER: chips that are also counted with unequal rates of stored "
        "ones and zeros, 50 unless said; 0: none. A decision needs them where the two states "
        "of the device fail at different rates.",
    )
    extend: Path | None = option(
        help="Earlier table of the same evaluation: its chips are taken over."
    )
    standard_error: float | None = option(
        help="Stop once the mean accuracy loss has this standard error (a fraction); "
        "--chips is then the most."
    )
    question: str | None = option(
        help="With --standard-error: of the mean loss on this test-set (default), or of the "
        "population that it came from."
    )
    least_images: int | None = option(
        help="With --standard-error: begin with so many random images and take more as needed."
    )

    def precision(self, chips: int, images: ImageSet) -> Precision | None:
        """When to stop; None after a number of chips.

        Raises
        ------
        ValueError
            Options that do not go together, or more images than the set has.
        """
        from bnn.evaluation.precision import Precision

        if self.standard_error is None:
            for name, value in (
                ("--question", self.question),
                ("--least-images", self.least_images),
            ):
                if value is not None:
                    raise ValueError(
                        f"{name} {value} goes with --standard-error; give one, or drop it"
                    )
            return None
        if self.extend is not None:
            raise ValueError("--extend goes with a number of --chips, not with --standard-error")
        count = len(images.test_images)
        if self.least_images is not None and self.least_images > count:
            raise ValueError(
                f"--least-images {self.least_images}: {images.name} has {count} test images; "
                "give no more"
            )
        known = {"test-set": "test set", "population": "population"}
        if self.question is not None and self.question not in known:
            raise ValueError(
                f"--question {self.question!r} is not known; known: {', '.join(known)}"
            )
        return Precision(
            self.standard_error,
            chips,
            **given(question=known.get(self.question or ""), least_images=self.least_images),
        )


@dataclass(frozen=True)
class EngineChoices:
    """What counts, and the memory that it may take."""

    engine: str = option(
        default="auto", help="auto, incremental, packed or dense; the counts are the same."
    )
    memory: float = option(
        default=2.0, help="GB that the engine may take; images in parts if less."
    )

    def memory_bytes(self) -> int:
        """Bytes of so many GB."""
        if not 0 < self.memory <= 1e6:
            raise ValueError(
                f"--memory {self.memory}: give GB above 0, at most a million, such as 2"
            )
        return int(self.memory * 1e9)


@network_commands.command()
@opened
def evaluate(
    *,
    network: Annotated[Path, typer.Argument(help="Network written by `train`, or zoo:NAME.")],
    out: Annotated[Path, typer.Option(help="Table of counts to write (.nc).")],
    images: ImageChoices,
    source: ErrorChoices,
    counted: CountChoices,
    engine: EngineChoices,
    simulation: SimulationChoices,
    output: Output,
) -> None:
    """Count right answers of a network under errors, chip by chip."""
    from bnn.evaluation.runner import check_engine
    from reliability.networks.plan import memory_statement, outcome_lines, precision_lines
    from reliability.networks.records import open_network
    from reliability.networks.study import (
        Counting,
        counting_words,
        evaluate_network,
        save_counts,
    )
    from reliability.networks.treatments import treatment_of

    threads = simulation.threads
    with exit_2_on_bad_input():
        output.check_file(out, ".nc")
        folded, record = open_network(network)
        options = network_options(
            images.images,
            simulation.seed,
            threads,
            chips=counted.chips,
            unequal_chips=counted.unequal_chips,
        )
        if counted.unequal_chips and (source.errors is not None or source.device is not None):
            raise ValueError(
                "--unequal-chips goes with the grid of BER; --errors and --device have rates of "
                "their own, leave it out"
            )
        image_set = images.load([(network, folded, record)])
        check_engine(engine.engine)
        precision = counted.precision(options.chips, image_set)
        plan = source.plan(folded, image_set, seed=simulation.seed)
        limit, count = engine.memory_bytes(), len(image_set.test_images)
        step, taken = memory_statement(plan, folded, count, engine=engine.engine, memory=limit)
        table = None if counted.extend is None else _extended(counted.extend, options.chips)
    with output.file(out) as (stage, narrator):
        used = "the cheapest" if engine.engine == "auto" else engine.engine
        most = "up to " if precision is not None else ""
        chips = f"{options.chips} chips"
        if plan.unequal is not None:
            rates = len(plan.labels)
            chips = counting_words(folded, image_set, options, treatment_of(record), rates)
        narrator.say(
            f"evaluating {plan.words}: {most}{chips}, {used} engine, {step} images at a time, "
            f"{taken / 1e9:.2g} GB"
        )
        earlier = None
        if counted.extend is not None and table is not None:
            how = {"engine": engine.engine, "threads": threads, "memory": limit}
            # whether chips can be added is found out by counting one
            with exit_2_on_refusal():
                earlier = _earlier(counted.extend, table, plan, how)
        counting = Counting(engine.engine, limit, precision, earlier)
        study = evaluate_network(
            folded, image_set, options, record, plan=plan, counting=counting, tick=narrator.tick
        )
        save_counts(study, stage)
        if "seconds" in study.counts.attrs:
            narrator.say(f"counting took {study.counts.attrs['seconds']:.1f} s")
    for line in (*outcome_lines(plan, study.counts), *precision_lines(study.counts)):
        typer.echo(line)
    typer.echo(f"counts: {out}")


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
