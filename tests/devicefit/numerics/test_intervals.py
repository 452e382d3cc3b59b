import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from devicefit.numerics.intervals import (
    PROBABILITY,
    clopper_pearson,
    equal_tailed,
    weighted_quantiles,
)


@given(st.integers(1, 400), st.data(), st.sampled_from([0.5, 0.9, 0.99]))
def test_clopper_pearson_is_the_exact_interval_of_scipy(
    trials: int, data: st.DataObject, probability: float
) -> None:
    errors = data.draw(st.integers(0, trials))
    # at either end the whole remaining probability belongs to the only side there is
    side = {0: "less", trials: "greater"}.get(errors, "two-sided")
    test = stats.binomtest(errors, trials, alternative=side)
    expected = test.proportion_ci(probability, method="exact")
    got = clopper_pearson(errors, trials, probability=probability)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert 0 <= got.low <= errors / trials <= got.high <= 1
    assert (got.kind, got.probability) == ("Clopper-Pearson", probability)


def test_zero_errors_give_an_upper_limit() -> None:
    # (1 - p)^n = 0.1 at the limit: the rule of three with 2.30 instead of 3.00
    got = clopper_pearson([0, 0], [100, 10**6])
    np.testing.assert_allclose(got.high, 1 - 0.1 ** (1 / np.array([100, 1e6])), rtol=1e-9)
    assert got.low.tolist() == [0, 0]


def test_all_errors_give_a_lower_limit_and_no_trials_nothing() -> None:
    got = clopper_pearson([50, 0], [50, 0])
    np.testing.assert_allclose(got.low, [0.1 ** (1 / 50), 0.0], rtol=1e-9)
    assert got.high.tolist() == [1, 1]


def test_coverage_is_at_least_the_stated_probability() -> None:
    n = 30
    k = np.arange(n + 1)
    interval = clopper_pearson(k, n)
    for p in np.linspace(0.01, 0.99, 41):
        covered = (interval.low <= p) & (p <= interval.high)
        # summed over the binomial law, not sampled. Zero and n errors are one-sided: near the ends
        # 10 % on their side and 5 % on the other can be missed, elsewhere 5 % on each
        at_least = PROBABILITY if 0.2 < p < 0.8 else 1 - 1.5 * (1 - PROBABILITY)
        assert stats.binom.pmf(k, n, p)[covered].sum() >= at_least


@pytest.mark.parametrize(("errors", "trials"), [(-1, 10), (11, 10), ([0, 3], [1, 2])])
def test_impossible_counts(errors: object, trials: object) -> None:
    with pytest.raises(ValueError, match="errors must lie between 0 and trials"):
        clopper_pearson(errors, trials)


@pytest.mark.parametrize("probability", [0.0, 1.0, 90.0, -0.1, np.nan])
def test_probability_is_a_fraction(probability: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        clopper_pearson(1, 10, probability=probability)
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        equal_tailed(np.zeros((2, 3)), probability=probability)


def test_equal_tailed_over_chain_and_draw() -> None:
    draws = np.arange(1000.0).reshape(4, 250)[..., None] * np.array([1.0, -2.0])
    got = equal_tailed(draws)
    # quantiles of 0..999 at 5 % and 95 %: 49.95 and 949.05
    np.testing.assert_allclose(got.low, [49.95, -2 * 949.05])
    np.testing.assert_allclose(got.high, [949.05, -2 * 49.95])
    assert (got.kind, got.probability) == ("ETI", PROBABILITY)
    assert got.record() == {
        "low": got.low.tolist(),
        "high": got.high.tolist(),
        "kind": "ETI",
        "probability": 0.9,
    }


def test_equal_tailed_of_one_draw_and_along_another_axis() -> None:
    got = equal_tailed([[3.0]])
    assert (got.low, got.high) == (3.0, 3.0)
    got = equal_tailed([[0.0, 1.0], [10.0, 20.0]], axis=1, probability=0.5)
    np.testing.assert_allclose(got.low, [0.25, 12.5])
    np.testing.assert_allclose(got.high, [0.75, 17.5])


def test_weighted_quantiles() -> None:
    values = np.array([3.0, 1.0, 2.0, 5.0])
    levels = [0.02, 0.3, 0.75, 0.95]
    weights = np.array([[0.3, 0.1, 0.4, 0.2], [0.25, 0.25, 0.25, 0.25]])
    # middles of the sorted weights of the first row: 0.05, 0.3, 0.65, 0.9
    found = weighted_quantiles(values, weights, levels)
    np.testing.assert_allclose(found[0], [1.0, 2.0, 3.8, 5.0])
    np.testing.assert_allclose(found[1], np.quantile(values, levels, method="hazen"))
