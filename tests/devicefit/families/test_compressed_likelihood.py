"""What the likelihoods lose by working on compressed readings."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from devicefit.compression.compression import Compressed, compress
from devicefit.distributions.mixture import Mixture
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.measurements.measurements import Measurements
from devicefit.numerics.arrays import FloatArray
from devicefit.simulation.reference_device import ReferencePlan, reference_measurements

ValueAndGradient = Callable[[FloatArray], tuple[float, FloatArray]]
STATES = ("LRS", "HRS")


@pytest.fixture(scope="module")
def readings() -> Measurements:
    """One cycle of each device: no levels, so that every family has one likelihood."""
    plan = ReferencePlan(currents=4, devices_per_current=150, cycles=1)
    return reference_measurements(seed=5, plan=plan)


def of_state(measurements: Measurements, state: str) -> pd.DataFrame:
    table = measurements.table
    table = table[table["state"] == state]
    return table.assign(y=np.log(table["resistance_ohm"]))


def bins_of(data: Any, part: pd.DataFrame, number: int) -> np.ndarray:
    """Bin of each reading of a condition: readings in order, bins in order."""
    chosen = data.condition == number
    return np.repeat(np.flatnonzero(chosen), data.count[chosen])[np.argsort(np.argsort(part["y"]))]


def unbinned(compressed: Compressed, measurements: Measurements) -> Compressed:
    states = {}
    for state, data in compressed.states.items():
        table = of_state(measurements, state)
        states[state] = dataclasses.replace(
            data,
            condition=np.searchsorted(compressed.conditions, table["programming"]),
            ln_r=table["y"].to_numpy(),
            count=np.ones(len(table), np.int64),
        )
    return dataclasses.replace(compressed, states=states)


def curvature(law: Mixture, y: np.ndarray) -> np.ndarray:
    """Second derivative of the log density of normal components, in closed form."""
    z = (y - law.location) / law.scale
    ln_part = law.ln_weight - 0.5 * z**2 - np.log(law.scale)
    share = np.exp(ln_part - ln_part.max(axis=0))
    share /= share.sum(axis=0)
    slope = -z / law.scale
    mean_slope = (share * slope).sum(axis=0)
    return (share * (slope**2 - 1 / law.scale**2)).sum(axis=0) - mean_slope**2


def test_bins_change_the_likelihood_by_less_than_the_derived_bound(
    readings: Measurements,
    likelihood_of: Callable[..., ValueAndGradient],
    by_name: Callable[..., Any],
    prior_vectors: Callable[..., Any],
) -> None:
    """A bin's mean stands for its readings, so the first-order error is zero.

    The second is at most half of the largest curvature of the log density inside the bin times
    the bin's sum of squares.
    """
    family = "skewed-failure"
    compressed = compress(readings)
    frame = Frame.of(compressed)
    on_bins = likelihood_of(family, compressed)
    on_readings = likelihood_of(family, unbinned(compressed, readings))
    for vector in prior_vectors(family, frame, draws=6, seed=8, narrow=0.3):
        draws = by_name(family, frame, vector[None, None])
        laws = FAMILIES[family].mixtures(draws, frame, frame.places(compressed.conditions))
        bound = 0.0
        for state in STATES:
            data = compressed.states[state]
            for number, (_, part) in enumerate(of_state(readings, state).groupby("programming")):
                law = laws[state].part((0, 0, slice(number, number + 1)))
                y, index = part["y"].to_numpy(), bins_of(data, part, number)
                for bin_number in np.unique(index):
                    inside = y[index == bin_number]
                    fine = np.linspace(inside.min(), inside.max(), 9)
                    squares = ((inside - data.ln_r[bin_number]) ** 2).sum()
                    bound += 0.5 * np.abs(curvature(law, fine)).max() * squares
        (value, gradient), (exact, exact_gradient) = on_bins(vector), on_readings(vector)
        assert abs(value - exact) <= 1.05 * bound + 1e-6
        assert bound < 2e-3 * abs(exact)
        assert value == pytest.approx(exact, rel=2e-4)
        difference = np.linalg.norm(gradient - exact_gradient)
        assert difference < 2e-3 * np.linalg.norm(exact_gradient)


@pytest.mark.parametrize("family", ["student-t", "log-logistic"])
def test_bins_change_heavy_tails_little(
    readings: Measurements,
    likelihood_of: Callable[..., ValueAndGradient],
    prior_vectors: Callable[..., Any],
    family: str,
) -> None:
    compressed = compress(readings)
    frame = Frame.of(compressed)
    on_bins = likelihood_of(family, compressed)
    on_readings = likelihood_of(family, unbinned(compressed, readings))
    for vector in prior_vectors(family, frame, draws=6, seed=9, narrow=0.3):
        (value, gradient), (exact, exact_gradient) = on_bins(vector), on_readings(vector)
        assert value == pytest.approx(exact, rel=2e-4)
        difference = np.linalg.norm(gradient - exact_gradient)
        assert difference < 2e-3 * np.linalg.norm(exact_gradient)


def test_lognormal_likelihood_is_exact(
    readings: Measurements,
    likelihood_of: Callable[..., ValueAndGradient],
    by_name: Callable[..., Any],
    prior_vectors: Callable[..., Any],
) -> None:
    compressed = compress(readings)
    frame = Frame.of(compressed)
    assert frame.levels == ()
    likelihood = likelihood_of("lognormal", compressed)
    for vector in prior_vectors("lognormal", frame, draws=10, seed=8):
        draws = by_name("lognormal", frame, vector[None, None])
        expected = 0.0
        for state in STATES:
            table = of_state(readings, state)
            places = frame.places(table["programming"].to_numpy())
            law = FAMILIES["lognormal"].mixtures(draws, frame, places)[state]
            expected += stats.norm.logpdf(table["y"], law.location[0], law.scale[0]).sum()
        # ln R is kept to 2**-29, so a score of z is off by at most 2**-30 z over the spread
        assert likelihood(vector)[0] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "lognormal"])
def test_the_design_effect_divides_the_likelihood(
    readings: Measurements,
    likelihood_of: Callable[..., ValueAndGradient],
    prior_vectors: Callable[..., Any],
    family: str,
) -> None:
    compressed = compress(readings)
    frame = Frame.of(compressed)
    (vector,) = prior_vectors(family, frame, draws=1, seed=8, narrow=0.3)

    def value(lrs: float, hrs: float) -> float:
        states = {
            state: dataclasses.replace(compressed.states[state], design_effect=effect)
            for state, effect in (("LRS", lrs), ("HRS", hrs))
        }
        replaced = dataclasses.replace(compressed, states=states)
        return likelihood_of(family, replaced)(vector)[0]

    both, less_lrs, less_hrs = value(1, 1), value(4, 1), value(1, 4)
    # each state loses three quarters of its own part
    assert (both - less_lrs) + (both - less_hrs) == pytest.approx(0.75 * both, rel=1e-10)
    assert abs(both - less_lrs) > 1
    assert abs(both - less_hrs) > 1
