"""Readings beyond the range of the instrument: right-censored, never resistances.

Instruments that follow SCPI return 9.9e37 for a value beyond their range, -9.9e37 for one below
it and 9.91e37 for "not a number" (SCPI-99, volume 1, sections 7.2.1.4 and 7.2.1.5); others write
``inf`` or a word such as OVLD. In files of resistances 9.91e37 marks overflow as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from devicefit.inputs.columns import BOUNDS
from devicefit.inputs.programming import to_si
from devicefit.inputs.refusals import ROWS_SHOWN, STATES, Faults, rows_of
from devicefit.numerics.arrays import FloatArray

LN_R_LIMIT = 60.0
"""No resistance has a logarithm beyond this: 1e26 ohm."""
NO_RESISTANCE_OHM = float(np.exp(LN_R_LIMIT))
_WORD = re.compile(
    r"\s*(?P<sign>[+-]?)\s*(?:ov(?:e?r)?[-_ ]?(?:ld|load|fl|flow|f|range|rng)?|ol|0l|o\.l\.?)\s*",
    re.IGNORECASE,
)
_LEAST_REPEATED = 5
_TIMES_TYPICAL = 5
_NEIGHBOURS = 0.1
_SAME_LN_R = 1e-4


@dataclass(frozen=True)
class Overrange:
    """What is known of the range of the instrument.

    Parameters
    ----------
    limit_ohm : float or None
        Readings at or above it are ``R > limit_ohm``; None where it was not stated.
    at_face_value : bool
        Every reading is taken as it stands: overflow is refused, and a value that repeats at an
        edge is a resistance.
    """

    limit_ohm: float | None = None
    at_face_value: bool = False

    def __post_init__(self) -> None:
        limit = self.limit_ohm
        if limit is not None and not 0 < limit < NO_RESISTANCE_OHM:
            raise ValueError(
                f"--overrange {limit:g}: give the largest resistance that the instrument can read, "
                "in ohm, e.g. --overrange 1e9"
            )


UNKNOWN_RANGE = Overrange()


def parse_overrange(text: str) -> Overrange:
    """``1e9`` or ``1e9:ohm``, ``1:Gohm``, ``1000Mohm``; or ``none``: all at face value.

    Raises
    ------
    ValueError
        Neither a positive number with a unit of resistance nor ``none``.
    """
    if text == "none":
        return Overrange(at_face_value=True)
    found = re.fullmatch(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*:?\s*([A-Za-z]*)\s*", text)
    try:
        if found is None:
            raise ValueError
        unit, factor = to_si(found[2] or "ohm")
        if unit != "ohm":
            raise ValueError
        limit = float(found[1]) * factor
    except ValueError:
        raise ValueError(
            f"--overrange {text!r} is no resistance; write the largest one that the instrument can "
            "read, e.g. --overrange 1e9 (ohm) or --overrange 1000Mohm, or --overrange none to take "
            "all readings at face value"
        ) from None
    return Overrange(limit)


def as_overflow(text: Any) -> float:
    """Infinity for a word such as OVLD, OL or overflow, with its sign; NaN for anything else."""
    found = _WORD.fullmatch(str(text))
    if found is None:
        return float("nan")
    return -np.inf if found["sign"] == "-" else np.inf


def is_overflow(r_ohm: FloatArray) -> np.ndarray:
    """Which values stand for overflow."""
    return np.asarray(r_ohm >= NO_RESISTANCE_OHM)


def refuse_negative_overflow(table: pd.DataFrame, faults: Faults) -> None:
    """Refuse what instruments return for a value below their range."""
    r = table["resistance_ohm"].to_numpy(dtype=np.float64)
    faults.rows(
        table, r <= -NO_RESISTANCE_OHM, "resistance_ohm",
        "is a negative overflow of the instrument (SCPI: -9.9e37)", "a resistance has no sign: the "
        "current read there had the wrong one or none; mark failed readings as such in the source "
        "and leave those rows out",
    )  # fmt: skip


@dataclass(frozen=True)
class Censored:
    """Rows with overflow as bounds, and what was done.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of the schema; a censored one has a bound in place of ``resistance_ohm``.
    warnings : tuple of str
        What was found, with rows and values.
    record : tuple of dict
        Plain values: ``why`` ("overflow", "declared" or "repeated"), ``state``, ``readings``,
        ``bound`` ("above" or "below") and ``bound_ohm``.
    """

    table: pd.DataFrame
    warnings: tuple[str, ...] = ()
    record: tuple[dict[str, Any], ...] = ()


def censor(
    table: pd.DataFrame,
    overrange: Overrange,
    faults: Faults,
    *,
    ordinary: np.ndarray | None = None,
    at_limit: bool = False,
) -> Censored:
    """Turn overflow, and limits that repeat, into bounds.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of the schema with ``state``, ``device_id`` and ``resistance_ohm``.
    overrange : Overrange
        What was declared.
    faults : Faults
        Gets what cannot be used.
    ordinary : bool array, shape (row,), optional
        Readings that may serve as the largest of the file: values decades from their group may
        not.
    at_limit : bool, optional
        Bound overflow by the declared limit where there is one. A law is not fitted then.

    Returns
    -------
    Censored

    Notes
    -----
    Overflow is bounded by the largest ordinary reading of the file that is not overflow itself.
    That holds whatever the range is, and a limit that lies decades above all readings would make
    the law of the readings stretch to it: 6 of 240 HRS readings above 1e9 ohm, where the others
    are about 1e5, would widen the HRS to a BER of 0.02 (0.001 without them). What counts of them
    is that they lie above all others, as in censoring at the k-th largest reading (type II).

    A value repeats at an edge of a state when at least five readings lie within a ten-thousandth
    of the smallest or largest one, more than five times as many as the readings of the state have
    in common on average, and more than five times as many as in any stretch of the same width
    among the tenth of the readings next to the edge. Rounding repeats the neighbours as well; a
    limit of the instrument does not. Such readings become bounds where the other state has none
    beyond; a limit of one state alone, such as that of a write-verify, is named and kept.
    """
    r = table["resistance_ohm"].to_numpy(dtype=np.float64)
    over = is_overflow(r)
    if overrange.at_face_value:
        faults.rows(
            table, over, "resistance_ohm", "is overflow of the instrument, no resistance,",
            "leave --overrange none out, so that it becomes a bound, or leave those rows out",
        )  # fmt: skip
        return Censored(table, tuple(_edge_text(edge, taken=False) for edge in _edges(table, r)))
    finite = ~over & (r > 0)  # a row of another kind has no reading
    limit = overrange.limit_ohm
    declared = finite & (r >= (np.inf if limit is None else limit))
    low, high = np.full(len(r), np.nan), np.full(len(r), np.nan)
    warnings: list[str] = []
    record: list[dict[str, Any]] = []
    if over.any() or declared.any():
        bound = _largest(r, finite & ~declared, ordinary)
        if limit is not None and (at_limit or np.isnan(bound)):
            bound = limit
        if not _usable(table, r, finite, bound, over, overrange, faults):
            faults.name(table.index[over | declared], "resistance_ohm")
            return Censored(table)
        low[over | declared] = bound
        warnings.append(_overflow_text(table, over, declared, bound, overrange))
        record += _records(table, over, "overflow", "above", bound)
        record += _records(table, declared, "declared", "above", bound)
    for edge in _edges(table, np.where(over | declared, np.nan, r)):
        warnings.append(_edge_text(edge, taken=edge.is_outer))
        if not edge.is_outer:
            continue
        (low if edge.is_top else high)[edge.rows] = edge.value_ohm
        side = "above" if edge.is_top else "below"
        record += _records(table, edge.rows, "repeated", side, edge.value_ohm)
    return Censored(_with_bounds(table, low, high), tuple(warnings), tuple(record))


def _largest(r: FloatArray, finite: np.ndarray, ordinary: np.ndarray | None) -> float:
    for rows in (finite if ordinary is None else finite & ordinary, finite):
        if rows.any():
            return float(r[rows].max())
    return float("nan")


def _usable(
    table: pd.DataFrame,
    r: FloatArray,
    finite: np.ndarray,
    bound: float,
    over: np.ndarray,
    overrange: Overrange,
    faults: Faults,
) -> bool:
    """Whether the bound can be one; what is wrong joins the faults."""
    if np.isnan(bound):
        faults.add(
            f"column resistance_ohm holds overflow of the instrument only ({int(over.sum())} "
            "rows); state its range with --overrange VALUE, e.g. --overrange 1e9"
        )
        return False
    lrs = r[finite & (table["state"] == STATES[0]).to_numpy(dtype=bool)]
    limit = overrange.limit_ohm
    if limit is not None and len(lrs) and np.median(lrs) >= limit:
        faults.add(
            f"--overrange {limit:g} is not above the median LRS reading, {np.median(lrs):.4g} ohm; "
            "give the largest resistance that the instrument can read, in ohm"
        )
        return False
    return True


def _records(
    table: pd.DataFrame, rows: np.ndarray, why: str, bound: str, bound_ohm: float
) -> list[dict[str, Any]]:
    states = table["state"].to_numpy()[rows]
    return [
        {
            "why": why,
            "state": state,
            "readings": int((states == state).sum()),
            "bound": bound,
            "bound_ohm": float(bound_ohm),
        }
        for state in STATES
        if (states == state).any()
    ]


def _overflow_text(
    table: pd.DataFrame,
    over: np.ndarray,
    declared: np.ndarray,
    bound: float,
    overrange: Overrange,
) -> str:
    rows, limit = over | declared, overrange.limit_ohm
    states = table["state"].to_numpy()[rows]
    per_state = " and ".join(f"{(states == s).sum()} {s}" for s in STATES if (states == s).any())
    written = table["resistance_ohm"].to_numpy()[over]
    values = ", ".join(f"{v:.4g}" for v in np.unique(written)[:ROWS_SHOWN])
    what = f"overflow of the instrument ({values})" if over.any() else ""
    if declared.any():
        what += f"{' or ' if what else ''}at or above the declared {limit:g} ohm"
    text = (
        f"{rows.sum()} readings ({per_state}) are {what} in {rows_of(table, rows)}: no resistances"
    )
    if limit is None:
        text += (
            f", each is taken as R > {bound:.6g} ohm, the largest ordinary reading of the file, "
            "because the range of the instrument is not known; state it with --overrange VALUE, "
            "e.g. --overrange 1e9"
        )
    else:
        text += f", each is R > {limit:g} ohm"
        if bound != limit:
            text += (
                f"; a fit takes it as above {bound:.6g} ohm, the largest ordinary reading, so that "
                "the distance does not stretch the spread of the others"
            )
    # A change of units keeps the digits.
    digits = written[np.isfinite(written)] / 10.0 ** np.floor(
        np.log10(written[np.isfinite(written)])
    )
    if np.isclose(digits, 9.91, rtol=1e-4).any():
        text += (
            "; 9.91e37 is what SCPI instruments return for 'not a number', in files of resistances "
            "mostly overflow: where it marks something else, leave the rows out"
        )
    return text


def _with_bounds(table: pd.DataFrame, low: FloatArray, high: FloatArray) -> pd.DataFrame:
    if np.isnan(low).all() and np.isnan(high).all():
        return table
    changes = {}
    known = ~(np.isnan(low) & np.isnan(high))
    for name, bound in zip(BOUNDS, (low, high), strict=True):
        before = table[name].to_numpy(dtype=np.float64) if name in table else np.nan
        changes[name] = np.where(known, bound, before)
    r = np.where(known, np.nan, table["resistance_ohm"].to_numpy(dtype=np.float64))
    return table.assign(resistance_ohm=r, **changes)


@dataclass(frozen=True)
class _Edge:
    """Readings of a state that repeat its smallest or largest value."""

    state: str
    is_top: bool
    value_ohm: float
    rows: np.ndarray
    of: int
    is_outer: bool


def _edges(table: pd.DataFrame, r: FloatArray) -> list[_Edge]:
    """Limits that repeat, see :func:`censor`."""
    found = []
    states = table["state"].to_numpy()
    usable = (r > 0) & ~is_overflow(r)
    for state in STATES:
        rows = np.flatnonzero((states == state) & usable)
        if len(rows) < _LEAST_REPEATED:
            continue
        ln_r = np.log(r[rows])
        for is_top in (False, True):
            away = np.sort(ln_r.max() - ln_r if is_top else ln_r - ln_r.min())
            stretch, number = np.unique(np.floor(away / _SAME_LN_R), return_counts=True)
            inner = number[1:]
            # As many stretches as it takes to hold a tenth of the readings.
            near = inner[: 1 + int(np.searchsorted(np.cumsum(inner), _NEIGHBOURS * len(rows)))]
            usual = max(len(rows) / len(stretch), float(near.max(initial=1)))
            if not len(inner) or number[0] < max(_LEAST_REPEATED, _TIMES_TYPICAL * usual + 1e-9):
                continue
            at = rows[(ln_r.max() - ln_r if is_top else ln_r - ln_r.min()) < _SAME_LN_R]
            mask = np.zeros(len(r), dtype=bool)
            mask[at] = True
            # The bound that all of them meet.
            value = float(r[at].min() if is_top else r[at].max())
            others = r[usable & ~mask]
            beyond = (
                others > value * (1 + _SAME_LN_R) if is_top else others < value / (1 + _SAME_LN_R)
            )
            found.append(_Edge(state, is_top, value, mask, len(rows), not beyond.any()))
    return found


def _edge_text(edge: _Edge, *, taken: bool) -> str:
    word = "largest" if edge.is_top else "smallest"
    sign, name = (">", "resistance_low_ohm") if edge.is_top else ("<", "resistance_high_ohm")
    text = (
        f"the {word} {edge.state} reading, {edge.value_ohm:.6g} ohm, occurs "
        f"{int(edge.rows.sum())} times of {edge.of}"
    )
    if taken:
        return (
            f"{text}: a limit of the instrument or of the compliance, each is taken as R {sign} "
            f"{edge.value_ohm:.6g} ohm; if they are resistances, say so with --overrange none"
        )
    return (
        f"probable censoring: {text}; an instrument or compliance limit? The fit takes it at face "
        f"value; give such readings as {name} instead if they are beyond it"
    )
