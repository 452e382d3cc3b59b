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
from typing import Any

import numpy as np
import pandas as pd

from devicefit.distributions.separation import best_threshold
from devicefit.inputs.columns import BOUNDS, PROGRAMMING_COLUMNS, UNIT_OF, ColumnMapping
from devicefit.inputs.programming import Programming, to_si
from devicefit.inputs.refusals import (
    Faults,
    MeasurementError,
    refuse_empty,
    refuse_resistance,
    refuse_states,
    rows_of,
)
from devicefit.life.endurance import EnduranceCounts, count_windows
from devicefit.life.retention import BakeCounts
from devicefit.life.study import STATES
from devicefit.life.wear_out import WearOutTable
from devicefit.measurements.files import TableFile, keep_where, open_table
from devicefit.measurements.schema import as_names, as_numbers, as_resistances
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
    table: dict[str, pd.Series] = {}
    faults = Faults(source)
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
            mapping = mapped.get(name, ColumnMapping(name, name))
            if name == "resistance_ohm":
                series = as_resistances(series, mapping, faults)
            else:
                series = as_numbers(series, theirs, faults, ours=_ours(name)) * mapping.factor
        table[_ours(name)] = series
        if _ours(name) != name:
            table["cycles"] = series.where(series != 0, FIRST_CYCLE)
    rows = pd.DataFrame(table, index=frame.index)
    if not len(rows):
        raise MeasurementError(f"{source}: no rows; nothing is left after reading the file")
    called = {_ours(name): _theirs(mapped, name) for name in wanted}
    _check(rows, counted, kind, faults, called)
    left_out: tuple[str, ...] = ()
    if exclude:
        rows, left_out = _without(rows, exclude, faults)
    faults.tell()
    if counted:
        return LifeTable(rows, file.path.name, file.sha256(), file.simulated, left_out)
    treated = censor(rows, overrange, faults, at_limit=True)
    faults.tell()
    return LifeTable(
        _at_bounds(treated.table),
        file.path.name,
        file.sha256(),
        file.simulated,
        (*left_out, *treated.warnings),
        treated.record,
    )


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


def _theirs(mapped: dict[str, ColumnMapping], name: str) -> str:
    return mapped[name].theirs if name in mapped else name


def _ours(name: str) -> str:
    return "cycles" if name in ("prior_cycles", "cycle") else name


def _check(
    rows: pd.DataFrame, counted: bool, kind: str, faults: Faults, called: Mapping[str, str]
) -> None:
    def refuse(bad: np.ndarray, column: str, what: str, remedy: str) -> None:
        """Name a column as the file does."""
        faults.rows(
            rows.rename(columns={column: called[column]}), bad & ~faults.named(rows, column),
            called[column], what, remedy,
        )  # fmt: skip

    refuse_empty(rows, "state", "row its state", faults)
    refuse_states(rows, faults)
    for state in STATES:
        if state not in set(rows["state"]) and not faults:
            faults.add(f"column state has no {state}; bit errors need both states")
    if counted:
        errors, trials = rows["errors"].to_numpy(), rows["trials"].to_numpy()
        whole = (errors == np.rint(errors)) & (trials == np.rint(trials))
        refuse(
            ~(whole & (errors >= 0) & (errors <= trials) & (trials >= 1)), "errors",
            "contradicts trials or is no whole number",
            "give counts, errors at most trials, trials at least 1",
        )  # fmt: skip
    else:
        refuse_negative_overflow(rows, faults)
        refuse_resistance(rows, faults)
    if "device_id" in rows:
        refuse_empty(rows, "device_id", "row its device, or what wears out as one", faults)
    if kind == "endurance":
        at = rows["cycles"].to_numpy()
        refuse(
            ~(np.isfinite(at) & (at >= FIRST_CYCLE)), "cycles", "is no number of cycles",
            "count cycles one by one, not in thousands; 0 is before cycling, 1 the first one",
        )  # fmt: skip
        return
    time = rows["time_after_program_s"].to_numpy()
    refuse(
        ~(np.isfinite(time) & (time >= 0)), "time_after_program_s", "is negative or not finite",
        "give seconds, 0 for fresh cells",
    )  # fmt: skip
    kelvin = rows["temperature_k"].to_numpy()
    refuse(
        ~((kelvin >= 200) & (kelvin <= 800)), "temperature_k", "is not between 200 and 800",
        "give kelvin: degrees Celsius plus 273.15",
    )  # fmt: skip


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
    column, programming, factor = _programming_of(file, columns, has)
    faults = Faults(source)
    numbers = {
        name: as_numbers(frame[name], name, faults).to_numpy(dtype=np.float64)
        for name in (column, "cycles", "failed", "survivors")
    }
    x = numbers[column] * factor
    bad = ~np.isfinite(x) | (programming.is_logarithmic & (x <= 0))
    faults.rows(frame, bad, column, "cannot be a programming value", "give every row its own")
    for name in ("failed", "survivors"):
        is_count = (numbers[name] >= 0) & (numbers[name] == np.rint(numbers[name]))
        faults.rows(frame, ~is_count, name, "is no count", "give whole numbers of cells")
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
