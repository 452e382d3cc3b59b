"""Location and spread of both states as functions of the programming variable.

The formulas take ``xp``, either numpy or pytensor.tensor, so that the fit and the later use of its
draws run the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.compression import Compressed
from devicefit.programming import FloatArray, Programming

R_REFERENCE_OHM = 1e4
OVERDRIVE_REFERENCE = 0.1


@dataclass(frozen=True)
class Frame:
    """Scale on which a model sees the programming variable: 0 and 1 are the measured ends.

    Parameters
    ----------
    programming : Programming
        The programming variable.
    low, high : float
        Smallest and largest measured value, SI.
    """

    programming: Programming
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"frame from {self.low} to {self.high}: low must be below high")

    @classmethod
    def of(cls, compressed: Compressed) -> Frame:
        """Frame of the measured range."""
        conditions = compressed.conditions
        return cls(compressed.programming, float(conditions[0]), float(conditions[-1]))

    def position(self, x: FloatArray) -> FloatArray:
        """Place of `x` in the measured range, 0 to 1 inside it."""
        low, high = self.programming.coordinate([self.low, self.high])
        return np.asarray((self.programming.coordinate(x) - low) / (high - low))


@dataclass(frozen=True)
class Core:
    """Mean and standard deviation of ln R of well-programmed cells (arrays or expressions)."""

    mean_lrs: Any
    sd_lrs: Any
    mean_hrs: Any
    sd_hrs: Any


def core(xp: Any, p: Mapping[str, Any], frame: Frame, position: Any) -> Core:
    """Location and spread of ln R in both states.

    Parameters
    ----------
    xp : module
        ``numpy`` or ``pytensor.tensor``.
    p : mapping
        Parameters of :func:`devicefit.priors.core_priors`, broadcastable against `position`.
    frame : Frame
        Measured range.
    position : array or expression
        Place in the measured range.

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
    """
    if frame.programming.is_current:
        after_set = position - 0.5
    else:
        # A cell that was never SET keeps its HRS: what the SET changes begins at the onset.
        beyond = position - p["onset"]
        after_set = xp.where(beyond > 0, beyond, 0.0)
    mean_hrs = p["ln_r_hrs"] + p["hrs_slope"] * after_set
    ln_sd_hrs = p["ln_sd_hrs"] + p["hrs_sd_slope"] * after_set
    if frame.programming.is_current:
        ln_low, ln_high = np.log(frame.low), np.log(frame.high)
        ln_relative = (position - 0.5) * (ln_high - ln_low)
        ln_filament = p["ln_v_c"] - 0.5 * (ln_low + ln_high) - p["exponent"] * ln_relative
    else:
        width = xp.exp(p["ln_onset_width"])
        overdrive = width * _softplus(xp, (position - p["onset"]) / width)
        # The tiny addition only keeps the logarithm finite far below the onset.
        ln_ratio = xp.log(overdrive / OVERDRIVE_REFERENCE + 1e-12)
        ln_filament = p["ln_r_filament"] - p["exponent"] * ln_ratio
    ln_path = ln_add(xp, p["ln_r_series"], ln_filament)
    filament_share = xp.exp(ln_filament - ln_path)
    ln_filament_sd = p["ln_sd_filament"] + p["sd_exponent"] * (
        ln_filament - np.log(R_REFERENCE_OHM)
    )
    variance = xp.exp(2 * p["ln_sd_floor"])
    if frame.programming.is_current:
        mean_lrs = ln_path
        # A relative spread of 3 is beyond any reading; the cap keeps wild proposals finite.
        variance = variance + _capped_square(xp, ln_filament_sd, filament_share)
    else:
        mean_lrs = -ln_add(xp, -mean_hrs, -ln_path)
        path_share = xp.exp(mean_lrs - ln_path)
        hrs_share = xp.exp(mean_lrs - mean_hrs)
        variance = (
            variance
            + _capped_square(xp, ln_filament_sd, filament_share * path_share)
            + (hrs_share * xp.exp(ln_sd_hrs)) ** 2
        )
    return Core(mean_lrs, xp.sqrt(variance), mean_hrs, xp.exp(ln_sd_hrs))


def ln_add(xp: Any, a: Any, b: Any) -> Any:
    """``ln(e^a + e^b)`` of finite arguments, with a gradient that stays finite.

    ``pytensor.tensor.logaddexp`` has the right value, but the gradient is 0/0 where both
    exponentials underflow: a reading 38 standard deviations from every component.
    """
    larger = xp.where(a > b, a, b)
    smaller = xp.where(a > b, b, a)
    return larger + xp.log1p(xp.exp(smaller - larger))


def _softplus(xp: Any, z: Any) -> Any:
    return ln_add(xp, 0.0, z)


def _capped_square(xp: Any, ln_sd: Any, share: Any) -> Any:
    limit = np.log(3.0)
    ln_capped = -ln_add(xp, -ln_sd, -limit)
    return (share * xp.exp(ln_capped)) ** 2


def data_starts(compressed: Compressed, frame: Frame) -> dict[str, float]:
    """Values near which chains start, read off the data where the prior mean may be far away.

    A start decides nothing once chains agree, but a chain that begins on the wrong side of the
    SET onset may never find the right one.

    Returns
    -------
    dict of str to float
        ``ln_r_hrs`` and ``ln_r_series`` from the median and the smallest mean of ln R; for a knob
        that sets the current also ``onset``: halfway between the conditions where the LRS mean
        falls below the geometric middle of HRS and strongest LRS.
    """
    position = frame.position(compressed.conditions)
    lrs, hrs = compressed.states["LRS"], compressed.states["HRS"]
    mean_hrs = float(np.median(hrs.mean[hrs.n > 0]))
    seen = lrs.n > 0
    lowest = float(np.quantile(lrs.mean[seen], 0.1))
    starts = {"ln_r_hrs": mean_hrs, "ln_r_series": lowest - 0.1}
    if not frame.programming.is_current:
        below = lrs.mean[seen] < (mean_hrs + lowest) / 2
        # The split of the conditions into "not set" and "set" with the fewest exceptions.
        wrong = np.concatenate([[0], np.cumsum(below)]) + np.concatenate(
            [np.cumsum(~below[::-1])[::-1], [0]]
        )
        cut = int(wrong.argmin())
        at = position[seen]
        edges = np.concatenate([[at[0] - 0.1], at, [at[-1] + 0.1]])
        starts["onset"] = float((edges[cut] + edges[cut + 1]) / 2)
    return starts
