"""The law of what a chip loses, behind every probability that a verdict states.

A verdict says how probable it is that a chip loses too much, and how much it loses at most with the
probability asked for. Both are read from one law, so they cannot contradict each other: the share
of fresh chips where chips confirmed the design, else the law that the accuracy surface gives.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from reliability.decision.comparison import Comparison, Design, place_on

Within = Callable[[float], float]
"""P(a chip loses at most so much against its own network without errors)."""

_ROUNDING = 1e-12

_STRATA = 16
"""Strata of equal probability over test sets."""


@dataclass(frozen=True)
class StatedLoss:
    """What chips of a design lose at the programming value at which it is judged.

    Parameters
    ----------
    programming : float
        SI.
    within : callable
        P(a chip loses at most so much), a fraction of the test images, against its own network
        without errors.
    max_loss : float
        Largest loss that is accepted, against the standard network and against the own one.
    lower : float
        By how much the network is less accurate without errors than the standard one; negative
        where it is more accurate.
    mean : float
        Such a loss on average.
    images : int
        Test images.
    image_error : float
        Standard error that so many images leave in the loss of a chip near the limit.
    counted : str
        Where the law comes from: ``"by 2,000 fresh chips"`` or ``"by the accuracy surface"``.
    """

    programming: float
    within: Within
    max_loss: float
    lower: float
    mean: float
    images: int
    image_error: float
    counted: str

    @property
    def above(self) -> float:
        """What a loss against the more accurate of both networks has beside that against the own.

        The requirement is met where that loss is at most the accepted one.
        """
        return max(0.0, self.lower)

    @property
    def limit(self) -> float:
        """Loss against the own network up to which the requirement is met."""
        return self.max_loss - self.above

    @property
    def p_against(self) -> dict[str, float]:
        """P(a chip loses at most the accepted loss) against each network; both must hold."""
        return {
            "standard": self.within(self.max_loss - self.lower),
            "own": self.within(self.max_loss),
        }

    @property
    def p_met(self) -> float:
        """P(a chip meets the requirement) on these test images."""
        return self.within(self.limit)

    @property
    def p_in_population(self) -> float:
        """P(a chip meets the requirement) on the population that the images came from.

        What a chip loses there is normal about what it loses on these images. By how much the
        networks differ without errors is taken as on these images.
        """
        score = ndtri((np.arange(_STRATA) + 0.5) / _STRATA)
        return float(np.mean([self.within(self.limit + self.image_error * z) for z in score]))

    @property
    def images_needed(self) -> int:
        """Images that leave a standard error of a third of the accepted loss."""
        return math.ceil(self.images * (self.image_error / (self.max_loss / 3)) ** 2)

    def not_exceeded(self, probability: float) -> float:
        """Loss that a chip keeps to with a probability, a whole number of images over all images.

        It is at most the limit exactly where :attr:`p_met` is at least the probability.
        """
        n, least = self.images, probability - _ROUNDING
        kept = bisect_left(range(-n, n), True, key=lambda k: self.within(k / n) >= least)
        return (kept - n) / n


def stated_loss(comparison: Comparison, design: Design) -> StatedLoss | None:
    """The law at the programming value of :meth:`Design.stated`.

    Returns
    -------
    StatedLoss or None
        None where chips refused the design: of these only the shares that met the limit are kept.
    """
    c, found = comparison, design.confirmation
    x, _ = design.stated(c.grid)
    at = place_on(c.grid, x)
    if found is None:
        within: Within = partial(c.p_within, design, at)
        mean, counted = float(design.accuracy.loss[:, at].mean()), "by the accuracy surface"
    elif found.fresh is None:
        return None
    else:
        within = partial(_share_within, found.losses)
        mean, counted = float(found.losses.mean()), f"by {found.fresh.chips:,} fresh chips"
    curve = c.curves[design.network]
    lower = c.standard.error_free - curve.error_free
    image_error = design.accuracy.image_error(at, c.requirement.max_loss - max(0.0, lower))
    return StatedLoss(
        x,
        within,
        c.requirement.max_loss,
        lower,
        mean,
        curve.images,
        image_error,
        counted,
    )


def _share_within(losses: NDArray[np.float64], limit: float) -> float:
    return float((losses <= limit + _ROUNDING).mean())
