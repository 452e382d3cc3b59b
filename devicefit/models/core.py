"""Location and spread of both states as functions of the programming variables.

Physics first, then a smooth deviation from it. The formulas take ``xp``, numpy or what records
them (:mod:`devicefit.tape`), so that the fit and the later use of its draws run the same
lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.models.frame import Frame, Places

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


def core(xp: Any, p: Mapping[str, Any], frame: Frame, places: Places) -> Core:
    """Location and spread of ln R in both states.

    Parameters
    ----------
    xp : module
        ``numpy``, or :data:`devicefit.tape.SYMBOLS`.
    p : mapping
        Parameters of :func:`devicefit.priors.core_priors`: scalars broadcastable against places,
        vectors with their terms or arrays as last axis.
    frame : Frame
        Measured range.
    places : Places
        Where.

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
    if frame.is_single:
        ln_sd_lrs = p["ln_sd_lrs"] + _array(p, "lrs_ln_sd", frame, places)
        ln_sd_hrs = p["ln_sd_hrs"] + _array(p, "hrs_ln_sd", frame, places)
        return Core(
            p["ln_r_lrs"] + _array(p, "lrs_location", frame, places),
            xp.exp(ln_sd_lrs),
            p["ln_r_hrs"] + _array(p, "hrs_location", frame, places),
            xp.exp(ln_sd_hrs),
        )
    position = shifted_position(p, frame, places)
    after_second: Any = 0.0 if frame.second is None else places.second
    if frame.is_current:
        after_set = position - 0.5
    else:
        # A cell that was never SET keeps its HRS: what the SET changes begins at the onset.
        after_set = xp.maximum(position - p["onset"], 0.0)
    mean_hrs = (
        p["ln_r_hrs"]
        + p["hrs_slope"] * after_set
        + DEVIATION_LOCATION * smooth(p, "hrs_location", frame, places)
        + _array(p, "hrs_location", frame, places)
    )
    ln_sd_hrs = (
        p["ln_sd_hrs"]
        + p["hrs_sd_slope"] * after_set
        + DEVIATION_LN_SD * smooth(p, "hrs_ln_sd", frame, places)
        + _array(p, "hrs_ln_sd", frame, places)
    )
    lrs_shift = DEVIATION_LOCATION * smooth(p, "lrs_location", frame, places) + _array(
        p, "lrs_location", frame, places
    )
    ln_sd_shift = DEVIATION_LN_SD * smooth(p, "lrs_ln_sd", frame, places) + _array(
        p, "lrs_ln_sd", frame, places
    )
    if frame.second is not None:
        mean_hrs = mean_hrs + p["hrs_second"] * after_second
        if frame.is_current:
            lrs_shift = lrs_shift + p["lrs_second"] * after_second
    ln_own = ln_filament(xp, p, frame, places, position)
    ln_path = xp.logaddexp(p["ln_r_series"], ln_own)
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
        mean_lrs = -xp.logaddexp(-mean_hrs, -ln_path)
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


def ln_filament(xp: Any, p: Mapping[str, Any], frame: Frame, places: Places, position: Any) -> Any:
    """Logarithm of the filament's resistance in ohm by the physics, without the smooth deviation.

    Parameters
    ----------
    xp, p, frame, places
        As of :func:`core`; more than one condition.
    position : array or expression
        Of :func:`shifted_position`.
    """
    if frame.is_current:
        ln_low, ln_high = np.log(frame.low), np.log(frame.high)
        ln_relative = (position - 0.5) * (ln_high - ln_low)
        return p["ln_v_c"] - 0.5 * (ln_low + ln_high) - p["exponent"] * ln_relative
    ln_over = _ln_overdrive(xp, position - p["onset"], p["ln_onset_width"], OVERDRIVE_REFERENCE)
    found = p["ln_r_filament"] - p["exponent"] * ln_over
    if frame.second is None:
        return found
    ln_over = _ln_overdrive(
        xp, places.second - p["second_centre"], p["ln_second_width"], SECOND_REFERENCE
    )
    return xp.logaddexp(found, p["ln_r_second"] - ln_over)


def shifted_position(p: Mapping[str, Any], frame: Frame, places: Places) -> Any:
    """Position with the shifts by the second variable and by the array."""
    position = places.position + _array(p, "position", frame, places)
    if frame.second is not None:
        position = position + p["second_shift"] * places.second
    return position


def smooth(p: Mapping[str, Any], name: str, frame: Frame, places: Places) -> Any:
    """Value of a smooth deviation of unit prior scale at `places`; zero without terms."""
    if not frame.terms:
        return 0.0
    return p[f"{name}_deviation"] @ places.basis


def _array(p: Mapping[str, Any], name: str, frame: Frame, places: Places) -> Any:
    """Shift of each place's array; zero when there is one array."""
    if len(frame.arrays) == 1:
        return 0.0
    return p[f"{name}_array"][..., places.array]


def ln_expit(xp: Any, z: Any) -> Any:
    """Logarithm of the logistic function."""
    return -xp.logaddexp(0.0, -z)


def _ln_overdrive(xp: Any, beyond: Any, ln_width: Any, reference: float) -> Any:
    """Natural logarithm of the overdrive in units of `reference`; its onset is rounded."""
    width = xp.exp(ln_width)
    overdrive = width * xp.logaddexp(0.0, beyond / width)
    # The tiny addition only keeps the logarithm finite far below the onset.
    return xp.log(overdrive / reference + 1e-12)


def _capped_square(xp: Any, ln_sd: Any, share: Any) -> Any:
    limit = np.log(3.0)
    ln_capped = -xp.logaddexp(-ln_sd, -limit)
    return (share * xp.exp(ln_capped)) ** 2
