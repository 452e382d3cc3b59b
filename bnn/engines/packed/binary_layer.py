"""Layers with binary inputs, counted in full.

Neurons are counted in half steps: with ``m = direction * z - threshold`` and ``q = floor(m / 2)`` a
neuron fires where ``q >= 0``; a changed input or a flipped weight changes ``q`` by one. Counts
``c`` of unequal bits are compared with a limit: ``direction = 1`` fires where ``c <= limit``,
``direction = -1`` where ``c > limit``.

Weights lie in lanes: word k of neurons 8 b to 8 b + 7 side by side, so that one instruction counts
for eight neurons and four images share what was loaded.
"""

import numpy as np
import numpy.typing as npt

from bnn.machine.aligned import aligned_empty
from bnn.machine.arrays import Longs, Octets, Small
from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.vectors import (
    add,
    at_most,
    exclusive_or,
    fill_words,
    load_words,
    lowest_bit,
    popcount,
    store_words,
)
from bnn.machine.workers import in_threads
from bnn.networks.network import OutputLayer

LANES = 8
ROWS_TOGETHER = 2 * LANES
"""Neurons are padded to a multiple of this."""

_FAR = 1 << 30


def lanes_of(weights: Words) -> Words:
    """Packed weights, shape (rows, words), as flat array from (blocks of eight, words, 8)."""
    rows, words = weights.shape
    padded = -(-rows // ROWS_TOGETHER) * ROWS_TOGETHER
    lanes = aligned_empty((padded // LANES, words, LANES), np.uint64)
    full = np.zeros((padded, words), np.uint64)
    full[:rows] = weights
    lanes[:] = full.reshape(padded // LANES, LANES, words).transpose(0, 2, 1)
    return lanes.reshape(-1)


def limits_of(
    threshold: npt.NDArray[np.int32], direction: Small, *, columns: int
) -> tuple[Longs, Octets]:
    """Limits of counts of unequal bits, padded, and the lanes whose comparison is turned round.

    Returns
    -------
    limit : int64 array, shape (padded rows,)
        A padded neuron never fires.
    turned : uint8 array, shape (padded rows / 8,)
        Bit j of entry b belongs to neuron 8 b + j.
    """
    rows = len(threshold)
    padded = -(-rows // ROWS_TOGETHER) * ROWS_TOGETHER
    limit = np.full(padded, -_FAR, np.int64)
    t = np.clip(threshold.astype(np.int64), -_FAR, _FAR)
    # direction 1: columns - 2 c >= t; direction -1: c >= ceil((t + columns) / 2)
    limit[:rows] = np.where(direction > 0, (columns - t) // 2, -((-t - columns) // 2) - 1)
    turned = np.zeros(padded, np.uint8)
    turned[:rows] = direction < 0
    return limit, np.packbits(turned, bitorder="little")


@njit
def flip_lanes(lanes: Words, words: int, columns: int, places: Longs) -> Words:  # pragma: no cover
    """Copy of weights in lanes with the bits ``row * columns + column``, increasing, flipped."""
    flipped = lanes.copy()
    row, end, base = 0, columns, 0
    for place in places:
        while place >= end:
            row += 1
            end += columns
            base = (row // 8) * words * 8 + row % 8
        column = np.uint64(place - end + columns)
        at = np.uint64(base) + (column >> np.uint64(6)) * np.uint64(8)
        flipped[at] ^= np.uint64(1) << (column & np.uint64(63))
    return flipped


@njit
def count_four(
    bits: Words, words: int, lanes: Words, block: int, counts: Words
) -> None:  # pragma: no cover
    """Unequal bits of four images, flat from (4, words), and of 16 neurons from `block` on.

    ``counts``, flat from (4, 16), is filled.
    """
    a0, a1, b0, b1 = fill_words(0), fill_words(0), fill_words(0), fill_words(0)
    c0, c1, d0, d1 = fill_words(0), fill_words(0), fill_words(0), fill_words(0)
    size = np.uint64(words)
    left = np.int64(block) * words * 8
    right = left + np.int64(words) * 8
    for k in range(size):
        w0 = load_words(lanes, left + np.int64(k) * 8)
        w1 = load_words(lanes, right + np.int64(k) * 8)
        x = fill_words(bits[k])
        a0 = add(a0, popcount(exclusive_or(x, w0)))
        a1 = add(a1, popcount(exclusive_or(x, w1)))
        x = fill_words(bits[size + k])
        b0 = add(b0, popcount(exclusive_or(x, w0)))
        b1 = add(b1, popcount(exclusive_or(x, w1)))
        x = fill_words(bits[np.uint64(2) * size + k])
        c0 = add(c0, popcount(exclusive_or(x, w0)))
        c1 = add(c1, popcount(exclusive_or(x, w1)))
        x = fill_words(bits[np.uint64(3) * size + k])
        d0 = add(d0, popcount(exclusive_or(x, w0)))
        d1 = add(d1, popcount(exclusive_or(x, w1)))
    store_words(counts, 0, a0)
    store_words(counts, 8, a1)
    store_words(counts, 16, b0)
    store_words(counts, 24, b1)
    store_words(counts, 32, c0)
    store_words(counts, 40, c1)
    store_words(counts, 48, d0)
    store_words(counts, 56, d1)


@njit
def fire_four(
    bits: Words,
    words: int,
    lanes: Words,
    limit: Longs,
    turned: Octets,
    counts: Words,
    fired: Words,
) -> None:  # pragma: no cover
    """Bits of all neurons for four images: ``bits`` flat from (4, words), ``fired`` (4, out)."""
    fired[:] = 0
    for block in range(0, len(turned), 2):
        count_four(bits, words, lanes, block, counts)
        l0, l1 = load_words(limit, block * 8), load_words(limit, block * 8 + 8)
        word, shift = block // 8, np.uint64(8 * (block % 8))
        for i in range(4):
            low = at_most(load_words(counts, 16 * i), l0) ^ np.uint64(turned[block])
            high = at_most(load_words(counts, 16 * i + 8), l1) ^ np.uint64(turned[block + 1])
            fired[i, word] |= (low | (high << np.uint64(8))) << shift


@njit
def error_free(
    bits: Words,
    lanes: Words,
    limit: Longs,
    turned: Octets,
    ceiling: Small,
    fired: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """State of a layer without errors, for images `start` to `stop`.

    Parameters
    ----------
    bits : uint64 array, shape (images, words)
        Inputs.
    lanes, limit, turned
        From :func:`lanes_of` and :func:`limits_of`.
    ceiling : int8 array, flat from (images, 64 * out words)
        Filled with ``~q`` cut to 8 bits; empty where it is not wanted.
    fired : uint64 array, shape (images, out words)
        Filled with the bits of the neurons.
    """
    words = bits.shape[1]
    four, counts = np.empty(4 * words, np.uint64), np.empty(64, np.uint64)
    out = np.empty((4, fired.shape[1]), np.uint64)
    for image in range(start, stop, 4):
        here = min(4, stop - image)
        for i in range(4):
            for k in range(words):
                four[i * words + k] = bits[min(image + i, stop - 1), k]
        fire_four(four, words, lanes, limit, turned, counts, out)
        for i in range(here):
            fired[image + i] = out[i]
        if ceiling.size == 0:
            continue
        for block in range(0, len(turned), 2):
            count_four(four, words, lanes, block, counts)
            for i in range(here):
                for j in range(16):
                    r = block * 8 + j
                    c = np.int64(counts[16 * i + j])
                    q = limit[r] - c
                    if (turned[r // 8] >> (r % 8)) & 1:
                        q = c - limit[r] - 1
                    ceiling[(image + i) * 64 * fired.shape[1] + r] = ~min(max(q, -128), 127)


@njit
def sums(
    bits: Words, lanes: Words, columns: int, z: Longs, start: int, stop: int
) -> None:  # pragma: no cover
    """Pre-activations ``z``, shape (images, rows), for images `start` to `stop`."""
    words, rows = bits.shape[1], z.shape[1]
    four, counts = np.empty(4 * words, np.uint64), np.empty(64, np.uint64)
    for image in range(start, stop, 4):
        for i in range(4):
            for k in range(words):
                four[i * words + k] = bits[min(image + i, stop - 1), k]
        for block in range(0, -(-rows // 16) * 2, 2):
            count_four(four, words, lanes, block, counts)
            for i in range(min(4, stop - image)):
                for r in range(8 * block, min(rows, 8 * block + 16)):
                    z[image + i, r] = columns - 2 * np.int64(counts[16 * i + r - 8 * block])


def output_answers(layer: OutputLayer, bits: Words, threads: int) -> Longs:
    """Answers of the output layer for packed inputs, shape (images, words)."""
    found = np.zeros(len(bits), np.int64)
    lanes = lanes_of(layer.weights)
    blocks = -(-len(bits) // 64)
    active = np.full(blocks, ~np.uint64(0))
    if len(bits) % 64:
        active[-1] = (1 << len(bits) % 64) - 1
    none = np.zeros_like(bits)

    def work(start: int, stop: int) -> None:
        answers(
            bits, none, active, lanes, layer.columns, layer.scale, layer.shift, found, start, stop
        )

    in_threads(work, blocks, threads)
    return found


@njit
def answers(
    bits: Words,
    changed: Words,
    active: Words,
    lanes: Words,
    columns: int,
    scale: npt.NDArray[np.float64],
    shift: npt.NDArray[np.float64],
    result: Longs,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Classes with the highest score, the lowest one on a tie, for blocks `start` to `stop`.

    ``lanes``, from :func:`lanes_of`, have the errors of the chip. Images that are not in
    ``active``, shape (blocks of 64 images,), keep what stands in ``result``.
    """
    words, classes = bits.shape[1], len(scale)
    four, counts = np.empty(4 * words, np.uint64), np.empty(64, np.uint64)
    waiting = np.zeros(4, np.int64)
    highest, best = np.empty(4), np.empty(4, np.int64)
    number = 0
    for block in range(start, stop + 1):
        left = active[block] if block < stop else np.uint64(0)
        while left != 0 or (number > 0 and block == stop):
            if left != 0:
                image = 64 * block + lowest_bit(left)
                left &= left - np.uint64(1)
                for k in range(words):
                    four[number * words + k] = bits[image, k] ^ changed[image, k]
                waiting[number] = image
                number += 1
                if number < 4:
                    continue
            for rows in range(0, -(-classes // 16) * 2, 2):
                count_four(four, words, lanes, rows, counts)
                for r in range(8 * rows, min(classes, 8 * rows + 16)):
                    for i in range(4):
                        count = np.int64(counts[16 * i + r - 8 * rows])
                        # two roundings, as everywhere
                        score = np.float64(columns - 2 * count) * scale[r]
                        score += shift[r]
                        if r == 0 or score > highest[i]:
                            highest[i], best[i] = score, r
            for i in range(number):
                result[waiting[i]] = best[i]
            number = 0
