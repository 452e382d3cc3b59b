"""Counter-based random numbers: a number depends on where it is used, not on what came before.

Philox4x64-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). The key is
the seed; the counter says which chip, layer, stream and place the numbers belong to, so that two
uses never share numbers and no order of work, batch or thread can change them.
"""

import enum
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba.extending import intrinsic

from bnn.machine.compiled import njit

# multipliers and Weyl increments of the paper
_MULTIPLIER_0 = np.uint64(0xD2E7470EE14C6C93)
_MULTIPLIER_1 = np.uint64(0xCA5A826395121157)
_WEYL_0 = np.uint64(0x9E3779B97F4A7C15)
_WEYL_1 = np.uint64(0xBB67AE8584CAA73B)
_ROUNDS = 10

DRAW_BITS = 24
"""Bits of the first counter word that number the draws at one place; the read lies above them."""

EXACT_DECIMALS = Context(prec=40)
"""Constants are rounded from 40 digits: the C library's logarithm differs between platforms."""

_TABLE_BITS = 7

Block = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


class Stream(enum.IntEnum):
    """What random numbers are for. The numbers are for ever: stored results depend on them."""

    FLIPS = 0
    STUCK = 1
    STUCK_SIDE = 2
    READ = 3
    ROW = 4
    COLUMN = 5
    BLOCK = 6
    ROW_CELLS = 7
    COLUMN_CELLS = 8
    BLOCK_CELLS = 9
    READ_SUMS = 10
    IMAGE_ORDER = 11
    RESISTANCES = 12
    POSTERIOR_DRAW = 13
    SCRAMBLING = 14
    ARRAY = 15


@dataclass(frozen=True)
class StreamKey:
    """One stream of random numbers.

    Attributes
    ----------
    seed : int
        Seed of the family of chips, 0..2**128-1.
    chip : int
        Number of the chip, 0..2**64-1.
    layer : int
        Number of the layer, 0..2**32-1.
    stream : Stream
        What the numbers are for.
    read : int
        Number of the read, 0..2**40-1; 0 for what lasts.
    """

    seed: int
    chip: int
    layer: int
    stream: Stream
    read: int = 0

    def __post_init__(self) -> None:
        """Check that every number fits its place in key or counter."""
        for name, size in (("seed", 128), ("chip", 64), ("layer", 32), ("read", 64 - DRAW_BITS)):
            number = getattr(self, name)
            if number < 0:
                raise ValueError(f"{name} must not be negative, got {number}")
            if number >> size:
                raise ValueError(f"{name} must be below 2**{size}, got {number}")

    def words(self) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64, np.uint64]:
        """Words for the compiled code.

        Returns
        -------
        tuple of uint64
            Both words of the key; then the words 0, 2 and 3 of the counter. Draws count up in word
            0, word 1 is the place, and the low byte of word 3 is free for a subdivision.
        """
        seed = int(self.seed)
        return (
            np.uint64(seed & 0xFFFFFFFFFFFFFFFF),
            np.uint64(seed >> 64),
            np.uint64(int(self.read) << DRAW_BITS),
            np.uint64(self.chip),
            np.uint64(int(self.layer) << 32 | int(self.stream) << 8),
        )


def generator_of(key: StreamKey) -> np.random.Generator:
    """NumPy's generator on one stream, for code that draws arrays in order.

    The same rounds as :func:`philox4x64` with the same key and counter. It counts through what are
    places and reads elsewhere, so the stream must be one that is read in this way only.
    """
    k0, k1, *counter = key.words()
    c0, c2, c3 = counter
    bits = np.random.Philox(
        key=np.array([k0, k1], np.uint64), counter=np.array([c0, 0, c2, c3], np.uint64)
    )
    return np.random.Generator(bits)


def _logarithms() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Reciprocals of the centres of 128 parts of [1, 2), and minus the logarithms of these."""
    parts = 1 << _TABLE_BITS
    reciprocals = [1.0 / (1.0 + (part + 0.5) / parts) for part in range(parts)]
    with localcontext(EXACT_DECIMALS):
        logarithms = [-float(Decimal(reciprocal).ln()) for reciprocal in reciprocals]
    return np.array(reciprocals), np.array(logarithms)


_RECIPROCALS, _LOGARITHMS = _logarithms()
_LN_2 = float(EXACT_DECIMALS.ln(Decimal(2)))


@intrinsic
def _leading_zeros(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from llvmlite import ir

        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return numba.types.uint64(numba.types.uint64), generate


@intrinsic
def _wide_product(typing_context: Any, a: Any, b: Any) -> Any:
    """High and low word of the product of two uint64."""
    word = numba.types.uint64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from llvmlite import ir

        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        high = builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))
        low = builder.trunc(product, ir.IntType(64))
        return context.make_tuple(builder, signature.return_type, (high, low))

    return numba.types.UniTuple(word, 2)(word, word), generate


@njit
def philox4x64(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> Block:
    """Philox4x64-10: four random words for a counter and a key.

    Parameters
    ----------
    c0, c1, c2, c3 : uint64
        Words of the counter.
    k0, k1 : uint64
        Words of the key.

    Returns
    -------
    tuple of uint64
        Four words, uniform.
    """
    for _ in range(_ROUNDS):
        high_0, low_0 = _wide_product(_MULTIPLIER_0, c0)
        high_1, low_1 = _wide_product(_MULTIPLIER_1, c2)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0 += _WEYL_0
        k1 += _WEYL_1
    return c0, c1, c2, c3


@njit
def exponential(word: np.uint64) -> float:
    """Turn a random word into a standard exponential number.

    Parameters
    ----------
    word : uint64
        Random word; its upper 53 bits are used.

    Returns
    -------
    float
        ``-ln(u)`` with ``u`` uniform on the multiples of 2**-53 in (0, 1], to an absolute error of
        4e-16 up to 1 and a relative error of 4e-16 beyond.

    Notes
    -----
    Multiplications, additions and a table only, which IEEE 754 fixes to the last bit: every
    platform draws the same chips. It is also faster than a call of the C library.
    """
    integer = (word >> np.uint64(11)) + np.uint64(1)
    zeros = _leading_zeros(integer)
    mantissa = integer << zeros
    part = (mantissa >> np.uint64(63 - _TABLE_BITS)) & np.uint64((1 << _TABLE_BITS) - 1)
    # u = value * 2**(10 - zeros) with value in [1, 2)
    value = np.float64(np.int64(mantissa >> np.uint64(11))) * 2.0**-52
    r = value * _RECIPROCALS[part] - 1.0
    # |r| < 2**-8: the first dropped term of the series is below 2**-58
    tail = r * r * (-1 / 2 + r * (1 / 3 + r * (-1 / 4 + r * (1 / 5 - r * (1 / 6)))))
    result = (np.float64(np.int64(zeros)) - 10.0) * _LN_2 - (_LOGARITHMS[part] + (r + tail))
    # rounding gives -2e-18 for u = 1
    return max(result, 0.0)


def uniforms_at(key: StreamKey, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """One uniform number for each place, whatever the other places are.

    Parameters
    ----------
    key : StreamKey
        Stream to read.
    places : int64 array, shape (places,)
        Places, not negative.

    Returns
    -------
    float64 array, shape (places,)
        Uniform in [0, 1), multiples of 2**-53.
    """
    result: npt.NDArray[np.float64] = _uniforms_at(places, *key.words())
    return result


@njit
def _uniforms_at(
    places: npt.NDArray[np.int64],
    k0: np.uint64,
    k1: np.uint64,
    c0: np.uint64,
    c2: np.uint64,
    c3: np.uint64,
) -> npt.NDArray[np.float64]:
    values = np.empty(len(places), np.float64)
    for index in range(len(places)):
        word = philox4x64(c0, np.uint64(places[index]), c2, c3, k0, k1)[0]
        values[index] = np.float64(np.int64(word >> np.uint64(11))) * 2.0**-53
    return values
