"""Log likelihood of binned readings, against SciPy and finite differences."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from devicefit.likelihood.mixture_kernel import LOGISTIC, NORMAL, STUDENT, binned_mixture
from devicefit.numerics.arrays import FloatArray

CONDITIONS = 2
MIXES = [(NORMAL,), (STUDENT,), (LOGISTIC,), (NORMAL, NORMAL, NORMAL), (STUDENT, STUDENT)] + [
    (NORMAL, STUDENT, LOGISTIC), (LOGISTIC, NORMAL), (NORMAL, NORMAL, STUDENT, LOGISTIC, NORMAL)
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Arguments of :func:`binned_mixture`."""

    kernels: np.ndarray
    ln_weight: FloatArray
    location: FloatArray
    ln_scale: FloatArray
    dof: FloatArray
    condition: np.ndarray
    y: FloatArray
    count: FloatArray

    def found(self) -> tuple[Any, ...]:
        return binned_mixture(*vars(self).values())

    def moved(self, name: str, step: FloatArray) -> "Case":
        return replace(self, **{name: getattr(self, name) + step})


def case(kernels: tuple[int, ...], seed: int, *, bins: int = 12) -> Case:
    """Random parameters, and readings near and far from the components."""
    rng = np.random.default_rng(seed)
    n = len(kernels)
    shape = (CONDITIONS, n)
    weight = rng.dirichlet(np.full(n, 0.4), size=CONDITIONS) + 1e-12
    return Case(
        np.array(kernels),
        np.log(weight),
        rng.normal(10.0, 2.0, shape),
        rng.normal(-1.0, 0.7, shape),
        1.0 + rng.exponential(5.0, shape),
        np.sort(rng.integers(0, CONDITIONS, bins)),
        rng.normal(10.0, 3.0, bins),
        rng.integers(1, 1000, bins).astype(np.float64),
    )


def terms(c: Case) -> FloatArray:
    """Log of each component's weighted density at each reading by SciPy, (component, bin)."""
    rows = []
    for i, kernel in enumerate(c.kernels):
        where = c.location[c.condition, i], np.exp(c.ln_scale[c.condition, i])
        if kernel == NORMAL:
            found = stats.norm.logpdf(c.y, *where)
        elif kernel == LOGISTIC:
            found = stats.logistic.logpdf(c.y, *where)
        else:
            found = stats.t.logpdf(c.y, c.dof[c.condition, i], *where)
        rows.append(c.ln_weight[c.condition, i] + found)
    return np.array(rows)


@pytest.mark.parametrize("kernels", MIXES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_value(kernels: tuple[int, ...], seed: int) -> None:
    c = case(kernels, seed)
    expected = c.count @ special.logsumexp(terms(c), axis=0)
    # up to twelve logarithms of some hundred, times counts: rounding only
    assert c.found()[0] == pytest.approx(expected, rel=1e-11, abs=1e-9)


@pytest.mark.parametrize("kernels", MIXES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_gradient_is_that_of_the_value(kernels: tuple[int, ...], seed: int) -> None:
    c = case(kernels, seed)
    rng = np.random.default_rng(seed)
    value, *gradient = c.found()
    for name, slope in zip(("ln_weight", "location", "ln_scale", "dof"), gradient, strict=True):
        way = rng.standard_normal(slope.shape)
        h = 1e-5
        up, down = (c.moved(name, s * h * way).found()[0] for s in (1, -1))
        expected = float(np.sum(slope * way))
        # rounding of the two values over the step, and third derivatives times its square
        size = np.abs(slope * way).sum() + c.count.sum()
        tolerance = 1e-14 * abs(value) / h + 1e-6 * size
        assert (up - down) / (2 * h) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("kernels", MIXES)
def test_gradient_of_the_weights_is_the_shares(kernels: tuple[int, ...]) -> None:
    # responsibilities, exact to rounding
    c = case(kernels, 5, bins=40)
    each = terms(c)
    share = np.exp(each - special.logsumexp(each, axis=0)) * c.count
    expected = np.stack([share[:, c.condition == k].sum(axis=1) for k in range(CONDITIONS)])
    np.testing.assert_allclose(c.found()[1], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kernels", MIXES)
@pytest.mark.parametrize("away", [50.0, -50.0, 1e4])
def test_far_outliers_are_finite(kernels: tuple[int, ...], away: float) -> None:
    c = case(kernels, 3)
    furthest = c.location.max() if away > 0 else c.location.min()
    y = np.full(len(c.y), furthest + away * np.exp(c.ln_scale.max()))
    c = replace(c, y=y)
    value, *gradient = c.found()
    expected = c.count @ special.logsumexp(terms(c), axis=0)
    assert value == pytest.approx(expected, rel=1e-11)
    assert all(np.isfinite(g).all() for g in gradient)
    # a reading draws the component that explains it towards itself
    assert np.all(np.sign(gradient[1][gradient[1] != 0]) == np.sign(away))
    assert np.any(gradient[1] != 0)


def test_a_component_without_weight_takes_no_part() -> None:
    c = case((NORMAL, STUDENT), 4)
    ln_weight = c.ln_weight.copy()
    ln_weight[:, 1] = -np.inf
    value, g_weight, g_location, g_scale, g_dof = replace(c, ln_weight=ln_weight).found()
    alone = Case(
        c.kernels[:1],
        *(np.ascontiguousarray(a[:, :1]) for a in (ln_weight, c.location, c.ln_scale, c.dof)),
        c.condition,
        c.y,
        c.count,
    ).found()
    assert value == pytest.approx(alone[0], rel=1e-14)
    np.testing.assert_array_equal(g_location[:, 1], 0)
    np.testing.assert_array_equal(g_scale[:, 1], 0)
    np.testing.assert_array_equal(g_dof[:, 1], 0)
    np.testing.assert_allclose(g_weight[:, 0], alone[1][:, 0], rtol=1e-14)


@pytest.mark.parametrize("kernels", MIXES)
@pytest.mark.parametrize("bins", [127, 128, 129, 1000])
def test_bins_in_any_number_and_order(kernels: tuple[int, ...], bins: int) -> None:
    c = case(kernels, 7, bins=bins)
    rng = np.random.default_rng(8)
    order = rng.permutation(bins)
    mixed = replace(c, **{n: getattr(c, n)[order] for n in ("condition", "y", "count")})
    expected = c.count @ special.logsumexp(terms(c), axis=0)
    # a thousand summands, whose rounding adds up at worst
    assert c.found()[0] == pytest.approx(expected, rel=1e-10)
    for one, other in zip(c.found(), mixed.found(), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * c.count.sum())


def test_no_readings() -> None:
    c = case((NORMAL, STUDENT), 4, bins=0)
    value, *gradient = c.found()
    assert value == 0
    assert [g.shape for g in gradient] == [(2, 2)] * 4
    assert all(np.all(g == 0) for g in gradient)


@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_a_count_is_so_many_readings(seed: int, times: int) -> None:
    c = case((NORMAL, LOGISTIC), seed)
    counted = replace(c, count=np.full(len(c.y), float(times)))
    repeated = replace(
        c,
        condition=np.repeat(c.condition, times),
        y=np.repeat(c.y, times),
        count=np.ones(times * len(c.y)),
    )
    for one, other in zip(counted.found(), repeated.found(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_infinite_degrees_of_freedom_are_normal() -> None:
    c = case((STUDENT, STUDENT), 6)
    heavy = replace(c, dof=np.full((2, 2), 1e7), y=c.location[c.condition, 0] + 0.1)
    normal = replace(heavy, kernels=np.array([NORMAL, NORMAL]))
    # ln of the densities differ by about z^4 / (4 dof); the constant loses digits in lgamma
    assert heavy.found()[0] == pytest.approx(normal.found()[0], rel=1e-4)
