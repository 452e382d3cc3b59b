"""Which networks does the zoo hold, and how is each trained?

Question
    None of its own: makes the networks of `bnn.zoo`, whose tolerance `zoo_tolerance.py` measures.

Inputs
    The MNIST and CIFAR-10 files under ``--images-dir``; digits need none.

Seed
    In the recipe, part of the network's record.

Outputs
    ``bnn/zoo/NAME.safetensors`` and ``NAME.json``, and ``analyses/results/zoo_training.json``:
    accuracy after every epoch. Checkpoints lie under ``--checkpoints``; the same command goes on
    where it was interrupted, to the same bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bnn
from bnn.networks.network import network_sha256
from bnn.training.options import Augmentation, Convolutions
from bnn.training.training import EpochResult, training_record
from reliability.networks.copies import copied_record

HERE = Path(__file__).resolve().parent
ZOO = HERE.parent / "bnn" / "zoo"
RESULTS = HERE / "results" / "zoo_training.json"


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    Attributes
    ----------
    description : str
        What the network is for.
    images : str
        Image set.
    options : TrainingOptions
        Everything else.
    begins_with : str or None
        Network of this table whose latent weights and batch norm it begins with, or none.
    """

    description: str
    images: str
    options: bnn.TrainingOptions
    begins_with: str | None = None


def mnist(description: str, **changes: Any) -> Recipe:
    """784-1024-1024-10."""
    options = {"epochs": 20, "seed": 1, **changes}
    return Recipe(description, "mnist", bnn.TrainingOptions(**options))


def digits(description: str, **changes: Any) -> Recipe:
    """64-256-256-10, the network of the embedded default."""
    options = {"hidden": (256, 256), "epochs": 100, "seed": 1, **changes}
    return Recipe(description, "digits", bnn.TrainingOptions(**options))


def cifar(description: str, *, begins_with: str | None = None, **changes: Any) -> Recipe:
    """The CIFAR-10 network with convolutions of 0.375 times the usual width."""
    options = {
        "convolutions": Convolutions(channels=(48, 48, 96, 96, 192, 192)),
        "augmentation": Augmentation(shift=2),
        "arithmetic": "bfloat16",
        "compiled": True,
        "seed": 1,
        **changes,
    }
    return Recipe(description, "cifar-10", bnn.TrainingOptions(**options), begins_with)


RECIPES = {
    "digits-standard": digits("trained without errors"),
    "digits-4e-2": digits("trained at BER 4e-2, flips drawn anew at every step", ber=0.04),
    "mnist-standard": mnist("trained without errors"),
    "mnist-range": mnist(
        "trained at rates from 0 to 0.15, thresholds for error-free weights: calibrate each chip",
        ber=0.15,
        ber_from=0.0,
        statistics_ber=0.0,
    ),
    "mnist-range-fixed": mnist(
        "trained at rates from 0 to 0.06 by running statistics: for fixed thresholds",
        ber=0.06,
        ber_from=0.0,
        normalise_by="running",
        statistics_ber=0.02,
        epochs=10,
    ),
    "mnist-4e-2": mnist("trained at BER 4e-2, flips drawn anew at every step", ber=0.04),
    "mnist-margin": mnist(
        "trained without errors, cross-entropy with a margin of 4", margin=4.0, epochs=10
    ),
    "cifar-standard": cifar("trained without errors", epochs=24),
    "cifar-range": cifar(
        "goes on from cifar-standard at rates from 0 to 0.12, thresholds for error-free weights: "
        "calibrate each chip",
        begins_with="cifar-standard",
        epochs=8,
        learning_rate=2e-3,
        ber=0.12,
        ber_from=0.0,
        statistics_ber=0.0,
    ),
    "cifar-high-range": cifar(
        "goes on from cifar-range at rates from 0.04 to 0.16, thresholds for error-free weights: "
        "calibrate each chip",
        begins_with="cifar-range",
        epochs=16,
        learning_rate=2e-3,
        ber=0.16,
        ber_from=0.04,
        statistics_ber=0.0,
    ),
    "cifar-4e-2": cifar(
        "goes on from cifar-standard at BER 4e-2, flips drawn anew at every step",
        begins_with="cifar-standard",
        epochs=3,
        learning_rate=2e-3,
        ber=0.04,
    ),
    "cifar-margin": cifar(
        "goes on from cifar-standard without errors, cross-entropy with a margin of 4",
        begins_with="cifar-standard",
        epochs=3,
        learning_rate=2e-3,
        margin=4.0,
    ),
}

COPIES = {"cifar-high-range-x3": ("cifar-high-range", {"hidden_1": 3})}
"""Networks of the zoo with copied neurons: the network that they are made of, and the copies."""


def checkpoint_of(name: str, checkpoints: Path) -> Path:
    """File that a training goes on from."""
    return checkpoints / f"{name}.checkpoint.safetensors"


def train(name: str, images_dir: Path | None, checkpoints: Path, zoo: Path) -> dict[str, Any]:
    """Train one network, save it, and give the line of the table of results."""
    recipe = RECIPES[name]
    images = bnn.load_images(recipe.images, images_dir=images_dir)
    start = time.perf_counter()

    def say(result: EpochResult) -> None:
        print(
            f"{name} {result.epoch}/{recipe.options.epochs}: loss {result.loss:.4f}, test "
            f"{100 * result.test_accuracy:.2f} %, {time.perf_counter() - start:.0f} s",
            flush=True,
        )

    initial = None
    if recipe.begins_with is not None:
        initial = checkpoint_of(recipe.begins_with, checkpoints)
        if not initial.exists():
            raise SystemExit(f"{name} begins with {recipe.begins_with}: train that one first")
    trained = bnn.train(
        images,
        recipe.options,
        progress=say,
        checkpoint=checkpoint_of(name, checkpoints),
        initial=initial,
    )
    network = bnn.fold(trained.module)
    last_epoch = trained.history[-1]
    command = f"python analyses/train_zoo.py --images-dir DIR {name}"
    record = {
        "description": recipe.description,
        **training_record(trained),
        "command": command,
        **({} if initial is None else {"begins_with": recipe.begins_with}),
        "test": {"correct": last_epoch.test_correct, "images": last_epoch.test_images},
    }
    bnn.save_network(network, zoo / f"{name}.safetensors", record=record)
    return {
        "network_sha256": network_sha256(network),
        "options": record["training"],
        "test_correct": [epoch.test_correct for epoch in trained.history],
        "test_images": last_epoch.test_images,
        "loss": [round(epoch.loss, 6) for epoch in trained.history],
    }


def copy(name: str, zoo: Path) -> None:
    """Save a network with copied neurons; it answers as the one it is made of."""
    source, copies = COPIES[name]
    network, record = bnn.load_network(zoo / f"{source}.safetensors")
    wide = bnn.copy_neurons(network, copies)
    texts = ", ".join(f"{layer} x {number}" for layer, number in copies.items())
    record = {
        **copied_record(record, copies, wide),
        "description": f"{source} with copied neurons ({texts}): calibrate each chip",
        "command": f"python analyses/train_zoo.py {name}",
    }
    bnn.save_network(wide, zoo / f"{name}.safetensors", record=record)


def main() -> int:
    """Train the networks named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*RECIPES, *COPIES]))
    parser.add_argument("--images-dir", type=Path)
    parser.add_argument("--checkpoints", type=Path, default=Path("build/zoo"))
    parser.add_argument("--zoo", type=Path, default=ZOO)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--epochs", type=int, help="for a short trial")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in {*RECIPES, *COPIES}]
    if unknown:
        parser.error(f"no recipe {unknown[0]!r}; known: {', '.join([*RECIPES, *COPIES])}")
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    arguments.zoo.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or [*RECIPES, *COPIES]:
        if name in COPIES:
            copy(name, arguments.zoo)
            continue
        if arguments.epochs is not None:
            recipe = RECIPES[name]
            options = dataclasses.replace(recipe.options, epochs=arguments.epochs)
            RECIPES[name] = dataclasses.replace(recipe, options=options)
        line = train(name, arguments.images_dir, arguments.checkpoints, arguments.zoo)
        table = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        table[name] = line
        arguments.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
