"""The law of ln R: the truth passes, and each planted shape is found at the size written here."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special, stats

from devicefit.checks.ranks_of_readings import RankedState, predictive, ranked_readings
from devicefit.checks.shape import (
    ShapeTests,
    polynomial,
    shape_gate,
    shape_tests,
    sum_of_squares_test,
)
from devicefit.distributions.mixture import Mixture
from devicefit.simulation.reference_device import PROGRAMMING, ReferenceDevice

SOUND = ReferenceDevice(set_current_a=1e-9, set_width=0.01, set_floor=1e-9, reset_floor=1e-9)


def shape_of(device: Any, measurements: Any) -> ShapeTests:
    return shape_tests(ranked_readings(device, measurements), PROGRAMMING.format)


def ranked(low: np.ndarray, high: np.ndarray | None = None) -> RankedState:
    zero = np.zeros(len(low))
    return RankedState(low, low if high is None else high, zero.astype(int), zero.astype(int), zero)


# --- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [1, 2, 3, 8])
def test_polynomials_are_those_of_legendre(degree: int) -> None:
    u = np.linspace(0, 1, 11)
    norm = np.sqrt(2 * degree + 1)
    found = polynomial(ranked(u), degree)
    assert found == pytest.approx(norm * special.eval_sh_legendre(degree, u), abs=1e-12)
    low, high = np.array([0.0, 0.2, 0.9]), np.array([0.1, 0.7, 1.0])
    means = [
        integrate.quad(lambda v: norm * special.eval_sh_legendre(degree, v), a, b)[0] / (b - a)
        for a, b in zip(low, high, strict=True)
    ]
    assert polynomial(ranked(low, high), degree) == pytest.approx(means, abs=1e-10)


def test_readings_below_a_level() -> None:
    found = ranked(np.array([0.1, 0.3, 0.0, 0.4]), np.array([0.1, 0.3, 0.4, 1.0])).below(0.2)
    assert found.tolist() == [1.0, 0.0, 0.5, 0.0]


def test_predictive_probabilities_are_means_over_draws() -> None:
    rng = np.random.default_rng(4)
    location = rng.normal(10, 0.1, size=(2, 1, 3, 2))
    scale = np.full((2, 1, 3, 2), 0.3)
    law = Mixture(np.full((2, 1, 3, 2), np.log(0.5)), location, scale)
    few = rng.normal(10, 0.5, size=50)
    # 2000 readings at the second place: interpolated
    y = np.concatenate([few, [np.inf, -np.inf], rng.normal(10, 0.5, size=2000)])
    place = np.concatenate([np.zeros(52, int), np.ones(2000, int)])
    found = predictive(law, place, y)
    expected = np.array(
        [stats.norm.cdf(v, location[:, 0, :, p], 0.3).mean() for v, p in zip(y, place, strict=True)]
    )
    assert found[:52] == pytest.approx(expected[:52], abs=1e-12)
    assert special.ndtri(found[52:]) == pytest.approx(special.ndtri(expected[52:]), abs=2e-4)


def test_one_sum_is_a_t_test() -> None:
    # devices read once, scores with a sample variance above one: as Student's
    rng = np.random.default_rng(5)
    score = rng.standard_normal(40)
    score = 0.4 + 1.2 * (score - score.mean()) / score.std(ddof=1)
    found = sum_of_squares_test([(score, np.zeros(40, int))], np.arange(40), 40)
    assert found == pytest.approx(stats.ttest_1samp(score, 0.0).pvalue, rel=1e-9)


def test_independent_sums_are_a_chi_square() -> None:
    # the variance is at least that of independent readings, 1
    rng = np.random.default_rng(6)
    score = 0.5 * rng.standard_normal((3, 2000)) + 0.05
    window = np.arange(2000) % 2
    found = sum_of_squares_test([(s, window) for s in score], np.arange(2000), 2000)
    square = sum(float(s[window == w].sum()) ** 2 / 1000 for s in score for w in range(2))
    assert found == pytest.approx(stats.chi2.sf(square, 6), rel=0.05)


@pytest.mark.parametrize("shared", [False, True])
def test_clustered_scores(rate_at_most: Any, shared: bool) -> None:
    # 60 devices of five readings, 0.8 of the variance the device's; each device in one of three
    # windows, or in all
    rng = np.random.default_rng(6)
    device = np.repeat(np.arange(60), 5)
    window = np.tile([0, 1, 2, 0, 1], 60) if shared else device % 3
    p_values, naive = [], []
    for _ in range(300):
        score = np.sqrt(0.8) * rng.standard_normal(60)[device]
        score = score + np.sqrt(0.2) * rng.standard_normal(300)
        p_values.append(sum_of_squares_test([(score, window)], device, 60))
        naive.append(sum_of_squares_test([(score, window)], np.arange(300), 300))
    for level in (0.005, 0.05, 0.2):
        rate_at_most(np.array(p_values), level)
    # control: readings as if they were independent
    assert np.mean(np.array(naive) < 0.05) > 0.1


@pytest.mark.parametrize(("conditions", "devices", "cycles"), [(8, 50, 1), (1, 30, 20), (6, 20, 5)])
def test_right_laws_of_few_devices(
    rate_at_most: Any, conditions: int, devices: int, cycles: int
) -> None:
    # ranks that are even by construction, half of their score the device's
    device = np.repeat(np.arange(conditions * devices), cycles)
    order = device // devices
    rng = np.random.default_rng(12)
    part = 0.5 if cycles > 1 else 0.0
    p_values = []
    for _ in range(300):
        score = rng.standard_normal(conditions * devices)[device] * np.sqrt(part)
        u = special.ndtr(score + np.sqrt(1 - part) * rng.standard_normal(len(device)))
        readings = RankedState(u, u, device, order, order.astype(float))
        tests = shape_tests({"LRS": readings}, str)
        p_values.append([test.p_value for test in tests.bulk])
    for of_question in np.array(p_values).T:
        rate_at_most(of_question, 0.01)
        rate_at_most(of_question, 0.05)


def test_few_devices_leave_the_bulk_untested() -> None:
    u = np.random.default_rng(13).random(29)
    readings = RankedState(u, u, np.arange(29), np.zeros(29, int), np.ones(29))
    tests = shape_tests({"HRS": readings}, str)
    assert tests.bulk == ()
    finding = shape_gate(tests).finding
    assert finding.endswith("location, spread and form untested with fewer than 30 devices")


# --- the gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("devices", "cycles"), [(50, 1), (15, 6)])
def test_the_truth_fails_as_rarely_as_stated(
    known_device: Any, readings_of: Any, rate_at_most: Any, devices: int, cycles: int
) -> None:
    least = []
    for seed in range(40):
        measurements = readings_of(seed=seed, devices_per_current=devices, cycles=cycles)
        tests = shape_of(known_device(), measurements)
        parts = [t.p_value for t in tests.bulk] + [t.p_value for t in tests.tails]
        least.append(len(parts) * min(parts))
        assert shape_gate(tests).passed
    for level in (0.05, 0.2):
        rate_at_most(np.array(least), level)


def scaled(state: str, spread: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Ln R of a state farther from (or nearer to) the median of its current."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        median = table.groupby(["state", "programming"])["resistance_ohm"].transform("median")
        r = median * (table["resistance_ohm"] / median) ** spread
        return table.assign(
            resistance_ohm=r.where(table["state"] == state, table["resistance_ohm"])
        )

    return change


def second_mode(table: pd.DataFrame) -> pd.DataFrame:
    """Of the writes 12 % end 3.5 times higher in LRS."""
    rng = np.random.default_rng(7)
    rows = (table["state"] == "LRS") & (rng.random(len(table)) < 0.12)
    return table.assign(
        resistance_ohm=table["resistance_ohm"].where(~rows, 3.5 * table["resistance_ohm"])
    )


def weibull(table: pd.DataFrame) -> pd.DataFrame:
    """HRS with the mean and the spread of ln R, and the shape of a Weibull law."""
    rng = np.random.default_rng(8)
    hrs = table["state"] == "HRS"
    y = np.log(table["resistance_ohm"])
    gumbel = np.log(rng.weibull(1.0, len(table)))
    score = (gumbel + np.euler_gamma) / (np.pi / np.sqrt(6))
    law = np.log(1.1e5) + 0.5 * score
    return table.assign(resistance_ohm=np.exp(y.where(~hrs, law)))


def kink(table: pd.DataFrame) -> pd.DataFrame:
    """LRS above 100 uA falls more slowly than fitted."""
    factor = np.maximum(table["programming"] / 1e-4, 1.0) ** 0.2
    lrs = table["state"] == "LRS"
    return table.assign(resistance_ohm=table["resistance_ohm"] * np.where(lrs, factor, 1.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (scaled("LRS", 1.4), "LRS, spread"),
        (scaled("HRS", 0.75), "HRS, spread"),
        (second_mode, "LRS, "),
        (weibull, "HRS, "),
        (kink, "LRS, location"),
    ],
)
def test_control_wrong_shapes_must_fail(
    known_device: Any, readings_of: Any, change: Any, words: str
) -> None:
    # 800 devices read once
    measurements = readings_of(seed=9, change=change, cycles=1)
    gate = shape_gate(shape_of(known_device(), measurements))
    assert not gate.passed
    assert words in gate.finding
    # without the change
    gate = shape_gate(shape_of(known_device(), readings_of(seed=9, cycles=1)))
    assert gate.passed, gate.finding


def test_what_is_certain_but_small_does_not_matter(known_device: Any, readings_of: Any) -> None:
    measurements = readings_of(
        SOUND, seed=10, change=scaled("HRS", 1.05), devices_per_current=4000, cycles=1
    )
    tests = shape_of(known_device(SOUND), measurements)
    spread = next(t for t in tests.bulk if (t.state, t.what) == ("HRS", "spread"))
    assert spread.p_value < 1e-6
    assert spread.distance < 0.05
    assert shape_gate(tests).passed
