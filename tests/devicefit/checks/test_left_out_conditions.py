"""Conditions left out of a fit, here one known device: what is fitted and what is asked."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from devicefit.checks import left_out_conditions
from devicefit.checks.left_out_conditions import (
    leave_conditions_out,
    left_out_conditions_gate,
    split_conditions,
)
from devicefit.distributions.sensing import SensingOptions
from devicefit.inputs.programming import Programming
from devicefit.likelihood.compressed import Compressed
from devicefit.measurements.measurements import Measurements, check_measurements
from devicefit.priors.files import Entry, PriorFile
from devicefit.sampling.options import SamplerOptions

CURRENTS = np.array([5e-5, 1e-4, 2e-4, 4e-4])
DEVICES = 400
THRESHOLD = SensingOptions(threshold_ohm=2e4)
OPTIONS = SamplerOptions(draws=70, target_accept=0.9)
PRIORS = PriorFile("known.toml", (Entry("hrs_median", 11.0, 0.5, "wafer 12"),))
CURRENT = Programming("SET compliance current", "A")


@pytest.fixture
def readings(
    measured: Callable[..., Measurements], known_posterior: Callable[..., Any]
) -> Callable[[float], Measurements]:
    """Make readings of the known device, with `moved` added to ln R in the HRS at 200 uA."""

    def make(moved: float) -> Measurements:
        rng = np.random.default_rng(61)
        laws = known_posterior().mixtures(CURRENTS)
        y = [
            m.location[0, 0, 0] + m.scale[0, 0, 0] * rng.standard_normal((DEVICES, 4))
            for m in (laws["LRS"], laws["HRS"])
        ]
        y[1][:, 2] += moved
        device = np.broadcast_to(np.arange(DEVICES)[:, None] * 4 + np.arange(4), (DEVICES, 4))
        return measured(
            np.stack(y).ravel(),
            state=np.repeat(["LRS", "HRS"], 4 * DEVICES),
            programming=np.tile(CURRENTS, 2 * DEVICES),
            device=np.tile(device.ravel(), 2),
            cycle=np.zeros(8 * DEVICES),
        )

    return make


@pytest.fixture
def fitted(
    monkeypatch: pytest.MonkeyPatch, known_posterior: Callable[..., Any]
) -> list[tuple[Compressed, str]]:
    """Put the known device in the place of a fit; collect what was to be fitted."""
    calls = []

    def fit(
        compressed: Compressed, *, family: str, options: SamplerOptions, prior_file: Any
    ) -> Any:
        assert (options, prior_file) == (OPTIONS, PRIORS)
        calls.append((compressed, family))
        return known_posterior()

    monkeypatch.setattr(left_out_conditions, "fit", fit)
    return calls


def leave_out(measurements: Measurements, *groups: tuple[float, float]) -> Any:
    return leave_conditions_out(
        measurements,
        groups,
        family="lognormal",
        options=OPTIONS,
        sensing=THRESHOLD,
        prior_file=PRIORS,
    )


def test_the_rest_is_fitted_and_the_group_predicted(
    readings: Callable[[float], Measurements], fitted: list[tuple[Compressed, str]]
) -> None:
    found = leave_out(readings(0.0), (1e-4, 2e-4), (4e-4, 1.0))
    kept = [set(compressed.conditions) for compressed, _ in fitted]
    assert kept == [{5e-5, 4e-4}, {5e-5, 1e-4, 2e-4}]
    assert {family for _, family in fitted} == {"lognormal"}
    assert list(found["state"]) == ["LRS", "HRS", "LRS", "HRS"]
    np.testing.assert_array_equal(found["programming_low"], [1e-4, 1e-4, 4e-4, 4e-4])
    np.testing.assert_array_equal(found["programming_high"], [2e-4, 2e-4, 4e-4, 4e-4])
    np.testing.assert_array_equal(found["devices"], [800, 800, 400, 400])
    # beyond 50 to 400 uA only the second
    assert list(found["extrapolated"]) == [False, False, True, True]
    assert set(found["r_hat"]) == {1.0}
    # the truth itself: four 95 % intervals
    assert found["inside"].all(), found


def test_failures_are_counted_at_the_threshold(
    readings: Callable[[float], Measurements], fitted: list[tuple[Compressed, str]]
) -> None:
    measurements = readings(-1.0)
    found = leave_out(measurements, (2e-4, 2e-4))
    table = measurements.table[measurements.table["programming"] == 2e-4]
    r = table["resistance_ohm"].to_numpy()
    hrs = (table["state"] == "HRS").to_numpy()
    expected = [(r[~hrs] > 2e4).sum(), (r[hrs] < 2e4).sum()]
    np.testing.assert_array_equal(found["failures_observed"], expected)


def test_overflow_is_left_out_with_its_condition(
    readings: Callable[[float], Measurements], fitted: list[tuple[Compressed, str]]
) -> None:
    known = readings(0.0)
    table = known.table.assign(cycle=np.arange(len(known.table)))
    lrs = table.index[table["state"] == "LRS"][::40]
    table.loc[lrs, "resistance_ohm"] = 9.9e37
    measurements = check_measurements(table, known.programming)
    found = leave_out(measurements, (2e-4, 2e-4)).set_index("state")
    here = table[(table["programming"] == 2e-4) & (table["state"] == "LRS")]
    wrong = here["resistance_ohm"] > 2e4
    assert found.loc["LRS", "devices"] == here["device_id"].nunique()
    assert found.loc["LRS", "failures_observed"] == here["device_id"][wrong].nunique()
    kept, _ = fitted[0]
    assert kept.states["LRS"].intervals.count.sum() == len(lrs) - (here.index.isin(lrs)).sum()


def test_control_a_condition_that_differs_must_be_found(
    readings: Callable[[float], Measurements], fitted: list[tuple[Compressed, str]]
) -> None:
    found = leave_out(readings(-1.0), (2e-4, 2e-4)).set_index("state")
    assert found.loc["LRS", "inside"]
    assert not found.loc["HRS", "inside"]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ((1e-3, 2e-3), "no readings from 0.001 to 0.002; the variable goes from 5e-05 to 0.0004"),
        ((0.0, 1.0), "a state has no readings outside 0 to 1; leave out less"),
        ((1e-4, 1.0), "1 programming value is left without those from 0.0001 to 1, which"),
    ],
)
def test_groups_that_cannot_be_left_out(
    readings: Callable[[float], Measurements],
    fitted: list[tuple[Compressed, str]],
    group: tuple[float, float],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        # nothing is fitted before all groups are known to be good
        leave_out(readings(0.0), (5e-5, 5e-5), group)
    assert not fitted


def test_an_array_of_the_left_out_values_only_is_refused(
    readings: Callable[[float], Measurements], fitted: list[tuple[Compressed, str]]
) -> None:
    measurements = readings(0.0)
    x = measurements.table["programming"]
    three = measurements.table.assign(array_id=x.map({5e-5: "a", 1e-4: "b", 2e-4: "b", 4e-4: "c"}))
    with pytest.raises(ValueError, match="array 'c' was read from 0.0004 to 0.0004 only"):
        leave_out(replace(measurements, table=three), (4e-4, 4e-4))
    # nor does one array that is left stand for another
    two = measurements.table.assign(array_id=x.map(lambda v: "c" if v == 4e-4 else "a"))
    with pytest.raises(ValueError, match="array 'c' was read from 0.0004 to 0.0004 only"):
        leave_out(replace(measurements, table=two), (4e-4, 4e-4))
    assert not fitted


def test_bounds_and_tables_of_the_conditions_are_left_out_too(
    readings: Callable[[float], Measurements], fitted: list[tuple[Compressed, str]]
) -> None:
    bounds = pd.DataFrame(
        {
            "state": "HRS",
            "programming": [2e-4, 3e-4],
            "low_ohm": 1e6,
            "high_ohm": np.inf,
            "count": [7, 5],
        }
    )
    tables = pd.DataFrame(
        {"state": "LRS", "programming": [2e-4], "n": 9, "mean_ln_r": 9.0, "sd_ln_r": 0.1}
    )
    leave_out(replace(readings(0.0), intervals=bounds, summaries=tables), (2e-4, 2e-4))
    ((compressed, _),) = fitted
    assert compressed.states["HRS"].intervals.count.sum() == 5
    assert compressed.states["LRS"].summaries.n.sum() == 0


# --- groups ---------------------------------------------------------------------------------------


def sweep(measured: Callable[..., Measurements], devices: list[int]) -> Measurements:
    """So many devices at each of the values 1, 2, ... A."""
    x = np.repeat(np.arange(1.0, len(devices) + 1), devices)
    return measured(
        np.repeat([9.0, 11.0], len(x)),
        state=np.repeat(["LRS", "HRS"], len(x)),
        programming=np.tile(x, 2),
        device=np.tile(np.arange(len(x)), 2),
        cycle=np.zeros(2 * len(x)),
    )


@pytest.mark.parametrize(
    ("devices", "number", "expected"),
    [
        ([10] * 6, 2, [(1, 3), (4, 6)]),
        ([10] * 6, 3, [(1, 2), (3, 4), (5, 6)]),
        ([10] * 6, 5, [(1, 1), (2, 2), (3, 4), (5, 5), (6, 6)]),
        # 60 devices: 30 each, so the first value weighs as much as the four others
        ([30, 5, 5, 10, 10], 3, [(1, 1), (2, 3), (4, 5)]),
        # every group keeps a value however few devices it has
        ([1, 1, 1, 1, 100], 4, [(1, 2), (3, 3), (4, 4), (5, 5)]),
        ([100, 1, 1, 1, 1], 4, [(1, 1), (2, 2), (3, 3), (4, 5)]),
    ],
)
def test_groups_are_neighbours_of_about_equal_numbers(
    measured: Callable[..., Measurements],
    devices: list[int],
    number: int,
    expected: list[tuple[float, float]],
) -> None:
    assert split_conditions(sweep(measured, devices), number) == expected


def test_a_device_counts_once_at_each_of_its_values(
    measured: Callable[..., Measurements],
) -> None:
    # the same twelve devices at every value, in 20 cycles at the first and in one at the others
    x = np.repeat([1.0, 2.0, 3.0, 4.0], [240, 12, 12, 12])
    cycle = np.concatenate([np.repeat(np.arange(20), 12), np.zeros(36)])
    measurements = measured(
        np.repeat([9.0, 11.0], 276),
        state=np.repeat(["LRS", "HRS"], 276),
        programming=np.tile(x, 2),
        device=np.tile(np.arange(12), 46),
        cycle=np.tile(cycle, 2),
    )
    assert split_conditions(measurements, 2) == [(1.0, 2.0), (3.0, 4.0)]


@pytest.mark.parametrize(
    ("devices", "number", "message"),
    [
        ([20], 2, "table: there are readings at 1 programming value; leaving some out needs 4"),
        ([20, 20], 2, "2 values can be left out in no way: measure more, or fit without it"),
        ([20] * 5, 1, "table: 1 groups of programming values .* 5 values .* in 2 to 4 groups"),
        ([20] * 5, 5, "5 groups of programming values .* in 2 to 4 groups"),
        ([20] * 5, 0, "0 groups of programming values"),
        ([20] * 3, 2, "1 programming value is left .* or measure more values"),
    ],
)
def test_numbers_of_groups_that_are_refused(
    measured: Callable[..., Measurements], devices: list[int], number: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        split_conditions(sweep(measured, devices), number)


# --- gate -----------------------------------------------------------------------------------------


def predicted(inside: list[bool], *, r_hat: float = 1.0) -> pd.DataFrame:
    """Two cells for each of several groups of 20 uA, the first and the last extrapolated."""
    group = np.arange(len(inside)) // 2
    return pd.DataFrame(
        {
            "programming_low": 1e-5 + 2e-5 * group,
            "programming_high": 2e-5 + 2e-5 * group,
            "inside": inside,
            "extrapolated": (group == 0) | (group == group[-1]),
            "r_hat": np.where(group == 1, r_hat, 1.0),
        }
    )


@pytest.mark.parametrize(
    ("outside", "passed", "words"),
    [
        ((), True, "10 of 10 cells (group, state) inside the 95 % predictive interval"),
        ((0,), True, "9 of 10 cells"),
        ((0, 1), False, "8 of 10 cells"),
    ],
)
def test_gate_counts_cells_and_names_what_was_extrapolated(
    outside: tuple[int, ...], passed: bool, words: str
) -> None:
    gate = left_out_conditions_gate(predicted([i not in outside for i in range(10)]), CURRENT)
    assert (gate.name, gate.passed, gate.limit) == ("left-out conditions", passed, 0.9)
    assert gate.value == pytest.approx(1 - len(outside) / 10)
    assert gate.finding.startswith(words)
    assert gate.finding.endswith(
        "; extrapolated: 10 uA to 20 uA and 90 uA to 100 uA, "
        f"{4 - len(outside)} of 4 cells inside there"
    )
    assert gate.remedy


def test_gate_says_where_the_chains_do_not_agree() -> None:
    for r_hat, found in ((1.009, False), (1.2, True), (np.nan, True)):
        gate = left_out_conditions_gate(predicted([True] * 6, r_hat=r_hat), CURRENT)
        assert ("; chains do not agree without 30 uA to 40 uA" in gate.finding) is found


def test_gate_without_extrapolation() -> None:
    inner = predicted([True] * 6).iloc[2:4].assign(programming_high=3e-5)
    assert left_out_conditions_gate(inner, CURRENT).finding == (
        "2 of 2 cells (group, state) inside the 95 % predictive interval"
    )
