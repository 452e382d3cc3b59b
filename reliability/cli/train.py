"""``train`` and ``grid``: training networks from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reliability.cli.guards import exit_2_on_bad_input, exit_2_on_refusal
from reliability.cli.inputs import given
from reliability.cli.network_inputs import network_options, treatments_of
from reliability.cli.options import (
    ChipsOption,
    ImageChoices,
    NetworkChoices,
    Output,
    SimulationChoices,
    ThresholdsOption,
    opened,
    option,
)

if TYPE_CHECKING:
    from bnn.images.sets import ImageSet

training_commands = typer.Typer()


@dataclass(frozen=True)
class TrainingChoices:
    """How a network is trained; None is left to the defaults of the image set."""

    ber_from: float | None = option(
        help="Every step has a rate of its own, between this one and --ber."
    )
    gradient: str | None = option(
        help="Weights that gradients travel back through: flipped (default), clean."
    )
    loss: str | None = option(help="cross-entropy (default) or 'squared hinge'.")
    margin: float | None = option(
        help="Margin that the loss asks of the scores; 0 with the cross-entropy."
    )
    normalise_by: str | None = option(
        help="Batch norm during training: by the statistics of the batch (default), for chips "
        "that are calibrated, or running, for fixed thresholds."
    )
    statistics_ber: float | None = option(
        help="Measure the statistics behind the thresholds again at the end, at this rate; 0 "
        "for chips that are calibrated."
    )
    learning_rate: float | None = option(help="First step size of Adam.")
    arithmetic: str | None = option(help="Numbers of the products: float32 (default) or bfloat16.")
    compiled: bool = option(
        "--compiled", default=False, help="Let PyTorch compile the step (needs a compiler)."
    )
    device: str | None = option("--processor", help="cpu (default), cuda or cuda:N.")


@dataclass(frozen=True)
class LayerChoices(NetworkChoices):
    """Layers of the network, and how its images are varied."""

    channels: str | None = option(
        help="Output channels of 3 x 3 convolutions before the hidden layers, e.g. "
        "48,48,96,96,192,192; a pooling follows every second one."
    )
    pool_after: int | None = option(help="A pooling follows every so many convolutions.")
    shift: int | None = option(
        help="Shift training images by up to so many pixels, drawn anew each time."
    )
    mirror: bool = option("--mirror", default=False, help="Mirror half of the training images.")

    def changes(self) -> dict[str, Any]:
        """Convolutions and augmentation, as options of a training.

        Raises
        ------
        ValueError
            Channels that are no positive numbers, or a pooling without convolutions.
        """
        from bnn.training.options import Augmentation, Convolutions

        found: dict[str, Any] = {}
        if self.channels is None:
            if self.pool_after is not None:
                raise ValueError("--pool-after goes with --channels")
        else:
            try:
                sizes = tuple(int(text) for text in self.channels.split(","))
            except ValueError:
                raise ValueError(
                    f"--channels {self.channels!r}: give numbers like 48,48,96,96"
                ) from None
            found["convolutions"] = Convolutions(
                channels=sizes, **given(pool_after=self.pool_after)
            )
        if self.shift is not None or self.mirror:
            found["augmentation"] = Augmentation(shift=self.shift or 0, mirror=self.mirror)
        return found

    def check_shift(self, images: ImageSet, name: str) -> None:
        """Refuse a shift by as many pixels as the images of this name have."""
        edge = min(images.shape[-2:])
        if self.shift is not None and self.shift >= edge:
            raise ValueError(
                f"--shift {self.shift}: images of {name} have {edge} pixels from edge to edge; "
                "shift by fewer"
            )


@dataclass(frozen=True)
class CheckpointChoices:
    """Where a training begins, and where it goes on from."""

    initial: Path | None = option(
        help="Begin with the weights in the checkpoint of another training."
    )
    checkpoint: Path | None = option(
        help="File to write every two minutes, to go on from after an interruption."
    )
    resume: bool = option(
        "--resume", default=False, help="Go on from the --checkpoint where it is there."
    )

    def check(self, out: Path) -> None:
        """Refuse to overwrite a checkpoint, or to go on from none.

        Raises
        ------
        ValueError
            ``--resume`` without a file, a file that is there without ``--resume``, or the file that
            the network is written to.
        """
        if self.checkpoint is None:
            if self.resume:
                raise ValueError(
                    "--resume goes with --checkpoint FILE; name the file to go on from"
                )
        elif self.checkpoint.resolve() == out.resolve():
            raise ValueError(f"{self.checkpoint} is --out and --checkpoint; name two files")
        elif self.checkpoint.exists() and not self.resume:
            raise ValueError(
                f"{self.checkpoint} is there; go on from it with --resume, name another, or remove "
                "it"
            )


@dataclass(frozen=True)
class GridChoices:
    """The trainings and the chips of a grid."""

    train_ber: list[str] | None = option(
        metavar="RATE|LOW:HIGH",
        help="BER during a training, or a range of which every step takes one. Repeatable; "
        "unless said 0, 0.01, 0.04, 0.1 and 0:0.15.",
    )
    ber: list[float] | None = option(help="BER of the chips. Repeatable; unless said 0 to 0.2.")
    thresholds: ThresholdsOption = None
    statistics_ber: float | None = option(
        help="Measure the statistics behind the thresholds of every network again at the end, "
        "at this rate; 0 for chips that are calibrated."
    )
    checkpoints: Path | None = option(
        help="Directory of checkpoints; trainings that are there are gone on from."
    )
    chips: ChipsOption = None


@training_commands.command()
@opened
def train(
    *,
    out: Annotated[Path, typer.Option(help="Network file to write (.safetensors).")],
    images: ImageChoices,
    train_ber: Annotated[
        float, typer.Option("--ber", help="Bit error rate during training; 0 for none.")
    ] = 0.0,
    training: TrainingChoices,
    layers: LayerChoices,
    start: CheckpointChoices,
    simulation: SimulationChoices,
    output: Output,
) -> None:
    """Train and fold one network."""
    from bnn.networks.storage import save_network
    from bnn.training.training import check_resumable
    from reliability.networks.study import run_training, training_options

    changes, checkpoint = given(**vars(training)), start.checkpoint
    with exit_2_on_bad_input():
        output.check_file(out, ".safetensors")
        check_rates(train_ber, changes)
        start.check(out)
        changes |= layers.changes()
        options = network_options(images.images, simulation.seed, simulation.threads, layers)
        image_set = images.load()
        layers.check_shift(image_set, images.images)
        trained = training_options(image_set, options, ber=train_ber, **changes)
        if checkpoint is not None:
            check_resumable(image_set, trained, checkpoint=checkpoint, initial=start.initial)
    with output.file(out) as (stage, narrator):
        if checkpoint is not None:
            checkpoint.absolute().parent.mkdir(parents=True, exist_ok=True)
        # whether the weights to begin with fit is found out only there
        with exit_2_on_refusal():
            network, record = run_training(
                image_set,
                trained,
                say=narrator.say,
                tick=narrator.tick,
                checkpoint=checkpoint,
                initial=start.initial,
            )
        save_network(network, stage, record=record)
    last = record["history"][-1]
    typer.echo(f"test images right: {last['test_correct']} of {last['test_images']}")
    typer.echo(f"network: {out}")


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


@training_commands.command()
@opened
def grid(
    *,
    out: Annotated[Path, typer.Option(help="Directory to write: grid.nc, grid.csv, grid.png.")],
    chosen: GridChoices,
    images: ImageChoices,
    networks: NetworkChoices,
    simulation: SimulationChoices,
    output: Output,
) -> None:
    """Train networks at several error rates and count their chips at several error rates.

    Shows what training at one rate costs at others, with the spread of the chips, for thresholds as
    trained, folded for each BER and calibrated on each chip. Without --thresholds: all three.
    """
    from devicefit.numerics.datasets import write_datasets
    from reliability.networks.grid import (
        FORMAT,
        GridOptions,
        TrainingRates,
        check_checkpoints,
        count_grid,
    )
    from reliability.report.figures.grid import draw_grid

    with exit_2_on_bad_input():
        output.check_directory(out)
        rates = chosen.train_ber or ["0", "0.01", "0.04", "0.1", "0:0.15"]
        treatments = treatments_of(chosen.thresholds)
        check_statistics_ber(chosen.statistics_ber)
        checkpoints = chosen.checkpoints
        if checkpoints is not None and checkpoints.exists() and not checkpoints.is_dir():
            raise ValueError(f"--checkpoints {checkpoints} is a file; name a directory")
        seed, threads = simulation.seed, simulation.threads
        options = GridOptions(
            trainings=tuple(TrainingRates.parse(text) for text in rates),
            **given(rates=tuple(sorted(chosen.ber)) if chosen.ber else None),
            treatments=treatments,
            networks=network_options(images.images, seed, threads, networks, chips=chosen.chips),
            changes=given(statistics_ber=chosen.statistics_ber),
        )
        image_set = images.load()
        if checkpoints is not None:
            check_checkpoints(image_set, options, checkpoints)
            checkpoints.mkdir(parents=True, exist_ok=True)
    with output.directory(out, ["grid.nc", "grid.csv", "grid.png"]) as (stage, narrator):
        # a checkpoint of another training is found out only there
        with exit_2_on_refusal():
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
