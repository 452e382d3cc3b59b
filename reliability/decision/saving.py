"""The saving: energy of a reference over that of a design, both held to the same rule.

For each draw of what is not known (device, accuracy surface, energy inputs) design and reference
stand at the weakest programming at which they hold, given that draw: a network where a share of at
least 1 - alpha of its chips meets the requirement (alpha is the risk that the requirement allows),
plain memory where its error rate is at most the target. The saving is the distribution over draws
of the ratio of the two energies per bit, so that a design saves exactly 1 times against itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devicefit.fitting.gate import Gate
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import PROBABILITY, band
from reliability.decision.comparison import STANDARD, Comparison, Design, Reference
from reliability.decision.series_gate import series_gate
from reliability.energy.energy import energy_at

NO_SAVING_STATED = "no saving can be stated, because no energy is known"
MOST_OUTSIDE = 0.05
"""Share of draws beyond the measured range above which the saving is stated as a bound."""


@dataclass(frozen=True)
class Saving:
    """Energy of a reference over the energy of a design.

    Parameters
    ----------
    factor : float array, shape (draw,)
        Draws of the saving; where a side lies beyond the measured range, with the end of the range.
    at_least : bool array, shape (draw,)
        The draw is a lower bound: the reference holds at no measured programming, or the design
        holds at the weakest measured one already.
    at_most : bool array, shape (draw,)
        The draw is an upper bound: the reference holds at the weakest measured programming already,
        or the design at none.
    """

    factor: FloatArray
    at_least: NDArray[np.bool_]
    at_most: NDArray[np.bool_]

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Draws that are bounds, shape (draw,)."""
        return self.at_least | self.at_most

    def bound(self, probability: float) -> tuple[str, float] | None:
        """What the saving is beyond with a probability: ``("at least", 3.1)``.

        Draws that are bounds to the other side count as beyond it. The side to which more draws
        are bounds is looked at first; None where the draws bound the saving on neither side.
        """
        sides = [
            ("at least", self.at_most, self.factor),
            ("at most", self.at_least, 1 / self.factor),
        ]
        if self.at_most.sum() > self.at_least.sum():
            sides.reverse()
        for words, unsure, factor in sides:
            end = float(np.quantile(np.where(unsure, 0.0, factor), 1 - probability))
            if end > 0:
                return words, end if words == "at least" else 1 / end
        return None

    def record(self, *, probability: float = PROBABILITY) -> dict[str, Any]:
        """Median and interval as plain values, or a bound, and the same in words.

        Median and ends are None where no energy is known, and where more than `MOST_OUTSIDE` of
        the draws lie beyond the measured range: then ``bound`` has ``side``, ``value`` and
        ``probability``, or is None where the draws give no bound either.
        """
        record: dict[str, Any] = {
            "median": None,
            "low": None,
            "high": None,
            "kind": "ETI",
            "probability": probability,
            "share_at_least": float(self.at_least.mean()),
            "share_at_most": float(self.at_most.mean()),
            "bound": None,
        }
        if np.isnan(self.factor).any():
            return {**record, "sentence": NO_SAVING_STATED}
        if self.outside.mean() <= MOST_OUTSIDE:
            record |= band(self.factor, axis=0, probability=probability)
        else:
            sure = (1 + probability) / 2
            found = self.bound(sure)
            if found is not None:
                record["bound"] = {"side": found[0], "value": found[1], "probability": sure}
        return {**record, "sentence": saving_sentence(record)}


def saving_sentence(record: dict[str, Any]) -> str:
    """A saving in words.

    ``"2.1 times (90 % ETI 1.9 to 3.4)"`` or ``"at least 3.1 times with probability 0.95"``
    """
    bound = record["bound"]
    if bound is not None:
        return f"{bound['side']} {bound['value']:.3g} times with probability {bound['probability']}"
    if record["median"] is None:
        return (
            f"not known within the measured range: {100 * record['share_at_least']:.0f} % of the "
            f"draws are lower bounds of it, {100 * record['share_at_most']:.0f} % upper bounds"
        )
    if record["low"] == record["high"]:
        return f"{record['median']:.3g} times"
    interval = f"{100 * record['probability']:.0f} % {record['kind']}"
    return f"{record['median']:.3g} times ({interval} {record['low']:.3g} to {record['high']:.3g})"


def saving_of(comparison: Comparison, design: Design, reference: Reference) -> Saving:
    """Saving of a design against a reference, draw by draw."""
    own, other, energy = design.condition, reference.condition, comparison.energy
    if own is other and energy.is_known:
        # the same cells at the same programming, wherever that is
        never = np.zeros(len(own.x), dtype=bool)
        return Saving(np.full(len(own.x), reference.cells_per_bit / design.cells), never, never)
    ratio = energy_at(energy, other.x) / energy_at(energy, own.x)
    return Saving(
        reference.cells_per_bit / design.cells * ratio,
        other.not_reached | own.at_edge,
        other.at_edge | own.not_reached,
    )


def stated_saving(comparison: Comparison, design: Design, reference: Reference) -> dict[str, Any]:
    """Record of a saving where its own gate passes; see :func:`gated`."""
    gate = series_gate(comparison.energy, design.condition, reference.condition)
    return gated(saving_of(comparison, design, reference).record(), gate)


def gated(found: dict[str, Any], gate: Gate | None) -> dict[str, Any]:
    """Record of a saving, as of :meth:`Saving.record`, with what its gate says of it.

    ``gate`` is the record of :func:`reliability.decision.series_gate.series_gate`, or None. Where
    it failed there is neither a number nor a bound, and what they would have been stands in
    ``not_to_be_relied_on``.
    """
    if gate is None or gate.passed:
        return {**found, "gate": None if gate is None else gate.record()}
    figures = ("median", "low", "high", "bound")
    return {
        **found,
        **dict.fromkeys(figures),
        "gate": gate.record(),
        "sentence": f"not stated (the gate {gate.name!r} failed)",
        "not_to_be_relied_on": {key: found[key] for key in (*figures, "sentence")},
    }


def is_withheld(record: Mapping[str, Any]) -> bool:
    """Whether a saving is not stated because its gate failed."""
    gate = record.get("gate")
    return gate is not None and not gate["passed"]


def saving_record(comparison: Comparison, reference: Reference) -> dict[str, Any]:
    """Saving of the design in focus against a reference, and where the reference stands."""
    design, condition = comparison.focus, reference.condition
    if design.safe.lowest is None:
        # what has no safe programming saves nothing
        saving = dict.fromkeys(("median", "low", "high", "bound", "gate"))
        found = {
            **saving,
            "kind": "ETI",
            "probability": PROBABILITY,
            "sentence": "none, because no measured programming is safe",
        }
    else:
        found = stated_saving(comparison, design, reference)
        if reference.key == STANDARD and not comparison.designs[0].chip_yield.known.any():
            found["sentence"] = (
                "not known, because the standard network was not counted at the unequal rates of "
                "single cells"
            )
    return {
        "reference": reference.words,
        "reference_programming": {
            **band(condition.x, axis=0),
            "share_not_reached": float(condition.not_reached.mean()),
            "share_at_weakest_measured": float(condition.at_edge.mean()),
        },
        **found,
        "at_recommended": None if is_withheld(found) else _at_recommended(comparison, reference),
    }


def _at_recommended(comparison: Comparison, reference: Reference) -> dict[str, Any] | None:
    """Ratio of the energies at the two recommended values; None where either is missing."""
    c, design = comparison, comparison.focus
    own, other = design.safe.lowest, c.lowest_safe(reference)
    if own is None or other is None or not c.energy.is_known:
        return None
    ratio = energy_at(c.energy, other) / energy_at(c.energy, own)
    record = band(reference.cells_per_bit / design.cells * ratio, axis=0)
    return {
        "meaning": "energy of the reference at its lowest safe programming over that of the design "
        "at its own; both values are chosen, so only the energies are uncertain",
        "programming": other,
        **record,
        "sentence": saving_sentence({**record, "bound": None}),
    }
