"""The simulated device: reproducible, marked as simulated, and as its truth says."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from devicefit.distributions.sensing import ln_ber_1t1r
from devicefit.measurements.measurements import read_measurements
from devicefit.simulation.reference_device import (
    DEFAULT_SEED,
    PROGRAMMING,
    ReferenceDevice,
    ReferencePlan,
    reference_csv,
    reference_measurements,
    simulate_readings,
    true_mixtures,
)

SMALL = ReferencePlan(currents=3, devices_per_current=20, cycles=2)
# failures frequent enough to be counted
FRAIL = ReferenceDevice(set_floor=0.01, reset_floor=0.02, incomplete=0.05)
# largest |z| accepted; with fewer than 60 checks below a correct simulation passes all of them
# with a probability above 0.9995
Z = 4.5


def test_same_seed_same_bytes() -> None:
    text = reference_csv(seed=3, plan=SMALL)
    assert text == reference_csv(seed=3, plan=SMALL)
    assert text != reference_csv(seed=4, plan=SMALL)
    assert text.splitlines()[1] == "device_id,cycle,state,i_cc_a,resistance_ohm"
    assert len(text.splitlines()) == 2 + 3 * 20 * 2 * 2


def test_the_file_says_that_it_is_simulated() -> None:
    first = reference_csv(plan=SMALL).splitlines()[0]
    assert first == (
        f"# simulated HfO2 reference device, seed {DEFAULT_SEED}; nothing in this file was measured"
    )
    assert reference_measurements(plan=SMALL).simulated
    assert reference_measurements(plan=SMALL).source == (
        f"simulated reference device (seed {DEFAULT_SEED})"
    )


def test_reads_back_as_the_identical_table(tmp_path: Path) -> None:
    (tmp_path / "device.csv").write_text(reference_csv())
    read, made = read_measurements(tmp_path / "device.csv"), reference_measurements()
    pd.testing.assert_frame_equal(read.table, made.table, check_exact=True)
    assert (read.programming, read.simulated) == (made.programming, True)
    assert read.sha256 == made.sha256 == hashlib.sha256(reference_csv().encode()).hexdigest()
    assert read.warnings == made.warnings == ()
    assert made.devices == 800


def test_plan() -> None:
    currents = ReferencePlan().currents_a
    assert (currents[0], currents[-1], len(currents)) == (20e-6, 600e-6, 8)
    np.testing.assert_allclose(currents, np.geomspace(20e-6, 600e-6, 8), rtol=5e-4)
    by_current = reference_measurements().table.groupby("programming")["device_id"]
    assert by_current.nunique().tolist() == [100] * 8
    assert by_current.size().tolist() == [100 * 5 * 2] * 8
    assert list(by_current.groups) == list(currents)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"low_a": 0.0}, "need 0 < low < high"),
        ({"low_a": 1e-3}, "currents from 0.001 to 0.0006 A: need 0 < low < high"),
        ({"currents": 1}, "currents is 1; it is too small"),
        ({"devices_per_current": 0}, "devices_per_current is 0; it is too small"),
        ({"cycles": 0}, "cycles is 0; it is too small"),
    ],
)
def test_impossible_plans(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReferencePlan(**wrong)


def test_resistances_have_six_digits() -> None:
    table = simulate_readings(ReferenceDevice(), SMALL, rng=np.random.default_rng(1))
    assert all(float(f"{r:.6g}") == r for r in table["resistance_ohm"])


@pytest.mark.parametrize("device", [ReferenceDevice(), FRAIL], ids=["default", "frail"])
def test_true_law_against_simulation(device: ReferenceDevice) -> None:
    # one cycle, so that readings are independent
    plan = ReferencePlan(currents=3, devices_per_current=60_000, cycles=1)
    table = simulate_readings(device, plan, rng=np.random.default_rng(41))
    for current in plan.currents_a:
        laws = true_mixtures(device, np.array(current))
        for state, law in laws.items():
            chosen = (table["i_cc_a"] == current) & (table["state"] == state)
            y = np.log(table.loc[chosen, "resistance_ohm"].to_numpy())
            middle = laws["LRS"].location[0] + 0.45 * (
                laws["HRS"].location[0] - laws["LRS"].location[0]
            )
            centre, sd = law.location[0], law.scale[0]
            for place in (centre - sd, centre, centre + 2 * sd, middle):
                p = np.exp(law.ln_survival(place))
                error = np.sqrt(max(p * (1 - p), 1e-4) / len(y))
                assert abs((y > place).mean() - p) / error < Z


def test_share_of_the_device() -> None:
    device = ReferenceDevice(incomplete=1e-12, set_floor=1e-12, reset_floor=1e-12)
    plan = ReferencePlan(low_a=3e-4, currents=2, devices_per_current=20_000, cycles=2)
    table = simulate_readings(device, plan, rng=np.random.default_rng(42))
    table = table[table["i_cc_a"] == 600e-6].assign(y=lambda t: np.log(t["resistance_ohm"]))
    for state, share in (("LRS", device.device_share_lrs), ("HRS", device.device_share_hrs)):
        wide = table[table["state"] == state].pivot(index="device_id", columns="cycle", values="y")
        found = np.corrcoef(wide[0], wide[1])[0, 1]
        # standard error of a correlation of normals
        assert abs(found - share) < Z * (1 - share**2) / np.sqrt(20_000)
    # FACTS (c): D2D share of variance 13 % in HRS, 52 % in LRS
    assert device.device_share_hrs == 0.13
    assert device.device_share_lrs == pytest.approx(0.52, abs=0.03)


def test_failures_are_new_at_each_write() -> None:
    plan = ReferencePlan(low_a=3e-4, currents=2, devices_per_current=20_000, cycles=2)
    table = simulate_readings(FRAIL, plan, rng=np.random.default_rng(43))
    table = table[(table["state"] == "HRS") & (table["i_cc_a"] == 600e-6)]
    stuck = (table["resistance_ohm"] < 5000).groupby(table["device_id"]).sum()
    both = (stuck == 2).mean()
    # both writes of a device fail as often as chance has it: 0.02 squared
    assert abs(both - 4e-4) < Z * np.sqrt(4e-4 / 20_000)


def test_true_ber_at_the_ends() -> None:
    # what the tutorial promises: about 5e-2 at 20 uA, below 1e-5 at 600 uA
    laws = true_mixtures(ReferenceDevice(), np.array([20e-6, 600e-6]))
    thresholds = np.linspace(7.5, 12.0, 9001)[:, None]
    best = np.exp(ln_ber_1t1r(laws["LRS"], laws["HRS"], thresholds)).min(axis=0)
    assert 0.03 < best[0] < 0.07
    assert best[1] < 1e-5


def test_laws_of_facts() -> None:
    # FACTS (c): V_c of 0.4 to 0.6 V and an exponent near 1
    laws = true_mixtures(ReferenceDevice(), np.array([1e-4]))
    assert np.exp(laws["LRS"].location[0, 0]) == pytest.approx(1000 + 0.5 / 1e-4)
    assert np.exp(laws["HRS"].location[0, 0]) == pytest.approx(1.1e5)
    # relative spread growing as the root of the resistance: 0.25 at 10 kohm, so 0.25 / sqrt(2) at
    # 5 kohm, which is five sixths of the path; and the floor
    expected = np.hypot(0.04, 0.25 / np.sqrt(2) * 5 / 6)
    assert laws["LRS"].scale[0, 0] == pytest.approx(expected)
    assert PROGRAMMING.unit == "A"
