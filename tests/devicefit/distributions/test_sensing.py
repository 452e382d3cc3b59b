"""Bit error rates against quadrature, closed forms, brute force and plain loops."""

import re
from collections.abc import Callable
from typing import Any

import mpmath
import numba
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import log_ndtr, logsumexp

from devicefit.distributions.mixture import Mixture, mix
from devicefit.distributions.sensing import (
    BerCurve,
    SensingOptions,
    choose_threshold,
    curves_of_laws,
    ln_ber_1t1r,
    ln_ber_2t2r,
)
from devicefit.families.frame import Frame
from devicefit.fitting.error_rates import ber_curves
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import Measurements
from devicefit.prediction.counted_errors import ErrorCounts, count_errors, group_conditions

CURRENT = Programming("SET compliance current", "A")
Law = tuple[list[float], list[float], list[float]]  # weights, means, standard deviations

# (LRS, HRS, threshold): BER from 0.5 down to 1e-15 and below
CASES: list[tuple[Law, Law, float]] = [
    (([1.0], [8.0], [0.3]), ([1.0], [8.0], [0.3]), 8.0),
    (([1.0], [8.5], [0.2]), ([1.0], [11.5], [0.5]), 9.4),
    (([1.0], [8.0], [0.1]), ([1.0], [11.5], [0.4]), 8.7),
    (([1.0], [7.5], [0.05]), ([1.0], [11.5], [0.45]), 7.9),
    (([0.997, 0.003], [8.0, 8.8], [0.06, 0.3]), ([1.0], [11.5], [0.5]), 9.3),
    (
        ([0.997, 0.003 - 1e-6, 1e-6], [8.0, 8.8, 11.5], [0.06, 0.3, 0.5]),
        ([1 - 4e-6, 4e-6], [11.5, 7.4], [0.5, 0.2]),
        9.6,
    ),
    (
        ([1 - 1e-3 - 1e-14, 1e-3, 1e-14], [7.5, 8.0, 11.5], [0.04, 0.05, 0.45]),
        ([1 - 1e-15, 1e-15], [11.5, 7.4], [0.4, 0.2]),
        8.4,
    ),
]
IDS = [f"case{i}" for i in range(len(CASES))]


def law(values: Law) -> Mixture:
    weight, mean, sd = (np.array(v) for v in values)
    return Mixture(np.log(weight), mean, sd)


@pytest.mark.parametrize(("lrs", "hrs", "threshold"), CASES, ids=IDS)
def test_1t1r_against_high_precision(lrs: Law, hrs: Law, threshold: float) -> None:
    with mpmath.workdps(50):
        t, root = mpmath.mpf(threshold), mpmath.sqrt(2)
        wrong = sum(
            w * mpmath.erfc((t - m) / s / root) / 2 for w, m, s in zip(*lrs, strict=True)
        ) + sum(w * mpmath.erfc((m - t) / s / root) / 2 for w, m, s in zip(*hrs, strict=True))
        expected = float(mpmath.log(wrong / 2))
    assert ln_ber_1t1r(law(lrs), law(hrs), threshold) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("offset", [0.0, 0.05, 0.3])
@pytest.mark.parametrize(("lrs", "hrs", "threshold"), CASES, ids=IDS)
def test_2t2r_against_quadrature(lrs: Law, hrs: Law, threshold: float, offset: float) -> None:
    """Integrate density of LRS and of the offset times distribution of HRS, in log space.

    The trapezoidal rule converges exponentially for such integrands; nothing here uses that a
    difference of normals is normal.
    """
    y = np.linspace(-2, 22, 24_001)
    o = np.linspace(-12, 12, 481) * offset if offset else np.zeros(1)
    ln_lrs = logsumexp(
        [np.log(w) + stats.norm.logpdf(y, m, s) for w, m, s in zip(*lrs, strict=True)], axis=0
    ) + np.log(y[1] - y[0])
    ln_offset = stats.norm.logpdf(o, 0, offset) + np.log(o[1] - o[0]) if offset else np.zeros(1)
    rows = [
        ln
        + logsumexp(
            ln_lrs
            + logsumexp(
                [np.log(w) + log_ndtr((y + value - m) / s) for w, m, s in zip(*hrs, strict=True)],
                axis=0,
            )
        )
        for value, ln in zip(o, ln_offset, strict=True)
    ]
    assert ln_ber_2t2r(law(lrs), law(hrs), offset) == pytest.approx(logsumexp(rows), abs=1e-6)


def test_the_cases_span_the_asked_range() -> None:
    ber = [np.exp(ln_ber_1t1r(law(a), law(b), t)) for a, b, t in CASES]
    assert max(ber) == pytest.approx(0.5)
    assert 1e-17 < min(ber) < 2e-15


@given(
    st.floats(5, 9),
    st.floats(0.01, 6),
    st.floats(0.02, 1),
    st.floats(0.02, 1),
    st.floats(0, 0.5),
)
def test_closed_forms(low: float, delta: float, s_l: float, s_h: float, offset: float) -> None:
    """FACTS (c): Q(Delta / (s_L + s_H)) at the equal-z threshold, Q(Delta / root) for pairs."""
    lrs, hrs = law(([1.0], [low], [s_l])), law(([1.0], [low + delta], [s_h]))
    equal_z = (low * s_h + (low + delta) * s_l) / (s_l + s_h)
    one = stats.norm.logsf(delta / (s_l + s_h))
    assert ln_ber_1t1r(lrs, hrs, equal_z) == pytest.approx(one, rel=1e-9, abs=1e-9)
    two = stats.norm.logsf(delta / np.sqrt(s_l**2 + s_h**2 + offset**2))
    assert ln_ber_2t2r(lrs, hrs, offset) == pytest.approx(two, rel=1e-9, abs=1e-9)


def test_effective_exponents_of_pairs() -> None:
    # FACTS (c), at z = 3 with the best threshold: sL/sH 1 -> 1.73, 0.5 -> 1.57, 0.25 -> 1.31,
    # 0.12 -> 1.11, 0.05 -> 1.00
    for ratio, exponent in ((1, 1.73), (0.5, 1.57), (0.25, 1.31), (0.12, 1.11), (0.05, 1.00)):
        lrs = Mixture(*(np.full((1, 1, 1, 1), v) for v in (0.0, 0.0, ratio)))
        hrs = Mixture(*(np.full((1, 1, 1, 1), v) for v in (0.0, 3 * (1 + ratio), 1.0)))
        one = ln_ber_1t1r(lrs, hrs, choose_threshold(lrs, hrs)).item()
        assert ln_ber_2t2r(lrs, hrs, 0.0).item() / one == pytest.approx(exponent, abs=0.006)


@given(st.sampled_from(range(len(CASES))), st.floats(6, 12), st.floats(0, 0.5))
def test_symmetry_and_bounds(case: int, threshold: float, offset: float) -> None:
    lrs, hrs, _ = CASES[case]
    mirrored = tuple((w, [-m for m in mean], s) for w, mean, s in (hrs, lrs))
    one = ln_ber_1t1r(law(lrs), law(hrs), threshold)
    assert one <= 0
    assert ln_ber_1t1r(law(mirrored[0]), law(mirrored[1]), -threshold) == pytest.approx(one)
    two = ln_ber_2t2r(law(lrs), law(hrs), offset)
    assert two <= 0
    assert ln_ber_2t2r(law(mirrored[0]), law(mirrored[1]), offset) == pytest.approx(two)
    # the opposite bit: right and wrong change places
    swapped = np.exp(ln_ber_2t2r(law(hrs), law(lrs), offset))
    assert swapped + np.exp(two) == pytest.approx(1.0)


def test_infinite_thresholds_read_one_bit_always() -> None:
    lrs, hrs, _ = CASES[5]
    for threshold in (-np.inf, np.inf):
        ber = ln_ber_1t1r(law(lrs), law(hrs), threshold)
        assert ber == pytest.approx(np.log(0.5), abs=1e-14)


@pytest.mark.parametrize("kernel", ["student-t", "logistic"])
def test_1t1r_of_other_kernels(kernel: str) -> None:
    rng = np.random.default_rng(6)
    shape = (2, 20, 5)
    dof = 1.5 + rng.exponential(4, (1, 2, 20, 1))
    laws, frozen = [], []
    for centre in (8.0, 10.0):
        location = centre + 0.2 * rng.standard_normal((1, *shape))
        scale = np.exp(-2 + 0.3 * rng.standard_normal((1, *shape)))
        laws.append(Mixture(np.zeros((1, *shape)), location, scale, (kernel,), dof))
        frozen.append(
            stats.t(dof[0], location[0], scale[0])
            if kernel == "student-t"
            else stats.logistic(location[0], scale[0])
        )
    threshold = np.linspace(8.5, 9.5, 5)
    expected = (frozen[0].sf(threshold) + frozen[1].cdf(threshold)) / 2
    np.testing.assert_allclose(np.exp(ln_ber_1t1r(*laws, threshold)), expected, rtol=1e-10)
    # one threshold for each element, and one more axis of thresholds in front
    wide = threshold + np.zeros((3, *shape))
    assert ln_ber_1t1r(*laws, wide).shape == wide.shape
    np.testing.assert_array_equal(ln_ber_1t1r(*laws, wide)[1], ln_ber_1t1r(*laws, threshold))


def test_1t1r_far_below_the_smallest_number() -> None:
    lrs, hrs = law(([1.0], [8.0], [0.02])), law(([1.0], [10.0], [0.02]))
    expected = stats.norm.logsf(50.0)
    assert ln_ber_1t1r(lrs, hrs, 9.0) == pytest.approx(expected, rel=1e-12)


def test_an_offset_is_not_negative() -> None:
    lrs, hrs, _ = CASES[0]
    for offset in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"offset_ln_r is .*; it must not be negative"):
            ln_ber_2t2r(law(lrs), law(hrs), offset)


# --- threshold ------------------------------------------------------------------------------------


def wide_laws(*, draws: int, seed: int, gap: float) -> tuple[Mixture, Mixture]:
    """Draws of a device at four strengths, chains x draws x strengths."""
    rng = np.random.default_rng(seed)
    shape = (2, draws, 4)
    strength = np.linspace(0, 1, 4)

    def noisy(value: float, sd: float) -> np.ndarray:
        return value + sd * rng.standard_normal((2, draws, 1)) + np.zeros(shape)

    q = np.exp(noisy(-6, 0.5) - 3 * strength)
    lrs_mean = noisy(11.5 - gap, 0.02) - 1.5 * strength
    hrs_mean = noisy(11.5, 0.05)
    lrs = Mixture(
        np.log(np.stack([1 - q, q])),
        np.stack([lrs_mean, hrs_mean]),
        np.stack([np.exp(noisy(-2, 0.1) - strength), np.full(shape, 0.5)]),
    )
    stuck = np.full(shape, 1e-6)
    hrs = Mixture(
        np.log(np.stack([1 - stuck, stuck])),
        np.stack([hrs_mean, np.full(shape, 7.4)]),
        np.stack([np.full(shape, 0.5), np.full(shape, 0.2)]),
    )
    return lrs, hrs


@pytest.mark.parametrize(("draws", "gap"), [(1, 2.0), (40, 2.0), (230, 2.0), (40, 0.5), (40, 3.5)])
def test_chosen_threshold_against_brute_force(draws: int, gap: float) -> None:
    lrs, hrs = wide_laws(draws=draws, seed=31, gap=gap)
    chosen = choose_threshold(lrs, hrs)
    assert chosen.shape == (4,)

    def expected(threshold: Any) -> np.ndarray:
        return np.exp(ln_ber_1t1r(lrs, hrs, threshold)).mean(axis=(0, 1))

    grid = np.linspace(6.0, 13.0, 2801)
    ber = np.stack([expected(t) for t in grid])
    best = ber.argmin(axis=0)
    # flat at the minimum: 1e-4 off in ln R, at spreads of 0.05, is 2e-6 of the BER
    assert np.all(expected(chosen) <= ber.min(axis=0) * (1 + 2e-6))
    # one grid step to either side
    np.testing.assert_allclose(chosen, grid[best], atol=0.0026)


def test_one_threshold_for_all_draws_is_worse_than_one_for_each() -> None:
    # choosing per draw would use knowledge that nobody has
    lrs, hrs = wide_laws(draws=40, seed=32, gap=2.0)
    together = np.exp(ln_ber_1t1r(lrs, hrs, choose_threshold(lrs, hrs))).mean(axis=(0, 1))
    single = []
    for draw in range(40):
        one = [
            Mixture(*(a[:, :1, draw : draw + 1] for a in (m.ln_weight, m.location, m.scale)))
            for m in (lrs, hrs)
        ]
        single.append(np.exp(ln_ber_1t1r(*one, choose_threshold(*one))).mean(axis=(0, 1)))
    alone = np.mean(single, axis=0)
    first_chain = np.exp(ln_ber_1t1r(lrs, hrs, choose_threshold(lrs, hrs)))[0].mean(axis=0)
    assert np.all(alone < first_chain)
    assert np.all(together > 0)


def test_threshold_of_a_symmetric_pair_is_the_middle() -> None:
    lrs = Mixture(np.zeros((1, 1, 1, 1)), np.full((1, 1, 1, 1), 8.0), np.full((1,) * 4, 0.3))
    hrs = Mixture(np.zeros((1, 1, 1, 1)), np.full((1, 1, 1, 1), 11.0), np.full((1,) * 4, 0.3))
    assert choose_threshold(lrs, hrs) == pytest.approx(9.5, abs=1e-4)


def heavy_laws(*, draws: int, seed: int) -> tuple[Mixture, Mixture]:
    """Student-t cores beside normal parts, and a logistic HRS; chains x draws x strengths."""
    lrs, hrs = wide_laws(draws=draws, seed=seed, gap=2.0)
    dof = 1.3 + np.random.default_rng(seed).exponential(2, (2, 2, draws, 1))
    return (
        Mixture(lrs.ln_weight, lrs.location, lrs.scale, ("student-t", "normal"), dof),
        Mixture(hrs.ln_weight, hrs.location, 0.55 * hrs.scale, ("logistic", "normal")),
    )


@pytest.mark.parametrize("draws", [3, 150])
def test_chosen_threshold_of_heavy_tails(draws: int) -> None:
    lrs, hrs = heavy_laws(draws=draws, seed=41)
    chosen = choose_threshold(lrs, hrs)

    def expected(threshold: Any) -> np.ndarray:
        return np.exp(ln_ber_1t1r(lrs, hrs, threshold)).mean(axis=(0, 1))

    grid = np.linspace(6.0, 13.0, 1401)
    ber = np.stack([expected(t) for t in grid])
    assert np.all(expected(chosen) <= ber.min(axis=0) * (1 + 2e-6))
    np.testing.assert_allclose(chosen, grid[ber.argmin(axis=0)], atol=0.0051)


def test_one_threshold_for_all_strengths() -> None:
    lrs, hrs = heavy_laws(draws=50, seed=42)
    common = choose_threshold(lrs, hrs, common=True)
    assert common.shape == (4,)
    assert np.ptp(common) == 0

    def mean(threshold: Any) -> float:
        return float(np.exp(ln_ber_1t1r(lrs, hrs, threshold)).mean())

    grid = np.linspace(7.0, 12.0, 2001)
    assert mean(common) <= min(mean(t) for t in grid) * (1 + 2e-6)
    assert mean(choose_threshold(lrs, hrs)) < mean(common)


def test_states_that_change_places_have_a_threshold() -> None:
    # nothing to gain from reading: any finite answer will do, and none must hang
    lrs, hrs = wide_laws(draws=5, seed=43, gap=2.0)
    assert np.all(np.isfinite(choose_threshold(hrs, lrs)))
    assert np.all(np.isfinite(choose_threshold(lrs, lrs)))


def test_threads_do_not_matter() -> None:
    lrs, hrs = (
        Mixture(*(np.tile(a, (1, 1, 1, 5)) for a in (m.ln_weight, m.location, m.scale)))
        for m in wide_laws(draws=40, seed=44, gap=2.0)
    )
    several = choose_threshold(lrs, hrs)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        one = choose_threshold(lrs, hrs)
        ber = ln_ber_1t1r(lrs, hrs, one)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(several, one)
    np.testing.assert_array_equal(ln_ber_1t1r(lrs, hrs, several), ber)


@pytest.mark.parametrize("threshold", [0.0, -5.0, np.inf, np.nan])
def test_threshold_is_a_resistance(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold_ohm is .*; it must be positive"):
        SensingOptions(threshold_ohm=threshold)


@pytest.mark.parametrize("offset", [-0.1, np.inf, np.nan])
def test_offset_is_a_standard_deviation(offset: float) -> None:
    with pytest.raises(ValueError, match=r"offset_ln_r is .*; it must not be negative"):
        SensingOptions(offset_ln_r=offset)


# --- curves ---------------------------------------------------------------------------------------


def test_curves_of_laws() -> None:
    lrs, hrs = heavy_laws(draws=20, seed=45)
    x = np.array([1e-5, 2e-5, 1e-4, 6e-4])
    outside = np.array([True, False, False, True])
    curves = curves_of_laws(
        {"LRS": lrs, "HRS": hrs},
        x,
        extrapolated=outside,
        support=0.01,
        options=SensingOptions(offset_ln_r=0.2),
    )
    one, two = curves["1T1R"], curves["2T2R"]
    assert one.ln_ber.shape == two.ln_ber.shape == (2, 20, 4)
    threshold = choose_threshold(lrs, hrs)
    np.testing.assert_allclose(np.log(one.threshold_ohm), threshold, rtol=1e-14)
    np.testing.assert_array_equal(one.ln_ber, ln_ber_1t1r(lrs, hrs, threshold))
    np.testing.assert_array_equal(two.ln_ber, ln_ber_2t2r(lrs, hrs, 0.2))
    assert two.threshold_ohm is None
    assert one.extrapolated is outside
    assert one.support == two.support == 0.01


def test_stacked_families_give_the_mean_of_their_ber() -> None:
    families = [wide_laws(draws=20, seed=46, gap=2.0), heavy_laws(draws=20, seed=46)]
    ln_w = np.log([0.3, 0.7])
    lrs, hrs = (mix([family[i] for family in families], ln_w) for i in range(2))
    one = [np.exp(ln_ber_1t1r(*family, 9.5)) for family in families]
    np.testing.assert_allclose(
        np.exp(ln_ber_1t1r(lrs, hrs, 9.5)), 0.3 * one[0] + 0.7 * one[1], rtol=1e-9
    )
    assert ln_ber_2t2r(lrs, hrs, 0.05).shape == (2, 20, 4)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([2.0, 1.0, 3.0, 4.0], "values of the programming variable must be ascending"),
        ([1.0, 2.0], re.escape("the law of LRS has the trailing shape (2, 3, 4); expected")),
    ],
)
def test_curves_of_laws_are_checked(x: list[float], message: str) -> None:
    lrs, hrs = wide_laws(draws=3, seed=47, gap=2.0)
    with pytest.raises(ValueError, match=message):
        curves_of_laws(
            {"LRS": lrs, "HRS": hrs},
            np.array(x),
            extrapolated=np.zeros(len(x), bool),
            support=0.1,
            options=SensingOptions(),
        )


def test_curves(known_posterior: Callable[..., Any]) -> None:
    posterior = known_posterior()
    x = np.array([1e-5, 2e-5, 1e-4, 6e-4, 1e-3])
    curves = ber_curves(posterior, x, options=SensingOptions(offset_ln_r=0.1))
    assert set(curves) == {"1T1R", "2T2R"}
    laws = posterior.mixtures(x)
    one, two = curves["1T1R"], curves["2T2R"]
    assert one.ln_ber.shape == two.ln_ber.shape == (2, 500, 5)
    threshold = np.log(one.threshold_ohm)
    np.testing.assert_array_equal(one.ln_ber, ln_ber_1t1r(laws["LRS"], laws["HRS"], threshold))
    np.testing.assert_array_equal(two.ln_ber, ln_ber_2t2r(laws["LRS"], laws["HRS"], 0.1))
    assert two.threshold_ohm is None
    assert one.extrapolated.tolist() == [True, False, False, False, True]
    assert one.support == 1 / 800


def test_a_given_threshold_is_used_everywhere(known_posterior: Callable[..., Any]) -> None:
    posterior, x = known_posterior(), np.array([2e-5, 1e-4])
    curve = ber_curves(posterior, x, options=SensingOptions(threshold_ohm=20_000.0))["1T1R"]
    np.testing.assert_allclose(curve.threshold_ohm, 20_000.0, rtol=1e-12)
    laws = posterior.mixtures(x)
    expected = ln_ber_1t1r(laws["LRS"], laws["HRS"], np.log(20_000.0))
    np.testing.assert_allclose(curve.ln_ber, expected)
    best = ber_curves(posterior, x, options=SensingOptions())["1T1R"]
    assert np.all(best.ln_ber <= curve.ln_ber)


@pytest.mark.parametrize("x", [[1e-4, 1e-4], [2e-4, 1e-4]])
def test_programming_values_ascend(known_posterior: Callable[..., Any], x: list[float]) -> None:
    with pytest.raises(ValueError, match="values of the programming variable must be ascending"):
        ber_curves(known_posterior(), np.array(x), options=SensingOptions())


# --- counts ---------------------------------------------------------------------------------------


def random_measurements(seed: int) -> Measurements:
    """Readings of devices unevenly spread over conditions, states overlapping."""
    rng = np.random.default_rng(seed)
    rows = []
    for current in np.unique(np.geomspace(1e-5, 1e-3, rng.integers(1, 12))):
        for device in rng.choice(60, size=rng.integers(1, 30), replace=False):
            for cycle in range(rng.integers(1, 4)):
                for state, middle in (("LRS", 9.0), ("HRS", 10.0)):
                    r = float(np.exp(rng.normal(middle, 1.0)))
                    rows.append((f"d{device}", cycle, state, float(current), r))
    names = ["device_id", "cycle", "state", "programming", "resistance_ohm"]
    return Measurements(pd.DataFrame(rows, columns=names), CURRENT, False, "random", "")


SEEDS = st.integers(0, 2**31)
SIZES = st.integers(1, 80)


@given(SEEDS, SIZES)
def test_count_errors_is_a_plain_loop(seed: int, size: int) -> None:
    measurements = random_measurements(seed)
    x = np.array([2e-5, 1e-4, 5e-4])
    threshold = np.array([2e4, 1e4, 8e3])
    curve = BerCurve("1T1R", x, np.zeros((1, 1, 3)), threshold, np.zeros(3, bool), 0.01)
    found = count_errors(measurements, curve, devices_per_group=size)
    ends = list(zip(found.programming_low, found.programming_high, strict=True))
    errors = {(s, g): 0 for s in ("LRS", "HRS") for g in range(len(ends))}
    trials = dict.fromkeys(errors, 0)
    devices: list[set[str]] = [set() for _ in ends]
    for row in measurements.table.itertuples():
        (group,) = (g for g, (low, high) in enumerate(ends) if low <= row.programming <= high)
        # straight lines of ln(threshold) over ln(I), level beyond the ends
        ln_t = np.interp(np.log(row.programming), np.log(x), np.log(threshold))
        reads_high = row.resistance_ohm > np.exp(ln_t)
        trials[row.state, group] += 1
        errors[row.state, group] += reads_high == (row.state == "LRS")
        devices[group].add(row.device_id)
    for state in ("LRS", "HRS"):
        assert found.errors[state].tolist() == [errors[state, g] for g in range(len(ends))]
        assert found.trials[state].tolist() == [trials[state, g] for g in range(len(ends))]
    assert found.devices.tolist() == [len(d) for d in devices]
    assert np.all((found.ber >= 0) & (found.ber <= 1))


@given(SEEDS, SIZES)
def test_groups(seed: int, size: int) -> None:
    measurements = random_measurements(seed)
    groups = group_conditions(measurements, devices_per_group=size)
    table = measurements.table
    lows, highs = zip(*groups, strict=True)
    conditions = measurements.conditions
    assert (lows[0], highs[-1]) == (conditions[0], conditions[-1])
    # every condition is in exactly one group, in order
    inside = [(low <= conditions) & (conditions <= high) for low, high in groups]
    assert np.all(np.sum(inside, axis=0) == 1)
    held = [
        table.loc[table["programming"].between(low, high), "device_id"].nunique()
        for low, high in groups
    ]
    assert all(n >= size for n in held[:-1])
    assert len(groups) == 1 or held[-1] >= size / 2


def test_a_2t2r_curve_has_no_threshold_to_count_against() -> None:
    curve = BerCurve("2T2R", np.ones(1), np.zeros((1, 1, 1)), None, np.zeros(1, bool), 0.1)
    message = "2T2R has no threshold to count against; use the 1T1R curve"
    with pytest.raises(ValueError, match=re.escape(message)):
        count_errors(random_measurements(1), curve)


def test_counted_ber_weighs_both_states_alike() -> None:
    counts = ErrorCounts(
        np.array([1.0, 2.0]),
        np.array([1.0, 2.0]),
        {"LRS": np.array([1, 0]), "HRS": np.array([6, 0])},
        {"LRS": np.array([10, 40]), "HRS": np.array([20, 60])},
        np.array([10, 20]),
    )
    assert counts.ber.tolist() == [(0.1 + 0.3) / 2, 0.0]
    interval = counts.interval(0.9, {"LRS": 1.0, "HRS": 1.0})
    expected = stats.binomtest(7, 30).proportion_ci(0.9, method="exact")
    assert (interval.low[0], interval.high[0]) == pytest.approx((expected.low, expected.high))
    # no error in 100 readings: an upper limit, not a missing point
    assert interval.high[1] == pytest.approx(1 - 0.1 ** (1 / 100))
    # repeated readings count as often as independent ones would: a quarter in LRS, half in HRS
    fewer = counts.interval(0.9, {"LRS": 4.0, "HRS": 2.0})
    assert fewer.high[1] == pytest.approx(1 - 0.1 ** (1 / (40 / 4 + 60 / 2)))
    assert fewer.low[0] < interval.low[0] < 7 / 30 < interval.high[0] < fewer.high[0]


def test_a_current_of_zero_has_no_curve(known_posterior: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="programming is 0.0; a .* must be finite and positive"):
        ber_curves(known_posterior(), np.array([0.0, 1e-4]), options=SensingOptions())


class _TwoArrays:
    """Arrays that differ by one factor of 16 in both states; else constant laws."""

    frame = Frame(CURRENT, 2e-5, 2e-4, arrays=("thin", "thick"))
    record: dict[str, Any] = {"devices": 1000}  # noqa: RUF012

    def mixtures(self, x: Any, *, second: Any = None, array: Any = None) -> dict[str, Mixture]:
        if array is None:
            both = [self.mixtures(x, array=a) for a in (0, 1)]
            return {s: mix([law[s] for law in both], np.log([0.5, 0.5])) for s in both[0]}
        factor = np.log((0.25, 4.0)[array])
        return {
            state: Mixture(
                *(np.full((1, 1, 1, len(x)), v) for v in (0.0, np.log(median) + factor, sd))
            )
            for state, median, sd in (("LRS", 1.04e4, 0.15), ("HRS", 1e5, 0.5))
        }


def test_a_factor_that_an_array_has_in_both_states_cancels_in_its_pairs() -> None:
    curves = ber_curves(_TwoArrays(), np.array([5e-5]), options=SensingOptions(offset_ln_r=0.0))
    by_hand = stats.norm.sf(np.log(1e5 / 1.04e4) / np.hypot(0.15, 0.5))
    assert np.exp(curves["2T2R"].ln_ber) == pytest.approx(by_hand, rel=1e-9)
    # control: cells of different arrays would be confused a thousand times as often
    mixed = _TwoArrays().mixtures(np.array([5e-5]))
    assert np.exp(ln_ber_2t2r(mixed["LRS"], mixed["HRS"], 0.0)).item() > 1000 * by_hand
