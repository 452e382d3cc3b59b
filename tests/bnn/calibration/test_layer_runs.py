from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from bnn import Flips, FoldedNetwork, calibrate_chip, calibration_reference
from bnn.calibration.calibration import CalibrationReference, ChipThresholds
from bnn.calibration.layer_runs import Moments, PackedRun, counts_packed
from bnn.engines.dense import dense
from bnn.errors.chips import draw_chip
from bnn.errors.errors import Errors
from bnn.networks.network import ALWAYS, NEVER, ConvLayer, OutputLayer, flip_weights

Make = Callable[..., FoldedNetwork]

# image shape, convolutions (rows, kernel, pool), fully connected layers: a first layer with and
# without pooling, channels below, at and above a word, odd maps, a kernel of 1 and of 5, one place
CONVOLUTIONS = [
    ((3, 8, 12), ((48, 3, 1), (48, 3, 2), (96, 3, 1), (33, 3, 2)), (20, 10)),
    ((2, 6, 6), ((64, 3, 2), (130, 3, 1)), (4,)),
    ((1, 5, 7), ((7, 5, 1), (9, 1, 1), (5, 3, 1)), (3,)),
    ((1, 2, 2), ((4, 3, 2), (70, 3, 1)), (5,)),
]


def images_of(network: FoldedNetwork, images: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (images, network.sizes[0]), dtype=np.uint8)


def flips_of(network: FoldedNetwork, ber: float) -> dict[str, np.ndarray]:
    return draw_chip(network, Errors((Flips.symmetric(ber),)), seed=2, chip=0).positions


def with_constant_neurons(network: FoldedNetwork) -> FoldedNetwork:
    """Neurons 0 and 1 of every hidden layer constant, in both directions."""
    layers = []
    for layer in network.layers:
        if not isinstance(layer, OutputLayer):
            threshold, direction = layer.threshold.copy(), layer.direction.copy()
            threshold[:4] = (ALWAYS, NEVER, ALWAYS, NEVER)[: len(threshold)]
            direction[:4] = (1, 1, -1, -1)[: len(direction)]
            layer = replace(layer, threshold=threshold, direction=direction)
        layers.append(layer)
    return FoldedNetwork(tuple(layers))


def assert_same(one: ChipThresholds, other: ChipThresholds) -> None:
    assert one.thresholds.keys() == other.thresholds.keys()
    for name, threshold in one.thresholds.items():
        np.testing.assert_array_equal(threshold, other.thresholds[name])
    assert one.scale.tobytes() == other.scale.tobytes()
    assert one.shift.tobytes() == other.shift.tobytes()


def with_floats(reference: CalibrationReference) -> CalibrationReference:
    assert reference.packed is not None
    return replace(reference, packed=None)


@pytest.mark.parametrize("shape", range(len(CONVOLUTIONS)))
@pytest.mark.parametrize("ber", [0.02, 0.4])
def test_bits_and_floats_give_the_same_thresholds(
    random_conv_network: Make, shape: int, ber: float
) -> None:
    network = random_conv_network(*CONVOLUTIONS[shape], seed=shape)
    for chosen in (network, with_constant_neurons(network)):
        flips = flips_of(chosen, ber)
        reference = calibration_reference(chosen, images_of(chosen, 37))
        assert_same(calibrate_chip(reference, flips), calibrate_chip(with_floats(reference), flips))


def test_fully_connected_layers_too(random_network: Make) -> None:
    network = with_constant_neurons(random_network((70, 130, 65, 10), seed=5))
    reference = calibration_reference(network, images_of(network, 41))
    flips = flips_of(network, 0.1)
    assert_same(calibrate_chip(reference, flips), calibrate_chip(with_floats(reference), flips))


def test_threads_and_what_is_kept_change_nothing(
    random_conv_network: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_conv_network(*CONVOLUTIONS[0], seed=8)
    images, flips = images_of(network, 45), flips_of(network, 0.1)
    reference = calibration_reference(network, images)
    one = calibrate_chip(reference, flips)
    assert_same(one, calibrate_chip(replace(reference, threads=3), flips))
    monkeypatch.setattr("bnn.calibration.layer_runs._BLOCK_VALUES", 5000)  # one image at a time
    assert_same(one, calibrate_chip(calibration_reference(network, images), flips))
    monkeypatch.setattr("bnn.calibration.layer_runs._BLOCK_VALUES", 2**22)
    monkeypatch.setattr("bnn.calibration.layer_runs._BLOCK_IMAGES", 4)
    # fully connected layers keep 45 * 20 sums, no convolution as few
    monkeypatch.setattr("bnn.calibration.layer_runs._KEPT_VALUES", 2 * 45 * 20)
    parts = calibration_reference(network, images)
    assert parts.packed is not None
    assert_same(one, calibrate_chip(parts, flips))
    monkeypatch.setattr("bnn.calibration.layer_runs._KEPT_VALUES", 2 * 45 * 20 - 1)
    assert calibration_reference(network, images).packed is None


def test_moments_are_those_of_the_sums(random_conv_network: Make) -> None:
    network = random_conv_network(*CONVOLUTIONS[0], seed=9)
    images = images_of(network, 20)
    chip = flip_weights(network, flips_of(network, 0.2))
    reference = calibration_reference(network, images)
    sums = dense.pre_activations(chip, dense.prepare(images), threads=1)
    assert reference.packed is not None
    run = PackedRun(chip.layers[0], reference.packed, reference.products, threads=1)
    for index, layer in enumerate(chip.layers):
        z = sums[index].reshape(-1, len(layer.weights))
        found = run.moments()
        # Python's fractions, rounded once
        for row in range(z.shape[1]):
            values = [int(value) for value in z[:, row]]
            mean = Fraction(sum(values), len(values))
            variance = Fraction(sum(v * v for v in values), len(values)) - mean**2
            assert found.mean[row] == float(mean)
            assert found.sd[row] == pytest.approx(float(variance) ** 0.5, rel=1e-14, abs=0)
        if not isinstance(layer, OutputLayer):
            run = run.next(layer.threshold, chip.layers[index + 1])


def test_squares_of_wide_layers_do_not_overflow() -> None:
    # 20000 equal signs: a sum of 20000 in each of 4 x 4 places, whose squares do not fit 32 bits
    columns, place = 20000, 16
    weights = np.full((3, -(-columns // 64)), ~np.uint64(0))
    weights[:, -1] = (1 << columns % 64) - 1
    weights[1] = 0
    layer = ConvLayer(
        name="hidden_2",
        channels=columns,
        height=4,
        width=4,
        kernel=1,
        weights=weights,
        threshold=np.array([columns, columns, -columns], np.int32),
        direction=np.array([1, -1, -1], np.int8),
    )
    maps = np.broadcast_to(weights[0], (2, place, weights.shape[1])).copy()
    run = PackedRun(layer, maps, threads=1)
    found = run.moments()
    assert found.mean.tolist() == [columns, -columns, columns]
    assert found.sd.tolist() == [0, 0, 0]
    output = OutputLayer(
        name="output",
        columns=3 * place,
        weights=np.full((1, 1), (1 << 48) - 1, np.uint64),
        scale=np.ones(1),
        shift=np.zeros(1),
    )
    # z = columns fires at columns, -z = columns at columns, -z = -columns at -columns
    for threshold, right in ((layer.threshold, 3), (layer.threshold + 1, 0)):
        z = run.next(threshold.astype(np.int32), output).moments()
        assert z.mean.tolist() == [place * (right - (3 - right))]


def test_what_is_not_counted_in_bits(random_conv_network: Make, random_network: Make) -> None:
    # 3 * 3 * 4000 signs do not fit 16 bits
    wide = random_conv_network((1, 2, 2), ((4000, 1, 1), (2, 3, 1)), (2,), seed=1)
    assert not counts_packed(wide, 2)
    reference = calibration_reference(wide, images_of(wide, 3))
    assert reference.packed is None
    assert calibrate_chip(reference, {}).thresholds["hidden_2"].shape == (2,)
    assert counts_packed(random_network((9, 8, 3), seed=0), 1000)


def test_moments_of_huge_sums_are_exact() -> None:
    # two numbers of 79 bits differ by one of 20: in float64 the difference would be 0
    count = 2**20
    total, squares = np.array([2**39 + 1]), np.array([2**58 + 2**20 + 1])
    found = Moments.of(total, squares, count)
    exact = Fraction(int(squares[0]), count) - Fraction(int(total[0]), count) ** 2
    assert found.sd[0] == pytest.approx(float(exact) ** 0.5, rel=1e-14)
