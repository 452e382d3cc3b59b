"""The ``rram-reliability`` command.

Exit codes: 0 done, 1 the job failed, 2 wrong use or bad input. A verdict that says no is done:
where nothing is safe, or a failed gate withholds the verdict, the results say so.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reliability.cli.decide import answer_from, decision_commands
from reliability.cli.decision_inputs import AnswerChoices, decision_options, on_device
from reliability.cli.device import device
from reliability.cli.guards import Stop, exit_2_on_bad_input, print_verdict
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
    FitChoices,
    ImageChoices,
    NetworkChoices,
    Output,
    QuietOutput,
    ReadingsChoices,
    ThresholdsOption,
    opened,
    option,
)
from reliability.cli.train import training_commands
from reliability.files import interruption, output

if TYPE_CHECKING:
    from reliability.networks.study import NetworkOptions, NetworkStudy

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
@opened
def report(
    results: Annotated[Path, typer.Argument(help="Results written by `decide` or `run`.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    output: QuietOutput,
) -> None:
    """Make the HTML report of stored results."""
    from devicefit.numerics.stored import reading
    from reliability.report import render_report
    from reliability.results.results import read_results

    with exit_2_on_bad_input():
        output.check_file(out, ".html")
        found = read_results(results)
        with reading(results, "set of results", "run `decide` or `run` again"):
            page = render_report(found)
    with output.file(out) as (stage, _):
        write_page(page, stage)
    typer.echo(f"report: {out}")


@dataclass(frozen=True)
class TrainedChoices(NetworkChoices):
    """Networks that are trained, or were, and how their chips are counted."""

    train_ber: float | None = option(help="BER of the network trained for errors.")
    network: list[Path] | None = option(
        help="Use these networks, written by `train`, the standard one first, instead of "
        "training. Repeatable."
    )
    chips: ChipsOption = None
    thresholds: ThresholdsOption = None

    def options(self, images: str, seed: int, threads: int) -> NetworkOptions:
        """Defaults of an image set with what the user changed."""
        options = network_options(
            images, seed, threads, self, train_ber=self.train_ber, chips=self.chips
        )
        return with_treatments(options, self.thresholds)

    def check_trained(self) -> None:
        """Refuse options of a training where trained networks are named."""
        untrained = given(hidden=self.hidden, epochs=self.epochs, train_ber=self.train_ber)
        if self.network and untrained:
            said = ", ".join(f"--{name.replace('_', '-')}" for name in untrained)
            raise ValueError(f"{said}: --network names trained networks; leave one out")


@app.command()
@opened
def run(
    *,
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    readings: ReadingsChoices,
    images: ImageChoices,
    trained: TrainedChoices,
    asked: AnswerChoices,
    fitting: FitChoices,
    output: Output,
) -> None:
    """Do the whole path: fit, train, evaluate, decide, report."""
    from bnn.networks.network import network_sha256
    from bnn.networks.storage import save_network
    from devicefit.simulation.reference_device import ReferenceDevice
    from reliability.device.files import save_study, study_file_names
    from reliability.device.study import study_device
    from reliability.networks.study import save_counts
    from reliability.report import render_report

    seed = fitting.seed
    with exit_2_on_bad_input():
        output.check_directory(out)
        families, stacked = chosen_models(fitting.model)
        known = prior_file(fitting.priors)
        sampler = sampler_options(fitting)
        options = decision_options(asked, image_set=images.images, seed=seed)
        training = trained.options(images.images, seed, fitting.threads)
        found = read_input(readings.measurements, readings.table)
        options = on_device(
            options,
            asked.second,
            found.programming,
            found.conditions.tolist(),
            second=found.second,
            second_values=found.second_values.tolist(),
        )
        trained.check_trained()
        image_set, loaded = load_networks(trained.network or [], images)
        stems = network_stems(loaded, training, taken=study_file_names(families))
        names = [f"{stem}{suffix}" for stem in stems.values() for suffix in NETWORK_FILES]
        names += [*study_file_names(families), "results.json", "index.html"]
        warnings = prior_warnings(found, known, families, options.sensing, seed)
    for line in (*data_warnings(found), *warnings):
        typer.echo(line)
    with output.directory(out, names) as (stage, narrator):
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
        results = answer_from(
            study,
            networks,
            options,
            asked,
            narrator,
            threads=fitting.threads,
            find=written.get,
            images_of=lambda name: image_set,
            with_next=True,
            truth=None if readings.measurements else ReferenceDevice(),
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
