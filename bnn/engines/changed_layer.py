"""Layers with binary inputs, followed change by change.

Neurons are counted in half steps as in :mod:`bnn.engines.binary_layer`: a changed input or a
flipped weight changes ``q`` by one. Changed inputs are counted for 512 neurons at a time in bit
planes (carry-save adders), flipped weights are summed up beforehand or, where they are few, only
for neurons that they could decide. An image that is cheaper to count anew is counted anew.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from bnn.engines import binary_layer, vectors
from bnn.engines.binary_layer import fire_four
from bnn.engines.vectors import (
    add,
    add_saturated,
    add_where,
    at_most,
    both,
    either,
    exclusive_or,
    fill_bytes,
    fill_words,
    greater,
    interleave_high,
    interleave_low,
    load_bytes,
    load_words,
    lowest_bit,
    popcount,
    store_bytes,
    store_words,
    subtract,
)
from bnn.packing import Words
from bnn.stored_code import forget_stale

forget_stale(__file__, binary_layer, vectors)

Octets = npt.NDArray[np.uint8]
Small = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Offsets = npt.NDArray[np.uint32]
Ranks = npt.NDArray[np.uint64]


@numba.njit(nogil=True, cache=True)
def column_bits(
    weights: Words, columns: int, turned: Octets, words: int
) -> Words:  # pragma: no cover
    """Bits ``direction * weight > 0`` by column, flat from (columns + 1, words); the last are zero.

    ``words`` is a multiple of eight, so that whole vectors are read.
    """
    bits = np.zeros((columns + 1) * words, np.uint64)
    for r in range(len(weights)):
        opposite = (turned[r // 8] >> (r % 8)) & 1
        for c in range(columns):
            one = (weights[r, c // 64] >> np.uint64(c % 64)) & np.uint64(1)
            if one != opposite:
                bits[c * words + r // 64] |= np.uint64(1) << np.uint64(r % 64)
    return bits


@numba.njit(nogil=True, cache=True)
def flip_column_bits(
    by_column: Words, words: int, columns: int, places: Longs
) -> Words:  # pragma: no cover
    """Copy with the bits ``row * columns + column`` turned round."""
    flipped = by_column.copy()
    for place in places:
        row = place // columns
        flipped[(place % columns) * words + row // 64] ^= np.uint64(1) << np.uint64(row % 64)
    return flipped


@numba.njit(nogil=True, cache=True)
def spread_signs(bits: Words, columns: int) -> Small:  # pragma: no cover
    """Bits of images, shape (images, words), as +1 and -1, flat from (blocks, columns, 64)."""
    images = len(bits)
    blocks = (images + 63) // 64
    signs = np.ones(blocks * columns * 64, np.int8)
    for image in range(images):
        at = (image // 64) * columns * 64 + image % 64
        for c in range(columns):
            if (bits[image, c // 64] >> np.uint64(c % 64)) & np.uint64(1) == 0:
                signs[at + 64 * c] = -1
    return signs


@numba.njit(nogil=True, cache=True)
def changed_neurons(
    bits: Words,
    changed: Words,
    signs: Small,
    lanes: Words,
    limit: Longs,
    turned: Octets,
    by_column: Words,
    ceiling: Small,
    fired: Words,
    own_rows: Ints,
    own_first: Ranks,
    own_middle: Ranks,
    own_column: Ints,
    own_number: Small,
    shift: Small,
    most: int,
    many: bool,
    result: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Which neurons change on which image, for blocks of 64 images `start` to `stop`.

    Parameters
    ----------
    bits, fired : uint64 array, shape (images, words) and (images, out words)
        Inputs and outputs of the error-free network.
    changed : uint64 array, shape (images, words)
        Changed inputs.
    signs : int8 array, flat from (blocks, columns, 64)
        `bits` as signs, from :func:`spread_signs`.
    lanes, limit, turned
        Weights with errors and limits of this chip.
    by_column : uint64 array, flat
        From :func:`column_bits`: with errors where `many`, else without.
    ceiling : int8 array, flat from (images, 64 * out words)
        From :func:`error_free`.
    own_rows : int32 array, shape (touched,)
        Neurons with flipped weights, increasing.
    own_first, own_middle, own_column : uint64, uint64 and int32 array
        Flipped columns of each neuron, those first at which a +1 is added to ``q``; shapes
        (64 * out words + 1,), (64 * out words,) and (flips,).
    own_number : int8 array, shape (64 * out words,)
        Their number, for each neuron, cut to 127.
    shift : int8 array, shape (64 * out words,)
        What changed thresholds add to ``q``.
    most : int
        Largest number of changed inputs of an image that is followed change by change.
    many : bool
        Whether the sums over flipped weights are taken for all neurons beforehand; otherwise
        only where they can matter.
    result : uint64 array, shape (images, out words)
        Filled with the changed neurons.
    start, stop : int
        Blocks.
    """
    images, words = bits.shape
    size, out_words = 64 * fired.shape[1], fired.shape[1]
    columns = len(signs) // (64 * ((images + 63) // 64))
    stride = len(by_column) // (columns + 1)
    places = np.empty(max(most, 0) + 8, np.uint32)
    opposite = np.empty(max(most, 0) + 8, np.uint64)
    planes = np.empty(8 * stride, np.uint64)
    own_sums = np.empty(64 * size if many else 0, np.int8)
    tile, spare = np.empty(4096, np.int8), np.empty(4096, np.int8)
    own_sums[:] = 0
    now_bits = np.empty(words, np.uint64)
    next_bits = np.empty(out_words, np.uint64)
    sums = np.empty(64, np.int8)
    waiting = np.empty(4, np.int64)
    number_waiting = 0
    four, counts = np.empty(4 * words, np.uint64), np.empty(64, np.uint64)
    out = np.empty((4, out_words), np.uint64)
    moved = np.any(shift != 0)
    has_own = np.zeros(out_words, np.bool_)
    for r in own_rows:
        has_own[r // 64] = True
    own_words = np.flatnonzero(has_own)
    for block in range(start, stop):
        if many and most >= 0:
            _own_sums(
                signs,
                block,
                columns,
                own_rows,
                own_first,
                own_middle,
                own_column,
                tile,
                spare,
                own_sums,
            )
        for image in range(64 * block, min(images, 64 * block + 64)):
            number = np.int64(0)
            for k in range(words):
                number += np.int64(popcount(changed[image, k]))
            if number == 0 and not many and not moved:
                for k in range(out_words):
                    result[image, k] = 0
                base = np.int64(image) * size
                for touched in own_words:
                    word = int(touched)
                    below = load_bytes(ceiling, base + 64 * word)
                    o = load_bytes(own_number, 64 * word)
                    fires = greater(subtract(fill_bytes(0), o), below)
                    doubtful = fires ^ greater(o, below)
                    if doubtful != 0:
                        for k in range(words):
                            now_bits[k] = bits[image, k]
                        sums[:] = 0
                        fires |= _settle(
                            doubtful,
                            sums,
                            now_bits,
                            ceiling,
                            base,
                            64 * word,
                            own_first,
                            own_middle,
                            own_column,
                        )
                    result[image, word] = fires ^ fired[image, word]
                continue
            exact = number <= most
            if exact:
                at = 0
                for k in range(words):
                    left = changed[image, k]
                    now = bits[image, k] ^ left
                    now_bits[k] = now
                    while left != 0:
                        j = lowest_bit(left)
                        left &= left - np.uint64(1)
                        places[at] = np.uint32(stride) * np.uint32(64 * k + j)
                        # all ones where the input turned to -1
                        opposite[at] = ((now >> np.uint64(j)) & np.uint64(1)) - np.uint64(1)
                        at += 1
                if number > 0:
                    while at % 8 != 0:
                        places[at] = np.uint32(stride) * np.uint32(columns)
                        opposite[at] = 0
                        at += 1
                    exact = _count_columns(by_column, stride, places, opposite, number, planes)
            base = np.int64(image) * size
            word = 0
            while exact and word < out_words:
                a = fill_bytes(0)
                if number > 0:
                    # bytes from planes; they hold 128 more than the count less number // 2
                    a = fill_bytes(-128)
                    for b in range(8):
                        a = add_where(a, planes[b * stride + word], fill_bytes(1 << b))
                    # twice as much would be cut, and what is added after could hide it
                    exact = (greater(a, fill_bytes(62)) | greater(fill_bytes(-62), a)) == 0
                    a = add_saturated(a, a)
                    if number & 1:
                        a = add_saturated(a, fill_bytes(-1))
                if moved:
                    a = add_saturated(a, load_bytes(shift, 64 * word))
                if many:
                    a = add_saturated(a, load_bytes(own_sums, (image % 64) * size + 64 * word))
                below = load_bytes(ceiling, base + 64 * word)
                o = fill_bytes(0)
                if not many and has_own[word]:
                    o = load_bytes(own_number, 64 * word)
                low = add_saturated(a, subtract(fill_bytes(0), o))
                high = add_saturated(a, o)
                # A sum that reached the end of its range may be wrong, and margins are cut there.
                exact &= (greater(high, fill_bytes(126)) | greater(fill_bytes(-126), low)) == 0
                fires = greater(low, below)
                if not many and has_own[word]:
                    doubtful = fires ^ greater(high, below)
                    if doubtful != 0:
                        store_bytes(sums, 0, a)
                        fires |= _settle(
                            doubtful,
                            sums,
                            now_bits,
                            ceiling,
                            base,
                            64 * word,
                            own_first,
                            own_middle,
                            own_column,
                        )
                next_bits[word] = fires
                word += 1
            if exact:
                for k in range(out_words):
                    result[image, k] = next_bits[k] ^ fired[image, k]
                continue
            waiting[number_waiting] = image
            number_waiting += 1
            if number_waiting == 4:
                _recount(
                    bits,
                    changed,
                    waiting,
                    4,
                    lanes,
                    limit,
                    turned,
                    four,
                    counts,
                    out,
                    fired,
                    result,
                )
                number_waiting = 0
    if number_waiting > 0:
        _recount(
            bits,
            changed,
            waiting,
            number_waiting,
            lanes,
            limit,
            turned,
            four,
            counts,
            out,
            fired,
            result,
        )


@numba.njit(nogil=True, cache=True)
def _own_sums(
    signs: Small,
    block: int,
    columns: int,
    rows: Ints,
    first: Ranks,
    middle: Ranks,
    own_column: Ints,
    tile: Small,
    spare: Small,
    sums: Small,
) -> None:  # pragma: no cover
    """What flipped weights add to ``q`` for error-free inputs, for a block of 64 images.

    ``rows`` are the neurons that have any; ``sums``, flat from (64, size), is filled.
    """
    size = len(sums) // 64
    base = block * columns * 64
    j = 0
    while j < len(rows):
        word = rows[j] // 64
        tile[:] = 0
        while j < len(rows) and rows[j] // 64 == word:
            r = np.int64(rows[j])
            a = fill_bytes(0)
            for f in range(first[r], middle[r]):
                a = add(a, load_bytes(signs, base + 64 * np.int64(own_column[f])))
            for f in range(middle[r], first[r + 1]):
                a = subtract(a, load_bytes(signs, base + 64 * np.int64(own_column[f])))
            store_bytes(tile, 64 * (r % 64), a)
            j += 1
        # Six perfect shuffles transpose 64 x 64 bytes.
        for _ in range(3):
            for i in range(32):
                a, b = load_bytes(tile, 64 * i), load_bytes(tile, 64 * (i + 32))
                store_bytes(spare, 128 * i, interleave_low(a, b))
                store_bytes(spare, 128 * i + 64, interleave_high(a, b))
            for i in range(32):
                a, b = load_bytes(spare, 64 * i), load_bytes(spare, 64 * (i + 32))
                store_bytes(tile, 128 * i, interleave_low(a, b))
                store_bytes(tile, 128 * i + 64, interleave_high(a, b))
        for i in range(64):
            store_bytes(sums, i * size + 64 * word, load_bytes(tile, 64 * i))


@numba.njit(nogil=True, cache=True)
def _count_columns(
    by_column: Words,
    words: int,
    places: Offsets,
    opposite: Words,
    number: int,
    planes: Words,
) -> bool:  # pragma: no cover
    """Count set bits of columns for each neuron, in bit planes.

    Parameters
    ----------
    by_column : uint64 array, flat
        From :func:`column_bits`.
    words : int
        Words of a column, a multiple of eight.
    places, opposite : uint32 and uint64 array, shape (at least number, padded to eight,)
        Where columns start, and all ones where their bits are turned round; the padding points to
        the empty column.
    number : int
        Columns.
    planes : uint64 array, flat from (8, words)
        Filled with the bits of ``count - number // 2 + 128``.

    Returns
    -------
    bool
        Whether all neurons are within 0 to 255.
    """
    bias = (128 - number // 2) & 1023
    fits = True
    for word in range(0, words, 8):
        ones, twos = _plane(bias, 0), _plane(bias, 1)
        fours, p3 = _plane(bias, 2), _plane(bias, 3)
        p4, p5, p6 = _plane(bias, 4), _plane(bias, 5), _plane(bias, 6)
        p7, p8, p9 = _plane(bias, 7), _plane(bias, 8), _plane(bias, 9)
        for j in range(np.uint64(0), np.uint64(number), np.uint64(8)):
            a = _column(by_column, places, opposite, j, word)
            b = _column(by_column, places, opposite, j + np.uint64(1), word)
            c = _column(by_column, places, opposite, j + np.uint64(2), word)
            d = _column(by_column, places, opposite, j + np.uint64(3), word)
            t1 = _carry(ones, a, b)
            ones = exclusive_or(exclusive_or(ones, a), b)
            t2 = _carry(ones, c, d)
            ones = exclusive_or(exclusive_or(ones, c), d)
            f1 = _carry(twos, t1, t2)
            twos = exclusive_or(exclusive_or(twos, t1), t2)
            a = _column(by_column, places, opposite, j + np.uint64(4), word)
            b = _column(by_column, places, opposite, j + np.uint64(5), word)
            c = _column(by_column, places, opposite, j + np.uint64(6), word)
            d = _column(by_column, places, opposite, j + np.uint64(7), word)
            t1 = _carry(ones, a, b)
            ones = exclusive_or(exclusive_or(ones, a), b)
            t2 = _carry(ones, c, d)
            ones = exclusive_or(exclusive_or(ones, c), d)
            f2 = _carry(twos, t1, t2)
            twos = exclusive_or(exclusive_or(twos, t1), t2)
            e = _carry(fours, f1, f2)
            fours = exclusive_or(exclusive_or(fours, f1), f2)
            e, p3 = both(p3, e), exclusive_or(p3, e)
            e, p4 = both(p4, e), exclusive_or(p4, e)
            e, p5 = both(p5, e), exclusive_or(p5, e)
            e, p6 = both(p6, e), exclusive_or(p6, e)
            e, p7 = both(p7, e), exclusive_or(p7, e)
            e, p8 = both(p8, e), exclusive_or(p8, e)
            p9 = exclusive_or(p9, e)
        store_words(planes, word, ones)
        store_words(planes, words + word, twos)
        store_words(planes, 2 * words + word, fours)
        store_words(planes, 3 * words + word, p3)
        store_words(planes, 4 * words + word, p4)
        store_words(planes, 5 * words + word, p5)
        store_words(planes, 6 * words + word, p6)
        store_words(planes, 7 * words + word, p7)
        fits &= at_most(either(p8, p9), fill_words(0)) & at_most(
            fill_words(0), either(p8, p9)
        ) == np.uint64(255)
    return fits


@numba.njit(nogil=True, cache=True)
def _carry(a: Any, b: Any, c: Any) -> Any:  # pragma: no cover
    return either(both(a, b), both(c, exclusive_or(a, b)))


@numba.njit(nogil=True, cache=True)
def _plane(number: int, bit: int) -> Any:  # pragma: no cover
    return fill_words(-((number >> bit) & 1))


@numba.njit(nogil=True, cache=True)
def _column(
    by_column: Words, places: Offsets, opposite: Words, j: np.uint64, word: int
) -> Any:  # pragma: no cover
    return exclusive_or(load_words(by_column, np.int64(places[j]) + word), fill_words(opposite[j]))


@numba.njit(nogil=True, cache=True)
def _settle(
    doubtful: np.uint64,
    sums: Small,
    bits: Words,
    ceiling: Small,
    base: int,
    row: int,
    own_first: Ranks,
    own_middle: Ranks,
    own_column: Ints,
) -> np.uint64:  # pragma: no cover
    """Which doubtful neurons of a word fire, by the inputs of their flipped weights."""
    fires = np.uint64(0)
    while doubtful != 0:
        j = lowest_bit(doubtful)
        doubtful &= doubtful - np.uint64(1)
        r = row + j
        q = np.int64(sums[j])
        for f in range(own_first[r], own_middle[r]):
            q += _sign(bits, own_column[f])
        for f in range(own_middle[r], own_first[r + 1]):
            q -= _sign(bits, own_column[f])
        if q > np.int64(ceiling[base + r]):
            fires |= np.uint64(1) << np.uint64(j)
    return fires


@numba.njit(nogil=True, cache=True)
def _sign(bits: Words, column: int) -> int:  # pragma: no cover
    at = np.uint64(column)
    one = (bits[at >> np.uint64(6)] >> (at & np.uint64(63))) & np.uint64(1)
    return 1 if one else -1


@numba.njit(nogil=True, cache=True)
def _recount(
    bits: Words,
    changed: Words,
    images: Longs,
    number: int,
    lanes: Words,
    limit: Longs,
    turned: Octets,
    four: Words,
    counts: Words,
    out: Words,
    fired: Words,
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
        for k in range(out.shape[1]):
            result[images[i], k] = out[i, k] ^ fired[images[i], k]
