"""Draws of a smooth curve through a few measured points with errors."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from devicefit.numerics.arrays import FloatArray

DEVIATION = 0.5
"""Half-normal prior scale of the deviation from a straight line, in ln."""
LENGTH = (0.5, 0.6)
"""Lognormal prior of its length scale: median as a fraction of the range, and sd of ln."""
SCATTER = 0.05
"""Half-Cauchy prior scale of what points scatter beyond their stated errors, in ln."""
LINE = 10.0
"""Prior standard deviation of level and slope of the line, in ln: wide enough not to matter."""
_NODES = (8, 6, 8)


def curve_draws(
    u: FloatArray,
    ln_y: FloatArray,
    sd: FloatArray,
    at: FloatArray,
    *,
    draws: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Posterior draws of ``ln y`` as a smooth function of `u`.

    Parameters
    ----------
    u : float array, shape (point,)
        Coordinates of the points, at least two distinct ones.
    ln_y, sd : float array, shape (point,)
        Measured ln y and its standard deviation, not negative.
    at : float array, shape (x,)
        Coordinates where the curve is asked for.
    draws : int
        Number of draws.
    rng : numpy.random.Generator
        A draw is one curve for all `at`.

    Returns
    -------
    float array, shape (draw, x)

    Raises
    ------
    ValueError
        Fewer than two distinct coordinates.

    Notes
    -----
    A straight line plus a Gaussian process with a Matern-5/2 kernel, and independent scatter beyond
    the stated errors. Amplitude, length scale and scatter are integrated over nodes of equal prior
    probability, weighted by their marginal likelihood: no sampler, and for given nodes the normal
    posterior is exact. Beyond the points the curve goes on along the line, with an interval that
    widens.
    """
    low, high = float(np.min(u)), float(np.max(u))
    if not high > low:
        raise ValueError("a curve needs points at two or more programming values")
    v, w = (u - low) / (high - low), (at - low) / (high - low)
    centre = float(np.mean(ln_y))
    nodes = _nodes()
    y = ln_y - centre
    factors, ln_weight = [], np.empty(len(nodes))
    for k, (amplitude, length, scatter) in enumerate(nodes):
        # The tiny addition keeps exact repeats of a point invertible.
        noise = np.diag(sd**2 + scatter**2 + 1e-10)
        root = np.linalg.cholesky(_covariance(v, v, amplitude, length) + noise)
        solved = solve_triangular(root, y, lower=True)
        ln_weight[k] = -0.5 * solved @ solved - np.log(np.diag(root)).sum()
        factors.append((root, solved))
    weight = np.exp(ln_weight - ln_weight.max())
    weight /= weight.sum()
    # Systematic sampling: each node gets its share of the draws to within one.
    places = (np.arange(draws) + rng.random()) / draws
    chosen = np.minimum(np.searchsorted(np.cumsum(weight), places), len(nodes) - 1)
    out = np.empty((draws, len(at)))
    for k in np.unique(chosen):
        amplitude, length, _ = nodes[k]
        root, solved = factors[k]
        cross = solve_triangular(root, _covariance(v, w, amplitude, length), lower=True)
        left = _covariance(w, w, amplitude, length) - cross.T @ cross
        values, vectors = np.linalg.eigh(left)
        spread = vectors * np.sqrt(np.maximum(values, 0.0))
        rows = np.flatnonzero(chosen == k)
        out[rows] = cross.T @ solved + rng.standard_normal((len(rows), len(at))) @ spread.T
    # Draws of one node stand together; elsewhere draws are paired by their number.
    return np.asarray(centre + out[rng.permutation(draws)])


def _nodes() -> FloatArray:
    """Amplitude, length scale and scatter at midpoints of equal prior probability."""
    a, r, s = ((np.arange(n) + 0.5) / n for n in _NODES)
    amplitude = DEVIATION * ndtri((1 + a) / 2)
    length = LENGTH[0] * np.exp(LENGTH[1] * ndtri(r))
    scatter = SCATTER * np.tan(np.pi * s / 2)
    return np.array([(x, y, z) for x in amplitude for y in length for z in scatter])


def _covariance(v: FloatArray, w: FloatArray, amplitude: float, length: float) -> FloatArray:
    """Prior covariance of line and deviation between two sets of coordinates."""
    d = np.sqrt(5.0) * np.abs(v[:, None] - w[None, :]) / length
    deviation = amplitude**2 * (1 + d + d**2 / 3) * np.exp(-d)
    return np.asarray(LINE**2 * (1 + (v[:, None] - 0.5) * (w[None, :] - 0.5)) + deviation)
