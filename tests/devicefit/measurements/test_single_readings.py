"""Readings known by bounds where readings are counted, predicted and compared one by one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from devicefit.checks.ranks_of_readings import ranked_readings
from devicefit.checks.shape import shape_gate, shape_tests
from devicefit.compression.compression import compress
from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.fitting.fit import DevicePosterior
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import Measurements, check_measurements
from devicefit.measurements.single_readings import is_above, single_readings
from devicefit.persistence.persistence import Persistence
from devicefit.prediction import prediction
from devicefit.prediction.counted_errors import count_errors
from devicefit.prediction.predicted_failures import predicted_failures
from devicefit.prediction.prediction import fit_persistence, predict
from devicefit.prediction.sides import sides
from devicefit.treatments.overrange import Overrange

CURRENT = Programming("SET compliance current", "A")
CURRENTS = np.array([2e-5, 1e-4, 6e-4])
THRESHOLD = 2e4


@pytest.fixture
def posterior(known_posterior: Callable[..., DevicePosterior]) -> DevicePosterior:
    return known_posterior(ln_r_hrs=np.log(8e4))


def drawn(posterior: DevicePosterior, devices: int = 300, cycles: int = 2) -> pd.DataFrame:
    """Readings of the known device, one current for each cell."""
    rng = np.random.default_rng(11)
    parts = []
    for x in CURRENTS:
        for state, law in posterior.mixtures(np.array([x])).items():
            n = devices * cycles
            y = law.location[0, 0, 0, 0] + law.scale[0, 0, 0, 0] * rng.standard_normal(n)
            device, cycle = (a.ravel() for a in np.indices((devices, cycles)))
            names = [f"{x}-{d}" for d in device]
            parts.append(
                pd.DataFrame({"device_id": names, "cycle": cycle, "resistance_ohm": np.exp(y)})
                .assign(state=state, programming=x)
            )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def checked(table: pd.DataFrame, overrange: Overrange | None = None) -> Measurements:
    return check_measurements(table, CURRENT, overrange=overrange or Overrange())


def overflowing(table: pd.DataFrame) -> pd.DataFrame:
    """The largest 8 % of the readings as overflow, LRS readings among them."""
    limit = table["resistance_ohm"].quantile(0.92)
    lrs = table.index[table["state"] == "LRS"][::60]
    r = table["resistance_ohm"].where(table["resistance_ohm"] < limit, 9.9e37)
    r[lrs] = 9.9e37
    return table.assign(resistance_ohm=r)


def curve() -> BerCurve:
    threshold = np.full(3, THRESHOLD)
    return BerCurve("1T1R", CURRENTS, np.zeros((1, 1, 3)), threshold, np.zeros(3, bool), 0.01)


def test_overflow_counts_on_the_side_that_it_is_on(posterior: DevicePosterior) -> None:
    table = drawn(posterior)
    with_overflow = overflowing(table)
    # the truth: overflow is above the threshold
    high = with_overflow["resistance_ohm"] > THRESHOLD
    found = count_errors(checked(with_overflow), curve())
    for state, wrong in (("LRS", high), ("HRS", ~high)):
        rows = with_overflow["state"] == state
        for g, (low, most) in enumerate(
            zip(found.programming_low, found.programming_high, strict=True)
        ):
            inside = rows & with_overflow["programming"].between(low, most)
            assert found.trials[state][g] == inside.sum()
            assert found.errors[state][g] == (wrong & inside).sum()
    assert found.undecided == {"LRS": 0, "HRS": 0}
    assert found.errors["LRS"].sum() >= 30


def test_a_side_that_the_bounds_do_not_tell_is_left_out(posterior: DevicePosterior) -> None:
    table = drawn(posterior, devices=50).assign(resistance_low_ohm=np.nan)
    table["resistance_high_ohm"] = np.nan
    rows = table.index[table["state"] == "HRS"][:6]
    table.loc[rows, "resistance_ohm"] = np.nan
    # above, undecided, undecided, below, below, above: the last reaches the threshold exactly
    table.loc[rows, "resistance_low_ohm"] = [5e4, 1e4, np.nan, np.nan, 1e3, THRESHOLD]
    table.loc[rows, "resistance_high_ohm"] = [np.nan, 4e4, 3e4, 1e4, THRESHOLD, np.nan]
    measurements = checked(table)
    found = count_errors(measurements, curve(), devices_per_group=50)
    assert found.undecided == {"LRS": 0, "HRS": 2}
    assert found.trials["HRS"][0] == 98
    exact = table[(table["state"] == "HRS") & (table["programming"] == CURRENTS[0])]
    assert found.errors["HRS"][0] == (exact["resistance_ohm"] <= THRESHOLD).sum() + 2
    above, known = is_above(single_readings(measurements), np.full(300 * 2, THRESHOLD))
    assert above.sum() + (known & ~above).sum() == 598


def test_counted_errors_are_no_readings(posterior: DevicePosterior) -> None:
    counted = pd.DataFrame(
        {
            "state": ["LRS"], "programming": [1e-4], "errors": [1], "trials": [1],
            "threshold_ohm": [1e4],
        }
    )  # fmt: skip
    table = drawn(posterior, devices=20)
    measurements = checked(pd.concat([table, counted], ignore_index=True))
    assert len(measurements.intervals) == 1
    assert len(single_readings(measurements)) == len(table)


def test_predicted_failures_are_of_the_readings_that_were_counted(
    posterior: DevicePosterior,
) -> None:
    measurements = checked(overflowing(drawn(posterior)))
    counts = count_errors(measurements, curve())
    rng = np.random.default_rng(1)
    cells = predicted_failures(posterior, compress(measurements), counts, curve(), rng=rng)
    assert sum(c.trials for c in cells) == 3600
    laws = posterior.mixtures(CURRENTS)
    for cell in cells:
        at = int(np.searchsorted(CURRENTS, cell.programming_low))
        law = laws[cell.state]
        z = (np.log(THRESHOLD) - law.location[0, 0, 0, at]) / law.scale[0, 0, 0, at]
        p = norm.sf(z) if cell.state == "LRS" else norm.cdf(z)
        assert cell.median == pytest.approx(600 * p, abs=4.5 * np.sqrt(600 * p) / 30 + 1.0)


def test_the_law_with_overflow(posterior: DevicePosterior) -> None:
    # what the instrument does not read lies at the upper end of either state
    table = drawn(posterior, devices=700, cycles=1)
    limit = table.loc[table["state"] == "HRS", "resistance_ohm"].quantile(0.9)
    measurements = checked(table, Overrange(float(limit)))
    assert len(measurements.intervals) > 200
    gate = shape_gate(shape_tests(ranked_readings(posterior, measurements), CURRENT.format))
    assert gate.passed, gate.finding
    # control: without the readings that are known by bounds the upper tail seems to be missing
    without = replace(measurements, intervals=measurements.intervals.iloc[:0])
    gate = shape_gate(shape_tests(ranked_readings(posterior, without), CURRENT.format))
    assert not gate.passed


def test_prediction_knows_overflow(posterior: DevicePosterior) -> None:
    table = drawn(posterior)
    exact, bounded = checked(table), checked(overflowing(table))
    options = SensingOptions(threshold_ohm=THRESHOLD)
    found = {
        name: predict(
            posterior, m, persistence=levelled(), options=options, rng=np.random.default_rng(3)
        )
        for name, m in (("exact", exact), ("bounded", bounded))
    }
    assert found["bounded"]["devices"].tolist() == found["exact"]["devices"].tolist()
    high = overflowing(table)["resistance_ohm"] > THRESHOLD
    for row in found["bounded"].itertuples():
        inside = table["programming"].between(row.programming_low, row.programming_high)
        rows = inside & (table["state"] == row.state)
        wrong = (high if row.state == "LRS" else ~high) & rows
        assert row.failures_observed == table["device_id"][wrong].nunique()
    # density of what is exact, probability beyond the bound of what is not
    law = posterior.mixtures(CURRENTS)["HRS"]
    mean, sd = law.location[0, 0, 0], law.scale[0, 0, 0]
    read = bounded.table[bounded.table["state"] == "HRS"]
    beyond = bounded.intervals[bounded.intervals["state"] == "HRS"]
    at, out = (np.searchsorted(CURRENTS, part["programming"]) for part in (read, beyond))
    expected = norm.logpdf(np.log(read["resistance_ohm"]), mean[at], sd[at]).sum()
    expected += norm.logsf(np.log(beyond["low_ohm"]), mean[out], sd[out]).sum()
    hrs = found["bounded"][found["bounded"]["state"] == "HRS"]
    assert hrs["log_predictive_density"].sum() == pytest.approx(expected, rel=1e-9)


def levelled() -> dict[str, Any]:
    """Devices that hardly differ."""
    from devicefit.persistence.windows import WindowedPersistence

    one = np.ones(1000)
    alike = Persistence(0.05 * one, 1e-4 * one, 2.0 * one, 1e-4 * one)
    return {s: WindowedPersistence(np.array([2e-5]), (alike,), THRESHOLD) for s in ("LRS", "HRS")}


def test_persistence_is_told_of_cells_that_always_overflow(
    posterior: DevicePosterior, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = drawn(posterior, devices=60, cycles=6)
    dead = table["device_id"].isin([f"{x}-{d}" for x in CURRENTS for d in range(6)])
    table.loc[dead, "resistance_ohm"] = np.inf
    measurements = checked(table)
    options = SensingOptions(threshold_ohm=THRESHOLD)
    found = sides(posterior, measurements, options=options)
    assert found.decided.all()
    told = []

    def record(*counts: Any, **_: Any) -> Any:
        told.append(counts)
        return levelled()["LRS"]

    monkeypatch.setattr(prediction, "windowed_persistence", record)
    fit_persistence(posterior, measurements, options=options, rng=np.random.default_rng(2))
    (_, _, errors, trials, *_), (_, _, errors_hrs, trials_hrs, *_) = told
    lrs = table["state"] == "LRS"
    high = table["resistance_ohm"] > THRESHOLD
    assert (trials.sum(), trials_hrs.sum()) == (1080, 1080)
    assert (errors.sum(), errors_hrs.sum()) == ((lrs & high).sum(), (~lrs & ~high).sum())
    # in each of six readings
    assert (errors == 6).sum() >= 18
