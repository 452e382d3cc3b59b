"""Yields, safe places and savings for draws of the device that readings would move.

Moved draws need rates and yields of their own. These are worked out at a dozen programming values
around the place of each side now, not over the whole grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fitted import Fitted
from devicefit.numerics.arrays import FloatArray, IntArray
from reliability.chips.chip_yield import p_met, share_within
from reliability.decision.compare import curves_by_array, seen_rates
from reliability.decision.comparison import Comparison, Design, Reference, both
from reliability.decision.limits import Condition, enough_chips, weakest_condition
from reliability.decision.references import MEMORY_CODES, memory_excess
from reliability.decision.safe_set import NOWHERE, lowest_safe
from reliability.decision.saving import saving_of
from reliability.energy.energy import Energy
from reliability.plans.storage import Storage

VALUES = 12
_TAIL = 0.002
_BESIDE = 2
"""Values of the grid that are added at both ends of what the draws of now need."""


@dataclass(frozen=True)
class MovedAnswers:
    """What other draws of the device answer.

    Parameters
    ----------
    ln_saving : float array, shape (draw,)
        ln of the saving.
    places : float array, shape (design,)
        Lowest safe place of each design on the grid.
    ln_energy : float array, shape (x,)
        Mean over draws of ln of the energy per cell.
    """

    ln_saving: FloatArray
    places: FloatArray
    ln_energy: FloatArray


class MovedDraws:
    """Answers for other draws of the device.

    Parameters
    ----------
    comparison : Comparison
        All designs on the same draws, the saving's own conditions included.
    design : Design
        The one whose saving is looked at.
    reference : Reference
        What it is compared with.
    rivals : sequence of Design
        Designs whose lowest safe place is asked for.
    shifts : mapping of str to float array, shape (pair,), or None
        What the test set adds to the limit of loss of the networks of the saving.
    """

    def __init__(
        self,
        comparison: Comparison,
        design: Design,
        reference: Reference,
        rivals: Sequence[Design],
        shifts: dict[str, FloatArray] | None,
    ) -> None:
        self.c, self.design, self.reference = comparison, design, reference
        self.rivals, self.shifts = rivals, shifts

    def window(self, condition: Condition, lowest: float | None) -> FloatArray:
        """Programming values around those of the draws and the lowest safe one, shape (x,)."""
        programming, grid = self.c.programming, self.c.grid
        u, at = programming.coordinate(grid), programming.coordinate(condition.x)
        low, high = np.quantile(at, [_TAIL, 1 - _TAIL])
        if lowest is not None:
            here = float(programming.coordinate(lowest))
            low, high = min(low, here), max(high, here)
        beside = _BESIDE * (u[-1] - u[0]) / (len(u) - 1)
        places = np.linspace(max(u[0], low - beside), min(u[-1], high + beside), VALUES)
        return np.clip(programming.from_coordinate(places), grid[0], grid[-1])

    def answers(self, posterior: Fitted) -> MovedAnswers:
        """Saving and safe places for other draws, paired with those of curve and energy in turn."""
        c, needed = self.c, self.c.requirement.probability
        wanted = [*self.rivals, *both(c, self.design)]
        windows = {id(d): self.window(d.condition, d.safe.lowest) for d in wanted}
        of_memory = self.reference.key in MEMORY_CODES
        memory = self.window(self.reference.condition, None) if of_memory else c.grid[:0]
        x = np.unique(np.concatenate([*windows.values(), memory]))
        read = ber_curves(posterior, x, options=c.sensing)
        single = read["1T1R"].ln_ber.reshape(-1, len(x))
        rows = np.arange(len(single)) % len(c.pairing.device)
        pairing = replace(
            c.pairing,
            device=np.arange(len(rows)),
            curve=c.pairing.curve[rows],
            array=None if c.pairing.array is None else c.pairing.array[rows],
        )
        by_array = curves_by_array(posterior, read["1T1R"], options=c.sensing)
        seen = {d.storage: seen_rates(d.storage, read, by_array, c.one_is) for d in wanted}

        def share(d: Design, limit: float | FloatArray) -> FloatArray:
            at = np.searchsorted(x, windows[id(d)])
            return share_within(
                c.curves[d.network],
                seen[d.storage].at(at),
                pairing,
                limit,
            )

        # the design and the standard network are often among the rivals
        plain = {id(d): d for d in (wanted if self.shifts is None else self.rivals)}
        on_test_set = {key: share(d, c.limits[d.network]) for key, d in plain.items()}

        def condition(d: Design) -> Condition:
            good = (
                on_test_set[id(d)]
                if self.shifts is None
                else share(d, c.limits[d.network] + self.shifts[d.network][rows])
            )
            return enough_chips(windows[id(d)], good, needed, c.programming)

        conditions = [condition(d) for d in both(c, self.design)]
        other = conditions[0]
        if of_memory:
            if by_array:
                single = seen_rates(Storage("1T1R"), read, by_array, c.one_is).ln_ber[pairing.rates]
            near = single[:, np.searchsorted(x, memory)]
            excess = memory_excess(c, self.reference.key, near)
            other = weakest_condition(memory, excess, c.programming)
        energy = self._energy(posterior, rows)
        saving = saving_of(
            replace(c, energy=energy),
            replace(self.design, condition=conditions[-1]),
            replace(self.reference, condition=other),
        )
        places = [
            self._place(p_met(np.nan_to_num(on_test_set[id(d)]), pairing), windows[id(d)])
            for d in self.rivals
        ]
        return MovedAnswers(
            np.log(saving.factor), np.array(places), np.log(energy.e_cell_j).mean(axis=0)
        )

    def _place(self, p_met: FloatArray, window: FloatArray) -> float:
        """Lowest safe place on the grid."""
        place = float(lowest_safe(p_met[None], self.c.requirement.probability)[0])
        if place == NOWHERE:
            return NOWHERE
        coordinate = self.c.programming.coordinate
        at = np.interp(place, np.arange(len(window)), coordinate(window))
        return float(np.interp(at, coordinate(self.c.grid), np.arange(len(self.c.grid))))

    def _energy(self, posterior: Fitted, rows: IntArray) -> Energy:
        """Energy of the moved devices with the inputs of the pairs."""
        energy = self.c.energy
        if energy.inferred is None:
            return replace(energy, e_cell_j=energy.e_cell_j[rows])
        filament = posterior.filament(energy.x).flat()
        moved = replace(energy.inferred, filament=filament).joined(slice(None), rows)
        return replace(energy, e_cell_j=moved, inferred=None)
