"""Location and spread of both states as functions of the programming variables.

Physics first, then a smooth deviation from it. The formulas take ``xp``, ``pytensor.tensor`` or
``numpy``, so that the fit and the later use of its draws run the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.families.frame import Frame, Places

R_REFERENCE_OHM = 1e4
OVERDRIVE_REFERENCE = 0.1
SECOND_REFERENCE = 0.5

# Prior standard deviations of the smooth deviations from the physics.
DEVIATION_LOCATION = 0.2
DEVIATION_LN_SD = 0.3


@dataclass(frozen=True)
class Core:
    """Mean and standard deviation of ln R of well-programmed cells (arrays or expressions).

    `mean_lrs` is that of the read path: series resistance and filament. The two apart are
    `ln_series` and `ln_filament`, ln ohm; None where one condition does not tell them apart.
    """

    mean_lrs: Any
    sd_lrs: Any
    mean_hrs: Any
    sd_hrs: Any
    ln_series: Any = None
    ln_filament: Any = None


@dataclass(frozen=True)
class Here:
    """Parameters at places, and these places: what the laws of a family are formulas of.

    Parameters
    ----------
    p : mapping of str to array or expression
        Values of the parameters at each place (:mod:`devicefit.families.at_places`): numbers,
        smooth deviations and effects of arrays alike.
    places : Places
        Where.
    """

    p: Mapping[str, Any]
    places: Places


def core(xp: Any, frame: Frame, here: Here) -> Core:
    """Location and spread of ln R in both states.

    Parameters
    ----------
    xp : module
        ``numpy`` or ``pytensor.tensor``.
    frame : Frame
        Which variables there are.
    here : Here
        Parameters of :func:`devicefit.families.prior.core_priors`, and where.

    Notes
    -----
    HRS: ``mean`` and ``ln sd`` are linear in the position; with a knob, from the SET onset on.

    LRS with the compliance current I as variable: ``R = R_s + R_f``, ``R_f = V_c / I^b`` (I in
    units of the geometric middle of the range, so that V_c is ``R_f`` times that current).

    LRS with a knob that sets the current (gate voltage, pulse width): ``R_f`` falls as a power of
    the overdrive above an onset, and what the unset cell conducts is added, so that a pulse too
    weak to SET leaves the HRS: ``1/R = 1/R_HRS + 1/(R_s + R_f)``.

    Spread, by propagation of the filament's relative spread ``s_f (R_f / 10 kohm)^c`` through the
    series and parallel parts; c = 1/2 when the filament is a Poisson count of defects.

    A second variable shifts the first one's position, since a longer pulse does what a higher
    voltage does. Beside a knob it limits the SET itself, as the bit line does: the current flows
    through the transistor and what is left of the voltage beyond a second onset, so a part is added
    to ``R_f`` that falls as one over the second overdrive. Beside a current it has a linear effect
    on ln R. The ``*_deviation`` terms are a Gaussian process in the position on each of the four
    functions; arrays shift all four, and the position.
    """
    p, places = here.p, here.places
    if frame.is_single:
        ln_sd_lrs = p["ln_sd_lrs"] + shift(p, "lrs_ln_sd")
        ln_sd_hrs = p["ln_sd_hrs"] + shift(p, "hrs_ln_sd")
        return Core(
            p["ln_r_lrs"] + shift(p, "lrs_location"),
            xp.exp(ln_sd_lrs),
            p["ln_r_hrs"] + shift(p, "hrs_location"),
            xp.exp(ln_sd_hrs),
        )
    position = shifted_position(here)
    after_second: Any = 0.0 if frame.second is None else places.second
    if frame.is_current:
        after_set = position - 0.5
    else:
        # A cell that was never SET keeps its HRS: what the SET changes begins at the onset.
        after_set = xp.maximum(position - p["onset"], 0.0)
    mean_hrs = (
        p["ln_r_hrs"] + p["hrs_slope"] * after_set + shift(p, "hrs_location", DEVIATION_LOCATION)
    )
    ln_sd_hrs = (
        p["ln_sd_hrs"] + p["hrs_sd_slope"] * after_set + shift(p, "hrs_ln_sd", DEVIATION_LN_SD)
    )
    lrs_shift = shift(p, "lrs_location", DEVIATION_LOCATION)
    ln_sd_shift = shift(p, "lrs_ln_sd", DEVIATION_LN_SD)
    if frame.second is not None:
        mean_hrs = mean_hrs + p["hrs_second"] * after_second
        if frame.is_current:
            lrs_shift = lrs_shift + p["lrs_second"] * after_second
    ln_own = ln_filament(xp, frame, here)
    ln_path = ln_add(xp, p["ln_r_series"], ln_own)
    filament_share = xp.exp(ln_own - ln_path)
    ln_path = ln_path + lrs_shift
    ln_filament_sd = (
        p["ln_sd_filament"] + ln_sd_shift + p["sd_exponent"] * (ln_own - np.log(R_REFERENCE_OHM))
    )
    variance = xp.exp(2 * (p["ln_sd_floor"] + ln_sd_shift))
    if frame.is_current:
        mean_lrs = ln_path
        # A relative spread of 3 is beyond any reading; the cap keeps wild proposals finite.
        variance = variance + _capped_square(xp, ln_filament_sd, filament_share)
    else:
        mean_lrs = -ln_add(xp, -mean_hrs, -ln_path)
        path_share = xp.exp(mean_lrs - ln_path)
        hrs_share = xp.exp(mean_lrs - mean_hrs)
        variance = (
            variance * path_share**2
            + _capped_square(xp, ln_filament_sd, filament_share * path_share)
            + (hrs_share * xp.exp(ln_sd_hrs)) ** 2
        )
    return Core(
        mean_lrs,
        xp.sqrt(variance),
        mean_hrs,
        xp.exp(ln_sd_hrs),
        p["ln_r_series"] + lrs_shift,
        ln_own + lrs_shift,
    )


def ln_filament(xp: Any, frame: Frame, here: Here) -> Any:
    """Logarithm of the filament's resistance in ohm by the physics, without the smooth deviation.

    Parameters as of :func:`core`; more than one condition.
    """
    p, places, position = here.p, here.places, shifted_position(here)
    if frame.is_current:
        ln_relative = (position - 0.5) * places.ln_width
        return p["ln_v_c"] - places.ln_middle - p["exponent"] * ln_relative
    ln_over = _ln_overdrive(xp, position - p["onset"], p["ln_onset_width"], OVERDRIVE_REFERENCE)
    found = p["ln_r_filament"] - p["exponent"] * ln_over
    if frame.second is None:
        return found
    ln_over = _ln_overdrive(
        xp, places.second - p["second_centre"], p["ln_second_width"], SECOND_REFERENCE
    )
    return ln_add(xp, found, p["ln_r_second"] - ln_over)


def shifted_position(here: Here) -> Any:
    """Position with the shifts by the second variable and by the array."""
    p, places = here.p, here.places
    position = places.position + shift(p, "position")
    if "second_shift" in p:
        position = position + p["second_shift"] * places.second
    return position


def shift(p: Mapping[str, Any], name: str, scale: float = 1.0) -> Any:
    """Smooth deviation, of prior standard deviation `scale`, plus effect of the array, if any."""
    return scale * p.get(f"{name}_deviation", 0.0) + p.get(f"{name}_array", 0.0)


def ln_add(xp: Any, a: Any, b: Any) -> Any:
    """``ln(exp(a) + exp(b))``, with a slope that is finite everywhere."""
    return xp.logaddexp(a, b) if xp is np else a + xp.softplus(b - a)


def ln_expit(xp: Any, z: Any) -> Any:
    """Logarithm of the logistic function."""
    return -np.logaddexp(0.0, -z) if xp is np else -xp.softplus(-z)


def _ln_overdrive(xp: Any, beyond: Any, ln_width: Any, reference: float) -> Any:
    """Natural logarithm of the overdrive in units of `reference`; its onset is rounded."""
    width = xp.exp(ln_width)
    overdrive = -width * ln_expit(xp, -beyond / width)
    # The tiny addition only keeps the logarithm finite far below the onset.
    return xp.log(overdrive / reference + 1e-12)


def _capped_square(xp: Any, ln_sd: Any, share: Any) -> Any:
    limit = np.log(3.0)
    ln_capped = -ln_add(xp, -ln_sd, -limit)
    return (share * xp.exp(ln_capped)) ** 2
