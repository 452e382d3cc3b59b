"""Sums of ln R in whole numbers: no rounding, so no order of addition changes them.

``ln(R / ohm)`` is taken to the next multiple of 2**-28, which is 4e-9 of a resistance and far
below any measurement. Relative to a fixed origin it is a whole number ``q``, written as
``q = 2**17 h + o`` with ``-2**16 <= o < 2**16``: ``h`` numbers a fine bin of width 2**-11 in ln R,
and ``o`` is the place within it. Sums of squares and products are kept as the three sums over
``h h``, ``h o`` and ``o o``, none of which overflows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devicefit.numerics.arrays import FloatArray, IntArray

ORIGIN = 9.0
"""Value of ln R at ``q = 0``; 8.1 kohm."""
STEPS = 2.0**28
"""Steps of ``q`` per unit of ln R."""
PLACE_BITS = 17
"""A fine bin holds 2**17 steps: 2**-11 in ln R."""
MOST_PER_CELL = 2**26
"""Readings of one device, state and condition beyond which a sum could overflow."""


def quantise(r_ohm: FloatArray) -> IntArray:
    """The whole number of each positive finite resistance."""
    ln_r = np.log(np.ascontiguousarray(r_ohm, dtype=np.float64))
    whole: IntArray = np.rint((ln_r - ORIGIN) * STEPS).astype(np.int64)
    return whole


def ln_r_of(whole: IntArray, rest: FloatArray | float = 0.0) -> FloatArray:
    """Value of ln R at ``q = whole + rest``."""
    return np.asarray(ORIGIN + (whole + rest) / STEPS, dtype=np.float64)


def rounded_ln(r_ohm: FloatArray) -> FloatArray:
    """Logarithm to the nearest step; infinite at 0 and at infinity."""
    with np.errstate(divide="ignore"):
        ln_r = np.log(np.asarray(r_ohm, dtype=np.float64))
    rounded: FloatArray = np.rint(ln_r * STEPS) / STEPS
    return np.where(np.isfinite(ln_r), rounded, ln_r)


def split(q: IntArray) -> tuple[IntArray, IntArray]:
    """Fine bin and place within it."""
    h = (q + 2 ** (PLACE_BITS - 1)) >> PLACE_BITS
    return h, q - (h << PLACE_BITS)


@dataclass(frozen=True)
class CellSums:
    """Exact sums over series of readings, one entry for each series.

    Parameters
    ----------
    n : int array, shape (series,)
        Readings, at least 1.
    h, o, hh, ho, oo : int array, shape (series,)
        Sums over the readings.
    lag_hh, lag_ho, lag_oo : int array, shape (series,)
        Sums over successive readings 1, 2 of ``h1 h2``, ``h1 o2 + h2 o1`` and ``o1 o2``.
    first, last : int array, shape (series,)
        ``q`` of the first and of the last reading.
    """

    n: IntArray
    h: IntArray
    o: IntArray
    hh: IntArray
    ho: IntArray
    oo: IntArray
    lag_hh: IntArray
    lag_ho: IntArray
    lag_oo: IntArray
    first: IntArray
    last: IntArray


NAMES = tuple(CellSums.__dataclass_fields__)


def sums_of(q: IntArray, starts: IntArray) -> CellSums:
    """Sums over consecutive series of readings.

    Parameters
    ----------
    q : int array, shape (reading,)
        Readings, series after series, each in order; at least one.
    starts : int array, shape (series,)
        Where each series begins, the first at 0.
    """
    h, o = split(q)
    ends = np.append(starts[1:], len(q))

    def total(values: IntArray) -> IntArray:
        return np.add.reduceat(values, starts)

    def lagged(values: IntArray) -> IntArray:
        # The product with the reading before; none at the head of a series.
        padded = np.concatenate([np.zeros(1, np.int64), values])
        padded[starts] = 0
        return total(padded)

    return CellSums(
        n=ends - starts,
        h=total(h),
        o=total(o),
        hh=total(h * h),
        ho=total(h * o),
        oo=total(o * o),
        lag_hh=lagged(h[:-1] * h[1:]),
        lag_ho=lagged(h[:-1] * o[1:] + h[1:] * o[:-1]),
        lag_oo=lagged(o[:-1] * o[1:]),
        first=q[starts],
        last=q[ends - 1],
    )


@dataclass(frozen=True)
class Moments:
    """Statistics of series of readings, ln R.

    Parameters
    ----------
    mean, sum_of_squares, lag_product, first, last : float array, shape (series,)
        As in :class:`devicefit.likelihood.compressed.DeviceCells`.
    """

    mean: FloatArray
    sum_of_squares: FloatArray
    lag_product: FloatArray
    first: FloatArray
    last: FloatArray


def moments(sums: CellSums) -> Moments:
    """Mean, and sums of squares and of lagged products about it, each rounded once.

    Notes
    -----
    The mean is ``m + rest / n`` with whole ``m = 2**17 mh + mo`` and ``rest``. Sums about ``m`` are
    whole numbers again, and small, so the conversion to floating point loses nothing by
    cancellation; the fraction ``rest / n`` is then accounted for in closed form.
    """
    n = sums.n
    mh = (2 * sums.h + n) // (2 * n)
    left = ((sums.h - mh * n) << PLACE_BITS) + sums.o
    mo = left // n
    rest = left - mo * n
    fraction = rest / n
    m = (mh << PLACE_BITS) + mo

    squares = _float(
        sums.hh - 2 * mh * sums.h + n * mh * mh,
        2 * (sums.ho - mh * sums.o - mo * sums.h + n * mh * mo),
        sums.oo - 2 * mo * sums.o + n * mo * mo,
    )
    first_h, first_o = split(sums.first)
    last_h, last_o = split(sums.last)
    # Sums over the first and over the second of each successive two, together.
    both_h, both_o = 2 * sums.h - first_h - last_h, 2 * sums.o - first_o - last_o
    lag = _float(
        sums.lag_hh - mh * both_h + (n - 1) * mh * mh,
        sums.lag_ho - mo * both_h - mh * both_o + 2 * (n - 1) * mh * mo,
        sums.lag_oo - mo * both_o + (n - 1) * mo * mo,
    )
    ends = (2 * rest - (sums.first - m) - (sums.last - m)).astype(np.float64)
    return Moments(
        mean=ln_r_of(m, fraction),
        sum_of_squares=np.maximum(squares - rest * fraction, 0.0) / STEPS**2,
        lag_product=(lag - fraction * ends + (n - 1) * fraction**2) / STEPS**2,
        first=(sums.first - m - fraction) / STEPS,
        last=(sums.last - m - fraction) / STEPS,
    )


def _float(hh: IntArray, ho: IntArray, oo: IntArray) -> FloatArray:
    return hh * 2.0 ** (2 * PLACE_BITS) + ho * 2.0**PLACE_BITS + oo
