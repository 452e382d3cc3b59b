"""The one place that knows which PyMC, ArviZ and nutpie are installed.

PyMC 5.28 with ArviZ 0.23 hands over ``InferenceData``; PyMC 6 with ArviZ 1 a ``DataTree``.
Everything outside this module sees ``xarray.Dataset`` with dimensions ``chain, draw``.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

with warnings.catch_warnings():
    # ArviZ 0.23 announces its successor at every import.
    warnings.simplefilter("ignore", FutureWarning)
    import arviz as az

import nutpie
import pymc as pm

from devicefit.programming import FloatArray


@dataclass(frozen=True)
class SamplerOptions:
    """How NUTS runs.

    Parameters
    ----------
    chains, draws, warmup : int
        Chains, kept draws per chain, discarded draws per chain.
    seed : int
        Seed of all chains.
    cores : int
        Chains that run at the same time; does not change the draws.
    target_accept : float
        Step-size target, between 0.5 and 1.
    """

    chains: int = 4
    draws: int = 1000
    warmup: int = 800
    seed: int = 1
    cores: int = 2
    target_accept: float = 0.95

    def __post_init__(self) -> None:
        for name in ("chains", "draws", "warmup", "cores"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0.5 <= self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept}; use 0.5 to below 1")


def sample(
    model: pm.Model,
    options: SamplerOptions,
    *,
    starts: dict[str, tuple[FloatArray, FloatArray]] | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Sample `model` with nutpie.

    Parameters
    ----------
    model : pymc.Model
        What to sample.
    options : SamplerOptions
        Chains, draws, seed.
    starts : dict of str to (float array, float array), optional
        For a variable the centre and standard deviation of its random starts; each chain has its
        own start. Variables without an entry start as nutpie does by default.

    Returns
    -------
    posterior, sample_stats : xarray.Dataset
        Dimensions ``chain, draw`` first; sample_stats has ``diverging`` and ``lp``-like columns.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if starts:
            compiled = nutpie.compile_pymc_model(
                model,
                initial_points={
                    name: pm.Normal.dist(centre, spread, shape=centre.shape)
                    for name, (centre, spread) in starts.items()
                },
                jitter_rvs={v for v in model.free_RVs if v.name not in starts},
            )
        else:
            compiled = nutpie.compile_pymc_model(model)
        trace: Any = nutpie.sample(
            compiled,
            draws=options.draws,
            tune=options.warmup,
            chains=options.chains,
            cores=options.cores,
            seed=options.seed,
            target_accept=options.target_accept,
            progress_bar=False,
            # Location, slope and spread of one state are correlated; this triples the effective
            # draws per second against a diagonal mass matrix.
            low_rank_modified_mass_matrix=True,
            save_warmup=False,
        )
    return _dataset(trace, "posterior"), _dataset(trace, "sample_stats")


def _dataset(trace: Any, group: str) -> xr.Dataset:
    found = trace[group]
    if not isinstance(found, xr.Dataset):  # a DataTree node
        found = found.to_dataset()
    names = [n for n in found.data_vars if found[n].dtype.kind in "fiub" and found[n].ndim >= 2]
    return xr.Dataset(
        {n: (found[n].dims, np.asarray(found[n].values)) for n in names},
        coords={d: np.arange(found.sizes[d]) for d in ("chain", "draw")},
    )


def r_hat(posterior: xr.Dataset) -> dict[str, float]:
    """Largest rank-normalised split R-hat of each variable (Vehtari et al. 2021)."""
    return _largest(az.rhat(posterior), np.nanmax)


def bulk_ess(posterior: xr.Dataset) -> dict[str, float]:
    """Smallest bulk effective sample size of each variable."""
    return _largest(az.ess(posterior, method="bulk"), np.nanmin)


def tail_ess(posterior: xr.Dataset) -> dict[str, float]:
    """Smallest tail effective sample size of each variable."""
    return _largest(az.ess(posterior, method="tail"), np.nanmin)


def _largest(summary: Any, pick: Any) -> dict[str, float]:
    dataset = summary if isinstance(summary, xr.Dataset) else summary.to_dataset()
    return {str(name): float(pick(dataset[name].values)) for name in dataset.data_vars}


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("pymc", "pytensor", "nutpie", "arviz", "numba", "numpy", "scipy", "xarray", "torch")
    return {name: importlib.metadata.version(name) for name in names}
