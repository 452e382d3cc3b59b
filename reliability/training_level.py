"""Several trainings of one recipe: how much they differ, and what a further one would be.

Trainings that differ in their seed alone are exchangeable: each is a draw from a law of trainings,
whose centre and spread are estimated from those that were evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
LENGTH = 2.5
"""Distance in ln BER over which trainings differ alike: a factor of twelve."""

SPREAD_OF_LOGIT = 0.5
"""Scale of the half-normal prior of the standard deviation of a logit between trainings."""

_GRID = 24
_LOWEST, _HIGHEST = 0.02, 5.0
_NUGGET = 1e-4


@dataclass(frozen=True)
class Level:
    """Draws of the law of trainings and of a further training.

    Parameters
    ----------
    centre : float array, shape (draw, knot)
        Mean over all trainings of the recipe.
    deviation : float array, shape (draw, knot)
        How a further training differs from it.
    spread : float array, shape (draw,)
        Standard deviation between trainings.
    """

    centre: FloatArray
    deviation: FloatArray
    spread: FloatArray


def training_level(
    means: FloatArray,
    covariances: FloatArray,
    kernels: Sequence[FloatArray],
    *,
    scale: float,
    draws: int,
    rng: np.random.Generator,
) -> Level:
    """Posterior of a law of trainings from what is known of each.

    Parameters
    ----------
    means : float array, shape (training, knot)
        Posterior means of the trainings, fitted one by one.
    covariances : float array, shape (training, knot, knot)
        Their posterior covariances.
    kernels : sequence of one or two float arrays, shape (knot, knot)
        Correlations of the parts that a training's deviation is the sum of; each has a spread of
        its own.
    scale : float
        Scale of the half-normal prior of each spread.
    draws : int
        Draws to make.
    rng : numpy.random.Generator
        Randomness.

    Returns
    -------
    Level

    Notes
    -----
    ``y_s ~ N(theta_s, V_s)``, ``theta_s ~ N(centre, sum of spread^2 kernel)``, flat prior of the
    centre: the normal random-effects model (Gelman et al. 2013, section 5.4) with curves for
    effects. The spreads are drawn from their exact marginal posterior on a grid, the rest is
    normal.
    """
    knots = means.shape[1]
    axis = scale * np.geomspace(_LOWEST, _HIGHEST, _GRID)
    spreads = np.stack(np.meshgrid(*[axis] * len(kernels), indexing="ij"), axis=-1)
    spreads = spreads.reshape(-1, len(kernels))
    ln_p = np.empty(len(spreads))
    centres, totals = np.empty((len(spreads), knots)), np.empty((len(spreads), knots, knots))
    for i, spread in enumerate(spreads):
        own = sum(v**2 * kernel for v, kernel in zip(spread, kernels, strict=True))
        precisions = np.linalg.inv(covariances + own)
        totals[i] = np.linalg.inv(precisions.sum(axis=0))
        weighted = np.einsum("skl,sl->sk", precisions, means)
        centres[i] = totals[i] @ weighted.sum(axis=0)
        off = means - centres[i]
        ln_p[i] = (
            0.5 * np.linalg.slogdet(precisions)[1].sum()
            + 0.5 * np.linalg.slogdet(totals[i])[1]
            - 0.5 * np.einsum("sk,skl,sl->", off, precisions, off)
            - 0.5 * np.sum((spread / scale) ** 2)
            + np.sum(np.log(spread))  # the grid is even in their logarithms
        )
    weight = np.exp(ln_p - ln_p.max())
    at = rng.choice(len(spreads), size=draws, p=weight / weight.sum())
    used, of = np.unique(at, return_inverse=True)
    roots = np.linalg.cholesky(totals[used] + 1e-12 * np.eye(knots))
    centre = centres[at] + np.einsum("dkl,dl->dk", roots[of], rng.standard_normal((draws, knots)))
    deviation = np.zeros((draws, knots))
    for part, kernel in enumerate(kernels):
        root = np.linalg.cholesky(kernel + 1e-9 * np.eye(knots))
        deviation += spreads[at, part, None] * (rng.standard_normal((draws, knots)) @ root.T)
    return Level(centre, deviation, np.sqrt((spreads[at] ** 2).sum(axis=1)))


def kernels_over_ber(ln_ber: FloatArray, *, length: float = LENGTH) -> tuple[FloatArray, ...]:
    """Parts of a training's deviation: alike at all knots, and smooth with a tenth of each alone.

    Two spreads, since one would be learned from how rough the deviations are: trainings that
    differ by the same amount everywhere would then seem to differ little.
    """
    distance = ln_ber[:, None] - ln_ber[None, :]
    smooth = 0.9 * np.exp(-0.5 * (distance / length) ** 2) + 0.1 * (distance == 0)
    return np.ones_like(distance), smooth


def moments(draws: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Means and covariances of the curves of each training; draws have the shape (draw, knot)."""
    means = np.stack([d.mean(axis=0) for d in draws])
    covariances = np.stack([np.cov(d.T) for d in draws])
    return means, covariances + _NUGGET * np.eye(means.shape[1])
