"""Failures of SET and RESET over the programming."""

import numpy as np
import pandas as pd
import pytest

from devicefit.compression.compression import compress
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.family import draws_here
from devicefit.families.frame import Frame
from devicefit.families.operations import ln_odds
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import fit
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import check_measurements
from devicefit.sampling.options import SamplerOptions

CURRENT = Programming("SET compliance current", "A")


def test_odds_of_failed_resets_change_by_decades_over_the_range() -> None:
    frame = Frame(CURRENT, 2e-5, 2e-4)
    draws = {"log10_reset_floor": np.full((1, 1), -3.0), "reset_floor_slope": np.full((1, 1), 2.0)}
    places = frame.places(np.array([2e-5, np.sqrt(2e-5 * 2e-4), 2e-4]))
    odds = np.exp(ln_odds(draws_here(draws, places), "reset_floor"))
    assert odds[0, 0] == pytest.approx([1e-4, 1e-3, 1e-2])


def test_an_error_rate_that_rises_again_is_followed() -> None:
    """Too strong SETs: no RESET fails at 120 uA and below, 8 and 12 % at 220 and 300 uA."""
    rng = np.random.default_rng(5)
    rows = []
    for current, share in ((2e-5, 0), (4e-5, 0), (8e-5, 0), (1.2e-4, 0), (2.2e-4, 8), (3e-4, 12)):
        lrs = np.log(500 + 0.5 / current) + 0.15 * rng.standard_normal(150)
        hrs = np.log(1e5) + 0.4 * rng.standard_normal(150)
        failed = np.arange(150) < 1.5 * share
        hrs[failed] = np.log(2500.0) + 0.2 * rng.standard_normal(failed.sum())
        for state, y in (("LRS", lrs), ("HRS", hrs)):
            rows += [(f"{current}-{i}", state, current, np.exp(v)) for i, v in enumerate(y)]
    table = pd.DataFrame(rows, columns=["device_id", "state", "programming", "resistance_ohm"])
    compressed = compress(check_measurements(table, CURRENT, simulated=True, source="simulated"))
    options = SamplerOptions(draws=300, warmup=300)
    posterior = fit(compressed, family="switching-failure", options=options)
    sensing = SensingOptions(threshold_ohm=2e4)
    curve = ber_curves(posterior, np.array([8e-5, 3e-4]), options=sensing)["1T1R"]
    at_80_ua, at_300_ua = np.exp(curve.ln_ber).mean(axis=(0, 1))
    # counted: 0.06, and 0 of 300. A rate that is the same everywhere would say 0.017 at both.
    assert at_80_ua < 0.008
    assert 0.035 < at_300_ua < 0.085
