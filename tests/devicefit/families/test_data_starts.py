"""Where chains start, against readings whose starts are known."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from devicefit.families.frame import Frame
from devicefit.families.skewed_failure import STUCK_CENTRE, STUCK_REACH
from devicefit.fitting.starts import data_starts
from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.numerics.arrays import FloatArray

CURRENT, GATE = Programming("i", "A"), Programming("v", "V")
LINE = Programming("line", "V")


@pytest.fixture(scope="module")
def starts_of(
    make_state: Callable[..., Any], make_compressed: Callable[..., Any]
) -> Callable[..., dict[str, float]]:
    """Starts from one reading in each state at positions 0, 1, ... of the range."""

    def make(lrs: FloatArray, programming: Programming, hrs: float = 11.5) -> dict[str, float]:
        n = len(lrs)
        x = programming.from_coordinate(np.arange(n) / max(n - 1, 1))
        states = {
            "LRS": make_state(np.arange(n), lrs, conditions=n),
            "HRS": make_state(np.arange(n), np.full(n, hrs), conditions=n),
        }
        compressed = make_compressed(programming, x, states)
        return data_starts(compressed, Frame.of(compressed))

    return make


def test_starts_of_a_current(starts_of: Callable[..., dict[str, float]]) -> None:
    starts = starts_of(np.linspace(10.0, 8.0, 11), CURRENT)
    # a tenth of the way up from the smallest median, less 10 %
    assert starts == pytest.approx({"ln_r_hrs": 11.5, "ln_r_series": 8.2 - 0.1})


def test_starts_of_one_condition(starts_of: Callable[..., dict[str, float]]) -> None:
    assert starts_of(np.array([9.0]), ONE_CONDITION) == {"ln_r_hrs": 11.5, "ln_r_lrs": 9.0}


@given(st.lists(st.booleans(), min_size=2, max_size=12))
def test_start_of_the_onset_is_the_split_with_fewest_exceptions(
    starts_of: Callable[..., dict[str, float]], is_set: list[bool]
) -> None:
    lrs = np.where(is_set, 8.5, 11.4)
    n = len(lrs)
    found = starts_of(lrs, GATE)["onset"] * (n - 1)
    lowest = np.quantile(lrs, 0.1)
    below = lrs < (11.5 + lowest) / 2
    wrong = [below[:cut].sum() + (~below[cut:]).sum() for cut in range(n + 1)]
    # the split lies between the readings on either side of the start
    cut = int(np.searchsorted(np.arange(n), found))
    assert wrong[cut] == min(wrong)


def test_starts_are_medians_of_counted_readings(
    make_state: Callable[..., Any], make_compressed: Callable[..., Any]
) -> None:
    # one reading at 9, eight at 10, one failure at 14; the LRS is missing at the second condition
    some = make_state(
        [0] * 3 + [1], np.array([9.0, 10.0, 14.0, 12.0]), conditions=2, count=[1, 8, 1, 1]
    )
    lrs = make_state([0, 0], np.array([8.0, 8.2]), conditions=2, count=[2, 5])
    compressed = make_compressed(CURRENT, np.array([1e-5, 1e-4]), {"LRS": lrs, "HRS": some})
    found = data_starts(compressed, Frame.of(compressed))
    assert found == pytest.approx({"ln_r_hrs": 11.0, "ln_r_series": 8.1})


def test_no_starts_where_a_state_has_no_readings(
    make_state: Callable[..., Any], make_compressed: Callable[..., Any]
) -> None:
    lrs, none = (make_state(c, np.full(len(c), 9.0), conditions=2) for c in ([0, 1], []))
    for states in ({"LRS": lrs, "HRS": none}, {"LRS": none, "HRS": lrs}):
        compressed = make_compressed(GATE, np.array([1.0, 2.0]), states)
        assert data_starts(compressed, Frame.of(compressed)) == {}


def test_spreads_of_one_condition_are_those_of_the_quartiles(
    make_state: Callable[..., Any], make_compressed: Callable[..., Any]
) -> None:
    normal = stats.norm.ppf((np.arange(4001) + 0.5) / 4001)
    lrs, hrs = (
        make_state(np.zeros(4001, int), centre + sd * normal, conditions=1)
        for centre, sd in ((9.0, 0.1), (11.5, 0.5))
    )
    compressed = make_compressed(ONE_CONDITION, np.ones(1), {"LRS": lrs, "HRS": hrs})
    starts = data_starts(compressed, Frame.of(compressed))
    assert starts["ln_sd_lrs"] == pytest.approx(np.log(0.1), abs=1e-3)
    assert starts["ln_sd_hrs"] == pytest.approx(np.log(0.5), abs=1e-3)


@pytest.mark.parametrize("place", [-0.7, -0.2, 0.3])
def test_failed_resets_start_where_they_read(
    make_state: Callable[..., Any], make_compressed: Callable[..., Any], place: float
) -> None:
    hrs = np.concatenate([np.full(190, 11.5), np.full(10, 8.5 + place)])
    states = {
        "LRS": make_state([0, 1], np.array([9.0, 8.5]), conditions=2),
        "HRS": make_state(np.repeat([0, 1], 100), hrs, conditions=2),
    }
    compressed = make_compressed(CURRENT, np.array([1e-5, 1e-4]), states)
    starts = data_starts(compressed, Frame.of(compressed))
    assert starts["stuck_offset"] == pytest.approx(place)
    assert STUCK_CENTRE + STUCK_REACH * np.tanh(starts["stuck_place"]) == pytest.approx(place)
    assert 10 ** starts["log10_reset_floor"] == pytest.approx(10 / 190)
    # Four of them, or most of all readings, are not taken for failures.
    for few in (np.r_[hrs[:190], hrs[190:194]], np.r_[hrs[:10], np.tile(hrs[190:], 19)]):
        one = make_state(np.zeros(len(few), int), few, conditions=2)
        other = make_compressed(CURRENT, np.array([1e-5, 1e-4]), states | {"HRS": one})
        assert "stuck_place" not in data_starts(other, Frame.of(other))


def test_shifts_of_arrays_are_from_the_typical_one(
    make_state: Callable[..., Any], make_compressed: Callable[..., Any]
) -> None:
    normal = stats.norm.ppf((np.arange(401) + 0.5) / 401)
    centre, sd = np.array([9.0, 9.3, 8.9]), np.array([0.1, 0.1, 0.01])
    condition = np.repeat(np.arange(3), 401)
    states = {
        "LRS": make_state(
            condition, (centre[:, None] + sd[:, None] * normal).ravel(), conditions=3
        ),
        "HRS": make_state(condition, np.tile(11.5 + 0.4 * normal, 3), conditions=3),
    }
    compressed = replace(
        make_compressed(ONE_CONDITION, np.ones(3), states),
        arrays=("a", "b", "c"),
        array=np.arange(3),
    )
    starts = data_starts(compressed, Frame.of(compressed))
    np.testing.assert_allclose(starts["lrs_location_array"], [0.0, 0.3, -0.1], atol=1e-12)
    np.testing.assert_allclose(starts["lrs_ln_sd_array"], [0, 0, -np.log(10)], atol=0.02)
    np.testing.assert_allclose(starts["hrs_location_array"], 0.0, atol=1e-12)


def test_onsets_of_two_variables_are_found_together(
    make_state: Callable[..., Any], make_compressed: Callable[..., Any]
) -> None:
    gate, line = (v.ravel() for v in np.meshgrid(np.linspace(1, 2, 6), np.linspace(1, 3, 5)))
    is_set = (gate > 1.3) & (line > 1.75)
    n = len(gate)
    states = {
        "LRS": make_state(np.arange(n), np.where(is_set, 8.5, 11.4), conditions=n),
        "HRS": make_state(np.arange(n), np.full(n, 11.5), conditions=n),
    }
    compressed = make_compressed(GATE, gate, states, second=LINE, second_values=line)
    starts = data_starts(compressed, Frame.of(compressed))
    # Halfway between the last value without a SET and the first with one.
    assert starts["onset"] == pytest.approx(0.3)
    assert starts["second_centre"] == pytest.approx(0.375 - 0.5)
