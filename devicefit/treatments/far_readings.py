"""Single readings decades away from their group: named, kept."""

from __future__ import annotations

import numpy as np
import pandas as pd

from devicefit.inputs.refusals import ROWS_SHOWN, STATES
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.treatments.overrange import is_overflow

DECADES = 2.5
"""A reading is far from its group beyond this; a slip by a factor of 1000 is."""
CLEAR = 2.0
"""And at least so many times as far (in decades) as any reading of the state that is not."""
MOST = 0.05
"""More of a state's readings than this are a group of their own, not single readings."""
GROUP = 20
"""Readings of a group: neighbouring conditions are pooled until it has so many."""


def far_readings(table: pd.DataFrame) -> tuple[np.ndarray, FloatArray]:
    """Readings decades away from the others of their state at their condition.

    Parameters
    ----------
    table : pandas.DataFrame
        ``state, programming, resistance_ohm`` and perhaps ``programming_2``; readings that are no
        resistances, overflow among them, are passed over.

    Returns
    -------
    is_far : bool array, shape (row,)
    median_ohm : float array, shape (row,)
        Median of each reading's group; NaN where it was passed over.

    Notes
    -----
    A reading belongs to the median that is nearest: that of its group or that of the other state.
    An LRS reading at the level of the HRS is a failed SET, which the models know, and belongs to
    the HRS. The far readings of a median are those more than `DECADES` away, provided that they
    stand alone: all others that belong to it are at most half as far (`CLEAR`) as the nearest of
    them, and they are at most `MOST` of its readings. So the rule scales with the tails. Of 200
    simulated files of 10,000 readings each (failed SETs among them, scale 0.4 in ln R) it named a
    reading in none where ln R was normal or logistic, in 5 of Student-t with 5 degrees of freedom
    and in 68 with 3.
    """
    r = table["resistance_ohm"].to_numpy(dtype=np.float64)
    read = (r > 0) & ~is_overflow(r)
    log10 = np.log10(np.where(read, r, 1.0))
    is_far, median = np.zeros(len(r), dtype=bool), np.full(len(r), np.nan)
    states = table["state"].to_numpy()
    group = _groups(table, read)
    away, belongs = np.zeros(len(r)), states.copy()
    for state, other in (STATES, STATES[::-1]):
        rows, others = (np.flatnonzero((states == s) & read) for s in (state, other))
        middle = pd.Series(log10[rows]).groupby(group[rows]).transform("median").to_numpy()
        median[rows] = 10.0**middle
        away[rows] = np.abs(log10[rows] - middle)
        if len(others):
            from_other = np.abs(log10[rows] - np.median(log10[others]))
            belongs[rows[from_other < away[rows]]] = other
            away[rows] = np.minimum(away[rows], from_other)
    for state in STATES:
        rows = np.flatnonzero((belongs == state) & read)
        order = np.argsort(away[rows])
        farthest = away[rows][order]
        far = int((farthest > DECADES).sum())
        for number in range(min(far, int(MOST * len(rows))), 0, -1):
            if farthest[-number] >= CLEAR * farthest[-number - 1]:
                is_far[rows[order[-number:]]] = True
                break
    return is_far, median


def _groups(table: pd.DataFrame, read: np.ndarray) -> IntArray:
    """Number of the group of each reading among those of its state: neighbouring conditions."""
    keys = [name for name in ("programming_2", "programming") if name in table]
    found = np.zeros(len(table), dtype=np.int64)
    for state in STATES:
        rows = np.flatnonzero((table["state"] == state).to_numpy(dtype=bool) & read)
        if not len(rows):
            continue
        condition = table.iloc[rows].groupby(keys, sort=True).ngroup().to_numpy()
        size = np.bincount(condition)
        number = (np.cumsum(size) - size) // GROUP
        # What is left at the end joins the group before.
        found[rows] = np.minimum(number, max(len(rows) // GROUP - 1, 0))[condition]
    return found


def far_warnings(table: pd.DataFrame, is_far: np.ndarray, median_ohm: FloatArray) -> list[str]:
    """Name far readings: row, device, value and median of their group."""
    if not is_far.any():
        return []
    words = [
        f"row {row} ({state} of {device}: {r:.4g} ohm, its group has {middle:.4g} ohm)"
        for row, state, device, r, middle in zip(
            table.index[is_far],
            table["state"][is_far],
            table["device_id"][is_far],
            table["resistance_ohm"][is_far],
            median_ohm[is_far],
            strict=True,
        )
    ]
    more = f" and {len(words) - ROWS_SHOWN} more" if len(words) > ROWS_SHOWN else ""
    device = table["device_id"][is_far].iloc[0]
    return [
        f"{len(words)} reading{'s lie' if len(words) > 1 else ' lies'} decades away from the "
        f"others of the state at its condition: {', '.join(words[:ROWS_SHOWN])}{more}. The fit "
        "takes them as they stand; if the instrument or the unit failed there, correct the rows, "
        f"declare the range of the instrument with --overrange VALUE, or leave the cell out with "
        f"--exclude {device}"
    ]
