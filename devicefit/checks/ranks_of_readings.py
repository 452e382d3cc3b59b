"""Probability, under the posterior predictive law, that a reading is below each measured one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from devicefit.distributions.mixture import Mixture
from devicefit.fitting.fitted import Fitted
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.measurements.single_readings import single_readings
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.prediction.places import places_of

_DRAWS = 100
# Readings of a place beyond which the distribution function is interpolated, in normal scores.
_POINTS = 400
# Values (component, draw, point) that are held at a time.
_BLOCK = 4_000_000
_FARTHEST_SCORE = 38.0


@dataclass(frozen=True)
class RankedState:
    """Readings of a state by their place in the posterior predictive law.

    Parameters
    ----------
    low, high : float array, shape (reading,)
        Predictive probability of a smaller ln R, 0 to 1; two values for a reading that is known by
        bounds, else equal.
    device : int array, shape (reading,)
        Number of the device.
    order : int array, shape (reading,)
        Number of the condition, by array, second variable, programming value.
    programming : float array, shape (reading,)
        SI.
    """

    low: FloatArray
    high: FloatArray
    device: IntArray
    order: IntArray
    programming: FloatArray

    def below(self, level: float) -> FloatArray:
        """Share of each reading below a predictive quantile: 0 or 1, between with bounds."""
        with np.errstate(invalid="ignore", divide="ignore"):
            part = (level - self.low) / (self.high - self.low)
        exact = self.high == self.low
        return np.asarray(np.where(exact, self.low <= level, np.clip(part, 0.0, 1.0)), dtype=float)


def ranked_readings(device: Fitted, measurements: Measurements) -> dict[str, RankedState]:
    """Predictive probabilities of the readings of each state; states without readings are left out.

    Parameters
    ----------
    device : Fitted
        What was fitted to the readings: the mean over draws of the laws of their conditions.
    measurements : Measurements
        Single readings, exact or known by bounds.
    """
    table = single_readings(measurements)
    places = places_of(measurements, device.frame, table=table)
    with np.errstate(divide="ignore"):  # no lower bound is 0 ohm
        ends = np.log(table[["low_ohm", "high_ohm"]].to_numpy(dtype=np.float64)).T
    laws = device.mixtures(places.x, second=places.second, array=places.array)
    keys = [np.zeros(len(places.x)) if k is None else k for k in (places.second, places.array)]
    order = np.empty(len(places.x), dtype=np.int64)
    order[np.lexsort((places.x, *keys))] = np.arange(len(places.x))
    found = {}
    for state in STATES:
        rows = np.flatnonzero((table["state"] == state).to_numpy())
        if not len(rows):
            continue
        law = laws[state].thinned(max(1, _DRAWS // laws[state].location.shape[1]))
        # Both ends at once: what is interpolated must be alike.
        bounded = rows[ends[0][rows] < ends[1][rows]]
        at = np.concatenate([rows, bounded])
        value = np.concatenate([ends[0][rows], ends[1][bounded]])
        found_at = predictive(law, places.of_row[at], value)
        low = found_at[: len(rows)]
        high = low.copy()
        high[ends[0][rows] < ends[1][rows]] = found_at[len(rows) :]
        found[state] = RankedState(
            low,
            high,
            pd.factorize(table["device_id"].to_numpy()[rows])[0].astype(np.int64),
            order[places.of_row[rows]],
            places.x[places.of_row[rows]],
        )
    return found


def predictive(law: Mixture, place: IntArray, ln_r: FloatArray) -> FloatArray:
    """Mean over draws of the distribution function of readings at their places.

    Parameters
    ----------
    law : Mixture
        Trailing shape (chain, draw, place).
    place : int array, shape (reading,)
        Place of each reading.
    ln_r : float array, shape (reading,)
        Where; may be infinite.

    Returns
    -------
    float array, shape (reading,)

    Notes
    -----
    Where a place has hundreds of readings the normal score of the function, which is smooth, is
    interpolated between evenly spaced values.
    """
    found = np.where(ln_r > 0, 1.0, 0.0)
    finite = np.flatnonzero(np.isfinite(ln_r))
    by_place = finite[np.argsort(place[finite], kind="stable")]
    runs = np.split(by_place, np.flatnonzero(np.diff(place[by_place])) + 1)
    points, at = [], []
    for run in runs:
        values = ln_r[run]
        if len(run) > _POINTS:
            values = np.linspace(values.min(), values.max(), _POINTS)
        points.append(values)
        at.append(np.full(len(values), place[run[0]] if len(run) else 0))
    score = _scores(law, np.concatenate(at), np.concatenate(points))
    starts = np.cumsum([0, *(len(values) for values in points)])
    for k, run in enumerate(runs):
        own = score[starts[k] : starts[k + 1]]
        exact = len(run) <= _POINTS
        found[run] = ndtr(own if exact else np.interp(ln_r[run], points[k], own))
    return found


def _scores(law: Mixture, place: IntArray, ln_r: FloatArray) -> FloatArray:
    """Normal score of the mean distribution function, from the smaller of both tails."""
    chains, draws = law.location.shape[1:3]
    block = max(1, _BLOCK // (law.components * chains * draws))
    score = np.empty(len(ln_r))
    for start in range(0, len(ln_r), block):
        here = slice(start, start + block)
        part = law.part((slice(None), slice(None), place[here]))
        below = np.exp(part.ln_distribution(ln_r[here])).mean(axis=(0, 1))
        above = np.exp(part.ln_survival(ln_r[here])).mean(axis=(0, 1))
        score[here] = np.where(below < 0.5, ndtri(below), -ndtri(above))
    return np.clip(score, -_FARTHEST_SCORE, _FARTHEST_SCORE)
