"""Two lots of chips: the first chooses the programming, the second, fresh, is counted once.

A share of chips that was looked at while choosing flatters what was chosen. So the first lot walks
from stronger to weaker programming and stops before the first value that it cannot vouch for, and
only the share of the second lot, which had no part in the choice, is stated. Where to walk, a few
chips of their own say beforehand.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from reliability.chips.arrays import ChipArrays

if TYPE_CHECKING:
    from reliability.chips.readings import ReadingsCheck

CONFIDENCE = 0.95
"""Of the one-sided bound that chooses, and of the two-sided interval that is stated; both exact
(Clopper and Pearson 1934)."""

BLOCK = 100
"""Chips that probe a value, and after which one that can no longer be vouched for is given up."""

_AHEAD = 2
"""Values before the first that a probe finds failing, from which a walk begins."""

Losses = Callable[[float, int, int, int], NDArray[np.float64]]
"""Accuracy lost by each chip, a fraction of the test images, against the same network without
errors: of programming value, number of chips, seed, number of the first chip."""

ROUNDING = 1e-12
"""Of accuracies, when a loss is compared with its limit."""


@dataclass(frozen=True)
class LotSizes:
    """How many chips are spent.

    Parameters
    ----------
    choosing : int
        Chips of the first lot at each value.
    fresh : int
        Chips of the second lot.
    """

    choosing: int = 1000
    fresh: int = 2000

    def __post_init__(self) -> None:
        for name in ("choosing", "fresh"):
            if getattr(self, name) < BLOCK:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; at least {BLOCK} chips are needed to vouch "
                    "for a probability"
                )


@dataclass(frozen=True)
class Lot:
    """Chips at one programming value.

    Parameters
    ----------
    programming : float
        SI.
    chips : int
        Counted; where each array has to qualify, those on the array with the fewest that meet the
        requirement.
    met : int
        Those that meet the requirement.
    arrays : mapping of str to Lot
        Chips on each measured array; empty where a chip lies on several, or there is one.
    """

    programming: float
    chips: int
    met: int
    arrays: Mapping[str, Lot] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share that meets it."""
        return self.met / self.chips

    @property
    def least(self) -> float:
        """Exact one-sided lower bound of the share."""
        return 0.0 if self.met == 0 else _quantile(1 - CONFIDENCE, self.met, self.chips, low=True)

    @property
    def interval(self) -> tuple[float, float]:
        """Exact two-sided interval of the share."""
        tail = (1 - CONFIDENCE) / 2
        low = 0.0 if self.met == 0 else _quantile(tail, self.met, self.chips, low=True)
        all_met = self.met == self.chips
        return low, 1.0 if all_met else _quantile(1 - tail, self.met, self.chips, low=False)

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "programming": self.programming,
            "chips": self.chips,
            "met": self.met,
            "share": self.share,
            "low": self.interval[0],
            "high": self.interval[1],
            "kind": "exact confidence interval",
            "probability": CONFIDENCE,
            "arrays": {name: lot.record() for name, lot in self.arrays.items()},
        }


def _quantile(level: float, met: int, chips: int, *, low: bool) -> float:
    return float(beta.ppf(level, met + (not low), chips - met + low))


@dataclass(frozen=True)
class Confirmation:
    """What two lots of chips say of a design.

    Parameters
    ----------
    tried : tuple of Lot
        First lot, in the order in which values were tried; a lot that was given up is smaller.
    fresh : Lot or None
        Second lot at the value that the first one chose; None where it chose none.
    wanted : float
        Share of the chips that has to meet the requirement.
    losses : float array, shape (chip,)
        Accuracy that each of the stated fresh chips loses against its network without errors;
        empty without.
    arrays : ChipArrays
        Which arrays chips lie on.
    on_new : Lot or None
        Chips on new arrays at the chosen value, beside those on a few measured ones.
    readings : tuple of ReadingsCheck
        Chips by readings alone at measured values near the chosen one.
    near : ReadingsCheck or None
        Errors counted and predicted there, over more readings.
    """

    tried: tuple[Lot, ...]
    fresh: Lot | None
    wanted: float
    losses: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    arrays: ChipArrays = field(default_factory=ChipArrays)
    on_new: Lot | None = None
    readings: tuple[ReadingsCheck, ...] = ()
    near: ReadingsCheck | None = None

    @property
    def programming(self) -> float | None:
        """Programming value that the first lot chose."""
        return None if self.fresh is None else self.fresh.programming

    @property
    def is_contradicted(self) -> bool:
        """Whether the second lot says that fewer chips than wanted meet the requirement."""
        return self.fresh is not None and self.fresh.interval[1] < self.wanted

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "wanted": self.wanted,
            "programming": self.programming,
            "fresh": None if self.fresh is None else self.fresh.record(),
            "contradicted": self.is_contradicted,
            "arrays_per_chip": self.arrays.per_chip,
            "each_array_qualifies": self.arrays.in_turn,
            "on_new_array": None if self.on_new is None else self.on_new.record(),
            "tried": [lot.record() for lot in self.tried],
            "readings": [
                check.record(sum(len(c.counts) for c in self.readings)) for check in self.readings
            ],
        }


def most_misses(chips: int, wanted: float) -> int:
    """Most chips of a lot that may miss so that its lower bound is at least `wanted`; or -1."""
    low, high = -1, chips
    while high - low > 1:
        middle = (low + high) // 2
        if Lot(0.0, chips, chips - middle).least >= wanted:
            low = middle
        else:
            high = middle
    return low


def confirm(
    values: Sequence[float],
    losses: Losses,
    *,
    most_loss: float,
    wanted: float,
    sizes: LotSizes,
    seed: int,
    arrays: ChipArrays | None = None,
) -> Confirmation:
    """Choose a programming value with one lot of chips, and count a fresh lot there.

    Parameters
    ----------
    values : sequence of float
        Programming values to try, from stronger to weaker.
    losses : callable
        Counts chips. The chips of a seed are matched at all values.
    most_loss : float
        Loss up to which a chip meets the requirement.
    wanted : float
        Share of the chips that has to meet the requirement.
    sizes : LotSizes
        Chips of the two lots; where each array has to qualify, on each.
    seed : int
        Of the first lot; the second has the next one, the probes the one after it.
    arrays : ChipArrays, optional
        Which arrays chips lie on; one when left out. Where each has to qualify, a value is chosen
        only if it is vouched for on every one of them: that all bounds hold by mistake is no
        likelier than that one does.

    Returns
    -------
    Confirmation

    Raises
    ------
    ValueError
        No value to try, or lots too small to vouch for `wanted` even if no chip missed.
    """
    if not len(values):
        raise ValueError("no programming value to confirm")
    most = most_misses(sizes.choosing, wanted)
    if most < 0:
        raise ValueError(
            f"{sizes.choosing} chips cannot vouch for a share of {wanted:g} even if none misses; "
            "allow more chips"
        )
    arrays = ChipArrays() if arrays is None else arrays
    tried: list[Lot] = []

    def met(x: float, chips: int, first: int, seed: int = seed) -> NDArray[np.int64]:
        found = losses(x, chips * arrays.groups, seed, first * arrays.groups)
        return (found <= most_loss + ROUNDING).reshape(chips, arrays.groups).sum(axis=0)

    failing = bisect_left(
        values, True, key=lambda x: bool(met(x, BLOCK, 0, seed + 2).min() < wanted * BLOCK)
    )
    chosen, stop, ahead = None, len(values), _AHEAD
    while chosen is None and stop > 0:
        # a walk that fails at once begins anew with stronger values, further ahead each time
        start = max(0, min(failing, stop) - ahead)
        ahead *= 2
        chosen = _walk(values[start:stop], met, most, sizes.choosing, tried)
        stop = start
    if chosen is None:
        return Confirmation(tuple(tried), None, wanted, arrays=arrays)
    last = losses(chosen, sizes.fresh * arrays.groups, seed + 1, 0)
    fresh, stated = _fresh_lot(chosen, last, last <= most_loss + ROUNDING, arrays, seed + 1)
    return Confirmation(tuple(tried), fresh, wanted, stated, arrays)


def _fresh_lot(
    x: float,
    losses: NDArray[np.float64],
    meets: NDArray[np.bool_],
    arrays: ChipArrays,
    seed: int,
) -> tuple[Lot, NDArray[np.float64]]:
    """The second lot, and the losses of the chips that are stated."""
    if not arrays.are_tallied:
        return Lot(x, len(meets), int(meets.sum())), losses
    at = np.array([arrays.of(seed, chip)[0] for chip in range(len(meets))])
    of_array = {
        name: Lot(x, int((at == k).sum()), int(meets[at == k].sum()))
        for k, name in enumerate(arrays.names)
    }
    if not arrays.in_turn:
        return Lot(x, len(meets), int(meets.sum()), of_array), losses
    worst = min(of_array.values(), key=lambda lot: lot.met)
    k = list(of_array.values()).index(worst)
    return Lot(x, worst.chips, worst.met, of_array), losses[at == k]


def _walk(
    values: Sequence[float],
    met: Callable[[float, int, int], NDArray[np.int64]],
    most: int,
    chips: int,
    tried: list[Lot],
) -> float | None:
    """The last value before the first that cannot be vouched for; adds to `tried`."""
    last = None
    for x in values:
        done, good = 0, np.zeros(1, dtype=np.int64)
        while done < chips and done - good.min() <= most:
            block = min(BLOCK, chips - done)
            good = good + met(x, block, done)
            done += block
        tried.append(Lot(x, done, int(good.min())))
        if done - good.min() > most:
            break
        last = x
    return last
