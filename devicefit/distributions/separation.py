"""The threshold that separates two groups of readings with the fewest errors."""

from __future__ import annotations

import numpy as np

from devicefit.numerics.arrays import FloatArray


def best_threshold(
    ln_lrs: FloatArray,
    ln_hrs: FloatArray,
    *,
    counts: tuple[FloatArray, FloatArray] | None = None,
) -> float:
    """Ln of the threshold with the fewest errors; in the middle of the best gap.

    Parameters
    ----------
    ln_lrs, ln_hrs : float array
        Ln of readings of both states, finite; at least one of each.
    counts : two float arrays, optional
        How many readings each value stands for.
    """
    values = np.unique(np.concatenate([ln_lrs, ln_hrs]))
    middle = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2])
    number = counts or (np.ones(len(ln_lrs)), np.ones(len(ln_hrs)))
    above, below = (_share(y, n, middle) for y, n in zip((ln_lrs, ln_hrs), number, strict=True))
    error = 1 - above + below
    best = np.flatnonzero(error <= error.min() + 1e-12)
    widths = np.diff(np.append(values, values[-1]))
    gaps = np.where(best > 0, widths[np.maximum(best - 1, 0)], 0.0)
    return float(middle[best[int(np.argmax(gaps))]])


def _share(y: FloatArray, number: FloatArray, at: FloatArray) -> FloatArray:
    """Share of the readings at or below each place."""
    order = np.argsort(y)
    cumulative = np.concatenate([[0.0], np.cumsum(number[order])])
    found = cumulative[np.searchsorted(y[order], at, side="right")]
    return np.asarray(found / cumulative[-1])
