"""Fitting accuracy surfaces to counts of images at pairs of error rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.threads import one_blas_thread
from reliability.accuracy.counted_points import KINDS, CountedPoints, counted_points
from reliability.accuracy.surface import EQUAL, AccuracySurface, FurtherTraining
from reliability.accuracy.surface_draws import Drawn, draw_dispersions, draw_shares
from reliability.accuracy.surface_model import Linearised, Pairs, linearise
from reliability.accuracy.training_counts import check_counts
from reliability.accuracy.training_level import training_level
from reliability.networks.study import NetworkStudy

DRAWS = 1000
"""Posterior draws of a surface."""

_COARSE, _FINE, _STEEP = 0.5, 0.15, 0.01
"""Steps of the table in ln rate below and above the rate from which losses are steep; straight
lines over 0.35 overstated losses there by more than a posterior standard deviation."""

_TILTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def fit_accuracy_surfaces(
    networks: Mapping[str, NetworkStudy], *, seed: int, cores: int = 1, draws: int = DRAWS
) -> dict[str, AccuracySurface]:
    """Fit the surfaces of several networks.

    Parameters
    ----------
    networks : mapping of str to NetworkStudy
        Counts of ``bnn.evaluate`` over BER, at unequal rates too where there are such, and those of
        further trainings of the recipe.
    seed : int
        Seed of the draws.
    cores : int, optional
        Networks that are fitted at a time, which does not change the draws.
    draws : int, optional
        Draws to make.

    Returns
    -------
    dict of str to AccuracySurface
        One for each network; of several trainings that of a further one.

    Raises
    ------
    ValueError
        As of :func:`reliability.accuracy.training_counts.check_counts`.

    Notes
    -----
    For a pair of rates and a chip the number of images lost has mean ``n l`` and variance
    ``d n l (1 - l)``; ``logit l`` and ``ln d`` are smooth functions of both rates
    (:mod:`reliability.accuracy.surface_model`). The dispersion is below 1 at small rates, where the
    same few images fail on every chip, and far above 1 where whole chips go wrong: a beta-binomial
    law cannot go below 1. Chips are nested, so their counts at two pairs of rates are alike
    (:mod:`reliability.accuracy.chip_correlation`).
    """
    check_counts(networks)
    with one_blas_thread(), ThreadPoolExecutor(cores) as pool:
        found = pool.map(
            lambda item: _surface(
                [counted_points(s) for s in (item[1], *item[1].further_trainings)],
                draws=draws,
                rng=np.random.default_rng([seed, 43, item[0]]),
            ),
            enumerate(networks.values()),
        )
        return dict(zip(networks, found, strict=True))


def _surface(
    counted: Sequence[CountedPoints], *, draws: int, rng: np.random.Generator
) -> AccuracySurface:
    """Surface of one network from the counts of its trainings."""
    first = counted[0]
    rates, tilts = _axes(counted)
    at = Pairs(np.repeat(rates, len(tilts)), np.tile(tilts, len(rates)), first.pairs.ones)
    shape = (draws, len(rates), len(tilts))
    shares, dispersions, deviations, spreads = {}, {}, {}, {}
    fits: list[Linearised] = []
    for kind in KINDS:
        of_kind = [_linearised(c, kind) for c in counted]
        drawn = (
            draw_shares(of_kind, at, draws=draws, rng=rng)
            if all(c.pools[kind] for c in counted)
            else _nothing(draws, len(at.ln_rate))
        )
        shares[kind] = drawn.values.reshape(shape)
        deviations[kind], spreads[kind] = drawn.deviation.reshape(shape), drawn.spread
        # the spread over chips is that of one of the trainings in each draw
        of = rng.integers(len(counted), size=draws)
        every = [draw_dispersions(f, at, draws=draws, rng=rng) for f in of_kind]
        dispersions[kind] = np.stack(every)[of, np.arange(draws)].reshape(shape)
        fits += of_kind
    right = [c.correct for c in counted]
    correct = int(round(float(np.mean(right))))
    return AccuracySurface(
        rates,
        tilts,
        shares,
        dispersions,
        first.images,
        correct,
        min(int(c.chips.max()) for c in counted),
        _diagnostics(fits),
        _further(right, first.images, correct, deviations, spreads, draws=draws, rng=rng),
    )


def _linearised(counted: CountedPoints, kind: str) -> Linearised:
    return linearise(
        counted.pairs,
        counted.chips,
        counted.mean[kind],
        counted.variance[kind],
        counted.correlation[kind],
        max(counted.pools[kind], 1),
        kurtosis=counted.kurtosis[kind],
    )


def _nothing(draws: int, points: int) -> Drawn:
    """Where no image can be lost (or gained), none is."""
    zeros = np.zeros((draws, points))
    return Drawn(zeros - 40.0, zeros, np.zeros(draws))


def _axes(counted: Sequence[CountedPoints]) -> tuple[FloatArray, FloatArray]:
    """Rates and tilts of the lookup table, within what all trainings were counted at."""
    pairs = [c.pairs for c in counted]
    most = min(float(np.abs(p.tilt).max()) for p in pairs)
    tilts = np.array([-EQUAL, EQUAL])
    if most > EQUAL:
        half = np.unique([min(t, most) for t in _TILTS])
        tilts = np.unique(np.concatenate([-half, half]))
    low = min(float(p.ln_rate.min()) for p in pairs)
    high = min(float(p.ln_rate.max()) for p in pairs)
    if most > EQUAL:
        high = min(high, *(float(p.ln_rate[np.abs(p.tilt) > EQUAL].max()) for p in pairs))
    knots = np.unique(np.concatenate([p.ln_rate for p in pairs]))
    knots = knots[(knots >= low) & (knots <= high)]
    parts = [
        np.linspace(a, b, math.ceil((b - a) / _step(b)), endpoint=False)
        for a, b in zip(knots[:-1], knots[1:], strict=True)
    ]
    return np.concatenate([*parts, knots[-1:]]), tilts


def _step(ln_rate: float) -> float:
    return _FINE if ln_rate > math.log(_STEEP) + 1e-9 else _COARSE


def _diagnostics(fits: Sequence[Linearised]) -> dict[str, float]:
    residuals = np.concatenate([fit.left_out() for fit in fits])
    return {
        "points": float(max(len(fit.pairs.ln_rate) for fit in fits)),
        "steps": float(max(fit.steps for fit in fits)),
        "converged": float(all(fit.converged for fit in fits)),
        "misfit": float(np.sqrt(np.mean(residuals**2))),
    }


def _further(
    right: Sequence[int],
    images: int,
    correct: int,
    deviations: dict[str, FloatArray],
    spreads: dict[str, FloatArray],
    *,
    draws: int,
    rng: np.random.Generator,
) -> FurtherTraining | None:
    """How trainings differ, their error-free accuracies included; None where there is one."""
    if len(right) == 1:
        return None
    mean = float(np.mean(right)) / images
    level = training_level(
        np.array(right) / images,
        variance=1 / 12 / images**2,
        # Were the trainings wrong on images of their own, this would be their spread.
        scale=math.sqrt(max(mean * (1 - mean), 1 / images) / images),
        draws=draws,
        rng=rng,
    )
    free = level.centre + level.deviation
    return FurtherTraining(
        len(right),
        deviations,
        {**spreads, "error-free": level.spread},
        np.minimum(free, 1.0) - correct / images,
    )
