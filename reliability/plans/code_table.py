"""From a bit error rate after a code back to that of the bits that are read, by a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from devicefit.numerics.arrays import FloatArray
from reliability.plans.codes import NO_CODE, Code, ln_decoded_ber

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

        -inf stays -inf. Where more is tolerated than the code leaves of a read BER of 1/2, it is
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
    after = np.empty(0) if code == NO_CODE else ln_decoded_ber(code, read)
    return CodeTable(float(read[0]), step, after, float(code.corrects + 1))
