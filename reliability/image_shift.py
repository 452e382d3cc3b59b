"""What a finite test set leaves open of the bit error rate that a network tolerates."""

from __future__ import annotations

import numpy as np

from devicefit.programming import FloatArray, IntArray
from reliability.accuracy.counted_points import KINDS
from reliability.accuracy.seen_rates import SeenRates
from reliability.accuracy.surface import AccuracySurface, mean_loss, mean_share

_STEP = 0.05
_LEAST_SLOPE = 1e-6


def tolerance_spread(
    curve: AccuracySurface, limit: float, ln_tolerated: FloatArray, draw: IntArray
) -> FloatArray:
    """Standard deviation of ln of the tolerated BER over test sets, shape (draw,).

    Parameters
    ----------
    curve : AccuracySurface
        Of the network.
    limit : float
        Loss that is allowed; nothing is left open where it is not positive.
    ln_tolerated : float array, shape (draw,)
        ln of what is tolerated on this test set.
    draw : int array, shape (draw,)
        Draws of the curve.

    Notes
    -----
    The loss is a mean over images of (lost - gained): its standard deviation over test sets divided
    by the slope of the curve.
    """
    if limit <= 0:
        return np.zeros(len(draw))
    near = ln_tolerated[:, None] + np.array([-_STEP, _STEP])
    slope = np.diff(mean_loss(curve, SeenRates.equal(near), draw), axis=1)[:, 0] / (2 * _STEP)
    moved = sum(
        curve.pool(k)
        / curve.images
        * mean_share(curve, k, SeenRates.equal(ln_tolerated[:, None]), draw)[:, 0]
        for k in KINDS
    )
    spread = np.sqrt(np.maximum(moved - limit**2, 0.0) / curve.images)
    return np.asarray(spread / np.maximum(slope, _LEAST_SLOPE))
