"""The posterior as a PyMC model: its density, its gradient, and what it does not have."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytest
from pytensor.compile.mode import Mode
from scipy import stats

from devicefit.density import ValueAndGradient
from devicefit.fitting import ln_posterior
from devicefit.models import FAMILIES
from devicefit.models.frame import Frame
from devicefit.programming import FloatArray, Programming
from devicefit.pymc_model import STANDARD, pymc_model

# The graph as it is written, run by Python: nothing to compile.
PYTHON = Mode(linker="py", optimizer=None)


@pytest.fixture(autouse=True)
def without_blas() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        yield


@pytest.fixture
def posterior(
    make_state: Callable[..., Any], make_compressed: Callable[..., Any]
) -> tuple[ValueAndGradient, int]:
    """A posterior of six readings of each state, and the length of its vector."""
    state = make_state(np.arange(6), np.linspace(8.5, 11.5, 6), conditions=6)
    compressed = make_compressed(
        Programming("v", "V"), np.linspace(1, 3, 6), {"LRS": state, "HRS": state}
    )
    frame = Frame.of(compressed)
    family = FAMILIES["log-logistic"]
    size = sum(max(p.size, 1) for p in family.priors(frame))
    return ln_posterior(family, compressed, frame), size


def test_value_and_gradient_are_those_of_the_posterior(
    posterior: tuple[ValueAndGradient, int],
) -> None:
    density, size = posterior
    model = pymc_model(density, size)
    assert [v.name for v in model.free_RVs] == [STANDARD]
    ln_p = model.compile_logp(mode=PYTHON)
    slope = model.compile_dlogp(mode=PYTHON)
    rng = np.random.default_rng(3)
    # PyMC counts the constant of the standard normal variables
    constant = stats.norm.logpdf(np.zeros(size)).sum()
    for _ in range(4):
        z = rng.normal(size=size)
        value, gradient = density(z)
        found = float(ln_p({STANDARD: z}))
        assert found == pytest.approx(value + constant, rel=1e-12, abs=1e-10)
        # (z less z) leaves the rounding of a number near one
        np.testing.assert_allclose(slope({STANDARD: z}), gradient, rtol=1e-12, atol=1e-12)


def normal(z: FloatArray) -> tuple[float, FloatArray]:
    return -0.5 * float(z @ z), -z


def test_joined_with_a_further_variable() -> None:
    """The gradient passes through whatever the density is multiplied with."""
    model = pymc_model(normal, 2)
    with model:
        shift = pm.Normal("shift")
        pm.Potential("more", shift * model[STANDARD][1])
    z, s = np.array([0.4, -1.1]), 0.6
    point = {STANDARD: z, "shift": s}
    expected = stats.norm.logpdf([*z, s]).sum() + s * z[1]
    assert float(model.compile_logp(mode=PYTHON)(point)) == pytest.approx(expected, rel=1e-13)
    gradient = model.compile_dlogp(mode=PYTHON)(point)
    np.testing.assert_allclose(gradient, [-z[0], -z[1] + s, -s + z[1]], rtol=1e-13)


def test_the_gradient_of_a_multiple() -> None:
    model = pymc_model(normal, 2)
    (z,) = model.value_vars
    slope = pytensor.function([z], pytensor.grad(3.0 * model.logp(), z), mode=PYTHON)
    at = np.array([0.4, -1.1])
    np.testing.assert_allclose(slope(at), -3.0 * at, rtol=1e-13)


def test_a_value_that_is_not_finite_stays_so() -> None:
    model = pymc_model(lambda z: (-np.inf, np.zeros_like(z)), 2)
    assert model.compile_logp(mode=PYTHON)({STANDARD: np.zeros(2)}) == -np.inf


def test_there_are_no_second_derivatives() -> None:
    model = pymc_model(normal, 2)
    with pytest.raises(NotImplementedError, match="the density has no second derivatives"):
        pytensor.gradient.grad(
            pytensor.gradient.grad(model.logp(), model.value_vars[0]).sum(), model.value_vars[0]
        )
    with pytest.raises(NotImplementedError, match="the density has no second derivatives"):
        model.compile_d2logp(mode=PYTHON)
