"""Chips and redrawn flips against the laws they must follow.

Every statistical check has a fixed seed and rejects at a p-value of 1e-5; with fewer than 100
checks in this file, a correct library fails one with a probability below 1e-3, once, at the
choice of the seed.
"""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from bnn.errors.flips import BLOCK_BITS, chip_flips, levels_of_blocks, nested_levels
from bnn.machine.counter_random import Stream, StreamKey
from bnn.training.redrawn_flips import negate_redrawn, redrawn_flips

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


# the last rate gives gaps that are far too large for an integer
@pytest.mark.parametrize("ber", [0.0, 1.0, 0.999, 0.12, 1e-3, 1e-300])
@pytest.mark.parametrize("bits", [0, 1, 1000])
def test_weights_are_negated_where_the_flips_would_be(bits: int, ber: float) -> None:
    given = np.random.default_rng(3).normal(size=bits).astype(np.float32)
    values = given.copy()
    rng, other = np.random.default_rng(4), np.random.default_rng(4)
    for _ in range(3):
        negate_redrawn(values, ber=ber, rng=rng)
        given[redrawn_flips(bits=bits, ber=ber, rng=other)] *= -1
        np.testing.assert_array_equal(values, given)
    assert rng.random() == other.random()


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


@settings(deadline=None)  # the first call compiles
@given(bits=st.integers(1, 3000), low=RATES, high=RATES, seed=st.integers(0, 2**64))
@example(bits=3000, low=0.0, high=1.0, seed=0)
@example(bits=3000, low=0.5, high=np.nextafter(0.5, 1), seed=0)
@example(bits=2 * BLOCK_BITS + 1, low=1e-3, high=0.6, seed=0)
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


# a mean of 2 (lists sorted by insertion), and of 650 (sorted by rank)
@pytest.mark.parametrize(("ber", "chips"), [(3e-5, 1500), (0.01, 200)])
def test_every_block_has_its_own_binomial_number(ber: float, chips: int) -> None:
    counts = np.zeros((chips, 4), np.int64)
    for k in range(chips):
        counts[k] = np.bincount(chip(4 * BLOCK_BITS, ber, k) // BLOCK_BITS, minlength=4)
    law = stats.binom(BLOCK_BITS, ber)
    # mid-p of a discrete law has a variance a little below that of a uniform number
    levels = law.cdf(counts) - law.pmf(counts) / 2
    z = (levels.mean(axis=0) - 0.5) * np.sqrt(12 * chips)
    assert stats.chi2.sf((z**2).sum(), 4) > REJECT
    variances = counts.var(axis=0, ddof=1) * (chips - 1) / law.var()
    # Poisson-like counts: excess kurtosis 1 / mean widens the law of a variance
    widths = np.sqrt(chips * (2 + 1 / law.mean()))
    assert np.all(np.abs(variances - chips) < 5 * widths)
    correlations = np.corrcoef(counts.T)[np.triu_indices(4, 1)] * np.sqrt(chips)
    assert np.all(np.abs(correlations) < 5)


def test_bits_at_the_edge_of_two_blocks_are_hit_like_others() -> None:
    hits = np.zeros(2 * BLOCK_BITS)
    for k in range(200):
        hits[chip(2 * BLOCK_BITS, 0.3, k)] += 1
    edge = hits[BLOCK_BITS - 100 : BLOCK_BITS + 100]
    assert hits_p_value(edge, draws=200, ber=0.3) > REJECT


def test_parts_of_a_layer_join_to_the_whole() -> None:
    key = StreamKey(seed=3, chip=1, layer=2, stream=Stream.FLIPS)
    bits = 4 * BLOCK_BITS + 77
    whole = nested_levels(bits=bits, ber=0.03, key=key)
    parts = [
        levels_of_blocks(bits=bits, ber=0.03, key=key, first=first, last=last)
        for first, last in [(0, 1), (1, 4), (4, 4), (4, 5)]
    ]
    for index in (0, 1):
        np.testing.assert_array_equal(np.concatenate([p[index] for p in parts]), whole[index])
    assert {len(part[0]) > 0 for part in parts[:2]} == {True}


def test_blocks_leave_no_trace_in_each_other() -> None:
    # about 13 flips in each of 400 blocks: a bit kept from one block would hide some of the others
    key = StreamKey(seed=3, chip=1, layer=2, stream=Stream.FLIPS)
    bits = 400 * BLOCK_BITS
    alone = [
        levels_of_blocks(bits=bits, ber=2e-4, key=key, first=block, last=block + 1)[0]
        for block in range(400)
    ]
    whole, _ = nested_levels(bits=bits, ber=2e-4, key=key)
    np.testing.assert_array_equal(np.concatenate(alone), whole)


def test_a_longer_layer_begins_with_a_shorter_one() -> None:
    many, many_levels = chip_flips(bits=200_000, ber=0.02, seed=5, chip=0, layer=0)
    few, few_levels = chip_flips(bits=100_000, ber=0.02, seed=5, chip=0, layer=0)
    np.testing.assert_array_equal(few, many[many < 100_000])
    np.testing.assert_array_equal(few_levels, many_levels[many < 100_000])


def overlap_p_value(one: np.ndarray, other: np.ndarray, *, bits: int, ber: float) -> float:
    """Number of common bits of two independent masks against the binomial law."""
    common = len(np.intersect1d(one, other))
    return float(stats.binomtest(common, bits, ber**2).pvalue)


KEYS = {"seed": 20, "chip": 4, "layer": 1}


@pytest.mark.parametrize("ber", [0.01, 0.3])
@pytest.mark.parametrize(
    "change", [{"seed": 21}, {"seed": 20 + 2**64}, {"chip": 5}, {"layer": 0}, {"layer": 2}]
)
def test_masks_of_different_keys_are_independent(change: dict[str, int], ber: float) -> None:
    bits = 500_000
    one, _ = chip_flips(bits=bits, ber=ber, **KEYS)
    other, _ = chip_flips(bits=bits, ber=ber, **KEYS | change)
    assert overlap_p_value(one, other, bits=bits, ber=ber) > REJECT
    # and with the places of the other mask moved by a bit or a block
    for step in (1, 64, BLOCK_BITS):
        moved = (other + step) % bits
        assert overlap_p_value(one, moved, bits=bits, ber=ber) > REJECT


def test_masks_of_different_streams_and_reads_are_independent() -> None:
    bits, ber = 300_000, 0.1
    keys = [StreamKey(1, 2, 0, Stream.FLIPS), StreamKey(1, 2, 0, Stream.STUCK)]
    keys += [StreamKey(1, 2, 0, Stream.READ, read) for read in (0, 1)]
    masks = [nested_levels(bits=bits, ber=ber, key=key)[0] for key in keys]
    for index, one in enumerate(masks):
        for other in masks[:index]:
            assert overlap_p_value(one, other, bits=bits, ber=ber) > REJECT


def test_control_masks_that_share_a_block_must_fail() -> None:
    # the fault: a key that does not reach all blocks
    bits, ber = 500_000, 0.01
    one, _ = chip_flips(bits=bits, ber=ber, **KEYS)
    other, _ = chip_flips(bits=bits, ber=ber, **KEYS | {"chip": 5})
    other = np.concatenate((one[one < BLOCK_BITS], other[other >= BLOCK_BITS]))
    assert overlap_p_value(one, other, bits=bits, ber=ber) < REJECT


def test_redrawn_flips_go_on_with_the_generator() -> None:
    rng = np.random.default_rng(0)
    first, second = (redrawn_flips(bits=1000, ber=0.1, rng=rng) for _ in range(2))
    assert first.tolist() != second.tolist()


def test_chip_is_the_same_for_ever() -> None:
    # a change of these numbers changes every stored result, and needs a new `DRAWING`
    positions, levels = chip_flips(bits=100_000, ber=3e-5, seed=7, chip=2, layer=1)
    assert positions.tolist() == [19973, 49762, 66311, 67435]
    assert levels.tolist() == [
        6.334207604888081e-06,
        1.6439744164653906e-05,
        1.3943287703767074e-05,
        1.2372998663264392e-05,
    ]
    positions, levels = chip_flips(bits=200_000, ber=0.6, seed=7, chip=2, layer=1)
    digest = hashlib.sha256(positions.astype("<i8").tobytes() + levels.astype("<f8").tobytes())
    assert digest.hexdigest() == "0d6667af9ac294b6a87eef794102b2d6e8191e6f6097b52fae5e74a9610993cf"


def reference_chip(bits: int, ber: float, *, seed: int, chip: int, layer: int) -> dict[int, float]:
    """Levels by position, with NumPy's Philox, the logarithm of the C library and a dict."""
    levels: dict[int, float] = {}
    for start in range(0, bits, 65536):
        for band in range(24, -1, -1):
            low, high = (0.0 if band == 24 else 0.5 ** (band + 1)), 0.5**band
            if ber <= low:
                break
            counter = start // 65536 << 64 | chip << 128 | (layer << 32 | band) << 192
            # NumPy counts up before it draws
            generator = np.random.Philox(counter=(counter - 1) % 2**256, key=seed)
            place = start - 1
            while True:
                gap_word, level_word = generator.random_raw(2).tolist()
                if band > 0:
                    spared = (1 - high) / (1 - low)
                    place += int(math.log(((gap_word >> 11) + 1) / 2**53) / math.log(spared))
                place += 1
                if place >= min(start + 65536, bits):
                    break
                level = low + (high - low) * ((level_word >> 12) / 2**52)
                if place not in levels and level < ber:
                    levels[place] = level
    return levels


@pytest.mark.parametrize("ber", [1.0, 0.3, 0.01, 1e-4])
def test_chip_agrees_with_a_plain_reference(ber: float) -> None:
    bits = 65536 + 1000
    positions, levels = chip_flips(bits=bits, ber=ber, seed=2**64 + 3, chip=9, layer=2)
    expected = reference_chip(bits, ber, seed=2**64 + 3, chip=9, layer=2)
    assert dict(zip(positions.tolist(), levels.tolist(), strict=True)) == expected


@pytest.mark.parametrize("ber", [-1e-9, 1.0001, float("nan"), float("inf")])
def test_rates_outside_zero_to_one_are_refused(ber: float) -> None:
    with pytest.raises(ValueError, match="ber must be a fraction between 0 and 1"):
        chip_flips(bits=10, ber=ber, seed=0, chip=0, layer=0)
    with pytest.raises(ValueError, match="ber must be a fraction between 0 and 1"):
        redrawn_flips(bits=10, ber=ber, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", ["bits", "seed", "chip", "layer"])
def test_negative_numbers_are_refused(name: str) -> None:
    numbers = {"bits": 10, "seed": 0, "chip": 0, "layer": 0, name: -1}
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -1"):
        chip_flips(ber=0.1, **numbers)


@pytest.mark.parametrize("bits", [1, BLOCK_BITS, 5 * BLOCK_BITS + 17])
@pytest.mark.parametrize("ber", [0.01, 0.3, 1.0])
def test_threads_change_nothing(bits: int, ber: float) -> None:
    one, *others = (
        chip_flips(bits=bits, ber=ber, seed=3, chip=1, layer=2, threads=n) for n in (1, 2, 3, 40)
    )
    for other in others:
        for ours, theirs in zip(other, one, strict=True):
            np.testing.assert_array_equal(ours, theirs)
