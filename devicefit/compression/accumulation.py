"""What is kept of rows on the way to the compressed form.

All sums are of whole numbers (:mod:`devicefit.compression.exact_sums`): the order of rows changes
no bit of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from devicefit.compression.exact_sums import (
    NAMES,
    PLACE_BITS,
    CellSums,
    quantise,
    rounded_ln,
    split,
    sums_of,
)
from devicefit.inputs.columns import ORDER
from devicefit.inputs.refusals import STATES, MeasurementError, duplicate_remedy
from devicefit.measurements.schema import as_names
from devicefit.numerics.arrays import FloatArray, IntArray

WIDE_BITS = 7
"""A wide bin holds 2**7 fine ones: 1/16 in ln R."""
CELL = ("state", "condition", "device")


@dataclass(frozen=True)
class Partial:
    """Accumulated rows. States are 0 (LRS) and 1 (HRS); codes index the two tables of names.

    Parameters
    ----------
    devices : pandas.DataFrame
        ``device, array``: names of each device and of its array, ``""`` where there is none.
    conditions : pandas.DataFrame
        ``programming, second, array``.
    series : pandas.DataFrame
        Consecutive readings of one (state, condition, device): the sums of
        :class:`~devicefit.compression.exact_sums.CellSums` in the order of :data:`ORDER`, sorted
        by state, condition and device. ``n`` is 0 for a device known by bounds or counts.
    bins : pandas.DataFrame
        Per (state, condition, fine bin ``h``): ``count`` and sums ``o, oo`` of the places within.
    wide : pandas.DataFrame
        Per (state, condition, device, wide bin ``w``): ``count`` and sum ``q`` of the steps above
        the foot of the bin.
    intervals : pandas.DataFrame
        Per (state, condition, ln_low, ln_high): ``count``, and how many ``unnamed`` of them are
        of devices without a name.
    summaries : pandas.DataFrame
        ``state, condition, n, mean, sum_of_squares, unnamed``, a row each.
    """

    devices: pd.DataFrame
    conditions: pd.DataFrame
    series: pd.DataFrame
    bins: pd.DataFrame
    wide: pd.DataFrame
    intervals: pd.DataFrame
    summaries: pd.DataFrame


def accumulate(readings: pd.DataFrame, intervals: pd.DataFrame, summaries: pd.DataFrame) -> Partial:
    """Accumulate checked rows in the form of a table of measurements.

    Raises
    ------
    MeasurementError
        Readings that share device, state, condition and everything of :data:`ORDER`.
    """
    parts = [part for part in (readings, intervals, summaries) if len(part)]
    device, names = _names(parts, "device_id")
    array, arrays = _names(parts, "array_id")
    programming = np.concatenate([_floats(part, "programming") for part in parts])
    second = np.concatenate([_floats(part, "programming_2") for part in parts])
    is_hrs = np.concatenate([(part["state"] == STATES[1]).to_numpy(dtype=bool) for part in parts])

    condition, first = _distinct([programming, second, array])
    conditions = pd.DataFrame(
        {
            "programming": programming[first],
            "second": second[first],
            "array": arrays[array[first]],
        }
    )
    code, first = _distinct([device, array])
    devices = pd.DataFrame({"device": names[device[first]], "array": arrays[array[first]]})
    # The empty name is no device.
    is_named = (devices["device"] != "").to_numpy(dtype=bool)
    renumbered = np.where(is_named, np.cumsum(is_named) - 1, -1)
    keys = pd.DataFrame(
        {"state": is_hrs.astype(np.int64), "condition": condition, "device": renumbered[code]}
    )
    ends = np.cumsum([len(readings), len(intervals), len(summaries)])
    of_readings, of_intervals, of_summaries = (
        keys.iloc[low:high].reset_index(drop=True)
        for low, high in zip([0, *ends[:-1]], ends, strict=True)
    )
    silent = pd.concat([of_intervals, of_summaries])
    series, bins, wide = _of_readings(readings, of_readings)
    return Partial(
        devices=devices[is_named].reset_index(drop=True),
        conditions=conditions,
        series=pd.concat([series, _silent(silent[silent["device"] >= 0])]).sort_values(
            [*CELL, "n"], kind="stable", ignore_index=True
        ),
        bins=bins,
        wide=wide,
        intervals=_of_intervals(intervals, of_intervals),
        summaries=_of_summaries(summaries, of_summaries),
    )


def _of_readings(
    readings: pd.DataFrame, keys: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Series, bins and wide bins of readings."""
    q = quantise(_floats(readings, "resistance_ohm"))
    h, place = split(q)
    state, condition, device = (keys[name].to_numpy() for name in CELL)

    group, first = _distinct([state, condition, h])
    bins = pd.DataFrame(
        {"state": state[first], "condition": condition[first], "h": h[first]}
    ).assign(
        count=np.bincount(group, minlength=len(first)),
        o=whole_sums(group, place, len(first)),
        oo=whole_sums(group, place * place, len(first)),
    )
    cell, _ = _distinct([state, condition, device])
    w = h >> WIDE_BITS
    group, first = _distinct([cell, w])
    wide = pd.DataFrame({name: keys[name].to_numpy()[first] for name in CELL}).assign(
        w=w[first],
        count=np.bincount(group, minlength=len(first)),
        q=whole_sums(group, q - (w << WIDE_BITS + PLACE_BITS), len(first)),
    )

    place_in_time = np.stack(
        [_floats(readings, name) if name in readings else np.zeros(len(q)) for name in ORDER],
        axis=1,
    )
    # An unknown time comes last.
    place_in_time[np.isnan(place_in_time)] = np.inf
    order = np.argsort(cell, kind="stable")
    starts_new = np.diff(cell[order], prepend=-1) != 0
    sign = _compare(place_in_time[order[:-1]], place_in_time[order[1:]])
    if (sign[~starts_new[1:]] <= 0).any():
        order = np.lexsort((*place_in_time.T[::-1], cell))
        sign = _compare(place_in_time[order[:-1]], place_in_time[order[1:]])
    repeated = (sign == 0) & ~starts_new[1:]
    if repeated.any():
        two = int(np.argmax(repeated))
        rows = sorted(readings.index[order[two : two + 2]].tolist())
        raise MeasurementError(
            f"readings share their device_id, state, condition and place in time with another, for "
            f"example rows {rows[0]} and {rows[1]}; {duplicate_remedy('cycle' in readings)}"
        )
    starts = np.flatnonzero(starts_new)
    sums = sums_of(q[order], starts) if len(q) else CellSums(**dict.fromkeys(NAMES, q))
    heads = order[starts]
    series = pd.DataFrame(
        {
            **{name: keys[name].to_numpy()[heads] for name in CELL},
            **{name: getattr(sums, name) for name in NAMES},
        }
    )
    return series, bins, wide


def _silent(keys: pd.DataFrame) -> pd.DataFrame:
    """Series without readings, for devices that are known otherwise."""
    keys = keys.drop_duplicates()
    return keys.assign(**dict.fromkeys(NAMES, np.int64(0)))


def _of_intervals(intervals: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    count = _whole(intervals, "count")
    table = keys[["state", "condition"]].assign(
        ln_low=rounded_ln(_floats(intervals, "low_ohm")),
        ln_high=rounded_ln(_floats(intervals, "high_ohm")),
        count=count,
        unnamed=np.where(keys["device"] < 0, count, 0),
    )
    return _summed(table, ["state", "condition", "ln_low", "ln_high"])


def _of_summaries(summaries: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    n = _whole(summaries, "n")
    sd = np.nan_to_num(_floats(summaries, "sd_ln_r"))
    return keys[["state", "condition"]].assign(
        n=n,
        mean=_floats(summaries, "mean_ln_r"),
        sum_of_squares=(n - 1) * sd**2,
        unnamed=np.where(keys["device"] < 0, n, 0),
    )


def _compare(before: np.ndarray, after: np.ndarray) -> IntArray:
    """1 where a place in time is later than the one before, 0 where equal, -1 where earlier."""
    sign = np.zeros(len(before), dtype=np.int64)
    for a, b in zip(before.T, after.T, strict=True):
        sign = np.where(sign == 0, (b > a).astype(np.int64) - (b < a), sign)
    return sign


def _names(parts: Sequence[pd.DataFrame], column: str) -> tuple[IntArray, np.ndarray]:
    """Code of the name in each row and the names; empty text where there is none."""
    if not any(column in part for part in parts):
        return np.zeros(sum(map(len, parts)), np.int64), np.array([""], dtype=object)
    columns = [
        part[column] if column in part else pd.Series(None, index=part.index, dtype=object)
        for part in parts
    ]
    codes, names = as_names(columns[0] if len(columns) == 1 else pd.concat(columns))
    return np.where(codes < 0, len(names), codes), np.array([*names, ""], dtype=object)


def _distinct(columns: Sequence[np.ndarray]) -> tuple[IntArray, IntArray]:
    """Code of each row's combination of values, and a row for each code."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for values in columns:
        more, kinds = pd.factorize(values)
        codes, _ = pd.factorize(codes * np.int64(max(len(kinds), 1)) + more)
    rows = np.zeros(int(codes.max(initial=-1)) + 1, dtype=np.int64)
    rows[codes[::-1]] = np.arange(len(codes))[::-1]
    return codes.astype(np.int64), rows


def _summed(table: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    return table.groupby(key, as_index=False, sort=False).sum() if len(table) else table


def whole_sums(group: IntArray, values: IntArray, groups: int) -> IntArray:
    """Sums of whole numbers per group, exact as long as they are below 2**63."""
    found = np.zeros(groups, dtype=np.int64)
    np.add.at(found, group, values)
    return found


def _floats(table: pd.DataFrame, name: str) -> FloatArray:
    """A column, zeros where there is none; adding zero makes one of the two zeros."""
    if name not in table:
        return np.zeros(len(table))
    return np.asarray(table[name].to_numpy(dtype=np.float64) + 0.0)


def _whole(table: pd.DataFrame, name: str) -> IntArray:
    return table[name].to_numpy(dtype=np.int64) if name in table else np.zeros(len(table), np.int64)
