"""Accuracy over both error rates: a surface through counts of images, with the spread of chips."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.compiled import njit
from devicefit.numerics.short_repr import short_repr
from reliability.accuracy.chip_law import count_variance, segment, share_at, value_at
from reliability.accuracy.counted_points import KINDS
from reliability.plans.seen_rates import SeenRates

EQUAL = 1e-6
"""Largest tilt that counts at equal rates know of."""

_BESIDE = 0.01


@dataclass(frozen=True)
class FurtherTraining:
    """How a further training of the recipe differs from the mean over its trainings.

    Parameters
    ----------
    trainings : int
        Trainings that were evaluated.
    deviation : dict of str to float array, shape (draw, rate, tilt)
        For ``"lost"`` and ``"gained"``: what the logit of the share differs by. It is contained in
        that of the surface.
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


@short_repr
@dataclass(frozen=True)
class AccuracySurface:
    """Posterior of what a network loses as bits go wrong, over both error rates.

    An error pattern turns right answers wrong ("lost") and, more rarely, wrong ones right
    ("gained"); where more are gained the loss is negative. Both shares are zero without errors, so
    between no errors and the lowest rate that was counted they are proportional to the rate.

    Parameters
    ----------
    ln_rate : float array, shape (rate,)
        ln of mean rates, ascending, between which everything is linear.
    tilt : float array, shape (tilt,)
        Tilts, ascending.
    logit_share : dict of str to float array, shape (draw, rate, tilt)
        For ``"lost"`` and ``"gained"``: logit of the mean share over chips.
    ln_dispersion : dict of str to float array, shape (draw, rate, tilt)
        ln of the variance over chips relative to a binomial law.
    images, correct : int
        Test images, and right answers among them without errors (mean of the trainings, rounded).
    chips : int
        Chips at equal rates behind the fit.
    diagnostics : dict
        ``points``, ``steps``, ``converged`` and ``misfit`` of the fit.
    further : FurtherTraining or None
        With several trainings of the recipe each draw is a further training; None with one: all
        uncertainty is then conditional on that training.
    """

    ln_rate: FloatArray
    tilt: FloatArray
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
        """Trainings behind the surface."""
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

    @property
    def has_tilts(self) -> bool:
        """Whether unequal rates were counted."""
        return bool(self.tilt[-1] > EQUAL)

    def pool(self, kind: str) -> int:
        """Images that can be lost (right without errors) or gained (wrong without errors)."""
        return self.correct if kind == "lost" else self.images - self.correct

    @property
    def pools(self) -> FloatArray:
        """Both pools in the order of `KINDS`."""
        return np.array([float(self.pool(kind)) for kind in KINDS])

    def stacked(self, name: str) -> FloatArray:
        """``logit_share`` or ``ln_dispersion`` of both kinds, shape (kind, draw, rate, tilt)."""
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

    def known(self, seen: SeenRates) -> NDArray[np.bool_]:
        """Whether the rates lie within those that were counted, shape of `seen`.

        Rates below the lowest one do: without errors nothing is lost. One percent above the highest
        one is no extrapolation: cells that never switch have a rate of about a half.
        """
        within = (seen.tilt >= self.tilt[0] - 1e-9) & (seen.tilt <= self.tilt[-1] + 1e-9)
        return np.asarray(within & (seen.ln_ber <= self.ln_rate[-1] + _BESIDE))


def mean_share(surface: AccuracySurface, kind: str, seen: SeenRates, draw: IntArray) -> FloatArray:
    """Mean share of lost or gained images over chips.

    Parameters
    ----------
    surface : AccuracySurface
        Fitted surface.
    kind : {"lost", "gained"}
        Which share.
    seen : SeenRates
        Rates, shape (s, x); a BER of zero gives zero. Outside what was counted the values at its
        border stay: :meth:`AccuracySurface.known` tells where.
    draw : int array, shape (s,)
        Which draw of the surface belongs to each row of `seen`.

    Returns
    -------
    float array, shape (s, x)
    """
    logit = np.ascontiguousarray(surface.logit_share[kind])
    out = np.empty(seen.ln_ber.shape)
    _shares(surface.ln_rate, surface.tilt, logit, seen.ln_ber, seen.tilt, draw, out)
    return out


@njit(error_model="numpy")
def _shares(rates, tilts, logit, at, tilt, draw, out):  # type: ignore[no-untyped-def]
    for i in range(at.shape[0]):
        for j in range(at.shape[1]):
            k, w = segment(rates, at[i, j])
            m, v = segment(tilts, tilt[i, j])
            out[i, j] = share_at(logit[draw[i]], k, w, m, v, at[i, j] - rates[0])


def chip_variance(
    surface: AccuracySurface, kind: str, seen: SeenRates, draw: IntArray
) -> FloatArray:
    """Variance over chips of the number of lost or gained images; arguments as `mean_share`."""
    out = np.empty(seen.ln_ber.shape)
    _variances(
        surface.ln_rate,
        surface.tilt,
        np.ascontiguousarray(surface.logit_share[kind]),
        np.ascontiguousarray(surface.ln_dispersion[kind]),
        float(surface.pool(kind)),
        seen.ln_ber,
        seen.tilt,
        draw,
        out,
    )
    return out


@njit(error_model="numpy")
def _variances(rates, tilts, logit, ln_dispersion, pool, at, tilt, draw, out):  # type: ignore[no-untyped-def]
    for i in range(at.shape[0]):
        for j in range(at.shape[1]):
            k, w = segment(rates, at[i, j])
            m, v = segment(tilts, tilt[i, j])
            share = share_at(logit[draw[i]], k, w, m, v, at[i, j] - rates[0])
            out[i, j] = count_variance(share, value_at(ln_dispersion[draw[i]], k, w, m, v), pool)


def loss(surface: AccuracySurface, lost: FloatArray, gained: FloatArray) -> FloatArray:
    """Accuracy lost against no errors, as a fraction of the test images, from shares."""
    return (surface.pool("lost") * lost - surface.pool("gained") * gained) / surface.images


def mean_loss(surface: AccuracySurface, seen: SeenRates, draw: IntArray) -> FloatArray:
    """Mean accuracy loss over chips, shape of `seen`; arguments as :func:`mean_share`."""
    return loss(
        surface,
        mean_share(surface, "lost", seen, draw),
        mean_share(surface, "gained", seen, draw),
    )


def tolerated_ln_ber(surface: AccuracySurface, max_loss: float, *, points: int = 400) -> FloatArray:
    """Largest BER, equal for ones and zeros, at which the mean chip loses at most `max_loss`.

    Parameters
    ----------
    surface : AccuracySurface
        Fitted surface.
    max_loss : float
        Accuracy loss as a fraction.
    points : int, optional
        Grid over ln BER; the crossing is interpolated between its points.

    Returns
    -------
    float array, shape (draw,)
        ln BER; the end of the evaluated range where the loss never exceeds `max_loss`, and -inf
        where even no error is too much.

    Raises
    ------
    ValueError
        `max_loss` is not below 1.
    """
    if max_loss <= 0:
        return np.full(surface.draws, -np.inf)
    if not max_loss < 1:
        raise ValueError(f"max_loss is {max_loss}; give a fraction below 1, e.g. 0.01")
    # Six decades below the first knot: there the loss is far below any max_loss in use.
    grid = np.linspace(surface.ln_rate[0] - 14.0, surface.ln_rate[-1], points)
    grid = np.union1d(grid, surface.ln_rate)  # where its slope changes
    seen = SeenRates.equal(np.tile(grid, (surface.draws, 1)))
    return first_crossing(grid, mean_loss(surface, seen, np.arange(surface.draws)) - max_loss)


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
