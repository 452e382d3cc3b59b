"""What compression keeps, and what the likelihoods lose by it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devicefit.compression.compression import BINS_PER_SPREAD, Compressed, compress
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import Measurements, check_measurements
from devicefit.simulation.reference_device import (
    ReferenceDevice,
    ReferencePlan,
    reference_measurements,
)

Measure = Callable[..., Measurements]
STATES = ("LRS", "HRS")
HALF_STEP = 2.0**-29
FINE = 2.0**-11
CURRENT = Programming("SET compliance current", "A")


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
    # every ln R is off by at most half a step, and so is their mean; a square about the mean is
    # off by at most twice that times the deviation: Cauchy-Schwarz
    np.testing.assert_allclose(data.mean, groups.mean(), rtol=0, atol=HALF_STEP)
    squares = (groups.var(ddof=0) * 180).to_numpy()
    assert np.all(
        np.abs(data.sum_of_squares - squares) <= 2 * HALF_STEP * np.sqrt(180 * squares) + 1e-12
    )
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
        assert total / len(part) == pytest.approx(part["y"].mean(), abs=HALF_STEP)
        # a reading and its bin are less than a width and a fine bin apart; lone ones are as given
        low, high = np.quantile(part["y"], [0.16, 0.84])
        width = (high - low) / 2 / bins_per_spread + FINE
        index = bins_of(data, part, number)
        moved = np.abs(part["y"].to_numpy() - data.ln_r[index])
        assert moved.max() < width
        assert np.all(moved[data.count[index] == 1] <= HALF_STEP)
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
    np.testing.assert_allclose(lrs.ln_r, 8.0, rtol=0, atol=HALF_STEP)
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
        assert state.design_effect == pytest.approx(cycles, rel=1e-4)


@pytest.mark.parametrize("share", [0.13, 0.5])
@pytest.mark.parametrize("cycles", [5, 20])
def test_design_effect_of_kish(measured: Measure, share: float, cycles: int) -> None:
    # Kish 1965: 1 + (m - 1) rho. A device's total is normal, so its square has a relative error
    # of sqrt(2 / devices); cutting at 3 lowers the correlation by less than 1 %
    expected = 1 + (cycles - 1) * share
    for state in clustered(measured, share=share, cycles=cycles).states.values():
        tolerance = 4.5 * np.sqrt(2 / 400) + 0.01
        assert state.design_effect == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("incomplete", [1e-4, 0.05])
def test_design_effect_of_cut_residuals(state: str, incomplete: float) -> None:
    # reading by reading, as it is defined; in one pass wide bins are cut as a whole, which lets
    # single failures inside 1/16 of ln R from the cut count a little more
    measurements = reference_measurements(
        seed=4,
        device=ReferenceDevice(incomplete=incomplete),
        plan=ReferencePlan(currents=3, devices_per_current=80, cycles=12),
    )
    table = of_state(measurements, state)
    groups = table.groupby("programming")["y"]
    spread = (groups.transform("quantile", 0.84) - groups.transform("quantile", 0.16)) / 2
    residual = ((table["y"] - groups.transform("median")) / spread).clip(-3, 3)
    residual -= residual.groupby(table["programming"]).transform("mean")
    totals = residual.groupby(table["device_id"]).sum()
    expected = (totals**2).sum() / (residual**2).sum()
    found = compress(measurements).states[state].design_effect
    assert found == pytest.approx(expected, rel=0.02)
    assert expected > 1.5


# --- cells ----------------------------------------------------------------------------------------


def test_cells_are_the_readings_of_a_device_in_order_of_cycle(readings: Measurements) -> None:
    compressed = compress(readings)
    names = sorted(set(readings.table["device_id"]))
    for state in STATES:
        cells = compressed.states[state].cells
        table = of_state(readings, state)
        assert np.all(np.diff(cells.device) >= 0)
        groups = table.sort_values("cycle").groupby(["device_id", "programming"])["y"]
        assert len(groups) == len(cells.n)
        for i, ((device, programming), y) in enumerate(groups):
            assert names[cells.device[i]] == device
            assert compressed.conditions[cells.condition[i]] == programming
            apart = y.to_numpy() - y.mean()
            scale = np.abs(apart).max()
            close = {"abs": 8 * HALF_STEP * max(scale, 1e-3) * len(y)}
            assert cells.n[i] == len(y)
            assert cells.mean[i] == pytest.approx(y.mean(), abs=HALF_STEP)
            assert cells.sum_of_squares[i] == pytest.approx(np.sum(apart**2), **close)
            lagged = np.sum(apart[1:] * apart[:-1])
            assert cells.lag_product[i] == pytest.approx(lagged, **close)
            ends = (cells.first[i], cells.last[i])
            assert ends == pytest.approx((apart[0], apart[-1]), abs=4 * HALF_STEP)


def test_a_condition_is_a_value_a_second_value_and_an_array() -> None:
    rows = pd.DataFrame(
        [
            (f"d{d}", state, x, width, array)
            for d in range(12)
            for state in STATES
            for x in (2e-5, 1e-5)
            for width, array in ((1e-7, "b"), (1e-6, "b"), (1e-7, "a"))
        ],
        columns=["device_id", "state", "programming", "programming_2", "array_id"],
    )
    rows["resistance_ohm"] = np.exp(np.where(rows["state"] == "LRS", 8.0, 11.0))
    found = compress(check_measurements(rows, CURRENT, second=Programming("SET pulse width", "s")))
    assert found.arrays == ("a", "b")
    assert found.second == Programming("SET pulse width", "s")
    assert found.conditions.tolist() == [1e-5] * 3 + [2e-5] * 3
    assert found.second_values.tolist() == [1e-7, 1e-7, 1e-6] * 2
    assert found.array.tolist() == [0, 1, 1] * 2
    assert found.devices == 24  # the same number on two arrays is two devices
    assert found.device_array.tolist() == [0] * 12 + [1] * 12
    assert found.devices_per_condition.tolist() == [12] * 6
    cells = found.states["LRS"].cells
    assert np.all(found.device_array[cells.device] == found.array[cells.condition])


# --- what bins lose -------------------------------------------------------------------------------

LAWS: dict[str, Callable[..., Any]] = {
    "normal": lambda z: -0.5 * z**2,
    "student-t, 3 dof": lambda z: -2.0 * np.log1p(z**2 / 3),
    # a core, a shoulder to the left and a far cluster, standardised like the core
    "mixture": lambda z: np.log(
        0.85 * np.exp(-0.5 * z**2)
        + 0.14 / 1.6 * np.exp(-0.5 * ((z + 1.0) / 1.6) ** 2)
        + 0.01 / 0.5 * np.exp(-0.5 * ((z + 5.0) / 0.5) ** 2)
    ),
}
# At most this much of |sum of ln f| over all readings of a condition, and of the size of its
# gradient for location and log-scale, sqrt(n) times a unit slope.
VALUE_BOUND = 1e-3
GRADIENT_BOUND = 0.02


def score(law: str, y: np.ndarray, location: float, ln_scale: float) -> list[np.ndarray]:
    """Log density at y, and its derivatives for location and ln scale, by complex steps."""

    def at(loc: complex, ln_s: complex) -> np.ndarray:
        return LAWS[law]((y - loc) / np.exp(ln_s)) - ln_s

    step = 1e-30
    return [
        at(location, ln_scale).real,
        at(location + 1j * step, ln_scale).imag / step,
        at(location, ln_scale + 1j * step).imag / step,
    ]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("off", "wider"), [(0.0, 1.0), (0.5, 0.7), (-1.0, 1.5)])
def test_bins_change_a_likelihood_by_less_than_the_stated_bound(
    state: str, law: str, off: float, wider: float
) -> None:
    """A bin's mean stands for its readings, so the first-order error is zero.

    The second is at most half of the largest curvature inside the bin times its sum of squares.
    """
    measurements = reference_measurements(
        seed=3, plan=ReferencePlan(currents=2, devices_per_current=200, cycles=10)
    )
    data = compress(measurements).states[state]
    for number, (_, part) in enumerate(of_state(measurements, state).groupby("programming")):
        y = np.sort(part["y"].to_numpy())
        spread = np.subtract(*np.quantile(y, [0.84, 0.16])) / 2
        location, ln_scale = np.median(y) + off * spread, np.log(wider * spread)
        chosen = data.condition == number
        count, centre = data.count[chosen], data.ln_r[chosen]
        index = np.repeat(np.arange(len(count)), count)
        squares = np.bincount(index, (y - centre[index]) ** 2)
        low = np.minimum.reduceat(y, np.cumsum(count) - count)
        high = np.maximum.reduceat(y, np.cumsum(count) - count)
        inside = np.linspace(low, high, 9)
        h = 1e-4 * spread
        around = [score(law, inside + d, location, ln_scale) for d in (-h, 0.0, h)]
        on_bins = score(law, centre, location, ln_scale)
        on_readings = score(law, y, location, ln_scale)
        for i, (binned, plain) in enumerate(zip(on_bins, on_readings, strict=True)):
            curvature = np.abs(around[0][i] - 2 * around[1][i] + around[2][i]) / h**2
            derived = 0.5 * np.sum(curvature.max(axis=0) * squares)
            rounding = 1e-6 * len(y)  # the steps of ln R, and curvature by differences
            error = abs(np.sum(count * binned) - np.sum(plain))
            assert error <= 1.05 * derived + rounding
            if i == 0:
                assert error <= VALUE_BOUND * np.sum(np.abs(plain))
            else:
                unit = 1 / np.exp(ln_scale) if i == 1 else 1.0
                assert error <= GRADIENT_BOUND * np.sqrt(len(y)) * unit
                # a gradient of this size matters: its error is far below its spread over samples
                assert np.sqrt(np.sum(plain**2)) > 20 * error


@settings(max_examples=10, deadline=None)
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
        np.testing.assert_allclose(b.mean - a.mean, np.log(factor), atol=2 * HALF_STEP)
        np.testing.assert_allclose(b.sum_of_squares, a.sum_of_squares, rtol=1e-6)
        assert b.design_effect == pytest.approx(a.design_effect, rel=1e-3)
