"""Files of our own: their hash, their bounds, and the guard around reading."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from devicefit.numerics.stored import (
    HASH,
    MOST_UNSTORED,
    check_format,
    datasets_sha256,
    document_sha256,
    document_text,
    plain_number,
    read_datasets,
    read_document,
    read_text,
    read_toml,
    reading,
    shown,
    unsealed,
    write_datasets,
)

FORM = "a test 1"
ROOT = Path(__file__).parents[3]


def test_both_packages_have_the_same_file() -> None:
    ours = (ROOT / "devicefit" / "numerics" / "stored.py").read_bytes()
    assert ours == (ROOT / "bnn" / "machine" / "stored.py").read_bytes()


# --- the guard ------------------------------------------------------------------------------------


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    a: int
    b: str


class OwnError(ValueError):
    pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            KeyError("correct"),
            "f.nc: not a table that this version reads ('correct' is missing); do",
        ),
        (RecursionError("deep"), "(nested too deeply)"),
        (MemoryError(), "(larger than the memory)"),
        (OverflowError("int too large"), "(OverflowError: int too large)"),
        (TypeError("'str' object"), "(TypeError: 'str' object)"),
        (AttributeError("no\nitem"), "(AttributeError: no item)"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "codec can't decode"),
        (zlib.error("Error -3"), "(error: Error -3)"),
        (OSError("Unable to open (file signature not found)"), "(Unable to open (file signature"),
        (IsADirectoryError(21, "Is a directory"), "f.nc: cannot be read (Is a directory); do this"),
        (FileNotFoundError(2, "No such file"), "f.nc: no such file; do this"),
        (ValueError("f.nc: too long"), "f.nc: too long"),
        (ValueError("x" * 5000), "xxx..."),
        (ValueError("f.nc: " + "x" * 5000), "xxx..."),
        (AssertionError(), "(AssertionError)"),
    ],
)
def test_whatever_goes_wrong_names_the_file(error: Exception, message: str) -> None:
    with (
        pytest.raises(OwnError)
        if not isinstance(error, ValueError)
        else pytest.raises(ValueError, match="f.nc") as found,
        reading("f.nc", "table", "do this", refuse=OwnError),
    ):
        raise error
    assert message in str(found.value)
    assert len(str(found.value)) < 2100


def test_all_faults_of_a_record_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"a: Input.*; b: Input.*"), reading("f", "x", "y"):
        Strict.model_validate({"a": "1", "b": 2})


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_interruptions_pass(stop: type[BaseException]) -> None:
    with pytest.raises(stop), reading("f", "x", "y"):
        raise stop


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0), (0.5, 0.5), (True, None), ("1", None), (10**400, None), (float("nan"), None),
        (float("inf"), None), ([1], None), (None, None),
    ],
)  # fmt: skip
def test_plain_numbers(value: object, number: float | None) -> None:
    assert plain_number(value) == number


def test_values_are_shown_briefly() -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    for value in (deep, "x" * 10**6, 16**10_000, list(range(10**5)), {i: i for i in range(99)}):
        assert len(shown(value)) < 300


# --- texts and documents --------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.text(st.characters(codec="utf-8")).filter(lambda k: k != HASH), PLAIN))
def test_documents_come_back(document: dict[str, Any]) -> None:
    assert unsealed(json.loads(document_text(document))) == document
    assert unsealed(json.loads(document_text(document, indent=7))) == document


def test_the_hash_of_a_document_is_that_of_its_contents() -> None:
    one = {"a": [1, {"b": 0.5, "c": None}], "d": "µ"}
    assert document_sha256(one) == document_sha256({"d": "µ", "a": [1, {"c": None, "b": 0.5}]})
    assert document_sha256(one) == document_sha256(one | {HASH: "anything"})
    for change in ({"a": [1]}, {"a": [1.0, {"b": 0.5, "c": None}]}, {"d": "u"}, {"e": 1}):
        assert document_sha256(one) != document_sha256(one | change)
    assert document_sha256({"a": 0.0}) != document_sha256({"a": -0.0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[]", r"it holds \[\], not an object"),
        ("{", "Expecting property name"),
        ("\ufeff{}", "BOM"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "digits"),
        ('{"a": 1}', "the hash content_sha256 is None"),
        ('{"a": 1, "content_sha256": 7}', "the hash content_sha256 is 7"),
        ('{"a": 1, "content_sha256": "' + "0" * 64 + '"}', "damaged or was changed"),
    ],
)
def test_documents_that_are_none_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"d.json: not a document.*{message}"):
        with reading(path, "document", "write it again"):
            unsealed(read_document(path))


def test_texts_are_read_within_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("a = 1")
    assert read_toml(path) == ({"a": 1}, "a = 1")
    assert read_text(path, most=5) == "a = 1"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_text(path, most=4)


def test_formats_are_compared() -> None:
    check_format(FORM, FORM)
    with pytest.raises(ValueError, match="no format, as a file of an earlier version"):
        check_format(None, FORM)
    with pytest.raises(ValueError, match="its format is 'a test 0', wanted is 'a test 1'"):
        check_format("a test 0", FORM)


# --- netCDF files ---------------------------------------------------------------------------------


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


def test_the_hash_does_not_depend_on_the_layout(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_datasets(path, FORM, {"": datasets()[""]})
    before = path.read_bytes()
    with h5py.File(path, "a") as file:
        values, units = file["count"][()], file["count"].attrs["units"]
        del file["count"]
        packed = file.create_dataset("count", data=values, chunks=(1, 1), compression="gzip")
        packed.attrs["units"] = units
        for axis, name in enumerate(("case", "chip")):
            packed.dims[axis].attach_scale(file[name])
    assert path.read_bytes() != before
    xr.testing.assert_equal(read_datasets(path, FORM)[""], datasets()[""])


def put(name: str, at: int, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        values = file[name]
        flat = np.asarray(values[()]).ravel()
        flat[at] = value
        values[...] = flat.reshape(values.shape)

    return change


@pytest.mark.parametrize(
    "change",
    [
        put("count", 3, 7),
        put("value", 1, 0.0),
        put("value", 2, 1.0),
        put("chip", 0, 9),
        put("more/count", 0, 1),
        lambda file: file.attrs.__setitem__("whole", 4),
        lambda file: file.attrs.__delitem__("real"),
        lambda file: file["count"].attrs.__setitem__("units", "2"),
        lambda file: file["more"].attrs.__setitem__("share", 0.25),
        lambda file: file.__delitem__("value"),
        lambda file: file.__delitem__("more"),
        lambda file: file.move("words", "verbs"),
        lambda file: file.attrs.__setitem__(HASH, "0" * 64),
        lambda file: file.attrs.__delitem__(HASH),
    ],
)
def test_any_change_is_noticed(change: Callable[[h5py.File], object], tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    write_datasets(path, FORM, datasets())
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ValueError, match="damaged or was changed"):
        read_datasets(path, FORM)


def test_every_nan_is_the_same() -> None:
    other = np.array([0x7FF8000000000001], dtype="u8").view("f8")
    found = [datasets_sha256(FORM, {"": xr.Dataset({"a": ("x", v)})}) for v in (other, [np.nan])]
    assert found[0] == found[1]


def test_a_small_file_that_declares_much_is_refused_before_it_is_expanded(tmp_path: Path) -> None:
    """Ten thousand million values in a few kilobytes."""
    path = tmp_path / "a.nc"
    write_datasets(path, FORM, datasets())
    with h5py.File(path, "a") as file:
        file.create_dataset("more/big", (10**5, 10**5), "f8", chunks=(100, 100), compression="gzip")
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
    write_datasets(path, FORM, datasets())
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ValueError, match=f"a.nc: not a table.*{message}"):
        with reading(path, "table", "write it again"):
            read_datasets(path, FORM)


@pytest.mark.parametrize(
    "dataset",
    [
        xr.Dataset({"a": ("x", np.array([1j]))}),
        xr.Dataset({"a": ("x", np.array([b"bytes"], dtype=object))}),
        xr.Dataset(attrs={"a": 1j}),
    ],
)
def test_what_cannot_be_stored_is_refused_at_writing(dataset: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot be stored"):
        write_datasets(tmp_path / "a.nc", FORM, {"": dataset})
    assert not (tmp_path / "a.nc").exists()
