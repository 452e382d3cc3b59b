"""Compression of tables that need not fit in memory: files in pieces, Dask data frames.

Both give the bytes of :func:`devicefit.compression.compression.compress`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from devicefit.compression.accumulation import WIDE_BITS, Partial, accumulate, merge
from devicefit.compression.compression import BINS_PER_SPREAD, finish
from devicefit.compression.exact_sums import PLACE_BITS, ln_r_of
from devicefit.inputs.columns import ColumnMapping
from devicefit.inputs.refusals import (
    STATES,
    Faults,
    MeasurementError,
    mixed_units,
    mixed_units_text,
    refuse_few_devices,
    refuse_one_state,
)
from devicefit.likelihood.compressed import Compressed
from devicefit.measurements.files import keep_where
from devicefit.measurements.input_tables import conditions_in, open_tables
from devicefit.measurements.measurements import check_numbers, check_rows
from devicefit.measurements.row_kinds import split_rows
from devicefit.measurements.schema import Schema, schema_of, to_schema
from devicefit.treatments.never_switching import never_switching, weighted_medians
from devicefit.treatments.overrange import UNKNOWN_RANGE, Overrange, censor_declared

if TYPE_CHECKING:
    import dask.dataframe as dd

CHUNK_ROWS = 2**19
"""Rows read at a time; some 100 MB."""
FAN_IN = 8
"""Parts that one Dask task joins."""

Where = Sequence[tuple[str, str]]


def compress_file(
    path: str | Path | Sequence[str | Path],
    *,
    columns: Sequence[ColumnMapping] = (),
    where: Where = (),
    overrange: Overrange = UNKNOWN_RANGE,
    chunk_rows: int = CHUNK_ROWS,
    bins_per_spread: int = BINS_PER_SPREAD,
) -> Compressed:
    """Compress CSV or Parquet files in one pass, a piece in memory at a time.

    Parameters
    ----------
    path, columns, where
        As in :func:`devicefit.measurements.measurements.read_measurements`.
    overrange : Overrange, optional
        What is known of the range of the instrument; without a limit overflow is refused, since
        the largest reading of the file, its bound otherwise, is known at the end only.
    chunk_rows : int, optional
        Rows in memory at a time; changes nothing in the result.
    bins_per_spread : int, optional
        As in :func:`devicefit.compression.compression.compress`.

    Raises
    ------
    MeasurementError
        What :func:`~devicefit.measurements.measurements.read_measurements` refuses, with two
        differences. Readings of one device, state and condition must come in order of cycle from
        one piece to the next (within a piece they need not), else they are refused with the
        device's name; repeated readings are found in this order. A censored reading that repeats
        another, and readings that repeat at an edge, are found only by ``read_measurements``; so
        are values decades from their group, and places of cells that contradict each other.
    ValueError
        ``chunk_rows`` below 1, or ``bins_per_spread`` below 4.
    """
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows is {chunk_rows}; use at least 1")
    tables, schemas = open_tables(path, columns, where)
    source = " + ".join(table.path.name for table in tables)

    def pieces() -> Iterator[Partial | None]:
        for table, schema in zip(tables, schemas, strict=True):
            conditions = conditions_in(table, where, len(tables))
            for piece in table.chunks(chunk_rows, text=schema.text_columns):
                yield _accumulated(piece, schema, conditions, str(table.path), overrange)

    with _naming(source):
        whole = _fold(pieces())
    return _finished(whole, schemas[0], where, source, bins_per_spread)


def compress_dask(
    frame: dd.DataFrame,
    *,
    columns: Sequence[ColumnMapping] = (),
    where: Where = (),
    overrange: Overrange = UNKNOWN_RANGE,
    source: str = "table",
    bins_per_spread: int = BINS_PER_SPREAD,
) -> Compressed:
    """Compress a Dask data frame; partitions are accumulated where they are, then joined as a tree.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
        The user's table. Readings of one device, state and condition that lie in several
        partitions must not overlap in time there.
    columns, where, overrange, bins_per_spread
        As in :func:`compress_file`.
    source : str, optional
        Name for messages.

    Raises
    ------
    MeasurementError, ValueError
        As :func:`compress_file`; rows are counted in each partition.
    """
    import dask

    schema = schema_of([str(name) for name in frame.columns], columns, source)
    accumulated = dask.delayed(_accumulated_partition, pure=False)
    together = dask.delayed(_merged, pure=False)
    parts = [
        accumulated(part, schema, tuple(where), f"{source}, partition {number}", overrange)
        for number, part in enumerate(frame.to_delayed())
    ]
    while len(parts) > 1:
        parts = [together(parts[i : i + FAN_IN]) for i in range(0, len(parts), FAN_IN)]
    with _naming(source):
        (whole,) = dask.compute(parts[0]) if parts else (None,)
    return _finished(whole, schema, where, source, bins_per_spread)


def _accumulated(
    frame: pd.DataFrame, schema: Schema, where: Where, source: str, overrange: Overrange
) -> Partial | None:
    """Accumulators of the rows of a piece that are kept; None where none is."""
    frame = keep_where(frame, where, source, is_piece=True)
    if not len(frame):
        return None
    faults = Faults(source)
    table = check_rows(to_schema(frame, schema, faults), faults, plain=False)
    check_numbers(table, schema.programming, schema.second, faults)
    split_rows(table, faults)
    faults.tell()
    rows = split_rows(censor_declared(table, overrange, faults), faults)
    faults.tell()
    with _naming(source):
        return accumulate(rows.readings, rows.intervals, rows.summaries)


def _accumulated_partition(
    frame: pd.DataFrame, schema: Schema, where: Where, source: str, overrange: Overrange
) -> Partial | None:
    return _accumulated(
        frame.set_axis(pd.RangeIndex(1, len(frame) + 1), axis=0), schema, where, source, overrange
    )


def _merged(parts: Sequence[Partial | None]) -> Partial | None:
    known = [part for part in parts if part is not None]
    return merge(known) if known else None


def _fold(parts: Iterator[Partial | None]) -> Partial | None:
    """Join a stream of parts, like with like in size, so that the work does not add up."""
    stack: list[Partial] = []
    for part in parts:
        if part is None:
            continue
        stack.append(part)
        while len(stack) > 1 and _size(stack[-2]) <= 2 * _size(stack[-1]):
            stack[-2:] = [merge(stack[-2:])]
    return _merged(stack)


def _size(partial: Partial) -> int:
    return len(partial.series) + len(partial.bins) + len(partial.wide)


def _finished(
    whole: Partial | None, schema: Schema, where: Where, source: str, bins_per_spread: int
) -> Compressed:
    if whole is None:
        kept = f": --where {', '.join(f'{c}={v}' for c, v in where)} keeps no row" if where else ""
        raise MeasurementError(f"{source}: no readings{kept or '; the table is empty'}")
    with _naming(source):
        devices = _devices(whole)
        faults = Faults(source)
        refuse_one_state({state for state, rows in _rows(whole).items() if rows}, faults)
        _refuse_mixed_units(whole, faults)
        if not faults:
            refuse_few_devices(devices, faults)
        faults.tell()
        return finish(
            whole,
            programming=schema.programming,
            second=schema.second,
            bins_per_spread=bins_per_spread,
        )


def _rows(whole: Partial) -> dict[str, int]:
    tables = (whole.series, whole.intervals, whole.summaries)
    return {
        state: sum(int((table["state"] == code).sum()) for table in tables)
        for code, state in enumerate(STATES)
    }


def _devices(whole: Partial) -> dict[str, int]:
    found = {}
    for code, state in enumerate(STATES):
        named = whole.series.loc[whole.series["state"] == code, "device"].nunique()
        nameless = sum(
            int(table.loc[table["state"] == code, "unnamed"].sum())
            for table in (whole.intervals, whole.summaries)
        )
        found[state] = int(named) + nameless
    return found


def _refuse_mixed_units(whole: Partial, faults: Faults) -> None:
    """As :func:`devicefit.inputs.refusals.refuse_mixed_units`, with medians to a bin's width."""
    wide, conditions = whole.wide, whole.conditions
    device = wide["device"].to_numpy()
    never = never_switching(
        device,
        (wide["state"] == 1).to_numpy(dtype=bool),
        wide["condition"].to_numpy(),
        ln_r_of(wide["w"].to_numpy() << WIDE_BITS + PLACE_BITS),
        count=wide["count"].to_numpy(dtype=np.float64),
    )
    wide = wide[~np.isin(device, [*never.unformed, *never.shorted])]
    for name, column in (
        ("array_id", "array"),
        ("programming", "programming"),
        ("programming_2", "second"),
    ):
        if conditions[column].nunique() < 2:
            continue
        part = conditions[column].to_numpy()[wide["condition"].to_numpy()]
        found = mixed_units(_medians(wide, part), devices=False)
        if found is not None:
            sides, middles = found
            faults.add(mixed_units_text([f"{name} {s.index[0]}" for s in sides], middles))
            return
    found = mixed_units(_medians(wide, wide["device"].to_numpy()), devices=True)
    if found is not None:
        sides, middles = found
        names = [
            f"device_id {whole.devices['device'].iloc[int(s.index[0])]}"
            if len(s) == 1
            else f"{len(s)} devices"
            for s in sides
        ]
        faults.add(mixed_units_text(names, middles))


def _medians(wide: pd.DataFrame, part: np.ndarray) -> pd.DataFrame:
    """Median of ln R per part (row) and state (column), to the foot of a bin."""
    y = ln_r_of(wide["w"].to_numpy() << WIDE_BITS + PLACE_BITS)
    rows = pd.DataFrame({"part": part, "state": wide["state"], "y": y, "count": wide["count"]})
    medians = weighted_medians(rows, ["part", "state"])["y"].unstack()
    return medians.rename(columns=dict(enumerate(STATES)))


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Put the name of the table in front of refusals that have none yet."""
    try:
        yield
    except MeasurementError as error:
        if str(error).startswith("readings "):
            raise MeasurementError(f"{source}: {error}") from None
        raise
