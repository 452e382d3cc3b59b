"""Readings compressed to sufficient statistics and bins, per state and condition."""

from __future__ import annotations

import numpy as np
import pandas as pd

from devicefit.compression.accumulation import CELL, WIDE_BITS, accumulate, whole_sums
from devicefit.compression.exact_sums import (
    MOST_PER_CELL,
    NAMES,
    PLACE_BITS,
    STEPS,
    CellSums,
    ln_r_of,
    moments,
)
from devicefit.likelihood.compressed import (
    Compressed,
    CompressedState,
    DeviceCells,
    Intervals,
    Summaries,
)
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.numerics.arrays import FloatArray, IntArray

__all__ = ["BINS_PER_SPREAD", "Compressed", "CompressedState", "compress"]

BINS_PER_SPREAD = 20
"""Bins per robust standard deviation of ln R within one state and condition.

A reading is replaced by the mean of its bin, so a lone reading is kept to 2**-29 in ln R. The
variance lost inside a bin is near (1/20)^2/12 = 2e-4 of the spread's square, that of readings
spread evenly over the bin, and at most (1/20)^2/4 = 6e-4, that of readings at its two ends. Bins
are made of fine bins of 2**-11 in ln R; for spreads below 0.01 they are wider than a twentieth,
and never wider than that.
"""
CUT = 3.0
"""Robust spreads at which residuals are cut for the design effect."""


def compress(measurements: Measurements, *, bins_per_spread: int = BINS_PER_SPREAD) -> Compressed:
    """Compress readings to what the likelihoods need.

    Parameters
    ----------
    measurements : Measurements
        Checked readings.
    bins_per_spread : int, optional
        Bins per robust standard deviation, at least 4.

    Returns
    -------
    Compressed
        The same bytes whatever the order of the rows.

    Raises
    ------
    MeasurementError
        Readings that share device, state, condition and place in time.
    ValueError
        ``bins_per_spread`` below 4, or more than 2**26 readings of one device, state and condition.

    Notes
    -----
    The robust spread of a condition is half the distance of its 16 % and 84 % quantiles.

    Readings of one device resemble each other, so ``n`` readings of ``n/m`` devices tell less
    than ``n`` devices would. The design effect is the ratio of the cluster-robust variance of a
    mean to the variance under independence,

        deff = sum_d (sum_{i in d} r_i)^2 / sum_i r_i^2,

    with ``r_i`` the deviation of a reading from its condition's median in units of the robust
    spread, cut at 3 so that single failures do not dominate, and centred once more. Sums per
    device are over wide bins of 1/16 in ln R, cut as a whole where a bin's mean lies beyond, and
    squares are over fine bins. The likelihoods divide log-likelihoods by it: a composite likelihood
    with the right amount of information about locations and, since squared deviations are less
    correlated, too little about spreads, so the posterior is on the wide side.
    """
    if bins_per_spread < 4:
        raise ValueError(f"bins_per_spread is {bins_per_spread}; use at least 4")
    partial = accumulate(measurements.table, measurements.intervals, measurements.summaries)
    conditions, condition_codes = _sorted_codes(partial.conditions)
    arrays = sorted(set(conditions["array"]))
    devices, device_codes = _sorted_devices(partial.devices)

    def recoded(table: pd.DataFrame) -> pd.DataFrame:
        new = {"condition": condition_codes[table["condition"].to_numpy()]}
        if "device" in table:
            new["device"] = device_codes[table["device"].to_numpy()]
        return table.assign(**new)

    series, bins, wide, intervals, summaries = (
        recoded(table)
        for table in (
            partial.series, partial.bins, partial.wide, partial.intervals, partial.summaries,
        )
    )  # fmt: skip
    if len(series) and series["n"].max() > MOST_PER_CELL:
        raise ValueError(
            f"{series['n'].max()} readings of one device at one condition; at most "
            f"{MOST_PER_CELL} are taken, leave some out"
        )
    states, seen, unnamed = {}, [], []
    for code, state in enumerate(STATES):
        known, *binned, bounds, tables = (
            table[table["state"] == code] for table in (series, bins, wide, intervals, summaries)
        )
        states[state] = _compress_state(
            known, binned[0], binned[1], bounds, tables, len(conditions), bins_per_spread
        )
        pairs = known.drop_duplicates(list(CELL))["condition"]
        nameless = np.zeros(len(conditions), dtype=np.int64)
        for table in (bounds, tables):
            np.add.at(nameless, table["condition"].to_numpy(), table["unnamed"].to_numpy())
        seen.append(np.bincount(pairs, minlength=len(conditions)) + nameless)
        unnamed.append(nameless)
    code_of = {name: number for number, name in enumerate(arrays)}
    return Compressed(
        programming=measurements.programming,
        second=measurements.second,
        arrays=tuple(arrays),
        conditions=conditions["programming"].to_numpy(),
        second_values=conditions["second"].to_numpy(),
        array=conditions["array"].map(code_of).to_numpy(dtype=np.int64),
        states=states,
        devices=len(devices) + int(np.maximum(*unnamed).sum()),
        device_array=devices["array"].map(code_of).to_numpy(dtype=np.int64),
        devices_per_condition=np.minimum(*seen),
    )


def _sorted_codes(conditions: pd.DataFrame) -> tuple[pd.DataFrame, IntArray]:
    """Conditions in ascending order, and the place of each in it."""
    return _in_order(conditions, ["programming", "second", "array"])


def _sorted_devices(devices: pd.DataFrame) -> tuple[pd.DataFrame, IntArray]:
    """Devices in the order of their names, and the place of each in it."""
    names = devices["device"]
    if names.duplicated().any():
        # The same number on two arrays is two devices.
        names = devices["array"] + "/" + names
    return _in_order(devices.assign(name=names), ["name"])


def _in_order(table: pd.DataFrame, columns: list[str]) -> tuple[pd.DataFrame, IntArray]:
    """Rows in ascending order of some columns, and the place of each in it."""
    ordered = table.reset_index(drop=True).sort_values(columns, kind="stable")
    codes = np.empty(len(ordered), dtype=np.int64)
    codes[ordered.index.to_numpy()] = np.arange(len(ordered))
    return ordered.reset_index(drop=True), codes


def _compress_state(
    series: pd.DataFrame,
    bins: pd.DataFrame,
    wide: pd.DataFrame,
    intervals: pd.DataFrame,
    summaries: pd.DataFrame,
    conditions: int,
    bins_per_spread: int,
) -> CompressedState:
    cells = _cells(series[series["n"] > 0])
    n = whole_sums(cells.condition, cells.n, conditions)
    mean = np.bincount(cells.condition, cells.n * cells.mean, conditions) / np.maximum(n, 1)
    # About each cell's own mean first: nothing is lost by cancellation.
    apart = cells.sum_of_squares + cells.n * (cells.mean - mean[cells.condition]) ** 2
    bins = bins.sort_values(["condition", "h"], kind="stable")
    condition, count = bins["condition"].to_numpy(), bins["count"].to_numpy()
    middle = ln_r_of(bins["h"].to_numpy() << PLACE_BITS, bins["o"].to_numpy() / count)
    low, median, high = _quantiles(condition, middle, count, n)
    spread = _usable((high - low) / 2)
    group, number, ln_r = _working_bins(bins, median, spread / bins_per_spread, middle)
    bounds = intervals.sort_values(["condition", "ln_low", "ln_high"], kind="stable")
    tables = summaries.sort_values(["condition", "n", "mean", "sum_of_squares"], kind="stable")
    return CompressedState(
        condition=group,
        ln_r=ln_r,
        count=number,
        n=n,
        mean=mean,
        sum_of_squares=np.bincount(cells.condition, apart, conditions).astype(np.float64),
        design_effect=_design_effect(bins, wide, middle, n, median, spread),
        intervals=Intervals(
            bounds["condition"].to_numpy(dtype=np.int64),
            bounds["ln_low"].to_numpy(dtype=np.float64),
            bounds["ln_high"].to_numpy(dtype=np.float64),
            bounds["count"].to_numpy(dtype=np.int64),
        ),
        summaries=Summaries(
            tables["condition"].to_numpy(dtype=np.int64),
            tables["n"].to_numpy(dtype=np.int64),
            tables["mean"].to_numpy(dtype=np.float64),
            tables["sum_of_squares"].to_numpy(dtype=np.float64),
        ),
        cells=cells,
    )


def _cells(series: pd.DataFrame) -> DeviceCells:
    series = series.sort_values(["device", "condition"], kind="stable")
    found = moments(CellSums(**{name: series[name].to_numpy(dtype=np.int64) for name in NAMES}))
    return DeviceCells(
        device=series["device"].to_numpy(dtype=np.int64),
        condition=series["condition"].to_numpy(dtype=np.int64),
        n=series["n"].to_numpy(dtype=np.int64),
        **vars(found),
    )


def _quantiles(
    condition: IntArray, middle: FloatArray, count: IntArray, n: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Quantiles 0.16, 0.5 and 0.84 per condition, each reading at the middle of its fine bin.

    Linear between order statistics, ``h = (n - 1) p`` (type 7 of Hyndman and Fan 1996); NaN
    where a condition has no readings.
    """
    last = np.cumsum(count)
    before = np.concatenate([[0], np.cumsum(n)[:-1]])
    found = []
    for level in (0.16, 0.5, 0.84):
        place = level * np.maximum(n - 1, 0)
        whole = np.floor(place).astype(np.int64)
        values = []
        for rank in (whole, np.minimum(whole + 1, np.maximum(n - 1, 0))):
            index = np.searchsorted(last, before + rank, side="right")
            values.append(np.append(middle, np.nan)[np.minimum(index, len(middle))])
        between = values[0] + (place - whole) * (values[1] - values[0])
        found.append(np.where(n > 0, between, np.nan))
    return found[0], found[1], found[2]


def _usable(spread: FloatArray) -> FloatArray:
    """Spreads with the typical one where a condition has none."""
    known = spread[np.isfinite(spread)]
    typical = float(np.median(known)) if len(known) else 1.0
    return np.where(np.isfinite(spread) & (spread > 1e-9), spread, max(typical, 1e-9))


def _working_bins(
    bins: pd.DataFrame, median: FloatArray, width: FloatArray, middle: FloatArray
) -> tuple[IntArray, IntArray, FloatArray]:
    """Fine bins joined to bins of `width`: condition, count and mean of each."""
    if not len(bins):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    condition, h = bins["condition"].to_numpy(), bins["h"].to_numpy()
    index = np.floor((middle - median[condition]) / width[condition])
    is_new = (np.diff(condition, prepend=-1) != 0) | (np.diff(index, prepend=np.nan) != 0)
    starts = np.flatnonzero(is_new)
    count = np.add.reduceat(bins["count"].to_numpy(), starts)
    # From the first fine bin of each, so that sums stay small.
    first = h[starts]
    above = (h - first[np.cumsum(is_new) - 1]) << PLACE_BITS
    steps = np.add.reduceat(above * bins["count"].to_numpy() + bins["o"].to_numpy(), starts)
    return condition[starts], count, ln_r_of(first << PLACE_BITS, steps / count)


def _design_effect(
    bins: pd.DataFrame,
    wide: pd.DataFrame,
    middle: FloatArray,
    n: IntArray,
    median: FloatArray,
    spread: FloatArray,
) -> float:
    """Design effect, see :func:`compress`."""
    if not len(wide):
        return 1.0
    wide = wide.sort_values(["device", "condition", "w"], kind="stable")
    device, many = wide["device"].to_numpy(), wide["count"].to_numpy()
    if whole_sums(device, many, int(device.max()) + 1).max() == 1:
        return 1.0
    condition, count = bins["condition"].to_numpy(), bins["count"].to_numpy()
    residual = (middle - median[condition]) / spread[condition]
    cut = np.clip(residual, -CUT, CUT)
    centre = np.bincount(condition, count * cut, len(n)) / np.maximum(n, 1)
    inside = bins["oo"].to_numpy() - bins["o"].to_numpy().astype(np.float64) ** 2 / count
    within = np.where(cut == residual, inside / (STEPS * spread[condition]) ** 2, 0.0)
    independent = float(np.sum(count * (cut - centre[condition]) ** 2 + within))
    if independent <= 0:
        return 1.0
    condition = wide["condition"].to_numpy()
    foot = wide["w"].to_numpy() << WIDE_BITS + PLACE_BITS
    y = ln_r_of(foot, wide["q"].to_numpy() / many)
    cut = np.clip((y - median[condition]) / spread[condition], -CUT, CUT)
    total = np.bincount(device, many * (cut - centre[condition]))
    return max(1.0, float(np.sum(total**2)) / independent)
