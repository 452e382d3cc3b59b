"""Measurements in the schema of the library: read, checked and in one order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from devicefit.inputs.columns import (
    BOUNDS,
    COUNTS,
    OPTIONAL_UNITS,
    ORDER,
    PLACE,
    REQUIRED,
    SUMMARY,
    ColumnMapping,
)
from devicefit.inputs.programming import Programming
from devicefit.inputs.refusals import (
    MINIMUM_DEVICES,
    STATES,
    Faults,
    MeasurementError,
    refuse_duplicates,
    refuse_empty,
    refuse_few_devices,
    refuse_mixed_units,
    refuse_one_state,
    refuse_programming,
    refuse_resistance,
    refuse_states,
)
from devicefit.measurements.device_counts import CONDITION, devices_per_state, unnamed_devices
from devicefit.measurements.files import keep_where
from devicefit.measurements.input_tables import conditions_in, open_tables
from devicefit.measurements.row_kinds import split_rows
from devicefit.measurements.schema import as_names, to_schema
from devicefit.measurements.warnings import (
    declared_warnings,
    level_warnings,
    one_condition_warnings,
    one_state_warnings,
)
from devicefit.numerics.short_repr import short_repr
from devicefit.treatments.cell_places import cell_places, refuse_places
from devicefit.treatments.overrange import UNKNOWN_RANGE, Overrange, refuse_negative_overflow
from devicefit.treatments.treatment import Treatment, treat

__all__ = [
    "MINIMUM_DEVICES",
    "ORDER",
    "STATES",
    "MeasurementError",
    "Measurements",
    "check_measurements",
    "read_measurements",
]


@short_repr
@dataclass(frozen=True)
class Measurements:
    """What is known of resistances, in the schema of the library, SI units.

    Parameters
    ----------
    table : pandas.DataFrame
        Readings, one per row. Columns ``device_id, state, programming, resistance_ohm`` and,
        where given, ``programming_2, cycle, array_id, time_after_program_s, temperature_k,
        prior_cycles``. Sorted by (state, programming, device, cycle), so that the order of the
        file does not matter.
    programming : Programming
        What the programming variable is.
    simulated : bool
        Whether the readings come from a simulation; every report says so.
    source : str
        File name or description.
    sha256 : str
        Hash of the source's bytes.
    warnings : tuple of str
        Findings that do not forbid a fit, e.g. probable censoring.
    second : Programming or None
        What the column ``programming_2`` is.
    intervals : pandas.DataFrame
        Readings of which only bounds are known, and counted errors: ``state, programming,
        low_ohm`` (0 where there is none), ``high_ohm`` (infinite where there is none), ``count``
        and, where given, ``programming_2, array_id, device_id``. ``is_reading`` tells a reading
        that is known by its bounds from counted errors. Sorted.
    summaries : pandas.DataFrame
        Published tables: ``state, programming, n, mean_ln_r, sd_ln_r``, the last divided by
        n - 1, and, where given, ``programming_2, array_id, device_id``. Sorted.
    treatment : Treatment
        What became a bound, which cells never switch, what was left out.
    places : pandas.DataFrame
        Place of each device that has one: ``device_id, array_id`` (empty text without arrays),
        ``row, column``. Sorted by device.
    """

    table: pd.DataFrame
    programming: Programming
    simulated: bool
    source: str
    sha256: str
    warnings: tuple[str, ...] = field(default=())
    second: Programming | None = None
    intervals: pd.DataFrame = field(default_factory=pd.DataFrame)
    summaries: pd.DataFrame = field(default_factory=pd.DataFrame)
    treatment: Treatment = field(default_factory=Treatment)
    places: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def devices(self) -> int:
        """Number of distinct devices.

        Counts and summaries without ``device_id`` are taken as one device for each trial or
        reading, the same devices in both states.
        """
        named: set[str] = set()
        for part in (self.table, self.intervals, self.summaries):
            if "device_id" in part:
                named |= set(part["device_id"].dropna())
        unnamed = unnamed_devices(self.intervals, self.summaries)
        if not len(unnamed):
            return len(named)
        key = [name for name in unnamed.columns if name not in ("state", "devices")]
        return len(named) + int(unnamed.groupby(key)["devices"].max().sum())

    @property
    def conditions(self) -> np.ndarray:
        """Distinct values of the programming variable, ascending, SI."""
        parts = (self.table, self.intervals, self.summaries)
        return np.unique(np.concatenate([p["programming"].to_numpy() for p in parts if len(p)]))

    @property
    def second_values(self) -> np.ndarray:
        """Distinct values of the second programming variable, ascending, SI; none without one."""
        parts = [p["programming_2"] for p in (self.table, self.intervals, self.summaries)
                 if "programming_2" in p]  # fmt: skip
        return np.unique(np.concatenate(parts)) if self.second is not None else np.empty(0)


def read_measurements(
    path: str | Path | Sequence[str | Path],
    *,
    columns: Sequence[ColumnMapping] = (),
    where: Sequence[tuple[str, str]] = (),
    overrange: Overrange = UNKNOWN_RANGE,
    exclude: Sequence[str] = (),
) -> Measurements:
    """Read tables of resistances from CSV (also compressed) or Parquet and check them.

    Parameters
    ----------
    path : str or Path, or a sequence of them
        ``.csv``, ``.csv.gz``, ``.csv.xz``, ``.csv.bz2``, ``.tsv`` or ``.parquet``; several are
        joined. Lines that begin with ``#`` at the head of a text file are comments; a comment
        ``# simulated`` marks simulated data; a Parquet file, which has none, is marked by the word
        ``simulated`` in its name. A row is a reading (``resistance_ohm``), bounds of one
        (``resistance_low_ohm, resistance_high_ohm``), counted errors (``errors, trials,
        threshold_ohm``) or a summary (``n, mean_ln_r, sd_ln_r``), by what is filled in.
    columns : sequence of ColumnMapping
        Which of the file's columns are ours, and their units. With several files a mapping holds
        in each file that has its column.
    where : sequence of (column, value)
        Keep only rows in which the file's column equals the value (compared as numbers where
        both are numbers). With several files it holds in each that has its column.
    overrange, exclude
        As in :func:`check_measurements`.

    Returns
    -------
    Measurements

    Raises
    ------
    MeasurementError
        A file cannot be read, a column is missing, or the readings are refused.
    """
    tables, schemas = open_tables(path, columns, where)
    faults = Faults(" + ".join(file.path.name for file in tables))
    parts = []
    for file, schema in zip(tables, schemas, strict=True):
        name = str(file.path)
        frame = file.read(text=schema.text_columns)
        frame = keep_where(frame, conditions_in(file, where, len(tables)), name)
        if tables[1:]:
            # Row numbers in messages are lines of the table, 1 for the first reading.
            frame = frame.set_index(f"{name}:" + frame.index.astype(str))
        parts.append(to_schema(frame, schema, faults))
    digests = [file.sha256() for file in tables]
    if len(digests) > 1:
        digests = [hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()]
    declared = [
        warning
        for file, schema, part in zip(tables, schemas, parts, strict=True)
        for warning in declared_warnings(file, schema, len(part))
    ]
    if len({file.simulated for file in tables}) > 1:
        declared.append("some of the files are simulated; all readings count as simulated")
    return _checked(
        pd.concat(parts) if len(parts) > 1 else parts[0],
        schemas[0].programming,
        faults,
        simulated=any(file.simulated for file in tables),
        sha256=digests[0],
        second=schemas[0].second,
        warnings=declared,
        overrange=overrange,
        exclude=exclude,
    )


def check_measurements(
    table: pd.DataFrame,
    programming: Programming,
    *,
    simulated: bool = False,
    source: str = "table",
    sha256: str = "",
    second: Programming | None = None,
    warnings: Sequence[str] = (),
    overrange: Overrange = UNKNOWN_RANGE,
    exclude: Sequence[str] = (),
) -> Measurements:
    """Check rows that are already in the schema's names and units.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema columns, rows of any kind; the index gives the row numbers used in messages.
    programming : Programming
        What the column ``programming`` is.
    simulated, source, sha256, second
        As in :class:`Measurements`.
    warnings : sequence of str, optional
        Findings from before, put first.
    overrange : Overrange, optional
        What is known of the range of the instrument. Overflow becomes a bound of the reading.
    exclude : sequence of str, optional
        Cells to leave out: ``unformed``, ``shorted`` or names of devices.

    Raises
    ------
    MeasurementError
        Resistance that is not positive, contradicting bounds, counts or summaries, unknown state,
        mixed units, duplicates, too few devices, only one state; all that is wrong at once, each
        with column, rows, values and remedy. What concerns the table as a whole is looked for in
        the rows that can be read, and the number of devices when nothing else is wrong.
    """
    return _checked(
        table,
        programming,
        Faults(source),
        simulated=simulated,
        sha256=sha256,
        second=second,
        warnings=warnings,
        overrange=overrange,
        exclude=exclude,
    )


def _checked(
    table: pd.DataFrame,
    programming: Programming,
    faults: Faults,
    *,
    simulated: bool,
    sha256: str,
    second: Programming | None,
    warnings: Sequence[str],
    overrange: Overrange,
    exclude: Sequence[str],
) -> Measurements:
    """As :func:`check_measurements`; faults that were found before are told with the others."""
    source = faults.source
    if not len(table):
        raise MeasurementError(f"{source}: no readings; nothing is left after reading the file")
    table = check_rows(table, faults)
    check_numbers(table, programming, second, faults)
    split_rows(table, faults)
    bad = faults.named(table)
    if bad.all():
        faults.tell()
    # What is wrong with the table as a whole is looked for in the rows that can be read.
    table = table[~bad]
    if not faults:
        refuse_one_state(set(table["state"]), faults)
    if "array_id" in table:
        moves = table.groupby("device_id")["array_id"].nunique()
        if (moves > 1).any():
            # The same number on two arrays is two devices.
            table = table.assign(device_id=table["array_id"] + "/" + table["device_id"])
    treated = treat(table, overrange, exclude, faults)
    readable = ~faults.named(treated.table)
    places = cell_places(treated.table[readable], faults)
    rows = split_rows(treated.table[readable], faults)
    switches = ~treated.never_switches[readable]
    refuse_mixed_units(rows.readings[switches[rows.is_reading]], faults)
    refuse_duplicates(
        pd.concat([rows.readings, rows.bounds]) if len(rows.bounds) else rows.readings, faults
    )
    by_one = ["state", "programming", "programming_2", "device_id", "array_id", *ORDER]
    columns = [name for name in (*REQUIRED, *OPTIONAL_UNITS) if name not in PLACE]
    readings = _ordered(rows.readings, [*by_one, "resistance_ohm"], columns)
    whose = ("state", *CONDITION, "device_id")
    numbers = ("low_ohm", "high_ohm", "count")
    intervals = _ordered(rows.intervals, [*whose, *numbers], (*whose, *numbers, "is_reading"))
    numbers = ("n", "mean_ln_r", "sd_ln_r")
    summaries = _ordered(rows.summaries, [*whose, *numbers], (*whose, *numbers))
    if not faults:
        refuse_few_devices(devices_per_state(readings, intervals, summaries), faults)
    faults.tell()
    everything = pd.concat(
        [p[[c for c in whose if c in p]] for p in (readings, intervals, summaries) if len(p)]
    )
    return Measurements(
        table=readings,
        programming=programming,
        simulated=simulated,
        source=source,
        sha256=sha256,
        warnings=(
            *warnings,
            *treated.warnings,
            *level_warnings(readings),
            *one_state_warnings(everything, programming),
            *one_condition_warnings(everything, programming),
        ),
        second=second,
        intervals=intervals,
        summaries=summaries,
        treatment=treated.treatment,
        places=places,
    )


def check_rows(table: pd.DataFrame, faults: Faults, *, plain: bool = True) -> pd.DataFrame:
    """Refuse empty and unknown names; give every column one type, whatever the file's.

    Text unless `plain` is false: categories sort and group in an order of their own, but are fast.
    """
    if "device_id" not in table:
        table = table.assign(device_id=None)
    refuse_empty(table, "state", "reading its state", faults)
    one_by_one = np.zeros(len(table), dtype=bool)
    for name in ("resistance_ohm", "resistance_low_ohm", "resistance_high_ohm"):
        if name in table:
            one_by_one |= table[name].notna().to_numpy()
    if not set(table) & {"errors", "n"}:
        one_by_one[:] = True
    refuse_empty(table[one_by_one], "device_id", "reading its device", faults)
    refuse_states(table, faults)
    if "array_id" in table:
        if table["array_id"].isna().all():
            table = table.drop(columns="array_id")
        else:
            refuse_empty(table, "array_id", "reading its array, or leave the column out", faults)
    for name in ("device_id", "state", "array_id"):
        if name in table:
            codes, names = as_names(table[name])
            column = pd.Categorical.from_codes(codes, categories=names)
            table = table.assign(**{name: column.astype(object) if plain else column})
    return table.assign(**{name: table[name].astype(np.float64) for name in ORDER if name in table})


def check_numbers(
    table: pd.DataFrame, programming: Programming, second: Programming | None, faults: Faults
) -> None:
    """Refuse resistances, programming values and places of cells that cannot be."""
    if "resistance_ohm" in table:
        other_kinds = any(name in table for name in (*BOUNDS, *COUNTS, *SUMMARY))
        # Beside other kinds of rows an empty cell is a row of another kind.
        given = table[table["resistance_ohm"].notna()] if other_kinds else table
        refuse_negative_overflow(given, faults)
        refuse_resistance(given, faults)
    for name, variable in (("programming", programming), ("programming_2", second)):
        if variable is not None:
            refuse_programming(table, name, variable, faults)
    refuse_places(table, faults)


def _ordered(table: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    keep = [name for name in columns if name in table]
    if not len(table):
        return table[keep].reset_index(drop=True)
    keys = [name for name in by if name in table]
    return table.sort_values(keys, kind="stable")[keep].reset_index(drop=True)
