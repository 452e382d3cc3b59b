"""Compressed readings of each condition against counts over the readings themselves."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import norm

from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import Measurements, check_measurements
from devicefit.prediction.condition_readings import BIN, ConditionReadings, condition_readings
from devicefit.prediction.sides import thresholds

CURRENT = Programming("SET compliance current", "A")
WIDTH = Programming("pulse width", "s")
GIVEN = SensingOptions(threshold_ohm=2e4)
X, WIDTHS = (5e-5, 2e-4), (1e-7, 1e-6)


@pytest.fixture(scope="module")
def device() -> DevicePosterior:
    frame = Frame(
        CURRENT, *X, second=WIDTH, second_low=1e-7, second_high=1e-6, second_reference=3e-7,
        arrays=("A", "B"),
    )  # fmt: skip
    values = {
        p.name: np.full((2, 60, p.size) if p.size else (2, 60), p.mean)
        for p in FAMILIES["lognormal"].priors(frame)
    }
    values["ln_r_hrs"] = np.full((2, 60), np.log(4e4))
    values["hrs_second"] = np.full((2, 60), 1.0)
    dims = {k: ("chain", "draw", f"{k}_term")[: v.ndim] for k, v in values.items()}
    draws = xr.Dataset({k: (dims[k], v) for k, v in values.items()})
    record = {"devices": 100, "design_effect": {"LRS": 1.0, "HRS": 1.0}}
    return DevicePosterior("lognormal", draws, frame, Diagnostics(1, 1e3, 1e3, 0, 120), record)


@pytest.fixture(scope="module")
def measurements() -> Measurements:
    rng = np.random.default_rng(11)
    parts = []
    for x in X:
        for width in WIDTHS:
            for array in "AB":
                for state, centre in (("LRS", 9.2), ("HRS", 10.6)):
                    n = 40
                    parts.append(
                        pd.DataFrame(
                            {
                                "device_id": [f"{array}{x}{width}-{k // 2}" for k in range(n)],
                                "cycle": np.arange(n) % 2,
                                "array_id": array,
                                "state": state,
                                "programming": x,
                                "programming_2": width,
                                "resistance_ohm": np.exp(rng.normal(centre, 0.8, n)),
                            }
                        )
                    )
    return check_measurements(pd.concat(parts, ignore_index=True), CURRENT, second=WIDTH)


def test_counts_and_pairs_are_those_of_the_readings(
    device: DevicePosterior, measurements: Measurements
) -> None:
    found = condition_readings(measurements, device, GIVEN)
    assert len(found) == 8
    table = measurements.table
    for c in found:
        rows = table[
            (table["programming"] == c.programming)
            & (table["programming_2"] == c.second)
            & (table["array_id"] == c.array)
        ]
        lrs, hrs = (
            np.log(rows["resistance_ohm"][rows["state"] == s].to_numpy()) for s in ("LRS", "HRS")
        )
        assert (c.trials("LRS"), c.trials("HRS"), c.devices) == (40, 40, 20)
        assert c.errors("LRS") == (lrs > np.log(2e4)).sum()
        assert c.errors("HRS") == (hrs < np.log(2e4)).sum()
        for offset in (0.05, 0.3):
            pairs = norm.cdf((lrs[:, None] - hrs) / offset).mean()
            # the place within a bin is lost: less than that of a shift by a bin
            near = norm.pdf((lrs[:, None] - hrs) / offset).mean() / offset
            assert c.pair_error(offset) == pytest.approx(pairs, abs=BIN * near)
        assert c.pair_error(0.0) == pytest.approx((lrs[:, None] > hrs).mean(), abs=0.02)
    assert [ConditionReadings.of_record(json.loads(json.dumps(c.record()))).record()
            for c in found] == [c.record() for c in found]  # fmt: skip


def test_the_chosen_threshold_is_that_of_the_second_value(
    device: DevicePosterior, measurements: Measurements
) -> None:
    found = condition_readings(measurements, device, SensingOptions())
    for width in WIDTHS:
        expected = thresholds(device.at_second(width), np.array(X), SensingOptions())
        for x, ln_threshold in zip(X, expected, strict=True):
            here = {c.threshold_ohm for c in found if (c.programming, c.second) == (x, width)}
            assert list(here) == pytest.approx([np.exp(ln_threshold)], rel=1e-12)
    one, other = (
        {c.threshold_ohm for c in found if c.second == width and c.programming == X[0]}
        for width in WIDTHS
    )
    # HRS rises with the second variable, and the threshold with it
    assert min(other) > 1.2 * max(one)


def test_readings_known_by_bounds_are_on_their_side(device: DevicePosterior) -> None:
    rows = pd.DataFrame(
        {
            "device_id": [f"d{k}" for k in range(8)],
            "array_id": "A",
            "state": ["LRS"] * 4 + ["HRS"] * 4,
            "programming": X[0],
            "programming_2": WIDTHS[0],
            "resistance_ohm": [1e4, 3e4, np.nan, np.nan, 5e4, 1.9e4, np.nan, np.nan],
            "resistance_low_ohm": [np.nan] * 2 + [1e5, 1e3] + [np.nan] * 2 + [2e4, 1e3],
            "resistance_high_ohm": [np.nan] * 2 + [np.inf, 1e6] + [np.nan] * 2 + [np.inf, 5e3],
        }
    )
    three = [rows.assign(device_id=rows["device_id"] + f"-{copy}") for copy in range(3)]
    second = [part.assign(programming=X[1], programming_2=WIDTHS[1]) for part in three]
    table = pd.concat([*three, *second], ignore_index=True)
    found = condition_readings(check_measurements(table, CURRENT, second=WIDTH), device, GIVEN)
    assert len(found) == 2
    for c in found:
        # one in LRS is between 1 kohm and 1 Mohm, which tells no side
        assert (c.trials("LRS"), c.errors("LRS")) == (9, 6)
        # above a bound at the threshold is above it
        assert (c.trials("HRS"), c.errors("HRS")) == (12, 6)


def test_pairs_need_both_states() -> None:
    none = (np.array([], dtype=np.int64),) * 2
    one = (np.array([1]), np.array([3]))
    lonely = ConditionReadings(1.0, None, "", 1, 1e4, {"LRS": one, "HRS": none})
    with pytest.raises(ValueError, match="both states"):
        lonely.pair_error(0.05)
