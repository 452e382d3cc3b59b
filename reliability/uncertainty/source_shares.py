"""Shares of variance of any answer whose sources are drawn independently, such as a saving.

Where an answer is a function of several independent sources and the function cannot be averaged by
hand, it is evaluated again with one source kept and the others exchanged, and the other way round
(pick and freeze, Sobol 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from devicefit.numerics.arrays import FloatArray, IntArray

Indices = Mapping[str, IntArray]
BOOTSTRAPS = 200
INTERACTION = "interaction"


@dataclass(frozen=True)
class Labels:
    """A source that is a part of another one, such as the model family of a draw of the device.

    Parameters
    ----------
    name, of : str
        How the part is called, and the source whose draws carry the labels.
    label : int array
        Label of each draw of that source.
    """

    name: str
    of: str
    label: IntArray


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


def shares_of_answers(
    answers: Callable[[Indices], Mapping[str, FloatArray]],
    sizes: Mapping[str, int],
    *,
    labels: Labels | None = None,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, SourceShares]:
    """Shares of the same sources in several answers, from the same evaluations.

    Parameters
    ----------
    answers : callable
        From an index array, shape (draw,), for each source to answers by name, shape (draw,) each.
        For a saving: its logarithm.
    sizes : mapping of str to int
        Draws there are of each source; indices are drawn from them.
    draws : int
        Evaluations of each arrangement; two arrangements for each source, and two more.
    rng : numpy.random.Generator
        Randomness.
    labels : Labels, optional
        A source of which a part has a share of its own; the rest of it keeps the name.

    Returns
    -------
    dict of str to SourceShares

    Notes
    -----
    With answers a (indices A), b (indices B), c_j (source j from A, the others from B) and d_j
    (source j from B, the others from A), the share of source j is
    ``2 E[(c_j - b) (a - d_j)] / E[(a - b)^2 + (c_j - d_j)^2]`` (Azzini, Mara and Rosati 2021).
    Small shares have small errors, and a source without influence has the share zero exactly.
    Labels: variance between the means of their draws, less what it would be by chance.
    Interaction is what is left; an estimate below zero of a share is set to zero, and shares that
    then exceed one are scaled.
    """
    if not sizes or min(sizes.values()) < 1:
        raise ValueError(f"sources are {dict(sizes)}; give at least one, each with draws")
    first = {name: rng.integers(size, size=draws) for name, size in sizes.items()}
    second = {name: rng.integers(size, size=draws) for name, size in sizes.items()}
    a, b = answers(first), answers(second)
    kept = {name: answers({**second, name: first[name]}) for name in sizes}
    left = {name: answers({**first, name: second[name]}) for name in sizes}
    again = rng.integers(draws, size=(BOOTSTRAPS, draws))
    weights = np.stack([np.bincount(row, minlength=draws) for row in again]) / draws
    weights = np.concatenate([np.full((1, draws), 1 / draws), weights])
    found = {}
    for key, values in a.items():
        c, d = (np.stack([of[name][key] for name in sizes], axis=1) for of in (kept, left))
        shares, spread = _first_order(values, b[key], c, d, weights)
        names = list(sizes)
        if labels is not None:
            at = names.index(labels.of)
            both = (values + c[:, at]) / 2
            part = _between(both, labels.label[first[labels.of]], weights)
            part = np.minimum(part / np.maximum(spread, 1e-300), shares[:, at]) * (spread > 0)
            shares[:, at] -= part
            names.insert(at, labels.name)
            shares = np.insert(shares, at, part, axis=1)
        total = shares.sum(axis=1)
        shares /= np.maximum(total, 1.0)[:, None]
        rest = np.where(spread > 0, np.clip(1 - total, 0.0, None), 0.0)
        every = np.column_stack([shares, rest])
        names.append(INTERACTION)
        errors = every[1:].std(axis=0, ddof=1)
        found[key] = SourceShares(
            {name: float(v) for name, v in zip(names, every[0], strict=True)},
            {name: float(v) for name, v in zip(names, errors, strict=True)},
        )
    return found


def _first_order(
    a: FloatArray, b: FloatArray, c: FloatArray, d: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Shares, shape (weighting, source), at least zero, and the variance, zero where none."""
    common = weights @ ((c - b[:, None]) * (a[:, None] - d))
    variance = weights @ (((a - b)[:, None] ** 2 + (c - d) ** 2) / 2)
    # What rounding leaves of equal numbers is no variance.
    varies = variance > 1e-12 * (a.mean() ** 2 + 1e-12)
    share = np.where(varies, common / np.where(varies, variance, 1.0), 0.0)
    return np.clip(share, 0.0, None), np.where(varies, variance, 0.0).mean(axis=1) / 2


def _between(values: FloatArray, label: IntArray, weights: FloatArray) -> FloatArray:
    """Variance of the means by label, less what is expected of it by chance."""
    member = (label[:, None] == np.unique(label)).astype(np.float64)
    values = values - values.mean()
    weight = weights @ member
    filled = np.maximum(weight, 1e-300)
    mean = weights @ (member * values[:, None]) / filled
    within = np.maximum(weights @ (member * values[:, None] ** 2) / filled - mean**2, 0.0)
    overall = (weight * mean).sum(axis=1, keepdims=True)
    between = (weight * (mean - overall) ** 2).sum(axis=1)
    chance = (within * (1 - weight)).sum(axis=1) / len(values)
    return np.asarray(np.maximum(between - chance, 0.0))
