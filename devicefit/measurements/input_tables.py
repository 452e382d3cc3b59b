"""Files that are read together as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from devicefit.inputs.columns import ColumnMapping
from devicefit.inputs.refusals import MeasurementError
from devicefit.measurements.files import TableFile, open_table
from devicefit.measurements.schema import Schema, schema_of


def open_tables(
    path: str | Path | Sequence[str | Path],
    columns: Sequence[ColumnMapping],
    where: Sequence[tuple[str, str]],
) -> tuple[list[TableFile], list[Schema]]:
    """Files that are read together, and where the columns of the schema are in each.

    Raises
    ------
    MeasurementError
        A file cannot be read, a column is missing, the files disagree about the programming
        variable, or the same file is named twice.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths:
        raise MeasurementError("no file; give a CSV or Parquet table of resistances")
    tables = [open_table(one) for one in paths]
    resolved = [file.path.resolve() for file in tables]
    for file in tables:
        if resolved.count(file.path.resolve()) > 1:
            raise MeasurementError(f"{file.path}: the file is named twice; give it once")
    elsewhere = {name for file in tables for name in file.columns}
    for column, value in where:
        if column not in elsewhere:
            raise MeasurementError(
                f"{tables[0].path}: --where {column}={value}: no column {column!r}; the file has "
                f"{', '.join(tables[0].columns)}"
            )
    schemas = [
        schema_of(
            file.columns,
            columns,
            str(file.path),
            elsewhere=elsewhere if len(tables) > 1 else (),
        )
        for file in tables
    ]
    for file, schema in zip(tables[1:], schemas[1:], strict=True):
        for one, other in (
            (schemas[0].programming, schema.programming),
            (schemas[0].second, schema.second),
        ):
            if one != other:
                first, this = (
                    "none" if v is None else f"{v.name} ({v.unit})" for v in (one, other)
                )
                raise MeasurementError(
                    f"{file.path}: the programming variable is {this}, that of {tables[0].path} is "
                    f"{first}; name the same variable in all files with --column programming="
                    "COLUMN:UNIT"
                )
    return tables, schemas


def conditions_in(
    file: TableFile, where: Sequence[tuple[str, str]], files: int
) -> list[tuple[str, str]]:
    """The ``--where`` pairs that apply to one of several files."""
    return [pair for pair in where if files == 1 or pair[0] in file.columns]
