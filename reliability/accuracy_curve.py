"""Accuracy as a function of the bit error rate: a monotone curve fitted to counts of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.linalg import block_diag
from scipy.special import betaincinv, expit

from devicefit import native
from devicefit.backend import Sampled, SamplerOptions, bulk_ess, r_hat, sample_density
from devicefit.native import DENSITY, Native, answer, floats, forget_stale, out_of_scale, place

forget_stale(__file__, native)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
KINDS = ("lost", "gained")
GAINED_CENTRE = -6.0
"""Prior mean of the logit of the share of gained images."""


@dataclass(frozen=True)
class AccuracyCurve:
    """Posterior of what a network loses as bits go wrong.

    An error pattern turns right answers wrong ("lost") and, more rarely, wrong ones right
    ("gained"). Both shares start at zero without errors, so the curve begins at the error-free
    accuracy exactly.

    Parameters
    ----------
    ln_ber : float array, shape (knot,)
        Natural logarithm of the BER at the knots, ascending.
    logit_share : dict of str to float array, shape (draw, knot)
        For ``"lost"`` and ``"gained"``: logit of the mean share over chips.
    ln_dispersion : dict of str to float array, shape (draw, knot)
        ln of the variance over chips relative to a binomial law.
    images, correct : int
        Test images, and right answers among them without errors.
    chips : int
        Chips per BER behind the fit.
    diagnostics : dict
        ``r_hat``, ``bulk_ess``, ``divergences``, ``draws`` of the fit.
    """

    ln_ber: FloatArray
    logit_share: dict[str, FloatArray]
    ln_dispersion: dict[str, FloatArray]
    images: int
    correct: int
    chips: int
    diagnostics: dict[str, float]

    @property
    def draws(self) -> int:
        """Number of posterior draws."""
        return int(self.logit_share["lost"].shape[0])

    @property
    def error_free(self) -> float:
        """Accuracy without errors on this test set."""
        return self.correct / self.images

    def pool(self, kind: str) -> int:
        """Images that can be lost (right without errors) or gained (wrong without errors)."""
        return self.correct if kind == "lost" else self.images - self.correct


def fit_accuracy_curves(
    counts: Mapping[str, xr.Dataset], *, options: SamplerOptions
) -> dict[str, AccuracyCurve]:
    """Fit the curves of several networks.

    Parameters
    ----------
    counts : mapping of str to xarray.Dataset
        For each network the output of ``bnn.evaluate``: ``lost`` and ``gained`` with dimensions
        (ber, chip), attributes ``images`` and ``error_free_correct``. The same BER grid for all.
    options : SamplerOptions
        Sampler.

    Returns
    -------
    dict of str to AccuracyCurve

    Raises
    ------
    ValueError
        No network, different grids, fewer than four BER above zero or fewer than two chips.

    Notes
    -----
    For BER ``p_k`` and chip ``c`` the number of images lost of ``n`` has mean ``n l_k`` and
    variance ``d_k n l_k (1 - l_k)``, and is taken as normal, rounded to integers (variance
    + 1/12). ``logit l`` is linear between the knots in ``ln p`` with every slope positive, a
    random walk of log slopes around 1 (at small p the damage is proportional to the number of
    wrong bits). The dispersion ``d`` is free and a random walk too: below 1 at small BER, where
    the same few images fail on every chip, far above 1 where whole chips go wrong. A
    beta-binomial law cannot go below 1 and overstates the spread there. ``gained`` likewise, but
    not monotone: luck rises with the first wrong bits and falls to chance in the end.

    Counts of one chip at several BER are correlated since chips are nested; each knot's mean is
    estimated from its own chips, so this hardly matters.
    """
    check_counts(counts)
    names = list(counts)
    ber = np.asarray(counts[names[0]]["ber"].values, dtype=np.float64)
    use = ber > 0
    ln_ber = np.log(ber[use])
    fits = {}
    for i, name in enumerate(names):
        images = int(counts[name].attrs["images"])
        correct = int(counts[name].attrs["error_free_correct"])
        density = _CurveDensity(
            ln_ber,
            {k: np.asarray(counts[name][k].values[use], dtype=np.int64) for k in KINDS},
            {"lost": correct, "gained": images - correct},
        )
        sampled = sample_density(
            density,
            # Chains of one network owe nothing to those of another.
            replace(options, seed=options.seed + 7919 * i),
            centre=np.zeros(density.size),
            spread=np.full(density.size, 0.1),
            climbs=2,
        )
        fits[name] = (density, sampled)
    diagnostics = _diagnostics([sampled for _, sampled in fits.values()])
    curves = {}
    for name, (density, sampled) in fits.items():
        shares, dispersions = density.curves(sampled.draws.reshape(-1, density.size))
        curves[name] = AccuracyCurve(
            ln_ber=ln_ber,
            logit_share=shares,
            ln_dispersion=dispersions,
            images=int(counts[name].attrs["images"]),
            correct=int(counts[name].attrs["error_free_correct"]),
            chips=int(counts[name].sizes["chip"]),
            diagnostics=diagnostics,
        )
    return curves


def _diagnostics(fits: Sequence[Sampled]) -> dict[str, float]:
    draws = xr.Dataset(
        {f"z{i}": (("chain", "draw", f"w{i}"), fit.draws) for i, fit in enumerate(fits)}
    )
    return {
        "r_hat": max(r_hat(draws).values()),
        "bulk_ess": min(bulk_ess(draws).values()),
        "divergences": float(sum(fit.diverging.sum() for fit in fits)),
        "draws": float(fits[0].diverging.size),
    }


def check_counts(counts: Mapping[str, xr.Dataset]) -> None:
    """Refuse counts that no curves can be fitted to.

    Raises
    ------
    ValueError
        As :func:`fit_accuracy_curves`.
    """
    names = list(counts)
    if not names:
        raise ValueError("no network to fit; give at least one table of counts")
    for name in names:
        if "ber" not in counts[name].dims:
            raise ValueError(
                f"{name!r} was evaluated over {counts[name]['correct'].dims[0]}, a curve needs "
                "counts over BER; run `rram-reliability evaluate` without --errors and --device"
            )
    first = counts[names[0]]
    ber = np.asarray(first["ber"].values, dtype=np.float64)
    for name in names:
        if not np.array_equal(counts[name]["ber"].values, ber):
            raise ValueError(f"{name!r} was evaluated at other BER than {names[0]!r}; use one grid")
        if counts[name].sizes["chip"] < 2:
            raise ValueError(f"{name!r} has {counts[name].sizes['chip']} chip; at least 2 needed")
    if np.sum(ber > 0) < 4:
        raise ValueError(
            f"{int(np.sum(ber > 0))} BER above zero; at least 4 are needed for a curve"
        )


class _CurveDensity:
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
        value, gradient = _curve_density(z, *self._data)
        return float(value), np.asarray(gradient)

    @property
    def _data(self) -> tuple[FloatArray, ...]:
        return self.root, self.fall, self.pools, self.mean, self.squares, self.chips

    def native(self, centre: FloatArray, root: FloatArray) -> Native:
        """The same at ``centre + root @ w`` as machine code."""
        kept = tuple(np.ascontiguousarray(a) for a in (centre, root, *self._data))
        table = np.array([self.mean.shape[1], *(place(a)[0] for a in kept)], dtype=np.int64)
        return Native(_native_curve_density, table, kept)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _curve_density(z, root, fall, pools, mean, squares, chips):  # type: ignore[no-untyped-def]
    """Normal counts from their mean and sum of squares over chips; rows are `KINDS`."""
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


@numba.cfunc(DENSITY, cache=True, error_model="numpy")
def _native_curve_density(n, w_, gradient_, value_, table_):  # type: ignore[no-untyped-def]
    table = numba.carray(table_, (9,), dtype=np.int64)
    knots = table[0]
    root = floats(table[2], n * n)
    z = out_of_scale(numba.carray(w_, (n,)), floats(table[1], n), root)
    value, gradient = _curve_density(
        z,
        floats(table[3], n * n).reshape(n, n),
        floats(table[4], (knots - 1) * knots).reshape(knots - 1, knots),
        floats(table[5], 2),
        floats(table[6], 2 * knots).reshape(2, knots),
        floats(table[7], 2 * knots).reshape(2, knots),
        floats(table[8], 1),
    )
    return answer(value, gradient, root, numba.carray(value_, (1,)), numba.carray(gradient_, (n,)))


def _fall(ln_ber: FloatArray) -> FloatArray:
    """Matrix that turns slopes between knots into the fall of each knot below the last."""
    steps = np.diff(ln_ber)
    below = np.arange(len(ln_ber))[None, :] <= np.arange(len(steps))[:, None]
    return steps[:, None] * below


def _random_walk(knots: int, *, first: float, step: float) -> FloatArray:
    """Root of the covariance of a Gaussian random walk."""
    return np.tril(np.ones((knots, knots))) * np.where(np.arange(knots) == 0, first, step)


def mean_share(curve: AccuracyCurve, kind: str, ln_ber: FloatArray, draw: IntArray) -> FloatArray:
    """Mean share of lost or gained images over chips.

    Parameters
    ----------
    curve : AccuracyCurve
        Fitted curve.
    kind : {"lost", "gained"}
        Which share.
    ln_ber : float array, shape (s, ...)
        ln of the BER; -inf gives zero. Below the first knot the share is proportional to the BER,
        above the last the last value stays.
    draw : int array, shape (s,)
        Which draw of the curve belongs to each row of `ln_ber`.

    Returns
    -------
    float array, shape of `ln_ber`
    """
    knots, h = curve.ln_ber, curve.logit_share[kind]
    inside = _interpolate(knots, h, ln_ber, draw)
    return np.asarray(expit(inside + np.minimum(ln_ber - knots[0], 0.0)))


def _interpolate(
    knots: FloatArray, values: FloatArray, at: FloatArray, draw: IntArray
) -> FloatArray:
    """Linear between knots and constant beyond them, each row with its own draw."""
    rows = draw.reshape((-1,) + (1,) * (at.ndim - 1))
    right = np.clip(np.searchsorted(knots, at), 1, len(knots) - 1)
    low = knots[right - 1]
    weight = np.clip((at - low) / (knots[right] - low), 0.0, 1.0)
    at_low, at_high = values[rows, right - 1], values[rows, right]
    return np.asarray(at_low + weight * (at_high - at_low))


def chip_share(
    curve: AccuracyCurve, kind: str, ln_ber: FloatArray, draw: IntArray, uniform: FloatArray
) -> FloatArray:
    """Share of lost or gained images of single chips.

    Parameters
    ----------
    curve, kind, ln_ber, draw
        As in :func:`mean_share`.
    uniform : float array, broadcastable to `ln_ber`
        Quantile of the chip among chips, in (0, 1): the same number is the same rank of chip at
        every BER.

    Returns
    -------
    float array, shape of `ln_ber`
        A beta law with the fitted mean and variance.
    """
    mean = mean_share(curve, kind, ln_ber, draw)
    variance = chip_variance(curve, kind, ln_ber, draw, mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = mean * (1 - mean) / variance - 1
    # Less than a thousandth of an image: the mean itself, and nothing for the inverse to resolve.
    tiny = ~(mean * max(curve.pool(kind), 1) > 1e-3) | ~(precision > 0)
    a = np.where(tiny, 1.0, mean * precision)
    b = np.where(tiny, 1.0, (1 - mean) * precision)
    drawn = betaincinv(a, b, np.broadcast_to(uniform, mean.shape))
    return np.where(tiny, mean, drawn)


def chip_variance(
    curve: AccuracyCurve, kind: str, ln_ber: FloatArray, draw: IntArray, mean: FloatArray
) -> FloatArray:
    """Variance over chips of the share of lost or gained images."""
    pool = max(curve.pool(kind), 1)
    dispersion = _interpolate(curve.ln_ber, curve.ln_dispersion[kind], ln_ber, draw)
    return np.asarray(np.exp(dispersion) * mean * (1 - mean) / pool)


def loss(curve: AccuracyCurve, lost: FloatArray, gained: FloatArray) -> FloatArray:
    """Accuracy lost against no errors, as a fraction of the test images."""
    return (curve.pool("lost") * lost - curve.pool("gained") * gained) / curve.images


def mean_loss(curve: AccuracyCurve, ln_ber: FloatArray, draw: IntArray) -> FloatArray:
    """Mean accuracy loss over chips, shape of `ln_ber`; arguments as :func:`mean_share`."""
    return loss(
        curve,
        mean_share(curve, "lost", ln_ber, draw),
        mean_share(curve, "gained", ln_ber, draw),
    )


def tolerated_ln_ber(curve: AccuracyCurve, max_loss: float, *, points: int = 400) -> FloatArray:
    """Largest BER at which the mean chip loses at most `max_loss`, for each draw.

    Parameters
    ----------
    curve : AccuracyCurve
        Fitted curve.
    max_loss : float
        Accuracy loss as a fraction, positive.
    points : int, optional
        Grid over ln BER; the crossing is interpolated between its points.

    Returns
    -------
    float array, shape (draw,)
        ln BER; the end of the evaluated range where the loss never exceeds `max_loss`.

    Raises
    ------
    ValueError
        `max_loss` is not between 0 and 1.
    """
    if not 0 < max_loss < 1:
        raise ValueError(f"max_loss is {max_loss}; give a fraction between 0 and 1, e.g. 0.01")
    # Six decades below the first knot: there the loss is far below any max_loss in use.
    grid = np.linspace(curve.ln_ber[0] - 14.0, curve.ln_ber[-1], points)
    value = mean_loss(curve, np.broadcast_to(grid, (curve.draws, points)), np.arange(curve.draws))
    return first_crossing(grid, value - max_loss)


def first_crossing(grid: FloatArray, excess: FloatArray) -> FloatArray:
    """Where each row of `excess` first becomes positive, linear between grid points.

    Returns the last grid point where a row never does and the first where it starts positive.
    """
    above = excess > 0
    reached = above.any(axis=1)
    index = np.where(reached, above.argmax(axis=1), excess.shape[1] - 1)
    rows = np.arange(len(excess))
    before = np.maximum(index - 1, 0)
    low, high = excess[rows, before], excess[rows, index]
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.where(reached, -low / (high - low), 1.0)
    weight = np.where(index == 0, 0.0, weight)
    weight = np.where(np.isfinite(weight), np.clip(weight, 0.0, 1.0), 1.0)
    return np.asarray(grid[before] + weight * (grid[index] - grid[before]))
