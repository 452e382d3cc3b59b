"""What SET and RESET do: log odds of failures and the outcome of a SET."""

from __future__ import annotations

from typing import Any

from devicefit.families.core import Here, ln_add, ln_expit, shift, shifted_position
from devicefit.families.frame import Frame
from devicefit.families.prior import LN10

DEVIATION_FAILURE = 1.5
"""Prior standard deviation of the smooth deviations of log odds of failures."""


def ln_odds(here: Here, name: str) -> Any:
    """Natural logarithm of the odds of a failure, in mid range `log10_NAME`.

    They are straight over the range, with a smooth deviation and an effect of the array. Failed
    RESETs become more with the programming: filaments of too strong SETs are hard to break, so that
    the error rate rises again.
    """
    p = here.p
    slope = LN10 * p.get(f"{name}_slope", 0.0) * (here.places.position - 0.5)
    return p[f"log10_{name}"] * LN10 + slope + shift(p, name, DEVIATION_FAILURE)


def set_outcome(xp: Any, frame: Frame, here: Here) -> tuple[Any, Any]:
    """Ln probability that a SET works, and that it fails."""
    p = here.p
    floor = p["log10_set_floor"] * LN10 + shift(p, "set_floor")
    if frame.is_single:
        return ln_expit(xp, -floor), ln_expit(xp, floor)
    # q_SET = floor + (1 - floor) * transition; odds keep every probability inside (0, 1).
    centre = p["set_centre"] if frame.is_current else p["onset"] + p["set_offset"]
    transition = (centre - shifted_position(here)) / xp.exp(p["ln_set_width"])
    ln_works = ln_expit(xp, -transition) + ln_expit(xp, -floor)
    ln_fails = ln_add(xp, ln_expit(xp, floor), ln_expit(xp, transition) + ln_expit(xp, -floor))
    if frame.second is None:
        return ln_works, ln_fails
    # A second variable below its own onset lets no SET happen, however strong the first.
    other = (p["second_centre"] - here.places.second) / xp.exp(p["ln_second_width"])
    ln_fails = ln_add(xp, ln_fails, ln_works + ln_expit(xp, other))
    return ln_works + ln_expit(xp, -other), ln_fails
