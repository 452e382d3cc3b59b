"""Commands about devices alone: readings, priors, fits, error rates and predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reliability.cli.guards import exit_1_on_failure, exit_2_on_bad_input, print_gates
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
    ForceOption,
    MeasurementsOption,
    ModelOption,
    OffsetOption,
    PointsOption,
    PriorsOption,
    QuietOption,
    SamplingChoices,
    SecondOption,
    SeedOption,
    TableChoices,
    ThresholdOption,
    opened,
)

if TYPE_CHECKING:
    from devicefit.families.frame import Frame
    from devicefit.numerics.arrays import FloatArray

device = typer.Typer()

NewArrayOption = Annotated[
    bool,
    typer.Option(
        "--new-array",
        help="For an array that was not measured, drawn from the fitted law between arrays.",
    ),
]


@device.command()
def simulate(
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    seed: SeedOption = 20190407,
    force: ForceOption = False,
) -> None:
    """Write the readings of the simulated reference device as CSV."""
    from devicefit.simulation.reference_device import reference_csv
    from reliability.files.output import check_file, staged_file

    with exit_2_on_bad_input():
        check_file(out, force=force, suffix=".csv")
    with exit_1_on_failure(), staged_file(out, force=force) as stage:
        stage.write_text(reference_csv(seed=seed), encoding="utf-8")
    typer.echo(f"simulated readings: {out}")


@device.command()
@opened
def check(
    *,
    measurements: MeasurementsOption = None,
    rows: TableChoices,
) -> None:
    """Read a file of resistances, refuse what cannot be used, and say what is in it."""
    from reliability.results.summary import summary_lines

    with exit_2_on_bad_input():
        found = read_input(measurements, rows)
    for line in summary_lines(found):
        typer.echo(line)


@device.command("priors")
@opened
def show_priors(
    *,
    measurements: MeasurementsOption = None,
    rows: TableChoices,
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
        frame = measured_frame(read_input(measurements, rows))
        (stated,) = stated_priors(frame, known, families=(family,), others=tuple(FAMILIES))
        prediction = stated.predict(sensing, rng=np.random.default_rng(seed))
    for line in (*stated.lines(), "", *prediction.lines()):
        typer.echo(line)


@device.command()
@opened
def fit(
    *,
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    measurements: MeasurementsOption = None,
    rows: TableChoices,
    model: ModelOption = None,
    priors: PriorsOption = None,
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
    sampling: SamplingChoices,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit device models to resistances; writes posteriors and checks."""
    from devicefit.distributions.sensing import SensingOptions
    from reliability.device.files import save_study, study_file_names
    from reliability.device.study import study_device
    from reliability.files.output import check_directory, staged_directory
    from reliability.files.progress import Narrator
    from reliability.results.summary import level_notes

    with exit_2_on_bad_input():
        check_directory(out, force=force)
        families, stacked = chosen_models(model)
        known = prior_file(priors)
        sampler = sampler_options(sampling)
        sensing = SensingOptions(threshold_ohm=threshold_ohm)
        found = read_input(measurements, rows)
        left_out = left_out_groups(found, leave_out)
        warnings = prior_warnings(found, known, families, sensing, sampling.seed)
    for line in (*data_warnings(found), *warnings):
        typer.echo(line)
    names = study_file_names(families)
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
def ber(
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    low: Annotated[
        str | None, typer.Option(help="Smallest programming value, SI or with its unit: 24uA.")
    ] = None,
    high: Annotated[
        str | None, typer.Option(help="Largest programming value, SI or with its unit.")
    ] = None,
    second: SecondOption = None,
    points: PointsOption = 50,
    threshold_ohm: ThresholdOption = None,
    offset_ln_r: OffsetOption = None,
    new_array: NewArrayOption = False,
    force: ForceOption = False,
) -> None:
    """Write BER over the programming variable: mean, median and 90 % interval.

    Of a cell, or a pair of cells, on any of the measured arrays, or on a new one (--new-array). One
    row of each scheme for a device that was read at one condition, or where both ends are one
    value. Values outside the measured range are marked.
    """
    from devicefit.fitting.new_arrays import new_array_note
    from reliability.decision.second_variable import at_one_second
    from reliability.device.files import load_study
    from reliability.files.output import check_file, staged_file
    from reliability.results.summary import ber_table, table_notes

    with exit_2_on_bad_input():
        check_file(out, force=force, suffix=".csv")
        study = at_one_second(load_study(device), second)
        sensing = study.sensing(threshold_ohm, offset_ln_r)
        grid = _grid(study.main.frame, low, high, points)
    with exit_1_on_failure(), staged_file(out, force=force) as stage:
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
    rows: TableChoices,
    bins: Annotated[
        int, typer.Option("--bins", min=1, help="Devices in each bin of programming values.")
    ] = 200,
    threshold_ohm: ThresholdOption = None,
    as_array: Annotated[
        str | None,
        typer.Option(
            "--as-array",
            metavar="NAME",
            help="Fitted array that the devices are taken to be on, whatever their readings say.",
        ),
    ] = None,
    new_array: NewArrayOption = False,
    seed: SeedOption = 1,
    force: ForceOption = False,
) -> None:
    """Predict how many of other devices fail, and compare with their readings.

    A device fails when one of its readings is on the wrong side of the fitted 1T1R threshold. What
    was fitted on one array is not used for another one, unless --as-array says so; an array that
    was not fitted is drawn from the law between arrays with --new-array.
    """
    import numpy as np

    from devicefit.prediction.prediction import predict as predict_failures
    from reliability.device.files import load_study
    from reliability.files.output import check_file, staged_file
    from reliability.results.summary import prediction_notes

    with exit_2_on_bad_input():
        check_file(out, force=force, suffix=".csv")
        study = load_study(device)
        found = read_input(measurements, rows)
        read_at = study.record["data"].get("read_at", {})
        rng = np.random.default_rng([seed, 5])
        table = predict_failures(
            study.main,
            found,
            persistence=study.persistence,
            options=study.sensing(threshold_ohm),
            devices_per_bin=bins,
            as_array=as_array,
            new_array=new_array,
            read_at=read_at,
            rng=rng,
        )
    for line in data_warnings(found):
        typer.echo(line)
    with exit_1_on_failure(), staged_file(out, force=force) as stage:
        table.to_csv(stage, index=False)
    for line in prediction_notes(table, found, study.main.frame, read_at):
        typer.echo(line)
    inside = table["failures_observed"].between(table["failures_q025"], table["failures_q975"])
    typer.echo(
        f"{int(inside.sum())} of {len(table)} (bin, state) cells inside the 95 % predictive "
        f"interval; ln predictive density {table['log_predictive_density'].sum():.1f}"
    )
    typer.echo(f"predictions: {out}")
