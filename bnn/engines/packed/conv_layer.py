"""Convolutions on packed words: the neurons of a position count like those of a layer.

A map of signs has a few words for each position, (image, row, column, words), channel c as bit
c % 64 of word c // 64. The inputs of a position are the words of its taps; taps outside the map are
words of zeros, and the bits of weights that they wrongly count are known beforehand: limits differ
between positions inside and near an edge.

Four positions share what is loaded of the weights: those that are pooled together, so that only
pooled bits are written, or four neighbours.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.engines.packed.binary_layer import LANES, ROWS_TOGETHER, count_four, lanes_of
from bnn.engines.pixels import pixel_conv
from bnn.engines.pixels.pixel_conv import NO_SUMS
from bnn.machine.aligned import aligned_copy
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, pack_bits, word_count
from bnn.machine.vectors import (
    add,
    at_most,
    exclusive_or,
    fill_words,
    load_words,
    popcount,
    store_cut,
    store_words,
    subtract,
)
from bnn.networks.network import ConvLayer

_FAR = 1 << 30

Octets = npt.NDArray[np.uint8]
Small = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]

NO_CEILING = np.empty(0, np.int8)


class MapShape(NamedTuple):
    """Shape of a convolution; see `ConvLayer`."""

    height: int
    width: int
    kernel: int
    pool: int


class PackedConvolution(NamedTuple):
    """Weights and limits of a convolution with binary inputs.

    Attributes
    ----------
    shape : MapShape
        Shape.
    lanes : uint64 array, flat
        Weights tap by tap, every tap in whole words; see `binary_layer.lanes_of`.
    kind : int32 array, shape (height * width,)
        Kind of each position: which taps lie outside the map.
    outside : bool array, shape (kinds, taps)
        Taps outside the map.
    limit : int64 array, flat from (kinds, padded rows)
        A neuron fires where the count of unequal bits is at most the limit.
    valid : int64 array, flat from (kinds, padded rows)
        ``z = valid - 2 * count``.
    turned : uint8 array, shape (padded rows / 8,)
        Neurons that fire where it is above the limit.
    upward : uint64 array, shape (out words,)
        Neurons that fire after the pooling where any position does; the others, where all do.
    """

    shape: MapShape
    lanes: Words
    kind: Ints
    outside: npt.NDArray[np.bool_]
    limit: Longs
    valid: Longs
    turned: Octets
    upward: Words


def pack_convolution(layer: ConvLayer) -> PackedConvolution:
    """Weights and limits of a convolution whose inputs are signs."""
    taps = layer.kernel**2
    rows = len(layer.weights)
    words = word_count(layer.channels)
    if layer.channels % 64 == 0:
        by_tap = layer.weights.reshape(rows, taps, words)
    else:
        by_tap = _by_tap(layer.weights, taps, layer.channels, words)
    # kinds of positions by the taps outside the map
    half = layer.kernel // 2
    row, column = np.divmod(np.arange(layer.height * layer.width), layer.width)
    i, j = np.divmod(np.arange(taps), layer.kernel)
    y, x = row[:, None] + i - half, column[:, None] + j - half
    outside = (y < 0) | (y >= layer.height) | (x < 0) | (x >= layer.width)
    kinds, kind = np.unique(outside, axis=0, return_inverse=True)
    ones = np.bitwise_count(by_tap).sum(axis=2, dtype=np.int64)
    wrong = kinds.astype(np.int64) @ ones.T
    inputs = (~kinds).sum(axis=1)[:, None] * layer.channels
    padded = -(-rows // ROWS_TOGETHER) * ROWS_TOGETHER
    limit = np.full((len(kinds), padded), -_FAR, np.int64)
    valid = np.zeros((len(kinds), padded), np.int64)
    t = np.clip(layer.threshold.astype(np.int64), -_FAR, _FAR)
    up = layer.direction > 0
    limit[:, :rows] = np.where(up, (inputs - t) // 2, -((-t - inputs) // 2) - 1) + wrong
    valid[:, :rows] = inputs + 2 * wrong
    turned = np.zeros(padded, np.uint8)
    turned[:rows] = ~up
    return PackedConvolution(
        MapShape(layer.height, layer.width, layer.kernel, layer.pool),
        aligned_copy(lanes_of(np.ascontiguousarray(by_tap.reshape(rows, taps * words)))),
        kind.ravel().astype(np.int32),
        kinds,
        aligned_copy(limit.reshape(-1)),
        aligned_copy(valid.reshape(-1)),
        np.packbits(turned, bitorder="little"),
        pack_bits(up[None])[0],
    )


def conv_bits(
    layer: ConvLayer,
    packed: PackedConvolution,
    maps: Words,
    sums: Longs = NO_SUMS,
    ceiling: Small = NO_CEILING,
) -> Words:
    """Outputs of a convolution with binary inputs.

    Parameters
    ----------
    layer : ConvLayer
        The layer.
    packed : PackedConvolution
        From :func:`pack_convolution`.
    maps : uint64 array, shape (images, height * width, words)
        Inputs.
    sums : int64 array, shape (images, height * width, output channels)
        Filled with the pre-activations before the pooling unless it is empty.
    ceiling : int8 array, flat from (images, height * width, 64 * out words)
        Filled with ``~q``, in half steps as in :mod:`bnn.engines.packed.binary_layer`, cut to 8
        bits, unless it is empty.

    Returns
    -------
    uint64 array, shape (images, positions after the pooling, out words)
    """
    height, width, rows = layer.output_shape
    fired = np.empty((len(maps), height * width, word_count(rows)), np.uint64)
    _convolve(maps, packed, fired, sums, ceiling)
    return fired


def pixel_conv_bits(
    layer: ConvLayer, images: npt.NDArray[np.uint8], sums: Longs = NO_SUMS
) -> Words:
    """Outputs of a convolution that reads pixels, shape (images, channels * height * width).

    Parameters and result otherwise as of :func:`conv_bits`.
    """
    return pooled(layer, pixel_conv.fire_all_pixels(layer, images, sums))


def flat_bits(maps: Words, channels: int) -> Words:
    """Maps, shape (images, positions, words), as inputs of a layer, (images, words)."""
    if channels % 64 == 0:
        return maps.reshape(len(maps), -1)
    return _flat(maps, channels, word_count(maps.shape[1] * channels))


def pooled(layer: ConvLayer, fired: Words) -> Words:
    """Bits after the pooling, from bits of shape (images, height * width, words)."""
    if layer.pool == 1:
        return fired
    (upward,) = pack_bits((layer.direction > 0)[None])
    height, width, _ = layer.output_shape
    found = np.empty((len(fired), height * width, fired.shape[2]), np.uint64)
    _pool(fired, layer.width, upward, found)
    return found


@njit
def _pool(fired: Words, width: int, upward: Words, found: Words) -> None:  # pragma: no cover
    images, positions, words = found.shape
    for image in range(images):
        for p in range(positions):
            at = 2 * width * (p // (width // 2)) + 2 * (p % (width // 2))
            for k in range(words):
                a, b = fired[image, at, k], fired[image, at + 1, k]
                c, d = fired[image, at + width, k], fired[image, at + width + 1, k]
                # the maximum fires where any does; turned round, where all do
                found[image, p, k] = ((a | b | c | d) & upward[k]) | (a & b & c & d & ~upward[k])


@njit
def _by_tap(weights: Words, taps: int, channels: int, words: int) -> Words:  # pragma: no cover
    """Weights, shape (rows, taps, words), every tap in words of its own."""
    found = np.zeros((len(weights), taps, words), np.uint64)
    for r in range(len(weights)):
        for tap in range(taps):
            for c in range(channels):
                at = tap * channels + c
                bit = (weights[r, at // 64] >> np.uint64(at % 64)) & np.uint64(1)
                found[r, tap, c // 64] |= bit << np.uint64(c % 64)
    return found


@njit
def _flat(maps: Words, channels: int, words: int) -> Words:  # pragma: no cover
    images, positions, _ = maps.shape
    found = np.zeros((images, words), np.uint64)
    for image in range(images):
        for p in range(positions):
            for c in range(channels):
                at = p * channels + c
                bit = (maps[image, p, c // 64] >> np.uint64(c % 64)) & np.uint64(1)
                found[image, at // 64] |= bit << np.uint64(at % 64)
    return found


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
def _convolve(
    maps: Words, packed: PackedConvolution, fired: Words, sums: Longs, ceiling: Small
) -> None:  # pragma: no cover
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
