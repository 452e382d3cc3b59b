import json
from pathlib import Path
from typing import Any

import pytest

from devicefit.numerics.stored import HASH, document_text
from reliability.results.results import FORMAT, REQUIRED_KEYS, Results, read_results

EXAMPLE = Path(__file__).resolve().parents[1] / "data" / "results_example.json"


def _values() -> dict:
    return {key: {} for key in REQUIRED_KEYS}


def test_json_round_trip(tmp_path: Path) -> None:
    results = Results({**_values(), "extra": [1, 2.5, None, "x", True]})
    path = tmp_path / "results.json"
    path.write_text(results.to_json())
    assert read_results(path).to_json() == results.to_json()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {"a": [1.0, float("-inf")]}])
def test_non_finite_numbers_are_refused_with_their_place(bad: object) -> None:
    with pytest.raises(ValueError, match="results.extra.*write None"):
        Results({**_values(), "extra": bad})


def test_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="plain values only"):
        Results({**_values(), "extra": object()})


def test_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match="results lack verdict"):
        Results({})


def test_results_cannot_be_changed() -> None:
    results = Results(_values())
    with pytest.raises(TypeError):
        results.values["verdict"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        (
            "{",
            "results.json: not a set of results that this version reads .*; write it with `rram-r",
        ),
        ("[]", "not an object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"format": "other"}', f"its format is 'other', wanted is '{FORMAT}'"),
        (f'{{"format": "{FORMAT}"}}', "content_sha256 is None"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_results(path)


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    text = EXAMPLE.read_text(encoding="utf-8")
    read_results(EXAMPLE)
    assert '"images": 600' in text
    path.write_text(text.replace('"images": 600', '"images": 601', 1), encoding="utf-8")
    with pytest.raises(ValueError, match="damaged or was changed"):
        read_results(path)


def put(values: Any, path: str, value: object) -> None:
    """Set the value at a path of keys, ``/`` between them."""
    *way, last = path.split("/")
    for key in way:
        values = values[key]
    values[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # counts with `correct` of 2147483647 gave this accuracy
        ("networks/standard/accuracy_worst_chip", [3579139.4], r"worst_chip\[0\] is 3579139\.4"),
        ("networks/standard/error_free_accuracy", -0.1, "error_free_accuracy is -0.1"),
        ("networks/standard/ber", [0.1, 1e12], r"ber\[1\] is 1000000000000\.0"),
        ("networks/standard/curve/accuracy/high", [2.0], "within 0..1"),
        ("networks/standard/images", 0, "whole number from 1 on"),
        ("networks/standard/weights", 2.5, "whole number from 1 on"),
        ("networks", [1], r"networks is \[1\]; it must be a mapping"),
        ("accuracy/standard/1T1R/p_met", [1.5], r"p_met\[0\] is 1.5"),
        ("accuracy/standard/1T1R/test_set/mean", [[7.0]], r"mean\[0\]\[0\] is 7.0"),
        ("accuracy/standard/1T1R/error_free", "good", "'good'; it must be a number"),
        ("ber/1T1R/interval/high", [1e12], "within 0..1"),
        ("tolerated_ber/standard/median", 2, "within 0..1"),
        ("verdict/p_requirement_met", 1.1, "p_requirement_met is 1.1"),
        ("data/devices", 0, "whole number"),
    ],
)
def test_values_that_cannot_be_are_refused(
    path: str, value: object, message: str, tmp_path: Path
) -> None:
    """When results are made, and when a file with a fitting hash is read."""
    document = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    put(document, path, value)
    file = tmp_path / "results.json"
    file.write_text(document_text(document), encoding="utf-8")
    with pytest.raises(ValueError, match=f"results.json: .*{message}"):
        read_results(file)
    with pytest.raises(ValueError, match=message):
        Results({key: v for key, v in document.items() if key not in ("format", HASH)})
