"""How alike one chip is at two pairs of error rates: the correlation of its counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from devicefit.numerics.arrays import FloatArray

INTERACTING = np.geomspace(0.1, 30.0, 12)
"""Mean number of further wrong bits that a part of the damage rests on."""

OWN = np.array([0.02, 0.1, 0.2, 0.3, 0.45, 0.6])
"""Share of the variance that is new at every pair of rates, rounding to whole images included."""


def bit_correlation(rates: FloatArray, ones: float) -> FloatArray:
    """Correlation between the numbers of wrong bits of one chip at several pairs of rates.

    Parameters
    ----------
    rates : float array, shape (point, 2)
        Rates of stored zeros and stored ones. Bits that are wrong at one rate are wrong at every
        higher one.
    ones : float
        Share of the bits that are stored ones.

    Returns
    -------
    float array, shape (point, point)
        One on the diagonal, zero beside it where no number of wrong bits varies.

    Notes
    -----
    A bit wrong at rates ``p < q`` has the covariance ``p (1 - q)``; zeros and ones are independent.
    """
    low = np.minimum(rates[:, None], rates[None])
    high = np.maximum(rates[:, None], rates[None])
    covariance = low * (1.0 - high) @ np.array([1.0 - ones, ones])
    spread = np.sqrt(np.diag(covariance))
    both = spread[:, None] * spread[None]
    found = np.divide(covariance, both, out=np.zeros_like(both), where=both > 0)
    np.fill_diagonal(found, 1.0)
    return found


def chip_correlation(
    counts: NDArray[np.int64] | FloatArray, rates: FloatArray, ones: float = 0.5
) -> FloatArray:
    """Correlation between the counts of one chip at several pairs of rates.

    Parameters
    ----------
    counts : int or float array, shape (point, chip)
        Images lost or gained by nested chips, at least two, the same at every point.
    rates, ones
        As of :func:`bit_correlation`.

    Returns
    -------
    float array, shape (point, point)
        Correlation matrix, positive definite. A point at which all chips have one count is
        independent of the others.

    Notes
    -----
    With the correlation ``r`` of single bits, damage that rests on ``m`` bits at once (a term of
    order ``m`` in the Hoeffding decomposition) has the correlation ``r^m``. With ``m - 1`` a
    Poisson variable of mean ``c`` this sums to ``r exp(-c (1 - r))``, and a share ``v`` of the
    variance is each point's own. Own derivation. The matrix is the mean over the posterior of
    ``(c, v)``, on a grid of equal prior probability, given the correlations found among the chips:
    valid for few chips too, and it has no noise of single entries.
    """
    points, chips = counts.shape
    bit = bit_correlation(rates, ones)
    c, v = (g.ravel()[:, None, None] for g in np.meshgrid(INTERACTING, OWN, indexing="ij"))
    all_laws = (1.0 - v) * bit * np.exp(-c * (1.0 - bit)) + v * np.eye(points)
    vary = np.flatnonzero(counts.std(axis=1) > 0)
    if len(vary) < 2:
        return np.eye(points)
    use = np.ix_(vary, vary)
    laws = all_laws[:, use[0], use[1]]
    found = np.corrcoef(counts[vary])
    misfit = np.einsum("gij,ji->g", np.linalg.inv(laws), found)
    ln_p = -0.5 * (chips - 1) * (np.linalg.slogdet(laws)[1] + misfit)
    weight = np.exp(ln_p - ln_p.max())
    out = np.eye(points)
    out[use] = np.einsum("g,gij->ij", weight / weight.sum(), laws)
    return out
