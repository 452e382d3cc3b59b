"""Tables of a user's files, whole or in chunks; nothing here knows what the columns mean."""

from __future__ import annotations

import hashlib
import io
import lzma
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from devicefit.inputs.bounded_expansion import (
    ExpansionError,
    expansion_bound,
    open_bounded,
    refuse_expansion,
)
from devicefit.inputs.refusals import ROWS_SHOWN, MeasurementError

_PARQUET = (".parquet", ".pq")
HEADER_BYTES = 2**20
"""Comments and header of a text file are no longer than this."""


@dataclass(frozen=True)
class TableFile:
    """A table on disk: CSV (also compressed) or Parquet.

    Parameters
    ----------
    path : Path
        The file.
    columns : tuple of str
        Names of its columns.
    simulated : bool
        Whether it says that its readings come from a simulation: a comment ``# simulated`` at the
        head of a text file, the word ``simulated`` in the name of a Parquet file.
    separator : str
        Between the fields of a text file.
    comments : int
        Lines before the header of a text file.
    """

    path: Path
    columns: tuple[str, ...]
    simulated: bool
    separator: str = ","
    comments: int = 0

    @property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet."""
        return self.path.suffix.lower() in _PARQUET

    def sha256(self) -> str:
        """Hash of the file's bytes."""
        with _refusing(self.path), self.path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()

    def read(self, *, text: Sequence[str] = ()) -> pd.DataFrame:
        """The whole table; the index numbers its rows, 1 for the first.

        Parameters
        ----------
        text : sequence of str
            Columns of names, read as they are written: ``0012`` is not 12.

        Raises
        ------
        MeasurementError
            The file cannot be read as a table.
        """
        with _refusing(self.path):
            if self.is_parquet:
                frame = pd.read_parquet(self.path)
            else:
                with open_bounded(self.path) as handle:
                    frame = pd.read_csv(handle, **self._csv(text), low_memory=False)
        frame.index = pd.RangeIndex(1, len(frame) + 1)
        return frame

    def _csv(self, text: Sequence[str]) -> dict[str, Any]:
        # Instruments end each row with a separator; without index_col=False pandas would then
        # take the first column for row labels and shift all others.
        return {
            "sep": self.separator,
            "skiprows": self.comments,
            "index_col": False,
            "dtype": {name: str for name in text if name in self.columns},
        }


def open_table(path: str | Path) -> TableFile:
    """Look at the head of a file.

    Parameters
    ----------
    path : str or Path
        ``.csv``, ``.csv.gz``, ``.csv.xz``, ``.csv.bz2``, ``.tsv``, ``.txt`` or ``.parquet``.

    Raises
    ------
    MeasurementError
        No such file, an unknown format, no header, or a file that expands to more than
        :mod:`devicefit.inputs.bounded_expansion` allows.
    """
    path = Path(path)
    if not path.is_file():
        what = "no such file" if not path.exists() else "not a file"
        what = "a directory" if path.is_dir() else what
        raise MeasurementError(f"{path}: {what}; give a CSV or Parquet table of resistances")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    with _refusing(path):
        if suffixes and suffixes[-1] in _PARQUET:
            marked = "simulated" in re.split(r"[^a-z]+", path.stem.lower())
            return TableFile(path, _parquet_columns(path), marked)
        if not {".csv", ".tsv", ".txt"} & set(suffixes):
            raise MeasurementError(
                f"{path}: cannot tell the format from the name; use .csv, .tsv (also .gz, .xz, "
                ".bz2) or .parquet"
            )
        comments, header, simulated = 0, "", False
        # Spreadsheets write a byte order mark.
        with (
            open_bounded(path) as raw,
            io.TextIOWrapper(raw, encoding="utf-8-sig") as handle,
        ):
            left = HEADER_BYTES
            while header := handle.readline(left):
                left -= len(header)
                if not left:
                    raise MeasurementError(
                        f"{path}: no header within the first {HEADER_BYTES:,} characters; give a "
                        "table whose first line, after comments (#), has the names of the columns"
                    )
                if not header.startswith("#"):
                    break
                comments += 1
                simulated = simulated or header[1:].strip().lower().startswith("simulated")
        separator = "\t" if header.count("\t") > header.count(",") else ","
        if header.count(";") > header.count(separator):
            separator = ";"
        table = TableFile(path, (), simulated, separator, comments)
        with open_bounded(path) as raw:
            head = pd.read_csv(raw, **table._csv(()), nrows=0)
    return TableFile(path, tuple(map(str, head.columns)), simulated, separator, comments)


def _parquet_columns(path: Path) -> tuple[str, ...]:
    """Names of columns; refuses a file whose values take more memory than the bound."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        about = file.metadata
        # Runs and dictionaries expand to a value, or a reference to one, for each row.
        values = 8 * about.num_rows * about.num_columns
        pages = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if max(values, pages) > expansion_bound(path):
            refuse_expansion(
                path,
                f"It says to have {about.num_rows:,} rows of {about.num_columns} columns; if that "
                "is right, give the columns and rows that are needed, as CSV",
            )
        return tuple(file.schema_arrow.names)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read is a refusal that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except pd.errors.ParserWarning:
        raise MeasurementError(
            f"{path}: rows have more fields than the header has names; give every column a name"
        ) from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error, pd.errors.ParserError) as error:
        raise MeasurementError(f"{path}: cannot be read as a table: {error}") from None
    except pd.errors.EmptyDataError:
        raise MeasurementError(f"{path}: the file is empty") from None
    except ExpansionError as error:
        raise MeasurementError(f"{path}: {error}") from None
    except (ValueError, ImportError) as error:
        if isinstance(error, MeasurementError):
            raise
        raise MeasurementError(f"{path}: cannot be read as a table: {error}") from None


def keep_where(
    frame: pd.DataFrame,
    where: Sequence[tuple[str, str]],
    source: str,
    *,
    is_piece: bool = False,
) -> pd.DataFrame:
    """Rows in which every named column has its value.

    Parameters
    ----------
    frame : pandas.DataFrame
        Table as the user wrote it.
    where : sequence of (column, value)
        Compared as text, and as numbers where both are numbers.
    source : str
        Name for messages.
    is_piece : bool, optional
        Whether it is a piece of a table, of which no row may be kept.

    Raises
    ------
    MeasurementError
        No such column, a column of numbers compared with text, or no row is kept.
    """
    for column, value in where:
        if column not in frame:
            raise MeasurementError(
                f"{source}: --where {column}={value}: no column {column!r}; the file has "
                f"{', '.join(map(str, frame.columns))}"
            )
        series = frame[column]
        frame = frame[_equal(series, column, value, source, is_piece=is_piece)]
        if not len(frame) and not is_piece:
            values = ", ".join(str(v) for v in pd.unique(series.dropna())[:ROWS_SHOWN])
            raise MeasurementError(
                f"{source}: --where {column}={value} keeps no row; the column holds for example "
                f"{values}"
            )
    return frame


def _equal(
    series: pd.Series, column: str, value: str, source: str, *, is_piece: bool
) -> np.ndarray:
    try:
        wanted: float | None = float(value)
    except ValueError:
        wanted = None
    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        if wanted is not None:
            return np.isclose(series.to_numpy(dtype=float), wanted, rtol=1e-9, atol=0)
        if not is_piece:
            raise MeasurementError(f"{source}: --where {column}={value}: the column holds numbers")
        # A column of text may have a piece that looks like numbers.
        return np.zeros(len(series), dtype=bool)
    equal = (series.astype(str) == value).to_numpy(dtype=bool)
    if wanted is not None:
        numbers = pd.to_numeric(series.astype(str), errors="coerce").to_numpy(dtype=float)
        equal = equal | np.isclose(numbers, wanted, rtol=1e-9, atol=0)
    return equal
