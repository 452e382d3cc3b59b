"""What compression keeps, and what the likelihoods lose by it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from devicefit.compression import BINS_PER_SPREAD, Compressed, compress
from devicefit.measurements import Measurements
from devicefit.mixture import NormalMixture
from devicefit.models import FAMILIES
from devicefit.models.core import Frame
from devicefit.priors import sample_priors
from devicefit.programming import Programming
from devicefit.reference_device import ReferencePlan, reference_measurements

Measure = Callable[..., Measurements]
STATES = ("LRS", "HRS")


@pytest.fixture(scope="module")
def readings() -> Measurements:
    plan = ReferencePlan(currents=4, devices_per_current=60, cycles=3)
    return reference_measurements(seed=5, plan=plan)


def of_state(measurements: Measurements, state: str) -> pd.DataFrame:
    table = measurements.table
    table = table[table["state"] == state]
    return table.assign(y=np.log(table["resistance_ohm"]))


def bins_of(data: Any, part: pd.DataFrame, number: int) -> np.ndarray:
    """Bin of each reading of a condition: readings in order, bins in order."""
    chosen = data.condition == number
    return np.repeat(np.flatnonzero(chosen), data.count[chosen])[np.argsort(np.argsort(part["y"]))]


@pytest.mark.parametrize("state", STATES)
def test_sufficient_statistics(readings: Measurements, state: str) -> None:
    compressed = compress(readings)
    groups = of_state(readings, state).groupby("programming")["y"]
    data = compressed.states[state]
    assert compressed.conditions.tolist() == list(groups.groups)
    assert data.n.tolist() == groups.size().tolist() == [180] * 4
    np.testing.assert_allclose(data.mean, groups.mean(), rtol=1e-14)
    np.testing.assert_allclose(data.sum_of_squares, groups.var(ddof=0) * 180, rtol=1e-12)
    assert compressed.devices == 240
    assert compressed.devices_per_condition.tolist() == [60] * 4


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("bins_per_spread", [4, BINS_PER_SPREAD, 100])
def test_bins(readings: Measurements, state: str, bins_per_spread: int) -> None:
    data = compress(readings, bins_per_spread=bins_per_spread).states[state]
    table = of_state(readings, state)
    for number, (_, part) in enumerate(table.groupby("programming")):
        chosen = data.condition == number
        assert data.count[chosen].sum() == len(part)
        assert np.all(data.count[chosen] > 0)
        assert np.all(np.diff(data.ln_r[chosen]) > 0)
        total = (data.count * data.ln_r)[chosen].sum()
        assert total / len(part) == pytest.approx(part["y"].mean(), rel=1e-14)
        # a reading and its bin are less than a width apart; lone ones are exact
        low, high = np.quantile(part["y"], [0.16, 0.84])
        width = (high - low) / 2 / bins_per_spread
        index = bins_of(data, part, number)
        moved = np.abs(part["y"].to_numpy() - data.ln_r[index])
        assert moved.max() < width
        assert np.all(moved[data.count[index] == 1] == 0)
        # Popoviciu: variance on an interval of this width is at most its square over four
        lost = data.sum_of_squares[number] - np.sum(
            data.count[chosen] * (data.ln_r[chosen] - data.mean[number]) ** 2
        )
        assert -1e-9 < lost <= len(part) * width**2 / 4


@pytest.mark.parametrize("state", STATES)
def test_fewer_bins_than_readings(state: str) -> None:
    measurements = reference_measurements(plan=ReferencePlan(currents=2, cycles=200))
    data = compress(measurements).states[state]
    assert data.n.sum() == 40_000
    assert len(data.count) < 800
    # evenly spread inside a bin: a twelfth of its width squared, give or take a fifth
    share = of_state(measurements, state).groupby("programming")["y"]
    width = (share.quantile(0.84) - share.quantile(0.16)) / 2 / BINS_PER_SPREAD
    kept = np.bincount(data.condition, data.count * (data.ln_r - data.mean[data.condition]) ** 2)
    lost = (data.sum_of_squares - kept) / data.n / width.to_numpy() ** 2
    np.testing.assert_allclose(lost, 1 / 12, rtol=0.2)


@pytest.mark.parametrize("bins", [3, 0, -1])
def test_too_few_bins(readings: Measurements, bins: int) -> None:
    with pytest.raises(ValueError, match=f"bins_per_spread is {bins}; use at least 4"):
        compress(readings, bins_per_spread=bins)


def test_equal_readings_and_a_condition_with_one_state(measured: Measure) -> None:
    device = np.arange(30)
    current = np.repeat([1e-5, 2e-5, 3e-5], 10)
    table = measured(
        np.r_[np.full(30, 8.0), np.full(20, 11.0)],
        state=["LRS"] * 30 + ["HRS"] * 20,
        programming=np.r_[current, current[:20]],
        device=np.r_[device, device[:20]],
        cycle=np.zeros(50),
    )
    compressed = compress(table)
    lrs, hrs = compressed.states["LRS"], compressed.states["HRS"]
    assert (lrs.count.tolist(), hrs.n.tolist()) == ([10, 10, 10], [10, 10, 0])
    np.testing.assert_allclose(lrs.ln_r, 8.0, rtol=1e-15)
    assert (hrs.mean[2], hrs.sum_of_squares[2]) == (0, 0)
    assert compressed.devices_per_condition.tolist() == [10, 10, 0]
    assert lrs.design_effect == 1.0


# --- design effect --------------------------------------------------------------------------------


def clustered(measure: Measure, *, share: float, cycles: int, seed: int = 9) -> Compressed:
    """Readings of 400 devices at two currents, of whose variance a share is the device's."""
    rng = np.random.default_rng(seed)
    device, cycle = np.divmod(np.arange(400 * cycles), cycles)
    parts = []
    for middle in (8.0, 11.0):
        own = rng.standard_normal(400)[device]
        fresh = rng.standard_normal(400 * cycles)
        parts.append(middle + 0.2 * (np.sqrt(share) * own + np.sqrt(1 - share) * fresh))
    return compress(
        measure(
            np.concatenate(parts),
            state=np.repeat(STATES, 400 * cycles),
            programming=np.tile(np.where(device < 200, 1e-5, 1e-4), 2),
            device=np.tile(device, 2),
            cycle=np.tile(cycle, 2),
        )
    )


@pytest.mark.parametrize("cycles", [1, 2, 5, 20])
def test_independent_readings_have_no_design_effect(measured: Measure, cycles: int) -> None:
    # the cross products have mean 0 and variance 2 m (m - 1) per device, the squares sum to n;
    # 8 checks at 4.5 standard errors: below 6e-5 that a correct one fails
    error = np.sqrt(2 * (cycles - 1) / (400 * cycles))
    for state in clustered(measured, share=0.0, cycles=cycles).states.values():
        assert 1.0 <= state.design_effect <= 1 + 4.5 * error + 1e-12


@pytest.mark.parametrize("cycles", [2, 5, 20])
def test_repeated_readings_count_once(measured: Measure, cycles: int) -> None:
    for state in clustered(measured, share=1.0, cycles=cycles).states.values():
        assert state.design_effect == pytest.approx(cycles, rel=1e-10)


@pytest.mark.parametrize("share", [0.13, 0.5])
@pytest.mark.parametrize("cycles", [5, 20])
def test_design_effect_of_kish(measured: Measure, share: float, cycles: int) -> None:
    # Kish 1965: 1 + (m - 1) rho. A device's total is normal, so its square has a relative error
    # of sqrt(2 / devices); cutting at 3 lowers the correlation by less than 1 %
    expected = 1 + (cycles - 1) * share
    for state in clustered(measured, share=share, cycles=cycles).states.values():
        tolerance = 4.5 * np.sqrt(2 / 400) + 0.01
        assert state.design_effect == pytest.approx(expected, rel=tolerance)


# --- likelihoods ----------------------------------------------------------------------------------


def parameters(programming: Programming, family: str, *, draws: int, narrow: float) -> np.ndarray:
    """Draws near the middle of the priors, shape (draw, parameter)."""
    priors = FAMILIES[family].priors(programming)
    sampled = sample_priors(priors, draws=draws, rng=np.random.default_rng(8))
    middle = np.array([p.mean for p in priors])
    return middle + narrow * (np.stack([sampled[p.name][0] for p in priors], axis=-1) - middle)


def unbinned(compressed: Compressed, measurements: Measurements) -> Compressed:
    states = {}
    for state, data in compressed.states.items():
        table = of_state(measurements, state)
        condition = np.searchsorted(compressed.conditions, table["programming"])
        states[state] = dataclasses.replace(
            data,
            condition=condition,
            ln_r=table["y"].to_numpy(),
            count=np.ones(len(table), np.int64),
        )
    return dataclasses.replace(compressed, states=states)


def curvature(law: NormalMixture, y: np.ndarray) -> np.ndarray:
    """Second derivative of the log density of a mixture, in closed form."""
    z = (y - law.mean) / law.sd
    ln_part = law.ln_weight - 0.5 * z**2 - np.log(law.sd)
    share = np.exp(ln_part - ln_part.max(axis=0))
    share /= share.sum(axis=0)
    slope = -z / law.sd
    mean_slope = (share * slope).sum(axis=0)
    return (share * (slope**2 - 1 / law.sd**2)).sum(axis=0) - mean_slope**2


def test_bins_change_the_likelihood_by_less_than_the_derived_bound(
    readings: Measurements, compiled: Callable[..., Any]
) -> None:
    """A bin's mean stands for its readings, so the first-order error is zero.

    The second is at most half of the largest curvature of the log density inside the bin times
    the bin's sum of squares.
    """
    family = "switching-failure"
    compressed = compress(readings)
    frame = Frame.of(compressed)
    on_bins = compiled(family, compressed, frame)
    on_readings = compiled(family, unbinned(compressed, readings), frame)
    priors = FAMILIES[family].priors(frame.programming)
    for vector in parameters(frame.programming, family, draws=10, narrow=0.3):
        laws = FAMILIES[family].mixtures(
            {p.name: np.array(v) for p, v in zip(priors, vector, strict=True)},
            frame,
            compressed.conditions,
        )
        bound = 0.0
        for state in STATES:
            data = compressed.states[state]
            for number, (_, part) in enumerate(of_state(readings, state).groupby("programming")):
                law = NormalMixture(
                    *(
                        getattr(laws[state], name)[:, number : number + 1]
                        for name in ("ln_weight", "mean", "sd")
                    )
                )
                y, index = part["y"].to_numpy(), bins_of(data, part, number)
                for bin_number in np.unique(index):
                    inside = y[index == bin_number]
                    fine = np.linspace(inside.min(), inside.max(), 9)
                    squares = ((inside - data.ln_r[bin_number]) ** 2).sum()
                    steepest = np.abs(curvature(law, fine)).max()
                    bound += 0.5 * steepest * squares / data.design_effect
        (value, gradient), (exact, exact_gradient) = on_bins(vector), on_readings(vector)
        assert abs(value - exact) <= 1.05 * bound + 1e-9
        assert bound < 2e-3 * abs(exact)
        assert value == pytest.approx(exact, rel=2e-4)
        difference = np.linalg.norm(gradient - exact_gradient)
        assert difference < 2e-3 * np.linalg.norm(exact_gradient)


def test_lognormal_likelihood_is_exact(
    readings: Measurements, compiled: Callable[..., Any]
) -> None:
    compressed = compress(readings)
    plain = {s: dataclasses.replace(d, design_effect=1.0) for s, d in compressed.states.items()}
    frame = Frame.of(compressed)
    likelihood = compiled("lognormal", dataclasses.replace(compressed, states=plain), frame)
    family = FAMILIES["lognormal"]
    priors = family.priors(frame.programming)
    for vector in parameters(frame.programming, "lognormal", draws=10, narrow=1.0):
        named = {p.name: np.array(v) for p, v in zip(priors, vector, strict=True)}
        expected = 0.0
        for state in STATES:
            table = of_state(readings, state)
            law = family.mixtures(named, frame, table["programming"].to_numpy())[state]
            expected += stats.norm.logpdf(table["y"], law.mean[0], law.sd[0]).sum()
        assert likelihood(vector)[0] == pytest.approx(expected, rel=1e-11)


def test_the_design_effect_divides_the_likelihood(
    readings: Measurements, compiled: Callable[..., Any]
) -> None:
    compressed = compress(readings)
    frame = Frame.of(compressed)
    for family in FAMILIES:
        (vector,) = parameters(frame.programming, family, draws=1, narrow=0.3)

        def value(lrs: float, hrs: float, family: str = family, vector: Any = vector) -> float:
            states = {
                state: dataclasses.replace(compressed.states[state], design_effect=effect)
                for state, effect in (("LRS", lrs), ("HRS", hrs))
            }
            replaced = dataclasses.replace(compressed, states=states)
            return float(compiled(family, replaced, frame, gradient=False)(vector))

        both, less_lrs, less_hrs = value(1, 1), value(4, 1), value(1, 4)
        # each state loses three quarters of its own part
        assert (both - less_lrs) + (both - less_hrs) == pytest.approx(0.75 * both, rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e3, 1e6]))
def test_the_unit_shifts_and_nothing_else(measured: Measure, seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(9.0, 1.0, 40)
    common = {
        "state": np.repeat(STATES, 20),
        "programming": np.tile([1e-5, 2e-5], 20),
        "device": np.tile(np.arange(20), 2),
        "cycle": np.zeros(40),
    }
    one, other = (compress(measured(y + shift, **common)) for shift in (0.0, np.log(factor)))
    for state in STATES:
        a, b = one.states[state], other.states[state]
        np.testing.assert_allclose(b.mean - a.mean, np.log(factor), rtol=1e-12)
        np.testing.assert_allclose(b.sum_of_squares, a.sum_of_squares, rtol=1e-9)
        assert b.design_effect == pytest.approx(a.design_effect, rel=1e-9)
