"""Simulated outcomes of candidates: weights of the draws, or draws that have moved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from devicefit.fitting.fitted import Fitted
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.sampling.diagnostics import psis
from devicefit.simulation.moved_draws import moments_update, thinned_posterior, updated
from devicefit.simulation.new_readings import NewReadings, ln_likelihoods
from reliability.decision.comparison import Comparison, Design, both, condition_of_draws
from reliability.device.study import DeviceStudy
from reliability.energy.energy import energy_at
from reliability.measure_next.candidates import MeasuredEnergy, MoreChips, MoreImages
from reliability.measure_next.options import MeasureNextOptions
from reliability.plans.seen_rates import SeenRates

_K_LIMIT = 0.7
_DEGENERATE = 0.1


@dataclass(frozen=True)
class Weights:
    """Posteriors after simulated outcomes, as weights of the paired draws.

    Parameters
    ----------
    weight : float array, shape (outcome, draw)
        Rows sum to one.
    effective : float
        Median over outcomes of the effective draws.
    pareto_k : float or None
        90 % quantile of Pareto k; None where it cannot be fitted.
    """

    weight: FloatArray
    effective: float
    pareto_k: float | None


class SimulatedOutcomes:
    """What candidates would show, under paired draws that play the truth.

    Parameters
    ----------
    device : DeviceStudy
        Fitted device.
    comparison : Comparison
        All designs on the same draws.
    design : Design
        The one whose saving is looked at.
    options : MeasureNextOptions
        How many outcomes and draws.
    seed : int
        Seed of the outcomes; all candidates have the same truths.
    """

    def __init__(
        self,
        device: DeviceStudy,
        comparison: Comparison,
        design: Design,
        options: MeasureNextOptions,
        seed: int,
    ) -> None:
        self.device, self.c, self.design = device, comparison, design
        self.options, self.seed = options, seed
        draws = len(comparison.pairing.device)
        rng = np.random.default_rng([seed, 21])
        self.truth: IntArray = rng.permutation(draws)[: min(options.simulations, draws)]

    def of_readings(self, readings: list[NewReadings]) -> Weights | None:
        """After new readings; None where weights degenerate."""
        draw = self.c.pairing.device
        ln_ratio = ln_likelihoods(
            self.device.main, readings, draw, self.truth, rng=np.random.default_rng([self.seed, 22])
        )
        return self._weights(ln_ratio, draw)

    def of_energy(self, candidate: MeasuredEnergy) -> Weights | None:
        """After an energy is measured; None where weights degenerate."""
        ln_e = np.log(energy_at(self.c.energy, candidate.programming))
        rng = np.random.default_rng([self.seed, 23])
        ln_ratio = _ln_ratio(ln_e, candidate.energy_se, self.truth, rng)
        return self._weights(ln_ratio, np.arange(len(ln_e)))

    def of_images(self, candidate: MoreImages) -> Weights | None:
        """After further test images; None where weights degenerate.

        A draw's score is its place of the test set among test sets; a mean over further images
        shows it with the variance n / m for m further images and n of now.
        """
        score = ndtri(self.c.pairing.test_set[:, 1])
        se = np.sqrt(self.c.standard.images / candidate.images)
        ln_ratio = _ln_ratio(score, float(se), self.truth, np.random.default_rng([self.seed, 26]))
        return self._weights(ln_ratio, np.arange(len(score)))

    def of_chips(self, candidate: MoreChips) -> Weights | None:
        """After further chips of the standard network and the design's; None where degenerate.

        What chips tell of a network counts as their number does: m further chips show the
        programming at which enough chips suffice with the variance n / m of what n of now leave.
        """
        rng, source = np.random.default_rng([self.seed, 26]), self.c.pairing.curve
        total = np.zeros((len(self.truth), len(source)))
        for one in {d.network: d for d in both(self.c, self.design)}.values():
            curve = self.c.curves[one.network]
            score = weakest_of_curves(self.c, one)
            se = score.std() * np.sqrt(curve.chips / candidate.chips)
            # a curve that is known already learns nothing
            if se > 0:
                total += _ln_ratio(score[source], float(se), self.truth, rng)
        return self._weights(total, source)

    def _weights(self, ln_ratio: FloatArray, source: IntArray) -> Weights | None:
        """Pareto smoothed weights; None where too many outcomes are degenerate."""
        # what plays the truth must not judge itself
        ln_ratio = np.where(source[None] == source[self.truth][:, None], -np.inf, ln_ratio)
        ln_weight, k = psis(ln_ratio - ln_ratio.max(axis=1, keepdims=True))
        weight = np.exp(ln_weight)
        effective = 1 / (weight**2).sum(axis=1)
        bad = (effective < self.options.least_effective) | ~(k <= _K_LIMIT)
        # a k that cannot be fitted is that of even weights
        bad &= effective < 0.5 * weight.shape[1]
        if bad.mean() > _DEGENERATE:
            return None
        finite = k[np.isfinite(k)]
        return Weights(
            weight,
            float(np.median(effective)),
            float(np.quantile(finite, 0.9)) if len(finite) else None,
        )

    def few(self) -> Fitted:
        """Fewer draws of the device as it is known now."""
        return thinned_posterior(self.device.main, self.options.moments_draws)

    def moved(self, readings: list[NewReadings]) -> list[Fitted]:
        """The same draws moved by moments, for each outcome."""
        few, updates = self.few(), moments_update(self.device.main, readings)
        rng = np.random.default_rng([self.seed, 24])
        return [updated(few, updates, rng=rng) for _ in range(self.options.moments_simulations)]


def weakest_of_curves(comparison: Comparison, design: Design) -> FloatArray:
    """Coordinate of the weakest programming that suffices for each draw of the curve, (draw,).

    On the median device. With several trainings for their mean: further chips of these do not tell
    how another one differs.
    """
    c, curve = comparison, comparison.curves[design.network]
    if curve.further is not None:
        centre = {k: v - curve.further.deviation[k] for k, v in curve.logit_share.items()}
        curve = replace(curve, logit_share=centre)
    seen = c.seen[design.storage]
    median = SeenRates(*(np.median(v, axis=0)[None] for v in (seen.ln_ber, seen.tilt)))
    found = condition_of_draws(c, design.network, curve, median)
    return np.asarray(c.programming.coordinate(found.x))


def _ln_ratio(
    value: FloatArray, se: float, truth: IntArray, rng: np.random.Generator
) -> FloatArray:
    """Log likelihood of a value that is seen with a standard error, shape (outcome, draw)."""
    seen = value[truth] + se * rng.standard_normal(len(truth))
    return np.asarray(-0.5 * ((seen[:, None] - value[None]) / se) ** 2)
