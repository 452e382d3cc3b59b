"""Judging candidates: simulated outcomes, the posterior after each, and the interval it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtri

from devicefit.backend import psis
from devicefit.fitted import Fitted
from devicefit.intervals import PROBABILITY
from devicefit.preposterior import (
    NewReadings,
    ln_likelihoods,
    moments_update,
    thinned_posterior,
    updated,
)
from devicefit.programming import FloatArray, IntArray
from reliability.accuracy_curve import mean_loss, mean_share
from reliability.candidates import (
    Candidate,
    MeasuredEnergy,
    MoreChips,
    MoreCycles,
    MoreDevices,
    MoreImages,
)
from reliability.designs import Comparison, Design, loss_limits, tolerated
from reliability.device_study import DeviceStudy
from reliability.ecc import NO_CODE
from reliability.energy import Energy, EnergyOptions, energy_at, programming_energy
from reliability.energy_table import EnergyTable
from reliability.limit_saving import (
    BerTable,
    Limits,
    ber_table,
    limits_of,
    ln_ber_of,
    ln_saving,
    weighted_quantile,
)
from reliability.outlook import EXACT, MOMENTS, WEIGHTS, MeasureNextOptions, Outlook
from reliability.planned_readings import planned_readings

_K_LIMIT = 0.7
_DEGENERATE = 0.1
_ENDS = np.array([(1 - PROBABILITY) / 2, (1 + PROBABILITY) / 2])


def focus_of(comparison: Comparison) -> Design:
    """The best design without a code, or, where none is safe, the one the comparison looks at.

    A code bends the way from what is read to what a network bears, which the tables here leave out.
    """
    plain = (d for d in comparison.ranked if d.storage.code == NO_CODE)
    best = next(plain)
    return comparison.focus if best.safe.lowest is None else best


class Judge:
    """Everything that candidates share: tables, draws that play the truth, the interval now."""

    def __init__(
        self,
        device: DeviceStudy,
        comparison: Comparison,
        energy_options: EnergyOptions | None,
        options: MeasureNextOptions,
        seed: int,
        *,
        energy_table: EnergyTable | None = None,
    ) -> None:
        if not comparison.energy.is_known:
            raise ValueError("no energy is known, so there is no saving to know better")
        self.device, self.c, self.options = device, comparison, options
        self.energy_options, self.energy_table = energy_options, energy_table
        self.seed = seed
        known = {r.key: r for r in comparison.references}
        self.reference = known[options.reference]
        self.focus = focus_of(comparison)
        self.limits = limits_of(comparison, self.focus, self.reference)
        self.test_set = self._test_set_effects()
        draw = comparison.pairing.device
        self.draws = len(draw)
        self.even = np.full(self.draws, 1.0 / self.draws)
        table = ber_table(device.main, comparison.grid, draw, "1T1R", comparison.sensing)
        own = table
        scheme = self.focus.storage.scheme
        if scheme != "1T1R":
            own = ber_table(device.main, comparison.grid, draw, scheme, comparison.sensing)
        self.tables = own, table
        found = self._saving(self.limits, self._places(self.even[None]), 0)
        self.now, self.is_bound = found
        self.width_now = self._width(self.now, self.even)
        rng = np.random.default_rng([seed, 21])
        number = min(options.simulations, self.draws)
        self.truth: IntArray = rng.permutation(self.draws)[:number]

    # --- parts of a saving -----------------------------------------------------------------------

    def _test_set_effects(self) -> tuple[FloatArray, FloatArray]:
        """Shift of ln tolerated BER of design and reference by the finite test set, per draw.

        Zero where the test set counts as given. The loss is a mean over images of (lost - gained):
        its variance over test sets divided by the squared slope of the curve. One score per draw
        serves both networks, which see the same images.
        """
        c = self.c
        nothing = np.zeros(len(c.pairing.device))
        if self.options.question == "test-set":
            return nothing, nothing
        score = ndtri(c.pairing.test_set[:, 1])
        limits = loss_limits(c.curves, c.requirement)
        effects = []
        for name, limit in (
            (self.focus.network, limits[self.focus.network]),
            (next(iter(c.curves)), c.requirement.max_loss),
        ):
            curve, at = c.curves[name], c.pairing.curve
            ln_p = tolerated(curve, limit)[at]
            if limit <= 0 or (name != self.focus.network and self.reference.key != "standard_bnn"):
                effects.append(nothing)
                continue
            step = 0.05
            near = ln_p[:, None] + np.array([-step, step])
            slope = np.diff(mean_loss(curve, near, at), axis=1)[:, 0] / (2 * step)
            moved = sum(
                curve.pool(k) / curve.images * mean_share(curve, k, ln_p, at)
                for k in ("lost", "gained")
            )
            spread = np.sqrt(np.maximum(moved - limit**2, 0.0) / curve.images)
            effects.append(score * spread / np.maximum(slope, 1e-6))
        if self.reference.key != "standard_bnn":
            effects[1] = nothing
        return effects[0], effects[1]

    def _places(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        design, reference = self.tables
        of_reference = reference.best(weights)
        return (of_reference if design is reference else design.best(weights)), of_reference

    def _saving(
        self,
        limits: Limits,
        places: tuple[FloatArray, FloatArray],
        row: int,
        tables: tuple[BerTable, BerTable] | None = None,
        effects: tuple[FloatArray, FloatArray] | None = None,
    ) -> tuple[FloatArray, np.ndarray]:
        design, reference = tables or self.tables
        e = effects or self.test_set
        with_effects = Limits(
            limits.scheme,
            limits.design + e[0],
            limits.reference + e[1],
            limits.ln_energy,
            limits.ln_cells,
            limits.u,
        )
        found = ln_saving(with_effects, (design, places[0][row]), (reference, places[1][row]))
        return found.value, found.is_bound

    @staticmethod
    def _width(values: FloatArray, weights: FloatArray) -> float:
        low, high = weighted_quantile(values, weights, _ENDS)
        return float(high - low)

    # --- candidates ------------------------------------------------------------------------------

    def outlook(self, candidate: Candidate) -> Outlook:
        """What is expected of a candidate."""
        words = candidate.words(self.c.programming)
        if isinstance(candidate, MoreDevices | MoreCycles):
            return self._of_devices(candidate, words)
        if isinstance(candidate, MeasuredEnergy):
            return self._of_energy(candidate, words)
        return self._of_network(candidate, words)

    def _outlook(
        self, candidate: Candidate, words: str, widths: Sequence[float], route: str, **more: Any
    ) -> Outlook:
        return self._outlook_of(candidate, words, widths, self.width_now, route, **more)

    def _outlook_of(
        self,
        candidate: Candidate,
        words: str,
        widths: Sequence[float],
        before: float,
        route: str,
        **more: Any,
    ) -> Outlook:
        values = np.asarray(widths)
        shrinkage = 1 - values.mean() / before if before > 0 else 0.0
        error = values.std(ddof=1) / np.sqrt(len(values)) / before if before > 0 else 0.0
        return Outlook(
            candidate,
            words,
            float(shrinkage),
            float(error),
            float((1 - shrinkage) * self.width_now),
            route,
            **more,
        )

    def _nothing(self, candidate: Candidate, words: str, note: str, **more: Any) -> Outlook:
        return Outlook(candidate, words, 0.0, 0.0, self.width_now, EXACT, note=note, **more)

    def _of_devices(self, candidate: MoreDevices | MoreCycles, words: str) -> Outlook:
        readings = planned_readings(candidate, self.device)
        frame = self.device.main.frame
        beyond = isinstance(candidate, MoreDevices) and not (
            frame.low <= candidate.programming <= frame.high
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
        beyond = not (c.grid[0] <= candidate.programming <= c.grid[-1])
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
        return self._nothing(
            candidate, words, "not estimated: more precise than the draws can resolve"
        )

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
        bad &= effective < 0.5 * self.draws
        if bad.mean() > _DEGENERATE:
            return None
        widths = [found["width"] for found in self.width_of_weights(weights)]
        changes, energy = self._decisions(weights)
        finite = k[np.isfinite(k)]
        return self._outlook(
            candidate,
            words,
            widths,
            WEIGHTS,
            effective_draws=float(np.median(effective)),
            pareto_k=float(np.quantile(finite, 0.9)) if len(finite) else None,
            p_decision_changes=changes,
            ln_energy_change=energy,
            **more,
        )

    def width_of_weights(self, weights: FloatArray) -> list[dict[str, float]]:
        """Width of the interval of ln saving and effective draws for each row of weights."""
        places = self._places(weights)
        return [
            {
                "width": self._width(self._saving(self.limits, places, i)[0], w),
                "effective_draws": float(1 / (w**2).sum()),
            }
            for i, w in enumerate(weights)
        ]

    def _decisions(self, weights: FloatArray) -> tuple[float | None, float | None]:
        """How often the lowest safe programming of the focus moves, and its mean ln energy."""
        c, design = self.c, self.focus
        limit = loss_limits(c.curves, c.requirement)[design.network]
        loss = design.accuracy.error_free - design.accuracy.test_set
        met = (loss <= limit + 1e-12).astype(np.float64)
        needed = 1 - c.requirement.risk
        if not (met.mean(axis=0) >= needed).any():
            return None, None
        ln_e = np.median(np.log(c.energy.e_cell_j), axis=0)
        now = ln_e[int((met.mean(axis=0) >= needed).argmax())]
        safe = weights @ met >= needed
        left = safe.any(axis=1)
        change = ln_e[safe.argmax(axis=1)] - now
        moved = ~left | (np.abs(change) > 0.05)
        return float(moved.mean()), float(change[left].mean()) if left.any() else None

    def _by_moments(
        self, candidate: Candidate, words: str, readings: list[NewReadings], **more: Any
    ) -> Outlook:
        """Draws moved linearly, the law of each evaluated anew."""
        few, before = self._few
        updates = moments_update(self.device.main, readings)
        rng = np.random.default_rng([self.seed, 24])
        widths = [
            self.width_with(updated(few, updates, rng=rng))
            for _ in range(self.options.moments_simulations)
        ]
        return self._outlook_of(candidate, words, widths, before, MOMENTS, **more)

    @cached_property
    def _few(self) -> tuple[Fitted, float]:
        """Fewer draws of the device, and the width with them."""
        few = thinned_posterior(self.device.main, self.options.moments_draws)
        return few, self.width_with(few)

    def width_with(self, posterior: Fitted) -> float:
        """Width of the interval of ln saving with another posterior of the device.

        Its draws are paired with those of curve and energy in order; every second programming
        value is used.
        """
        c = self.c
        grid, few = c.grid[::2], slice(None, None, 2)
        scheme = self.focus.storage.scheme
        ln_ber = ln_ber_of(posterior, grid, {scheme, "1T1R"}, c.sensing)
        rows = np.arange(len(ln_ber["1T1R"])) % self.draws
        tables = [BerTable(ln_ber[s][None], None) for s in (scheme, "1T1R")]
        if c.programming.is_current:
            ln_energy = self.limits.ln_energy[rows][:, few]
        else:
            moved = self._energy_of(posterior, np.arange(len(rows)), grid, 25)
            ln_energy = np.log(moved.e_cell_j)
        limits = Limits(
            self.limits.scheme,
            self.limits.design[rows],
            self.limits.reference[rows],
            np.ascontiguousarray(ln_energy),
            self.limits.ln_cells,
            self.limits.u[few],
        )
        place = np.zeros((1, len(grid)))
        effects = (self.test_set[0][rows], self.test_set[1][rows])
        values, _ = self._saving(limits, (place, place), 0, (tables[0], tables[1]), effects)
        return self._width(values, np.full(len(rows), 1.0 / len(rows)))

    def _energy_of(self, posterior: Fitted, draw: IntArray, x: FloatArray, stream: int) -> Energy:
        rng = np.random.default_rng([self.seed, stream])
        return programming_energy(
            posterior, x, draw, options=self.energy_options, table=self.energy_table, rng=rng
        )

    def _of_network(self, candidate: MoreChips | MoreImages, words: str) -> Outlook:
        more = candidate.chips if isinstance(candidate, MoreChips) else candidate.images
        if more == 0:
            return self._nothing(candidate, words, "nothing is added")
        if isinstance(candidate, MoreImages) and self.options.question == "test-set":
            return self._nothing(
                candidate, words, "the saving on this test set; ask for the population"
            )
        places = self._places(self.even[None])
        rng = np.random.default_rng([self.seed, 26])
        widths = []
        for _ in self.truth:
            if isinstance(candidate, MoreChips):
                limits, effects = self._after_chips(more, rng), self.test_set
            else:
                limits, effects = self.limits, self._after_images(more, rng)
            values, _ = self._saving(limits, places, 0, effects=effects)
            widths.append(self._width(values, self.even))
        return self._outlook(candidate, words, widths, MOMENTS)

    def _after_chips(self, more: int, rng: np.random.Generator) -> Limits:
        """Tolerated BER with narrower posteriors around a mean that has moved."""
        c = self.c
        limits = loss_limits(c.curves, c.requirement)
        standard = next(iter(c.curves))
        of: dict[str, tuple[float, float]] = {}
        found = []
        for name, limit, values in (
            (self.focus.network, limits[self.focus.network], self.limits.design),
            (standard, c.requirement.max_loss, self.limits.reference),
        ):
            of_curve = tolerated(c.curves[name], limit)
            fixed = name == standard and values is self.limits.reference
            if not np.isfinite(of_curve).all() or (fixed and self.reference.key != "standard_bnn"):
                found.append(values)
                continue
            if name not in of:
                chips = c.curves[name].chips
                of[name] = np.sqrt(chips / (chips + more)), rng.standard_normal()
            shrink, score = of[name]
            mean, sd = of_curve.mean(), of_curve.std()
            equal = of_curve[c.pairing.curve]
            moved = mean + np.sqrt(1 - shrink**2) * sd * score + shrink * (equal - mean)
            # what unequal rates of the device take off is not learned from chips
            found.append(moved + (values - equal))
        old = self.limits
        return Limits(old.scheme, found[0], found[1], old.ln_energy, old.ln_cells, old.u)

    def _after_images(self, more: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        images = self.c.standard.images
        shrink = np.sqrt(images / (images + more))
        score = rng.standard_normal()
        design, reference = (
            shrink * e + np.sqrt(1 - shrink**2) * e.std() * score for e in self.test_set
        )
        return design, reference

    # --- sources ---------------------------------------------------------------------------------

    def shares(self) -> dict[str, float]:
        """First-order shares of the sources in the variance of ln saving.

        Notes
        -----
        The covariance of two savings that have one source in common and draws of their own of the
        others (Sobol 1993), about 0.02 uncertain for 2,000 draws. ``together`` is the rest.
        """
        c, n = self.c, self.draws
        rng = np.random.default_rng([self.seed, 27])
        places = self._places(self.even[None])
        of_device, of_curve = rng.permutation(n), rng.permutation(n)
        draw = c.pairing.device
        main = self.device.main
        first = np.log(self._energy_of(main, draw, c.grid, 28).e_cell_j)
        same = np.log(self._energy_of(main, draw[of_device], c.grid, 28).e_cell_j)
        new = np.log(self._energy_of(main, draw, c.grid, 29).e_cell_j)
        others = [BerTable(np.ascontiguousarray(t.ln_ber[:, of_device]), None) for t in self.tables]
        own = self.tables

        def value(
            tables: Sequence[BerTable], curve: IntArray, images: IntArray, ln_energy: FloatArray
        ) -> FloatArray:
            old = self.limits
            limits = Limits(
                old.scheme,
                old.design[curve],
                old.reference[curve],
                ln_energy,
                old.ln_cells,
                old.u,
            )
            effects = self.test_set[0][images], self.test_set[1][images]
            return self._saving(limits, places, 0, (tables[0], tables[1]), effects)[0]

        rows, of_images = np.arange(n), rng.permutation(n)
        base = value(own, rows, rows, first)
        variance = base.var()
        if variance == 0:
            return {}
        fresh = np.ascontiguousarray(new[of_device])
        partners = {
            "device": value(own, of_curve, of_images, new),
            "chips simulated": value(others, rows, of_images, fresh),
            "energy inputs": value(others, of_curve, of_images, same),
        }
        if self.options.question == "population":
            partners["test set"] = value(others, of_curve, rows, fresh)
        shares = {
            name: float(np.clip(np.cov(base, partner)[0, 1] / variance, 0.0, 1.0))
            for name, partner in partners.items()
        }
        return {**shares, "together": float(max(0.0, 1 - sum(shares.values())))}
