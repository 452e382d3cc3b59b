"""Accuracy as a function of the bit error rate: a monotone curve fitted to counts of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from devicefit.backend import SamplerOptions
from devicefit.numerics.compiled import njit
from devicefit.threads import one_blas_thread
from reliability.between_knots import at_finer_knots, finer_knots
from reliability.chip_law import count_variance, segment, share_at
from reliability.curve_density import KINDS, CurveDensity
from reliability.curve_sampler import CurveDraws, bulk_ess, sample_curve, split_r_hat
from reliability.training_counts import Counts, check_counts, tables_of
from reliability.training_level import (
    SPREAD_OF_LOGIT,
    kernels_over_ber,
    moments,
    training_level,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

__all__ = [
    "KINDS",
    "AccuracyCurve",
    "FurtherTraining",
    "check_counts",
    "first_crossing",
    "fit_accuracy_curves",
    "loss",
    "mean_loss",
    "mean_share",
    "tolerated_ln_ber",
]


@dataclass(frozen=True)
class FurtherTraining:
    """How a further training of the recipe differs from the mean over its trainings.

    Parameters
    ----------
    trainings : int
        Trainings that were evaluated.
    deviation : dict of str to float array, shape (draw, knot)
        For ``"lost"`` and ``"gained"``: what the logit of the share differs by. It is contained in
        that of the curve.
    spread : dict of str to float array, shape (draw,)
        Standard deviation of these between trainings; under ``"error-free"`` that of the accuracy
        without errors.
    error_free : float array, shape (draw,)
        What the accuracy without errors on this test set differs by.
    """

    trainings: int
    deviation: dict[str, FloatArray]
    spread: dict[str, FloatArray]
    error_free: FloatArray

    def record(self) -> dict[str, Any]:
        """Plain values for JSON: median and 90 % ETI of the spreads between trainings."""
        spreads = {}
        for name, draws in self.spread.items():
            low, median, high = np.quantile(draws, [0.05, 0.5, 0.95])
            spreads[name] = {
                "median": float(median),
                "low": float(low),
                "high": float(high),
                "kind": "ETI",
                "probability": 0.9,
                "unit": "accuracy" if name == "error-free" else "logit of the share",
            }
        return {"trainings": self.trainings, "spread_between_trainings": spreads}


@dataclass(frozen=True)
class AccuracyCurve:
    """Posterior of what a network loses as bits go wrong.

    An error pattern turns right answers wrong ("lost") and, more rarely, wrong ones right
    ("gained"). Both shares start at zero without errors, so the curve begins at the error-free
    accuracy exactly.

    Parameters
    ----------
    ln_ber : float array, shape (knot,)
        Natural logarithm of the BER at the knots, ascending: those with counts, and points between
        them that make straight lines from knot to knot follow the curve.
    logit_share : dict of str to float array, shape (draw, knot)
        For ``"lost"`` and ``"gained"``: logit of the mean share over chips.
    ln_dispersion : dict of str to float array, shape (draw, knot)
        ln of the variance over chips relative to a binomial law.
    images, correct : int
        Test images, and right answers among them without errors (mean of the trainings, rounded).
    chips : int
        Chips per BER behind the fit.
    diagnostics : dict
        ``r_hat``, ``bulk_ess``, ``divergences``, ``draws`` of the fit.
    further : FurtherTraining or None
        With several trainings of the recipe each draw is a further training; None with one: all
        uncertainty is then conditional on that training.
    """

    ln_ber: FloatArray
    logit_share: dict[str, FloatArray]
    ln_dispersion: dict[str, FloatArray]
    images: int
    correct: int
    chips: int
    diagnostics: dict[str, float]
    further: FurtherTraining | None = field(default=None)

    @property
    def draws(self) -> int:
        """Number of posterior draws."""
        return int(self.logit_share["lost"].shape[0])

    @property
    def error_free(self) -> float:
        """Accuracy without errors on this test set, mean over trainings."""
        return self.correct / self.images

    @property
    def trainings(self) -> int:
        """Trainings behind the curve."""
        return 1 if self.further is None else self.further.trainings

    @property
    def error_free_deviation(self) -> FloatArray:
        """What the error-free accuracy of each draw's training differs by, shape (draw,)."""
        return np.zeros(self.draws) if self.further is None else self.further.error_free

    @property
    def condition(self) -> str:
        """What the uncertainty refers to, in words."""
        if self.further is None:
            return "conditional on this training: one training seed says nothing of others"
        return (
            f"for a further training of the recipe: {self.further.trainings} training seeds were "
            "evaluated and are taken as exchangeable"
        )

    def pool(self, kind: str) -> int:
        """Images that can be lost (right without errors) or gained (wrong without errors)."""
        return self.correct if kind == "lost" else self.images - self.correct

    @property
    def pools(self) -> FloatArray:
        """Both pools in the order of `KINDS`."""
        return np.array([float(self.pool(kind)) for kind in KINDS])

    def stacked(self, name: str) -> FloatArray:
        """``logit_share`` or ``ln_dispersion`` of both kinds, shape (kind, draw, knot)."""
        return self._stacks[name]

    @cached_property
    def _stacks(self) -> dict[str, FloatArray]:
        # Every storage of a network asks for the same.
        return {
            name: np.ascontiguousarray(np.stack([of[kind] for kind in KINDS]))
            for name, of in (
                ("logit_share", self.logit_share),
                ("ln_dispersion", self.ln_dispersion),
            )
        }


def fit_accuracy_curves(
    counts: Mapping[str, Counts], *, options: SamplerOptions
) -> dict[str, AccuracyCurve]:
    """Fit the curves of several networks.

    Parameters
    ----------
    counts : mapping of str to xarray.Dataset, or to a sequence of them
        For each network the output of ``bnn.evaluate``: ``lost`` and ``gained`` with dimensions
        (ber, chip), attributes ``images`` and ``error_free_correct``. The same BER grid for all.
        Several tables are trainings of one recipe that differ in their seed alone.
    options : SamplerOptions
        Sampler; networks are fitted `cores` at a time, which does not change the draws.

    Returns
    -------
    dict of str to AccuracyCurve
        One for each network; of several trainings that of a further one.

    Raises
    ------
    ValueError
        No network, different grids, fewer than four BER above zero or fewer than two chips,
        trainings with different test sets.

    Notes
    -----
    For BER ``p_k`` and chip ``c`` the number of images lost of ``n`` has mean ``n l_k`` and
    variance ``d_k n l_k (1 - l_k)``, and is taken as normal, rounded to integers (variance
    + 1/12). ``logit l`` rises from knot to knot in ``ln p`` with every slope positive, a
    random walk of log slopes around 1 (at small p the damage is proportional to the number of
    wrong bits), and is a monotone cubic between them (:mod:`reliability.between_knots`). The
    dispersion ``d`` is free and a random walk too: below 1 at small BER, where
    the same few images fail on every chip, far above 1 where whole chips go wrong. A
    beta-binomial law cannot go below 1 and overstates the spread there. ``gained`` likewise, but
    not monotone: luck rises with the first wrong bits and falls to chance in the end.

    Chips are nested: what a chip loses above the mean at one BER it tends to lose at the next, and
    the error of a mean between two knots is not that of twice as many chips. Counts of a chip are
    normal over all knots at once, with a correlation estimated from the chips
    (:mod:`reliability.chip_correlation`).

    Several trainings are fitted one by one and joined by :mod:`reliability.training_level`.
    """
    check_counts(counts)
    tables = [(name, table) for name, of in counts.items() for table in tables_of(of)]
    ber = np.asarray(tables[0][1]["ber"].values, dtype=np.float64)
    ln_ber = np.log(ber[ber > 0])
    densities = [_density(table, ln_ber, ber > 0) for _, table in tables]
    # Chains of one network owe nothing to those of another.
    seeds = [replace(options, seed=options.seed + 7919 * i) for i in range(len(tables))]
    with one_blas_thread(), ThreadPoolExecutor(options.cores) as pool:
        sampled = list(pool.map(sample_curve, densities, seeds))
    diagnostics = _diagnostics(sampled)
    curves: dict[str, list[AccuracyCurve]] = {name: [] for name in counts}
    for (name, table), density, found in zip(tables, densities, sampled, strict=True):
        shares, dispersions = density.curves(found.draws.reshape(-1, density.size))
        curves[name].append(
            AccuracyCurve(
                ln_ber=ln_ber,
                logit_share=shares,
                ln_dispersion=dispersions,
                images=int(table.attrs["images"]),
                correct=int(table.attrs["error_free_correct"]),
                chips=int(table.sizes["chip"]),
                diagnostics=diagnostics,
            )
        )
    rng = np.random.default_rng([options.seed, 7])
    return {
        name: _smooth(of[0] if len(of) == 1 else further_training(of, rng=rng))
        for name, of in curves.items()
    }


def _smooth(curve: AccuracyCurve) -> AccuracyCurve:
    """The same curve with finer knots."""
    knots = curve.ln_ber

    def finer(tables: dict[str, FloatArray]) -> dict[str, FloatArray]:
        return {kind: at_finer_knots(knots, table) for kind, table in tables.items()}

    share, further = finer(curve.logit_share), curve.further
    if further is not None:
        centre = {kind: curve.logit_share[kind] - further.deviation[kind] for kind in KINDS}
        smooth = finer(centre)
        further = replace(further, deviation={kind: share[kind] - smooth[kind] for kind in KINDS})
    return replace(
        curve,
        ln_ber=finer_knots(knots),
        logit_share=share,
        ln_dispersion=finer(curve.ln_dispersion),
        further=further,
    )


def _density(table: xr.Dataset, ln_ber: FloatArray, use: NDArray[np.bool_]) -> CurveDensity:
    correct = int(table.attrs["error_free_correct"])
    return CurveDensity(
        ln_ber,
        {
            kind: np.asarray(table[kind].transpose("ber", "chip").values[use], dtype=np.int64)
            for kind in KINDS
        },
        {"lost": correct, "gained": int(table.attrs["images"]) - correct},
    )


def _diagnostics(fits: list[CurveDraws]) -> dict[str, float]:
    chains, draws, _ = fits[0].draws.shape
    return {
        "r_hat": float(max(split_r_hat(fit.draws).max() for fit in fits)),
        "bulk_ess": float(min(bulk_ess(fit.draws).min() for fit in fits)),
        "divergences": float(sum(fit.divergences for fit in fits)),
        "draws": float(chains * draws),
    }


def further_training(curves: list[AccuracyCurve], *, rng: np.random.Generator) -> AccuracyCurve:
    """Curve of a further training of a recipe, from the curves of several trainings.

    Parameters
    ----------
    curves : list of AccuracyCurve
        Two trainings or more on one test set, with the same knots and numbers of draws.
    rng : numpy.random.Generator
        Randomness.

    Returns
    -------
    AccuracyCurve

    Notes
    -----
    The logits of the shares follow :func:`reliability.training_level.training_level`; where a
    deviation would make the curve of lost images fall, it stays level. The error-free accuracy has
    a level of its own. Dispersions of a draw are those of one of the trainings.
    """
    first, draws = curves[0], curves[0].draws
    kernels = kernels_over_ber(first.ln_ber)
    shares, deviation, spread = {}, {}, {}
    for kind in KINDS:
        means, covariances = moments([c.logit_share[kind] for c in curves])
        level = training_level(
            means, covariances, kernels, scale=SPREAD_OF_LOGIT, draws=draws, rng=rng
        )
        drawn = level.centre + level.deviation
        shares[kind] = np.maximum.accumulate(drawn, axis=1) if kind == "lost" else drawn
        deviation[kind], spread[kind] = shares[kind] - level.centre, level.spread
    right = np.array([[float(c.correct)] for c in curves])
    a = right.mean() / first.images
    free = training_level(
        right / first.images,
        np.full((len(curves), 1, 1), 1 / 12 / first.images**2),
        [np.ones((1, 1))],
        # Were the trainings wrong on images of their own, this would be their spread.
        scale=math.sqrt(max(a * (1 - a), 1 / first.images) / first.images),
        draws=draws,
        rng=rng,
    )
    spread["error-free"] = free.spread
    correct = int(round(float(right.mean())))
    drawn_free = (free.centre + free.deviation)[:, 0]
    of = rng.integers(len(curves), size=draws)
    dispersions = {
        kind: np.stack([c.ln_dispersion[kind] for c in curves])[of, np.arange(draws)]
        for kind in KINDS
    }
    return replace(
        first,
        logit_share=shares,
        ln_dispersion=dispersions,
        correct=correct,
        chips=min(c.chips for c in curves),
        further=FurtherTraining(
            len(curves), deviation, spread, np.minimum(drawn_free, 1.0) - correct / first.images
        ),
    )


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
    at = np.ascontiguousarray(ln_ber, dtype=np.float64)
    logit = np.ascontiguousarray(curve.logit_share[kind])
    found = _shares(curve.ln_ber, logit, at.reshape(len(at), -1), draw)
    return np.asarray(found.reshape(at.shape))


@njit(error_model="numpy")
def _shares(knots, logit, at, draw):  # type: ignore[no-untyped-def]
    out = np.empty(at.shape)
    for i in range(at.shape[0]):
        for j in range(at.shape[1]):
            k, weight = segment(knots, at[i, j])
            out[i, j] = share_at(logit[draw[i]], k, weight, at[i, j] - knots[0])
    return out


def chip_variance(
    curve: AccuracyCurve, kind: str, ln_ber: FloatArray, draw: IntArray
) -> FloatArray:
    """Variance over chips of the number of lost or gained images; arguments as `mean_share`."""
    at = np.ascontiguousarray(ln_ber, dtype=np.float64)
    found = _variances(
        curve.ln_ber,
        np.ascontiguousarray(curve.logit_share[kind]),
        np.ascontiguousarray(curve.ln_dispersion[kind]),
        float(curve.pool(kind)),
        at.reshape(len(at), -1),
        draw,
    )
    return np.asarray(found.reshape(at.shape))


@njit(error_model="numpy")
def _variances(knots, logit, ln_dispersion, pool, at, draw):  # type: ignore[no-untyped-def]
    out = np.empty(at.shape)
    for i in range(at.shape[0]):
        d = ln_dispersion[draw[i]]
        for j in range(at.shape[1]):
            k, weight = segment(knots, at[i, j])
            share = share_at(logit[draw[i]], k, weight, at[i, j] - knots[0])
            out[i, j] = count_variance(share, d[k] + weight * (d[k + 1] - d[k]), pool)
    return out


def loss(curve: AccuracyCurve, lost: FloatArray, gained: FloatArray) -> FloatArray:
    """Accuracy lost against no errors, as a fraction of the test images, from shares."""
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
