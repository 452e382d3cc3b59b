"""New arrays of simulated sets: a short version of the benchmark, and how it counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from benchmarks import devicefit_arrays
from benchmarks.devicefit_arrays import (
    CURRENTS_A,
    DEVICES,
    NEW,
    SAMPLER,
    ArraySet,
    judge,
    measured_summary,
    summary,
)


def test_simulated_arrays_have_the_law_of_their_set() -> None:
    of_set = ArraySet.drawn("lognormal", 3, rng=np.random.default_rng(1))
    for kind in ("lrs_location", "hrs_ln_sd", "position"):
        sd = float(np.exp(of_set.draws[f"ln_sd_{kind}_array"][0, 0]))
        assert kstest(of_set.draws[f"{kind}_array"].ravel() / sd, "norm").pvalue > 1e-3
    table = of_set.readings(rng=np.random.default_rng(2)).table
    assert len(table) == 3 * 2 * len(CURRENTS_A) * DEVICES
    for array in range(3):
        law = of_set.laws(CURRENTS_A, array)["HRS"]
        rows = table[(table["array_id"] == f"array {array}") & (table["state"] == "HRS")]
        ln_r = rows.pivot(index="device_id", columns="programming", values="resistance_ohm")
        score = (np.log(ln_r.to_numpy()) - law.location[0, 0, 0]) / law.scale[0, 0, 0]
        assert kstest(score[np.isfinite(score)], "norm").pvalue > 1e-3


def test_intervals_of_a_new_array_hold_and_narrow_with_the_number_of_arrays() -> None:
    """Two sets of 3 and of 10 arrays; the benchmark has 40 of each."""
    rows = [judge("lognormal", n, k, options=SAMPLER) for n in (3, 10) for k in (0, 2)]
    held = np.concatenate([np.ravel(s["inside"]) for row in rows for s in row["schemes"].values()])
    assert len(held) == 4 * 2 * 3 * NEW
    # 90 % are wanted; places and arrays of a set are dependent: as of 4 sets, 4 standard errors
    assert held.mean() > 0.9 - 4 * np.sqrt(0.9 * 0.1 / (4 * NEW))
    wide, narrow = (
        np.median([
            np.divide(s["width"], s["width_knowing"])
            for row in rows if row["arrays"] == n for s in row["schemes"].values()
        ])
        for n in (3, 10)
    )  # fmt: skip
    assert narrow < min(1.5, wide)
    # two of 2,000 transitions may diverge
    assert max(row["divergences"] for row in rows) <= 2


def row(number: int, inside: list[list[int]], width: float) -> dict[str, Any]:
    scheme = {"inside": inside, "width": [width, width], "width_knowing": [1.0, 1.0]}
    return {
        "family": "f", "arrays": 3, "number": number, "schemes": {"1T1R": scheme},
        "divergences": number, "r_hat": 1.0, "ess": 1.0, "seconds": 2.0,
    }  # fmt: skip


def test_sets_are_summed_up_and_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def judged(family: str, arrays: int, number: int) -> dict[str, Any]:
        made.append((arrays, number))
        return row(number, [[1, 1], [1, number]], 1.0 + number) | {"arrays": arrays}

    monkeypatch.setattr(devicefit_arrays, "judge", judged)
    file = tmp_path / "rows.jsonl"
    devicefit_arrays.measure(file, sets=1, family="f")
    file.write_text(file.read_text() + '{"family": "f", "arr')
    found = devicefit_arrays.measure(file, sets=2, family="f")
    assert made == [(3, 0), (5, 0), (10, 0), (3, 1), (5, 1), (10, 1)]
    of_three = found["simulated"]["f, 3 arrays"]
    assert of_three["1T1R"]["share_inside"] == pytest.approx(0.875)
    assert of_three["1T1R"]["standard_error"] == pytest.approx(0.125)
    assert of_three["1T1R"]["median_width_over_knowing"] == pytest.approx(1.5)
    assert of_three["sets_with_divergences"] == 1
    assert found["measured"] == {}
    assert summary([]) == {}


def test_cells_of_left_out_arrays_are_counted() -> None:
    cell = {"failures_q025": 2, "failures_q975": 5}
    rows = [{"cells": [cell | {"failures_observed": k} for k in (1, 2, 5, 6)]}, row(0, [[1]], 1.0)]
    found = measured_summary(rows)
    assert (found["cells"], found["inside"]) == (4, 2)
