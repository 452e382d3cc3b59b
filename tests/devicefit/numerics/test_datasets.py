"""Datasets as files: they come back, every damage is noticed, and what they declare has a bound."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from devicefit.numerics.datasets import (
    MOST_UNSTORED,
    read_datasets,
    seal_file,
    write_datasets,
)
from devicefit.numerics.stored import reading

FORM = "a test 1"


def datasets() -> dict[str, xr.Dataset]:
    root = xr.Dataset(
        {
            "count": (("case", "chip"), np.arange(6).reshape(2, 3), {"units": "1"}),
            "value": ("x", np.array([1.0, -0.0, np.nan])),
            "part": ("part_term", np.ones(4)),
            "words": ("case", np.array(["a", "µb"], dtype=object)),
            "truth": ("chip", np.array([True, False, True])),
            "alone": ((), 3.0),
        },
        coords={
            "chip": np.arange(3),
            "ber": ("case", [0.1, 0.2]),
            "name": ("case", np.array(["p", "q"], dtype=object)),
        },
        attrs={"none": "", "whole": 3, "real": 1.0, "list": [1.0, 2.0], "texts": ["a", "b"]},
    )
    return {"": root, "more": root[["count"]].assign_attrs(share=0.5)}


def test_datasets_come_back_and_give_the_same_bytes(tmp_path: Path) -> None:
    write_datasets(tmp_path / "a.nc", FORM, datasets())
    found = read_datasets(tmp_path / "a.nc", FORM)
    assert set(found) == {"", "more"}
    for name, dataset in datasets().items():
        xr.testing.assert_equal(found[name], dataset)
        assert set(found[name].coords) == set(dataset.coords)
        assert {k: np.asarray(v).tolist() for k, v in found[name].attrs.items()} == dataset.attrs
        assert found[name]["count"].attrs == {"units": "1"}
    assert np.signbit(found[""]["value"].values[1])
    assert type(found[""].attrs["whole"]) is int
    write_datasets(tmp_path / "b.nc", FORM, found)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    # others read it too
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as opened:
        xr.testing.assert_equal(opened.load(), datasets()[""])


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_datasets(path, FORM, datasets())
    data = path.read_bytes()
    for place in (*range(0, len(data), 97), *range(-90, 0)):
        changed = bytearray(data)
        changed[place] ^= 4
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="no hash at its end|does not fit"):
            read_datasets(path, FORM)
    for cut in (data[:-1], data[:5000], data[:50], data + b"\n"):
        path.write_bytes(cut)
        with pytest.raises(ValueError, match="no hash at its end"):
            read_datasets(path, FORM)


def test_a_file_that_hdf5_reads_for_ever_is_refused(tmp_path: Path) -> None:
    """An object of the size zero in a heap of texts: the HDF5 library never comes back."""
    path = tmp_path / "a.nc"
    write_datasets(path, FORM, datasets())
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL") + 16
    # after the objects: the free space is number 0, with its size
    while data[heap : heap + 2] != b"\0\0":
        heap += 16 + -(-int.from_bytes(data[heap + 8 : heap + 16], "little") // 8) * 8
    data[heap + 8 : heap + 16] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="does not fit: the file is damaged"):
        read_datasets(path, FORM)


def changed(path: Path, change: Callable[[h5py.File], object]) -> None:
    """Write a file, change it on purpose and give it a hash that fits."""
    write_datasets(path, FORM, datasets())
    with h5py.File(path, "a") as file:
        change(file)
    seal_file(path)


def test_the_line_at_the_end_is_all_that_is_added(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    changed(path, lambda file: file["count"].write_direct(np.arange(6).reshape(2, 3) + 1))
    np.testing.assert_array_equal(
        read_datasets(path, FORM)[""]["count"].values.ravel(), range(1, 7)
    )
    assert path.read_bytes()[-90:].startswith(b"\nrram-reliability sha256 ")


def test_a_small_file_that_declares_much_is_refused_before_it_is_expanded(tmp_path: Path) -> None:
    """Ten thousand million values in a few kilobytes."""
    path = tmp_path / "a.nc"
    big = {"chunks": (100, 100), "compression": "gzip"}
    changed(path, lambda file: file.create_dataset("more/big", (10**5, 10**5), "f8", **big))
    assert path.stat().st_size < 1e5
    with pytest.raises(ValueError, match="declare more than .* of the shape .100000, 100000."):
        read_datasets(path, FORM)


def test_what_a_file_declares_may_exceed_it_a_little(tmp_path: Path) -> None:
    """Dims without values are declared and never written."""
    dataset = xr.Dataset({"a": (("x", "y"), np.zeros((1, MOST_UNSTORED // 8)))})
    write_datasets(tmp_path / "a.nc", FORM, {"": dataset})
    read_datasets(tmp_path / "a.nc", FORM)


def linked(file: h5py.File) -> None:
    file["count2"] = h5py.SoftLink("/count")


def elsewhere(file: h5py.File) -> None:
    file["count2"] = h5py.ExternalLink("other.nc", "/count")


def complex_values(file: h5py.File) -> None:
    file.create_dataset("count2", data=np.array([1j, 2.0, 3.0])).dims[0].attach_scale(file["chip"])


def outside(file: h5py.File) -> None:
    file.create_dataset("count2", (3,), "i8", external=[("/etc/passwd", 0, 24)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (linked, "count2 is a link to another place"),
        (elsewhere, "count2 is a link to another place"),
        (outside, "count2 lies in another file"),
        (complex_values, "count2 holds values of the type complex128"),
        (lambda file: file.create_dataset("odd", data=np.arange(3)), "axis 0 of /odd has no name"),
        (lambda file: file.attrs.__setitem__("format", 3), "its format is 3"),
    ],
)
def test_what_we_do_not_write_is_refused(
    change: Callable[[h5py.File], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.nc"
    changed(path, change)
    with pytest.raises(ValueError, match=f"a.nc: not a table.*{message}"):
        with reading(path, "table", "write it again"):
            read_datasets(path, FORM)
