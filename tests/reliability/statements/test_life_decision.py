"""The decision at the end of life, which leads, on curves that are known."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.fitting.fit import Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.life.fit import LifeDraws
from devicefit.life.study import CycledCells
from devicefit.life.wear_out import WearOut
from reliability.accuracy.propagation import pair_draws
from reliability.chips.rates import ChipRates
from reliability.confirmation.aged import Ageing
from reliability.decision.compare import compare_designs
from reliability.decision.comparison import Comparison, Setting
from reliability.decision.requirement import Life as AskedLife
from reliability.decision.requirement import Requirement
from reliability.energy.energy import Energy
from reliability.life.required import LifeFactor, LifeRequirement, age_curves
from reliability.statements.life import at_end_of_life, life_record
from tests.reliability.made_up import flat_in_tilt
from tests.reliability.statements.test_stated_loss import verdict

CURRENT = Programming("SET compliance current", "A")
X = np.geomspace(20e-6, 200e-6, 31)
DRAWS = 200


def _comparison() -> Comparison:
    """BER falls from 0.1 to 1e-5 over the currents; the network loses a point near 2e-2."""
    ln_knots = np.log(np.geomspace(1e-5, 0.3, 12))
    curve = flat_in_tilt(
        ln_rate=ln_knots,
        logit_share={
            "lost": np.tile(1.2 * ln_knots + 0.3, (DRAWS, 1)),
            "gained": np.full((DRAWS, 12), -9.0),
        },
        ln_dispersion={k: np.zeros((DRAWS, 12)) for k in ("lost", "gained")},
        images=10000,
        correct=9800,
    )
    line = np.interp(np.log(X), np.log(X[[0, -1]]), np.log([0.1, 1e-5]))
    ln_ber = np.tile(line, (1, DRAWS, 1))
    none = np.zeros(len(X), dtype=bool)
    curves = {
        "1T1R": BerCurve("1T1R", X, ln_ber, np.full(len(X), 1e4), none, 1e-3),
        "2T2R": BerCurve("2T2R", X, 1.5 * ln_ber, None, none, 1e-3),
    }
    pairing = pair_draws(DRAWS, DRAWS, draws=DRAWS, rng=np.random.default_rng(1))
    energy = Energy(X, np.tile(1e-7 * X, (DRAWS, 1)), CURRENT, "linear in the current")
    return compare_designs(
        Setting(
            ber={"lognormal": curves},
            curves={"standard": curve},
            pairing=pairing,
            energy=energy,
            requirement=Requirement(),
            sensing=SensingOptions(),
            programming=CURRENT,
        )
    )


def _cells(slope: float) -> CycledCells:
    """Median of 1e7 cycles at mid range, 3 % worn after 1e6 there."""
    values = {"ln_median_cycles": np.log(1e7), "slope": slope, "ln_scale": np.log(1.2)}
    draws = {n: (("chain", "draw"), np.full((1, DRAWS), v)) for n, v in values.items()}
    fitted = LifeDraws(
        xr.Dataset(draws),
        Diagnostics(1, 1, 1, 0, DRAWS),
        {"cells": 20, "failed": 9, "cycles_low": 1e3},
    )
    wear_out = WearOut("lognormal", fitted, CURRENT, X[0], X[-1], 1e7)
    return CycledCells(
        wear_out, {"gates": [], "source": "w.csv", "simulated": True, "says": ["of cells"]}
    )


ASKED = Requirement(life=AskedLife(cycles=1e5))


def _answers(
    slope: float, cycles: float
) -> tuple[Comparison, Comparison, dict[str, Any], dict[str, Any]]:
    """Fresh comparison, that at the end of life, record of life and verdict."""
    fresh = replace(_comparison(), requirement=ASKED)
    lives, required = [_cells(slope)], LifeRequirement(cycles=cycles)
    aged, factor = at_end_of_life(fresh, lives, required, seed=1)
    record = life_record(fresh, aged, factor, lives, required)
    json.dumps(record, allow_nan=False)
    return fresh, aged, record, verdict(aged, life=record)


def test_life_leaves_a_window_between_weak_and_worn() -> None:
    """Strong programming wears out, so the safe set is cut from above; weak fails as before."""
    fresh, aged, record, said = _answers(-4.0, 1e5)
    before, single = fresh.designs[0].safe, aged.designs[0]
    assert before.lowest is not None
    assert before.intervals[-1][1] == X[-1]
    assert record["designs"][0]["lowest_fresh"] == before.lowest
    assert single.safe.lowest is not None
    assert single.safe.lowest >= before.lowest
    assert single.p_met[-1] == 0
    assert "it is no longer met" in single.safe.sentence
    # the verdict is about the end of life, and fresh cells stand beside it
    assert aged.best is not None
    assert said["recommended_programming"] == aged.best.safe.lowest
    assert said["p_requirement_met"] == pytest.approx(1 - said["risk"]["p_violated"], abs=1e-12)
    assert said["holds_for"] == "the end of life (1e+05 cycles)"
    assert said["lines"][0].startswith("At the end of life (1e+05 cycles): Program at ")
    assert said["sentence"].startswith("At the end of life (1e+05 cycles): Program at ")
    assert fresh.best is not None
    assert record["fresh"]["recommended_programming"] == fresh.best.safe.lowest
    assert record["fresh"]["sentence"] in said["lines"]
    assert any("20 cells, 9 failed" in line for line in said["lines"])
    assert set(record["fresh"]["energy_saving"]) >= {"standard_bnn", "memory", "memory_with_ecc"}
    assert record["simulated"]


def test_a_life_that_nothing_survives_leaves_nothing_to_program() -> None:
    """Fresh cells are safe; that is said beside the verdict and is not the verdict."""
    fresh, aged, record, said = _answers(0.0, 1e9)
    assert all(design.safe.lowest is None for design in aged.designs)
    assert record["fresh"]["p_requirement_met"] > 0.95
    assert said["recommended_programming"] is None
    assert said["p_requirement_met"] is None
    assert said["lines"][0].startswith("At the end of life (1e+09 cycles): Nothing is safe: no ")
    assert said["nearest"]["p_requirement_met"] < 0.95
    assert any(line.startswith("Extrapolated. What the end") for line in said["lines"])


def test_a_life_without_wear_changes_nothing() -> None:
    fresh, aged, _, said = _answers(0.0, 10)
    for young, old in zip(fresh.designs, aged.designs, strict=True):
        assert old.safe.lowest == young.safe.lowest
    assert said["recommended_programming"] == verdict(fresh)["recommended_programming"]


def test_without_data_of_life_the_first_line_says_fresh_cells_only() -> None:
    life = AskedLife(years=10, temperature_k=358.15, cycles=1e4)
    said = verdict(replace(_comparison(), requirement=Requirement(life=life)))
    words = "10000 cycles and 10 years at 85 degrees Celsius"
    assert said["lines"][0].startswith(
        f"For fresh cells only, because the life asked for is not known ({words}): Program at "
    )
    assert said["sentence"].startswith("For fresh cells only, ")
    assert any("--life FILE" in line for line in said["lines"])
    assert verdict(_comparison())["holds_for"] == "fresh cells"


def test_chips_age_like_the_curves() -> None:
    """Rates of every draw, array and state; the formula is written out with SciPy's normal law."""
    rng = np.random.default_rng(2)
    draws, x = 40, X[[3, 20]]
    factor = LifeFactor(
        rng.uniform(0, 1, (7, 1)),
        rng.uniform(0, 0.1, (7, len(X))),
        np.full((7, 1), 0.5),
        (),
        np.zeros(1, dtype=bool),
    )
    fresh = ChipRates(x, rng.uniform(1e-6, 0.05, (draws, 3, 2, 2)))
    for scheme, weight in (("1T1R", 1.0), ("2T2R", np.sqrt(2))):
        aged = Ageing(factor, X, 5).rates(fresh, scheme).values
        own = factor.resampled(draws, rng=np.random.default_rng([5, 23]))
        # stuck in one state half of the bits are wrong, of one cell and of a pair
        worn = own.worn[:, None, [3, 20], None]
        sound = norm.cdf(norm.ppf(fresh.values) + weight * own.shift[:, :, None, None])
        np.testing.assert_allclose(aged, worn * 0.5 + (1 - worn) * sound, rtol=1e-9)
        # where ones and zeros fail alike on one array, chips age exactly as the curve does
        alike = np.broadcast_to(fresh.values[:, :1, :, :1], (draws, 1, 2, 2))
        curve = BerCurve(
            scheme, X, np.full((1, draws, len(X)), -9.0), None, np.zeros(len(X), bool), 1e-3
        )
        curve.ln_ber[0][:, [3, 20]] = np.log(alike[:, 0, :, 0])
        of_curve = age_curves({scheme: curve}, factor, seed=5)[scheme].ln_ber[0][:, [3, 20]]
        chips = Ageing(factor, X, 5).rates(ChipRates(x, alike), scheme).values
        np.testing.assert_allclose(chips[:, 0, :, 0], np.exp(of_curve), rtol=1e-9)


def test_chips_that_hold_nothing_read_like_a_coin() -> None:
    """Of one state all may be wrong; of both together half."""
    factor = LifeFactor(*np.full((3, 4, 1), [[[30.0]], [[0.0]], [[0.5]]]), (), np.zeros(1, bool))
    fresh = ChipRates(X[[3]], np.full((4, 1, 1, 2), 1e-3))
    np.testing.assert_allclose(Ageing(factor, X, 5).rates(fresh, "1T1R").values, 0.5, rtol=1e-9)


def test_thresholds_that_are_set_again_after_ageing_are_said() -> None:
    fresh = replace(_comparison(), thresholds={"standard": "calibrated per chip"})
    lives, required = [_cells(0.0)], LifeRequirement(cycles=1e5)
    aged, factor = at_end_of_life(fresh, lives, required, seed=1)
    assert aged.plan(aged.designs[0], X[3]).thresholds == "calibrated per chip"
    said = life_record(fresh, aged, factor, lives, required)["rests_on"]
    assert "'standard' (calibrated per chip) are set again after ageing" in said
    plain = life_record(_comparison(), aged, factor, lives, required)["rests_on"]
    assert "set again after ageing" not in plain
