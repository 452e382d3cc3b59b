"""Persistent failures: how much the failure probability differs from device to device.

A device with effect ``eta`` fails at condition c with probability ``Phi(alpha_c + eta)``, anew in
each cycle. Ordinary devices have ``eta ~ N(0, tau^2)``; a share pi of devices is persistent, with
``eta ~ N(delta, 0.8^2)``: from cells that fail every few cycles to dead ones; a share iota is
immune, with ``eta ~ N(-4, 1.2^2)``: a cell that is stuck in one state never fails to be there.
``alpha_c`` follows from the mean over devices, the failure probability P_c that a device model
gives:

    P_c = (1 - pi - iota) Phi(alpha_c / sqrt(1 + tau^2))
          + pi Phi((alpha_c + delta) / sqrt(1 + 0.8^2)) + iota Phi((alpha_c - 4) / sqrt(1 + 1.2^2)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri

from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.persistence.device_effects import (
    IMMUNE_SHIFT,
    IMMUNE_SPREAD,
    PERSISTENT_SPREAD,
    ln_likelihood_of_counts,
    score_of_mean,
)

TAU = (0.05, 2.5)
LOG10_SHARE = (-4.0, -0.5)
PERSISTENT_SHIFT = (1.5, 8.0)
"""Ranges of the flat priors of tau, log10 pi (the same for iota) and delta.

10^-4 is no persistent device in arrays of thousands. At delta = 8 a persistent device fails always
even where ordinary ones fail once in 10^8 writes.
"""

_RANGES = np.array([TAU, LOG10_SHARE, PERSISTENT_SHIFT, LOG10_SHARE])
_FIRST, _NEXT, _ROUNDS = 1024, 512, 4
_LEAST_EFFECTIVE = 40
_DEFENCE = 0.1  # of the points of a round are spread over the whole range
_ALIKE = 0.1  # on the probit scale; small beside the differences between devices


@dataclass(frozen=True)
class Persistence:
    """Posterior draws of the differences between devices, each of shape (draw,).

    Parameters
    ----------
    tau : float array
        Standard deviation of the effect of ordinary devices, probit scale.
    persistent_share : float array
        Share pi of persistent devices.
    persistent_shift : float array
        Mean delta of their effect, probit scale.
    immune_share : float array
        Share iota of immune devices.
    """

    tau: FloatArray
    persistent_share: FloatArray
    persistent_shift: FloatArray
    immune_share: FloatArray


@dataclass(frozen=True)
class FittedPersistence:
    """Posterior draws and how well the differences between devices explain the counts.

    Parameters
    ----------
    persistence : Persistence
        Posterior draws.
    ln_evidence : float
        Ln of the probability of the counts, averaged over the priors; the binomial coefficients
        are left out.
    """

    persistence: Persistence
    ln_evidence: float


@dataclass(frozen=True)
class Failing:
    """Predicted failures of new devices.

    Parameters
    ----------
    errors : int array, shape (draw, row)
        Failing readings of each row.
    devices : int array, shape (draw,)
        Devices with at least one failing reading.
    """

    errors: NDArray[np.int64]
    devices: NDArray[np.int64]


def failure_persistence(
    device: IntArray,
    condition: IntArray,
    errors: IntArray,
    trials: IntArray,
    probability: FloatArray,
    *,
    draws: int = 1000,
    rng: np.random.Generator,
) -> FittedPersistence:
    """Posterior of the differences between devices for known mean failure probabilities.

    Parameters
    ----------
    device, condition : int array, shape (row,)
        Device and condition of each row.
    errors, trials : int array, shape (row,)
        Failing readings and readings of the device at the condition.
    probability : float array, shape (condition,)
        Failure probability of a random device at each condition, 0 to 1.
    draws : int, optional
        Draws to return.
    rng : numpy.random.Generator
        Decides the points and which of them are drawn.

    Returns
    -------
    FittedPersistence

    Raises
    ------
    ValueError
        More errors than trials, or a probability outside 0 to 1; names the first bad index.

    Notes
    -----
    The likelihood of a device is an integral over its effect, by the trapezoidal rule: for smooth
    integrands on the whole line it converges geometrically (Trefethen and Weideman 2014), while
    Gauss-Hermite nodes lie too far apart for devices with hundreds of cycles. The posterior is had
    by importance sampling from evenly spread (Sobol) points, then from normal kernels around points
    drawn by their weights, in a few rounds (population Monte Carlo, Cappe et al. 2004); the draws
    are resampled from all rounds.
    """
    _check(errors, trials, probability)
    alike = _alike(probability)
    used, column = np.unique(alike[condition], return_inverse=True)
    shape = (int(device.max()) + 1, len(used))
    failed, passed = np.zeros(shape), np.zeros(shape)
    np.add.at(failed, (device, column), errors)
    np.add.at(passed, (device, column), trials - errors)
    # Devices with the same counts share their likelihood.
    patterns, number = np.unique(
        np.concatenate([failed, passed], axis=1), axis=0, return_counts=True
    )
    failed, passed = patterns[:, : len(used)], patterns[:, len(used) :]
    of = np.asarray(probability, dtype=np.float64)[condition]
    weight = np.maximum(np.bincount(column, trials), 1e-300)
    mean = np.where(
        weight > 1e-300, np.bincount(column, trials * of) / weight, np.bincount(column, of)
    )

    def ln_likelihood(points: FloatArray) -> FloatArray:
        tau, share, shift, immune = _natural(points)
        alpha = score_of_mean(mean, *(x[:, None] for x in (tau, share, shift, immune)))
        of_points = zip(alpha, tau, share, shift, immune, strict=True)
        return np.array(
            [
                number @ ln_likelihood_of_counts(failed, passed, a, *(float(v) for v in others))
                for a, *others in of_points
            ]
        )

    points, weight, ln_evidence = _population(ln_likelihood, rng)
    drawn = points[rng.choice(len(points), size=draws, p=weight)]
    return FittedPersistence(Persistence(*_natural(drawn)), ln_evidence)


def _alike(probability: FloatArray) -> IntArray:
    """Number of the class of each condition; those of one class count as one condition."""
    with np.errstate(divide="ignore"):
        score = ndtri(np.asarray(probability, dtype=np.float64))
    return np.round(np.clip(score, -40.0, 40.0) / _ALIKE).astype(np.int64)


def _natural(points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    tau, log10_share, shift, log10_immune = points.T
    return tau, 10.0**log10_share, shift, 10.0**log10_immune


def _population(
    ln_likelihood: Callable[[FloatArray], FloatArray], rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, float]:
    """Weighted points of a posterior with flat priors on `_RANGES`, and its ln evidence."""
    low, width = _RANGES[:, 0], np.diff(_RANGES, axis=1)[:, 0]
    # takes 0.7 s to import, and only a fit needs it
    from scipy.stats import qmc

    sobol = qmc.Sobol(len(low), rng=rng)
    # In units of the ranges from here on; the prior density is one.
    points = sobol.random(_FIRST)
    ln_target = ln_likelihood(low + width * points)
    ln_proposal = np.zeros(_FIRST)
    for _ in range(_ROUNDS):
        weight = _tempered(ln_target - ln_proposal)
        centre = points[rng.choice(len(points), size=_NEXT, p=weight)]
        covariance = np.cov(points.T, aweights=weight, ddof=0) + 1e-6 * np.eye(len(low))
        kernel = covariance * 4.0 * _NEXT ** (-2 / (len(low) + 4))
        new = centre + rng.multivariate_normal(np.zeros(len(low)), kernel, size=_NEXT)
        spread = rng.random(_NEXT) < _DEFENCE
        new[spread] = rng.random((int(spread.sum()), len(low)))
        new = new[np.all((new >= 0) & (new <= 1), axis=1)]
        of_kernels = _ln_kernels(new, points[weight > 0], weight[weight > 0], kernel)
        proposal = np.logaddexp(np.log1p(-_DEFENCE) + of_kernels, np.log(_DEFENCE))
        points = np.concatenate([points, new])
        ln_target = np.concatenate([ln_target, ln_likelihood(low + width * new)])
        ln_proposal = np.concatenate([ln_proposal, proposal])
    ln_weight = ln_target - ln_proposal
    # Points outside the ranges were drawn as well, with a weight of zero: they count as drawn.
    ln_evidence = float(logsumexp(ln_weight) - np.log(_FIRST + _ROUNDS * _NEXT))
    return low + width * points, _normalised(ln_weight), ln_evidence


def _tempered(ln_weight: FloatArray) -> FloatArray:
    """Weights to the highest power, up to one, that leaves `_LEAST_EFFECTIVE` points a say."""
    low, high = 0.0, 1.0
    for _ in range(30):
        weight = _normalised(high * ln_weight)
        if 1.0 / np.sum(weight**2) >= _LEAST_EFFECTIVE:
            low, high = high, min(1.0, 2.0 * high)
            if low == 1.0:
                break
        else:
            high = 0.5 * (low + high)
    return _normalised(low * ln_weight)


def _ln_kernels(
    at: FloatArray, centres: FloatArray, weight: FloatArray, kernel: FloatArray
) -> FloatArray:
    """Ln density of a mixture of normal kernels."""
    root = np.linalg.cholesky(kernel)
    a, b = (np.linalg.solve(root, x.T).T for x in (at, centres))
    square = np.sum((a[:, None] - b) ** 2, axis=-1)
    constant = np.log(np.diag(root)).sum() + 0.5 * len(kernel) * np.log(2 * np.pi)
    return np.asarray(logsumexp(np.log(weight) - 0.5 * square, axis=1) - constant)


def predict_failing(
    device: IntArray,
    condition: IntArray,
    trials: IntArray,
    probability: FloatArray,
    persistence: Persistence,
    *,
    rng: np.random.Generator,
) -> Failing:
    """Failures of devices that nobody has seen, one simulation for each draw.

    Parameters
    ----------
    device, condition, trials : int array, shape (row,)
        Readings of each new device at each condition.
    probability : float array, shape (draw, condition)
        Mean failure probabilities, e.g. draws from a device model.
    persistence : Persistence
        As many draws, of shape (draw,), or (draw, condition) where devices differ in another way
        at each condition; a device keeps its rank among the others.
    rng : numpy.random.Generator
        Decides the devices' effects, once per draw and device, and the failures, once per reading.

    Returns
    -------
    Failing

    Raises
    ------
    ValueError
        The numbers of draws differ, or a probability is outside 0 to 1.
    """
    probability = np.asarray(probability, dtype=np.float64)
    _check(np.zeros_like(trials), trials, probability)
    draws = len(persistence.tau)
    if probability.ndim != 2 or len(probability) != draws:
        raise ValueError(
            f"probability has shape {probability.shape} for {draws} draws of the persistence; "
            f"give shape ({draws}, conditions)"
        )
    tau, share, shift, immune = (
        np.broadcast_to(x.reshape(draws, -1), probability.shape)
        for x in (
            persistence.tau,
            persistence.persistent_share,
            persistence.persistent_shift,
            persistence.immune_share,
        )
    )
    alpha = score_of_mean(probability, tau, share, shift, immune)
    devices, of_row = np.unique(device, return_inverse=True)
    z = rng.standard_normal((draws, len(devices)))[:, of_row]
    lot = rng.random((draws, len(devices)))[:, of_row]
    tau, share, shift, immune = (x[:, condition] for x in (tau, share, shift, immune))
    effect = np.where(
        lot < share,
        shift + PERSISTENT_SPREAD * z,
        np.where(lot > 1.0 - immune, IMMUNE_SHIFT + IMMUNE_SPREAD * z, tau * z),
    )
    errors = rng.binomial(trials, ndtr(alpha[:, condition] + effect))
    order = np.argsort(of_row, kind="stable")
    first = np.searchsorted(of_row[order], np.arange(len(devices)))
    failing = np.logical_or.reduceat(errors[:, order] > 0, first, axis=1)
    return Failing(errors, failing.sum(axis=1))


def _normalised(ln_posterior: FloatArray) -> FloatArray:
    weight = np.exp(ln_posterior - ln_posterior.max())
    return np.asarray(weight / weight.sum())


def _check(errors: IntArray, trials: IntArray, probability: FloatArray) -> None:
    bad = np.flatnonzero((errors < 0) | (errors > trials))
    if len(bad):
        raise ValueError(
            f"errors[{bad[0]}] is {errors[bad[0]]} of trials[{bad[0]}] = {trials[bad[0]]}; "
            "give 0 to trials"
        )
    flat = np.asarray(probability).ravel()
    bad = np.flatnonzero(~((flat >= 0) & (flat <= 1)))
    if len(bad):
        raise ValueError(f"probability (flat index {bad[0]}) is {flat[bad[0]]}; give 0 to 1")
