"""Fitting a family of device models to compressed measurements."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from devicefit.backend import SamplerOptions, bulk_ess, r_hat, sample, tail_ess
from devicefit.compression import Compressed
from devicefit.mixture import NormalMixture
from devicefit.models import FAMILIES, Family
from devicefit.models.core import Frame, data_starts
from devicefit.priors import prior_record
from devicefit.programming import FloatArray, Programming

STANDARD = "standard_normal"
FORMAT = "rram-reliability device posterior 1"


@dataclass(frozen=True)
class Diagnostics:
    """Convergence of a fit.

    Parameters
    ----------
    r_hat : float
        Largest split R-hat over parameters.
    bulk_ess, tail_ess : float
        Smallest effective sample sizes.
    divergences : int
        Divergent transitions after warmup.
    draws : int
        Kept draws over all chains.
    """

    r_hat: float
    bulk_ess: float
    tail_ess: float
    divergences: int
    draws: int


@dataclass(frozen=True)
class DevicePosterior:
    """Posterior draws of a device model and what is needed to use them.

    Parameters
    ----------
    family : str
        Key of :data:`devicefit.models.FAMILIES`.
    draws : xarray.Dataset
        Parameters, dimensions ``chain, draw``.
    frame : Frame
        Programming variable and measured range.
    diagnostics : Diagnostics
        Convergence.
    record : dict
        Sampler options, priors, design effects, number of devices: plain values.
    """

    family: str
    draws: xr.Dataset
    frame: Frame
    diagnostics: Diagnostics
    record: dict[str, Any]

    def mixtures(self, x: FloatArray) -> dict[str, NormalMixture]:
        """Law of ln R of each state, trailing shape (chain, draw, programming)."""
        parameters = {
            str(name): np.asarray(self.draws[name].values, dtype=np.float64)
            for name in self.draws.data_vars
        }
        return FAMILIES[self.family].mixtures(
            parameters, self.frame, np.atleast_1d(np.asarray(x, dtype=np.float64))
        )


def build_model(family: Family, compressed: Compressed, frame: Frame) -> pm.Model:
    """PyMC model of a family, sampled in units of its priors (one standard-normal vector).

    One vector instead of a variable for each parameter halves the time to compile, and the chains
    start where the priors are.
    """
    priors = family.priors(frame.programming)
    with pm.Model() as model:
        z = pm.Normal(STANDARD, 0.0, 1.0, shape=len(priors))
        parameters = {p.name: p.mean + p.sd * z[i] for i, p in enumerate(priors)}
        pm.Potential("ln_likelihood", family.ln_likelihood(parameters, compressed, frame))
    return model


def fit(
    compressed: Compressed, *, family: str = "switching-failure", options: SamplerOptions
) -> DevicePosterior:
    """Fit a family with NUTS.

    Parameters
    ----------
    compressed : Compressed
        Output of :func:`devicefit.compression.compress`.
    family : str, optional
        Key of :data:`devicefit.models.FAMILIES`.
    options : SamplerOptions
        Chains, draws, seed.

    Returns
    -------
    DevicePosterior
        Also when the chains did not converge: the diagnostics tell, and the gates of
        :mod:`devicefit.checks` fail.

    Raises
    ------
    ValueError
        Unknown family; lists the known ones.
    """
    if family not in FAMILIES:
        raise ValueError(f"family {family!r} is not known; known: {', '.join(FAMILIES)}")
    frame = Frame.of(compressed)
    chosen = FAMILIES[family]
    priors = chosen.priors(frame.programming)
    near = data_starts(compressed, frame)
    centre = np.array([(near.get(p.name, p.mean) - p.mean) / p.sd for p in priors])
    # Found in the data: start close to it. Everything else: within the prior.
    spread = np.array([0.02 / p.sd if p.name in near else 0.5 for p in priors])
    posterior, stats = sample(
        build_model(chosen, compressed, frame), options, starts={STANDARD: (centre, spread)}
    )
    standard = posterior[STANDARD].values
    draws = xr.Dataset(
        {
            p.name: (("chain", "draw"), p.mean + p.sd * standard[..., i])
            for i, p in enumerate(priors)
        },
        coords={d: posterior[d] for d in ("chain", "draw")},
    )
    diagnostics = Diagnostics(
        r_hat=max(r_hat(draws).values()),
        bulk_ess=min(bulk_ess(draws).values()),
        tail_ess=min(tail_ess(draws).values()),
        divergences=int(stats["diverging"].values.sum()),
        draws=draws.sizes["chain"] * draws.sizes["draw"],
    )
    record = {
        "sampler": {
            "name": "nutpie NUTS",
            "chains": options.chains,
            "draws": options.draws,
            "warmup": options.warmup,
            "seed": options.seed,
            "target_accept": options.target_accept,
        },
        "priors": prior_record(priors),
        "design_effect": {s: compressed.states[s].design_effect for s in compressed.states},
        "devices": compressed.devices,
        "readings": {s: int(compressed.states[s].n.sum()) for s in compressed.states},
        "bins": {s: len(compressed.states[s].count) for s in compressed.states},
    }
    return DevicePosterior(family, draws, frame, diagnostics, record)


def save_posterior(posterior: DevicePosterior, path: Path) -> None:
    """Write a posterior as one netCDF file; everything but the draws is in its attributes."""
    head = {
        "format": FORMAT,
        "family": posterior.family,
        "programming": [posterior.frame.programming.name, posterior.frame.programming.unit],
        "range": [posterior.frame.low, posterior.frame.high],
        "diagnostics": vars(posterior.diagnostics),
        "record": posterior.record,
    }
    dataset = posterior.draws.assign_attrs(rram_reliability=json.dumps(head))
    dataset.to_netcdf(path, engine="h5netcdf")


def load_posterior(path: Path) -> DevicePosterior:
    """Read a posterior written by :func:`save_posterior`.

    Raises
    ------
    ValueError
        Not such a file, or a file of another version.
    """
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            dataset = opened.load()
        head = json.loads(dataset.attrs["rram_reliability"])
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; write it with `rram-reliability fit`") from None
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: not a device posterior; write it with `rram-reliability fit` ({error})"
        ) from None
    if head.get("format") != FORMAT:
        raise ValueError(f"{path}: format {head.get('format')!r}, this version reads {FORMAT!r}")
    if head["family"] not in FAMILIES:
        raise ValueError(
            f"{path}: family {head['family']!r} is not known; known: {', '.join(FAMILIES)}"
        )
    frame = Frame(Programming(*head["programming"]), *head["range"])
    return DevicePosterior(
        head["family"],
        dataset.drop_attrs(),
        frame,
        Diagnostics(**head["diagnostics"]),
        head["record"],
    )
