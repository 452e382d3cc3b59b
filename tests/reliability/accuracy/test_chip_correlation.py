"""Chips that are alike over BER. All counts are simulated."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reliability.accuracy.chip_correlation import bit_correlation, chip_correlation

BER = np.array([3e-3, 1e-2, 2e-2, 3e-2, 4e-2, 5e-2, 7e-2, 0.1])
POOLS = {"lost": 1000, "gained": 100}
RATES = np.stack([BER, BER], axis=1)
BITS, DAMAGE = 300, 2.0


def _nested(rng: np.random.Generator, *, chips: int) -> dict[str, np.ndarray]:
    """Chips whose bits each cost two images on average: damage rests on single bits alone."""
    level = rng.random((chips, BITS))
    damage = DAMAGE * np.linspace(0.0, 2.0, BITS)
    lost = np.stack([np.rint((level < p) @ damage) for p in BER])
    gained = rng.binomial(POOLS["gained"], 0.05, (len(BER), chips))
    return {"lost": lost.astype(np.int64), "gained": gained}


def test_damage_by_single_bits_has_the_correlation_of_a_bit() -> None:
    found = chip_correlation(_nested(np.random.default_rng(1), chips=400)["lost"], RATES)
    odds = BER / (1 - BER)
    expected = np.sqrt(np.minimum.outer(odds, odds) / np.maximum.outer(odds, odds))
    # The grid of laws starts at a tenth of a further bit and at 2 % of each knot's own.
    np.testing.assert_allclose(found, expected, atol=0.06)
    np.testing.assert_allclose(np.diag(found), 1.0)


def test_chips_that_are_new_at_each_ber_are_hardly_alike() -> None:
    rng = np.random.default_rng(2)
    new = np.stack([rng.permutation(row) for row in _nested(rng, chips=400)["lost"]])
    found = chip_correlation(new, RATES)
    assert np.abs(found - np.eye(len(BER))).max() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(0, 3))
def test_any_counts_give_a_correlation_matrix(seed: int, chips: int, level: int) -> None:
    counts = np.random.default_rng(seed).poisson(level, (len(BER), chips))
    found = chip_correlation(counts, RATES)
    np.testing.assert_allclose(np.diag(found), 1.0)
    np.testing.assert_allclose(found, found.T)
    assert np.linalg.eigvalsh(found).min() > 0
    alike = counts.min(axis=1) == counts.max(axis=1)
    assert np.all(found[alike] == np.eye(len(BER))[alike])


def test_only_ones_and_only_zeros_go_wrong_on_bits_of_their_own() -> None:
    """Counts of nested chips at tilts: wrong zeros tell nothing of wrong ones."""
    rates = np.array([[0.1, 0.0], [0.0, 0.1], [0.05, 0.05], [0.02, 0.0]])
    rng, bits, chips = np.random.default_rng(8), 400, 4000
    level, one = rng.random((chips, bits)), np.arange(bits) % 4 == 0
    wrong = level[None] < np.where(one, rates[:, 1, None], rates[:, 0, None])[:, None]
    found = np.corrcoef(wrong.sum(axis=-1))
    expected = bit_correlation(rates, 0.25)
    np.testing.assert_allclose(found, expected, atol=4.5 / np.sqrt(chips))
    assert expected[0, 1] == 0
    # at a rate of one nothing varies
    sure = bit_correlation(np.array([[1.0, 0.0], [0.5, 0.5]]), 0.5)
    np.testing.assert_array_equal(sure, np.eye(2))
