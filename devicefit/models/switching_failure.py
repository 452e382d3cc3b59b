"""States whose operations sometimes fail, with skewed cores: what real arrays do.

An LRS reading is a core with a wider part, an incomplete SET somewhere between core and HRS, or a
failed SET that still reads like HRS. An HRS reading is a core with a broader part, which makes its
skew, a far right tail, a weak RESET on the way back to LRS, or a failed RESET, a cluster near the
strongest LRS. All parts are normal in
ln R, so error rates have closed forms. The second part of a core is always the wider one: nothing
can be exchanged without changing the law.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from devicefit.compressed import Compressed
from devicefit.mixture import Mixture
from devicefit.models.components import Component, ln_likelihood_of, mixtures_of
from devicefit.models.core import Core, core, ln_add, ln_expit, smooth
from devicefit.models.family import Family
from devicefit.models.frame import Frame, Places
from devicefit.priors import LN10, Prior, core_priors, failure_priors, shape_priors
from devicefit.programming import FloatArray

# Prior standard deviations of the smooth deviations of log odds.
DEVIATION_FAILURE = 1.5
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


def _ln_odds(
    p: Mapping[str, Any], name: str, frame: Frame, places: Places, scale: float = DEVIATION_FAILURE
) -> Any:
    """Natural logarithm of odds with their smooth deviation and shift of the array."""
    odds = p[f"log10_{name}"] * LN10
    if f"{name}_deviation" in p:
        odds = odds + scale * smooth(p, name, frame, places)
    if f"{name}_array" in p:
        odds = odds + p[f"{name}_array"][..., places.array]
    return odds


def _set_fails(xp: Any, p: Mapping[str, Any], frame: Frame, places: Places) -> tuple[Any, Any]:
    """Ln probability that a SET works, and that it fails."""
    floor = _ln_odds(p, "set_floor", frame, places)
    if frame.is_single:
        return ln_expit(xp, -floor), ln_expit(xp, floor)
    # q_SET = floor + (1 - floor) * transition; odds keep every probability inside (0, 1).
    centre = p["set_centre"] if frame.is_current else p["onset"] + p["set_offset"]
    position = places.position
    if frame.second is not None:
        position = position + p["second_shift"] * places.second
    transition = (centre - position) / xp.exp(p["ln_set_width"])
    ln_works = ln_expit(xp, -transition) + ln_expit(xp, -floor)
    if frame.second is None:
        ln_fails = ln_add(xp, ln_expit(xp, floor), ln_expit(xp, transition) + ln_expit(xp, -floor))
        return ln_works, ln_fails
    # A second variable below its own onset lets no SET happen, however strong the first.
    other = (p["second_centre"] - places.second) / xp.exp(p["ln_second_width"])
    ln_first = ln_add(xp, ln_expit(xp, floor), ln_expit(xp, transition) + ln_expit(xp, -floor))
    ln_fails = ln_add(xp, ln_first, ln_works + ln_expit(xp, other))
    return ln_works + ln_expit(xp, -other), ln_fails


def components(
    xp: Any, p: Mapping[str, Any], frame: Frame, places: Places
) -> dict[str, list[Component]]:
    """Components of both states."""
    c = core(xp, p, frame, places)
    strongest = _strongest(xp, p, frame, places)
    broad = p["logit_broad"] + DEVIATION_SHAPE * smooth(p, "broad", frame, places)
    if "broad_array" in p:
        broad = broad + p["broad_array"][..., places.array]
    ln_near = ln_expit(xp, -p["logit_far"])
    hrs = [
        Component(ln_near + ln_expit(xp, -broad), c.mean_hrs, c.sd_hrs),
        Component(
            ln_near + ln_expit(xp, broad),
            c.mean_hrs + p["broad_shift"] * c.sd_hrs,
            c.sd_hrs * (1 + xp.exp(p["ln_broad_excess"])),
        ),
        Component(
            ln_expit(xp, p["logit_far"]),
            c.mean_hrs + xp.exp(p["ln_far_shift"]) * c.sd_hrs,
            c.sd_hrs * (1 + xp.exp(p["ln_far_excess"])),
        ),
    ]
    # The way from HRS to the strongest LRS; the second part keeps a spread where there is no way.
    way = xp.sqrt((c.mean_hrs - strongest.mean_lrs) ** 2 + c.sd_hrs**2)
    stuck = _ln_odds(p, "reset_floor", frame, places)
    weak = _ln_odds(p, "weak_reset", frame, places)
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
            strongest.mean_lrs + STUCK_CENTRE + STUCK_REACH * xp.tanh(p["stuck_offset"]),
            xp.exp(p["ln_sd_stuck"]),
        ),
    ]
    opened = [
        Component(ln_opens + ln_expit(xp, -weak) + h.ln_weight, h.location, h.scale) for h in hrs
    ]
    before = [*opened, *failed]
    ln_works, ln_fails = _set_fails(xp, p, frame, places)
    gap = c.mean_hrs - c.mean_lrs
    incomplete = _ln_odds(p, "incomplete", frame, places)
    place = xp.exp(ln_expit(xp, p["logit_incomplete_place"]))
    gap_sd = xp.exp(p["ln_incomplete_sd"]) * gap
    ln_whole = ln_works + ln_expit(xp, -incomplete)
    lrs = [
        Component(ln_whole + ln_expit(xp, -p["logit_wide"]), c.mean_lrs, c.sd_lrs),
        Component(
            ln_whole + ln_expit(xp, p["logit_wide"]),
            c.mean_lrs + p["wide_shift"] * c.sd_lrs,
            c.sd_lrs * (1 + xp.exp(p["ln_wide_excess"])),
        ),
        Component(
            ln_works + ln_expit(xp, incomplete),
            c.mean_lrs + place * gap,
            xp.sqrt(c.sd_lrs**2 + gap_sd**2),
        ),
        # A SET that did not happen leaves the cell as it was, whatever its RESET had done.
        *(Component(ln_fails + h.ln_weight, h.location, h.scale) for h in before),
    ]
    return {"LRS": lrs, "HRS": before}


def _strongest(xp: Any, p: Mapping[str, Any], frame: Frame, places: Places) -> Core:
    """Core at the strong end of the range, of the array of each place."""
    if frame.is_single:
        return core(xp, p, frame, places)
    one_array = len(frame.arrays) == 1
    n = 1 if one_array else len(places.position)
    at_end = frame.places(
        np.full(n, frame.high), array=places.array[:1] if one_array else places.array
    )
    return core(xp, p, frame, at_end)


def ln_likelihood(p: Mapping[str, Any], compressed: Compressed, frame: Frame) -> Any:
    """Log likelihood from counts in fine bins, as a PyTensor expression."""
    return ln_likelihood_of(components, p, compressed, frame)


def mixtures(p: Mapping[str, FloatArray], frame: Frame, places: Places) -> dict[str, Mixture]:
    """Law of ln R of each draw and place."""
    return mixtures_of(components, p, frame, places)


FAMILY = Family("switching-failure", priors, ln_likelihood, mixtures)
