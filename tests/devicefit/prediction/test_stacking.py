"""Stacking weights against an independent optimiser; stacked draws against their families."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm, t

from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.heavy_tailed import LEAST_DOF
from devicefit.families.registry import FAMILIES
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.prediction.loo import Loo
from devicefit.prediction.stacking import (
    LEAST_WEIGHT,
    StackedDevice,
    optimal_weights,
    stacking_weights,
)
from devicefit.sampling.prior import sample_priors

FRAME = Frame(Programming("SET compliance current", "A"), 2e-5, 6e-4)
X = np.array([5e-5, 1e-4, 3e-4])


def score(weights: np.ndarray, lpd: np.ndarray) -> float:
    top = lpd.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(lpd - top) @ weights) + top[:, 0]))


def scored(**lpd: np.ndarray) -> dict[str, Loo]:
    names = tuple(f"d{i}" for i in range(len(next(iter(lpd.values())))))
    return {name: Loo(names, values, np.zeros(len(values))) for name, values in lpd.items()}


@pytest.mark.parametrize(("seed", "families"), [(1, 2), (2, 3), (3, 5)])
def test_weights_are_those_of_another_optimiser(seed: int, families: int) -> None:
    lpd = np.random.default_rng(seed).normal(size=(400, families))
    found = optimal_weights(lpd)
    # SciPy's, free of the sum constraint by softmax
    other = minimize(
        lambda v: -score(np.exp(v) / np.exp(v).sum(), lpd), np.zeros(families), tol=1e-12
    )
    assert score(found, lpd) >= -other.fun - 1e-9
    np.testing.assert_allclose(found, np.exp(other.x) / np.exp(other.x).sum(), atol=2e-4)


def test_two_families_in_closed_form() -> None:
    # The families predict n and m devices, e^2 times as well as the other does: with
    # a = e^2 the score n ln(1 + (a - 1) w) + m ln(a - (a - 1) w) has its maximum at
    # w = (n a - m) / ((n + m)(a - 1)), 30 and 20 here.
    a = np.exp(2.0)
    lpd = np.repeat([[2.0, 0.0], [0.0, 2.0]], [30, 20], axis=0)
    expected = (30 * a - 20) / (50 * (a - 1))
    np.testing.assert_allclose(optimal_weights(lpd), [expected, 1 - expected], atol=1e-7)


def test_rows_count_as_often_as_told() -> None:
    rng = np.random.default_rng(5)
    lpd, count = rng.normal(size=(60, 3)), rng.integers(1, 6, 60)
    often = optimal_weights(np.repeat(lpd, count, axis=0))
    np.testing.assert_allclose(optimal_weights(lpd, count.astype(float)), often, atol=1e-9)


def test_readings_are_the_units_where_they_are_known() -> None:
    """Family a suits eight devices of ten, b the readings of all of them on average."""
    names = tuple(f"d{i}" for i in range(10))
    a = np.where(np.arange(10) < 8, 1.0, -20.0)
    loos = {
        name: Loo(names, 100 * lpd, np.zeros(10), lpd, np.full(10, 100.0))
        for name, lpd in (("a", a), ("b", np.zeros(10)))
    }
    sums = {name: Loo(names, part.lpd, part.pareto_k) for name, part in loos.items()}
    assert stacking_weights(sums)["a"] == pytest.approx(0.8, abs=1e-6)
    # w e + 1 - w of eight readings in ten, 1 - w of two: the maximum is where 0.8 (e - 1) (1 - w)
    # is 0.2 (1 + w (e - 1))
    slope = np.e - 1
    expected = (0.8 * slope - 0.2) / slope
    assert stacking_weights(loos)["a"] == pytest.approx(expected, abs=1e-6)


def test_the_better_family_takes_all() -> None:
    rng = np.random.default_rng(4)
    lpd = rng.normal(size=(200, 1)) + np.array([0.0, -3.0, -500.0])
    weights = stacking_weights(scored(a=lpd[:, 0], b=lpd[:, 1], c=lpd[:, 2]))
    assert list(weights) == ["a", "b", "c"]
    assert weights["a"] > 1 - 1e-8
    assert sum(weights.values()) == pytest.approx(1, abs=1e-12)
    assert stacking_weights(scored(alone=lpd[:, 2])) == {"alone": 1.0}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), families=st.integers(2, 5), scale=st.floats(0.01, 300))
def test_no_direction_improves_the_score(seed: int, families: int, scale: float) -> None:
    lpd = scale * np.random.default_rng(seed).normal(size=(50, families))
    weights = optimal_weights(lpd)
    assert np.all(weights >= 0)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    # the slope towards each family, less that towards the present mixture, which is one
    p = np.exp(lpd - lpd.max(axis=1, keepdims=True))
    assert ((p / (p @ weights)[:, None]).mean(axis=0) - 1).max() < 1e-8


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "no family to stack"),
        ({"a": np.array([0.0, -np.inf])}, "a for device d1 is not finite; leave the family out"),
        ({"a": np.zeros(2), "b": np.array([np.nan, 0.0])}, "b for device d0 is not finite"),
    ],
)
def test_bad_scores(parts: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stacking_weights(scored(**parts) if parts else {})


def test_other_devices() -> None:
    loos = scored(a=np.zeros(3)) | {"b": scored(b=np.zeros(4))["b"]}
    with pytest.raises(ValueError, match="b was scored on other devices"):
        stacking_weights(loos)


# --- stacked draws --------------------------------------------------------------------------------


def prior_draws(family: str, *, draws: int = 120, chains: int = 2) -> DevicePosterior:
    """A posterior whose draws are from the priors, close to their means."""
    rng = np.random.default_rng(sorted(FAMILIES).index(family))
    priors = [dataclasses.replace(p, sd=p.sd / 10) for p in FAMILIES[family].priors(FRAME)]
    found = {}
    for _ in range(chains):
        for name, v in sample_priors(tuple(priors), draws=draws, rng=rng).items():
            found.setdefault(name, []).append(v[0])
    dataset = xr.Dataset({name: (("chain", "draw"), np.stack(v)) for name, v in found.items()})
    record = {"devices": 100, "design_effect": {"LRS": 1.0, "HRS": 1.0}, "of": family}
    return DevicePosterior(
        family, dataset, FRAME, Diagnostics(1.0, 1e3, 1e3, 0, chains * draws), record
    )


STACKED = ("lognormal", "student-t", "log-logistic", "switching-failure")


@pytest.fixture(scope="module")
def posteriors() -> dict[str, DevicePosterior]:
    return {name: prior_draws(name) for name in STACKED}


WEIGHTS = dict(zip(STACKED, (0.1, 0.25, 0.003, 0.647), strict=True))


def test_each_family_has_its_share_of_the_draws(posteriors: dict[str, Any]) -> None:
    stacked = StackedDevice(posteriors, WEIGHTS)
    left_out = [name for name in STACKED if WEIGHTS[name] < LEAST_WEIGHT]
    assert list(stacked.used) == [name for name in STACKED if name not in left_out]
    allotted = stacked.allotment()
    assert allotted.shape == (2, 120)
    for k, weight in enumerate(stacked.used.values()):
        assert abs((allotted == k).sum() - 240 * weight) <= 1
        # and of every quarter of the chains, to within 4 draws
        for part in allotted.reshape(4, 60):
            assert abs((part == k).sum() - 60 * weight) <= 4
    assert stacked.family == "stacked"
    assert stacked.leading is posteriors["switching-failure"]
    assert stacked.record["of"] == "switching-failure"
    assert stacked.record["stacking"] == {"weights": WEIGHTS, "left_out": left_out}


def test_each_draw_is_the_law_of_one_family(posteriors: dict[str, Any]) -> None:
    stacked = StackedDevice(posteriors, WEIGHTS)
    laws = stacked.mixtures(X)
    allotted, names = stacked.allotment(), list(stacked.used)
    y = np.log(2e4)
    for state in ("LRS", "HRS"):
        assert laws[state].trailing == (2, 120, 3)
        for method in ("ln_density", "ln_survival", "ln_distribution"):
            found = getattr(laws[state], method)(y)
            each = [getattr(posteriors[n].mixtures(X)[state], method)(y) for n in names]
            expected = np.choose(allotted[..., None], each)
            np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_one_draw_against_scipy(posteriors: dict[str, Any]) -> None:
    only = {n: posteriors[n] for n in ("lognormal", "student-t")}
    stacked = StackedDevice(only, {"lognormal": 0.5, "student-t": 0.5})
    law = stacked.mixtures(X)["HRS"]
    allotted = stacked.allotment()
    for k, name in enumerate(stacked.used):
        chain, draw = np.argwhere(allotted == k)[7]
        own = only[name].mixtures(X)["HRS"]
        at, scale = own.location[0, chain, draw, 1], own.scale[0, chain, draw, 1]
        if name == "lognormal":
            expected = norm.logpdf(10.0, at, scale)
        else:
            dof = LEAST_DOF + np.exp(only[name].draws["ln_dof_hrs"].values[chain, draw])
            expected = t.logpdf(10.0, dof, at, scale)
        assert law.ln_density(10.0)[chain, draw, 1] == pytest.approx(expected, rel=1e-12)


def test_curves_show_the_spread_between_families(posteriors: dict[str, Any]) -> None:
    options = SensingOptions(threshold_ohm=3e4)
    stacked = StackedDevice(posteriors, WEIGHTS)
    found = ber_curves(stacked, X, options=options)
    allotted = stacked.allotment()
    for scheme in ("1T1R", "2T2R"):
        assert np.isfinite(found[scheme].ln_ber).all()
        for k, name in enumerate(stacked.used):
            own = ber_curves(posteriors[name], X, options=options)[scheme].ln_ber
            np.testing.assert_allclose(
                found[scheme].ln_ber[allotted == k], own[allotted == k], rtol=1e-9
            )


def test_one_family_is_that_family(posteriors: dict[str, Any]) -> None:
    only = {"lognormal": posteriors["lognormal"]}
    law = StackedDevice(only, {"lognormal": 1.0}).mixtures(X)["LRS"]
    own: Mixture = posteriors["lognormal"].mixtures(X)["LRS"]
    np.testing.assert_array_equal(law.location, own.location)
    np.testing.assert_array_equal(law.ln_weight, own.ln_weight)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"lognormal": 1.0}, "give one weight for each family"),
        ({"lognormal": 0.7, "student-t": 0.7}, "must not be negative and sum to one"),
        ({"lognormal": 1.5, "student-t": -0.5}, "must not be negative"),
        ({"lognormal": np.nan, "student-t": 1.0}, "must not be negative"),
    ],
)
def test_bad_weights(posteriors: dict[str, Any], weights: dict[str, float], message: str) -> None:
    two = {n: posteriors[n] for n in ("lognormal", "student-t")}
    with pytest.raises(ValueError, match=message):
        StackedDevice(two, weights)


def test_fits_that_do_not_belong_together(posteriors: dict[str, Any]) -> None:
    even = {"lognormal": 0.5, "student-t": 0.5}
    first, other = posteriors["lognormal"], posteriors["student-t"]
    elsewhere = dataclasses.replace(other, frame=dataclasses.replace(FRAME, low=1e-5))
    with pytest.raises(ValueError, match="student-t was fitted over another range"):
        StackedDevice({"lognormal": first, "student-t": elsewhere}, even)
    shorter = dataclasses.replace(other, draws=other.draws.isel(draw=slice(50)))
    with pytest.raises(ValueError, match=r"student-t has \(2, 50\) chains and draws, others \(2, "):
        StackedDevice({"lognormal": first, "student-t": shorter}, even)
