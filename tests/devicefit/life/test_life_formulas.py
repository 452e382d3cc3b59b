"""Laws that the models of life share, in value and slope, against SciPy and mpmath."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.link.numba.dispatch.basic import numba_funcify_and_cache_key
from scipy.special import log_ndtr, psi
from scipy.stats import betabinom, binom

from devicefit.families.core import ln_add
from devicefit.life.formulas import ln_beta_binomial, ln_normal_between, ln_total
from devicefit.likelihood.special_ops import digamma, ln_normal_cdf
from devicefit.sampling.graph_code import WITHOUT_LOCK


def evaluated(
    law: Callable[[Any], Any], z: Any, mode: Any = "FAST_COMPILE"
) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of a law of a vector."""
    at = pt.dvector()
    value = law(at)
    slope = pytensor.grad(pt.sum(value), at)
    found = pytensor.function([at], [value, slope], mode=mode)
    return found(np.asarray(z, dtype=float))


ERRORS, TRIALS = np.array([0, 3, 20, 0, 5, 700]), np.array([20, 20, 20, 0, 9000, 9000])
P = np.array([1e-9, 0.2, 0.7, 0.3, 1e-3, 0.1])


@pytest.mark.parametrize("ln_odds", [-14.0, -8.0, -1.0, 1.0])
def test_beta_binomial_is_that_of_scipy(ln_odds: float) -> None:
    found, _ = evaluated(
        lambda z: ln_beta_binomial(
            ERRORS.astype(float), TRIALS.astype(float), np.log(P), np.log1p(-P), z
        ),
        np.full(6, ln_odds),
    )
    kappa = 1 / (np.exp(ln_odds) + np.exp(-20.0))
    scipy = betabinom.logpmf(ERRORS, TRIALS, P * kappa, (1 - P) * kappa)
    # SciPy's has the binomial coefficient; ln gamma of 1e6 keeps 8 digits of a difference
    coefficient = binom.logpmf(ERRORS, TRIALS, 0.5) + TRIALS * np.log(2)
    np.testing.assert_allclose(found, scipy - coefficient, rtol=1e-9, atol=2e-7)


def test_beta_binomial_ends_as_the_binomial_one() -> None:
    """Odds of a correlation of e^-50 count as e^-20: for 9,000 readings nothing is left of it."""
    found, slope = evaluated(
        lambda z: ln_beta_binomial(
            ERRORS.astype(float), TRIALS.astype(float), np.log(P), np.log1p(-P), z
        ),
        np.full(6, -50.0),
    )
    coefficient = binom.logpmf(ERRORS, TRIALS, 0.5) + TRIALS * np.log(2)
    np.testing.assert_allclose(found, binom.logpmf(ERRORS, TRIALS, P) - coefficient, atol=2e-3)
    np.testing.assert_allclose(slope, 0, atol=1e-9)


@pytest.mark.parametrize("logit", [-300.0, -40.0, -3.0, 2.0, 30.0])
def test_slopes_of_the_beta_binomial_are_its_differences(logit: float) -> None:
    def law(z: Any) -> Any:
        return ln_beta_binomial(
            ERRORS.astype(float), TRIALS.astype(float), -pt.softplus(-z), -pt.softplus(z), -3.0
        )

    step = 1e-5
    slope = evaluated(law, np.full(6, logit))[1]
    ends = [evaluated(law, np.full(6, logit + s))[0] for s in (step, -step)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["FAST_COMPILE", WITHOUT_LOCK])
def test_normal_tails_stay_exact_far_out(mode: Any) -> None:
    z = np.array([-300.0, -40.0, -5.0, -1.0, 0.0, 3.0, 7.9])
    value, slope = evaluated(ln_normal_cdf, z, mode)
    np.testing.assert_allclose(value, log_ndtr(z), rtol=1e-11)
    with mpmath.workdps(40):
        slopes = [float(mpmath.npdf(x) / mpmath.ncdf(x)) for x in z]
    np.testing.assert_allclose(slope, slopes, rtol=1e-9)
    farther = np.array([-1e200, -1e9, -1.1e4, -9e3])
    np.testing.assert_allclose(evaluated(ln_normal_cdf, farther, mode)[1], -farther, rtol=1e-7)
    beyond = evaluated(ln_normal_cdf, [9.0, 1e3], mode)
    assert (np.abs(beyond[0]) < 1e-15).all()
    assert (beyond[1] < 1e-15).all()


@pytest.mark.parametrize(
    ("low", "high"),
    [(-10.0, -9.0), (9.0, 10.0), (-60.0, -40.0), (40.0, 60.0), (-1.0, 2.0), (-1e3, 1e3)],
)
def test_probability_between_two_ends(low: float, high: float) -> None:
    value, slope = evaluated(lambda z: ln_normal_between(z[:1], z[1:]), [low, high])
    with mpmath.workdps(1000):
        upper = low > 0  # exact from the smaller tail
        share = mpmath.ncdf(-low if upper else high) - mpmath.ncdf(-high if upper else low)
        exact = float(mpmath.log(share))
        slopes = [float(s * mpmath.npdf(x) / share) for s, x in ((-1, low), (1, high))]
    np.testing.assert_allclose(value, exact, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(slope, slopes, rtol=1e-9, atol=1e-30)


def test_sums_of_logarithms_have_slopes_however_small_the_terms() -> None:
    low = np.array([-2000.0, -2001.0])
    value, slope = evaluated(lambda z: ln_add(pt, z[:1], z[1:]), low)
    share = np.exp(low - low[0]) / np.exp(low - low[0]).sum()
    np.testing.assert_allclose(value, -2000.0 + np.log1p(np.exp(-1.0)), rtol=1e-14)
    np.testing.assert_allclose(slope, share, rtol=1e-12)
    rows = evaluated(lambda z: ln_total(z[None, :]), low)
    np.testing.assert_allclose(rows[0], value, rtol=1e-14)
    np.testing.assert_allclose(rows[1], share, rtol=1e-12)


def test_digamma_is_that_of_scipy() -> None:
    x = np.concatenate(
        [np.geomspace(1e-260, 1e300, 400), np.linspace(0.5, 12.0, 200), [-0.3, -7.9]]
    )
    # relative to 1 around its zero at 1.46
    np.testing.assert_allclose([digamma(v) for v in x], psi(x), rtol=1e-13, atol=1e-14)
    assert np.isnan([digamma(v) for v in (0.0, -2.0, np.nan)]).all()


def test_slopes_of_ln_gamma_are_machine_code_that_can_be_stored() -> None:
    x = np.array([1e-6, 0.2, 3.0, 4e5])
    _, slope = evaluated(pt.gammaln, x, WITHOUT_LOCK)
    np.testing.assert_allclose(slope, psi(x), rtol=1e-13)
    for law in (pt.psi, ln_normal_cdf):
        node = law(pt.dvector()).owner
        assert numba_funcify_and_cache_key(node.op, node=node)[1] is not None
