"""How much do networks differ that were trained alike, with another seed?

Question
    Accuracy over the bit error rate (BER) of five trainings of one recipe: standard deviation
    between trainings beside that between chips and the error of a finite test set. Fixed
    thresholds, and thresholds calibrated on each chip.

Inputs
    The recipes of ``train_zoo.py`` with other seeds, in bfloat16 and compiled; the MNIST files
    under ``--images-dir``.

Choices
    50 chips per network, all layers exposed; 4,000 training images calibrate. A variance between
    trainings is that of the means over chips less what finite chips add to it.

Seed
    1 to 5 for the trainings; 1 for chips, the same for every network.

Outputs
    ``analyses/results/training_seeds.json``: right answers, chip by chip, and the table. A part
    that is there already is not done again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bnn
from bnn.training.training import EpochResult
from reliability.networks.treated import count_treated
from reliability.networks.treatments import reference_from

sys.path.insert(0, str(Path(__file__).resolve().parent))
from train_zoo import RECIPES, checkpoint_of

RESULTS = Path(__file__).resolve().parent / "results" / "training_seeds.json"
SEEDS = (1, 2, 3, 4, 5)
RATES = (0.0, 1e-3, 1e-2, 4e-2, 7e-2, 0.1, 0.15, 0.2)
CHIPS, CHIP_SEED = 50, 1
FIXED, CALIBRATED = "fixed", "calibrated per chip"


def trained(name: str, seed: int, images: bnn.ImageSet, checkpoints: Path) -> bnn.FoldedNetwork:
    """Network of a recipe with another seed."""
    options = dataclasses.replace(
        RECIPES[name].options, seed=seed, arithmetic="bfloat16", compiled=True
    )
    start = time.perf_counter()

    def say(result: EpochResult) -> None:
        print(
            f"{name}, seed {seed}, {result.epoch}/{options.epochs}: test "
            f"{100 * result.test_accuracy:.2f} %, {time.perf_counter() - start:.0f} s",
            flush=True,
        )

    found = bnn.train(
        images,
        options,
        progress=say,
        checkpoint=checkpoint_of(f"{name}-seed-{seed}", checkpoints),
    )
    return bnn.fold(found.module)


def right(network: bnn.FoldedNetwork, images: bnn.ImageSet, treatment: str) -> list[list[int]]:
    """Right answers on the test images, for each rate and chip."""
    reference = None
    if treatment != FIXED:
        reference = reference_from(network, images, number=None, seed=CHIP_SEED, threads=1)
    options = {"rates": RATES, "chips": CHIPS, "seed": CHIP_SEED, "threads": 1}
    found: list[list[int]] = count_treated(
        network, reference, images, treatment, **options
    ).tolist()
    return found


def spread(counts: npt.NDArray[np.int64], images: int) -> dict[str, list[float]]:
    """Standard deviations in points of accuracy, from counts of shape (seed, rate, chip)."""
    accuracy = 100.0 * counts / images
    chip = accuracy.var(axis=2, ddof=1).mean(axis=0)
    means = accuracy.mean(axis=2)
    training = np.maximum(means.var(axis=0, ddof=1) - chip / counts.shape[2], 0.0)
    share = means.mean(axis=0) / 100.0
    return {
        "mean_percent": means.mean(axis=0).round(3).tolist(),
        "sd_between_trainings": np.sqrt(training).round(3).tolist(),
        "sd_between_chips": np.sqrt(chip).round(3).tolist(),
        "standard_error_of_test_set": (100 * np.sqrt(share * (1 - share) / images))
        .round(3)
        .tolist(),
        "lowest_mean_of_a_training": means.min(axis=0).round(3).tolist(),
        "highest_mean_of_a_training": means.max(axis=0).round(3).tolist(),
    }


def main() -> int:
    """Train, count and tabulate what is not there yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=["mnist-standard", "mnist-range"])
    parser.add_argument("--images-dir", type=Path)
    parser.add_argument("--checkpoints", type=Path, default=Path("build/zoo"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"rates": RATES, "chips": CHIPS, "right": {}, "spread": {}}
    if arguments.out.exists():
        found = json.loads(arguments.out.read_text(encoding="utf-8"))
    for name in arguments.names:
        images = bnn.load_images(RECIPES[name].images, images_dir=arguments.images_dir)
        lines = found["right"].setdefault(name, {})
        for seed in SEEDS:
            if str(seed) in lines:
                continue
            network = trained(name, seed, images, arguments.checkpoints)
            lines[str(seed)] = {t: right(network, images, t) for t in (FIXED, CALIBRATED)}
            for treatment in (FIXED, CALIBRATED):
                counts = np.array([line[treatment] for line in lines.values()])
                if len(counts) > 1:
                    found["spread"][f"{name}, {treatment}"] = {
                        "trainings": len(counts),
                        **spread(counts, len(images.test_images)),
                    }
            arguments.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(json.dumps(found["spread"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
