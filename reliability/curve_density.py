"""Log posterior density of the accuracy curve of one network."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from devicefit.numerics.compiled import njit
from reliability.chip_correlation import chip_correlation

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
    correlation : dict of str to float array, shape (knot, knot), optional
        Correlation between the counts of one chip; where not given, that of
        :func:`reliability.chip_correlation.chip_correlation`.

    Notes
    -----
    Means over chips are normal with the correlation of one chip's counts, which is taken as known.
    Spreads enter knot by knot: of normal counts they owe nothing to the means, and their squared
    correlation is small. All of a multivariate normal law would have a misjudged correlation move
    the spreads. Lost and gained images of a chip are taken as independent.

    The vector holds innovations, standard normal before the data. The curve of lost images hangs
    from its last knot, where the counts are largest: each slope then moves only what lies below
    it, and a first knot without a lost image disturbs nothing.
    """

    def __init__(
        self,
        ln_ber: FloatArray,
        tables: dict[str, IntArray],
        pools: dict[str, int],
        correlation: dict[str, FloatArray] | None = None,
    ) -> None:
        knots = len(ln_ber)
        self.fall = _fall(ln_ber)
        self.pools = np.array([pools[k] for k in KINDS], dtype=np.float64)
        both = np.stack([tables[k] for k in KINDS]).astype(np.float64)
        self.chips = np.array([float(both.shape[2])])
        self.mean = both.mean(axis=2)
        if correlation is None:
            correlation = {k: chip_correlation(tables[k], ln_ber) for k in KINDS}
        self.precision = np.linalg.inv(np.stack([correlation[k] for k in KINDS]))
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
        return (
            self.root,
            self.fall,
            self.pools,
            self.mean,
            self.squares,
            self.precision,
            self.chips,
        )


@njit(error_model="numpy")
def curve_density(z, root, fall, pools, mean, squares, precision, chips):  # type: ignore[no-untyped-def]
    """Value and gradient: normal counts from their mean and sum of squares over chips.

    Tables have `KINDS` first; `precision` is the inverse of the correlation over knots.
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
    share, left, scale = np.empty(knots), np.empty(knots), np.empty(knots)
    off, per_sd = np.empty(knots), np.empty(knots)
    for kind in range(2):
        if pools[kind] == 0:
            continue
        first = (2 + kind) * knots
        for k in range(knots):
            share[k] = 1.0 / (1.0 + math.exp(-logit[kind, k]))
            left[k] = 1.0 / (1.0 + math.exp(logit[kind, k]))
            scale[k] = math.exp(values[first + k])
            variance = scale[k] * pools[kind] * share[k] * left[k] + 1.0 / 12.0
            per_sd[k] = 1.0 / math.sqrt(variance)
            off[k] = mean[kind, k] - pools[kind] * share[k]
        between = chips[0] * (precision[kind] @ (off * per_sd))
        for k in range(knots):
            binomial = pools[kind] * share[k] * left[k]
            ratio = per_sd[k] * (squares[kind, k] * per_sd[k] + off[k] * between[k])
            total += chips[0] * math.log(per_sd[k]) - 0.5 * ratio
            by_variance = -0.5 * (chips[0] - ratio) * per_sd[k] ** 2
            by_logit = binomial * (
                per_sd[k] * between[k] + by_variance * scale[k] * (left[k] - share[k])
            )
            gradient[first + k] = by_variance * scale[k] * binomial
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
