"""Promises against chips: what counts as kept, the order of the places, and going on."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability_promises import count_all, in_turns, judged, summary
from reliability.plans.storage import STORAGES


def place(**changes: Any) -> dict[str, Any]:
    """A place with a promise of 0.96."""
    return {
        "device": "one",
        "networks": "digits, fixed",
        "network": "standard",
        "storage": "1T1R",
        "kind": "lowest safe",
        "safe": True,
        "known": True,
        "wanted": 0.95,
        "limit": 0.02,
        "programming": 1.5,
        "promise": 0.96,
        "error_of_draws": 0.0,
        "error_of_surface": 0.0,
    } | changes


@pytest.mark.parametrize(
    ("met", "surface", "kept", "refused"),
    [
        (9_600, 0.0, True, False),
        (9_410, 0.0, True, True),  # within 0.02 of the promise, but surely below 0.95
        (9_390, 0.0, False, True),
        (9_390, 0.01, True, True),
        (9_990, 0.0, False, False),  # more than promised is no kept promise either
    ],
)
def test_a_promise_is_kept_within_two_hundredths_or_three_errors(
    met: int, surface: float, kept: bool, refused: bool
) -> None:
    row = judged(place(error_of_surface=surface), met, 10_000)
    assert (row["kept"], row["refused"]) == (kept, refused)
    share = met / 10_000
    error = math.hypot(math.sqrt(share * (1 - share) / 10_000), surface)
    assert row["z"] == pytest.approx((share - 0.96) / error, rel=0.03)


def test_a_beginning_has_every_device_network_and_storage() -> None:
    rows = [
        place(device=d, network=n, storage=s.name, networks=w)
        for d in "abcdef"
        for w in ("digits, fixed", "digits, folded")
        for n in ("standard", "4e-2")
        for s in STORAGES
    ]
    first = in_turns(rows)[: len(rows) // len(STORAGES)]
    assert set(Counter((r["device"], r["networks"], r["network"]) for r in first).values()) == {1}
    assert {r["storage"] for r in first} == {s.name for s in STORAGES}


def test_counting_goes_on_and_counts_anew_what_is_promised_anew(tmp_path: Path) -> None:
    store, asked = tmp_path / "places.jsonl", []

    def count(row: dict[str, Any]) -> dict[str, Any]:
        asked.append(row["network"])
        return {**judged(row, 96, 100), "seconds": 0.1}

    def run(rows: list[dict[str, Any]], until: float = math.inf) -> list[dict[str, Any]]:
        return count_all(rows, store, count, until=until, say=lambda text: None)

    rows = [place(network=name) for name in "ab"]
    assert len(run(rows[:1])) == 1
    assert run(rows, until=-math.inf) == [json.loads(store.read_text())]
    assert len(run(rows)) == 2
    assert asked == ["a", "b"]
    rows[0]["promise"] = 0.9
    assert [row["promise"] for row in run(rows)] == [0.9, 0.96]
    assert asked == ["a", "b", "a"]


def test_summary_counts_designs_by_device() -> None:
    rows = [
        place(),
        place(network="unsafe", safe=False),
        place(network="unknown", safe=False, known=False),
        place(kind="between", promise=0.5),
    ]
    counted = [judged(rows[0], 80, 100), judged(rows[3], 50, 100)]
    of = summary(rows, counted)["devices"]["one"]
    assert (of["designs"], of["safe_by_surfaces"], of["not_known"]) == (3, 1, 1)
    assert (of["safe_and_asked_of_chips"], of["refused_by_chips"]) == (1, 1)
    assert (of["places"], of["kept"], of["chips"]) == (2, 1, 200)
