"""State of layers with binary inputs, and the flips of a chip in the order in which they are used.

:mod:`bnn.engines.incremental.changed_layer` computes with both.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.machine.arrays import Ints, Longs, Octets, Small
from bnn.machine.bit_matrix import transpose_bits
from bnn.machine.compiled import njit
from bnn.machine.packing import Words

Ranks = npt.NDArray[np.uint64]


class LayerState(NamedTuple):
    """The layer and what it does without errors.

    Attributes
    ----------
    bits : uint64 array, shape (images, words)
        Its inputs.
    by_input : uint64 array, shape (blocks, columns)
        The same by input, one bit for each image of a block of 64.
    lanes, limit, turned
        Weights and limits as of :mod:`bnn.engines.packed.binary_layer`.
    by_column : uint64 array, flat from (2 * columns + 1, stride)
        From :func:`column_bits`.
    ceiling : int8 array, flat from (images, 64 * out words)
        ``~q`` of the layer, cut to 8 bits: a neuron fires where a change of ``q`` is above it.
    fired : uint64 array, shape (images, out words)
        Neurons that fire.
    """

    bits: Words
    by_input: Words
    lanes: Words
    limit: Longs
    turned: Octets
    by_column: Words
    ceiling: Small
    fired: Words


class LayerFlips(NamedTuple):
    """What is different on a chip.

    Attributes
    ----------
    rows : int32 array, shape (touched,)
        Neurons with flipped weights, increasing.
    first, middle : uint64 array, shape (64 * out words + 1,) and (64 * out words,)
        Where the columns of every neuron start in `column`, and where those start at which ``q``
        falls by one for an input of +1.
    column : int32 array, shape (flips,)
        Columns of the flipped weights.
    number : int8 array, shape (64 * out words,)
        Flipped weights of every neuron, cut to 127.
    shift : int8 array, shape (64 * out words,)
        What changed thresholds add to ``q``; bytes hold it if `most` is not negative.
    most : int
        Largest number of changed inputs of an image that is followed; -1 for none.
    many : bool
        Whether the sums over flipped weights are taken for all neurons beforehand.
    moved : bool
        Whether a threshold changed.
    """

    rows: Ints
    first: Ranks
    middle: Ranks
    column: Ints
    number: Small
    shift: Small
    most: int
    many: bool
    moved: bool


@njit
def column_bits(
    weights: Words, columns: int, turned: Octets, words: int
) -> Words:  # pragma: no cover
    """Neurons whose ``q`` rises, for each column and new input; flat from (2 * columns + 1, words).

    Row 2 c + 1 holds the bits ``direction * weight > 0`` of column c, for an input that turned to
    +1, and row 2 c their opposites, for one that turned to -1; the last row is zero. ``words`` is a
    multiple of eight, so that whole vectors are read.
    """
    bits = np.zeros((2 * columns + 1) * words, np.uint64)
    for r in range(len(weights)):
        opposite = (turned[r // 8] >> (r % 8)) & 1
        mask = np.uint64(1) << np.uint64(r % 64)
        for c in range(columns):
            one = (weights[r, c // 64] >> np.uint64(c % 64)) & np.uint64(1)
            rises = np.int64(one) ^ np.int64(opposite)
            bits[(2 * c + rises) * words + r // 64] |= mask
    return bits


@njit
def flip_column_bits(
    by_column: Words, words: int, columns: int, places: Longs
) -> Words:  # pragma: no cover
    """Copy with the bits ``row * columns + column`` turned round; places increase."""
    flipped = by_column.copy()
    row, end = 0, columns
    for place in places:
        while place >= end:
            row += 1
            end += columns
        at = 2 * (place - end + columns) * words + row // 64
        mask = np.uint64(1) << np.uint64(row % 64)
        flipped[at] ^= mask
        flipped[at + words] ^= mask
    return flipped


@njit
def bits_by_input(bits: Words, columns: int) -> Words:  # pragma: no cover
    """Turn bits of images, shape (images, words), into words of 64 images, (blocks, columns)."""
    blocks = (len(bits) + 63) // 64
    found = np.empty((blocks, columns), np.uint64)
    group = np.empty(64, np.uint64)
    for block in range(blocks):
        for word in range(bits.shape[1]):
            group[:] = 0
            for i in range(min(64, len(bits) - 64 * block)):
                group[i] = bits[64 * block + i, word]
            transpose_bits(group)
            for c in range(64 * word, min(columns, 64 * word + 64)):
                found[block, c] = group[c - 64 * word]
    return found


@njit
def layer_flips(
    places: Longs, columns: int, size: int, by_column: Words, stride: int
) -> Any:  # pragma: no cover
    """Sort flips by neuron; gives rows, first, middle, column and number of `LayerFlips`."""
    first, middle = np.zeros(size + 1, np.uint64), np.zeros(size, np.uint64)
    column = np.empty(len(places), np.int32)
    number = np.zeros(size, np.int8)
    rows = np.empty(min(size, len(places)), np.int32)
    touched, at = 0, 0
    for r in range(size):
        begin = at
        while at < len(places) and places[at] < (r + 1) * columns:
            at += 1
        left, right = begin, at
        for j in range(begin, at):
            c = places[j] - r * columns
            if (by_column[(2 * c + 1) * stride + r // 64] >> np.uint64(r % 64)) & np.uint64(1):
                right -= 1
                column[right] = c
            else:
                column[left] = c
                left += 1
        middle[r] = left
        first[r + 1] = at
        number[r] = min(at - begin, 127)
        if at > begin:
            rows[touched] = r
            touched += 1
    return rows[:touched], first, middle, column, number
