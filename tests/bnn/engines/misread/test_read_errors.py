"""Read errors against explicit misread positions, binomial laws and inverted weights."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bnn import Flips, FoldedNetwork, StuckAt, TransientFlips, evaluate_errors
from bnn.engines.dense import dense
from bnn.engines.misread.law import misread_law
from bnn.engines.misread.reader import answers_by_positions, start_reader
from bnn.errors.chips import draw_chip, draw_misread
from bnn.errors.errors import Errors
from bnn.evaluation.counting import evaluation_bytes
from bnn.evaluation.evaluation import combine
from bnn.images.parts import ImagePart
from bnn.networks.network import flip_weights

Make = Callable[..., FoldedNetwork]
SIZES = (20, 70, 66, 5)
# at most 40 comparisons in this module, 0.0004 in all
REJECT = 1e-5


@pytest.fixture(scope="module")
def network(random_network: Make) -> FoldedNetwork:
    return random_network(SIZES, seed=1)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    made = np.random.default_rng(2).integers(0, 256, (150, SIZES[0]), dtype=np.uint8)
    made.flags.writeable = False
    return made


def misread(ber: float, *layers: str) -> Errors:
    return Errors(transient=(TransientFlips(ber, frozenset(layers) or None),))


def reader(network: FoldedNetwork, images: np.ndarray, seed: int = 3, threads: int = 1):
    reads = np.arange(len(images))
    return start_reader(network, images, reads=reads, seed=seed, threads=threads)


def predicted(network: FoldedNetwork, images: np.ndarray) -> np.ndarray:
    return dense.predict(network, dense.prepare(images), threads=1)


@pytest.mark.parametrize("inputs", [1, 7, 200])
@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.04, 0.5, 0.9, 1.0])
def test_the_law_is_that_of_two_binomials(inputs: int, rate: float) -> None:
    law = misread_law(inputs, rate)
    values = np.arange(inputs + 1)
    for m in {0, 1, inputs // 3, inputs}:
        kept = stats.binom.pmf(values, m, 1 - rate)
        turned = stats.binom.pmf(values, inputs - m, rate)
        expected = np.cumsum(np.convolve(kept, turned)[: inputs + 1])
        zero, *row = law.below[law.start[m] : law.start[m + 1]]
        assert (zero, row[-1]) == (0.0, 1.0)
        found = np.ones(inputs + 1)
        found[: law.first[m]] = 0.0
        found[law.first[m] : law.first[m] + len(row)] = row
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_nothing_misread_and_everything_misread_are_exact(
    network: FoldedNetwork, images: np.ndarray
) -> None:
    everything = {n: np.arange(b) for n, b in network.weight_bits.items()}
    wrong = draw_chip(network, Errors((Flips(0.02, 0.1),)), seed=1, chip=0).positions
    ready = reader(network, images)
    for flips in ({}, wrong):
        chip = flip_weights(network, flips)
        none = ready.answers(flips, misread(0.0), chip=0)
        np.testing.assert_array_equal(none, predicted(chip, images))
        all_of_them = ready.answers(flips, misread(1.0), chip=0)
        np.testing.assert_array_equal(
            all_of_them, predicted(flip_weights(chip, everything), images)
        )
    # one layer inverted
    one = ready.answers({}, misread(1.0, "hidden_2"), chip=0)
    inverted = flip_weights(network, {"hidden_2": everything["hidden_2"]})
    np.testing.assert_array_equal(one, predicted(inverted, images))


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_misread_pixels_are_those_of_the_explicit_positions(
    share: float, network: FoldedNetwork, images: np.ndarray
) -> None:
    # few and many wrong weights: changed one by one, and computed anew
    wrong = draw_chip(network, Errors((Flips.symmetric(share),)), seed=1, chip=4).positions
    ready, errors = reader(network, images), misread(0.05, "hidden_1")
    expected = answers_by_positions(ready, wrong, errors, chip=4)
    np.testing.assert_array_equal(ready.answers(wrong, errors, chip=4), expected)


def test_positions_of_the_reference_are_those_of_draw_misread(
    network: FoldedNetwork, images: np.ndarray
) -> None:
    errors = misread(0.1)
    wrong = draw_chip(network, Errors((StuckAt(0.1, 0.1),)), seed=3, chip=2).positions
    found = answers_by_positions(reader(network, images[:5]), wrong, errors, chip=2)
    for read in range(5):
        turned = draw_misread(network, errors, seed=3, chip=2, read=read)
        both = flip_weights(flip_weights(network, wrong), turned)
        assert found[read] == predicted(both, images[read : read + 1])[0]


@pytest.mark.parametrize("ber", [0.01, 0.1])
def test_answers_follow_the_law_of_brute_force(ber: float, random_network: Make) -> None:
    """Answers of one image in many reads, against explicit positions in as many others."""
    network = random_network((6, 40, 30, 4), seed=5)
    rng = np.random.default_rng(0)
    wrong = draw_chip(network, Errors((Flips.symmetric(0.05),)), seed=1, chip=0).positions
    for image in rng.integers(0, 256, (3, 6), dtype=np.uint8):
        many, few = np.tile(image, (20_000, 1)), np.tile(image, (800, 1))
        fast = reader(network, many, seed=7).answers(wrong, misread(ber), chip=0)
        slow = answers_by_positions(reader(network, few, seed=8), wrong, misread(ber), chip=0)
        table = np.array([np.bincount(a, minlength=4) for a in (fast, slow)])
        table = table[:, table.sum(axis=0) > 0]
        if table.shape[1] > 1:
            assert stats.chi2_contingency(table).pvalue > REJECT
        # control that must fail: another rate
        other = reader(network, many, seed=7).answers(wrong, misread(ber / 2), chip=0)
        pair = np.array([np.bincount(a, minlength=4) for a in (fast, other)])
        assert stats.chi2_contingency(pair[:, pair.sum(axis=0) > 0]).pvalue < REJECT


def test_pre_activations_of_a_neuron_follow_the_law(random_network: Make) -> None:
    """One row of weights read often: the output layer answers with the sign of its sum."""
    network = random_network((6, 60, 2), seed=6)
    image = np.random.default_rng(1).integers(0, 256, (1, 6), dtype=np.uint8)
    (_, z) = dense.pre_activations(network, dense.prepare(image), threads=1)
    output = network.layers[-1]
    errors = misread(0.05, "output")
    answers = reader(network, np.tile(image, (40_000, 1))).answers({}, errors, chip=0)
    laws = []
    for row in range(2):
        m = (60 + int(z[0, row])) // 2
        values = np.arange(61)
        law = np.convolve(stats.binom.pmf(values, m, 0.95), stats.binom.pmf(values, 60 - m, 0.05))
        laws.append(law[:61])
    scores = (2 * np.arange(61) - 60)[:, None] * output.scale + output.shift  # type: ignore[union-attr]
    second = scores[None, :, 1] > scores[:, None, 0]
    probability = float((laws[0][:, None] * laws[1][None, :] * second).sum())
    assert 0.01 < probability < 0.99
    assert stats.binomtest(int((answers == 1).sum()), 40_000, probability).pvalue > REJECT


def test_reads_of_neighbouring_neurons_images_and_chips_are_independent(
    network: FoldedNetwork, images: np.ndarray
) -> None:
    ready = reader(network, np.tile(images[:1], (4000, 1)))
    one, other = (ready.answers({}, misread(0.1), chip=chip) for chip in (0, 1))
    for a, b in ((one[:-1], one[1:]), (one, other)):
        table = np.histogram2d(a, b, bins=[np.arange(6)] * 2)[0]
        table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
        assert table.shape[0] > 1
        assert stats.chi2_contingency(table).pvalue > REJECT


@pytest.fixture(scope="module")
def counted(network: FoldedNetwork, images: np.ndarray) -> Callable[..., xr.Dataset]:
    labels = predicted(network, images)
    cases = [
        misread(0.02),
        Errors((Flips.symmetric(0.02),), (TransientFlips(0.01),), frozenset({"output"})),
        Errors((Flips.symmetric(0.02),)),
    ]

    def count(**changes: Any) -> xr.Dataset:
        options = {"errors": cases, "chips": 3, "seed": 1, "threads": 1, **changes}
        return evaluate_errors(network, images, labels, **options)

    return count


def test_batch_threads_and_order_leave_no_trace(
    network: FoldedNetwork, counted: Callable[..., xr.Dataset]
) -> None:
    whole = counted()
    assert (whole["changed"] > 0).all()
    assert "positions of pixels" in whole.attrs["reading"]
    assert whole["flips"].values[0].tolist() == [0] * 3
    xr.testing.assert_identical(counted(threads=3), whole)
    xr.testing.assert_identical(counted(engine="dense"), whole)
    parts = [counted(part=ImagePart(a, b, 9)) for a, b in ((100, 150), (0, 100))]
    xr.testing.assert_identical(combine(*parts), whole)
    later = counted(chips=2, first_chip=1)
    xr.testing.assert_identical(combine(later, counted(chips=1)), whole)
    steps: list[int] = []
    least = evaluation_bytes(network, 64, transient=True)
    counted(memory=least, progress=lambda done, of: steps.append(of))
    assert steps[-1] > 3
    xr.testing.assert_identical(counted(memory=least), whole)


def test_a_case_without_read_errors_is_as_before(counted: Callable[..., xr.Dataset]) -> None:
    alone = counted(errors=[Errors((Flips.symmetric(0.02),))])
    assert "reading" not in alone.attrs
    for name in alone.data_vars:
        np.testing.assert_array_equal(alone[name].values[0], counted()[name].values[2])


def test_convolutions_are_read_image_by_image(random_conv_network: Make) -> None:
    network = random_conv_network((1, 6, 6), ((8, 3, 2),), (12, 3), seed=2)
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (6, 36), dtype=np.uint8)
    found = reader(network, images).answers({}, misread(0.1), chip=1)
    for read in range(6):
        turned = draw_misread(network, misread(0.1), seed=3, chip=1, read=read)
        assert found[read] == predicted(flip_weights(network, turned), images[read : read + 1])[0]


def test_unknown_layers_are_refused(counted: Callable[..., xr.Dataset]) -> None:
    with pytest.raises(ValueError, match=r"errors\[0\] names unknown layers 'first'"):
        counted(errors=[misread(0.1, "first")])
