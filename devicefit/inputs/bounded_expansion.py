"""Compressed files expanded within a stated bound."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
LEAST_BYTES = 2**26
"""A compressed file may always expand to this: 64 MiB."""
MOST_TIMES = 50
"""Beyond that it may expand to so many times its own size; tables of readings take 3 to 30."""


class ExpansionError(ValueError):
    """A file expands beyond the bound; the text says to what and what to do."""


def expansion_bound(path: Path) -> int:
    """Bytes to which a file may expand."""
    return max(LEAST_BYTES, MOST_TIMES * path.stat().st_size)


def refuse_expansion(path: Path, remedy: str) -> None:
    """Refuse a file that expands beyond its bound.

    Raises
    ------
    ExpansionError
        Always.
    """
    bound = expansion_bound(path)
    raise ExpansionError(
        f"{path.stat().st_size:,} bytes expand to more than {bound / 2**20:,.0f} MiB; a file may "
        f"expand to {LEAST_BYTES // 2**20} MiB or {MOST_TIMES} times its own size, whichever is "
        f"more. {remedy}"
    )


class BoundedReader(io.RawIOBase):
    """Bytes of a decompressor, counted: one byte beyond the bound is refused.

    Parameters
    ----------
    path : Path
        The compressed file, for its size.
    stream : file
        What it expands to; closed with this one.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path, self._stream = path, stream
        self._left = expansion_bound(path)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer as far as there are bytes."""
        view = memoryview(buffer).cast("B")
        # One byte more than allowed is enough to know.
        piece = self._stream.read(min(len(view), self._left + 1))
        self._left -= len(piece)
        if self._left < 0:
            refuse_expansion(
                self._path,
                "If it is what it should be, expand it yourself and give the plain file: "
                f"`{_COMMANDS[self._path.suffix.lower()]} {self._path.name}`",
            )
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Close the decompressor too."""
        self._stream.close()
        super().close()


_COMMANDS = {".gz": "gunzip -k", ".xz": "unxz -k", ".bz2": "bunzip2 -k"}


def open_bounded(path: Path) -> BinaryIO:
    """Open a file for reading bytes, expanding it within its bound if it is compressed."""
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        return path.open("rb")
    return cast(BinaryIO, io.BufferedReader(BoundedReader(path, opener(path, "rb")), 2**17))
