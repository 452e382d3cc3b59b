"""Two lognormal states: the default of the literature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from devicefit.families.components import Component, Laws
from devicefit.families.core import Here, PathCoordinates, core
from devicefit.families.family import Family
from devicefit.families.frame import Frame
from devicefit.families.prior_tables import core_priors
from devicefit.likelihood.compressed import Compressed, Summaries
from devicefit.likelihood.level_density import CellStatistics, ln_density
from devicefit.likelihood.levels import level_priors, levels_of
from devicefit.sampling.prior import Prior


def priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of the cores, and of the levels that the readings can tell apart."""
    return (*core_priors(frame), *level_priors(frozenset(frame.levels)))


def laws(xp: Any, frame: Frame, here: Here, strongest: Here) -> Laws:
    """One normal component in ln R for each state."""
    c = core(xp, frame, here)
    return {
        "LRS": [Component(0.0, c.mean_lrs, c.sd_lrs)],
        "HRS": [Component(0.0, c.mean_hrs, c.sd_hrs)],
    }


def add_likelihood(
    p: Mapping[str, Any], here: Here, laws: Laws, compressed: Compressed, frame: Frame
) -> None:
    """Add the likelihood of exact sufficient statistics, at the cost of a few numbers.

    Where devices were read repeatedly, readings of a device are correlated normal variables:
    device-to-device and cycle-to-cycle parts, successive cycles, the two states of a device
    (:mod:`devicefit.likelihood.levels`).
    """
    # Imported where a model is built: the page also serves commands that have no use for PyMC.
    import pymc as pm
    import pytensor.tensor as pt

    from devicefit.families.pymc_model import add_normal_summaries, add_readings

    if frame.levels:
        names = [q.name for q in level_priors(frozenset(frame.levels))]
        cells = {
            s: CellStatistics.of(data.cells).as_data(s) for s, data in compressed.states.items()
        }
        means = {s: law.location for s, (law,) in laws.items()}
        sds = {s: law.scale for s, (law,) in laws.items()}
        array = pm.Data("device_array", compressed.device_array.astype("int32"), dims="device")
        levels = levels_of(pt, {name: p[name] for name in names})
        density = ln_density(pt, levels, cells, means, sds, array, len(compressed.arrays))
        pm.Potential("readings", density)
    for state, data in compressed.states.items():
        (law,) = laws[state]
        if not frame.levels:
            own = Summaries(np.arange(len(data.n)), data.n, data.mean, data.sum_of_squares)
            add_normal_summaries(f"{state}_statistics", own, law.location, law.scale**2)
        if len(data.intervals.count) or len(data.summaries.n):
            # The readings themselves are in the exact statistics.
            none = data.count[:0]
            rest = replace(data, condition=data.condition[:0], ln_r=data.ln_r[:0], count=none)
            add_readings(state, [law], rest)


FAMILY = Family("lognormal", priors, laws, add_likelihood, coordinates=PathCoordinates.of)
