"""Counted shares against exact binomial laws and laws of clustered counts."""

import numpy as np
import pytest
from scipy import stats

from devicefit.checks.counted_share import CountedShare, between, design_effect, equal_windows


def share(k: float, n: float, *predicted: float) -> CountedShare:
    return CountedShare("LRS", "here", k / n, round(n), n, np.array(predicted))


@pytest.mark.parametrize(("k", "n"), [(0, 50), (1, 50), (7, 50), (50, 50), (3, 4000)])
@pytest.mark.parametrize("p", [1e-3, 0.02, 0.5, 0.98])
def test_p_value_is_that_of_the_binomial_law(k: int, n: int, p: float) -> None:
    law = stats.binom(n, p)
    expected = min(1.0, 2 * min(law.sf(k - 1), law.cdf(k)))
    assert share(k, n, p).p_value == pytest.approx(expected, rel=1e-9)
    both = [stats.binom(n, q) for q in (p, p / 2)]
    tails = (np.mean([b.sf(k - 1) for b in both]), np.mean([b.cdf(k) for b in both]))
    assert share(k, n, p, p / 2).p_value == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-9)


def test_p_value_lies_between_those_of_neighbouring_counts() -> None:
    values = [share(k, 100.0, 0.05).p_value for k in (10.0, 10.4, 11.0)]
    assert values[0] > values[1] > values[2]


@pytest.mark.parametrize(("k", "p", "expected"), [(0, 0.0, 1.0), (10, 1.0, 1.0), (1, 0.0, 0.0)])
def test_certain_predictions(k: int, p: float, expected: float) -> None:
    assert share(k, 10, p).p_value == expected


@pytest.mark.parametrize(
    ("k", "p", "factor", "material"),
    [(10, 0.1, 1.0, False), (12, 0.1, 1.2, False), (13, 0.1, 1.3, True), (7, 0.1, 0.7, True),
     (0, 0.1, 0.0, True), (0, 0.0, 1.0, False), (1, 0.0, np.inf, True)],
)  # fmt: skip
def test_what_matters(k: int, p: float, factor: float, material: bool) -> None:
    found = share(k, 100, p)
    assert found.factor == pytest.approx(factor)
    assert found.is_material(1.25) is material


def test_devices_read_once_widen_nothing() -> None:
    rng = np.random.default_rng(1)
    event = (rng.random(500) < 0.1).astype(float)
    assert design_effect(event, np.full(500, 0.3), np.arange(500)) == 1.0


def test_design_effect_of_beta_binomial_counts() -> None:
    # kappa = 4: correlation 1 / 5, so 1 + 9 / 5 for ten readings of a device; 2000 devices give
    # the variance of 2000 sums within sqrt(2 / 2000) times the root of their kurtosis, about 6 %
    rng = np.random.default_rng(2)
    p = rng.beta(0.8, 3.2, size=2000)
    event = (rng.random((2000, 10)) < p[:, None]).astype(float).ravel()
    device = np.repeat(np.arange(2000), 10)
    found = design_effect(event, np.full(20_000, 0.2), device)
    assert found == pytest.approx(1 + 9 / 5, rel=0.15)
    independent = (rng.random(20_000) < 0.2).astype(float)
    assert design_effect(independent, np.full(20_000, 0.2), device) == pytest.approx(1, abs=0.1)


def test_conditions_with_other_rates_are_no_devices_that_differ() -> None:
    # devices at two conditions, 2 % and 40 %; by the model these rates, or, the control, one rate
    rng = np.random.default_rng(3)
    rate = np.repeat([0.02, 0.4], 10_000)
    event = (rng.random(20_000) < rate).astype(float)
    device = np.repeat(np.arange(2000), 10)
    assert design_effect(event, rate, device) == pytest.approx(1, abs=0.1)
    assert design_effect(event, np.full(20_000, 0.2), device) > 2


def test_few_devices_leave_the_worst_case() -> None:
    device = np.repeat(np.arange(100), 20)
    none = np.zeros(2000)
    assert design_effect(none, np.full(2000, 0.01), device) == 20
    # one device of a hundred fails always: nothing but the worst case is known
    one = (device == 7).astype(float)
    assert design_effect(one, np.full(2000, 0.01), device) == pytest.approx(20, rel=0.05)
    # all fail always: as bad, seen from the other side
    assert design_effect(none + 1, np.full(2000, 0.5), device) == 20


def test_between_is_between() -> None:
    assert between(2.0, 50.0, 0.0) == pytest.approx(50)
    assert between(2.0, 50.0, 4.0) == pytest.approx(10)
    assert between(2.0, 50.0, 1e9) == pytest.approx(2)


def test_windows_hold_equal_numbers_of_readings() -> None:
    value = np.repeat(np.arange(20.0), np.arange(1, 21))
    window = equal_windows(value, 4)
    count = np.bincount(window)
    assert len(count) == 4
    assert count.min() >= 210 / 4 - 20
    assert np.all(np.diff(window[np.argsort(value)]) >= 0)
    for v in np.unique(value):
        assert len(np.unique(window[value == v])) == 1
    assert equal_windows(np.ones(7), 4).tolist() == [0] * 7
    assert equal_windows(np.array([3.0, 1.0]), 4).tolist() == [1, 0]
