"""The command that says where to measure next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reliability.cli_guards import checking_input, working
from reliability.cli_inputs import (
    check_decision,
    counted_networks,
    decision_options,
    given,
)
from reliability.cli_options import (
    EnergyOption,
    EnergySdOption,
    ForceOption,
    MaxLossOption,
    MemoryBerOption,
    OffsetOption,
    OneIsOption,
    PulseOption,
    QuietOption,
    RequirementOption,
    ResetVoltageOption,
    RiskOption,
    ScrambledOption,
    SeedOption,
    SetVoltageOption,
    ThresholdOption,
)

if TYPE_CHECKING:
    from reliability.candidates import Candidate
    from reliability.measure_next import MeasureNext

next_commands = typer.Typer()


@next_commands.command("measure-next")
def measure_next_command(
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    counts: Annotated[
        list[Path],
        typer.Option(help="Counts written by `evaluate`; the standard network first. Repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Ranking to write (.json).")],
    csv: Annotated[
        Path | None, typer.Option("--csv", help="The table once more, as a CSV file.")
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE:...",
            help="What might be done: programming=VALUE:devices=N[:cycles=N], more_cycles=N, "
            "chips=N, images=N, or programming=VALUE:energy_se=FRACTION. Repeatable. Default: a "
            "list of usual ones.",
        ),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(help="The same from a file: TOML tables [[candidate]], or CSV."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Saving against: standard_bnn (default), memory, or memory_with_ecc."),
    ] = None,
    question: Annotated[
        str | None,
        typer.Option(help="Saving on this test-set (default), or for the population of images."),
    ] = None,
    simulations: Annotated[
        int | None, typer.Option(min=10, help="Simulated outcomes of each candidate.")
    ] = None,
    requirement: RequirementOption = None,
    max_loss: MaxLossOption = None,
    risk: RiskOption = None,
    memory_ber: MemoryBerOption = None,
    threshold_ohm: ThresholdOption = None,
    offset_ln_r: OffsetOption = None,
    one_is: OneIsOption = None,
    scrambled: ScrambledOption = False,
    set_voltage_v: SetVoltageOption = None,
    reset_voltage_v: ResetVoltageOption = None,
    pulse_s: PulseOption = None,
    energy: EnergyOption = None,
    energy_sd: EnergySdOption = None,
    seed: SeedOption = 1,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Rank further measurements by what they are expected to do to the interval of the saving."""
    from reliability.answer import compare
    from reliability.candidates import MoreCycles, MoreDevices, default_candidates
    from reliability.device_study import load_study
    from reliability.measure_next import MeasureNextOptions, measure_next
    from reliability.output import check_file, staged_file
    from reliability.planned_readings import planned_readings
    from reliability.progress import Narrator

    with checking_input():
        check_file(out, force=force, suffix=".json")
        if csv is not None:
            check_file(csv, force=force, suffix=".csv")
        options = decision_options(
            requirement=given(max_loss=max_loss, risk=risk, memory_ber=memory_ber),
            sensing=given(threshold_ohm=threshold_ohm, offset_ln_r=offset_ln_r),
            stored=given(one_is=one_is, scrambled=scrambled),
            energy=given(
                set_voltage_v=set_voltage_v,
                reset_voltage_v=reset_voltage_v,
                set_pulse_s=pulse_s,
                reset_pulse_s=pulse_s,
            ),
            requirement_file=requirement,
            energy_file=energy,
            energy_sd=energy_sd,
        )
        if options["energy"] is None:
            raise ValueError(
                "--energy none: without energies there is no saving to know better; leave it out"
            )
        judging = MeasureNextOptions(
            **given(reference=reference, question=question, simulations=simulations)
        )
        study = load_study(device)
        frame = study.main.frame
        check_decision(options, frame.programming, frame.low, frame.high)
        chosen = _chosen(candidate or [], candidates, frame.programming)
        for one in chosen:
            if isinstance(one, MoreDevices | MoreCycles):
                planned_readings(one, study)
        networks = counted_networks(counts)
    with working(), staged_file(out) as stage, Narrator(quiet=quiet) as narrator:
        narrator.say("propagating bit errors to accuracy")
        comparison = compare(
            study,
            networks,
            options["requirement"],
            options["sensing"],
            options["energy"],
            seed,
            energy_table=options["energy_table"],
            stored=options["stored"],
        )
        chosen = chosen or default_candidates(comparison, study)
        narrator.say(f"simulating what {len(chosen)} candidates would show")
        found = measure_next(
            study,
            comparison,
            chosen,
            energy_options=options["energy"],
            energy_table=options["energy_table"],
            options=judging,
            seed=seed,
            tick=narrator.tick,
        )
        text = json.dumps(found.record(), indent=1, allow_nan=False) + "\n"
        stage.write_text(text, encoding="utf-8")
        if csv is not None:
            with staged_file(csv) as table:
                _write_csv(found, table)
    for line in lines_of(found):
        typer.echo(line)
    typer.echo(f"ranking: {out}")


def _chosen(texts: list[str], path: Path | None, programming: object) -> list[Candidate]:
    from devicefit.programming import Programming
    from reliability.candidates import parse_candidate, read_candidates

    assert isinstance(programming, Programming)
    found = [parse_candidate(text, programming) for text in texts]
    return found + ([] if path is None else read_candidates(path, programming))


def _write_csv(found: MeasureNext, path: Path) -> None:
    import pandas as pd

    from reliability.candidates import KEYS

    rows = []
    for rank, outlook in enumerate(found.outlooks, 1):
        record = outlook.record()
        said = record.pop("candidate")
        rows.append({"rank": rank, **{key: said.get(key) for key in KEYS}, **record})
    pd.DataFrame(rows).to_csv(path, index=False)


def lines_of(found: MeasureNext) -> list[str]:
    """What the command prints."""
    lines = ["SIMULATED DEVICE: nothing here was measured"] if found.simulated else []
    question = "" if found.question == "test-set" else ", for the population of images"
    lines += [
        f"saving of {found.design} against {found.reference}, both at their limit{question}:",
        f"  {found.median:.3g} times (90 % ETI {found.low:.3g} to {found.high:.3g}); "
        f"width of ln saving {found.width:.3g}",
        "",
        f"{'':>3}  {'expected':>16}  {'effective':>9}  {'lowest safe':>11}",
        f"{'':>3}  {'shrinkage':>16}  {'draws':>9}  {'moves':>11}  candidate",
    ]
    for rank, o in enumerate(found.outlooks, 1):
        draws = o.route if o.effective_draws is None else f"{o.effective_draws:.0f}"
        moves = "" if o.p_decision_changes is None else f"P = {o.p_decision_changes:.2f}"
        extra = "; outside the measured range" if o.extrapolated else ""
        note = f" ({o.note})" if o.note else ""
        lines.append(
            f"{rank:>3}  {100 * o.shrinkage:>6.1f} % +- {100 * o.standard_error:>3.1f}  "
            f"{draws:>11}  {moves:>9}  {o.words}{extra}{note}"
        )
    return [*lines, "", found.sentence]
