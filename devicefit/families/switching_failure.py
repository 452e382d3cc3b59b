"""Lognormal states whose operations sometimes fail.

An LRS reading is a normal core, an incomplete SET, whose filament has a higher resistance, or a
failed SET that still reads like HRS. An HRS reading is a normal core or a failed RESET, a cluster
near the strongest LRS. :mod:`devicefit.families.skewed_failure` adds what large measured arrays
need.
"""

from __future__ import annotations

from typing import Any

from devicefit.families.components import Component, Laws
from devicefit.families.core import Here, core, incomplete_set, ln_expit
from devicefit.families.family import Family
from devicefit.families.frame import Frame
from devicefit.families.operations import FailureCoordinates, ln_odds, set_outcome
from devicefit.families.prior_tables import core_priors, plain_failure_priors
from devicefit.sampling.prior import Prior


def priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of the core and of the failures."""
    return (*core_priors(frame), *plain_failure_priors(frame))


def laws(xp: Any, frame: Frame, here: Here, strongest: Here) -> Laws:
    """Components of both states."""
    p, c = here.p, core(xp, frame, here)
    strongest_lrs = core(xp, frame, strongest).mean_lrs
    ln_works, ln_fails = set_outcome(xp, frame, here)
    incomplete = ln_odds(here, "incomplete")
    stuck = ln_odds(here, "reset_floor")
    return {
        "LRS": [
            Component(ln_works + ln_expit(xp, -incomplete), c.mean_lrs, c.sd_lrs),
            Component(ln_works + ln_expit(xp, incomplete), *incomplete_set(xp, frame, here, c)),
            Component(ln_fails, c.mean_hrs, c.sd_hrs),
        ],
        "HRS": [
            Component(ln_expit(xp, -stuck), c.mean_hrs, c.sd_hrs),
            Component(
                ln_expit(xp, stuck),
                strongest_lrs + p["stuck_offset"],
                xp.exp(p["ln_sd_stuck"]),
            ),
        ],
    }


FAMILY = Family("switching-failure", priors, laws, coordinates=FailureCoordinates.of)
