"""From a required life to bit error rates at its end, whatever the cells are programmed with.

What wear and storage do was measured at one programming, or over a few. How it carries over to
other programmings is an assumption by mechanism: worn-out cells fail whatever margin they had, and
drift takes the same margin, in standard deviations, from every cell:

    BER_end = worn * worn_error + (1 - worn) * probit^-1(probit BER_fresh + shift)

No BER ends above what a coin gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from devicefit.distributions.sensing import BerCurve
from devicefit.life.study import COIN, band
from devicefit.numerics.arrays import FloatArray

YEAR_S = 365.25 * 24 * 3600.0
PAIR_SHIFT = math.sqrt(2.0)


@dataclass(frozen=True)
class LifeRequirement:
    """What the cells have to go through; what is None is not asked for.

    Parameters
    ----------
    cycles : float, optional
        How often each cell is programmed.
    retention_s : float, optional
        How long bits are kept, in seconds.
    temperature_k : float, optional
        Temperature during that time.
    """

    cycles: float | None = None
    retention_s: float | None = None
    temperature_k: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; it must be positive and finite")
        if self.cycles is not None and self.cycles < 1:
            raise ValueError(f"cycles is {self.cycles}; a cell is programmed at least once")
        if (self.retention_s is None) != (self.temperature_k is None):
            raise ValueError(
                "retention needs both a time and a temperature; give years and a temperature, or "
                "neither"
            )
        if self.temperature_k is not None and not 200 <= self.temperature_k <= 700:
            raise ValueError(
                f"temperature_k is {self.temperature_k}; give a temperature between 200 and 700 K"
            )
        if self.cycles is None and self.retention_s is None:
            raise ValueError("no life is asked for; give cycles, or a time and a temperature")

    @classmethod
    def of(
        cls,
        *,
        cycles: float | None = None,
        years: float | None = None,
        temperature_k: float | None = None,
    ) -> LifeRequirement:
        """With the time in years."""
        return cls(cycles, None if years is None else years * YEAR_S, temperature_k)

    def words(self) -> str:
        """``"1e+06 cycles and 10 years at 85 degrees Celsius"``."""
        found = [] if self.cycles is None else [f"{self.cycles:.3g} cycles"]
        if self.retention_s is not None and self.temperature_k is not None:
            years = self.retention_s / YEAR_S
            time = f"{years:.3g} years" if years >= 0.1 else f"{self.retention_s:.3g} s"
            found.append(f"{time} at {self.temperature_k - 273.15:.3g} degrees Celsius")
        return " and ".join(found)


@dataclass(frozen=True)
class LifeFactor:
    """What a life does to bit error rates, as draws.

    Parameters
    ----------
    shift : float array, shape (draw, x) or (draw, 1)
        Margin lost by sound cells, in standard deviations, not negative.
    worn, worn_error : float array, same shape
        Share of worn-out cells, and how often those are wrong.
    rests_on : tuple of str
        What was measured, what is assumed, what is extrapolated; one sentence each.
    extrapolated : bool array, shape (x,) or (1,)
        Where any part lies outside what was measured.
    """

    shift: FloatArray
    worn: FloatArray
    worn_error: FloatArray
    rests_on: tuple[str, ...]
    extrapolated: NDArray[np.bool_]

    def resampled(self, draws: int, *, rng: np.random.Generator) -> LifeFactor:
        """As many draws as asked for, each used as evenly as the numbers allow."""
        rows = rng.permutation(np.arange(draws) % len(self.shift))
        return replace(
            self, shift=self.shift[rows], worn=self.worn[rows], worn_error=self.worn_error[rows]
        )

    def for_pairs(self) -> LifeFactor:
        """The same for 2T2R pairs, whose bit is which of two cells has the lower resistance.

        Notes
        -----
        Let q be the probability that a cell is worn out and in the wrong state, `worn` times
        `worn_error` as a mean over both states. With one of the cells in the wrong state both are
        alike, and the pair reads like a coin; with both in the wrong state it reads the opposite
        bit. For independent cells with q_1 and q_0 in their two states this is exactly

            BER_pair = (q_1 + q_0) / 2 + (1 - q_1 - q_0) * BER_of_sound_pairs

        so a pair with one cell stuck in one state is wrong for a quarter of the bits. Two taken
        for granted: the resistance of a worn-out cell is typical of the state that it is in (one
        shorted or open beyond every sound cell makes half of the bits wrong), and a shift weighs
        sqrt(2), its upper end, which it reaches where both states move towards each other by as
        many of their own equal standard deviations.
        """
        wrong = np.minimum(2.0 * self.worn * self.worn_error, 1.0)
        return replace(
            self, shift=self.shift * PAIR_SHIFT, worn=wrong, worn_error=np.full_like(wrong, COIN)
        )

    def ln_ber(self, ln_ber_fresh: FloatArray) -> FloatArray:
        """Ln of the BER, mean of stored ones and zeros, at the end of life.

        Parameters
        ----------
        ln_ber_fresh : float array, shape (draw, x) or (chain, draw, x)
            As many draws as the factor has.

        Returns
        -------
        float array, shape of `ln_ber_fresh`
            At most ln 0.5, unless fresh cells are worse.
        """
        coin = np.maximum(ln_ber_fresh, math.log(COIN))
        return np.minimum(self.ln_rate(ln_ber_fresh), coin)

    def ln_rate(self, ln_rate_fresh: FloatArray) -> FloatArray:
        """The same of stored ones or of stored zeros alone, which may all be wrong."""
        flat = ln_rate_fresh.reshape(-1, ln_rate_fresh.shape[-1])
        if len(flat) != len(self.shift):
            raise ValueError(
                f"{len(flat)} draws of the BER, {len(self.shift)} of the life; resample the life"
            )
        sound = log_ndtr(ndtri_exp(np.minimum(flat, -1e-300)) + self.shift)
        with np.errstate(divide="ignore"):
            worn = np.log(self.worn) + np.log(self.worn_error)
        aged = np.logaddexp(worn, np.log1p(-np.minimum(self.worn, 1 - 1e-16)) + sound)
        return np.asarray(np.minimum(aged, 0.0)).reshape(ln_rate_fresh.shape)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON, at the last programming value where they depend on it."""
        return {
            "margin_lost_sd": band(self.shift[:, -1]),
            "worn_share": band(self.worn[:, -1]),
            "worn_error_share": band(self.worn_error[:, -1]),
            "extrapolated": bool(self.extrapolated.any()),
            "rests_on": list(self.rests_on),
        }


def combine(factors: Sequence[LifeFactor], *, rng: np.random.Generator) -> LifeFactor:
    """Independent causes together: margins lost add up, a cell wears out by any of them."""
    draws = max(len(f.shift) for f in factors)
    same = [f.resampled(draws, rng=rng) for f in factors]
    shift = np.sum(np.broadcast_arrays(*(f.shift for f in same)), axis=0)
    left = np.prod(np.broadcast_arrays(*(1 - f.worn for f in same)), axis=0)
    shares = np.sum(np.broadcast_arrays(*(f.worn for f in same)), axis=0)
    wrong = np.sum(np.broadcast_arrays(*(f.worn * f.worn_error for f in same)), axis=0)
    error = wrong / np.maximum(shares, 1e-300)
    shift, left, error = np.broadcast_arrays(shift, left, error)
    return LifeFactor(
        np.asarray(shift),
        np.asarray(1 - left),
        np.asarray(error),
        tuple(s for f in factors for s in f.rests_on),
        np.any(np.broadcast_arrays(*(f.extrapolated for f in factors)), axis=0),
    )


def age_curves(
    curves: Mapping[str, BerCurve], factor: LifeFactor, *, seed: int
) -> dict[str, BerCurve]:
    """BER curves at the end of life.

    Parameters
    ----------
    curves : mapping of str to BerCurve
        By sensing scheme, fresh.
    factor : LifeFactor
        On the programming values of the curves.
    seed : int
        Pairs draws of life and device: the same for every scheme and family of as many draws.

    Returns
    -------
    dict of str to BerCurve
    """
    aged = {}
    for name, curve in curves.items():
        draws = curve.ln_ber.shape[0] * curve.ln_ber.shape[1]
        own = life_of_draws(factor, name, draws, seed=seed)
        aged[name] = replace(
            curve,
            ln_ber=own.ln_ber(curve.ln_ber),
            extrapolated=curve.extrapolated | factor.extrapolated,
        )
    return aged


def life_of_draws(factor: LifeFactor, scheme: str, draws: int, *, seed: int) -> LifeFactor:
    """The life of each draw of a device, for single cells or for pairs."""
    own = factor.resampled(draws, rng=np.random.default_rng([seed, 23]))
    return own.for_pairs() if scheme == "2T2R" else own
