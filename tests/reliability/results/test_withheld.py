"""What a failed gate leaves of a verdict, and what it says is to be done first."""

import copy
import json
from typing import Any

import pytest

from reliability.decision.comparison import Comparison
from reliability.decision.requirement import Requirement
from reliability.results.grounds import Grounds
from reliability.results.verdict import verdict_record
from reliability.results.withheld import Made, first_to_do
from tests.reliability.results.test_alternatives import compared
from tests.reliability.statements.test_stated_loss import DEVICE

KEPT = ("recommended_programming", "p_requirement_met", "scheme", "network")
MADE = Made(
    "rram-reliability run --out o", {"draws": 1500, "warmup": 500, "target_accept": 0.98}, 50
)


def gate(name: str, *, passed: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "question": "?",
        "passed": passed,
        "value": 1.0,
        "limit": 1.0,
        "finding": f"finding of {name}",
        "remedy": f"remedy of {name}",
    }


def verdict(comparison: Comparison, gates: list[dict[str, Any]]) -> dict[str, Any]:
    saving = {
        r.key: {"sentence": "4.44 times", "at_tolerance": {"sentence": "5.55 times"}}
        for r in comparison.references
    }
    grounds = Grounds(device={**DEVICE, "gates": gates[:2]}, made=MADE)
    return verdict_record(comparison, saving, gates, grounds)


@pytest.fixture(scope="module", params=[(0.06, 0.9), (0.45, 0.05)], ids=["safe", "nothing safe"])
def found(request: pytest.FixtureRequest) -> Comparison:
    first, step = request.param
    return compared(Requirement(), first=first, step=step)


def test_a_failed_gate_leaves_nothing_to_act_on(found: Comparison) -> None:
    gates = [gate("tails", passed=True), gate("R-hat", passed=True), gate("priors", passed=True)]
    said = verdict(found, gates)
    failing = copy.deepcopy(gates)
    failing[2]["passed"] = False
    withheld = verdict(found, failing)
    assert set(withheld) == set(said)
    assert not said["withheld"]
    assert said["not_to_be_relied_on"] is said["first_to_do"] is None
    assert withheld["withheld"]
    assert all(withheld[key] is None for key in KEPT)
    figures = withheld["not_to_be_relied_on"]
    assert all(figures[key] == said[key] for key in (*KEPT, "sentence", "nearest", "risk"))
    # no programming value, no probability, no saving in words
    lowest = said["recommended_programming_words"] or said["nearest"]["sentence"].split("at ")[1]
    numbers = [lowest.split(":")[0], "4.44", "5.55", "P =", "P(", "Program at", "Nothing is safe"]
    for text in (*withheld["lines"], withheld["sentence"]):
        assert not any(number in text for number in numbers), text
    assert withheld["lines"][0].startswith("VERDICT WITHHELD: 1 of 3 gates failed (priors).")
    assert "remedy of priors" in withheld["lines"][1]
    assert withheld["sentence"].startswith("VERDICT WITHHELD")
    json.dumps(withheld, allow_nan=False)


@pytest.mark.parametrize("failed", range(3))
def test_every_gate_withholds(found: Comparison, failed: int) -> None:
    gates = [gate(name, passed=k != failed) for k, name in enumerate(("tails", "R-hat", "priors"))]
    said = verdict(found, gates)
    assert said["withheld"]
    assert said["first_to_do"]["gate"] == gates[failed]["name"]


@pytest.mark.parametrize(
    ("name", "of_device", "command", "words"),
    [
        ("effective draws", True, MADE.command, " --draws 3000 --force"),
        ("R-hat", True, MADE.command, " --warmup 1000 --force"),
        ("divergences", True, MADE.command, " --target-accept 0.99 --force"),
        ("accuracy surface", False, MADE.command, " --chips 100 --force"),
        ("accuracy surface", False, MADE.command + " --force", " --chips 100"),
        # a remedy that is no option, and a fit of life with a gate of the same name
        ("tails", True, MADE.command, None),
        ("R-hat", False, MADE.command, None),
        ("effective draws", True, "rram-reliability decide d --out r.json", None),
        ("effective draws", True, "a script", None),
    ],
)
def test_the_remedy_is_a_command_where_it_is_one(
    name: str, of_device: bool, command: str, words: str | None
) -> None:
    made = Made(command, MADE.sampler, MADE.chips)
    first = first_to_do(gate(name), of_device=of_device, made=made)
    assert first["command"] == (None if words is None else command + words)
    assert f"remedy of {name}" in first["sentence"]
    if first["command"] is not None:
        assert first["sentence"].endswith(f"Command: {first['command']}")
    again = "`rram-reliability fit` again with --draws 3000, then decide again"
    assert (again in first["sentence"]) == (name == "effective draws" and words is None)
