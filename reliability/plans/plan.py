"""The programming plan: what a decision decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devicefit.inputs.programming import Programming
from reliability.plans.storage import Storage


@dataclass(frozen=True)
class Plan:
    """How a network is written: the same programming for all layers, one pulse for each cell.

    Parameters
    ----------
    network : str
        Name of the network among those that are compared.
    thresholds : str
        Treatment of its thresholds, of :mod:`bnn.calibration.calibration`.
    storage : Storage
        How bits are read, which code corrects them, and whether weights are stored scrambled.
    programming : float
        Value of the programming variable, SI.
    second : float or None
        Value of the second programming variable, SI; None where one was measured.
    """

    network: str
    thresholds: str
    storage: Storage
    programming: float
    second: float | None = None

    def words(self, variable: Programming, second: Programming | None = None) -> str:
        """``"1.585 V (SET gate voltage), 1 us (SET pulse width), stored as 1T1R, network 'a'"``."""
        knobs = f"{variable.format(self.programming)} ({variable.name})"
        if second is not None and self.second is not None:
            knobs += f", {second.format(self.second)} ({second.name})"
        return f"{knobs}, stored as {self.storage.name}, network {self.network!r}"

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "network": self.network,
            "thresholds": self.thresholds,
            "read_as": self.storage.scheme,
            "code": self.storage.code.name,
            "scrambled": self.storage.scrambled,
            "programming": self.programming,
            "second": self.second,
            "layers": "all alike",
            "pulses": 1,
        }
