"""The ``decide`` command: from stored posteriors and counts to the answer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from reliability.cli.guards import checking_input, print_verdict, working
from reliability.cli.inputs import (
    answer_from,
    check_decision,
    confirming_with,
    counted_images,
    counted_networks,
    decision_options,
    requirement_of,
)
from reliability.cli.options import (
    ConfirmChoices,
    DecisionChoices,
    ForceOption,
    ImagesDirOption,
    LivesOption,
    QuietOption,
    SeedOption,
    ThreadsOption,
    opened,
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
    confirm: ConfirmChoices,
    life_files: LivesOption = None,
    networks_dir: Annotated[
        list[Path] | None,
        typer.Option(
            "--networks",
            help="Folder of the networks that were counted, to confirm the design by chips; the "
            "folders of the counts and the zoo are searched too. Repeatable.",
        ),
    ] = None,
    images_dir: ImagesDirOption = None,
    seed: SeedOption = 1,
    threads: ThreadsOption = 2,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Decide from stored posteriors and counts: lowest safe programming and energy saving."""
    from reliability.confirmation.confirmables import networks_in
    from reliability.device.files import load_study
    from reliability.files.output import check_file, staged_file
    from reliability.files.progress import Narrator
    from reliability.networks.images import load_image_set

    with checking_input():
        check_file(out, force=force, suffix=".json")
        options = decision_options(asked, life_files)
        study = load_study(device)
        frame = study.main.frame
        check_decision(
            options,
            frame.programming,
            frame.low,
            frame.high,
            second=frame.second,
            second_values=study.second_values,
        )
        options["sensing"] = study.sensing(**vars(options["sensing"]))
        study.check_threshold(options["sensing"])
        networks = counted_networks(counts)
        options["requirement"] = requirement_of(asked, counted_images(networks))
        folders = _network_folders(networks_dir or [], counts)
    with working(), staged_file(out, force=force) as stage, Narrator(quiet=quiet) as narrator:
        confirming = confirming_with(
            study,
            networks,
            networks_in(folders),
            partial(load_image_set, directory=images_dir, download=False),
            confirm,
            seed=seed,
            threads=threads,
        )
        results = answer_from(
            study,
            networks,
            options,
            seed,
            narrator,
            truth=False,
            confirming=confirming,
        )
        stage.write_text(results.to_json(), encoding="utf-8")
    print_verdict(results)
    typer.echo(f"results: {out}")


def _network_folders(named: list[Path], counts: list[Path]) -> list[Path]:
    """Folders to search for networks: those that were named, then those of the counts."""
    for folder in named:
        if not folder.is_dir():
            raise ValueError(f"--networks {folder}: no such folder; name one that holds networks")
    return list(dict.fromkeys([*named, *(path.absolute().parent for path in counts)]))
