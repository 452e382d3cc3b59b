"""What does a step of training cost, and what do injected errors add to it?

Question
    Processor time of a step with 100 images of 784-1024-1024-10, one thread: the same net in plain
    float PyTorch (linear, batch norm, hard tanh, Adam), binarized without errors, and with errors
    of several rates drawn anew at every step.

Equal results first: weights negated in place are those that the list of flips names.

Run ``python -m benchmarks.training --json benchmarks/training.json``. Images are random. Every
repeat measures all kinds in turn; median and range of the ratios within a repeat.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bnn import ImageSet, TrainingOptions, train
from bnn.redrawn_flips import negate_redrawn, redrawn_flips
from bnn.threads import torch_threads

SIZES = (784, 1024, 1024, 10)
IMAGES, BATCH, REPEATS = 4000, 100, 5
KINDS: dict[str, dict[str, Any]] = {
    "without errors": {},
    "BER 0.04": {"ber": 0.04},
    "BER 0.12": {"ber": 0.12},
    "BER 0.12, clean gradient": {"ber": 0.12, "gradient": "clean"},
    "BER 0.12, running statistics": {"ber": 0.12, "normalise_by": "running"},
}


def random_images() -> ImageSet:
    """Random images of random classes; one test image, so that counting takes no time."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (IMAGES, SIZES[0]), dtype=np.uint8)
    labels = rng.integers(0, SIZES[-1], IMAGES)
    return ImageSet(
        name="random",
        train_images=images,
        train_labels=labels,
        test_images=images[:1],
        test_labels=labels[:1],
        classes=tuple("0123456789"),
        shape=(28, 28),
        source="random numbers",
    )


def float_seconds(images: ImageSet) -> float:
    """Processor time of an epoch of the same net in plain PyTorch."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(SIZES[:-1], SIZES[1:], strict=True):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.Hardtanh()]
    module = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    pixels = torch.tensor(images.train_images)
    labels = torch.tensor(images.train_labels)
    with torch_threads(1):
        start = time.process_time()
        for batch in torch.randperm(IMAGES).split(BATCH):
            scores = module(pixels[batch].float() / 255)
            loss = nn.functional.cross_entropy(scores, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.process_time() - start


def seconds(images: ImageSet, options: dict[str, Any]) -> float:
    """Processor time of the second of two epochs, in which every kind does its own work."""
    ends: list[float] = []
    train(
        images,
        TrainingOptions(hidden=SIZES[1:-1], epochs=2, batch_size=BATCH, seed=1, **options),
        progress=lambda _: ends.append(time.process_time()),
    )
    return ends[1] - ends[0]


def check_equal() -> None:
    """Weights negated in place against the list of flips."""
    expected = np.ones(SIZES[0] * SIZES[1], np.float32)
    expected[redrawn_flips(bits=len(expected), ber=0.12, rng=np.random.default_rng(2))] = -1
    found = np.ones_like(expected)
    negate_redrawn(found, ber=0.12, rng=np.random.default_rng(2))
    np.testing.assert_array_equal(found, expected)


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    check_equal()
    images = random_images()
    steps = IMAGES // BATCH
    taken: dict[str, list[float]] = {name: [] for name in ("float", *KINDS)}
    for _ in range(arguments.repeats):
        taken["float"].append(float_seconds(images) / steps)
        for name, options in KINDS.items():
            taken[name].append(seconds(images, options) / steps)
    base = taken["without errors"]
    found = {
        name: {
            "ms_per_step": round(1e3 * statistics.median(values), 2),
            "images_per_second": round(BATCH / statistics.median(values)),
            "ratio_to_without_errors": [
                round(pick(a / b for a, b in zip(values, base, strict=True)), 3)
                for pick in (statistics.median, min, max)
            ],
        }
        for name, values in taken.items()
    }
    for name, line in found.items():
        print(f"{name:>30}: {line}")
    if arguments.json is not None:
        machine = {"processor": platform.processor() or platform.machine(), "threads": "1"}
        machine["torch"] = torch.__version__
        text = json.dumps({"machine": machine, "repeats": arguments.repeats, "steps": found})
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
