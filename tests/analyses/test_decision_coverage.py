"""Truths of simulated devices, and how intervals are counted against them."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

import bnn
from analyses import coverage_summary, decision_coverage, simulated_truths
from analyses.simulated_truths import (
    ReferenceTruth,
    TrueCurves,
    compared,
    draw_measured,
    draw_truth,
    measured,
    true_saving,
    truth_of,
)
from devicefit.simulation.reference_device import ReferenceDevice
from reliability.decision.requirement import Requirement

GRID = np.geomspace(10e-6, 600e-6, 40)


def _interval(low: float, high: float) -> dict[str, Any]:
    return {"low": low, "median": (low + high) / 2, "high": high, "bound": None}


def _bound(side: str, value: float) -> dict[str, Any]:
    found = {"side": side, "value": value, "probability": 0.95}
    return {"low": None, "median": None, "high": None, "bound": found}


@pytest.fixture
def curves() -> TrueCurves:
    return TrueCurves(ReferenceTruth(ReferenceDevice()), GRID, np.full(len(GRID), 1.5e4), 0.05)


def test_rates_of_states_are_the_ber_of_simulated_cells(curves: TrueCurves) -> None:
    """Cells drawn from the law, read by hand; z = 4."""
    rng = np.random.default_rng(1)
    rates = curves.rates_of_states("1T1R", 40e-6)
    laws = curves.truth.laws(np.array([40e-6]))
    n = 300_000
    wrong = {
        "LRS": (laws["LRS"].sample(n, rng=rng) > math.log(1.5e4)).mean(),
        "HRS": (laws["HRS"].sample(n, rng=rng) < math.log(1.5e4)).mean(),
    }
    for state, rate in rates.items():
        assert abs(wrong[state] - rate) < 4 * math.sqrt(rate / n), state
    ber = float(np.exp(curves.ln_ber("1T1R", np.array([40e-6]))[0]))
    assert ber == pytest.approx(np.mean(list(rates.values())), rel=1e-9)


@pytest.mark.parametrize("scheme", ["1T1R", "2T2R", "1T1R + SECDED(72,64)"])
@pytest.mark.parametrize("limit", [3e-2, 1e-3])
def test_weakest_current_has_the_ber_that_was_asked_for(
    curves: TrueCurves, scheme: str, limit: float
) -> None:
    current = curves.weakest(scheme, math.log(limit))
    around = curves.ln_ber(scheme, current * np.array([0.98, 1.0, 1.02]))
    assert around[0] > math.log(limit) > around[2]
    assert around[1] == pytest.approx(math.log(limit), abs=1e-3)


def test_the_tilt_is_that_of_the_rates_of_states(curves: TrueCurves) -> None:
    rates = curves.rates_of_states("1T1R", 40e-6)
    expected = (rates["LRS"] - rates["HRS"]) / (rates["LRS"] + rates["HRS"])
    assert curves.tilt("1T1R", np.array([40e-6]))[0] == pytest.approx(expected, rel=1e-9)
    assert curves.tilt("2T2R", np.array([40e-6]))[0] == 0
    scrambled = curves.rates_of_states("1T1R, scrambled", 40e-6)
    assert scrambled["LRS"] == scrambled["HRS"] == pytest.approx(sum(rates.values()) / 2)


def test_a_ber_below_the_floor_is_never_reached(curves: TrueCurves) -> None:
    floor = (ReferenceDevice().set_floor + ReferenceDevice().reset_floor) / 2
    assert curves.weakest("1T1R", math.log(floor / 2)) == math.inf
    with pytest.raises(ValueError, match="known: 1T1R, "):
        curves.weakest("3T3R", -3.0)


def test_what_a_code_leaves_is_tilted_as_the_bits_that_are_read(curves: TrueCurves) -> None:
    name, at = "1T1R + BCH(127,64)", np.array([15e-6])
    rates = curves.rates_of_states(name, 15e-6)
    assert (rates["LRS"] + rates["HRS"]) / 2 == pytest.approx(np.exp(curves.ln_ber(name, at)[0]))
    assert (rates["LRS"] - rates["HRS"]) / (rates["LRS"] + rates["HRS"]) == pytest.approx(
        curves.tilt("1T1R", at)[0]
    )
    # ten errors of 127 are corrected; a word with more keeps them, and a decoder adds ten at most
    number = np.arange(11, 128)
    chance = binom.pmf(number, 127, math.exp(curves.ln_ber("1T1R", at)[0]))
    left = float(np.sum(number / 127 * chance))
    assert left * 0.999 < math.exp(curves.ln_ber(name, at)[0]) < 2 * left


@pytest.mark.parametrize(
    ("reference", "cells", "own", "own_cells", "expected"),
    [
        (2e-4, 1.0, 1e-4, 1.0, 2.0),
        (2e-4, 1.125, 1e-4, 2.0, 1.125),
        (math.inf, 1.0, 1e-4, 1.0, math.inf),
        (2e-4, 1.0, math.inf, 1.0, 0.0),
        (math.inf, 1.0, math.inf, 1.0, None),
    ],
)
def test_true_saving(
    reference: float, cells: float, own: float, own_cells: float, expected: float | None
) -> None:
    assert true_saving(reference, cells, own, own_cells) == expected


@pytest.mark.parametrize(
    ("saving", "reference", "own", "inside"),
    [
        (_interval(1.5, 2.5), 2e-4, 1e-4, True),
        (_interval(2.1, 2.5), 2e-4, 1e-4, False),
        (_bound("at least", 1.9), 2e-4, 1e-4, True),
        (_bound("at least", 2.1), 2e-4, 1e-4, False),
        (_bound("at most", 2.1), 2e-4, 1e-4, True),
        (_bound("at most", 1.9), 2e-4, 1e-4, False),
        (_bound("at least", 6.0), math.inf, 1e-4, True),
        (_interval(4.0, 6.0), math.inf, 1e-4, False),
        (_interval(4.0, 6.0), math.inf, math.inf, None),
        ({"low": None, "median": None, "high": None, "bound": None}, 2e-4, 1e-4, True),
    ],
)
def test_bounds_hold_what_lies_beyond(
    saving: dict[str, Any], reference: float, own: float, inside: bool | None
) -> None:
    found = compared(saving, reference, 1.0, own, 1.0)
    assert found["inside"] == inside
    json.dumps(found, allow_nan=False)


def test_truths_vary_and_are_drawn_again_alike() -> None:
    found = [draw_truth("reference", rng=np.random.default_rng(k)) for k in (1, 2, 1)]
    assert found[0] == found[2] != found[1]
    truths = [draw_truth("reference", rng=np.random.default_rng(k)) for k in range(400)]
    medians = np.log([t.record()["device"]["r_hrs_ohm"] for t in truths])
    # Standard deviation 0.35 of 400 draws, z = 4.
    assert abs(medians.mean() - math.log(ReferenceDevice().r_hrs_ohm)) < 4 * 0.35 / 20
    assert 0.3 < medians.std() < 0.4
    with pytest.raises(ValueError, match="known: priors, reference, never-fails, heavy-tails"):
        draw_truth("weibull", rng=np.random.default_rng(1))


@pytest.mark.parametrize("population", simulated_truths.POPULATIONS)
def test_a_truth_comes_back_from_its_record(population: str) -> None:
    truth = draw_truth(population, rng=np.random.default_rng(3))
    again = truth_of(json.loads(json.dumps(truth.record())))
    for state, law in truth.laws(GRID).items():
        y = np.full(len(GRID), 9.0)
        np.testing.assert_array_equal(again.laws(GRID)[state].ln_density(y), law.ln_density(y))


def test_truths_from_the_priors_leave_a_decision_to_be_made() -> None:
    """Wrong readings at the best threshold by trying them all."""
    _, measurements, refused = draw_measured("priors", 0)
    assert refused >= 0
    for current, low, high in ((1e-5, 0.04, 0.35), (6e-4, 0.0, 0.002)):
        here = measurements.table[measurements.table["programming"] == current]
        r = {s: here.loc[here["state"] == s, "resistance_ohm"].to_numpy() for s in ("LRS", "HRS")}
        tried = [((r["LRS"] > t).sum() + (r["HRS"] <= t).sum()) for t in here["resistance_ohm"]]
        assert low <= min(tried) / len(here) <= high
        assert simulated_truths.least_errors(measurements.table, current) == min(tried) / len(here)


def test_heavy_tailed_readings_follow_their_law() -> None:
    """HRS of a device without stuck cells: a Student-t law; Kolmogorov's distance, p = 1e-3."""
    device = replace(ReferenceDevice(), reset_floor=1e-15)
    table = measured(ReferenceTruth(device, dof=3.0), seed=4).table
    y = np.sort(np.log(table.loc[table["state"] == "HRS", "resistance_ohm"].to_numpy()))
    law = student.cdf((y - math.log(device.r_hrs_ohm)) / device.hrs_spread, df=3.0)
    place = (np.arange(len(y)) + 0.5) / len(y)
    assert np.abs(place - law).max() < 1.95 / math.sqrt(len(y))
    normal = student.cdf((y - math.log(device.r_hrs_ohm)) / device.hrs_spread, df=1e9)
    assert np.abs(place - normal).max() > 1.95 / math.sqrt(len(y))  # a control that must fail


def test_chips_without_wrong_bits_keep_the_loss_and_random_ones_do_not() -> None:
    network, record = bnn.load_zoo("digits-standard")
    least = record["test"]["correct"] - 6
    none = decision_coverage.kept(network, {"LRS": 0.0, "HRS": 0.0}, 0, least)
    assert none["met"] == none["met_with_rates_of_states"] == none["chips"]
    half = decision_coverage.kept(network, {"LRS": 0.5, "HRS": 0.5}, 0, least)
    assert half["met"] == 0
    # All stored ones wrong, no zero: as many wrong bits, but not the same chips.
    uneven = decision_coverage.kept(network, {"LRS": 0.05, "HRS": 0.0}, 0, least)
    assert 0 < uneven["met"] != uneven["met_with_rates_of_states"]


def test_the_true_excess_is_that_of_the_tables() -> None:
    """A made-up law that is cubic in ln p and in the tilt, so that splines hold it exactly."""
    rates, tilts = decision_coverage.TRUE_TILTED_RATES, decision_coverage.TRUE_TILTS
    fine = decision_coverage.TRUE_RATES

    def right(p: Any, u: Any) -> Any:
        return 590 - 20 * (np.log(p) + 8) - 6 * (np.log(p) + 8) * np.square(u) - u

    accuracy = {
        "ber": list(fine),
        "networks": {"n": {"images": 600, "error_free": 590, "kept_correct": right(fine, 0.0)}},
    }
    tilted = {
        "ber": list(rates),
        "tilt": list(tilts),
        "networks": {"n": right(np.array(rates)[:, None], np.array(tilts)).tolist()},
    }
    excess = decision_coverage.true_excess(accuracy, tilted, "n")
    p, u = np.array([0.011, 0.03, 0.1]), np.array([-0.9, 0.1, 0.6])
    np.testing.assert_allclose(excess(np.log(p), u), 584 - right(p, u), atol=1e-6)


def test_an_unfinished_line_is_done_again_and_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    whole = json.dumps({"fingerprint": "a", "number": 0}) + "\n"
    path.write_text(whole + '{"fingerprint": "a", "num')
    assert [row["number"] for row in decision_coverage.read_rows(path, "a")] == [0]
    assert path.read_text() == whole
    with pytest.raises(SystemExit, match="other settings; move it away"):
        decision_coverage.read_rows(path, "b")


def _row(number: int, inside: bool) -> dict[str, Any]:
    true = 2e-4 if inside else 9e-4
    found = compared(_interval(1.5, 2.5), true, 1.0, 1e-4, 1.0)
    keys = simulated_truths.reference_limits(-3.0, 1e-4)
    return {
        "number": number,
        "network": "standard",
        "scheme": "1T1R",
        "recommended_a": 1e-4,
        "at_weakest": False,
        "promised": 0.95,
        "ber": {"1T1R": 0.9, "2T2R": 0.9},
        "tolerated": {"standard": {"true": 2.0, "low": 1.0, "high": 3.0 if inside else 1.5}},
        "r_hat": 1.0,
        "failed_gates": [],
        "saving": dict.fromkeys(keys, found),
        "kept": {
            "chips": 100,
            "met": 96,
            "met_with_rates_of_states": 95,
            "first_chip_met": int(inside),
        },
        "processor_s": 1.0,
    }


@pytest.mark.parametrize(("misses", "allowed"), [(4, True), (16, True), (3, False), (17, False)])
def test_counts_of_a_hundred(misses: int, allowed: bool, tmp_path: Path) -> None:
    rows = [_row(k, k >= misses) for k in range(100)]
    found = coverage_summary.summary(rows, Requirement())
    for saving in found["saving"].values():
        assert saving["inside"] == 100 - misses
        assert saving["within_allowed"] is allowed
        assert saving["low"] < 1 - misses / 100 < saving["high"]
    assert found["tolerated_ber"]["standard"]["inside"] == 100 - misses
    assert found["promise"]["mean_share_of_chips_that_keep_it"] == pytest.approx(0.96)
    assert found["promise"]["first_chip_of_each"]["kept"] == 100 - misses
    if misses == 4:
        coverage_summary.draw(rows, Requirement(), tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 10_000
