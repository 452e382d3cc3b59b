"""From components to likelihoods and to laws, against SciPy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from scipy import special, stats

from devicefit.families.components import Component, mixture_of
from devicefit.families.pymc_model import add_readings
from devicefit.likelihood.compressed import CompressedState, Intervals, Summaries
from devicefit.numerics.arrays import FloatArray

PLACES = 3
# weight, location and scale of each component; one number, or one for each place
MIX: dict[str, tuple[Any, Any, Any, float | None]] = {
    "normal": (np.log(0.5), np.array([9.0, 9.2, 9.5]), 0.2, None),
    "student-t": (np.log(np.array([0.3, 0.2, 0.1])), 10.0, np.array([0.3, 0.4, 0.5]), 3.5),
    "logistic": (np.log(np.array([0.2, 0.3, 0.4])), 11.0, 0.25, None),
}
LAWS: dict[str, Callable[..., Any]] = {
    "normal": lambda at, scale, dof: stats.norm(at, scale),
    "student-t": lambda at, scale, dof: stats.t(dof, at, scale),
    "logistic": lambda at, scale, dof: stats.logistic(at, scale),
}


@dataclass(frozen=True)
class Parts:
    """Components whose values are all variables, vectors over places, and these values."""

    components: list[Component]
    variables: list[Any]
    values: list[FloatArray]


def components(*kernels: str) -> Parts:
    """Components of the mix; the weights of some alone are scaled to one."""
    chosen = [MIX[k] for k in kernels]
    total = special.logsumexp([np.broadcast_to(m[0], PLACES) for m in chosen], axis=0)
    parts = Parts([], [], [])

    def variable(value: Any) -> Any:
        parts.values.append(np.broadcast_to(value, PLACES).astype(np.float64))
        parts.variables.append(pt.dvector())
        return parts.variables[-1]

    for kernel, (weight, at, scale, dof) in zip(kernels, chosen, strict=True):
        laws = [variable(v) for v in (weight - total, at, scale)]
        parts.components.append(Component(*laws, kernel, None if dof is None else variable(dof)))
    return parts


def scipy_laws(place: int, *kernels: str) -> list[tuple[float, Any]]:
    """Weight and frozen SciPy law of each component at a place."""
    chosen = [[np.broadcast_to(v, PLACES)[place] for v in MIX[k][:3]] for k in kernels]
    weight = np.exp([c[0] for c in chosen])
    return [
        (w, LAWS[k](c[1], c[2], MIX[k][3]))
        for w, k, c in zip(weight / weight.sum(), kernels, chosen, strict=True)
    ]


@pytest.fixture
def value_of(differences: Callable[..., FloatArray]) -> Callable[..., float]:
    """Value of the terms of a state, whose gradient is that of the value."""

    def found(parts: Parts, data: CompressedState) -> float:
        with pm.Model() as model:
            add_readings("LRS", parts.components, data)
        total = sum(model.logp(model.potentials, sum=False))
        slopes = pytensor.grad(total, parts.variables, disconnected_inputs="ignore")
        mode = Mode(linker="py", optimizer=None)
        function = pytensor.function(
            parts.variables, [total, *slopes], mode=mode, on_unused_input="ignore"
        )
        vector = np.concatenate(parts.values)

        def density(v: FloatArray) -> tuple[float, FloatArray]:
            value, *gradient = function(*np.split(v, len(parts.values)))
            return float(value), np.concatenate(gradient)

        value, gradient = density(vector)
        # some of the kernels differentiate by the degrees of freedom with differences of their own
        np.testing.assert_allclose(
            gradient,
            differences(lambda v: density(v)[0], vector, 1e-5),
            rtol=1e-6,
            atol=1e-6 * np.abs(gradient).max(),
        )
        return value

    return found


EACH = pytest.mark.parametrize(
    "kernels", [("normal",), ("student-t",), ("logistic",), ("normal", "student-t", "logistic")]
)


@EACH
def test_readings(
    make_state: Callable[..., Any], value_of: Callable[..., float], kernels: tuple[str, ...]
) -> None:
    condition, y = [0, 0, 1, 2, 2], np.array([8.9, 10.5, 9.0, 11.5, 7.0])
    count = [4, 1, 7, 2, 1]
    data = make_state(condition, y, conditions=PLACES, count=count, design_effect=1.7)
    expected = sum(
        n * np.log(sum(w * law.pdf(v) for w, law in scipy_laws(k, *kernels)))
        for k, v, n in zip(condition, y, count, strict=True)
    )
    assert value_of(components(*kernels), data) == pytest.approx(expected / 1.7, rel=1e-10)


@EACH
def test_readings_known_by_bounds(
    make_state: Callable[..., Any], value_of: Callable[..., float], kernels: tuple[str, ...]
) -> None:
    # coded, censored on either side, counted against a threshold
    bounds = Intervals(
        np.array([0, 0, 1, 1, 2]),
        np.array([9.0, 9.3, -np.inf, 10.0, 8.0]),
        np.array([9.06, np.inf, 10.0, np.inf, 8.5]),
        np.array([3, 2, 5, 40, 1]),
    )
    data = make_state([], np.zeros(0), conditions=PLACES, design_effect=3.0, intervals=bounds)
    expected = 0.0
    for k, low, high, n in zip(*vars(bounds).values(), strict=True):
        laws = scipy_laws(k, *kernels)
        expected += n * np.log(sum(w * (law.cdf(high) - law.cdf(low)) for w, law in laws))
    # bounds are of single readings: no design effect
    assert value_of(components(*kernels), data) == pytest.approx(expected, rel=1e-9)


@EACH
def test_summaries_enter_by_their_mean_and_variance(
    make_state: Callable[..., Any], value_of: Callable[..., float], kernels: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(3)
    samples = [rng.normal(9.5, 0.5, n) for n in (5, 200)]
    tables = Summaries(
        np.array([2, 0]),
        np.array([len(s) for s in samples]),
        np.array([s.mean() for s in samples]),
        np.array([((s - s.mean()) ** 2).sum() for s in samples]),
    )
    data = make_state([], np.zeros(0), conditions=PLACES, summaries=tables)
    expected = 0.0
    for k, sample in zip(tables.condition, samples, strict=True):
        laws = scipy_laws(k, *kernels)
        mean = sum(w * law.mean() for w, law in laws)
        square = sum(w * (law.var() + law.mean() ** 2) for w, law in laws)
        expected += stats.norm.logpdf(sample, mean, np.sqrt(square - mean**2)).sum()
    assert value_of(components(*kernels), data) == pytest.approx(expected, rel=1e-10)


def test_all_kinds_of_input_add_up(
    make_state: Callable[..., Any], value_of: Callable[..., float]
) -> None:
    parts = components("normal", "logistic")
    bounds = Intervals(np.array([1]), np.array([9.0]), np.array([np.inf]), np.array([4]))
    tables = Summaries(np.array([2]), np.array([9]), np.array([9.4]), np.array([2.0]))
    readings = {"condition": [0, 1], "ln_r": np.array([9.0, 9.5]), "conditions": PLACES}
    nothing = {"condition": [], "ln_r": np.zeros(0), "conditions": PLACES}
    alone = [
        make_state(**readings),
        make_state(**nothing, intervals=bounds),
        make_state(**nothing, summaries=tables),
    ]
    together = make_state(**readings, intervals=bounds, summaries=tables)
    each = [value_of(parts, a) for a in alone]
    assert all(abs(v) > 0.01 for v in each)
    assert value_of(parts, together) == pytest.approx(sum(each), rel=1e-13)


def test_a_state_without_readings_says_nothing(
    make_state: Callable[..., Any], value_of: Callable[..., float]
) -> None:
    nothing = make_state([], np.zeros(0), conditions=PLACES)
    assert value_of(components("normal", "student-t"), nothing) == 0.0


def test_laws_of_draws() -> None:
    """Numbers, draws and values of places are broadcast to (component, chain, draw, place)."""
    rng = np.random.default_rng(2)
    number, draw, place = rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 4, 1)), np.arange(5.0)
    lrs = mixture_of(
        [
            Component(np.log(0.25), number, 0.5),
            Component(np.log(0.75), draw, np.exp(place), "student-t", 7.0),
        ],
        (2, 4, 5),
    )
    hrs = mixture_of([Component(np.zeros(5), 1.0, 2.0, "logistic")], (2, 4, 5))
    assert lrs.trailing == hrs.trailing == (2, 4, 5)
    assert lrs.kernels == ("normal", "student-t")
    assert hrs.kernels == ("logistic",)
    assert lrs.dof is not None
    np.testing.assert_array_equal(lrs.location[0], number)
    np.testing.assert_array_equal(lrs.location[1], np.repeat(draw, 5, axis=-1))
    np.testing.assert_array_equal(lrs.scale[1], np.tile(np.exp(place), (2, 4, 1)))
    assert np.all(lrs.dof[1] == 7.0)
    assert np.all(lrs.ln_weight == np.log([0.25, 0.75])[:, None, None, None])
    assert hrs.dof is None
