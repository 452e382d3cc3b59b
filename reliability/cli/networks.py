"""Commands about network files: importing them, looking at them, calibrating their thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reliability.cli.guards import exit_1_on_failure, exit_2_on_bad_input
from reliability.cli.network_inputs import network_options
from reliability.cli.options import (
    ChipsOption,
    ForceOption,
    ImageChoices,
    RunChoices,
    opened,
)
from reliability.networks.images import load_image_set

network_files = typer.Typer()


@network_files.command()
@opened
def calibrate(
    *,
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
    thresholds: Annotated[
        str | None,
        typer.Option(
            help="What to count: 'calibrated' on each chip (default), or 'folded' at each BER of "
            "the grid for this BER, one set for all chips."
        ),
    ] = None,
    ber: Annotated[
        float | None,
        typer.Option("--ber", help="Fold the thresholds for this bit error rate, for all chips."),
    ] = None,
    calibration_images: Annotated[
        int | None,
        typer.Option(
            "--calibration-images",
            min=2,
            help="Training images to calibrate with, drawn without their labels; 4000, or all "
            "where there are fewer.",
        ),
    ] = None,
    pictures: ImageChoices,
    chips: ChipsOption = None,
    running: RunChoices,
) -> None:
    """Fit the thresholds of a network to weights that hold errors.

    With --ber P: one set of thresholds for all chips that have the bit error rate P; writes the
    network, for `evaluate` and `run`.

    Without: every chip gets thresholds of its own, as after programming it one would run some
    images through it and look at its neurons; writes the counts, as `evaluate` does, for `decide`.
    With --thresholds folded: all chips of a BER share thresholds folded for it, as where the BER of
    operation is known.
    """
    from bnn.calibration.calibration import PER_CHIP, fold_for_ber, folded_for
    from bnn.networks.storage import save_network
    from reliability.files.output import check_file, staged_file
    from reliability.files.progress import Narrator
    from reliability.networks.records import open_network
    from reliability.networks.study import save_counts
    from reliability.networks.treated import TREATMENTS, treated_study
    from reliability.networks.treatments import check_fixed, reference_from, treated_record

    with exit_2_on_bad_input():
        check_file(out, force=running.force, suffix=".nc" if ber is None else ".safetensors")
        if ber is not None and not 0 < ber < 0.5:
            raise ValueError(f"--ber is {ber}; give a rate between 0 and 0.5")
        if ber is not None and thresholds is not None:
            raise ValueError("--thresholds goes without --ber, which writes a network; drop one")
        if ber is not None and chips is not None:
            raise ValueError(
                "--chips goes without --ber, which writes a network and counts none; drop one"
            )
        known = {word: name for word, name in TREATMENTS.items() if word != "fixed"}
        if thresholds is not None and thresholds not in known:
            raise ValueError(
                f"--thresholds {thresholds!r} is not known; known: {', '.join(known)}; as trained "
                "they are counted by `evaluate`"
            )
        folded, record = open_network(network)
        try:
            check_fixed(record)
        except ValueError as error:
            raise ValueError(f"{network}: {error}") from None
        options = network_options(
            pictures.images, seed=running.seed, threads=running.threads, chips=chips
        )
        image_set = load_image_set(
            pictures.images, pictures.images_dir, pictures.download, [(network, folded, record)]
        )
        reference = reference_from(
            folded, image_set, number=calibration_images, seed=running.seed, threads=running.threads
        )
    treatment = known[thresholds] if thresholds else PER_CHIP
    if ber is not None:
        treatment = folded_for(ber)
    with (
        exit_1_on_failure(),
        staged_file(out, force=running.force) as stage,
        Narrator(quiet=running.quiet) as narrator,
    ):
        with exit_2_on_bad_input():
            reference = reference_from(
                folded,
                image_set,
                number=calibration_images,
                seed=running.seed,
                threads=running.threads,
            )
        record = treated_record(record, treatment, reference, image_set, seed=running.seed)
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
    pictures: ImageChoices,
    force: ForceOption = False,
) -> None:
    """Import a binarized network that was trained elsewhere, and prove that it answers alike.

    PyTorch modules are imported from Python, with bnn.from_torch, or exported to ONNX first:
    nothing is unpickled here.
    """
    from bnn.networks.storage import save_network
    from reliability.files.output import check_file, staged_file
    from reliability.networks.imported import accuracy_on, read_network, round_trip_lines

    with exit_2_on_bad_input():
        check_file(out, force=force, suffix=".safetensors")
        image_set = load_image_set(pictures.images, pictures.images_dir, pictures.download)
        found = read_network(file, image_set, encoding)
        right, count = accuracy_on(found.network, image_set)
    with exit_1_on_failure(), staged_file(out, force=force) as stage:
        save_network(found.network, stage, record=found.record)
    first, *further = round_trip_lines(found.record["source"])
    typer.echo(f"{'-'.join(str(size) for size in found.network.sizes)}: {first}")
    for line in further:
        typer.echo(line)
    typer.echo(f"test images right: {right} of {count}")
    typer.echo(f"network: {out}")


@network_files.command()
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
    force: ForceOption = False,
) -> None:
    """Copy the neurons of hidden layers: same answers, fewer lost to wrong bits, more cells.

    Every copy has weights of its own, and the next layer sums over them. A first convolution has
    few weights and much hangs on each, so there it costs little and wins most. No training needed.
    """
    from bnn.networks.copies import copy_neurons
    from bnn.networks.storage import save_network
    from reliability.files.output import check_file, staged_file
    from reliability.networks.copies import copied_record, numbers_of_copies
    from reliability.networks.records import open_network

    with exit_2_on_bad_input():
        check_file(out, force=force, suffix=".safetensors")
        narrow, record = open_network(network)
        numbers = numbers_of_copies(copies)
        wide = copy_neurons(narrow, numbers)
    before, after = (sum(n.weight_bits.values()) for n in (narrow, wide))
    with exit_1_on_failure(), staged_file(out, force=force) as stage:
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
