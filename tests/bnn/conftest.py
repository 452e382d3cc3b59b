"""Networks and images that several test modules share."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnn import (
    FoldedNetwork,
    HiddenLayer,
    ImageSet,
    OutputLayer,
    TrainedNetwork,
    TrainingOptions,
    fold,
    load_images,
    train,
)
from bnn.packing import pack_bits


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
            # about as wide as the pre-activations, so that neurons fire now and then
            width = np.sqrt(columns) * (150 if index == 0 else 1)
            layers.append(
                HiddenLayer(
                    name=f"hidden_{index + 1}",
                    columns=columns,
                    weights=weights,
                    threshold=np.rint(rng.normal(scale=width, size=rows)).astype(np.int32),
                    direction=rng.choice(np.array([-1, 1], np.int8), size=rows),
                )
            )
        return FoldedNetwork(tuple(layers))

    return make


@pytest.fixture(scope="session")
def images_dir() -> Path:
    """Directory with the published image files, where there is one."""
    given = os.environ.get("RRAM_DATA_DIR")
    path = Path(given) if given else Path(__file__).parents[3] / "shared" / "data" / "images"
    if not path.is_dir():
        pytest.skip("no directory with the published image files (set RRAM_DATA_DIR)")
    return path
