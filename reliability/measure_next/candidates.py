"""Measurements and computations that might be done next."""

from __future__ import annotations

from dataclasses import dataclass

from devicefit.inputs.programming import Programming

MOST = 10**9
"""Largest number of devices, cycles, chips or images."""


def _at_least(name: str, value: float, least: float) -> None:
    if not least <= value <= MOST:
        said = value if abs(value) < 1e15 else f"{value:.3g}"
        raise ValueError(f"{name} is {said}; it must be at least {least:g}, and at most {MOST:.0e}")


@dataclass(frozen=True)
class MoreDevices:
    """Devices that were not measured before, at a measured or a new condition.

    Parameters
    ----------
    programming : float
        Programming value, SI.
    devices : int
        New devices, 0 for none.
    cycles : int
        Readings of each in either state.
    """

    programming: float
    devices: int
    cycles: int = 1

    def __post_init__(self) -> None:
        _at_least("devices", self.devices, 0)
        _at_least("cycles", self.cycles, 1)

    def words(self, programming: Programming) -> str:
        """What is done."""
        times = "" if self.cycles == 1 else f", {self.cycles} cycles each"
        return f"{self.devices} more devices at {programming.format(self.programming)}{times}"


@dataclass(frozen=True)
class MoreCycles:
    """Further cycles of all devices that were measured.

    Parameters
    ----------
    more_cycles : int
        Further readings of each device in either state.
    """

    more_cycles: int

    def __post_init__(self) -> None:
        _at_least("more_cycles", self.more_cycles, 0)

    def words(self, programming: Programming) -> str:
        """What is done."""
        return f"{self.more_cycles} more cycles of every measured device"


@dataclass(frozen=True)
class MoreChips:
    """Further simulated chips of every network.

    Parameters
    ----------
    chips : int
        Further chips for each BER.
    """

    chips: int

    def __post_init__(self) -> None:
        _at_least("chips", self.chips, 0)

    @property
    def added(self) -> int:
        """How many there are."""
        return self.chips

    def words(self, programming: Programming) -> str:
        """What is done."""
        return f"{self.chips} more simulated chips of each network"


@dataclass(frozen=True)
class MoreImages:
    """Further test images.

    Parameters
    ----------
    images : int
        Further images.
    """

    images: int

    def __post_init__(self) -> None:
        _at_least("images", self.images, 0)

    @property
    def added(self) -> int:
        """How many there are."""
        return self.images

    def words(self, programming: Programming) -> str:
        """What is done."""
        return f"{self.images} more test images"


@dataclass(frozen=True)
class MeasuredEnergy:
    """Programming energy of a cell measured at one condition.

    Parameters
    ----------
    programming : float
        Programming value, SI.
    energy_se : float
        Standard error of the energy, relative.
    """

    programming: float
    energy_se: float

    def __post_init__(self) -> None:
        if not 0 < self.energy_se < 10:
            raise ValueError(
                f"energy_se is {self.energy_se}; give a relative standard error, 0.05 for 5 %"
            )

    def words(self, programming: Programming) -> str:
        """What is done."""
        return (
            f"energy measured at {programming.format(self.programming)} "
            f"to {100 * self.energy_se:g} %"
        )


Candidate = MoreDevices | MoreCycles | MoreChips | MoreImages | MeasuredEnergy
