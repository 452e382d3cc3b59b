"""Which readings are failures: thresholds of the states, and how probable it is to be beyond."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import SensingOptions
from devicefit.distributions.threshold import choose_threshold
from devicefit.fitting.fitted import Fitted
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.measurements.single_readings import is_above, single_readings
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.prediction.places import Places, places_of

DRAWS = 1000

_THRESHOLDS = 401


def thresholds(
    device: Fitted, x: FloatArray, options: SensingOptions, second: FloatArray | None = None
) -> FloatArray:
    """Ln of the 1T1R threshold in ohm at programming values, chosen or given.

    Above `_THRESHOLDS` distinct values the chosen one is interpolated.
    """
    if options.threshold_ohm is not None:
        return np.full(len(x), np.log(options.threshold_ohm))
    if second is not None:
        found = np.empty(len(x))
        for value in np.unique(second):
            at = second == value
            found[at] = thresholds(device.at_second(float(value)), x[at], options)
        return found
    values = np.unique(x)
    scale = device.frame.programming.coordinate
    if len(values) > _THRESHOLDS:
        values = device.frame.programming.grid(values[0], values[-1], _THRESHOLDS)
    laws = {s: law.thinned(50) for s, law in device.mixtures(values).items()}
    chosen = choose_threshold(laws["LRS"], laws["HRS"])
    return np.asarray(np.interp(scale(x), scale(values), chosen))


@dataclass(frozen=True)
class Sides:
    """Which readings fail, and how probable the model holds that.

    Parameters
    ----------
    readings : pandas.DataFrame
        From :func:`devicefit.measurements.single_readings.single_readings`.
    places : Places
        Conditions of the readings.
    decided : bool array, shape (row,)
        Whether the side of a reading is known; of one that is known by bounds it may not be.
    fails : bool array, shape (row,)
        Whether a reading is known to be on the wrong side of its threshold.
    probability : dict of str to float array, shape (draw, place)
        For each state.
    laws : dict of str to Mixture
        Law of ln R of each state at the places.
    """

    readings: pd.DataFrame
    places: Places
    decided: np.ndarray
    fails: np.ndarray
    probability: dict[str, FloatArray]
    laws: dict[str, Mixture]

    def of_state(self, state: str, *, decided: bool = False) -> IntArray:
        """Rows of the readings of a state, or of those whose side is known."""
        chosen = (self.readings["state"] == state).to_numpy()
        return np.flatnonzero(chosen & self.decided if decided else chosen)


def sides(
    device: Fitted,
    measurements: Measurements,
    *,
    options: SensingOptions,
    as_array: str | None = None,
    draws: int = DRAWS,
) -> Sides:
    """Compare readings with the fitted threshold."""
    table = single_readings(measurements)
    places = places_of(measurements, device.frame, table=table, as_array=as_array)
    threshold = thresholds(device, places.x, options, places.second)
    laws = device.mixtures(places.x, second=places.second, array=places.array)
    probability = {}
    for state in STATES:
        law = flat_draws(laws[state], draws)
        tail = law.ln_survival if state == "LRS" else law.ln_distribution
        probability[state] = np.exp(tail(threshold))
    above, decided = is_above(table, np.exp(threshold)[places.of_row])
    lrs = (table["state"] == "LRS").to_numpy()
    return Sides(table, places, decided, decided & (above == lrs), probability, laws)


def flat_draws(law: Mixture, draws: int) -> Mixture:
    """About `draws` evenly spaced draws of all chains, trailing shape (draw, place)."""
    thin = law.thinned(max(1, draws // law.location.shape[1]))
    shape = (thin.components, -1, thin.location.shape[-1])
    dof = None
    if thin.dof is not None:
        dof = np.broadcast_to(thin.dof, thin.location.shape).reshape(shape)
    return Mixture(
        thin.ln_weight.reshape(shape),
        thin.location.reshape(shape),
        thin.scale.reshape(shape),
        thin.kernels,
        dof,
    )


def threshold_words(threshold_ohm: float | None) -> str:
    """How a threshold was set, in words; NaN where that is not known."""
    if threshold_ohm is None:
        return "the threshold that is chosen for each programming value"
    return (
        "a threshold that was not stored"
        if np.isnan(threshold_ohm)
        else (f"the threshold {threshold_ohm:.12g} ohm")
    )
