"""Gaussian-process model of the share of images lost (or gained) over both error rates.

This is the exception to "NUTS on a PyMC model": a posterior of some 260 values for each of a dozen
networks, which a linearised normal form gives in half a second, table included. The measured times
and the simulation-based calibration are in docs/accuracy_surface.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from devicefit.numerics.arrays import FloatArray, IntArray
from reliability.accuracy.chip_law import ROUNDED

_OFFSET = 2e-3
_STEPS, _CLOSE = 200, 1e-5
SPREADS = np.geomspace(0.02, 5.0, 10)
SPREAD_OF_LOGIT = 0.5
"""Scale of the half-normal prior of the standard deviation of a logit between trainings."""

TRAINING_LENGTH = 2.5
JITTER, LITTLE = 1e-9, 1e-7


@dataclass(frozen=True)
class Smoothness:
    """Prior of a smooth function of the mean rate ``p`` and the tilt ``u`` of both rates.

    The sum of a level, a function of ``ln p`` and one of ``ln p`` and the offset ``p u`` that is
    zero without tilt; Matern kernels of order 5/2, and a small deviation of each point. Offsets are
    counted in ``w = sign(u) ln(1 + p |u| / 0.002)``, since networks of some hundred inputs feel
    a difference of rates of a few thousandths.

    Parameters
    ----------
    level, over_rate, over_tilt, own : float
        Standard deviations of the four parts.
    rate_length, tilt_rate_length, tilt_length : float
        Lengths in ``ln p``, of the second and of the third part, and in ``w``.
    """

    level: float
    over_rate: float
    over_tilt: float
    own: float
    rate_length: float = 2.0
    tilt_rate_length: float = 3.0
    tilt_length: float = 2.0

    def kernel(self, a: Pairs, b: Pairs) -> FloatArray:
        """Prior covariance between two sets of pairs, shape (a, b)."""
        apart = a.ln_rate[:, None] - b.ln_rate[None]
        v, w = a.offset[:, None] / self.tilt_length, b.offset[None] / self.tilt_length
        tilted = _matern(v - w) - _matern(v) * _matern(w)
        return np.asarray(
            self.level**2
            + self.over_rate**2 * _matern(apart / self.rate_length)
            + self.over_tilt**2 * _matern(apart / self.tilt_rate_length) * tilted
            + self.own**2 * ((apart == 0) & (a.tilt[:, None] == b.tilt[None]))
        )


SHARE = Smoothness(level=5.0, over_rate=1.5, over_tilt=2.0, own=0.02)
"""Of the logit of the share, beyond its proportionality to the rate of wrong bits."""

DISPERSION = Smoothness(
    level=2.0,
    over_rate=1.5,
    over_tilt=2.0,
    own=0.1,
    rate_length=1.2,
    tilt_rate_length=2.0,
    tilt_length=1.5,
)
"""Of ln of the variance over chips relative to a binomial law."""


def _matern(distance: FloatArray) -> FloatArray:
    scaled = np.sqrt(5.0) * np.abs(distance)
    return np.asarray((1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled))


@dataclass(frozen=True)
class Pairs:
    """Pairs of error rates.

    Parameters
    ----------
    ln_rate : float array, shape (point,)
        ln of the mean of the rates of stored zeros and of stored ones.
    tilt : float array, shape (point,)
        Rate of ones less that of zeros, over their sum.
    ones : float
        Share of the bits that are stored ones.
    """

    ln_rate: FloatArray
    tilt: FloatArray
    ones: float = 0.5

    @property
    def offset(self) -> FloatArray:
        """Offset of the expected weights, scaled as in :class:`Smoothness`."""
        size = np.exp(self.ln_rate) * np.abs(self.tilt)
        return np.asarray(np.sign(self.tilt) * np.log1p(size / _OFFSET))

    @property
    def ln_wrong(self) -> FloatArray:
        """Ln of the expected share of wrong bits."""
        most = np.log1p(np.maximum((2.0 * self.ones - 1.0) * self.tilt, -1.0 + 1e-9))
        return np.asarray(self.ln_rate + most)

    @property
    def rates(self) -> FloatArray:
        """Rates of stored zeros and stored ones, shape (point, 2)."""
        rate = np.exp(self.ln_rate)
        return np.stack([rate * (1.0 - self.tilt), rate * (1.0 + self.tilt)], axis=1)


@dataclass(frozen=True)
class Linearised:
    """Counts of one training as normal observations of the logit and of ln dispersion.

    Parameters
    ----------
    pairs : Pairs
        Where chips were counted.
    logit_share, ln_dispersion : float array, shape (point,)
        Observed values, the logit less ``pairs.ln_wrong``.
    covariance : float array, shape (point, point)
        Of the errors of the logits.
    variance : float array, shape (point,)
        Of the errors of ln dispersion.
    steps : int
        Iterations to convergence.
    converged : bool
        Whether the last step was below 1e-5, in the logit or, below one image, in images.
    """

    pairs: Pairs
    logit_share: FloatArray
    ln_dispersion: FloatArray
    covariance: FloatArray
    variance: FloatArray
    steps: int
    converged: bool

    def left_out(self, prior: Smoothness = SHARE) -> FloatArray:
        """Each observed logit against what all others predict, in standard deviations, (point,).

        In closed form (Rasmussen and Williams 2006, equation 5.12).
        """
        total = (
            prior.kernel(self.pairs, self.pairs)
            + self.covariance
            + JITTER * np.eye(len(self.covariance))
        )
        inverse = np.linalg.inv(total)
        away = inverse @ (self.logit_share - weighted_level(self.logit_share, total))
        return np.asarray(away / np.sqrt(np.diag(inverse)))


def linearise(
    pairs: Pairs,
    chips: IntArray,
    mean: FloatArray,
    variance: FloatArray,
    correlation: FloatArray,
    pool: int,
    *,
    kurtosis: float = 0.0,
    share: Smoothness = SHARE,
    dispersion: Smoothness = DISPERSION,
) -> Linearised:
    """Counts as normal observations, linearised where their posterior is centred.

    Parameters
    ----------
    pairs : Pairs
        Where chips were counted.
    chips : int array, shape (point,)
        Chips at each, the first ones of the same family.
    mean, variance : float array, shape (point,)
        Of the images lost (or gained) over chips.
    correlation : float array, shape (point, point)
        Between the counts of one chip.
    pool : int
        Images that can be lost (or gained), at least one.
    kurtosis : float, optional
        Excess kurtosis of counts over chips: it makes a variance less well known.
    share, dispersion : Smoothness, optional
        Priors.

    Notes
    -----
    For a chip the count has mean ``m = pool l`` and variance ``d pool l (1 - l)`` plus that of
    whole images, ``m (1 - m)`` for small ``m`` and at most 1/12. The logit of ``l`` follows from
    the estimating equations of a quasi-likelihood (Wedderburn, Biometrika 61, 439, 1974; Liang and
    Zeger, Biometrika 73, 13, 1986) with the correlation of nested chips, whose root is found by
    iterated weighted least squares with the prior as a penalty; at small counts it is the Poisson
    likelihood. ``ln d`` has the likelihood of a sample variance. Mean and variance of a normal
    sample are independent, so they alternate.
    """
    base = pairs.ln_wrong
    start = logit(np.clip((mean + 0.1) / (pool + 0.2), 1e-12, 1 - 1e-12))
    centre = float(np.average(start - base, weights=1 / (1 + np.exp(-base))))
    little = JITTER * np.eye(len(base))
    prior_f = share.kernel(pairs, pairs) + little
    prior_g = dispersion.kernel(pairs, pairs) + little
    together = np.maximum(chips[:, None], chips[None])
    freedom = (chips - 1) / (1 + 0.5 * kurtosis)
    f, g = start, np.zeros(len(base))
    damping, last, steps = 1.0, np.inf, 0
    while steps < _STEPS and last >= _CLOSE:
        steps += 1
        level = pool * expit(f)
        slope = np.maximum(level * expit(-f), 1e-12)
        whole = np.where(level < 0.5, np.minimum(level * (1 - level), ROUNDED), ROUNDED)
        g, seen_g, noise_g = _dispersion(g, slope, whole, variance, freedom, prior_g)
        spread = np.sqrt(np.exp(g) * slope + whole) / slope
        noise = correlation * spread[:, None] * spread[None] / together
        seen = f + np.clip((mean - level) / slope, -1.0, 2.0) - base
        moved = centre + base + prior_f @ np.linalg.solve(prior_f + noise, seen - centre)
        # where a fraction of an image is lost a step counts by what it does to that fraction
        size = float((np.abs(moved - f) * np.minimum(slope, 1.0)).max())
        damping = max(0.5 * damping, 0.1) if size > 0.9 * last else min(1.0, 1.2 * damping)
        last = size
        f = f + damping * np.clip(moved - f, -2.0, 2.0)
    return Linearised(pairs, seen, seen_g, noise, noise_g, steps, last < _CLOSE)


def _dispersion(
    g: FloatArray,
    slope: FloatArray,
    whole: FloatArray,
    variance: FloatArray,
    freedom: FloatArray,
    prior: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """One step of ln dispersion; its value, observations and their variances."""
    own = np.exp(g) * slope
    total = own + whole
    part = own / total
    score = 0.5 * freedom * part * (variance / total - 1.0)
    noise = 1.0 / (0.5 * freedom * part**2 + 1e-9)
    seen = g + np.clip(score * noise, -2.0, 2.0)
    moved = prior @ np.linalg.solve(prior + np.diag(noise), seen)
    # half a step: at points where all counts are alike a whole one goes to and fro
    return g + np.clip(0.5 * (moved - g), -0.5, 0.5), seen, noise


def weighted_level(seen: FloatArray, total: FloatArray) -> float:
    """Least-squares level; the prior of the level is wide, so it needs a place to start from."""
    ones = np.linalg.solve(total, np.ones(len(seen)))
    return float(ones @ seen / ones.sum())
