"""Interpolated tails of the normal law against SciPy's."""

import numpy as np
import pytest
from scipy.special import log_ndtr

from devicefit.numerics.probit import ln_normal_tails


@pytest.mark.parametrize(("reach", "points"), [(8.0, 100_003), (159.9, 100_003), (0.0, 1)])
def test_tails_against_scipy(reach: float, points: int) -> None:
    x = np.linspace(-reach, reach, points)
    low, high = ln_normal_tails(x)
    for found, expected in ((low, log_ndtr(x)), (high, log_ndtr(-x))):
        assert np.all(np.abs(found - expected) <= 1e-10 * np.maximum(1.0, np.abs(expected)))


def test_far_arguments_count_as_the_last_one_and_shapes_are_kept() -> None:
    low, high = ln_normal_tails(np.array([[-1e9, 1e9]]))
    assert low.shape == (1, 2)
    assert low[0, 0] == high[0, 1] == log_ndtr(-160.0)
    assert low[0, 1] == high[0, 0] == 0.0
