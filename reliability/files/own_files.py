"""Which files in a folder are ours: those that a listing names and that are as we wrote them.

The listing (:data:`LISTING`) lies in every directory that a command wrote, with the SHA-256 of each
file. Directories of earlier versions have none; there our files are known by what is in them.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LISTING = ".rram-reliability.json"
"""File that names the files of a directory which are ours."""

FORMAT = "rram-reliability listing 1"

MARKERS = ("grid.nc", "device.json", "results.json")
"""Files by which a directory is known as one of ours; written after all others."""


class ListingError(ValueError):
    """A listing that is damaged or none of ours."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_plain_file(path: Path) -> bool:
    """Whether a file is there, and not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def is_unchanged(path: Path, digest: str) -> bool:
    """Whether a file is there, is no link, and has this SHA-256."""
    return is_plain_file(path) and sha256_of(path) == digest


def listing_text(files: Mapping[str, str]) -> str:
    """Text of a listing: names of files with their SHA-256."""
    return json.dumps({"format": FORMAT, "files": dict(sorted(files.items()))}, indent=1) + "\n"


def listed(directory: Path) -> dict[str, str] | None:
    """Files that the listing of a directory names, with their SHA-256; None without a listing.

    Raises
    ------
    ListingError
        It is damaged; gives the remedy.
    """
    path = directory / LISTING
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _damaged(path)
    try:
        return checked_names(found.get("files"))
    except ValueError as error:
        raise _damaged(path) from error


def checked_names(files: Any) -> dict[str, str]:
    """Names of files in one folder with their SHA-256, as read from a file that anyone may change.

    Raises
    ------
    ValueError
        A name is a path, or something else is no text.
    """
    if not isinstance(files, dict):
        raise ValueError("not names with hashes")
    for name, digest in files.items():
        if not isinstance(digest, str) or name in ("", ".", "..") or "\0" in name:
            raise ValueError(f"{name!r} is not the name of a file with its hash")
        if os.path.basename(name) != name or (os.altsep and os.altsep in name):
            raise ValueError(f"{name!r} is a path")
    return files


def recognised(directory: Path) -> dict[str, str]:
    """Our files in a directory without a listing, known by what is in them, with their SHA-256.

    Nothing where no marker (:data:`MARKERS`) is ours.
    """
    files = {path.name: path for path in sorted(directory.iterdir()) if is_plain_file(path)}
    ours = {name for name, path in files.items() if _has_our_format(path)}
    if not ours & set(MARKERS):
        return {}
    if "results.json" in ours:
        ours.add("index.html")
    if "grid.nc" in ours:
        ours |= {"grid.csv", "grid.png"}
    ours |= {
        name
        for name in files
        if name.endswith(".safetensors") and f"{name.removesuffix('.safetensors')}.json" in ours
    }
    return {name: sha256_of(files[name]) for name in sorted(ours & set(files))}


def _has_our_format(path: Path) -> bool:
    """Whether a JSON or netCDF file says that it is ours."""
    if path.suffix == ".json":
        with path.open("rb") as file:
            return b'"format": "rram-reliability ' in file.read(200)
    if path.suffix != ".nc":
        return False
    # imported here: only directories of earlier versions need it
    import h5py

    try:
        with h5py.File(path) as file:
            return "record" in file.attrs or "rram_reliability" in file.attrs
    except OSError:
        return False


def _damaged(path: Path) -> ListingError:
    return ListingError(
        f"{path} is damaged: it should name the files that a command wrote; remove it, and our "
        "files are known by what is in them"
    )
