"""Log posterior density of the accuracy curve of one network."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
KINDS = ("lost", "gained")
GAINED_CENTRE = -6.0
"""Prior mean of the logit of the share of gained images."""


class CurveDensity:
    """Log posterior density of the curves of one network, with its gradient.

    Parameters
    ----------
    ln_ber : float array, shape (knot,)
        Knots.
    tables : dict of str to int array, shape (knot, chip)
        Images lost and gained.
    pools : dict of str to int
        Images that can be lost or gained.

    Notes
    -----
    The vector holds innovations, standard normal before the data. The curve of lost images hangs
    from its last knot, where the counts are largest: each slope then moves only what lies below
    it, and a first knot without a lost image disturbs nothing.
    """

    def __init__(
        self, ln_ber: FloatArray, tables: dict[str, IntArray], pools: dict[str, int]
    ) -> None:
        knots = len(ln_ber)
        self.fall = _fall(ln_ber)
        self.pools = np.array([pools[k] for k in KINDS], dtype=np.float64)
        both = np.stack([tables[k] for k in KINDS]).astype(np.float64)
        self.chips = np.array([float(both.shape[2])])
        self.mean = both.mean(axis=2)
        self.squares = ((both - self.mean[..., None]) ** 2).sum(axis=2)
        blocks = [
            np.full((1, 1), 2.5),
            _random_walk(knots - 1, first=0.5, step=0.4),
            _random_walk(knots, first=2.5, step=1.0),
            *(_random_walk(knots, first=1.0, step=0.5) for _ in KINDS),
        ]
        self.root = block_diag(*blocks)
        self.size = len(self.root)
        self.ends = np.cumsum([len(b) for b in blocks])[:-1]

    def curves(self, z: FloatArray) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Logit of the shares and ln of the dispersions at the knots, shape (draw, knot)."""
        top, ln_slope, gained, *dispersions = np.split(z @ self.root.T, self.ends, axis=-1)
        shares = {"lost": top - np.exp(ln_slope) @ self.fall, "gained": gained + GAINED_CENTRE}
        return shares, dict(zip(KINDS, dispersions, strict=True))

    def __call__(self, z: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        value, gradient = curve_density(z, *self.data)
        return float(value), np.asarray(gradient)

    @property
    def data(self) -> tuple[FloatArray, ...]:
        """What :func:`curve_density` takes beside the vector."""
        return self.root, self.fall, self.pools, self.mean, self.squares, self.chips


@numba.njit(cache=True, nogil=True, error_model="numpy")
def curve_density(z, root, fall, pools, mean, squares, chips):  # type: ignore[no-untyped-def]
    """Value and gradient: normal counts from their mean and sum of squares over chips.

    Rows of tables are `KINDS`.
    """
    knots = mean.shape[1]
    values = root @ z
    slope = np.exp(values[1:knots])
    logit = np.empty((2, knots))
    logit[0] = values[0] - slope @ fall
    logit[1] = values[knots : 2 * knots] + GAINED_CENTRE
    gradient = np.zeros(len(z))
    total = -0.5 * (z @ z)
    by_lost = np.zeros(knots)
    for kind in range(2):
        if pools[kind] == 0:
            continue
        first = (2 + kind) * knots
        for k in range(knots):
            share = 1.0 / (1.0 + math.exp(-logit[kind, k]))
            left = 1.0 / (1.0 + math.exp(logit[kind, k]))
            binomial = pools[kind] * share * left
            scale = math.exp(values[first + k])
            variance = scale * binomial + 1.0 / 12.0
            off = mean[kind, k] - pools[kind] * share
            ratio = (squares[kind, k] + chips[0] * off * off) / variance
            total -= 0.5 * (chips[0] * math.log(variance) + ratio)
            by_variance = -0.5 * (chips[0] - ratio) / variance
            by_logit = binomial * (chips[0] * off / variance + by_variance * scale * (left - share))
            gradient[first + k] = by_variance * scale * binomial
            if kind == 0:
                by_lost[k] = by_logit
            else:
                gradient[knots + k] = by_logit
    gradient[0] = by_lost.sum()
    gradient[1:knots] = -slope * (fall @ by_lost)
    return total, root.T @ gradient - z


def _fall(ln_ber: FloatArray) -> FloatArray:
    """Matrix that turns slopes between knots into the fall of each knot below the last."""
    steps = np.diff(ln_ber)
    below = np.arange(len(ln_ber))[None, :] <= np.arange(len(steps))[:, None]
    return steps[:, None] * below


def _random_walk(knots: int, *, first: float, step: float) -> FloatArray:
    """Root of the covariance of a Gaussian random walk."""
    return np.tril(np.ones((knots, knots))) * np.where(np.arange(knots) == 0, first, step)
