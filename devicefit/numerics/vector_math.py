"""exp, log and the normal tail without branches, so that loops over them become vector code.

``fast_*`` and the tail trade accuracy for speed at 1e-8 relative, well inside what a bit error rate
is asked for; ``vector_*`` are right to the last digits. Where more of the tail is needed use
:mod:`devicefit.distributions.kernels`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.polynomial import chebyshev
from scipy.special import erfcx

from devicefit.numerics.compiled import njit

_EXP = tuple(1.0 / math.factorial(k) for k in range(8, -1, -1))
_LOG = tuple(2.0 / (2 * k + 1) for k in range(6, -1, -1))
_EXP_ALL = tuple(1.0 / math.factorial(k) for k in range(12, -1, -1))
_LOG_ALL = tuple(2.0 / (2 * k + 1) for k in range(10, -1, -1))
_LN_2 = math.log(2.0)
_LOG2_E = 1.0 / _LN_2
# ln 2 in two parts, the first with trailing zeros so that its small multiples are exact
_LN_2_HIGH = 0.693145751953125
_LN_2_LOW = 1.4286068203094172e-06
# the last bits of a number near it are an integer
_SHIFT = 1.5 * 2.0**52
_MILLS_SCALE = 4.0


def _mills_coefficients(degree: int) -> tuple[float, ...]:
    """Polynomial in ``2 t - 1`` for ``Q(x) exp(x^2 / 2) / t``, ``t = 1 / (1 + x / 4)``, x >= 0.

    Interpolates SciPy's ``erfcx`` at Chebyshev points; highest power first.
    """
    s = chebyshev.chebpts1(degree + 1)
    t = (s + 1.0) / 2.0
    ratio = 0.5 * erfcx(_MILLS_SCALE * (1.0 / t - 1.0) * math.sqrt(0.5)) / t
    fitted = chebyshev.cheb2poly(chebyshev.chebfit(s, ratio, degree))
    return tuple(float(c) for c in fitted[::-1])


_MILLS = _mills_coefficients(11)


def _of_one_float(build: Any) -> Any:
    """Intrinsic float64 -> float64 from a function that emits its instructions."""

    def typed(typing_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            integer = context.get_value_type(numba.types.int64)
            number = context.get_value_type(numba.types.float64)
            return build(builder, integer, number, builder.bitcast(arguments[0], integer))

        return numba.types.float64(numba.types.float64), generate

    return intrinsic(typed)


def _emit_power(builder: Any, integer: Any, number: Any, bits: Any) -> Any:
    moved = builder.shl(builder.add(bits, integer(1023)), integer(52))
    return builder.bitcast(moved, number)


def _octave(builder: Any, integer: Any, bits: Any) -> Any:
    # bits of sqrt(1/2): the octave runs from there to sqrt(2)
    return builder.ashr(builder.sub(bits, integer(0x3FE6A09E667F3BCD)), integer(52))


def _emit_octave(builder: Any, integer: Any, number: Any, bits: Any) -> Any:
    shift_bits = int(np.float64(_SHIFT).view(np.int64))
    return builder.bitcast(
        builder.add(_octave(builder, integer, bits), integer(shift_bits)), number
    )


def _emit_mantissa(builder: Any, integer: Any, number: Any, bits: Any) -> Any:
    moved = builder.shl(_octave(builder, integer, bits), integer(52))
    return builder.bitcast(builder.sub(bits, moved), number)


_power_of_two = _of_one_float(_emit_power)  # 2^k from k + _SHIFT
_shifted_octave = _of_one_float(_emit_octave)  # k + _SHIFT from x in 2^k [sqrt(1/2), sqrt(2))
_mantissa = _of_one_float(_emit_mantissa)  # x / 2^k


def _exponential(coefficients: tuple[float, ...]) -> Any:
    """exp(y) for y < 700, and 1e-304 for all y below -700, by a series, highest power first."""

    @njit(error_model="numpy", fastmath={"contract"})
    def exponential(y: float) -> float:
        y = max(y, -700.0)
        shifted = y * _LOG2_E + _SHIFT
        k = shifted - _SHIFT
        r = (y - k * _LN_2_HIGH) - k * _LN_2_LOW
        p = coefficients[0]
        for i in range(1, len(coefficients)):
            p = p * r + coefficients[i]
        return p * _power_of_two(shifted)

    return exponential


def _logarithm(coefficients: tuple[float, ...]) -> Any:
    """ln(x) for normal positive numbers, by a series in ``((m - 1) / (m + 1))^2``."""

    @njit(error_model="numpy", fastmath={"contract"})
    def logarithm(x: float) -> float:
        k = _shifted_octave(x) - _SHIFT
        m = _mantissa(x)
        s = (m - 1.0) / (m + 1.0)
        square = s * s
        p = coefficients[0]
        for i in range(1, len(coefficients)):
            p = p * square + coefficients[i]
        return k * _LN_2 + s * p

    return logarithm


fast_exp, vector_exp = _exponential(_EXP), _exponential(_EXP_ALL)  # to 1e-9 and 1e-15
fast_log, vector_log = _logarithm(_LOG), _logarithm(_LOG_ALL)  # to 1e-11 and 1e-15


@njit(error_model="numpy", fastmath={"contract"})
def fast_tail(x: float) -> float:
    """P(Z > x) of a standard normal Z for x from 0 on, to 1e-8 relative."""
    t = _MILLS_SCALE / (_MILLS_SCALE + x)
    s = 2.0 * t - 1.0
    p = _MILLS[0]
    for i in range(1, len(_MILLS)):
        p = p * s + _MILLS[i]
    return fast_exp(-0.5 * x * x) * p * t


@njit(error_model="numpy", fastmath={"reassoc", "contract"})
def weighted_tails(ln_w, m, a, c, square, ln_scale):  # type: ignore[no-untyped-def]
    """Sum of ``exp(ln_w - ln_scale) Q(sqrt(square / (a m + c)))``.

    Parameters
    ----------
    ln_w, m : float array, shape (node,)
        Logarithms of weights and variances.
    a, c, square, ln_scale : float
        Not negative, apart from the last; ``a m + c`` positive.
    """
    d = math.sqrt(square)
    total = 0.0
    for j in range(len(m)):
        # x = d / sqrt(v), q = x^2, t = 1 / (1 + x / 4): one root and one division for all
        v = a * m[j] + c
        root = _MILLS_SCALE * math.sqrt(v)
        inverse = 1.0 / (v * (root + d))
        q = square * (root + d) * inverse
        t = root * v * inverse
        s = 2.0 * t - 1.0
        p = _MILLS[0]
        for i in range(1, len(_MILLS)):
            p = p * s + _MILLS[i]
        total += fast_exp(ln_w[j] - ln_scale - 0.5 * q) * p * t
    return total
