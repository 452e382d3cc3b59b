"""Networks and images that several test modules share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn import FoldedNetwork, ImageSet, TrainingOptions, fold, load_images, train
from bnn.machine.packing import pack_bits
from bnn.networks.network import ConvLayer, HiddenLayer, Layer, OutputLayer
from bnn.training.training import TrainedNetwork


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    return load_images("digits")


@pytest.fixture(scope="session")
def trained_digits(digits: ImageSet) -> TrainedNetwork:
    """Train a standard network with layers that do not fill their last word."""
    return train(digits, TrainingOptions(hidden=(130, 100), epochs=30, batch_size=50, seed=1))


@pytest.fixture(scope="session")
def folded_digits(trained_digits: TrainedNetwork) -> FoldedNetwork:
    return fold(trained_digits.module)


@pytest.fixture(scope="session")
def random_network() -> Callable[..., FoldedNetwork]:
    """Make a folded network of given sizes with random weights, thresholds and directions."""

    def make(sizes: tuple[int, ...], *, seed: int) -> FoldedNetwork:
        rng = np.random.default_rng(seed)
        return FoldedNetwork(random_dense_layers(sizes, first=0, rng=rng))

    return make


@pytest.fixture(scope="session")
def random_conv_network() -> Callable[..., FoldedNetwork]:
    """Make a folded network with convolutions, random weights, thresholds and directions.

    Convolutions are given as (output channels, kernel, pool), then the sizes of the fully connected
    layers, classes last.
    """

    def make(
        image_shape: tuple[int, int, int],
        convolutions: tuple[tuple[int, int, int], ...],
        dense: tuple[int, ...],
        *,
        seed: int,
    ) -> FoldedNetwork:
        rng = np.random.default_rng(seed)
        layers: list[Layer] = []
        channels, height, width = image_shape
        for index, (rows, kernel, pool) in enumerate(convolutions):
            columns = kernel * kernel * channels
            layer = ConvLayer(
                name=f"hidden_{index + 1}",
                channels=channels,
                height=height,
                width=width,
                kernel=kernel,
                pool=pool,
                weights=pack_bits(rng.random((rows, columns)) < 0.5),
                **random_thresholds(rows, columns, of_pixels=index == 0, rng=rng),
            )
            layers.append(layer)
            height, width, channels = layer.output_shape
        sizes = (channels * height * width, *dense)
        return FoldedNetwork(
            (*layers, *random_dense_layers(sizes, first=len(convolutions), rng=rng))
        )

    return make


def random_dense_layers(
    sizes: tuple[int, ...], *, first: int, rng: np.random.Generator
) -> tuple[HiddenLayer | OutputLayer, ...]:
    """Fully connected layers of given sizes, the first of which is layer number `first` from 0."""
    layers: list[HiddenLayer | OutputLayer] = []
    for index in range(len(sizes) - 1):
        columns, rows = sizes[index], sizes[index + 1]
        weights = pack_bits(rng.random((rows, columns)) < 0.5)
        if index == len(sizes) - 2:
            scale, shift = rng.normal(size=(2, rows))
            layers.append(
                OutputLayer(
                    name="output", columns=columns, weights=weights, scale=scale, shift=shift
                )
            )
            continue
        number = first + index
        layers.append(
            HiddenLayer(
                name=f"hidden_{number + 1}",
                columns=columns,
                weights=weights,
                **random_thresholds(rows, columns, of_pixels=number == 0, rng=rng),
            )
        )
    return tuple(layers)


def random_thresholds(
    rows: int, columns: int, *, of_pixels: bool, rng: np.random.Generator
) -> dict[str, Any]:
    """Thresholds about as wide as the pre-activations, so that neurons fire now and then."""
    width = np.sqrt(columns) * (150 if of_pixels else 1)
    return {
        "threshold": np.rint(rng.normal(scale=width, size=rows)).astype(np.int32),
        "direction": rng.choice(np.array([-1, 1], np.int8), size=rows),
    }


@pytest.fixture(scope="session")
def images_dir() -> Path:
    """Directory with the published image files, where there is one."""
    given = os.environ.get("RRAM_DATA_DIR")
    path = Path(given) if given else Path(__file__).parents[3] / "shared" / "data" / "images"
    if not path.is_dir():
        pytest.skip("no directory with the published image files (set RRAM_DATA_DIR)")
    return path
