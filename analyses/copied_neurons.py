"""Which layers lose most to wrong bits, and what do copies of their neurons win?

Question
    (a) Mean loss of calibrated chips with one layer exposed at a time. (b) Mean loss with all
    layers exposed, where the neurons of some layers are there several times (`bnn.copy_neurons`),
    beside the weight bits that this costs. For CIFAR-10 the promise is a loss of at most 1 and 3
    points at a bit error rate (BER) of 4e-2 and 1e-1.

Inputs
    ``cifar-high-range`` and ``mnist-range`` of the zoo; the image files under ``--images-dir``.

Choices
    Thresholds calibrated on each chip, with the number of images of ``zoo_tolerance.py``. Losses
    are against the same network without errors. All test images.

Seed
    1 for chips and drawn images. Copies have other chips than the network without them: wrong bits
    are drawn for every weight there is.

Outputs
    ``analyses/results/copied_neurons.json``: right answers, chip by chip. What is there already is
    not counted again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import bnn
from bnn.calibration.treatments import PER_CHIP
from bnn.networks.network import network_sha256
from reliability.networks.copies import numbers_of_copies
from reliability.networks.treated import count_treated

sys.path.insert(0, str(Path(__file__).resolve().parent))
from zoo_tolerance import SEED, reference_of

RESULTS = Path(__file__).resolve().parent / "results" / "copied_neurons.json"
RATES = {"cifar-high-range": (0.0, 4e-2, 0.1), "mnist-range": (0.0, 4e-2, 0.1, 0.2)}
COPIES = {
    "cifar-high-range": (
        "none",
        "hidden_1=2",
        "hidden_1=3",
        "hidden_1=5",
        "hidden_1=3 hidden_4=2",
        "hidden_1=3 hidden_7=2",
    ),
    "mnist-range": ("none", "hidden_2=2", "hidden_1=2", "hidden_1=2 hidden_2=2"),
}


def copied(network: bnn.FoldedNetwork, text: str) -> bnn.FoldedNetwork:
    """Network with the copies that a text names."""
    return network if text == "none" else bnn.copy_neurons(network, numbers_of_copies(text.split()))


def loss(right: list[list[int]], images: int) -> str:
    """Mean loss in points with its standard error, at every rate but the first, which is 0."""
    accuracy = 100.0 * np.array(right) / images
    drops = accuracy[0].mean() - accuracy[1:]
    error = drops.std(axis=1, ddof=1) / np.sqrt(drops.shape[1])
    pairs = zip(drops.mean(axis=1), error, drops.max(axis=1), strict=True)
    return ", ".join(f"{m:.2f} +- {e:.2f} (worst {w:.2f})" for m, e, w in pairs)


def main() -> int:
    """Count what is not there yet, and print the losses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(COPIES))
    parser.add_argument("--images-dir", type=Path)
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--layer-chips", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    if arguments.out.exists():
        found = json.loads(arguments.out.read_text(encoding="utf-8"))
    for name in arguments.names:
        network, record = bnn.load_zoo(name)
        images = bnn.load_images(record["image_set"]["name"], images_dir=arguments.images_dir)
        count = len(images.test_images)
        digest, rates = network_sha256(network), RATES[name]
        line = found.get(name, {})
        if line.get("network_sha256") != digest:
            line = {"network_sha256": digest, "test_images": count, "rates": rates}
            line |= {"copies": {}, "exposed_alone": {}}
        found[name] = line
        for text in COPIES[name]:
            wide = copied(network, text)
            bits = sum(wide.weight_bits.values())
            if len(line["copies"].get(text, {"right": [[]]})["right"][0]) < arguments.chips:
                reference = reference_of(wide, images)
                right = count_treated(
                    wide,
                    reference,
                    images,
                    PER_CHIP,
                    rates=rates,
                    chips=arguments.chips,
                    seed=SEED,
                    threads=1,
                )
                line["copies"][text] = {"weight_bits": bits, "right": right.tolist()}
                arguments.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
            print(name, text, bits, loss(line["copies"][text]["right"], count), flush=True)
        reference = None
        for layer in network.layer_names:
            if layer not in line["exposed_alone"]:
                if reference is None:
                    reference = reference_of(network, images)
                right = count_treated(
                    network,
                    reference,
                    images,
                    PER_CHIP,
                    rates=(0.0, 0.1),
                    chips=arguments.layer_chips,
                    seed=SEED,
                    threads=1,
                    protected=frozenset(network.layer_names) - {layer},
                )
                line["exposed_alone"][layer] = right.tolist()
                arguments.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
            print(name, layer, "alone", loss(line["exposed_alone"][layer], count), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
