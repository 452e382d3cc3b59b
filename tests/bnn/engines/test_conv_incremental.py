"""Convolutions followed change by change, against the dense engine on the network with errors."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn import FoldedNetwork
from bnn.engines.convolution import front as conv_front
from bnn.engines.convolution import state as conv_state
from bnn.engines.dense import dense
from bnn.engines.incremental import incremental
from bnn.engines.packed.conv_types import MapShape
from bnn.engines.pixels.front import BLOCK
from bnn.errors.errors import chip_flips
from bnn.evaluation.runner import memory_bytes, start_runner, with_thresholds
from bnn.machine.packing import pack_signs, unpack_signs
from bnn.networks.network import ALWAYS, NEVER, ConvLayer, flip_weights

Make = Callable[..., FoldedNetwork]
Chip = dict[str, np.ndarray]

LOOK, SUM, COUNT, BY_COST = (False, 10**9), (True, 10**9), (False, -1), None
"""Ways that the choice by cost is replaced by, and the choice itself."""


def images_of(shape: tuple[int, int, int], images: int, seed: int = 1) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (images, int(np.prod(shape))), np.uint8)
    pixels[0], pixels[-1] = 0, 255
    return pixels


def chip_of(network: FoldedNetwork, ber: float, chip: int) -> Chip:
    return {
        name: chip_flips(bits=bits, ber=ber, seed=2, chip=chip, layer=index)[0]
        for index, (name, bits) in enumerate(network.weight_bits.items())
    }


def moved_thresholds(network: FoldedNetwork, step: int, seed: int) -> Chip:
    rng = np.random.default_rng(seed)
    moved = {}
    for layer in network.layers[:-1]:
        if rng.random() < 0.7:
            new = layer.threshold.astype(np.int64) + rng.integers(
                -step, step + 1, len(layer.weights)
            )
            new[rng.random(len(new)) < 0.05] = NEVER
            moved[layer.name] = np.clip(new, ALWAYS, NEVER).astype(np.int32)
    return moved


def last_outputs(network: FoldedNetwork, images: np.ndarray) -> np.ndarray:
    """Outputs of the last convolution by the dense engine, bool of shape (images, outputs)."""
    index, layer = [
        (i, layer) for i, layer in enumerate(network.layers) if isinstance(layer, ConvLayer)
    ][-1]
    z = dense.pre_activations(network, dense.prepare(images), threads=1)[index]
    places = layer.outputs // len(layer.weights)
    return np.tile(layer.direction, places) * z >= np.tile(layer.threshold, places)


def changed_bits(state: incremental.State, flips: Chip, thresholds: Chip) -> np.ndarray:
    """Changed outputs of the last convolution, every image taken for open."""
    changed = np.empty_like(state.front.bits)
    blocks = -(-len(changed) // BLOCK)
    allowed, active = np.full(blocks * BLOCK, -1, np.int8), np.empty(blocks, np.uint64)
    step = state.front.step(flips, thresholds, allowed, changed, active, threads=1)
    step(0, blocks)
    return changed


def check(
    network: FoldedNetwork,
    images: np.ndarray,
    cases: list[tuple[Chip, Chip]],
    *,
    threads: int = 1,
) -> None:
    """Compare outputs of the last convolution and answers, for errors and thresholds of chips."""
    state = incremental.prepare(network, images, threads=threads)
    clean = last_outputs(network, images)
    for flips, thresholds in cases:
        chip = with_thresholds(flip_weights(network, flips), thresholds)
        changed = changed_bits(state, flips, thresholds)
        found = unpack_signs(changed, columns=clean.shape[1]) > 0
        np.testing.assert_array_equal(found, clean ^ last_outputs(chip, images))
        np.testing.assert_array_equal(
            incremental.chip_answers(state, flips, threads=threads, thresholds=thresholds),
            dense.predict(chip, dense.prepare(images), threads=1),
        )


# odd sizes, channels beyond one word and in whole words, kernels 1, 3, 5 and wider than the map,
# maps of one column, more than four and more than eight words of neurons
NETWORKS = [
    ((3, 6, 4), ((5, 3, 2), (7, 3, 1)), (9, 4)),
    ((2, 3, 1), ((70, 1, 1), (3, 3, 1)), (5,)),
    ((1, 4, 4), ((65, 3, 2), (66, 3, 2)), (10,)),
    ((2, 4, 4), ((3, 5, 2), (4, 5, 2)), (2, 2, 2)),
    ((3, 8, 8), ((64, 3, 1), (128, 3, 2), (64, 3, 2)), (70, 10)),
    ((1, 4, 2), ((300, 3, 2), (530, 3, 1)), (6,)),
    ((1, 1, 1), ((2, 3, 1),), (2,)),
]


@pytest.mark.parametrize("way", [BY_COST, LOOK, SUM, COUNT])
@pytest.mark.parametrize(("shape", "convolutions", "sizes"), NETWORKS)
def test_followed_equals_dense(
    shape: tuple[int, int, int],
    convolutions: tuple[tuple[int, int, int], ...],
    sizes: tuple[int, ...],
    way: tuple[bool, int] | None,
    random_conv_network: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way is not None:
        monkeypatch.setattr(conv_state, "way_of", lambda *arguments: way)
    network = random_conv_network(shape, convolutions, sizes, seed=3)
    cases = [
        (chip_of(network, ber, 1), moved_thresholds(network, step, 4) if step else {})
        for ber, step in ((0.0, 0), (0.0, 2), (3e-3, 0), (0.05, 3), (0.3, 400), (1.0, 0))
    ]
    # more images than a block, so that blocks beyond the first are read where they lie
    check(network, images_of(shape, 67), cases, threads=2)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    convolutions=st.lists(
        st.tuples(st.integers(1, 80), st.sampled_from([1, 3, 5])), min_size=1, max_size=3
    ),
    pool=st.integers(0, 2),
    ber=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
    step=st.sampled_from([0, 1, 300]),
    way=st.sampled_from([BY_COST, LOOK, SUM, COUNT]),
    seed=st.integers(0, 10**6),
)
def test_random_networks(
    shape: tuple[int, int, int],
    convolutions: list[tuple[int, int]],
    pool: int,
    ber: float,
    step: int,
    way: tuple[bool, int] | None,
    seed: int,
    random_conv_network: Make,
) -> None:
    channels, height, width = shape
    # one layer is pooled, if any; all that come before it see the doubled map
    pools = [2 if index == pool else 1 for index in range(len(convolutions))]
    if max(pools) == 2:
        height, width = 2 * height, 2 * width
    network = random_conv_network(
        (channels, height, width),
        tuple((*conv, size) for conv, size in zip(convolutions, pools, strict=True)),
        (5,),
        seed=seed,
    )
    with pytest.MonkeyPatch.context() as patch:
        if way is not None:
            patch.setattr(conv_state, "way_of", lambda *arguments: way)
        thresholds = moved_thresholds(network, step, seed) if step else {}
        images = images_of((channels, height, width), 5, seed)
        check(network, images, [(chip_of(network, ber, seed), thresholds)])


@pytest.mark.parametrize("sign", [1, -1])
def test_ties_and_constant_neurons(sign: int, random_conv_network: Make) -> None:
    # Thresholds that some position meets exactly, with and without pooling.
    shape = (3, 8, 8)
    network = random_conv_network(shape, ((9, 3, 2), (66, 3, 1), (12, 3, 2)), (8, 5), seed=4)
    images = images_of(shape, 20)
    rng = np.random.default_rng(5)
    for index, layer in enumerate(network.layers):
        if not isinstance(layer, ConvLayer):
            continue
        z = dense.pre_activations(network, dense.prepare(images), threads=1)[index]
        places = sign * z.reshape(-1, len(layer.weights))
        met = places[rng.integers(0, len(places), places.shape[1]), range(places.shape[1])]
        met[:2] = ALWAYS, NEVER
        assert (places == met).any(axis=0)[2:].all()
        changed = replace(
            layer,
            threshold=met.astype(np.int32),
            direction=np.full(len(layer.weights), sign, np.int8),
        )
        network = FoldedNetwork((*network.layers[:index], changed, *network.layers[index + 1 :]))
    check(network, images, [(chip_of(network, ber, 0), {}) for ber in (0.0, 2e-3, 0.03, 1.0)])


@pytest.mark.parametrize("way", [LOOK, SUM])
def test_sums_beyond_a_byte(
    way: tuple[bool, int], random_conv_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neurons read 16 pixels, each by 200 neurons that mostly agree with their weights: margins and
    # sums of changes reach several hundred, and single neurons are counted anew.
    monkeypatch.setattr(conv_state, "way_of", lambda *arguments: way)
    shape = (1, 4, 4)
    network = random_conv_network(shape, ((200, 1, 1), (66, 5, 1), (3, 3, 2)), (4,), seed=6)
    first, wide = network.layers[:2]
    assert isinstance(first, ConvLayer)
    assert isinstance(wide, ConvLayer)
    rng = np.random.default_rng(7)
    # a neuron that gives +1 where a pixel is bright and -1 where it is dark, or the opposite
    bright = unpack_signs(first.weights, columns=1)[:, 0] * first.direction
    agree = rng.random((66, 25, 200)) < rng.uniform(0.5, 0.9, (66, 1, 1))
    signs = np.where(agree, bright, -bright).reshape(66, 5000).astype(np.int8)
    thresholds = {
        seed: np.random.default_rng(seed).integers(-500, 500, 66).astype(np.int32)
        for seed in (1, 2)
    }
    wide = replace(wide, weights=pack_signs(signs), threshold=thresholds[1])
    network = FoldedNetwork((first, wide, *network.layers[2:]))
    images = images_of(shape, 20)
    clean = dense.pre_activations(network, dense.prepare(images), threads=1)[1]
    # a broken row, a weak one, and one bit elsewhere
    own = np.r_[2 * 5000 : 3 * 5000, 9 * 5000 : 10 * 5000 : 40, 30 * 5000 + 7]
    cases, largest = [], []
    for share in (0.04, 0.1, 0.3, 0.9, 1.0):
        flips = {"hidden_1": np.flatnonzero(rng.random(200) < share)}
        z = dense.pre_activations(flip_weights(network, flips), dense.prepare(images), threads=1)[1]
        largest.append(np.abs(z - clean).max() // 2)
        for more in ({}, {"hidden_2": own}):
            cases += [(flips | more, {}), (flips | more, {"hidden_2": thresholds[2]})]
    # changes on both sides of what a byte holds
    assert largest[0] < 127 < largest[1] < 254 < largest[-1]
    check(network, images, cases)


def test_wide_kernels_are_counted() -> None:
    # planes of 13 bits do not hold sums of so many changes
    shape = MapShape(height=4, width=4, kernel=5, pool=1)
    assert conv_state.way_of(shape, 25 * 512, 512, 0)[1] == -1
    assert conv_state.way_of(shape, 25 * 256, 512, 0)[1] > 0


def test_runner_follows_convolutions(random_conv_network: Make) -> None:
    network = random_conv_network((2, 4, 4), ((5, 3, 2),), (6, 3), seed=6)
    images = images_of((2, 4, 4), 9)
    auto, reference = (start_runner(name, network, images, threads=1) for name in ("auto", "dense"))
    assert auto.engine == "incremental"
    np.testing.assert_array_equal(auto.error_free, reference.error_free)
    flips = {"hidden_1": np.array([0, 7]), "output": np.array([3])}
    for thresholds in ({}, moved_thresholds(network, 30, 1)):
        np.testing.assert_array_equal(
            auto.answers(flips, thresholds=thresholds),
            reference.answers(flips, thresholds=thresholds),
        )


def test_memory_is_that_of_the_arrays(random_conv_network: Make) -> None:
    shape = (3, 16, 16)
    network = random_conv_network(shape, ((64, 3, 1), (128, 3, 2), (70, 3, 2)), (200, 10), seed=0)
    state = incremental.prepare(network, images_of(shape, 128), threads=1)
    front = state.front
    assert isinstance(front, conv_front.ConvFront)
    held = [front.pixels, front.first, front.bits, *state.certain]
    for clean in front.further:
        held += [clean.ceiling, clean.fired, clean.strings.bits]
    for layer in state.further:
        held += [layer.by_input, layer.ceiling, layer.fired]
    total = sum(array.nbytes for array in held)
    said = memory_bytes("incremental", network, 128)
    assert total <= said <= 1.2 * total


def test_wrong_input_is_refused(random_conv_network: Make) -> None:
    network = random_conv_network((2, 4, 4), ((5, 3, 2),), (6, 3), seed=6)
    with pytest.raises(ValueError, match="reads 32 pixels"):
        start_runner("incremental", network, images_of((2, 4, 5), 2), threads=1)
