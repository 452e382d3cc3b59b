"""What the models of life share: counts that spread more than binomial ones, and their sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from devicefit.backend import SamplerOptions, sample_density
from devicefit.density import ValueAndGradient
from devicefit.fitting import Diagnostics, named_draws
from devicefit.numerics.compiled import njit
from devicefit.priors import Prior, moments, prior_record
from devicefit.programming import FloatArray

BOLTZMANN_EV = 8.617333262e-5
"""Boltzmann constant in eV/K (CODATA 2018)."""


@dataclass(frozen=True)
class LifeDraws:
    """Draws of the parameters of a model of life.

    Parameters
    ----------
    draws : xarray.Dataset
        Parameters, dimensions ``chain, draw``.
    diagnostics : Diagnostics
        Convergence.
    record : dict
        Plain values: priors, sampler, what was counted.
    """

    draws: xr.Dataset
    diagnostics: Diagnostics
    record: dict[str, Any]

    def __getitem__(self, name: str) -> FloatArray:
        """Draws of one parameter, shape (chain, draw)."""
        return np.asarray(self.draws[name].values, dtype=np.float64)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(str(name) for name in self.draws.data_vars)


def sample_life(
    ln_likelihood: ValueAndGradient,
    priors: tuple[Prior, ...],
    options: SamplerOptions,
    record: dict[str, Any],
) -> LifeDraws:
    """Sample a likelihood of a few parameters with its normal priors.

    Parameters
    ----------
    ln_likelihood : callable
        Of the parameters in the order of `priors`: value and gradient.
    priors : tuple of Prior
        One number each.
    options : SamplerOptions
        Chains, draws, seed.
    record : dict
        Joined by priors and sampler.
    """
    mean, sd = moments(priors)

    def density(z: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = ln_likelihood(mean + sd * z)
        return value - 0.5 * float(z @ z), sd * gradient - z

    zero, half = np.zeros(len(priors)), np.full(len(priors), 0.5)
    sampled = sample_density(density, options, centre=zero, spread=half)
    draws = named_draws(sampled.draws, priors)
    return LifeDraws(
        draws,
        Diagnostics.of(draws, sampled.diverging),
        {**record, "priors": prior_record(priors), "sampler": options.record()},
    )


@njit(error_model="numpy")
def rising(ln_p, ln_kappa, n):  # type: ignore[no-untyped-def]
    """Ln of ``a (a + 1) ... (a + n - 1) / kappa^n`` with ``a = p kappa``, and its slope by ln a.

    Exact at both ends: the value goes to ``n ln_p`` and the slope to `n` as kappa grows, which a
    difference of two ln gamma functions loses to cancellation. Up to 8 the factors are multiplied,
    beyond that it is a difference of two Stirling series; relative error below 1e-11.
    """
    if n <= 0.0:
        return 0.0, 0.0
    a = math.exp(ln_p + ln_kappa)
    value, slope, product = 0.0, 0.0, 1.0
    at, left = a, n
    if a < 8.0:  # the first factor is known by its logarithm, so it may be as small as it likes
        value, slope = ln_p + ln_kappa, 1.0
        at, left = a + 1.0, n - 1.0
        while at < 8.0 and left > 0.0:
            product *= at
            slope += a / at
            at += 1.0
            left -= 1.0
        value += math.log(product) - (n - left) * ln_kappa
    if left > 0.0:
        up = at + left
        x, y = 1.0 / (at * at), 1.0 / (up * up)
        series = _gamma_series(y) / up - _gamma_series(x) / at
        more = math.log1p(left / at)
        ln_at = ln_p if a >= 8.0 else math.log(at) - ln_kappa
        value += left * ln_at + (up - 0.5) * more - left + series
        slope += a * (more + 0.5 / at - 0.5 / up + _digamma_series(x) - _digamma_series(y))
    return value, slope


@njit(error_model="numpy")
def _gamma_series(y):  # type: ignore[no-untyped-def]
    """What ln gamma(x) has beyond Stirling's formula, times x, at ``y = 1 / x^2``."""
    return 1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))


@njit(error_model="numpy")
def _digamma_series(y):  # type: ignore[no-untyped-def]
    """``ln x - 1 / 2x - digamma(x)`` at ``y = 1 / x^2``."""
    return y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))


@njit(error_model="numpy")
def beta_binomials(errors, trials, ln_p, ln_q, ln_kappa):  # type: ignore[no-untyped-def]
    """Ln of the beta-binomial law of counts without its binomial coefficient, and derivatives.

    Parameters
    ----------
    errors, trials : float array, shape (row,)
        Counts; faster where rows of equal trials stand together.
    ln_p, ln_q : float array, shape (row,)
        Ln of the mean and of one minus it.
    ln_kappa : float
        Ln of the sum of both shapes; the correlation within a unit is ``1 / (1 + kappa)``.

    Returns
    -------
    float array, shape (row, 3)
        Value, derivative by the logit of the mean, and by `ln_kappa`.

    Notes
    -----
    As kappa grows this becomes the binomial law, without loss of digits.
    """
    found = np.empty((len(errors), 3))
    known, all_value, all_slope = -1.0, 0.0, 0.0
    for i in range(len(errors)):
        if trials[i] != known:
            known = trials[i]
            all_value, all_slope = rising(0.0, ln_kappa, known)
        wrong, by_wrong = rising(ln_p[i], ln_kappa, errors[i])
        right, by_right = rising(ln_q[i], ln_kappa, trials[i] - errors[i])
        found[i, 0] = wrong + right - all_value
        found[i, 1] = math.exp(ln_q[i]) * by_wrong - math.exp(ln_p[i]) * by_right
        found[i, 2] = by_wrong + by_right - all_slope
    return found


@njit(error_model="numpy")
def ln_expit(x):  # type: ignore[no-untyped-def]
    """Ln of the inverse logit, exact at both ends."""
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


@njit(error_model="numpy")
def normal_tails(z):  # type: ignore[no-untyped-def]
    """Distribution function, survival function and density of the standard normal law."""
    low, high = 0.5 * math.erfc(-z / math.sqrt(2.0)), 0.5 * math.erfc(z / math.sqrt(2.0))
    return low, high, math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
