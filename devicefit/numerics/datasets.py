"""Datasets as netCDF files that end in the hash of their bytes.

The hash stands in a line after the end of the file, where HDF5 does not look: some damaged files
keep the HDF5 library in an endless loop, so damage must be found before it sees them. Then come the
declared size against a bound, the format, and the contents, whose meaning is for the caller.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from devicefit.numerics.stored import check_declared, check_format

MOST_UNSTORED = 2**24
"""Bytes by which arrays of a file of ours may exceed the file; ours are never compressed."""

_MARK = b"\nrram-reliability sha256 "
_MARK_BYTES = len(_MARK) + 64 + 1
# what netCDF keeps for itself
_INTERNAL = frozenset(
    "CLASS NAME DIMENSION_LIST REFERENCE_LIST DIMENSION_LABELS _Netcdf4Dimid _Netcdf4Coordinates "
    "_NCProperties _nc3_strict _FillValue coordinates dtype".split()
)


def write_datasets(path: str | PathLike[str], form: str, groups: Mapping[str, xr.Dataset]) -> None:
    """Write datasets as one netCDF file that ends in its hash; the same data give the same bytes.

    Parameters
    ----------
    path : path
        File to write.
    form : str
        Name and version of the format.
    groups : mapping of str to xarray.Dataset
        By the name of the group, ``""`` for the root, which comes first. Variables hold whole
        numbers, floats, truth values or texts, attributes whole numbers, floats or texts.
    """
    for name, dataset in groups.items():
        # without what a netCDF file said of its storage before
        plain = dataset.drop_encoding().assign_attrs({} if name else {"format": form})
        plain.to_netcdf(
            path, engine="h5netcdf", mode="a" if name else "w", group=name if name else None
        )
    seal_file(path)


def seal_file(path: str | PathLike[str]) -> None:
    """Add a line with the hash of its bytes to a file, after its end."""
    with open(path, "rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(_MARK + digest.encode() + b"\n")


def _check_sealed(path: str | PathLike[str]) -> int:
    """Size of a file without its last line, which must hold the hash of what is before it."""
    data = memoryview(Path(path).read_bytes())
    body, line = data[:-_MARK_BYTES], bytes(data[-_MARK_BYTES:])
    if not line.startswith(_MARK):
        raise ValueError(
            "there is no hash at its end: it is of an earlier version, cut short, or not ours"
        )
    if line != _MARK + hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise ValueError("the hash at its end does not fit: the file is damaged or was changed")
    return len(body)


def read_datasets(path: str | PathLike[str], form: str) -> dict[str, xr.Dataset]:
    """Datasets by group, as :func:`write_datasets` wrote them, the hash checked.

    Read with h5py alone: h5netcdf prints errors of damaged files itself.

    Raises
    ------
    ValueError, OSError, KeyError, TypeError, RuntimeError
        Anything, where the file is damaged: call it within :func:`reading`.
    """
    size = _check_sealed(path)
    with h5py.File(path, "r") as file:
        check_declared(file, most=size + MOST_UNSTORED)
        check_format(_attributes(file).get("format"), form)
        groups = {"": _dataset(file)}
        groups |= {n: _dataset(item) for n, item in file.items() if isinstance(item, h5py.Group)}
    del groups[""].attrs["format"]
    return groups


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
