"""Ways to store a bit of a network: how cells are read and which code protects them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devicefit.programming import FloatArray
from devicefit.sensing import CELLS_PER_BIT, BerCurve
from reliability.code_table import code_table
from reliability.ecc import BCH_127_64, NO_CODE, SECDED_72_64, Code, ln_residual_ber


@dataclass(frozen=True)
class Storage:
    """How bits are stored.

    Parameters
    ----------
    scheme : str
        ``"1T1R"`` or ``"2T2R"``: how cells are read.
    code : Code
        What corrects the bits that were read.
    """

    scheme: str
    code: Code = NO_CODE

    def __post_init__(self) -> None:
        if self.scheme not in CELLS_PER_BIT:
            raise ValueError(f"scheme {self.scheme!r} is not known; known: {list(CELLS_PER_BIT)}")

    @property
    def name(self) -> str:
        """For tables and as a key: ``"1T1R + SECDED(72,64)"``."""
        return self.scheme if self.code == NO_CODE else f"{self.scheme} + {self.code.name}"

    @property
    def cells_per_bit(self) -> float:
        """Cells for each bit of the network, parity included."""
        return CELLS_PER_BIT[self.scheme] * self.code.cells_per_bit

    def cells_for(self, bits: int) -> int:
        """Cells for all bits of a network; the last codeword is shortened."""
        return CELLS_PER_BIT[self.scheme] * self.code.cells_for(bits)

    def ln_ber_after(self, ln_ber: FloatArray) -> FloatArray:
        """Ln of the BER that the network sees, from that of the bits that are read."""
        return ln_ber if self.code == NO_CODE else ln_residual_ber(self.code, ln_ber)

    def ln_ber_read(self, ln_after: FloatArray) -> FloatArray:
        """Ln of the largest BER of the bits that are read that leaves at most `ln_after`.

        -inf stays -inf. A network that bears more than the code leaves of a read BER of 1/2 bears
        1/2. Interpolated in logarithms; the relative error of the rate is below 1e-3.
        """
        return code_table(self.code).ln_ber_read(ln_after)

    def network_ln_ber(self, curves: Mapping[str, BerCurve]) -> FloatArray:
        """Ln of the BER that the network sees, draws flattened, shape (draw, x).

        Parameters
        ----------
        curves : mapping of str to BerCurve
            By scheme.
        """
        ln_ber = curves[self.scheme].ln_ber
        return self.ln_ber_after(ln_ber.reshape(-1, ln_ber.shape[-1]))


PLAIN = Storage("1T1R")
STORAGES = (
    PLAIN,
    Storage("1T1R", SECDED_72_64),
    Storage("1T1R", BCH_127_64),
    Storage("2T2R"),
)
"""What is compared: one cell, light and heavy codes, and two cells, which cost as many cells as a
code of rate 1/2."""
