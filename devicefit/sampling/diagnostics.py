"""Convergence and importance weights, as ArviZ computes them."""

from __future__ import annotations

import importlib
import importlib.metadata
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from devicefit.numerics.arrays import FloatArray


def _array_stats() -> Any:
    """ArviZ's statistics of plain arrays, the same in both lines of ArviZ, imported when needed."""
    return importlib.import_module("arviz_stats.base").array_stats


def r_hat(posterior: xr.Dataset) -> dict[str, float]:
    """Largest rank-normalised split R-hat of each variable (Vehtari et al. 2021)."""
    return _of_each(posterior, _array_stats().rhat, np.nanmax)


def bulk_ess(posterior: xr.Dataset) -> dict[str, float]:
    """Smallest bulk effective sample size of each variable."""
    return _of_each(posterior, partial(_array_stats().ess, method="bulk"), np.nanmin)


def tail_ess(posterior: xr.Dataset) -> dict[str, float]:
    """Smallest effective sample size of the 5 % and 95 % quantiles of each variable."""
    ess = partial(_array_stats().ess, method="tail", prob=(0.05, 0.95))
    return _of_each(posterior, ess, np.nanmin)


def _of_each(posterior: xr.Dataset, statistic: Any, pick: Any) -> dict[str, float]:
    found = {}
    for name, variable in posterior.data_vars.items():
        values = variable.transpose("chain", "draw", ...).values
        found[str(name)] = float(pick(statistic(values, chain_axis=0, draw_axis=1)))
    return found


def psis(ln_ratios: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pareto-smoothed importance weights (Vehtari et al. 2024).

    Parameters
    ----------
    ln_ratios : float array, shape (case, draw)
        Logarithms of importance ratios of draws that are nearly independent.

    Returns
    -------
    ln_weight : float array, shape (case, draw)
        Logarithms of weights, normalised over draws.
    pareto_k : float array, shape (case,)
        Shape of the tail; infinite where it cannot be fitted, and weights are then not smoothed.
    """
    relative = np.asarray(ln_ratios, dtype=np.float64)
    relative = relative - relative.max(axis=1, keepdims=True)
    ln_weight = relative - logsumexp(relative, axis=1, keepdims=True)
    pareto_k = np.full(len(relative), np.inf)
    cases = np.flatnonzero(_has_tail(relative))
    if len(cases):
        with np.errstate(all="ignore"):  # what cannot be fitted is told by k
            # ArviZ takes log likelihoods, the inverse of the ratios
            ln_weight[cases], k = _array_stats().psislw(-relative[cases])
        pareto_k[cases] = np.where(np.isnan(k), np.inf, k)
    return ln_weight, pareto_k


def _has_tail(relative: FloatArray) -> np.ndarray:
    """Cases whose largest ratios are five or more, above all others, and numbers above zero."""
    draws = relative.shape[1]
    tail = int(min(0.2 * draws, np.ceil(3 * np.sqrt(draws))))
    if tail < 5:
        return np.zeros(len(relative), dtype=bool)
    place = draws - tail
    below, least = np.partition(relative, (place - 1, place), axis=1)[:, place - 1 : place + 1].T
    return np.asarray(least > np.maximum(below, np.log(np.finfo(np.float64).tiny)))


def versions(*more: str) -> dict[str, str]:
    """Versions of what draws depend on, and of `more` packages."""
    names = ("pymc", "pytensor", "nutpie", "arviz", "numba", "numpy", "scipy", "xarray", *more)
    return {name: importlib.metadata.version(name) for name in names}
