"""Accuracy as a function of the bit error rate: a monotone curve fitted to counts of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from numpy.typing import NDArray
from scipy.special import betaincinv, expit

from devicefit.backend import SamplerOptions, bulk_ess, r_hat, sample

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
KINDS = ("lost", "gained")


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
    """Fit the curves of several networks in one model.

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
    tables: dict[str, list[IntArray]] = {kind: [] for kind in KINDS}
    pools: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for name in names:
        images = int(counts[name].attrs["images"])
        correct = int(counts[name].attrs["error_free_correct"])
        pools["lost"].append(correct)
        pools["gained"].append(images - correct)
        for kind in KINDS:
            tables[kind].append(np.asarray(counts[name][kind].values[use], dtype=np.int64))
    posterior, stats = sample(_curve_model(ln_ber, tables, pools), options)
    lost = posterior["top"].values - np.exp(posterior["ln_slope"].values) @ _fall(ln_ber)
    draws = xr.Dataset(
        {
            "lost": (("chain", "draw", "network", "knot"), lost),
            "gained": (("chain", "draw", "network", "knot"), posterior["gained"].values),
            **{
                f"ln_dispersion_{kind}": (
                    ("chain", "draw", "network", "knot"),
                    posterior[f"ln_dispersion_{kind}"].values,
                )
                for kind in KINDS
            },
        }
    )
    diagnostics = {
        "r_hat": max(r_hat(draws).values()),
        "bulk_ess": min(bulk_ess(draws).values()),
        "divergences": float(stats["diverging"].values.sum()),
        "draws": float(options.chains * options.draws),
    }
    flat = draws.stack(s=("chain", "draw")).transpose("s", "network", "knot")
    curves = {}
    for i, name in enumerate(names):
        curves[name] = AccuracyCurve(
            ln_ber=ln_ber,
            logit_share={kind: flat[kind].values[:, i] for kind in KINDS},
            ln_dispersion={kind: flat[f"ln_dispersion_{kind}"].values[:, i] for kind in KINDS},
            images=int(counts[name].attrs["images"]),
            correct=int(counts[name].attrs["error_free_correct"]),
            chips=int(counts[name].sizes["chip"]),
            diagnostics=diagnostics,
        )
    return curves


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


def _curve_model(
    ln_ber: FloatArray,
    tables: dict[str, list[IntArray]],
    pools: dict[str, list[int]],
) -> pm.Model:
    """Curves of every network from the moments of the counts at each knot.

    Few, vectorised operations: compiling the model takes longer than sampling it.
    """
    n, knots = len(tables["lost"]), len(ln_ber)
    with pm.Model() as model:
        # The curve hangs from its last knot, where the counts are largest: each slope then moves
        # only what lies below it, and a first knot without a lost image disturbs nothing.
        top = pm.Normal("top", 0.0, 2.5, shape=(n, 1))
        # Each knot is informed by its own counts, so the walks are sampled in place (centred).
        ln_slope = pm.Flat("ln_slope", shape=(n, knots - 1))
        gained = pm.Flat("gained", shape=(n, knots))
        terms = [
            _random_walk(ln_slope, first=0.5, step=0.4),
            _random_walk(gained + 6.0, first=2.5, step=1.0),
        ]
        logit = {"lost": top - pt.exp(ln_slope) @ _fall(ln_ber), "gained": gained}
        for kind in KINDS:
            dispersion = pm.Flat(f"ln_dispersion_{kind}", shape=(n, knots))
            terms.append(_random_walk(dispersion, first=1.0, step=0.5))
            terms.append(_moment_terms(tables[kind], pools[kind], logit[kind], dispersion))
        pm.Potential("ln_density", sum(terms[1:], terms[0]))
    return model


def _fall(ln_ber: FloatArray) -> FloatArray:
    """Matrix that turns slopes between knots into the fall of each knot below the last."""
    steps = np.diff(ln_ber)
    below = np.arange(len(ln_ber))[None, :] <= np.arange(len(steps))[:, None]
    return steps[:, None] * below


def _moment_terms(tables: list[IntArray], pools: list[int], logit: Any, dispersion: Any) -> Any:
    """Log likelihood of normal counts from their mean and sum of squares over chips."""
    pool = np.maximum(np.array(pools, dtype=np.float64), 1.0)[:, None]
    use = (np.array(pools) > 0).astype(np.float64)[:, None]
    mean = np.stack([table.mean(axis=1) for table in tables])
    squares = np.stack([((t - t.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) for t in tables])
    chips = np.array([[float(table.shape[1])] for table in tables])
    share = pt.sigmoid(logit)
    expected = pool * share
    variance = pt.exp(dispersion) * expected * (1.0 - share) + 1.0 / 12.0
    deviation = squares + chips * (mean - expected) ** 2
    return pt.sum(-0.5 * use * (chips * pt.log(variance) + deviation / variance))


def _random_walk(values: Any, *, first: float, step: float) -> Any:
    """Log density, up to a constant, of a Gaussian random walk along the second axis."""
    steps = values[:, 1:] - values[:, :-1]
    return -0.5 * (pt.sum((values[:, 0] / first) ** 2) + pt.sum((steps / step) ** 2))


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
