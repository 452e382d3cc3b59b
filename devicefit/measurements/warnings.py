"""Findings in accepted measurements that a reader of the results should know."""

from __future__ import annotations

import numpy as np
import pandas as pd

from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.inputs.refusals import STATES
from devicefit.measurements.files import TableFile
from devicefit.measurements.schema import Schema


def declared_warnings(file: TableFile, schema: Schema, rows: int) -> list[str]:
    """What was declared away: a programming variable that the file has."""
    return [
        f"{file.path.name}: declared to be of one condition, so its column {name} is not used for "
        f"{rows} rows"
        for name in schema.ignored
    ]


def level_warnings(table: pd.DataFrame) -> list[str]:
    """Levels that are unusual, and states that seem swapped."""
    found = []
    for state in STATES:
        values = table.loc[table["state"] == state, "resistance_ohm"].to_numpy()
        if len(values) and not 50.0 <= (median := float(np.median(values))) <= 1e11:
            found.append(
                f"the median {state} resistance is {median:.3g} ohm, unusual for RRAM; if the file "
                "is in another unit map it, e.g. --column resistance_ohm=R:kohm"
            )
    if not len(table):
        return found
    medians = table.groupby(["programming", "state"])["resistance_ohm"].median().unstack()
    medians = medians.reindex(columns=list(STATES))
    if (medians["LRS"] > medians["HRS"]).mean() > 0.5:
        found.append(
            "at most conditions the LRS median lies above the HRS median; check that state is the "
            "intended state (LRS after a SET)"
        )
    return found


def one_state_warnings(rows: pd.DataFrame, programming: Programming) -> list[str]:
    """Conditions of which one state is missing."""
    per_condition = rows.groupby(["programming", "state"]).size().unstack()
    missing = per_condition[per_condition.isna().any(axis=1)]
    if not len(missing):
        return []
    return [
        f"{len(missing)} of {len(per_condition)} programming conditions have readings of one "
        f"state only, first {programming.format(float(missing.index[0]))}"
    ]


def one_condition_warnings(rows: pd.DataFrame, programming: Programming) -> list[str]:
    """States that were measured at one value of the programming variable."""
    values = {state: np.unique(rows.loc[rows["state"] == state, "programming"]) for state in STATES}
    alone = [state for state in STATES if len(values[state]) == 1]
    if not alone:
        return []
    where = (
        "no programming variable"
        if programming == ONE_CONDITION
        else f"{programming.name} = {programming.format(float(values[alone[0]][0]))}"
    )
    return [
        f"all {' and '.join(alone)} readings are at one programming condition ({where}): no curve "
        "over programming can be had, only the bit errors there"
    ]
