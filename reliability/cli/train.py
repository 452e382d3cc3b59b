"""``train`` and ``grid``: training networks from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from reliability.cli.guards import exit_1_on_failure, exit_2_on_bad_input, refusing
from reliability.cli.inputs import given
from reliability.cli.network_inputs import network_options
from reliability.cli.options import (
    ChipsOption,
    EpochsOption,
    HiddenOption,
    ImageChoices,
    RunChoices,
    ThresholdsOption,
    opened,
)
from reliability.networks.images import load_image_set

training_commands = typer.Typer()


@training_commands.command()
@opened
def train(
    *,
    out: Annotated[Path, typer.Option(help="Network file to write (.safetensors).")],
    pictures: ImageChoices,
    train_ber: Annotated[
        float, typer.Option("--ber", help="Bit error rate during training; 0 for none.")
    ] = 0.0,
    ber_from: Annotated[
        float | None,
        typer.Option(
            "--ber-from", help="Every step has a rate of its own, between this one and --ber."
        ),
    ] = None,
    gradient: Annotated[
        str | None,
        typer.Option(help="Weights that gradients travel back through: flipped (default), clean."),
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="cross-entropy (default) or 'squared hinge'.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Margin that the loss asks of the scores; 0 with the cross-entropy."),
    ] = None,
    normalise_by: Annotated[
        str | None,
        typer.Option(
            "--normalise-by",
            help="Batch norm during training: by the statistics of the batch (default), for chips "
            "that are calibrated, or running, for fixed thresholds.",
        ),
    ] = None,
    statistics_ber: Annotated[
        float | None,
        typer.Option(
            "--statistics-ber",
            help="Measure the statistics behind the thresholds again at the end, at this rate; 0 "
            "for chips that are calibrated.",
        ),
    ] = None,
    hidden: HiddenOption = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Output channels of 3 x 3 convolutions before the hidden layers, e.g. "
            "48,48,96,96,192,192; a pooling follows every second one."
        ),
    ] = None,
    pool_after: Annotated[
        int | None, typer.Option(help="A pooling follows every so many convolutions.")
    ] = None,
    shift: Annotated[
        int | None,
        typer.Option(help="Shift training images by up to so many pixels, drawn anew each time."),
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Mirror half of the training images.")
    ] = False,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="First step size of Adam.")
    ] = None,
    arithmetic: Annotated[
        str | None, typer.Option(help="Numbers of the products: float32 (default) or bfloat16.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Let PyTorch compile the step (needs a compiler).")
    ] = False,
    processor: Annotated[
        str | None, typer.Option("--processor", help="cpu (default), cuda or cuda:N.")
    ] = None,
    initial: Annotated[
        Path | None,
        typer.Option(help="Begin with the weights in the checkpoint of another training."),
    ] = None,
    epochs: EpochsOption = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File to write every two minutes, to go on from after an interruption."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the --checkpoint where it is there.")
    ] = False,
    running: RunChoices,
) -> None:
    """Train and fold one network."""
    from bnn.networks.storage import save_network
    from bnn.training.training import check_resumable
    from reliability.files.output import check_file, staged_file
    from reliability.files.progress import Narrator
    from reliability.networks.study import run_training, training_options

    changes = given(
        ber_from=ber_from,
        gradient=gradient,
        loss=loss,
        margin=margin,
        normalise_by=normalise_by,
        statistics_ber=statistics_ber,
        learning_rate=learning_rate,
        arithmetic=arithmetic,
        device=processor,
    )
    with exit_2_on_bad_input():
        check_file(out, force=running.force, suffix=".safetensors")
        check_rates(train_ber, changes)
        check_checkpoint(checkpoint, out, resume=resume)
        changes |= shape_of(channels, pool_after, shift, mirror=mirror)
        changes["compiled"] = compiled
        options = network_options(
            pictures.images,
            seed=running.seed,
            threads=running.threads,
            hidden=hidden,
            epochs=epochs,
        )
        image_set = load_image_set(pictures.images, pictures.images_dir, pictures.download)
        if shift is not None and shift >= min(image_set.shape[-2:]):
            raise ValueError(
                f"--shift {shift}: images of {pictures.images} have "
                f"{min(image_set.shape[-2:])} pixels from "
                "edge to edge; shift by fewer"
            )
        training = training_options(image_set, options, ber=train_ber, **changes)
        if checkpoint is not None:
            check_resumable(image_set, training, checkpoint=checkpoint, initial=initial)
    with (
        exit_1_on_failure(),
        staged_file(out, force=running.force) as stage,
        Narrator(quiet=running.quiet) as narrator,
    ):
        if checkpoint is not None:
            checkpoint.absolute().parent.mkdir(parents=True, exist_ok=True)
        # whether the weights to begin with fit is found out only there
        with refusing():
            network, record = run_training(
                image_set,
                training,
                say=narrator.say,
                tick=narrator.tick,
                checkpoint=checkpoint,
                initial=initial,
            )
        save_network(network, stage, record=record)
    last = record["history"][-1]
    typer.echo(f"test images right: {last['test_correct']} of {last['test_images']}")
    typer.echo(f"network: {out}")


def shape_of(
    channels: str | None, pool_after: int | None, shift: int | None, *, mirror: bool
) -> dict[str, Any]:
    """Convolutions and augmentation that the user asked for, as options of a training.

    Raises
    ------
    ValueError
        Channels that are no positive numbers, or a pooling without convolutions.
    """
    from bnn.training.options import Augmentation, Convolutions

    found: dict[str, Any] = {}
    if channels is None:
        if pool_after is not None:
            raise ValueError("--pool-after goes with --channels")
    else:
        try:
            sizes = tuple(int(text) for text in channels.split(","))
        except ValueError:
            raise ValueError(f"--channels {channels!r}: give numbers like 48,48,96,96") from None
        found["convolutions"] = Convolutions(channels=sizes, **given(pool_after=pool_after))
    if shift is not None or mirror:
        found["augmentation"] = Augmentation(shift=shift or 0, mirror=mirror)
    return found


def check_rates(ber: float, changes: dict[str, Any]) -> None:
    """Refuse rates that no training can have.

    Raises
    ------
    ValueError
        Names the option, its value and the remedy.
    """
    if not 0 <= ber < 0.5:
        raise ValueError(f"--ber is {ber}; give a rate from 0 to below 0.5")
    lowest = changes.get("ber_from")
    if lowest is not None and not 0 <= lowest <= ber:
        raise ValueError(
            f"--ber-from is {lowest}; give a rate from 0 to {ber}, the rate of --ber, which is the "
            f"highest one"
        )
    if changes.get("gradient") == "clean" and ber == 0:
        raise ValueError("--gradient clean differs with errors only; give --ber, or drop it")
    check_statistics_ber(changes.get("statistics_ber"))


def check_statistics_ber(rate: float | None) -> None:
    """Refuse a rate of the statistics that no training can have.

    Raises
    ------
    ValueError
        Names the option, its value and the remedy.
    """
    if rate is not None and not 0 <= rate < 0.5:
        raise ValueError(f"--statistics-ber is {rate}; give a rate from 0 to below 0.5")


def check_checkpoint(checkpoint: Path | None, out: Path, *, resume: bool) -> None:
    """Refuse to overwrite a checkpoint, or to go on from none.

    Raises
    ------
    ValueError
        ``--resume`` without a file, a file that is there without ``--resume``, or the file that
        the network is written to.
    """
    if checkpoint is None:
        if resume:
            raise ValueError("--resume goes with --checkpoint FILE; name the file to go on from")
    elif checkpoint.resolve() == out.resolve():
        raise ValueError(f"{checkpoint} is --out and --checkpoint; name two files")
    elif checkpoint.exists() and not resume:
        raise ValueError(
            f"{checkpoint} is there; go on from it with --resume, name another, or remove it"
        )


@training_commands.command()
@opened
def grid(
    *,
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
    pictures: ImageChoices,
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
    running: RunChoices,
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

    with exit_2_on_bad_input():
        check_directory(out, force=running.force)
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
            networks=network_options(
                pictures.images,
                seed=running.seed,
                threads=running.threads,
                hidden=hidden,
                epochs=epochs,
                chips=chips,
            ),
            changes=given(statistics_ber=statistics_ber),
        )
        image_set = load_image_set(pictures.images, pictures.images_dir, pictures.download)
        if checkpoints is not None:
            check_checkpoints(image_set, options, checkpoints)
            checkpoints.mkdir(parents=True, exist_ok=True)
    names = ["grid.nc", "grid.csv", "grid.png"]
    with (
        exit_1_on_failure(),
        staged_directory(out, force=running.force, names=names) as stage,
        Narrator(quiet=running.quiet) as narrator,
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
