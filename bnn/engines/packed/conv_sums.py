"""Pre-activations of convolutions with binary inputs as short integers, and their moments.

Whoever moves thresholds needs the sums of all images before the first neuron may fire. Sums of up
to 32767 signs fit 16 bits; kept, they are compared with any threshold in a moment, and what the
moments need, sums and sums of squares, is added up while they are still in the cache. A pooled
layer keeps the maximum of its four positions.
"""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnn.engines.packed.binary_layer import LANES, count_four
from bnn.engines.packed.conv_kernels import (
    Scratch,
    four_positions,
    gather_four,
    pad_map,
    scratch_of,
)
from bnn.engines.packed.conv_layer import pack_convolution
from bnn.engines.packed.conv_types import PackedConvolution
from bnn.machine.aligned import aligned_empty
from bnn.machine.arrays import Ints, Longs, Shorts
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, pack_bits, word_count
from bnn.machine.vector_memory import store_narrowed
from bnn.machine.vectors import add, greater, larger, load_shorts, load_words, subtract
from bnn.machine.workers import in_threads
from bnn.networks.network import ConvLayer

MOST_COLUMNS = 2**15 - 1
"""Sums of so many signs fit 16 bits."""

_VECTOR = 32
_LEAST, _MOST = -(2**15), 2**15 - 1


@dataclass(frozen=True, eq=False)
class ConvSums:
    """Pre-activations of a convolution for all images, after the pooling.

    Attributes
    ----------
    total, squares : int64 array, shape (output channels,)
        Added up over images and positions.
    count : int
        Images times positions.
    kept : int16 array, shape (images, positions, room), or None
        The pre-activations, channels beyond those of the layer left open; None if not kept.
    """

    total: Longs
    squares: Longs
    count: int
    kept: Shorts | None


def room_of(rows: int) -> int:
    """Short integers that a position takes: whole vectors."""
    return -(-rows // _VECTOR) * _VECTOR


def conv_sums(layer: ConvLayer, maps: Words, *, keep: bool, threads: int) -> ConvSums:
    """Count pre-activations.

    Parameters
    ----------
    layer : ConvLayer
        Convolution with at most `MOST_COLUMNS` inputs to a neuron; its thresholds do not matter.
    maps : uint64 array, shape (images, height * width, words)
        Inputs.
    keep : bool
        Whether the pre-activations are wanted, not only their sums.
    threads : int
        CPU threads; integers are added, so any number gives the same.
    """
    packed = pack_convolution(layer)
    height, width, rows = layer.output_shape
    room, positions = room_of(rows), height * width
    kept = aligned_empty((len(maps) if keep else 0, positions, room), np.int16)
    totals = np.zeros((2, room), np.int64)
    adding = threading.Lock()

    def work(start: int, stop: int) -> None:
        own = np.zeros((2, room), np.int64)
        one = kept if keep else aligned_empty((1, positions, room), np.int16)
        _add_images(
            maps, packed, one.reshape(-1), keep, room, layer.columns, own[0], own[1], start, stop
        )
        with adding:
            np.add(totals, own, out=totals)

    in_threads(work, len(maps), threads)
    total, squares = totals[:, :rows]
    return ConvSums(total, squares, len(maps) * positions, kept if keep else None)


def fired_maps(layer: ConvLayer, kept: Shorts, *, threads: int) -> Words:
    """Outputs at the thresholds of a layer, uint64 array of shape (images, positions, words).

    Parameters
    ----------
    layer : ConvLayer
        Thresholds and directions.
    kept : int16 array, shape (images, positions, room)
        From :func:`conv_sums`.
    threads : int
        CPU threads.
    """
    images, positions, room = kept.shape
    rows = len(layer.threshold)
    threshold = layer.threshold.astype(np.int64)
    up = layer.direction > 0
    # z >= t is z > t - 1; -z >= t is the opposite of z > -t; no sum is -2**15, none above 2**15 - 1
    limit = np.full(room, _MOST, np.int16)
    limit[:rows] = np.clip(np.where(up, threshold - 1, -threshold), _LEAST, _MOST)
    (turned,) = pack_bits(~up[None])
    fired = np.empty((images, positions, word_count(rows)), np.uint64)

    def work(start: int, stop: int) -> None:
        _fire(kept.reshape(-1), room, limit, turned, fired, start, stop)

    in_threads(work, images, threads)
    return fired


@njit
def _add_images(
    maps: Words,
    packed: PackedConvolution,
    sums: Shorts,
    keep: bool,
    room: int,
    columns: int,
    total: Longs,
    squares: Longs,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Pre-activations of images `start` to `stop`, added to their moments."""
    flat, words = maps.reshape(-1), maps.shape[2]
    size = maps.shape[1] * words
    scratch = scratch_of(packed, words)
    positions = maps.shape[1] // packed.shape.pool**2
    part = np.zeros((2, room), np.int32)
    # so many positions that the squares of the largest sums fit 32 bits
    together = max(1, 2147483647 // (columns * columns))
    at = start * positions * room if keep else 0
    for image in range(start, stop):
        pad_map(flat, image * size, words, packed.shape, scratch.padded)
        _count_image(packed, words, scratch, sums, at, room)
        for first in range(0, positions, together):
            end = min(positions, first + together)
            _add_positions(sums, at + first * room, end - first, room, part[0], part[1])
            for r in range(room):
                total[r] += part[0, r]
                squares[r] += part[1, r]
            part[:] = 0
        if keep:
            at += positions * room


@njit
def _add_positions(
    sums: Shorts, at: int, positions: int, room: int, total: Ints, squares: Ints
) -> None:  # pragma: no cover
    for p in range(positions):
        for r in range(room):
            z = np.int32(sums[at + p * room + r])
            total[r] += z
            squares[r] += z * z


@njit
def _count_image(
    packed: PackedConvolution,
    words: int,
    scratch: Scratch,
    sums: Shorts,
    at: int,
    room: int,
) -> None:  # pragma: no cover
    """Pre-activations of the image whose padded map is in the scratch, from ``sums[at]`` on."""
    height, width, kernel, pool = packed.shape
    positions, padded = height * width, LANES * len(packed.turned)
    size, counts = kernel * kernel * words, scratch.counts
    for first in range(0, positions, 4):
        p0, p1, p2, p3 = four_positions(first, positions, width, pool)
        gather_four(scratch, words, width, kernel, p0, p1, p2, p3)
        here = 1 if pool == 2 else min(4, positions - first)
        v0, v1 = np.int64(packed.kind[p0]) * padded, np.int64(packed.kind[p1]) * padded
        v2, v3 = np.int64(packed.kind[p2]) * padded, np.int64(packed.kind[p3]) * padded
        for block in range(0, len(packed.turned), 2):
            count_four(scratch.four, size, packed.lanes, block, counts)
            for j in range(0, 2 * LANES, LANES):
                row = LANES * block + j
                z0 = _sum_of(packed.valid, v0 + row, counts, j)
                z1 = _sum_of(packed.valid, v1 + row, counts, 16 + j)
                z2 = _sum_of(packed.valid, v2 + row, counts, 32 + j)
                z3 = _sum_of(packed.valid, v3 + row, counts, 48 + j)
                if pool == 2:
                    store_narrowed(sums, at + row, larger(larger(z0, z1), larger(z2, z3)))
                    continue
                store_narrowed(sums, at + row, z0)
                if here == 4:
                    store_narrowed(sums, at + room + row, z1)
                    store_narrowed(sums, at + 2 * room + row, z2)
                    store_narrowed(sums, at + 3 * room + row, z3)
                    continue
                if here > 1:
                    store_narrowed(sums, at + room + row, z1)
                if here > 2:
                    store_narrowed(sums, at + 2 * room + row, z2)
        at += here * room


@njit
def _sum_of(valid: Longs, at: int, counts: Words, start: int) -> Any:  # pragma: no cover
    """Eight pre-activations, a vector of words."""
    count = load_words(counts, start)
    return subtract(load_words(valid, at), add(count, count))


@njit
def _fire(
    sums: Shorts, room: int, limit: Shorts, turned: Words, fired: Words, start: int, stop: int
) -> None:  # pragma: no cover
    positions, words = fired.shape[1], fired.shape[2]
    at = start * positions * room
    for image in range(start, stop):
        for p in range(positions):
            for word in range(words):
                row = 64 * word
                bits = greater(load_shorts(sums, at + row), load_shorts(limit, row))
                if row + _VECTOR < room:
                    high = greater(
                        load_shorts(sums, at + row + _VECTOR), load_shorts(limit, row + _VECTOR)
                    )
                    bits |= high << np.uint64(_VECTOR)
                fired[image, p, word] = bits ^ turned[word]
            at += room
