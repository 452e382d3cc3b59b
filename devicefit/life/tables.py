"""Users' files about life: counts or readings after cycles or bakes, and cells cycled to the end.

Columns are those of the library's schema. A table of counts has ``state, errors, trials``, one of
readings ``state, resistance_ohm``; besides, over cycles ``prior_cycles`` (or ``cycle``) and
``device_id``, over bakes ``time_after_program_s`` (0 is fresh) and ``temperature_k``.

Cycles act through their logarithm, so 0 has no place of its own. A cell that is read in a state
before cycling has been programmed to it once: 0 stands for the first cycle, as 1 does. From there
on a difference of one cycle is nothing on the scale of decades.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from devicefit.inputs.columns import BOUNDS, ColumnMapping
from devicefit.inputs.refusals import (
    STATES,
    Faults,
    MeasurementError,
    is_count,
    refuse_empty,
    refuse_resistance,
    refuse_states,
)
from devicefit.measurements.files import TableFile, keep_where, open_table
from devicefit.measurements.schema import (
    as_names,
    in_si_units,
    missing_column,
    missing_mapped,
)
from devicefit.treatments.overrange import (
    UNKNOWN_RANGE,
    Overrange,
    censor,
    refuse_negative_overflow,
)

FIRST_CYCLE = 1.0
"""What 0 prior cycles are counted as."""
EXPOSURE = {
    "endurance": ("cycles", "device_id"),
    "retention": ("time_after_program_s", "temperature_k"),
}
USED = {
    "endurance": ("prior_cycles", "cycle"),
    "retention": ("time_after_program_s", "temperature_k"),
}
"""Columns of the schema that hold it; the first cycles that the file has, or that are mapped."""
_CYCLES = (
    "is no number of cycles",
    "count cycles one by one, not in thousands; 0 is before cycling, 1 the first one",
)
_BOUNDS = (
    ("prior_cycles", FIRST_CYCLE, np.inf, *_CYCLES),
    ("cycle", FIRST_CYCLE, np.inf, *_CYCLES),
    (
        "time_after_program_s",
        0.0,
        np.inf,
        "is negative or not finite",
        "give seconds, 0 for fresh cells",
    ),
    (
        "temperature_k",
        200.0,
        800.0,
        "is not between 200 and 800",
        "give kelvin: degrees Celsius plus 273.15",
    ),
)
"""Columns of exposure: least and largest value, what is said of another one, and the remedy."""


@dataclass(frozen=True)
class LifeTable:
    """Rows of a file about life, checked.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``state`` and ``errors, trials``, or ``resistance_ohm`` and ``bounded``; the columns of
        exposure. ``bounded`` is 1 where the resistance is above the stated one, -1 where it is
        below, 0 where it is that one. ``device_id`` where the file has it.
    source, sha256 : str
        Name and hash of the file.
    simulated : bool
        Whether it says so.
    warnings : tuple of str
        Readings that are known by a bound only.
    censored : tuple of dict
        The same as plain values, see :class:`devicefit.treatments.overrange.Censored`.
    """

    rows: pd.DataFrame
    source: str
    sha256: str
    simulated: bool
    warnings: tuple[str, ...] = ()
    censored: tuple[dict[str, Any], ...] = ()

    @property
    def devices(self) -> int | None:
        """Devices of the state that has fewer; None where nothing tells them apart."""
        if "device_id" not in self.rows:
            return None
        return int(self.rows.groupby("state")["device_id"].nunique().min())

    @property
    def is_counts(self) -> bool:
        """Whether errors were counted already."""
        return "errors" in self.rows

    def about(self, threshold_ohm: float | None, *, again: bool = False) -> dict[str, Any]:
        """Where numbers come from, as plain values; `again`: the threshold follows ageing."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "simulated": self.simulated,
            "threshold_ohm": threshold_ohm,
            "threshold_again": again,
            "censored": [dict(entry) for entry in self.censored],
            "warnings": list(self.warnings),
        }


def read_life_table(
    path: str | Path,
    kind: str,
    *,
    columns: Sequence[ColumnMapping] = (),
    where: Sequence[tuple[str, str]] = (),
    overrange: Overrange = UNKNOWN_RANGE,
    exclude: Sequence[str] = (),
) -> LifeTable:
    """Read and check a file about life.

    Parameters
    ----------
    path : str or Path
        CSV (also compressed), TSV or Parquet.
    kind : {"endurance", "retention"}
        Which exposure it has.
    columns : sequence of ColumnMapping, optional
        Names and units of the file's columns.
    where : sequence of (column, value), optional
        Keep only these rows.
    overrange : Overrange, optional
        What is known of the range of the instrument.
    exclude : sequence of str, optional
        Names of devices to leave out.

    Raises
    ------
    MeasurementError
        A column is missing or holds what cannot be used, or no such device; column, rows, values
        and remedy, all faults at once.
    """
    file = open_table(path)
    source = str(file.path)
    found = _columns_of(file, kind, columns)
    text = [found[name].theirs for name in ("state", "device_id") if name in found]
    frame = keep_where(file.read(text=text), where, source)
    if "device_id" not in EXPOSURE[kind] and "device_id" in found:
        if not frame[found["device_id"].theirs].notna().any():
            del found["device_id"]
    faults = Faults(source)
    rows = in_si_units(frame, tuple(found.values()), faults)
    if not len(rows):
        raise MeasurementError(f"{source}: no rows; nothing is left after reading the file")
    for name in set(USED["endurance"]) & set(rows):
        rows[name] = rows[name].where(rows[name] != 0, FIRST_CYCLE)
    _check(rows, found, faults)
    rows = rows.rename(columns=dict.fromkeys(USED["endurance"], "cycles"))
    warnings: tuple[str, ...] = ()
    if exclude:
        rows, warnings = _without(rows, exclude, faults)
    faults.tell()
    record: tuple[dict[str, Any], ...] = ()
    if "errors" not in rows:
        treated = censor(rows, overrange, faults, at_limit=True)
        faults.tell()
        rows, record = _at_bounds(treated.table), treated.record
        warnings += treated.warnings
    return LifeTable(rows, file.path.name, file.sha256(), file.simulated, warnings, record)


def _columns_of(
    file: TableFile, kind: str, columns: Sequence[ColumnMapping]
) -> dict[str, ColumnMapping]:
    """Columns that are read, by their names in the schema.

    Raises
    ------
    MeasurementError
        A mapping that is not used here, or a column that the file lacks.
    """
    source, has = str(file.path), f"The file has {', '.join(file.columns)}"
    mapped = {m.ours: m for m in columns}
    used = ("state", "errors", "trials", "resistance_ohm", "device_id", *USED[kind])
    for mapping in columns:
        if mapping.ours not in used:
            raise MeasurementError(
                f"{source}: --column {mapping.ours}={mapping.theirs}: not used here; columns that "
                f"can be mapped are {', '.join(used)}"
            )
        if mapping.theirs not in file.columns:
            raise MeasurementError(f"{source}: {missing_mapped(mapping)}. {has}")
    known = {name: mapped.get(name, ColumnMapping(name, name)) for name in used}
    there = {name: mapping for name, mapping in known.items() if mapping.theirs in file.columns}
    counted = {"errors", "trials"} <= set(there)
    wanted = ["state", *(("errors", "trials") if counted else ("resistance_ohm",))]
    for name in EXPOSURE[kind]:
        if name == "cycles":
            # what is mapped is meant, whatever else the file has
            either = sorted(USED[kind], key=lambda n: n not in mapped)
            name = next((n for n in either if n in there), "prior_cycles")
        wanted.append(name)
    for name in wanted:
        if name not in there:
            counts = ", or give errors and trials" if name == "resistance_ohm" else ""
            raise MeasurementError(f"{source}: {missing_column(known[name])}{counts}. {has}")
    return {name: there[name] for name in dict.fromkeys((*wanted, "device_id")) if name in there}


def _without(
    rows: pd.DataFrame, exclude: Sequence[str], faults: Faults
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows of the other devices, and a sentence that says how many were left out."""
    if "device_id" not in rows:
        faults.add("--exclude names devices, but no column device_id does; name one with --column")
        return rows, ()
    codes, names = as_names(rows["device_id"])
    known = sorted(map(str, names))
    for name in exclude:
        if name not in known:
            faults.add(f"--exclude {name}: no such device; the file has {', '.join(known[:5])}")
    if faults:
        return rows, ()
    out = np.isin(codes, [i for i, name in enumerate(names) if name in exclude])
    if not set(STATES) <= set(rows["state"][~out]):
        faults.add("--exclude leaves no reading of one of the states; name fewer devices")
    words = f"left out by --exclude: {', '.join(exclude)} ({int(out.sum())} of {len(rows)} rows)"
    return rows[~out], (words,)


def _at_bounds(rows: pd.DataFrame) -> pd.DataFrame:
    """Readings known by one bound at this bound; ``bounded`` is 1 above it, -1 below it, else 0."""
    if not set(BOUNDS) <= set(rows):
        return rows.assign(bounded=0)
    low, high = (rows[name] for name in BOUNDS)
    bounded = np.where(low.notna(), 1, np.where(high.notna(), -1, 0))
    r = rows["resistance_ohm"].fillna(low).fillna(high)
    return rows.drop(columns=list(BOUNDS)).assign(resistance_ohm=r, bounded=bounded)


def _check(rows: pd.DataFrame, found: Mapping[str, ColumnMapping], faults: Faults) -> None:
    def refuse(bad: np.ndarray, name: str, what: str, remedy: str) -> None:
        """Name a column as the file does."""
        theirs = found[name].theirs
        named = rows.rename(columns={name: theirs})
        faults.rows(named, bad & ~faults.named(rows, name), theirs, what, remedy)

    refuse_empty(rows, "state", "row its state", faults)
    refuse_states(rows, faults)
    for state in STATES:
        if state not in set(rows["state"]) and not faults:
            faults.add(f"column state has no {state}; bit errors need both states")
    if "errors" in rows:
        errors, trials = rows["errors"].to_numpy(), rows["trials"].to_numpy()
        refuse(
            ~(is_count(errors, 0) & is_count(trials, 1) & (errors <= trials)), "errors",
            "contradicts trials or is no whole number",
            "give counts, errors at most trials, trials at least 1",
        )  # fmt: skip
    else:
        refuse_negative_overflow(rows, faults)
        refuse_resistance(rows, faults)
    if "device_id" in rows:
        refuse_empty(rows, "device_id", "row its device, or what wears out as one", faults)
    for name, least, most, what, remedy in _BOUNDS:
        if name in rows:
            at = rows[name].to_numpy()
            inside = np.isfinite(at) & (at >= least) & (at <= most)
            refuse(~inside, name, what, remedy)
