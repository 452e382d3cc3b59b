"""Totals of errors: the truth passes as often as stated, planted errors are found."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from devicefit.checks.counted_share import FALSE_ALARMS, CountedShare
from devicefit.checks.totals import error_totals, totals_gate
from devicefit.distributions.sensing import SensingOptions
from devicefit.simulation.reference_device import ReferenceDevice, true_mixtures

OPTIONS = SensingOptions(threshold_ohm=3e4)


def test_shares_are_those_of_the_readings(known_device: Any, readings_of: Any) -> None:
    measurements = readings_of(seed=1, currents=8, devices_per_current=20, cycles=3)
    totals = error_totals(known_device(), measurements, options=OPTIONS)
    table = measurements.table
    for total in totals:
        rows = table["state"] == total.state
        if "predicted" in total.where:
            continue
        if total.where != "all readings":
            low, high = (float(w.removesuffix(" uA")) * 1e-6 for w in total.where.split(" to "))
            rows &= table["programming"].between(0.99 * low, 1.01 * high)
        above = table["resistance_ohm"][rows] > 3e4
        assert total.readings == rows.sum()
        assert total.share == pytest.approx((above if total.state == "LRS" else ~above).mean())
        assert 20 <= total.effective <= total.readings
    assert [(t.state, t.where) for t in totals][:2] == [
        ("LRS", "all readings"),
        ("LRS", "20 uA to 32.5 uA"),
    ]
    laws = true_mixtures(known_device().device, np.unique(table["programming"]))
    rates = {
        "LRS": np.exp(laws["LRS"].ln_survival(np.log(3e4))),
        "HRS": np.exp(laws["HRS"].ln_distribution(np.log(3e4))),
    }
    for state, rate in rates.items():
        decades = [t for t in totals if t.state == state and "predicted" in t.where]
        groups = np.unique(np.digitize(rate, [1e-3, 1e-2, 1e-1]))
        assert len(decades) == (len(groups) if len(groups) > 1 else 0)
        for total in decades:
            low, high = (float(w) for w in total.where.split()[1:4:2])
            assert total.readings == 60 * ((rate >= low) & (rate < high)).sum()


def test_arrays_have_totals_of_their_own(known_device: Any, readings_of: Any) -> None:
    def in_two(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(array_id=np.where(table["device_id"] < "sim-0080", "a", "b"))

    measurements = readings_of(seed=1, change=in_two, devices_per_current=20, cycles=1)
    totals = error_totals(known_device(arrays=("a", "b")), measurements, options=OPTIONS)
    arrays = {t.where: t.readings for t in totals if t.where.startswith("array")}
    assert arrays == {"array a": 80, "array b": 80}


@pytest.mark.parametrize(("devices", "cycles"), [(60, 1), (15, 8)])
def test_the_truth_fails_as_rarely_as_stated(
    known_device: Any, readings_of: Any, rate_at_most: Any, devices: int, cycles: int
) -> None:
    least = []
    for seed in range(40):
        measurements = readings_of(
            seed=seed, currents=4, devices_per_current=devices, cycles=cycles
        )
        totals = error_totals(known_device(), measurements, options=OPTIONS)
        least.append(len(totals) * min(t.p_value for t in totals))
        assert totals_gate(totals).passed
    for level in (0.05, 0.2):
        rate_at_most(np.array(least), level)


def stuck(share: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Devices of which all readings in HRS are those of a stuck cell."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        names = table["device_id"].unique()
        bad = names[np.random.default_rng(len(table)).random(len(names)) < share]
        rows = table["device_id"].isin(bad) & (table["state"] == "HRS")
        return table.assign(resistance_ohm=table["resistance_ohm"].where(~rows, 1600.0))

    return change


def test_stuck_cells_are_no_false_alarm(known_device: Any, readings_of: Any) -> None:
    # 4 % of 200 devices are stuck for all of 20 cycles: as many failed readings in expectation as
    # a rate of 4 %, but eight devices
    device = dataclasses.replace(known_device().device, reset_floor=0.05)
    p_values, naive = [], []
    for seed in range(20):
        measurements = readings_of(
            seed=seed, change=stuck(0.04), currents=4, devices_per_current=50, cycles=20
        )
        totals = error_totals(known_device(device), measurements, options=OPTIONS)
        assert totals_gate(totals).passed
        of_hrs = [t for t in totals if t.state == "HRS"]
        p_values += [t.p_value for t in of_hrs]
        # control: the same readings as if they were independent
        naive += [dataclasses.replace(t, effective=float(t.readings)).p_value for t in of_hrs]
    assert min(naive) < FALSE_ALARMS / 10 < min(p_values)


@pytest.mark.parametrize("floor", [0.005, 0.025])
def test_control_half_and_more_than_twice_the_rate_must_fail(
    known_device: Any, readings_of: Any, floor: float
) -> None:
    claimed, device = (
        ReferenceDevice(set_floor=p, reset_floor=0.01, incomplete=1e-9) for p in (0.01, floor)
    )
    measurements = readings_of(device, seed=3, devices_per_current=1500, cycles=1)
    gate = totals_gate(error_totals(known_device(claimed), measurements, options=OPTIONS))
    assert not gate.passed
    assert gate.value < FALSE_ALARMS
    assert "LRS, " in gate.finding
    # the truth about the same readings
    gate = totals_gate(error_totals(known_device(device), measurements, options=OPTIONS))
    assert gate.passed, gate.finding


def test_what_is_certain_but_small_does_not_matter() -> None:
    n = 10_000_000
    small = CountedShare("LRS", "all readings", 0.0115, n, n, np.array([0.01]))
    large = CountedShare("HRS", "all readings", 0.013, n, n, np.array([0.01]))
    gate = totals_gate((small,))
    assert small.p_value < 1e-100
    assert (gate.passed, gate.value) == (True, 1.0)
    gate = totals_gate((small, large))
    assert not gate.passed
    assert gate.finding.startswith(
        "1 of 2 shares of wrong readings differ from the model's by more than a factor of 1.25 "
        "and by more than chance; HRS, all readings: counted 0.013, predicted 0.01"
    )


def test_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="no share of errors to check; count readings first"):
        totals_gate(())
