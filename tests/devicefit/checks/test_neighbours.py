"""Neighbouring cells: statistics by hand, exact p, false alarms and power."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from devicefit.checks.neighbours import (
    ENOUGH,
    FALSE_ALARMS,
    SHUFFLES,
    STRUCTURES,
    Likeness,
    likenesses,
    neighbours_gate,
)
from devicefit.distributions.sensing import SensingOptions
from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.measurements.measurements import Measurements, check_measurements

CURRENT = Programming("SET compliance current", "A")
THRESHOLD = 25e3
MEDIAN = {"LRS": 8e3, "HRS": 1e5}
ANY: Any = None  # no fit is needed where the threshold is given


def square(side: int) -> pd.DataFrame:
    """Cells of a square array."""
    row, column = np.divmod(np.arange(side * side), side)
    return pd.DataFrame({"row": row, "column": column})


def measured(cells: pd.DataFrame, ln_r: dict[str, np.ndarray]) -> Measurements:
    """One reading of each state at each cell: deviations from the medians in ln R."""
    table = pd.concat(
        [
            cells.assign(
                device_id=[f"c{i:04d}" for i in range(len(cells))],
                state=state,
                resistance_ohm=MEDIAN[state] * np.exp(y),
            )
            for state, y in ln_r.items()
        ],
        ignore_index=True,
    )
    if "programming" not in table:
        return check_measurements(table.assign(programming=1.0), ONE_CONDITION)
    return check_measurements(table, CURRENT)


def compared(measurements: Measurements, seed: int = 0) -> tuple[Likeness, ...]:
    rng = np.random.default_rng([31, seed])
    return likenesses(measurements, ANY, SensingOptions(THRESHOLD), rng=rng)


def independent(n: int, rng: np.random.Generator, *, fails: float = 0.02) -> dict[str, np.ndarray]:
    """Unrelated cells, a share of which fails in each state."""
    return {
        "LRS": np.where(rng.random(n) < fails, 2.5, 0.0) + 0.1 * rng.standard_normal(n),
        "HRS": np.where(rng.random(n) < fails, -2.5, 0.0) + 0.2 * rng.standard_normal(n),
    }


# --- the statistics -------------------------------------------------------------------------------


def test_correlations_by_hand() -> None:
    # Two arrays, two currents by chance of the column's parity, some places empty; LRS failures.
    rng = np.random.default_rng(3)
    both = pd.concat([square(7).assign(array_id=name) for name in "ab"], ignore_index=True)
    cells = both[rng.random(len(both)) < 0.8].reset_index(drop=True)
    cells = cells.assign(programming=1e-4 * (1 + cells["column"] % 2))
    y = independent(len(cells), rng, fails=0.3)
    found = {(t.what, t.where): t for t in compared(measured(cells, y))}
    assert len(found) == 4 * len(STRUCTURES)
    values = cells.assign(fails=(MEDIAN["LRS"] * np.exp(y["LRS"]) > THRESHOLD).astype(float))
    group = values.groupby(["array_id", "programming"])["fails"]
    x = ((values["fails"] - group.transform("mean")) / group.transform("std", ddof=0)).to_numpy()
    sums, pairs = dict.fromkeys(STRUCTURES, 0.0), dict.fromkeys(STRUCTURES, 0)
    for i, j in itertools.combinations(range(len(cells)), 2):
        a, b = cells.iloc[i], cells.iloc[j]
        if a["array_id"] != b["array_id"]:
            continue
        apart = abs(a["row"] - b["row"]), abs(a["column"] - b["column"])
        for where, meant in zip(
            STRUCTURES, (sum(apart) == 1, apart[0] == 0, apart[1] == 0), strict=True
        ):
            sums[where] += meant * x[i] * x[j]
            pairs[where] += meant
    for where in STRUCTURES:
        test = found["LRS failures", where]
        assert test.pairs == pairs[where]
        assert test.correlation == pytest.approx(sums[where] / pairs[where], abs=1e-12)
        assert test.effect == pytest.approx(1 + 2 * sums[where] / len(cells), abs=1e-12)


def test_p_is_that_of_all_placements() -> None:
    # 12 cells of which 3 fail: all 220 placements of the failures are as probable.
    cells = square(4).iloc[:12]
    failing = [0, 1, 6]
    y = np.zeros(12)
    y[failing] = 2.5
    spread = np.linspace(-0.1, 0.1, 12)
    measurements = measured(cells, {"LRS": y + spread, "HRS": spread})

    def beside(places: tuple[int, ...]) -> int:
        of = [divmod(k, 4) for k in places]
        return sum(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in itertools.combinations(of, 2))

    # The mean is taken off: which cells have two, three or four neighbours counts as well.
    def product(places: tuple[int, ...]) -> float:
        x = np.full(12, -0.25)
        x[list(places)] = 0.75
        grid = x.reshape(3, 4)
        return float((grid[1:] * grid[:-1]).sum() + (grid[:, 1:] * grid[:, :-1]).sum())

    assert beside(tuple(failing)) == 1
    all_places = list(itertools.combinations(range(12), 3))
    assert len(all_places) == 220
    least = product(tuple(failing)) - 1e-9
    exact = np.mean([product(places) >= least for places in all_places])
    found = [compared(measurements, seed) for seed in range(60)]
    p = np.array([t.p for of in found for t in of if t.what == "LRS failures"][::3])
    assert len(p) == 60
    # Ended at the tenth of those as alike: relative error sqrt((1 - p) / ENOUGH) of one run, and
    # an upward bias of a tenth of that of 10 / l; z = 4 for the mean of 60.
    assert abs(p.mean() / exact - 1) < 0.1 + 4 * np.sqrt((1 - exact) / ENOUGH / 60)


def test_what_cannot_be_tested() -> None:
    rng = np.random.default_rng(5)
    cells = square(5)
    y = independent(25, rng, fails=0.0)
    # No failures: two values are left.
    assert {t.what for t in compared(measured(cells, y))} == {"LRS ln R", "HRS ln R"}
    diagonal = pd.DataFrame({"row": 2 * np.arange(25), "column": 2 * np.arange(25)})
    found = compared(measured(diagonal, y))
    assert found == ()
    gate = neighbours_gate(found)
    assert gate.passed
    assert gate.value == 1.0
    assert "no two cells with places are neighbours" in gate.finding
    assert compared(measured(cells[[]].assign(), y)) == ()


def test_rows_with_a_condition_each_raise_no_alarm() -> None:
    rng = np.random.default_rng(6)
    cells = square(12)
    cells = cells.assign(programming=1e-4 * (1 + cells["row"]))
    y = independent(144, rng)
    y["LRS"] = y["LRS"] - np.log(1 + cells["row"].to_numpy())
    found = {(t.what, t.where): t for t in compared(measured(cells, y))}
    # Cells stay in their row: every placement is as alike.
    assert found["LRS ln R", "in one row"].p == 1.0
    assert neighbours_gate(tuple(found.values())).passed


def test_readings_of_a_cell_belong_together() -> None:
    # A cell that fails in each of 20 cycles is one cell; so are readings known by bounds.
    rng = np.random.default_rng(7)
    cells = square(8)
    parts = [measured(cells, independent(64, rng)).table.assign(cycle=c) for c in range(20)]
    many = pd.concat(parts, ignore_index=True)
    names = sorted(many["device_id"].unique())
    stuck = many["device_id"].isin([names[9], names[10], names[17]]) & (many["state"] == "LRS")
    many.loc[stuck, "resistance_ohm"] = np.inf
    placed = many.merge(cells.assign(device_id=names), on="device_id")
    found = compared(check_measurements(placed, ONE_CONDITION))
    failures = next(t for t in found if (t.what, t.where) == ("LRS failures", STRUCTURES[0]))
    assert failures.pairs == 2 * 8 * 7
    assert failures.p < 0.01
    assert failures.p > 1 / (SHUFFLES + 1)


# --- false alarms and power -----------------------------------------------------------------------


def failed(make: Callable[[np.random.Generator], Measurements], number: int, seed: int) -> int:
    """Number of simulated arrays for which the gate fails."""
    rng = np.random.default_rng(seed)
    return sum(not neighbours_gate(compared(make(rng), seed=i)).passed for i in range(number))


def test_false_alarms() -> None:
    cells = square(16).assign(programming=np.repeat([1e-4, 2e-4], 128))
    once = measured(cells, independent(256, np.random.default_rng(0)))

    def make(rng: np.random.Generator) -> Measurements:
        table = once.table.copy()
        for state, y in independent(256, rng, fails=0.03).items():
            table.loc[table["state"] == state, "resistance_ohm"] = MEDIAN[state] * np.exp(y)
        return dataclasses.replace(once, table=table)

    # At most 1 in 100 in the long run; more than 7 of 250 then have a probability of 0.001.
    assert binom.sf(7, 250, FALSE_ALARMS) < 0.005
    assert failed(make, 250, 1) <= 7


def test_rows_that_differ_are_found() -> None:
    cells = square(32)
    row = cells["row"].to_numpy()

    def make(rng: np.random.Generator) -> Measurements:
        y = independent(1024, rng)
        y["LRS"] = y["LRS"] + 0.1 * 0.3 * rng.standard_normal(32)[row]
        return measured(cells, y)

    # The documentation says 97 of 100: fewer than 16 of 20 have a probability of 0.0003.
    assert failed(make, 20, 2) >= 16


def test_failures_in_pairs_are_found() -> None:
    cells = square(32)

    def make(rng: np.random.Generator) -> Measurements:
        y = independent(1024, rng, fails=0.0)
        fails = np.zeros((32, 32))
        for _ in range(10):
            i, j = rng.integers(32), rng.integers(31)
            fails[i, j] = fails[i, j + 1] = 1
        y["HRS"] = y["HRS"] - 2.5 * fails.ravel()
        return measured(cells, y)

    assert failed(make, 20, 3) >= 18  # 100 of 100 in the documentation


def test_the_gate_names_what_is_alike_and_what_to_do() -> None:
    rng = np.random.default_rng(8)
    cells = square(32)
    y = independent(1024, rng)
    y["LRS"] = y["LRS"] + 0.1 * rng.standard_normal(32)[cells["column"].to_numpy()]
    gate = neighbours_gate(compared(measured(cells, y)))
    assert not gate.passed
    assert gate.value < gate.limit == FALSE_ALARMS
    assert "LRS ln R of cells in one column (correlation 0." in gate.finding
    assert "array_id" in gate.remedy
    # Control: the same cells at random places.
    mixed = {state: values[rng.permutation(1024)] for state, values in y.items()}
    assert neighbours_gate(compared(measured(cells, mixed))).passed


def test_one_more_test_makes_each_stricter() -> None:
    one = Likeness("LRS failures", STRUCTURES[0], 10, 0.5, 2.0, 0.004)
    other = dataclasses.replace(one, what="HRS failures", p=0.5)
    assert not neighbours_gate((one, other)).passed
    assert neighbours_gate((one, other, other)).passed
