"""Counted shares of readings beside what a model predicts, with devices as the unit.

Readings of one device are alike: a cell that is stuck is wrong in each of its hundred readings. How
much that widens a share is estimated from the counts of the devices. Where few devices show the
event, the counts cannot tell, and the estimate is drawn towards the worst case, in which all
readings of a device are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betainc

from devicefit.numerics.arrays import FloatArray, IntArray

FALSE_ALARMS = 0.005
"""Probability, at most, that a gate of this kind fails though the model is right."""

_DEVICES_TO_TELL = 4.0
"""Devices with the event whose counts weigh as much as the worst case; see ``docs/gates.md``."""


@dataclass(frozen=True)
class CountedShare:
    """A share that was counted, and draws of what the model says of it.

    Parameters
    ----------
    state : str
        ``"LRS"``, ``"HRS"``, or ``"pair"`` of both.
    where : str
        Which readings, in words.
    share : float
        Counted, 0 to 1.
    readings : int
        Readings, or pairs as many as readings of the rarer state.
    effective : float
        Independent readings that they are worth.
    predicted : float array, shape (draw,)
        The share by the model.
    """

    state: str
    where: str
    share: float
    readings: int
    effective: float
    predicted: FloatArray

    @property
    def p_value(self) -> float:
        """Posterior predictive probability, two-sided, of a share as far from the model's.

        Of the binomial law of the effective readings, continued between whole numbers by the
        incomplete beta function; averaged over draws.
        """
        n, k = self.effective, self.effective * self.share
        p = np.clip(self.predicted, 0.0, 1.0)
        more = float(betainc(k, n - k + 1, p).mean()) if k > 0 else 1.0
        fewer = float(betainc(n - k, k + 1, 1 - p).mean()) if k < n else 1.0
        return min(1.0, 2 * min(more, fewer))

    @property
    def factor(self) -> float:
        """Counted share over the predicted one; infinite where none was predicted."""
        mean = float(self.predicted.mean())
        if mean == 0:
            return 1.0 if self.share == 0 else float("inf")
        return self.share / mean

    def is_material(self, factor: float) -> bool:
        """Whether the shares are apart by at least this factor, either way."""
        return not 1 / factor < self.factor < factor

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "state": self.state,
            "where": self.where,
            "counted": self.share,
            "predicted": float(self.predicted.mean()),
            "readings": self.readings,
            "effective": self.effective,
            "p_value": self.p_value,
        }


def design_effect(event: FloatArray, expected: FloatArray, device: IntArray) -> float:
    """Factor by which devices widen the variance of a share.

    Parameters
    ----------
    event : float array, shape (reading,)
        Whether the event happened, 0 to 1.
    expected : float array, shape (reading,)
        Probability by the model. Only its ratios between readings matter: conditions at which the
        event is rare are no devices that avoid it.
    device : int array, shape (reading,)
        Number of the device.

    Returns
    -------
    float
        From 1 to the number of readings of a device (Kish 1965 for devices of unequal numbers);
        exactly 1 where each was read once.
    """
    number = np.unique(device, return_inverse=True)[1]
    n = np.bincount(number).astype(np.float64)
    most = float(np.sum(n**2) / n.sum())
    if most == 1.0 or len(n) == 1:
        return most
    # of the rarer outcome
    if event.mean() > 0.5:
        event, expected = 1.0 - event, 1.0 - expected
    count = np.bincount(number, event)
    total = float(count.sum())
    if total <= 0:
        return most
    if not expected.sum() > 0:
        expected = np.ones(len(event))
    level = np.clip(expected * (total / expected.sum()), 0.0, 1.0)
    excess = count - np.bincount(number, level)
    independent = float(np.sum(level * (1 - level)))
    if independent <= 0:
        return most
    found = np.clip(float(excess @ excess) * len(n) / (len(n) - 1) / independent, 1.0, most)
    return between(found, most, total**2 / float(count @ count))


def between(estimate: float, worst: float, devices: float) -> float:
    """An estimate from so many devices, drawn towards the worst case, on the scale of logarithms.

    Parameters
    ----------
    estimate, worst : float
        Positive.
    devices : float
        Devices that the estimate rests on.
    """
    weight = devices / (devices + _DEVICES_TO_TELL)
    return float(np.exp(weight * np.log(estimate) + (1 - weight) * np.log(worst)))


def equal_windows(value: FloatArray, windows: int) -> IntArray:
    """Number of the window of each reading: runs of distinct values with equal numbers of readings.

    Parameters
    ----------
    value : float array, shape (reading,)
        What readings are ordered by; equal values share a window.
    windows : int
        Windows, at most; fewer where values are few.
    """
    distinct, number, count = np.unique(value, return_inverse=True, return_counts=True)
    middle = (np.cumsum(count) - 0.5 * count) / count.sum()
    window = np.minimum((middle * windows).astype(np.int64), windows - 1)
    return np.asarray(np.unique(window, return_inverse=True)[1][number], dtype=np.int64)
