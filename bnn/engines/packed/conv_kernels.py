"""Sums of windows of packed maps: the kernels of convolutions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bnn.engines.packed.binary_layer import LANES, count_four
from bnn.engines.packed.conv_types import MapShape, PackedConvolution
from bnn.machine.arrays import Longs, Small
from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.vector_memory import store_cut
from bnn.machine.vectors import (
    add,
    at_most,
    exclusive_or,
    fill_words,
    load_words,
    popcount,
    store_words,
    subtract,
)


class Scratch(NamedTuple):
    """Room for the work on one image; filled anew for each.

    Attributes
    ----------
    padded : uint64 array, flat from (height + kernel - 1, width + kernel - 1, words)
        Inputs with a border of zeros, and a vector more.
    four : uint64 array, flat from (4, taps * words)
        Inputs of four positions, and a vector more.
    found : uint64 array, shape (padded rows / 16,)
        Comparisons of four positions.
    counts : uint64 array, flat from (4, 16)
        Counts of four positions.
    """

    padded: Words
    four: Words
    found: Words
    counts: Words


@njit
def scratch_of(packed: PackedConvolution, words: int) -> Scratch:  # pragma: no cover
    """Room for maps with so many words to a position."""
    height, width, kernel, _ = packed.shape
    return Scratch(
        np.zeros((height + kernel - 1) * (width + kernel - 1) * words + LANES, np.uint64),
        np.empty(4 * kernel * kernel * words + LANES, np.uint64),
        np.empty(len(packed.turned) // 2, np.uint64),
        np.empty(64, np.uint64),
    )


@njit
def convolve(
    maps: Words, packed: PackedConvolution, fired: Words, sums: Longs, ceiling: Small
) -> None:  # pragma: no cover
    """Outputs of all images, and their sums or what decides them where these are asked for."""
    scratch = scratch_of(packed, maps.shape[2])
    flat = maps.reshape(-1)
    out = fired.reshape(-1)
    size, out_size = maps.shape[1] * maps.shape[2], fired.shape[1] * fired.shape[2]
    for image in range(len(maps)):
        count_map(flat, image * size, maps.shape[2], packed, scratch, out, image * out_size)
        if sums.size > 0 or ceiling.size > 0:
            _detail(image, packed, maps.shape[2], scratch, sums, ceiling)


@njit
def pad_map(
    bits: Words, start: int, words: int, shape: MapShape, padded: Words
) -> None:  # pragma: no cover
    """Copy a map, from ``bits[start]`` on, into one with a border of zeros."""
    half, across = shape.kernel // 2, shape.width + shape.kernel - 1
    for y in range(shape.height):
        to = ((y + half) * across + half) * words
        padded[to : to + shape.width * words] = bits[start : start + shape.width * words]
        start += shape.width * words


@njit
def count_map(
    bits: Words,
    start: int,
    words: int,
    packed: PackedConvolution,
    scratch: Scratch,
    fired: Words,
    at: int,
) -> None:  # pragma: no cover
    """Outputs of one image, counted in full.

    Parameters
    ----------
    bits : uint64 array, flat
        Inputs, from ``bits[start]`` on those of the image, (height * width, words).
    start, words : int
        Where the image starts, and words of a position.
    packed : PackedConvolution
        Weights and limits.
    scratch : Scratch
        From :func:`scratch_of`.
    fired : uint64 array, flat
        Filled from ``fired[at]`` on, (positions after the pooling, out words).
    at : int
        Where the outputs of the image start.
    """
    height, width, kernel, pool = packed.shape
    pad_map(bits, start, words, packed.shape, scratch.padded)
    positions, out_words = height * width, len(packed.upward)
    padded = LANES * len(packed.turned)
    sixteen = np.uint64(0xFFFF)
    for first in range(0, positions, 4):
        p0, p1, p2, p3 = four_positions(first, positions, width, pool)
        gather_four(scratch, words, width, kernel, p0, p1, p2, p3)
        _fire_four(
            scratch.four,
            kernel * kernel * words,
            packed.lanes,
            packed.limit,
            np.int64(packed.kind[p0]) * padded,
            np.int64(packed.kind[p1]) * padded,
            np.int64(packed.kind[p2]) * padded,
            np.int64(packed.kind[p3]) * padded,
            scratch.found,
        )
        here = 1 if pool == 2 else min(4, positions - first)
        fired[at : at + here * out_words] = 0
        for pair in range(len(scratch.found)):
            bits_of_four = scratch.found[pair]
            turn = np.uint64(packed.turned[2 * pair])
            turn |= np.uint64(packed.turned[2 * pair + 1]) << np.uint64(8)
            word, shift = pair // 4, np.uint64(16 * (pair % 4))
            if pool == 2:
                # the maximum fires where any count is at most the limit; turned, where none is
                two = bits_of_four | (bits_of_four >> np.uint64(32))
                fired[at + word] |= (((two | (two >> np.uint64(16))) & sixteen) ^ turn) << shift
                continue
            for i in range(here):
                one = (bits_of_four >> np.uint64(16 * i)) & sixteen
                fired[at + i * out_words + word] |= (one ^ turn) << shift
        at += here * out_words


@njit
def four_positions(
    first: int, positions: int, width: int, pool: int
) -> tuple[int, int, int, int]:  # pragma: no cover
    """Positions from `first` on, or of a block of the pooling; the last one beyond the map."""
    p0, p1, p2, p3 = first, first + 1, first + 2, first + 3
    if pool == 2:
        block = first // 4
        p0 = 2 * width * (block // (width // 2)) + 2 * (block % (width // 2))
        p1, p2, p3 = p0 + 1, p0 + width, p0 + width + 1
    return p0, min(p1, positions - 1), min(p2, positions - 1), min(p3, positions - 1)


@njit
def gather_four(
    scratch: Scratch, words: int, width: int, kernel: int, p0: int, p1: int, p2: int, p3: int
) -> None:  # pragma: no cover
    """Words of the taps of four positions."""
    across, span = width + kernel - 1, kernel * words
    at = 0
    for p in (p0, p1, p2, p3):
        source = ((p // width) * across + p % width) * words
        for _ in range(kernel):
            # taps side by side lie side by side; what is copied beyond is overwritten
            for k in range(0, span, LANES):
                store_words(scratch.four, at + k, load_words(scratch.padded, source + k))
            at += span
            source += across * words


@njit
def _fire_four(
    four: Words,
    words: int,
    lanes: Words,
    limit: Longs,
    l0: int,
    l1: int,
    l2: int,
    l3: int,
    found: Words,
) -> None:  # pragma: no cover
    """Where counts are at most the limit, 16 neurons of each of four positions to a word."""
    size = np.uint64(words)
    left, right = np.int64(0), np.int64(words) * 8
    for pair in range(len(found)):
        a0, a1, b0, b1 = fill_words(0), fill_words(0), fill_words(0), fill_words(0)
        c0, c1, d0, d1 = fill_words(0), fill_words(0), fill_words(0), fill_words(0)
        for k in range(size):
            w0 = load_words(lanes, left + np.int64(k) * 8)
            w1 = load_words(lanes, right + np.int64(k) * 8)
            x = fill_words(four[k])
            a0 = add(a0, popcount(exclusive_or(x, w0)))
            a1 = add(a1, popcount(exclusive_or(x, w1)))
            x = fill_words(four[size + k])
            b0 = add(b0, popcount(exclusive_or(x, w0)))
            b1 = add(b1, popcount(exclusive_or(x, w1)))
            x = fill_words(four[np.uint64(2) * size + k])
            c0 = add(c0, popcount(exclusive_or(x, w0)))
            c1 = add(c1, popcount(exclusive_or(x, w1)))
            x = fill_words(four[np.uint64(3) * size + k])
            d0 = add(d0, popcount(exclusive_or(x, w0)))
            d1 = add(d1, popcount(exclusive_or(x, w1)))
        row = 16 * pair
        one = at_most(a0, load_words(limit, l0 + row))
        one |= at_most(a1, load_words(limit, l0 + row + 8)) << np.uint64(8)
        one |= at_most(b0, load_words(limit, l1 + row)) << np.uint64(16)
        one |= at_most(b1, load_words(limit, l1 + row + 8)) << np.uint64(24)
        one |= at_most(c0, load_words(limit, l2 + row)) << np.uint64(32)
        one |= at_most(c1, load_words(limit, l2 + row + 8)) << np.uint64(40)
        one |= at_most(d0, load_words(limit, l3 + row)) << np.uint64(48)
        one |= at_most(d1, load_words(limit, l3 + row + 8)) << np.uint64(56)
        found[pair] = one
        left, right = left + 2 * np.int64(words) * 8, right + 2 * np.int64(words) * 8


@njit
def _detail(
    image: int,
    packed: PackedConvolution,
    words: int,
    scratch: Scratch,
    sums: Longs,
    ceiling: Small,
) -> None:  # pragma: no cover
    """Pre-activations or margins of all positions of the image that was counted last."""
    height, width, kernel, _ = packed.shape
    positions, out_words = height * width, len(packed.upward)
    size, padded = kernel * kernel * words, LANES * len(packed.turned)
    counts = scratch.counts
    complement = np.empty(padded, np.int64)
    for r in range(padded):
        complement[r] = np.int64((packed.turned[r // 8] >> (r % 8)) & 1) - 1
    for first in range(0, positions, 4):
        here = min(4, positions - first)
        p0, p1, p2, p3 = four_positions(first, positions, width, 1)
        gather_four(scratch, words, width, kernel, p0, p1, p2, p3)
        for block in range(0, len(packed.turned), 2):
            count_four(scratch.four, size, packed.lanes, block, counts)
            for i in range(here):
                p = first + i
                at = np.int64(packed.kind[p]) * padded + 8 * block
                if sums.size > 0:
                    for r in range(8 * block, min(sums.shape[2], 8 * block + 16)):
                        count = np.int64(counts[16 * i + r - 8 * block])
                        sums[image, p, r] = packed.valid[at + r - 8 * block] - 2 * count
                if ceiling.size > 0:
                    for j in range(2):
                        # ~q: count - limit - 1, or its complement where it is turned round
                        a = load_words(packed.limit, at + 8 * j)
                        a = subtract(a, load_words(counts, 16 * i + 8 * j))
                        row = 8 * (block + j)
                        a = exclusive_or(a, load_words(complement, row))
                        store_cut(ceiling, (image * positions + p) * 64 * out_words + row, a)
