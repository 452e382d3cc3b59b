"""Which neurons of the layer that reads pixels change on a chip, for 64 images at a time.

A neuron fires where ``q = floor((direction * z - threshold) / 2)`` is not negative. A flipped
weight adds or takes ``2 * pixel - 255`` from ``q``. Both are held in 16 bits: ``q`` cut to
their range, which is exact while changes cannot cross it.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.machine.arrays import Ints, Longs, Octets, Shorts, Small
from bnn.machine.bit_matrix import transpose_bits
from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.vector_memory import load_bytes_as_shorts
from bnn.machine.vectors import (
    add,
    add_saturated,
    add_where,
    fill_bytes,
    fill_shorts,
    greater,
    load_bytes,
    load_shorts,
    lowest_bit,
    popcount,
    prefetch,
    subtract,
)

PIXEL_LEVELS = 255
MOST_CHANGE = 32767
"""Largest change of ``q`` that 16 bits follow."""

_AHEAD = 16  # neurons between asking for margins and using them
_FEW_ROWS = 6  # changed neurons of a group of 64 up to which bits are set one by one


class PixelState(NamedTuple):
    """The layer without errors.

    Attributes
    ----------
    pixels : uint8 array, flat from (blocks, columns, 64)
        Pixels, from :func:`bnn.engines.pixels.pixel_layer.pixel_blocks`.
    columns : int
        Pixels of an image.
    ceiling : int16 array, flat from (blocks, neurons, 64)
        ``~q``, cut to 16 bits: a neuron fires where a change of ``q`` is above it.
    fired : uint64 array, shape (blocks, neurons)
        Which neurons fire, one bit for each image of a block.
    """

    pixels: Octets
    columns: int
    ceiling: Shorts
    fired: Words


class PixelFlips(NamedTuple):
    """What is different on a chip.

    Attributes
    ----------
    rows : int32 array, shape (touched,)
        Neurons with flipped weights or another threshold, increasing: their margins are then
        fetched beforehand.
    first, middle : uint64 array, shape (touched + 1,) and (touched,)
        Where the columns of each of them start in `places`, and where those start whose pixels
        are taken from ``q`` and not added to it.
    places : uint32 array, shape (flips,)
        64 times the column of each flipped weight.
    offset : int32 array, shape (touched,)
        What is added to ``q`` whatever the pixels are.
    most : int
        Largest change of ``q`` that can occur.
    """

    rows: Ints
    first: Words
    middle: Words
    places: npt.NDArray[np.uint32]
    offset: Ints
    most: int


@njit
def pixel_flips(places: Longs, columns: int, signs: Small, shift: Longs) -> Any:  # pragma: no cover
    """Sort the flips ``row * columns + column`` of a chip by neuron.

    ``signs``, shape (neurons, columns), are ``direction * weight``; ``shift``, shape (neurons,),
    is what changed thresholds add to ``q``. Returns the fields of :class:`PixelFlips`.
    """
    neurons = len(signs)
    rows = np.empty(neurons, np.int32)
    first, middle = np.zeros(neurons + 1, np.uint64), np.zeros(neurons, np.uint64)
    ordered = np.empty(len(places), np.uint32)
    offset = np.zeros(neurons, np.int32)
    touched, at, most = 0, 0, 0
    for r in range(neurons):
        begin = at
        while at < len(places) and places[at] < (r + 1) * columns:
            at += 1
        if at == begin and shift[r] == 0:
            continue
        left, right = begin, at
        for j in range(begin, at):
            column = places[j] - r * columns
            if signs[r, column] < 0:
                ordered[left] = 64 * column
                left += 1
            else:
                right -= 1
                ordered[right] = 64 * column
        rows[touched] = r
        first[touched] = begin
        middle[touched] = left
        most = max(most, PIXEL_LEVELS * (at - begin) + abs(shift[r]))
        # an added column adds 2 pixel - 255
        offset[touched] = min(PIXEL_LEVELS * (at - 2 * left + begin) + shift[r], 1 << 30)
        touched += 1
        first[touched] = at
    first, rows = first[: touched + 1], rows[:touched]
    return rows, first, middle[:touched], ordered, offset[:touched], most


@njit
def changed_neurons(
    state: PixelState,
    flips: PixelFlips,
    allowed: Small,
    changed: Words,
    active: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Which neurons change on which image, for blocks `start` to `stop`.

    Parameters
    ----------
    state : PixelState
        The layer without errors.
    flips : PixelFlips
        Those of a chip, ``most`` at most `MOST_CHANGE`.
    allowed : int8 array, shape (64 * blocks,)
        Changed neurons up to which the answer of an image is known to stay.
    changed : uint64 array, shape (images, words)
        Filled with the changed neurons of the images that are left, neuron r as bit r % 64 of word
        r // 64.
    active : uint64 array, shape (blocks,)
        Filled with these images, one bit for each.
    start, stop : int
        Blocks.
    """
    # arrays of their own: reaching into a tuple in a loop counts references each time
    pixels, ceiling, fired = state.pixels, state.ceiling, state.fired
    rows, first, middle = flips.rows, flips.first, flips.middle
    places, offset = flips.places, flips.offset
    touched, neurons = len(rows), fired.shape[1]
    found = np.empty(touched, np.uint64)
    # in the order of memory the processor fetches by itself; with gaps it has to be asked
    dense = neurons < 4 * touched < 3 * neurons
    few = len(places) < state.columns
    fetch = first
    if not few:
        fetch = np.arange(touched + 1).astype(np.uint64) * np.uint64(state.columns)
        fetch //= np.uint64(touched)
    for block in range(start, stop):
        base = block * state.columns * 64
        base_of_next = base + state.columns * 64
        counts = fill_bytes(0)
        for j in range(touched):
            soon = np.uint64(min(j + _AHEAD, touched - 1))
            at = (block * neurons + np.int64(rows[soon])) * 64
            begin = at
            if dense:
                begin = (block * neurons + np.int64(rows[soon - np.uint64(j > 0)]) + 1) * 64
            for k in range(begin, at + 64, 32):
                prefetch(ceiling, k)
            # columns that the next block is going to need: in the order of use they come too late
            for k in range(fetch[j], fetch[j + 1]):
                prefetch(pixels, base_of_next + (np.int64(places[k]) if few else 64 * np.int64(k)))
            r = np.int64(rows[j])
            a, b = fill_shorts(0), fill_shorts(0)
            for k in range(first[j], middle[j]):
                at = base + np.int64(places[k])
                a = add(a, load_bytes_as_shorts(pixels, at))
                b = add(b, load_bytes_as_shorts(pixels, at + 32))
            for k in range(middle[j], first[j + 1]):
                at = base + np.int64(places[k])
                a = subtract(a, load_bytes_as_shorts(pixels, at))
                b = subtract(b, load_bytes_as_shorts(pixels, at + 32))
            always = fill_shorts(offset[j])
            at = (block * neurons + r) * 64
            low = greater(add(add(a, a), always), load_shorts(ceiling, at))
            high = greater(add(add(b, b), always), load_shorts(ceiling, at + 32))
            bits = (low | (high << np.uint64(32))) ^ fired[block, r]
            found[j] = bits
            # no branch around it: whether any image changes is foreseen badly
            counts = add_saturated(counts, add_where(fill_bytes(0), bits, fill_bytes(1)))
        here = greater(counts, load_bytes(allowed, 64 * block))
        active[block] = here
        if here != 0:
            _spread(rows, found, here, block, changed)


@njit
def _spread(
    rows: Ints, found: Words, here: np.uint64, block: int, changed: Words
) -> None:  # pragma: no cover
    """Write the changed neurons of the images `here` of a block, image by image."""
    touched = len(rows)
    group = np.zeros(64, np.uint64)
    left = here
    while left != 0:
        image = 64 * block + lowest_bit(left)
        left &= left - np.uint64(1)
        for k in range(changed.shape[1]):
            changed[image, k] = 0
    many = np.int64(popcount(here)) > _FEW_ROWS
    j = 0
    while j < touched:
        word = int(rows[j]) // 64
        begin, number = j, 0
        while j < touched and int(rows[j]) // 64 == word:
            number += (found[j] & here) != 0
            j += 1
        if number == 0:
            continue
        if number <= _FEW_ROWS or not many:
            for i in range(begin, j):
                bit = np.uint64(1) << np.uint64(rows[i] % 64)
                left = found[i] & here
                while left != 0:
                    changed[64 * block + lowest_bit(left), word] |= bit
                    left &= left - np.uint64(1)
            continue
        group[:] = 0
        for i in range(begin, j):
            group[rows[i] % 64] = found[i]
        transpose_bits(group)
        left = here
        while left != 0:
            i = lowest_bit(left)
            left &= left - np.uint64(1)
            changed[64 * block + i, word] = group[i]
