"""Cells that never switch are recognised; cells that fail, and other units, are not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from devicefit.inputs.columns import parse_columns
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import (
    MeasurementError,
    Measurements,
    check_measurements,
    read_measurements,
)
from devicefit.simulation.reference_device import ReferencePlan, reference_measurements
from devicefit.treatments.never_switching import never_switching, weighted_medians

CURRENT = Programming("SET compliance current", "A")
CURRENTS = np.array([5e-5, 1e-4, 2e-4, 4e-4])


def array_of(
    stuck: int,
    *,
    cells: int = 400,
    cycles: int = 1,
    level: float = 2e7,
    failing: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
    sd_hrs: float = 0.4,
    noise: float = 0.02,
    seed: int = 7,
) -> pd.DataFrame:
    """Cells at one of four currents, the first `stuck` of them at one level in both states."""
    rng = np.random.default_rng(seed)
    cell, cycle = (a.ravel() for a in np.indices((cells, cycles)))
    at = cell % 4
    hrs = np.exp(np.log(8e4) + sd_hrs * rng.standard_normal(len(cell)))
    lrs = np.exp(np.log(1500 + 0.5 / CURRENTS[at]) + 0.1 * rng.standard_normal(len(cell)))
    # a SET that fails leaves the HRS as it is
    lrs = np.where(rng.random(len(cell)) < np.array(failing)[at], hrs, lrs)
    own = np.exp(np.log(level) + 0.3 * rng.standard_normal(cells))[cell]
    both = [
        np.where(cell < stuck, own * np.exp(noise * rng.standard_normal(len(cell))), r)
        for r in (lrs, hrs)
    ]
    parts = [
        pd.DataFrame(
            {
                "device_id": [f"c{i:04d}" for i in cell],
                "cycle": cycle,
                "state": state,
                "programming": CURRENTS[at],
                "resistance_ohm": r,
            }
        )
        for state, r in zip(("LRS", "HRS"), both, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def check(table: pd.DataFrame, **options: object) -> Measurements:
    return check_measurements(table, CURRENT, **options)  # type: ignore[arg-type]


def named(table: pd.DataFrame) -> tuple[int, int]:
    known = check(table).treatment.record()["never_switching"]
    return known["unformed"], known["shorted"]


@pytest.mark.parametrize("cycles", [1, 5])
@pytest.mark.parametrize("stuck", [2, 20, 40, 120, 200])
def test_unformed_cells_are_counted_and_not_refused(stuck: int, cycles: int) -> None:
    found = check(array_of(stuck, cycles=cycles))
    assert found.treatment.never_switching == {
        "unformed": tuple(f"c{i:04d}" for i in range(stuck)),
        "shorted": (),
    }
    (warning,) = [w for w in found.warnings if "never switch" in w]
    assert warning.startswith(f"{stuck} of 400 cells never switch, they are unformed")
    assert "--exclude unformed" in warning
    # kept
    assert found.devices == 400


def test_shorted_cells() -> None:
    assert named(array_of(12, level=60.0)) == (0, 12)


def test_both_kinds_at_once() -> None:
    table = array_of(12)
    low = table["device_id"].isin([f"c{i:04d}" for i in range(50, 57)])
    table.loc[low, "resistance_ohm"] = 50.0 * (1 + np.arange(low.sum()) / 100)
    assert named(table) == (12, 7)


def test_unformed_cells_beyond_the_range_of_the_instrument() -> None:
    table = array_of(30)
    table.loc[table["resistance_ohm"] > 5e6, "resistance_ohm"] = 9.9e37
    assert named(table) == (30, 0)


def test_a_wide_hrs() -> None:
    assert named(array_of(30, level=3e9, sd_hrs=1.15)) == (30, 0)
    assert named(array_of(0, sd_hrs=1.15)) == (0, 0)


def test_a_stuck_cell_within_the_hrs_is_told_by_repetition() -> None:
    # 30 cycles: the others fail in one of 50 SETs
    table = array_of(4, cycles=30, level=8e4, failing=(0.02,) * 4)
    assert named(table) == (4, 0)
    # one cycle cannot tell it from a failed SET
    assert named(array_of(4, level=8e4, failing=(0.02,) * 4)) == (0, 0)


@pytest.mark.parametrize("cycles", [1, 3, 20])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_failed_sets_are_no_unformed_cells(cycles: int, share: float) -> None:
    # at weak programming many SETs fail
    table = array_of(0, cycles=cycles, failing=(share, 0.01, 0.0, 0.0), sd_hrs=0.6)
    assert named(table) == (0, 0)


def test_cells_that_never_set_at_weak_programming_are_ordinary() -> None:
    # half of the cells at the weakest current never SET there, in 50 cycles each
    table = array_of(0, cycles=50)
    weak = (table["programming"] == CURRENTS[0]) & (table["device_id"].str[1:].astype(int) % 8 == 0)
    hrs = table.loc[weak & (table["state"] == "HRS"), "resistance_ohm"].to_numpy()
    table.loc[weak & (table["state"] == "LRS"), "resistance_ohm"] = hrs
    assert named(table) == (0, 0)


@pytest.mark.parametrize(("devices", "cycles"), [(100, 5), (600, 1)])
def test_none_in_the_reference_device(devices: int, cycles: int) -> None:
    plan = ReferencePlan(devices_per_current=devices, cycles=cycles)
    found = reference_measurements(seed=3, plan=plan)
    assert found.treatment.record()["never_switching"] == {
        "unformed": 0, "shorted": 0, "of": 8 * devices,
    }  # fmt: skip


def test_none_in_the_measured_sweep(gate_sweep: Path) -> None:
    # one voltage for each of 15,050 cells, half of them too weak to SET anything
    found = read_measurements(
        gate_sweep,
        columns=parse_columns(["programming=set_gate_voltage_v:V"]),
        where=[("sweep", "fppv_1us_2021-04-02")],
    )
    assert found.treatment.record()["never_switching"] == {
        "unformed": 0, "shorted": 0, "of": 15050,
    }  # fmt: skip
    assert found.treatment.censored == ()
    assert not any("decades" in w for w in found.warnings)


@pytest.mark.parametrize("stuck", [0, 40])
@pytest.mark.parametrize("factor", [1e3, 1e-3])
@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_other_units_are_still_refused(share: float, factor: float, stuck: int) -> None:
    table = array_of(stuck)
    number = table["device_id"].str[1:].astype(int)
    table.loc[(number * 7919 % 400) < 400 * share, "resistance_ohm"] *= factor
    with pytest.raises(MeasurementError, match="seems to mix units"):
        check(table)


@pytest.mark.parametrize(
    ("exclude", "left", "words"),
    [
        (["unformed"], 380, "of 400 devices: 20 unformed cells (40 readings)"),
        (["c0100"], 399, "of 400 devices: cell c0100 (2 readings)"),
        (["unformed", "c0100", "shorted"], 379, "20 unformed cells, cell c0100, 0 shorted cells"),
    ],
)
def test_cells_are_left_out_by_name(exclude: list[str], left: int, words: str) -> None:
    found = check(array_of(20), exclude=exclude)
    assert found.devices == left
    assert any("left out by --exclude" in w and words in w for w in found.warnings)
    assert set(found.treatment.record()["left_out"]) == set(exclude)
    # what is left out is not warned about as well
    assert ("unformed" in exclude) != any("never switch" in w for w in found.warnings)
    assert found.treatment.record()["never_switching"]["unformed"] == 20


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(MeasurementError, match="--exclude x9: no such device; give unformed"):
        check(array_of(0), exclude=["x9"])


def test_counts_stand_for_readings() -> None:
    table = array_of(10, cycles=3)
    code = pd.factorize(table["device_id"])[0]
    condition = pd.factorize(table["programming"])[0]
    hrs = (table["state"] == "HRS").to_numpy()
    y = np.log(table["resistance_ohm"].to_numpy()).round(1)
    one_by_one = never_switching(code, hrs, condition, y)
    rows = pd.DataFrame({"d": code, "s": hrs, "c": condition, "y": y})
    grouped = rows.value_counts().reset_index()
    together = never_switching(
        *(grouped[name].to_numpy() for name in "dscy"),
        count=grouped["count"].to_numpy(dtype=float),
    )
    assert one_by_one.unformed.tolist() == together.unformed.tolist() == list(range(10))


def test_weighted_medians_are_those_of_pandas() -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"g": rng.integers(0, 9, 200), "y": rng.integers(0, 30, 200) * 1.0, "count": 1.0}
    )
    table["count"] = rng.integers(1, 5, 200).astype(float)
    found = weighted_medians(table, ["g"])["y"]
    repeated = table.loc[table.index.repeat(table["count"].astype(int))]
    pd.testing.assert_series_equal(found, repeated.groupby("g")["y"].median(), check_names=False)


def test_cells_that_are_always_beyond_the_range_in_one_state_only() -> None:
    # Their ratio of states is infinite, and the mean of two such ratios once overflowed. They fail
    # too often for chance, but read unlike in the two states.
    table = array_of(0, cycles=20)
    odd = table["device_id"].isin(["c0000", "c0001"]) & (table["state"] == "LRS")
    table.loc[odd, "resistance_ohm"] = np.inf
    found = check_measurements(table, CURRENT)
    record = found.treatment.record()["never_switching"]
    assert record == {"unformed": 0, "shorted": 0, "of": 400}
