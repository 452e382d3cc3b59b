"""From a PyMC model to draws: the one place that knows nutpie and ArviZ.

Everything outside this module sees ``xarray.Dataset`` with dimensions ``chain, draw``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xarray as xr

from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.laplace import find_modes
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import Prior, layout, moments
from devicefit.sampling.pymc_lines import numbers_of

if TYPE_CHECKING:
    import pymc as pm

    from devicefit.sampling.compiled_model import CompiledModel
    from devicefit.sampling.machine_density import MachineDensity


class NotFinite(ValueError):
    """A posterior that could not be sampled: its density or its draws are not finite."""


def _nutpie(module: str = "nutpie") -> Any:
    """The sampler, imported where it is needed: it takes seconds that a decision has not."""
    with warnings.catch_warnings():
        # It imports ArviZ, whose version 0.23 announces its successor each time.
        warnings.simplefilter("ignore", FutureWarning)
        return importlib.import_module(module)


def _run(compiled: Any, options: SamplerOptions) -> Any:
    """Draws of all chains, or KeyboardInterrupt: nutpie alone answers that with half of them."""
    sampler = _nutpie().sample(
        compiled,
        draws=options.draws,
        tune=options.warmup,
        chains=options.chains,
        # it starts as many threads as it is told, with nothing to do for more than there are chains
        cores=min(options.cores, options.chains),
        seed=options.seed,
        target_accept=options.target_accept,
        progress_bar=False,
        # Location, slope and spread of one state are correlated; this triples the effective
        # draws per second against a diagonal mass matrix.
        low_rank_modified_mass_matrix=True,
        save_warmup=False,
        blocking=False,
    )
    try:
        return sampler.wait()
    except BaseException:
        sampler.cancel()
        raise


CLIMBS = 8
"""Climbs to a mode, from random starts: mixtures of many components have several."""


@dataclass(frozen=True)
class Sampled:
    """Draws of a PyMC model.

    Parameters
    ----------
    draws : xarray.Dataset
        Free variables, dimensions ``chain, draw`` and their own.
    diverging : bool array, shape (chain, draw)
        Transitions that diverged.
    ln_evidence : float array, shape (start,)
        Laplace approximation of the ln evidence around the mode that each start led to.
    """

    draws: xr.Dataset
    diverging: np.ndarray
    ln_evidence: FloatArray


class Coordinates(Protocol):
    """Coordinates in which a posterior is easier to follow."""

    def scales(self, priors: Sequence[Prior]) -> tuple[Prior, ...]:
        """The table of priors, with centre and scale of each coordinate in place of a parameter."""
        ...

    def in_model(self, model: pm.Model) -> Coordinates:
        """The same, with the data of the PyMC model in place of numbers."""
        ...

    def parameters(self, xp: Any, coordinates: Mapping[str, Any]) -> Mapping[str, Any]:
        """Parameters by name."""
        ...

    def ln_volume(self, xp: Any, coordinates: Mapping[str, Any]) -> Any:
        """Ln of the volume of parameters that a unit of volume of coordinates holds."""
        ...


@dataclass(frozen=True)
class Standardised:
    """Log density of a model in units of its priors.

    Parameters
    ----------
    model : CompiledModel
        The model.
    mean, sd : float array, shape (parameter,)
        Of the priors.
    coordinates : Coordinates, optional
        What the vector holds; the parameters themselves when left out.
    """

    model: CompiledModel
    mean: FloatArray
    sd: FloatArray
    coordinates: Coordinates | None = None

    def __call__(self, z: FloatArray) -> tuple[float, FloatArray]:
        """Value up to a constant, and gradient; `z` is standard normal before the data."""
        value, gradient = self.model.density(self.mean + self.sd * z)
        return value, self.sd * gradient

    def in_scale(self, centre: FloatArray, root: FloatArray) -> MachineDensity:
        """The same at ``z = centre + root @ w``, as a function of w."""
        return self.model.density.in_scale(self.mean + self.sd * centre, self.sd[:, None] * root)


def standardised(
    model: pm.Model, priors: Sequence[Prior], coordinates: Coordinates | None = None
) -> Standardised:
    """Compile a model; `priors` has its free variables, in their order.

    With `coordinates` the vectors hold these, in units of their scales.

    Raises
    ------
    ValueError
        A free variable has no prior in the table, or there is a prior of none; names them.
    """
    # Imported where there is a model: commands that evaluate draws have no use for PyMC.
    import pytensor.tensor as pt

    from devicefit.sampling.compiled_model import compile_model

    parameters = None
    if coordinates is not None:
        inside = coordinates.in_model(model)
        priors = coordinates.scales(priors)

        def parameters(parts: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
            return inside.parameters(pt, parts), inside.ln_volume(pt, parts)

    compiled = compile_model(model, parameters)
    names = tuple(p.name for p in priors)
    if compiled.names != names:
        missing = sorted({*compiled.names} ^ {*names})
        raise ValueError(
            f"the table of priors and the free variables of the model differ in {missing or names};"
            " give one row for each variable, in the order of the model"
        )
    return Standardised(compiled, *moments(tuple(priors)), coordinates)


def sample_model(
    model: pm.Model,
    priors: Sequence[Prior],
    options: SamplerOptions,
    *,
    near: Mapping[str, float | FloatArray] | None = None,
    climbs: int = CLIMBS,
    coordinates: Coordinates | None = None,
) -> Sampled:
    """Sample a PyMC model with nutpie's NUTS.

    Parameters
    ----------
    model : pymc.Model
        Free variables with normal priors.
    priors : sequence of Prior
        Their table.
    options : SamplerOptions
        Chains, draws, seed.
    near : mapping of str to (float or float array), optional
        Values near which chains should start, where data tell.
    climbs : int, optional
        Climbs to a mode; one is enough for a density with one mode.
    coordinates : Coordinates, optional
        What the sampler moves in; `near` is in them too.

    Raises
    ------
    NotFinite
        The density is not finite where a climb ended, or draws are not finite.
    """
    density = standardised(model, priors, coordinates)
    scales = priors if coordinates is None else coordinates.scales(priors)
    centre, spread = starts(scales, near or {})
    sampled = sample_density(density, options, centre=centre, spread=spread, climbs=climbs)
    named = _named(density, sampled.vectors)
    return Sampled(named, sampled.diverging, sampled.ln_evidence)


def starts(
    priors: Sequence[Prior], near: Mapping[str, float | FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Centre and spread of the starts in the standard-normal vector."""
    at = layout(tuple(priors))
    size = sum(max(p.size, 1) for p in priors)
    # Found in the data: start close to it. Everything else: within the prior.
    centre, spread = np.zeros(size), np.full(size, 0.5)
    for p in priors:
        where = at[p.name]
        if p.name in near:
            centre[where] = (near[p.name] - p.mean) / p.sd
            spread[where] = 0.02 / p.sd
        elif p.size:
            spread[where] = 0.1
    return centre, spread


def _named(density: Standardised, standard: FloatArray) -> xr.Dataset:
    """Free variables by name, from vectors in units of the priors."""
    values = density.mean + density.sd * standard
    compiled, start = density.model, 0
    named: dict[str, Any] = {}
    all_dims = {}
    for name, shape, dims in zip(compiled.names, compiled.shapes, compiled.dims, strict=True):
        size = int(np.prod(shape, dtype=np.int64))
        part = values[..., start : start + size].reshape((*values.shape[:2], *shape))
        named[name] = part
        all_dims[name] = ("chain", "draw", *(f"{name}_{d}" for d in dims))
        start += size
    if density.coordinates is not None:
        named = dict(density.coordinates.parameters(np, named))
    coords = {d: np.arange(values.shape[i]) for i, d in enumerate(("chain", "draw"))}
    return xr.Dataset({k: (all_dims[k], v) for k, v in named.items()}, coords=coords)


@dataclass(frozen=True)
class SampledVectors:
    """Draws of a density: vectors of shape (chain, draw, parameter), else as :class:`Sampled`."""

    vectors: FloatArray
    diverging: np.ndarray
    ln_evidence: FloatArray


class Density(Protocol):
    """A log density with its gradient: a standard normal law times a likelihood."""

    def __call__(self, z: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        ...

    def in_scale(self, centre: FloatArray, root: FloatArray) -> MachineDensity:
        """The same at ``centre + root @ w``, as a function of w."""
        ...


def sample_density(
    density: Density,
    options: SamplerOptions,
    *,
    centre: FloatArray,
    spread: FloatArray,
    climbs: int = CLIMBS,
) -> SampledVectors:
    """Sample a density with nutpie, in the scale of its Laplace approximation.

    Parameters
    ----------
    density : Density
        What to sample.
    options : SamplerOptions
        Chains, draws, seed.
    centre, spread : float array, shape (parameter,)
        Centre and standard deviation of the random starts of the climb to a mode.
    climbs : int, optional
        How many; one is enough for a density with one mode.

    Raises
    ------
    NotFinite
        The density is not finite where a climb ended, or draws are not finite.

    Notes
    -----
    Posteriors of many thousand readings are narrow in some directions and as wide as the prior
    in others; learning that takes a sampler most of its gradients. The curvature at the mode
    tells it in advance. Chains start around the modes that their climbs ended in.
    """
    rng = np.random.default_rng([options.seed, 3])
    starts = centre + spread * rng.standard_normal((climbs, len(centre)))
    modes = find_modes(density, starts)
    at, root = modes.places[0], modes.root
    if not np.isfinite(density(at)[0]):
        raise NotFinite(
            f"the posterior density is not finite around any of {climbs} starts; look for counts "
            "or readings far beyond what the model describes (all wrong, huge numbers)"
        )
    in_scale = (modes.places - at) @ np.linalg.inv(root).T

    def start(seed: Any) -> FloatArray:
        own = np.random.default_rng(seed)
        return np.asarray(in_scale[own.integers(len(in_scale))] + own.standard_normal(len(centre)))

    model = _model(density.in_scale(at, root), start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = _run(model, options)
    drawn = numbers_of(trace, "posterior")["w"].values
    lost = ~np.isfinite(drawn).all(axis=-1)
    if lost.any():
        raise NotFinite(
            f"{lost.sum()} of {lost.size} draws are not finite (in {lost.any(axis=1).sum()} of "
            f"{len(lost)} chains): the sampler left the region in which the density can be "
            "computed; try another seed (--seed), and if it stays, report the table: it is no "
            "property of the device"
        )
    return SampledVectors(
        at + drawn @ root.T,
        np.asarray(numbers_of(trace, "sample_stats")["diverging"].values),
        modes.ln_evidence,
    )


def _model(density: MachineDensity, start: Callable[[Any], FloatArray]) -> Any:
    """Model of nutpie for machine code: the class of what it makes of PyMC models itself."""
    from devicefit.sampling.machine_density import copy

    made = _nutpie("nutpie.compile_pymc").CompiledPyMCModel
    n = density.n
    parts = {
        "dims": {},
        "compiled_logp_func": density.function,
        "compiled_expand_func": copy(),
        "initial_point_func": start,
        "shared_data": {},
        "shared_var_keys": {},
        "user_data": density.table,
        "n_expanded": n,
        "shape_info": (["w"], [slice(0, n)], [(n,)]),
        # kept alive with the model: the table has its addresses
        "logp_func": density,
        "expand_func": None,
        "_n_dim": n,
        "_shapes": {"w": (n,)},
        "_coords": {},
    }
    # 0.16.8, the last for Python 3.11, has no keys of shared variables
    known = {f.name for f in fields(made)}
    return made(**{name: part for name, part in parts.items() if name in known})
