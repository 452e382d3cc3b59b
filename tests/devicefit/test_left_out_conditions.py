"""Conditions left out of a fit, here one known device: what is fitted and what is asked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from devicefit import left_out_conditions
from devicefit.backend import SamplerOptions
from devicefit.compressed import Compressed
from devicefit.left_out_conditions import leave_conditions_out
from devicefit.measurements import Measurements
from devicefit.sensing import SensingOptions

CURRENTS = np.array([5e-5, 1e-4, 2e-4, 4e-4])
DEVICES = 400
THRESHOLD = SensingOptions(threshold_ohm=2e4)


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

    def fit(compressed: Compressed, *, family: str, options: SamplerOptions) -> Any:
        calls.append((compressed, family))
        return known_posterior()

    monkeypatch.setattr(left_out_conditions, "fit", fit)
    return calls


def leave_out(measurements: Measurements, *groups: tuple[float, float]) -> Any:
    return leave_conditions_out(
        measurements, groups, family="lognormal", options=SamplerOptions(), sensing=THRESHOLD
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
    ],
)
def test_groups_that_cannot_be_left_out(
    readings: Callable[[float], Measurements],
    fitted: list[tuple[Compressed, str]],
    group: tuple[float, float],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        leave_out(readings(0.0), group)
    assert not fitted
