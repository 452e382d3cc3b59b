"""What the models of life share: priors as variables, laws of counts, and their sampling.

Formulas are in PyTensor; PyMC takes their gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pytensor.gradient import disconnected_grad

from devicefit.families.core import ln_add
from devicefit.families.prior import Prior, prior_record
from devicefit.fitting.fit import Diagnostics
from devicefit.fitting.sampler import SamplerOptions, sample_model
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


SQRT2 = float(np.sqrt(2.0))
Tensor = Any
"""Expression of PyTensor."""
_LN_LEAST_CORRELATION = -20.0
"""Ln of the least odds of a correlation: differences of ln gamma keep 6 digits above it."""
_LN_LEAST_SHAPE = -600.0
_ALL = 8.0
"""A standard normal value below which all lies, to double precision."""


def normals(priors: Sequence[Prior], width: Tensor = 1.0) -> dict[str, Tensor]:
    """The parameters of a table of priors as variables of the present PyMC model.

    `width` multiplies the standard deviations.
    """
    return {prior.name: pm.Normal(prior.name, prior.mean, prior.sd * width) for prior in priors}


def ln_total(ln_terms: Tensor) -> Tensor:
    """The same along the last axis."""
    # the derivative by what is taken out is zero
    largest = disconnected_grad(pt.max(ln_terms, axis=-1, keepdims=True))
    return pt.log(pt.sum(pt.exp(ln_terms - largest), axis=-1)) + largest[..., 0]


def ln_beta_binomial(
    errors: Tensor, trials: Tensor, ln_p: Tensor, ln_q: Tensor, ln_odds: Tensor
) -> Tensor:
    """Ln of the beta-binomial law of counts, without its binomial coefficient.

    Parameters
    ----------
    errors, trials : tensor
        Counts as floats.
    ln_p, ln_q : tensor
        Ln of the mean share of errors and of one minus it.
    ln_odds : tensor
        Ln of the odds of the correlation of two readings of a count; the sum of both shapes is one
        over these odds. Below e^-20 they count as e^-20, which is binomial for fewer readings.
    """
    ln_kappa = -ln_add(pt, ln_odds, _LN_LEAST_CORRELATION)

    def rising(ln_shape: Tensor, count: Tensor) -> Tensor:
        shape = pt.exp(pt.maximum(ln_shape, _LN_LEAST_SHAPE))
        return pt.gammaln(shape + count) - pt.gammaln(shape)

    wrong, right = rising(ln_p + ln_kappa, errors), rising(ln_q + ln_kappa, trials - errors)
    return wrong + right - rising(ln_kappa, trials)


def ln_normal_cdf(z: Tensor) -> Tensor:
    """Ln of the standard normal distribution function, exact in the lower tail.

    Beyond 8 it is that of 8, zero to double precision. Each branch sees only values that it can
    take, since what a branch not taken gives would still spoil the gradient.
    """
    low, high = pt.minimum(z, -1.0), pt.clip(z, -1.0, _ALL)
    return pt.switch(
        z < -1.0,
        pt.log(0.5 * pt.erfcx(-low / SQRT2)) - 0.5 * low**2,
        pt.log1p(-0.5 * pt.erfc(high / SQRT2)),
    )


def ln_normal_between(low: Tensor, high: Tensor) -> Tensor:
    """Ln of the probability of a standard normal value between two ends, exact in both tails."""
    upper = low + high > 0
    ln_low = ln_normal_cdf(pt.switch(upper, -high, low))
    ln_high = ln_normal_cdf(pt.switch(upper, -low, high))
    return ln_high + pt.log(-pt.expm1(pt.minimum(ln_low - ln_high, -1e-300)))


def sample_life(
    model: pm.Model, priors: tuple[Prior, ...], options: SamplerOptions, record: dict[str, Any]
) -> LifeDraws:
    """Sample a model of a few parameters.

    Parameters
    ----------
    model : pymc.Model
        Its free variables are the parameters of `priors`.
    priors : tuple of Prior
        One number each.
    options : SamplerOptions
        Chains, draws, seed.
    record : dict
        Joined by priors and sampler.
    """
    sampled = sample_model(model, priors, options)
    draws = sampled.draws
    return LifeDraws(
        draws,
        Diagnostics.of(draws, sampled.diverging),
        {**record, "priors": prior_record(priors), "sampler": options.record()},
    )
