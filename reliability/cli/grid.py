"""Grids of training and test error rates from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reliability.cli.guards import checking_input, refusing, working
from reliability.cli.inputs import given, network_options
from reliability.cli.options import (
    ChipsOption,
    DownloadOption,
    EpochsOption,
    ForceOption,
    HiddenOption,
    ImagesDirOption,
    ImagesOption,
    QuietOption,
    SeedOption,
    ThreadsOption,
    ThresholdsOption,
)
from reliability.cli.train import check_statistics_ber
from reliability.networks.images import load_image_set

grid_commands = typer.Typer()


@grid_commands.command()
def grid(
    out: Annotated[Path, typer.Option(help="Directory to write: grid.nc, grid.csv, grid.png.")],
    train_ber: Annotated[
        list[str] | None,
        typer.Option(
            "--train-ber",
            metavar="RATE|LOW:HIGH",
            help="BER during a training, or a range of which every step takes one. Repeatable; "
            "unless said 0, 0.01, 0.04, 0.1 and 0:0.15.",
        ),
    ] = None,
    ber: Annotated[
        list[float] | None,
        typer.Option("--ber", help="BER of the chips. Repeatable; unless said 0 to 0.2."),
    ] = None,
    thresholds: ThresholdsOption = None,
    images: ImagesOption = "digits",
    images_dir: ImagesDirOption = None,
    download: DownloadOption = False,
    hidden: HiddenOption = None,
    epochs: EpochsOption = None,
    statistics_ber: Annotated[
        float | None,
        typer.Option(
            "--statistics-ber",
            help="Measure the statistics behind the thresholds of every network again at the end, "
            "at this rate; 0 for chips that are calibrated.",
        ),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option(help="Directory of checkpoints; trainings that are there are gone on from."),
    ] = None,
    chips: ChipsOption = None,
    seed: SeedOption = 1,
    threads: ThreadsOption = 2,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train networks at several error rates and count their chips at several error rates.

    Shows what training at one rate costs at others, with the spread of the chips, for thresholds as
    trained, folded for each BER and calibrated on each chip. Without --thresholds: all three.
    """
    from devicefit.numerics.datasets import write_datasets
    from reliability.files.output import check_directory, staged_directory
    from reliability.files.progress import Narrator
    from reliability.networks.grid import (
        FORMAT,
        GridOptions,
        TrainingRates,
        check_checkpoints,
        count_grid,
    )
    from reliability.networks.treated import TREATMENTS
    from reliability.report.figures.grid import draw_grid

    with checking_input():
        check_directory(out, force=force)
        rates = train_ber or ["0", "0.01", "0.04", "0.1", "0:0.15"]
        for word in thresholds or []:
            if word not in TREATMENTS:
                raise ValueError(
                    f"--thresholds {word!r} is not known; known: {', '.join(TREATMENTS)}"
                )
        check_statistics_ber(statistics_ber)
        if checkpoints is not None and checkpoints.exists() and not checkpoints.is_dir():
            raise ValueError(f"--checkpoints {checkpoints} is a file; name a directory")
        options = GridOptions(
            trainings=tuple(TrainingRates.parse(text) for text in rates),
            **given(rates=tuple(sorted(ber)) if ber else None),
            treatments=tuple(TREATMENTS[word] for word in thresholds or TREATMENTS),
            networks=network_options(images, hidden, epochs, None, chips, seed, threads),
            changes=given(statistics_ber=statistics_ber),
        )
        image_set = load_image_set(images, images_dir, download)
        if checkpoints is not None:
            check_checkpoints(image_set, options, checkpoints)
            checkpoints.mkdir(parents=True, exist_ok=True)
    names = ["grid.nc", "grid.csv", "grid.png"]
    with (
        working(),
        staged_directory(out, force=force, names=names) as stage,
        Narrator(quiet=quiet) as narrator,
    ):
        # a checkpoint of another training is found out only there
        with refusing():
            found = count_grid(
                image_set,
                options,
                checkpoints=checkpoints,
                say=narrator.say,
                tick=narrator.tick,
            )
        write_datasets(stage / "grid.nc", FORMAT, {"": found})
        table = found[["correct", "train_ber_from", "train_ber"]].to_dataframe().reset_index()
        table.insert(len(table.columns), "test_images", found.attrs["test_images"])
        table.to_csv(stage / "grid.csv", index=False)
        draw_grid(found).savefig(stage / "grid.png", dpi=110, metadata={"Software": None})
    typer.echo(f"grid: {out}")
