"""Two lognormal states: the default of the literature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytensor.tensor as pt

from devicefit.compression import Compressed, CompressedState
from devicefit.mixture import NormalMixture
from devicefit.models.core import Frame, core
from devicefit.models.family import Family
from devicefit.priors import core_priors
from devicefit.programming import FloatArray


def ln_likelihood(p: Mapping[str, Any], compressed: Compressed, frame: Frame) -> Any:
    """Log likelihood from exact sufficient statistics, as a PyTensor expression."""
    c = core(pt, p, frame, frame.position(compressed.conditions))
    lrs = _normal_statistics(compressed.states["LRS"], c.mean_lrs, c.sd_lrs)
    hrs = _normal_statistics(compressed.states["HRS"], c.mean_hrs, c.sd_hrs)
    return lrs + hrs


def _normal_statistics(state: CompressedState, mean: Any, sd: Any) -> Any:
    squares = state.sum_of_squares + state.n * (state.mean - mean) ** 2
    terms = -0.5 * squares / sd**2 - state.n * (pt.log(sd) + 0.5 * np.log(2 * np.pi))
    return pt.sum(terms) / state.design_effect


def mixtures(p: Mapping[str, FloatArray], frame: Frame, x: FloatArray) -> dict[str, NormalMixture]:
    """Law of ln R for each draw and value of the programming variable, one component."""
    position = frame.position(x)
    c = core(np, {k: v[..., None] for k, v in p.items()}, frame, position)
    laws = {}
    for state, mean, sd in (("LRS", c.mean_lrs, c.sd_lrs), ("HRS", c.mean_hrs, c.sd_hrs)):
        mean, sd = np.broadcast_arrays(mean, sd)
        laws[state] = NormalMixture(np.zeros((1, *mean.shape)), mean[None], sd[None])
    return laws


FAMILY = Family("lognormal", core_priors, ln_likelihood, mixtures)
