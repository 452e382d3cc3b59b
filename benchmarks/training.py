"""What does a step of training cost, and what do injected errors add to it?

Question
    Processor time of a step with 100 images, one thread, of 784-1024-1024-10 and of the CIFAR-10
    network with 48 channels: the same net in plain float PyTorch (products, batch norm, hard tanh,
    Adam), binarized without errors, and with errors of several rates drawn anew at every step; in
    float32, and in bfloat16 with compiled steps.

Equal results first: weights negated in place are those that the list of flips names.

Run ``python -m benchmarks.training --json benchmarks/training.json``. Images are random. Every
repeat measures all kinds in turn; median and range of the ratios within a repeat. Compiling is not
in the times: they are of the second of two epochs.
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bnn import ImageSet, TrainingOptions, train
from bnn.machine.threads import torch_threads
from bnn.training.options import Convolutions
from bnn.training.redrawn_flips import negate_redrawn, redrawn_flips

SIZES = (784, 1024, 1024, 10)
CHANNELS, DENSE = (48, 48, 96, 96, 192, 192), (1024, 1024, 10)
BATCH, REPEATS = 100, 5
FAST: dict[str, Any] = {"arithmetic": "bfloat16", "compiled": True}
KINDS: dict[str, dict[str, Any]] = {
    "without errors": {},
    "BER 0.04": {"ber": 0.04},
    "BER 0.12": {"ber": 0.12},
    "BER 0.12, clean gradient": {"ber": 0.12, "gradient": "clean"},
    "BER 0.12, running statistics": {"ber": 0.12, "normalise_by": "running"},
    "bfloat16, compiled, without errors": FAST,
    "bfloat16, compiled, BER 0.12": {"ber": 0.12, **FAST},
}


@dataclass(frozen=True)
class Subject:
    """A network to train.

    Attributes
    ----------
    shape : tuple of int
        Shape of an image.
    images : int
        Images of an epoch.
    options : dict
        What makes `bnn.train` build it.
    layers : callable
        The same in plain PyTorch.
    """

    shape: tuple[int, ...]
    images: int
    options: dict[str, Any]
    layers: Callable[[], list[nn.Module]]


def dense_layers(sizes: Sequence[int]) -> list[nn.Module]:
    """Products, batch norm and hard tanh; none after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.Hardtanh()]
    return layers[:-1]


def conv_layers() -> list[nn.Module]:
    """The convolutional network in float."""
    layers: list[nn.Module] = [nn.Unflatten(1, (3, 32, 32))]
    for index, (inputs, outputs) in enumerate(zip((3, *CHANNELS), CHANNELS, strict=False)):
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
        if index % 2:
            layers.append(nn.MaxPool2d(2))
        layers += [nn.BatchNorm2d(outputs), nn.Hardtanh()]
    return [*layers, nn.Flatten(), *dense_layers((16 * CHANNELS[-1], *DENSE))]


SUBJECTS = {
    "784-1024-1024-10": Subject(
        (28, 28), 4000, {"hidden": SIZES[1:-1]}, lambda: dense_layers(SIZES)
    ),
    "CIFAR-10 with 48 channels": Subject(
        (3, 32, 32),
        600,
        {"hidden": DENSE[:-1], "convolutions": Convolutions(channels=CHANNELS)},
        conv_layers,
    ),
}


def random_images(subject: Subject) -> ImageSet:
    """Random images of random classes; one test image, so that counting takes no time."""
    rng = np.random.default_rng(1)
    shape = (subject.images, math.prod(subject.shape))
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = rng.integers(0, SIZES[-1], subject.images)
    return ImageSet(
        name="random",
        train_images=images,
        train_labels=labels,
        test_images=images[:1],
        test_labels=labels[:1],
        classes=tuple("0123456789"),
        shape=subject.shape,
        source="random numbers",
    )


def float_seconds(subject: Subject, images: ImageSet) -> float:
    """Processor time of an epoch of the same net in plain PyTorch."""
    module = nn.Sequential(*subject.layers())
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    pixels = torch.tensor(images.train_images)
    labels = torch.tensor(images.train_labels)
    with torch_threads(1):
        start = time.process_time()
        for batch in torch.randperm(subject.images).split(BATCH):
            scores = module(pixels[batch].float() / 255)
            loss = nn.functional.cross_entropy(scores, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.process_time() - start


def seconds(subject: Subject, images: ImageSet, options: dict[str, Any]) -> float:
    """Processor time of the second of two epochs, in which every kind does its own work."""
    ends: list[float] = []
    train(
        images,
        TrainingOptions(epochs=2, batch_size=BATCH, seed=1, **subject.options, **options),
        progress=lambda _: ends.append(time.process_time()),
    )
    return ends[1] - ends[0]


def measured(subject: Subject, repeats: int) -> dict[str, Any]:
    """Times of every kind of step of one network."""
    images = random_images(subject)
    steps = subject.images // BATCH
    taken: dict[str, list[float]] = {name: [] for name in ("float", *KINDS)}
    for _ in range(repeats):
        taken["float"].append(float_seconds(subject, images) / steps)
        for name, options in KINDS.items():
            taken[name].append(seconds(subject, images, options) / steps)

    def ratio(name: str, other: str) -> list[float]:
        pairs = list(zip(taken[name], taken[other], strict=True))
        return [round(pick(a / b for a, b in pairs), 3) for pick in (statistics.median, min, max)]

    return {
        name: {
            "ms_per_step": round(1e3 * statistics.median(values), 2),
            "images_per_second": round(BATCH / statistics.median(values)),
            "ratio_to_float": ratio(name, "float"),
            "ratio_to_without_errors": ratio(
                name,
                "bfloat16, compiled, without errors"
                if name.startswith("bfloat16")
                else "without errors",
            ),
        }
        for name, values in taken.items()
    }


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
    found = {name: measured(subject, arguments.repeats) for name, subject in SUBJECTS.items()}
    for subject, lines in found.items():
        print(subject)
        for name, line in lines.items():
            print(f"{name:>40}: {line}")
    if arguments.json is not None:
        machine = {"processor": platform.processor() or platform.machine(), "threads": "1"}
        machine["torch"] = torch.__version__
        text = json.dumps({"machine": machine, "repeats": arguments.repeats, "steps": found})
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
