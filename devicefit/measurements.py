"""Measurement schema, reader and its refusals."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from devicefit.columns import (
    OPTIONAL_UNITS,
    PROGRAMMING_COLUMNS,
    REQUIRED,
    UNIT_OF,
    ColumnMapping,
)
from devicefit.programming import Programming, to_si

STATES = ("LRS", "HRS")
MINIMUM_DEVICES = 10
# The next unit is a factor of 1000 away. Medians of HRS scatter, so 200 is enough; those of LRS
# also depend on the condition, so 30 is.
MIXED_UNITS_LN_HRS = np.log(200.0)
MIXED_UNITS_LN_LRS = np.log(30.0)
ROWS_SHOWN = 5

_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


class MeasurementError(ValueError):
    """Measurements that cannot be used: what is wrong, where, and what to do."""


@dataclass(frozen=True)
class Measurements:
    """Readings of resistance in the schema of the library, SI units, one reading per row.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``device_id, state, programming, resistance_ohm`` and, where given, ``cycle``,
        ``array_id``, ``time_after_program_s``, ``temperature_k``, ``prior_cycles``. Sorted by
        (state, programming, device, cycle), so that the order of the file does not matter.
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
    """

    table: pd.DataFrame
    programming: Programming
    simulated: bool
    source: str
    sha256: str
    warnings: tuple[str, ...] = field(default=())

    @property
    def devices(self) -> int:
        """Number of distinct devices."""
        return int(self.table["device_id"].nunique())

    @property
    def conditions(self) -> np.ndarray:
        """Distinct values of the programming variable, ascending, SI."""
        return np.unique(self.table["programming"].to_numpy())


def read_measurements(
    path: str | Path,
    *,
    columns: Sequence[ColumnMapping] = (),
    where: Sequence[tuple[str, str]] = (),
) -> Measurements:
    """Read a table of resistances from CSV (also compressed) or Parquet and check it.

    Parameters
    ----------
    path : str or Path
        ``.csv``, ``.csv.gz``, ``.csv.xz``, ``.csv.bz2``, ``.tsv`` or ``.parquet``.
        Lines that begin with ``#`` at the head of a text file are comments; a comment
        ``# simulated`` marks simulated data; a Parquet file, which has none, is marked by the word
        ``simulated`` in its name.
    columns : sequence of ColumnMapping
        Which of the file's columns are ours, and their units.
    where : sequence of (column, value)
        Keep only rows in which the file's column equals the value (compared as numbers where
        both are numbers).

    Returns
    -------
    Measurements

    Raises
    ------
    MeasurementError
        The file cannot be read, a column is missing, or the readings are refused.
    """
    path = Path(path)
    frame, simulated = _read_table(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    # Row numbers in messages are lines of the table, 1 for the first reading.
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    for column, value in where:
        frame = _keep_where(frame, column, value, path)
    table, programming = _to_schema(frame, columns, path)
    return check_measurements(
        table, programming, simulated=simulated, source=path.name, sha256=digest
    )


def check_measurements(
    table: pd.DataFrame,
    programming: Programming,
    *,
    simulated: bool = False,
    source: str = "table",
    sha256: str = "",
) -> Measurements:
    """Check readings that are already in the schema's names and units.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema columns; the index gives the row numbers used in messages.
    programming : Programming
        What the column ``programming`` is.
    simulated, source, sha256
        As in :class:`Measurements`.

    Raises
    ------
    MeasurementError
        Non-positive or non-finite resistance, unknown state, mixed units, duplicates, too few
        devices, only one state; with column, rows, values and remedy.
    """
    if not len(table):
        raise MeasurementError(f"{source}: no readings; nothing is left after reading the file")
    for name in ("device_id", "state"):
        empty = table[name].isna()
        if empty.any():
            raise MeasurementError(
                f"{source}: column {name} is empty in {_rows(table, empty)}; "
                "give every reading its " + ("device" if name == "device_id" else "state")
            )
    table = table.assign(device_id=table["device_id"].astype(str))
    _refuse_states(table, source)
    # One type per column, whatever the file's: categories sort and group in an order of their own.
    table = table.assign(state=table["state"].astype(str))
    if "array_id" in table:
        table = table.assign(array_id=table["array_id"].astype(str))
        if (table.groupby("device_id")["array_id"].nunique() > 1).any():
            # The same number on two arrays is two devices.
            table = table.assign(device_id=table["array_id"] + "/" + table["device_id"])
    if "cycle" in table:
        table = table.assign(cycle=table["cycle"].astype(np.float64))
    _refuse_values(table, programming, source)
    _refuse_mixed_units(table, source)
    _refuse_duplicates(table, source)
    _refuse_too_little(table, programming, source)
    order = ["state", "programming", "device_id"]
    order += [name for name in ("array_id", "cycle", "time_after_program_s") if name in table]
    ordered = table.sort_values([*order, "resistance_ohm"], kind="stable").reset_index(drop=True)
    ordered = ordered[[name for name in (*REQUIRED, *OPTIONAL_UNITS) if name in ordered]]
    return Measurements(
        table=ordered,
        programming=programming,
        simulated=simulated,
        source=source,
        sha256=sha256,
        warnings=tuple(_warnings(ordered, programming)),
    )


def _read_table(path: Path) -> tuple[pd.DataFrame, bool]:
    if not path.is_file():
        raise MeasurementError(f"{path}: no such file; give a CSV or Parquet table of resistances")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    simulated = False
    try:
        if suffixes and suffixes[-1] in (".parquet", ".pq"):
            return pd.read_parquet(path), "simulated" in re.split(r"[^a-z]+", path.stem.lower())
        if not {".csv", ".tsv", ".txt"} & set(suffixes):
            raise MeasurementError(
                f"{path}: cannot tell the format from the name; use .csv, .tsv (also .gz, .xz, "
                ".bz2) or .parquet"
            )
        comments, header = 0, ""
        opener = _OPENERS.get(suffixes[-1], open)
        # Spreadsheets write a byte order mark.
        with opener(path, "rt", encoding="utf-8-sig") as handle:
            for line in handle:
                header = str(line)
                if not header.startswith("#"):
                    break
                comments += 1
                simulated = simulated or header[1:].strip().lower().startswith("simulated")
        separator = "\t" if header.count("\t") > header.count(",") else ","
        if header.count(";") > header.count(separator):
            separator = ";"
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Instruments end each row with a separator; without index_col=False pandas would
            # then take the first column for row labels and shift all others.
            frame = pd.read_csv(
                path, sep=separator, skiprows=comments, low_memory=False, index_col=False
            )
    except pd.errors.ParserWarning:
        raise MeasurementError(
            f"{path}: rows have more fields than the header has names; give every column a name"
        ) from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error, pd.errors.ParserError) as error:
        raise MeasurementError(f"{path}: cannot be read as a table: {error}") from None
    except pd.errors.EmptyDataError:
        raise MeasurementError(f"{path}: the file is empty") from None
    except (ValueError, ImportError) as error:
        if isinstance(error, MeasurementError):
            raise
        raise MeasurementError(f"{path}: cannot be read as a table: {error}") from None
    return frame, simulated


def _keep_where(frame: pd.DataFrame, column: str, value: str, path: Path) -> pd.DataFrame:
    if column not in frame:
        raise MeasurementError(
            f"{path}: --where {column}={value}: no column {column!r}; the file has "
            f"{', '.join(map(str, frame.columns))}"
        )
    series = frame[column]
    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        try:
            wanted = float(value)
        except ValueError:
            raise MeasurementError(
                f"{path}: --where {column}={value}: the column holds numbers"
            ) from None
        keep = np.isclose(series.to_numpy(dtype=float), wanted, rtol=1e-9, atol=0)
    else:
        keep = (series.astype(str) == value).to_numpy()
    if not keep.any():
        values = ", ".join(str(v) for v in pd.unique(series.dropna())[:ROWS_SHOWN])
        raise MeasurementError(
            f"{path}: --where {column}={value} keeps no row; the column holds for example {values}"
        )
    return frame[keep]


def _to_schema(
    frame: pd.DataFrame, columns: Sequence[ColumnMapping], path: Path
) -> tuple[pd.DataFrame, Programming]:
    mapped = {mapping.ours: mapping for mapping in columns}
    programming: Programming | None = None
    if "programming" not in mapped:
        found = [name for name in PROGRAMMING_COLUMNS if name in frame]
        if len(found) > 1:
            raise MeasurementError(
                f"{path}: {len(found)} columns could be the programming variable "
                f"({', '.join(found)}); choose one, e.g. --column programming={found[0]}:"
                f"{PROGRAMMING_COLUMNS[found[0]].unit}"
            )
        if not found:
            raise MeasurementError(
                f"{path}: no programming variable; name its column and unit, for example "
                "--column programming=I_set:uA or --column programming=V_gate:V. The file has "
                f"{', '.join(map(str, frame.columns))}"
            )
        mapped["programming"] = ColumnMapping("programming", found[0])
    chosen = mapped["programming"]
    if chosen.unit is not None:
        known = PROGRAMMING_COLUMNS.get(chosen.theirs)
        unit = to_si(chosen.unit)[0]
        if known is not None and known.unit == unit:
            programming = known
        else:
            programming = Programming(chosen.theirs, unit)
    elif chosen.theirs in PROGRAMMING_COLUMNS:
        programming = PROGRAMMING_COLUMNS[chosen.theirs]
    else:
        raise MeasurementError(
            f"{path}: the unit of the programming variable is not stated; write "
            f"--column programming={chosen.theirs}:UNIT with UNIT one of A, mA, uA, V, mV, s, us, "
            "ns"
        )
    table: dict[str, pd.Series] = {}
    for name in (*REQUIRED, *OPTIONAL_UNITS):
        mapping = mapped.get(name, ColumnMapping(name, name))
        if mapping.theirs not in frame:
            if name in mapped or name in REQUIRED:
                hint = (
                    "check the name in --column"
                    if name in mapped
                    else f"name it with --column {name}=YOUR_COLUMN"
                    + (f":{UNIT_OF[name]}" if UNIT_OF[name] else "")
                )
                raise MeasurementError(
                    f"{path}: column {mapping.theirs!r} ({name}) is missing; {hint}. The file has "
                    f"{', '.join(map(str, frame.columns))}"
                )
            continue
        series = frame[mapping.theirs]
        if name in ("programming", "resistance_ohm", "cycle") or UNIT_OF[name] is not None:
            series = _as_numbers(series, mapping.theirs, path) * mapping.factor
        table[name] = series
    return pd.DataFrame(table, index=frame.index), programming


def _as_numbers(series: pd.Series, column: str, path: Path) -> pd.Series:
    numbers = pd.to_numeric(series, errors="coerce")
    bad = (numbers.isna() & series.notna()).to_numpy()
    if bad.any():
        raise MeasurementError(
            f"{path}: column {column} has text where a number is needed: "
            f"{_examples(series, bad)}; "
            "correct the cells (decimal point, no unit) or leave the rows out"
        )
    return numbers.astype(np.float64)


def _refuse_states(table: pd.DataFrame, source: str) -> None:
    unknown = ~table["state"].isin(STATES).to_numpy()
    if unknown.any():
        raise MeasurementError(
            f"{source}: column state has unknown values: {_examples(table['state'], unknown)}; "
            "the intended state is LRS (after a SET) or HRS (after a RESET)"
        )
    states = set(table["state"])
    if len(states) == 1:
        (only,) = states
        missing = "HRS" if only == "LRS" else "LRS"
        raise MeasurementError(
            f"{source}: column state holds only {only}; bit errors need readings of both states, "
            f"add those of {missing}"
        )


def _refuse_values(table: pd.DataFrame, programming: Programming, source: str) -> None:
    resistance = table["resistance_ohm"].to_numpy(dtype=np.float64)
    bad = ~(np.isfinite(resistance) & (resistance > 0))
    if bad.any():
        raise MeasurementError(
            f"{source}: column resistance_ohm is not a positive finite number in "
            f"{_examples(table['resistance_ohm'], bad)}; mark failed readings as such in the "
            "source and leave those rows out, or correct the conversion"
        )
    x = table["programming"].to_numpy(dtype=np.float64)
    bad = ~np.isfinite(x)
    if programming.is_logarithmic:
        bad |= x <= 0
    if bad.any():
        kind = "a positive finite number" if programming.is_logarithmic else "a finite number"
        raise MeasurementError(
            f"{source}: the programming variable ({programming.name}) is not {kind} in "
            f"{_examples(table['programming'], bad)}; give every reading its condition"
        )


def _refuse_mixed_units(table: pd.DataFrame, source: str) -> None:
    """Refuse when parts of the table differ by about a factor of 1000 in both states.

    Parts are: arrays, conditions, and devices on either side of the widest gap between devices,
    when each side has a tenth of the devices. They are told apart by their HRS, which hardly
    depends on the SET. Another unit shifts the LRS alike; a stuck or open cell, a SET that never
    happens or a large HRS/LRS ratio does not.
    """
    frame = table.assign(ln_r=np.log(table["resistance_ohm"].to_numpy(dtype=np.float64)))
    for column in ("array_id", "programming", "device_id"):
        if column not in frame:
            continue
        medians = frame.groupby([column, "state"])["ln_r"].median().unstack().dropna()
        medians = medians.sort_values("HRS")
        if len(medians) < 2:
            continue
        if column == "device_id":
            cut = 1 + int(np.diff(medians["HRS"]).argmax())
            if min(cut, len(medians) - cut) < len(medians) / 10:
                continue
            sides = medians.iloc[:cut], medians.iloc[cut:]
        else:
            sides = medians.iloc[:1], medians.iloc[-1:]
        middles = [side.median() for side in sides]
        apart = middles[1] - middles[0]
        if apart["HRS"] < MIXED_UNITS_LN_HRS or apart["LRS"] < MIXED_UNITS_LN_LRS:
            continue
        words = []
        for side, middle in zip(sides, middles, strict=True):
            first = frame.index[frame[column].isin(side.index)][0]
            where = f"{column} {side.index[0]}" if len(side) == 1 else f"{len(side)} devices"
            words.append(
                f"at {where} (first in row {first}) the medians are {np.exp(middle['LRS']):.3g} "
                f"ohm in LRS and {np.exp(middle['HRS']):.3g} ohm in HRS"
            )
        raise MeasurementError(
            f"{source}: column resistance_ohm seems to mix units: {', '.join(words)}, about a "
            "factor of 1000 or more apart; bring all readings to one unit"
        )


def _refuse_duplicates(table: pd.DataFrame, source: str) -> None:
    names = ("array_id", "device_id", "cycle", "state", "programming")
    more = ("time_after_program_s", "temperature_k", "prior_cycles")
    key = [name for name in (*names, *more) if name in table]
    repeated = table.duplicated(key, keep=False).to_numpy()
    if not repeated.any():
        return
    first = table[repeated].sort_values(key, kind="stable").head(2)
    what = ", ".join(f"{name} {first.iloc[0][name]}" for name in key)
    remedy = (
        "name the column that counts repetitions with --column cycle=YOUR_COLUMN"
        if "cycle" not in table
        else "remove copies, or give each reading its own cycle"
    )
    raise MeasurementError(
        f"{source}: {int(repeated.sum())} readings share their ({', '.join(key)}) with another, "
        f"for example rows {first.index[0]} and {first.index[1]} ({what}); {remedy}, or keep one "
        "run with --where COLUMN=VALUE"
    )


def _refuse_too_little(table: pd.DataFrame, programming: Programming, source: str) -> None:
    for state in STATES:
        devices = table.loc[table["state"] == state, "device_id"].nunique()
        if devices < MINIMUM_DEVICES:
            raise MeasurementError(
                f"{source}: column device_id has {devices} devices in {state}, at least "
                f"{MINIMUM_DEVICES} are needed to tell the spread of devices; measure more"
            )
        conditions = np.unique(table.loc[table["state"] == state, "programming"])
        if len(conditions) < 2:
            raise MeasurementError(
                f"{source}: all {state} readings are at one programming condition "
                f"({programming.name} = {programming.format(float(conditions[0]))}); a curve needs "
                "at least two"
            )


def _warnings(table: pd.DataFrame, programming: Programming) -> list[str]:
    found: list[str] = []
    for state in STATES:
        values = table.loc[table["state"] == state, "resistance_ohm"].to_numpy()
        for edge, word in ((values.min(), "smallest"), (values.max(), "largest")):
            count = int((values == edge).sum())
            # A continuous reading repeats at its edge only by chance of rounding.
            typical = len(values) / len(np.unique(values))
            if count >= 5 and count > 5 * typical:
                found.append(
                    f"probable censoring: the {word} {state} reading, {edge:.6g} ohm, occurs "
                    f"{count} times of {len(values)}; an instrument or compliance limit? The fit "
                    "takes it at face value"
                )
        median = float(np.median(values))
        if not 50.0 <= median <= 1e11:
            found.append(
                f"the median {state} resistance is {median:.3g} ohm, unusual for RRAM; if the file "
                "is in another unit map it, e.g. --column resistance_ohm=R:kohm"
            )
    medians = table.groupby(["programming", "state"])["resistance_ohm"].median().unstack()
    if (medians["LRS"] > medians["HRS"]).mean() > 0.5:
        found.append(
            "at most conditions the LRS median lies above the HRS median; check that state is the "
            "intended state (LRS after a SET)"
        )
    per_condition = table.groupby(["programming", "state"])["device_id"].nunique().unstack()
    missing = per_condition[per_condition.isna().any(axis=1)]
    if len(missing):
        found.append(
            f"{len(missing)} of {len(per_condition)} programming conditions have readings of one "
            f"state only, first {programming.format(float(missing.index[0]))}"
        )
    return found


def _rows(table: pd.DataFrame, bad: np.ndarray | pd.Series) -> str:
    rows = table.index[np.asarray(bad)]
    shown = ", ".join(str(row) for row in rows[:ROWS_SHOWN])
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}{more}"


def _examples(series: pd.Series, bad: np.ndarray) -> str:
    """``rows 3, 9 (values -1.0, nan)`` for the first few bad cells of a column."""
    values = ", ".join(repr(v) for v in series[bad].head(ROWS_SHOWN).tolist())
    return f"{_rows(series.to_frame(), bad)} (values {values})"
