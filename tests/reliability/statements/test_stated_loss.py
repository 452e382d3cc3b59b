"""Probabilities of a verdict on made-up curves and chips: one law, so none contradicts another."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reliability.chips.lots import Confirmation, Lot
from reliability.decision.compare import compare_designs
from reliability.decision.comparison import Comparison, Setting
from reliability.decision.requirement import Requirement
from reliability.results.alternatives import alternative_records
from reliability.results.grounds import Grounds
from reliability.results.verdict import verdict_record
from reliability.statements.loss import stated_loss
from reliability.statements.risk import probability
from tests.reliability.results.test_alternatives import CALIBRATED, NETWORKS, compared

DEVICE = {
    "data": {"readings": {"LRS": 10, "HRS": 10}, "devices": 10, "simulated": True},
    "families": {},
}


def verdict(comparison: Comparison, **options: Any) -> dict[str, Any]:
    saving = {
        r.key: {"sentence": "-", "at_tolerance": {"sentence": "-"}} for r in comparison.references
    }
    return verdict_record(comparison, saving, [], Grounds(device=DEVICE, **options))


def agree(p_violated: float, kept: float, requirement: Requirement, sentence: str) -> None:
    """Both probabilities say the same of the requirement, as numbers and as they are printed."""
    safe = p_violated <= requirement.risk + 1e-12
    assert (kept <= requirement.max_loss + 1e-9) == safe
    found = re.search(r"probability (below )?([\d.]+) \(allowed", sentence)
    if found is not None:
        assert (float(found[2]) <= requirement.risk) == safe
    said = re.search(r"at most (-?[\d.]+) points with probability", sentence)
    assert said is not None
    assert (float(said[1]) <= 100 * requirement.max_loss + 1e-9) == safe


@pytest.mark.parametrize("max_loss", [0.003, 0.01, 0.0117, 0.03])
@pytest.mark.parametrize("risk", [0.01, 0.05, 0.3])
def test_curves_say_one_thing(max_loss: float, risk: float) -> None:
    found = compared(Requirement(max_loss=max_loss, risk=risk))
    said = verdict(found)
    assert said["p_requirement_met"] == pytest.approx(1 - said["risk"]["p_violated"], abs=1e-12)
    agree(
        said["risk"]["p_violated"],
        said["risk"]["loss_not_exceeded"],
        found.requirement,
        said["risk"]["sentence"],
    )


@pytest.mark.parametrize("max_loss", [1e-4, 0.004, 0.01])
def test_where_nothing_is_safe_they_do_too(max_loss: float) -> None:
    found = compared(Requirement(max_loss=max_loss), first=0.3, step=0.12)
    assert found.best is None
    nearest = verdict(found)["nearest"]
    kept = nearest["loss_not_exceeded"]
    assert kept > max_loss
    agree(1 - nearest["p_requirement_met"], kept, found.requirement, nearest["sentence"])


def chips_of(comparison: Comparison, lost: np.ndarray) -> Comparison:
    """The best design as if fresh chips had lost so many of 10,000 images."""
    best, losses = comparison.best, lost / 10_000
    assert best is not None
    assert best.safe.lowest is not None
    met = int((losses <= best.chip_yield.limit + 1e-12).sum())
    lot = Lot(best.safe.lowest, len(lost), met)
    confirmation = Confirmation((lot,), lot, 1 - comparison.requirement.risk, losses)
    changed = replace(best, confirmation=confirmation)
    designs = tuple(changed if d is best else d for d in comparison.designs)
    return replace(comparison, designs=designs)


@pytest.fixture(scope="module")
def plain() -> Comparison:
    return compared(Requirement())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(80, 120), min_size=20, max_size=60), st.floats(0.01, 0.4))
def test_chips_say_one_thing(plain: Comparison, lost: list[int], risk: float) -> None:
    asked = replace(plain, requirement=replace(plain.requirement, risk=risk))
    found = chips_of(asked, np.array(lost))
    said = verdict(found)
    assert said["p_requirement_met"] == np.mean(np.array(lost) <= 100)
    agree(
        said["risk"]["p_violated"],
        said["risk"]["loss_not_exceeded"],
        found.requirement,
        said["risk"]["sentence"],
    )


def test_the_loss_not_exceeded_is_the_least_that_enough_chips_keep_to(plain: Comparison) -> None:
    lost = np.random.default_rng(1).integers(0, 150, 200)
    found = chips_of(plain, lost)
    best = found.best
    assert best is not None
    law = stated_loss(found, best)
    assert law is not None
    # 190 of 200 chips lose at most what the 190th loses
    assert law.not_exceeded(0.95) == pytest.approx(np.sort(lost)[189] / 10_000)
    assert law.mean == pytest.approx(lost.mean() / 10_000)
    assert law.counted == "by 200 fresh chips"


def test_the_law_of_curves_is_that_of_the_promise(plain: Comparison) -> None:
    for design in plain.designs:
        law = stated_loss(plain, design)
        assert law is not None
        assert law.p_met == pytest.approx(design.stated(plain.grid)[1], abs=1e-12)
        # against chips drawn one by one; 200 draws: four standard errors of a share
        at = int(np.argmin(np.abs(plain.grid - law.programming)))
        drawn = np.mean(design.accuracy.loss[:, at] <= law.not_exceeded(0.9))
        assert drawn == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 200) + 0.03)
        assert design.accuracy.loss[:, at].mean() == law.mean


def starting_at(comparison: Comparison, correct: int) -> Comparison:
    """The comparison with another second network: so many of 10,000 right without errors."""
    (first, standard), (second, other) = comparison.curves.items()
    c = comparison
    return compare_designs(
        Setting(
            ber=c.ber,
            curves={first: standard, second: replace(other, correct=correct)},
            pairing=c.pairing,
            energy=c.energy,
            requirement=c.requirement,
            sensing=c.sensing,
            programming=c.programming,
        )
    )


@pytest.mark.parametrize(("correct", "limit"), [(9750, 0.005), (9800, 0.01), (9850, 0.01)])
def test_a_network_is_held_to_the_standard_one_and_to_itself(
    plain: Comparison, correct: int, limit: float
) -> None:
    """The standard network has 9,800 right; one point is accepted."""
    found = starting_at(plain, correct)
    name = list(found.curves)[1]
    assert found.limits[name] == pytest.approx(limit)
    for design in found.designs:
        law = stated_loss(found, design)
        assert law is not None
        at = int(np.argmin(np.abs(found.grid - law.programming)))
        lower = 0.98 - found.curves[design.network].error_free
        against = {"standard": 0.01 - lower, "own": 0.01}
        for key, most in against.items():
            # chips drawn one by one; 200 draws: four standard errors of a share
            drawn = float(np.mean(design.accuracy.loss[:, at] <= most + 1e-12))
            tolerance = 4 * np.sqrt(max(drawn * (1 - drawn), 0.01) / 200)
            assert law.p_against[key] == pytest.approx(drawn, abs=tolerance)
        assert law.p_met == min(law.p_against.values())
        assert law.p_met == pytest.approx(design.p_met[at], abs=1e-12)
    line = [t for t in verdict(found)["lines"] if t.endswith("Both must hold.")]
    assert len(line) == (found.best is not None and found.best.network == name)


def test_both_probabilities_are_printed_and_stored(plain: Comparison) -> None:
    found = starting_at(plain, 9790)
    assert found.best is not None
    assert found.best.network == CALIBRATED
    said = verdict(found)
    (line,) = [t for t in said["lines"] if t.endswith("Both must hold.")]
    assert f"{said['p_against']['standard']:.3f} against 'standard'" in line
    assert "starts 0.10 points below it" in line
    assert said["p_requirement_met"] == pytest.approx(said["p_against"]["standard"], abs=1e-12)
    assert said["p_against"]["own"] >= said["p_against"]["standard"]
    rows = alternative_records([found], NETWORKS)
    assert rows[0]["p_against"] == said["p_against"]
    of_standard = [r["p_against"] for r in rows if r["network"] == "standard"]
    assert all(p["standard"] == p["own"] for p in of_standard)


def test_p_for_the_population_is_that_of_drawn_test_sets(plain: Comparison) -> None:
    rng = np.random.default_rng(3)
    for found in (plain, chips_of(plain, rng.integers(60, 130, 400))):
        best = found.best
        assert best is not None
        law = stated_loss(found, best)
        assert law is not None
        at = int(np.argmin(np.abs(found.grid - law.programming)))
        drawn = best.accuracy.population_loss[:, at]
        if best.confirmation is not None:
            noise = rng.standard_normal((400, 500))
            drawn = best.confirmation.losses[:, None] + law.image_error * noise
        share = float(np.mean(drawn <= law.limit))
        # 200 draws of the curves, or 400 chips with 500 test sets each: four standard errors
        most = 4 * np.sqrt(share * (1 - share) / (200 if best.confirmation is None else 200_000))
        assert law.p_in_population == pytest.approx(share, abs=most + 0.005)
        said = verdict(found)["test_set"]
        assert said["p_population"] == law.p_in_population
        assert said["p_test_set"] == pytest.approx(best.stated(found.grid)[1], abs=1e-12)


@pytest.mark.parametrize(
    ("error", "too_small", "needed"),
    # a third of a point is 0.00333: from 600 images with 0.0047, 600 * (0.0047 * 3 / 0.01)^2
    [(0.0047, True, 1193), (0.0033, False, 589), (0.0, False, 0)],
)
def test_a_small_test_set_is_named_with_the_number_needed(
    plain: Comparison, error: float, too_small: bool, needed: int
) -> None:
    best = plain.best
    assert best is not None
    curve = replace(plain.curves[best.network], images=600, correct=588)
    accuracy = replace(best.accuracy, population_loss=best.accuracy.loss + error)
    found = replace(
        plain,
        curves={**plain.curves, best.network: curve},
        designs=tuple(replace(d, accuracy=accuracy) if d is best else d for d in plain.designs),
    )
    said = verdict(found)["test_set"]
    assert said["standard_error"] == pytest.approx(error)
    assert (said["too_small"], said["images_needed"]) == (too_small, needed)
    assert ("THE TEST SET IS TOO SMALL" in said["sentence"]) == too_small
    assert ("Count on 1,193 images or more" in said["sentence"]) == too_small


@pytest.mark.parametrize(
    ("p", "bound", "words"),
    [
        (0.0492, 0.05, "0.049"),
        # rounded to three decimals it would be the bound
        (0.0504, 0.05, "0.0504"),
        (0.94996, 0.95, "0.94996"),
        (0.95, 0.95, "0.950"),
        (0.0, 0.05, "below 0.001"),
        (0.99996, 0.95, "above 0.999"),
        (1.0, 0.95, "1.000"),
    ],
)
def test_rounding_does_not_cross_a_bound(p: float, bound: float, words: str) -> None:
    assert probability(p, bound) == words
