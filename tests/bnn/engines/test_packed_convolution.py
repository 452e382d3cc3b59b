"""Packed convolutions against the dense engine, which is tested against loops over weights."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from bnn import FoldedNetwork
from bnn.engines.dense import dense
from bnn.engines.packed import packed
from bnn.errors.errors import chip_flips
from bnn.networks.network import ALWAYS, NEVER, ConvLayer, flip_weights

Make = Callable[..., FoldedNetwork]

# odd sizes, channels beyond one word and in whole words, kernels 1, 3, 5 and wider than the map,
# maps wider than a vector and than a word, more than 128 pixels to a neuron
NETWORKS = [
    ((1, 5, 7), ((3, 3, 1),), (4, 3)),
    ((3, 6, 4), ((5, 3, 2), (7, 3, 1)), (9, 4)),
    ((2, 3, 5), ((70, 1, 1), (3, 3, 1)), (5,)),
    ((1, 4, 4), ((65, 3, 2), (66, 3, 2)), (10,)),
    ((2, 4, 4), ((3, 5, 2), (4, 5, 2)), (2, 2, 2)),
    ((3, 8, 8), ((64, 3, 1), (128, 3, 2), (64, 3, 2)), (70, 10)),
    ((3, 2, 70), ((4, 3, 2), (130, 3, 1)), (6,)),
    ((6, 7, 33), ((5, 5, 1), (3, 3, 1)), (4,)),
    ((1, 1, 1), ((2, 3, 1),), (2,)),
]


def images_of(shape: tuple[int, int, int], images: int) -> np.ndarray:
    pixels = np.random.default_rng(1).integers(0, 256, (images, int(np.prod(shape))), np.uint8)
    pixels[0], pixels[-1] = 0, 255
    return pixels


@pytest.mark.parametrize(("shape", "convolutions", "sizes"), NETWORKS)
def test_packed_equals_dense(
    shape: tuple[int, int, int],
    convolutions: tuple[tuple[int, int, int], ...],
    sizes: tuple[int, ...],
    random_conv_network: Make,
) -> None:
    network = random_conv_network(shape, convolutions, sizes, seed=3)
    images = images_of(shape, 37)
    for threads, ber in ((1, 0.0), (2, 0.05), (3, 1.0)):
        flips = {
            name: chip_flips(bits=bits, ber=ber, seed=2, chip=1, layer=index)[0]
            for index, (name, bits) in enumerate(network.weight_bits.items())
        }
        chip = flip_weights(network, flips)
        expected = dense.pre_activations(chip, dense.prepare(images), threads=1)
        found = packed.pre_activations(chip, packed.prepare(images), threads=threads)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(
            packed.predict(chip, packed.prepare(images), threads=threads),
            dense.predict(chip, dense.prepare(images), threads=1),
        )


def test_ties_and_constant_neurons(random_conv_network: Make) -> None:
    # Thresholds that some position meets exactly, in both directions, with and without pooling.
    shape = (3, 8, 8)
    base = random_conv_network(shape, ((9, 3, 2), (66, 3, 1), (12, 3, 2)), (8, 5), seed=4)
    images = images_of(shape, 20)
    rng = np.random.default_rng(5)
    network = base
    for index, layer in enumerate(base.layers):
        if not isinstance(layer, ConvLayer):
            continue
        z = dense.pre_activations(network, dense.prepare(images), threads=1)[index]
        places = z.reshape(-1, len(layer.weights))
        met = (
            layer.direction
            * places[rng.integers(0, len(places), places.shape[1]), range(len(layer.weights))]
        )
        met[:2] = ALWAYS, NEVER
        changed = dataclasses.replace(layer, threshold=met.astype(np.int32))
        assert (layer.direction * places == met).any(axis=0)[2:].all()
        network = FoldedNetwork((*network.layers[:index], changed, *network.layers[index + 1 :]))
    np.testing.assert_array_equal(
        packed.predict(network, packed.prepare(images), threads=2),
        dense.predict(network, dense.prepare(images), threads=1),
    )
