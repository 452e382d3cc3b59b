"""What is refused in readings of the schema: column, rows, values and remedy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray

STATES = ("LRS", "HRS")
MINIMUM_DEVICES = 10
# The next unit is a factor of 1000 away. Medians of HRS scatter, so 200 is enough; those of LRS
# also depend on the condition, so 30 is.
MIXED_UNITS_LN_HRS = np.log(200.0)
MIXED_UNITS_LN_LRS = np.log(30.0)
ROWS_SHOWN = 5


class MeasurementError(ValueError):
    """Measurements that cannot be used: what is wrong, where, and what to do."""


class Faults:
    """What is wrong with one table, gathered, so that all of it is told at once.

    Parameters
    ----------
    source : str
        Name of the table for messages.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._texts: list[str] = []
        self._rows: dict[str, list[pd.Index]] = {}

    def __bool__(self) -> bool:
        return bool(self._texts)

    def add(self, text: str) -> None:
        """Something that is wrong with the table as a whole; what and what to do."""
        self._texts.append(text)

    def rows(
        self,
        table: pd.DataFrame,
        bad: Any,
        column: str,
        what: str,
        remedy: str,
        *,
        shown: bool = True,
    ) -> None:
        """Rows whose cell of `column` is bad, unless the cell was named before.

        Parameters
        ----------
        table : pandas.DataFrame
            Rows that were looked at; the index numbers them.
        bad : bool array, shape (row,)
            Which of them are bad.
        column, what, remedy : str
            ``column COLUMN WHAT in rows 3, 9 (values -1, 0); REMEDY``.
        shown : bool, optional
            Whether the message has the values.
        """
        bad = np.asarray(bad, dtype=bool) & ~self.named(table, column)
        if bad.any():
            where = examples(table[column], bad) if shown else rows_of(table, bad)
            self.add(f"column {column} {what} in {where}; {remedy}")
            self.name(table.index[bad], column)

    def name(self, rows: pd.Index, column: str) -> None:
        """Remember bad cells."""
        self._rows.setdefault(column, []).append(rows)

    def named(self, table: pd.DataFrame, *columns: str) -> np.ndarray:
        """Which rows have a bad cell in one of these columns, in any column if none is given."""
        found = np.zeros(len(table), dtype=bool)
        for column in columns or tuple(self._rows):
            for rows in self._rows.get(column, ()):
                found |= table.index.isin(rows)
        return found

    def tell(self) -> None:
        """Refuse, if anything is wrong.

        Raises
        ------
        MeasurementError
            The fault, or a list of all of them.
        """
        if len(self._texts) == 1:
            raise MeasurementError(f"{self.source}: {self._texts[0]}")
        if self._texts:
            listed = "".join(f"\n  {i}. {text}" for i, text in enumerate(self._texts, start=1))
            raise MeasurementError(f"{self.source}: {len(self._texts)} faults{listed}")


def refuse_empty(table: pd.DataFrame, name: str, what: str, faults: Faults) -> None:
    """Refuse empty cells of a column of names."""
    faults.rows(table, table[name].isna(), name, "is empty", f"give every {what}", shown=False)


def refuse_states(table: pd.DataFrame, faults: Faults) -> None:
    """Refuse states other than LRS and HRS."""
    faults.rows(
        table, ~table["state"].isin(STATES).to_numpy(dtype=bool), "state", "has unknown values",
        "the intended state is LRS (after a SET) or HRS (after a RESET)",
    )  # fmt: skip


def refuse_one_state(states: Collection[str], faults: Faults) -> None:
    """Refuse a table of which one state is missing."""
    for state in STATES:
        if state not in states:
            other = next(iter(states))
            faults.add(
                f"column state holds only {other}; bit errors need readings of both states, add "
                f"those of {state}"
            )


def refuse_programming(
    table: pd.DataFrame, name: str, variable: Programming, faults: Faults
) -> None:
    """Refuse values that the programming variable cannot have."""
    x = table[name].to_numpy(dtype=np.float64)
    bad = ~np.isfinite(x)
    if variable.is_logarithmic:
        bad |= x <= 0
    bad &= ~faults.named(table, name)
    if bad.any():
        which = "the programming variable" if name == "programming" else "the second variable"
        kind = "a positive finite number" if variable.is_logarithmic else "a finite number"
        faults.add(
            f"{which} ({variable.name}) is not {kind} in {examples(table[name], bad)}; give every "
            "reading its condition"
        )
        faults.name(table.index[bad], name)


def refuse_resistance(table: pd.DataFrame, faults: Faults) -> None:
    """Refuse readings that are no positive numbers; infinite ones are overflow and pass."""
    faults.rows(
        table, ~(table["resistance_ohm"].to_numpy(dtype=np.float64) > 0), "resistance_ohm",
        "is not a positive finite number", "mark failed readings as such in the source and leave "
        "those rows out, or correct the conversion",
    )  # fmt: skip


def mixed_units(
    medians: pd.DataFrame, *, devices: bool
) -> tuple[tuple[pd.DataFrame, pd.DataFrame], list[pd.Series]] | None:
    """Two groups of parts of a table whose medians are about a factor of 1000 apart, if any.

    Another unit shifts the LRS alike; a stuck or open cell, a SET that never happens or a large
    HRS/LRS ratio does not. Parts are told apart by their HRS, which hardly depends on the SET.

    Parameters
    ----------
    medians : pandas.DataFrame
        Median of ln R per part (row) and state (column).
    devices : bool
        Whether parts are devices: then the two sides of the widest gap are compared, of those
        gaps that have a tenth of the devices on each side; else the lowest part and the highest.

    Returns
    -------
    tuple or None
        Both sides, and the median of each.
    """
    medians = medians.reindex(columns=list(STATES)).dropna().sort_values("HRS")
    if len(medians) < 2:
        return None
    if devices:
        gaps = np.diff(medians["HRS"])
        cuts = np.arange(1, len(medians))
        gaps[np.minimum(cuts, len(medians) - cuts) < len(medians) / 10] = -np.inf
        cut = 1 + int(gaps.argmax())
        sides = medians.iloc[:cut], medians.iloc[cut:]
    else:
        sides = medians.iloc[:1], medians.iloc[-1:]
    middles = [side.median() for side in sides]
    apart = middles[1] - middles[0]
    if apart["HRS"] < MIXED_UNITS_LN_HRS or apart["LRS"] < MIXED_UNITS_LN_LRS:
        return None
    return sides, middles


def mixed_units_text(places: Sequence[str], middles: Sequence[Any]) -> str:
    """The refusal of two places with these medians of ln R."""
    words = [
        f"at {place} the medians are {np.exp(middle['LRS']):.3g} ohm in LRS and "
        f"{np.exp(middle['HRS']):.3g} ohm in HRS"
        for place, middle in zip(places, middles, strict=True)
    ]
    return (
        f"column resistance_ohm seems to mix units: {', '.join(words)}, about a factor of 1000 or "
        "more apart; bring all readings to one unit"
    )


def refuse_mixed_units(table: pd.DataFrame, faults: Faults) -> None:
    """Refuse when parts of the table differ by about a factor of 1000 in both states.

    Parts are: arrays, conditions, and devices on either side of the widest gap between devices.
    Cells that never switch are left out by the caller: they differ in both states as well.
    """
    frame = table.assign(ln_r=np.log(table["resistance_ohm"].to_numpy(dtype=np.float64)))
    for column in ("array_id", "programming", "programming_2", "device_id"):
        if column not in frame:
            continue
        medians = frame.groupby([column, "state"])["ln_r"].median().unstack()
        found = mixed_units(medians, devices=column == "device_id")
        if found is None:
            continue
        sides, middles = found
        places = []
        for side in sides:
            first = frame.index[frame[column].isin(side.index)][0]
            where = f"{column} {side.index[0]}" if len(side) == 1 else f"{len(side)} devices"
            places.append(f"{where} (first in row {first})")
        faults.add(mixed_units_text(places, middles))
        return


def refuse_duplicates(table: pd.DataFrame, faults: Faults) -> None:
    """Refuse readings that share everything that could tell them apart."""
    names = ("array_id", "device_id", "cycle", "state", "programming", "programming_2")
    more = ("time_after_program_s", "temperature_k", "prior_cycles")
    key = [name for name in (*names, *more) if name in table]
    repeated = table.duplicated(key, keep=False).to_numpy()
    if not repeated.any():
        return
    first = table[repeated].sort_values(key, kind="stable").head(2)
    what = ", ".join(f"{name} {first.iloc[0][name]}" for name in key)
    rows = sorted(first.index)
    faults.add(
        f"{int(repeated.sum())} readings share their ({', '.join(key)}) with another, "
        f"for example rows {rows[0]} and {rows[1]} ({what}); "
        f"{duplicate_remedy('cycle' in table)}"
    )


def duplicate_remedy(has_cycle: bool) -> str:
    """What to do about readings that cannot be told apart."""
    remedy = (
        "remove copies, or give each reading its own cycle"
        if has_cycle
        else "name the column that counts repetitions with --column cycle=YOUR_COLUMN"
    )
    return f"{remedy}, or keep one run with --where COLUMN=VALUE"


def refuse_few_devices(devices: dict[str, int], faults: Faults) -> None:
    """Refuse a state of fewer than :data:`MINIMUM_DEVICES` devices."""
    for state, number in devices.items():
        if number < MINIMUM_DEVICES:
            faults.add(
                f"column device_id has {number} devices in {state}, at least "
                f"{MINIMUM_DEVICES} are needed to tell the spread of devices; measure more"
            )


def is_count(values: FloatArray, least: int) -> np.ndarray:
    """Which values are whole numbers of at least `least`."""
    whole: np.ndarray = np.isfinite(values) & (values == np.rint(values))
    return whole & (values >= least) & (values < 2**53)


def rows_of(table: pd.DataFrame | pd.Series, bad: np.ndarray | pd.Series) -> str:
    """``rows 3, 9 and 4 more``."""
    rows = table.index[np.asarray(bad)]
    shown = ", ".join(str(row) for row in rows[:ROWS_SHOWN])
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {shown}{more}"


def examples(series: pd.Series, bad: np.ndarray) -> str:
    """``rows 3, 9 (values -1.0, nan)`` for the first few bad cells of a column."""
    values = ", ".join(repr(v) for v in series[bad].head(ROWS_SHOWN).tolist())
    return f"{rows_of(series, bad)} (values {values})"
