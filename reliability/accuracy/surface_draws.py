"""Draws of the surfaces from linearised counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, cho_factor, cho_solve

from devicefit.numerics.arrays import FloatArray
from reliability.accuracy.surface_model import (
    DISPERSION,
    JITTER,
    LITTLE,
    SHARE,
    SPREAD_OF_LOGIT,
    SPREADS,
    TRAINING_LENGTH,
    Linearised,
    Pairs,
    Smoothness,
    weighted_level,
)


@dataclass(frozen=True)
class Drawn:
    """Draws of a function over pairs of rates, for a further training.

    Parameters
    ----------
    values : float array, shape (draw, point)
        For a further training of the recipe, or for the one there is.
    deviation : float array, shape (draw, point)
        Of it from the mean over trainings; zero where there is one.
    spread : float array, shape (draw,)
        Standard deviation between trainings.
    """

    values: FloatArray
    deviation: FloatArray
    spread: FloatArray


def draw_shares(
    trainings: Sequence[Linearised],
    at: Pairs,
    *,
    draws: int,
    rng: np.random.Generator,
    prior: Smoothness = SHARE,
) -> Drawn:
    """Draws of the logit of the share at other pairs of rates, given the counts.

    Parameters
    ----------
    trainings : sequence of Linearised
        Of one recipe.
    at : Pairs
        Where the surface is wanted.
    draws : int
        Draws to make.
    rng : numpy.random.Generator
        Randomness.
    prior : Smoothness, optional
        Prior of the mean over trainings.

    Returns
    -------
    Drawn

    Notes
    -----
    With several trainings each deviates from their mean by a level and by a smooth function, whose
    standard deviations have half-normal priors and are drawn from their marginal posterior on a
    grid; given these all is normal.
    """
    pairs = [t.pairs for t in trainings]
    seen = np.concatenate([t.logit_share for t in trainings])
    noise = block_diag(*[t.covariance for t in trainings])
    every = Pairs(
        np.concatenate([p.ln_rate for p in pairs]), np.concatenate([p.tilt for p in pairs])
    )
    noise += JITTER * np.eye(len(seen))
    shared = prior.kernel(every, every)
    to = prior.kernel(at, every)
    inside = prior.kernel(at, at)
    centre = weighted_level(seen, shared + noise)
    if len(trainings) == 1:
        values = _conditional(seen - centre, shared + noise, to, inside, draws, rng)
        still = np.zeros((draws, len(at.ln_rate)))
        return Drawn(values + centre + at.ln_wrong, still, np.zeros(draws))
    parts = _between(pairs)
    spreads = SPREAD_OF_LOGIT * np.stack(np.meshgrid(SPREADS, SPREADS), axis=-1).reshape(-1, 2)
    ln_p = np.empty(len(spreads))
    for i, spread in enumerate(spreads):
        total = shared + noise + sum(s**2 * part for s, part in zip(spread, parts, strict=True))
        factor = cho_factor(total, lower=True)
        off = seen - centre
        ln_p[i] = (
            -np.log(np.diag(factor[0])).sum()
            - 0.5 * off @ cho_solve(factor, off)
            - 0.5 * np.sum((spread / SPREAD_OF_LOGIT) ** 2)
            + np.sum(np.log(spread))  # the grid is even in their logarithms
        )
    weight = np.exp(ln_p - ln_p.max())
    chosen = rng.choice(len(spreads), size=draws, p=weight / weight.sum())
    mean, deviation = np.empty((2, draws, len(at.ln_rate)))
    smooth = np.linalg.cholesky(_smooth(at, at) + JITTER * np.eye(len(at.ln_rate)))
    for i in np.unique(chosen):
        rows = np.flatnonzero(chosen == i)
        total = shared + noise + sum(s**2 * p for s, p in zip(spreads[i], parts, strict=True))
        mean[rows] = _conditional(seen - centre, total, to, inside, len(rows), rng)
        level = spreads[i, 0] * rng.standard_normal((len(rows), 1))
        curve = spreads[i, 1] * rng.standard_normal((len(rows), len(smooth))) @ smooth.T
        deviation[rows] = level + curve
    spread = np.sqrt((spreads[chosen] ** 2).sum(axis=1))
    return Drawn(mean + deviation + centre + at.ln_wrong, deviation, spread)


def draw_dispersions(
    training: Linearised,
    at: Pairs,
    *,
    draws: int,
    rng: np.random.Generator,
    prior: Smoothness = DISPERSION,
) -> FloatArray:
    """Draws of ln dispersion at other pairs of rates, shape (draw, point)."""
    pairs = training.pairs
    total = prior.kernel(pairs, pairs) + np.diag(training.variance + JITTER)
    to = prior.kernel(at, pairs)
    inside = prior.kernel(at, at)
    return _conditional(training.ln_dispersion, total, to, inside, draws, rng)


def _conditional(
    seen: FloatArray,
    total: FloatArray,
    to: FloatArray,
    inside: FloatArray,
    draws: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Draws of a normal process of mean zero given noisy values, shape (draw, point)."""
    factor = cho_factor(total, lower=True)
    mean = to @ cho_solve(factor, seen)
    covariance = inside - to @ cho_solve(factor, to.T)
    root = np.linalg.cholesky(covariance + LITTLE * np.eye(len(mean)))
    return np.asarray(mean + rng.standard_normal((draws, len(mean))) @ root.T)


def _smooth(a: Pairs, b: Pairs) -> FloatArray:
    distance = (a.ln_rate[:, None] - b.ln_rate[None]) / TRAINING_LENGTH
    across = (a.offset[:, None] - b.offset[None]) / TRAINING_LENGTH
    same = (distance == 0) & (across == 0)
    return np.asarray(0.9 * np.exp(-0.5 * (distance**2 + across**2)) + 0.1 * same)


def _between(pairs: Sequence[Pairs]) -> list[FloatArray]:
    """Covariances of the parts that a training deviates by: alike everywhere, and smooth.

    Two standard deviations, since one would be learned from how rough the deviations are:
    trainings that differ by the same amount everywhere would then seem to differ little.
    """
    sizes = [len(p.ln_rate) for p in pairs]
    return [
        block_diag(*[np.ones((n, n)) for n in sizes]),
        block_diag(*[_smooth(p, p) for p in pairs]),
    ]
