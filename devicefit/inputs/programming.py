"""The programming variable: what is turned to program a cell more or less strongly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from devicefit.numerics.arrays import FloatArray

UNITS: dict[str, tuple[str, float]] = {
    "A": ("A", 1.0),
    "mA": ("A", 1e-3),
    "uA": ("A", 1e-6),
    "nA": ("A", 1e-9),
    "V": ("V", 1.0),
    "mV": ("V", 1e-3),
    "s": ("s", 1.0),
    "ms": ("s", 1e-3),
    "us": ("s", 1e-6),
    "ns": ("s", 1e-9),
    "ohm": ("ohm", 1.0),
    "kohm": ("ohm", 1e3),
    "Mohm": ("ohm", 1e6),
    "Gohm": ("ohm", 1e9),
    "K": ("K", 1.0),
}
"""Unit as written by a user -> (SI unit, factor to SI)."""


@dataclass(frozen=True)
class Programming:
    """Name and SI unit of the programming variable.

    Parameters
    ----------
    name : str
        What the variable is called in tables and figures, e.g. ``"SET compliance current"``.
    unit : {"A", "V", "s", "1"}
        SI unit. Currents and times act through their logarithm, voltages directly. ``"1"`` is for
        readings that were all taken at one condition, see :data:`ONE_CONDITION`.

    Raises
    ------
    ValueError
        Unit is not one of these.
    """

    name: str
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in ("A", "V", "s", "1"):
            raise ValueError(
                f"programming unit {self.unit!r} is not known; use A (current), V (gate voltage), "
                "s (pulse width) or 1 (one condition)"
            )

    @property
    def is_current(self) -> bool:
        """Whether the variable is the SET compliance current itself, not a knob that sets it."""
        return self.unit == "A"

    @property
    def is_logarithmic(self) -> bool:
        """Whether the device responds to the logarithm of the variable."""
        return self.unit in ("A", "s")

    def coordinate(self, x: ArrayLike) -> FloatArray:
        """Map values of the variable to the scale in which the device responds smoothly."""
        values = np.asarray(x, dtype=np.float64)
        return np.log(values) if self.is_logarithmic else values

    def from_coordinate(self, u: ArrayLike) -> FloatArray:
        """Inverse of :meth:`coordinate`."""
        values = np.asarray(u, dtype=np.float64)
        return np.exp(values) if self.is_logarithmic else values

    def grid(self, low: float, high: float, points: int) -> FloatArray:
        """Values from `low` to `high`, evenly spaced in the coordinate."""
        ends = self.coordinate([low, high])
        grid = self.from_coordinate(np.linspace(ends[0], ends[1], points))
        grid[0], grid[-1] = low, high
        return grid

    def format(self, x: float) -> str:
        """Value with a readable prefix: ``"80 uA"``, ``"1.725 V"``."""
        if self.unit == "1":
            return f"{x:.4g}"
        # Round before the prefix is chosen: 999.9 uA is 1 mA.
        x = float(f"{x:{'.3g' if self.is_logarithmic else '.4g'}}")
        for prefix, factor in (("", 1.0), ("m", 1e-3), ("u", 1e-6), ("n", 1e-9)):
            if abs(x) >= factor * (1 - 1e-12) or prefix == "n" or x == 0:
                return f"{x / factor:.4g} {prefix}{self.unit}"
        raise AssertionError("unreachable")


ONE_CONDITION = Programming("one condition", "1")
"""Stands in where nothing was varied or nothing is known; its only value is 1."""


def beyond(x: ArrayLike, low: float, high: float) -> NDArray[np.bool_]:
    """Where values lie outside `low` to `high` by more than the rounding of a change of units."""
    at = np.asarray(x, dtype=np.float64)
    return np.asarray((at < low - 1e-9 * abs(low)) | (at > high + 1e-9 * abs(high)))


def to_si(unit: str) -> tuple[str, float]:
    """SI unit and factor of a unit as a user writes it.

    Raises
    ------
    ValueError
        Unknown unit; lists the known ones.
    """
    try:
        return UNITS[unit]
    except KeyError:
        raise ValueError(f"unit {unit!r} is not known; known units: {', '.join(UNITS)}") from None
