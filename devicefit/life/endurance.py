"""Bit errors over programming cycles: a slow drift, and units that wear out for good.

A unit is what wears out as one: a cell, or a group of cells whose readings move together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, ndtr

from devicefit.families.core import ln_add
from devicefit.inputs.programming import beyond
from devicefit.life.fit import LifeDraws, sample_life
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import Prior

if TYPE_CHECKING:
    import pymc as pm

PRIORS = (
    Prior("logit_rate", -6.5, 2.5, "logit of the error share of sound units, mid range", "weak"),
    Prior("slope", 0.0, 1.0, "power of the cycles in that share, late", "weak; drift either way"),
    Prior("settling", 0.0, 1.0, "that power early, minus that late", "weak, either way"),
    Prior("bend", 0.0, 0.5, "where it changes; -1 first, 1 last measured ln cycles", "weak"),
    Prior(
        "ln_cycles_worn",
        math.log(1e7),
        3.5,
        "ln of the cycles by which half of the units are worn out",
        "weak; 3e4 to 3e9. Published: above 1e8 (Garbin 2015), degraded at 1e7 (Dalgaty 2021)",
    ),
    Prior("ln_sd_worn", math.log(1.5), 0.5, "ln of the sd of ln cycles to wear-out", "weak"),
    Prior(
        "logit_worn_error",
        0.4,
        1.0,
        "logit of the share of otherwise right readings that a worn-out unit gets wrong",
        "by what worn out means: 22 to 89 %",
    ),
    Prior("logit_icc", -4.0, 2.0, "logit of the lasting correlation of a sound unit", "weak"),
    Prior(
        "ln_burst",
        0.0,
        1.5,
        "ln of the length of its bursts of errors, readings",
        "weak; 0.1 to 12",
    ),
    Prior("logit_icc_worn", -1.0, 1.5, "logit of the correlation of a worn-out unit", "weak"),
)

BEND_WIDTH = 0.35
"""Rounding of the bend in ln cycles: a third of a decade."""


@dataclass(frozen=True)
class EnduranceCounts:
    """Errors of one state, by unit and window of cycles.

    Parameters
    ----------
    cycles : float array, shape (window,)
        Cycles that stand for each window, ascending, positive.
    errors, trials : int array, shape (unit, window)
        Readings on the wrong side, and all; a unit may have no trials in a window.

    Raises
    ------
    ValueError
        Shapes or counts contradict each other.
    """

    cycles: FloatArray
    errors: IntArray
    trials: IntArray

    def __post_init__(self) -> None:
        if self.errors.ndim != 2 or self.errors.shape != self.trials.shape:
            raise ValueError("errors and trials must both have the shape (unit, window)")
        if self.errors.shape[1] != len(self.cycles):
            raise ValueError(
                f"{len(self.cycles)} windows of cycles for {self.errors.shape[1]} columns of counts"
            )
        if not len(self.cycles) or self.cycles[0] <= 0 or not np.all(np.diff(self.cycles) > 0):
            raise ValueError("cycles of windows must be positive and ascending")
        if np.any(self.errors < 0) or np.any(self.errors > self.trials):
            raise ValueError("errors must lie between 0 and trials")
        if not self.trials.sum(axis=0).all():
            window = int(np.flatnonzero(self.trials.sum(axis=0) == 0)[0])
            raise ValueError(f"window {window} ({self.cycles[window]:.3g} cycles) has no trial")

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.errors)

    def windows(self, keep: np.ndarray) -> EnduranceCounts:
        """Some of the windows."""
        return EnduranceCounts(self.cycles[keep], self.errors[:, keep], self.trials[:, keep])

    def decades(self) -> list[tuple[float, float, np.ndarray]]:
        """Decades that have windows: low, high, which windows."""
        place = np.floor(np.log10(self.cycles) + 1e-9).astype(int)
        return [(10.0 ** int(d), 10.0 ** int(d + 1), place == d) for d in np.unique(place)]


def count_windows(
    unit: ArrayLike,
    cycles: ArrayLike,
    wrong: ArrayLike,
    *,
    trials: ArrayLike | None = None,
    per_decade: int = 3,
) -> EnduranceCounts:
    """Count readings of one state by unit and window.

    Parameters
    ----------
    unit : array, shape (reading,)
        Names of units.
    cycles : array, shape (reading,)
        Cycles before each reading, positive.
    wrong : array, shape (reading,)
        Whether the reading is an error, or how many of `trials` are.
    trials : int array, shape (reading,), optional
        Readings of each row; one when left out.
    per_decade : int, optional
        Windows per decade; empty ones are left out.

    Returns
    -------
    EnduranceCounts
        The cycles of a window are the geometric mean of its readings.
    """
    _, rows = np.unique(np.asarray(unit), return_inverse=True)
    at = np.asarray(cycles, dtype=np.float64)
    if not len(at) or not (np.isfinite(at) & (at > 0)).all():
        raise ValueError("cycles must be positive and finite; count the first programming as 1")
    _, columns = np.unique(np.floor(np.log10(at) * per_decade + 1e-9), return_inverse=True)
    shape = (int(rows.max()) + 1, int(columns.max()) + 1)
    flat = np.ravel_multi_index((rows.ravel(), columns.ravel()), shape)
    size = shape[0] * shape[1]
    weight = np.ones(len(at)) if trials is None else np.asarray(trials, dtype=np.float64)
    totals = np.bincount(flat, weights=weight, minlength=size).reshape(shape)
    errors = np.bincount(flat, weights=np.asarray(wrong, dtype=float), minlength=size)
    ln_cycles = np.bincount(columns.ravel(), weights=weight * np.log(at)) / totals.sum(axis=0)
    return EnduranceCounts(
        np.exp(ln_cycles), errors.astype(np.int64).reshape(shape), totals.astype(np.int64)
    )


@dataclass(frozen=True)
class EnduranceState:
    """Posterior of the errors of one state over cycles.

    Parameters
    ----------
    fitted : LifeDraws
        Parameters of :data:`PRIORS`.
    cycles_low, cycles_high : float
        Measured range.
    """

    fitted: LifeDraws
    cycles_low: float
    cycles_high: float

    def parts(self, cycles: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Error share of sound units, share of worn-out units and their error share.

        Each of shape (chain, draw, cycles).
        """
        ln_c = np.log(np.atleast_1d(np.asarray(cycles, dtype=np.float64)))
        p = {name: self.fitted[name][..., None] for name in self.fitted.names}
        sound = expit(
            _logit_sound(_softplus, p, ln_c, math.log(self.cycles_low), math.log(self.cycles_high))
        )
        worn = ndtr((ln_c - p["ln_cycles_worn"]) / np.exp(p["ln_sd_worn"]))
        return sound, worn, sound + (1 - sound) * expit(p["logit_worn_error"])

    def kappas(self, trials: IntArray, chosen: IntArray) -> tuple[FloatArray, FloatArray]:
        """Sum of both shapes of the beta law of a window's errors, sound and worn out.

        Of the `chosen` draws (chains flattened), shape (draw, *trials), and (draw, 1, 1).
        """
        p = {n: self.fitted[n].reshape(-1)[chosen][:, None, None] for n in self.fitted.names}
        odds = np.exp(p["logit_icc"]) + np.exp(p["ln_burst"]) / np.maximum(trials, 1)
        return 1 / (odds + 1e-9), 1 / (np.exp(p["logit_icc_worn"]) + 1e-9)

    def ber(self, cycles: ArrayLike) -> FloatArray:
        """Error share of a cell of any unit, shape (chain, draw, cycles)."""
        sound, worn, error = self.parts(cycles)
        return np.asarray(worn * error + (1 - worn) * sound)

    def extrapolated(self, cycles: ArrayLike) -> np.ndarray:
        """Where cycles lie outside the measured range."""
        return beyond(np.atleast_1d(cycles), self.cycles_low, self.cycles_high)


def fit_endurance(counts: EnduranceCounts, *, options: SamplerOptions) -> EnduranceState:
    """Fit the errors of one state over cycles.

    Parameters
    ----------
    counts : EnduranceCounts
        What was counted.
    options : SamplerOptions
        Chains, draws and seed.

    Returns
    -------
    EnduranceState

    Raises
    ------
    ValueError
        Only one window of cycles.

    Notes
    -----
    A sound unit errs with a share that goes as a power of the cycles, which may change once while
    the device settles. At a number of cycles of its own, lognormal over units, it wears out and
    errs in a share of the other readings too from then on. Counts of a unit in a window are
    beta-binomial: errors come in bursts of some readings, and a part of their correlation lasts for
    the whole window, however long it is. The window in which a unit wore out is summed over, which
    is exact. Units with the same counts are computed once.
    """
    if len(counts.cycles) < 2:
        raise ValueError(
            f"all readings are near {counts.cycles[0]:.3g} cycles, which tells no trend; measure "
            "after more cycles, spread over decades"
        )
    record = {
        "units": counts.units,
        "errors": int(counts.errors.sum()),
        "trials": int(counts.trials.sum()),
        "cycles_low": float(counts.cycles[0]),
        "cycles_high": float(counts.cycles[-1]),
    }
    fitted = sample_life(endurance_model(counts), PRIORS, options, record)
    return EnduranceState(fitted, float(counts.cycles[0]), float(counts.cycles[-1]))


def endurance_model(counts: EnduranceCounts) -> pm.Model:
    """Errors of one state over cycles as a PyMC model.

    Notes
    -----
    Named variables are those of :data:`PRIORS`; dimensions are ``window``, ``history`` (different
    histories of units) and ``count`` (different counts of a window). Data are ``pm.Data``.
    """
    # Imported where a model is built: commands that evaluate draws have no use for PyMC.
    import pymc as pm
    import pytensor.tensor as pt

    from devicefit.life.formulas import ln_beta_binomial, ln_normal_between, ln_total, normals
    from devicefit.likelihood.special_ops import ln_normal_cdf

    rows, units = np.unique(
        np.concatenate([counts.errors, counts.trials], axis=1), axis=0, return_counts=True
    )
    windows = len(counts.cycles)
    each = np.broadcast_to(np.arange(windows), (len(rows), windows))
    stacked = np.stack([each.ravel(), rows[:, windows:].ravel(), rows[:, :windows].ravel()])
    different, place = np.unique(stacked, axis=1, return_inverse=True)
    with pm.Model(check_bounds=False) as model:
        p = normals(PRIORS)
        ln_cycles = pm.Data("ln_cycles", np.log(counts.cycles), dims="window")
        window = pm.Data("window_of_count", different[0].astype(np.int32), dims="count")
        trials = pm.Data("trials", different[1].astype(float), dims="count")
        errors = pm.Data("errors", different[2].astype(float), dims="count")
        which = place.reshape(len(rows), windows).astype(np.int32)
        of_history = pm.Data("count_of_history", which, dims=("history", "window"))
        number = pm.Data("units", units.astype(float), dims="history")

        logit = _logit_sound(pt.softplus, p, ln_cycles, ln_cycles[0], ln_cycles[-1])
        ln_p, ln_q = -pt.softplus(-logit), -pt.softplus(logit)
        # a worn-out unit errs where a sound one does, and in a share of the rest
        ln_p_worn = ln_add(pt, ln_p, ln_q - pt.softplus(-p["logit_worn_error"]))
        ln_q_worn = ln_q - pt.softplus(p["logit_worn_error"])
        ln_odds = ln_add(pt, p["logit_icc"], p["ln_burst"] - pt.log(pt.maximum(trials, 1.0)))
        sound = ln_beta_binomial(errors, trials, ln_p[window], ln_q[window], ln_odds)
        worn = ln_beta_binomial(
            errors, trials, ln_p_worn[window], ln_q_worn[window], p["logit_icc_worn"]
        )
        # Units wear out before the first window, between two of them, or after the last.
        z = (ln_cycles - p["ln_cycles_worn"]) / pt.exp(p["ln_sd_worn"])
        ln_when = pt.concatenate(
            [ln_normal_cdf(z[:1]), ln_normal_between(z[:-1], z[1:]), ln_normal_cdf(-z[-1:])]
        )
        gained = pt.cumsum((sound - worn)[of_history], axis=1)
        gained = pt.concatenate([pt.zeros_like(gained[:, :1]), gained], axis=1)
        ln_history = ln_total(ln_when + gained) + worn[of_history].sum(axis=1)
        pm.Potential("histories", pt.sum(number * ln_history))
    return model


def _softplus(x: FloatArray) -> FloatArray:
    return np.logaddexp(0.0, x)


def _logit_sound(
    softplus: Callable[[Any], Any], p: Mapping[str, Any], ln_cycles: Any, ln_low: Any, ln_high: Any
) -> Any:
    """Logit of the error share of sound units: two powers of the cycles, joined by a bend."""
    x, half = ln_cycles - (ln_low + ln_high) / 2, (ln_high - ln_low) / 2
    before = BEND_WIDTH * softplus((p["bend"] * half - x) / BEND_WIDTH)
    return p["logit_rate"] + p["slope"] * x - p["settling"] * before
