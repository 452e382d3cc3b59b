"""From the columns of a user's table to those of the schema, SI units."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from devicefit.inputs.columns import (
    BOUNDS,
    COUNTS,
    NAMES,
    PLACE,
    PROGRAMMING_COLUMNS,
    SUMMARY,
    UNIT_OF,
    ColumnMapping,
)
from devicefit.inputs.programming import ONE_CONDITION, Programming, to_si
from devicefit.inputs.refusals import Faults, MeasurementError, examples
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.treatments.overrange import NO_RESISTANCE_OHM, as_overflow

UNITS_ADVICE = "A, mA, uA, V, mV, s, us, ns"


@dataclass(frozen=True)
class Schema:
    """Which columns of a table are ours.

    Parameters
    ----------
    mappings : tuple of ColumnMapping
        One for each column of the schema that the table has.
    programming : Programming
        The programming variable.
    second : Programming or None
        The second one.
    ignored : tuple of str
        Columns known to be programming variables in a table that was declared to be of one
        condition.
    """

    mappings: tuple[ColumnMapping, ...]
    programming: Programming
    second: Programming | None
    ignored: tuple[str, ...] = ()

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns of the user's table that hold names."""
        return tuple(m.theirs for m in self.mappings if m.ours in NAMES)


def schema_of(
    available: Sequence[str],
    columns: Sequence[ColumnMapping],
    source: str,
    *,
    elsewhere: Collection[str] = (),
) -> Schema:
    """Find the columns of the schema in a table.

    Parameters
    ----------
    available : sequence of str
        Columns of the table.
    columns : sequence of ColumnMapping
        What the user said about them; a name of the schema stands for itself.
    source : str
        Name for messages.
    elsewhere : collection of str, optional
        Columns of other tables that are read together with this one; a mapping may mean those.

    Raises
    ------
    MeasurementError
        A column is missing, the programming variable is not known, or columns of counts or of
        summaries are incomplete; says what the table has.
    """
    has = f"The file has {', '.join(map(str, available))}"
    mapped = {mapping.ours: mapping for mapping in columns}
    second = mapped.get("programming_2")
    chosen = mapped.get("programming") or _find_programming(available, second, source, has)
    programming = ONE_CONDITION if chosen.is_none else programming_variable(chosen, source)
    other: Programming | None = None
    if second is not None:
        other = programming_variable(second, source)
        if chosen.is_none or second.theirs == chosen.theirs:
            raise MeasurementError(
                f"{source}: --column programming_2={second.theirs}: the second variable stands "
                "beside a first one; map that with --column programming=YOUR_COLUMN:UNIT"
            )
    mapped["programming"] = chosen

    found: dict[str, ColumnMapping] = {}
    for name in UNIT_OF:
        if name == "programming_2" and second is None:
            continue
        mapping = mapped.get(name, ColumnMapping(name, name))
        if mapping.theirs in available and not mapping.is_none:
            found[name] = mapping
        elif name in mapped and mapping.theirs not in elsewhere and not mapping.is_none:
            raise MeasurementError(f"{source}: {missing_mapped(mapping)}. {has}")
    one_by_one = any(name in found for name in ("resistance_ohm", *BOUNDS))
    tables = ((COUNTS, "counted errors need"), (SUMMARY, "a summary needs"))
    is_table = any(all(name in found for name in group) for group, _ in tables)
    for group, what in (*tables, (PLACE, "the place of a cell needs")):
        missing = [name for name in group if name not in found]
        # Columns that happen to be called n or errors mean nothing beside readings, and a row
        # without a column may be the number of a line.
        alone = not (one_by_one or is_table) and group != PLACE
        meant = [n for n in group if n in found and (n in mapped or alone)]
        if missing and meant:
            raise MeasurementError(
                f"{source}: {what} the columns {', '.join(group)}; {missing[0]} is missing, "
                f"name it with --column {missing[0]}=YOUR_COLUMN. {has}"
            )
        if missing:
            found = {name: m for name, m in found.items() if name not in group}
    needed = ["state"] if chosen.is_none else ["state", "programming"]
    if one_by_one or not is_table:
        needed.append("device_id")
    if not (one_by_one or is_table):
        needed.append("resistance_ohm")
    faults = Faults(source)
    lacking = sorted(set(needed) - set(found), key=list(UNIT_OF).index)
    for name in lacking:
        text = missing_column(mapped.get(name, ColumnMapping(name, name)))
        faults.add(text + (f". {has}" if name == lacking[-1] else ""))
    faults.tell()
    ignored = [name for name in PROGRAMMING_COLUMNS if name in available and chosen.is_none]
    return Schema(tuple(found.values()), programming, other, tuple(ignored))


def missing_mapped(mapping: ColumnMapping) -> str:
    """What is said of a column that the user named and the file lacks."""
    return f"column {mapping.theirs!r} ({mapping.ours}) is missing; check the name in --column"


def missing_column(mapping: ColumnMapping) -> str:
    """What is said of a column that is needed and not there."""
    name = mapping.ours
    unit = f":{UNIT_OF[name]}" if UNIT_OF[name] else ""
    return (
        f"column {mapping.theirs!r} ({name}) is missing; name it with "
        f"--column {name}=YOUR_COLUMN{unit}"
    )


def to_schema(frame: pd.DataFrame, schema: Schema, faults: Faults) -> pd.DataFrame:
    """Columns of the schema with its names and units; rows and their numbers stay.

    Text where a number is needed is a fault.
    """
    table = in_si_units(frame, schema.mappings, faults)
    return table.assign(programming=1.0) if schema.programming == ONE_CONDITION else table


def in_si_units(
    frame: pd.DataFrame, mappings: Sequence[ColumnMapping], faults: Faults
) -> pd.DataFrame:
    """The mapped columns with the names and units of the schema; rows and their numbers stay.

    Text where a number is needed is a fault.
    """
    table: dict[str, pd.Series] = {}
    for mapping in mappings:
        series = frame[mapping.theirs]
        if mapping.ours == "resistance_ohm":
            series = as_resistances(series, mapping, faults)
        elif mapping.ours not in NAMES:
            series = as_numbers(series, mapping.theirs, faults, ours=mapping.ours) * mapping.factor
            if mapping.ours in ("programming", "programming_2") and mapping.factor != 1.0:
                series = _twelve_digits(series)
        table[mapping.ours] = series
    return pd.DataFrame(table, index=frame.index)


def as_names(series: pd.Series) -> tuple[IntArray, np.ndarray]:
    """Names as text: a code per row, -1 where empty, and the distinct names.

    Whole numbers are written without a point, so that a name does not depend on how a file or a
    piece of it stores them.
    """
    codes, values = pd.factorize(series)
    texts = [
        str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values.tolist()
    ]
    again, names = pd.factorize(np.array(texts, dtype=object))
    # An empty cell has code -1 and reads what is appended.
    taken = np.append(np.asarray(again, dtype=np.int64), -1)[codes]
    return taken, np.asarray(names, dtype=object)


def _find_programming(
    available: Sequence[str], second: ColumnMapping | None, source: str, has: str
) -> ColumnMapping:
    found = [
        name
        for name in PROGRAMMING_COLUMNS
        if name in available and (second is None or second.theirs != name)
    ]
    if len(found) > 1:
        raise MeasurementError(
            f"{source}: {len(found)} columns could be the programming variable "
            f"({', '.join(found)}); choose one, e.g. --column programming={found[0]}:"
            f"{PROGRAMMING_COLUMNS[found[0]].unit}, and name another as the second one with "
            f"--column programming_2={found[1]}:{PROGRAMMING_COLUMNS[found[1]].unit} if both vary"
        )
    if not found:
        raise MeasurementError(
            f"{source}: no programming variable; name its column and unit, for example "
            "--column programming=I_set:uA or --column programming=V_gate:V, or say that nothing "
            f"was varied with --column programming=none. {has}"
        )
    return ColumnMapping("programming", found[0])


def programming_variable(chosen: ColumnMapping, source: str) -> Programming:
    """The programming variable of a column.

    Raises
    ------
    MeasurementError
        Its unit is not stated, and the name of the column does not tell it.
    """
    known = PROGRAMMING_COLUMNS.get(chosen.theirs)
    if chosen.unit is not None:
        unit = to_si(chosen.unit)[0]
        return (
            known if known is not None and known.unit == unit else Programming(chosen.theirs, unit)
        )
    if known is None:
        which = "programming" if chosen.ours == "programming" else "second programming"
        raise MeasurementError(
            f"{source}: the unit of the {which} variable is not stated; write "
            f"--column {shlex.quote(f'{chosen.ours}={chosen.theirs}:UNIT')} with UNIT one of "
            f"{UNITS_ADVICE}"
        )
    return known


def _twelve_digits(series: pd.Series) -> pd.Series:
    """Values without the rounding of a change of units: 50 uA and 5e-5 A are one condition."""
    values, index = np.unique(series.to_numpy(dtype=np.float64), return_inverse=True)
    rounded: FloatArray = np.array([float(f"{value:.12g}") for value in values])
    return pd.Series(rounded[index.ravel()], index=series.index)


def as_resistances(series: pd.Series, mapping: ColumnMapping, faults: Faults) -> pd.Series:
    """Resistances in ohm; overflow of the instrument as it is written, or infinite for a word.

    What stands for overflow has no unit: 9.9e37 in a column of kohm is 9.9e37.
    """
    words = pd.Series(np.nan, index=series.index)
    if not pd.api.types.is_numeric_dtype(series):
        words = series.map(as_overflow).astype(np.float64)
        series = series.mask(words.notna().to_numpy(), np.nan)
    numbers = as_numbers(series, mapping.theirs, faults, ours=mapping.ours, may_overflow=True)
    has_unit = (numbers.abs() < NO_RESISTANCE_OHM).to_numpy()
    return numbers.where(~has_unit, numbers * mapping.factor).fillna(words)


def as_numbers(
    series: pd.Series,
    theirs: str,
    faults: Faults,
    *,
    ours: str | None = None,
    may_overflow: bool = False,
) -> pd.Series:
    """Numbers of a column in its own unit; text is a fault, of column `ours`, and becomes NaN.

    What instruments return for overflow is no value of anything and a fault as well, unless it
    `may_overflow`, as a resistance does.
    """
    numbers = pd.to_numeric(series, errors="coerce")
    bad = (numbers.isna() & series.notna()).to_numpy(dtype=bool)
    if bad.any():
        faults.add(
            f"column {theirs} has text where a number is needed: "
            f"{examples(series, bad)}; correct the cells (decimal point, no unit) or leave the "
            "rows out"
        )
        faults.name(series.index[bad], ours or theirs)
    values = numbers.astype(np.float64)
    over = (values.abs() >= NO_RESISTANCE_OHM) & np.isfinite(values)
    if over.any() and not may_overflow:
        faults.add(
            f"column {theirs} holds overflow of the instrument (SCPI: 9.9e37) in "
            f"{examples(series, over.to_numpy())}; give what was set there, or leave the rows out"
        )
        faults.name(series.index[over], ours or theirs)
    return values
