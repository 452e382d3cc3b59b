"""Transposing square blocks of bits and of bytes."""

import numpy as np

from bnn.machine.arrays import Small
from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.vectors import interleave_high, interleave_low, load_bytes, store_bytes


@njit
def transpose_bits(rows: Words) -> None:  # pragma: no cover
    """Transpose a matrix of 64 x 64 bits in place: bit c of word r becomes bit r of word c."""
    width = 32
    mask = np.uint64(0x00000000FFFFFFFF)
    while width > 0:
        shift = np.uint64(width)
        for start in range(0, 64, 2 * width):
            for r in range(start, start + width):
                swap = ((rows[r] >> shift) ^ rows[r + width]) & mask
                rows[r] ^= swap << shift
                rows[r + width] ^= swap
        width //= 2
        mask ^= mask << np.uint64(width)


@njit
def _three_shuffles(
    source: Small, start: int, target: Small, base: int, stride: int
) -> None:  # pragma: no cover
    """Half of a transposition: eight rows of 64 bytes, eight rows apart, through registers."""
    a0, a1 = load_bytes(source, start), load_bytes(source, start + 512)
    a2, a3 = load_bytes(source, start + 1024), load_bytes(source, start + 1536)
    a4, a5 = load_bytes(source, start + 2048), load_bytes(source, start + 2560)
    a6, a7 = load_bytes(source, start + 3072), load_bytes(source, start + 3584)
    b0, b1 = interleave_low(a0, a4), interleave_high(a0, a4)
    b2, b3 = interleave_low(a1, a5), interleave_high(a1, a5)
    b4, b5 = interleave_low(a2, a6), interleave_high(a2, a6)
    b6, b7 = interleave_low(a3, a7), interleave_high(a3, a7)
    a0, a1 = interleave_low(b0, b4), interleave_high(b0, b4)
    a2, a3 = interleave_low(b1, b5), interleave_high(b1, b5)
    a4, a5 = interleave_low(b2, b6), interleave_high(b2, b6)
    a6, a7 = interleave_low(b3, b7), interleave_high(b3, b7)
    store_bytes(target, base, interleave_low(a0, a4))
    store_bytes(target, base + stride, interleave_high(a0, a4))
    store_bytes(target, base + 2 * stride, interleave_low(a1, a5))
    store_bytes(target, base + 3 * stride, interleave_high(a1, a5))
    store_bytes(target, base + 4 * stride, interleave_low(a2, a6))
    store_bytes(target, base + 5 * stride, interleave_high(a2, a6))
    store_bytes(target, base + 6 * stride, interleave_low(a3, a7))
    store_bytes(target, base + 7 * stride, interleave_high(a3, a7))


@njit
def transpose_bytes(
    source: Small, spare: Small, target: Small, at: int, stride: int
) -> None:  # pragma: no cover
    """Transpose 64 x 64 bytes: column i of `source` becomes the row ``target[at + i * stride]``.

    ``spare``, shape (4096,), is scratch. Six perfect shuffles of the rows transpose; three at a
    time stay in registers.
    """
    for i in range(8):
        _three_shuffles(source, 64 * i, spare, 512 * i, 64)
    for i in range(8):
        _three_shuffles(spare, 64 * i, target, at + 8 * i * stride, stride)
