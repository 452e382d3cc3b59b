"""The one place that knows which PyMC, ArviZ and nutpie are installed.

PyMC 5.28 with ArviZ 0.23 hands over ``InferenceData``; PyMC 6 with ArviZ 1 a ``DataTree``.
Everything outside this module sees ``xarray.Dataset`` with dimensions ``chain, draw``.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.metadata
import warnings
from collections.abc import Callable, Mapping
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
from pytensor.compile.mode import predefined_modes

from devicefit.laplace import find_modes
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
    warmup: int = 500
    seed: int = 1
    cores: int = 2
    target_accept: float = 0.95

    def __post_init__(self) -> None:
        for name in ("chains", "draws", "warmup", "cores"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0.5 <= self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept}; use 0.5 to below 1")


def sample(model: pm.Model, options: SamplerOptions) -> tuple[xr.Dataset, xr.Dataset]:
    """Sample any model with nutpie.

    Returns
    -------
    posterior, sample_stats : xarray.Dataset
        Dimensions ``chain, draw`` first; sample_stats has ``diverging`` and ``lp``-like columns.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = _run(_compiled(model), options)
    return _dataset(trace, "posterior"), _dataset(trace, "sample_stats")


def _run(compiled: Any, options: SamplerOptions) -> Any:
    return nutpie.sample(
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


CENTRE, ROOT = "centre", "root"
"""Data of a model by which :func:`sample_scaled` sets the scale of its one free vector."""


@dataclass(frozen=True)
class Sampled:
    """What :func:`sample_scaled` gives back.

    Parameters
    ----------
    draws : float array, shape (chain, draw, parameter)
        The vector that `CENTRE` and `ROOT` map to.
    diverging : bool array, shape (chain, draw)
        Transitions that diverged.
    ln_evidence : float array, shape (start,)
        Laplace approximation of the ln evidence around the mode that each start led to.
    """

    draws: FloatArray
    diverging: np.ndarray
    ln_evidence: FloatArray


def sample_scaled(
    model: pm.Model, options: SamplerOptions, *, centre: FloatArray, spread: FloatArray
) -> Sampled:
    """Sample a model of one vector with nutpie, in the scale of its Laplace approximation.

    Parameters
    ----------
    model : pymc.Model
        Has one free vector ``w`` and the data `CENTRE` and `ROOT`; its density is that of
        ``centre + root @ w``.
    options : SamplerOptions
        Chains, draws, seed.
    centre, spread : float array, shape (parameter,)
        Centre and standard deviation of the random starts of the climb to a mode.

    Notes
    -----
    Posteriors of many thousand readings are narrow in some directions and as wide as the prior
    in others; learning that takes a sampler most of its gradients. The curvature at the mode
    tells it in advance. Chains start around the modes that their climbs ended in.
    """
    return sample_compiled(compile_model(model), options, centre=centre, spread=spread)


@dataclass(frozen=True)
class CompiledModel:
    """A model of :func:`sample_scaled` that nutpie has compiled, for use with several data sets."""

    nutpie: Any


def compile_model(model: pm.Model) -> CompiledModel:
    """Compile a model once; its data can be exchanged in :func:`sample_compiled`."""
    return CompiledModel(_compiled(model))


def _compiled(model: pm.Model) -> Any:
    # nutpie asks for PyTensor's mode of this name. Without fused loops a gradient takes a tenth of
    # the time when the loops come from PyTensor's store of compiled code, and that store, by
    # single operation, serves every family.
    fused = predefined_modes["NUMBA"]
    predefined_modes["NUMBA"] = fused.excluding("fusion")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return nutpie.compile_pymc_model(model)
    finally:
        predefined_modes["NUMBA"] = fused


def sample_compiled(
    model: CompiledModel,
    options: SamplerOptions,
    *,
    centre: FloatArray,
    spread: FloatArray,
    data: Mapping[str, Any] | None = None,
) -> Sampled:
    """:func:`sample_scaled` of a compiled model, with the values of its ``pm.Data`` in `data`."""
    compiled = model.nutpie.with_data(**data) if data else model.nutpie
    rng = np.random.default_rng([options.seed, 3])
    starts = centre + spread * rng.standard_normal((options.chains, len(centre)))
    modes = find_modes(_value_and_gradient(compiled), starts)
    back = np.linalg.inv(modes.root)
    in_scale = (modes.places - modes.places[0]) @ back.T

    def start(seed: Any) -> FloatArray:
        own = np.random.default_rng(seed)
        return np.asarray(in_scale[own.integers(len(in_scale))] + own.standard_normal(len(centre)))

    scaled = dataclasses.replace(
        compiled.with_data(**{CENTRE: modes.places[0], ROOT: modes.root}), initial_point_func=start
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = _run(scaled, options)
    posterior = _dataset(trace, "posterior")
    (name,) = posterior.data_vars
    return Sampled(
        modes.places[0] + posterior[name].values @ modes.root.T,
        np.asarray(_dataset(trace, "sample_stats")["diverging"].values),
        modes.ln_evidence,
    )


def _value_and_gradient(compiled: Any) -> Callable[[FloatArray], tuple[float, FloatArray]]:
    """Density that nutpie compiled, as a function to be called from Python."""
    call = compiled.compiled_logp_func.ctypes
    n = compiled.n_dim
    pointer = ctypes.POINTER(ctypes.c_double)

    def evaluate(place: FloatArray) -> tuple[float, FloatArray]:
        x = np.ascontiguousarray(place, dtype=np.float64)
        gradient, value = np.empty(n), np.full(1, -np.inf)
        status = call(
            n,
            x.ctypes.data_as(pointer),
            gradient.ctypes.data_as(pointer),
            value.ctypes.data_as(pointer),
            compiled.user_data.ctypes.data,
        )
        if status:
            return -np.inf, np.zeros(n)
        return float(value[0]), gradient

    return evaluate


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


def psis(ln_ratios: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pareto-smoothed importance weights (Vehtari et al. 2024).

    Parameters
    ----------
    ln_ratios : float array, shape (case, draw)
        Logarithms of importance ratios of draws that are nearly independent.

    Returns
    -------
    ln_weight : float array, shape (case, draw)
        Logarithms of weights, normalised over draws.
    pareto_k : float array, shape (case,)
        Shape of the tail; infinite where it cannot be fitted.
    """
    ln_weight, k = az.psislw(np.ascontiguousarray(ln_ratios, dtype=np.float64))
    return np.asarray(ln_weight), np.asarray(k)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("pymc", "pytensor", "nutpie", "arviz", "numba", "numpy", "scipy", "xarray", "torch")
    return {name: importlib.metadata.version(name) for name in names}
