"""Several trainings of one recipe: how much they differ, and what a further one would be.

Trainings that differ in their seed alone are exchangeable: each is a draw from a law of trainings,
whose centre and spread are estimated from those that were evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devicefit.numerics.arrays import FloatArray

_SPREADS = np.geomspace(0.02, 5.0, 100)


@dataclass(frozen=True)
class Level:
    """Draws of the law of trainings and of a further training.

    Parameters
    ----------
    centre : float array, shape (draw,)
        Mean over all trainings of the recipe.
    deviation : float array, shape (draw,)
        How a further training differs from it.
    spread : float array, shape (draw,)
        Standard deviation between trainings.
    """

    centre: FloatArray
    deviation: FloatArray
    spread: FloatArray


def training_level(
    values: FloatArray, *, variance: float, scale: float, draws: int, rng: np.random.Generator
) -> Level:
    """Posterior of a law of trainings from a value of each.

    Parameters
    ----------
    values : float array, shape (training,)
        What was found for each, at least two.
    variance : float
        Of the error of each value.
    scale : float
        Scale of the half-normal prior of the spread.
    draws : int
        Draws to make.
    rng : numpy.random.Generator
        Randomness.

    Notes
    -----
    ``y_s ~ N(theta_s, variance)``, ``theta_s ~ N(centre, spread^2)``, flat prior of the centre:
    the normal random-effects model (Gelman et al. 2013, section 5.4). The spread is drawn from its
    exact marginal posterior on a grid that is even in its logarithm, the rest is normal.
    """
    n, spreads = len(values), scale * _SPREADS
    total = variance + spreads**2
    ln_p = (
        -0.5 * (n - 1) * np.log(total)
        - 0.5 * n * values.var() / total
        - 0.5 * (spreads / scale) ** 2
        + np.log(spreads)
    )
    weight = np.exp(ln_p - ln_p.max())
    at = rng.choice(len(spreads), size=draws, p=weight / weight.sum())
    centre = values.mean() + np.sqrt(total[at] / n) * rng.standard_normal(draws)
    return Level(centre, spreads[at] * rng.standard_normal(draws), spreads[at])
