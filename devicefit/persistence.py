"""Persistent failures: how much the failure probability differs from device to device.

A device with effect ``eta`` fails at condition c with probability ``Phi(alpha_c + eta)``, anew in
each cycle. Ordinary devices have ``eta ~ N(0, tau^2)``; a share pi of devices is persistent, with
``eta ~ N(delta, 0.8^2)``: from cells that fail every few cycles to dead ones. ``alpha_c`` follows
from the mean over devices, the failure probability P_c that a device model gives:

    P_c = (1 - pi) Phi(alpha_c / sqrt(1 + tau^2)) + pi Phi((alpha_c + delta) / sqrt(1 + 0.8^2)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, ndtr

from devicefit.compressed import IntArray
from devicefit.programming import FloatArray

PERSISTENT_SPREAD = 0.8
"""Standard deviation of the effect in the persistent class.

Data with a handful of such devices tell its centre at best. With 0.8 the class covers failure
probabilities of 0.05 to 0.5 as well as of 0.9 to 1, and both are found in measured arrays.
"""

TAU = (0.05, 2.5)
LOG10_PERSISTENT_SHARE = (-4.0, -0.5)
PERSISTENT_SHIFT = (1.5, 8.0)
"""Ranges of the flat priors of tau, log10 pi and delta.

10^-4 is no persistent device in arrays of thousands. At delta = 8 a persistent device fails always
even where ordinary ones fail once in 10^8 writes.
"""

_COARSE = (14, 9, 9)
_FINE = (14, 11, 11)
_KEPT = 1e-4  # posterior mass that the fine grid may leave out at each end of each parameter
_NODES_PER_WIDTH = 1.5
_REACH = 7.0


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
    """

    tau: FloatArray
    persistent_share: FloatArray
    persistent_shift: FloatArray


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
) -> Persistence:
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
        Decides which points of the grid are drawn.

    Returns
    -------
    Persistence

    Raises
    ------
    ValueError
        More errors than trials, or a probability outside 0 to 1; names the first bad index.

    Notes
    -----
    The likelihood of a device is an integral over its effect, by the trapezoidal rule: for smooth
    integrands on the whole line it converges geometrically (Trefethen and Weideman 2014), while
    Gauss-Hermite nodes lie too far apart for devices with hundreds of cycles. Posterior on a
    regular grid over the ranges of the flat priors, then on a finer one where the mass is; draws
    are spread evenly over the cell of their grid point.
    """
    _check(errors, trials, probability)
    used, column = np.unique(condition, return_inverse=True)
    shape = (int(device.max()) + 1, len(used))
    failed, passed = np.zeros(shape), np.zeros(shape)
    np.add.at(failed, (device, column), errors)
    np.add.at(passed, (device, column), trials - errors)
    # Devices with the same counts share their likelihood.
    patterns, number = np.unique(
        np.concatenate([failed, passed], axis=1), axis=0, return_counts=True
    )
    failed, passed = patterns[:, : len(used)], patterns[:, len(used) :]
    mean = np.asarray(probability, dtype=np.float64)[used]

    def ln_posterior(axes: list[FloatArray]) -> FloatArray:
        tau, log10_share, shift = np.meshgrid(*axes, indexing="ij")
        share = 10.0**log10_share
        alpha = _alpha(mean, *(x[..., None] for x in (tau, share, shift)))
        found = np.empty(tau.shape)
        for place in np.ndindex(*found.shape):
            found[place] = number @ _ln_likelihood(
                failed,
                passed,
                alpha[place],
                float(tau[place]),
                float(share[place]),
                float(shift[place]),
            )
        return found

    ranges = [TAU, LOG10_PERSISTENT_SHARE, PERSISTENT_SHIFT]
    coarse = [_centres(*r, n) for r, n in zip(ranges, _COARSE, strict=True)]
    ranges = _where_mass_is(coarse, _normalised(ln_posterior(coarse)))
    fine = [_centres(*r, n) for r, n in zip(ranges, _FINE, strict=True)]
    weight = _normalised(ln_posterior(fine))
    place = np.unravel_index(rng.choice(weight.size, size=draws, p=weight.ravel()), weight.shape)
    tau, log10_share, shift = (
        axis[i] + (axis[1] - axis[0]) * rng.uniform(-0.5, 0.5, size=draws)
        for axis, i in zip(fine, place, strict=True)
    )
    return Persistence(tau, 10.0**log10_share, shift)


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
        As many draws.
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
    tau, share, shift = (
        x[:, None]
        for x in (persistence.tau, persistence.persistent_share, persistence.persistent_shift)
    )
    alpha = _alpha(probability, tau, share, shift)
    devices, of_row = np.unique(device, return_inverse=True)
    z = rng.standard_normal((draws, len(devices)))
    persistent = rng.random((draws, len(devices))) < share
    effect = np.where(persistent, shift + PERSISTENT_SPREAD * z, tau * z)
    errors = rng.binomial(trials, ndtr(alpha[:, condition] + effect[:, of_row]))
    order = np.argsort(of_row, kind="stable")
    first = np.searchsorted(of_row[order], np.arange(len(devices)))
    failing = np.logical_or.reduceat(errors[:, order] > 0, first, axis=1)
    return Failing(errors, failing.sum(axis=1))


def _ln_likelihood(
    failed: FloatArray,
    passed: FloatArray,
    alpha: FloatArray,
    tau: float,
    share: float,
    shift: float,
) -> FloatArray:
    """Log likelihood of each pattern of counts; the binomial coefficients are left out."""
    # The likelihood of n readings is no narrower in the effect than 1.25 / sqrt(n).
    most = max(1.0, float((failed + passed).sum(axis=1).max()))
    step = min(tau, 1.25 / math.sqrt(most)) / _NODES_PER_WIDTH
    ordinary = np.arange(-_REACH * tau, _REACH * tau + step, step)
    wide = min(PERSISTENT_SPREAD, 1.25 / math.sqrt(most)) / _NODES_PER_WIDTH
    reach = _REACH * PERSISTENT_SPREAD
    persistent = np.arange(shift - reach, shift + reach + wide, wide)
    classes = (
        (ordinary, step, tau, 0.0, math.log1p(-share)),
        (persistent, wide, PERSISTENT_SPREAD, shift, math.log(share)),
    )
    parts = []
    for nodes, width, sd, centre, ln_share in classes:
        z = (nodes - centre) / sd
        ln_weight = ln_share - 0.5 * z * z + math.log(width / sd / math.sqrt(2 * math.pi))
        at = alpha[:, None] + nodes
        ln_p = failed @ log_ndtr(at) + passed @ log_ndtr(-at)
        parts.append(logsumexp(ln_p + ln_weight, axis=1))
    return np.logaddexp(*parts)


def _alpha(
    mean: FloatArray, tau: FloatArray | float, share: FloatArray | float, shift: FloatArray | float
) -> FloatArray:
    """Solve for alpha_c by bisection: P_c rises with it. Conditions come last, shapes broadcast."""
    ordinary = np.sqrt(1.0 + np.square(tau))
    persistent = math.sqrt(1.0 + PERSISTENT_SPREAD**2)
    shape = np.broadcast_shapes(mean.shape, np.shape(tau))
    low, high = np.full(shape, -120.0), np.full(shape, 120.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        value = (1.0 - share) * ndtr(middle / ordinary) + share * ndtr(
            (middle + shift) / persistent
        )
        below = value < mean
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def _centres(low: float, high: float, number: int) -> FloatArray:
    edges = np.linspace(low, high, number + 1)
    return 0.5 * (edges[1:] + edges[:-1])


def _normalised(ln_posterior: FloatArray) -> FloatArray:
    weight = np.exp(ln_posterior - ln_posterior.max())
    return np.asarray(weight / weight.sum())


def _where_mass_is(axes: list[FloatArray], weight: FloatArray) -> list[tuple[float, float]]:
    """Range of each parameter, whole cells and one more, outside of which hardly any mass is."""
    ranges = []
    for i, axis in enumerate(axes):
        marginal = weight.sum(axis=tuple(j for j in range(weight.ndim) if j != i))
        inside = np.flatnonzero(
            (np.cumsum(marginal) > _KEPT) & (np.cumsum(marginal[::-1])[::-1] > _KEPT)
        )
        step = axis[1] - axis[0]
        low, high = axis[0] - step / 2, axis[-1] + step / 2
        ranges.append(
            (
                max(low, float(axis[inside[0]] - 1.5 * step)),
                min(high, float(axis[inside[-1]] + 1.5 * step)),
            )
        )
    return ranges


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
