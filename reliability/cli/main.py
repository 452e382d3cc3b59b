"""The ``rram-reliability`` command.

Exit codes: 0 done, 1 the job failed, 2 wrong use or bad input. A verdict that says no is done:
where nothing is safe, or a failed gate withholds the verdict, the results say so.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reliability.cli.decide import decision_commands
from reliability.cli.decision_inputs import (
    answer_from,
    confirming_with,
    decision_options,
    on_device,
)
from reliability.cli.device import device
from reliability.cli.guards import Stop, exit_1_on_failure, exit_2_on_bad_input, print_verdict
from reliability.cli.inputs import (
    chosen_models,
    data_warnings,
    given,
    prior_file,
    prior_warnings,
    read_input,
    sampler_options,
)
from reliability.cli.life import life
from reliability.cli.network import network_commands
from reliability.cli.network_inputs import (
    evaluated,
    load_networks,
    network_options,
    network_stems,
    study_networks,
    with_treatments,
)
from reliability.cli.networks import network_files
from reliability.cli.options import (
    ChipsOption,
    ConfirmChoices,
    DecisionChoices,
    EpochsOption,
    ForceOption,
    HiddenOption,
    ImageChoices,
    LivesOption,
    MeasurementsOption,
    ModelOption,
    PriorsOption,
    QuietOption,
    SamplingChoices,
    TableChoices,
    ThresholdsOption,
    opened,
)
from reliability.cli.train import training_commands
from reliability.files import interruption, output

if TYPE_CHECKING:
    from reliability.networks.study import NetworkStudy

NETWORK_FILES = (".safetensors", ".json", ".nc")
"""Suffixes of the files of a network and its counts."""

INTERRUPTED = 130
"""What Typer returns for an interrupted command."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From RRAM resistances to credible intervals for accuracy and energy saving of "
    "binarized neural networks.",
)


app.add_typer(device)
app.add_typer(decision_commands)
app.add_typer(training_commands)
app.add_typer(network_commands)
app.add_typer(network_files)
app.add_typer(life, name="life")


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Results written by `decide` or `run`.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    force: ForceOption = False,
) -> None:
    """Make the HTML report of stored results."""
    from devicefit.numerics.stored import reading
    from reliability.files.output import check_file, staged_file
    from reliability.report import render_report
    from reliability.results.results import read_results

    with exit_2_on_bad_input():
        check_file(out, force=force, suffix=".html")
        found = read_results(results)
        with reading(results, "set of results", "run `decide` or `run` again"):
            page = render_report(found)
    with exit_1_on_failure(), staged_file(out, force=force) as stage:
        write_page(page, stage)
    typer.echo(f"report: {out}")


@app.command()
@opened
def run(
    *,
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    measurements: MeasurementsOption = None,
    rows: TableChoices,
    pictures: ImageChoices,
    network: Annotated[
        list[Path] | None,
        typer.Option(
            help="Use these networks, written by `train`, the standard one first, instead of "
            "training. Repeatable."
        ),
    ] = None,
    hidden: HiddenOption = None,
    epochs: EpochsOption = None,
    train_ber: Annotated[
        float | None,
        typer.Option("--train-ber", help="BER of the network trained for errors."),
    ] = None,
    chips: ChipsOption = None,
    thresholds: ThresholdsOption = None,
    model: ModelOption = None,
    priors: PriorsOption = None,
    asked: DecisionChoices,
    life_files: LivesOption = None,
    confirm: ConfirmChoices,
    sampling: SamplingChoices,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Do the whole path: fit, train, evaluate, decide, report."""
    from bnn.networks.network import network_sha256
    from bnn.networks.storage import save_network
    from reliability.device.files import save_study, study_file_names
    from reliability.device.study import study_device
    from reliability.files.output import check_directory, staged_directory
    from reliability.files.progress import Narrator
    from reliability.networks.study import save_counts
    from reliability.report import render_report

    with exit_2_on_bad_input():
        check_directory(out, force=force)
        families, stacked = chosen_models(model)
        known = prior_file(priors)
        sampler = sampler_options(sampling)
        options = decision_options(asked, life_files, image_set=pictures.images, seed=sampling.seed)
        training = with_treatments(
            network_options(
                pictures.images,
                seed=sampling.seed,
                threads=sampling.threads,
                hidden=hidden,
                epochs=epochs,
                train_ber=train_ber,
                chips=chips,
            ),
            thresholds,
        )
        found = read_input(measurements, rows)
        options = on_device(
            options,
            asked.second,
            found.programming,
            found.conditions.tolist(),
            second=found.second,
            second_values=found.second_values.tolist(),
        )
        if network:
            untrained = given(hidden=hidden, epochs=epochs, train_ber=train_ber)
            if untrained:
                said = ", ".join(f"--{name.replace('_', '-')}" for name in untrained)
                raise ValueError(f"{said}: --network names trained networks; leave one out")
        image_set, loaded = load_networks(network or [], pictures)
        stems = network_stems(loaded, training, taken=study_file_names(families))
        names = [f"{stem}{suffix}" for stem in stems.values() for suffix in NETWORK_FILES]
        names += [*study_file_names(families), "results.json", "index.html"]
        warnings = prior_warnings(found, known, families, options.sensing, sampling.seed)
    for line in (*data_warnings(found), *warnings):
        typer.echo(line)
    with (
        exit_1_on_failure(),
        staged_directory(out, force=force, names=names) as stage,
        Narrator(quiet=quiet) as narrator,
    ):
        study = study_device(
            found,
            families=families,
            stacked=stacked,
            sampler=sampler,
            sensing=options.sensing,
            priors=known,
            say=narrator.say,
        )
        save_study(study, stage)
        networks: dict[str, NetworkStudy] = {}
        written = {}
        for name, folded, record in study_networks(loaded, image_set, training, narrator):
            written[network_sha256(folded)] = folded
            save_network(folded, stage / f"{stems[name]}.safetensors", record=record)
            for treated, counted in evaluated(name, folded, record, image_set, training, narrator):
                networks[treated] = counted
                save_counts(counted, stage / f"{stems[treated]}.nc")
        confirming = confirming_with(
            study,
            networks,
            written.get,
            lambda name: image_set,
            confirm,
            seed=sampling.seed,
            threads=sampling.threads,
        )
        results = answer_from(
            study,
            networks,
            options,
            narrator,
            simulated=measurements is None,
            with_next=True,
            confirming=confirming,
        )
        narrator.say("writing the report")
        (stage / "results.json").write_text(results.to_json(), encoding="utf-8")
        write_page(render_report(results), stage / "index.html")
    print_verdict(results)
    typer.echo(f"report: {out / 'index.html'}")


def main() -> None:
    """Run the command line; the only place that ends the process."""
    output.finished.clear()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a name of a file need not be text that the terminal can show
        sys.stdout.reconfigure(errors="backslashreplace")
    with interruption.interruptible():
        sys.exit(_code())


def write_page(page: str, path: Path) -> None:
    """Write a page as text; names of files that are no text are shown as escapes."""
    path.write_text(page, encoding="utf-8", errors="backslashreplace")


def _code() -> int:
    """Run the command, say how it failed, and give the exit code."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        return _interrupted()
    except Stop as stop:
        if interruption.asked():
            # what follows an interruption, where code in between took it for an error
            return _interrupted()
        print(f"rram-reliability: {stop}", file=sys.stderr)
        return stop.code
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        show = getattr(error, "show", None)
        if show is not None:
            show()
        return int(code)
    return int(code or 0)


def _interrupted() -> int:
    there = " and ".join(map(str, output.finished))
    said = f"{there} had been written" if there else "nothing was written"
    return interruption.say_last(f"rram-reliability: interrupted; {said}")
