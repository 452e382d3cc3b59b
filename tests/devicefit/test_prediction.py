"""Predicted failures of unseen devices against binomial laws that are known exactly."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import binom, norm

from devicefit.fitting import DevicePosterior, Diagnostics
from devicefit.measurements import Measurements, check_measurements
from devicefit.models.frame import Frame
from devicefit.prediction import fit_persistence, predict, sides
from devicefit.priors import core_priors
from devicefit.programming import Programming
from devicefit.sensing import SensingOptions

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
        {"devices": 100, "design_effect": {"LRS": 1.0, "HRS": 1.0}},
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
