"""What the models of life share: their draws, and how these are sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from devicefit.fitting.fit import Diagnostics
from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import Prior, prior_record
from devicefit.sampling.sampler import sample_model

if TYPE_CHECKING:
    import pymc as pm

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
