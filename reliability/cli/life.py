"""Commands about endurance and retention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from reliability.cli.guards import check_files, exit_1_on_failure, exit_2_on_bad_input, print_gates
from reliability.cli.inputs import given, instrument_range, parse_where
from reliability.cli.options import (
    ColumnOption,
    ForceOption,
    LifeChoices,
    OffsetOption,
    PointsOption,
    SecondOption,
    SeedOption,
    TableChoices,
    ThresholdOption,
    opened,
)

if TYPE_CHECKING:
    from devicefit.life.study import Endurance, Life, Retention
    from devicefit.life.tables import LifeTable
    from devicefit.numerics.arrays import FloatArray
    from devicefit.sampling.options import SamplerOptions

AnyLife = TypeVar("AnyLife", bound="Life")

life = typer.Typer(
    no_args_is_help=True, help="Endurance and retention: fit them, and age bit error rates."
)

TableOption = Annotated[Path, typer.Option("--measurements", help="CSV or Parquet table.")]
OutOption = Annotated[Path, typer.Option("--out", help="Posterior to write (.nc).")]
LifeOption = Annotated[
    list[Path], typer.Option("--life", help="Posterior of a `life` command. Repeatable.")
]
AgainOption = Annotated[
    bool,
    typer.Option(
        "--threshold-again",
        help="Choose the read threshold again after ageing, in every decade of cycles or for every "
        "bake: a treatment that the memory then has to carry out.",
    ),
]


@dataclass(frozen=True)
class LifeTableChoices(TableChoices):
    """How a table of life is read: devices are left out by name only."""

    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="DEVICE_ID", help="Leave this device out. Repeatable."),
    ] = None


CyclesOption = Annotated[float | None, typer.Option("--cycles", help="Required cycles.")]
YearsOption = Annotated[float | None, typer.Option("--years", help="How long bits are kept.")]
CelsiusOption = Annotated[
    float | None, typer.Option("--temperature-c", help="Temperature while they are kept.")
]


@life.command()
@opened
def endurance(
    *,
    measurements: TableOption,
    out: OutOption,
    rows: LifeTableChoices,
    threshold_ohm: ThresholdOption = None,
    threshold_again: AgainOption = False,
    running: LifeChoices,
) -> None:
    """Fit bit errors over programming cycles (`prior_cycles` or `cycle`, by `device_id`).

    Readings (`resistance_ohm`) or counts (`errors`, `trials`) of both states. What wears out
    together is one unit: map it to `device_id`.
    """
    from devicefit.life.counted_tables import endurance_counts
    from devicefit.life.study import study_endurance
    from reliability.files.output import check_file

    with exit_2_on_bad_input():
        check_file(out, force=running.force, suffix=".nc")
        table = _table(measurements, "endurance", rows)
        counts, threshold = endurance_counts(
            table, threshold_ohm=threshold_ohm, again=threshold_again
        )
        for state, found in counts.items():
            if len(found.cycles) < 2:
                raise ValueError(
                    f"{measurements}: {state} was read near {found.cycles[0]:.3g} cycles only; "
                    "read it after more cycles, spread over decades"
                )
    options = _sampler(running)
    about = table.about(threshold, again=threshold_again)
    study = _fit(
        f"errors over cycles, {counts['LRS'].units} units",
        lambda: study_endurance(counts, options=options, about=about),
        out,
        force=running.force,
        quiet=running.quiet,
    )
    _say_threshold(threshold, threshold_ohm, again=threshold_again)
    _say_extremes(study)
    for cycles in (study.cycles_low, study.cycles_high):
        each = {name: state.ber(cycles) for name, state in study.states.items()}
        _say_shares(f"after {cycles:.3g} cycles", study.ber(cycles), each)
    _say_counted(study, "decades", lambda at: f"{at['low']:.3g} to {at['high']:.3g} cycles")
    _end(study, "endurance", out)


@life.command()
@opened
def retention(
    *,
    measurements: TableOption,
    out: OutOption,
    rows: LifeTableChoices,
    threshold_ohm: ThresholdOption = None,
    threshold_again: AgainOption = False,
    running: LifeChoices,
) -> None:
    """Fit bit errors over bakes (`time_after_program_s`, 0 for fresh, and `temperature_k`).

    Readings (`resistance_ohm`) or counts (`errors`, `trials`) of both states.
    """
    from devicefit.life.counted_tables import bake_counts
    from devicefit.life.study import study_retention
    from reliability.files.output import check_file
    from reliability.life.required import YEAR_S

    with exit_2_on_bad_input():
        check_file(out, force=running.force, suffix=".nc")
        table = _table(measurements, "retention", rows)
        counts, threshold = bake_counts(table, threshold_ohm=threshold_ohm, again=threshold_again)
    options = _sampler(running)
    about = table.about(threshold, again=threshold_again)
    study = _fit(
        "errors over bakes",
        lambda: study_retention(counts, devices=table.devices, options=options, about=about),
        out,
        force=running.force,
        quiet=running.quiet,
    )
    _say_threshold(threshold, threshold_ohm, again=threshold_again)
    _say_extremes(study)
    if table.devices is None:
        typer.echo("assumed: each reading is of a device of its own; name the devices if not")
    use = 10 * YEAR_S, 358.15
    each = {name: state.ber(*use) for name, state in study.states.items()}
    _say_shares("after 10 years at 85 degrees Celsius", study.ber(*use), each)
    for name, state in study.states.items():
        typer.echo(f"  {name}: {state.extrapolation(*use).sentence()}")
    _say_counted(study, "bakes", lambda at: f"{at['time_s']:.3g} s at {at['temperature_k']:.0f} K")
    _end(study, "retention", out)


@life.command("wear-out")
@opened
def wear_out(
    *,
    measurements: TableOption,
    out: OutOption,
    column: ColumnOption = None,
    law: Annotated[str, typer.Option(help="lognormal or weibull.")] = "lognormal",
    running: LifeChoices,
) -> None:
    """Fit cycles to wear-out over programming: rows of `cycles`, `failed`, `survivors`."""
    from devicefit.inputs.columns import parse_columns
    from devicefit.life.counted_tables import read_wear_out
    from devicefit.life.study import study_wear_out
    from devicefit.life.wear_out import LAWS
    from reliability.files.output import check_file

    with exit_2_on_bad_input():
        check_file(out, force=running.force, suffix=".nc")
        if law not in LAWS:
            raise ValueError(f"--law {law!r} is not known; known: {', '.join(LAWS)}")
        table, about = read_wear_out(measurements, columns=parse_columns(column or []))
    options = _sampler(running)
    study = _fit(
        f"cycles to wear-out of {table.cells} cells",
        lambda: study_wear_out(table, law=law, options=options, about=about),
        out,
        force=running.force,
        quiet=running.quiet,
    )
    for sentence in study.record["says"]:
        typer.echo(sentence)
    _end(study, "wear-out", out)


@life.command()
def ber(
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    life: LifeOption,
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    cycles: CyclesOption = None,
    years: YearsOption = None,
    temperature_c: CelsiusOption = None,
    second: SecondOption = None,
    points: PointsOption = 50,
    threshold_ohm: ThresholdOption = None,
    offset_ln_r: OffsetOption = None,
    seed: SeedOption = 1,
    force: ForceOption = False,
) -> None:
    """Write BER over the programming variable, fresh and at the end of a required life."""
    import numpy as np

    from devicefit.life.files import load_life
    from reliability.decision.second_variable import at_one_second
    from reliability.device.files import load_study
    from reliability.files.output import check_file, staged_file
    from reliability.life.factors import life_factor
    from reliability.life.required import LifeRequirement
    from reliability.results.summary import aged_table, table_notes

    with exit_2_on_bad_input():
        check_file(out, force=force, suffix=".csv")
        kelvin = None if temperature_c is None else temperature_c + 273.15
        required = LifeRequirement.of(cycles=cycles, years=years, temperature_k=kelvin)
        study = at_one_second(load_study(device), second)
        check_files(life, "--life")
        lives = [load_life(path) for path in life]
        frame = study.main.frame
        grid = frame.programming.grid(frame.low, frame.high, 1 if frame.is_single else points)
        sensing = study.sensing(threshold_ohm, offset_ln_r)
        factor = life_factor(
            lives,
            required,
            grid,
            programming=frame.programming,
            sensing=sensing,
            rng=np.random.default_rng([seed, 24]),
        )
    with exit_1_on_failure(), staged_file(out, force=force) as stage:
        table = aged_table(study.main, grid, sensing, factor, seed=seed)
        table.to_csv(stage, index=False)
    _say_simulated(
        bool(study.record["data"]["simulated"]) or any(f.record.get("simulated") for f in lives)
    )
    for line in table_notes(table, study.main):
        typer.echo(line)
    for sentence in factor.rests_on:
        typer.echo(sentence)
    print_gates([gate for found in lives for gate in found.record["gates"]])
    typer.echo(f"BER after {required.words()}: {out}")


def _table(measurements: Path, kind: str, rows: LifeTableChoices) -> LifeTable:
    from devicefit.inputs.columns import parse_columns
    from devicefit.inputs.refusals import MeasurementError
    from devicefit.life.tables import read_life_table
    from devicefit.numerics.stored import reading

    columns, conditions = parse_columns(rows.column or []), parse_where(rows.where or [])
    largest = instrument_range(rows.overrange)
    with reading(measurements, f"table of {kind}", "see docs/life.md", refuse=MeasurementError):
        table = read_life_table(
            measurements,
            kind,
            columns=columns,
            where=conditions,
            overrange=largest,
            exclude=rows.exclude or (),
        )
    for warning in table.warnings:
        typer.echo(f"warning: {warning}")
    return table


def _fit(what: str, fit: Callable[[], AnyLife], out: Path, *, force: bool, quiet: bool) -> AnyLife:
    """Fit and write; says first what it fits, then whether that was simulated."""
    from devicefit.life.files import save_life
    from reliability.files.output import staged_file
    from reliability.files.progress import Narrator

    with (
        exit_1_on_failure(),
        staged_file(out, force=force) as stage,
        Narrator(quiet=quiet) as narrator,
    ):
        narrator.say(f"fitting {what}")
        study = fit()
        save_life(study, stage)
    _say_simulated(study.record["simulated"])
    return study


def _say_shares(when: str, ber: FloatArray, each: dict[str, FloatArray]) -> None:
    """The BER, and beside it the wrong share of LRS and of HRS."""
    from devicefit.life.study import interval_words

    states = "; ".join(f"{name} wrong: {interval_words(share)}" for name, share in each.items())
    typer.echo(f"BER {when}: {interval_words(ber)}; {states}")


def _say_counted(
    study: Endurance | Retention, places: str, where: Callable[[dict[str, Any]], str]
) -> None:
    """Counted errors of each place beside those that the fit predicts for what was measured."""
    for name, checks in study.record["checks"].items():
        for check in checks[places]:
            typer.echo(
                f"  {name}, {where(check)}: {check['errors']} of {check['trials']} wrong, "
                f"predicted {check['predicted_median']:.0f} (95 % {check['predicted_low']:.0f} to "
                f"{check['predicted_high']:.0f})"
            )


def _end(study: Life, kind: str, out: Path) -> None:
    for sentence in study.record["not_checked"]:
        typer.echo(sentence)
    print_gates(study.record["gates"])
    typer.echo(f"{kind}: {out}")


def _sampler(running: LifeChoices) -> SamplerOptions:
    from dataclasses import replace

    from devicefit.life.study import LIFE_SAMPLER

    return replace(LIFE_SAMPLER, seed=running.seed, **given(draws=running.draws))


def _say_simulated(simulated: bool) -> None:
    if simulated:
        typer.echo("SIMULATED: nothing here was measured")


def _say_threshold(threshold: float | None, given_ohm: float | None, *, again: bool) -> None:
    if again:
        typer.echo("threshold chosen again after ageing: a treatment that the memory carries out")
    if threshold is not None:
        how = "as given" if given_ohm is not None else "with the fewest errors of fresh readings"
        typer.echo(f"threshold {threshold:.4g} ohm, {how}")


def _say_extremes(study: Endurance | Retention) -> None:
    """Say of which state nothing was wrong, or more than chance."""
    for name, state in study.states.items():
        errors, trials = state.fitted.record["errors"], state.fitted.record["trials"]
        if not errors:
            typer.echo(
                f"{name}: no error in {trials} readings; its rate is an upper limit, the lower end "
                "is the prior's"
            )
        elif 2 * errors > trials:
            typer.echo(
                f"{name}: {errors} of {trials} readings are wrong, more than half; check that the "
                "columns errors and trials, the names of the states and the threshold are right"
            )
