"""Files of our own carry a hash over what they hold; whatever is read goes through one guard.

``devicefit`` and ``bnn`` do not import each other, so this file lies in ``devicefit/numerics`` and
in ``bnn/machine``, byte for byte the same; a test compares the two.

A hash guards against damage, not against malice: who changes a file on purpose can write a fitting
one, so a reader checks the meaning all the same. It checks the declared size against a bound before
anything is expanded.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Any

import h5py

HASH = "content_sha256"
"""Key that holds the hash over everything else in a document."""

MOST_TEXT = 2**20
"""Largest file that a user writes by hand, in bytes."""

MOST_DOCUMENT = 2**28
"""Largest JSON document, in bytes."""

MOST_EXPANDED = 2**29
"""Bytes that the arrays of a compressed file may take; 67 million weights in double precision."""

_LONG, _LONGEST = 300, 2000


@contextmanager
def reading(
    path: str | PathLike[str], what: str, remedy: str, *, refuse: type[ValueError] = ValueError
) -> Iterator[None]:
    """Guard around reading: whatever goes wrong inside becomes one refusal that names the file.

    Parameters
    ----------
    path : path
        The file.
    what : str
        What it should be: ``"table of counts"``.
    remedy : str
        What to do: ``"write it again with `rram-reliability evaluate`"``.
    refuse : type of ValueError, optional
        What is raised.

    Raises
    ------
    ValueError
        Of the type `refuse`, whatever the error inside was; one that is of this type already, or
        whose text begins with `path`, passes unchanged, but for its length.
    """
    try:
        yield
    except Exception as error:
        name = fspath(path)
        said = str(error)
        ours = refuse is not ValueError and isinstance(error, refuse)
        if ours or (isinstance(error, ValueError) and said.startswith((f"{name}:", f"{name},"))):
            if len(said) <= _LONGEST:
                raise
            # a text of the file that is longer than anyone reads
            raise type(error)(f"{said[:_LONGEST]}...") from error
        if isinstance(error, FileNotFoundError):
            raise refuse(f"{name}: no such file; {remedy}") from error
        if isinstance(error, OSError) and error.strerror:
            raise refuse(f"{name}: cannot be read ({error.strerror}); {remedy}") from error
        raise refuse(
            f"{name}: not a {what} that this version reads ({reason(error)}); {remedy}"
        ) from error


def reason(error: Exception) -> str:
    """What went wrong, on one line of bounded length."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, MemoryError):
        return "larger than the memory"
    if isinstance(error, KeyError):
        return f"{shown(error.args[0] if error.args else '')} is missing"
    details = getattr(error, "errors", None)
    if callable(details):  # pydantic tells all faults at once
        text = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in details()[:5]
        )
    else:
        text, kind = str(error), type(error).__name__
        if not text:
            text = kind
        elif not isinstance(error, ValueError | OSError):
            text = f"{kind}: {text}"
    text = " ".join(text.split())
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


def shown(value: object) -> str:
    """A value of a file as a message shows it: short, however large it is."""
    brief = reprlib.Repr()
    brief.maxlevel = 2
    brief.maxstring = brief.maxother = 60
    try:
        return brief.repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} of very many digits"


def plain_number(value: object) -> float | None:
    """A number of a file as a float; None for what is no finite number (TOML's true is an int)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_text(path: str | PathLike[str], *, most: int = MOST_TEXT) -> str:
    """Text of a file in UTF-8, of at most so many bytes.

    Raises
    ------
    ValueError, OSError
        It is larger, not UTF-8, or cannot be read.
    """
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it has more than {most} bytes")
    return data.decode("utf-8")


def read_toml(path: str | PathLike[str]) -> tuple[dict[str, Any], str]:
    """Tables of a TOML file, and its text for messages that say the line.

    Raises
    ------
    ValueError, OSError
        As :func:`read_text`, or it is not TOML.
    """
    text = read_text(path)
    return tomllib.loads(text), text


def document_sha256(document: Mapping[str, Any]) -> str:
    """Hash over a JSON document, whatever its layout and the order of its keys."""
    kept = {key: value for key, value in document.items() if key != HASH}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(document: Mapping[str, Any], *, allow_nan: bool = False) -> dict[str, Any]:
    """A document of plain values with its hash, in the form that it is read back in.

    Raises
    ------
    ValueError, TypeError
        It holds something that JSON has no word for, or, unless they are allowed, a number that is
        not finite.
    """
    plain = json.loads(json.dumps(document, allow_nan=allow_nan))
    return {**plain, HASH: document_sha256(plain)}


def document_text(document: Mapping[str, Any], *, indent: int = 1, allow_nan: bool = False) -> str:
    """Text of a JSON document with its hash; equal documents give equal bytes.

    Raises
    ------
    ValueError, TypeError
        As :func:`sealed`.
    """
    plain = sealed(document, allow_nan=allow_nan)
    return json.dumps(plain, indent=indent, ensure_ascii=False) + "\n"


def read_document(path: str | PathLike[str]) -> dict[str, Any]:
    """A JSON document as it stands, its hash not yet checked.

    Raises
    ------
    ValueError, OSError
        Too large, not JSON, or no object.
    """
    found = json.loads(read_text(path, most=MOST_DOCUMENT))
    if not isinstance(found, dict):
        raise ValueError(f"it holds {shown(found)}, not an object")
    return found


def unsealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document without its hash, which must fit.

    Raises
    ------
    ValueError
        It has no hash, or that of another content: the file is damaged or was changed.
    """
    said, found = document.get(HASH), document_sha256(document)
    if said != found:
        raise ValueError(
            f"the hash {HASH} is {shown(said)}, the contents have {found[:12]}...: the file is "
            "damaged or was changed"
        )
    return {key: value for key, value in document.items() if key != HASH}


def check_format(found: object, wanted: str) -> None:
    """Refuse a file of another format or version.

    Raises
    ------
    ValueError
        Says which one it is.
    """
    if found != wanted:
        said = "no format, as a file of an earlier version" if found is None else shown(found)
        raise ValueError(f"its format is {said}, wanted is {wanted!r}")


def check_declared(file: h5py.File, *, most: int) -> None:
    """Refuse an HDF5 file before it is expanded.

    Raises
    ------
    ValueError
        Its arrays would take more than `most` bytes, or it refers to other files.
    """
    total = 0

    # what these give ends the visit; an exception inside would be lost in h5py
    def link(name: str, item: object) -> str | None:
        return None if isinstance(item, h5py.HardLink) else f"{name} is a link to another place"

    def add(name: str, item: h5py.Group | h5py.Dataset) -> str | None:
        nonlocal total
        if not isinstance(item, h5py.Dataset):
            return None
        if item.is_virtual or item.external:
            return f"{name} lies in another file"
        total += (item.size or 0) * max(item.dtype.itemsize, 1)
        if total > most:
            return (
                f"its arrays declare more than {most} bytes (up to {name}, of the shape "
                f"{item.shape}): more than such a file may hold"
            )
        return None

    found = file.visititems_links(link) or file.visititems(add)
    if found:
        raise ValueError(found)
