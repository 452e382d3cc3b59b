"""The decision at the end of life beside that of fresh cells, on curves that are known."""

import json

import numpy as np
import xarray as xr

from devicefit.fitting import Diagnostics
from devicefit.life_fit import LifeDraws
from devicefit.life_study import CycledCells
from devicefit.programming import Programming
from devicefit.sensing import BerCurve, SensingOptions
from devicefit.wear_out import WearOut
from reliability.designs import Comparison, compare_designs
from reliability.energy import Energy
from reliability.life import LifeRequirement
from reliability.life_decision import life_answer
from reliability.propagation import pair_draws
from reliability.requirement import Requirement
from tests.reliability.made_up import flat_in_tilt

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
        {"lognormal": curves},
        {"standard": curve},
        pairing,
        energy,
        requirement=Requirement(),
        sensing=SensingOptions(),
        programming=CURRENT,
    )


def _cells(slope: float) -> CycledCells:
    """Median of 1e7 cycles at mid range, 3 % worn after 1e6 there."""
    values = {"ln_median_cycles": np.log(1e7), "slope": slope, "ln_scale": np.log(1.2)}
    draws = {n: (("chain", "draw"), np.full((1, DRAWS), v)) for n, v in values.items()}
    fitted = LifeDraws(
        xr.Dataset(draws), Diagnostics(1, 1, 1, 0, DRAWS), {"cells": 20, "failed": 9}
    )
    wear_out = WearOut("lognormal", fitted, CURRENT, X[0], X[-1], 1e7)
    return CycledCells(wear_out, {"gates": [], "source": "w.csv", "simulated": True})


def test_life_leaves_a_window_between_weak_and_worn() -> None:
    """Strong programming wears out, so the safe set is cut from above; weak fails as before."""
    fresh = _comparison()
    before = fresh.designs[0].safe
    assert before.lowest is not None
    assert before.intervals[-1][1] == X[-1]
    found = life_answer(fresh, [_cells(-4.0)], LifeRequirement(cycles=1e5), seed=1)
    (single,) = (d for d in found["designs"] if d["scheme"] == "1T1R")
    assert single["lowest_fresh"] == before.lowest
    assert single["lowest_end_of_life"] >= before.lowest
    assert single["p_met_end_of_life"][-1] == 0
    assert "it is no longer met" in single["sentence_end_of_life"]
    assert found["sentence"].startswith("After 1e+05 cycles the lowest safe SET compliance current")
    assert "20 cells, 9 failed" in found["sentence"]
    assert set(found["energy_saving"]) >= {"standard_bnn", "memory", "memory_with_ecc"}
    assert found["simulated"]
    json.dumps(found, allow_nan=False)


def test_a_life_that_nothing_survives_is_said() -> None:
    found = life_answer(_comparison(), [_cells(0.0)], LifeRequirement(cycles=1e9), seed=1)
    assert all(d["lowest_end_of_life"] is None for d in found["designs"])
    assert "no measured SET compliance current meets the requirement" in found["sentence"]
    assert "Extrapolated." in found["sentence"]
    json.dumps(found, allow_nan=False)


def test_a_life_without_wear_changes_nothing() -> None:
    fresh = _comparison()
    found = life_answer(fresh, [_cells(0.0)], LifeRequirement(cycles=10), seed=1)
    for design, record in zip(fresh.designs, found["designs"], strict=True):
        assert record["lowest_end_of_life"] == design.safe.lowest
