"""Chips and redrawn flips against the laws they must follow.

Every statistical check has a fixed seed and rejects at a p-value of 1e-5; with fewer than 40 checks
in this file, a correct library fails one of them with a probability below 4e-4, once, at the
choice of the seed.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from bnn.errors import IndependentFlips, chip_flips, redrawn_flips

REJECT = 1e-5
RATES = st.one_of(st.floats(0.0, 1.0), st.floats(-12, 0).map(lambda x: 10.0**x))


def counts_p_value(counts: np.ndarray, *, bits: int, ber: float) -> float:
    """Chi-square of flip counts against the binomial law, cells of at least 5 expected."""
    law = stats.binom.pmf(np.arange(bits + 1), bits, ber) * len(counts)
    # walk from below, closing a cell whenever it holds enough; the rest joins the last cell
    edges, held = [0], 0.0
    for k, expected in enumerate(law):
        held += expected
        if held >= 5 and law[k + 1 :].sum() >= 5:
            edges.append(k + 1)
            held = 0.0
    observed = np.add.reduceat(np.bincount(counts, minlength=bits + 1), edges)
    return float(stats.chisquare(observed, np.add.reduceat(law, edges), sum_check=False).pvalue)


def hits_p_value(hits: np.ndarray, *, draws: int, ber: float) -> float:
    """Chi-square of how often each bit was hit; bits are independent, each count binomial."""
    z = (hits - draws * ber) / np.sqrt(draws * ber * (1 - ber))
    return float(stats.chi2.sf((z**2).sum(), len(hits)))


def chip(bits: int, ber: float, number: int) -> np.ndarray:
    return chip_flips(bits=bits, ber=ber, seed=20, chip=number, layer=0)[0]


def redrawn(bits: int, ber: float, number: int) -> np.ndarray:
    return redrawn_flips(bits=bits, ber=ber, rng=np.random.default_rng([20, number]))


BOTH = pytest.mark.parametrize("draw", [chip, redrawn])
Draw = Callable[[int, float, int], np.ndarray]


# expected flips of the rows: 0.1 and 0.8 (below one), 12, 60, 210, 63
@BOTH
@pytest.mark.parametrize(
    ("bits", "ber"), [(100, 1e-3), (40, 0.02), (4000, 3e-3), (1000, 0.06), (300, 0.7), (64, 0.99)]
)
def test_number_of_flips_is_binomial(draw: Draw, bits: int, ber: float) -> None:
    counts = np.array([len(draw(bits, ber, k)) for k in range(1500)])
    assert counts_p_value(counts, bits=bits, ber=ber) > REJECT


def test_control_rounded_expected_counts_must_fail() -> None:
    # the fault of peers: bits * ber, rounded, instead of a random number
    counts = np.full(1500, round(40 * 0.02))
    assert counts_p_value(counts, bits=40, ber=0.02) < REJECT


@BOTH
@pytest.mark.parametrize(("bits", "ber"), [(64, 0.3), (64, 0.04), (513, 0.005), (50, 0.9)])
def test_every_bit_is_hit_equally_often(draw: Draw, bits: int, ber: float) -> None:
    hits = np.zeros(bits)
    for k in range(1500):
        hits[draw(bits, ber, k)] += 1
    assert hits_p_value(hits, draws=1500, ber=ber) > REJECT


def test_control_cutting_off_sorted_places_must_fail() -> None:
    # the classic fault: draw too many, sort, keep the first ones
    rng = np.random.default_rng(0)
    hits = np.zeros(64)
    for _ in range(1500):
        places = np.unique(rng.integers(0, 64, 25))
        hits[places[: rng.binomial(64, 0.3)]] += 1
    assert hits_p_value(hits, draws=1500, ber=0.3) < REJECT


@pytest.mark.parametrize("ber", [1.0, 0.6, 0.02, 1e-4, 2.0**-24])
def test_levels_are_uniform_below_the_rate(ber: float) -> None:
    bits = int(20_000 / ber)
    levels = chip_flips(bits=min(bits, 3 * 10**11), ber=ber, seed=4, chip=0, layer=1)[1]
    assert len(levels) > 10_000
    assert stats.kstest(levels / ber, "uniform").pvalue > REJECT


def test_control_levels_at_the_middle_of_their_band_must_fail() -> None:
    levels = chip_flips(bits=20_000, ber=1.0, seed=4, chip=0, layer=1)[1]
    middles = 0.75 * 2.0 ** np.ceil(np.log2(levels))
    assert stats.kstest(middles, "uniform").pvalue < REJECT


@given(bits=st.integers(1, 3000), low=RATES, high=RATES, seed=st.integers(0, 2**64))
@example(bits=3000, low=0.0, high=1.0, seed=0)
@example(bits=3000, low=0.5, high=np.nextafter(0.5, 1), seed=0)
def test_chips_are_nested(bits: int, low: float, high: float, seed: int) -> None:
    low, high = sorted((low, high))
    few, few_levels = chip_flips(bits=bits, ber=low, seed=seed, chip=3, layer=1)
    many, many_levels = chip_flips(bits=bits, ber=high, seed=seed, chip=3, layer=1)
    below = many_levels < low
    np.testing.assert_array_equal(few, many[below])
    np.testing.assert_array_equal(few_levels, many_levels[below])
    assert np.all(np.diff(many) > 0)
    assert np.all((many >= 0) & (many < bits))


def test_a_bit_is_right_up_to_its_level_and_wrong_above() -> None:
    key = {"bits": 1000, "seed": 1, "chip": 0, "layer": 0}
    positions, levels = chip_flips(ber=1.0, **key)
    for position, level in zip(positions[:20], levels[:20], strict=True):
        assert position not in chip_flips(ber=float(level), **key)[0]
        assert position in chip_flips(ber=float(np.nextafter(level, 1)), **key)[0]


@BOTH
@pytest.mark.parametrize("bits", [0, 1, 64, 1000])
def test_rates_zero_and_one_are_exact(draw: Draw, bits: int) -> None:
    assert len(draw(bits, 0.0, 0)) == 0
    np.testing.assert_array_equal(draw(bits, 1.0, 0), np.arange(bits))


@BOTH
@pytest.mark.parametrize("ber", [5e-324, 1e-300, 1e-30])
def test_tiny_rates_draw_nothing(draw: Draw, ber: float) -> None:
    # 1000 bits: probability of a flip below 1e-27
    assert len(draw(1000, ber, 0)) == 0


def test_redrawn_flips_just_below_one() -> None:
    rng = np.random.default_rng(0)
    # 1000 bits, 1.1e-13 expected to be spared
    assert len(redrawn_flips(bits=1000, ber=np.nextafter(1.0, 0.0), rng=rng)) == 1000


def test_every_key_gives_another_chip() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (2**70, 0, 0)]
    chips = {
        chip_flips(bits=1000, ber=0.1, seed=s, chip=c, layer=k)[0].tobytes() for s, c, k in keys
    }
    assert len(chips) == len(keys)


def test_redrawn_flips_go_on_with_the_generator() -> None:
    rng = np.random.default_rng(0)
    first, second = (redrawn_flips(bits=1000, ber=0.1, rng=rng) for _ in range(2))
    assert first.tolist() != second.tolist()


def test_chip_is_the_same_for_ever() -> None:
    # written down from the first release: a change of these numbers changes every stored result
    positions, levels = chip_flips(bits=100_000, ber=5e-5, seed=7, chip=2, layer=1)
    assert positions.tolist() == [20434, 66185, 77689]
    assert levels.tolist() == [
        4.0937977299535635e-05,
        1.0640181548620069e-05,
        1.7998258590180416e-05,
    ]


@pytest.mark.parametrize("ber", [-1e-9, 1.0001, float("nan"), float("inf")])
def test_rates_outside_zero_to_one_are_refused(ber: float) -> None:
    with pytest.raises(ValueError, match="ber must be a fraction between 0 and 1"):
        chip_flips(bits=10, ber=ber, seed=0, chip=0, layer=0)
    with pytest.raises(ValueError, match="ber must be a fraction between 0 and 1"):
        redrawn_flips(bits=10, ber=ber, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="ber must be a fraction between 0 and 1"):
        IndependentFlips(ber)


@pytest.mark.parametrize("name", ["bits", "seed", "chip", "layer"])
def test_negative_numbers_are_refused(name: str) -> None:
    numbers = {"bits": 10, "seed": 0, "chip": 0, "layer": 0, name: -1}
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -1"):
        chip_flips(ber=0.1, **numbers)


@pytest.mark.parametrize("protected", ["output", frozenset({1}), {"output"}])
def test_protected_must_be_a_frozenset_of_names(protected: object) -> None:
    with pytest.raises(ValueError, match="frozenset of layer names"):
        IndependentFlips(0.1, protected)  # type: ignore[arg-type]
