"""Location and spread of both states as functions of the programming variables.

Physics first, then a smooth deviation from it. The formulas take ``xp``, ``pytensor.tensor`` or
``numpy``, so that the fit and the later use of its draws run the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from devicefit.families.frame import Frame, Places
from devicefit.sampling.prior import Prior

R_REFERENCE_OHM = 1e4
R_INCOMPLETE_OHM = 3e3
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
        Values of the parameters at each place (:mod:`devicefit.likelihood.at_places`): numbers,
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
        Parameters of :func:`devicefit.families.prior_tables.core_priors`, and where.

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
        sd_lrs = xp.exp(p["ln_sd_lrs"] + shift(p, "lrs_ln_sd"))
        sd_hrs = xp.exp(p["ln_sd_hrs"] + shift(p, "hrs_ln_sd"))
        mean_lrs = p["ln_r_lrs"] + shift(p, "lrs_location")
        return Core(mean_lrs, sd_lrs, p["ln_r_hrs"] + shift(p, "hrs_location"), sd_hrs)
    position = shifted_position(here)
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
    if frame.second is not None:
        mean_hrs = mean_hrs + p["hrs_second"] * places.second
    sd_hrs = xp.exp(ln_sd_hrs)
    ln_own = ln_filament(xp, frame, here)
    mean_lrs, variance = _read_path(xp, frame, here, ln_own)
    if not frame.is_current:
        mean_lrs, variance = _beside(xp, mean_lrs, variance, mean_hrs, sd_hrs)
    moved = _path_shift(frame, here)
    series, filament = p["ln_r_series"] + moved, ln_own + moved
    return Core(mean_lrs, xp.sqrt(variance), mean_hrs, sd_hrs, series, filament)


def incomplete_set(xp: Any, frame: Frame, here: Here, of: Core) -> tuple[Any, Any]:
    """Mean and standard deviation of ln R of cells whose SET was incomplete.

    Their filament has a resistance ``exp(k)`` times the ordinary one, with a spread of its own:
    ``ln k`` is linear in the logarithm of the filament's resistance. So they stand out less where
    programming is strong and the series resistance is most of what is read. What the cell conducted
    before lies beside the filament, so that they stay below the HRS.
    """
    p = here.p
    own_variance = xp.exp(2 * p["ln_incomplete_sd"])
    if frame.is_single:
        mean = of.mean_lrs + xp.exp(p["ln_incomplete_rise"])
        variance = of.sd_lrs**2 + own_variance
    else:
        ln_own = ln_filament(xp, frame, here)
        steeper = p["incomplete_exponent"] * (ln_own - np.log(R_INCOMPLETE_OHM))
        rise = xp.exp(p["ln_incomplete_rise"] + steeper)
        mean, variance = _read_path(xp, frame, here, ln_own + rise, own_variance)
    mean, variance = _beside(xp, mean, variance, of.mean_hrs, of.sd_hrs)
    return mean, xp.sqrt(variance)


def _path_shift(frame: Frame, here: Here) -> Any:
    """What shifts ln R of the whole LRS path away from the physics."""
    moved = shift(here.p, "lrs_location", DEVIATION_LOCATION)
    if frame.second is not None and frame.is_current:
        moved = moved + here.p["lrs_second"] * here.places.second
    return moved


def _read_path(
    xp: Any, frame: Frame, here: Here, ln_own: Any, own_variance: Any = 0.0
) -> tuple[Any, Any]:
    """Mean and variance of ln R of a filament and what is in series with it.

    `ln_own` is the filament's ln R, `own_variance` that of a further spread of it.
    """
    p = here.p
    ln_path = ln_add(xp, p["ln_r_series"], ln_own)
    filament_share = xp.exp(ln_own - ln_path)
    ln_sd_shift = shift(p, "lrs_ln_sd", DEVIATION_LN_SD)
    ln_sd = p["ln_sd_filament"] + p["sd_exponent"] * (ln_own - np.log(R_REFERENCE_OHM))
    # A relative spread of 3 is beyond any reading; the cap keeps wild proposals finite.
    capped = xp.exp(-ln_add(xp, -(ln_sd + ln_sd_shift), -np.log(3.0)))
    variance = xp.exp(2 * (p["ln_sd_floor"] + ln_sd_shift))
    variance = variance + filament_share**2 * (capped**2 + own_variance)
    return ln_path + _path_shift(frame, here), variance


def _beside(xp: Any, ln_path: Any, variance: Any, mean_hrs: Any, sd_hrs: Any) -> tuple[Any, Any]:
    """Mean and variance of ln R of a path beside which the unset cell conducts."""
    mean = -ln_add(xp, -mean_hrs, -ln_path)
    path_share, hrs_share = xp.exp(mean - ln_path), xp.exp(mean - mean_hrs)
    return mean, variance * path_share**2 + (hrs_share * sd_hrs) ** 2


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


@dataclass(frozen=True)
class PathCoordinates:
    """Coordinates in which a sampler follows the LRS path of a programming variable with ease.

    Readings tell the resistance of the strongest LRS well, and hardly which part of it is in
    series: along that ridge the logarithms of both parts bend. In the place of `ln_r_series` stands
    here the logarithm of the whole path at the strong end, in that of the filament's level the
    log odds of the series part of it. Densities are the same in both, the determinant is one.

    Parameters
    ----------
    is_current : bool
        Whether the programming variable is the compliance current itself.
    ln_middle, ln_width : float or expression
        As of :class:`devicefit.families.frame.Places`.
    """

    is_current: bool
    ln_middle: Any = 0.0
    ln_width: Any = 0.0

    @classmethod
    def of(cls, frame: Frame) -> PathCoordinates | None:
        """For a measured range; None where it has neither a path nor several arrays."""
        if frame.is_single and len(frame.arrays) == 1:
            return None
        at = frame.places(np.array([frame.high]))
        return cls(frame.is_current, at.ln_middle, at.ln_width)

    def in_model(self, model: Any) -> PathCoordinates:
        """The same for the PyMC model of a family, which has the measured range as data."""
        return replace(self, ln_middle=model["ln_middle"], ln_width=model["ln_width"])

    def scales(self, priors: Sequence[Prior]) -> tuple[Prior, ...]:
        """The table of priors, with centre and scale of both coordinates."""
        return tuple(replace(p, mean=0.0, sd=1.5) if p.name == self.level else p for p in priors)

    @property
    def level(self) -> str:
        """Parameter that scales the filament."""
        return "ln_v_c" if self.is_current else "ln_r_filament"

    def parameters(self, xp: Any, coordinates: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of the table of priors, numbers by name."""
        if "ln_r_series" not in coordinates:
            return dict(coordinates)
        ln_path, odds = coordinates["ln_r_series"], coordinates[self.level]
        return {
            **coordinates,
            "ln_r_series": ln_path + ln_expit(xp, odds),
            self.level: ln_path + ln_expit(xp, -odds) - self._over_level(xp, coordinates),
        }

    def ln_volume(self, xp: Any, coordinates: Mapping[str, Any]) -> Any:
        """Ln of the volume of parameters that a unit of volume of coordinates holds."""
        return 0.0

    def coordinates(self, xp: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse."""
        if "ln_r_series" not in parameters:
            return dict(parameters)
        ln_series = parameters["ln_r_series"]
        ln_own = parameters[self.level] + self._over_level(xp, parameters)
        return {
            **parameters,
            "ln_r_series": ln_add(xp, ln_series, ln_own),
            self.level: ln_series - ln_own,
        }

    def _over_level(self, xp: Any, p: Mapping[str, Any]) -> Any:
        """Logarithm of the filament at the strong end over its level."""
        if self.is_current:
            return -self.ln_middle - p["exponent"] * 0.5 * self.ln_width
        over = _ln_overdrive(xp, 1.0 - p["onset"], p["ln_onset_width"], OVERDRIVE_REFERENCE)
        return -p["exponent"] * over


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
