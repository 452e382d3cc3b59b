"""Sums of groups of lit pixels, by tables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.engines.pixels.lit_groups import (
    FAR,
    GROUP,
    MOST_LIGHT,
    PIXEL_LEVELS,
    LitGroups,
    padded_neurons,
)
from bnn.machine.arrays import Ints, Longs, Octets, Shorts
from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.vector_memory import load_bytes_as_shorts
from bnn.machine.vectors import (
    add,
    add_where,
    fill_shorts,
    greater,
    load_shorts,
    lookup,
    store_shorts,
)


class Limits(NamedTuple):
    """When neurons fire, in the terms of ``A - floor(S / 2)``.

    Attributes
    ----------
    below : int16 array, flat from (2, padded neurons)
        A neuron fires above it; for even and for odd sums of pixels.
    limit : int64 array, shape (padded neurons,)
        It fires where ``4 A - 2 S`` is at least this.
    turned : uint64 array, shape (words,)
        Neurons that do the opposite.
    """

    below: Shorts
    limit: Longs
    turned: Words


def limits_of(
    threshold: npt.NDArray[np.int32], direction: npt.NDArray[np.int8], total: Longs
) -> Limits:
    """When neurons fire that have these thresholds, directions and sums of weights."""
    padded = padded_neurons(len(threshold))
    t = threshold.astype(np.int64)
    up = direction > 0
    # direction * (4 A - 2 S - 255 total) >= t; the opposite of a neuron that is turned round
    limit = np.full(padded, FAR)
    limit[: len(t)] = np.where(up, t, 1 - t) + PIXEL_LEVELS * total
    below = np.stack([-(-limit // 4) - 1, -(-(limit + 2) // 4) - 1])
    turned = np.zeros(padded, np.uint8)
    turned[: len(t)] = ~up
    words = np.packbits(turned, bitorder="little").view("<u8").astype(np.uint64)
    return Limits(np.clip(below, -32768, 32767).astype(np.int16).reshape(-1), limit, words)


@njit
def _tabulate(held: np.uint64, tables: Shorts, at: int) -> None:  # pragma: no cover
    """All sums of pixels of a group, entry m of those whose bit is set in m."""
    byte = np.uint64(255)
    a = add_where(fill_shorts(0), np.uint64(0xAAAAAAAA), fill_shorts(np.int64(held & byte)))
    a = add_where(a, np.uint64(0xCCCCCCCC), fill_shorts(np.int64((held >> np.uint64(8)) & byte)))
    a = add_where(a, np.uint64(0xF0F0F0F0), fill_shorts(np.int64((held >> np.uint64(16)) & byte)))
    a = add_where(a, np.uint64(0xFF00FF00), fill_shorts(np.int64((held >> np.uint64(24)) & byte)))
    a = add_where(a, np.uint64(0xFFFF0000), fill_shorts(np.int64((held >> np.uint64(32)) & byte)))
    store_shorts(tables, at, a)
    store_shorts(tables, at + 32, add(a, fill_shorts(np.int64((held >> np.uint64(40)) & byte))))


@njit
def _segment(
    lit: LitGroups,
    first: int,
    last: int,
    half: int,
    codes: Octets,
    tables: Shorts,
    short: Shorts,
) -> None:  # pragma: no cover
    """``A - half`` of all neurons over the lit groups `first` to `last`, whose tables are made."""
    neurons = len(short)
    number, start = np.uint64(last - first), np.uint64(first)
    group = lit.group
    tile = 0
    while tile + 256 <= neurons:
        a = fill_shorts(-half)
        b, c, d, e, f, g, h = a, a, a, a, a, a, a
        for j in range(np.uint64(0), number):
            low = load_shorts(tables, 64 * np.int64(j))
            high = load_shorts(tables, 64 * np.int64(j) + 32)
            at = np.int64(group[start + j]) * neurons + tile
            a = add(a, lookup(low, load_bytes_as_shorts(codes, at), high))
            b = add(b, lookup(low, load_bytes_as_shorts(codes, at + 32), high))
            c = add(c, lookup(low, load_bytes_as_shorts(codes, at + 64), high))
            d = add(d, lookup(low, load_bytes_as_shorts(codes, at + 96), high))
            e = add(e, lookup(low, load_bytes_as_shorts(codes, at + 128), high))
            f = add(f, lookup(low, load_bytes_as_shorts(codes, at + 160), high))
            g = add(g, lookup(low, load_bytes_as_shorts(codes, at + 192), high))
            h = add(h, lookup(low, load_bytes_as_shorts(codes, at + 224), high))
        store_shorts(short, tile, a)
        store_shorts(short, tile + 32, b)
        store_shorts(short, tile + 64, c)
        store_shorts(short, tile + 96, d)
        store_shorts(short, tile + 128, e)
        store_shorts(short, tile + 160, f)
        store_shorts(short, tile + 192, g)
        store_shorts(short, tile + 224, h)
        tile += 256
    while tile < neurons:
        a = fill_shorts(-half)
        b = a
        for j in range(np.uint64(0), number):
            low = load_shorts(tables, 64 * np.int64(j))
            high = load_shorts(tables, 64 * np.int64(j) + 32)
            at = np.int64(group[start + j]) * neurons + tile
            a = add(a, lookup(low, load_bytes_as_shorts(codes, at), high))
            b = add(b, lookup(low, load_bytes_as_shorts(codes, at + 32), high))
        store_shorts(short, tile, a)
        store_shorts(short, tile + 32, b)
        tile += 64


@njit
def centred_sums(
    lit: LitGroups, image: int, codes: Octets, tables: Shorts, short: Shorts, whole: Ints
) -> tuple[int, int]:  # pragma: no cover
    """``A`` less half the light of an image, for all neurons.

    Parameters
    ----------
    lit : LitGroups
        Images.
    image : int
        Which one.
    codes : uint8 array, flat from (groups, padded neurons)
        Weights, from :func:`codes_of`.
    tables : int16 array, shape (64 * groups,)
        Scratch.
    short : int16 array, shape (padded neurons,)
        Filled with ``A - floor(S / 2)`` where there is one segment.
    whole : int32 array, shape (padded neurons,)
        Filled with the sum over the segments where there are more.

    Returns
    -------
    segments, odd : int
        Segments, and those of them with an odd sum ``S``: the value times 4, less twice their
        number, is ``4 A - 2 S``.
    """
    segments, odd = 0, 0
    first = start = lit.first[image]
    stop = lit.first[image + 1]
    light = np.int64(0)
    for j in range(start, stop):
        held = lit.pixels[np.uint64(j)]
        more = np.int64(0)
        for b in range(GROUP):
            more += np.int64((held >> np.uint64(8 * b)) & np.uint64(255))
        if light + more > MOST_LIGHT:
            _segment(lit, first, j, light >> 1, codes, tables, short)
            odd += int(light & 1)
            if segments == 0:
                whole[:] = 0
            for r in range(len(whole)):
                whole[r] += short[r]
            segments += 1
            first, light = j, np.int64(0)
        light += more
        _tabulate(held, tables, 64 * (j - first))
    _segment(lit, first, stop, light >> 1, codes, tables, short)
    odd += int(light & 1)
    if segments > 0:
        for r in range(len(whole)):
            whole[r] += short[r]
    return segments + 1, odd


@njit
def fired_words(
    lit: LitGroups, codes: Octets, limits: Limits, bits: Words, start: int, stop: int
) -> None:  # pragma: no cover
    """Fill ``bits``, shape (images, words), for the images `start` to `stop`."""
    neurons = len(limits.limit)
    tables = np.empty(64 * lit.groups, np.int16)
    short, whole = np.empty(neurons, np.int16), np.empty(neurons, np.int32)
    for image in range(start, stop):
        segments, odd = centred_sums(lit, image, codes, tables, short, whole)
        if segments == 1:
            at = odd * neurons
            for word in range(neurons // 64):
                low = greater(
                    load_shorts(short, 64 * word), load_shorts(limits.below, at + 64 * word)
                )
                high = greater(
                    load_shorts(short, 64 * word + 32),
                    load_shorts(limits.below, at + 64 * word + 32),
                )
                bits[image, word] = (low | (high << np.uint64(32))) ^ limits.turned[word]
            continue
        for word in range(neurons // 64):
            fired = np.uint64(0)
            for r in range(64 * word, 64 * word + 64):
                one = 4 * np.int64(whole[r]) - 2 * odd >= limits.limit[r]
                fired |= np.uint64(one) << np.uint64(r % 64)
            bits[image, word] = fired ^ limits.turned[word]


@njit
def pixel_sums(
    lit: LitGroups, codes: Octets, total: Longs, z: Longs, start: int, stop: int
) -> None:  # pragma: no cover
    """Fill pre-activations ``z``, shape (images, neurons), for the images `start` to `stop`.

    ``total``, shape (neurons,), are the sums of weights.
    """
    neurons = len(codes) // lit.groups
    tables = np.empty(64 * lit.groups, np.int16)
    short, whole = np.empty(neurons, np.int16), np.empty(neurons, np.int32)
    for image in range(start, stop):
        segments, odd = centred_sums(lit, image, codes, tables, short, whole)
        for r in range(z.shape[1]):
            light = np.int64(short[r]) if segments == 1 else np.int64(whole[r])
            # 4 A - 2 S - 255 total
            z[image, r] = 4 * light - 2 * odd - PIXEL_LEVELS * total[r]
