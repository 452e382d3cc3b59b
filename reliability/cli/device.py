"""Commands about devices alone: readings, priors, fits, error rates and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reliability.cli.guards import (
    exit_2_on_bad_input,
    print_gates,
)
from reliability.cli.inputs import (
    chosen_models,
    data_warnings,
    left_out_groups,
    measured_frame,
    one_family,
    prior_file,
    prior_warnings,
    programming_at,
    read_input,
    sampler_options,
)
from reliability.cli.options import (
    BerChoices,
    FitChoices,
    NewArrayOption,
    Output,
    PriorsOption,
    QuietOutput,
    ReadingsChoices,
    SeedOption,
    TableChoices,
    ThresholdOption,
    opened,
    option,
)

if TYPE_CHECKING:
    from devicefit.families.frame import Frame
    from devicefit.numerics.arrays import FloatArray

device = typer.Typer()


@dataclass(frozen=True)
class PredictionChoices:
    """Which devices are predicted, and how they are gathered."""

    bins: int = option(default=200, min=1, help="Devices in each bin of programming values.")
    threshold_ohm: ThresholdOption = None
    as_array: str | None = option(
        metavar="NAME",
        help="Fitted array that the devices are taken to be on, whatever their readings say.",
    )
    new_array: NewArrayOption = False


@device.command()
@opened
def simulate(
    *,
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    seed: SeedOption = 20190407,
    output: QuietOutput,
) -> None:
    """Write the readings of the simulated reference device as CSV."""
    from devicefit.simulation.reference_device import reference_csv

    with exit_2_on_bad_input():
        output.check_file(out, ".csv")
    with output.file(out) as (stage, _):
        stage.write_text(reference_csv(seed=seed), encoding="utf-8")
    typer.echo(f"simulated readings: {out}")


@device.command()
@opened
def check(readings: ReadingsChoices) -> None:
    """Read a file of resistances, refuse what cannot be used, and say what is in it."""
    from reliability.results.summary import summary_lines

    with exit_2_on_bad_input():
        found = read_input(readings.measurements, readings.table)
    for line in summary_lines(found):
        typer.echo(line)


@device.command("priors")
@opened
def show_priors(
    readings: ReadingsChoices,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "--family",
            help="Device model: lognormal, student-t, log-logistic, switching-failure or "
            "skewed-failure.",
        ),
    ] = "switching-failure",
    priors: PriorsOption = None,
    threshold_ohm: ThresholdOption = None,
    seed: SeedOption = 1,
) -> None:
    """Show the priors of a family and the devices that they predict before any reading.

    The readings give the measured range only.
    """
    import numpy as np

    from devicefit.distributions.sensing import SensingOptions
    from devicefit.families.registry import FAMILIES
    from reliability.device.prior_check import stated_priors

    with exit_2_on_bad_input():
        family = one_family(model)
        known = prior_file(priors)
        sensing = SensingOptions(threshold_ohm=threshold_ohm)
        frame = measured_frame(read_input(readings.measurements, readings.table))
        (stated,) = stated_priors(frame, known, families=(family,), others=tuple(FAMILIES))
        prediction = stated.predict(sensing, rng=np.random.default_rng(seed))
    for line in (*stated.lines(), "", *prediction.lines()):
        typer.echo(line)


@device.command()
@opened
def fit(
    *,
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    readings: ReadingsChoices,
    fitting: FitChoices,
    threshold_ohm: ThresholdOption = None,
    leave_out: Annotated[
        int,
        typer.Option(
            "--leave-out",
            min=0,
            metavar="N",
            help="Split neighbouring programming values into N groups, fit once more without each "
            "and predict the failures there; 0: do not.",
        ),
    ] = 0,
    output: Output,
) -> None:
    """Fit device models to resistances; writes posteriors and checks."""
    from devicefit.distributions.sensing import SensingOptions
    from reliability.device.files import save_study, study_file_names
    from reliability.device.study import study_device
    from reliability.results.summary import level_notes

    with exit_2_on_bad_input():
        output.check_directory(out)
        families, stacked = chosen_models(fitting.model)
        known = prior_file(fitting.priors)
        sampler = sampler_options(fitting)
        sensing = SensingOptions(threshold_ohm=threshold_ohm)
        found = read_input(readings.measurements, readings.table)
        left_out = left_out_groups(found, leave_out)
        warnings = prior_warnings(found, known, families, sensing, fitting.seed)
    for line in (*data_warnings(found), *warnings):
        typer.echo(line)
    with output.directory(out, study_file_names(families)) as (stage, narrator):
        study = study_device(
            found,
            families=families,
            stacked=stacked,
            sampler=sampler,
            sensing=sensing,
            priors=known,
            left_out=left_out,
            say=narrator.say,
        )
        save_study(study, stage)
    for line in level_notes(study.main):
        typer.echo(line)
    print_gates(study.record["gates"])
    typer.echo(f"device study: {out}")


@device.command()
@opened
def ber(
    *,
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    low: Annotated[
        str | None, typer.Option(help="Smallest programming value, SI or with its unit: 24uA.")
    ] = None,
    high: Annotated[
        str | None, typer.Option(help="Largest programming value, SI or with its unit.")
    ] = None,
    reading: BerChoices,
    new_array: NewArrayOption = False,
    output: QuietOutput,
) -> None:
    """Write BER over the programming variable: mean, median and 90 % interval.

    Of a cell, or a pair of cells, on any of the measured arrays, or on a new one (--new-array). One
    row of each scheme for a device that was read at one condition, or where both ends are one
    value. Values outside the measured range are marked.
    """
    from devicefit.fitting.new_arrays import new_array_note
    from reliability.decision.second_variable import at_one_second
    from reliability.device.files import load_study
    from reliability.results.summary import ber_table, table_notes

    with exit_2_on_bad_input():
        output.check_file(out, ".csv")
        study = at_one_second(load_study(device), reading.second)
        sensing = study.sensing(reading.threshold_ohm, reading.offset_ln_r)
        grid = _grid(study.main.frame, low, high, reading.points)
    with output.file(out) as (stage, _):
        table = ber_table(study.main, grid, sensing, new_array=new_array)
        table.to_csv(stage, index=False)
    for line in table_notes(table, study.main):
        typer.echo(line)
    if new_array and (note := new_array_note(study.main.frame)):
        typer.echo(note)
    typer.echo(f"BER over {study.main.frame.programming.name}: {out}")


def _grid(frame: Frame, low: str | None, high: str | None, points: int) -> FloatArray:
    """Values from one end to the other, one value where both are the same."""
    import numpy as np

    ends = []
    for name, said, measured in (("--low", low, frame.low), ("--high", high, frame.high)):
        value = measured if said is None else programming_at(said, frame, name)
        frame.check(np.array([value]), name)
        ends.append(value)
    if ends[0] > ends[1]:
        raise ValueError(f"--low {ends[0]} must not be above --high {ends[1]}")
    grid = frame.programming.grid(ends[0], ends[1], 1 if ends[0] == ends[1] else points)
    if not (np.diff(grid) > 0).all():
        raise ValueError(
            f"--points {points}: so many values from {ends[0]} to {ends[1]} cannot be told apart; "
            "give fewer"
        )
    return grid


@device.command()
@opened
def predict(
    *,
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    measurements: Annotated[
        list[Path],
        typer.Option(help="Readings of devices that were not fitted. Repeatable."),
    ],
    table: TableChoices,
    how: PredictionChoices,
    seed: SeedOption = 1,
    output: QuietOutput,
) -> None:
    """Predict how many of other devices fail, and compare with their readings.

    A device fails when one of its readings is on the wrong side of the fitted 1T1R threshold. What
    was fitted on one array is not used for another one, unless --as-array says so; an array that
    was not fitted is drawn from the law between arrays with --new-array.
    """
    import numpy as np

    from devicefit.prediction.prediction import predict as predict_failures
    from reliability.device.files import load_study
    from reliability.results.summary import prediction_notes

    with exit_2_on_bad_input():
        output.check_file(out, ".csv")
        study = load_study(device)
        found = read_input(measurements, table)
        read_at = study.record["data"].get("read_at", {})
        predicted = predict_failures(
            study.main,
            found,
            persistence=study.persistence,
            options=study.sensing(how.threshold_ohm),
            devices_per_bin=how.bins,
            as_array=how.as_array,
            new_array=how.new_array,
            read_at=read_at,
            rng=np.random.default_rng([seed, 5]),
        )
    for line in data_warnings(found):
        typer.echo(line)
    with output.file(out) as (stage, _):
        predicted.to_csv(stage, index=False)
    for line in prediction_notes(predicted, found, study.main.frame, read_at):
        typer.echo(line)
    inside = predicted["failures_observed"].between(
        predicted["failures_q025"], predicted["failures_q975"]
    )
    typer.echo(
        f"{int(inside.sum())} of {len(predicted)} (bin, state) cells inside the 95 % predictive "
        f"interval; ln predictive density {predicted['log_predictive_density'].sum():.1f}"
    )
    typer.echo(f"predictions: {out}")
