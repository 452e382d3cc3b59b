"""Choices that no other choice beats in energy, accuracy and endurance at once."""

from __future__ import annotations

import numpy as np

from devicefit.numerics.arrays import BoolArray, FloatArray


def pareto_front(cost: FloatArray, *gains: FloatArray) -> BoolArray:
    """Which candidates are not dominated.

    Parameters
    ----------
    cost : float array, shape (candidate,)
        What should be small, for example energy.
    *gains : float arrays, shape (candidate,)
        What should be large, for example accuracy and survived cycles.

    Returns
    -------
    bool array, shape (candidate,)
        A candidate is dominated when another is at least as good in everything and better in
        something; equal candidates stay both.
    """
    values = np.stack([-np.asarray(cost, dtype=np.float64), *gains], axis=-1)
    as_good = np.ones((len(values), len(values)), dtype=bool)
    better = np.zeros_like(as_good)
    for column in values.T:
        as_good &= column[:, None] >= column[None, :]
        better |= column[:, None] > column[None, :]
    return np.asarray(~(as_good & better).any(axis=0))


def front_probability(cost: FloatArray, *gains: FloatArray) -> FloatArray:
    """Share of draws in which each candidate is on the front.

    Parameters
    ----------
    cost : float array, shape (draw, candidate)
        As in :func:`pareto_front`, the same draws for every candidate.
    *gains : float arrays, shape (draw, candidate)
        As in :func:`pareto_front`.

    Returns
    -------
    float array, shape (candidate,)
    """
    found = [pareto_front(cost[d], *(gain[d] for gain in gains)) for d in range(len(cost))]
    return np.asarray(np.mean(found, axis=0))
