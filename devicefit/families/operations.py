"""What SET and RESET do: log odds of failures and the outcome of a SET."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from devicefit.families.core import (
    Here,
    PathCoordinates,
    ln_add,
    ln_expit,
    shift,
    shifted_position,
)
from devicefit.families.frame import Frame
from devicefit.families.prior_tables import IN_SD, spread_between_arrays
from devicefit.sampling.prior import LN10, Prior

DEVIATION_FAILURE = 1.5
"""Prior standard deviation of the smooth deviations of log odds of failures."""


def with_shifts(xp: Any, placed: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters at places, and the shifts of arrays that are in units of their sd.

    Parameters
    ----------
    xp : module
        ``numpy`` or ``pytensor.tensor``.
    placed : mapping of str to array or expression
        Parameters at places.
    """
    of = {name: name.removesuffix(IN_SD) for name in placed if name.endswith(IN_SD)}
    return {**placed} | {of[n]: placed[n] * xp.exp(placed[f"ln_sd_{of[n]}"]) for n in of}


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


@dataclass(frozen=True)
class FailureCoordinates(PathCoordinates):
    """The same, the transition of the SETs over a current, and how arrays differ in failures.

    Where all of it lies below the measured range, readings tell the odds of a failed SET at the
    weak end: `set_centre` over the width of the transition. If something else explains what fails,
    they tell neither, and the priors tell both. In the place of `set_centre` stands what lies
    between: it over the square root of the width. On simulated devices it alone or those odds gave
    a quarter of the effective draws, or divergences. So do shifts of arrays in units of their sd
    where failures of each are known, and the shifts themselves where they are not: here they are in
    units of its square root.
    """

    def scales(self, priors: Sequence[Prior]) -> tuple[Prior, ...]:
        """The table of priors, with centre and scale of the coordinates."""
        found = super().scales(priors)
        return tuple(replace(p, mean=-1.5, sd=1.0) if p.name == "set_centre" else p for p in found)

    def parameters(self, xp: Any, coordinates: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of the table of priors, by name."""
        found = super().parameters(xp, coordinates)
        if "set_centre" in found:
            found["set_centre"] = found["set_centre"] * xp.exp(0.5 * found["ln_set_width"])
        for name, ln_sd in _scaled(found).items():
            found[name] = found[name] * xp.exp(-0.5 * _for_vector(xp, ln_sd))
        return found

    def ln_volume(self, xp: Any, coordinates: Mapping[str, Any]) -> Any:
        """Ln of the volume of parameters that a unit of volume of coordinates holds."""
        volume = 0.5 * coordinates["ln_set_width"] if "set_centre" in coordinates else 0.0
        for name, ln_sd in _scaled(coordinates).items():
            volume = volume - 0.5 * ln_sd * _length(xp, coordinates[name])
        return volume

    def coordinates(self, xp: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of :meth:`parameters`."""
        found = super().coordinates(xp, parameters)
        if "set_centre" in found:
            found["set_centre"] = found["set_centre"] / xp.exp(0.5 * found["ln_set_width"])
        for name, ln_sd in _scaled(found).items():
            found[name] = found[name] * xp.exp(0.5 * _for_vector(xp, ln_sd))
        return found


def _scaled(p: Mapping[str, Any]) -> dict[str, Any]:
    """Ln of the sd between arrays of each shift that is in units of it."""
    return {name: p[spread_between_arrays(name)] for name in p if name.endswith(IN_SD)}


def _for_vector(xp: Any, number: Any) -> Any:
    """A number to multiply a vector with."""
    return np.asarray(number)[..., None] if xp is np else number


def _length(xp: Any, vector: Any) -> Any:
    if xp is np:
        return vector.shape[-1]
    # Imported where there is a model: commands that evaluate draws have no use for PyTensor.
    from devicefit.sampling.parts import length

    return length(vector)[0]
