"""Output that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARKERS = ("results.json", "device.json", "grid.nc")
"""Files by which a directory is known as one of ours, and may be replaced."""


class OutputError(ValueError):
    """An output place that cannot be used, with the remedy."""


def check_directory(out: Path, *, force: bool) -> None:
    """Refuse an output directory before any work is done.

    Raises
    ------
    OutputError
        It exists and is not ours, or is ours and `force` is not given, or cannot be written.
    """
    if out.exists():
        if not out.is_dir():
            raise OutputError(f"--out {out} is a file; name a directory")
        names = {entry.name for entry in out.iterdir()}
        if names and not names & set(MARKERS):
            raise OutputError(
                f"--out {out} holds other files ({', '.join(sorted(names)[:3])}); name a new or "
                "empty directory"
            )
        if names and not force:
            raise OutputError(f"--out {out} holds earlier results; replace them with --force")
    _check_parent(out)


def check_file(path: Path, *, force: bool, suffix: str) -> None:
    """Refuse an output file before any work is done.

    Raises
    ------
    OutputError
        Wrong suffix, it exists and `force` is not given, or it cannot be written.
    """
    if path.suffix != suffix:
        raise OutputError(f"--out {path}: the name must end in {suffix}")
    if path.is_dir():
        raise OutputError(f"--out {path} is a directory; name a file")
    if path.exists() and not force:
        raise OutputError(f"--out {path} exists; replace it with --force")
    _check_parent(path)


def _check_parent(path: Path) -> None:
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise OutputError(f"--out {path}: {parent} cannot be written to")


@contextmanager
def staged_directory(out: Path) -> Iterator[Path]:
    """Directory to write into; it takes the name `out` only when the block ends without error.

    An earlier directory of that name is replaced in the last step. Whatever interrupts the block,
    `out` is either the earlier directory, whole, or the new one, whole.
    """
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.absolute().parent))
    try:
        yield stage
        stage.chmod(0o755)
        if out.exists():
            old = stage.with_name(f"{stage.name}.old")
            out.rename(old)
            stage.rename(out)
            shutil.rmtree(old)
        else:
            stage.rename(out)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """File to write; it takes the name `path` only when the block ends without error."""
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    stage = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        yield stage
        os.replace(stage, path)
    finally:
        stage.unlink(missing_ok=True)
