"""First layer: what flipped weights change in sums of pixels, many images at a time.

Neurons are counted in half steps: with ``m = direction * z - threshold`` and ``q = floor(m / 2)`` a
neuron fires where ``q >= 0``. Flipping the weight of column c changes ``q`` by exactly
``-direction * weight * (2 * pixel - 255)``, because ``z`` changes by even numbers.

Images lie in blocks of 64, the image as the last axis: the pixels of a block stay in the fastest
cache, and the bits of a neuron for a block are one word. Sums of pixels are taken in 16 bits, which
hold up to 128 pixels of one sign.
"""

import numba
import numpy as np
import numpy.typing as npt

from bnn.engines import vectors
from bnn.engines.vectors import (
    add,
    fill_bytes,
    fill_shorts,
    greater,
    load_bytes,
    load_bytes_as_shorts,
    load_shorts,
    lowest_bit,
    store_shorts,
    subtract,
)
from bnn.packing import Words
from bnn.stored_code import forget_stale

forget_stale(__file__, vectors)

BLOCK = 64
"""Images of a block."""

_PIXEL_LEVELS = 255
_MOST_SHORT = 128  # 128 * 255 = 32640 fits 16 bits
_FEW_ROWS = 6  # changed neurons of a group of 64 up to which bits are set one by one

Octets = npt.NDArray[np.uint8]
Shorts = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Offsets = npt.NDArray[np.uint32]
Ranks = npt.NDArray[np.uint64]


def pixel_blocks(images: Octets) -> Octets:
    """Turn images, shape (images, pixels), into shape (blocks, pixels, 64); the rest is zero."""
    count, pixels = images.shape
    blocks = -(-count // BLOCK)
    padded = np.zeros((blocks * BLOCK, pixels), np.uint8)
    padded[:count] = images
    return np.ascontiguousarray(padded.reshape(blocks, BLOCK, pixels).transpose(0, 2, 1))


@numba.njit(nogil=True, cache=True)
def _short_sum(
    pixels: Octets,
    base: int,
    places: Offsets,
    first: np.uint64,
    middle: np.uint64,
    last: np.uint64,
    short: Shorts,
) -> None:  # pragma: no cover
    """Columns at `places` from `first` to `middle` minus those to `last`, at most 128 of each."""
    a, b = fill_shorts(0), fill_shorts(0)
    for j in range(first, middle):
        at = base + np.int64(places[j])
        a = add(a, load_bytes_as_shorts(pixels, at))
        b = add(b, load_bytes_as_shorts(pixels, at + 32))
    for j in range(middle, last):
        at = base + np.int64(places[j])
        a = subtract(a, load_bytes_as_shorts(pixels, at))
        b = subtract(b, load_bytes_as_shorts(pixels, at + 32))
    store_shorts(short, 0, a)
    store_shorts(short, 32, b)


@numba.njit(nogil=True, cache=True)
def _long_sum(
    pixels: Octets,
    base: int,
    places: Offsets,
    first: np.uint64,
    middle: np.uint64,
    last: np.uint64,
    short: Shorts,
    total: Ints,
) -> None:  # pragma: no cover
    """The same for any number of columns, in 32 bits."""
    total[:] = 0
    step = np.uint64(_MOST_SHORT)
    while first < middle:
        stop = min(middle, first + step)
        _short_sum(pixels, base, places, first, stop, stop, short)
        for i in range(64):
            total[i] += short[i]
        first = stop
    while first < last:
        stop = min(last, first + step)
        _short_sum(pixels, base, places, first, first, stop, short)
        for i in range(64):
            total[i] += short[i]
        first = stop


@numba.njit(nogil=True, cache=True)
def changed_neurons(
    pixels: Octets,
    columns: int,
    ceiling: Shorts,
    margin: Ints,
    fired: Words,
    rows: Ints,
    first: Ranks,
    middle: Ranks,
    places: Offsets,
    shift: Ints,
    changed: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Which hidden neurons change on which image, for blocks `start` to `stop`.

    Parameters
    ----------
    pixels : uint8 array, flat from (blocks, columns, 64)
        Pixels.
    columns : int
        Pixels of an image.
    ceiling : int16 array, flat from (2, blocks, neurons, 64)
        ``~floor(q / 2)`` and ``~floor((q + 1) / 2)`` of the error-free network, cut to 16 bits.
    margin : int32 array, flat from (blocks, neurons, 64)
        ``q`` of the error-free network.
    fired : uint64 array, shape (blocks, neurons)
        Bits of the error-free network, one for each image.
    rows : int32 array, shape (touched,)
        Neurons with flipped weights or another threshold, increasing.
    first, middle : uint64 array, shape (touched + 1,) and (touched,)
        Where the columns of each of them start in `places`, and where those start that are taken
        from ``q`` and not added to it.
    places : uint32 array
        64 times the column of each flipped weight.
    shift : int32 array, shape (touched,)
        What a changed threshold adds to ``q``.
    changed : uint64 array, shape (images, words)
        Filled with the changed neurons of each image, neuron r as bit r % 64 of word r // 64;
        zero on entry.
    start, stop : int
        Blocks.
    """
    neurons = fired.shape[1]
    images = len(changed)
    size = len(margin)
    total, short = np.empty(64, np.int32), np.empty(64, np.int16)
    flags = np.empty(64, np.int8)
    group = np.zeros(64, np.uint64)
    for block in range(start, stop):
        base = block * columns * 64
        image = block * 64
        here = min(64, images - image)
        j = 0
        while j < len(rows):
            word = rows[j] // 64
            number = 0
            while j < len(rows) and rows[j] // 64 == word:
                r = np.int64(rows[j])
                start_row, turn, stop_row = first[j], middle[j], first[j + 1]
                plus, minus = np.int64(turn - start_row), np.int64(stop_row - turn)
                offset = _PIXEL_LEVELS * (minus - plus) + shift[j]
                at = (block * neurons + r) * 64
                if max(plus, minus) <= _MOST_SHORT and shift[j] == 0:
                    # q + 2 s + offset >= 0 in halves: at most 256 * 255 / 2 changes, 16 bits
                    _short_sum(pixels, base, places, start_row, turn, stop_row, short)
                    half = fill_shorts(offset >> 1)
                    a = add(load_shorts(short, 0), half)
                    b = add(load_shorts(short, 32), half)
                    at = at + (offset & 1) * size
                    bits = greater(a, load_shorts(ceiling, at)) | (
                        greater(b, load_shorts(ceiling, at + 32)) << np.uint64(32)
                    )
                else:
                    if max(plus, minus) <= _MOST_SHORT:
                        _short_sum(pixels, base, places, start_row, turn, stop_row, short)
                        for i in range(64):
                            total[i] = short[i]
                    else:
                        _long_sum(pixels, base, places, start_row, turn, stop_row, short, total)
                    for i in range(64):
                        flags[i] = 2 * total[i] + offset + margin[at + i] >= 0
                    bits = greater(load_bytes(flags, 0), fill_bytes(0))
                bits ^= fired[block, r]
                group[r % 64] = bits
                if bits != 0:
                    number += 1
                j += 1
            if number == 0:
                continue
            if number <= _FEW_ROWS:
                for bit in range(64):
                    left = group[bit]
                    while left != 0:
                        i = lowest_bit(left)
                        left &= left - np.uint64(1)
                        if i < here:
                            changed[image + i, word] |= np.uint64(1) << np.uint64(bit)
            else:
                transpose_bits(group)
                for i in range(here):
                    changed[image + i, word] = group[i]
            group[:] = 0


GROUP = 6
"""Columns whose 64 signed sums are tabulated together."""

_GROUPS_TOGETHER = 5  # their tables, 40 kB, stay in the fastest cache
_PASSES_SHORT = 4  # 4 * 5 * 6 columns of at most 255 fit 16 bits


@numba.njit(nogil=True, cache=True)
def patterns_of(weights: Words, columns: int) -> npt.NDArray[np.uint32]:  # pragma: no cover
    """Places in the tables of each group of columns, shape (passes, neurons, 5).

    Groups are filled up to a multiple of five with columns that every image has dark.
    """
    together = GROUP * _GROUPS_TOGETHER
    passes = -(-columns // together)
    patterns = np.zeros((passes, len(weights), _GROUPS_TOGETHER), np.uint32)
    for r in range(len(weights)):
        for c in range(columns):
            bit = (weights[r, c // 64] >> np.uint64(c % 64)) & np.uint64(1)
            group = (c % together) // GROUP
            patterns[c // together, r, group] |= np.uint32(bit << np.uint64(c % GROUP))
    for g in range(_GROUPS_TOGETHER):
        patterns[:, :, g] = (patterns[:, :, g] + np.uint32(64 * g)) * np.uint32(64)
    return patterns


@numba.njit(nogil=True, cache=True)
def _tabulate(
    pixels: Octets, base: int, columns: int, group: int, tables: Shorts, at: int
) -> None:  # pragma: no cover
    """All signed sums of the pixels of a group for 64 images, from ``tables[at]`` on."""
    for half in range(0, 64, 32):
        a = fill_shorts(0)
        for j in range(GROUP):
            c = GROUP * group + j
            if c < columns:
                a = subtract(a, load_bytes_as_shorts(pixels, base + 64 * c + half))
        store_shorts(tables, at + half, a)
        for j in range(GROUP):
            c = GROUP * group + j
            x = fill_shorts(0)
            if c < columns:
                x = load_bytes_as_shorts(pixels, base + 64 * c + half)
                x = add(x, x)
            for m in range(1 << j):
                a = add(load_shorts(tables, at + 64 * m + half), x)
                store_shorts(tables, at + 64 * (m + (1 << j)) + half, a)


@numba.njit(nogil=True, cache=True)
def pixel_sums(
    pixels: Octets,
    block: int,
    columns: int,
    patterns: npt.NDArray[np.uint32],
    tables: Shorts,
    short: Shorts,
    sums: Ints,
) -> None:  # pragma: no cover
    """Sums of signed pixels of all neurons for one block, by tables of groups of columns.

    Parameters
    ----------
    pixels : uint8 array, flat from (blocks, columns, 64)
        Pixels.
    block, columns : int
        Block, and pixels of an image.
    patterns : uint32 array, shape (passes, neurons, 5)
        From :func:`patterns_of`.
    tables, short : int16 array, flat from (5 * 64, 64) and (neurons, 64)
        Scratch.
    sums : int32 array, flat from (neurons, 64)
        Filled with ``sum of weight * pixel``.

    Notes
    -----
    The table of a group costs 63 sums and saves five of six additions of every neuron (Arlazarov,
    Dinic, Kronrod and Faradzev 1970, for products of bit matrices).
    """
    passes, neurons, _ = patterns.shape
    flat = patterns.reshape(-1)
    base = block * columns * 64
    sums[:] = 0
    short[:] = 0
    for number in range(passes):
        for g in range(_GROUPS_TOGETHER):
            _tabulate(pixels, base, columns, number * _GROUPS_TOGETHER + g, tables, 4096 * g)
        # unsigned numbers index without a test for negative ones
        place = np.uint64(number * neurons * _GROUPS_TOGETHER)
        for r in range(neurons):
            at = np.int64(r) * 64
            a, b = load_shorts(short, at), load_shorts(short, at + 32)
            for _ in range(_GROUPS_TOGETHER):
                table = np.int64(flat[place])
                a = add(a, load_shorts(tables, table))
                b = add(b, load_shorts(tables, table + 32))
                place += np.uint64(1)
            store_shorts(short, at, a)
            store_shorts(short, at + 32, b)
        if number % _PASSES_SHORT == _PASSES_SHORT - 1 or number == passes - 1:
            for i in range(64 * neurons):
                sums[i] += short[i]
            short[:] = 0


@numba.njit(nogil=True, cache=True)
def fired_words(
    pixels: Octets,
    columns: int,
    patterns: npt.NDArray[np.uint32],
    least: Ints,
    turned: npt.NDArray[np.bool_],
    bits: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Bits of all neurons by image, for blocks `start` to `stop`.

    A neuron fires where its sum of signed pixels is at least ``least``, the opposite where it is
    ``turned``; ``bits`` has the shape (images, words).
    """
    neurons = patterns.shape[1]
    tables = np.empty(4096 * _GROUPS_TOGETHER, np.int16)
    short, sums = np.empty(64 * neurons, np.int16), np.empty(64 * neurons, np.int32)
    flags = np.empty(64, np.int8)
    group = np.empty(64, np.uint64)
    for block in range(start, stop):
        pixel_sums(pixels, block, columns, patterns, tables, short, sums)
        for word in range(bits.shape[1]):
            group[:] = 0
            for r in range(64 * word, min(neurons, 64 * word + 64)):
                for i in range(64):
                    flags[i] = sums[64 * r + i] >= least[r]
                fired = greater(load_bytes(flags, 0), fill_bytes(0))
                group[r - 64 * word] = ~fired if turned[r] else fired
            transpose_bits(group)
            for i in range(min(64, len(bits) - 64 * block)):
                bits[64 * block + i, word] = group[i]


@numba.njit(nogil=True, cache=True)
def transpose_bits(rows: Words) -> None:  # pragma: no cover
    """Transpose a matrix of 64 x 64 bits in place: bit c of word r becomes bit r of word c."""
    width = 32
    mask = np.uint64(0x00000000FFFFFFFF)
    while width > 0:
        shift = np.uint64(width)
        for start in range(0, 64, 2 * width):
            for r in range(start, start + width):
                swap = ((rows[r] >> shift) ^ rows[r + width]) & mask
                rows[r] ^= swap << shift
                rows[r + width] ^= swap
        width //= 2
        mask ^= mask << np.uint64(width)


@numba.njit(nogil=True, cache=True)
def error_free_margins(
    pixels: Octets,
    columns: int,
    patterns: npt.NDArray[np.uint32],
    total: Longs,
    direction: npt.NDArray[np.int8],
    lack: Longs,
    ceiling: Shorts,
    margin: Ints,
    fired: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Fill `ceiling`, `margin` and `fired` for blocks `start` to `stop`.

    ``total``, shape (neurons,), are sums of weights; ``lack``, same shape, is ``-threshold``, or a
    number that decides for every sum.
    """
    neurons = patterns.shape[1]
    size = len(margin)
    tables = np.empty(4096 * _GROUPS_TOGETHER, np.int16)
    short, sums = np.empty(64 * neurons, np.int16), np.empty(64 * neurons, np.int32)
    flags = np.empty(64, np.int8)
    for block in range(start, stop):
        pixel_sums(pixels, block, columns, patterns, tables, short, sums)
        for r in range(neurons):
            at = (block * neurons + r) * 64
            for i in range(64):
                z = 2 * np.int64(sums[64 * r + i]) - _PIXEL_LEVELS * total[r]
                q = (direction[r] * z + lack[r]) >> 1
                margin[at + i] = q
                ceiling[at + i] = ~min(max(q >> 1, -32768), 32767)
                ceiling[size + at + i] = ~min(max((q + 1) >> 1, -32768), 32767)
                flags[i] = q >= 0
            fired[block, r] = greater(load_bytes(flags, 0), fill_bytes(0))
