"""Ways to store a bit of a network: how cells are read and which code protects them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devicefit.distributions.sensing import CELLS_PER_BIT, BerCurve
from devicefit.numerics.arrays import FloatArray
from reliability.plans.code_table import code_table
from reliability.plans.codes import BCH_127_64, NO_CODE, SECDED_72_64, Code, ln_decoded_ber
from reliability.plans.seen_rates import SeenRates


@dataclass(frozen=True)
class Storage:
    """How bits are stored.

    Parameters
    ----------
    scheme : str
        ``"1T1R"`` or ``"2T2R"``: how cells are read.
    code : Code
        What corrects the bits that were read.
    scrambled : bool
        Whether half of the weights are stored inverted, chosen by a fixed pattern that is undone
        when they are read. Stored zeros and ones then meet both states alike, so their error rates
        are equal. It costs no cell.
    """

    scheme: str
    code: Code = NO_CODE
    scrambled: bool = False

    def __post_init__(self) -> None:
        if self.scheme not in CELLS_PER_BIT:
            raise ValueError(f"scheme {self.scheme!r} is not known; known: {list(CELLS_PER_BIT)}")
        if self.scrambled and CELLS_PER_BIT[self.scheme] > 1:
            raise ValueError(f"{self.scheme} stores a bit and its inverse; scrambling does nothing")

    @property
    def name(self) -> str:
        """For tables and as a key: ``"1T1R + SECDED(72,64), scrambled"``."""
        coded = self.scheme if self.code == NO_CODE else f"{self.scheme} + {self.code.name}"
        return f"{coded}, scrambled" if self.scrambled else coded

    @property
    def cells_per_bit(self) -> float:
        """Cells for each bit of the network, parity included."""
        return CELLS_PER_BIT[self.scheme] * self.code.cells_per_bit

    def cells_for(self, bits: int) -> int:
        """Cells for all bits of a network; the last codeword is shortened."""
        return CELLS_PER_BIT[self.scheme] * self.code.cells_for(bits)

    def ln_ber_after(self, ln_ber: FloatArray) -> FloatArray:
        """Ln of the BER that the decoder leaves on average, from that of the bits that are read."""
        return ln_ber if self.code == NO_CODE else ln_decoded_ber(self.code, ln_ber)

    def ln_ber_read(self, ln_after: FloatArray) -> FloatArray:
        """Ln of the largest BER of the bits that are read that leaves at most `ln_after`.

        -inf stays -inf. Where more is tolerated than the code leaves of a read BER of 1/2, it is
        1/2. Interpolated in logarithms; the relative error of the rate is below 1e-3.
        """
        return code_table(self.code).ln_ber_read(ln_after)

    def seen(self, curves: Mapping[str, BerCurve], one_is: str = "LRS") -> SeenRates:
        """Error rates that the network sees, draws of the device flattened.

        What a code leaves has the tilt of what it gets: most of it are bits that it could not
        correct.

        Parameters
        ----------
        curves : mapping of str to BerCurve
            By scheme.
        one_is : {"LRS", "HRS"}, optional
            State that stores a one.

        Raises
        ------
        ValueError
            Another state.
        """
        if one_is not in ("LRS", "HRS"):
            raise ValueError(f"one_is is {one_is!r}; a 1 is stored as one of LRS, HRS")
        curve = curves[self.scheme]
        ln_ber = self.ln_ber_after(curve.ln_ber.reshape(-1, curve.ln_ber.shape[-1]))
        if curve.tilt is None or self.scrambled:
            return SeenRates.equal(ln_ber)
        of_lrs = curve.tilt.reshape(ln_ber.shape)
        return SeenRates(ln_ber, of_lrs if one_is == "LRS" else -of_lrs)


PLAIN = Storage("1T1R")
_CODES = (NO_CODE, SECDED_72_64, BCH_127_64)
STORAGES = (
    *(Storage("1T1R", code) for code in _CODES),
    *(Storage("1T1R", code, scrambled=True) for code in _CODES),
    Storage("2T2R"),
)
"""What is compared: one cell, light and heavy codes, each plain and scrambled, and two cells, which
cost as many cells as a code of rate 1/2."""

SCRAMBLING = ("compare", "always", "never")


def storages_for(scrambling: str) -> tuple[Storage, ...]:
    """What is compared where scrambled storage is one way of several, the only one, or none.

    Raises
    ------
    ValueError
        `scrambling` is not one of `SCRAMBLING`.
    """
    if scrambling not in SCRAMBLING:
        raise ValueError(
            f"--scrambling {scrambling!r} is not known; known: {', '.join(SCRAMBLING)}"
        )
    left_out = {"compare": None, "always": False, "never": True}[scrambling]
    return tuple(s for s in STORAGES if s.scheme == "2T2R" or s.scrambled is not left_out)
