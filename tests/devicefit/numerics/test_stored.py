"""Files of our own: their hash, their bounds, and the guard around reading."""

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from devicefit.numerics.stored import (
    HASH,
    check_format,
    document_sha256,
    document_text,
    plain_number,
    read_document,
    read_text,
    read_toml,
    reading,
    shown,
    unsealed,
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
