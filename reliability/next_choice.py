"""What `decide` would choose after a measurement, and the energy that is expected to save.

Value of sample information with the rule of `decide`: the least energy at which the requirement is
met with the probability that is asked for. What would have done in a draw is the same before and
after, so the expected reduction of the regret is the energy at the choice now less that after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from devicefit.programming import FloatArray, IntArray
from reliability.ber_table import BerTable
from reliability.choice_outlook import NOTABLE, ChoiceOutlook
from reliability.code_table import code_table
from reliability.designs import Comparison, Design, loss_limits
from reliability.limit_case import ReadDraws
from reliability.safe_walk import NOWHERE, first_safe, lowest_safe, shares_met
from reliability.share_table import share_table

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
    read_1t1r : BerTable
        1T1R of the paired draws over thresholds.
    bits : mapping of str to int or None
        Weight bits of each network; without them energies are per bit.
    """

    def __init__(
        self,
        comparison: Comparison,
        named: Design | None,
        read_1t1r: BerTable,
        bits: Mapping[str, int] | None,
    ) -> None:
        self.c = c = comparison
        self.needed = 1 - c.requirement.risk
        first = c.ranked[0] if named is None else named
        self.ln_e, self.ln_median = (
            np.log(c.energy.e_cell_j),
            np.log(np.median(c.energy.e_cell_j, 0)),
        )
        self.even = np.full((1, len(self.ln_e)), 1 / len(self.ln_e))
        self.designs: list[Design] = [first]
        if named is None and first.safe.lowest is not None:
            most = self._ln_now(first) + np.log(RIVALS_WITHIN)
            self.designs += [
                d for d in c.ranked[1:] if d.safe.lowest is not None and self._ln_now(d) <= most
            ]
        self.is_known = first.safe.lowest is not None
        self.tables = {"1T1R": read_1t1r}
        if any(d.storage.scheme == "2T2R" for d in self.designs):
            pairs = c.main_ber["2T2R"].ln_ber
            of_draw = pairs.reshape(-1, pairs.shape[-1])[c.pairing.device]
            self.tables["2T2R"] = BerTable(np.ascontiguousarray(of_draw)[None], None)
        self.codes = [_code(d) for d in self.designs]
        limits = loss_limits(c.curves, c.requirement)
        chips = {
            n: share_table(c.curves[n], limits[n])
            for n in dict.fromkeys(d.network for d in self.designs)
        }
        self.chips = [(t.first, t.step, t.share) for t in (chips[d.network] for d in self.designs)]
        self.harm = [self._harm(d) for d in self.designs]
        self.unit = "J per bit" if bits is None else "J per programming of the network"
        network = bits and first.storage.cells_for(bits[first.network])
        self.cells = float(network or first.cells)
        self.place = (
            np.concatenate([first_safe(d.p_met[None], self.needed) for d in self.designs])
            if self.is_known
            else np.full(1, NOWHERE)
        )

    def _harm(self, design: Design) -> FloatArray:
        """What unequal rates add to ln of the BER that a network sees, as read now, (draw, x)."""
        c = self.c
        added = c.equivalent_ln_ber(design.network, design.storage) - c.network_ln_ber(
            design.storage
        )
        return np.ascontiguousarray(added[c.pairing.device])

    def _at(self, design: Design) -> int:
        assert design.safe.lowest is not None
        return int(np.argmin(np.abs(self.c.grid - design.safe.lowest)))

    def _ln_now(self, design: Design) -> float:
        return float(np.log(design.cells) + self.ln_median[self._at(design)])

    @property
    def now(self) -> tuple[Design, int]:
        """Design and grid value that are chosen now."""
        return self.designs[0], self._at(self.designs[0])

    def record(self) -> dict[str, Any] | None:
        """The choice now, as plain values."""
        if not self.is_known:
            return None
        design, at = self.now
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
    def _places(self) -> dict[str, FloatArray]:
        """Thresholds now, shape (1, x)."""
        return {scheme: table.best(self.even) for scheme, table in self.tables.items()}

    @cached_property
    def _shares(self) -> list[FloatArray]:
        """Share of chips that meet the requirement with the thresholds of now, (draw, x)."""
        return [
            shares_met(
                self.tables[d.storage.scheme].ln_ber,
                self._places[d.storage.scheme][0],
                self.c.pairing.curve,
                self.codes[k],
                self.chips[k],
                self.harm[k],
            )
            for k, d in enumerate(self.designs)
        ]

    @cached_property
    def _offsets(self) -> list[FloatArray]:
        """What `decide` finds, less what is found here for the same draws."""
        return [
            d.p_met - share.mean(axis=0)
            for d, share in zip(self.designs, self._shares, strict=True)
        ]

    @cached_property
    def perfect(self) -> ChoiceOutlook:
        """After device and networks are known exactly, thresholds of reads as now.

        The risk that is left is that of the chips. It may cost energy: where the risk that is
        allowed covers what is not known, nothing is paid for it as long as it is not known.
        """
        places = [
            first_safe(share + offset, self.needed)
            for share, offset in zip(self._shares, self._offsets, strict=True)
        ]
        return self._outlook(np.array(places), np.zeros((len(self.ln_e), len(self.c.grid))))

    # --- other posteriors ------------------------------------------------------------------------

    def by_weights(self, weights: FloatArray, places: FloatArray) -> ChoiceOutlook:
        """After outcomes that weigh the draws.

        Parameters
        ----------
        weights : float array, shape (outcome, draw)
            Rows sum to one.
        places : float array, shape (outcome, x)
            Thresholds of 1T1R reads.
        """
        rows = []
        still, none = np.zeros(len(weights)), np.zeros(weights.shape[1])
        for k, design in enumerate(self.designs):
            p_met = weights @ self._shares[k] + self._offsets[k]
            safe = p_met >= self.needed
            start = np.where(safe.any(axis=1), safe.argmax(axis=1), p_met.argmax(axis=1))
            rows.append(self._walk(k, design, start, weights, places, none, still))
        return self._outlook(np.array(rows), weights @ self.ln_e - self.ln_e.mean(axis=0))

    def by_curves(
        self, pull: Mapping[str, FloatArray], push: Mapping[str, FloatArray]
    ) -> ChoiceOutlook:
        """After outcomes that move what networks tolerate.

        Parameters
        ----------
        pull, push : mapping of str to float array, shapes (draw,) and (outcome,)
            For each network: ln of what it tolerates moves by their sum.
        """
        rows = []
        for k, design in enumerate(self.designs):
            at = self._at(design) if design.safe.lowest is not None else int(design.p_met.argmax())
            move = push[design.network]
            start = np.full(len(move), at)
            places = self._places["1T1R"]
            rows.append(self._walk(k, design, start, self.even, places, pull[design.network], move))
        return self._outlook(np.array(rows), np.zeros((len(rows[0]), len(self.c.grid))))

    @property
    def schemes(self) -> set[str]:
        """How the bits of the designs are read."""
        return {d.storage.scheme for d in self.designs}

    def by_draws(self, before: ReadDraws, after: Sequence[ReadDraws]) -> ChoiceOutlook:
        """After outcomes that give other draws of the device; `before` are such draws of now."""
        now = np.array([d.p_met for d in self.designs]) - self._p_met(before)
        places = [first_safe(now + self._p_met(read), self.needed) for read in after]
        means = [
            _filled(read.ln_energy, len(self.c.grid)).mean(axis=0) for read in (before, *after)
        ]
        return self._outlook(np.array(places).T, np.array(means[1:]) - means[0])

    def _p_met(self, read: ReadDraws) -> FloatArray:
        """P(requirement met) of each design for other draws of the device, shape (design, x)."""
        size = len(self.c.grid)
        tables = {s: _filled(read.ln_ber[s], size)[None] for s in self.schemes}
        found = []
        for k, d in enumerate(self.designs):
            curve, place = self.c.pairing.curve[read.rows], np.zeros(size)
            # Draws are others than those of now: what unequal rates add is taken at its mean.
            harm = np.broadcast_to(self.harm[k].mean(axis=0), (len(curve), size)).copy()
            table, code, chips = tables[d.storage.scheme], self.codes[k], self.chips[k]
            share = shares_met(table, place, curve, code, chips, harm)
            found.append(share.mean(axis=0))
        return np.array(found)

    def _walk(
        self,
        k: int,
        design: Design,
        start: IntArray,
        weights: FloatArray,
        places: FloatArray,
        pull: FloatArray,
        push: FloatArray,
    ) -> FloatArray:
        scheme = design.storage.scheme
        found: FloatArray = lowest_safe(
            self.tables[scheme].ln_ber,
            places if scheme == "1T1R" else self._places[scheme],
            weights,
            start,
            self._offsets[k],
            self.needed,
            self.c.pairing.curve,
            self.codes[k],
            self.chips[k],
            self.harm[k],
            pull,
            push,
        )
        return found

    def _outlook(self, places: FloatArray, learned: FloatArray) -> ChoiceOutlook:
        """What follows from choices after simulated outcomes.

        Parameters
        ----------
        places : float array, shape (design, outcome)
            Lowest safe places on the grid.
        learned : float array, shape (outcome, x)
            What ln of the energy per cell is found to differ by.
        """
        grid, outcomes = np.arange(len(self.c.grid)), places.shape[1]
        none = (places == NOWHERE).all(axis=0)
        if not self.is_known:
            p_none = float(none.mean())
            return ChoiceOutlook(1 - p_none, 1 - p_none, p_none, None, None, None, None)

        def ln_energy(k: int, at: FloatArray) -> FloatArray:
            """Of the design, as `decide` ranks it, moved from its place now to another."""
            steps = np.interp(at, grid, self.ln_median) - np.interp(
                self.place[k], grid, self.ln_median
            )
            found = [np.interp(a, grid, row) for a, row in zip(at, learned, strict=True)]
            return self._ln_now(self.designs[k]) + steps + np.array(found)

        now = ln_energy(0, np.full(outcomes, self.place[0]))
        after = np.array(
            [
                np.where(row == NOWHERE, np.inf, ln_energy(k, np.maximum(row, 0.0)))
                for k, row in enumerate(places)
            ]
        )
        best = after.argmin(axis=0)
        least = after[best, np.arange(outcomes)]
        same = (best == 0) & (np.ceil(places[0] - 1e-9) == np.ceil(self.place[0] - 1e-9))
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


def _code(design: Design) -> tuple[float, float, FloatArray, float]:
    table = code_table(design.storage.code)
    return table.first, table.step, table.after, table.below


def _filled(values: FloatArray, size: int) -> FloatArray:
    """Values over every second programming value (last axis), as such over all `size` of them."""
    right = np.minimum(np.arange(size) // 2 + np.arange(size) % 2, values.shape[-1] - 1)
    return 0.5 * (values[:, np.arange(size) // 2] + values[:, right])
