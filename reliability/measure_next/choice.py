"""What `decide` would choose after a measurement, and the energy that is expected to save.

Value of sample information with the rule of `decide`: the least energy at which the requirement is
met with the probability that is asked for. What would have done in a draw is the same before and
after, so the expected reduction of the regret is the energy at the choice now less that after.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from devicefit.numerics.arrays import FloatArray
from reliability.decision.comparison import Comparison, Design
from reliability.decision.safe_set import NOWHERE, lowest_safe
from reliability.measure_next.outlook import NOTABLE, ChoiceOutlook

RIVALS_WITHIN = 2.0
"""Designs that need more than so many times the energy of the chosen one are left out."""


class NextChoice:
    """The choice among some designs, now and for other posteriors.

    Parameters
    ----------
    comparison : Comparison
        All designs on the same draws.
    named : Design or None
        The only design that is considered; None for all.
    bits : mapping of str to int or None
        Weight bits of each network; without them energies are per bit.
    """

    def __init__(
        self, comparison: Comparison, named: Design | None, bits: Mapping[str, int] | None
    ) -> None:
        self.c = c = comparison
        self.needed = c.requirement.probability
        first = c.ranked[0] if named is None else named
        self.ln_e = np.log(c.energy.e_cell_j)
        self.ln_median = np.log(np.median(c.energy.e_cell_j, axis=0))
        self.is_known = first.safe.lowest is not None
        self.designs = [first]
        if named is None and self.is_known:
            self.designs = self.within(RIVALS_WITHIN, first)
        self.unit = "J per bit" if bits is None else "J per programming of the network"
        network = bits and first.storage.cells_for(bits[first.network])
        self.cells = float(network or first.cells)
        self.place = np.concatenate(
            [lowest_safe(d.p_met[None], self.needed) for d in self.designs]
            if self.is_known
            else [[NOWHERE]]
        )

    def within(self, times: float, first: Design) -> list[Design]:
        """The design, and safe ones that need at most so many times its energy."""
        most = self._ln_now(first) + np.log(times)
        others = (d for d in self.c.ranked if d is not first and d.safe.lowest is not None)
        return [first, *(d for d in others if self._ln_now(d) <= most)]

    @property
    def is_refused(self) -> bool:
        """Whether the draws promise what chips refused: they cannot say what would follow."""
        first = self.designs[0]
        return not self.is_known and bool((first.p_met >= self.needed).any())

    def _ln_now(self, design: Design) -> float:
        return float(np.log(design.cells) + self.ln_median[design.place(self.c.grid)])

    def record(self) -> dict[str, Any] | None:
        """The choice now, as plain values; None where nothing is safe."""
        if not self.is_known:
            return None
        design = self.designs[0]
        at = design.place(self.c.grid)
        return {
            "network": design.network,
            "scheme": design.scheme,
            "programming": float(self.c.grid[at]),
            "at_weakest_measured": design.safe.at_edge,
            "p_requirement_met": float(design.p_met[at]),
            "energy_j": float(self.cells * np.exp(self.ln_median[at])),
            "energy_unit": self.unit,
            "perfect_information": self.perfect.record(),
            "rule": "least median energy per bit at the lowest programming that is safe",
            "designs_considered": [f"{d.network}, {d.scheme}" for d in self.designs],
        }

    @cached_property
    def perfect(self) -> ChoiceOutlook:
        """After device and networks are known exactly: each draw alone.

        The risk that is left is that of the chips. It may cost energy: where the risk that is
        allowed covers what is not known, nothing is paid for it as long as it is not known.
        """
        places = [lowest_safe(d.chip_yield.share, self.needed) for d in self.designs]
        return self._outlook(np.array(places), np.zeros_like(self.ln_e), self.place)

    def by_weights(self, weights: FloatArray) -> ChoiceOutlook | None:
        """After outcomes that weigh the draws, shape (outcome, draw), rows sum to one."""
        if self.is_refused:
            return None
        places = [lowest_safe(d.chip_yield.p_met_of(weights), self.needed) for d in self.designs]
        learned = weights @ self.ln_e - self.ln_e.mean(axis=0)
        return self._outlook(np.array(places), learned, self.place)

    def by_places(
        self, before: FloatArray, after: FloatArray, learned: FloatArray
    ) -> ChoiceOutlook | None:
        """After outcomes that give other draws of the device.

        Parameters
        ----------
        before : float array, shape (design,)
            Lowest safe places of the first designs with as few draws of now.
        after : float array, shape (design, outcome)
            The same after each outcome.
        learned : float array, shape (outcome, x)
            What ln of the energy per cell is found to differ by.
        """
        return None if self.is_refused else self._outlook(after, learned, before)

    def _outlook(
        self, places: FloatArray, learned: FloatArray, before: FloatArray
    ) -> ChoiceOutlook:
        """What follows from lowest safe places after simulated outcomes, (design, outcome)."""
        grid, outcomes = np.arange(len(self.c.grid)), places.shape[1]
        none = (places == NOWHERE).all(axis=0)
        if not self.is_known:
            p_none = float(none.mean())
            return ChoiceOutlook(1 - p_none, 1 - p_none, p_none, None, None, None, None)

        def ln_energy(k: int, at: FloatArray) -> FloatArray:
            """Of the design, as `decide` ranks it, moved from its place now to another."""
            steps = np.interp(at, grid, self.ln_median) - np.interp(before[k], grid, self.ln_median)
            found = [np.interp(a, grid, row) for a, row in zip(at, learned, strict=True)]
            return self._ln_now(self.designs[k]) + steps + np.array(found)

        now = ln_energy(0, np.full(outcomes, before[0]))
        after = np.array(
            [
                np.where(row == NOWHERE, np.inf, ln_energy(k, np.maximum(row, 0.0)))
                for k, row in enumerate(places)
            ]
        )
        best = after.argmin(axis=0)
        least = after[best, np.arange(outcomes)]
        same = (best == 0) & (np.ceil(places[0] - 1e-9) == np.ceil(before[0] - 1e-9))
        saved = np.where(none, 0.0, now - least)
        joules = self.cells / self.designs[0].cells * np.exp(now) * -np.expm1(-saved)
        root = np.sqrt(outcomes)
        return ChoiceOutlook(
            float(np.mean(~same)),
            float(np.mean(none | (np.abs(saved) > NOTABLE))),
            float(none.mean()),
            float(saved.mean()),
            float(saved.std(ddof=1) / root),
            float(joules.mean()),
            float(joules.std(ddof=1) / root),
        )
