"""A device whose states overlap. Nothing here was measured."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming


@pytest.fixture(scope="session")
def posterior() -> Callable[..., DevicePosterior]:
    """Makes devices by the names of their arrays."""
    return _posterior


def _posterior(arrays: tuple[str, ...] = ("",)) -> DevicePosterior:
    """Lognormal states that overlap; the HRS of every draw is its own, the LRS of every array."""
    frame = Frame(Programming("SET compliance current", "A"), 2e-5, 6e-4, arrays=arrays)
    values = {
        p.name: np.full((2, 20, p.size) if p.size else (2, 20), p.mean)
        for p in FAMILIES["lognormal"].priors(frame)
    }
    values["ln_r_hrs"] = np.log(1e5) + np.linspace(-0.8, 0.8, 40).reshape(2, 20)
    values["ln_sd_hrs"] = np.full((2, 20), np.log(0.8))
    dims = {k: ("chain", "draw", f"{k}_term")[: v.ndim] for k, v in values.items()}
    draws = xr.Dataset({k: (dims[k], v) for k, v in values.items()})
    record = {"devices": 100, "design_effect": {"LRS": 1.0, "HRS": 1.0}, "sampler": {"seed": 1}}
    return DevicePosterior("lognormal", draws, frame, Diagnostics(1.0, 1e3, 1e3, 0, 40), record)
