"""What does threshold calibration win, how many images does it need, and which?

Question
    How right is a 784-1024-1024-10 network on MNIST with wrong weights in all layers when its
    thresholds are fixed, folded for the bit error rate (BER), or calibrated on each chip? How many
    images does a calibration need, what if they are of few classes, and what if the chip also
    misreads weights, anew at every read, while it is calibrated and used?

Inputs
    The network ``mnist-standard`` of the zoo (trained without errors) and the MNIST files under
    ``--images-dir``.

Choices
    Calibration images are training images, drawn without looking at labels except in the part on
    classes; accuracy is that on all 10,000 test images. The thresholds folded for a BER are folded
    anew for each BER of the table: one set for all chips that are used at that BER.

Seed
    1 for chips and drawn images; chip numbers from 0.

Outputs
    ``analyses/results/threshold_calibration.json``: counts of right answers, chip by chip.
    ``docs/threshold_calibration.md`` holds the tables.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import bnn
from bnn.calibration.calibration import CalibrationReference
from bnn.engines.misread.reference import misreads_of, read_answers
from bnn.errors.chips import draw_chip
from bnn.errors.errors import Errors
from bnn.networks.network import flip_weights, network_sha256
from reliability.networks.treatments import reference_from

HERE = Path(__file__).resolve().parent
NETWORK = "mnist-standard"
SEED = 1
RATES = (0.0, 0.01, 0.04, 0.07, 0.1, 0.15, 0.2)
CHIPS = 6
NUMBERS = (30, 100, 300, 1000, 2000, 4000, 8000)
HIGH = (0.1, 0.2)
TRANSIENT, READS, CALIBRATION_READS = 0.02, 1000, 1000


def right(
    network: bnn.FoldedNetwork,
    images: bnn.ImageSet,
    rates: Sequence[float],
    calibration: CalibrationReference | None = None,
    chips: int = CHIPS,
) -> list[list[int]]:
    """Right answers on the test images, for each rate and chip."""
    data = (images.test_images, images.test_labels)
    options: dict[str, Any] = {"ber": rates, "chips": chips, "seed": SEED, "threads": 1}
    if calibration is None:
        counts = bnn.evaluate(network, *data, **options)
    else:
        counts = bnn.evaluate_calibrated(calibration, *data, **options)
    found: list[list[int]] = counts["correct"].values.tolist()
    return found


def treatments(network: bnn.FoldedNetwork, images: bnn.ImageSet) -> dict[str, Any]:
    """Right answers with each treatment of the thresholds."""
    reference = reference_from(network, images, number=4000, seed=SEED, threads=1)
    start = time.perf_counter()
    flips = draw_chip(network, Errors((bnn.Flips.symmetric(0.1),)), seed=SEED, chip=0).positions
    bnn.calibrate_chip(reference, flips)
    seconds = time.perf_counter() - start
    return {
        "fixed": right(network, images, RATES),
        "folded for each BER": [
            right(bnn.fold_for_ber(reference, p), images, [p])[0] for p in RATES
        ],
        "folded for 0.1": right(bnn.fold_for_ber(reference, 0.1), images, RATES),
        "calibrated per chip": right(network, images, RATES, reference),
        "seconds_for_a_calibration_with_4000_images": round(seconds, 2),
    }


def by_number(network: bnn.FoldedNetwork, images: bnn.ImageSet) -> dict[str, Any]:
    """Right answers with more and more calibration images."""
    return {
        str(number): right(
            network,
            images,
            HIGH,
            reference_from(network, images, number=number, seed=SEED, threads=1),
        )
        for number in NUMBERS
    }


def by_class(network: bnn.FoldedNetwork, images: bnn.ImageSet) -> dict[str, Any]:
    """Right answers where the calibration images are of few classes."""
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(images.train_images))
    labels = images.train_labels[order]
    ones = np.flatnonzero(labels == 1)[:3600]
    others = np.flatnonzero(labels != 1)[:400]
    choices = {
        "all classes": np.arange(4000),
        "nine tenths ones": np.concatenate([ones, others]),
        "classes 0 to 4": np.flatnonzero(labels < 5)[:4000],
        "ones only": np.flatnonzero(labels == 1)[:4000],
    }
    return {
        name: right(
            network,
            images,
            HIGH,
            bnn.calibration_reference(
                network, np.ascontiguousarray(images.train_images[order[chosen]])
            ),
        )
        for name, chosen in choices.items()
    }


def with_misreads(network: bnn.FoldedNetwork, images: bnn.ImageSet) -> dict[str, Any]:
    """Right answers of reads with transient errors, for calibrations with and without them."""
    reference = reference_from(network, images, number=CALIBRATION_READS, seed=SEED, threads=1)
    test, labels = images.test_images[:READS], images.test_labels[:READS]
    found: dict[str, list[int]] = {
        "fixed": [],
        "calibrated by quiet reads": [],
        "by such reads": [],
    }
    for chip in range(2):
        errors = Errors(
            persistent=(bnn.Flips.symmetric(0.1),), transient=(bnn.TransientFlips(TRANSIENT),)
        )
        flips = draw_chip(network, errors, seed=SEED, chip=chip).positions
        wrong = flip_weights(network, flips)
        calibrating = misreads_of(network, errors, seed=SEED, chip=chip, first_read=READS)
        for name, used in (
            ("fixed", wrong),
            ("calibrated by quiet reads", bnn.calibrate_chip(reference, flips).on(wrong)),
            ("by such reads", bnn.calibrate_chip(reference, flips, misreads=calibrating).on(wrong)),
        ):
            reads = misreads_of(network, errors, seed=SEED, chip=chip)
            answers = read_answers(used, test, reads)
            found[name].append(int((answers == labels).sum()))
    return {
        "persistent": 0.1,
        "transient": TRANSIENT,
        "images": READS,
        "calibration_images": CALIBRATION_READS,
        "right": found,
    }


def table(rows: dict[str, list[list[int]]], images: int) -> str:
    """Mean accuracy over chips in percent, one line for each row."""
    return "\n".join(
        f"{name:>22} " + " ".join(f"{100 * np.mean(chips) / images:6.2f}" for chips in values)
        for name, values in rows.items()
        if isinstance(values, list)
    )


def main() -> int:
    """Run all parts and write the counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "threshold_calibration.json")
    arguments = parser.parse_args()
    network, _ = bnn.load_zoo(NETWORK)
    images = bnn.load_images("mnist", images_dir=arguments.images_dir)
    found: dict[str, Any] = {
        "network_sha256": network_sha256(network),
        "images_sha256": images.sha256,
        "seed": SEED,
        "rates": RATES,
        "test_images": len(images.test_images),
        "high_rates": HIGH,
    }
    for name, part in (
        ("treatments", treatments),
        ("images", by_number),
        ("classes", by_class),
        ("transient", with_misreads),
    ):
        start = time.perf_counter()
        found[name] = part(network, images)
        print(f"{name}: {time.perf_counter() - start:.0f} s")
        print(json.dumps(found[name]["right"]) if name == "transient" else
              table(found[name], found["test_images"]), flush=True)  # fmt: skip
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
