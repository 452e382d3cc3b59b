"""Error probability of cells read against a threshold, and the threshold to read them with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from devicefit.distributions.kernels import (
    LOGISTIC,
    NORMAL,
    STUDENT,
    logistic_ln_cdf,
    normal_ln_cdf,
    student_ln_cdf_normed,
    student_ln_norm,
)
from devicefit.distributions.mixture import FlatLaw, Mixture
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.compiled import njit
from devicefit.numerics.threads import in_threads
from devicefit.numerics.vector_math import fast_exp, fast_log

_ROOT_HALF = math.sqrt(0.5)
_PLAIN = 1e-280
# Elements that a thread takes at a time: some milliseconds of work.
_BLOCK = 8192
# The scan that finds the valley of the expected BER, and how many draws it looks at.
_SCAN_POINTS = 81
_SCAN_DRAWS = 64
_COLUMNS = 8
_CLOSE = 2e-6
_STEPS = 60


@njit(error_model="numpy")
def _ln_cdf(kernel, z, dof, ln_norm):  # type: ignore[no-untyped-def]
    if kernel == NORMAL:
        return normal_ln_cdf(z)
    if kernel == LOGISTIC:
        return logistic_ln_cdf(z)
    return student_ln_cdf_normed(z, dof, ln_norm)


@njit(error_model="numpy")
def _cdf(kernel, z, dof, ln_norm):  # type: ignore[no-untyped-def]
    if kernel == NORMAL:
        return 0.5 * math.erfc(-z * _ROOT_HALF)
    if kernel == LOGISTIC:
        return 1.0 / (1.0 + math.exp(-z))
    return math.exp(student_ln_cdf_normed(z, dof, ln_norm))


@njit(error_model="numpy")
def _read_rows(begin, end, laws, threshold, out):  # type: ignore[no-untyped-def]
    """Fill rows of `out` with ln of (P(y_LRS > t) + P(y_HRS < t)) / 2.

    `laws` is :meth:`Mixture.flat` of LRS and HRS; `threshold` has the shape of `out` or one row.
    """
    norms = np.zeros((2, max(len(laws[0][0]), len(laws[1][0]))))
    last = np.full(norms.shape, np.nan)
    for row in range(begin, end):
        for column in range(out.shape[1]):
            t = threshold[min(row, len(threshold) - 1), column]
            # Plain sums are faster than sums of logarithms, and nearly always far from underflow.
            for in_logarithms in (False, True):
                total, top = 0.0, -np.inf
                for state in range(2):
                    kernels, ln_w, location, scale, dofs = laws[state]
                    side = -1.0 if state == 0 else 1.0
                    for c in range(len(kernels)):
                        weight = ln_w[c, row, column]
                        if weight == -np.inf:
                            continue
                        dof = dofs[c, row, min(column, dofs.shape[2] - 1)]
                        if kernels[c] == STUDENT and dof != last[state, c]:
                            last[state, c], norms[state, c] = dof, student_ln_norm(dof)
                        z = side * (t - location[c, row, column]) / scale[c, row, column]
                        if not in_logarithms:
                            total += math.exp(weight) * _cdf(kernels[c], z, dof, norms[state, c])
                            continue
                        value = weight + _ln_cdf(kernels[c], z, dof, norms[state, c])
                        if value > top:
                            total = total * math.exp(top - value) + 1.0
                            top = value
                        elif value > -np.inf:
                            total += math.exp(value - top)
                if in_logarithms:
                    out[row, column] = min(top + math.log(total), 0.0) - math.log(2.0)
                elif total > _PLAIN:
                    out[row, column] = math.log(total) - math.log(2.0)
                    break


def ln_read_error(lrs: Mixture, hrs: Mixture, threshold_ln_r: ArrayLike) -> FloatArray:
    """Logarithm of ``(P(y_LRS > t) + P(y_HRS < t)) / 2``.

    Parameters
    ----------
    lrs, hrs : Mixture
        Laws of ln R whose trailing shapes broadcast.
    threshold_ln_r : float array
        ln of the threshold in ohm, broadcast against the trailing shapes.

    Returns
    -------
    float array, the broadcast shape
    """
    threshold = np.asarray(threshold_ln_r, dtype=np.float64)
    shape = np.broadcast_shapes(lrs.trailing, hrs.trailing, threshold.shape)
    flat = lrs.flat(shape), hrs.flat(shape)
    _, rows, columns = flat[0][1].shape
    out = np.empty((rows, columns))
    if threshold.ndim <= 1:
        values = np.broadcast_to(threshold, out.shape[1:])[None]
    else:
        values = np.broadcast_to(threshold, shape).reshape(out.shape)
    values = np.ascontiguousarray(values)

    def work(begin: int, end: int) -> None:
        _read_rows(begin, end, flat, values, out)

    in_threads(work, rows, block=max(1, _BLOCK // max(columns, 1)))
    return out.reshape(shape)


# --- choosing -------------------------------------------------------------------------------------


@njit(error_model="numpy", fastmath={"reassoc", "contract"})
def _density_sum(kernel, t, ln_front, location, inverse, dof):  # type: ignore[no-untyped-def]
    """Sum over draws of one component's density at `t`; `ln_front` is ln(weight / scale) + norm."""
    total = 0.0
    if kernel == NORMAL:
        for k in range(len(location)):
            z = (t - location[k]) * inverse[k]
            total += fast_exp(ln_front[k] - 0.5 * z * z)
    elif kernel == LOGISTIC:
        for k in range(len(location)):
            a = abs((t - location[k]) * inverse[k])
            e = fast_exp(-a)
            total += fast_exp(ln_front[k] - a) / ((1.0 + e) * (1.0 + e))
    else:
        for k in range(len(location)):
            z = (t - location[k]) * inverse[k]
            power = 0.5 * (dof[k] + 1.0)
            total += fast_exp(ln_front[k] - power * fast_log(1.0 + z * z / dof[k]))
    return total


@njit(error_model="numpy")
def _slope(t, kernels, draws):  # type: ignore[no-untyped-def]
    """Derivative of the expected BER, up to a factor.

    Components of LRS come first in `kernels`, marked by adding 3; `draws` are contiguous arrays of
    shape (component, draw).
    """
    ln_front, _, location, inverse, dof = draws
    total = 0.0
    for c in range(len(kernels)):
        part = _density_sum(kernels[c] % 3, t, ln_front[c], location[c], inverse[c], dof[c])
        total += -part if kernels[c] >= 3 else part
    return total


@njit(error_model="numpy")
def _expected(t, kernels, draws):  # type: ignore[no-untyped-def]
    """Expected BER, up to a factor."""
    _, norm, location, inverse, dof = draws
    total = 0.0
    for c in range(len(kernels)):
        side = -1.0 if kernels[c] >= 3 else 1.0
        for k in range(location.shape[1]):
            weight = draws[0][c, k]
            if weight > 0.0:
                z = side * (t - location[c, k]) * inverse[c, k]
                total += weight * _cdf(kernels[c] % 3, z, dof[c, k], norm[c, k])
    return total


@njit(error_model="numpy")
def _best_threshold(every, kernels, draws):  # type: ignore[no-untyped-def]
    """Threshold of one programming value.

    A scan over every `every`-th draw finds the valley, bisection there its floor, and a safeguarded
    secant search for the zero of the slope over all draws the answer.
    """
    ln_front, norm, location, inverse, dof = draws
    few = (
        ln_front[:, ::every].copy(),
        norm[:, ::every].copy(),
        location[:, ::every].copy(),
        inverse[:, ::every].copy(),
        dof[:, ::every].copy(),
    )
    low, high = (few[2] - 2.0 / few[3]).min(), (few[2] + 2.0 / few[3]).max()
    step = (high - low) / (_SCAN_POINTS - 1)
    # weight, which is the front without scale and norm
    weighted = (np.exp(few[0] - few[1] - np.log(few[3])), few[1], few[2], few[3], few[4])
    best, least = 0, np.inf
    for i in range(_SCAN_POINTS):
        value = _expected(low + i * step, kernels, weighted)
        if value < least:
            best, least = i, value
    a, b = low + max(best - 1, 0) * step, low + min(best + 1, _SCAN_POINTS - 1) * step
    gap = 1e-3 * step
    while b - a > gap:
        t = 0.5 * (a + b)
        if _slope(t, kernels, few) < 0.0:
            a = t
        else:
            b = t
    t = 0.5 * (a + b)
    # the few draws stand for all
    curvature = every * (_slope(t + gap, kernels, few) - _slope(t - gap, kernels, few)) / (2 * gap)
    last_t, last_value = np.nan, np.nan
    for n in range(_STEPS):
        value = _slope(t, kernels, draws)
        if value < 0.0:
            low = t
        else:
            high = t
        if n > 0:
            secant = (value - last_value) / (t - last_t)
            curvature = secant if secant > 0.0 else curvature
        move = step if value < 0.0 else -step
        if curvature > 0.0:
            move = min(max(-value / curvature, -step), step)
        last_t, last_value = t, value
        t += move
        if not low < t < high:
            t = 0.5 * (low + high)
        if abs(t - last_t) < _CLOSE:
            break
    return t


@njit(error_model="numpy")
def _choose_columns(begin, end, every, laws, out):  # type: ignore[no-untyped-def]
    """Fill ``out[begin:end]``; `laws` is :meth:`Mixture.flat` of LRS and HRS."""
    components = len(laws[0][0]) + len(laws[1][0])
    rows, width = laws[0][1].shape[1], end - begin
    shape = (width, components, rows)
    ln_front, norm, location, inverse, dof = (
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
    )
    kernels = np.empty(components, np.int64)
    first = 0
    for state in range(2):
        codes, ln_w, loc, scale, dofs = laws[state]
        for c in range(len(codes)):
            place = first + c
            kernels[place] = codes[c] + (3 if state == 0 else 0)
            for row in range(rows):
                freedom, constant = 1.0, 0.0
                if codes[c] == NORMAL:
                    constant = -0.5 * math.log(2.0 * math.pi)
                for k in range(width):
                    if codes[c] == STUDENT:
                        now = dofs[c, row, min(begin + k, dofs.shape[2] - 1)]
                        if k == 0 or now != freedom:
                            freedom, constant = now, student_ln_norm(now)
                    inv = 1.0 / scale[c, row, begin + k]
                    # a weight of zero must not become minus infinity in vector code
                    ln_weight = max(ln_w[c, row, begin + k], -1e4)
                    ln_front[k, place, row] = ln_weight + fast_log(inv) + constant
                    norm[k, place, row] = constant
                    location[k, place, row] = loc[c, row, begin + k]
                    inverse[k, place, row] = inv
                    dof[k, place, row] = freedom
        first += len(codes)
    for k in range(width):
        out[begin + k] = _best_threshold(
            every, kernels, (ln_front[k], norm[k], location[k], inverse[k], dof[k])
        )


def choose_threshold(lrs: Mixture, hrs: Mixture, *, common: bool = False) -> FloatArray:
    """Threshold with the least posterior expected BER, for each programming value.

    One value over all draws: nobody who sets a threshold knows which draw is true.

    Parameters
    ----------
    lrs, hrs : Mixture
        Laws with trailing shape (chain, draw, x).
    common : bool, optional
        Choose one threshold for all programming values instead, with the least mean over them.

    Returns
    -------
    float array, shape (x,)
        ln of the threshold in ohm, to within 1e-4.

    Notes
    -----
    A scan of 81 points over some draws finds the valley of the expected BER; there the zero of its
    derivative, the difference of the two expected densities, is found over all draws. The expected
    BER is flat near its minimum, so the last digits of the threshold do not matter.
    """
    shape = np.broadcast_shapes(lrs.trailing, hrs.trailing)
    flat = lrs.flat(shape), hrs.flat(shape)
    if common:
        flat = _one_column(flat[0]), _one_column(flat[1])
    rows, columns = flat[0][1].shape[1:]
    every = max(1, rows // _SCAN_DRAWS)
    out = np.empty(columns)

    def work(begin: int, end: int) -> None:
        for first in range(begin, end, _COLUMNS):
            _choose_columns(first, min(first + _COLUMNS, end), every, flat, out)

    in_threads(work, columns, block=_COLUMNS)
    return np.full(shape[-1], out[0]) if common else out


def _one_column(law: FlatLaw) -> FlatLaw:
    """The law with every (row, column) as a row of one column."""
    kernels, ln_weight, location, scale, dof = law
    full = np.ascontiguousarray(np.broadcast_to(dof, location.shape))
    one = [a.reshape(len(a), -1, 1) for a in (ln_weight, location, scale, full)]
    return kernels, one[0], one[1], one[2], one[3]
