"""Intervals that carry their kind and probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from devicefit.numerics.arrays import FloatArray

PROBABILITY = 0.9
"""Probability of every credible interval unless another is asked for."""


@dataclass(frozen=True)
class Interval:
    """Ends of an interval, scalar or array, with kind and probability.

    Parameters
    ----------
    low, high : float array
        Ends.
    kind : str
        ``"ETI"`` (equal-tailed credible interval) or ``"Clopper-Pearson"`` (exact confidence
        interval of a proportion).
    probability : float
        Between 0 and 1.
    """

    low: FloatArray
    high: FloatArray
    kind: str
    probability: float

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "low": np.asarray(self.low).tolist(),
            "high": np.asarray(self.high).tolist(),
            "kind": self.kind,
            "probability": self.probability,
        }


def equal_tailed(
    draws: ArrayLike, *, axis: int | tuple[int, ...] = (0, 1), probability: float = PROBABILITY
) -> Interval:
    """Equal-tailed credible interval of draws over `axis` (default: chain and draw).

    Raises
    ------
    ValueError
        `probability` outside (0, 1).
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability is {probability}; it must lie between 0 and 1")
    tail = (1 - probability) / 2
    low, high = np.quantile(np.asarray(draws, dtype=np.float64), [tail, 1 - tail], axis=axis)
    return Interval(low, high, "ETI", probability)


def band(
    draws: FloatArray, *, axis: int | tuple[int, ...], probability: float = PROBABILITY
) -> dict[str, Any]:
    """Median and equal-tailed interval of draws over `axis`, as plain values for JSON.

    Raises
    ------
    ValueError
        As :func:`equal_tailed`.
    """
    interval = equal_tailed(draws, axis=axis, probability=probability)
    return {"median": np.median(draws, axis=axis).tolist(), **interval.record()}


def weighted_quantiles(
    values: FloatArray, weights: FloatArray, levels: Sequence[float]
) -> FloatArray:
    """Quantiles of weighted draws: linear between the middles of the draws' weights.

    Parameters
    ----------
    values : float array, shape (draw,)
        Draws.
    weights : float array, shape (outcome, draw)
        Weights of the draws, not negative, in each row not all zero.
    levels : sequence of float
        Probabilities.

    Returns
    -------
    float array, shape (outcome, level)
    """
    order = np.argsort(values, kind="stable")
    of, sorted_values = np.asarray(weights)[:, order], values[order]
    middle = (np.cumsum(of, axis=1) - 0.5 * of) / of.sum(axis=1, keepdims=True)
    return np.array([np.interp(levels, row, sorted_values) for row in middle])


def clopper_pearson(
    errors: ArrayLike, trials: ArrayLike, *, probability: float = PROBABILITY
) -> Interval:
    """Exact confidence interval of a proportion (Clopper and Pearson 1934).

    Zero errors give the one-sided upper limit at the same probability, and likewise all errors.

    Raises
    ------
    ValueError
        Negative counts, more errors than trials, `probability` outside (0, 1).
    """
    k = np.asarray(errors, dtype=np.float64)
    n = np.asarray(trials, dtype=np.float64)
    if np.any(k < 0) or np.any(k > n):
        raise ValueError("errors must lie between 0 and trials")
    if not 0 < probability < 1:
        raise ValueError(f"probability is {probability}; it must lie between 0 and 1")
    tail = np.where((k == 0) | (k == n), 1 - probability, (1 - probability) / 2)
    with np.errstate(invalid="ignore"):
        low = np.where(k == 0, 0.0, betaincinv(k, n - k + 1, tail))
        high = np.where(k == n, 1.0, betaincinv(k + 1, n - k, 1 - tail))
    return Interval(low, high, "Clopper-Pearson", probability)
