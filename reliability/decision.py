"""Tolerated bit error rate, lowest safe programming and energy saving, as draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devicefit.intervals import PROBABILITY
from devicefit.programming import Programming
from reliability.accuracy.surface import first_crossing
from reliability.requirement import Requirement as Requirement

FloatArray = NDArray[np.float64]
SIDES = ("lower", "upper")
NO_SAVING_STATED = "no saving can be stated, because no energy is known"


@dataclass(frozen=True)
class SafeSet:
    """Where the requirement is met.

    Parameters
    ----------
    lowest : float or None
        Smallest programming value on the grid that meets it; None when none does.
    intervals : tuple of (float, float)
        Runs of neighbouring grid values that meet it.
    sentence : str
        The finding in words.
    at_edge : bool
        Whether the lowest value is the weakest one measured, so a lower one might do.
    """

    lowest: float | None
    intervals: tuple[tuple[float, float], ...]
    sentence: str
    at_edge: bool


def points(fraction: float) -> str:
    """A fraction of the test images as percentage points, ``"1 point"``."""
    return f"{100 * fraction:g} point" + ("" if np.isclose(fraction, 0.01) else "s")


def safe_set(
    x: FloatArray, p_met: FloatArray, requirement: Requirement, programming: Programming
) -> SafeSet:
    """Programming values at which a chip meets the requirement with enough probability.

    Parameters
    ----------
    x : float array, shape (x,)
        Programming values within the measured range, ascending.
    p_met : float array, shape (x,)
        P(loss <= max_loss) over device posterior, accuracy curve and chips.
    requirement : Requirement
        The risk.
    programming : Programming
        For the words.

    Returns
    -------
    SafeSet
        BER need not fall with `x`, so the set may be empty or in several pieces.
    """
    met = p_met >= 1 - requirement.risk
    name = programming.name
    wanted = f"P(loss <= {points(requirement.max_loss)}) >= {1 - requirement.risk:g}"
    if not met.any():
        best = int(p_met.argmax())
        return SafeSet(
            None,
            (),
            f"No measured {name} meets {wanted}; the best, {programming.format(x[best])}, reaches "
            f"P = {p_met[best]:.3f}.",
            False,
        )
    edges = np.flatnonzero(np.diff(np.concatenate([[False], met, [False]]).astype(int)))
    runs = tuple(
        (float(x[a]), float(x[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)
    )
    lowest = runs[0][0]
    if met[0]:
        sentence = (
            f"Already the weakest measured {name}, {programming.format(lowest)}, meets {wanted}; "
            "a weaker one might do, but was not measured."
        )
    else:
        sentence = f"The lowest {name} that meets {wanted} is {programming.format(lowest)}."
    if len(runs) > 1:
        pieces = " and ".join(
            f"{programming.format(a)} to {programming.format(b)}" for a, b in runs
        )
        sentence += (
            f" The safe set is in {len(runs)} pieces: {pieces}. Stronger programming is not always "
            "safer here: between the pieces it is not safe."
        )
    if not met[-1]:
        sentence += (
            f" Above {programming.format(runs[-1][1])} it is no longer met: programming that is "
            "too strong fails too."
        )
    return SafeSet(lowest, runs, sentence, bool(met[0]))


@dataclass(frozen=True)
class Condition:
    """Draws of the weakest programming that reaches a bit error rate.

    Parameters
    ----------
    x : float array, shape (draw,)
        Programming value; the strongest measured where the rate is not reached.
    not_reached : bool array, shape (draw,)
        The strongest measured programming does not reach it: `x` is a lower bound.
    at_edge : bool array, shape (draw,)
        The weakest measured programming already reaches it: `x` is an upper bound.
    """

    x: FloatArray
    not_reached: NDArray[np.bool_]
    at_edge: NDArray[np.bool_]


def weakest_condition(
    x: FloatArray, ln_ber: FloatArray, ln_tolerated: FloatArray, programming: Programming
) -> Condition:
    """Weakest programming whose BER is at most the tolerated one, for each draw.

    Parameters
    ----------
    x : float array, shape (x,)
        Programming values, ascending.
    ln_ber : float array, shape (draw, x)
        ln BER.
    ln_tolerated : float array, shape (draw,)
        ln of the tolerated BER.
    programming : Programming
        In whose coordinate the crossing is interpolated.

    Returns
    -------
    Condition
    """
    margin = ln_tolerated[:, None] - ln_ber
    u = programming.coordinate(x)
    # first_crossing looks for the first positive value; touching the limit counts as reached.
    crossing = first_crossing(u, np.where(margin == 0, 1e-12, margin))
    reached = np.asarray((margin >= 0).any(axis=1))
    return Condition(programming.from_coordinate(crossing), ~reached, np.asarray(margin[:, 0] >= 0))


@dataclass(frozen=True)
class Saving:
    """Energy of a reference over the energy of a design.

    Parameters
    ----------
    factor : float array, shape (draw,)
        Draws of the saving.
    at_least : bool array, shape (draw,)
        The draw is a lower bound: the strongest measured programming does not reach the
        reference, or the design could go below the weakest measured one.
    at_most : bool array, shape (draw,)
        The draw is an upper bound: the reference could go below the weakest measured programming,
        or the strongest does not reach the design's limit.
    """

    factor: FloatArray
    at_least: NDArray[np.bool_]
    at_most: NDArray[np.bool_]

    def record(self, *, probability: float = PROBABILITY) -> dict[str, Any]:
        """Median, interval, kind and probability as plain values.

        An end or the median is marked as a lower bound when more draws are lower bounds than lie
        above it, and as an upper bound when more draws are upper bounds than lie below it. Where no
        energy is known, median and ends are None.
        """
        tail = (1 - probability) / 2
        levels = {"low": tail, "median": 0.5, "high": 1 - tail}
        least, most = float(self.at_least.mean()), float(self.at_most.mean())
        if np.isnan(self.factor).any():
            return {
                **dict.fromkeys(levels),
                "kind": "ETI",
                "probability": probability,
                "share_at_least": least,
                "share_at_most": most,
            }
        values = {name: float(np.quantile(self.factor, q)) for name, q in levels.items()}
        return {
            **values,
            "kind": "ETI",
            "probability": probability,
            "share_at_least": least,
            "share_at_most": most,
            **{f"{name}_is_lower_bound": least > 1 - q for name, q in levels.items()},
            **{f"{name}_is_upper_bound": most > q for name, q in levels.items()},
        }


def saving_sentence(record: dict[str, Any]) -> str:
    """A saving in words, bounds named.

    ``"2.1 times (90 % ETI 1.9 to at least 3.4)"``
    """
    if record["median"] is None:
        return NO_SAVING_STATED

    def named(name: str) -> str:
        lower, upper = record[f"{name}_is_lower_bound"], record[f"{name}_is_upper_bound"]
        word = "" if lower == upper else "at least " if lower else "at most "
        return f"{word}{record[name]:.3g}"

    ends = [record[f"{end}_is_{side}_bound"] for end in ("low", "high") for side in SIDES]
    if all(ends):
        return (
            f"{record['median']:.3g} times within the measured range, beyond which both sides "
            "could go"
        )
    # Known from one side only: the end of the interval is what holds, not the median.
    sure = f" with probability {(1 + record['probability']) / 2:g}"
    if record["low_is_lower_bound"] and not record["low_is_upper_bound"]:
        return f"at least {record['low']:.3g} times{sure}"
    if record["high_is_upper_bound"] and not record["high_is_lower_bound"]:
        return f"at most {record['high']:.3g} times{sure}"
    interval = f"{100 * record['probability']:.0f} % {record['kind']}"
    return f"{named('median')} times ({interval} {named('low')} to {named('high')})"
