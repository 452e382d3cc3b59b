"""States whose operations sometimes fail, with skewed cores: what real arrays do.

An LRS reading is a core with a wider part, an incomplete SET, whose filament has a higher
resistance, or a failed SET that still reads like HRS. An HRS reading is a core with a broader part,
which makes its skew, a far right tail, a weak RESET on the way back to LRS, or a failed RESET, a
cluster near the strongest LRS. All parts are normal in ln R, so error rates have closed forms. The
second part of a core is always the wider one: nothing can be exchanged without changing the law.
"""

from __future__ import annotations

from typing import Any

from devicefit.families.components import Component, Laws
from devicefit.families.core import Here, core, incomplete_set, ln_expit, shift
from devicefit.families.family import Family
from devicefit.families.frame import Frame
from devicefit.families.operations import FailureCoordinates, ln_odds, set_outcome
from devicefit.families.prior_tables import core_priors, failure_priors, shape_priors
from devicefit.sampling.prior import Prior

# Prior standard deviation of the smooth deviation of the log odds of the broad part.
DEVIATION_SHAPE = 0.5

# A failed RESET reads between 0.9 below and 0.5 above the strongest LRS in ln R.
STUCK_CENTRE, STUCK_REACH = -0.2, 0.7

# A weak RESET ends between HRS and LRS: its place, fraction of the way, is within 0.25
# of the middle and its spread within a factor of two of 0.12. Bounded, so that it never becomes
# the tail of the HRS itself.
WEAK_REACH = 0.25
WEAK_SD, WEAK_SD_REACH = 0.12, 0.7


def priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of the core, of its shape and of the failures."""
    return (*core_priors(frame), *shape_priors(frame), *failure_priors(frame))


def laws(xp: Any, frame: Frame, here: Here, strongest: Here) -> Laws:
    """Components of both states."""
    p, c = here.p, core(xp, frame, here)
    strongest_lrs = core(xp, frame, strongest).mean_lrs
    slope = p.get("broad_slope", 0.0) * (here.places.position - 0.5)
    broad = p["logit_broad"] + slope + shift(p, "broad", DEVIATION_SHAPE)
    ln_near = ln_expit(xp, -p["logit_far"])
    pair = _pair(xp, c.mean_hrs, c.sd_hrs, (broad, p["broad_shift"], p["ln_broad_excess"]))
    hrs = [
        *(Component(ln_near + h.ln_weight, h.location, h.scale) for h in pair),
        Component(
            ln_expit(xp, p["logit_far"]),
            c.mean_hrs + xp.exp(p["ln_far_shift"]) * c.sd_hrs,
            c.sd_hrs * (1 + xp.exp(p["ln_far_excess"])),
        ),
    ]
    # The way from HRS to the strongest LRS; the second part keeps a spread where there is no way.
    way = xp.sqrt((c.mean_hrs - strongest_lrs) ** 2 + c.sd_hrs**2)
    stuck = ln_odds(here, "reset_floor")
    weak = ln_odds(here, "weak_reset")
    ln_opens = ln_expit(xp, -stuck)
    weak_place = 0.5 + WEAK_REACH * xp.tanh(p["weak_place"])
    weak_sd = WEAK_SD * xp.exp(WEAK_SD_REACH * xp.tanh(p["weak_sd"]))
    failed = [
        Component(
            ln_opens + ln_expit(xp, weak),
            c.mean_hrs - weak_place * way,
            weak_sd * way,
        ),
        Component(
            ln_expit(xp, stuck),
            # Bounded: a cluster at or below the LRS, never the tail of the HRS.
            strongest_lrs + STUCK_CENTRE + STUCK_REACH * xp.tanh(p["stuck_place"]),
            xp.exp(p["ln_sd_stuck"]),
        ),
    ]
    opened = [
        Component(ln_opens + ln_expit(xp, -weak) + h.ln_weight, h.location, h.scale) for h in hrs
    ]
    before = [*opened, *failed]
    ln_works, ln_fails = set_outcome(xp, frame, here)
    incomplete = ln_odds(here, "incomplete")
    ln_whole = ln_works + ln_expit(xp, -incomplete)
    wide = (p["logit_wide"], p["wide_shift"], p["ln_wide_excess"])
    lrs = [
        *(
            Component(ln_whole + h.ln_weight, h.location, h.scale)
            for h in _pair(xp, c.mean_lrs, c.sd_lrs, wide)
        ),
        Component(ln_works + ln_expit(xp, incomplete), *incomplete_set(xp, frame, here, c)),
        # A SET that did not happen leaves the cell as it was, whatever its RESET had done.
        *(Component(ln_fails + h.ln_weight, h.location, h.scale) for h in before),
    ]
    return {"LRS": lrs, "HRS": before}


def _pair(xp: Any, mean: Any, sd: Any, second: tuple[Any, Any, Any]) -> list[Component]:
    """Two normal parts with this mean and standard deviation together.

    Readings tell those of both parts together well, whichever of the parts they belong to.
    `second` has the logit of the weight of the second part, its shift in standard deviations of the
    first, and ln of its width over that of the first less 1.
    """
    logit, shifted, ln_excess = second
    weight, ratio = xp.exp(ln_expit(xp, logit)), 1 + xp.exp(ln_excess)
    over_first = xp.sqrt(1 + weight * (ratio**2 - 1) + weight * (1 - weight) * shifted**2)
    first = sd / over_first
    low = mean - weight * shifted * first
    return [
        Component(ln_expit(xp, -logit), low, first),
        Component(ln_expit(xp, logit), low + shifted * first, ratio * first),
    ]


FAMILY = Family("skewed-failure", priors, laws, coordinates=FailureCoordinates.of)
