"""Functions without branches, against numpy's."""

import numba
import numpy as np
import pytest
from scipy.stats import norm

from devicefit.numerics.vector_math import (
    fast_exp,
    fast_log,
    fast_tail,
    vector_exp,
    vector_log,
)


def over(function, x: np.ndarray) -> np.ndarray:
    """Values of a compiled function of one number."""

    @numba.njit
    def loop(values):  # type: ignore[no-untyped-def]
        found = np.empty(len(values))
        for i in range(len(values)):
            found[i] = function(values[i])
        return found

    return np.asarray(loop(x))


SIGNED = np.concatenate([-np.geomspace(1e-12, 690, 4001), [0.0], np.geomspace(1e-12, 690, 4001)])
POSITIVE = np.geomspace(1e-300, 1e300, 20_001)


@pytest.mark.parametrize(("function", "error"), [(fast_exp, 1e-9), (vector_exp, 3e-15)])
def test_exp(function, error: float) -> None:
    np.testing.assert_allclose(over(function, SIGNED), np.exp(SIGNED), rtol=error)


def test_exp_far_below_is_tiny_and_finite() -> None:
    found = over(vector_exp, np.array([-700.0, -1e4, -1e300, -np.inf]))
    assert np.all((found >= 0) & (found < 1e-303))


@pytest.mark.parametrize(("function", "error"), [(fast_log, 1e-11), (vector_log, 1e-15)])
def test_log(function, error: float) -> None:
    np.testing.assert_allclose(over(function, POSITIVE), np.log(POSITIVE), rtol=error, atol=error)
    near = 1.0 + np.linspace(-0.3, 0.45, 1001)
    np.testing.assert_allclose(over(function, near), np.log(near), rtol=0, atol=error)


def test_normal_tail() -> None:
    x = np.concatenate([[0.0], np.geomspace(1e-12, 35.0, 20_001)])
    np.testing.assert_allclose(over(fast_tail, x), norm.sf(x), rtol=1e-8)
