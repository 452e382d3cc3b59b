"""Programming values at which a chip meets the requirement with enough probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray
from reliability.decision.requirement import Requirement


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
        P(loss <= max_loss) over device posterior, accuracy surface and chips.
    requirement : Requirement
        The risk.
    programming : Programming
        For the words.

    Returns
    -------
    SafeSet
        BER need not fall with `x`, so the set may be empty or in several pieces.
    """
    met = p_met >= requirement.probability
    name = programming.name
    wanted = f"P(loss <= {points(requirement.max_loss)}) >= {requirement.probability:g}"
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


NOWHERE = -1.0
"""Place on the grid of what is safe nowhere."""


def lowest_safe(p_met: FloatArray, needed: float) -> FloatArray:
    """Place of the lowest safe value on the grid, interpolated, for each row.

    Parameters
    ----------
    p_met : float array, shape (row, x)
        P(requirement met).
    needed : float
        Probability that suffices.

    Returns
    -------
    float array, shape (row,)
        In steps of the grid; whole steps would hide what changes little. `NOWHERE` where no value
        suffices.
    """
    safe = p_met >= needed
    rows, x = np.arange(len(p_met)), safe.argmax(axis=1)
    p, under = p_met[rows, x], p_met[rows, np.maximum(x - 1, 0)]
    rises = np.where(p > under, p - under, 1.0)
    place = np.where((x > 0) & (p > under), x - (p - needed) / rises, x)
    return np.asarray(np.where(safe.any(axis=1), place, NOWHERE), dtype=np.float64)
