"""Modes and curvature, on densities whose modes and curvature are known."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.laplace import EVIDENCE_LOST, find_modes

Density = Callable[[FloatArray], tuple[float, FloatArray]]


def gaussian(mean: FloatArray, covariance: FloatArray, ln_mass: float = 0.0) -> Density:
    """Log of a normal density without its constant, with its gradient."""
    precision = np.linalg.inv(covariance)

    def evaluate(z: FloatArray) -> tuple[float, FloatArray]:
        pull = precision @ (mean - z)
        return ln_mass - 0.5 * float((z - mean) @ -pull), pull

    return evaluate


def covariance_of(seed: int, n: int) -> FloatArray:
    """Random covariance with standard deviations from 0.001 to the prior's own 1."""
    rng = np.random.default_rng(seed)
    turn = stats.ortho_group.rvs(n, random_state=rng) if n > 1 else np.eye(1)
    return np.asarray((turn * rng.uniform(-3, 0, n).astype(float).__rpow__(10.0) ** 2) @ turn.T)


@given(st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_a_gaussian_is_found_exactly(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    mean, covariance = rng.normal(size=n), covariance_of(seed, n)
    modes = find_modes(gaussian(mean, covariance, 3.0), mean + 0.5 * rng.normal(size=(3, n)))
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (modes.places - mean).T)
    # the climb ends within a tenth of a standard deviation, in every direction
    assert np.abs(whitened).max() < 0.1
    np.testing.assert_array_equal(modes.root, np.triu(modes.root))
    assert np.all(np.diag(modes.root) > 0)
    # a Hessian by differences over 1e-4: rounding of 1e-16 times the gradient, here at most 1e6
    np.testing.assert_allclose(
        modes.root @ modes.root.T, covariance, rtol=1e-4, atol=1e-6 * np.abs(covariance).max()
    )
    # the integral of exp(value), less that of the standard normal's own constant
    expected = 3.0 + 0.5 * np.linalg.slogdet(covariance)[1]
    np.testing.assert_allclose(modes.ln_evidence, expected, atol=0.05)
    assert modes.ln_evidence.shape == (3,)


def two_modes(ln_mass: float, apart: float = 6.0) -> Density:
    """Two normal parts in two dimensions, the second `ln_mass` heavier or lighter."""
    covariance = np.diag([0.04, 0.25])
    parts = [
        gaussian(np.array([-apart / 2, 0.0]), covariance),
        gaussian(np.array([apart / 2, 1.0]), covariance, ln_mass),
    ]

    def evaluate(z: FloatArray) -> tuple[float, FloatArray]:
        (a, ga), (b, gb) = (part(z) for part in parts)
        value = np.logaddexp(a, b)
        return float(value), np.exp(a - value) * ga + np.exp(b - value) * gb

    return evaluate


STARTS = np.array([[-2.5, 0.3], [2.5, 0.5], [-3.5, -0.2], [3.2, 1.5]])


@pytest.mark.parametrize("ln_mass", [0.0, 2.0, -5.0, EVIDENCE_LOST - 1, 1 - EVIDENCE_LOST])
def test_modes_of_comparable_evidence_are_kept(ln_mass: float) -> None:
    modes = find_modes(two_modes(ln_mass), STARTS)
    assert len(modes.places) == 4
    sides = np.sign(modes.places[:, 0])
    # the heavier one first, and the scale from there
    assert set(sides) == {-1.0, 1.0}
    if ln_mass:
        assert sides.tolist() == [np.sign(ln_mass)] * 2 + [-np.sign(ln_mass)] * 2
    constant = 0.5 * np.log(0.04 * 0.25)
    expected = constant + np.array([0.0, ln_mass, 0.0, ln_mass])
    np.testing.assert_allclose(modes.ln_evidence, expected, atol=0.02)
    np.testing.assert_allclose(modes.root, np.diag([0.2, 0.5]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("ln_mass", [EVIDENCE_LOST + 1, -EVIDENCE_LOST - 1, 200.0])
def test_a_hopeless_mode_is_dropped(ln_mass: float) -> None:
    modes = find_modes(two_modes(ln_mass), STARTS)
    best = 3.0 * np.sign(ln_mass)
    np.testing.assert_allclose(modes.places[:, 0], best, atol=0.02)
    assert len(modes.places) == 2
    # what was found there is still told
    assert np.ptp(modes.ln_evidence) == pytest.approx(abs(ln_mass), abs=0.05)


def test_evidence_counts_width_not_height() -> None:
    # the left part is e^3 higher, the right one e^5 wider in volume
    narrow = gaussian(np.full(2, -3.0), np.diag([0.01, 0.01]), 3.0)
    wide = gaussian(np.full(2, 3.0), np.diag([0.01, 0.01]) * np.exp(5.0))

    def evaluate(z: FloatArray) -> tuple[float, FloatArray]:
        (a, ga), (b, gb) = narrow(z), wide(z)
        value = np.logaddexp(a, b)
        return float(value), np.exp(a - value) * ga + np.exp(b - value) * gb

    modes = find_modes(evaluate, np.array([[-3.1, -2.9], [3.1, 2.9]]))
    np.testing.assert_allclose(modes.places[0], 3.0, atol=0.05)
    assert modes.ln_evidence[1] - modes.ln_evidence[0] == pytest.approx(2.0, abs=0.05)


def test_places_without_a_density_are_avoided() -> None:
    inside = gaussian(np.array([0.5]), np.array([[0.01]]))

    def evaluate(z: FloatArray) -> tuple[float, FloatArray]:
        return inside(z) if z[0] > 0 else (-np.inf, np.full(1, np.nan))

    modes = find_modes(evaluate, np.array([[0.9]]))
    np.testing.assert_allclose(modes.places, 0.5, atol=1e-2)


def test_a_flat_direction_is_never_wider_than_the_least_curvature() -> None:
    # a ridge with curvature 0.01, as away from a mode: taken as 0.5, twice the prior's variance
    modes = find_modes(gaussian(np.zeros(2), np.diag([100.0, 0.04])), np.array([[0.1, 0.1]]))
    np.testing.assert_allclose(modes.root @ modes.root.T, np.diag([2.0, 0.04]), rtol=1e-6)
