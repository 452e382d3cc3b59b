"""Sums of signed pixels for 64 images at a time, by tables in memory: works on every processor.

Images lie in blocks of 64, the image as the last axis. What a group of six columns adds to a neuron
depends on six weights, so the 64 sums that are possible are tabulated for each block.
:mod:`bnn.engines.pixels.lit_groups` does the same faster where the processor can.
"""

import numpy as np
import numpy.typing as npt

from bnn.machine.arrays import Ints, Octets, Shorts
from bnn.machine.bit_matrix import transpose_bits
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, unpack_signs
from bnn.machine.vector_memory import load_bytes_as_shorts
from bnn.machine.vectors import (
    add,
    fill_bytes,
    fill_shorts,
    greater,
    load_bytes,
    load_shorts,
    store_shorts,
    subtract,
)

BLOCK = 64
"""Images of a block."""

PIXEL_LEVELS = 255
_FAR = 1 << 30


def pixel_blocks(images: Octets) -> Octets:
    """Turn images, shape (images, pixels), into shape (blocks, pixels, 64); the rest is zero."""
    count, pixels = images.shape
    blocks = -(-count // BLOCK)
    padded = np.zeros((blocks * BLOCK, pixels), np.uint8)
    padded[:count] = images
    return np.ascontiguousarray(padded.reshape(blocks, BLOCK, pixels).transpose(0, 2, 1))


GROUP = 6
"""Columns whose 64 signed sums are tabulated together."""

GROUPS_TOGETHER = 5  # their tables, 40 kB, stay in the fastest cache
_PASSES_SHORT = 4  # 4 * 5 * 6 columns of at most 255 fit 16 bits


@njit
def patterns_of(weights: Words, columns: int) -> npt.NDArray[np.uint32]:  # pragma: no cover
    """Places in the tables of each group of columns, shape (passes, neurons, 5).

    Groups are filled up to a multiple of five with columns that every image has dark.
    """
    together = GROUP * GROUPS_TOGETHER
    passes = -(-columns // together)
    patterns = np.zeros((passes, len(weights), GROUPS_TOGETHER), np.uint32)
    for r in range(len(weights)):
        for c in range(columns):
            bit = (weights[r, c // 64] >> np.uint64(c % 64)) & np.uint64(1)
            group = (c % together) // GROUP
            patterns[c // together, r, group] |= np.uint32(bit << np.uint64(c % GROUP))
    for g in range(GROUPS_TOGETHER):
        patterns[:, :, g] = (patterns[:, :, g] + np.uint32(64 * g)) * np.uint32(64)
    return patterns


@njit
def _tabulate(
    pixels: Octets, base: int, columns: int, group: int, tables: Shorts, at: int
) -> None:  # pragma: no cover
    """All signed sums of the pixels of a group for 64 images, from ``tables[at]`` on."""
    for half in range(0, 64, 32):
        a = fill_shorts(0)
        for j in range(GROUP):
            c = GROUP * group + j
            if c < columns:
                a = subtract(a, load_bytes_as_shorts(pixels, base + 64 * c + half))
        store_shorts(tables, at + half, a)
        for j in range(GROUP):
            c = GROUP * group + j
            x = fill_shorts(0)
            if c < columns:
                x = load_bytes_as_shorts(pixels, base + 64 * c + half)
                x = add(x, x)
            for m in range(1 << j):
                a = add(load_shorts(tables, at + 64 * m + half), x)
                store_shorts(tables, at + 64 * (m + (1 << j)) + half, a)


@njit
def pixel_sums(
    pixels: Octets,
    block: int,
    columns: int,
    patterns: npt.NDArray[np.uint32],
    tables: Shorts,
    short: Shorts,
    sums: Ints,
) -> None:  # pragma: no cover
    """Sums of signed pixels of all neurons for one block, by tables of groups of columns.

    Parameters
    ----------
    pixels : uint8 array, flat from (blocks, columns, 64)
        Pixels.
    block, columns : int
        Block, and pixels of an image.
    patterns : uint32 array, shape (passes, neurons, 5)
        From :func:`patterns_of`.
    tables, short : int16 array, flat from (5 * 64, 64) and (neurons, 64)
        Scratch.
    sums : int32 array, flat from (neurons, 64)
        Filled with ``sum of weight * pixel``.

    Notes
    -----
    The table of a group costs 63 sums and saves five of six additions of every neuron (Arlazarov,
    Dinic, Kronrod and Faradzev 1970, for products of bit matrices).
    """
    passes, neurons, _ = patterns.shape
    flat = patterns.reshape(-1)
    base = block * columns * 64
    sums[:] = 0
    short[:] = 0
    for number in range(passes):
        for g in range(GROUPS_TOGETHER):
            _tabulate(pixels, base, columns, number * GROUPS_TOGETHER + g, tables, 4096 * g)
        # unsigned numbers index without a test for negative ones
        place = np.uint64(number * neurons * GROUPS_TOGETHER)
        for r in range(neurons):
            at = np.int64(r) * 64
            a, b = load_shorts(short, at), load_shorts(short, at + 32)
            for _ in range(GROUPS_TOGETHER):
                table = np.int64(flat[place])
                a = add(a, load_shorts(tables, table))
                b = add(b, load_shorts(tables, table + 32))
                place += np.uint64(1)
            store_shorts(short, at, a)
            store_shorts(short, at + 32, b)
        if number % _PASSES_SHORT == _PASSES_SHORT - 1 or number == passes - 1:
            for i in range(64 * neurons):
                sums[i] += short[i]
            short[:] = 0


def least_sums(
    weights: Words,
    columns: int,
    threshold: npt.NDArray[np.int32],
    direction: npt.NDArray[np.int8],
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """From which sum of signed pixels on neurons fire, and which do the opposite."""
    # direction * (2 s - 255 total) >= threshold, for the sum s of signed pixels
    total = unpack_signs(weights, columns=columns).sum(axis=1, dtype=np.int64)
    t = np.clip(threshold.astype(np.int64), -_FAR, _FAR)
    upward = direction > 0
    limit = np.where(upward, t, 1 - t) + PIXEL_LEVELS * total
    return (-(-limit // 2)).astype(np.int32), ~upward


@njit
def fired_words(
    pixels: Octets,
    columns: int,
    patterns: npt.NDArray[np.uint32],
    least: Ints,
    turned: npt.NDArray[np.bool_],
    bits: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Bits of all neurons by image, for blocks `start` to `stop`.

    A neuron fires where its sum of signed pixels is at least ``least``, the opposite where it is
    ``turned``; ``bits`` has the shape (images, words).
    """
    neurons = patterns.shape[1]
    tables = np.empty(4096 * GROUPS_TOGETHER, np.int16)
    short, sums = np.empty(64 * neurons, np.int16), np.empty(64 * neurons, np.int32)
    flags = np.empty(64, np.int8)
    group = np.empty(64, np.uint64)
    for block in range(start, stop):
        pixel_sums(pixels, block, columns, patterns, tables, short, sums)
        for word in range(bits.shape[1]):
            group[:] = 0
            for r in range(64 * word, min(neurons, 64 * word + 64)):
                for i in range(64):
                    flags[i] = sums[64 * r + i] >= least[r]
                fired = greater(load_bytes(flags, 0), fill_bytes(0))
                group[r - 64 * word] = ~fired if turned[r] else fired
            transpose_bits(group)
            for i in range(min(64, len(bits) - 64 * block)):
                bits[64 * block + i, word] = group[i]
