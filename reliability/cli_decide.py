"""The ``decide`` command: from stored posteriors and counts to the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reliability.cli_groups import opened
from reliability.cli_guards import checking_input, print_verdict, working
from reliability.cli_inputs import (
    answer_from,
    check_decision,
    counted_networks,
    decision_options,
)
from reliability.cli_options import (
    DecisionChoices,
    ForceOption,
    LivesOption,
    QuietOption,
    SeedOption,
)

decision_commands = typer.Typer()


@decision_commands.command()
@opened
def decide(
    device: Annotated[Path, typer.Argument(help="Directory written by `fit`.")],
    counts: Annotated[
        list[Path],
        typer.Option(help="Counts written by `evaluate`; the standard network first. Repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Results to write (.json).")],
    asked: DecisionChoices,
    life_files: LivesOption = None,
    seed: SeedOption = 1,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Decide from stored posteriors and counts: lowest safe programming and energy saving."""
    from reliability.output import check_file, staged_file
    from reliability.progress import Narrator
    from reliability.study_files import load_study

    with checking_input():
        check_file(out, force=force, suffix=".json")
        options = decision_options(asked, life_files)
        study = load_study(device)
        frame = study.main.frame
        check_decision(options, frame.programming, frame.low, frame.high)
        networks = counted_networks(counts)
    with working(), staged_file(out) as stage, Narrator(quiet=quiet) as narrator:
        results = answer_from(study, networks, options, seed, narrator, truth=False)
        stage.write_text(results.to_json(), encoding="utf-8")
    print_verdict(results)
    typer.echo(f"results: {out}")
