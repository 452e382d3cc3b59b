"""Columns of weights of changed inputs, counted for all neurons of a position in bit planes.

A changed input adds its column to the neurons at every position that reads it: a column has one bit
for each neuron, ``direction * weight > 0``. Inputs that turned to +1 are counted up, those that
turned to -1 down, by carry-save adders on whole vectors of neurons.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from bnn.machine.aligned import aligned_zeros
from bnn.machine.arrays import Longs, Octets
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, word_count
from bnn.machine.vector_memory import load_like, store_like
from bnn.machine.vectors import (
    add,
    add_where_at,
    both,
    exclusive_or,
    fill_bytes,
    fill_ints,
    fill_like,
    fill_quads,
    fill_words,
    load_ints,
    lowest_bit,
    store_ints,
)

PLANES = 13
"""Bits of a count in two's complement."""

SHORT_PLANES = 8

MOST_SHORT, MOST_CHANGED = 2**SHORT_PLANES - 3, 2**PLANES - 3
"""Changed inputs of a position up to which 8 or 13 bits hold their sums."""

TOGETHER = 16
"""Columns counted together; lists are filled up to a multiple."""

Offsets = npt.NDArray[np.uint32]


def stride_of(rows: int) -> int:
    """Words of a column: one vector of four words, or as many of eight as it takes."""
    words = word_count(rows)
    return 4 if words <= 4 else -(-words // 8) * 8


def columns_of(weights: Words, columns: int, turned: Octets) -> Words:
    """Columns of weights, flat from (columns + 1, stride); the last one is empty.

    Parameters
    ----------
    weights : uint64 array, shape (rows, words)
        Packed signs.
    columns : int
        Inputs of a neuron.
    turned : uint8 array
        Neurons with a direction of -1, bit j of entry b for neuron 8 b + j.
    """
    stride = stride_of(len(weights))
    bits = aligned_zeros((columns + 1) * stride, np.uint64)
    _fill_columns(weights, columns, turned, stride, bits)
    return bits


@njit
def _fill_columns(
    weights: Words, columns: int, turned: Octets, stride: int, bits: Words
) -> None:  # pragma: no cover
    for r in range(len(weights)):
        opposite = (turned[r // 8] >> (r % 8)) & 1
        for c in range(columns):
            one = (weights[r, c // 64] >> np.uint64(c % 64)) & np.uint64(1)
            if one != opposite:
                bits[c * stride + r // 64] |= np.uint64(1) << np.uint64(r % 64)


@njit
def list_changes(
    now: Words,
    changed: Words,
    start: int,
    words: int,
    stride: int,
    up: Offsets,
    down: Offsets,
    first_up: Longs,
    first_down: Longs,
) -> None:  # pragma: no cover
    """Changed channels of each position of a map, as places of their columns.

    Parameters
    ----------
    now, changed : uint64 array, flat
        Inputs with their changes, (positions, words), and the changes, from ``changed[start]`` on.
    start, words, stride : int
        Start of the image, words of a position and of a column.
    up, down : uint32 array
        Filled with ``stride * channel`` for inputs that turned to +1 and to -1.
    first_up, first_down : int64 array, shape (positions + 1,)
        Filled with where the lists of positions start.
    """
    at_up, at_down = 0, 0
    for p in range(len(first_up) - 1):
        first_up[p], first_down[p] = at_up, at_down
        for k in range(words):
            left = changed[start + p * words + k]
            ones = left & now[p * words + k]
            left ^= ones
            while ones != 0:
                up[at_up] = (64 * k + lowest_bit(ones)) * stride
                at_up += 1
                ones &= ones - np.uint64(1)
            while left != 0:
                down[at_down] = (64 * k + lowest_bit(left)) * stride
                at_down += 1
                left &= left - np.uint64(1)
    first_up[-1], first_down[-1] = at_up, at_down


@njit(forceinline=True)
def number_in_patch(
    first_up: Longs,
    first_down: Longs,
    row: int,
    column: int,
    height: int,
    width: int,
    kernel: int,
    span: int,
) -> int:  # pragma: no cover
    """Changed inputs among `span` rows and columns from the first tap of a position on."""
    top, left = row - kernel // 2, column - kernel // 2
    right = min(width, left + span)
    left = max(0, left)
    number = 0
    for y in range(max(0, top), min(height, top + span)):
        number += first_up[y * width + right] - first_up[y * width + left]
        number += first_down[y * width + right] - first_down[y * width + left]
    return number


@njit(forceinline=True)
def gather_places(
    channels: Offsets,
    first: Longs,
    row: int,
    column: int,
    height: int,
    width: int,
    kernel: int,
    tap: int,
    empty: int,
    places: Offsets,
    at: int,
) -> tuple[int, int]:  # pragma: no cover
    """Columns of the changed inputs of a position, filled up with the empty column.

    Parameters
    ----------
    channels, first
        One direction of :func:`list_changes`.
    row, column, height, width, kernel : int
        Position and shape of the map.
    tap, empty : int
        Words of the columns of a tap; place of the empty column.
    places : uint32 array
        Filled from ``places[at]`` on.
    at : int
        Start.

    Returns
    -------
    int
        End, a multiple of 16 after `at`.
    int
        Changed inputs.
    """
    half = kernel // 2
    end = at
    left, right = max(0, half - column), min(kernel, width + half - column)
    for i in range(max(0, half - row), min(kernel, height + half - row)):
        # unsigned numbers index without a test for negative ones
        p = np.uint64((row + i - half) * width + column + left - half)
        begin = first[p]
        for j in range(left, right):
            p += np.uint64(1)
            stop = first[p]
            base = fill_ints((i * kernel + j) * tap)
            # Always one vector, mostly enough: what is copied beyond the list is overwritten.
            store_ints(places, end, add(load_ints(channels, begin), base))
            k = TOGETHER
            while k < stop - begin:
                store_ints(places, end + k, add(load_ints(channels, begin + k), base))
                k += TOGETHER
            end += stop - begin
            begin = stop
    store_ints(places, end, fill_ints(empty))
    number = end - at
    return at + (number + TOGETHER - 1) // TOGETHER * TOGETHER, number


@njit
def count_columns(
    columns: Words,
    stride: int,
    places: Offsets,
    turn: int,
    last: int,
    start: int,
    long: bool,
    planes: Words,
) -> None:  # pragma: no cover
    """Count columns up and down for all neurons of a position.

    Parameters
    ----------
    columns : uint64 array, flat
        From :func:`columns_of`.
    stride : int
        Words of a column.
    places : uint32 array
        Columns counted up before `turn`, down from there to `last`; both multiples of 16.
    turn, last : int
        Ends.
    start : int
        What the counts start from.
    long : bool
        Whether 13 planes are filled, or 8.
    planes : uint64 array, flat from (13, stride)
        Filled with the bits of the counts in two's complement.
    """
    if stride == 4:
        _count(fill_quads(0), 4, columns, stride, places, turn, last, start, long, planes)
    else:
        _count(fill_words(0), 8, columns, stride, places, turn, last, start, long, planes)


@njit
def _count(
    zero: Any,
    lanes: int,
    columns: Words,
    stride: int,
    places: Offsets,
    turn: int,
    last: int,
    start: int,
    long: bool,
    planes: Words,
) -> None:  # pragma: no cover
    ones = fill_like(zero, np.int64(-1))
    for word in range(0, stride, lanes):
        p0, p1, p2 = _bit(zero, start), _bit(zero, start >> 1), _bit(zero, start >> 2)
        p3, p4, p5 = _bit(zero, start >> 3), _bit(zero, start >> 4), _bit(zero, start >> 5)
        p6, p7, p8 = _bit(zero, start >> 6), _bit(zero, start >> 7), _bit(zero, start >> 8)
        p9, p10, p11 = _bit(zero, start >> 9), _bit(zero, start >> 10), _bit(zero, start >> 11)
        p12 = _bit(zero, start >> 12)
        begin, end = 0, turn
        for _ in range(2):
            for j in range(np.uint64(begin), np.uint64(end), np.uint64(TOGETHER)):
                a = _column(zero, columns, places, j, word)
                b = _column(zero, columns, places, j + np.uint64(1), word)
                t1, p0 = _carry(p0, a, b), _sum(p0, a, b)
                a = _column(zero, columns, places, j + np.uint64(2), word)
                b = _column(zero, columns, places, j + np.uint64(3), word)
                t2, p0 = _carry(p0, a, b), _sum(p0, a, b)
                f1, p1 = _carry(p1, t1, t2), _sum(p1, t1, t2)
                a = _column(zero, columns, places, j + np.uint64(4), word)
                b = _column(zero, columns, places, j + np.uint64(5), word)
                t1, p0 = _carry(p0, a, b), _sum(p0, a, b)
                a = _column(zero, columns, places, j + np.uint64(6), word)
                b = _column(zero, columns, places, j + np.uint64(7), word)
                t2, p0 = _carry(p0, a, b), _sum(p0, a, b)
                f2, p1 = _carry(p1, t1, t2), _sum(p1, t1, t2)
                e1, p2 = _carry(p2, f1, f2), _sum(p2, f1, f2)
                a = _column(zero, columns, places, j + np.uint64(8), word)
                b = _column(zero, columns, places, j + np.uint64(9), word)
                t1, p0 = _carry(p0, a, b), _sum(p0, a, b)
                a = _column(zero, columns, places, j + np.uint64(10), word)
                b = _column(zero, columns, places, j + np.uint64(11), word)
                t2, p0 = _carry(p0, a, b), _sum(p0, a, b)
                f1, p1 = _carry(p1, t1, t2), _sum(p1, t1, t2)
                a = _column(zero, columns, places, j + np.uint64(12), word)
                b = _column(zero, columns, places, j + np.uint64(13), word)
                t1, p0 = _carry(p0, a, b), _sum(p0, a, b)
                a = _column(zero, columns, places, j + np.uint64(14), word)
                b = _column(zero, columns, places, j + np.uint64(15), word)
                t2, p0 = _carry(p0, a, b), _sum(p0, a, b)
                f2, p1 = _carry(p1, t1, t2), _sum(p1, t1, t2)
                e2, p2 = _carry(p2, f1, f2), _sum(p2, f1, f2)
                c, p3 = _carry(p3, e1, e2), _sum(p3, e1, e2)
                c, p4 = both(p4, c), exclusive_or(p4, c)
                c, p5 = both(p5, c), exclusive_or(p5, c)
                c, p6 = both(p6, c), exclusive_or(p6, c)
                c, p7 = both(p7, c), exclusive_or(p7, c)
                if long:
                    c, p8 = both(p8, c), exclusive_or(p8, c)
                    c, p9 = both(p9, c), exclusive_or(p9, c)
                    c, p10 = both(p10, c), exclusive_or(p10, c)
                    c, p11 = both(p11, c), exclusive_or(p11, c)
                    p12 = exclusive_or(p12, c)
            # ~(~a + b) = a - b: the complement counts down, and the second one turns back
            p0, p1, p2 = exclusive_or(p0, ones), exclusive_or(p1, ones), exclusive_or(p2, ones)
            p3, p4, p5 = exclusive_or(p3, ones), exclusive_or(p4, ones), exclusive_or(p5, ones)
            p6, p7, p8 = exclusive_or(p6, ones), exclusive_or(p7, ones), exclusive_or(p8, ones)
            p9, p10 = exclusive_or(p9, ones), exclusive_or(p10, ones)
            p11, p12 = exclusive_or(p11, ones), exclusive_or(p12, ones)
            begin, end = turn, last
        store_like(planes, word, p0)
        store_like(planes, stride + word, p1)
        store_like(planes, 2 * stride + word, p2)
        store_like(planes, 3 * stride + word, p3)
        store_like(planes, 4 * stride + word, p4)
        store_like(planes, 5 * stride + word, p5)
        store_like(planes, 6 * stride + word, p6)
        store_like(planes, 7 * stride + word, p7)
        if long:
            store_like(planes, 8 * stride + word, p8)
            store_like(planes, 9 * stride + word, p9)
            store_like(planes, 10 * stride + word, p10)
            store_like(planes, 11 * stride + word, p11)
            store_like(planes, 12 * stride + word, p12)


@njit
def _bit(zero: Any, number: int) -> Any:  # pragma: no cover
    # the lowest bit in all lanes; a literal as argument would be compiled for each value
    return fill_like(zero, -(np.int64(number) & 1))


@njit
def _column(
    zero: Any, columns: Words, places: Offsets, j: np.uint64, word: int
) -> Any:  # pragma: no cover
    return load_like(zero, columns, np.int64(places[j]) + word)


@njit
def _sum(a: Any, b: Any, c: Any) -> Any:  # pragma: no cover
    return exclusive_or(exclusive_or(a, b), c)


@njit
def _carry(a: Any, b: Any, c: Any) -> Any:  # pragma: no cover
    # the majority, with the difference that the sum needs anyway
    return exclusive_or(both(exclusive_or(a, b), exclusive_or(c, b)), b)


@njit
def planes_used(number: int) -> int:  # pragma: no cover
    """Planes to read for so many columns, counted from the middle of their range: 4, 6 or 8."""
    if number <= 2**4 - 3:
        return 4
    return 6 if number <= 2**6 - 3 else SHORT_PLANES


@njit(forceinline=True)
def plane_bytes(planes: Words, stride: int, word: int, used: int) -> Any:  # pragma: no cover
    """Lowest planes of 64 neurons, as many as `used`, as signed bytes."""
    a = add_where_at(fill_bytes(0), planes, word, fill_bytes(1))
    a = add_where_at(a, planes, word + stride, fill_bytes(2))
    a = add_where_at(a, planes, word + 2 * stride, fill_bytes(4))
    if used == 4:
        return add_where_at(a, planes, word + 3 * stride, fill_bytes(-8))
    a = add_where_at(a, planes, word + 3 * stride, fill_bytes(8))
    a = add_where_at(a, planes, word + 4 * stride, fill_bytes(16))
    if used == 6:
        return add_where_at(a, planes, word + 5 * stride, fill_bytes(-32))
    a = add_where_at(a, planes, word + 5 * stride, fill_bytes(32))
    a = add_where_at(a, planes, word + 6 * stride, fill_bytes(64))
    return add_where_at(a, planes, word + 7 * stride, fill_bytes(-128))


@njit(forceinline=True)
def beyond_bytes(planes: Words, stride: int, word: int) -> np.uint64:  # pragma: no cover
    """Neurons among 64 whose 13 planes are not a signed byte."""
    sign = planes[(SHORT_PLANES - 1) * stride + word]
    found = np.uint64(0)
    for bit in range(SHORT_PLANES, PLANES):
        found |= planes[bit * stride + word] ^ sign
    return found
