"""Where to measure next: what each candidate is expected to do to the saving and to the choice.

Candidates are ranked by how much they shrink the interval of the saving that `decide` leads with
(:mod:`reliability.decision.saving`). What the new choice is expected to save
(:mod:`reliability.measure_next.choice`) stands beside it. Both come from the decision of now: an
outcome weighs its draws, or, where it teaches too much for that, moves the draws of the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from devicefit.fitting.fitted import Fitted
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import PROBABILITY, weighted_quantiles
from devicefit.simulation.new_readings import NewReadings
from reliability.decision.comparison import Comparison, both
from reliability.decision.saving import saving_of
from reliability.decision.series_gate import series_gate
from reliability.device.study import DeviceStudy
from reliability.measure_next.candidates import (
    Candidate,
    MeasuredEnergy,
    MoreChips,
    MoreCycles,
    MoreDevices,
    MoreImages,
)
from reliability.measure_next.choice import NextChoice
from reliability.measure_next.moved import MovedAnswers, MovedDraws
from reliability.measure_next.options import POPULATION, MeasureNextOptions, chosen_design
from reliability.measure_next.outcomes import SimulatedOutcomes, Weights
from reliability.measure_next.outlook import MOMENTS, UNCHANGED, WEIGHTS, ChoiceOutlook, Outlook
from reliability.measure_next.readings import planned_readings
from reliability.measure_next.sentence import first_sentence, next_sentence
from reliability.statements.population import for_population, population_shift
from reliability.uncertainty.saving_shares import saving_sources

FORMAT = "rram-reliability measure-next 4"
MOVED_WITHIN = 1.3
"""Designs of at most so many times the energy are chosen among where draws are moved."""

_TAIL = (1 - PROBABILITY) / 2
_ENDS = (_TAIL, 0.5, 1 - _TAIL)


@dataclass(frozen=True)
class MeasureNext:
    """Candidates ranked by what they are expected to do to the interval of the saving.

    Parameters
    ----------
    design, reference : str
        What is compared.
    question : str
        As in the options.
    saving : str
        The saving now, in words as `decide` states it.
    low, median, high : float
        Saving now: median and 90 % equal-tailed interval; draws beyond the measured range count
        with its end.
    width : float
        Width of the interval of ln saving now.
    share_bounds : float
        Share of draws in which the design or the reference lies beyond the measured range.
    shares : dict of str to float
        First-order shares of the sources in the variance of ln saving, and what they do together.
    choice : dict or None
        What is chosen now, and its energy; None where nothing is safe.
    outlooks : tuple of Outlook
        Ranked, the best first.
    first : str
        What to do first.
    sentence : str
        The same, what the choice gains by it, and where the variance comes from.
    simulated : bool
        Whether the readings behind it are simulated.
    """

    design: str
    reference: str
    question: str
    saving: str
    low: float
    median: float
    high: float
    width: float
    share_bounds: float
    shares: dict[str, float]
    choice: dict[str, Any] | None
    outlooks: tuple[Outlook, ...]
    first: str
    sentence: str
    simulated: bool

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {k: v for k, v in vars(self).items() if k != "outlooks"}
        return {
            "format": FORMAT,
            **values,
            "kind": "ETI",
            "probability": PROBABILITY,
            "criterion": "expected relative shrinkage of the interval of ln saving",
            "candidates": [outlook.record() for outlook in self.outlooks],
        }


def measure_next(
    device: DeviceStudy,
    comparison: Comparison,
    candidates: Sequence[Candidate],
    *,
    options: MeasureNextOptions | None = None,
    seed: int,
    bits: Mapping[str, int] | None = None,
    shares: Mapping[str, float] | None = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> MeasureNext:
    """Rank candidates by the expected shrinkage of the interval of the saving.

    Parameters
    ----------
    device : DeviceStudy
        Fitted device.
    comparison : Comparison
        From :func:`reliability.decision.compare.compare` for the same study.
    candidates : sequence of MoreDevices, MoreCycles, MoreChips, MoreImages, MeasuredEnergy
        What might be done.
    options : MeasureNextOptions, optional
        How candidates are ranked.
    seed : int
        Seed of the simulated outcomes; all candidates have the same truths.
    bits : mapping of str to int, optional
        Weight bits of each network; without them energies are per bit.
    shares : mapping of str to float, optional
        Shares of the variance of this saving, where they are known already.
    tick : callable, optional
        Told how many candidates are done.

    Returns
    -------
    MeasureNext

    Raises
    ------
    ValueError
        No candidate, no energy, an unknown reference or design, or cycles are asked for of which
        nothing is known.

    Notes
    -----
    For each simulated outcome a paired draw (device, curve, energy) plays the truth, new data are
    simulated under it, and the other draws are weighted by the likelihood of the data (Pareto
    smoothed). Repeated readings of a device count as fewer independent ones, by the design effect
    of the readings that were fitted. The threshold of 1T1R reads is that of now for weighted draws,
    and chosen anew for moved ones. After each outcome the rule of `decide` is applied again.
    """
    if not candidates:
        raise ValueError("no candidate; give at least one")
    ranking = Ranking(device, comparison, options or MeasureNextOptions(), seed, bits)
    outlooks = []
    for done, candidate in enumerate(candidates):
        outlooks.append(ranking.outlook(candidate))
        tick(done + 1, len(candidates))
    ranked = tuple(sorted(outlooks, key=lambda o: (-o.shrinkage, -o.energy_saved)))
    low, median, high = np.exp(ranking.quantiles(ranking.even)[0])
    found = dict(shares or ranking.shares())
    share_bounds = float(ranking.saving.outside.mean())
    choice = ranking.choice.record()
    return MeasureNext(
        f"{ranking.design.network}, {ranking.design.scheme}",
        ranking.reference.words,
        ranking.options.question,
        str(ranking.saving.record()["sentence"]),
        float(low),
        float(median),
        float(high),
        ranking.width_now,
        share_bounds,
        found,
        choice,
        ranked,
        first_sentence(ranked),
        next_sentence(ranked, found, share_bounds, choice, comparison.programming),
        bool(device.record["data"]["simulated"]),
    )


class Ranking:
    """What candidates have in common: the saving and the choice now, and the draws.

    Parameters
    ----------
    device, comparison, options, seed, bits
        As of :func:`measure_next`.

    Raises
    ------
    ValueError
        No energy is known, the saving is not stated because its gate failed, or an unknown design.
    """

    def __init__(
        self,
        device: DeviceStudy,
        comparison: Comparison,
        options: MeasureNextOptions,
        seed: int,
        bits: Mapping[str, int] | None = None,
    ) -> None:
        if not comparison.energy.is_known:
            raise ValueError("no energy is known, so there is no saving to know better")
        self.device, self.options, self.seed = device, options, seed
        self.design = chosen_design(comparison, options.network, options.stored_as)
        self.choice = NextChoice(comparison, self.design if options.names_a_design else None, bits)
        self.outcomes = SimulatedOutcomes(device, comparison, self.design, options, seed)
        self.c, self.shifts = comparison, None
        self.of_saving = comparison
        if options.question == POPULATION:
            self.shifts = {
                d.network: population_shift(comparison, d) for d in both(comparison, self.design)
            }
            self.of_saving = for_population(comparison, self.design)
            self.design = self.of_saving.designs[-1]
        self.reference = next(r for r in self.of_saving.references if r.key == options.reference)
        self.saving = saving_of(self.of_saving, self.design, self.reference)
        gate = series_gate(comparison.energy, self.design.condition, self.reference.condition)
        if gate is not None and not gate.passed:
            raise ValueError(f"the gate {gate.name!r} failed: {gate.finding}; {gate.remedy}")
        self.ln_saving = np.log(self.saving.factor)
        draws = len(self.ln_saving)
        self.even = np.full((1, draws), 1 / draws)
        self.width_now = float(self.widths(self.even)[0])

    def quantiles(self, weights: FloatArray) -> FloatArray:
        """Ends and median of ln saving, shape (outcome, 3)."""
        return weighted_quantiles(self.ln_saving, weights, _ENDS)

    def widths(self, weights: FloatArray) -> FloatArray:
        """Width of the interval of ln saving, shape (outcome,)."""
        found = self.quantiles(weights)
        return np.asarray(found[:, 2] - found[:, 0])

    def width_of(self, posterior: Fitted) -> float:
        """Width of the interval of ln saving with another posterior of the device."""
        return _width(self._moved_draws[0].answers(posterior).ln_saving)

    def shares(self) -> dict[str, float]:
        """Shares of the sources in the variance of ln saving."""
        found = saving_sources(self.c, self.design, shifts=self.shifts, seed=self.seed)
        return found[self.reference.key].shares.share

    def outlook(self, candidate: Candidate) -> Outlook:
        """What is expected of a candidate."""
        beyond = isinstance(candidate, MoreDevices | MeasuredEnergy) and bool(
            self.device.main.frame.extrapolated(np.array(candidate.programming))
        )
        words = candidate.words(self.c.programming)
        same = Outlook(candidate, words, self.width_now, extrapolated=beyond)
        unmoved = UNCHANGED if self.choice.is_known else None
        nothing = replace(same, choice=unmoved)
        if isinstance(candidate, MoreDevices | MoreCycles):
            readings = planned_readings(candidate, self.device)
            if all(n == 0 for new in readings for n in new.n.values()):
                return replace(nothing, note="nothing is measured")
            found = self.outcomes.of_readings(readings)
            if found is None:
                return self._by_moved(same, readings)
            return self._by_weights(same, found)
        if isinstance(candidate, MeasuredEnergy):
            if beyond:
                same = replace(same, note="taken at the nearest end of the measured range")
            found = self.outcomes.of_energy(candidate)
        elif candidate.added == 0:
            return replace(nothing, note="nothing is added")
        elif isinstance(candidate, MoreChips):
            found = self.outcomes.of_chips(candidate)
        elif self.shifts is None:
            return replace(nothing, note="the saving on this test set; ask for the population")
        else:
            found = self.outcomes.of_images(candidate)
        if found is None:
            return replace(same, note="not estimated: more precise than the draws can resolve")
        # the requirement, and with it the choice, is about the test set that is given
        choice = unmoved if isinstance(candidate, MoreImages) else None
        return self._by_weights(same, found, choice)

    def _by_weights(
        self, same: Outlook, weights: Weights, choice: ChoiceOutlook | None = None
    ) -> Outlook:
        """After outcomes that weigh the draws; `choice` where it is known already."""
        return replace(
            self._shrunk(same, self.widths(weights.weight), self.width_now),
            route=WEIGHTS,
            choice=choice or self.choice.by_weights(weights.weight),
            effective_draws=weights.effective,
            pareto_k=weights.pareto_k,
        )

    def _shrunk(self, same: Outlook, widths: FloatArray, before: float) -> Outlook:
        """With the expected shrinkage, its standard error and the width that is expected then."""
        if not before > 0:
            return same
        shrinkage = float(1 - widths.mean() / before)
        error = float(widths.std(ddof=1) / np.sqrt(len(widths)) / before)
        width = (1 - shrinkage) * self.width_now
        return replace(same, shrinkage=shrinkage, standard_error=error, width=width)

    @cached_property
    def _moved_draws(self) -> tuple[MovedDraws, MovedAnswers]:
        """Answers for moved draws, and those of as few draws of now."""
        rivals = self.choice.designs[:1]
        if not self.options.names_a_design and self.choice.is_known:
            rivals = self.choice.within(MOVED_WITHIN, rivals[0])
        moved = MovedDraws(self.of_saving, self.design, self.reference, rivals, self.shifts)
        return moved, moved.answers(self.outcomes.few())

    def _by_moved(self, same: Outlook, readings: list[NewReadings]) -> Outlook:
        """After outcomes that move the draws of the device."""
        moved, before = self._moved_draws
        after = [moved.answers(posterior) for posterior in self.outcomes.moved(readings)]
        widths = np.array([_width(a.ln_saving) for a in after])
        choice = self.choice.by_places(
            before.places,
            np.array([a.places for a in after]).T,
            np.array([a.ln_energy for a in after]) - before.ln_energy,
        )
        shrunk = self._shrunk(same, widths, _width(before.ln_saving))
        return replace(shrunk, route=MOMENTS, choice=choice)


def _width(ln_saving: FloatArray) -> float:
    low, _, high = np.quantile(ln_saving, _ENDS)
    return float(high - low)
