"""Sums of signed pixels for one image and 32 neurons at a time, dark pixels skipped.

Columns lie in groups of six. What a group adds to a neuron depends on six weights, so the 64 sums
that are possible make a table (Arlazarov, Dinic, Kronrod and Faradzev 1970, for products of bit
matrices); it fits two registers, where one instruction looks up 32 neurons. A group that an image
has dark costs nothing, and columns are grouped so that they are dark together.

With ``A`` the sum of the pixels under weights +1 and ``S`` that of all, the sum of signed pixels is
``2 A - S``. What is summed is ``A - floor(S / 2)``, which fits 16 bits up to S = 65534; images
with more light are summed in segments.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.machine import vectors
from bnn.machine.arrays import Longs, Octets
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, pack_bits, word_count
from bnn.machine.vectors import (
    popcount,
)

AVAILABLE = vectors.LOOKUPS
"""Whether the processor has the instruction; :mod:`bnn.engines.pixels.pixel_layer` works
everywhere.
"""

GROUP = 6
"""Columns of a group."""

PIXEL_LEVELS = 255
MOST_LIGHT = 65534
"""Largest sum of pixels of a segment."""

_SAMPLE = 1000
_LOOKED_AT = 4096
_PACKED_AT_ONCE = 4096
FAR = np.int64(1) << 40

Numbers = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


class LitGroups(NamedTuple):
    """The groups of columns that are not dark, image by image.

    Attributes
    ----------
    first : int64 array, shape (images + 1,)
        Where the groups of an image start.
    group : uint16 or uint32 array, shape (lit groups,)
        Numbers of the groups, increasing within an image; uint16 as long as they fit.
    pixels : uint64 array, shape (lit groups,)
        Pixels of the group, one in each of the six lowest bytes.
    place : int64 array, shape (columns,)
        ``GROUP * group + place in the group`` of each column.
    groups : int
        Groups, lit or not.
    """

    first: Longs
    group: Numbers
    pixels: Words
    place: Longs
    groups: int


def image_bytes(pixels: int) -> int:
    """Bytes that the groups of an image take at most."""
    groups = -(-pixels // GROUP)
    return (8 + _number_type(groups).itemsize) * groups


def _number_type(groups: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    return np.dtype(np.uint16) if groups <= 1 << 16 else np.dtype(np.uint32)


def lit_groups(images: Octets) -> LitGroups:
    """Find the groups of images, shape (images, pixels)."""
    pixels = images.shape[1]
    groups = -(-pixels // GROUP)
    order = _grouped_columns(images[:: max(1, len(images) // _SAMPLE)])
    place = np.empty(pixels, np.int64)
    place[order] = np.arange(pixels)
    first = _first_of_images(images, order)
    group = np.empty(int(first[-1]), _number_type(groups))
    held = np.empty(int(first[-1]), np.uint64)
    _fill_groups(images, order, first, group, held)
    return LitGroups(first, group, held, place, groups)


def _grouped_columns(sample: Octets) -> Longs:
    """Columns in an order in which six after each other are mostly lit in the same images.

    Every group takes the brightest column that is left and those most similar to it (Jaccard), out
    of the `_LOOKED_AT` brightest. Memory is linear in the pixels, so is time beyond that number.
    """
    images, pixels = sample.shape
    lit = np.empty((pixels, word_count(images)), np.uint64)
    for start in range(0, pixels, _PACKED_AT_ONCE):
        part = slice(start, start + _PACKED_AT_ONCE)
        lit[part] = pack_bits(np.ascontiguousarray(sample[:, part].T))
    often = np.bitwise_count(lit).sum(axis=1, dtype=np.int64)
    # a stable order, so that equal images are grouped equally everywhere
    column = np.argsort(-often, kind="stable")
    return _group_columns(lit[column], often[column], column, _LOOKED_AT)


@njit
def _group_columns(
    lit: Words, often: Longs, column: Longs, looked_at: int
) -> Longs:  # pragma: no cover
    """Put columns into groups.

    Parameters
    ----------
    lit : uint64 array, shape (columns, words)
        In which images columns are lit, the brightest column first.
    often, column : int64 array, shape (columns,)
        In how many, and the numbers of the columns, which increase among equally bright ones.
    looked_at : int
        Columns that are compared with the first of a group at most.
    """
    columns, words = lit.shape
    order = np.empty(columns, np.int64)
    # the columns that are left as a list; beyond its end there is one that is none
    after, before = np.arange(1, columns + 2), np.arange(-1, columns)
    best, alike = np.empty(GROUP - 1, np.int64), np.empty(GROUP - 1)
    first, filled = 0, 0
    while first < columns:
        number = 0
        at = after[first]
        for _ in range(looked_at):
            if at == columns:
                break
            # no column from here on is more alike: a column of fewer images at most lies in `first`
            bound = often[at] / max(often[first], 1)
            last = number - 1
            if number == GROUP - 1 and (
                alike[last] > bound or (alike[last] == bound and column[best[last]] < column[at])
            ):
                break
            together = np.int64(0)
            for w in range(words):
                together += np.int64(popcount(lit[first, w] & lit[at, w]))
            found = together / max(often[first] + often[at] - together, 1)
            place = number
            while place > 0 and (
                alike[place - 1] < found
                or (alike[place - 1] == found and column[best[place - 1]] > column[at])
            ):
                place -= 1
            if place < GROUP - 1:
                number = min(number + 1, GROUP - 1)
                for j in range(number - 1, place, -1):
                    alike[j], best[j] = alike[j - 1], best[j - 1]
                alike[place], best[place] = found, at
            at = after[at]
        order[filled] = column[first]
        for j in range(number):
            order[filled + 1 + j] = column[best[j]]
            after[before[best[j]]], before[after[best[j]]] = after[best[j]], before[best[j]]
        filled += 1 + number
        first = after[first]
    return order


@njit
def _group_pixels(images: Octets, order: Longs, image: int, start: int) -> np.uint64:
    held = np.uint64(0)
    for j in range(min(GROUP, len(order) - start)):
        held |= np.uint64(images[image, order[start + j]]) << np.uint64(8 * j)
    return held


@njit
def _first_of_images(images: Octets, order: Longs) -> Longs:  # pragma: no cover
    first = np.zeros(len(images) + 1, np.int64)
    for image in range(len(images)):
        number = 0
        for start in range(0, len(order), GROUP):
            number += _group_pixels(images, order, image, start) != 0
        first[image + 1] = first[image] + number
    return first


@njit
def _fill_groups(
    images: Octets, order: Longs, first: Longs, group: Numbers, pixels: Words
) -> None:  # pragma: no cover
    for image in range(len(images)):
        at = first[image]
        for start in range(0, len(order), GROUP):
            held = _group_pixels(images, order, image, start)
            if held != 0:
                group[at], pixels[at] = start // GROUP, held
                at += 1


def padded_neurons(neurons: int) -> int:
    """Neurons, filled up to whole words."""
    return -(-neurons // 64) * 64


@njit
def codes_of(weights: Words, columns: int, place: Longs, groups: int) -> Octets:  # pragma: no cover
    """Six weights of every neuron as a place in the table of a group.

    Returns uint8 array, flat from (groups, padded neurons); bit j is the weight of column j.
    """
    neurons = (len(weights) + 63) // 64 * 64
    codes = np.zeros(groups * neurons, np.uint8)
    for r in range(len(weights)):
        for c in range(columns):
            bit = (weights[r, c // 64] >> np.uint64(c % 64)) & np.uint64(1)
            codes[place[c] // GROUP * neurons + r] |= np.uint8(bit << np.uint64(place[c] % GROUP))
    return codes


@njit
def flip_codes(
    codes: Octets,
    place: Longs,
    columns: int,
    neurons: int,
    flips: Longs,
    total: Longs,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Turn the bits ``row * columns + column`` round for the flips `start` to `stop`.

    ``total``, shape (neurons,), the sums of weights, follows. Flips increase strictly, so that
    rows are found without divisions.
    """
    if start == stop:
        return
    row = flips[start] // columns
    end = (row + 1) * columns
    for j in range(start, stop):
        while flips[j] >= end:
            row += 1
            end += columns
        at = place[flips[j] - (end - columns)]
        group = np.uint32(at) // np.uint32(GROUP)
        bit = np.uint8(1) << np.uint8(at - GROUP * np.int64(group))
        code = codes[np.int64(group) * neurons + row] ^ bit
        codes[np.int64(group) * neurons + row] = code
        total[row] += 2 if code & bit else -2
