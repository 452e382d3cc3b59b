"""Bit error rates at the end of life, from factors that are known exactly."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm

from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.fitting.fit import Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.life.endurance import EnduranceState
from devicefit.life.files import load_life, save_life
from devicefit.life.fit import LifeDraws
from devicefit.life.retention import RetentionState
from devicefit.life.study import CycledCells, Endurance, Retention
from devicefit.life.wear_out import WearOut
from reliability.life.factors import (
    STUCK_ERROR,
    cycles_to_requirement,
    endurance_factor,
    life_factor,
    retention_factor,
    wear_out_factor,
)
from reliability.life.required import YEAR_S, LifeFactor, LifeRequirement, age_curves, combine

DRAWS = 400
X = np.array([50e-6, 100e-6, 200e-6])


def fitted(record: dict[str, Any] | None = None, **values: Any) -> LifeDraws:
    draws = {
        n: (("chain", "draw"), np.broadcast_to(np.asarray(v, float), (1, DRAWS)))
        for n, v in values.items()
    }
    return LifeDraws(
        xr.Dataset(draws), Diagnostics(1.0, DRAWS, DRAWS, 0, DRAWS), {"units": 20, **(record or {})}
    )


def cycled(slope: float = 0.2) -> EnduranceState:
    return EnduranceState(
        fitted(
            logit_rate=-5.0,
            slope=slope,
            settling=0.0,
            bend=0.0,
            ln_cycles_worn=np.log(1e6),
            ln_sd_worn=0.0,
            logit_worn_error=1.0,
            logit_icc=-4.0,
            ln_burst=0.0,
            logit_icc_worn=-1.0,
        ),
        1e3,
        1e6,
    )


def baked() -> RetentionState:
    ends = {"time_low_s": 3600.0, "time_high_s": 3.6e5}
    heat = {"temperature_low_k": 373.0, "temperature_high_k": 473.15}
    return RetentionState(
        fitted(
            {**ends, **heat},
            probit_baked=-3.0 + np.exp(-2.0) + 1.0,
            ln_relaxation=-2.0,
            ln_shift=0.0,
            ln_activation_ev=np.linspace(-0.2, 0.4, DRAWS),
            ln_exponent=-1.0,
            logit_icc=-6.0,
        ),
        3.6e5,
        473.15,
    )


ENDURANCE = Endurance({"LRS": cycled(), "HRS": cycled(-0.5)}, {"gates": [], "source": "e.csv"})
RETENTION = Retention({"LRS": baked(), "HRS": baked()}, {"gates": [], "source": "b.csv"})
CELLS = CycledCells(
    WearOut(
        "lognormal",
        fitted(
            {"cells": 40, "failed": 20, "cycles_low": 1e3},
            ln_median_cycles=np.linspace(13, 14, DRAWS),
            slope=-2.0,
            ln_scale=0.1,
        ),
        Programming("SET compliance current", "A"),
        50e-6,
        200e-6,
        1e7,
    ),
    {"gates": [], "source": "w.csv", "says": []},
)


def factor(shift: float, worn: float, error: float = 0.5, draws: int = 3) -> LifeFactor:
    one = np.ones((draws, 1))
    return LifeFactor(shift * one, worn * one, error * one, (), np.array([False]))


@pytest.mark.parametrize("fresh", [1e-12, 1e-4, 0.3])
def test_worn_cells_fail_and_the_others_lose_margin(fresh: float) -> None:
    aged = factor(0.7, 0.02, 0.6).ln_rate(np.full((3, 2), np.log(fresh)))
    expected = 0.02 * 0.6 + 0.98 * norm.sf(norm.isf(fresh) - 0.7)
    np.testing.assert_allclose(np.exp(aged), expected, rtol=1e-9)


@given(
    ln_ber=st.floats(-400, -0.1), shift=st.floats(0, 6), worn=st.floats(0, 1), more=st.floats(0, 3)
)
def test_life_only_adds_errors(ln_ber: float, shift: float, worn: float, more: float) -> None:
    fresh = np.full((3, 1), min(ln_ber, np.log(0.5)))
    none = factor(0, 0).ln_ber(fresh)
    np.testing.assert_allclose(none, fresh, rtol=1e-7, atol=1e-9)
    aged, older = (factor(s, worn).ln_ber(fresh) for s in (shift, shift + more))
    assert (aged >= fresh - 1e-7).all()
    assert (older >= aged - 1e-9).all()
    assert (older <= 0).all()


STUCK = {"LRS": (0.0, 1.0), "HRS": (1.0, 0.0), "either": (0.5, 0.5), "anything": (0.7, 0.2)}
"""How often a worn-out cell is wrong where LRS and where HRS is wanted."""


@pytest.mark.parametrize("stuck", STUCK)
@pytest.mark.parametrize("worn", [0.0, 0.1, 0.6, 1.0])
def test_pairs_of_worn_and_sound_cells_are_those_of_simulated_readings(
    stuck: str, worn: float
) -> None:
    """400,000 pairs of lognormal cells; z below 4.5 in each of 16 cases, 1e-4 together."""
    rng = np.random.default_rng(7)
    number, mean, sd = 400_000, np.array([9.0, 11.0]), np.array([0.4, 0.9])  # LRS, HRS
    bit = rng.integers(0, 2, number)
    wanted = np.stack([bit, 1 - bit])
    is_worn = rng.random((2, number)) < worn
    wrong = is_worn & (rng.random((2, number)) < np.array(STUCK[stuck])[wanted])
    state = np.where(wrong, 1 - wanted, wanted)
    r = rng.normal(mean[state], sd[state])
    counted = np.mean((r[0] > r[1]) != (bit == 1))
    sound = norm.sf((mean[1] - mean[0]) / np.hypot(*sd))
    pair = factor(0.0, worn, float(np.mean(STUCK[stuck]))).for_pairs()
    expected = np.exp(pair.ln_ber(np.full((3, 1), np.log(sound)))[0, 0])
    assert abs(counted - expected) < 4.5 * np.sqrt(expected * (1 - expected) / number)


def test_a_pair_with_one_stuck_cell_is_wrong_for_a_quarter_of_the_bits() -> None:
    """With a share w stuck, 2 w (1 - w) pairs have one such cell and w^2 two: half wrong there."""
    w = 0.0974
    pair = factor(1.0, w).for_pairs()
    share = np.exp(pair.ln_ber(np.full((3, 1), -np.inf)))[0, 0]
    assert share == pytest.approx(2 * w * (1 - w) / 4 + w**2 / 2, rel=1e-12)
    assert pair.shift[0, 0] == pytest.approx(np.sqrt(2))


def test_nothing_is_read_worse_than_a_coin() -> None:
    fresh = np.log(np.array([[1e-6, 0.3, 0.5]] * 3))
    for life in (factor(30.0, 0.0), factor(0.0, 1.0, 0.9), factor(2.0, 0.7, 1.0)):
        for own in (life, life.for_pairs()):
            assert (own.ln_ber(fresh) <= np.log(0.5) + 1e-15).all()
    # of one state all may be wrong
    assert factor(30.0, 0.0).ln_rate(fresh)[0, 0] == pytest.approx(0.0, abs=1e-12)


def test_causes_add_up() -> None:
    both = combine([factor(0.5, 0.1, 1.0), factor(0.2, 0.2, 0.5)], rng=np.random.default_rng(1))
    assert both.shift[0, 0] == pytest.approx(0.7)
    assert both.worn[0, 0] == pytest.approx(1 - 0.9 * 0.8)
    assert both.worn_error[0, 0] == pytest.approx((0.1 * 1.0 + 0.2 * 0.5) / 0.3)


def test_endurance_is_split_into_drift_and_worn_cells() -> None:
    found = endurance_factor(ENDURANCE, 1e6)
    # One state drifts up, one down: the largest sum on the way counts, here at the end.
    centre = 0.5 * np.log(1e3 * 1e6)
    path = np.geomspace(1e3, 1e6, 4001)
    sound = sum(expit(-5 + g * (np.log(path) - centre)) for g in (0.2, -0.5)) / 2
    z = norm.ppf(sound)
    assert found.shift[0, 0] == pytest.approx(max(z.max() - z[0], 0), abs=1e-3)
    assert found.worn[0, 0] == pytest.approx(0.5)
    # a worn-out cell is wrong where a sound one is, and in a share of the rest
    assert found.worn_error[0, 0] == pytest.approx(1 - (1 - sound[-1]) * (1 - expit(1.0)))
    assert not found.extrapolated
    assert "20 independent units" in found.rests_on[0]
    beyond = endurance_factor(ENDURANCE, 1e8)
    assert beyond.extrapolated
    assert "beyond the measured 1e+06" in beyond.rests_on[-1]


def test_ber_of_the_set_itself_is_reproduced_at_its_own_fresh_ber() -> None:
    """Where the fresh BER is that of the cycled set, the factor gives the set's own BER."""
    own = Endurance({"LRS": cycled(), "HRS": cycled()}, {})
    fresh = np.log(np.full((DRAWS, 1), expit(-5 - 0.2 * 0.5 * np.log(1e3))))
    aged = endurance_factor(own, 3e5).ln_ber(fresh)
    np.testing.assert_allclose(np.exp(aged), own.ber(3e5).reshape(-1, 1), rtol=1e-9)


def test_retention_loses_the_same_margin_and_says_what_it_rests_on() -> None:
    found = retention_factor(RETENTION, 10 * YEAR_S, 358.15)
    state = baked()
    lost = state.probit(10 * YEAR_S, 358.15) - state.probit(0.0, 358.15)
    np.testing.assert_allclose(found.shift[:, 0], lost.ravel(), rtol=1e-9)
    assert found.extrapolated
    assert any("activation energy" in sentence for sentence in found.rests_on)
    inside = retention_factor(RETENTION, 3600.0, 400.0)
    assert not inside.extrapolated


def test_wear_over_programming_reaches_each_value() -> None:
    found = wear_out_factor(CELLS, 1e6, X)
    expected = norm.cdf((np.log(1e6) - 13.0 - 2.0 * np.array([1, 0, -1])) / np.exp(0.1))
    np.testing.assert_allclose(found.worn[0], expected, rtol=1e-9)
    assert not found.extrapolated.any()
    assert wear_out_factor(CELLS, 1e6, 2 * X).extrapolated.tolist() == [False, False, True]


def test_required_life_needs_its_posteriors() -> None:
    rng = np.random.default_rng(1)
    need = LifeRequirement.of(cycles=1e6, years=10, temperature_k=358.15)
    assert need.words() == "1e+06 cycles and 10 years at 85 degrees Celsius"
    with pytest.raises(ValueError, match="nothing is known of cycling"):
        life_factor(
            [RETENTION],
            need,
            X,
            programming=CELLS.wear_out.programming,
            sensing=SensingOptions(),
            rng=rng,
        )
    with pytest.raises(ValueError, match="nothing is known of retention"):
        life_factor(
            [ENDURANCE],
            need,
            X,
            programming=CELLS.wear_out.programming,
            sensing=SensingOptions(),
            rng=rng,
        )
    with pytest.raises(ValueError, match="2 posteriors of kind retention"):
        life_factor(
            [RETENTION, RETENTION],
            need,
            X,
            programming=CELLS.wear_out.programming,
            sensing=SensingOptions(),
            rng=rng,
        )
    found = life_factor(
        [RETENTION, CELLS, ENDURANCE],
        need,
        X,
        programming=CELLS.wear_out.programming,
        sensing=SensingOptions(),
        rng=rng,
    )
    # Worn cells come from the set that knows programming, and only from there.
    expected = wear_out_factor(CELLS, 1e6, X).worn
    np.testing.assert_allclose(np.sort(found.worn, axis=0), np.sort(expected, axis=0), rtol=1e-9)
    assert found.shift.shape == (DRAWS, 3)
    assert len(found.record()["rests_on"]) >= 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no life is asked for"),
        ({"years": 10}, "both a time and a temperature"),
        ({"cycles": -1}, "cycles is -1"),
        ({"years": 10, "temperature_k": 85}, "between 200 and 700"),
    ],
)
def test_lives_that_cannot_be_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LifeRequirement.of(**values)


def test_schemes_age_on_the_same_draws() -> None:
    rng = np.random.default_rng(2)
    ln_ber = rng.normal(-8, 1, (4, 50, 3))
    curve = BerCurve("1T1R", X, ln_ber, np.full(3, 1e4), np.zeros(3, bool), 1e-3)
    curves = {"1T1R": curve, "2T2R": BerCurve("2T2R", X, ln_ber, None, np.zeros(3, bool), 1e-3)}
    shift = rng.random((DRAWS, 1))
    life = LifeFactor(shift, 0 * shift, 0 * shift + 0.5, (), np.array([False]))
    aged = age_curves(curves, life, seed=1)
    lost = [norm.ppf(np.exp(aged[s].ln_ber)) - norm.ppf(np.exp(ln_ber)) for s in curves]
    np.testing.assert_allclose(lost[1], np.sqrt(2) * lost[0], rtol=1e-6)
    np.testing.assert_array_equal(aged["1T1R"].threshold_ohm, curve.threshold_ohm)
    with pytest.raises(ValueError, match="resample"):
        life.ln_ber(ln_ber)


def test_cycles_to_requirement_are_where_the_ber_is_reached() -> None:
    rng = np.random.default_rng(3)
    ln_ber = np.log(np.tile([1e-2, 1e-4, 1e-6], (DRAWS, 1)))
    ln_tolerated = np.full(DRAWS, np.log(5e-3))
    cycles = cycles_to_requirement(CELLS, X, ln_ber, ln_tolerated, rng=rng)
    assert (cycles[:, 0] == 0).all()
    order = np.random.default_rng(3).permutation(np.arange(DRAWS))
    for i in (0, 7):
        worn = CELLS.wear_out.worn(X, float(cycles[i, 2]))[0, order[i], 2]
        assert worn * STUCK_ERROR + (1 - worn) * 1e-6 == pytest.approx(5e-3, rel=1e-6)
    everything = cycles_to_requirement(CELLS, X, ln_ber, np.full(DRAWS, np.log(0.5)), rng=rng)
    assert np.isinf(everything).all()


@pytest.mark.parametrize("life", [ENDURANCE, RETENTION, CELLS])
def test_posteriors_come_back_from_their_files(life: Any, tmp_path: Any) -> None:
    save_life(life, tmp_path / "life.nc")
    again = load_life(tmp_path / "life.nc")
    assert type(again) is type(life)
    assert again.record == life.record
    if isinstance(life, CycledCells):
        assert isinstance(again, CycledCells)
        np.testing.assert_array_equal(again.wear_out.worn(X, 1e6), life.wear_out.worn(X, 1e6))
    elif isinstance(life, Endurance):
        assert isinstance(again, Endurance)
        np.testing.assert_array_equal(again.ber(1e6), life.ber(1e6))
    else:
        assert isinstance(again, Retention)
        np.testing.assert_array_equal(again.ber(1e6, 400.0), life.ber(1e6, 400.0))


def test_other_files_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match=r"no such file; write it with `rram-reliability life"):
        load_life(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(ValueError, match="not a posterior of life"):
        load_life(tmp_path / "text.nc")


def joined(*lives: Any, x: np.ndarray = X, **more: Any) -> LifeFactor:
    options = {
        "programming": CELLS.wear_out.programming,
        "sensing": SensingOptions(),
        "rng": np.random.default_rng(1),
    }
    return life_factor(lives, LifeRequirement(cycles=1e6), x, **options | more)


def test_wear_out_of_another_variable_is_refused() -> None:
    volts = Programming("SET gate voltage", "V")
    with pytest.raises(ValueError, match=r"over SET compliance current \(A\), the device over SET"):
        joined(CELLS, programming=volts)
    # of one unit it is taken for the same, and that is said
    named = joined(CELLS, programming=Programming("I_set", "A"))
    assert any(
        "'SET compliance current' of the wear-out is the 'I_set'" in s for s in named.rests_on
    )
    assert not any("Assumed:" in s for s in joined(CELLS).rests_on)


def test_values_outside_the_wear_out_are_marked_one_by_one() -> None:
    """At the end of life only: fresh cells were measured there."""
    found = joined(ENDURANCE, CELLS, x=2 * X)
    assert found.extrapolated.tolist() == [False, False, True]
    curve = BerCurve(
        "1T1R", 2 * X, np.full((1, 3, 3), -5.0), None, np.array([True, False, False]), 0.01
    )
    aged = age_curves({"1T1R": curve}, found, seed=1)["1T1R"]
    assert aged.extrapolated.tolist() == [True, False, True]


def test_another_threshold_than_that_of_the_counts_is_said() -> None:
    life = replace(ENDURANCE, record=ENDURANCE.record | {"threshold_ohm": 2e4})
    for read_ohm, said in ((None, False), (2e4, False), (3e4, True)):
        words = joined(life, sensing=SensingOptions(read_ohm)).rests_on
        assert any("counted against 2e+04 ohm, cells are read against" in s for s in words) is said


def test_a_life_beyond_all_measure_has_a_finite_factor() -> None:
    """All sound cells are wrong then: the margin they lost is finite."""
    sure = replace(ENDURANCE, states={"LRS": cycled(), "HRS": cycled()})
    found = endurance_factor(sure, 1e300)
    assert np.isfinite(found.shift).all()
    assert "nan" not in " ".join(found.rests_on)


def test_less_than_a_cycle_is_no_life() -> None:
    with pytest.raises(ValueError, match="programmed at least once"):
        LifeRequirement(cycles=0.5)
