"""Error rates that a network sees: the mean rate and the tilt of stored ones against zeros."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devicefit.numerics.arrays import FloatArray


@dataclass(frozen=True)
class SeenRates:
    """Both error rates of the bits of a network, after decoding.

    Parameters
    ----------
    ln_ber : float array, shape (draw, x)
        ln of the mean of the rates of stored zeros and stored ones; -inf where no bit is wrong.
    tilt : float array, shape (draw, x)
        Rate of stored ones less that of stored zeros, over their sum.
    """

    ln_ber: FloatArray
    tilt: FloatArray

    def __post_init__(self) -> None:
        if self.ln_ber.shape != self.tilt.shape:
            raise ValueError(
                f"ln_ber has the shape {self.ln_ber.shape} and tilt {self.tilt.shape}; they must "
                "be alike"
            )

    @classmethod
    def equal(cls, ln_ber: FloatArray) -> SeenRates:
        """Equal rates of ones and zeros."""
        return cls(ln_ber, np.zeros_like(ln_ber))

    def of(self, rows: NDArray[np.int64] | slice) -> SeenRates:
        """Rates of some draws."""
        return SeenRates(self.ln_ber[rows], self.tilt[rows])

    def at(self, values: NDArray[np.int64] | slice) -> SeenRates:
        """Rates at some programming values."""
        return SeenRates(self.ln_ber[:, values], self.tilt[:, values])
