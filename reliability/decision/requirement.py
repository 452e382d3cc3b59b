"""What must hold, for how long, what it is compared with and what accuracy is worth."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from devicefit.inputs.programming import Programming

SMALL_IMAGE_SETS = {"digits": 0.02}
"""Accepted loss where none was stated, on test sets too small to tell one point from none."""


@dataclass(frozen=True)
class Life:
    """How long and under what the memory has to serve; what is None is not asked for.

    Parameters
    ----------
    years : float, optional
        Time for which stored bits are kept.
    temperature_k : float, optional
        Temperature during that time.
    cycles : float, optional
        How often each cell is programmed in all.
    """

    years: float | None = None
    temperature_k: float | None = None
    cycles: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; it must be positive and finite")
        if self.cycles is not None and self.cycles < 1:
            raise ValueError(f"cycles is {self.cycles}; a cell is programmed at least once")
        if self.temperature_k is not None and not 200 <= self.temperature_k <= 700:
            raise ValueError(
                f"temperature_k is {self.temperature_k}; give a temperature between 200 and 700 K"
            )

    def words(self) -> str:
        """``"1e+06 cycles and 10 years at 85 degrees Celsius"``."""
        hot = None
        if self.temperature_k is not None:
            hot = f"{self.temperature_k - 273.15:.4g} degrees Celsius"
        stored = None if self.years is None else f"{self.years:g} years"
        kept = " at ".join(part for part in (stored, hot) if part)
        cycled = None if self.cycles is None else f"{self.cycles:g} cycles"
        return " and ".join(part for part in (cycled, kept) if part)


@dataclass(frozen=True)
class StatedReference:
    """A programming value that the user compares with, for example that of today.

    Parameters
    ----------
    programming : float
        Value of the programming variable, SI.
    unit : {"A", "V", "s"}
        Its unit.
    cells_per_bit : float
        Cells that the reference programs for each bit.
    """

    programming: float
    unit: str
    cells_per_bit: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.programming < math.inf:
            raise ValueError(f"reference programming is {self.programming}; it must be positive")
        if not 1 <= self.cells_per_bit < math.inf:
            raise ValueError(f"cells_per_bit is {self.cells_per_bit}; at least one cell is needed")

    def check(self, programming: Programming, low: float, high: float) -> None:
        """Refuse a reference of another variable, or outside the measured range."""
        if self.unit != programming.unit:
            raise ValueError(
                f"the reference programming is in {self.unit}, but the programming variable "
                f"({programming.name}) is in {programming.unit}"
            )
        if not low * (1 - 1e-9) <= self.programming <= high * (1 + 1e-9):
            raise ValueError(
                f"the reference programming {programming.format(self.programming)} is outside the "
                f"measured {programming.format(low)} to {programming.format(high)}; name one inside"
            )


@dataclass(frozen=True)
class Utility:
    """What accuracy is worth in energy.

    Parameters
    ----------
    energy_factor_per_point : float
        Factor in programming energy that one point of accuracy is worth.
    energy_factor_of_violation : float
        Factor in programming energy that it costs when a chip misses the requirement.

    Notes
    -----
    The cost of a choice is ``ln E + ln(factor) * loss in points + ln(factor of violation)`` where
    the requirement is missed. It is a cost in logarithms: a factor in energy is worth the same
    everywhere, and costs of independent draws can be averaged.
    """

    energy_factor_per_point: float = 1.0
    energy_factor_of_violation: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 1 <= value < math.inf:
                raise ValueError(
                    f"{name} is {value}; give a factor of at least 1, for example 2 if twice the "
                    "energy would be paid"
                )
        if self.energy_factor_per_point == self.energy_factor_of_violation == 1:
            raise ValueError(
                "a utility with both factors 1 gives accuracy no worth; give a factor above 1"
            )


@dataclass(frozen=True)
class Requirement:
    """What must hold.

    Parameters
    ----------
    max_loss : float
        Largest accuracy loss, a fraction, against the standard network without errors.
    risk : float
        Largest probability that a chip loses more.
    memory_ber : float
        Residual BER that plain memory has to reach.
    life : Life, optional
        For how long.
    reference : StatedReference, optional
        A further reference of the saving.
    utility : Utility, optional
        What accuracy is worth.
    """

    max_loss: float = 0.01
    risk: float = 0.05
    memory_ber: float = 1e-5
    life: Life | None = None
    reference: StatedReference | None = None
    utility: Utility | None = None

    def __post_init__(self) -> None:
        if not 0 < self.max_loss < 1:
            raise ValueError(
                f"max_loss is {self.max_loss}; give a fraction between 0 and 1, 0.01 for one point"
            )
        if not 0 < self.risk < 0.5:
            raise ValueError(f"risk is {self.risk}; give a probability between 0 and 0.5")
        if not 0 < self.memory_ber < 0.1:
            raise ValueError(f"memory_ber is {self.memory_ber}; give a rate between 0 and 0.1")

    @property
    def probability(self) -> float:
        """Probability with which a chip has to lose at most the accepted loss."""
        return 1 - self.risk

    def record(self) -> dict[str, Any]:
        """Plain values for JSON; what was not asked for is None."""
        return asdict(self)


def default_requirement(image_set: str | None) -> Requirement:
    """What must hold on an image set where the user says nothing: two points on digits, else one.

    Digits have 600 test images: of a loss of one point they leave a standard error of nearly half a
    point.
    """
    loss = SMALL_IMAGE_SETS.get(image_set or "")
    return Requirement() if loss is None else Requirement(max_loss=loss)
