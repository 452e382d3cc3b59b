"""Readings decades from their group are named; failures and tails are not."""

import numpy as np
import pandas as pd
import pytest

from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import check_measurements
from devicefit.treatments.far_readings import far_readings


def readings(kind: str, seed: int, n: int = 5000) -> pd.DataFrame:
    """Readings of n cells at four conditions; at one of them 30 % of the SETs fail."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((2, n)) if kind == "normal" else rng.logistic(size=(2, n)) / 1.6
    at = np.arange(n) % 4
    hrs = np.log(1e5) + 0.5 * z[0]
    lrs = np.where((at == 0) & (rng.random(n) < 0.3), hrs, np.log(6e3 - 1e3 * at) + 0.1 * z[1])
    return pd.DataFrame(
        {
            "device_id": np.tile([f"c{i}" for i in range(n)], 2),
            "state": np.repeat(["LRS", "HRS"], n),
            "programming": np.tile(1.0 + at, 2),
            "resistance_ohm": np.exp(np.concatenate([lrs, hrs])),
        }
    )


@pytest.mark.parametrize("kind", ["normal", "logistic"])
def test_none_in_well_behaved_readings(kind: str) -> None:
    for seed in range(20):
        assert not far_readings(readings(kind, seed))[0].any()


@pytest.mark.parametrize("ratio", [20.0, 3e3])
def test_a_failed_set_is_not_far_however_large_the_ratio(ratio: float) -> None:
    table = readings("normal", 1)
    table.loc[table["state"] == "HRS", "resistance_ohm"] *= ratio
    lrs = table.index[table["state"] == "LRS"][:3]
    table.loc[lrs, "resistance_ohm"] = table["resistance_ohm"][table["state"] == "HRS"].median()
    assert not far_readings(table)[0].any()


@pytest.mark.parametrize("values", [[3e9], [4.0], [3e9, 4e9, 2.5e12], [3.0, 3e12]])
def test_values_decades_away_are_named(values: list[float]) -> None:
    table = readings("normal", 2)
    rows = table.index[1000 : 1000 + len(values)]
    table.loc[rows, "resistance_ohm"] = values
    is_far, median = far_readings(table)
    assert table.index[is_far].tolist() == rows.tolist()
    at = table["programming"][rows[0]]
    group = table[(table["state"] == "LRS") & (table["programming"] == at)]
    assert median[rows[0]] == pytest.approx(group["resistance_ohm"].median(), rel=1e-3)


def test_overflow_is_not_among_them() -> None:
    table = readings("normal", 2)
    table.loc[[100, 101, 102], "resistance_ohm"] = [9.9e37, np.inf, 3e12]
    assert table.index[far_readings(table)[0]].tolist() == [102]


def test_a_group_of_their_own_is_not_named() -> None:
    table = readings("normal", 3)
    many = table.index[table["state"] == "LRS"][:400]
    table.loc[many, "resistance_ohm"] = 1e10 * np.exp(
        0.1 * np.random.default_rng(1).normal(size=400)
    )
    assert not far_readings(table)[0].any()


def test_neighbouring_conditions_are_pooled() -> None:
    # every reading has a voltage of its own
    table = readings("normal", 4, n=200)
    table["programming"] = np.tile(np.linspace(1.0, 3.0, 200), 2)
    table.loc[17, "resistance_ohm"] = 2e10
    assert np.flatnonzero(far_readings(table)[0]).tolist() == [17]


def test_row_device_value_and_group_are_named() -> None:
    table = readings("normal", 5).set_index(pd.RangeIndex(1, 10001))
    table.loc[1235, "resistance_ohm"] = 4.5
    found = check_measurements(table, Programming("gate", "V"))
    (warning,) = [w for w in found.warnings if "decades" in w]
    assert warning.startswith(
        "1 reading lies decades away from the others of the state at its condition: row 1235 (LRS "
        "of c1234: 4.5 ohm, its group has "
    )
    assert "--exclude c1234" in warning
    assert len(found.table) == 10000
    assert not any(
        "decades" in w
        for w in check_measurements(table, Programming("gate", "V"), exclude=["c1234"]).warnings
    )
