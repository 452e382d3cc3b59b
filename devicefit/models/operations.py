"""What SET and RESET do: log odds of failures and the outcome of a SET."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from devicefit.models.core import Core, core, ln_expit, shifted_position, smooth
from devicefit.models.frame import Frame, Places
from devicefit.priors import LN10

DEVIATION_FAILURE = 1.5
"""Prior standard deviation of the smooth deviations of log odds of failures."""


def ln_odds(
    p: Mapping[str, Any], name: str, frame: Frame, places: Places, scale: float = DEVIATION_FAILURE
) -> Any:
    """Natural logarithm of odds with their smooth deviation and shift of the array."""
    odds = p[f"log10_{name}"] * LN10
    if f"{name}_deviation" in p:
        odds = odds + scale * smooth(p, name, frame, places)
    if f"{name}_array" in p:
        odds = odds + p[f"{name}_array"][..., places.array]
    return odds


def set_outcome(xp: Any, p: Mapping[str, Any], frame: Frame, places: Places) -> tuple[Any, Any]:
    """Ln probability that a SET works, and that it fails."""
    floor = ln_odds(p, "set_floor", frame, places)
    if frame.is_single:
        return ln_expit(xp, -floor), ln_expit(xp, floor)
    # q_SET = floor + (1 - floor) * transition; odds keep every probability inside (0, 1).
    centre = p["set_centre"] if frame.is_current else p["onset"] + p["set_offset"]
    transition = (centre - shifted_position(p, frame, places)) / xp.exp(p["ln_set_width"])
    ln_works = ln_expit(xp, -transition) + ln_expit(xp, -floor)
    ln_fails = xp.logaddexp(ln_expit(xp, floor), ln_expit(xp, transition) + ln_expit(xp, -floor))
    if frame.second is None:
        return ln_works, ln_fails
    # A second variable below its own onset lets no SET happen, however strong the first.
    other = (p["second_centre"] - places.second) / xp.exp(p["ln_second_width"])
    ln_fails = xp.logaddexp(ln_fails, ln_works + ln_expit(xp, other))
    return ln_works + ln_expit(xp, -other), ln_fails


def strongest_core(xp: Any, p: Mapping[str, Any], frame: Frame, places: Places) -> Core:
    """Core at the strong end of the range, of the array of each place."""
    if frame.is_single:
        return core(xp, p, frame, places)
    one_array = len(frame.arrays) == 1
    n = 1 if one_array else len(places.position)
    at_end = frame.places(
        np.full(n, frame.high), array=places.array[:1] if one_array else places.array
    )
    return core(xp, p, frame, at_end)
