"""Log likelihood of binned readings under a mixture, with its gradient, in one pass.

One walk over the bins, without components that contribute nothing, gives the value together with
the gradient. It is what the sampler spends its time in.
"""

from __future__ import annotations

import math

import numpy as np

from devicefit.numerics.compiled import njit
from devicefit.numerics.vector_math import vector_exp, vector_log

NORMAL, STUDENT, LOGISTIC = 0, 1, 2
KERNELS = {"normal": NORMAL, "student-t": STUDENT, "logistic": LOGISTIC}
_NEGLIGIBLE = 40.0
_STEP = 1e-5
_BLOCK = 128
# Loops over the bins of a block become vector code; sums may be taken in any order for that.
_VECTOR = {"reassoc", "contract", "arcp", "nsz"}


@njit
def _student_constant(dof: float) -> float:
    return math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - 0.5 * math.log(dof * math.pi)


@njit(error_model="numpy", fastmath=_VECTOR)
def _ln_densities(kernel, base, location, inverse, dof, y, term):  # type: ignore[no-untyped-def]
    """Log of weighted densities of the readings `y` under one component, into `term`."""
    if kernel == NORMAL:
        for j in range(len(y)):
            z = (y[j] - location) * inverse
            term[j] = base - 0.5 * z * z
    elif kernel == LOGISTIC:
        for j in range(len(y)):
            a = abs((y[j] - location) * inverse)
            term[j] = base - a - 2.0 * vector_log(1.0 + vector_exp(-a))
    else:
        for j in range(len(y)):
            z = (y[j] - location) * inverse
            term[j] = base - 0.5 * (dof + 1.0) * vector_log(1.0 + z * z / dof)


@njit(error_model="numpy", fastmath=_VECTOR)
def _slopes(kernel, location, inverse, dof, y, share):  # type: ignore[no-untyped-def]
    """Sums of `share`, of it times the slope of the log density in the score, and times score too.

    The fourth is the sum that the derivative by the degrees of freedom needs.
    """
    zeroth = first = second = by_dof = 0.0
    if kernel == NORMAL:
        for j in range(len(y)):
            z = (y[j] - location) * inverse
            zeroth += share[j]
            first += share[j] * z
            second += share[j] * z * z
    elif kernel == LOGISTIC:
        for j in range(len(y)):
            z = (y[j] - location) * inverse
            e = vector_exp(-abs(z))
            slope = math.copysign((1.0 - e) / (1.0 + e), z)
            zeroth += share[j]
            first += share[j] * slope
            second += share[j] * slope * z
    else:
        for j in range(len(y)):
            z = (y[j] - location) * inverse
            slope = (dof + 1.0) * z / (dof + z * z)
            zeroth += share[j]
            first += share[j] * slope
            second += share[j] * slope * z
            by_dof += share[j] * 0.5 * (slope * z / dof - vector_log(1.0 + z * z / dof))
    return zeroth, first, second, by_dof


@njit(error_model="numpy", fastmath=_VECTOR)
def _shares(term, largest, total, nearest, count):  # type: ignore[no-untyped-def]
    """Sum of ``count * ln(sum of exp(term))``; `term` becomes what each component has of `count`.

    `nearest` becomes how near each component comes to the largest; the shares of those below
    ``-_NEGLIGIBLE`` are not filled in. `largest` and `total` are memory to use.
    """
    components, n = len(term), len(count)
    for j in range(n):
        largest[j] = term[0, j]
    for c in range(1, components):
        for j in range(n):
            largest[j] = max(largest[j], term[c, j])
    for j in range(n):
        total[j] = 0.0
    for c in range(components):
        near = -np.inf
        for j in range(n):
            near = max(near, term[c, j] - largest[j])
        nearest[c] = near
        if near < -_NEGLIGIBLE:
            continue
        for j in range(n):
            term[c, j] = vector_exp(term[c, j] - largest[j])
            total[j] += term[c, j]
    value = 0.0
    for j in range(n):
        value += count[j] * (largest[j] + vector_log(total[j]))
        total[j] = count[j] / total[j]
    for c in range(components):
        if nearest[c] >= -_NEGLIGIBLE:
            for j in range(n):
                term[c, j] *= total[j]
    return value


@njit(error_model="numpy")
def binned_mixture(kernels, ln_weight, location, ln_scale, dof, condition, y, count):  # type: ignore[no-untyped-def]
    """Sum of ``count * ln density`` and its gradient.

    Parameters
    ----------
    kernels : int array, shape (component,)
        `NORMAL`, `STUDENT` or `LOGISTIC`.
    ln_weight, location, ln_scale : float array, shape (condition, component)
        Parameters of the components.
    dof : float array, shape (condition, component)
        Degrees of freedom; read for Student-t components only.
    condition, y, count : array, shape (bin,)
        Condition index, ln R and number of readings of each bin. Fastest when bins of one
        condition follow each other.

    Returns
    -------
    value : float
    g_weight, g_location, g_scale, g_dof : float array, shape (condition, component)
    """
    components = len(kernels)
    value = 0.0
    g_weight = np.zeros(ln_weight.shape)
    g_location = np.zeros(ln_weight.shape)
    g_scale = np.zeros(ln_weight.shape)
    g_dof = np.zeros(ln_weight.shape)
    constant = np.zeros(ln_weight.shape)
    d_constant = np.zeros(ln_weight.shape)
    for c in range(components):
        if kernels[c] == NORMAL:
            constant[:, c] = -0.5 * math.log(2 * math.pi)
        elif kernels[c] == STUDENT:
            for k in range(len(dof)):
                nu = dof[k, c]
                step = _STEP * nu
                constant[k, c] = _student_constant(nu)
                slope = _student_constant(nu + step) - _student_constant(nu - step)
                d_constant[k, c] = slope / (2 * step)
    # What does not depend on the reading is had once per condition and component.
    inverse = np.exp(-ln_scale)
    base = ln_weight - ln_scale + constant
    term = np.empty((components, _BLOCK))
    largest, total, nearest = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(components)
    start = 0
    while start < len(y):
        k = condition[start]
        end = start + 1
        while end < len(y) and condition[end] == k and end - start < _BLOCK:
            end += 1
        n = end - start
        here = y[start:end]
        for c in range(components):
            _ln_densities(
                kernels[c], base[k, c], location[k, c], inverse[k, c], dof[k, c], here, term[c, :n]
            )
        value += _shares(term, largest, total, nearest, count[start:end])
        for c in range(components):
            if nearest[c] < -_NEGLIGIBLE:
                continue
            zeroth, first, second, by_dof = _slopes(
                kernels[c], location[k, c], inverse[k, c], dof[k, c], here, term[c, :n]
            )
            g_weight[k, c] += zeroth
            g_location[k, c] += first * inverse[k, c]
            g_scale[k, c] += second - zeroth
            g_dof[k, c] += by_dof + zeroth * d_constant[k, c]
        start = end
    return value, g_weight, g_location, g_scale, g_dof
