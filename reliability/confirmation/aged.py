"""Chips at the end of a required life: what wear and storage do to their error rates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from devicefit.numerics.arrays import FloatArray
from reliability.chips.rates import ChipRates
from reliability.decision.comparison import place_on
from reliability.life.required import LifeFactor, life_of_draws


@dataclass(frozen=True)
class Ageing:
    """What a life does to the rates of every draw of a device.

    Parameters
    ----------
    factor : LifeFactor
        On the grid.
    grid : float array, shape (x,)
        Programming values.
    seed : int
        Pairs draws of life and device, as :func:`reliability.life.required.age_curves` does.
    """

    factor: LifeFactor
    grid: FloatArray
    seed: int

    def rates(self, fresh: ChipRates, scheme: str) -> ChipRates:
        """Rates of stored zeros and of stored ones at the end of life, each aged on its own.

        Every draw of the device ages as in the curves. Worn-out cells are wrong as often whichever
        bit they store. What both rates add up to is at most 1, or what fresh cells have: a read-out
        that is wrong more often than a coin would not lose the bit.
        """
        own = life_of_draws(self.factor, scheme, len(fresh.values), seed=self.seed)
        at = [place_on(self.grid, x) for x in fresh.programming]
        own = replace(
            own,
            shift=_at(own.shift, at),
            worn=_at(own.worn, at),
            worn_error=_at(own.worn_error, at),
        )
        with np.errstate(divide="ignore"):
            ln_rate = np.log(fresh.values)
        aged = np.empty_like(ln_rate)
        for array in range(ln_rate.shape[1]):
            for state in range(2):
                aged[:, array, :, state] = own.ln_rate(ln_rate[:, array, :, state])
        values = np.exp(aged)
        both = values.sum(axis=-1, keepdims=True)
        most = np.maximum(fresh.values.sum(axis=-1, keepdims=True), 1.0)
        return replace(fresh, values=values * np.minimum(most / np.maximum(both, 1e-300), 1.0))


def _at(values: FloatArray, at: list[int]) -> FloatArray:
    """Columns of places on the grid; one column stands for all."""
    return values if values.shape[1] == 1 else values[:, at]
