"""What the models of life share: counts that spread more than binomial ones, and their sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import xarray as xr

from devicefit.backend import SamplerOptions, bulk_ess, r_hat, sample_density, tail_ess
from devicefit.density import ValueAndGradient
from devicefit.fitting import Diagnostics, named_draws
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
    diagnostics = Diagnostics(
        r_hat=max(r_hat(draws).values()),
        bulk_ess=min(bulk_ess(draws).values()),
        tail_ess=min(tail_ess(draws).values()),
        divergences=int(sampled.diverging.sum()),
        draws=draws.sizes["chain"] * draws.sizes["draw"],
    )
    sampler = {
        "name": "nutpie NUTS",
        "chains": options.chains,
        "draws": options.draws,
        "warmup": options.warmup,
        "seed": options.seed,
        "target_accept": options.target_accept,
    }
    return LifeDraws(
        draws, diagnostics, {**record, "priors": prior_record(priors), "sampler": sampler}
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def digamma(x):  # type: ignore[no-untyped-def]
    """Logarithmic derivative of the gamma function at positive `x`.

    Recurrence up to 8, then the asymptotic series; relative error below 1e-12.
    """
    below = 0.0
    while x < 8.0:
        below -= 1.0 / x
        x += 1.0
    y = 1.0 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132)))))
    return below + math.log(x) - 0.5 / x - series


@numba.njit(cache=True, nogil=True, error_model="numpy")
def beta_binomial(errors, trials, p, q, ln_kappa):  # type: ignore[no-untyped-def]
    """Ln of the beta-binomial law without its binomial coefficient, and two derivatives.

    Parameters
    ----------
    errors, trials : float
        Counts.
    p, q : float
        Mean and one minus it, both exact near their zero.
    ln_kappa : float
        ln of the sum of both shapes; the correlation within a unit is ``1 / (1 + kappa)``.

    Returns
    -------
    value, by_p, by_ln_kappa : float
        ``q`` moves against ``p``.
    """
    kappa = math.exp(ln_kappa)
    a, b = p * kappa, q * kappa
    value, by_a, by_b = 0.0, 0.0, 0.0
    if errors > 0:
        value += math.lgamma(a + errors) - math.lgamma(a)
        by_a = digamma(a + errors) - digamma(a)
    if trials > errors:
        value += math.lgamma(b + trials - errors) - math.lgamma(b)
        by_b = digamma(b + trials - errors) - digamma(b)
    by_sum = 0.0
    if trials > 0:
        value -= math.lgamma(kappa + trials) - math.lgamma(kappa)
        by_sum = digamma(kappa) - digamma(kappa + trials)
    return value, kappa * (by_a - by_b), a * by_a + b * by_b + kappa * by_sum


@numba.njit(cache=True, nogil=True, error_model="numpy")
def normal_tails(z):  # type: ignore[no-untyped-def]
    """Distribution function, survival function and density of the standard normal law."""
    low, high = 0.5 * math.erfc(-z / math.sqrt(2.0)), 0.5 * math.erfc(z / math.sqrt(2.0))
    return low, high, math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
