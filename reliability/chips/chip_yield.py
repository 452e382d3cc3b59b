"""Yield: the share of chips that meet the requirement, and what is not known of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.compiled import njit
from devicefit.numerics.intervals import PROBABILITY, equal_tailed
from devicefit.numerics.threads import in_threads
from reliability.accuracy.chip_law import (
    below_in,
    continuous_variance,
    count_variance,
    law_of,
    quantile_of,
    segment,
    share_at,
    value_at,
)
from reliability.accuracy.propagation import Pairing
from reliability.accuracy.surface import AccuracySurface
from reliability.plans.seen_rates import SeenRates

STRATA = 16
"""Strata of equal probability over the narrower of the two laws of images."""

_CERTAIN = 7.0
_SMOOTH = 9.0  # from here on whole numbers do not matter: three images of standard deviation


@dataclass(frozen=True)
class ChipYield:
    """Posterior of the share of chips that meet a limit.

    Parameters
    ----------
    share : float array, shape (draw, x)
        For each paired draw of what is not known (device, surface, training): the share of its
        chips that lose at most the limit, on this test set. Zero where the rates lie outside what
        was counted.
    limit : float
        The limit, a fraction of the test images.
    known : bool array, shape (draw, x)
        Whether the rates of a draw lie within what was counted.
    array : int array, shape (draw,), or None
        Array of each draw where each of few has to qualify; None where a chip on any of them does.
    """

    share: FloatArray
    limit: float
    known: NDArray[np.bool_]
    array: IntArray | None = None

    @property
    def share_or_nan(self) -> FloatArray:
        """Share of good chips, not a number where it is not known."""
        return np.where(self.known, self.share, np.nan)

    @property
    def p_met(self) -> FloatArray:
        """P(a chip meets the limit), over chips and all that is not known, shape (x,).

        Where each array has to qualify: on the one on which fewest chips do.
        """
        return self.p_met_of(np.full((1, len(self.share)), 1 / len(self.share)))[0]

    def p_met_of(self, weights: FloatArray) -> FloatArray:
        """The same with weights of draws that sum to one, (outcome, draw); (outcome, x)."""
        return _p_met(self.share, self.array, weights)

    @property
    def monte_carlo_error(self) -> FloatArray:
        """Standard error of `p_met` that the finite number of draws leaves, shape (x,)."""
        return np.asarray(self.share.std(axis=0, ddof=1) / np.sqrt(len(self.share)))

    def confidence(self, least: float) -> FloatArray:
        """P(at least a share `least` of the chips meets the limit), shape (x,)."""
        return np.asarray((self.share >= least).mean(axis=0))

    def at(self, x: FloatArray, value: float) -> FloatArray:
        """Draws of the yield at the grid value nearest to `value`, shape (draw,)."""
        return np.asarray(self.share[:, int(np.argmin(np.abs(x - value)))])

    def record(self, *, least: float, probability: float = PROBABILITY) -> dict[str, Any]:
        """Plain values over the programming variable; `least` as of :meth:`confidence`."""
        interval = equal_tailed(self.share, axis=0, probability=probability)
        return {
            "meaning": "share of chips that meet the requirement; the interval says how well that "
            "share is known",
            "limit": self.limit,
            "mean": self.p_met.tolist(),
            "median": np.median(self.share, axis=0).tolist(),
            **interval.record(),
            "least": least,
            "p_at_least": self.confidence(least).tolist(),
            "monte_carlo_error": self.monte_carlo_error.tolist(),
            "share_within_counts": self.known.mean(axis=0).tolist(),
        }


def p_met(share: FloatArray, pairing: Pairing) -> FloatArray:
    """P(a chip meets a limit) from the shares of the pairs, as of :attr:`ChipYield.p_met`."""
    array = pairing.array if pairing.each_array else None
    return _p_met(share, array, np.full((1, len(share)), 1 / len(share)))[0]


def _p_met(share: FloatArray, array: IntArray | None, weights: FloatArray) -> FloatArray:
    # weights sum to one but for rounding, which must not make a probability of more
    if array is None:
        return np.minimum(weights @ share, 1.0)
    found = []
    for one in np.unique(array):
        on = weights[:, array == one]
        found.append(on @ share[array == one] / on.sum(axis=1, keepdims=True))
    return np.minimum(np.min(found, axis=0), 1.0)


def chip_yield(
    surface: AccuracySurface, seen: SeenRates, pairing: Pairing, limit: float
) -> ChipYield:
    """Yield of a design; arguments as of :func:`share_within`."""
    known = surface.known(seen.of(pairing.rates))
    share = share_within(surface, seen, pairing, limit)
    array = pairing.array if pairing.each_array else None
    return ChipYield(np.where(known, share, 0.0), limit, known, array)


def share_within(
    surface: AccuracySurface, seen: SeenRates, pairing: Pairing, limit: float | FloatArray
) -> FloatArray:
    """Share of chips that lose at most a limit, for each draw of device and surface, (draw, x).

    Not a number where the rates lie outside what was counted.

    Parameters
    ----------
    surface : AccuracySurface
        Network.
    seen : SeenRates
        Error rates that it sees, shape (device draw, x).
    pairing : Pairing
        Which draws go together; its chips are not used, all chips are.
    limit : float, or float array, shape (draw,)
        Largest loss against the same training without errors, a fraction of the test images; may
        be negative.

    Notes
    -----
    The law of :mod:`reliability.accuracy.chip_law` integrated over chips: of lost and gained
    images the ones that spread less by `STRATA` strata of equal probability, the others by their
    distribution function. Within half a percent of the law.
    """
    share = np.empty((len(pairing.device), seen.ln_ber.shape[1]))
    score = ndtri((np.arange(STRATA) + 0.5) / STRATA)
    # A loss equal to the limit meets it; the tiny addition is for rounding.
    allowed = np.floor(np.broadcast_to(limit, len(share)) * surface.images + 1e-9)
    shared = (
        surface.ln_rate,
        surface.tilt,
        surface.stacked("logit_share"),
        surface.stacked("ln_dispersion"),
        surface.pools,
        np.ascontiguousarray(seen.ln_ber),
        np.ascontiguousarray(seen.tilt),
    )

    def work(begin: int, end: int) -> None:
        device, of_surface = pairing.rates[begin:end], pairing.curve[begin:end]
        _yield(*shared, device, of_surface, score, allowed[begin:end], share[begin:end])

    in_threads(work, len(share), block=100)
    return np.where(surface.known(seen.of(pairing.rates)), share, np.nan)


@njit(error_model="numpy")
def _within(count, law, variance, pool):  # type: ignore[no-untyped-def]
    """P(floor(Y + U) <= count): mean over U of P(Y < count + 1 - U), by three points."""
    if count < 0.0:
        return 0.0
    if count >= pool:
        return 1.0
    if variance <= 0.0:
        return min(1.0, max(0.0, count + 1.0 - law[1]))
    total = 0.0
    for node in range(3):
        # Gauss-Legendre on [0, 1].
        at = 0.5 + 0.3872983346207417 * (node - 1)
        weight = 4.0 / 9.0 if node == 1 else 5.0 / 18.0
        total += weight * below_in(law, pool, count + at)
    return total


@njit(error_model="numpy")
def _yield(  # type: ignore[no-untyped-def]
    rates, tilts, logit, ln_dispersion, pools, ln_ber, tilt, device, surface, score, allowed, out
):
    draws, values = out.shape
    mean, variance = np.zeros(2), np.zeros(2)
    for i in range(draws):
        c = surface[i]
        for j in range(values):
            at = ln_ber[device[i], j]
            k, w = segment(rates, at)
            m, v = segment(tilts, tilt[device[i], j])
            for kind in range(2):
                pool = pools[kind]
                share = share_at(logit[kind, c], k, w, m, v, at - rates[0])
                d = value_at(ln_dispersion[kind, c], k, w, m, v)
                mean[kind] = pool * share
                variance[kind] = continuous_variance(mean[kind], count_variance(share, d, pool))
            out[i, j] = _met(mean, variance, pools, score, allowed[i])


@njit(error_model="numpy")
def _met(mean, variance, pools, score, allowed):  # type: ignore[no-untyped-def]
    """P(lost - gained <= allowed)."""
    total = 0.0
    away = allowed + 0.5 + mean[1] - mean[0]
    sd = math.sqrt(variance[0] + variance[1] + 1.0)
    if away < -_CERTAIN * sd or away > 2.0 * _CERTAIN * sd:
        return 1.0 if away > 0.0 else 0.0
    # The narrower law is cut into strata, the wider one integrated exactly.
    cut = 1 if variance[0] >= variance[1] else 0
    other = 1 - cut
    law = law_of(mean[other], variance[other], pools[other])
    of_cut = law_of(mean[cut], variance[cut], pools[cut])
    smooth = cut == 1 and variance[0] > _SMOOTH and variance[0] < mean[0] * mean[0]
    # scores ascend, so whole numbers do too: what follows one is often the next one's own
    last, found, following = -2.0, 0.0, 0.0
    for s in range(len(score)):
        at = 0.0
        if pools[cut] > 0.0:
            at = quantile_of(of_cut, pools[cut], score[s])
        if smooth:
            total += below_in(law, pools[0], allowed + 0.5 + at)
            continue
        whole = math.floor(at)
        part = at - whole
        # floor(at + U) is the next whole number with the probability of the fraction.
        if whole != last:
            if whole == last + 1.0:
                found = following
            else:
                found = _if_other_is(whole, cut, allowed, law, variance[other], pools[other])
            following = _if_other_is(whole + 1.0, cut, allowed, law, variance[other], pools[other])
            last = whole
        total += found + part * (following - found)
    return total / len(score)


@njit(error_model="numpy")
def _if_other_is(whole, cut, allowed, law, variance, pool):  # type: ignore[no-untyped-def]
    """P(lost - gained <= allowed) where one of them, the one that is cut, is `whole`."""
    if cut == 1:
        return _within(allowed + whole, law, variance, pool)
    return 1.0 - _within(whole - allowed - 1.0, law, variance, pool)
