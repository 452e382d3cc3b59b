"""Convolutions that read pixels: sums of neighbouring taps are tabulated and shared.

Up to three taps side by side in a row of a kernel have eight signed sums. They are computed once
for every row of a map, so that a neuron adds one vector for three of its weights, and no vector
crosses the ends of a cache line.
"""

import numpy as np

from bnn.machine.aligned import aligned_zeros
from bnn.machine.arrays import Ints, Longs, Octets, Shorts, Small
from bnn.machine.bit_matrix import transpose_bits
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, word_count
from bnn.machine.vectors import add, fill_shorts, greater, load_shorts, store_shorts, subtract
from bnn.networks.network import PIXEL_LEVELS, ConvLayer, layer_signs

GROUP = 3
"""Taps side by side whose eight signed sums are tabulated."""

_FAR = 1 << 30
_VECTOR = 32
_GROUPS_SHORT = 42  # 42 * 3 taps of at most 255 fit 16 bits


NO_SUMS = np.empty((0, 0, 0), np.int64)


def padded_values(layer: ConvLayer) -> int:
    """Numbers that :func:`pad_pixels` makes of an image."""
    return layer.channels * (layer.height + layer.kernel - 1) * _room(layer)


def pad_pixels(layer: ConvLayer, images: Octets) -> Shorts:
    """Images, shape (images, channels * height * width), encoded, with a border of zeros.

    Returns
    -------
    int16 array, shape (images, channels, rows, columns)
        ``2 * pixel - 255``; so wide that whole vectors can be read.
    """
    half = layer.kernel // 2
    maps = images.reshape(-1, layer.channels, layer.height, layer.width)
    shape = (len(maps), layer.channels, layer.height + 2 * half, _room(layer))
    padded = np.zeros(shape, np.int16)
    padded[:, :, half : half + layer.height, half : half + layer.width] = maps
    inside = padded[:, :, half : half + layer.height, half : half + layer.width]
    inside *= 2
    inside -= PIXEL_LEVELS
    return padded


def fire_pixels(
    layer: ConvLayer,
    padded: Shorts,
    rows: Ints,
    signs: Small,
    threshold: Ints,
    sums: Longs = NO_SUMS,
) -> Words:
    """Neurons of a convolution that reads pixels, before the pooling.

    Parameters
    ----------
    layer : ConvLayer
        Shapes and directions.
    padded : int16 array, shape (images, channels, rows, columns)
        From :func:`pad_pixels`.
    rows : int32 array, shape (computed,)
        Output channels to compute, increasing.
    signs : int8 array, shape (output channels, columns)
        Weights as +1 and -1.
    threshold : int32 array, shape (output channels,)
        Thresholds.
    sums : int64 array, shape (images, height * width, output channels)
        Filled with the pre-activations unless it is empty.

    Returns
    -------
    uint64 array, shape (images, height * width, words)
        Bits of the channels `rows`; those of other channels are zero.
    """
    words = word_count(len(layer.weights))
    fired = np.zeros((len(padded), layer.height * layer.width, words), np.uint64)
    lines = layer.channels * padded.shape[2] * -(-layer.kernel // GROUP)
    across = -(-layer.width // _VECTOR) * _VECTOR
    _fire(
        padded.reshape(-1),
        padded.shape[3],
        layer.height,
        layer.width,
        layer.channels,
        layer.kernel,
        rows,
        signs,
        np.clip(threshold, -_FAR, _FAR).astype(np.int32),
        layer.direction,
        aligned_zeros(8 * lines * across, np.int16),
        fired,
        sums,
    )
    return fired


def fire_all_pixels(layer: ConvLayer, images: Octets, sums: Longs) -> Words:
    """All neurons of a layer for images as they are; see :func:`fire_pixels`."""
    rows = np.arange(len(layer.weights), dtype=np.int32)
    padded = pad_pixels(layer, images)
    return fire_pixels(layer, padded, rows, layer_signs(layer), layer.threshold, sums)


def _room(layer: ConvLayer) -> int:
    """Columns of a padded map: the taps of the last positions, vectors read whole."""
    across = -(-layer.width // _VECTOR) * _VECTOR
    return across + GROUP * -(-layer.kernel // GROUP) + _VECTOR


@njit
def _tabulate(
    maps: Shorts, base: int, room: int, lines: int, across: int, kernel: int, tables: Shorts
) -> None:  # pragma: no cover
    """Signed sums of groups of taps, flat from (channels * rows, groups, 8, across)."""
    groups = (kernel + GROUP - 1) // GROUP
    at = 0
    for line in range(lines):
        for group in range(groups):
            first = base + line * room + GROUP * group
            taps = min(GROUP, kernel - GROUP * group)
            for x in range(0, across, _VECTOR):
                zero = fill_shorts(0)
                a = load_shorts(maps, first + x)
                b = load_shorts(maps, first + x + 1) if taps > 1 else zero
                c = load_shorts(maps, first + x + 2) if taps > 2 else zero
                for pattern in range(8):
                    s = add(zero, a) if pattern & 1 else subtract(zero, a)
                    s = add(s, b) if pattern & 2 else subtract(s, b)
                    s = add(s, c) if pattern & 4 else subtract(s, c)
                    store_shorts(tables, at + pattern * across + x, s)
            at += 8 * across


@njit
def _fire(
    maps: Shorts,
    room: int,
    height: int,
    width: int,
    channels: int,
    kernel: int,
    rows: Ints,
    signs: Small,
    threshold: Ints,
    direction: Small,
    tables: Shorts,
    fired: Words,
    sums: Longs,
) -> None:  # pragma: no cover
    images = len(fired)
    down = height + 2 * (kernel // 2)
    across = ((width + _VECTOR - 1) // _VECTOR) * _VECTOR
    groups = (kernel + GROUP - 1) // GROUP
    number = channels * kernel * groups
    # where the sum of each group of taps lies, for the first row of positions
    places = np.empty(len(rows) * number, np.uint64)
    at = 0
    for r in rows:
        for channel in range(channels):
            for i in range(kernel):
                for group in range(groups):
                    pattern = 0
                    for j in range(GROUP * group, min(kernel, GROUP * group + GROUP)):
                        if signs[r, (i * kernel + j) * channels + channel] > 0:
                            pattern |= 1 << (j - GROUP * group)
                    line = (channel * down + i) * groups + group
                    places[at] = (line * 8 + pattern) * across
                    at += 1
    # z >= t is z > t - 1; -z >= t is the opposite of z > -t
    below, opposite = np.empty(len(rows), np.int32), np.zeros(len(rows), np.uint64)
    for k in range(len(rows)):
        below[k] = threshold[rows[k]] - 1
        if direction[rows[k]] < 0:
            below[k], opposite[k] = -threshold[rows[k]], ~np.uint64(0)
    total = np.empty(_VECTOR, np.int32)
    first, second = np.empty(64, np.uint64), np.empty(64, np.uint64)
    base, left = np.empty(4, np.int64), np.empty(4, np.int64)
    plain = number <= _GROUPS_SHORT and sums.size == 0
    # a unit is 32 positions of a row; four of them share the places of a neuron
    along = across // _VECTOR
    units = height * along
    for image in range(images):
        _tabulate(
            maps, image * channels * down * room, room, channels * down, across, kernel, tables
        )
        for unit in range(0, units, 4):
            for i in range(4):
                y, x = divmod(min(unit + i, units - 1), along)
                base[i] = y * groups * 8 * across + _VECTOR * x
                left[i] = y * width + _VECTOR * x
            k = 0
            while k < len(rows):
                word = rows[k] // 64
                first[:] = 0
                second[:] = 0
                while k < len(rows) and rows[k] // 64 == word:
                    r = rows[k]
                    if plain:
                        a, b = _four_sums(tables, base, places, k * number, number, below[k])
                    else:
                        a, b = np.uint64(0), np.uint64(0)
                        for i in range(4):
                            _long_sum(tables, base[i], places, k * number, number, total)
                            bits = np.uint64(0)
                            for j in range(_VECTOR):
                                bits |= np.uint64(total[j] > below[k]) << np.uint64(j)
                            if i < 2:
                                a |= bits << np.uint64(_VECTOR * i)
                            else:
                                b |= bits << np.uint64(_VECTOR * (i - 2))
                            if sums.size > 0:
                                for j in range(min(_VECTOR, width - left[i] % width)):
                                    sums[image, left[i] + j, r] = total[j]
                    first[r % 64], second[r % 64] = a ^ opposite[k], b ^ opposite[k]
                    k += 1
                transpose_bits(first)
                transpose_bits(second)
                for i in range(min(4, units - unit)):
                    bits_of = first if i < 2 else second
                    for j in range(min(_VECTOR, width - left[i] % width)):
                        fired[image, left[i] + j, word] = bits_of[_VECTOR * (i % 2) + j]


@njit
def _four_sums(
    tables: Shorts, base: Longs, places: Words, start: int, number: int, below: int
) -> tuple[np.uint64, np.uint64]:  # pragma: no cover
    """Where the sums of a neuron exceed `below`, for two times two units."""
    a, b, c, d = fill_shorts(0), fill_shorts(0), fill_shorts(0), fill_shorts(0)
    i, j, k, m = base[0], base[1], base[2], base[3]
    for n in range(np.uint64(start), np.uint64(start + number)):
        place = np.int64(places[n])
        a = add(a, load_shorts(tables, i + place))
        b = add(b, load_shorts(tables, j + place))
        c = add(c, load_shorts(tables, k + place))
        d = add(d, load_shorts(tables, m + place))
    limit = fill_shorts(min(max(below, -32768), 32767))
    shift = np.uint64(_VECTOR)
    return (
        greater(a, limit) | (greater(b, limit) << shift),
        greater(c, limit) | (greater(d, limit) << shift),
    )


@njit
def _long_sum(
    tables: Shorts, base: int, places: Words, start: int, number: int, total: Ints
) -> None:  # pragma: no cover
    """Sums of any number of taps for 32 positions, in 32 bits."""
    short = np.empty(_VECTOR, np.int16)
    total[:] = 0
    for begin in range(start, start + number, _GROUPS_SHORT):
        a = fill_shorts(0)
        for n in range(begin, min(begin + _GROUPS_SHORT, start + number)):
            a = add(a, load_shorts(tables, base + np.int64(places[n])))
        store_shorts(short, 0, a)
        for j in range(_VECTOR):
            total[j] += short[j]
