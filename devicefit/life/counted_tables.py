"""From tables of life to counts of failures: endurance, bakes, wear-out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from devicefit.distributions.separation import best_threshold
from devicefit.inputs.columns import PROGRAMMING_COLUMNS, ColumnMapping
from devicefit.inputs.programming import Programming
from devicefit.inputs.refusals import STATES, Faults, MeasurementError, is_count, rows_of
from devicefit.life.endurance import EnduranceCounts, count_windows
from devicefit.life.retention import BakeCounts
from devicefit.life.tables import LifeTable
from devicefit.life.wear_out import WearOutTable
from devicefit.measurements.files import TableFile, open_table
from devicefit.measurements.schema import (
    as_names,
    as_numbers,
    missing_mapped,
    programming_variable,
)


def endurance_counts(
    table: LifeTable,
    *,
    threshold_ohm: float | None = None,
    again: bool = False,
    per_decade: int = 3,
) -> tuple[dict[str, EnduranceCounts], float | None]:
    """Counts of both states over cycles, and the threshold they were counted against.

    Parameters
    ----------
    table : LifeTable
        Of kind ``"endurance"``; ``device_id`` names what wears out as one.
    threshold_ohm : float, optional
        For readings; chosen on those of the first decade of cycles when left out.
    again : bool, optional
        Choose the threshold again in every decade of cycles; no threshold is returned then.
    per_decade : int, optional
        Windows per decade of cycles.
    """
    cycles = table.rows["cycles"]
    decade = np.floor(np.log10(cycles) + 1e-9)
    rows, threshold = _counted(
        table, threshold_ohm, cycles <= 10 * cycles.min(), decade if again else None
    )
    counts = {}
    for state in STATES:
        part = rows[rows["state"] == state]
        unit = as_names(part["device_id"])[0]
        counts[state] = count_windows(
            unit, part["cycles"], part["errors"], trials=part["trials"], per_decade=per_decade
        )
    return counts, threshold


def bake_counts(
    table: LifeTable, *, threshold_ohm: float | None = None, again: bool = False
) -> tuple[dict[str, BakeCounts], float | None]:
    """Counts of both states for each time and temperature, and the threshold; see above.

    With `again` the threshold is chosen again for each time and temperature.
    """
    conditions = ["time_after_program_s", "temperature_k"]
    fresh = table.rows["time_after_program_s"] == 0
    group = table.rows.groupby(conditions).ngroup() if again else None
    rows, threshold = _counted(table, threshold_ohm, fresh, group)
    counts = {}
    for state in STATES:
        by = rows[rows["state"] == state].groupby(conditions)[["errors", "trials"]].sum()
        at = by.index.to_frame()
        try:
            counts[state] = BakeCounts(
                at["time_after_program_s"].to_numpy(),
                at["temperature_k"].to_numpy(),
                by["errors"].to_numpy().astype(np.int64),
                by["trials"].to_numpy().astype(np.int64),
            )
        except ValueError as error:
            raise MeasurementError(f"{table.source}: {state}: {error}") from None
    return counts, threshold


def _counted(
    table: LifeTable, given: float | None, fresh: pd.Series, groups: pd.Series | None
) -> tuple[pd.DataFrame, float | None]:
    """Rows with errors and trials, and the one threshold; None where each group has its own."""
    if table.is_counts and groups is not None:
        raise MeasurementError(
            f"{table.source}: the errors are counted already, so no threshold can be chosen again; "
            "leave --threshold-again out"
        )
    if given is not None and groups is not None:
        raise MeasurementError("--threshold-ohm and --threshold-again exclude each other; give one")
    if groups is None:
        threshold = _threshold(table, given, fresh)
        parts = [(threshold, table.rows)]
    else:
        threshold = None
        parts = [
            (_threshold(table, None, groups == group), table.rows[(groups == group).to_numpy()])
            for group in np.unique(groups)
        ]
    if table.is_counts:
        return table.rows, threshold
    found = []
    for own, rows in parts:
        for state in STATES:
            part = rows[rows["state"] == state]
            found.append(part.assign(errors=_wrong(part, state, own, table.source), trials=1))
    return pd.concat(found), threshold


def _wrong(part: pd.DataFrame, state: str, threshold: float | None, source: str) -> np.ndarray:
    r, bounded = part["resistance_ohm"].to_numpy(), part["bounded"].to_numpy()
    at = threshold or 0.0
    # A bound tells the side of the threshold unless the threshold lies beyond it.
    open_side = ((bounded > 0) & (r < at)) | ((bounded < 0) & (r > at))
    if open_side.any():
        raise MeasurementError(
            f"{source}: the threshold, {at:.4g} ohm, is beyond the bound of "
            f"{rows_of(part, open_side)} ({r[open_side][0]:.4g} ohm), so it is not known on which "
            "side they are; give a --threshold-ohm within the range of the instrument"
        )
    high = (r > at) | ((bounded > 0) & (r == at))
    return np.asarray(high if state == "LRS" else ~high)


def _threshold(table: LifeTable, given: float | None, fresh: pd.Series) -> float | None:
    if table.is_counts:
        if given is not None:
            raise MeasurementError(
                f"{table.source}: the errors are counted already; leave --threshold-ohm out"
            )
        return None
    if given is not None:
        if not 0 < given < np.inf:
            raise MeasurementError(f"threshold_ohm is {given}; it must be positive and finite")
        return given
    rows = table.rows[fresh.to_numpy()]
    parts = [np.log(rows["resistance_ohm"][rows["state"] == s].to_numpy()) for s in STATES]
    if not all(len(p) for p in parts):
        raise MeasurementError(
            f"{table.source}: no readings of both states (fresh ones, or those of one decade or "
            "bake) to choose a threshold on; give --threshold-ohm"
        )
    return float(np.exp(best_threshold(*parts)))


def read_wear_out(
    path: str | Path, *, columns: Sequence[ColumnMapping] = ()
) -> tuple[WearOutTable, dict[str, Any]]:
    """Read inspections of cells that were cycled at several programming values.

    Parameters
    ----------
    path : str or Path
        Columns: the programming variable, ``cycles``, ``failed``, ``survivors`` and, optionally,
        ``previous_cycles``; without it the row before of the same programming was the inspection
        before, if any.
    columns : sequence of ColumnMapping, optional
        May name the programming variable.

    Returns
    -------
    table : WearOutTable
    about : dict
        Source, hash, whether simulated.

    Raises
    ------
    MeasurementError
        A column is missing or holds what cannot be used.
    """
    file = open_table(path)
    source = str(file.path)
    frame = file.read()
    has = f"The file has {', '.join(file.columns)}"
    for name in ("cycles", "failed", "survivors"):
        if name not in file.columns:
            raise MeasurementError(f"{source}: column {name!r} is missing. {has}")
    chosen, programming = _programming_of(file, columns, has)
    faults = Faults(source)
    numbers = {
        name: as_numbers(frame[name], name, faults).to_numpy(dtype=np.float64)
        for name in (chosen.theirs, "cycles", "failed", "survivors")
    }
    x = numbers[chosen.theirs] * chosen.factor
    bad = ~np.isfinite(x) | (programming.is_logarithmic & (x <= 0))
    faults.rows(
        frame, bad, chosen.theirs, "cannot be a programming value", "give every row its own"
    )
    for name in ("failed", "survivors"):
        bad = ~is_count(numbers[name], 0)
        faults.rows(frame, bad, name, "is no count", "give whole numbers of cells")
    if "previous_cycles" in file.columns:
        previous = as_numbers(frame["previous_cycles"], "previous_cycles", faults).to_numpy()
    faults.tell()
    if "previous_cycles" not in file.columns:
        order = pd.DataFrame({"x": x, "c": numbers["cycles"]}).sort_values(["x", "c"])
        previous = order.groupby("x")["c"].shift(fill_value=0.0).sort_index().to_numpy()
    try:
        table = WearOutTable(
            x,
            previous,
            numbers["cycles"],
            numbers["failed"].astype(np.int64),
            numbers["survivors"].astype(np.int64),
            programming,
        )
    except ValueError as error:
        raise MeasurementError(f"{source}: {error}") from None
    return table, {
        "source": file.path.name,
        "sha256": file.sha256(),
        "simulated": file.simulated,
    }


def _programming_of(
    file: TableFile, columns: Sequence[ColumnMapping], has: str
) -> tuple[ColumnMapping, Programming]:
    """Column of the programming variable, and what it is."""
    source = str(file.path)
    others = [m.ours for m in columns if m.ours != "programming"]
    if others:
        raise MeasurementError(
            f"{source}: --column {others[0]}=...: here only programming can be mapped; the other "
            "columns are cycles, failed, survivors and previous_cycles"
        )
    if not columns:
        known = [name for name in PROGRAMMING_COLUMNS if name in file.columns]
        if len(known) != 1:
            raise MeasurementError(
                f"{source}: {len(known) or 'no'} columns could be the programming variable; name "
                f"it with --column programming=YOUR_COLUMN:UNIT. {has}"
            )
        columns = (ColumnMapping("programming", known[0]),)
    (chosen,) = columns
    if chosen.theirs not in file.columns:
        raise MeasurementError(f"{source}: {missing_mapped(chosen)}. {has}")
    return chosen, programming_variable(chosen, source)
