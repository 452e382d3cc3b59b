"""From draws of the bit error rate to draws of accuracy over the programming variable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from reliability.accuracy_curve import (
    AccuracyCurve,
    chip_share,
    chip_variance,
    loss,
    mean_loss,
    mean_share,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Pairing:
    """Which draws of the posteriors go together: the same for every design that is compared.

    Parameters
    ----------
    device, curve : int array, shape (draw,)
        Draw of the device posterior (chains flattened) and of the accuracy curve.
    chip : float array, shape (draw, 2)
        Quantiles of the chip, for lost and gained images.
    test_set : float array, shape (draw, 2)
        Quantiles of the test set within the population of images.
    """

    device: IntArray
    curve: IntArray
    chip: FloatArray
    test_set: FloatArray


def pair_draws(
    device_draws: int, curve_draws: int, *, draws: int, rng: np.random.Generator
) -> Pairing:
    """Pair independent posteriors; each draw is used as evenly as the numbers allow."""
    return Pairing(
        rng.permutation(np.arange(draws) % device_draws),
        rng.permutation(np.arange(draws) % curve_draws),
        rng.random((draws, 2)),
        rng.random((draws, 2)),
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
    error_free : float
        Accuracy without errors on this test set.
    shares : dict of str to float array, shape (x,)
        Share of each source in the variance of ``population``.
    """

    test_set: FloatArray
    population: FloatArray
    error_free: float
    shares: dict[str, FloatArray]


def propagate(curve: AccuracyCurve, ln_ber: FloatArray, pairing: Pairing) -> AccuracyDraws:
    """Accuracy of chips over the programming variable.

    Parameters
    ----------
    curve : AccuracyCurve
        Network.
    ln_ber : float array, shape (device draw, x)
        ln BER of the device.
    pairing : Pairing
        Which draws go together.

    Returns
    -------
    AccuracyDraws

    Notes
    -----
    Population: the unknown accuracy without errors has a Beta posterior (Jeffreys), and so have
    the shares of right images lost and wrong images gained, given those of this test set.
    """
    at = ln_ber[pairing.device]
    lost = chip_share(curve, "lost", at, pairing.curve, pairing.chip[:, :1])
    gained = chip_share(curve, "gained", at, pairing.curve, pairing.chip[:, 1:])
    test_set = curve.error_free - loss(curve, lost, gained)
    right, wrong = curve.pool("lost"), curve.pool("gained")
    free = betaincinv(right + 0.5, wrong + 0.5, pairing.test_set[:, :1])
    lost_p = _population_share(lost, right, pairing.test_set[:, 1:])
    gained_p = _population_share(gained, wrong, 1 - pairing.test_set[:, 1:])
    population = free * (1 - lost_p) + (1 - free) * gained_p
    return AccuracyDraws(
        np.clip(test_set, 0.0, 1.0),
        np.clip(population, 0.0, 1.0),
        curve.error_free,
        variance_shares(curve, ln_ber, pairing),
    )


def _population_share(share: FloatArray, pool: int, uniform: FloatArray) -> FloatArray:
    count = np.clip(share, 0.0, 1.0) * pool
    drawn = betaincinv(count + 0.5, pool - count + 0.5, np.broadcast_to(uniform, share.shape))
    # Without errors nothing is lost, in the population too.
    return np.where(share > 0, drawn, 0.0)


def variance_shares(
    curve: AccuracyCurve, ln_ber: FloatArray, pairing: Pairing, *, size: int = 120
) -> dict[str, FloatArray]:
    """Share of each source in the variance of a chip's accuracy in the population.

    Parameters
    ----------
    curve, ln_ber, pairing
        As in :func:`propagate`.
    size : int, optional
        Draws of the device and of the curve that are crossed.

    Returns
    -------
    dict of str to float array, shape (x,)
        ``device`` (posterior of the device), ``curve`` (finite number of simulated chips),
        ``chip`` (chips differ), ``test set`` (finite test set), ``interaction`` (device and curve
        together). They sum to one where there is any variance.

    Notes
    -----
    ``Var = Var_d E_c + Var_c E_d + interaction`` from the table of means over chips of crossed
    draws, plus the mean variance over chips and the mean binomial variance of the test set.
    """
    d = np.unique(pairing.device)[:: max(1, len(np.unique(pairing.device)) // size)][:size]
    c = np.unique(pairing.curve)[:: max(1, len(np.unique(pairing.curve)) // size)][:size]
    x = ln_ber.shape[1]
    parts = {name: np.zeros(x) for name in ("device", "curve", "chip", "test set", "interaction")}
    for i in range(x):
        at = np.broadcast_to(ln_ber[d, i][None, :], (len(c), len(d)))
        accuracy = curve.error_free - mean_loss(curve, at, c)
        by_device, by_curve = accuracy.mean(axis=0), accuracy.mean(axis=1)
        parts["device"][i] = by_device.var()
        parts["curve"][i] = by_curve.var()
        rest = accuracy - by_device[None, :] - by_curve[:, None] + accuracy.mean()
        parts["interaction"][i] = (rest**2).mean()
        for kind in ("lost", "gained"):
            mean = mean_share(curve, kind, at, c)
            variance = chip_variance(curve, kind, at, c, mean)
            parts["chip"][i] += (curve.pool(kind) / curve.images) ** 2 * variance.mean()
        parts["test set"][i] = (accuracy * (1 - accuracy)).mean() / curve.images
    total = np.maximum(sum(parts.values()), 1e-300)
    return {name: value / total for name, value in parts.items()}
