"""Reading directories whose files belong together, never old and new ones mixed."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from reliability.files.own_files import LISTING
from reliability.files.stage import JOURNAL, STAGE

Loaded = TypeVar("Loaded")


def check_whole(directory: Path) -> None:
    """Refuse to read a directory in which old and new files may be mixed.

    Raises
    ------
    ValueError
        A run was killed while its files took their names, or does that now; gives the remedy.
    """
    if os.path.lexists(directory / STAGE / JOURNAL):
        raise ValueError(
            f"{directory}: some of its files are new and some are not, since a run was killed "
            "while it put them in place (or is doing so now). Give the command that wrote it once "
            "more, without --force: it puts the others in place and stops"
        )


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Read several files of a directory that belong together.

    Raises
    ------
    ValueError
        As of :func:`check_whole`, or the files were replaced meanwhile.
    """
    check_whole(directory)
    before = _listing(directory)
    yield
    check_whole(directory)
    if _listing(directory) != before:
        raise ValueError(f"{directory} was written anew while it was read; try again")


def whole(load: Callable[[Path], Loaded]) -> Callable[[Path], Loaded]:
    """A function that loads a directory, under the checks of :func:`reading`."""

    @functools.wraps(load)
    def checked(directory: Path) -> Loaded:
        with reading(directory):
            return load(directory)

    return checked


def _listing(directory: Path) -> bytes:
    try:
        return (directory / LISTING).read_bytes()
    except OSError:
        return b""
