"""Special functions of the models of life against SciPy."""

import mpmath
import numpy as np
import pytest
from scipy.special import digamma as scipy_digamma
from scipy.stats import betabinom, norm

from devicefit.life_fit import beta_binomial, digamma, normal_tails


def test_digamma_is_that_of_scipy() -> None:
    x = np.geomspace(1e-8, 1e8, 60)
    np.testing.assert_allclose([digamma(v) for v in x], scipy_digamma(x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("errors", "trials", "p", "ln_kappa"),
    [
        (0, 20, 1e-9, 3.0),
        (3, 20, 0.2, 1.0),
        (20, 20, 0.7, -1.0),
        (0, 0, 0.3, 2.0),
        (5, 9000, 1e-3, 8),
    ],
)
def test_beta_binomial_and_its_slopes(errors: int, trials: int, p: float, ln_kappa: float) -> None:
    value, by_p, by_kappa = beta_binomial(float(errors), float(trials), p, 1 - p, ln_kappa)
    kappa = np.exp(ln_kappa)
    # The binomial coefficient is left out, so differences to another law are compared.
    reference = betabinom.logpmf(errors, trials, p * kappa, (1 - p) * kappa)
    flat = betabinom.logpmf(errors, trials, 0.5, 0.5)
    own_flat = beta_binomial(float(errors), float(trials), 0.5, 0.5, 0.0)[0]
    assert value - own_flat == pytest.approx(reference - flat, rel=1e-7, abs=1e-7)

    def exact(at: mpmath.mpf, ln_kappa_at: mpmath.mpf) -> mpmath.mpf:
        a, b = at * mpmath.exp(ln_kappa_at), (1 - at) * mpmath.exp(ln_kappa_at)
        ratio = mpmath.beta(a + errors, b + trials - errors) / mpmath.beta(a, b)
        return mpmath.log(ratio)

    with mpmath.workdps(60):
        slope = mpmath.diff(lambda v: exact(v, mpmath.mpf(ln_kappa)), mpmath.mpf(p))
        by_ln_kappa = mpmath.diff(lambda v: exact(mpmath.mpf(p), v), mpmath.mpf(ln_kappa))
    assert by_p == pytest.approx(float(slope), rel=1e-7, abs=1e-9)
    assert by_kappa == pytest.approx(float(by_ln_kappa), rel=1e-6, abs=1e-8)


def test_normal_tails_stay_exact_far_out() -> None:
    for z in (-30.0, -5.0, 0.0, 5.0, 30.0):
        low, high, density = normal_tails(z)
        assert low == pytest.approx(norm.cdf(z), rel=1e-10)
        assert high == pytest.approx(norm.sf(z), rel=1e-10)
        assert density == pytest.approx(norm.pdf(z), rel=1e-12)
