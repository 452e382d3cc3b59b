"""What many flipped weights of a convolution add to its margins, for error-free inputs.

Bits of an input channel lie in one string over all positions and images, so that the input of a
flipped weight at 512 positions is one shifted vector; the vectors of a neuron are counted like
columns (:mod:`bnn.engines.convolution.columns`). A tap outside the map must add nothing: the
flipped weights of a tap take turns in adding and subtracting one there, and what is left over is
at most one for each tap.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.engines.convolution.columns import (
    MOST_SHORT,
    PLANES,
    TOGETHER,
    beyond_bytes,
    count_columns,
    plane_bytes,
    planes_used,
)
from bnn.engines.packed.conv_types import MapShape
from bnn.machine.arrays import Ints, Longs, Small
from bnn.machine.bit_matrix import transpose_bits
from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.vectors import (
    add_saturated,
    both,
    choose,
    either,
    exclusive_or,
    fill_bytes,
    fill_words,
    greater,
    interleave_high,
    interleave_low,
    load_bytes,
    load_words,
    shift_left,
    shift_right,
    store_bytes,
    store_words,
)

BLOCK = 64
"""Images of a block."""

UNSURE = -128
"""Entry of a sum that does not fit."""

MOST_SURE = 62
"""Flipped weights of a neuron up to which every sum fits."""

_VECTOR = 8
_HALF = 62


class Strings(NamedTuple):
    """Inputs of a convolution by channel.

    Attributes
    ----------
    bits : uint64 array, flat from (blocks, channels, length)
        Bits of 64 images, each in whole words, with words to spare at both ends.
    length, spare, each : int
        Words of a string, of its start, and of an image.
    together : int
        Images whose sums are taken together.
    inside : uint64 array, flat from (taps, vectors of an image, 8)
        Positions at which a tap lies inside the map.
    """

    bits: Words
    length: int
    spare: int
    each: int
    together: int
    inside: Words


class SortedFlips(NamedTuple):
    """Flipped weights of each neuron, those that add a +1 of their input first.

    Attributes
    ----------
    first, turn : int64 array, shape (neurons + 1,) and (neurons,)
        Where the flipped weights of a neuron start, and where those that subtract.
    tap, channel : int32 array, shape (flips,)
        Taps and input channels.
    outside : bool array, shape (flips,)
        What the input counts as outside the map.
    """

    first: Longs
    turn: Longs
    tap: Ints
    channel: Ints
    outside: npt.NDArray[np.bool_]


def strings_of(shape: MapShape, channels: int, inputs: Words) -> Strings:
    """Inputs, shape (images, height * width, words), by channel."""
    length, spare, each = _lengths(shape)
    half = shape.kernel // 2
    blocks = -(-len(inputs) // BLOCK)
    bits = np.zeros(blocks * channels * length, np.uint64)
    _fill_strings(inputs, channels, each, length, spare, bits)
    row, column = np.divmod(np.arange(64 * each), shape.width)
    together = max(1, _VECTOR // each)
    vectors_each = -(-each // _VECTOR)
    inside = np.zeros((shape.kernel**2, vectors_each * _VECTOR * 64), bool)
    for tap in range(shape.kernel**2):
        y, x = row + tap // shape.kernel - half, column + tap % shape.kernel - half
        here = (y >= 0) & (y < shape.height) & (x >= 0) & (x < shape.width)
        inside[tap, : together * 64 * each] = np.tile(here, together)
    words = np.packbits(inside, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    return Strings(bits, length, spare, each, together, words.reshape(-1))


def strings_bytes(shape: MapShape, channels: int, images: int) -> int:
    """Memory that :func:`strings_of` takes, in bytes."""
    return 8 * -(-images // BLOCK) * channels * _lengths(shape)[0]


def _lengths(shape: MapShape) -> tuple[int, int, int]:
    """Words of a string, to spare at its start, and of an image."""
    each = -(-shape.height * shape.width // 64)
    spare = _VECTOR + shape.kernel // 2 * (shape.width + 1) // 64 + 1
    return BLOCK * each + 2 * spare + _VECTOR, spare, each


@njit
def table_size(strings: Strings, neurons: int) -> int:  # pragma: no cover
    """Entries of the table that :func:`sum_flips` fills."""
    vectors_each = (strings.each * strings.together + _VECTOR - 1) // _VECTOR
    return vectors_each * _VECTOR * 64 * neurons


@njit
def _fill_strings(
    inputs: Words, channels: int, each: int, length: int, spare: int, bits: Words
) -> None:  # pragma: no cover
    images, positions, words = inputs.shape
    group = np.empty(64, np.uint64)
    for image in range(images):
        base = (image // BLOCK) * channels * length + spare + (image % BLOCK) * each
        for w in range(each):
            for k in range(words):
                group[:] = 0
                for i in range(min(64, positions - 64 * w)):
                    group[i] = inputs[image, 64 * w + i, k]
                transpose_bits(group)
                for c in range(min(64, channels - 64 * k)):
                    bits[base + (64 * k + c) * length + w] = group[c]


@njit
def sort_flips(
    flips: Longs,
    columns: int,
    channels: int,
    taps: int,
    size: int,
    by_column: Words,
    stride: int,
) -> tuple[SortedFlips, Small]:  # pragma: no cover
    """Flipped weights sorted, and whether a tap of a neuron has an odd number of them.

    Parameters
    ----------
    flips : int64 array, shape (flips,)
        Wrong bits, ``row * columns + column``, strictly increasing.
    columns, channels, taps : int
        Weights of a neuron, input channels and taps.
    size : int
        Neurons, padded to whole words.
    by_column, stride
        Error-free columns, from :func:`bnn.engines.convolution.columns.columns_of`.
    """
    first, turn = np.empty(size + 1, np.int64), np.empty(size, np.int64)
    tap, channel = np.empty(len(flips), np.int32), np.empty(len(flips), np.int32)
    outside = np.empty(len(flips), np.bool_)
    odd = np.zeros((size, taps), np.int8)
    at = 0
    for r in range(size):
        begin = at
        while at < len(flips) and flips[at] < (r + 1) * columns:
            at += 1
        first[r] = begin
        left, right = begin, at
        for f in range(begin, at):
            c = np.uint32(flips[f] - r * columns)
            own = np.int64(c // np.uint32(channels))
            bit = (by_column[np.int64(c) * stride + r // 64] >> np.uint64(r % 64)) & np.uint64(1)
            # the flipped weight has the other sign; the first of a tap adds one outside
            adds = odd[r, own] == 0
            odd[r, own] ^= 1
            if bit == 0:
                to = left
                left += 1
            else:
                right -= 1
                to = right
            tap[to], channel[to] = own, np.int64(c) - own * channels
            outside[to] = adds == (bit == 0)
        turn[r] = left
    first[size] = at
    return SortedFlips(first, turn, tap, channel, outside), odd


@njit
def sum_flips(
    strings: Strings,
    shape: MapShape,
    channels: int,
    block: int,
    image: int,
    flips: SortedFlips,
    table: Small,
) -> None:  # pragma: no cover
    """What flipped weights add to ``q``, in bytes.

    Parameters
    ----------
    strings : Strings
        Inputs.
    shape : MapShape
        Shape of the layer.
    channels : int
        Input channels.
    block, image : int
        Block, and first image in it, a multiple of ``strings.together``.
    flips : SortedFlips
        Flipped weights.
    table : int8 array, flat from (together, 64 * each, neurons)
        Filled; `UNSURE` where the sum may not fit.
    """
    bits, inside, length, each = strings.bits, strings.inside, strings.length, strings.each
    first, turn, tap, channel = flips.first, flips.turn, flips.tap, flips.channel
    outside = flips.outside
    size = len(turn)
    most = 0
    for r in range(size):
        most = max(most, first[r + 1] - first[r])
    room = most + 2 * TOGETHER
    shifted = np.empty(room * _VECTOR + 8, np.uint64)
    skip = (64 - (shifted.ctypes.data % 64)) % 64 // 8
    shifted = shifted[skip : skip + room * _VECTOR]
    places = np.arange(0, room * _VECTOR, _VECTOR).astype(np.uint32)
    planes = np.empty(PLANES * _VECTOR, np.uint64)
    tiles = np.empty(_VECTOR * 4096, np.int8)
    spare = np.empty(4096, np.int8)
    taps = shape.kernel * shape.kernel
    word_of, shift_of = np.empty(taps, np.int64), np.empty(taps, np.int64)
    for t in range(taps):
        # bit p of the shifted string is bit p + distance
        distance = (t // shape.kernel - shape.kernel // 2) * shape.width
        distance += t % shape.kernel - shape.kernel // 2
        word_of[t], shift_of[t] = distance >> 6, distance & 63
    vectors_each = len(inside) // (taps * _VECTOR)
    base = block * channels * length + strings.spare + image * each
    for vector in range(vectors_each):
        for word in range(size // 64):
            tiles[:] = 0
            for r in range(64 * word, 64 * word + 64):
                begin, middle, end = first[r], turn[r], first[r + 1]
                if begin == end:
                    continue
                at, edge = 0, 0
                for half in range(2):
                    low, high = (begin, middle) if half == 0 else (middle, end)
                    for f in range(low, high):
                        own = np.int64(tap[f])
                        source = base + np.int64(channel[f]) * length + _VECTOR * vector
                        source += word_of[own]
                        shift = shift_of[own]
                        a = shift_right(load_words(bits, source), fill_words(shift))
                        b = shift_left(load_words(bits, source + 1), fill_words(1))
                        a = either(a, shift_left(b, fill_words(63 - shift)))
                        here = load_words(inside, (own * vectors_each + vector) * _VECTOR)
                        beyond = both(_opposite(here), fill_words(-np.int64(outside[f])))
                        store_words(shifted, at, either(both(a, here), beyond))
                        at += _VECTOR
                    while at % (TOGETHER * _VECTOR) != 0:
                        store_words(shifted, at, fill_words(0))
                        at += _VECTOR
                    if half == 0:
                        edge = at // _VECTOR
                number, difference = end - begin, 2 * middle - begin - end
                long = number > MOST_SHORT
                start = -(difference >> 1)
                count_columns(shifted, _VECTOR, places, edge, at // _VECTOR, start, long, planes)
                used = planes_used(number)
                for w in range(_VECTOR):
                    a = plane_bytes(planes, _VECTOR, w, used)
                    unsure = np.uint64(0)
                    if number > MOST_SURE:
                        unsure = greater(a, fill_bytes(_HALF)) | greater(fill_bytes(-_HALF), a)
                        if long:
                            unsure |= beyond_bytes(planes, _VECTOR, w)
                    a = add_saturated(add_saturated(a, a), fill_bytes(-(difference & 1)))
                    if unsure != 0:
                        a = choose(unsure, fill_bytes(UNSURE), a)
                    store_bytes(tiles, 4096 * w + 64 * (r % 64), a)
            for w in range(_VECTOR):
                _transpose(tiles, 4096 * w, spare)
                to = (_VECTOR * vector + w) * 64 * size + 64 * word
                for i in range(64):
                    store_bytes(table, to + i * size, load_bytes(tiles, 4096 * w + 64 * i))


@njit
def _opposite(words: Any) -> Any:  # pragma: no cover
    return exclusive_or(words, fill_words(np.int64(-1)))


@njit
def _transpose(tile: Small, at: int, spare: Small) -> None:  # pragma: no cover
    """Transpose 64 x 64 bytes by six perfect shuffles."""
    for _ in range(3):
        for i in range(32):
            a, b = load_bytes(tile, at + 64 * i), load_bytes(tile, at + 64 * (i + 32))
            store_bytes(spare, 128 * i, interleave_low(a, b))
            store_bytes(spare, 128 * i + 64, interleave_high(a, b))
        for i in range(32):
            a, b = load_bytes(spare, 64 * i), load_bytes(spare, 64 * (i + 32))
            store_bytes(tile, at + 128 * i, interleave_low(a, b))
            store_bytes(tile, at + 128 * i + 64, interleave_high(a, b))
