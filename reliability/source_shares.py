"""Shares of variance of any answer whose sources are drawn independently, such as a saving.

Where an answer is a function of several independent sources and the function cannot be averaged by
hand, it is evaluated again with one source exchanged at a time (pick and freeze, Sobol 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devicefit.programming import FloatArray

IntArray = NDArray[np.int64]
BOOTSTRAPS = 200


@dataclass(frozen=True)
class SourceShares:
    """Shares of variance with the standard errors of their Monte-Carlo estimates.

    Parameters
    ----------
    share : dict of str to float
        Of each source alone, and ``interaction``; they sum to one.
    standard_error : dict of str to float
        Of the same, by bootstrap over draws.
    """

    share: dict[str, float]
    standard_error: dict[str, float]


def source_shares(
    answer: Callable[[Mapping[str, IntArray]], FloatArray],
    sizes: Mapping[str, int],
    *,
    draws: int,
    rng: np.random.Generator,
) -> SourceShares:
    """Estimate the share of each source in the variance of an answer.

    Parameters
    ----------
    answer : callable
        From an index array, shape (draw,), for each source to the answers, shape (draw,). For a
        saving: its logarithm.
    sizes : mapping of str to int
        Draws there are of each source; indices are drawn from them.
    draws : int
        Evaluations of each arrangement; one arrangement for each source, and two more.
    rng : numpy.random.Generator
        Randomness.

    Returns
    -------
    SourceShares

    Notes
    -----
    With answers a (indices A), b (indices B) and c_j (source j from A, the others from B), the
    share of source j is ``cov(a, c_j) / var``, both moments from a and c_j together (Monod et al.
    2006; asymptotically efficient, Janon et al. 2014, equation 6). Interaction is what is left; an
    estimate below zero of a share is set to zero, and shares that then exceed one are scaled.
    """
    if not sizes or min(sizes.values()) < 1:
        raise ValueError(f"sources are {dict(sizes)}; give at least one, each with draws")
    first = {name: rng.integers(size, size=draws) for name, size in sizes.items()}
    second = {name: rng.integers(size, size=draws) for name, size in sizes.items()}
    a = np.asarray(answer(first), dtype=np.float64)
    mixed = np.stack([answer({**second, name: first[name]}) for name in sizes])
    point = _shares(a, mixed)
    again = rng.integers(draws, size=(BOOTSTRAPS, draws))
    repeats = np.stack([_shares(a[i], mixed[:, i]) for i in again])
    names = [*sizes, "interaction"]
    return SourceShares(
        {name: float(v) for name, v in zip(names, point, strict=True)},
        {name: float(v) for name, v in zip(names, repeats.std(axis=0, ddof=1), strict=True)},
    )


def _shares(a: FloatArray, mixed: FloatArray) -> FloatArray:
    mean = (a + mixed).mean(axis=1) / 2
    covariance = (a * mixed).mean(axis=1) - mean**2
    variance = (a**2 + mixed**2).mean(axis=1) / 2 - mean**2
    scale = np.maximum(variance, 1e-300)
    share = np.where(variance > 1e-12 * (mean**2 + 1e-12), covariance / scale, 0.0)
    share = np.clip(share, 0.0, None)
    total = share.sum()
    if total > 1:
        return np.append(share / total, 0.0)
    return np.append(share, 1 - total if variance.max() > 1e-24 else 0.0)
