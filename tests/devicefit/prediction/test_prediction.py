"""Predicted failures of unseen devices against binomial laws that are known exactly."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.prior_tables import core_priors
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import Measurements, check_measurements
from devicefit.prediction.places import on_new_arrays, places_of
from devicefit.prediction.prediction import fit_persistence, predict, ranked_score, reading_ranges
from devicefit.prediction.sides import sides

CURRENT = Programming("SET compliance current", "A")
LOW, HIGH = 5e-5, 2e-4
THRESHOLD = SensingOptions(threshold_ohm=2e4)


@pytest.fixture
def known() -> DevicePosterior:
    """A device whose draws are all the same, so that predictions are binomial."""
    frame = Frame(CURRENT, LOW, HIGH)
    values = {p.name: p.mean for p in core_priors(frame)}
    values.update(ln_r_hrs=np.log(4e4), ln_sd_hrs=np.log(0.6), hrs_slope=0.0, hrs_sd_slope=0.0)
    draws = {n: (("chain", "draw"), np.full((2, 500), v)) for n, v in values.items()}
    return DevicePosterior(
        "lognormal",
        xr.Dataset(draws),
        frame,
        Diagnostics(1.0, 1000, 1000, 0, 1000),
        {"devices": 100, "design_effect": {"LRS": 1.0, "HRS": 1.0}, "sampler": {"seed": 1}},
    )


def readings(posterior: DevicePosterior, devices: int, cycles: int = 1) -> Measurements:
    rng = np.random.default_rng(5)
    parts = []
    for x in (LOW, HIGH):
        for state, law in posterior.mixtures(np.array([x])).items():
            centre, sd = law.location[0, 0, 0, 0], law.scale[0, 0, 0, 0]
            n = devices * cycles
            parts.append(
                pd.DataFrame(
                    {
                        "device_id": [f"{x}-{d}" for d in range(devices) for _ in range(cycles)],
                        "cycle": np.tile(np.arange(cycles), devices),
                        "state": state,
                        "programming": x,
                        "resistance_ohm": np.exp(centre + sd * rng.standard_normal(n)),
                    }
                )
            )
    return check_measurements(pd.concat(parts, ignore_index=True), CURRENT)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(0, 40))
def test_ranked_score_of_a_number(predicted: list[int], observed: int) -> None:
    # Gneiting and Raftery 2007, equation 21: mean distance from what came, less half of that
    # between two draws
    x = np.array(predicted)
    expected = np.abs(x - observed).mean() - np.abs(x[:, None] - x).mean() / 2
    assert ranked_score(x, observed) == pytest.approx(expected, abs=1e-9)


def test_numbers_are_binomial(known: DevicePosterior) -> None:
    measurements = readings(known, 300)
    table = predict(
        known, measurements, options=THRESHOLD, devices_per_bin=200, rng=np.random.default_rng(1)
    )
    hrs = table[table["state"] == "HRS"]
    share = norm.cdf((np.log(2e4) - np.log(4e4)) / 0.6)
    expected = binom.ppf([0.025, 0.5, 0.975], 300, share)
    columns = ["failures_q025", "failures_q500", "failures_q975"]
    # 4,000 simulated numbers: a quantile is off by one, rarely two.
    assert np.abs(hrs[columns].to_numpy() - expected).max() <= 2
    y = measurements.table
    y = y[y["state"] == "HRS"]
    wrong = (y["resistance_ohm"] < 2e4).groupby(y["programming"]).sum()
    assert hrs["failures_observed"].tolist() == wrong.tolist()
    ln_f = norm.logpdf(np.log(y["resistance_ohm"]), np.log(4e4), 0.6).sum()
    assert hrs["log_predictive_density"].sum() == pytest.approx(ln_f, rel=1e-9)


def test_every_bin_has_the_devices_asked_for(known: DevicePosterior) -> None:
    measurements = readings(known, 150)
    for wanted, bins in ((150, 2), (200, 1), (1000, 1)):
        table = predict(
            known,
            measurements,
            options=THRESHOLD,
            devices_per_bin=wanted,
            rng=np.random.default_rng(1),
        )
        assert len(table) == 2 * bins
        assert table["devices"].sum() == 600


def test_persistence_is_asked_for_where_readings_repeat(known: DevicePosterior) -> None:
    rng = np.random.default_rng(2)
    assert fit_persistence(known, readings(known, 40), options=THRESHOLD, rng=rng) == {}
    found = fit_persistence(known, readings(known, 40, cycles=5), options=THRESHOLD, rng=rng)
    assert set(found) == {"LRS", "HRS"}
    # Independent readings: devices do not differ much.
    assert np.median(found["HRS"].windows[0].tau) < 0.5


def test_sides_follow_the_threshold(known: DevicePosterior) -> None:
    measurements = readings(known, 20)
    found = sides(known, measurements, options=THRESHOLD)
    table = measurements.table
    high = table["resistance_ohm"] > 2e4
    assert found.fails.tolist() == np.where(table["state"] == "LRS", high, ~high).tolist()


def test_another_programming_variable_is_refused(known: DevicePosterior) -> None:
    measurements = readings(known, 20)
    other = check_measurements(measurements.table, Programming("SET gate voltage", "V"))
    with pytest.raises(ValueError, match="fitted over SET compliance current"):
        predict(known, other, options=THRESHOLD, rng=np.random.default_rng(1))


def on_arrays(posterior: DevicePosterior, *arrays: str) -> DevicePosterior:
    return replace(posterior, frame=replace(posterior.frame, arrays=arrays))


def run(device: DevicePosterior, measurements: Measurements, **more: Any) -> pd.DataFrame:
    return predict(
        device, measurements, **{"options": THRESHOLD, "rng": np.random.default_rng(1)} | more
    )


def test_another_array_is_not_taken_for_the_fitted_one(known: DevicePosterior) -> None:
    """The law of one array says nothing of another one, be there one in the fit or several."""
    plain = readings(known, 20)
    other = replace(plain, table=plain.table.assign(array_id="B"))
    one = on_arrays(known, "A")
    with pytest.raises(ValueError, match=r"array 'B' was not fitted \(fitted: A\).*--as-array"):
        run(one, other)
    said = run(one, other, as_array="A")
    assert set(said["as_array"]) == {"A"}
    pd.testing.assert_frame_equal(
        said.drop(columns="as_array"), run(known, plain).drop(columns="as_array")
    )
    with pytest.raises(ValueError, match="--as-array C: no such array; fitted were A"):
        run(one, other, as_array="C")
    with pytest.raises(ValueError, match="the fit names no array"):
        run(known, other, as_array="B")
    with pytest.raises(ValueError, match=r"fitted to 2 arrays \(A, C\).*or say which"):
        run(on_arrays(known, "A", "C"), plain)
    # a fit that names no array, and readings that name none, say nothing against it
    assert len(run(known, other)) == len(run(one, plain)) == 2


def test_readings_of_new_arrays_are_each_on_their_own(known: DevicePosterior) -> None:
    """Arrays that were not fitted have laws of their own; a fitted one keeps its law."""
    plain = readings(known, 40)
    first = plain.table["device_id"].str.endswith(("0", "1"))
    device, named = on_new_arrays(
        on_arrays(known, "A"),
        replace(plain, table=plain.table.assign(array_id=np.where(first, "A", "Z"))),
    )
    assert device.frame.arrays == ("A", "new array 1")
    assert (named.table["array_id"] == np.where(first, "A", "new array 1")).all()
    device, named = on_new_arrays(
        known, replace(plain, table=plain.table.assign(array_id=np.where(first, "Y", "Z")))
    )
    assert device.frame.arrays == ("", "new array 1", "new array 2")
    assert len(places_of(named, device.frame).x) == 2 * plain.table["programming"].nunique()
    device, named = on_new_arrays(known, plain)
    assert set(named.table["array_id"]) == {"new array 1"}
    # a new array is less known than the fitted one
    widths = []
    for new in (False, True):
        found = run(known, readings(known, 300), new_array=new)
        widths.append((found["failures_q975"] - found["failures_q025"]).sum())
    assert widths[1] > 1.5 * widths[0]


def test_persistence_belongs_to_its_threshold(known: DevicePosterior) -> None:
    rng = np.random.default_rng(2)
    often, once = readings(known, 40, cycles=5), readings(known, 40)
    persistence = fit_persistence(known, often, options=THRESHOLD, rng=rng)
    assert persistence["HRS"].threshold_ohm == 2e4
    assert set(run(known, often, persistence=persistence)["readings"]) == {"persistent"}
    for options, words in (
        (SensingOptions(threshold_ohm=3e4), "the threshold 30000 ohm.*--threshold-ohm 30000`"),
        (SensingOptions(), "the threshold that is chosen for each programming value.*--out DIR`"),
    ):
        with pytest.raises(ValueError, match=f"fitted with the threshold 20000 ohm, not.*{words}"):
            run(known, often, persistence=persistence, options=options)
        # devices that were read once need none
        found = run(known, once, persistence=persistence, options=options)
        assert set(found["readings"]) == {"once"}
    unknown = {s: replace(p, threshold_ohm=np.nan) for s, p in persistence.items()}
    with pytest.raises(ValueError, match="fitted with a threshold that was not stored"):
        run(known, often, persistence=unknown)
    # without any the table says what is taken for granted
    assert set(run(known, often)["readings"]) == {"independent"}


def test_cells_with_readings_outside_the_fit_are_marked(known: DevicePosterior) -> None:
    measurements = readings(known, 30)
    narrow = replace(known, frame=replace(known.frame, high=LOW * 1.5))
    found = run(narrow, measurements, devices_per_bin=30)
    assert list(found["extrapolated"]) == [False, False, True, True]
    warm = replace(measurements, table=measurements.table.assign(temperature_k=350.0))
    assert reading_ranges(warm) == {"temperature_k": [350.0, 350.0]}
    for fitted, outside in ((reading_ranges(warm), False), ({"temperature_k": [290, 300]}, True)):
        assert set(run(known, warm, read_at=fitted)["extrapolated"]) == {outside}
    # a fit that does not say at what temperature is no measure
    assert not run(known, warm)["extrapolated"].any()


@pytest.mark.parametrize("cycles", [1, 3])
def test_failures_that_are_certain_are_predicted(known: DevicePosterior, cycles: int) -> None:
    """Every HRS reading is below 1e300 ohm: ln(1 - p) is minus infinity, which is no warning."""
    found = run(known, readings(known, 20, cycles), options=SensingOptions(threshold_ohm=1e300))
    columns = ["failures_observed", "failures_q025", "failures_q500", "failures_q975"]
    assert (found.loc[found["state"] == "HRS", columns] == 40).all(axis=None)
    assert (found.loc[found["state"] == "LRS", columns] == 0).all(axis=None)


def test_a_device_of_one_condition_predicts_no_other(known: DevicePosterior) -> None:
    measurements = readings(known, 20)
    single = replace(known, frame=replace(known.frame, high=LOW))
    with pytest.raises(ValueError, match="measured at 50 uA only.*nothing of other values"):
        run(single, measurements)


def test_tables_without_readings_are_refused(known: DevicePosterior) -> None:
    measurements = readings(known, 20)
    with pytest.raises(ValueError, match="no single readings of devices"):
        run(known, replace(measurements, table=measurements.table.iloc[:0]))
