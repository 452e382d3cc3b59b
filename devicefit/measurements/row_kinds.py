"""Kinds of rows: readings, bounds, counted errors, summaries; told apart by what is filled in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from devicefit.inputs.columns import BOUNDS, COUNTS, SUMMARY
from devicefit.inputs.refusals import Faults, is_count, rows_of
from devicefit.numerics.arrays import FloatArray
from devicefit.treatments.overrange import LN_R_LIMIT, NO_RESISTANCE_OHM

KINDS: dict[str, tuple[str, ...]] = {
    "a reading": ("resistance_ohm",),
    "bounds of a reading": BOUNDS,
    "counted errors": COUNTS,
    "a summary": SUMMARY,
}
_CONDITION = ("state", "programming", "programming_2", "array_id")


@dataclass(frozen=True)
class Rows:
    """Rows of a table of the schema by kind; indices are those of the table.

    Parameters
    ----------
    readings : pandas.DataFrame
        Columns of the schema; ``resistance_ohm`` is filled but not yet checked.
    bounds, counted, summaries : pandas.DataFrame
        Likewise, each with the columns of its kind; checked.
    is_reading : bool array, shape (row of the table,)
        Which rows are `readings`.
    """

    readings: pd.DataFrame
    bounds: pd.DataFrame
    counted: pd.DataFrame
    summaries: pd.DataFrame
    is_reading: np.ndarray

    @property
    def intervals(self) -> pd.DataFrame:
        """Bounds and counts as ``low_ohm`` (0: none), ``high_ohm`` (inf: none) and ``count``.

        ``is_reading`` tells bounds of one reading from counts.
        Counted errors are two rows each: the errors on their side of the threshold, and the rest.
        """
        bounds = self.bounds.drop(columns=list(BOUNDS), errors="ignore").assign(
            low_ohm=_column(self.bounds, BOUNDS[0], 0.0),
            high_ohm=_column(self.bounds, BOUNDS[1], np.inf),
            count=np.ones(len(self.bounds), dtype=np.int64),
        )
        bounds = bounds.assign(is_reading=True)
        counted = _as_bounds(self.counted).assign(is_reading=False)
        parts = [part for part in (bounds, counted) if len(part)]
        return pd.concat(parts) if parts else bounds


def split_rows(table: pd.DataFrame, faults: Faults) -> Rows:
    """Tell the kinds of rows apart.

    A row of no kind or of several, or one whose numbers contradict each other, is a fault. Rows
    of no kind or of several are in none of the parts.
    """
    present = {
        kind: [name for name in names if name in table]
        for kind, names in KINDS.items()
        if any(name in table for name in names)
    }
    if set(present) == {"a reading"}:
        return _by_kind(table, {"a reading": np.ones(len(table), dtype=bool)})
    some = {kind: table[names].notna().to_numpy().any(axis=1) for kind, names in present.items()}
    kinds = np.sum(list(some.values()), axis=0)
    if (kinds > 1).any():
        both = [kind for kind, marks in some.items() if (marks & (kinds > 1)).any()]
        faults.add(
            f"{rows_of(table, kinds > 1)} hold {' and '.join(both)} at once (columns "
            f"{', '.join(n for kind in both for n in present[kind])}); a row is one or the other: "
            "leave the other columns empty, or give each its own row"
        )
    named = faults.named(table, *(name for names in present.values() for name in names))
    nothing = (kinds == 0) & ~named
    if nothing.any():
        names = ", or ".join("/".join(names) for names in present.values())
        faults.add(
            f"{rows_of(table, nothing)} hold no reading; fill in {names}, or leave the rows out"
        )
    for rows in (table.index[kinds > 1], table.index[nothing]):
        if len(rows):
            faults.name(rows, "kind")
    found = _by_kind(table, {kind: marks & (kinds == 1) for kind, marks in some.items()})
    _refuse_bounds(found.bounds, faults)
    _refuse_counts(found.counted, faults)
    _refuse_summaries(found.summaries, faults)
    return found


def _by_kind(table: pd.DataFrame, some: dict[str, np.ndarray]) -> Rows:
    parts: dict[str, pd.DataFrame] = {}
    special = {name for kind, names in KINDS.items() for name in names}
    for kind, names in KINDS.items():
        keep = [name for name in table if name in names or name not in special]
        part = table.loc[some.get(kind, np.zeros(len(table), dtype=bool)), keep]
        # A kind that no row is of has its columns all the same.
        parts[kind] = part.assign(**{name: np.nan for name in names if name not in part})
    readings, bounds, counted, summaries = parts.values()
    is_reading = some.get("a reading", np.zeros(len(table), dtype=bool))
    return Rows(readings, bounds, counted, summaries, is_reading)


def _as_bounds(counted: pd.DataFrame) -> pd.DataFrame:
    """Two rows for each row of counts: an LRS is in error above the threshold, an HRS below."""
    if not len(counted):
        return counted
    keep = [name for name in (*_CONDITION, "device_id") if name in counted]
    threshold = counted["threshold_ohm"].to_numpy()
    errors = counted["errors"].to_numpy().astype(np.int64)
    rest = counted["trials"].to_numpy().astype(np.int64) - errors
    above = np.where((counted["state"] == "LRS").to_numpy(dtype=bool), errors, rest)
    below = errors + rest - above
    base = counted[keep]
    both = pd.concat(
        [
            base.assign(low_ohm=0.0, high_ohm=threshold, count=below),
            base.assign(low_ohm=threshold, high_ohm=np.inf, count=above),
        ]
    )
    return both[both["count"] > 0]


def _column(table: pd.DataFrame, name: str, default: float) -> FloatArray:
    if name not in table:
        return np.full(len(table), default)
    return table[name].fillna(default).to_numpy(dtype=np.float64)


def _refuse_bounds(table: pd.DataFrame, faults: Faults) -> None:
    low, high = _column(table, BOUNDS[0], 0.0), _column(table, BOUNDS[1], np.inf)
    if BOUNDS[0] in table:
        faults.rows(
            table, ~((low >= 0) & (low < NO_RESISTANCE_OHM)), BOUNDS[0],
            "is negative or no resistance", "leave it empty where there is no lower bound",
        )  # fmt: skip
    if BOUNDS[1] in table:
        faults.rows(
            table, ~(high > 0), BOUNDS[1],
            "is not positive", "leave it empty where there is no upper bound",
        )  # fmt: skip
        faults.rows(
            table, (low >= high) & ~faults.named(table, BOUNDS[0]), BOUNDS[1],
            f"is not above {BOUNDS[0]}", "give low < high, or the reading itself in resistance_ohm",
        )  # fmt: skip
    nothing = (low == 0) & np.isinf(high)
    if nothing.any():
        faults.add(
            f"{rows_of(table, nothing)} bound nothing ({BOUNDS[0]} 0, {BOUNDS[1]} "
            "infinite); give at least one bound or leave the rows out"
        )
        faults.name(table.index[nothing], BOUNDS[0])


def _refuse_counts(table: pd.DataFrame, faults: Faults) -> None:
    if not len(table):
        return
    for name in COUNTS:
        faults.rows(
            table, table[name].isna().to_numpy(), name,
            "is empty", f"counted errors need {', '.join(COUNTS)}",
        )  # fmt: skip
    errors, trials, threshold = (table[name].to_numpy(dtype=np.float64) for name in COUNTS)
    faults.rows(
        table, ~is_count(trials, 1), "trials",
        "is not a whole number of at least 1", "count readings, not shares",
    )  # fmt: skip
    faults.rows(
        table, ~is_count(errors, 0), "errors",
        "is not a whole number of at least 0", "count errors, not shares",
    )  # fmt: skip
    faults.rows(
        table, errors > trials, "errors",
        "is more than trials", "check which column is which",
    )  # fmt: skip
    faults.rows(
        table, ~(np.isfinite(threshold) & (threshold > 0)), "threshold_ohm",
        "is not a positive finite number", "give the resistance the readings were compared with",
    )  # fmt: skip


def _refuse_summaries(table: pd.DataFrame, faults: Faults) -> None:
    if not len(table):
        return
    n, mean, sd = (table[name].to_numpy(dtype=np.float64) for name in SUMMARY)
    lone = np.isnan(sd) & (n == 1)
    for name in SUMMARY:
        empty = table[name].isna().to_numpy()
        if name == "sd_ln_r":
            empty = empty & ~lone
        faults.rows(table, empty, name, "is empty", f"a summary needs {', '.join(SUMMARY)}")
    faults.rows(
        table, ~is_count(n, 1), "n",
        "is not a whole number of at least 1", "give the number of readings behind the mean",
    )  # fmt: skip
    faults.rows(
        table, ~(np.abs(mean) <= LN_R_LIMIT), "mean_ln_r",
        "is no natural logarithm of a resistance in ohm",
        "give the mean of ln(R / ohm); from log10 multiply by 2.302585",
    )  # fmt: skip
    faults.rows(
        table, ~lone & (n > 1) & ~((sd > 0) & (sd <= LN_R_LIMIT)), "sd_ln_r",
        "is not a standard deviation of ln R",
        "give the one of single readings (divided by n - 1), not that of their mean",
    )  # fmt: skip
