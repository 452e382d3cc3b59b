"""Windows of programming values within which devices keep their effect on failures.

Below the onset of the SET a device fails because of its HRS level, at the onset because of its own
threshold, above it because of a stuck filament: a device that is bad here may be good there. One
effect per device for all conditions would be refuted by counts of hundreds of readings per device.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.persistence.persistence import FittedPersistence, Persistence, failure_persistence

LN_EVIDENCE_TO_SPLIT = 3.0
"""Least gain of ln evidence for two windows in place of one (Kass and Raftery 1995: strong)."""


@dataclass(frozen=True)
class WindowedPersistence:
    """Differences between devices, window by window.

    Parameters
    ----------
    start : float array, shape (window,)
        Smallest programming value of each window, SI, increasing. The first window also serves
        all values below, each window those up to the next.
    windows : tuple of Persistence
        As many, with equal numbers of draws.
    threshold_ohm : float or None, optional
        Threshold against which the failures were counted; None where it was chosen for each
        programming value, NaN where it is not known. Other thresholds have other failures.
    """

    start: FloatArray
    windows: tuple[Persistence, ...]
    threshold_ohm: float | None = None

    @property
    def draws(self) -> int:
        """Posterior draws of each window."""
        return len(self.windows[0].tau)

    def at(self, x: FloatArray) -> Persistence:
        """Draws at programming values, arrays of shape (draw, len(x))."""
        window = np.maximum(np.searchsorted(self.start, x, side="right") - 1, 0)
        return Persistence(
            *(
                np.stack([getattr(w, f.name) for w in self.windows], axis=1)[:, window]
                for f in fields(Persistence)
            )
        )


def windowed_persistence(
    device: IntArray,
    condition: IntArray,
    errors: IntArray,
    trials: IntArray,
    probability: FloatArray,
    x: FloatArray,
    *,
    draws: int = 1000,
    rng: np.random.Generator,
) -> WindowedPersistence:
    """Posterior of the differences between devices, in as many windows as the counts ask for.

    Parameters
    ----------
    device, condition, errors, trials, probability
        As of :func:`devicefit.persistence.persistence.failure_persistence`.
    x : float array, shape (condition,)
        Programming value of each condition; conditions at one value share a window.
    draws : int, optional
        Draws of each window.
    rng : numpy.random.Generator
        Passed on.

    Returns
    -------
    WindowedPersistence

    Raises
    ------
    ValueError
        As of :func:`devicefit.persistence.persistence.failure_persistence`.

    Notes
    -----
    A window is halved at the median of its readings where the evidence of two independent halves
    exceeds that of the whole by `LN_EVIDENCE_TO_SPLIT`, and each half likewise. Two effects per
    device where one would do cost evidence, so that data with few readings keep one window.
    """
    x = np.asarray(x, dtype=np.float64)
    at = x[condition]

    def fitted(inside: np.ndarray) -> FittedPersistence:
        number = np.unique(device[inside], return_inverse=True)[1]
        rows = (number, condition[inside], errors[inside], trials[inside])
        return failure_persistence(*rows, probability, draws=draws, rng=rng)

    found: list[tuple[float, Persistence]] = []

    def keep_or_halve(low: float, high: float, whole: FittedPersistence) -> None:
        inside = (at >= low) & (at < high)
        middle = _middle(at[inside], trials[inside])
        if middle is not None:
            halves = [
                (low, middle, fitted(inside & (at < middle))),
                (middle, high, fitted(inside & (at >= middle))),
            ]
            gain = sum(half.ln_evidence for *_, half in halves) - whole.ln_evidence
            if gain > LN_EVIDENCE_TO_SPLIT:
                for half in halves:
                    keep_or_halve(*half)
                return
        found.append((low, whole.persistence))

    keep_or_halve(float(at.min()), np.inf, fitted(np.ones(len(at), dtype=bool)))
    return WindowedPersistence(np.array([low for low, _ in found]), tuple(p for _, p in found))


def _middle(at: FloatArray, trials: IntArray) -> float | None:
    """Programming value that starts the upper half of the readings; None for a single value."""
    values, of_row = np.unique(at, return_inverse=True)
    if len(values) == 1:
        return None
    below = np.cumsum(np.bincount(of_row, trials))[:-1]
    return float(values[1 + np.argmin(np.abs(below - 0.5 * trials.sum()))])
