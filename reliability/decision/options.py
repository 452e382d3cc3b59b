"""What a decision is asked for, apart from the device and the networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devicefit.distributions.sensing import SensingOptions
from reliability.decision.requirement import Requirement
from reliability.energy.energy import EnergyOptions
from reliability.energy.tables import EnergyTable
from reliability.plans.storage import STORAGES, Storage

if TYPE_CHECKING:
    from devicefit.life.study import Life

ONE_CONDITION = (
    "all readings are at one condition, so there is no programming to choose; measure two "
    "conditions or more, or stop at `fit`, `ber`, `predict` and `evaluate --device`"
)
"""Why nothing can be decided of a device that was measured at one programming value."""


@dataclass(frozen=True, kw_only=True)
class DecisionOptions:
    """What must hold, what is known beside the readings, and what is compared.

    Parameters
    ----------
    requirement : Requirement
        What must hold; it refers to the standard network without errors.
    sensing : SensingOptions
        How bits are read.
    energy : EnergyOptions or None
        Pulses; None: nothing is known of them.
    energy_table : EnergyTable, optional
        Measured energies or currents. Without them and without pulses no energy is known: the
        decision then gives the safe programming and no saving.
    lives : tuple of Endurance, Retention or CycledCells
        What is known of the life that the requirement asks for; the answer is then about the end
        of that life, with fresh cells beside it. Cycles to wear-out over programming give the
        endurance of the Pareto front.
    seconds : tuple of float
        Values of the device's second programming variable that are compared; empty: those measured.
    storages : tuple of Storage
        Ways to store bits that are compared.
    one_is : {"LRS", "HRS"}
        State that stores the weight +1.
    seed : int
        Seed of the pairing of draws and of the draws of the surfaces.
    """

    requirement: Requirement = field(default_factory=Requirement)
    sensing: SensingOptions = field(default_factory=SensingOptions)
    energy: EnergyOptions | None = field(default_factory=EnergyOptions)
    energy_table: EnergyTable | None = None
    lives: tuple[Life, ...] = ()
    seconds: tuple[float, ...] = ()
    storages: tuple[Storage, ...] = STORAGES
    one_is: str = "LRS"
    seed: int = 1
