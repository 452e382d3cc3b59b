"""What a code does to a bit error rate, as a table that can be read in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from devicefit.numerics.compiled import njit
from devicefit.programming import FloatArray
from reliability.ecc import NO_CODE, Code, ln_residual_ber

LEAST_READ = 1e-16
KNOTS = 4000


@dataclass(frozen=True)
class CodeTable:
    """Residual BER of a code over the BER of the bits that are read.

    Parameters
    ----------
    first, step : float
        ln of the first BER that is read, and the distance to the next.
    after : float array, shape (knot,)
        ln of the BER after the code, up to a read BER of 1/2; empty without a code.
    below : float
        Slope under the first knot, where one term is left: the bits that are corrected, and one.
    """

    first: float
    step: float
    after: FloatArray
    below: float

    @property
    def read(self) -> FloatArray:
        """Knots, ln of the BER that is read."""
        return np.asarray(self.first + self.step * np.arange(len(self.after)), dtype=np.float64)

    def ln_ber_read(self, ln_after: FloatArray) -> FloatArray:
        """Ln of the largest BER that is read and leaves at most `ln_after`.

        -inf stays -inf. A network that bears more than the code leaves of a read BER of 1/2 bears
        1/2. Interpolated in logarithms; the relative error of the rate is below 1e-3.
        """
        if not len(self.after):
            return ln_after
        found = np.interp(ln_after, self.after, self.read)
        under = self.first + (ln_after - self.after[0]) / self.below
        return np.asarray(np.where(ln_after < self.after[0], under, found))


@lru_cache(maxsize=16)
def code_table(code: Code) -> CodeTable:
    """Tabulate a code."""
    read = np.linspace(np.log(LEAST_READ), np.log(0.5), KNOTS)
    step = float(read[1] - read[0])
    after = np.empty(0) if code == NO_CODE else ln_residual_ber(code, read)
    return CodeTable(float(read[0]), step, after, float(code.corrects + 1))


@njit
def ln_ber_after(ln_read, first, step, after, below):  # type: ignore[no-untyped-def]
    """Ln BER after a code, linear between the knots; the same number without a code."""
    last = len(after) - 1
    if last < 0:
        return ln_read
    at = (ln_read - first) / step
    if at <= 0.0:
        return after[0] + below * (ln_read - first)
    if at >= last:
        return after[last]
    k = int(at)
    return after[k] + (at - k) * (after[k + 1] - after[k])
