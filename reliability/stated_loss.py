"""The law of what a chip loses, behind every probability that a verdict states.

A verdict says how probable it is that a chip loses too much, and how much it loses at most with the
probability asked for. Both are read from one law, so they cannot contradict each other: the share
of fresh chips where chips confirmed the design, else the law that the curves give.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from reliability.designs import Comparison, Design, loss_limits

Within = Callable[[float], float]
"""P(a chip loses at most so much against its own network without errors)."""

_ROUNDING = 1e-12


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
    limit : float
        Such a loss up to which the requirement is met.
    mean : float
        Such a loss on average.
    images : int
        Test images.
    counted : str
        Where the law comes from: ``"by 2,000 fresh chips"`` or ``"by the curves"``.
    """

    programming: float
    within: Within
    limit: float
    mean: float
    images: int
    counted: str

    @property
    def p_met(self) -> float:
        """P(a chip meets the requirement)."""
        return self.within(self.limit)

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
    at = int(np.argmin(np.abs(c.grid - x)))
    if found is None:
        within: Within = partial(c.p_within, design, at)
        mean, counted = float(design.accuracy.loss[:, at].mean()), "by the curves"
    elif found.fresh is None:
        return None
    else:
        within = partial(_share_within, found.losses)
        mean, counted = float(found.losses.mean()), f"by {found.fresh.chips:,} fresh chips"
    limit = loss_limits(c.curves, c.requirement)[design.network]
    return StatedLoss(x, within, limit, mean, c.curves[design.network].images, counted)


def _share_within(losses: NDArray[np.float64], limit: float) -> float:
    return float((losses <= limit + _ROUNDING).mean())
