"""How many devices stand behind rows that need not name them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from devicefit.inputs.refusals import STATES

CONDITION = ("programming", "programming_2", "array_id")


def unnamed_devices(intervals: pd.DataFrame, summaries: pd.DataFrame) -> pd.DataFrame:
    """Devices behind counts and summaries that do not name them: one for each reading.

    Returns
    -------
    pandas.DataFrame
        Columns ``state``, those of the condition, and ``devices``; no row where all are named.
    """
    parts = []
    for part, number in ((intervals, "count"), (summaries, "n")):
        if not len(part):
            continue
        nameless = part[part["device_id"].isna()] if "device_id" in part else part
        key = [name for name in ("state", *CONDITION) if name in part]
        parts.append(nameless[key].assign(devices=nameless[number].astype(np.int64)))
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame()
    joined = pd.concat(parts)
    return joined.groupby([c for c in joined if c != "devices"], as_index=False)["devices"].sum()


def devices_per_state(
    readings: pd.DataFrame, intervals: pd.DataFrame, summaries: pd.DataFrame
) -> dict[str, int]:
    """Devices of each state, named or behind counts and summaries."""
    unnamed = unnamed_devices(intervals, summaries)
    found = {}
    for state in STATES:
        named: set[str] = set()
        for part in (readings, intervals, summaries):
            if "device_id" in part:
                named |= set(part.loc[part["state"] == state, "device_id"].dropna())
        more = unnamed.loc[unnamed["state"] == state, "devices"].sum() if len(unnamed) else 0
        found[state] = len(named) + int(more)
    return found
