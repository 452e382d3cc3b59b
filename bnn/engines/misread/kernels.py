"""Compiled loops over images and neurons whose weights are misread.

The last five arguments before the results are the words of a stream (`StreamKey.words`).
"""

import numpy as np
import numpy.typing as npt

from bnn.errors.flips import BLOCK_BITS, compiled_levels
from bnn.machine.compiled import njit
from bnn.machine.counter_random import DRAW_BITS, philox4x64
from bnn.machine.packing import Words
from bnn.machine.vectors import popcount


@njit
def read_pixels(
    z: npt.NDArray[np.int32],
    pixels: npt.NDArray[np.uint8],
    columns: int,
    weights: Words,
    moved: npt.NDArray[np.int64],
    rate: float,
    mean_gaps: npt.NDArray[np.float64],
    reads: npt.NDArray[np.int64],
    k0: np.uint64,
    k1: np.uint64,
    c0: np.uint64,
    c2: np.uint64,
    c3: np.uint64,
) -> None:
    """Turn error-free sums of pixels into those that are read; `weights` are those of the chip."""
    bits = len(weights) * columns
    blocks = -(-bits // BLOCK_BITS)
    for i in range(len(z)):
        _add_twice(z[i], pixels[i], columns, weights, moved, 1)
        if rate > 0.0:
            read = np.uint64(reads[i]) << np.uint64(DRAW_BITS)
            places, _ = compiled_levels(bits, rate, 0, blocks, mean_gaps, k0, k1, read, c2, c3)
            _add_twice(z[i], pixels[i], columns, weights, places, -1)


@njit
def _add_twice(
    z: npt.NDArray[np.int32],
    pixels: npt.NDArray[np.uint8],
    columns: int,
    weights: Words,
    places: npt.NDArray[np.int64],
    side: int,
) -> None:
    """Add `side` times twice the products of weight and pixel at some places."""
    row, end = 0, columns
    for place in places:
        while place >= end:
            row += 1
            end += columns
        column = place - end + columns
        product = 2 * np.int64(pixels[column]) - 255
        if not (weights[row, column >> 6] >> np.uint64(column & 63)) & np.uint64(1):
            product = -product
        z[row] += 2 * side * product


@njit
def _uniforms(
    read: np.int64, four: int, k0: np.uint64, k1: np.uint64, c2: np.uint64, c3: np.uint64
) -> tuple[float, float, float, float]:
    """Uniform numbers of four neighbouring neurons in one read, multiples of 2**-53."""
    c0 = np.uint64(read) << np.uint64(DRAW_BITS)
    w = philox4x64(c0, np.uint64(four), c2, c3, k0, k1)
    shift = np.uint64(11)
    return (
        np.float64(np.int64(w[0] >> shift)) * 2.0**-53,
        np.float64(np.int64(w[1] >> shift)) * 2.0**-53,
        np.float64(np.int64(w[2] >> shift)) * 2.0**-53,
        np.float64(np.int64(w[3] >> shift)) * 2.0**-53,
    )


@njit
def _matches(bits: Words, weights: Words, columns: int) -> int:
    matches = columns
    for word in range(len(bits)):
        matches -= int(popcount(bits[word] ^ weights[word]))
    return matches


@njit
def read_fired(
    bits: Words,
    weights: Words,
    columns: int,
    limit: npt.NDArray[np.int64],
    turned: npt.NDArray[np.bool_],
    first: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    below: npt.NDArray[np.float64],
    reads: npt.NDArray[np.int64],
    k0: np.uint64,
    k1: np.uint64,
    c0: np.uint64,
    c2: np.uint64,
    c3: np.uint64,
    out: Words,
) -> None:
    """Fire the neurons whose number of matches read, the inverse of a uniform, is large enough."""
    for i in range(len(bits)):
        u = (0.0, 0.0, 0.0, 0.0)
        for r in range(len(weights)):
            if r % 4 == 0:
                u = _uniforms(reads[i], r // 4, k0, k1, c2, c3)
            m = _matches(bits[i], weights[r], columns)
            # The number read reaches the limit where u is not below P(number < limit). No branch:
            # which side a neuron is on cannot be foreseen.
            k = max(0, min(limit[r] - first[m], start[m + 1] - start[m] - 1))
            fired = np.uint64((u[r % 4] >= below[start[m] + k]) ^ turned[r])
            out[i, r >> 6] |= fired << np.uint64(r & 63)


@njit
def read_sums(
    bits: Words,
    weights: Words,
    columns: int,
    first: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    below: npt.NDArray[np.float64],
    reads: npt.NDArray[np.int64],
    k0: np.uint64,
    k1: np.uint64,
    c0: np.uint64,
    c2: np.uint64,
    c3: np.uint64,
    out: npt.NDArray[np.int32],
) -> None:
    """Pre-activations from the numbers of matches read, the inverses of uniform numbers."""
    for i in range(len(bits)):
        u = (0.0, 0.0, 0.0, 0.0)
        for r in range(len(weights)):
            if r % 4 == 0:
                u = _uniforms(reads[i], r // 4, k0, k1, c2, c3)
            m = _matches(bits[i], weights[r], columns)
            row = below[start[m] : start[m + 1]]
            low, high = 0, len(row) - 2
            while low < high:
                middle = (low + high) // 2
                if u[r % 4] < row[middle + 1]:
                    high = middle
                else:
                    low = middle + 1
            out[i, r] = 2 * (first[m] + low) - columns
