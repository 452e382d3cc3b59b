"""Simulated outcomes of candidates: weights of the draws, or draws that have moved."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from devicefit.backend import psis
from devicefit.fitted import Fitted
from devicefit.moved_draws import moments_update, thinned_posterior, updated
from devicefit.preposterior import NewReadings, ln_likelihoods
from devicefit.programming import FloatArray, IntArray
from reliability.accuracy_curve import AccuracyCurve, chip_variance, mean_loss
from reliability.between_knots import PARTS
from reliability.curve_density import KINDS
from reliability.designs import Comparison, Design, both
from reliability.device_study import DeviceStudy
from reliability.energy import energy_at
from reliability.measure_next.candidates import MeasuredEnergy, MoreChips, MoreImages
from reliability.measure_next.options import MeasureNextOptions

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
        return self._of_normal(ln_e, candidate.energy_se, rng)

    def of_images(self, candidate: MoreImages) -> Weights | None:
        """After further test images; None where weights degenerate.

        A draw's score is its place of the test set among test sets; a mean over further images
        shows it with the variance n / m for m further images and n of now.
        """
        score = ndtri(self.c.pairing.test_set[:, 1])
        se = np.sqrt(self.c.standard.images / candidate.images)
        return self._of_normal(score, float(se), np.random.default_rng([self.seed, 26]))

    def of_chips(self, candidate: MoreChips) -> Weights | None:
        """After further chips of the standard network and the design's; None where degenerate."""
        rng, curve_of = np.random.default_rng([self.seed, 26]), self.c.pairing.curve
        total = np.zeros((len(self.truth), len(curve_of)))
        for one in {d.network: d for d in both(self.c, self.design)}.values():
            median = float(np.median(self._ln_ber_at(one)))
            of_curve = ln_likelihood_of_chips(
                self.c.curves[one.network], median, candidate.chips, curve_of[self.truth], rng=rng
            )
            total += of_curve[:, curve_of]
        return self._weights(total, curve_of)

    def _ln_ber_at(self, design: Design) -> FloatArray:
        """Ln of the BER that the network sees where the median draw of a design stands."""
        c = self.c
        u = c.programming.coordinate
        at = np.interp(np.median(u(design.condition.x)), u(c.grid), np.arange(len(c.grid)))
        ln_ber = c.equivalent_ln_ber(design.network, design.storage)
        return np.asarray(ln_ber[c.pairing.device, int(round(float(at)))])

    def _of_normal(self, value: FloatArray, se: float, rng: np.random.Generator) -> Weights | None:
        seen = value[self.truth] + se * rng.standard_normal(len(self.truth))
        ln_ratio = -0.5 * ((seen[:, None] - value[None]) / se) ** 2
        return self._weights(ln_ratio, np.arange(len(value)))

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


def ln_likelihood_of_chips(
    curve: AccuracyCurve, ln_ber: float, chips: int, truth: IntArray, *, rng: np.random.Generator
) -> FloatArray:
    """Simulate the mean loss of further chips and judge every draw of a curve by it.

    Parameters
    ----------
    curve : AccuracyCurve
        Of the network.
    ln_ber : float
        ln of the BER that matters; the chips are those at the counted rate next to it.
    chips : int
        Further chips.
    truth : int array, shape (outcome,)
        Draws that play the truth.
    rng : numpy.random.Generator
        For the outcomes.

    Returns
    -------
    float array, shape (outcome, draw)
        Log likelihood up to a constant of the row.

    Notes
    -----
    A normal law of the mean of many chips. The errors of a chip are nested over rates, so that its
    loss at one rate tells most of what it tells at those beside it. With several trainings the
    chips tell of their mean, not of how a further one differs.
    """
    if curve.further is not None:
        centre = {k: v - curve.further.deviation[k] for k, v in curve.logit_share.items()}
        curve = replace(curve, logit_share=centre)
    counted = curve.ln_ber[::PARTS]
    at = counted[np.argmin(np.abs(counted - ln_ber))]
    every = np.arange(curve.draws)
    here = np.full((curve.draws, 1), at)
    mean = curve.images * mean_loss(curve, here, every)[:, 0]
    variance = np.sum([chip_variance(curve, k, here, every)[:, 0] for k in KINDS], axis=0) / chips
    seen = mean[truth] + np.sqrt(variance[truth]) * rng.standard_normal(len(truth))
    return np.asarray(-0.5 * ((seen[:, None] - mean) ** 2 / variance + np.log(variance)))
