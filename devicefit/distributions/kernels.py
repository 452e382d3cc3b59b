"""Standard normal, logistic and Student-t laws, exact in the far tails.

The scalar functions are compiled with Numba and may be called from other compiled code; each takes
the standard variable ``z`` (location 0, scale 1). :func:`ln_pdf` and :func:`ln_cdf` are the same
for arrays, by the name of the kernel.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.compiled import njit

KERNELS = ("normal", "student-t", "logistic")
NORMAL, STUDENT, LOGISTIC = range(3)

_LN_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_ROOT_HALF = math.sqrt(0.5)
_TINY = 1e-300
_ITERATIONS = 100_000


@njit
def normal_ln_pdf(z: float) -> float:
    """Logarithm of the standard normal density."""
    return -0.5 * z * z - _LN_SQRT_2PI


@njit
def normal_ln_cdf(z: float) -> float:
    """Logarithm of the standard normal distribution function.

    Below -14 by the asymptotic series (DLMF 7.12.1), whose error there is under 1e-16; above by the
    complementary error function, of the smaller tail.
    """
    if z > 0.0:
        return math.log1p(-0.5 * math.erfc(z * _ROOT_HALF))
    if z >= -14.0:
        return math.log(0.5 * math.erfc(-z * _ROOT_HALF))
    if z == -np.inf:
        return -np.inf
    inverse = 1.0 / (z * z)
    series = 0.0
    for k in range(12, 0, -1):
        series = -(2 * k - 1) * inverse * (1.0 + series)
    return -0.5 * z * z - _LN_SQRT_2PI - math.log(-z) + math.log1p(series)


@njit
def logistic_ln_pdf(z: float) -> float:
    """Logarithm of the standard logistic density."""
    a = abs(z)
    return -a - 2.0 * math.log1p(math.exp(-a))


@njit
def logistic_ln_cdf(z: float) -> float:
    """Logarithm of the standard logistic distribution function."""
    if z > 0.0:
        return -math.log1p(math.exp(-z))
    return z - math.log1p(math.exp(z))


@njit
def student_ln_norm(dof: float) -> float:
    """Logarithm of the standard Student-t density at zero, -ln(sqrt(dof) B(dof / 2, 1 / 2)).

    Beyond 40 degrees of freedom the ratio of gamma functions is a series in 1 / dof (DLMF 5.11.13):
    a difference of two large ``lgamma`` would lose digits.
    """
    a = 0.5 * dof
    if a < 20.0:
        return math.lgamma(a + 0.5) - math.lgamma(a) - 0.5 * math.log(dof * math.pi)
    b = 1.0 / (a * a)
    ratio = (-1 / 8 + b * (1 / 192 + b * (-1 / 640 + b * (17 / 14336 - b * 31 / 18432)))) / a
    return ratio - _LN_SQRT_2PI


@njit
def student_ln_pdf_normed(z: float, dof: float, ln_norm: float) -> float:
    """Logarithm of the standard Student-t density, `ln_norm` from :func:`student_ln_norm`."""
    if abs(z) > 1e150:  # the square would overflow
        return ln_norm - (dof + 1.0) * (math.log(abs(z)) - 0.5 * math.log(dof))
    return ln_norm - 0.5 * (dof + 1.0) * math.log1p(z * z / dof)


@njit
def student_ln_pdf(z: float, dof: float) -> float:
    """Logarithm of the standard Student-t density, `dof` > 0."""
    return student_ln_pdf_normed(z, dof, student_ln_norm(dof))


@njit
def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (DLMF 8.17.22), modified Lentz."""
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, _ITERATIONS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d = 1.0 + even * d
        c = 1.0 + even / c
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d = 1.0 + odd * d
        c = 1.0 + odd / c
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        step = d * c
        value *= step
        if abs(step - 1.0) < 3e-16:
            break
    return value


@njit
def student_ln_cdf_normed(z: float, dof: float, ln_norm: float) -> float:
    """Logarithm of the standard Student-t distribution function.

    Half the regularised incomplete beta function ``I_x(dof / 2, 1 / 2)``, ``x = dof / (dof + z^2)``
    (DLMF 8.17.2): by its power series where x is small, by the continued fraction in the rest of
    the tail, by the fraction of the complement near the centre. `ln_norm` is
    :func:`student_ln_norm` of `dof`.
    """
    if math.isnan(z):
        return z
    if math.isinf(z):
        return 0.0 if z > 0.0 else -np.inf
    a = 0.5 * dof
    size = abs(z)
    square = size * size / dof
    if size > 1e150:
        ln_x = -2.0 * math.log(size) + math.log(dof)
        ln_y = 0.0
        x = 0.0
    else:
        ln_x = -math.log1p(square)
        ln_y = 2.0 * math.log(size) - math.log(dof) + ln_x if size > 0.0 else -np.inf
        x = 1.0 / (1.0 + square)
    # ln of x^a (1 - x)^(1/2) / B(a, 1/2)
    ln_front = a * ln_x + 0.5 * ln_y + ln_norm + 0.5 * math.log(dof)
    if x < 0.25:
        term = 1.0
        total = 1.0
        n = 0.0
        while term > 1e-17 * total:
            term *= x * (a + 0.5 + n) / (a + 1.0 + n)
            total += term
            n += 1.0
        ln_tail = ln_front + math.log(0.5 * total / a)
    elif x * (a + 2.5) < a + 1.0:
        ln_tail = ln_front + math.log(0.5 * _beta_fraction(a, 0.5, x) / a)
    elif size > 0.0:
        y = square / (1.0 + square)
        ln_tail = math.log(0.5 - math.exp(ln_front) * _beta_fraction(0.5, a, y))
    else:
        ln_tail = math.log(0.5)
    return ln_tail if z <= 0.0 else math.log1p(-math.exp(ln_tail))


@njit
def student_ln_cdf(z: float, dof: float) -> float:
    """Logarithm of the standard Student-t distribution function, `dof` > 0."""
    return student_ln_cdf_normed(z, dof, student_ln_norm(dof))


@njit
def _fill(kernel, cumulative, z, dof, out):  # type: ignore[no-untyped-def]
    """Fill `out` with ln of the distribution function or density; `dof` as long as `z`, or one."""
    last, ln_norm = np.nan, 0.0
    for i in range(len(z)):
        if kernel == NORMAL:
            out[i] = normal_ln_cdf(z[i]) if cumulative else normal_ln_pdf(z[i])
        elif kernel == LOGISTIC:
            out[i] = logistic_ln_cdf(z[i]) if cumulative else logistic_ln_pdf(z[i])
        else:
            freedom = dof[min(i, len(dof) - 1)]
            if freedom != last:
                last, ln_norm = freedom, student_ln_norm(freedom)
            if cumulative:
                out[i] = student_ln_cdf_normed(z[i], freedom, ln_norm)
            else:
                out[i] = student_ln_pdf_normed(z[i], freedom, ln_norm)


def ln_pdf(z: ArrayLike, kernel: str, dof: ArrayLike | None = None) -> FloatArray:
    """Logarithm of the standard density of `kernel`; see :func:`ln_cdf`."""
    return _evaluate(False, z, kernel, dof)


def ln_cdf(z: ArrayLike, kernel: str, dof: ArrayLike | None = None) -> FloatArray:
    """Logarithm of the standard distribution function of `kernel`.

    Parameters
    ----------
    z : float array
        Standard variable, infinities allowed.
    kernel : {"normal", "student-t", "logistic"}
        Shape of the law.
    dof : float array, optional
        Degrees of freedom, positive, broadcast against `z`; read for Student-t only.

    Returns
    -------
    float array, the broadcast shape

    Raises
    ------
    ValueError
        Unknown kernel, Student-t without degrees of freedom, or some that are not positive.
    """
    return _evaluate(True, z, kernel, dof)


def _evaluate(cumulative: bool, z: ArrayLike, kernel: str, dof: ArrayLike | None) -> FloatArray:
    values = np.asarray(z, dtype=np.float64)
    if kernel not in KERNELS:
        raise ValueError(f"kernel {kernel!r} is not known; known: {', '.join(KERNELS)}")
    freedom = np.ones(1)
    if kernel == "student-t":
        if dof is None:
            raise ValueError("the student-t kernel needs dof, its degrees of freedom")
        freedom = np.asarray(dof, dtype=np.float64)
        if not np.all((freedom > 0) & np.isfinite(freedom)):
            raise ValueError("dof must be positive and finite; for a normal law use kernel normal")
        shape = np.broadcast_shapes(values.shape, freedom.shape)
        values = np.broadcast_to(values, shape)
        freedom = np.broadcast_to(freedom, shape).flatten() if freedom.size > 1 else freedom.ravel()
    out = np.empty(values.size)
    _fill(KERNELS.index(kernel), cumulative, values.flatten(), freedom, out)
    return out.reshape(values.shape)
