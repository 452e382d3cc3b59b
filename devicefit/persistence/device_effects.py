"""Classes of devices by their effect on failures: the law of the effect and what follows from it.

A device with effect ``eta`` fails with probability ``Phi(alpha + eta)``. Ordinary devices have
``eta ~ N(0, tau^2)``, a share of persistent ones ``N(shift, 0.8^2)``, a share of immune ones
``N(-4, 1.2^2)``; see :mod:`devicefit.persistence.persistence`.
"""

from __future__ import annotations

import math

import numpy as np

from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.compiled import njit
from devicefit.numerics.probit import ln_normal_tails

PERSISTENT_SPREAD = 0.8
"""Standard deviation of the effect in the persistent class.

Data with a handful of such devices tell its centre at best. With 0.8 the class covers failure
probabilities of 0.05 to 0.5 as well as of 0.9 to 1, and both are found in measured arrays.
"""

IMMUNE_SHIFT, IMMUNE_SPREAD = -4.0, 1.2
"""Effect of immune devices: where ordinary ones fail half of the time, once in thousands to never.

Cells that do not switch any more read like one of the states; in the gate sweep with repeats they
fail one write in ten where all others fail always.
"""

_NODES_PER_WIDTH = 1.5
_REACH = 7.0
_FARTHEST = 120.0  # bound of alpha: no array fails less than once in 10^1000 writes


def ln_likelihood_of_counts(
    failed: FloatArray,
    passed: FloatArray,
    alpha: FloatArray,
    tau: float,
    share: float,
    shift: float,
    immune: float,
) -> FloatArray:
    """Log likelihood of each pattern of counts; the binomial coefficients are left out.

    Parameters
    ----------
    failed, passed : float array, shape (pattern, condition)
        Failing and passing readings of a device at each condition.
    alpha : float array, shape (condition,)
        Probit of the failure probability of a device with effect zero.
    tau, share, shift, immune : float
        Spread of ordinary devices, share and mean effect of persistent ones, share of immune ones.

    Returns
    -------
    float array, shape (pattern,)
        Ln of the integral over the effect, by the trapezoidal rule.
    """
    # The likelihood of n readings is no narrower in the effect than 1.25 / sqrt(n).
    most = max(1.0, float((failed + passed).sum(axis=1).max()))
    parts = []
    for centre, sd, class_share in (
        (0.0, tau, 1.0 - share - immune),
        (shift, PERSISTENT_SPREAD, share),
        (IMMUNE_SHIFT, IMMUNE_SPREAD, immune),
    ):
        width = min(sd, 1.25 / math.sqrt(most)) / _NODES_PER_WIDTH
        z = np.arange(-_REACH, _REACH + width / sd, width / sd)
        nodes = centre + sd * z
        ln_weight = math.log(class_share * width / sd / math.sqrt(2 * math.pi)) - 0.5 * z * z
        at = alpha[:, None] + nodes
        ln_fail, ln_pass = ln_normal_tails(at)
        ln_p = failed @ ln_fail + passed @ ln_pass
        parts.append(_ln_sums(ln_p, ln_weight))
    return np.asarray(np.logaddexp.reduce(parts, axis=0))


@njit
def _ln_sums(ln_p: FloatArray, ln_weight: FloatArray) -> FloatArray:  # pragma: no cover
    """Ln of the sum over nodes of each row; terms that cannot be seen cost no exponential."""
    sums = np.empty(len(ln_p))
    for i in range(len(ln_p)):
        row = ln_p[i] + ln_weight
        most = row.max()
        total = 0.0
        for k in range(len(row)):
            if row[k] > most - 40.0:
                total += math.exp(row[k] - most)
        sums[i] = most + math.log(total)
    return sums


def score_of_mean(
    mean: FloatArray,
    tau: FloatArray | float,
    share: FloatArray | float,
    shift: FloatArray | float,
    immune: FloatArray | float,
) -> FloatArray:
    """Probit alpha at which the mean failure probability over devices is the given one.

    Parameters
    ----------
    mean : float array, shape (..., condition)
        Failure probability of a random device, 0 to 1.
    tau, share, shift, immune : float or float array
        As of :func:`ln_likelihood_of_counts`; shapes broadcast with that of `mean`.

    Returns
    -------
    float array, broadcast shape
        At a mean of 0 or 1 a bound of 120 in size.
    """
    parts = np.broadcast_arrays(mean, tau, share, shift, immune)
    alpha = np.empty(parts[0].size)
    _solve(*(np.array(part, dtype=np.float64).ravel() for part in parts), alpha)
    return alpha.reshape(parts[0].shape)


@njit
def _solve(
    mean: FloatArray,
    tau: FloatArray,
    share: FloatArray,
    shift: FloatArray,
    immune: FloatArray,
    alpha: FloatArray,
) -> None:  # pragma: no cover
    """Newton steps on the log scale, inside a bracket that every step narrows."""
    for i in range(len(mean)):
        weights = (1.0 - share[i] - immune[i], share[i], immune[i])
        centres = (0.0, shift[i], IMMUNE_SHIFT)
        widths = (
            math.sqrt(1.0 + tau[i] ** 2),
            math.sqrt(1.0 + PERSISTENT_SPREAD**2),
            math.sqrt(1.0 + IMMUNE_SPREAD**2),
        )
        low, high = -_FARTHEST, _FARTHEST
        at = 0.0
        for _ in range(200):
            value, slope = 0.0, 0.0
            for c in range(3):
                z = (at + centres[c]) / widths[c]
                value += weights[c] * 0.5 * math.erfc(-z / math.sqrt(2.0))
                slope += weights[c] / widths[c] * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
            if value < mean[i]:
                low = at
            else:
                high = at
            if high - low < 1e-13 * _FARTHEST:
                break
            step = 0.5 * (low + high)
            if value > 0.0 and slope > 0.0 and mean[i] > 0.0:
                newton = at + value * math.log(mean[i] / value) / slope
                if low < newton < high:
                    step = newton
            if abs(step - at) < 1e-13 * (1.0 + abs(at)):
                break
            at = step
        alpha[i] = at
