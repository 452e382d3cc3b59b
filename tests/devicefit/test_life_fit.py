"""Special functions of the models of life against SciPy."""

import mpmath
import numpy as np
import pytest
from scipy.special import betaln, log_expit
from scipy.stats import norm

from devicefit.life_fit import beta_binomials, ln_expit, normal_tails, rising


def exact_rising(ln_p: float, ln_kappa: float, n: int) -> tuple[float, float]:
    """Ln of the product of n factors a + j over kappa^n, and its slope by ln a, one by one."""
    with mpmath.workdps(60):
        a = mpmath.exp(mpmath.mpf(ln_p) + mpmath.mpf(ln_kappa))
        factors = [(mpmath.log(a + j) - ln_kappa, a / (a + j)) for j in range(n)]
        return float(mpmath.fsum(f for f, _ in factors)), float(mpmath.fsum(s for _, s in factors))


@pytest.mark.parametrize("n", [0, 1, 2, 9, 40, 700])
def test_rising_factorial_keeps_its_digits_at_both_ends(n: int) -> None:
    """Kappa of 1e21 is a binomial law; ln gamma differences would be off by thousands there."""
    for ln_p in (0.0, -1e-9, -7.0, -40.0, -900.0):
        for ln_kappa in (-60.0, -3.0, 0.0, 2.1, 9.0, 35.0, 48.7):
            found = rising(ln_p, ln_kappa, float(n))
            reference = exact_rising(ln_p, ln_kappa, n)
            np.testing.assert_allclose(found, reference, rtol=1e-11, atol=1e-12 * (n + 1))


@pytest.mark.parametrize(
    ("errors", "trials", "p", "ln_kappa"),
    [
        (0, 20, 1e-9, 3.0),
        (3, 20, 0.2, 1.0),
        (20, 20, 0.7, -1.0),
        (0, 0, 0.3, 2.0),
        (5, 9000, 1e-3, 8.0),
        (5, 9000, 1e-3, 48.7),
    ],
)
def test_beta_binomial_and_its_slopes(errors: int, trials: int, p: float, ln_kappa: float) -> None:
    logit = np.log(p / (1 - p))

    def own(logit_at: float, ln_kappa_at: float) -> np.ndarray:
        ends = np.array([ln_expit(logit_at)]), np.array([ln_expit(-logit_at)])
        found = beta_binomials(
            np.array([errors * 1.0]), np.array([trials * 1.0]), *ends, ln_kappa_at
        )
        return np.asarray(found[0])

    value, *slopes = own(logit, ln_kappa)
    if ln_kappa > 40:
        reference = errors * np.log(p) + (trials - errors) * np.log1p(-p)
    else:
        kappa = np.exp(ln_kappa)
        reference = betaln(p * kappa + errors, (1 - p) * kappa + trials - errors)
        reference -= betaln(p * kappa, (1 - p) * kappa)
    assert value == pytest.approx(reference, rel=1e-9, abs=1e-9)
    steps = [
        (own(logit + s, ln_kappa + t)[0] - own(logit - s, ln_kappa - t)[0]) / 2e-5
        for s, t in ((1e-5, 0.0), (0.0, 1e-5))
    ]
    np.testing.assert_allclose(slopes, steps, rtol=1e-5, atol=1e-6)


def test_ln_expit_is_that_of_scipy() -> None:
    x = np.array([-800.0, -3.0, 0.0, 3.0, 40.0, 800.0])
    np.testing.assert_allclose([ln_expit(v) for v in x], log_expit(x), rtol=1e-14)


def test_normal_tails_stay_exact_far_out() -> None:
    for z in (-30.0, -5.0, 0.0, 5.0, 30.0):
        low, high, density = normal_tails(z)
        assert low == pytest.approx(norm.cdf(z), rel=1e-10)
        assert high == pytest.approx(norm.sf(z), rel=1e-10)
        assert density == pytest.approx(norm.pdf(z), rel=1e-12)
