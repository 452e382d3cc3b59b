"""Failures of devices that a fit has not seen: the number, its interval and the density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp, xlog1py

from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.fitting.fitted import Fitted
from devicefit.inputs.programming import beyond
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.measurements.single_readings import single_readings
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.persistence.persistence import predict_failing
from devicefit.persistence.windows import WindowedPersistence, windowed_persistence
from devicefit.prediction.counted_errors import group_conditions
from devicefit.prediction.places import READ_AT, on_new_arrays
from devicefit.prediction.sides import DRAWS, Sides, flat_draws, sides, threshold_words

DEVICES_PER_BIN = 200
LEVELS = (0.025, 0.5, 0.975)
READINGS = ("once", "persistent", "independent")
"""How the readings of a device are taken to fail: there is one; as fitted; or anew each time.

The last is for fits without repeated readings, and makes the interval too narrow where devices
differ.
"""
COLUMNS = (
    "programming_low programming_high state devices failures_observed failures_q025 failures_q500 "
    "failures_q975 failures_crps log_predictive_density readings extrapolated as_array new_array"
).split()
"""Of :func:`predict`."""


def fit_persistence(
    device: Fitted,
    measurements: Measurements,
    *,
    options: SensingOptions,
    rng: np.random.Generator,
) -> dict[str, WindowedPersistence]:
    """How much devices differ in their failures, for states that were read repeatedly.

    Returns
    -------
    dict of str to WindowedPersistence
        For each state in which some device has two readings or more; `DRAWS` draws.
    """
    found = sides(device, measurements, options=options)
    table = found.readings
    persistence = {}
    for state in STATES:
        rows = found.of_state(state, decided=True)
        number = pd.factorize(table["device_id"][rows], sort=True)[0]
        if len(number) == number.max(initial=-1) + 1:
            continue
        counts = _counts(number, found.places.of_row[rows], found.fails[rows])
        windows = windowed_persistence(
            *counts,
            found.probability[state].mean(axis=0),
            found.places.x,
            draws=DRAWS,
            rng=rng,
        )
        persistence[state] = replace(windows, threshold_ohm=options.threshold_ohm)
    return persistence


def _counts(
    device: IntArray, place: IntArray, fails: np.ndarray
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """(device, place, failing readings, readings) of each pair that occurs."""
    pairs, of_row = np.unique(np.stack([device, place]), axis=1, return_inverse=True)
    of_row = of_row.ravel()
    errors = np.bincount(of_row, fails).astype(np.int64)
    return pairs[0], pairs[1], errors, np.bincount(of_row)


def predict(
    device: Fitted,
    measurements: Measurements,
    *,
    persistence: Mapping[str, WindowedPersistence] | None = None,
    options: SensingOptions,
    devices_per_bin: int = DEVICES_PER_BIN,
    as_array: str | None = None,
    new_array: bool = False,
    read_at: Mapping[str, Sequence[float]] | None = None,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Predict the failures of devices and compare them with what was read.

    Parameters
    ----------
    device : Fitted
        Fitted family or stack.
    measurements : Measurements
        Devices that were not fitted.
    persistence : dict of str to WindowedPersistence, optional
        From :func:`fit_persistence`; needed for devices with several readings of a state.
    options : SensingOptions
        Threshold of the 1T1R read.
    devices_per_bin : int, optional
        Neighbouring programming values are pooled until a bin has so many devices.
    as_array : str, optional
        Fitted array that all readings are taken to be on, whatever they say.
    new_array : bool, optional
        Whether readings of arrays that were not fitted are predicted, each such array drawn from
        the law between arrays.
    read_at : mapping of str to (low, high), optional
        What :func:`reading_ranges` says of the fitted readings.
    rng : numpy.random.Generator
        For the predicted numbers.

    Returns
    -------
    pandas.DataFrame
        One row per (bin, state). ``devices``: devices read in the state. ``failures_observed``:
        devices with a reading on the wrong side of the threshold. ``failures_q025, q500, q975``:
        quantiles of the posterior predictive number of such devices. ``failures_crps``:
        :func:`ranked_score` of that number. ``log_predictive_density``:
        sum over the readings of ln of the posterior mean density of ln(R / ohm), or of the
        posterior mean probability where a reading is known by bounds. A reading whose bounds do
        not tell its side of the threshold counts in this sum alone. ``readings``: how those of one
        device are taken to fail, see :data:`READINGS`. ``extrapolated``: whether a reading was
        taken outside the ranges that were fitted. ``as_array``, ``new_array``: what was given.

    Raises
    ------
    ValueError
        As of :func:`places_of`; there are no single readings; or devices were read repeatedly, and
        how failures persist was fitted at another threshold.
    """
    if new_array and as_array is not None:
        raise ValueError(f"--as-array {as_array} and --new-array: give one of them")
    if new_array:
        device, measurements = on_new_arrays(device, measurements)
    table = single_readings(measurements)
    if not len(table):
        raise ValueError(
            f"{measurements.source}: no single readings of devices; counts and summaries do not "
            "tell which devices fail, give resistance_ohm"
        )
    known = _known_persistence(measurements.source, table, persistence or {}, options)
    found = sides(device, measurements, options=options, as_array=as_array)
    outside = _outside_fit(table, device.frame, read_at or {})
    ln_density = _ln_densities(found)
    records = []
    for low, high in _bins(measurements, devices_per_bin):
        inside = table["programming"].between(low, high).to_numpy()
        for state in STATES:
            rows = found.of_state(state, decided=True)
            rows = rows[inside[rows]]
            if not len(rows):
                continue
            every = found.of_state(state)
            records.append(
                {
                    "programming_low": low,
                    "programming_high": high,
                    "state": state,
                    **_failures(found, state, rows, known.get(state), rng),
                    "log_predictive_density": float(ln_density[every[inside[every]]].sum()),
                    "extrapolated": bool(outside[rows].any()),
                    "as_array": as_array,
                    "new_array": new_array,
                }
            )
    return pd.DataFrame(records, columns=COLUMNS)


def _failures(
    found: Sides,
    state: str,
    rows: IntArray,
    persistence: WindowedPersistence | None,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Devices of some rows that fail, counted and predicted; how their readings hang together."""
    number, names = pd.factorize(found.readings["device_id"].to_numpy()[rows], sort=True)
    counts = _counts(number, found.places.of_row[rows], found.fails[rows])
    failing = int((np.bincount(counts[0], counts[2]) > 0).sum())
    predicted = _predicted(counts, found.probability[state], found.places.x, persistence, rng)
    q025, q500, q975 = np.quantile(predicted, LEVELS, method="inverted_cdf")
    repeated = len(rows) > len(names)
    return {
        "devices": len(names),
        "failures_observed": failing,
        "failures_q025": int(q025),
        "failures_q500": int(q500),
        "failures_q975": int(q975),
        "failures_crps": ranked_score(predicted, failing),
        "readings": READINGS[(1 if persistence else 2) if repeated else 0],
    }


def ranked_score(predicted: IntArray, observed: int) -> float:
    """Continuous ranked probability score of a number, from draws of it; less is better.

    Sum over k of ``(P(K <= k) - [observed <= k])^2``: the distance from the observed number for a
    sure prediction, less for a wide one that holds it (Gneiting and Raftery 2007, equation 20).
    """
    k = np.arange(min(int(predicted.min()), observed), max(int(predicted.max()), observed) + 1)
    below = np.searchsorted(np.sort(predicted), k, side="right") / len(predicted)
    return float(np.sum((below - (k >= observed)) ** 2))


def reading_ranges(measurements: Measurements) -> dict[str, list[float]]:
    """Smallest and largest value of what readings were taken at beside the programming."""
    table = measurements.table
    known = [name for name in READ_AT if name in table and table[name].notna().any()]
    return {name: [float(table[name].min()), float(table[name].max())] for name in known}


def _outside_fit(
    table: pd.DataFrame, frame: Frame, read_at: Mapping[str, Sequence[float]]
) -> NDArray[np.bool_]:
    """Which readings were taken outside what was fitted; columns that the fit lacked tell nothing.

    Shape (row,).
    """
    second = table["programming_2"].to_numpy() if frame.second is not None else None
    outside = frame.extrapolated(table["programming"].to_numpy(), second)
    for name, (low, high) in read_at.items():
        if name in table:
            outside = outside | beyond(table[name], low, high)
    return outside


def _known_persistence(
    source: str,
    table: pd.DataFrame,
    persistence: Mapping[str, WindowedPersistence],
    options: SensingOptions,
) -> dict[str, WindowedPersistence]:
    """Persistence that holds at the threshold; refuses where another one would be needed."""
    known = {}
    for state, found in persistence.items():
        if found.threshold_ohm == options.threshold_ohm:
            known[state] = found
        elif table.loc[table["state"] == state, "device_id"].duplicated().any():
            asked = "" if options.threshold_ohm is None else f" {options.threshold_ohm:.12g}"
            raise ValueError(
                f"{source}: devices were read repeatedly in {state}, and how failures "
                f"persist was fitted with {threshold_words(found.threshold_ohm)}, not with "
                f"{threshold_words(options.threshold_ohm)}: other readings fail there. Fit again "
                f"the same readings with `rram-reliability fit --measurements FILE "
                f"--out DIR{asked and ' --threshold-ohm' + asked}` and predict "
                "from that"
            )
    return known


def _bins(measurements: Measurements, devices_per_bin: int) -> list[tuple[float, float]]:
    """Ends of bins that have at least so many devices, or of one bin."""
    groups = group_conditions(measurements, devices_per_group=devices_per_bin)
    table = single_readings(measurements)
    last = table.loc[table["programming"] >= groups[-1][0], "device_id"].nunique()
    if len(groups) > 1 and last < devices_per_bin:
        return [*groups[:-2], (groups[-2][0], groups[-1][1])]
    return groups


def _predicted(
    counts: tuple[IntArray, IntArray, IntArray, IntArray],
    probability: FloatArray,
    x: FloatArray,
    persistence: WindowedPersistence | None,
    rng: np.random.Generator,
) -> IntArray:
    """Number of failing devices, a few simulations of each draw."""
    device, place, _, trials = counts
    if persistence is not None:
        use = np.arange(persistence.draws) % len(probability)
        # The other conditions need no solution for their mean.
        here, column = np.unique(place, return_inverse=True)
        return predict_failing(
            device, column, trials, probability[use][:, here], persistence.at(x[here]), rng=rng
        ).devices
    if len(device) > device.max() + 1:
        # Readings of one device at several places, none of them fitted repeatedly.
        ln_pass = xlog1py(trials, -probability[:, place])
        passes = np.zeros((len(probability), device.max() + 1))
        for row, of_device in enumerate(device):
            passes[:, of_device] += ln_pass[:, row]
        return rng.binomial(1, -np.expm1(passes)).sum(axis=1)
    fails = -np.expm1(xlog1py(trials, -probability[:, place]))
    repeated = np.repeat(np.arange(len(fails)), 4)
    # Devices at one place have one probability: a binomial number each.
    used, of_column = np.unique(np.stack([place, trials]), axis=1, return_inverse=True)
    number = np.bincount(of_column.ravel(), minlength=used.shape[1])
    first = np.unique(of_column.ravel(), return_index=True)[1]
    return np.asarray(rng.binomial(number, fails[:, first][repeated]).sum(axis=1))


def _ln_densities(found: Sides) -> FloatArray:
    """Ln of the posterior mean density of each reading, or probability between its bounds."""
    ln_density = np.empty(len(found.readings))
    with np.errstate(divide="ignore"):  # no lower bound is 0 ohm
        ends = np.log(found.readings[["low_ohm", "high_ohm"]].to_numpy(dtype=np.float64)).T
    for state, law in found.laws.items():
        rows = found.of_state(state)
        ln_density[rows] = _ln_predictive(
            flat_draws(law, DRAWS // 2), found.places.of_row[rows], *ends[:, rows]
        )
    return ln_density


def _ln_predictive(law: Mixture, place: IntArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Ln of the posterior mean density of each reading, or probability between its bounds."""
    found = np.empty(len(low))
    draws = law.location.shape[1]
    block = max(1, int(4e6 // (draws * law.components)))
    exact = low == high
    for of_kind in (np.flatnonzero(exact), np.flatnonzero(~exact)):
        for start in range(0, len(of_kind), block):
            rows = of_kind[start : start + block]
            part = law.part((slice(None), place[rows]))
            if exact[rows[0]]:
                each = part.ln_density(low[rows])
            else:
                each = part.ln_interval(low[rows], high[rows])
            found[rows] = logsumexp(each, axis=0) - np.log(draws)
    return found
