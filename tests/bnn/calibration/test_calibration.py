from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bnn import (
    Flips,
    FoldedNetwork,
    ImageSet,
    TransientFlips,
    calibrate_chip,
    calibration_reference,
    evaluate,
    evaluate_calibrated,
    evaluate_errors,
    evaluate_folded,
    fold_for_ber,
)
from bnn.engines.dense import dense
from bnn.engines.misread.reference import misreads_of, read_answers
from bnn.engines.packed import packed
from bnn.errors.chips import draw_chip
from bnn.errors.errors import Errors
from bnn.evaluation.calibrated_engines import CalibratedEngine, FoldedEngine
from bnn.evaluation.runner import start_runner
from bnn.networks.network import (
    ALWAYS,
    NEVER,
    ConvLayer,
    HiddenLayer,
    OutputLayer,
    flip_weights,
    network_sha256,
)

Make = Callable[..., FoldedNetwork]


@pytest.fixture(params=["dense", "convolutional"])
def network(
    request: pytest.FixtureRequest, random_network: Make, random_conv_network: Make
) -> FoldedNetwork:
    if request.param == "dense":
        return random_network((20, 33, 17, 4), seed=1)
    return random_conv_network((2, 4, 6), ((5, 3, 1), (6, 3, 2)), (9, 4), seed=1)


def random_images(network: FoldedNetwork, images: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (images, network.sizes[0]), dtype=np.uint8)


def wrong_bits(network: FoldedNetwork, ber: float, chip: int = 0) -> dict[str, np.ndarray]:
    return draw_chip(network, Errors((Flips.symmetric(ber),)), seed=2, chip=chip).positions


def sums_of(network: FoldedNetwork, images: np.ndarray) -> list[np.ndarray]:
    """Pre-activations of each layer, one row for each image and place, channels last."""
    found = dense.pre_activations(network, dense.prepare(images), threads=1)
    return [
        z.reshape(-1, len(layer.weights)).astype(float)
        for z, layer in zip(found, network.layers, strict=True)
    ]


def by_hand(network: FoldedNetwork, flips: dict[str, np.ndarray], images: np.ndarray) -> list:
    """Thresholds by the formula, one layer after the other through the reference engine."""
    chip = flip_weights(network, flips)
    clean = sums_of(network, images)
    for index, layer in enumerate(network.layers):
        before, after = clean[index], sums_of(chip, images)[index]
        moved = []
        for row in range(len(layer.weights)):
            old, new = before[:, row], after[:, row]
            constant = np.ptp(old) == 0 or np.ptp(new) == 0
            ratio = 1.0 if constant else float(new.std() / old.std())
            if isinstance(layer, OutputLayer):
                scale = layer.scale[row] / ratio
                shift = layer.shift[row] + layer.scale[row] * old.mean() - scale * new.mean()
                moved.append((scale, shift))
                continue
            sign = int(layer.direction[row])
            place = layer.threshold[row] - 0.5 - sign * old.mean()
            moved.append(int(np.ceil(sign * new.mean() + ratio * place)))
        layers = list(chip.layers)
        if isinstance(layer, OutputLayer):
            scales, shifts = np.array(moved).T
            layers[index] = replace(layers[index], scale=scales.copy(), shift=shifts.copy())
        else:
            layers[index] = replace(layers[index], threshold=np.array(moved, np.int32))
        chip = FoldedNetwork(tuple(layers))
    return list(chip.layers)


def test_without_errors_nothing_changes(network: FoldedNetwork) -> None:
    reference = calibration_reference(network, random_images(network, 40))
    for found in (calibrate_chip(reference, {}).on(network), fold_for_ber(reference, 0.0)):
        assert network_sha256(found) == network_sha256(network)


@pytest.mark.parametrize("ber", [0.03, 0.3])
def test_thresholds_follow_the_formula(network: FoldedNetwork, ber: float) -> None:
    images, flips = random_images(network, 50), wrong_bits(network, ber)
    found = calibrate_chip(calibration_reference(network, images), flips)
    *hidden, output = by_hand(network, flips, images)
    for layer in hidden:
        np.testing.assert_array_equal(found.thresholds[layer.name], layer.threshold)
    np.testing.assert_allclose(found.scale, output.scale, rtol=1e-9)
    np.testing.assert_allclose(found.shift, output.shift, rtol=1e-9, atol=1e-9)


def test_blocks_change_nothing(network: FoldedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    images, flips = random_images(network, 50), wrong_bits(network, 0.1)
    whole = calibrate_chip(calibration_reference(network, images), flips).on(network)
    monkeypatch.setattr("bnn.calibration.layer_runs._BLOCK_VALUES", 1)
    monkeypatch.setattr("bnn.calibration.layer_runs._KEPT_VALUES", 0)
    parts = calibrate_chip(calibration_reference(network, images), flips).on(network)
    assert network_sha256(parts) == network_sha256(whole)


def test_constant_neurons_stay_constant_and_others_without_spread_only_shift() -> None:
    # pixel 0 never changes: a neuron that reads it alone has no spread
    weights = np.array([[1], [1], [1]], np.uint64)
    hidden = HiddenLayer(
        name="hidden_1",
        columns=1,
        weights=weights,
        threshold=np.array([ALWAYS, NEVER, 50], np.int32),
        direction=np.array([1, -1, 1], np.int8),
    )
    output = OutputLayer(
        name="output", columns=3, weights=weights[:2] * 7, scale=np.ones(2), shift=np.zeros(2)
    )
    network = FoldedNetwork((hidden, output))
    reference = calibration_reference(network, np.full((5, 1), 200, np.uint8))
    found = calibrate_chip(reference, {"hidden_1": np.arange(3)})
    # 2 * 200 - 255 = 145 becomes -145, and the threshold goes along
    assert found.thresholds["hidden_1"].tolist() == [ALWAYS, NEVER, 50 - 290]
    assert found.scale.tolist() == [1, 1]
    # 0.6 of the spread is lost, and nothing is left to expect at a BER of one half
    folded = fold_for_ber(reference, 0.5).layers[0]
    assert isinstance(folded, HiddenLayer)
    assert folded.threshold.tolist() == [ALWAYS, NEVER, 50 - 145]


def test_folding_uses_what_chips_have_on_average(random_conv_network: Make) -> None:
    network = random_conv_network((2, 4, 4), ((6, 3, 2),), (3,), seed=4)
    reference = calibration_reference(network, random_images(network, 30))
    unpooled = replace(network.layers[0], pool=1)  # type: ignore[type-var]
    ber, chips = 0.2, 400
    values = dense.prepare(random_images(network, 30)).values
    means, variances = np.empty((2, chips, 6))
    for chip in range(chips):
        flipped = flip_weights(network, wrong_bits(network, ber, chip)).layers[0]
        layer = replace(unpooled, weights=flipped.weights)  # type: ignore[type-var]
        z = dense.layer_sums(layer, dense.layer_weights(layer, values.device), values).double()
        means[chip] = z.mean((0, 2, 3)).numpy()
        variances[chip] = z.var((0, 2, 3), unbiased=False).numpy()
    before, keep = reference.unpooled["hidden_1"], 1 - 2 * ber
    expected = keep**2 * before.sd**2 + (1 - keep**2) * reference.input_variance["hidden_1"]
    # 12 checks at z = 4.5: 1e-4 in all
    for found, wanted in ((means, keep * before.mean), (variances, expected)):
        error = found.std(0, ddof=1) / np.sqrt(chips)
        assert (np.abs(found.mean(0) - wanted) < 4.5 * error).all()
    # a control that must fail: the variance without the second term
    assert (np.abs(variances.mean(0) - keep**2 * before.sd**2) > 4.5 * error).all()
    assert isinstance(network.layers[0], ConvLayer)


def test_protected_layers_keep_their_thresholds(random_network: Make) -> None:
    network = random_network((20, 33, 17, 4), seed=1)
    reference = calibration_reference(network, random_images(network, 40))
    first, second, output = fold_for_ber(reference, 0.2, protected=frozenset({"hidden_1"})).layers
    assert isinstance(first, HiddenLayer)
    assert isinstance(second, HiddenLayer)
    assert isinstance(output, OutputLayer)
    before = network.layers
    np.testing.assert_array_equal(first.threshold, before[0].threshold)  # type: ignore[union-attr]
    assert (second.threshold != before[1].threshold).any()  # type: ignore[union-attr]
    assert (output.scale != before[2].scale).all()  # type: ignore[union-attr]


def test_each_treatment_helps(folded_digits: FoldedNetwork, digits: ImageSet) -> None:
    reference = calibration_reference(folded_digits, digits.train_images)
    test = (digits.test_images, digits.test_labels)
    rates = {"ber": [0.0, 0.1], "chips": 8, "seed": 3}
    fixed = evaluate(folded_digits, *test, **rates)  # type: ignore[arg-type]
    folded = evaluate(fold_for_ber(reference, 0.1), *test, **rates)  # type: ignore[arg-type]
    own = evaluate_calibrated(reference, *test, **rates)
    # seen: 0.83, 0.87 and 0.92 of the images right, standard errors of the means below 0.01
    right = [float(counts.correct[1].mean()) / 600 for counts in (fixed, folded, own)]
    assert right[0] + 0.02 < right[1]
    assert right[1] + 0.02 < right[2]
    assert (own.correct[0] == own.attrs["error_free_correct"]).all()
    assert (own.flips == fixed.flips).all()
    assert own.attrs["thresholds"] == "calibrated per chip"
    assert own.attrs["calibration_images"] == 1197
    assert own.attrs["calibration_sha256"] == reference.sha256
    assert "thresholds" not in fixed.attrs


def test_engines_agree_on_calibrated_chips(network: FoldedNetwork) -> None:
    images = random_images(network, 70)
    labels = np.zeros(70, np.int64)
    reference = calibration_reference(network, images[:30])
    errors = [Errors((Flips(0.1, 0.02),)), Errors((Flips(0.3, 0.1),))]
    options = {"errors": errors, "chips": 2, "seed": 0, "count": evaluate_errors}
    one, two, parts = (
        evaluate_calibrated(reference, images, labels, engine=engine, memory=memory, **options)  # type: ignore[arg-type]
        for engine, memory in (("packed", None), ("dense", None), ("packed", 64 * 200))
    )
    assert one.equals(two)
    assert one.equals(parts)
    # the counts are those of networks with these thresholds
    flips = draw_chip(network, errors[1], seed=0, chip=1).positions
    chip = calibrate_chip(reference, flips).on(flip_weights(network, flips))
    answers = packed.predict(chip, packed.prepare(images), threads=1)
    assert one.correct[1, 1] == (answers == 0).sum()


def test_thresholds_are_folded_for_each_rate(network: FoldedNetwork) -> None:
    images, rates = random_images(network, 70), [0.0, 0.05, 0.3]
    labels = np.arange(70) % 4
    reference = calibration_reference(network, images[:30])
    options = {"chips": 3, "seed": 4}
    fixed = evaluate(network, images, labels, ber=rates, **options)  # type: ignore[arg-type]
    ticks: list[tuple[int, int]] = []
    found = evaluate_folded(
        reference, images, labels, ber=rates, progress=lambda *at: ticks.append(at), **options
    )
    assert ticks == [(i + 1, 9) for i in range(9)]
    # the same chips, and what is lost is lost against the network as it was trained
    assert (found.flips == fixed.flips).all()
    assert found.attrs["error_free_correct"] == fixed.attrs["error_free_correct"]
    assert found.attrs["network_sha256"] == fixed.attrs["network_sha256"]
    assert found.attrs["thresholds"] == "folded for each BER"
    assert (found.correct == found.attrs["error_free_correct"] - found.lost + found.gained).all()
    assert found.isel(ber=0).equals(fixed.isel(ber=0))
    for i, rate in enumerate(rates):
        alone = evaluate(fold_for_ber(reference, rate), images, labels, ber=[rate], **options)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.correct[i], alone.correct[0])
    assert (found.correct[2] != fixed.correct[2]).any()
    for engine, memory in (("dense", None), ("packed", 64 * 200)):
        again = evaluate_folded(
            reference, images, labels, ber=rates, engine=engine, memory=memory, **options
        )
        assert found.identical(again)
    other = calibration_reference(fold_for_ber(reference, 0.3), images[:30])
    with pytest.raises(ValueError, match="reference of another network"):
        start_runner(FoldedEngine(other, network), network, images, threads=1)
    runner = start_runner(FoldedEngine(reference, network, "packed"), network, images, threads=1)
    assert runner.engine == "packed"
    with pytest.raises(ValueError, match="folded for a rate"):
        runner.answers({}, thresholds={})
    with pytest.raises(ValueError, match="unknown engine 'fast'"):
        evaluate_folded(reference, images, labels, ber=rates, engine="fast", **options)
    with pytest.raises(ValueError, match="strictly increasing"):
        evaluate_folded(reference, images, labels, ber=[0.1, 0.1], **options)


def test_wrong_calibrations_are_refused(random_network: Make) -> None:
    network = random_network((9, 8, 3), seed=0)
    images, labels = random_images(network, 20), np.zeros(20, np.int64)
    reference = calibration_reference(network, images)
    other = random_network((9, 8, 3), seed=1)
    options = {"ber": [0.1], "chips": 1, "seed": 0}
    with pytest.raises(ValueError, match="reference of another network"):
        evaluate(other, images, labels, engine=CalibratedEngine(reference), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nearly every threshold changes; use 'packed'"):
        evaluate_calibrated(reference, images, labels, engine="incremental", **options)
    with pytest.raises(ValueError, match="unknown engine 'fast'"):
        evaluate_calibrated(reference, images, labels, engine="fast", **options)
    runner = start_runner(CalibratedEngine(reference), network, images, threads=1)
    assert runner.engine == "packed"
    with pytest.raises(ValueError, match="thresholds and an affine map of its own"):
        runner.answers({}, thresholds={})
    runner = start_runner("incremental", network, images, threads=1)
    with pytest.raises(ValueError, match="keeps the affine map"):
        runner.answers({}, affine=(np.ones(3), np.ones(3)))
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        calibration_reference(network, images[:1])
    with pytest.raises(ValueError, match=r"shape \(images, 9\)"):
        calibration_reference(network, images[:, :8])
    with pytest.raises(ValueError, match="ber must be a fraction"):
        fold_for_ber(reference, 1.5)
    with pytest.raises(ValueError, match="protected names unknown layers 'hidden_9'"):
        fold_for_ber(reference, 0.1, protected=frozenset({"hidden_9"}))


def test_every_image_is_read_with_its_own_errors(network: FoldedNetwork) -> None:
    images = random_images(network, 25)
    errors = Errors(transient=(TransientFlips(0.1),))
    misreads = misreads_of(network, errors, seed=5, chip=3, first_read=100)
    found = read_answers(network, images, misreads)
    alone, sums = [], []
    for index in range(25):
        image = packed.prepare(images[index : index + 1])
        read = flip_weights(network, misreads(index))
        alone.append(packed.predict(read, image, threads=1)[0])
        plain = dense.pre_activations(read, dense.prepare(images[index : index + 1]), threads=1)
        sums.append(plain[0].reshape(-1, len(network.layers[0].weights)))
    np.testing.assert_array_equal(found, alone)
    # the mean of a neuron over such reads moves its threshold
    reference = calibration_reference(network, images)
    first = calibrate_chip(reference, {}, misreads=misreads).thresholds["hidden_1"]
    layer, before = network.layers[0], reference.pooled["hidden_1"]
    assert not isinstance(layer, OutputLayer)
    z = np.concatenate(sums)
    place = layer.threshold - 0.5 - layer.direction * before.mean
    wanted = np.ceil(layer.direction * z.mean(0) + z.std(0) / before.sd * place)
    np.testing.assert_array_equal(first, wanted)
    quiet = misreads_of(network, Errors(transient=(TransientFlips(0.0),)), seed=5, chip=3)
    same = calibrate_chip(reference, {}, misreads=quiet).on(network)
    assert network_sha256(same) == network_sha256(network)
