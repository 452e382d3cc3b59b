"""A table of the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of words.

    Parameters
    ----------
    caption : str
        What it shows, with kind and probability of its intervals.
    header : tuple of str
        Column heads.
    rows : tuple of tuple of str
        Cells.
    words : int
        How many columns on the left hold words; the others hold numbers.
    marked : int or None
        Row to stress.
    folded_after : int or None
        Rows that are seen at once; the others unfold.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    marked: int | None = None
    folded_after: int | None = None
