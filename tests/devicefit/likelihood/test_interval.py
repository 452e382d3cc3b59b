"""Readings known by bounds: value against SciPy, gradient against differences, also far away."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from devicefit.likelihood.interval_kernel import interval_mixture
from devicefit.likelihood.mixture_kernel import KERNELS

KERNEL_NAMES = ("normal", "student-t", "logistic")
KERNEL = np.array([KERNELS[name] for name in KERNEL_NAMES])
LN_WEIGHT = np.log([[0.5, 0.3, 0.2]])
LOCATION = np.array([[8.5, 9.0, 11.0]])
LN_SCALE = np.log([[0.1, 0.3, 0.4]])
DOF = np.array([[1.0, 3.5, 1.0]])
LOW = np.array([-np.inf, 8.4, 10.0, 12.0])
HIGH = np.array([8.3, 8.6, np.inf, 12.01])
COUNT = np.array([3.0, 10.0, 7.0, 1.0])
AT = np.zeros(4, dtype=np.int64)


def value(
    ln_weight: np.ndarray, location: np.ndarray, ln_scale: np.ndarray, dof: np.ndarray = DOF
) -> float:
    found = interval_mixture(KERNEL, ln_weight, location, ln_scale, dof, AT, LOW, HIGH, COUNT)
    return float(found[0])


def test_value_is_that_of_scipy() -> None:
    laws = (
        stats.norm(LOCATION[0, 0], np.exp(LN_SCALE[0, 0])),
        stats.t(DOF[0, 1], LOCATION[0, 1], np.exp(LN_SCALE[0, 1])),
        stats.logistic(LOCATION[0, 2], np.exp(LN_SCALE[0, 2])),
    )
    inside = [law.cdf(HIGH) - law.cdf(LOW) for law in laws]
    expected = COUNT @ np.log(np.exp(LN_WEIGHT[0]) @ np.stack(inside))
    assert value(LN_WEIGHT, LOCATION, LN_SCALE) == pytest.approx(expected, rel=1e-10)


def test_gradient_is_that_of_differences() -> None:
    found = interval_mixture(KERNEL, LN_WEIGHT, LOCATION, LN_SCALE, DOF, AT, LOW, HIGH, COUNT)
    arguments = [LN_WEIGHT, LOCATION, LN_SCALE, DOF]
    for i in range(4):
        for c in range(3):
            ends = []
            for step in (1e-6, -1e-6):
                changed = [a.copy() for a in arguments]
                changed[i][0, c] += step
                ends.append(value(*changed))
            difference = (ends[0] - ends[1]) / 2e-6
            assert found[1 + i][0, c] == pytest.approx(difference, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kernel", KERNEL_NAMES)
def test_far_from_every_component_the_gradient_points_back(kernel: str) -> None:
    one = np.zeros((1, 1))
    low, high = np.array([60.0]), np.array([61.0])
    number = np.array([KERNELS[kernel]])
    dof = np.full((1, 1), 3.0)
    found = interval_mixture(number, one, one, one, dof, AT[:1], low, high, np.ones(1))
    assert np.isfinite(found[0])
    assert found[2][0, 0] > 0
    assert found[3][0, 0] > 0
    if kernel == "normal":
        # ln P is near ln pdf(low) - ln low, whose slope in the location is low + 1 / low.
        assert found[2][0, 0] == pytest.approx(60 + 1 / 60, rel=1e-3)
    assert logsumexp([found[0]]) == found[0]
