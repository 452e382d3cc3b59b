"""Standard laws against mpmath and SciPy, far into the tails."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from devicefit.distributions.kernels import (
    KERNELS,
    ln_cdf,
    ln_pdf,
    logistic_ln_cdf,
    logistic_ln_pdf,
    normal_ln_cdf,
    normal_ln_pdf,
    student_ln_cdf,
    student_ln_pdf,
)

SCORES = [0.0, 1e-8, 0.1, 0.7, 1.3, 1.8, 2.5, 5.0, 9.0, 13.99, 14.01, 25.0, 37.0, 40.0]
DOFS = [1.1, 1.5, 2.0, 2.3, 4.0, 11.7, 39.9, 40.1, 100.0, 1e4]


def student_reference(z: float, dof: float) -> tuple[float, float]:
    """Logarithms of density and distribution with 40 digits."""
    with mpmath.workdps(40):
        v, z = mpmath.mpf(dof), mpmath.mpf(z)
        half = mpmath.mpf(1) / 2
        front = mpmath.gamma((v + 1) / 2) / mpmath.gamma(v / 2) / mpmath.sqrt(v * mpmath.pi)
        density = front * (1 + z * z / v) ** (-(v + 1) / 2)
        tail = mpmath.betainc(v / 2, half, 0, v / (v + z * z), regularized=True) / 2
        return float(mpmath.log(density)), float(mpmath.log(tail if z <= 0 else 1 - tail))


@pytest.mark.parametrize("z", SCORES)
def test_normal(z: float) -> None:
    with mpmath.workdps(40):
        lower = float(mpmath.log(mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2)) / 2))
        upper = float(mpmath.log1p(-mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2)) / 2))
    # absolute error of the logarithm: relative error of the probability
    assert normal_ln_cdf(-z) == pytest.approx(lower, abs=2e-13, rel=0)
    assert normal_ln_cdf(z) == pytest.approx(upper, abs=1e-15, rel=1e-13)
    assert normal_ln_pdf(z) == pytest.approx(stats.norm.logpdf(z), abs=2e-13, rel=0)


@pytest.mark.parametrize("z", [*SCORES, 700.0, 5000.0])
def test_logistic(z: float) -> None:
    with mpmath.workdps(40):
        e = mpmath.exp(-mpmath.mpf(z))
        lower, upper = mpmath.log(e / (1 + e)), -mpmath.log1p(e)
        density = mpmath.log(e / (1 + e) ** 2)
    assert logistic_ln_cdf(-z) == pytest.approx(float(lower), abs=1e-15, rel=1e-15)
    assert logistic_ln_cdf(z) == pytest.approx(float(upper), abs=0, rel=1e-13)
    assert logistic_ln_pdf(z) == pytest.approx(float(density), abs=1e-15, rel=1e-15)


@pytest.mark.parametrize("dof", DOFS)
def test_student(dof: float) -> None:
    for z in (*SCORES, 300.0, 1e5):
        density, lower = student_reference(-z, dof)
        assert student_ln_cdf(-z, dof) == pytest.approx(lower, abs=1e-11, rel=1e-15)
        assert student_ln_pdf(z, dof) == pytest.approx(density, abs=1e-11, rel=1e-15)
        upper = student_reference(z, dof)[1]
        assert student_ln_cdf(z, dof) == pytest.approx(upper, abs=1e-15, rel=1e-10)


@pytest.mark.parametrize("dof", [1.1, 2.3, 20.0])
def test_student_tail_down_to_1e_300(dof: float) -> None:
    # asymptotically a power: ln F = ln(density at 1 / scale) - dof ln z, next term of order 1 / z^2
    z = np.sqrt(dof) * np.exp(690.0 / dof)
    with mpmath.workdps(40):
        v = mpmath.mpf(dof)
        front = mpmath.gamma((v + 1) / 2) / mpmath.gamma(v / 2) / mpmath.sqrt(v * mpmath.pi)
        expected = float(mpmath.log(front * v ** ((v - 1) / 2)) - v * mpmath.log(mpmath.mpf(z)))
    assert student_ln_cdf(-z, dof) == pytest.approx(expected, abs=1e-11, rel=0)
    assert expected < np.log(1e-298)


@settings(deadline=None)  # the first call compiles
@given(st.floats(-50, 50), st.floats(1.05, 500))
def test_student_against_scipy(z: float, dof: float) -> None:
    assert student_ln_cdf(z, dof) == pytest.approx(stats.t.logcdf(z, dof), abs=1e-9, rel=1e-9)
    assert student_ln_pdf(z, dof) == pytest.approx(stats.t.logpdf(z, dof), abs=1e-10)


@settings(deadline=None)  # the first call compiles
@given(st.sampled_from(KERNELS), st.floats(0, 1e3), st.floats(1e-3, 10), st.floats(1.05, 1e5))
def test_symmetric_rising_and_normalised(kernel: str, z: float, step: float, dof: float) -> None:
    assert ln_pdf(z, kernel, dof) == ln_pdf(-z, kernel, dof)
    below, above = ln_cdf(-z, kernel, dof), ln_cdf(z, kernel, dof)
    assert np.exp(below) + np.exp(above) == pytest.approx(1, abs=1e-14)
    assert ln_cdf(-z - step, kernel, dof) < below <= np.log(0.5) + 1e-15
    assert ln_cdf(z + step, kernel, dof) >= above


@pytest.mark.parametrize("kernel", KERNELS)
def test_infinite_and_missing_values(kernel: str) -> None:
    values = ln_cdf([-np.inf, np.inf], kernel, 3.0)
    assert values.tolist() == [-np.inf, 0.0]
    assert np.isnan(ln_cdf(np.nan, kernel, 3.0))
    assert np.isnan(ln_pdf(np.nan, kernel, 3.0))


def test_arrays_broadcast() -> None:
    z, dof = np.linspace(-4, 3, 5)[:, None], np.array([1.5, 3.0, 40.0])
    got = ln_cdf(z, "student-t", dof)
    assert got.shape == (5, 3)
    np.testing.assert_allclose(got, stats.t.logcdf(z, dof), rtol=1e-10)
    assert ln_pdf(np.zeros((0, 3)), "normal").shape == (0, 3)


@pytest.mark.parametrize("function", [ln_pdf, ln_cdf])
def test_validation(function) -> None:
    with pytest.raises(ValueError, match="kernel 'cauchy' is not known; known: normal, student-t"):
        function(0.0, "cauchy")
    with pytest.raises(ValueError, match="the student-t kernel needs dof"):
        function(0.0, "student-t")
    for dof in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="dof must be positive and finite"):
            function(0.0, "student-t", dof)
