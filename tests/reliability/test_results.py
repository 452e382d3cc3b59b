import json
from pathlib import Path

import pytest

from reliability.results import REQUIRED_KEYS, Results, read_results


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
        ("{", "cannot be read as JSON"),
        ("[]", "not results of this version"),
        (json.dumps({"format": "other"}), "not results of this version"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_results(path)
