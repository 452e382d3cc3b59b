"""From draws of the bit error rate to draws of accuracy over the programming variable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri

from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.compiled import njit
from reliability.accuracy.chip_law import (
    continuous_count,
    continuous_variance,
    count_variance,
    population_count,
    segment,
    share_at,
    value_at,
)
from reliability.accuracy.surface import AccuracySurface
from reliability.accuracy.variance_shares import variance_shares
from reliability.plans.seen_rates import SeenRates


@dataclass(frozen=True)
class Pairing:
    """Which draws of the posteriors go together: the same for every design that is compared.

    Parameters
    ----------
    device, curve : int array, shape (draw,)
        Draw of the device posterior (chains flattened) and of the accuracy surface.
    chip : float array, shape (draw, 2)
        Quantiles of the chip, for lost and gained images.
    test_set : float array, shape (draw, 3)
        Quantiles of the test set within the population of images: right answers without errors,
        lost and gained images.
    rounding : float array, shape (draw, 2)
        Uniform numbers by which lost and gained images become whole.
    array : int array, shape (draw,), or None
        Measured array that the chip of each pair lies on, where a few were measured, each of which
        has to meet the requirement; None for a chip on the only one or on a new one.
    arrays : int
        Arrays in tables of error rates.
    """

    device: IntArray
    curve: IntArray
    chip: FloatArray
    test_set: FloatArray
    rounding: FloatArray
    array: IntArray | None = None
    arrays: int = 1

    @property
    def each_array(self) -> bool:
        """Whether a chip on each of the few measured arrays has to meet the requirement."""
        return self.array is not None

    @property
    def rates(self) -> IntArray:
        """Row of each pair in tables of error rates, whose rows are draws times arrays, (draw,)."""
        return self.device if self.array is None else self.device * self.arrays + self.array


def pair_draws(
    device_draws: int,
    curve_draws: int,
    *,
    draws: int,
    rng: np.random.Generator,
    arrays: int = 1,
) -> Pairing:
    """Pair independent posteriors; each draw is used as evenly as the numbers allow."""
    return Pairing(
        rng.permutation(np.arange(draws) % device_draws),
        rng.permutation(np.arange(draws) % curve_draws),
        rng.random((draws, 2)),
        rng.random((draws, 3)),
        rng.random((draws, 2)),
        rng.permutation(np.arange(draws) % arrays) if arrays > 1 else None,
        arrays,
    )


@dataclass(frozen=True)
class AccuracyDraws:
    """Draws of accuracy over the programming variable, one chip per draw.

    Parameters
    ----------
    test_set : float array, shape (draw, x)
        Accuracy of a chip on this test set.
    population : float array, shape (draw, x)
        Accuracy of a chip on the population the test set came from.
    loss : float array, shape (draw, x)
        What the chip loses on this test set against the same training without errors.
    population_loss : float array, shape (draw, x)
        What the chip loses on the population against the same training without errors there.
    error_free : float
        Accuracy without errors on this test set, mean over trainings.
    shares : dict of str to float array, shape (x,)
        Share of each source in the variance of ``population``.
    """

    test_set: FloatArray
    population: FloatArray
    loss: FloatArray
    population_loss: FloatArray
    error_free: float
    shares: dict[str, FloatArray]

    def image_error(self, at: int, near: float) -> float:
        """Standard error that the finite test set leaves in the loss of a chip, at a grid place.

        The same images are answered with and without errors, so only those that are lost or
        gained count: about the root of their number, over the number of images. Chips that lose
        more have more of them; it is that of the quarter of the chips that lose about `near`.
        """
        loss = self.loss[:, at]
        nearest = np.argsort(np.abs(loss - near), kind="stable")[: max(1, len(loss) // 4)]
        return float(np.sqrt(((self.population_loss[:, at] - loss)[nearest] ** 2).mean()))

    @property
    def monte_carlo_error(self) -> dict[str, FloatArray]:
        """Standard errors of the means that the finite number of draws leaves, shape (x,).

        No part of the shares: more draws make it as small as one likes.
        """
        n = len(self.test_set)
        return {
            name: values.std(axis=0, ddof=1) / np.sqrt(n)
            for name, values in (("test_set", self.test_set), ("population", self.population))
        }


def propagate(
    surface: AccuracySurface,
    seen: SeenRates,
    pairing: Pairing,
    *,
    family: IntArray | None = None,
) -> AccuracyDraws:
    """Accuracy of chips over the programming variable.

    Parameters
    ----------
    surface : AccuracySurface
        Network.
    seen : SeenRates
        Error rates that it sees, shape (device draw, x); outside what was counted the accuracy is
        that at the border.
    pairing : Pairing
        Which draws go together.
    family : int array, shape (device draw,), optional
        Model family of each draw of a stack; None where one family answers.

    Returns
    -------
    AccuracyDraws

    Notes
    -----
    Chips follow :mod:`reliability.accuracy.chip_law`. Population: the unknown accuracy without
    errors has a Beta posterior (Jeffreys); what a chip loses and gains there has, given the test
    set, the mean and the binomial variance of the test set.
    """
    z, free = _scores(surface, pairing)
    losses, population = _propagate(
        surface.ln_rate,
        surface.tilt,
        surface.stacked("logit_share"),
        surface.stacked("ln_dispersion"),
        surface.pools,
        np.ascontiguousarray(seen.ln_ber),
        np.ascontiguousarray(seen.tilt),
        pairing.rates,
        pairing.curve,
        z,
        pairing.rounding,
        free,
    )
    losses /= surface.images
    own = surface.error_free_deviation[pairing.curve][:, None]
    return AccuracyDraws(
        np.clip(surface.error_free + own - losses, 0.0, 1.0),
        np.clip(population, 0.0, 1.0),
        losses,
        free[:, None] - population,
        surface.error_free,
        variance_shares(surface, seen, pairing.rates, pairing.curve, family=family),
    )


def _scores(surface: AccuracySurface, pairing: Pairing) -> tuple[FloatArray, FloatArray]:
    """Normal scores of chip and test set, lost and gained, and population accuracy error-free."""
    z = ndtri(np.concatenate([pairing.chip, pairing.test_set[:, 1:]], axis=1))
    right = surface.images * np.clip(
        surface.error_free + surface.error_free_deviation[pairing.curve], 0.0, 1.0
    )
    free = betaincinv(right + 0.5, surface.images - right + 0.5, pairing.test_set[:, 0])
    return np.ascontiguousarray(z), np.asarray(free)


@njit(error_model="numpy")
def _propagate(  # type: ignore[no-untyped-def]
    rates, tilts, logit, ln_dispersion, pools, ln_ber, tilt, device, surface, z, rounding, free
):
    draws, values = len(device), ln_ber.shape[1]
    losses = np.empty((draws, values))
    population = np.empty((draws, values))
    for i in range(draws):
        c = surface[i]
        for j in range(values):
            at = ln_ber[device[i], j]
            k, w = segment(rates, at)
            m, v = segment(tilts, tilt[device[i], j])
            lost_gained = 0.0
            shares = 0.0
            for kind in range(2):
                pool = pools[kind]
                if pool == 0.0:
                    continue
                share = share_at(logit[kind, c], k, w, m, v, at - rates[0])
                d = value_at(ln_dispersion[kind, c], k, w, m, v)
                variance = count_variance(share, d, pool)
                mean = pool * share
                y = continuous_count(mean, continuous_variance(mean, variance), pool, z[i, kind])
                count = min(pool, np.floor(y + rounding[i, kind]))
                beyond = population_count(y, pool, z[i, 2 + kind]) / pool
                if kind == 0:
                    lost_gained += count
                    shares += free[i] * (1.0 - beyond)
                else:
                    lost_gained -= count
                    shares += (1.0 - free[i]) * beyond
            losses[i, j] = lost_gained
            population[i, j] = shares
    return losses, population
