"""Error probability of pairs of two Student-t or two logistic cells: a fast single integral.

    P(s1 X1 + s2 X2 + offset > d) = integral of f1(y / s1) / s1 * G((y - d) / s2) dy,

where G is the distribution function of cell 2, convolved with the offset. Cell 2 is the wider one,
and while the offset is small beside it the convolution is a short series (heat equation):

    G = sum_k (offset^2 / 2 s2^2)^k / k! * F^(2 k).

The derivatives of F are Gegenbauer polynomials in ``z / sqrt(dof + z^2)`` times powers for
Student-t (DLMF 18.5.10 and 18.9.19), and polynomials in F for the logistic law.

The variable ``y = D (b u - a / u + u / (1 + u))``, ``u = exp(t)``, is explicit and looks like
``sinh`` around both 0 and D, so that one trapezoidal rule in t resolves two widely different
scales and both tails; the integrand is analytic and the error falls exponentially.

Outside the range of the series :mod:`devicefit.distributions.pair_error` has the general method.
"""

from __future__ import annotations

import math

import numpy as np

from devicefit.distributions.kernels import student_ln_cdf, student_ln_norm
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.compiled import njit
from devicefit.numerics.vector_math import fast_exp, fast_log

TERMS = 7
DEGREE = 2 * TERMS - 2
TAIL_NODES = 14
# Step of the rule, good for up to _MOST_DOF degrees of freedom.
_STEP = 0.4
_MOST_DOF = 12.0
_REACH = 38.0
_CHUNK = 16
_ENOUGH = 1e-9
# Up to so many scales of the narrower cell the nodes give 3e-7; at 1e4 it would be 3e-6.
_FARTHEST = 3e3
# Nodes near a centre are _STEP * _CORE scales apart: the width of a logistic core.
_CORE = 2.0
# Largest offset for which the series is good to 2e-7: in units of s2 sqrt(dof), of s2 for
# Student-t, and of s2 for the logistic law.
_OFFSET_TO_POLE, _OFFSET_TO_SCALE, _LOGISTIC_OFFSET = 0.13, 0.3, 0.45

_U = np.exp(np.arange(-_REACH, _REACH, _STEP))
_INVERSE, _RISE, _SLOPE = 1.0 / _U, _U / (1.0 + _U), _U / (1.0 + _U) ** 2


def _chebyshev_to_powers(n: int) -> tuple[FloatArray, FloatArray]:
    """Points s in (-1, 1), and the matrix from values there to power coefficients in s."""
    s = np.cos((np.arange(n) + 0.5) * np.pi / n)
    return s, np.linalg.inv(np.vander(s, increasing=True))


_POINTS, _TO_POWERS = _chebyshev_to_powers(TAIL_NODES)


@njit(error_model="numpy")
def student_tail(dof, tail, spread):  # type: ignore[no-untyped-def]
    """Coefficients that describe a Student-t distribution function and its derivatives.

    With ``x = dof / (dof + z^2)``, ``v = 1 - x`` and ``w = sqrt(v)``, for z < 0

        G(z) = x^(dof / 2) (R(2 w - 1) + w x sum_k e^k S_k(v)),  e = offset^2 / (2 dof s^2).

    Parameters
    ----------
    dof : float
        Degrees of freedom.
    tail : float array, shape (TAIL_NODES,)
        Filled with the coefficients of R, lowest first.
    spread : float array, shape (TERMS, DEGREE + 1)
        Filled with the coefficients of S_k, k = 1 ... TERMS, lowest first.
    """
    value = np.empty(TAIL_NODES)
    for i in range(TAIL_NODES):
        w = 0.5 * (_POINTS[i] + 1.0)
        v = w * w
        z = math.sqrt(dof * v / (1.0 - v))
        value[i] = math.exp(student_ln_cdf(-z, dof) - 0.5 * dof * math.log1p(-v))
    for i in range(TAIL_NODES):
        total = 0.0
        for j in range(TAIL_NODES):
            total += _TO_POWERS[i, j] * value[j]
        tail[i] = total
    order = 0.5 * (dof + 1.0)
    front = math.exp(student_ln_norm(dof)) * math.sqrt(dof)
    spread[:] = 0.0
    for k in range(1, TERMS + 1):
        n = 2 * k - 1
        # C_n(w) / w in powers of v = w^2, times (2 k - 1)! / k!
        part = np.zeros(DEGREE + 1)
        ratio = math.exp(math.lgamma(2.0 * k) - math.lgamma(k + 1.0))
        for j in range(k):
            ln_size = (
                math.lgamma(n - j + order)
                - math.lgamma(order)
                - math.lgamma(j + 1.0)
                - math.lgamma(n - 2.0 * j + 1.0)
            )
            sign = -1.0 if j % 2 else 1.0
            part[k - 1 - j] = sign * front * ratio * math.exp(ln_size) * 2.0 ** (n - 2 * j)
        for _ in range(k - 1):  # times x = 1 - v
            for i in range(DEGREE, 0, -1):
                part[i] -= part[i - 1]
        spread[k - 1] = part


def _logistic_derivatives() -> FloatArray:
    """``F^(2 k) / k!`` over F, as polynomials in F, lowest power first; shape (TERMS, degree)."""
    rows = np.zeros((TERMS, 2 * TERMS + 1))
    current = np.polynomial.Polynomial([0.0, 1.0])
    slope = np.polynomial.Polynomial([0.0, 1.0, -1.0])
    for k in range(1, TERMS + 1):
        for _ in range(2):
            current = slope * current.deriv()
        rows[k - 1, : 2 * k + 1] = np.asarray(current.coef, dtype=np.float64)[
            1 : 2 * k + 2
        ] / math.factorial(k)
    return rows


_LOGISTIC = _logistic_derivatives()


@njit(error_model="numpy", fastmath={"reassoc", "contract"})
def _student_chunk(first, d, size, a, b, i1, power1, i2, power2, tail, spread):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(_CHUNK):
        up, down, rise = b * _U[first + k], a * _INVERSE[first + k], _RISE[first + k]
        y = size * (up - down + rise)
        jacobian = size * (up + down + _SLOPE[first + k])
        z1, z2 = y * i1, (y - d) * i2
        ln_f = -power1 * fast_log(1.0 + z1 * z1)
        g = 1.0 + z2 * z2
        x = 1.0 / g
        v = z2 * z2 * x
        w = math.sqrt(v)
        s = 2.0 * w - 1.0
        r = tail[TAIL_NODES - 1]
        for i in range(TAIL_NODES - 2, -1, -1):
            r = r * s + tail[i]
        p = spread[DEGREE]
        for i in range(DEGREE - 1, -1, -1):
            p = p * v + spread[i]
        beyond = fast_exp(ln_f - power2 * fast_log(g)) * (r + w * x * p)
        total += jacobian * (beyond if z2 < 0.0 else fast_exp(ln_f) - beyond)
    return total


@njit(error_model="numpy", fastmath={"reassoc", "contract"})
def _logistic_chunk(first, d, size, a, b, i1, i2, spread):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(_CHUNK):
        up, down, rise = b * _U[first + k], a * _INVERSE[first + k], _RISE[first + k]
        y = size * (up - down + rise)
        jacobian = size * (up + down + _SLOPE[first + k])
        z2 = (y - d) * i2
        e1, e2 = fast_exp(-abs(y * i1)), fast_exp(-abs(z2))
        f = e1 / ((1.0 + e1) * (1.0 + e1))
        p = e2 / (1.0 + e2)
        g = spread[2 * TERMS]
        for i in range(2 * TERMS - 1, -1, -1):
            g = g * p + spread[i]
        total += jacobian * f * (g * p if z2 < 0.0 else 1.0 - g * p)
    return total


@njit(error_model="numpy")
def student_series_holds(d, s1, dof1, s2, dof2, offset):  # type: ignore[no-untyped-def]
    """Whether :func:`ln_student_pair` may be used; cell 2 has the larger ``s sqrt(dof)``."""
    limit = min(_OFFSET_TO_POLE * math.sqrt(dof2), _OFFSET_TO_SCALE)
    inside = min(dof1, dof2) >= 1.0 and max(dof1, dof2) <= _MOST_DOF
    return inside and offset <= limit * s2 and max(d, s2) <= _FARTHEST * s1


@njit(error_model="numpy")
def ln_student_pair(d, s1, dof1, s2, dof2, offset, tail, spread, combined):  # type: ignore[no-untyped-def]
    """Logarithm of P(s1 T1 + s2 T2 + offset > d), d >= 0.

    `tail` and `spread` are :func:`student_tail` of cell 2, `combined` is scratch.
    """
    e = 0.5 * offset * offset / (dof2 * s2 * s2)
    for i in range(DEGREE + 1):
        total = 0.0
        for k in range(TERMS - 1, -1, -1):
            total = (total + spread[k, i]) * e
        combined[i] = total
    wide1, wide2 = s1 * math.sqrt(min(dof1, 1.5)), s2 * math.sqrt(min(dof2, 1.5))
    size = max(d, 2.0 * wide2)
    a, b = 0.25 * (wide1 / size) ** 2, 0.25 * (wide2 / size) ** 2
    i1, i2 = 1.0 / (s1 * math.sqrt(dof1)), 1.0 / (s2 * math.sqrt(dof2))
    power1, power2 = 0.5 * (dof1 + 1.0), 0.5 * dof2
    middle = len(_U) // 2
    total = 0.0
    first = middle
    while first >= 0:
        part = _student_chunk(first, d, size, a, b, i1, power1, i2, power2, tail, combined)
        total += part
        if part < _ENOUGH * total and _U[first] * _U[first] < a:
            break
        first -= _CHUNK
    first = middle + _CHUNK
    while first + _CHUNK <= len(_U):
        part = _student_chunk(first, d, size, a, b, i1, power1, i2, power2, tail, combined)
        total += part
        if part < _ENOUGH * total and b * _U[first] * _U[first] > 1.0:
            break
        first += _CHUNK
    return math.log(total * _STEP / s1) + student_ln_norm(dof1)


@njit(error_model="numpy")
def logistic_series_holds(d: float, s2: float, offset: float) -> bool:
    """Whether :func:`ln_logistic_pair` may be used; cell 2 has the larger scale."""
    return offset <= _LOGISTIC_OFFSET * s2 and d < 300.0 * s2


@njit(error_model="numpy")
def ln_logistic_pair(d, s1, s2, offset, combined):  # type: ignore[no-untyped-def]
    """Logarithm of P(s1 X1 + s2 X2 + offset > d), d >= 0; `combined` is scratch."""
    e = 0.5 * (offset / s2) ** 2
    for i in range(2 * TERMS + 1):
        total = 0.0
        for k in range(TERMS - 1, -1, -1):
            total = (total + _LOGISTIC[k, i]) * e
        combined[i] = total
    combined[0] += 1.0
    size = max(d, 2.0 * _CORE * s2)
    a, b = 0.25 * (_CORE * s1 / size) ** 2, 0.25 * (_CORE * s2 / size) ** 2
    i1, i2 = 1.0 / s1, 1.0 / s2
    middle = len(_U) // 2
    total = 0.0
    first = middle
    while first >= 0:
        part = _logistic_chunk(first, d, size, a, b, i1, i2, combined)
        total += part
        if part < _ENOUGH * total and _U[first] * _U[first] < a:
            break
        first -= _CHUNK
    first = middle + _CHUNK
    while first + _CHUNK <= len(_U):
        part = _logistic_chunk(first, d, size, a, b, i1, i2, combined)
        total += part
        if part < _ENOUGH * total and b * _U[first] * _U[first] > 1.0:
            break
        first += _CHUNK
    return math.log(total * _STEP / s1)
