"""Convolutions on packed words: the neurons of a position count like those of a layer.

A map of signs has a few words for each position, (image, row, column, words), channel c as bit
c % 64 of word c // 64. The inputs of a position are the words of its taps; taps outside the map are
words of zeros, and the bits of weights that they wrongly count are known beforehand: limits differ
between positions inside and near an edge.

Four positions share what is loaded of the weights: those that are pooled together, so that only
pooled bits are written, or four neighbours.
"""

import numpy as np
import numpy.typing as npt

from bnn.engines.packed.binary_layer import ROWS_TOGETHER, lanes_of
from bnn.engines.packed.conv_kernels import convolve
from bnn.engines.packed.conv_types import FAR, NO_CEILING, MapShape, PackedConvolution
from bnn.engines.pixels import pixel_conv
from bnn.engines.pixels.pixel_conv import NO_SUMS
from bnn.machine.aligned import aligned_copy
from bnn.machine.arrays import Longs, Small
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, pack_bits, word_count
from bnn.networks.network import ConvLayer


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
    limit = np.full((len(kinds), padded), -FAR, np.int64)
    valid = np.zeros((len(kinds), padded), np.int64)
    t = np.clip(layer.threshold.astype(np.int64), -FAR, FAR)
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
    convolve(maps, packed, fired, sums, ceiling)
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
