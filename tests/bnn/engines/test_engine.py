"""Both engines against brute force in int64 and against each other."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from bnn import FoldedNetwork, ImageSet
from bnn.errors.errors import chip_flips
from bnn.evaluation.engine import ENGINES, available_threads
from bnn.machine.packing import padding_is_zero
from bnn.networks.network import HiddenLayer, OutputLayer, flip_weights, layer_signs

Make = Callable[..., FoldedNetwork]
EACH_ENGINE = pytest.mark.parametrize("name", ["dense", "packed"])


def brute_force(network: FoldedNetwork, images: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Pre-activations of every layer and answers, by plain integer matrix products."""
    values = 2 * images.astype(np.int64) - 255
    sums = []
    for layer in network.layers:
        z = values @ layer_signs(layer).astype(np.int64).T
        sums.append(z)
        if isinstance(layer, HiddenLayer):
            fires = layer.direction.astype(np.int64) * z >= layer.threshold.astype(np.int64)
            values = np.where(fires, 1, -1)
    scores = z * network.layers[-1].scale + network.layers[-1].shift  # type: ignore[union-attr]
    answers = [max(range(len(row)), key=lambda c: (row[c], -c)) for row in scores.tolist()]
    return sums, np.array(answers)


def random_images(pixels: int, *, images: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (images, pixels), dtype=np.uint8)


@EACH_ENGINE
@pytest.mark.parametrize(
    "sizes",
    [
        (784, 100, 65, 10),
        (64, 64, 64, 4),
        (63, 65, 127, 129, 3),
        (1, 1, 1),
        (5, 1, 1, 3),
        (70, 6),
        (3072, 40, 10),
    ],
)
def test_engine_equals_brute_force(name: str, sizes: tuple[int, ...], random_network: Make) -> None:
    network = random_network(sizes, seed=2)
    # 300 images: two full blocks of the packed engine and a part of one
    images = random_images(sizes[0], images=300)
    images[0], images[1] = 0, 255
    engine = ENGINES[name]
    prepared = engine.prepare(images)
    sums, answers = brute_force(network, images)
    found = engine.pre_activations(network, prepared, threads=2)
    assert len(found) == len(sums)
    for ours, expected in zip(found, sums, strict=True):
        assert ours.dtype == np.int64
        np.testing.assert_array_equal(ours, expected)
    result = engine.predict(network, prepared, threads=2)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, answers)


@EACH_ENGINE
@pytest.mark.parametrize("images", [0, 1, 127, 128, 129])
def test_any_number_of_images(name: str, images: int, random_network: Make) -> None:
    network = random_network((20, 9, 4), seed=0)
    pixels = random_images(20, images=images)
    engine = ENGINES[name]
    prepared = engine.prepare(pixels)
    answers = engine.predict(network, prepared, threads=3)
    assert answers.shape == (images,)
    np.testing.assert_array_equal(answers, brute_force(network, pixels)[1])
    shapes = [z.shape for z in engine.pre_activations(network, prepared, threads=3)]
    assert shapes == [(images, 9), (images, 4)]


# 50 chips over the whole range of rates
@pytest.mark.parametrize(
    ("ber", "chips"),
    [(0.0, 1), (1e-4, 6), (1e-3, 6), (1e-2, 10), (0.05, 10), (0.3, 10), (0.9, 6), (1.0, 1)],
)
def test_engines_agree_on_chips_of_a_trained_network(
    ber: float, chips: int, folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    engines = [ENGINES[name] for name in ("dense", "packed")]
    images = digits.test_images
    prepared = [engine.prepare(images) for engine in engines]
    for chip in range(chips):
        flips = {
            name: chip_flips(bits=bits, ber=ber, seed=0, chip=chip, layer=index)[0]
            for index, (name, bits) in enumerate(folded_digits.weight_bits.items())
        }
        network = flip_weights(folded_digits, flips)
        for layer in network.layers:
            assert padding_is_zero(layer.weights, columns=layer.columns)
        dense, packed = (
            engine.pre_activations(network, part, threads=1)
            for engine, part in zip(engines, prepared, strict=True)
        )
        for one, other in zip(dense, packed, strict=True):
            np.testing.assert_array_equal(one, other)
        answers = [
            engine.predict(network, part, threads=2)
            for engine, part in zip(engines, prepared, strict=True)
        ]
        np.testing.assert_array_equal(*answers)
        if chip == 0:
            np.testing.assert_array_equal(answers[0], brute_force(network, images)[1])


@EACH_ENGINE
def test_constant_neurons_and_score_ties(name: str) -> None:
    lowest, highest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    network = FoldedNetwork(
        (
            HiddenLayer(
                name="hidden_1",
                columns=2,
                weights=np.array([[3], [3], [1], [1]], np.uint64),
                threshold=np.array([lowest, highest, lowest, highest], np.int32),
                direction=np.array([1, 1, -1, -1], np.int8),
            ),
            OutputLayer(
                name="output",
                columns=4,
                # hidden signs are always + - + -, so the pre-activations are 4, 4, -4, 0
                weights=np.array([[0b0101], [0b0101], [0b1010], [0b1111]], np.uint64),
                scale=np.array([1.0, 1.0, -1.0, 1.0]),
                shift=np.array([-1.0, 0.0, 0.0, 4.0]),
            ),
        )
    )
    engine = ENGINES[name]
    prepared = engine.prepare(random_images(2, images=5))
    z = engine.pre_activations(network, prepared, threads=1)[1]
    assert z.tolist() == [[4, 4, -4, 0]] * 5
    # scores 3, 4, 4, 4: the lowest of the three
    assert engine.predict(network, prepared, threads=1).tolist() == [1] * 5


@EACH_ENGINE
def test_images_of_another_size_are_refused(name: str, random_network: Make) -> None:
    engine = ENGINES[name]
    prepared = engine.prepare(random_images(21, images=2))
    with pytest.raises(ValueError, match="reads 20 pixels, the images have 21"):
        engine.predict(random_network((20, 3), seed=0), prepared, threads=1)


def test_too_wide_layers_are_refused_by_dense_only(random_network: Make) -> None:
    network = random_network((65_794, 1), seed=0)
    images = np.full((1, 65_794), 255, np.uint8)
    expected = brute_force(network, images)[0][0]
    packed, dense = ENGINES["packed"], ENGINES["dense"]
    z = packed.pre_activations(network, packed.prepare(images), threads=1)
    np.testing.assert_array_equal(z[0], expected)
    with pytest.raises(ValueError, match="16777470 are not exact in float32"):
        dense.predict(network, dense.prepare(images), threads=1)


def test_number_of_threads_changes_nothing_and_stays_local(random_network: Make) -> None:
    network = random_network((30, 40, 5), seed=0)
    images = random_images(30, images=1000)
    before = torch.get_num_threads()
    for name in ENGINES:
        engine = ENGINES[name]
        prepared = engine.prepare(images)
        one, many = (engine.predict(network, prepared, threads=n) for n in (1, 5))
        np.testing.assert_array_equal(one, many)
    assert torch.get_num_threads() == before


def test_packed_engine_may_run_in_several_threads_at_once(random_network: Make) -> None:
    network = random_network((30, 40, 5), seed=0)
    engine = ENGINES["packed"]
    prepared = engine.prepare(random_images(30, images=1000))
    expected = engine.predict(network, prepared, threads=1)
    together = threading.Barrier(4)

    def work(_: int) -> np.ndarray:
        together.wait(timeout=30)
        return engine.predict(network, prepared, threads=2)

    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(work, range(4)):
            np.testing.assert_array_equal(answers, expected)


def test_packed_engine_refuses_no_threads(random_network: Make) -> None:
    engine = ENGINES["packed"]
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        engine.predict(
            random_network((3, 2), seed=0), engine.prepare(np.zeros((1, 3), np.uint8)), threads=0
        )


def test_there_is_a_thread() -> None:
    assert available_threads() >= 1
