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

from devicefit.inputs.columns import BOUNDS, UNIT_OF, ColumnMapping
from devicefit.inputs.refusals import (
    Faults,
    MeasurementError,
    refuse_empty,
    refuse_resistance,
    refuse_states,
)
from devicefit.life.study import STATES
from devicefit.measurements.files import keep_where, open_table
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
