"""Users' files about life: counts or readings after cycles or bakes, and cells cycled to the end.

Columns are those of the library's schema. A table of counts has ``state, errors, trials``, one of
readings ``state, resistance_ohm``; besides, over cycles ``prior_cycles`` (or ``cycle``) and
``device_id``, over bakes ``time_after_program_s`` (0 is fresh) and ``temperature_k``.

Cycles act through their logarithm, so 0 has no place of its own. A cell that is read in a state
before cycling has been programmed to it once: 0 stands for the first cycle, as 1 does. From there
on a difference of one cycle is nothing on the scale of decades.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from devicefit.columns import PROGRAMMING_COLUMNS, UNIT_OF, ColumnMapping
from devicefit.endurance import EnduranceCounts, count_windows
from devicefit.life_study import STATES
from devicefit.measurement_files import TableFile, keep_where, open_table
from devicefit.programming import FloatArray, Programming, to_si
from devicefit.refusals import (
    MeasurementError,
    examples,
    refuse_empty,
    refuse_resistance,
    refuse_states,
)
from devicefit.retention import BakeCounts
from devicefit.schema import as_names, as_numbers
from devicefit.wear_out import WearOutTable

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


@dataclass(frozen=True)
class LifeTable:
    """Rows of a file about life, checked.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``state`` and ``errors, trials``, or ``resistance_ohm``; the columns of exposure;
        ``device_id`` where the file has it.
    source, sha256 : str
        Name and hash of the file.
    simulated : bool
        Whether it says so.
    """

    rows: pd.DataFrame
    source: str
    sha256: str
    simulated: bool

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

    def about(self, threshold_ohm: float | None) -> dict[str, Any]:
        """Where numbers come from, as plain values."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "simulated": self.simulated,
            "threshold_ohm": threshold_ohm,
        }


def read_life_table(
    path: str | Path,
    kind: str,
    *,
    columns: Sequence[ColumnMapping] = (),
    where: Sequence[tuple[str, str]] = (),
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

    Raises
    ------
    MeasurementError
        A column is missing or holds what cannot be used; column, rows, values and remedy.
    """
    file = open_table(path)
    source = str(file.path)
    mapped = {m.ours: m for m in columns}
    used = ("state", "errors", "trials", "resistance_ohm", "device_id", *USED[kind])
    for mapping in columns:
        if mapping.ours not in used:
            raise MeasurementError(
                f"{source}: --column {mapping.ours}={mapping.theirs}: not used here; columns that "
                f"can be mapped are {', '.join(used)}"
            )
        if mapping.theirs not in file.columns:
            raise MeasurementError(
                f"{source}: column {mapping.theirs!r} ({mapping.ours}) is missing; check the name "
                f"in --column. The file has {', '.join(file.columns)}"
            )
    counted = all(_theirs(mapped, n) in file.columns for n in ("errors", "trials"))
    wanted = ["state", *(("errors", "trials") if counted else ("resistance_ohm",))]
    for name in EXPOSURE[kind]:
        if name != "cycles":
            wanted.append(name)
            continue
        either = sorted(USED[kind], key=lambda n: n not in mapped)
        found = [n for n in either if _theirs(mapped, n) in file.columns]
        wanted.append(found[0] if found else "prior_cycles")
    text = [_theirs(mapped, n) for n in ("state", "device_id")]
    frame = keep_where(file.read(text=text), where, source)
    device = _theirs(mapped, "device_id")
    if "device_id" not in wanted and device in frame and frame[device].notna().any():
        wanted.append("device_id")
    table = {}
    for name in wanted:
        theirs = _theirs(mapped, name)
        if theirs not in file.columns:
            unit = f":{UNIT_OF[name]}" if UNIT_OF[name] else ""
            known = "" if theirs == name else f" ({name})"
            if name == "resistance_ohm":
                known = ", nor are there errors and trials"
            raise MeasurementError(
                f"{source}: column {theirs!r} is missing{known}; name it with "
                f"--column {name}=YOUR_COLUMN{unit}. The file has {', '.join(file.columns)}"
            )
        series = frame[theirs]
        if name not in ("state", "device_id"):
            factor = mapped[name].factor if name in mapped else 1.0
            series = as_numbers(series, theirs, source) * factor
        table[_ours(name)] = series
        if _ours(name) != name:
            table["cycles"] = series.where(series != 0, FIRST_CYCLE)
    rows = pd.DataFrame(table, index=frame.index)
    if not len(rows):
        raise MeasurementError(f"{source}: no rows; nothing is left after reading the file")
    called = {_ours(name): _theirs(mapped, name) for name in wanted}
    _check(rows, counted, kind, source, called)
    return LifeTable(rows, file.path.name, file.sha256(), file.simulated)


def _theirs(mapped: dict[str, ColumnMapping], name: str) -> str:
    return mapped[name].theirs if name in mapped else name


def _ours(name: str) -> str:
    return "cycles" if name in ("prior_cycles", "cycle") else name


def _check(
    rows: pd.DataFrame, counted: bool, kind: str, source: str, called: Mapping[str, str]
) -> None:
    refuse_empty(rows, "state", source, "row its state")
    refuse_states(rows, source)
    for state in STATES:
        if state not in set(rows["state"]):
            raise MeasurementError(
                f"{source}: column state has no {state}; bit errors need both states"
            )
    if counted:
        errors, trials = rows["errors"].to_numpy(), rows["trials"].to_numpy()
        whole = (errors == np.rint(errors)) & (trials == np.rint(trials))
        _refuse(
            rows,
            ~(whole & (errors >= 0) & (errors <= trials) & (trials >= 1)),
            "errors",
            source,
            "contradicts trials or is no whole number",
            "give counts, errors at most trials, trials at least 1",
            called,
        )
    else:
        refuse_resistance(rows, source)
    if "device_id" in rows:
        refuse_empty(rows, "device_id", source, "row its device, or what wears out as one")
    if kind == "endurance":
        at = rows["cycles"].to_numpy()
        _refuse(
            rows,
            ~(np.isfinite(at) & (at >= FIRST_CYCLE)),
            "cycles",
            source,
            "is no number of cycles",
            "count cycles one by one, not in thousands; 0 is before cycling, 1 the first one",
            called,
        )
        return
    time = rows["time_after_program_s"].to_numpy()
    _refuse(
        rows,
        ~(np.isfinite(time) & (time >= 0)),
        "time_after_program_s",
        source,
        "is negative or not finite",
        "give seconds, 0 for fresh cells",
        called,
    )
    kelvin = rows["temperature_k"].to_numpy()
    _refuse(
        rows,
        ~((kelvin >= 200) & (kelvin <= 800)),
        "temperature_k",
        source,
        "is not between 200 and 800",
        "give kelvin: degrees Celsius plus 273.15",
        called,
    )


def _refuse(
    rows: pd.DataFrame,
    bad: np.ndarray,
    column: str,
    source: str,
    what: str,
    remedy: str,
    called: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuse bad rows of a column; `called` has its name in the file where that is another one."""
    if bad.any():
        name = called.get(column, column)
        raise MeasurementError(
            f"{source}: column {name} {what} in {examples(rows[column], bad)}; {remedy}"
        )


def endurance_counts(
    table: LifeTable, *, threshold_ohm: float | None = None, per_decade: int = 3
) -> tuple[dict[str, EnduranceCounts], float | None]:
    """Counts of both states over cycles, and the threshold they were counted against.

    Parameters
    ----------
    table : LifeTable
        Of kind ``"endurance"``; ``device_id`` names what wears out as one.
    threshold_ohm : float, optional
        For readings; chosen on those of the first decade of cycles when left out.
    per_decade : int, optional
        Windows per decade of cycles.
    """
    rows = table.rows
    threshold = _threshold(table, threshold_ohm, rows["cycles"] <= 10 * rows["cycles"].min())
    counts = {}
    for state in STATES:
        part = rows[rows["state"] == state]
        unit = as_names(part["device_id"])[0]
        if table.is_counts:
            counts[state] = count_windows(
                unit,
                part["cycles"],
                part["errors"],
                trials=part["trials"],
                per_decade=per_decade,
            )
        else:
            wrong = _wrong(part, state, threshold)
            counts[state] = count_windows(unit, part["cycles"], wrong, per_decade=per_decade)
    return counts, threshold


def bake_counts(
    table: LifeTable, *, threshold_ohm: float | None = None
) -> tuple[dict[str, BakeCounts], float | None]:
    """Counts of both states for each time and temperature, and the threshold; see above."""
    rows = table.rows
    threshold = _threshold(table, threshold_ohm, rows["time_after_program_s"] == 0)
    counts = {}
    for state in STATES:
        part = rows[rows["state"] == state]
        if not table.is_counts:
            part = part.assign(errors=_wrong(part, state, threshold), trials=1)
        by = part.groupby(["time_after_program_s", "temperature_k"])[["errors", "trials"]].sum()
        conditions = by.index.to_frame()
        try:
            counts[state] = BakeCounts(
                conditions["time_after_program_s"].to_numpy(),
                conditions["temperature_k"].to_numpy(),
                by["errors"].to_numpy().astype(np.int64),
                by["trials"].to_numpy().astype(np.int64),
            )
        except ValueError as error:
            raise MeasurementError(f"{table.source}: {state}: {error}") from None
    return counts, threshold


def _wrong(part: pd.DataFrame, state: str, threshold: float | None) -> np.ndarray:
    high = part["resistance_ohm"].to_numpy() > (threshold or 0.0)
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
            f"{table.source}: no fresh readings of both states to choose a threshold on; give "
            "--threshold-ohm"
        )
    return float(np.exp(best_threshold(*parts)))


def best_threshold(ln_lrs: FloatArray, ln_hrs: FloatArray) -> float:
    """Ln of the threshold with the fewest errors; in the middle of the best gap."""
    values = np.unique(np.concatenate([ln_lrs, ln_hrs]))
    middle = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2])
    above = 1 - np.searchsorted(np.sort(ln_lrs), middle, side="right") / len(ln_lrs)
    below = np.searchsorted(np.sort(ln_hrs), middle, side="right") / len(ln_hrs)
    error = above + below
    best = np.flatnonzero(error <= error.min() + 1e-12)
    widths = np.diff(np.append(values, values[-1]))
    gaps = np.where(best > 0, widths[np.maximum(best - 1, 0)], 0.0)
    return float(middle[best[int(np.argmax(gaps))]])


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
    column, programming, factor = _programming_of(file, columns, has)
    numbers = {
        name: as_numbers(frame[name], name, source).to_numpy(dtype=np.float64)
        for name in (column, "cycles", "failed", "survivors")
    }
    x = numbers[column] * factor
    bad = ~np.isfinite(x) | (programming.is_logarithmic & (x <= 0))
    _refuse(frame, bad, column, source, "cannot be a programming value", "give every row its own")
    for name in ("failed", "survivors"):
        values = numbers[name]
        _refuse(
            frame,
            ~((values >= 0) & (values == np.rint(values))),
            name,
            source,
            "is no count",
            "give whole numbers of cells",
        )
    if "previous_cycles" in file.columns:
        previous = as_numbers(frame["previous_cycles"], "previous_cycles", source).to_numpy()
    else:
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
        "sha256": hashlib.sha256(file.path.read_bytes()).hexdigest(),
        "simulated": file.simulated,
    }


def _programming_of(
    file: TableFile, columns: Sequence[ColumnMapping], has: str
) -> tuple[str, Programming, float]:
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
        return known[0], PROGRAMMING_COLUMNS[known[0]], 1.0
    (chosen,) = columns
    if chosen.theirs not in file.columns:
        raise MeasurementError(f"{source}: column {chosen.theirs!r} is missing. {has}")
    if chosen.unit is None:
        if chosen.theirs in PROGRAMMING_COLUMNS:
            return chosen.theirs, PROGRAMMING_COLUMNS[chosen.theirs], 1.0
        raise MeasurementError(
            f"{source}: the unit of {chosen.theirs} is not stated; write --column "
            f"programming={chosen.theirs}:UNIT"
        )
    unit = to_si(chosen.unit)[0]
    known_one = PROGRAMMING_COLUMNS.get(chosen.theirs)
    named = known_one if known_one and known_one.unit == unit else Programming(chosen.theirs, unit)
    return chosen.theirs, named, chosen.factor
