"""Places of cells in their array: row and column, where a file tells them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from devicefit.inputs.columns import PLACE
from devicefit.inputs.refusals import Faults, is_count, rows_of

_LEAVE_OUT = "or rename both columns if they are no places"


def refuse_places(table: pd.DataFrame, faults: Faults) -> None:
    """Refuse places that cannot be: one number without the other, or no whole numbers from 0 on.

    A row without both has no place, as summaries have none.
    """
    if not set(PLACE) <= set(table):
        return
    empty = {name: table[name].isna().to_numpy() for name in PLACE}
    for name, other in (PLACE, PLACE[::-1]):
        given = ~empty[name]
        faults.rows(
            table, given & ~is_count(table[name].to_numpy(dtype=np.float64), 0), name,
            "is not a whole number of at least 0", f"count rows and columns from 0, {_LEAVE_OUT}",
        )  # fmt: skip
        lone = ~given & ~empty[other]
        faults.rows(
            table, lone, name,
            f"is empty where {other} is given", f"give both, {_LEAVE_OUT}", shown=False,
        )  # fmt: skip


def cell_places(table: pd.DataFrame, faults: Faults) -> pd.DataFrame:
    """Place of each device, and refusal of places that contradict each other.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of the schema, checked one by one; devices of several arrays have names of their own.
    faults : Faults
        Gets devices at several places of an array, and places with several devices.

    Returns
    -------
    pandas.DataFrame
        ``device_id, array_id`` (empty text without arrays), ``row, column``, a row for each device
        with a place, sorted; without rows where no places are given.
    """
    if not set(PLACE) <= set(table):
        return pd.DataFrame({name: [] for name in ("device_id", "array_id", *PLACE)})
    given = table[table["device_id"].notna() & table[list(PLACE)].notna().all(axis=1)]
    array = given["array_id"] if "array_id" in given else pd.Series("", index=given.index)
    named = pd.DataFrame({"device_id": given["device_id"], "array_id": array})
    named = named.assign(**{name: given[name].astype(np.int64) for name in PLACE})
    distinct = named.drop_duplicates()
    for key, what, remedy in (
        (
            ["device_id"],
            "several places for {} of the devices",
            "a cell stays where it is: give each cell its own device_id, or name the array of each "
            "reading in array_id",
        ),
        (
            ["array_id", *PLACE],
            "several devices at {} of the places",
            "a place holds one cell: correct the places, give one cell one device_id, or name the "
            "array of each reading in array_id",
        ),
    ):
        repeated = distinct.duplicated(key, keep=False).to_numpy()
        if repeated.any():
            several = distinct[repeated].sort_values(key, kind="stable")
            first = several.head(2)
            shown = ", ".join(
                f"{device} at ({r}, {c})" + (f" of array {name}" if name else "")
                for device, name, r, c in first.itertuples(index=False)
            )
            faults.add(
                f"columns row, column hold {what.format(len(several.drop_duplicates(key)))}, for "
                f"example {shown} ({rows_of(first, np.ones(2, dtype=bool))}); {remedy}"
            )
            faults.name(several.index, PLACE[0])
    return distinct.sort_values("device_id", kind="stable", ignore_index=True)
