"""Density of readings with lasting effects of devices and arrays, and its gradient, in two passes.

One walk over the cells for the value and one for the gradient. The formulas are those of
:mod:`devicefit.levels`, where the arguments are explained.
"""

from __future__ import annotations

import math

import numpy as np

from devicefit.numerics.compiled import njit

_LN_2PI = math.log(2 * math.pi)
# A proposal at the end of its range gives an infinite density, not an exception in the sampler.
_COMPILE = {"error_model": "numpy"}


@njit(**_COMPILE)
def _integrate(a, b, c, p, q, s, t, u):  # type: ignore[no-untyped-def]
    """Integrate ``exp(h' x - x' J x / 2)`` over ``x ~ N(y, Sigma)``, both of two states.

    J = ((a, b), (b, c)), h = (p, q), Sigma = ((s, t), (t, u)). With ``T = I + J Sigma`` and
    ``P = Sigma T^-1`` the result is ``exp(constant + g' y - y' K y / 2)``,

        constant = -ln|T| / 2 + h' P h / 2,   K = T^-1 J,   g = T^-1 h.

    Nothing is divided by a variance or a precision, so both may be zero.

    Returns
    -------
    tuple of float
        constant, the three elements of K, the two of g, the three of P, |T|.
    """
    det_j = a * c - b * b
    det_sigma = s * u - t * t
    det = 1.0 + a * s + c * u + 2.0 * b * t + det_j * det_sigma
    p_ll = (s + det_sigma * c) / det
    p_lh = (t - det_sigma * b) / det
    p_hh = (u + det_sigma * a) / det
    return (
        -0.5 * math.log(det) + 0.5 * (p_ll * p * p + 2.0 * p_lh * p * q + p_hh * q * q),
        (a + det_j * u) / det,
        (b - det_j * t) / det,
        (c + det_j * s) / det,
        ((1.0 + b * t + c * u) * p - (a * t + b * u) * q) / det,
        ((1.0 + a * s + b * t) * q - (b * s + c * t) * p) / det,
        p_ll,
        p_lh,
        p_hh,
        det,
    )


@njit(**_COMPILE)
def _new(levels):  # type: ignore[no-untyped-def]
    """Of what is new in a cycle, for each state: phi, 1/variance, 1/(1 + phi), 1/(1 - phi^2)."""
    return (
        (
            levels[2],
            1.0 / (1.0 - levels[0] - levels[5]),
            1.0 / (1.0 + levels[2]),
            1.0 / (1.0 - levels[2] ** 2),
        ),
        (
            levels[3],
            1.0 / (1.0 - levels[1] - levels[6]),
            1.0 / (1.0 + levels[3]),
            1.0 / (1.0 - levels[3] ** 2),
        ),
    )


@njit(**_COMPILE)
def _within_cells(levels, mean, sd, index, statistics, devices):  # type: ignore[no-untyped-def]
    """Whiten each cell; sums over the cells of a device.

    About the cell's mean the deviations sum to zero, so with ``x`` the cell's mean less the model's

        1' S^-1 1 = w,  1' S^-1 r = w x + b (r_1 + r_n),  r' S^-1 r = z + 2 x b (r_1 + r_n) + w x^2.

    Returns
    -------
    own : float array, shape (device,)
        Log density were there no lasting effects.
    j, h : float array, shape (state, device)
        Precision and linear term of the lasting effect.
    """
    own = np.zeros(devices)
    j = np.zeros((2, devices))
    h = np.zeros((2, devices))
    inverse_sd = 1.0 / sd
    state = _new(levels)
    ln_scale = np.log(sd) + 0.5 * _LN_2PI
    for s in range(2):
        ln_scale[s] -= 0.5 * math.log(state[s][1])
    ln_one = np.log1p(-(levels[2:4] ** 2))
    for k in range(len(index)):
        s, d, c = index[k, 0], index[k, 1], index[k, 2]
        n, y, squares = statistics[k, 0], statistics[k, 1], statistics[k, 2]
        lags, ends, ends_squares = statistics[k, 3], statistics[k, 4], statistics[k, 5]
        phi, precision, per_sum, per_square = state[s]
        inverse = inverse_sd[s, c]
        x = (y - mean[s, c]) * inverse
        b_ends = phi * per_sum * ends * inverse
        weight = (n - (n - 2.0) * phi) * per_sum
        z = squares + phi * (phi * (squares - ends_squares) - 2.0 * lags)
        z *= inverse * inverse * per_square
        quadratic = z + 2.0 * x * b_ends + weight * x * x
        j[s, d] += weight * precision
        h[s, d] += (weight * x + b_ends) * precision
        own[d] -= 0.5 * quadratic * precision + n * ln_scale[s, c] + 0.5 * (n - 1.0) * ln_one[s]
    return own, j, h


@njit(**_COMPILE)
def _between_devices(levels, j, h, array):  # type: ignore[no-untyped-def]
    """Integrate over the effects of the devices; sums of K and g over the devices of an array."""
    covariance = levels[4] * math.sqrt(levels[0] * levels[1])
    device = np.empty((j.shape[1], 10))
    sums = np.zeros((array.max() + 1, 5))
    for d in range(j.shape[1]):
        found = _integrate(
            j[0, d], 0.0, j[1, d], h[0, d], h[1, d], levels[0], covariance, levels[1]
        )
        for i in range(10):
            device[d, i] = found[i]
        for i in range(5):
            sums[array[d], i] += found[1 + i]
    return device, sums


@njit(**_COMPILE)
def density_and_gradient(levels, mean, sd, index, statistics, array):  # type: ignore[no-untyped-def]
    """Log density of all readings, and its gradient.

    Parameters
    ----------
    levels : float array, shape (7,)
        In the order of :class:`devicefit.levels.Levels`.
    mean, sd : float array, shape (state, condition)
        Location and standard deviation of ln R.
    index : int array, shape (cell, 3)
        State, device and condition.
    statistics : float array, shape (cell, 6)
        Readings; their mean; sums of squared deviations, of lag products; of the first and the
        last deviation, and of their squares.
    array : int array, shape (device,)
        Array of each device.

    Returns
    -------
    value : float
    g_levels, g_mean, g_sd : float array
        Shapes of the arguments.

    Notes
    -----
    Fisher's identity: the gradient is the posterior mean, over the effects, of the gradient for
    known effects. It needs the first two moments of the effect of each device. For the variances
    of the effects it is the heat equation: ``dF/dSigma = (g g' - K) / 2`` at the mean of the
    effects, where ``exp F`` is the result of ``_integrate``.
    """
    own, j, h = _within_cells(levels, mean, sd, index, statistics, len(array))
    device, sums = _between_devices(levels, j, h, array)
    value = own.sum() + device[:, 0].sum()
    g_levels = np.zeros(7)
    above = np.zeros((sums.shape[0], 5))  # posterior mean and covariance of the array's effects
    for i in range(sums.shape[0]):
        a, b, c, p, q = sums[i]
        found = _integrate(a, b, c, p, q, levels[5], 0.0, levels[6])
        value += found[0]
        g_levels[5] += 0.5 * (found[4] * found[4] - found[1])
        g_levels[6] += 0.5 * (found[5] * found[5] - found[3])
        p_ll, p_lh, p_hh = found[6], found[7], found[8]
        above[i] = np.array([p_ll * p + p_lh * q, p_lh * p + p_hh * q, p_ll, p_lh, p_hh])

    s, u = levels[0], levels[1]
    t = levels[4] * math.sqrt(s * u)
    moments = np.empty((2, 2, len(array)))  # (first or second, state, device)
    slope_ll, slope_lh, slope_hh = 0.0, 0.0, 0.0
    for d in range(len(array)):
        _, k_ll, k_lh, k_hh, g_l, g_h, p_ll, p_lh, p_hh, det = device[d]
        m_l, m_h, v_ll, v_lh, v_hh = above[array[d]]
        r_l = g_l - k_ll * m_l - k_lh * m_h
        r_h = g_h - k_lh * m_l - k_hh * m_h
        kv_ll, kv_lh = k_ll * v_ll + k_lh * v_lh, k_ll * v_lh + k_lh * v_hh
        kv_hl, kv_hh = k_lh * v_ll + k_hh * v_lh, k_lh * v_lh + k_hh * v_hh
        slope_ll += 0.5 * (r_l * r_l + kv_ll * k_ll + kv_lh * k_lh - k_ll)
        slope_lh += 0.5 * (r_l * r_h + kv_ll * k_lh + kv_lh * k_hh - k_lh)
        slope_hh += 0.5 * (r_h * r_h + kv_hl * k_lh + kv_hh * k_hh - k_hh)
        # I - P J, what of the array's effect is left in the device's
        a, c = j[0, d], j[1, d]
        b_ll, b_lh = (1.0 + c * u) / det, -c * t / det
        b_hl, b_hh = -a * t / det, (1.0 + a * s) / det
        first_l = p_ll * h[0, d] + p_lh * h[1, d] + b_ll * m_l + b_lh * m_h
        first_h = p_lh * h[0, d] + p_hh * h[1, d] + b_hl * m_l + b_hh * m_h
        moments[0, 0, d], moments[0, 1, d] = first_l, first_h
        moments[1, 0, d] = (
            first_l**2 + p_ll + b_ll**2 * v_ll + 2 * b_ll * b_lh * v_lh + b_lh**2 * v_hh
        )
        moments[1, 1, d] = (
            first_h**2 + p_hh + b_hl**2 * v_ll + 2 * b_hl * b_hh * v_lh + b_hh**2 * v_hh
        )
    # Where a share is zero the covariance has no slope in it (unless rho is not zero: infinite).
    g_levels[0] += slope_ll + (slope_lh * t / s if s > 0.0 else 0.0)
    g_levels[1] += slope_hh + (slope_lh * t / u if u > 0.0 else 0.0)
    g_levels[4] += 2.0 * slope_lh * math.sqrt(s * u)

    g_mean = np.zeros(mean.shape)
    g_sd = np.zeros(sd.shape)
    inverse_sd = 1.0 / sd
    state = _new(levels)
    for k in range(len(index)):
        s, d, c = index[k, 0], index[k, 1], index[k, 2]
        n, y, squares = statistics[k, 0], statistics[k, 1], statistics[k, 2]
        lags, ends, ends_squares = statistics[k, 3], statistics[k, 4], statistics[k, 5]
        phi, precision, per_sum, per_square = state[s]
        inverse = inverse_sd[s, c]
        x = (y - mean[s, c]) * inverse
        first, second = moments[0, s, d], moments[1, s, d]
        b_ends = phi * per_sum * ends * inverse
        weight = (n - (n - 2.0) * phi) * per_sum
        z = squares + phi * (phi * (squares - ends_squares) - 2.0 * lags)
        z *= inverse * inverse * per_square
        residual_squared = x * x - 2.0 * x * first + second
        quadratic = z + 2.0 * (x - first) * b_ends + weight * residual_squared
        g_mean[s, c] += (b_ends + weight * (x - first)) * inverse * precision
        g_sd[s, c] += (
            (z + (2.0 * x - first) * b_ends + weight * x * (x - first)) * precision - n
        ) * inverse
        # A share that grows lowers the variance of what is new.
        slope = 0.5 * (n - quadratic * precision) * precision
        g_levels[s] += slope
        g_levels[5 + s] += slope
        z_slope = phi * z + inverse * inverse * (phi * (squares - ends_squares) - lags)
        b_slope = ends * inverse * per_sum * per_sum
        weight_slope = -(n - 1.0) * per_sum * per_sum
        g_levels[2 + s] += (n - 1.0) * phi * per_square - precision * (
            z_slope * per_square + (x - first) * b_slope + weight_slope * residual_squared
        )
    return value, g_levels, g_mean, g_sd


@njit(**_COMPILE)
def density_left_out(levels, mean, sd, index, statistics, array):  # type: ignore[no-untyped-def]
    """Log density of the readings of each device given those of all others, shape (device,).

    Arguments as of :func:`density_and_gradient`. The integral over the effects of an array with
    the device, over that without it.
    """
    own, j, h = _within_cells(levels, mean, sd, index, statistics, len(array))
    device, sums = _between_devices(levels, j, h, array)
    for d in range(len(array)):
        a, b, c, p, q = sums[array[d]]
        with_it = _integrate(a, b, c, p, q, levels[5], 0.0, levels[6])[0]
        a, b, c, p, q = sums[array[d]] - device[d, 1:6]
        without = _integrate(a, b, c, p, q, levels[5], 0.0, levels[6])[0]
        own[d] += device[d, 0] + with_it - without
    return own
