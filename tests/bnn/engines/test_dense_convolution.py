"""The dense engine on convolutions and its comparisons, against loops over single weights."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from bnn import FoldedNetwork
from bnn.engines.dense import dense
from bnn.errors.errors import chip_flips
from bnn.networks.network import (
    ALWAYS,
    NEVER,
    ConvLayer,
    HiddenLayer,
    Layer,
    OutputLayer,
    flip_weights,
)

Make = Callable[..., FoldedNetwork]

# odd sizes, channels beyond one word, kernels 1, 3, 5 and wider than the map, one channel, no
# fully connected hidden layer
NETWORKS = [
    ((1, 5, 7), ((3, 3, 1),), (4, 3)),
    ((3, 6, 4), ((5, 3, 2), (7, 3, 1)), (9, 4)),
    ((2, 3, 5), ((70, 1, 1), (3, 3, 1)), (5,)),
    ((1, 4, 4), ((65, 3, 2), (66, 3, 2)), (10,)),
    ((2, 4, 4), ((3, 5, 2), (4, 5, 2)), (2, 2, 2)),
    ((3, 4, 2), ((1, 1, 2), (1, 3, 1), (2, 1, 1)), (3,)),
    ((1, 1, 1), ((2, 3, 1),), (2,)),
]


def weight(layer: Layer, row: int, column: int) -> int:
    """One weight, read from its bit."""
    word = int(layer.weights[row, column // 64])
    return 1 if word >> (column % 64) & 1 else -1


def convolve(layer: ConvLayer, values: np.ndarray) -> np.ndarray:
    """Pre-activations before the pooling, (images, row, column, out), tap by tap.

    `values` has the shape (images, row, column, channel).
    """
    half = layer.kernel // 2
    z = np.zeros((len(values), layer.height, layer.width, len(layer.weights)), np.int64)
    for out, i, j, channel in np.ndindex(
        len(layer.weights), layer.kernel, layer.kernel, layer.channels
    ):
        w = weight(layer, out, (i * layer.kernel + j) * layer.channels + channel)
        for row, column in np.ndindex(layer.height, layer.width):
            y, x = row + i - half, column + j - half
            if 0 <= y < layer.height and 0 <= x < layer.width:
                z[:, row, column, out] += w * values[:, y, x, channel]
    return z


def brute_force(network: FoldedNetwork, images: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Pre-activations of every layer, after its pooling, and answers."""
    values = 2 * images.astype(np.int64) - 255
    first = network.layers[0]
    if isinstance(first, ConvLayer):
        # from (channel, row, column) to (row, column, channel)
        maps = values.reshape(-1, first.channels, first.height, first.width)
        values = np.array(
            [
                [[im[:, r, c] for c in range(first.width)] for r in range(first.height)]
                for im in maps
            ]
        )
    sums = []
    for layer in network.layers:
        if isinstance(layer, ConvLayer):
            z = convolve(layer, values.reshape(len(images), layer.height, layer.width, -1))
            if layer.pool == 2:
                corners = [z[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
                z = np.maximum.reduce(corners)
        else:
            values = values.reshape(len(images), -1)
            z = np.zeros((len(images), len(layer.weights)), np.int64)
            for row, column in np.ndindex(len(layer.weights), layer.columns):
                z[:, row] += weight(layer, row, column) * values[:, column]
        sums.append(z.reshape(len(images), -1))
        if not isinstance(layer, OutputLayer):
            fires = layer.direction.astype(np.int64) * z >= layer.threshold.astype(np.int64)
            values = np.where(fires, 1, -1)
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    scores = (z * output.scale + output.shift).tolist()
    return sums, np.array([row.index(max(row)) for row in scores])


def random_images(pixels: int, images: int) -> np.ndarray:
    found = np.random.default_rng(1).integers(0, 256, (images, pixels), dtype=np.uint8)
    found[0], found[1] = 0, 255
    return found


def check(network: FoldedNetwork, images: np.ndarray) -> list[np.ndarray]:
    prepared = dense.prepare(images)
    sums, answers = brute_force(network, images)
    found = dense.pre_activations(network, prepared, threads=1)
    for ours, expected in zip(found, sums, strict=True):
        assert ours.dtype == np.int64
        np.testing.assert_array_equal(ours, expected)
    result = dense.predict(network, prepared, threads=1)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, answers)
    return sums


@pytest.mark.parametrize(("image_shape", "convolutions", "sizes"), NETWORKS)
def test_convolutions_equal_brute_force(
    image_shape: tuple, convolutions: tuple, sizes: tuple, random_conv_network: Make
) -> None:
    network = random_conv_network(image_shape, convolutions, sizes, seed=2)
    check(network, random_images(network.sizes[0], 9))


@pytest.mark.parametrize("ber", [0.01, 0.5, 1.0])
def test_chips_of_a_convolutional_network(ber: float, random_conv_network: Make) -> None:
    network = random_conv_network((2, 4, 6), ((6, 3, 1), (5, 3, 2)), (7, 3), seed=4)
    flips = {
        name: chip_flips(bits=bits, ber=ber, seed=0, chip=1, layer=index)[0]
        for index, (name, bits) in enumerate(network.weight_bits.items())
    }
    check(flip_weights(network, flips), random_images(48, 5))


def test_ties_at_the_thresholds_fire(random_conv_network: Make) -> None:
    network = random_conv_network((1, 4, 6), ((12, 3, 1), (12, 3, 2)), (12, 3), seed=3)
    images = random_images(24, 9)
    # thresholds that some pre-activations meet: set from the first layer to the last
    for index, layer in enumerate(network.layers[:-1]):
        z = brute_force(network, images)[0][index].reshape(-1, len(layer.weights))
        assert isinstance(layer, HiddenLayer | ConvLayer)
        median = np.sort(layer.direction * z, axis=0)[len(z) // 2]
        tied = dataclasses.replace(layer, threshold=median.astype(np.int32))
        layers = (*network.layers[:index], tied, *network.layers[index + 1 :])
        network = FoldedNetwork(layers)
        assert {-1, 1} == set(layer.direction.tolist())
    sums = check(network, images)
    for layer, z in zip(network.layers[:-1], sums, strict=False):
        assert isinstance(layer, HiddenLayer | ConvLayer)
        upward = layer.direction * z.reshape(-1, len(layer.weights))
        # each neuron has a tie, and values on either side
        assert (upward == layer.threshold).any(axis=0).all()
        assert (upward < layer.threshold).any(axis=0).all()


@pytest.mark.parametrize(
    ("direction", "threshold", "fires"),
    [
        # z = -255, -235, -215, 255: the largest is 255, whatever the direction
        (1, 255, True),
        (1, 256, False),
        (-1, -255, True),
        (-1, -254, False),
        # the smallest would reach up to 255 here
        (-1, 255, False),
        (1, ALWAYS, True),
        (1, NEVER, False),
        (-1, ALWAYS, True),
        (-1, NEVER, False),
    ],
)
def test_the_largest_pre_activation_is_compared_in_both_directions(
    direction: int, threshold: int, fires: bool
) -> None:
    network = FoldedNetwork(
        (
            ConvLayer(
                name="hidden_1",
                channels=1,
                height=2,
                width=2,
                kernel=1,
                pool=2,
                weights=np.array([[1]], np.uint64),
                threshold=np.array([threshold], np.int32),
                direction=np.array([direction], np.int8),
            ),
            OutputLayer(
                name="output",
                columns=1,
                weights=np.array([[1]], np.uint64),
                scale=np.ones(1),
                shift=np.zeros(1),
            ),
        )
    )
    prepared = dense.prepare(np.array([[0, 10, 20, 255]], np.uint8))
    first, last = dense.pre_activations(network, prepared, threads=1)
    assert first.tolist() == [[255]]
    assert last.tolist() == [[1 if fires else -1]]


def test_taps_outside_the_map_add_nothing() -> None:
    # a kernel of 3 x 3 ones counts the pixels near by, in encoded units
    layer = ConvLayer(
        name="hidden_1",
        channels=1,
        height=3,
        width=2,
        weights=np.array([[511]], np.uint64),
        threshold=np.zeros(1, np.int32),
        direction=np.ones(1, np.int8),
    )
    output = OutputLayer(
        name="output",
        columns=6,
        weights=np.array([[63]], np.uint64),
        scale=np.ones(1),
        shift=np.zeros(1),
    )
    prepared = dense.prepare(np.zeros((1, 6), np.uint8))
    z = dense.pre_activations(FoldedNetwork((layer, output)), prepared, threads=1)[0]
    assert (z // -255).tolist() == [[4, 4, 6, 6, 4, 4]]
    assert (z % 255 == 0).all()


EXTREMES = [
    *(ALWAYS, ALWAYS + 1, -(2**24) - 1, -(2**24), -(2**24) + 1, -(2**24) + 2),
    *(2**24 - 2, 2**24 - 1, 2**24, 2**24 + 1, NEVER - 1, NEVER),
]


@pytest.mark.parametrize("direction", [1, -1])
def test_thresholds_near_the_limit_of_float32(direction: int) -> None:
    # 65,793 * 255 = 2**24 - 1; the next even and odd numbers above are no longer distinct
    columns = 65_793
    row = np.full((1, columns // 64 + 1), np.iinfo(np.uint64).max, np.uint64)
    row[0, -1] = (1 << columns % 64) - 1
    hidden = HiddenLayer(
        name="hidden_1",
        columns=columns,
        weights=np.repeat(row, len(EXTREMES), axis=0),
        threshold=np.array(EXTREMES, np.int32),
        direction=np.full(len(EXTREMES), direction, np.int8),
    )
    output = OutputLayer(
        name="output",
        columns=len(EXTREMES),
        weights=(np.uint64(1) << np.arange(len(EXTREMES), dtype=np.uint64))[:, None],
        scale=np.ones(len(EXTREMES)),
        shift=np.zeros(len(EXTREMES)),
    )
    network = FoldedNetwork((hidden, output))
    images = np.array([[0], [255]], np.uint8).repeat(columns, axis=1)
    first, last = dense.pre_activations(network, dense.prepare(images), threads=1)
    for z, found, whole in zip((-(2**24) + 1, 2**24 - 1), last, first, strict=True):
        assert set(whole.tolist()) == {z}
        signs = np.array([1 if direction * z >= t else -1 for t in EXTREMES])
        # row r of the output layer: twice the sign r minus the sum of all
        assert found.tolist() == (2 * signs - signs.sum()).tolist()


@pytest.mark.parametrize("images", [0, 1, 7, 8, 9])
def test_any_number_of_images_and_blocks(
    images: int, random_conv_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_conv_network((1, 4, 4), ((6, 3, 2),), (5, 3), seed=0)
    pixels = np.random.default_rng(1).integers(0, 256, (images, 16), dtype=np.uint8)
    # the convolution reads 16 values and gives 96: four images at a time
    monkeypatch.setitem(dense._BLOCK_VALUES, "cpu", 4 * 112 + 1)
    sums = dense.pre_activations(network, dense.prepare(pixels), threads=1)
    assert [z.shape for z in sums] == [(images, 24), (images, 5), (images, 3)]
    if images:
        check(network, pixels)
    else:
        assert dense.predict(network, dense.prepare(pixels), threads=1).shape == (0,)


def test_prepared_images_are_not_changed(random_conv_network: Make) -> None:
    # signs are put in the place of the pre-activations, never of the images
    network = random_conv_network((1, 4, 4), ((1, 1, 1),), (3,), seed=0)
    prepared = dense.prepare(random_images(16, 4))
    before = prepared.values.clone()
    dense.predict(network, prepared, threads=1)
    assert torch.equal(prepared.values, before)


def test_images_of_another_size_are_refused(random_conv_network: Make) -> None:
    network = random_conv_network((1, 4, 4), ((2, 3, 1),), (3,), seed=0)
    with pytest.raises(ValueError, match="reads 16 pixels, the images have 17"):
        dense.predict(network, dense.prepare(random_images(17, 2)), threads=1)


def test_too_many_taps_are_refused(random_conv_network: Make) -> None:
    network = random_conv_network((7311, 1, 1), ((1, 3, 1),), (1,), seed=0)
    # 9 * 7311 * 255, although only the middle taps of this map count
    with pytest.raises(ValueError, match="up to 16778745 are not exact in float32"):
        dense.predict(network, dense.prepare(random_images(7311, 2)), threads=1)


def test_unknown_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown device 'gpu'; known: cpu, cuda"):
        dense.prepare(random_images(3, 2), device="gpu")


def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda': PyTorch finds no GPU"):
        dense.prepare(random_images(3, 2), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")
@pytest.mark.parametrize(("image_shape", "convolutions", "sizes"), NETWORKS)
def test_gpu_gives_the_same_integers(
    image_shape: tuple, convolutions: tuple, sizes: tuple, random_conv_network: Make
) -> None:
    network = random_conv_network(image_shape, convolutions, sizes, seed=2)
    images = random_images(network.sizes[0], 50)
    here, there = (dense.prepare(images, device=device) for device in ("cpu", "cuda"))
    sums = (dense.pre_activations(network, part, threads=1) for part in (here, there))
    for one, other in zip(*sums, strict=True):
        np.testing.assert_array_equal(one, other)
    answers = [dense.predict(network, part, threads=1) for part in (here, there)]
    np.testing.assert_array_equal(*answers)
