"""The ``decide`` command: from stored posteriors and counts to the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reliability.cli_guards import checking_input, print_verdict, working
from reliability.cli_inputs import (
    answer_from,
    check_decision,
    counted_networks,
    decision_options,
    given,
)
from reliability.cli_options import (
    EnergyOption,
    EnergySdOption,
    ForceOption,
    LivesOption,
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

decision_commands = typer.Typer()


@decision_commands.command()
def decide(
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    counts: Annotated[
        list[Path],
        typer.Option(help="Counts written by `evaluate`; the standard network first. Repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Results to write (.json).")],
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
    life_files: LivesOption = None,
    seed: SeedOption = 1,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Decide from stored posteriors and counts: lowest safe programming and energy saving."""
    from reliability.device_study import load_study
    from reliability.output import check_file, staged_file
    from reliability.progress import Narrator

    with checking_input():
        check_file(out, force=force, suffix=".json")
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
            life_files=life_files,
        )
        study = load_study(device)
        frame = study.main.frame
        check_decision(options, frame.programming, frame.low, frame.high)
        networks = counted_networks(counts)
    with working(), staged_file(out) as stage, Narrator(quiet=quiet) as narrator:
        results = answer_from(study, networks, options, seed, narrator, truth=False)
        stage.write_text(results.to_json(), encoding="utf-8")
    print_verdict(results)
    typer.echo(f"results: {out}")
