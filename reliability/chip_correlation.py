"""How alike one chip is at two BER: the correlation of its counts, estimated from all chips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
INTERACTING = np.geomspace(0.1, 30.0, 12)
"""Mean number of further wrong bits that a part of the damage rests on."""

OWN = np.array([0.02, 0.1, 0.2, 0.3, 0.45, 0.6])
"""Share of the variance that is new at every BER, rounding to whole images included."""


def chip_correlation(counts: NDArray[np.int64] | FloatArray, ln_ber: FloatArray) -> FloatArray:
    """Correlation between the counts of one chip at several BER.

    Parameters
    ----------
    counts : int or float array, shape (knot, chip)
        Images lost or gained by nested chips, at least two: the bits that are wrong at one BER are
        wrong at every higher one.
    ln_ber : float array, shape (knot,)
        Natural logarithm of the BER, ascending, below zero.

    Returns
    -------
    float array, shape (knot, knot)
        Correlation matrix, positive definite. A knot at which all chips have one count is
        independent of the others.

    Notes
    -----
    A bit that is wrong with probability ``p``, and with ``q > p`` also, has the correlation
    ``r = sqrt(p (1 - q) / (q (1 - p)))``, that is ``exp(-|logit q - logit p| / 2)``. Damage that
    rests on ``m`` bits at once (a term of order ``m`` in the Hoeffding decomposition) has the
    correlation ``r^m``. With ``m - 1`` a Poisson variable of mean ``c`` this sums to
    ``r exp(-c (1 - r))``, and a share ``v`` of the variance is each knot's own. Own derivation.
    The matrix is the mean over the posterior of ``(c, v)``, on a grid of equal prior probability,
    given the correlations found among the chips: valid for few chips too, and it has no noise of
    single entries.
    """
    knots, chips = counts.shape
    logit = ln_ber - np.log(-np.expm1(ln_ber))
    bit = np.exp(-0.5 * np.abs(logit[:, None] - logit[None, :]))
    c, v = (g.ravel()[:, None, None] for g in np.meshgrid(INTERACTING, OWN, indexing="ij"))
    all_laws = (1.0 - v) * bit * np.exp(-c * (1.0 - bit)) + v * np.eye(knots)
    spread = counts.std(axis=1)
    vary = np.flatnonzero(spread > 0)
    if len(vary) < 2:
        return np.eye(knots)
    use = np.ix_(vary, vary)
    laws = all_laws[:, use[0], use[1]]
    found = np.corrcoef(counts[vary])
    misfit = np.einsum("gij,ji->g", np.linalg.inv(laws), found)
    ln_p = -0.5 * (chips - 1) * (np.linalg.slogdet(laws)[1] + misfit)
    weight = np.exp(ln_p - ln_p.max())
    out = np.eye(knots)
    out[use] = np.einsum("g,gij->ij", weight / weight.sum(), laws)
    return out
