"""The ``rram-reliability`` command.

Exit codes: 0 done, 1 the job failed, 2 wrong use or bad input.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from reliability.cli_decide import decision_commands
from reliability.cli_device import device
from reliability.cli_grid import grid_commands
from reliability.cli_groups import opened
from reliability.cli_guards import (
    Stop,
    checking_input,
    print_verdict,
    working,
)
from reliability.cli_inputs import (
    answer_from,
    check_decision,
    chosen_models,
    decision_options,
    evaluated,
    file_stem,
    load_image_set,
    load_networks,
    network_options,
    prior_file,
    prior_warnings,
    read_input,
    sampler_options,
    study_networks,
    with_treatments,
)
from reliability.cli_life import life
from reliability.cli_measure_next import next_commands
from reliability.cli_network import network_commands
from reliability.cli_network_files import network_files
from reliability.cli_options import (
    AcceptOption,
    ChipsOption,
    ColumnOption,
    DecisionChoices,
    DownloadOption,
    DrawsOption,
    EpochsOption,
    ForceOption,
    HiddenOption,
    ImagesDirOption,
    ImagesOption,
    LivesOption,
    MeasurementsOption,
    ModelOption,
    PriorsOption,
    QuietOption,
    SeedOption,
    ThreadsOption,
    ThresholdsOption,
    WarmupOption,
    WhereOption,
)
from reliability.cli_train import training_commands

if TYPE_CHECKING:
    from reliability.network_study import NetworkStudy

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
app.add_typer(grid_commands)
app.add_typer(network_commands)
app.add_typer(network_files)
app.add_typer(next_commands)
app.add_typer(life, name="life")


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Results written by `decide` or `run`.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    force: ForceOption = False,
) -> None:
    """Make the HTML report of stored results."""
    from devicefit.numerics.stored import reading
    from reliability.output import check_file, staged_file
    from reliability.report import render_report
    from reliability.results import read_results

    with checking_input():
        check_file(out, force=force, suffix=".html")
        found = read_results(results)
        with reading(results, "set of results", "run `decide` or `run` again"):
            page = render_report(found)
    with working(), staged_file(out) as stage:
        stage.write_text(page, encoding="utf-8")
    typer.echo(f"report: {out}")


@app.command()
@opened
def run(
    *,
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    measurements: MeasurementsOption = None,
    column: ColumnOption = None,
    where: WhereOption = None,
    images: ImagesOption = "digits",
    images_dir: ImagesDirOption = None,
    download: DownloadOption = False,
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
    seed: SeedOption = 1,
    draws: DrawsOption = None,
    warmup: WarmupOption = None,
    target_accept: AcceptOption = None,
    threads: ThreadsOption = 2,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Do the whole path: fit, train, evaluate, decide, report."""
    from bnn import save_network
    from reliability.device_study import study_device
    from reliability.network_study import save_counts
    from reliability.output import check_directory, staged_directory
    from reliability.progress import Narrator
    from reliability.report import render_report
    from reliability.study_files import save_study

    with checking_input():
        check_directory(out, force=force)
        families, stacked = chosen_models(model)
        known = prior_file(priors)
        sampler = sampler_options(seed, threads, draws, warmup, target_accept)
        options = decision_options(asked, life_files)
        training = with_treatments(
            network_options(images, hidden, epochs, train_ber, chips, seed, threads), thresholds
        )
        found = read_input(measurements, column, where)
        values = found.conditions
        check_decision(options, found.programming, float(values[0]), float(values[-1]))
        image_set = load_image_set(images, images_dir, download)
        loaded = load_networks(network or [], image_set)
        warnings = prior_warnings(found, known, families, options["sensing"], seed)
    for line in warnings:
        typer.echo(line)
    with working(), staged_directory(out) as stage, Narrator(quiet=quiet) as narrator:
        study = study_device(
            found,
            families=families,
            stacked=stacked,
            sampler=sampler,
            sensing=options["sensing"],
            priors=known,
            say=narrator.say,
        )
        save_study(study, stage)
        networks: dict[str, NetworkStudy] = {}
        for name, folded, record in study_networks(loaded, image_set, training, narrator):
            save_network(folded, stage / f"{file_stem(name)}.safetensors", record=record)
            for treated, counted in evaluated(name, folded, record, image_set, training, narrator):
                networks[treated] = counted
                save_counts(counted, stage / f"{file_stem(treated)}.nc")
        results = answer_from(
            study, networks, options, seed, narrator, truth=measurements is None, with_next=True
        )
        narrator.say("writing the report")
        (stage / "results.json").write_text(results.to_json(), encoding="utf-8")
        (stage / "index.html").write_text(render_report(results), encoding="utf-8")
    print_verdict(results)
    typer.echo(f"report: {out / 'index.html'}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; the only place that ends the process."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except Stop as stop:
        print(f"rram-reliability: {stop}", file=sys.stderr)
        sys.exit(stop.code)
    except KeyboardInterrupt:
        print("rram-reliability: interrupted; nothing was written", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        show = getattr(error, "show", None)
        if show is not None:
            show()
        sys.exit(code)
    finally:
        signal.signal(signal.SIGTERM, before)
