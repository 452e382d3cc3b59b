"""Two lognormal states: the default of the literature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from devicefit import levels
from devicefit.compressed import Compressed, Summaries
from devicefit.density import Term
from devicefit.levels import level_priors
from devicefit.mixture import Mixture
from devicefit.models.components import (
    Component,
    mixtures_of,
    normal_summaries,
    state_ln_likelihood,
)
from devicefit.models.core import core
from devicefit.models.family import Family
from devicefit.models.frame import Frame, Places
from devicefit.priors import Prior, core_priors
from devicefit.programming import FloatArray
from devicefit.tape import SYMBOLS


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


def ln_likelihood(p: Mapping[str, Any], compressed: Compressed, frame: Frame) -> list[Term]:
    """Terms of the log likelihood, from exact sufficient statistics.

    Where devices were read repeatedly, readings of a device are correlated normal variables:
    device-to-device and cycle-to-cycle parts, successive cycles, the two states of a device, and
    arrays (:mod:`devicefit.levels`).
    """
    places = frame.places(
        compressed.conditions, second=compressed.second_values, array=compressed.array
    )
    laws = components(SYMBOLS, p, frame, places)
    n = len(places.position)
    terms = []
    if frame.levels:
        terms.append(
            levels.ln_likelihood_term(
                levels.levels_of(SYMBOLS, p),
                {s: data.cells for s, data in compressed.states.items()},
                {s: law.location for s, (law,) in laws.items()},
                {s: law.scale for s, (law,) in laws.items()},
                compressed.device_array,
                n,
            )
        )
    for state, data in compressed.states.items():
        (law,) = laws[state]
        if not frame.levels:
            own = Summaries(np.arange(n), data.n, data.mean, data.sum_of_squares)
            terms.append(normal_summaries(own, law.location, law.scale**2, n))
        # Readings are in the exact statistics.
        terms += state_ln_likelihood([law], replace(data, count=data.count[:0]))
    return terms


def mixtures(p: Mapping[str, FloatArray], frame: Frame, places: Places) -> dict[str, Mixture]:
    """Law of ln R for each draw and place, one component."""
    return mixtures_of(components, p, frame, places)


FAMILY = Family("lognormal", priors, ln_likelihood, mixtures)
