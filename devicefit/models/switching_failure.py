"""Lognormal states whose operations sometimes fail.

An LRS reading is a normal core, an incomplete SET somewhere between core and HRS, or a failed SET
that still reads like HRS. An HRS reading is a normal core or a failed RESET, a cluster near the
strongest LRS. :mod:`devicefit.models.skewed_failure` adds what large measured arrays need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devicefit.compressed import Compressed
from devicefit.density import Term
from devicefit.mixture import Mixture
from devicefit.models.components import Component, ln_likelihood_of, mixtures_of
from devicefit.models.core import core, ln_expit
from devicefit.models.family import Family
from devicefit.models.frame import Frame, Places
from devicefit.models.operations import ln_odds, set_outcome, strongest_core
from devicefit.priors import Prior, core_priors, plain_failure_priors
from devicefit.programming import FloatArray


def priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of the core and of the failures."""
    return (*core_priors(frame), *plain_failure_priors(frame))


def components(
    xp: Any, p: Mapping[str, Any], frame: Frame, places: Places
) -> dict[str, list[Component]]:
    """Components of both states."""
    c = core(xp, p, frame, places)
    strongest = strongest_core(xp, p, frame, places)
    ln_works, ln_fails = set_outcome(xp, p, frame, places)
    incomplete = ln_odds(p, "incomplete", frame, places)
    gap = c.mean_hrs - c.mean_lrs
    place = xp.exp(ln_expit(xp, p["logit_incomplete_place"]))
    gap_sd = xp.exp(p["ln_incomplete_sd"]) * gap
    stuck = ln_odds(p, "reset_floor", frame, places)
    return {
        "LRS": [
            Component(ln_works + ln_expit(xp, -incomplete), c.mean_lrs, c.sd_lrs),
            Component(
                ln_works + ln_expit(xp, incomplete),
                c.mean_lrs + place * gap,
                xp.sqrt(c.sd_lrs**2 + gap_sd**2),
            ),
            Component(ln_fails, c.mean_hrs, c.sd_hrs),
        ],
        "HRS": [
            Component(ln_expit(xp, -stuck), c.mean_hrs, c.sd_hrs),
            Component(
                ln_expit(xp, stuck),
                strongest.mean_lrs + p["stuck_offset"],
                xp.exp(p["ln_sd_stuck"]),
            ),
        ],
    }


def ln_likelihood(p: Mapping[str, Any], compressed: Compressed, frame: Frame) -> list[Term]:
    """Terms of the log likelihood, from counts in fine bins."""
    return ln_likelihood_of(components, p, compressed, frame)


def mixtures(p: Mapping[str, FloatArray], frame: Frame, places: Places) -> dict[str, Mixture]:
    """Law of ln R of each draw and place."""
    return mixtures_of(components, p, frame, places)


FAMILY = Family("switching-failure", priors, ln_likelihood, mixtures)
