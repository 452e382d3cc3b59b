"""Law of chips against plain sampling and SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import beta

from reliability.accuracy.chip_law import (
    continuous_count,
    continuous_variance,
    population_count,
    probability_below,
)

POOL = 950.0
SCORES = ndtri((np.arange(20_000) + 0.5) / 20_000)


@pytest.mark.parametrize(
    ("mean", "dispersion"),
    [(0.02, 0.5), (0.14, 0.4), (0.9, 0.7), (4.0, 0.8), (4.0, 6.0), (80.0, 5.0), (900.0, 3.0)],
)
def test_whole_counts_have_mean_and_variance_of_the_fit(mean: float, dispersion: float) -> None:
    variance = dispersion * mean * (1 - mean / POOL)
    inner = continuous_variance(mean, variance)
    y = np.array([continuous_count(mean, inner, POOL, z) for z in SCORES])
    uniform = np.random.default_rng(1).permutation(SCORES.size) + 0.5
    counts = np.floor(y + uniform / SCORES.size)
    # Quantiles are a stratified sample; what is left is the rounding of Y to whole images and
    # the cut at the pool.
    assert counts.mean() == pytest.approx(mean, rel=0.01, abs=0.01)
    # The fit allows a twelfth for rounding; a mean far below one image has at most mean (1 - mean).
    expected = variance + 1 / 12
    if mean < 0.3:
        assert mean * (1 - mean) * 0.9 < counts.var() < expected * 1.1 + mean
    else:
        assert counts.var() == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize(("mean", "sd"), [(10.0, 5.0), (80.0, 16.0), (500.0, 40.0), (900.0, 12.0)])
def test_quantiles_are_those_of_a_beta_law(mean: float, sd: float) -> None:
    precision = mean * (POOL - mean) / sd**2 - 1
    law = beta(mean / POOL * precision, (1 - mean / POOL) * precision)
    for level in (0.01, 0.05, 0.5, 0.95, 0.99):
        found = continuous_count(mean, sd**2, POOL, ndtri(level))
        # Wilson and Hilferty: within a fiftieth of the standard deviation.
        assert found == pytest.approx(POOL * law.ppf(level), abs=0.02 * sd)


@settings(max_examples=200, deadline=None)
@given(
    mean=st.floats(0.01, 900.0),
    ratio=st.floats(0.01, 3.0),
    z=st.floats(-3.0, 3.0),
)
def test_probability_is_the_inverse_of_the_quantile(mean: float, ratio: float, z: float) -> None:
    y = continuous_count(mean, (ratio * mean) ** 2, POOL, z)
    below = probability_below(y, mean, (ratio * mean) ** 2, POOL)
    if 0 < y < POOL:
        assert ndtri(below) == pytest.approx(z, abs=1e-6)
    elif y == 0:
        assert ndtri(below) > z - 1e-6  # all chips of this rank and lower
    else:
        assert below == 1.0


def test_population_has_the_mean_and_binomial_variance() -> None:
    for count in (0.3, 2.0, 40.0, 700.0):
        drawn = np.array([population_count(count, POOL, z) for z in SCORES])
        assert drawn.mean() == pytest.approx(count, rel=0.005)
        if count >= 2:
            assert drawn.var() == pytest.approx(count * (1 - count / POOL), rel=0.03)
    assert population_count(0.0, POOL, 1.0) == 0.0
