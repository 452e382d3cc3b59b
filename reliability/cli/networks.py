"""Commands about network files: importing them, looking at them, calibrating their thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from reliability.cli.guards import exit_2_on_bad_input
from reliability.cli.network_inputs import network_options
from reliability.cli.options import (
    ChipsOption,
    ImageChoices,
    Output,
    QuietOutput,
    SimulationChoices,
    opened,
    option,
)

network_files = typer.Typer()


@dataclass(frozen=True)
class CalibrationChoices:
    """Thresholds that are fitted to weights with errors."""

    thresholds: str | None = option(
        help="What to count: 'calibrated' on each chip (default), or 'folded' at each BER of "
        "the grid for this BER, one set for all chips."
    )
    ber: float | None = option(help="Fold the thresholds for this bit error rate, for all chips.")
    calibration_images: int | None = option(
        min=2,
        help="Training images to calibrate with, drawn without their labels; 4000, or all "
        "where there are fewer.",
    )
    chips: ChipsOption = None

    def treatment(self) -> str:
        """Treatment of thresholds of :mod:`bnn.calibration.calibration` that is asked for.

        Raises
        ------
        ValueError
            Options that do not go together, or a value that is not known.
        """
        from bnn.calibration.calibration import folded_for
        from bnn.calibration.treatments import PER_CHIP
        from reliability.networks.treated import TREATMENTS

        if self.ber is not None and not 0 < self.ber < 0.5:
            raise ValueError(f"--ber is {self.ber}; give a rate between 0 and 0.5")
        if self.ber is not None and self.thresholds is not None:
            raise ValueError("--thresholds goes without --ber, which writes a network; drop one")
        if self.ber is not None and self.chips is not None:
            raise ValueError(
                "--chips goes without --ber, which writes a network and counts none; drop one"
            )
        known = {word: name for word, name in TREATMENTS.items() if word != "fixed"}
        if self.thresholds is not None and self.thresholds not in known:
            raise ValueError(
                f"--thresholds {self.thresholds!r} is not known; known: {', '.join(known)}; as "
                "trained they are counted by `evaluate`"
            )
        if self.ber is not None:
            return folded_for(self.ber)
        return known[self.thresholds] if self.thresholds else PER_CHIP


@network_files.command()
@opened
def calibrate(
    network: Annotated[
        Path, typer.Argument(help="Network written by `train` or `import`, or zoo:NAME.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="With --ber the network to write (.safetensors), without it the counts of "
            "calibrated chips (.nc)."
        ),
    ],
    choices: CalibrationChoices,
    images: ImageChoices,
    simulation: SimulationChoices,
    output: Output,
) -> None:
    """Fit the thresholds of a network to weights that hold errors.

    With --ber P: one set of thresholds for all chips that have the bit error rate P; writes the
    network, for `evaluate` and `run`.

    Without: every chip gets thresholds of its own, as after programming it one would run some
    images through it and look at its neurons; writes the counts, as `evaluate` does, for `decide`.
    With --thresholds folded: all chips of a BER share thresholds folded for it, as where the BER of
    operation is known.
    """
    from bnn.calibration.calibration import fold_for_ber
    from bnn.networks.storage import save_network
    from reliability.networks.records import open_network
    from reliability.networks.study import save_counts
    from reliability.networks.treated import treated_study
    from reliability.networks.treatments import check_fixed, reference_from, treated_record

    ber, seed, threads = choices.ber, simulation.seed, simulation.threads
    with exit_2_on_bad_input():
        output.check_file(out, ".nc" if ber is None else ".safetensors")
        treatment = choices.treatment()
        folded, record = open_network(network)
        try:
            check_fixed(record)
        except ValueError as error:
            raise ValueError(f"{network}: {error}") from None
        options = network_options(images.images, seed, threads, chips=choices.chips)
        image_set = images.load([(network, folded, record)])
    with output.file(out) as (stage, narrator):
        with exit_2_on_bad_input():
            reference = reference_from(
                folded, image_set, number=choices.calibration_images, seed=seed, threads=threads
            )
        record = treated_record(record, treatment, reference, image_set, seed=seed)
        if ber is not None:
            save_network(fold_for_ber(reference, ber), stage, record=record)
        else:
            number = record["thresholds"]["images"]
            narrator.say(f"{options.chips} chips, {number} images, thresholds {treatment}")
            study = treated_study(
                reference, image_set, options, record, treatment=treatment, tick=narrator.tick
            )
            save_counts(study, stage)
    typer.echo(f"{'counts' if ber is None else 'network'}, thresholds {treatment}: {out}")


@network_files.command("import")
@opened
def import_network(
    *,
    file: Annotated[
        Path, typer.Argument(help="ONNX model (.onnx), Keras model (.h5) or weights (.npz).")
    ],
    out: Annotated[Path, typer.Option(help="Network file to write (.safetensors).")],
    encoding: Annotated[
        str | None,
        typer.Option(
            help="How the network takes its pixels 0..255: unit (pixel / 255), symmetric "
            "(2 pixel / 255 - 1), raw (pixel), or MEAN,STD of Normalize after pixel / 255. "
            "Default: unit for .onnx, symmetric for .h5; a .npz file says it itself."
        ),
    ] = None,
    images: ImageChoices,
    output: QuietOutput,
) -> None:
    """Import a binarized network that was trained elsewhere, and prove that it answers alike.

    PyTorch modules are imported from Python, with bnn.from_torch, or exported to ONNX first:
    nothing is unpickled here.
    """
    from bnn.networks.storage import save_network
    from reliability.networks.imported import accuracy_on, read_network, round_trip_lines

    with exit_2_on_bad_input():
        output.check_file(out, ".safetensors")
        image_set = images.load()
        found = read_network(file, image_set, encoding)
        right, count = accuracy_on(found.network, image_set)
    with output.file(out) as (stage, _):
        save_network(found.network, stage, record=found.record)
    first, *further = round_trip_lines(found.record["source"])
    typer.echo(f"{'-'.join(str(size) for size in found.network.sizes)}: {first}")
    for line in further:
        typer.echo(line)
    typer.echo(f"test images right: {right} of {count}")
    typer.echo(f"network: {out}")


@network_files.command()
@opened
def widen(
    network: Annotated[
        Path, typer.Argument(help="Network written by `train` or `import`, or zoo:NAME.")
    ],
    out: Annotated[Path, typer.Option(help="Network file to write (.safetensors).")],
    copies: Annotated[
        list[str],
        typer.Option(
            metavar="LAYER=NUMBER",
            help="So many neurons, or channels, of this hidden layer for each one of before, e.g. "
            "hidden_1=3. Repeatable.",
        ),
    ],
    output: QuietOutput,
) -> None:
    """Copy the neurons of hidden layers: same answers, fewer lost to wrong bits, more cells.

    Every copy has weights of its own, and the next layer sums over them. A first convolution has
    few weights and much hangs on each, so there it costs little and wins most. No training needed.
    """
    from bnn.networks.copies import copy_neurons
    from bnn.networks.storage import save_network
    from reliability.networks.copies import copied_record, numbers_of_copies
    from reliability.networks.records import open_network

    with exit_2_on_bad_input():
        output.check_file(out, ".safetensors")
        narrow, record = open_network(network)
        numbers = numbers_of_copies(copies)
        wide = copy_neurons(narrow, numbers)
    before, after = (sum(n.weight_bits.values()) for n in (narrow, wide))
    with output.file(out) as (stage, _):
        save_network(wide, stage, record=copied_record(record, numbers, wide))
    typer.echo(f"{before} weight bits become {after}, {100 * (after / before - 1):.2g} % more")
    typer.echo(f"network: {out}")


@network_files.command()
def inspect(
    network: Annotated[Path, typer.Argument(help="Network file (.safetensors), or zoo:NAME.")],
    seal: Annotated[
        bool,
        typer.Option(
            "--seal",
            help="First write the record of a network of an earlier version again, with its hash.",
        ),
    ] = False,
) -> None:
    """Say what is in a network file: layers, bits, thresholds, and where it came from."""
    from bnn.networks.storage import seal_network
    from reliability.networks.imported import network_lines
    from reliability.networks.records import open_network

    with exit_2_on_bad_input():
        if seal:
            seal_network(network)
        folded, record = open_network(network)
    for line in network_lines(folded, record):
        typer.echo(line)


@network_files.command()
def zoo() -> None:
    """List the trained networks that come with the package."""
    from bnn.zoo.networks import zoo_networks

    for network in zoo_networks():
        share = f"{network.correct} of {network.images} test images right"
        typer.echo(f"zoo:{network.name}: {network.description}; {network.image_set}, {share}")
