"""Two lognormal states: the default of the literature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor.tensor as pt

from devicefit import levels
from devicefit.compressed import Compressed, IntArray, Summaries
from devicefit.levels import level_priors
from devicefit.mixture import Mixture
from devicefit.models.components import Component, mixtures_of, state_ln_likelihood
from devicefit.models.core import core
from devicefit.models.family import Family
from devicefit.models.frame import Frame, Places
from devicefit.priors import Prior, core_priors
from devicefit.programming import FloatArray

_NO_SUMMARIES = Summaries(
    np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)
)


def components(
    xp: Any, p: Mapping[str, Any], frame: Frame, places: Places
) -> dict[str, list[Component]]:
    """One normal component in ln R for each state."""
    c = core(xp, p, frame, places)
    zero = np.zeros(len(places.position))
    return {
        "LRS": [Component(zero, c.mean_lrs, c.sd_lrs)],
        "HRS": [Component(zero, c.mean_hrs, c.sd_hrs)],
    }


def priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of the cores, and of the levels that the readings can tell apart."""
    return (*core_priors(frame), *level_priors(frozenset(frame.levels)))


def ln_likelihood(p: Mapping[str, Any], compressed: Compressed, frame: Frame) -> Any:
    """Log likelihood from exact sufficient statistics, as a PyTensor expression.

    Where devices were read repeatedly, readings of a device are correlated normal variables:
    device-to-device and cycle-to-cycle parts, successive cycles, the two states of a device, and
    arrays (:mod:`devicefit.levels`).
    """
    places = frame.places(
        compressed.conditions, second=compressed.second_values, array=compressed.array
    )
    n = len(places.position)
    c = core(pt, p, frame, places)
    mean = {"LRS": c.mean_lrs + np.zeros(n), "HRS": c.mean_hrs + np.zeros(n)}
    sd = {"LRS": c.sd_lrs + np.zeros(n), "HRS": c.sd_hrs + np.zeros(n)}
    states = compressed.states
    total: Any = 0.0
    if frame.levels:
        total = levels.ln_likelihood(
            pt,
            levels.levels_of(pt, p),
            states["LRS"].cells,
            states["HRS"].cells,
            mean,
            sd,
            compressed.device_array,
        )
    for state, data in states.items():
        if not frame.levels:
            total = total + _normal_statistics(
                data.n, data.mean, data.sum_of_squares, mean[state], sd[state]
            )
        tables = data.summaries
        if len(tables.n):
            at = tables.condition
            total = total + _normal_statistics(
                tables.n, tables.mean, tables.sum_of_squares, mean[state][at], sd[state][at]
            )
        if len(data.intervals.count):
            only = replace(data, count=data.count[:0], summaries=_NO_SUMMARIES)
            component = Component(np.zeros(n), mean[state], sd[state])
            total = total + state_ln_likelihood([component], only, n)
    return total


def _normal_statistics(
    n: IntArray, mean: FloatArray, sum_of_squares: FloatArray, location: Any, sd: Any
) -> Any:
    squares = sum_of_squares + n * (mean - location) ** 2
    return pt.sum(-0.5 * squares / sd**2 - n * (pt.log(sd) + 0.5 * np.log(2 * np.pi)))


def mixtures(p: Mapping[str, FloatArray], frame: Frame, places: Places) -> dict[str, Mixture]:
    """Law of ln R for each draw and place, one component."""
    return mixtures_of(components, p, frame, places)


FAMILY = Family("lognormal", priors, ln_likelihood, mixtures)
