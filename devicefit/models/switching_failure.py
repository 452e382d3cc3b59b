"""Lognormal states whose operations sometimes fail: what real arrays do.

An LRS reading is a normal core, an incomplete SET somewhere between core and HRS, or a failed SET
that still reads like HRS. An HRS reading is a normal core or a failed RESET, a cluster near the
strongest LRS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytensor.tensor as pt

from devicefit.compression import Compressed
from devicefit.mixture import NormalMixture
from devicefit.models.core import Core, Frame, core, ln_add
from devicefit.models.family import Family
from devicefit.priors import LN10, Prior, core_priors, failure_priors
from devicefit.programming import FloatArray, Programming


def priors(programming: Programming) -> tuple[Prior, ...]:
    """Priors of the core and of the failures."""
    return (*core_priors(programming), *failure_priors(programming))


def _ln_expit(xp: Any, z: Any) -> Any:
    return -ln_add(xp, 0.0, -z)


def _components(
    xp: Any, p: Mapping[str, Any], frame: Frame, position: Any, strongest: Core, c: Core
) -> tuple[list[tuple[Any, Any, Any]], list[tuple[Any, Any, Any]]]:
    """(ln weight, mean, sd) of each component of LRS and of HRS."""
    centre = p["set_centre"] if frame.programming.is_current else p["onset"]
    # q_SET = floor + (1 - floor) * transition; odds keep every probability inside (0, 1).
    transition = (centre - position) / xp.exp(p["ln_set_width"])
    floor = p["log10_set_floor"] * LN10
    ln_works = _ln_expit(xp, -transition) + _ln_expit(xp, -floor)
    ln_fails = ln_add(xp, _ln_expit(xp, floor), _ln_expit(xp, transition) + _ln_expit(xp, -floor))
    incomplete = p["log10_incomplete"] * LN10
    gap = c.mean_hrs - c.mean_lrs
    place = xp.exp(_ln_expit(xp, p["logit_incomplete_place"]))
    gap_sd = xp.exp(p["ln_incomplete_sd"]) * gap
    lrs = [
        (ln_works + _ln_expit(xp, -incomplete), c.mean_lrs, c.sd_lrs),
        (
            ln_works + _ln_expit(xp, incomplete),
            c.mean_lrs + place * gap,
            xp.sqrt(c.sd_lrs**2 + gap_sd**2),
        ),
        (ln_fails, c.mean_hrs, c.sd_hrs),
    ]
    stuck = p["log10_reset_floor"] * LN10
    hrs = [
        (_ln_expit(xp, -stuck), c.mean_hrs, c.sd_hrs),
        (
            _ln_expit(xp, stuck),
            strongest.mean_lrs + p["stuck_offset"],
            xp.exp(p["ln_sd_stuck"]),
        ),
    ]
    return lrs, hrs


def ln_likelihood(p: Mapping[str, Any], compressed: Compressed, frame: Frame) -> Any:
    """Log likelihood from counts in fine bins, as a PyTensor expression."""
    position = frame.position(compressed.conditions)
    c = core(pt, p, frame, position)
    strongest = core(pt, p, frame, np.ones(1))
    lrs, hrs = _components(pt, p, frame, position, strongest, c)
    total: Any = 0.0
    for state, components in (("LRS", lrs), ("HRS", hrs)):
        data = compressed.states[state]
        terms = []
        for ln_weight, mean, sd in components:
            # Parameters live per condition; only the readings' own terms are per bin.
            m, s, w = (
                (value + np.zeros(len(position)))[data.condition]
                for value in (mean, pt.log(sd), ln_weight)
            )
            terms.append(w - s - 0.5 * ((data.ln_r - m) * pt.exp(-s)) ** 2)
        ln_density = terms[0]
        for term in terms[1:]:
            ln_density = ln_add(pt, ln_density, term)
        constant = 0.5 * np.log(2 * np.pi)
        total = total + pt.sum(data.count * (ln_density - constant)) / data.design_effect
    return total


def mixtures(p: Mapping[str, FloatArray], frame: Frame, x: FloatArray) -> dict[str, NormalMixture]:
    """Law of ln R for each draw and value of the programming variable."""
    expanded = {k: v[..., None] for k, v in p.items()}
    position = frame.position(x)
    c = core(np, expanded, frame, position)
    strongest = core(np, expanded, frame, np.ones(1))
    laws = {}
    for state, components in zip(
        ("LRS", "HRS"), _components(np, expanded, frame, position, strongest, c), strict=True
    ):
        arrays = np.broadcast_arrays(*[value for triple in components for value in triple])
        ln_weight, mean, sd = (np.stack(arrays[i::3]) for i in range(3))
        laws[state] = NormalMixture(ln_weight, mean, sd)
    return laws


FAMILY = Family("switching-failure", priors, ln_likelihood, mixtures)
