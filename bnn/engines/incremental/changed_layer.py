"""Layers with binary inputs, followed change by change.

Neurons are counted in half steps as in :mod:`bnn.engines.packed.binary_layer`: a changed input or a
flipped weight changes ``q`` by one. Changed inputs are counted for 512 neurons at a time in bit
planes (carry-save adders). Flipped weights are summed up beforehand or, where they are few, only
for neurons that they could decide. An image that is cheaper to count anew is counted anew.
"""

import numpy as np
import numpy.typing as npt

from bnn.engines.incremental.layer_state import LayerFlips, LayerState
from bnn.engines.packed.binary_layer import fire_four
from bnn.machine.arrays import Ints, Longs, Octets, Small
from bnn.machine.bit_matrix import transpose_bytes
from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.vectors import (
    add,
    add_where,
    both,
    exclusive_or,
    fill_bytes,
    fill_words,
    greater,
    load_bytes,
    load_words,
    lowest_bit,
    lowest_bit_or_64,
    majority,
    parity,
    popcount,
    store_bytes,
    store_words,
    subtract,
    word_at,
)

MOST_CHANGE = 126
"""Largest change of ``q`` that bytes follow: margins are cut to -128..127."""

Offsets = npt.NDArray[np.uint32]
Ranks = npt.NDArray[np.uint64]


@njit
def changed_neurons(
    state: LayerState,
    flips: LayerFlips,
    lanes: Words,
    limit: Longs,
    turned: Octets,
    by_column: Words,
    allowed: Small,
    changed: Words,
    active: Words,
    result: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Which neurons of a layer change, for blocks `start` to `stop` of 64 images.

    Parameters
    ----------
    state : LayerState
        The layer without errors.
    flips : LayerFlips
        What is different on the chip.
    lanes, limit, turned, by_column
        Weights and limits of the chip, in the forms of `state`; ``by_column`` without the flips
        where they are few.
    allowed : int8 array, shape (64 * blocks,)
        Changed neurons up to which the answer of an image is known to stay.
    changed : uint64 array, shape (images, words)
        Inputs of the active images that changed.
    active : uint64 array, shape (blocks,)
        Images whose answer is open, one bit for each; those that are settled here are taken out.
    result : uint64 array, shape (images, out words)
        Filled with the changed neurons of the active images.
    start, stop : int
        Blocks.
    """
    # arrays of their own: reaching into a tuple in a loop counts references each time
    bits, by_input, ceiling, fired = state.bits, state.by_input, state.ceiling, state.fired
    number_own, shift = flips.number, flips.shift
    rows, first, middle, column = flips.rows, flips.first, flips.middle, flips.column
    most, many, moved = flips.most, flips.many, flips.moved
    words = bits.shape[1]
    out_words = fired.shape[1]
    fired_flat, result_flat = fired.reshape(-1), result.reshape(-1)
    bits_flat, changed_flat = bits.reshape(-1), changed.reshape(-1)
    size = 64 * out_words
    columns = by_input.shape[1]
    stride = len(by_column) // (2 * columns + 1)
    row_words = np.uint64(stride)
    places = np.empty(max(most, 0) + 72, np.uint32)
    planes = np.empty(7 * stride, np.uint64)
    # rows that are not a power of two apart do not compete for places in the cache
    own_size = size + 64
    own_sums = np.zeros(64 * own_size if many else 0, np.int8)
    tile, spare = np.empty(4096, np.int8), np.empty(4096, np.int8)
    now = np.empty(words, np.uint64)
    sums = np.empty(64, np.int8)
    waiting = np.empty(4, np.int64)
    number_waiting = 0
    four, counts = np.empty(4 * words, np.uint64), np.empty(64, np.uint64)
    out = np.empty((4, out_words), np.uint64)
    has_own = np.zeros(out_words, np.bool_)
    for r in rows:
        has_own[r // 64] = not many
    for block in range(start, stop):
        left_images = active[block]
        if left_images == 0:
            continue
        if many and most >= 0:
            _own_sums(by_input, block, rows, first, middle, column, tile, spare, own_sums)
        while left_images != 0:
            image_bit = left_images & (~left_images + np.uint64(1))
            within = lowest_bit(left_images)
            left_images ^= image_bit
            image = 64 * block + within
            number = np.int64(0)
            for k in range(words):
                number += np.int64(popcount(word_at(changed_flat, image * words + k)))
            if number > most:
                waiting[number_waiting] = image
                number_waiting += 1
                if number_waiting == 4:
                    _recount(
                        bits, fired, lanes, limit, turned, changed, waiting, 4, four, counts, out,
                        allowed, active, result,
                    )  # fmt: skip
                    number_waiting = 0
                continue
            at = np.uint64(0)
            for k in range(words):
                left = word_at(changed_flat, image * words + k)
                word = word_at(bits_flat, image * words + k) ^ left
                now[k] = word
                start_word = np.uint64(2 * 64 * k)
                # The first two without a branch, which would be foreseen badly.
                for _ in range(2):
                    j = lowest_bit_or_64(left)
                    more = left != 0
                    left &= left - np.uint64(1)
                    up = (word >> (j & np.uint64(63))) & np.uint64(1)
                    places[at] = np.uint32(row_words * (start_word + np.uint64(2) * j + up))
                    at += np.uint64(more)
                while left != 0:
                    j = np.uint64(lowest_bit(left))
                    left &= left - np.uint64(1)
                    up = (word >> j) & np.uint64(1)
                    places[at] = np.uint32(row_words * (start_word + np.uint64(2) * j + up))
                    at += np.uint64(1)
            for k in range(8):
                places[at + np.uint64(k)] = np.uint32(row_words * np.uint64(2 * columns))
            if number > 0:
                _count_columns(by_column, stride, places, number, planes)
            base, base_words = np.int64(image) * size, np.int64(image) * out_words
            total = np.int64(0)
            for word in range(out_words):
                a = fill_bytes(0)
                if number > 0:
                    a = fill_bytes(-number)
                    a = add_where(a, word_at(planes, word), fill_bytes(2))
                    if number > 1:
                        a = add_where(a, word_at(planes, stride + word), fill_bytes(4))
                        a = add_where(a, word_at(planes, 2 * stride + word), fill_bytes(8))
                        if number > 7:
                            a = add_where(a, word_at(planes, 3 * stride + word), fill_bytes(16))
                            a = add_where(a, word_at(planes, 4 * stride + word), fill_bytes(32))
                            if number > 31:
                                a = add_where(a, word_at(planes, 5 * stride + word), fill_bytes(64))
                                a = add_where(
                                    a, word_at(planes, 6 * stride + word), fill_bytes(-128)
                                )
                if moved:
                    a = add(a, load_bytes(shift, 64 * word))
                if many:
                    a = add(a, load_bytes(own_sums, within * own_size + 64 * word))
                below = load_bytes(ceiling, base + 64 * word)
                fires = greater(a, below)
                if has_own[word]:
                    o = load_bytes(number_own, 64 * word)
                    fires = greater(subtract(a, o), below)
                    doubtful = fires ^ greater(add(a, o), below)
                    if doubtful != 0:
                        store_bytes(sums, 0, a)
                        fires |= _settle(
                            doubtful, sums, now, ceiling, base, 64 * word, first, middle, column
                        )
                fires ^= word_at(fired_flat, base_words + word)
                result_flat[np.uint64(base_words + word)] = fires
                total += np.int64(popcount(fires))
            if total <= np.int64(allowed[image]):
                active[block] &= ~image_bit
    if number_waiting > 0:
        _recount(
            bits, fired, lanes, limit, turned, changed, waiting, number_waiting, four, counts, out,
            allowed, active, result,
        )  # fmt: skip


@njit
def _own_sums(
    by_input: Words,
    block: int,
    rows: Ints,
    first: Ranks,
    middle: Ranks,
    column: Ints,
    tile: Small,
    spare: Small,
    sums: Small,
) -> None:  # pragma: no cover
    """What flipped weights add to ``q`` for error-free inputs, for a block of 64 images.

    ``sums``, flat from (64, padded size), is filled where neurons have any.
    """
    size = len(sums) // 64
    two, minus_two = fill_bytes(2), fill_bytes(-2)
    j = 0
    while j < len(rows):
        word = int(rows[j]) // 64
        for row in range(64):
            store_bytes(tile, 64 * row, fill_bytes(0))
        while j < len(rows) and int(rows[j]) // 64 == word:
            r = np.int64(rows[j])
            # an input is +1 where its bit is set, that is 2 - 1, else 0 - 1
            less = np.int64(middle[r] - first[r]) - np.int64(first[r + 1] - middle[r])
            a = fill_bytes(-less)
            for f in range(first[r], middle[r]):
                a = add_where(a, by_input[block, column[f]], two)
            for f in range(middle[r], first[r + 1]):
                a = add_where(a, by_input[block, column[f]], minus_two)
            store_bytes(tile, 64 * (r % 64), a)
            j += 1
        transpose_bytes(tile, spare, sums, 64 * word, size)


@njit
def _count_columns(
    by_column: Words, stride: int, places: Offsets, number: int, planes: Words
) -> None:  # pragma: no cover
    """Count set bits of rows of :func:`column_bits` for each neuron, in bit planes.

    Parameters
    ----------
    by_column : uint64 array, flat
        From :func:`column_bits`.
    stride : int
        Words of a row, a multiple of eight.
    places : uint32 array, shape (at least number, filled up to eight with the empty row,)
        Where rows start.
    number : int
        Rows to count, at most 127.
    planes : uint64 array, flat from (7, stride)
        Filled with the bits of the counts.
    """
    for word in range(0, stride, 8):
        ones, twos, fours = fill_words(0), fill_words(0), fill_words(0)
        p3, p4, p5, p6 = fill_words(0), fill_words(0), fill_words(0), fill_words(0)
        for j in range(np.uint64(0), np.uint64(number), np.uint64(8)):
            a = load_words(by_column, np.int64(places[j]) + word)
            b = load_words(by_column, np.int64(places[j + np.uint64(1)]) + word)
            c = load_words(by_column, np.int64(places[j + np.uint64(2)]) + word)
            d = load_words(by_column, np.int64(places[j + np.uint64(3)]) + word)
            t1, ones = majority(ones, a, b), parity(ones, a, b)
            t2, ones = majority(ones, c, d), parity(ones, c, d)
            f1, twos = majority(twos, t1, t2), parity(twos, t1, t2)
            a = load_words(by_column, np.int64(places[j + np.uint64(4)]) + word)
            b = load_words(by_column, np.int64(places[j + np.uint64(5)]) + word)
            c = load_words(by_column, np.int64(places[j + np.uint64(6)]) + word)
            d = load_words(by_column, np.int64(places[j + np.uint64(7)]) + word)
            t1, ones = majority(ones, a, b), parity(ones, a, b)
            t2, ones = majority(ones, c, d), parity(ones, c, d)
            f2, twos = majority(twos, t1, t2), parity(twos, t1, t2)
            e, fours = majority(fours, f1, f2), parity(fours, f1, f2)
            e, p3 = both(p3, e), exclusive_or(p3, e)
            e, p4 = both(p4, e), exclusive_or(p4, e)
            e, p5 = both(p5, e), exclusive_or(p5, e)
            p6 = exclusive_or(p6, e)
        store_words(planes, word, ones)
        store_words(planes, stride + word, twos)
        store_words(planes, 2 * stride + word, fours)
        store_words(planes, 3 * stride + word, p3)
        store_words(planes, 4 * stride + word, p4)
        store_words(planes, 5 * stride + word, p5)
        store_words(planes, 6 * stride + word, p6)


@njit
def _settle(
    doubtful: np.uint64,
    sums: Small,
    bits: Words,
    ceiling: Small,
    base: int,
    row: int,
    first: Ranks,
    middle: Ranks,
    column: Ints,
) -> np.uint64:  # pragma: no cover
    """Which doubtful neurons of a word fire, by the inputs of their flipped weights."""
    fires = np.uint64(0)
    while doubtful != 0:
        j = lowest_bit(doubtful)
        doubtful &= doubtful - np.uint64(1)
        r = row + j
        q = np.int64(sums[j])
        for f in range(first[r], middle[r]):
            q += _sign(bits, column[f])
        for f in range(middle[r], first[r + 1]):
            q -= _sign(bits, column[f])
        if q > np.int64(ceiling[base + r]):
            fires |= np.uint64(1) << np.uint64(j)
    return fires


@njit
def _sign(bits: Words, column: int) -> int:  # pragma: no cover
    at = np.uint64(column)
    one = (bits[at >> np.uint64(6)] >> (at & np.uint64(63))) & np.uint64(1)
    return 1 if one else -1


@njit
def _recount(
    bits: Words,
    fired: Words,
    lanes: Words,
    limit: Longs,
    turned: Octets,
    changed: Words,
    images: Longs,
    number: int,
    four: Words,
    counts: Words,
    out: Words,
    allowed: Small,
    active: Words,
    result: Words,
) -> None:  # pragma: no cover
    """Count all neurons of up to four images anew."""
    words = bits.shape[1]
    for i in range(4):
        image = images[min(i, number - 1)]
        for k in range(words):
            four[i * words + k] = bits[image, k] ^ changed[image, k]
    fire_four(four, words, lanes, limit, turned, counts, out)
    for i in range(number):
        image = images[i]
        total = np.int64(0)
        for k in range(out.shape[1]):
            fires = out[i, k] ^ fired[image, k]
            result[image, k] = fires
            total += np.int64(popcount(fires))
        if total <= np.int64(allowed[image]):
            active[image // 64] &= ~(np.uint64(1) << np.uint64(image % 64))
