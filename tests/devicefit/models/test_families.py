"""Each family: what it fits with (PyTensor) and what it hands over (NumPy) are one law."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor.tensor as pt
import pytest

from devicefit.compression import Compressed, CompressedState
from devicefit.models import FAMILIES
from devicefit.models.core import Frame
from devicefit.priors import sample_priors
from devicefit.programming import FloatArray, Programming

STATES = ("LRS", "HRS")
# usual and very wide ranges
RANGES = [
    ("A", 20e-6, 600e-6),
    ("A", 1e-9, 1e-2),
    ("V", 0.0, 3.0),
    ("V", -0.5, 20.0),
    ("s", 1e-9, 1.0),
]
BOTH = pytest.mark.parametrize("family", FAMILIES)


def draws_of(family: str, programming: Programming, n: int, seed: int) -> FloatArray:
    priors = FAMILIES[family].priors(programming)
    sampled = sample_priors(priors, draws=n, rng=np.random.default_rng(seed))
    return np.stack([sampled[p.name][0] for p in priors], axis=-1)


def named(family: str, programming: Programming, vectors: FloatArray) -> dict[str, FloatArray]:
    priors = FAMILIES[family].priors(programming)
    return {p.name: vectors[..., i] for i, p in enumerate(priors)}


def readings(ln_r: FloatArray, conditions: int) -> CompressedState:
    """Make the same readings at each condition."""
    n = np.full(conditions, len(ln_r))
    return CompressedState(
        condition=np.repeat(np.arange(conditions), len(ln_r)),
        ln_r=np.tile(ln_r, conditions),
        count=np.ones(conditions * len(ln_r), np.int64),
        n=n,
        mean=np.full(conditions, ln_r.mean()),
        sum_of_squares=np.full(conditions, ((ln_r - ln_r.mean()) ** 2).sum()),
        design_effect=1.0,
    )


def one_reading(ln_r: Any) -> CompressedState:
    one = np.ones(1, np.int64)
    return CompressedState(0 * one, ln_r, one, one, ln_r, np.zeros(1), 1.0)


def no_reading() -> CompressedState:
    none, zero = np.zeros(0, np.int64), np.zeros(1)
    return CompressedState(none, np.zeros(0), none, np.zeros(1, np.int64), zero, zero, 1.0)


@BOTH
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("unit", "low", "high"), RANGES[::2])
def test_likelihood_of_one_reading_is_the_density(
    compiled: Callable[..., Any], family: str, state: str, unit: str, low: float, high: float
) -> None:
    programming = Programming("x", unit)
    frame = Frame(programming, low, high)
    x = programming.grid(low, high, 5)[3]
    ln_r = pt.dvector("ln_r")
    states = {s: one_reading(ln_r) if s == state else no_reading() for s in STATES}
    compressed = Compressed(programming, np.array([x]), states, 1, np.ones(1, np.int64))
    likelihood = compiled(family, compressed, frame, inputs=[ln_r], gradient=False)
    for vector in draws_of(family, programming, 15, seed=21):
        law = FAMILIES[family].mixtures(named(family, programming, vector), frame, np.array([x]))[
            state
        ]
        for y in (*law.mean[:, 0], 7.0, 10.0, 13.0):
            expected = law.ln_density(y)[0]
            assert likelihood(vector, [y]) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@BOTH
@pytest.mark.parametrize(("unit", "low", "high"), RANGES)
def test_finite_value_and_gradient_wherever_the_priors_reach(
    compiled: Callable[..., Any], family: str, unit: str, low: float, high: float
) -> None:
    programming = Programming("x", unit)
    frame = Frame(programming, low, high)
    conditions = programming.grid(low, high, 4)
    # readings from a short to an open cell: far from every component
    state = readings(np.log([1.0, 1e3, 1e4, 1e5, 1e7, 1e12]), len(conditions))
    compressed = Compressed(
        programming, conditions, dict.fromkeys(STATES, state), 10, np.full(4, 10)
    )
    likelihood = compiled(family, compressed, frame)
    for vector in draws_of(family, programming, 200, seed=22):
        value, gradient = likelihood(vector)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(("unit", "low", "high"), RANGES[0:3:2])
def test_gradient_is_that_of_the_value(
    compiled: Callable[..., Any], unit: str, low: float, high: float
) -> None:
    programming = Programming("x", unit)
    frame = Frame(programming, low, high)
    conditions = programming.grid(low, high, 4)
    state = readings(np.log([2e3, 5e3, 1e4, 1e5]), 4)
    compressed = Compressed(
        programming, conditions, dict.fromkeys(STATES, state), 10, np.full(4, 10)
    )
    likelihood = compiled("switching-failure", compressed, frame)
    for vector in draws_of("switching-failure", programming, 3, seed=23):
        gradient = likelihood(vector)[1]
        for i in range(len(vector)):
            step = 1e-5 * np.eye(len(vector))[i]
            slope = (likelihood(vector + step)[0] - likelihood(vector - step)[0]) / 2e-5
            # curvature of a likelihood of 1e4 over a step of 1e-5
            assert gradient[i] == pytest.approx(slope, rel=1e-4, abs=1e-3)


@BOTH
@pytest.mark.parametrize(("unit", "low", "high"), RANGES)
def test_laws(family: str, unit: str, low: float, high: float) -> None:
    programming = Programming("x", unit)
    vectors = draws_of(family, programming, 200, seed=24).reshape(2, 100, -1)
    x = programming.grid(low, high, 6)
    laws = FAMILIES[family].mixtures(
        named(family, programming, vectors), Frame(programming, low, high), x
    )
    assert set(laws) == set(STATES)
    for state, law in laws.items():
        expected = 1 if family == "lognormal" else {"LRS": 3, "HRS": 2}[state]
        assert law.mean.shape == law.sd.shape == law.ln_weight.shape == (expected, 2, 100, 6)
        np.testing.assert_allclose(np.exp(law.ln_weight).sum(axis=0), 1.0, rtol=1e-12)
        assert np.all(np.isfinite(law.mean))
        assert np.all(law.sd > 0)


def test_failed_operations_read_like_the_other_state() -> None:
    programming = Programming("i", "A")
    frame = Frame(programming, 20e-6, 600e-6)
    family = FAMILIES["switching-failure"]
    p = {q.name: np.array(q.mean) for q in family.priors(programming)}
    p |= {
        "log10_set_floor": np.array(-3.0),
        "log10_reset_floor": np.array(-2.0),
        "log10_incomplete": np.array(-1.0),
        "set_centre": np.array(0.3),
        "ln_set_width": np.array(np.log(0.05)),
        "stuck_offset": np.array(0.1),
    }
    x = programming.grid(20e-6, 600e-6, 11)
    laws = family.mixtures(p, frame, x)
    weight = np.exp(laws["LRS"].ln_weight)
    floor, transition = 1e-3 / (1 + 1e-3), 1 / (1 + np.exp((np.linspace(0, 1, 11) - 0.3) / 0.05))
    np.testing.assert_allclose(weight[2], floor + (1 - floor) * transition, rtol=1e-10)
    # odds of 1:10 among those that worked
    np.testing.assert_allclose(weight[1] / weight[0], 0.1, rtol=1e-10)
    np.testing.assert_allclose(np.exp(laws["HRS"].ln_weight[1]), 1e-2 / (1 + 1e-2), rtol=1e-10)
    np.testing.assert_array_equal(laws["LRS"].mean[2], laws["HRS"].mean[0])
    np.testing.assert_array_equal(laws["LRS"].sd[2], laws["HRS"].sd[0])
    # failed RESETs stay near the strongest LRS, whatever they were programmed with
    np.testing.assert_allclose(laws["HRS"].mean[1], laws["LRS"].mean[0, -1] + 0.1)
    # incomplete SETs lie between the states
    assert np.all(laws["LRS"].mean[0] < laws["LRS"].mean[1])
    assert np.all(laws["LRS"].mean[1] < laws["LRS"].mean[2])


def test_names() -> None:
    assert all(name == family.name for name, family in FAMILIES.items())
