"""Posteriors of devices as files, and what a posterior must be when it is read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.numerics.datasets import read_datasets, write_datasets
from devicefit.numerics.stored import reading
from devicefit.sampling.prior import Prior

FORMAT = "rram-reliability device posterior 4"
HEAD = "rram_reliability"
"""Attribute with everything but the draws, as JSON."""

MOST_SDS = 100.0
"""Largest distance of a draw from the mean of its prior, in its standard deviations.

A normal prior takes 5,000 from the log density there: no posterior of the readings that fit into
memory lies so far from what was assumed, but a damaged number does.
"""

State = Literal["LRS", "HRS"]


class Strict(BaseModel):
    """Values of a record, without conversion; the record may hold more."""

    model_config = ConfigDict(strict=True, extra="allow")


class SamplerRecord(Strict):
    """Options of the sampler."""

    seed: int


class FitRecord(Strict):
    """What later steps need of the record of a fit."""

    sampler: SamplerRecord
    priors: list[Prior]
    devices: Annotated[int, Field(ge=1)]
    design_effect: dict[State, Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    readings: dict[State, Annotated[int, Field(ge=0)]]


class _Head(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    family: str
    frame: Frame
    diagnostics: Diagnostics
    record: FitRecord


def save_posterior(posterior: DevicePosterior, path: Path) -> None:
    """Write a posterior as one netCDF file; everything but the draws is in its attributes."""
    head = {
        "family": posterior.family,
        "frame": asdict(posterior.frame),
        "diagnostics": vars(posterior.diagnostics),
        "record": posterior.record,
    }
    dataset = posterior.draws.assign_attrs({HEAD: json.dumps(head)})
    write_datasets(path, FORMAT, {"": dataset})


def load_posterior(path: Path) -> DevicePosterior:
    """Read a posterior written by :func:`save_posterior`.

    Raises
    ------
    ValueError
        Not such a file, one of another version, a damaged one, or one that cannot be a posterior;
        says what is wrong and what to do.
    """
    with reading(path, "device posterior", "write it with `rram-reliability fit`"):
        dataset = read_datasets(path, FORMAT)[""]
        text = dataset.attrs[HEAD]
        head = _Head.model_validate_json(text)
        if head.family not in FAMILIES:
            raise ValueError(f"family {head.family!r} is not known; known: {', '.join(FAMILIES)}")
        expected = [(p.name, p.size) for p in FAMILIES[head.family].priors(head.frame)]
        if [(p.name, p.size) for p in head.record.priors] != expected:
            raise ValueError(f"the priors are not those of the family {head.family}")
        draws = dataset.drop_attrs()
        check_draws(draws, head.record.priors)
        check_diagnostics(head.diagnostics, draws)
        record: dict[str, Any] = json.loads(text)["record"]
        return DevicePosterior(head.family, draws, head.frame, head.diagnostics, record)


def check_draws(draws: xr.Dataset, priors: Sequence[Prior]) -> None:
    """Refuse draws that are no posterior of parameters with these priors.

    Raises
    ------
    ValueError
        A parameter is missing or unknown, has other dims than ``chain, draw`` and its terms, or a
        draw is not finite or further than :data:`MOST_SDS` from the prior; says which one.
    """
    names = [p.name for p in priors]
    if odd := set(names) ^ set(map(str, draws.data_vars)):
        raise ValueError(f"missing or unknown parameters: {', '.join(sorted(odd))}")
    for p in priors:
        variable = draws[p.name].variable
        dims = ("chain", "draw", f"{p.name}_{p.dim}") if p.size else ("chain", "draw")
        if variable.dims != dims or variable.dtype != np.float64:
            raise ValueError(
                f"{p.name} has {variable.dtype} over {variable.dims}, wanted are floats over {dims}"
            )
        if min(variable.shape) < 1 or (p.size and variable.shape[2] != p.size):
            raise ValueError(f"{p.name} has the shape {variable.shape}")
        values = variable.values
        # written so that NaN is refused too
        wrong = np.argwhere(~(np.abs(values - p.mean) <= MOST_SDS * p.sd))
        if len(wrong):
            at = tuple(int(i) for i in wrong[0])
            raise ValueError(
                f"{p.name} is {values[at]:g} in chain {at[0]}, draw {at[1]} (of {len(wrong)} such "
                f"values), which is not within {MOST_SDS:g} standard deviations ({p.sd:g}) of the "
                f"mean {p.mean:g} of its prior"
            )


def check_diagnostics(diagnostics: Diagnostics, draws: xr.Dataset) -> None:
    """Refuse diagnostics that are not those of such draws.

    Raises
    ------
    ValueError
        Says which number cannot be.
    """
    d, number = diagnostics, draws.sizes["chain"] * draws.sizes["draw"]
    if d.draws != number or not 0 <= d.divergences <= number:
        raise ValueError(
            f"diagnostics of {d.draws} draws with {d.divergences} divergences, there are {number}"
        )
    # few draws have no R-hat and no effective size: NaN
    for name, least in (("r_hat", 0.5), ("bulk_ess", 0.0), ("tail_ess", 0.0)):
        if getattr(d, name) < least:
            raise ValueError(f"{name} is {getattr(d, name):g}; it must be at least {least:g}")
