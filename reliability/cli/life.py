"""Commands about endurance and retention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from reliability.cli.guards import (
    check_files,
    exit_2_on_bad_input,
    print_gates,
)
from reliability.cli.inputs import given, instrument_range, parse_where
from reliability.cli.options import (
    BerChoices,
    ColumnOption,
    DrawsOption,
    Output,
    QuietOutput,
    SeedOption,
    TableChoices,
    ThresholdOption,
    opened,
    option,
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


@dataclass(frozen=True)
class LifeTableChoices(TableChoices):
    """How a table of endurance or retention is read, and where bits are told apart."""

    exclude: list[str] | None = option(
        metavar="DEVICE_ID", help="Leave this device out. Repeatable."
    )
    threshold_ohm: ThresholdOption = None
    threshold_again: bool = option(
        "--threshold-again",
        default=False,
        help="Choose the read threshold again after ageing, in every decade of cycles or for "
        "every bake: a treatment that the memory then has to carry out.",
    )

    def read(self, measurements: Path, kind: str) -> LifeTable:
        """Read the table of this kind; says its warnings."""
        from devicefit.inputs.columns import parse_columns
        from devicefit.inputs.refusals import MeasurementError
        from devicefit.life.tables import read_life_table
        from devicefit.numerics.stored import reading

        columns, conditions = parse_columns(self.column or []), parse_where(self.where or [])
        largest = instrument_range(self.overrange)
        with reading(measurements, f"table of {kind}", "see docs/life.md", refuse=MeasurementError):
            table = read_life_table(
                measurements,
                kind,
                columns=columns,
                where=conditions,
                overrange=largest,
                exclude=self.exclude or (),
            )
        for warning in table.warnings:
            typer.echo(f"warning: {warning}")
        return table

    def say_threshold(self, threshold: float | None) -> None:
        """Say where bits are told apart."""
        if self.threshold_again:
            typer.echo(
                "threshold chosen again after ageing: a treatment that the memory carries out"
            )
        if threshold is not None:
            fewest = "with the fewest errors of fresh readings"
            how = fewest if self.threshold_ohm is None else "as given"
            typer.echo(f"threshold {threshold:.4g} ohm, {how}")


@dataclass(frozen=True)
class LifeSamplerChoices:
    """How a life is sampled."""

    seed: SeedOption = 1
    draws: DrawsOption = None

    def options(self) -> SamplerOptions:
        """Sampler of lives with what the user changed."""
        from devicefit.life.study import LIFE_SAMPLER

        return replace(LIFE_SAMPLER, seed=self.seed, **given(draws=self.draws))


@dataclass(frozen=True)
class RequiredChoices:
    """The life that is asked for."""

    cycles: float | None = option(help="Required cycles.")
    years: float | None = option(help="How long bits are kept.")
    temperature_c: float | None = option(help="Temperature while they are kept.")


@life.command()
@opened
def endurance(
    measurements: TableOption,
    out: OutOption,
    choices: LifeTableChoices,
    sampler: LifeSamplerChoices,
    output: Output,
) -> None:
    """Fit bit errors over programming cycles (`prior_cycles` or `cycle`, by `device_id`).

    Readings (`resistance_ohm`) or counts (`errors`, `trials`) of both states. What wears out
    together is one unit: map it to `device_id`.
    """
    from devicefit.life.counted_tables import endurance_counts
    from devicefit.life.study import study_endurance

    with exit_2_on_bad_input():
        output.check_file(out, ".nc")
        table = choices.read(measurements, "endurance")
        counts, threshold = endurance_counts(
            table, threshold_ohm=choices.threshold_ohm, again=choices.threshold_again
        )
        for state, found in counts.items():
            if len(found.cycles) < 2:
                raise ValueError(
                    f"{measurements}: {state} was read near {found.cycles[0]:.3g} cycles only; "
                    "read it after more cycles, spread over decades"
                )
    about = table.about(threshold, again=choices.threshold_again)
    study = _fit(
        f"errors over cycles, {counts['LRS'].units} units",
        lambda: study_endurance(counts, options=sampler.options(), about=about),
        out,
        output,
    )
    choices.say_threshold(threshold)
    _say_extremes(study)
    for cycles in (study.cycles_low, study.cycles_high):
        each = {name: state.ber(cycles) for name, state in study.states.items()}
        _say_shares(f"after {cycles:.3g} cycles", study.ber(cycles), each)
    _say_counted(study, "decades", lambda at: f"{at['low']:.3g} to {at['high']:.3g} cycles")
    _end(study, "endurance", out)


@life.command()
@opened
def retention(
    measurements: TableOption,
    out: OutOption,
    choices: LifeTableChoices,
    sampler: LifeSamplerChoices,
    output: Output,
) -> None:
    """Fit bit errors over bakes (`time_after_program_s`, 0 for fresh, and `temperature_k`).

    Readings (`resistance_ohm`) or counts (`errors`, `trials`) of both states.
    """
    from devicefit.life.counted_tables import bake_counts
    from devicefit.life.study import study_retention
    from reliability.life.required import YEAR_S

    with exit_2_on_bad_input():
        output.check_file(out, ".nc")
        table = choices.read(measurements, "retention")
        counts, threshold = bake_counts(
            table, threshold_ohm=choices.threshold_ohm, again=choices.threshold_again
        )
    about = table.about(threshold, again=choices.threshold_again)
    study = _fit(
        "errors over bakes",
        lambda: study_retention(
            counts, devices=table.devices, options=sampler.options(), about=about
        ),
        out,
        output,
    )
    choices.say_threshold(threshold)
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
    sampler: LifeSamplerChoices,
    output: Output,
) -> None:
    """Fit cycles to wear-out over programming: rows of `cycles`, `failed`, `survivors`."""
    from devicefit.inputs.columns import parse_columns
    from devicefit.life.counted_tables import read_wear_out
    from devicefit.life.study import study_wear_out
    from devicefit.life.wear_out import LAWS

    with exit_2_on_bad_input():
        output.check_file(out, ".nc")
        if law not in LAWS:
            raise ValueError(f"--law {law!r} is not known; known: {', '.join(LAWS)}")
        table, about = read_wear_out(measurements, columns=parse_columns(column or []))
    study = _fit(
        f"cycles to wear-out of {table.cells} cells",
        lambda: study_wear_out(table, law=law, options=sampler.options(), about=about),
        out,
        output,
    )
    for sentence in study.record["says"]:
        typer.echo(sentence)
    _end(study, "wear-out", out)


@life.command()
@opened
def ber(
    *,
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    life: Annotated[
        list[Path], typer.Option("--life", help="Posterior of a `life` command. Repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    asked: RequiredChoices,
    reading: BerChoices,
    seed: SeedOption = 1,
    output: QuietOutput,
) -> None:
    """Write BER over the programming variable, fresh and at the end of a required life."""
    import numpy as np

    from devicefit.life.files import load_life
    from reliability.decision.second_variable import at_one_second
    from reliability.device.files import load_study
    from reliability.life.factors import life_factor
    from reliability.life.required import LifeRequirement
    from reliability.results.summary import aged_table, table_notes

    with exit_2_on_bad_input():
        output.check_file(out, ".csv")
        kelvin = None if asked.temperature_c is None else asked.temperature_c + 273.15
        required = LifeRequirement.of(cycles=asked.cycles, years=asked.years, temperature_k=kelvin)
        study = at_one_second(load_study(device), reading.second)
        check_files(life, "--life")
        lives = [load_life(path) for path in life]
        frame = study.main.frame
        points = 1 if frame.is_single else reading.points
        grid = frame.programming.grid(frame.low, frame.high, points)
        sensing = study.sensing(reading.threshold_ohm, reading.offset_ln_r)
        factor = life_factor(
            lives,
            required,
            grid,
            programming=frame.programming,
            sensing=sensing,
            rng=np.random.default_rng([seed, 24]),
        )
    with output.file(out) as (stage, _):
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


def _fit(what: str, fit: Callable[[], AnyLife], out: Path, output: Output) -> AnyLife:
    """Fit and write; says first what it fits, then whether that was simulated."""
    from devicefit.life.files import save_life

    with output.file(out) as (stage, narrator):
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


def _say_simulated(simulated: bool) -> None:
    if simulated:
        typer.echo("SIMULATED: nothing here was measured")


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
