"""Log likelihood of readings known by bounds under a mixture, with its gradient.

Censored and coded readings, and errors counted against a threshold.
"""

from __future__ import annotations

import math

import numpy as np

from devicefit.distributions.kernels import (
    logistic_ln_cdf,
    logistic_ln_pdf,
    normal_ln_cdf,
    normal_ln_pdf,
    student_ln_cdf,
    student_ln_pdf,
)
from devicefit.likelihood.mixture_kernel import LOGISTIC, NORMAL
from devicefit.numerics.compiled import njit

_STEP = 1e-5


@njit
def _ln_cdf(kernel: int, z: float, dof: float) -> float:
    if z == -np.inf:
        return -np.inf
    if z == np.inf:
        return 0.0
    if kernel == NORMAL:
        return normal_ln_cdf(z)
    if kernel == LOGISTIC:
        return logistic_ln_cdf(z)
    return student_ln_cdf(z, dof)


@njit
def _ln_pdf(kernel: int, z: float, dof: float) -> float:
    if not np.isfinite(z):
        return -np.inf
    if kernel == NORMAL:
        return normal_ln_pdf(z)
    if kernel == LOGISTIC:
        return logistic_ln_pdf(z)
    return student_ln_pdf(z, dof)


@njit
def _ln_between(kernel: int, low: float, high: float, dof: float) -> float:
    """Ln P(low < Z < high) of a symmetric law, from the nearer tail."""
    if low > 0:
        low, high = -high, -low
    upper, lower = _ln_cdf(kernel, high, dof), _ln_cdf(kernel, low, dof)
    if lower == -np.inf:
        return upper
    # Two infinite logarithms, or bounds closer than the last digit: nothing between them.
    if not lower < upper:
        return -np.inf
    return upper + math.log(-math.expm1(lower - upper))


@njit
def interval_mixture(kernels, ln_weight, location, ln_scale, dof, condition, low, high, count):  # type: ignore[no-untyped-def]
    """Sum of ``count * ln P(low < y < high)`` and its gradient.

    Arguments and results are those of
    :func:`devicefit.likelihood.mixture_kernel.binned_mixture`, with the bounds `low` and `high` of
    ln R, float array, shape (interval,), in place of readings.
    """
    components = len(kernels)
    value = 0.0
    g_weight = np.zeros(ln_weight.shape)
    g_location = np.zeros(ln_weight.shape)
    g_scale = np.zeros(ln_weight.shape)
    g_dof = np.zeros(ln_weight.shape)
    term = np.empty(components)
    for i in range(len(low)):
        k = condition[i]
        largest = -np.inf
        for c in range(components):
            inverse = math.exp(-ln_scale[k, c])
            a, b = (low[i] - location[k, c]) * inverse, (high[i] - location[k, c]) * inverse
            term[c] = ln_weight[k, c] + _ln_between(kernels[c], a, b, dof[k, c])
            largest = max(largest, term[c])
        if largest == -np.inf:
            return -np.inf, g_weight, g_location, g_scale, g_dof
        ln_total = largest + math.log(np.exp(term - largest).sum())
        value += count[i] * ln_total
        for c in range(components):
            inverse = math.exp(-ln_scale[k, c])
            a, b = (low[i] - location[k, c]) * inverse, (high[i] - location[k, c]) * inverse
            share = count[i] * math.exp(term[c] - ln_total)
            g_weight[k, c] += share
            # Far from the component both the density and the probability underflow; their ratio
            # does not.
            ln_factor = ln_weight[k, c] - ln_total
            at_a = count[i] * math.exp(ln_factor + _ln_pdf(kernels[c], a, dof[k, c]))
            at_b = count[i] * math.exp(ln_factor + _ln_pdf(kernels[c], b, dof[k, c]))
            g_location[k, c] += (at_a - at_b) * inverse
            slope_a = a * at_a if np.isfinite(a) else 0.0
            slope_b = b * at_b if np.isfinite(b) else 0.0
            g_scale[k, c] += slope_a - slope_b
            if kernels[c] != NORMAL and kernels[c] != LOGISTIC and share > 0:
                step = _STEP * dof[k, c]
                up = _ln_between(kernels[c], a, b, dof[k, c] + step)
                down = _ln_between(kernels[c], a, b, dof[k, c] - step)
                g_dof[k, c] += share * (up - down) / (2 * step)
    return value, g_weight, g_location, g_scale, g_dof
