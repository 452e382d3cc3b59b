"""Files of our own carry a hash over what they hold; whatever is read goes through one guard.

``devicefit`` and ``bnn`` do not import each other, so this file lies in ``devicefit/numerics`` and
in ``bnn/machine``, byte for byte the same; a test compares the two.

A reader does, in this order: the declared size against a bound, the format, the contents, their
hash, their meaning. The hash guards against damage, not against malice: who changes a file on
purpose can write a fitting one, so the meaning is checked all the same.
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
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

HASH = "content_sha256"
"""Attribute or key that holds the hash over everything else in a file."""

MOST_TEXT = 2**20
"""Largest file that a user writes by hand, in bytes."""

MOST_DOCUMENT = 2**28
"""Largest JSON document, in bytes."""

MOST_UNSTORED = 2**24
"""Bytes by which arrays of a file of ours may exceed the file; ours are never compressed."""

MOST_EXPANDED = 2**29
"""Bytes that the arrays of a compressed file may take; 67 million weights in double precision."""

_LONG, _LONGEST = 300, 2000
# what netCDF keeps for itself
_INTERNAL = frozenset(
    "CLASS NAME DIMENSION_LIST REFERENCE_LIST DIMENSION_LABELS _Netcdf4Dimid _Netcdf4Coordinates "
    "_NCProperties _nc3_strict _FillValue coordinates dtype".split()
)


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
        Of the type `refuse`, whatever the error inside was; one whose text begins with `path`
        passes unchanged, but for its length.
    """
    try:
        yield
    except Exception as error:
        name = fspath(path)
        said = str(error)
        if isinstance(error, ValueError) and said.startswith((f"{name}:", f"{name},")):
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


# ---------------------------------------------------------------------------- JSON documents


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
    _check_hash(document.get(HASH), document_sha256(document))
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


def _check_hash(said: object, found: str) -> None:
    if said != found:
        raise ValueError(
            f"the hash {HASH} is {shown(said)}, the contents have {found[:12]}...: the file is "
            "damaged or was changed"
        )


# ------------------------------------------------------------------------------ netCDF files


def write_datasets(path: str | PathLike[str], form: str, groups: Mapping[str, xr.Dataset]) -> None:
    """Write datasets as one netCDF file that holds their hash; the same data give the same bytes.

    Parameters
    ----------
    path : path
        File to write.
    form : str
        Name and version of the format.
    groups : mapping of str to xarray.Dataset
        By the name of the group, ``""`` for the root, which comes first. Variables hold whole
        numbers, floats, truth values or texts, attributes the same.

    Raises
    ------
    TypeError
        A variable or an attribute holds something else.
    """
    head = {"format": form, HASH: datasets_sha256(form, groups)}
    for name, dataset in groups.items():
        # without what a netCDF file said of its storage before
        plain = dataset.drop_encoding().assign_attrs({} if name else head)
        plain.to_netcdf(
            path, engine="h5netcdf", mode="a" if name else "w", group=name if name else None
        )


def read_datasets(path: str | PathLike[str], form: str) -> dict[str, xr.Dataset]:
    """Datasets by group, as :func:`write_datasets` wrote them, their hash checked.

    Read with h5py alone: h5netcdf prints errors of damaged files itself.

    Raises
    ------
    ValueError, OSError, KeyError, TypeError, RuntimeError
        Anything, where the file is damaged: call it within :func:`reading`.
    """
    with h5py.File(path, "r") as file:
        check_declared(file, most=Path(path).stat().st_size + MOST_UNSTORED)
        head = _attributes(file)
        check_format(head.get("format"), form)
        groups = {"": _dataset(file)}
        groups |= {n: _dataset(item) for n, item in file.items() if isinstance(item, h5py.Group)}
    root = groups[""]
    said = root.attrs.pop(HASH, None)
    root.attrs.pop("format")
    _check_hash(said, datasets_sha256(form, groups))
    return groups


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


def datasets_sha256(form: str, groups: Mapping[str, xr.Dataset]) -> str:
    """Hash over names, dims, types, shapes, values and attributes, whatever the layout of a file.

    Every NaN counts as the same; 0.0 and -0.0 differ.

    Raises
    ------
    TypeError
        A variable or an attribute holds neither numbers nor texts.
    """
    digest = hashlib.sha256()

    def put(*words: object) -> None:
        digest.update(json.dumps(words).encode() + b"\n")

    put(form)
    for group, dataset in sorted(groups.items()):
        put("group", group, _plain_attributes(dataset.attrs))
        for name in sorted(map(str, dataset.variables)):
            variable = dataset.variables[name]
            values = np.asarray(variable.values)
            kind, data = _bytes_of(values)
            place = "coordinate" if name in dataset.coords else "variable"
            put(place, name, variable.dims, values.shape, _plain_attributes(variable.attrs))
            put(kind, len(data))
            digest.update(data)
    return digest.hexdigest()


def _bytes_of(values: np.ndarray) -> tuple[str, bytes]:
    """Kind of values and their bytes, little endian."""
    kind = values.dtype.kind
    if kind in "OUT":
        return "text", json.dumps([_text(value) for value in values.ravel().tolist()]).encode()
    if kind == "b":
        return "truth", values.astype("u1").tobytes()
    if kind not in "iuf":
        raise TypeError(f"values of the type {values.dtype} cannot be stored")
    if kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    return f"{kind}{values.dtype.itemsize}", values.astype(values.dtype.newbyteorder("<")).tobytes()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} among texts cannot be stored")
    return value


def _plain_attributes(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON, alike before writing and after reading."""
    found: dict[str, Any] = {}
    for key, value in sorted(attrs.items()):
        values = np.asarray(value)
        kind = values.dtype.kind
        if kind not in "OUTiuf":
            raise TypeError(f"the attribute {key} of the type {values.dtype} cannot be stored")
        # netCDF does not tell a number from an array of one
        plain = values.item() if values.size == 1 else values.tolist()
        found[str(key)] = ["text" if kind in "OUT" else kind, plain]
    return found


def _dataset(group: h5py.Group) -> xr.Dataset:
    """Dataset of a group; what is not stored as :func:`write_datasets` does is an error."""
    coords = set(str(group.attrs.get("coordinates", "")).split())
    variables: dict[str, xr.Variable] = {}
    for name, item in group.items():
        if not isinstance(item, h5py.Dataset):
            continue
        label = item.attrs.get("NAME", b"")
        label = label.decode() if isinstance(label, bytes) else str(label)
        if item.is_scale and label.startswith("This is a netCDF dimension but not a netCDF"):
            continue
        coords |= set(str(item.attrs.get("coordinates", "")).split())
        dims = (name,) if item.is_scale else tuple(_dim(item, axis) for axis in range(item.ndim))
        if h5py.check_string_dtype(item.dtype) is not None:
            values = np.asarray(item.asstr()[()], dtype=object)
        elif item.dtype.kind in "iuf":
            values = np.asarray(item[()])
            values = values.astype(values.dtype.newbyteorder("="), copy=False)
            if item.attrs.get("dtype") == "bool":
                values = values.astype(bool)
        else:
            raise TypeError(f"{name} holds values of the type {item.dtype}")
        variables[name] = xr.Variable(dims, values, _attributes(item))
    names = {name for name in variables if name in coords or variables[name].dims == (name,)}
    return xr.Dataset(
        {name: v for name, v in variables.items() if name not in names},
        coords={name: v for name, v in variables.items() if name in names},
        attrs=_attributes(group),
    )


def _dim(item: h5py.Dataset, axis: int) -> str:
    scales = item.dims[axis]
    if len(scales) != 1:
        raise ValueError(f"axis {axis} of {item.name} has no name")
    return str(scales[0].name).rsplit("/", 1)[-1]


def _attributes(item: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Attributes without those of netCDF itself, as Python's own texts and numbers."""
    found: dict[str, Any] = {}
    for key, value in item.attrs.items():
        if key in _INTERNAL:
            continue
        if isinstance(value, h5py.Empty):
            value = ""
        values = np.asarray(value)
        if values.dtype.kind not in "OUSTiuf":
            raise TypeError(f"the attribute {key} has the type {values.dtype}")
        found[str(key)] = values.item() if values.size == 1 else values
    return found
