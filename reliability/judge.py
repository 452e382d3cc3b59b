"""Judging candidates: simulated outcomes, the posterior after each, and what it leaves open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from devicefit.backend import psis
from devicefit.fitted import Fitted
from devicefit.moved_draws import moments_update, thinned_posterior, updated
from devicefit.preposterior import NewReadings, ln_likelihoods
from devicefit.programming import FloatArray, IntArray
from reliability.candidates import (
    Candidate,
    MeasuredEnergy,
    MoreChips,
    MoreCycles,
    MoreDevices,
    MoreImages,
)
from reliability.choice_outlook import UNCHANGED, ChoiceOutlook
from reliability.designs import Comparison, loss_limits, tolerated
from reliability.device_study import DeviceStudy
from reliability.energy import EnergyOptions, energy_at
from reliability.energy_table import EnergyTable
from reliability.limit_case import POPULATION, LimitCase, ReadDraws, chosen_design
from reliability.next_choice import NextChoice
from reliability.outlook import EXACT, MOMENTS, WEIGHTS, MeasureNextOptions, Outlook
from reliability.planned_readings import planned_readings

_K_LIMIT = 0.7
_DEGENERATE = 0.1


class Judge:
    """Everything that candidates share: the case, draws that play the truth, the choice now.

    Parameters
    ----------
    device : DeviceStudy
        Fitted device.
    comparison : Comparison
        All designs and references on the same draws.
    energy_options, energy_table
        Those of the comparison.
    options : MeasureNextOptions
        How candidates are judged.
    seed : int
        Seed of the simulated outcomes.
    bits : mapping of str to int, optional
        Weight bits of each network; without them energies are per bit.

    Raises
    ------
    ValueError
        No energy is known, or an unknown reference or design.
    """

    def __init__(
        self,
        device: DeviceStudy,
        comparison: Comparison,
        energy_options: EnergyOptions | None,
        options: MeasureNextOptions,
        seed: int,
        *,
        energy_table: EnergyTable | None = None,
        bits: Mapping[str, int] | None = None,
    ) -> None:
        if not comparison.energy.is_known:
            raise ValueError("no energy is known, so there is no saving to know better")
        self.device, self.c, self.options, self.seed = device, comparison, options, seed
        reference = next(r for r in comparison.references if r.key == options.reference)
        design = chosen_design(comparison, options.network, options.stored_as)
        self.case = LimitCase(
            device,
            comparison,
            design,
            reference,
            options.question,
            energy_options,
            energy_table,
            seed,
        )
        is_named = options.network is not None or options.stored_as is not None
        self.choice = NextChoice(
            comparison, design if is_named else None, self.case.tables[1], bits
        )
        rng = np.random.default_rng([seed, 21])
        number = min(options.simulations, self.case.draws)
        self.truth: IntArray = rng.permutation(self.case.draws)[:number]

    def outlook(self, candidate: Candidate) -> Outlook:
        """What is expected of a candidate."""
        words = candidate.words(self.c.programming)
        if isinstance(candidate, MoreDevices | MoreCycles):
            return self._of_devices(candidate, words)
        if isinstance(candidate, MeasuredEnergy):
            return self._of_energy(candidate, words)
        if isinstance(candidate, MoreChips):
            return self._of_chips(candidate, words)
        return self._of_images(candidate, words)

    def _outlook(
        self,
        candidate: Candidate,
        words: str,
        widths: Sequence[float] | FloatArray,
        route: str,
        choice: ChoiceOutlook | None,
        *,
        before: float | None = None,
        **more: Any,
    ) -> Outlook:
        values, now = np.asarray(widths), self.case.width_now
        base = now if before is None else before
        shrinkage = 1 - values.mean() / base if base > 0 else 0.0
        error = values.std(ddof=1) / np.sqrt(len(values)) / base if base > 0 else 0.0
        width = float((1 - shrinkage) * now)
        return Outlook(
            candidate, words, float(shrinkage), float(error), width, route, choice, **more
        )

    def _nothing(self, candidate: Candidate, words: str, note: str, **more: Any) -> Outlook:
        choice = UNCHANGED if self.choice.is_known else None
        width = self.case.width_now
        return Outlook(candidate, words, 0.0, 0.0, width, EXACT, choice, note=note, **more)

    # --- devices and energies ---------------------------------------------------------------------

    def _of_devices(self, candidate: MoreDevices | MoreCycles, words: str) -> Outlook:
        readings = planned_readings(candidate, self.device)
        frame = self.device.main.frame
        beyond = isinstance(candidate, MoreDevices) and bool(
            frame.extrapolated(np.array(candidate.programming))
        )
        if all(n == 0 for new in readings for n in new.n.values()):
            return self._nothing(candidate, words, "nothing is measured", extrapolated=beyond)
        ln_ratio = ln_likelihoods(
            self.device.main,
            readings,
            self.c.pairing.device,
            self.truth,
            rng=np.random.default_rng([self.seed, 22]),
        )
        found = self._by_weights(candidate, words, ln_ratio, extrapolated=beyond)
        if found is not None:
            return found
        return self._by_moments(candidate, words, readings, extrapolated=beyond)

    def _of_energy(self, candidate: MeasuredEnergy, words: str) -> Outlook:
        c = self.c
        frame = self.device.main.frame
        beyond = bool(frame.extrapolated(np.array(candidate.programming)))
        ln_e = np.log(energy_at(c.energy, candidate.programming))
        rng = np.random.default_rng([self.seed, 23])
        seen = ln_e[self.truth] + candidate.energy_se * rng.standard_normal(len(self.truth))
        ln_ratio = -0.5 * ((seen[:, None] - ln_e[None]) / candidate.energy_se) ** 2
        found = self._by_weights(
            candidate,
            words,
            ln_ratio,
            extrapolated=beyond,
            note="taken at the nearest end of the measured range" if beyond else "",
        )
        if found is not None:
            return found
        note = "not estimated: more precise than the draws can resolve"
        return replace(self._nothing(candidate, words, note), choice=None)

    def _by_weights(
        self, candidate: Candidate, words: str, ln_ratio: FloatArray, **more: Any
    ) -> Outlook | None:
        """Importance weights; None where too many outcomes are degenerate."""
        draw = self.c.pairing.device
        # What plays the truth must not judge itself.
        ln_ratio = np.where(draw[None] == draw[self.truth][:, None], -np.inf, ln_ratio)
        ln_weight, k = psis(ln_ratio - ln_ratio.max(axis=1, keepdims=True))
        weights = np.exp(ln_weight)
        effective = 1 / (weights**2).sum(axis=1)
        bad = (effective < self.options.least_effective) | ~(k <= _K_LIMIT)
        # A k that cannot be fitted is that of even weights.
        bad &= effective < 0.5 * self.case.draws
        if bad.mean() > _DEGENERATE:
            return None
        places = self.case.places_of(weights)
        finite = k[np.isfinite(k)]
        return self._outlook(
            candidate,
            words,
            self.case.widths_of_weights(weights, places),
            WEIGHTS,
            self.choice.by_weights(weights, places[1]),
            effective_draws=float(np.median(effective)),
            pareto_k=float(np.quantile(finite, 0.9)) if len(finite) else None,
            **more,
        )

    def _by_moments(
        self, candidate: Candidate, words: str, readings: list[NewReadings], **more: Any
    ) -> Outlook:
        """Draws moved linearly, the law of each evaluated anew."""
        few, before = self._few
        updates = moments_update(self.device.main, readings)
        rng = np.random.default_rng([self.seed, 24])
        after = [
            self._read(updated(few, updates, rng=rng))
            for _ in range(self.options.moments_simulations)
        ]
        choice = self.choice.by_draws(before, after)
        widths = [self.case.width_of(read) for read in after]
        base = self.case.width_of(before)
        return self._outlook(candidate, words, widths, MOMENTS, choice, before=base, **more)

    @cached_property
    def _few(self) -> tuple[Fitted, ReadDraws]:
        """Fewer draws of the device, and what is read with them."""
        few = thinned_posterior(self.device.main, self.options.moments_draws)
        return few, self._read(few)

    def _read(self, posterior: Fitted) -> ReadDraws:
        return self.case.read(posterior, {self.case.design.storage.scheme, *self.choice.schemes})

    # --- chips and images -------------------------------------------------------------------------

    def _of_chips(self, candidate: MoreChips, words: str) -> Outlook:
        """Tolerated BER with narrower posteriors around a mean that has moved."""
        if candidate.chips == 0:
            return self._nothing(candidate, words, "nothing is added")
        rng, at = np.random.default_rng([self.seed, 26]), self.c.pairing.curve
        pull, push = {}, {}
        limits = loss_limits(self.c.curves, self.c.requirement)
        for name, curve in self.c.curves.items():
            score = rng.standard_normal(len(self.truth))
            values = tolerated(curve, limits[name])
            if np.isfinite(values).all():
                shrink = np.sqrt(curve.chips / (curve.chips + candidate.chips))
                pull[name] = ((1 - shrink) * (values.mean() - values))[at]
                push[name] = np.sqrt(1 - shrink**2) * values.std() * score
            else:
                pull[name], push[name] = np.zeros(len(at)), np.zeros(len(score))
        old, widths = self.case.limits, []
        own, standard = self.case.design.network, next(iter(self.c.curves))
        moves = self.case.reference.key == "standard_bnn"
        for s in range(len(self.truth)):
            moved = replace(old, design=old.design + pull[own] + push[own][s])
            if moves:
                of_reference = old.reference + pull[standard] + push[standard][s]
                moved = replace(moved, reference=of_reference)
            widths.append(self.case.width(self.case.saving(moved).value, self.case.even))
        choice = self.choice.by_curves(pull, push)
        return self._outlook(candidate, words, widths, MOMENTS, choice)

    def _of_images(self, candidate: MoreImages, words: str) -> Outlook:
        if candidate.images == 0:
            return self._nothing(candidate, words, "nothing is added")
        if self.options.question != POPULATION:
            return self._nothing(
                candidate, words, "the saving on this test set; ask for the population"
            )
        case, images = self.case, self.c.standard.images
        shrink = np.sqrt(images / (images + candidate.images))
        rng, widths = np.random.default_rng([self.seed, 26]), []
        for _ in self.truth:
            score = np.sqrt(1 - shrink**2) * rng.standard_normal()
            design, reference = (shrink * e + score * e.std() for e in case.test_set)
            found = case.saving(case.limits, effects=(design, reference))
            widths.append(case.width(found.value, case.even))
        # The requirement, and with it the choice, is judged on the test set that is given.
        choice = UNCHANGED if self.choice.is_known else None
        return self._outlook(candidate, words, widths, MOMENTS, choice)
