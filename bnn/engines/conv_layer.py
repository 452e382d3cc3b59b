"""Convolutions on packed words: the neurons of a position count like those of a layer.

A map of signs has a few words for each position, (image, row, column, words), channel c as bit
c % 64 of word c // 64. The inputs of a position are the words of its taps; taps outside the map are
words of zeros, and the bits of weights that they wrongly count are known beforehand: limits differ
between positions inside and near an edge.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from bnn.engines import binary_layer, bit_matrix, vectors
from bnn.engines.binary_layer import LANES, ROWS_TOGETHER, count_four, lanes_of
from bnn.engines.bit_matrix import transpose_bits
from bnn.engines.vectors import (
    add,
    at_most,
    fill_bytes,
    fill_shorts,
    greater,
    load_bytes,
    load_shorts,
    load_words,
    store_shorts,
    subtract,
)
from bnn.network import ConvLayer, layer_signs
from bnn.packing import Words, pack_bits, word_count
from bnn.stored_code import forget_stale

forget_stale(__file__, binary_layer, bit_matrix, vectors)

_FAR = 1 << 30
_MOST_SHORT = 128  # 128 * 255 fits 16 bits
_VECTOR = 32

Octets = npt.NDArray[np.uint8]
Shorts = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PackedConvolution:
    """Weights and limits of a convolution with binary inputs.

    Attributes
    ----------
    lanes : uint64 array, flat
        Weights tap by tap, every tap in whole words; see `binary_layer.lanes_of`.
    kind : int32 array, shape (height * width,)
        Kind of each position: which taps lie outside the map.
    limit : int64 array, flat from (kinds, padded rows)
        A neuron fires where the count of unequal bits is at most the limit.
    valid : int64 array, flat from (kinds, padded rows)
        ``z = valid - 2 * count``.
    turned : uint8 array, shape (padded rows / 8,)
        Neurons that fire where it is above the limit.
    """

    lanes: Words
    kind: Ints
    limit: Longs
    valid: Longs
    turned: Octets


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
        lanes_of(np.ascontiguousarray(by_tap.reshape(rows, taps * words))),
        kind.ravel().astype(np.int32),
        limit.reshape(-1),
        valid.reshape(-1),
        np.packbits(turned, bitorder="little"),
    )


def conv_bits(layer: ConvLayer, packed: PackedConvolution, maps: Words, sums: Longs) -> Words:
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

    Returns
    -------
    uint64 array, shape (images, positions after the pooling, out words)
    """
    fired = np.empty((len(maps), maps.shape[1], word_count(len(layer.weights))), np.uint64)
    _convolve(
        maps,
        layer.height,
        layer.width,
        layer.kernel,
        packed.lanes,
        packed.kind,
        packed.limit,
        packed.valid,
        packed.turned,
        fired,
        sums,
    )
    return _pooled(layer, fired)


def pixel_conv_bits(layer: ConvLayer, images: npt.NDArray[np.uint8], sums: Longs) -> Words:
    """Outputs of a convolution that reads pixels, shape (images, channels * height * width).

    Parameters and result otherwise as of :func:`conv_bits`.
    """
    half = layer.kernel // 2
    maps = images.reshape(-1, layer.channels, layer.height, layer.width)
    across = -(-layer.width // _VECTOR) * _VECTOR + 2 * half
    shape = (len(maps), layer.channels, layer.height + 2 * half, across)
    padded = np.zeros(shape, np.int16)
    rows, columns = slice(half, half + layer.height), slice(half, half + layer.width)
    padded[:, :, rows, columns] = 2 * maps.astype(np.int16) - 255
    words = word_count(len(layer.weights))
    fired = np.empty((len(maps), layer.height * layer.width, words), np.uint64)
    _convolve_pixels(
        padded.reshape(-1),
        layer.height,
        layer.width,
        layer.channels,
        layer.kernel,
        across,
        layer_signs(layer),
        np.clip(layer.threshold, -_FAR, _FAR).astype(np.int32),
        layer.direction,
        fired,
        sums,
    )
    return _pooled(layer, fired)


def flat_bits(maps: Words, channels: int) -> Words:
    """Maps, shape (images, positions, words), as inputs of a layer, (images, words)."""
    if channels % 64 == 0:
        return maps.reshape(len(maps), -1)
    return _flat(maps, channels, word_count(maps.shape[1] * channels))


def _pooled(layer: ConvLayer, fired: Words) -> Words:
    if layer.pool == 1:
        return fired
    # the maximum fires where any does; turned round, where all do
    (upward,) = pack_bits((layer.direction > 0)[None])
    shape = (len(fired), layer.height // 2, 2, layer.width // 2, 2, fired.shape[-1])
    blocks = fired.reshape(shape)
    a, b, c, d = (blocks[:, :, i, :, j] for i in (0, 1) for j in (0, 1))
    found = ((a | b | c | d) & upward) | (a & b & c & d & ~upward)
    return np.ascontiguousarray(found.reshape(len(fired), -1, fired.shape[-1]))


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def _convolve(
    maps: Words,
    height: int,
    width: int,
    kernel: int,
    lanes: Words,
    kind: Ints,
    limit: Longs,
    valid: Longs,
    turned: Octets,
    fired: Words,
    sums: Longs,
) -> None:  # pragma: no cover
    images, positions, words = maps.shape
    half, padded = kernel // 2, LANES * len(turned)
    size = kernel * kernel * words
    four, counts = np.empty(4 * size, np.uint64), np.empty(64, np.uint64)
    for image in range(images):
        for first in range(0, positions, 4):
            here = min(4, positions - first)
            for i in range(4):
                p = min(first + i, positions - 1)
                row, column = p // width, p % width
                at = i * size
                for y in range(row - half, row + half + 1):
                    for x in range(column - half, column + half + 1):
                        inside = 0 <= y < height and 0 <= x < width
                        for k in range(words):
                            four[at] = maps[image, y * width + x, k] if inside else np.uint64(0)
                            at += 1
            for i in range(here):
                for k in range(fired.shape[2]):
                    fired[image, first + i, k] = 0
            for block in range(0, len(turned), 2):
                count_four(four, size, lanes, block, counts)
                word, shift = block // 8, np.uint64(8 * (block % 8))
                for i in range(here):
                    at = np.int64(kind[first + i]) * padded + 8 * block
                    low = at_most(load_words(counts, 16 * i), load_words(limit, at))
                    high = at_most(load_words(counts, 16 * i + 8), load_words(limit, at + 8))
                    low ^= np.uint64(turned[block])
                    high ^= np.uint64(turned[block + 1])
                    fired[image, first + i, word] |= (low | (high << np.uint64(8))) << shift
                    if sums.size > 0:
                        for r in range(8 * block, min(sums.shape[2], 8 * block + 16)):
                            count = np.int64(counts[16 * i + r - 8 * block])
                            sums[image, first + i, r] = valid[at + r - 8 * block] - 2 * count


@numba.njit(nogil=True, cache=True)
def _tap_sum(maps: Shorts, at: int, places: Words, r: int, turn: int) -> Any:  # pragma: no cover
    """Sum of up to 128 signed taps for 32 positions."""
    a = fill_shorts(0)
    for j in range(np.uint64(0), np.uint64(turn)):
        a = add(a, load_shorts(maps, at + np.int64(places[r, j])))
    for j in range(np.uint64(turn), np.uint64(places.shape[1])):
        a = subtract(a, load_shorts(maps, at + np.int64(places[r, j])))
    return a


@numba.njit(nogil=True, cache=True)
def _convolve_pixels(
    maps: Shorts,
    height: int,
    width: int,
    channels: int,
    kernel: int,
    across: int,
    signs: npt.NDArray[np.int8],
    threshold: Ints,
    direction: npt.NDArray[np.int8],
    fired: Words,
    sums: Longs,
) -> None:  # pragma: no cover
    images, _, words = fired.shape
    rows, columns = signs.shape
    down = height + 2 * (kernel // 2)
    # pixels that are added come first, those that are taken away after them
    places, turn = np.empty((rows, columns), np.uint64), np.empty(rows, np.int64)
    for r in range(rows):
        left, right = 0, columns
        for j in range(columns):
            tap, channel = j // channels, j % channels
            place = (channel * down + tap // kernel) * across + tap % kernel
            if signs[r, j] > 0:
                places[r, left] = place
                left += 1
            else:
                right -= 1
                places[r, right] = place
        turn[r] = left
    # z >= t is z > t - 1; -z >= t is the opposite of z > -t
    below, opposite = np.empty(rows, np.int16), np.zeros(rows, np.uint64)
    for r in range(rows):
        limit = threshold[r] - 1
        if direction[r] < 0:
            limit, opposite[r] = -threshold[r], ~np.uint64(0)
        below[r] = min(max(limit, -32768), 32767)
    short, total = np.empty(_VECTOR, np.int16), np.empty(64, np.int32)
    flags = np.empty(64, np.int8)
    group = np.empty(64, np.uint64)
    for image in range(images):
        for y in range(height):
            base = (image * channels * down + y) * across
            for left in range(0, width, 64):
                here = min(64, width - left)
                for word in range(words):
                    group[:] = 0
                    for r in range(64 * word, min(rows, 64 * word + 64)):
                        if columns <= _MOST_SHORT and sums.size == 0:
                            at = base + left
                            bits = greater(
                                _tap_sum(maps, at, places, r, turn[r]), fill_shorts(below[r])
                            )
                            if here > _VECTOR:
                                at += _VECTOR
                                high = greater(
                                    _tap_sum(maps, at, places, r, turn[r]), fill_shorts(below[r])
                                )
                                bits |= high << np.uint64(_VECTOR)
                            group[r - 64 * word] = bits ^ opposite[r]
                            continue
                        flags[:] = 0
                        total[:] = 0
                        for start in range(0, here, _VECTOR):
                            for first in range(0, columns, _MOST_SHORT):
                                last = min(columns, first + _MOST_SHORT)
                                middle = max(first, min(turn[r], last))
                                at = base + left + start
                                a = fill_shorts(0)
                                for j in range(np.uint64(first), np.uint64(middle)):
                                    a = add(a, load_shorts(maps, at + np.int64(places[r, j])))
                                for j in range(np.uint64(middle), np.uint64(last)):
                                    a = subtract(a, load_shorts(maps, at + np.int64(places[r, j])))
                                store_shorts(short, 0, a)
                                for i in range(_VECTOR):
                                    total[start + i] += short[i]
                        for i in range(here):
                            flags[i] = direction[r] * total[i] >= threshold[r]
                        group[r - 64 * word] = greater(load_bytes(flags, 0), fill_bytes(0))
                        if sums.size > 0:
                            for i in range(here):
                                sums[image, y * width + left + i, r] = total[i]
                    transpose_bits(group)
                    for i in range(here):
                        fired[image, y * width + left + i, word] = group[i]
