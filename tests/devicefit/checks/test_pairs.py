"""Pairs of readings against brute force, and the gate on 2T2R."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from devicefit.checks.pairs import pair_shares, pairs_gate
from devicefit.distributions.sensing import SensingOptions, ln_ber_2t2r
from devicefit.simulation.reference_device import ReferenceDevice, true_mixtures

OPTIONS = SensingOptions(threshold_ohm=3e4)
FAILING = ReferenceDevice(set_floor=0.02, reset_floor=0.02, incomplete=0.02)


def test_shares_are_those_of_all_pairs(known_device: Any, readings_of: Any) -> None:
    measurements = readings_of(FAILING, seed=1, currents=2, devices_per_current=30, cycles=2)
    shares = pair_shares(known_device(FAILING), measurements, options=OPTIONS)
    table = measurements.table
    expected = []
    for current in np.unique(table["programming"]):
        y = {
            s: np.log(
                table["resistance_ohm"][(table["programming"] == current) & (table["state"] == s)]
            )
            for s in ("LRS", "HRS")
        }
        apart = y["LRS"].to_numpy()[:, None] - y["HRS"].to_numpy()
        expected.append(ndtr(apart / OPTIONS.offset_ln_r).mean())
    assert [s.where for s in shares] == ["all conditions", "20 uA", "600 uA"]
    # bins of 0.02 in ln R
    assert [s.share for s in shares[1:]] == pytest.approx(expected, abs=4e-4)
    assert shares[0].share == pytest.approx(np.mean(expected), abs=4e-4)
    assert shares[0].readings == 120
    laws = true_mixtures(FAILING, np.array([2e-5, 6e-4]))
    ber = np.exp(ln_ber_2t2r(laws["LRS"], laws["HRS"], OPTIONS.offset_ln_r))
    assert [s.predicted[0] for s in shares[1:]] == pytest.approx(ber, rel=1e-9)


@pytest.mark.parametrize(("devices", "cycles"), [(100, 1), (20, 10)])
def test_the_effective_number_gives_the_spread_of_shares(
    known_device: Any, readings_of: Any, devices: int, cycles: int
) -> None:
    # the spread of the share over 60 simulated sets, known within 9 %
    found = [
        pair_shares(
            known_device(FAILING),
            readings_of(FAILING, seed=seed, currents=2, devices_per_current=devices, cycles=cycles),
            options=OPTIONS,
        )[0]
        for seed in range(60)
    ]
    shares = np.array([s.share for s in found])
    p = found[0].predicted[0]
    assert shares.mean() == pytest.approx(p, abs=3.3 * shares.std() / np.sqrt(60))
    stated = np.median([np.sqrt(p * (1 - p) / s.effective) for s in found])
    # never too narrow; wider where few devices fail, as in the worst case
    assert 0.8 * shares.std() < stated < 2.5 * shares.std()


@pytest.mark.parametrize(("devices", "cycles"), [(60, 1), (15, 8)])
def test_the_truth_fails_as_rarely_as_stated(
    known_device: Any, readings_of: Any, rate_at_most: Any, devices: int, cycles: int
) -> None:
    least = []
    for seed in range(40):
        measurements = readings_of(
            FAILING, seed=seed, currents=4, devices_per_current=devices, cycles=cycles
        )
        shares = pair_shares(known_device(FAILING), measurements, options=OPTIONS)
        least.append(len(shares) * min(s.p_value for s in shares))
        assert pairs_gate(shares).passed
    for level in (0.05, 0.2):
        rate_at_most(np.array(least), level)


@pytest.mark.parametrize("factor", [1 / 3, 3])
def test_control_three_times_the_failures_must_fail(
    known_device: Any, readings_of: Any, factor: float
) -> None:
    other = dataclasses.replace(FAILING, reset_floor=0.02 * factor, set_floor=0.02 * factor)
    measurements = readings_of(FAILING, seed=3, devices_per_current=200, cycles=1)
    gate = pairs_gate(pair_shares(known_device(other), measurements, options=OPTIONS))
    assert not gate.passed
    assert "pair, all conditions" in gate.finding
    gate = pairs_gate(pair_shares(known_device(FAILING), measurements, options=OPTIONS))
    assert gate.passed, gate.finding


def test_conditions_of_few_devices_are_said_to_tell_nothing(
    known_device: Any, readings_of: Any
) -> None:
    measurements = readings_of(seed=4, currents=8, devices_per_current=9, cycles=3)
    shares = pair_shares(known_device(), measurements, options=OPTIONS)
    assert shares == ()
    gate = pairs_gate(shares)
    assert gate.passed
    assert gate.finding == "not tested: no condition has 10 devices in each state"
