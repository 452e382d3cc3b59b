"""Convolutions with binary inputs, followed change by change.

Neurons are counted in half steps as in :mod:`bnn.engines.packed.binary_layer`: a changed input or a
flipped weight changes ``q`` by one. At every position the columns of the changed inputs of its
patch are counted (:mod:`bnn.engines.convolution.columns`) and added to the error-free margin.
Flipped weights are looked at only for neurons that they could decide; a neuron whose margin or sum
left the range of a byte is counted anew, alone. An image with so many changes that counting is
cheaper is counted in full.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.engines.convolution import columns as conv_columns
from bnn.engines.convolution.columns import (
    MOST_SHORT,
    TOGETHER,
    beyond_bytes,
    count_columns,
    gather_places,
    list_changes,
    number_in_patch,
    plane_bytes,
    planes_used,
)
from bnn.engines.convolution.flips import BLOCK, sum_flips, table_size
from bnn.engines.convolution.maps import ChipConvolution, CleanConvolution
from bnn.engines.packed.conv_kernels import Scratch, count_map, pad_map, scratch_of
from bnn.machine.arrays import Longs, Small
from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.vectors import (
    add_saturated,
    add_where_at,
    fill_bytes,
    greater,
    load_bytes,
    lowest_bit,
    popcount,
    store_bytes,
    subtract,
)

REACH = 126
"""Largest sum of changes that bytes hold for sure, with margins cut at the ends of their range."""

_HALF = 62
_FEW = 8  # changed inputs of a position whose columns are added one by one

Offsets = npt.NDArray[np.uint32]


class _Lists(NamedTuple):
    """Changed inputs of an image, and room for what is made of them."""

    now: Words
    up: Offsets
    down: Offsets
    first_up: Longs
    first_down: Longs
    places: Offsets
    planes: Words
    sums: Small
    any_fires: Words
    all_fire: Words
    own: Small


@njit
def follow_maps(
    bits: Words,
    changed: Words,
    start: int,
    clean: CleanConvolution,
    chip: ChipConvolution,
    result: Words,
) -> None:  # pragma: no cover
    """Which outputs change on which image.

    Parameters
    ----------
    bits : uint64 array, shape (all images, height * width, words)
        Inputs of the error-free network.
    changed : uint64 array, shape (images, height * width, words)
        Changed inputs of the images from `start` on, of one block.
    start : int
        First image, the first of a block of 64.
    clean : CleanConvolution
        Error-free state of all images.
    chip : ChipConvolution
        Errors.
    result : uint64 array, shape (images, positions after the pooling, out words)
        Filled with the changed outputs.
    """
    positions, words = bits.shape[1:]
    columns = chip.packed.shape.kernel**2 * clean.channels
    out_words, size = len(clean.real), positions * words
    scratch = scratch_of(chip.packed, words)
    together, summed_group = clean.strings.together, -1
    own_size = table_size(clean.strings, 64 * out_words) if chip.summed and chip.most >= 0 else 0
    room = positions * clean.channels + 2 * TOGETHER
    lists = _Lists(
        np.empty(size, np.uint64),
        np.empty(room, np.uint32),
        np.empty(room, np.uint32),
        np.empty(positions + 1, np.int64),
        np.empty(positions + 1, np.int64),
        np.empty(columns + 4 * TOGETHER, np.uint32),
        np.empty(conv_columns.PLANES * clean.stride, np.uint64),
        np.empty(64, np.int8),
        np.empty(out_words, np.uint64),
        np.empty(out_words, np.uint64),
        np.empty(own_size, np.int8),
    )
    # where an image is always counted anew, flipped weights are not listed
    quiet = chip.most >= 0 and not (chip.summed or chip.moved or np.any(chip.has_own))
    source, turned = bits.reshape(-1), changed.reshape(-1)
    after, before = result.reshape(-1), clean.fired.reshape(-1)
    out_size = result.shape[1] * out_words
    for image in range(len(changed)):
        at, to = (start + image) * size, image * out_size
        number = np.int64(0)
        for k in range(size):
            lists.now[k] = source[at + k] ^ turned[image * size + k]
            number += np.int64(popcount(turned[image * size + k]))
        if number == 0 and quiet:
            after[to : to + out_size] = 0
            continue
        if number > chip.most:
            count_map(lists.now, 0, words, chip.packed, scratch, after, to)
            for k in range(out_size):
                after[to + k] ^= before[(start + image) * out_size + k]
            continue
        if own_size > 0 and image // together != summed_group:
            summed_group = image // together
            sum_flips(
                clean.strings,
                chip.packed.shape,
                clean.channels,
                start // BLOCK,
                summed_group * together,
                chip.flips,
                lists.own,
            )
        list_changes(
            lists.now,
            turned,
            image * size,
            words,
            clean.stride,
            lists.up,
            lists.down,
            lists.first_up,
            lists.first_down,
        )
        pad_map(lists.now, 0, words, chip.packed.shape, scratch.padded)
        own_at = (image % together) * clean.strings.each * BLOCK * BLOCK * out_words
        _follow_map(words, start + image, clean, chip, lists, scratch, before, after, to, own_at)


@njit
def _follow_map(
    words: int,
    image: int,
    clean: CleanConvolution,
    chip: ChipConvolution,
    lists: _Lists,
    scratch: Scratch,
    before: Words,
    after: Words,
    to: int,
    own_at: int,
) -> None:  # pragma: no cover
    """Changed outputs of one image; ``lists.own[own_at]`` is the first sum of flipped weights."""
    # Arrays are taken out of their tuples once: each access counts a reference.
    height, width, kernel, pool = chip.packed.shape
    limit, turned, kinds = chip.packed.limit, chip.packed.turned, chip.packed.kind
    lanes, upward, padded = chip.packed.lanes, chip.packed.upward, scratch.padded
    own_first, own_tap, own_channel, own_sign = chip.first, chip.tap, chip.channel, chip.sign
    own_number, has_own, shift, moved = chip.number, chip.has_own, chip.shift, chip.moved
    columns, stride, real, ceiling = chip.columns, clean.stride, clean.real, clean.ceiling
    summed, own_sums = chip.summed, lists.own
    now, up, down, places, planes = lists.now, lists.up, lists.down, lists.places, lists.planes
    first_up, first_down, q_bytes = lists.first_up, lists.first_down, lists.sums
    any_fires, all_fire = lists.any_fires, lists.all_fire
    out_words, tap = len(real), clean.channels * stride
    empty = kernel * kernel * tap
    everywhere = moved or summed or np.any(has_own)
    was = image * (height // pool) * (width // pool) * out_words
    for block in range((height // pool) * (width // pool)):
        top, left = pool * (block // (width // pool)), pool * (block % (width // pool))
        around = number_in_patch(
            first_up, first_down, top, left, height, width, kernel, kernel + pool - 1
        )
        if around == 0 and not everywhere:
            for word in range(out_words):
                after[to + word] = 0
            to += out_words
            was += out_words
            continue
        every = around > 0 or moved or summed
        for word in range(out_words):
            any_fires[word], all_fire[word] = 0, ~np.uint64(0)
        for inner in range(pool * pool):
            row, column = top + inner // pool, left + inner % pool
            number_up, number_down, turn, used = 0, 0, 0, 0
            if around > 0:
                turn, number_up = gather_places(
                    up, first_up, row, column, height, width, kernel, tap, empty, places, 0
                )
                last, number_down = gather_places(
                    down, first_down, row, column, height, width, kernel, tap, empty, places, turn
                )
            number, difference = number_up + number_down, number_up - number_down
            long, few = number > MOST_SHORT, number <= _FEW
            if not few:
                # sums are 2 (up - down) - difference; a half of them fits the planes
                start = -(difference >> 1)
                count_columns(columns, stride, places, turn, last, start, long, planes)
                used = planes_used(number)
            careful = number + chip.reach > REACH
            p = row * width + column
            base = (image * height * width + p) * 64 * out_words
            kind = np.int64(kinds[p])
            for word in range(out_words):
                own = has_own[word]
                if not (every or own):
                    continue
                below = load_bytes(ceiling, base + 64 * word)
                unsure = np.uint64(0)
                if few:
                    # 2 (up - down) - difference, column by column
                    a = fill_bytes(-difference)
                    for k in range(np.uint64(number_up)):
                        a = add_where_at(a, columns, np.int64(places[k]) + word, fill_bytes(2))
                    for k in range(np.uint64(turn), np.uint64(turn + number_down)):
                        a = add_where_at(a, columns, np.int64(places[k]) + word, fill_bytes(-2))
                else:
                    a = plane_bytes(planes, stride, word, used)
                    if careful:
                        # twice as much would be cut, and what comes after could hide it
                        unsure = greater(a, fill_bytes(_HALF)) | greater(fill_bytes(-_HALF), a)
                    a = add_saturated(a, a)
                    if difference & 1:
                        a = add_saturated(a, fill_bytes(-1))
                if moved:
                    more = load_bytes(shift, 64 * (kind * out_words + word))
                    if careful:
                        unsure |= greater(more, fill_bytes(REACH))
                        unsure |= greater(fill_bytes(-REACH), more)
                    a = add_saturated(a, more)
                if summed:
                    more = load_bytes(own_sums, own_at + 64 * (p * out_words + word))
                    if careful:
                        unsure |= greater(a, fill_bytes(REACH)) | greater(fill_bytes(-REACH), a)
                        unsure |= greater(fill_bytes(-REACH), more)
                    a = add_saturated(a, more)
                low, high = a, a
                if own:
                    o = load_bytes(own_number, 64 * word)
                    low, high = add_saturated(a, subtract(fill_bytes(0), o)), add_saturated(a, o)
                fires = greater(low, below)
                doubtful = fires ^ greater(high, below)
                if careful:
                    unsure |= greater(high, fill_bytes(REACH)) | greater(fill_bytes(-REACH), low)
                    if long:
                        unsure |= beyond_bytes(planes, stride, word)
                    unsure &= real[word]
                    doubtful &= ~unsure
                    fires &= ~unsure
                    while unsure != 0:
                        bit = lowest_bit(unsure)
                        unsure &= unsure - np.uint64(1)
                        r = 64 * word + bit
                        source = (row * (width + kernel - 1) + column) * words
                        count = _count(padded, source, words, width, kernel, lanes, r)
                        above = count > limit[kind * 8 * len(turned) + r]
                        if above == (((turned[r // 8] >> (r % 8)) & 1) == 1):
                            fires |= np.uint64(1) << np.uint64(bit)
                if doubtful != 0:
                    store_bytes(q_bytes, 0, a)
                    while doubtful != 0:
                        bit = lowest_bit(doubtful)
                        doubtful &= doubtful - np.uint64(1)
                        r = 64 * word + bit
                        q = np.int64(q_bytes[bit])
                        for f in range(np.uint64(own_first[r]), np.uint64(own_first[r + 1])):
                            at = np.int64(own_tap[f])
                            y, x = row + (at >> 16), column + (at & 0xFFFF)
                            y, x = y - kernel // 2, x - kernel // 2
                            if 0 <= y < height and 0 <= x < width:
                                channel = np.uint64(own_channel[f])
                                at = (y * width + x) * words + np.int64(channel >> np.uint64(6))
                                one = (now[at] >> (channel & np.uint64(63))) & np.uint64(1)
                                sign = np.int64(own_sign[f])
                                q += sign if one else -sign
                        if q > np.int64(ceiling[base + r]):
                            fires |= np.uint64(1) << np.uint64(bit)
                any_fires[word] |= fires
                all_fire[word] &= fires
        for word in range(out_words):
            if every or has_own[word]:
                fires = (any_fires[word] & upward[word]) | (all_fire[word] & ~upward[word])
                after[to + word] = (fires ^ before[was + word]) & real[word]
            else:
                after[to + word] = 0
        to += out_words
        was += out_words


@njit
def _count(
    padded: Words, source: int, words: int, width: int, kernel: int, lanes: Words, r: int
) -> np.int64:  # pragma: no cover
    """Unequal bits of a neuron at a position, counted anew."""
    span = kernel * words
    weight = (r // 8) * kernel * span * 8 + r % 8
    count = np.int64(0)
    for _ in range(kernel):
        for k in range(span):
            count += np.int64(popcount(padded[source + k] ^ lanes[weight]))
            weight += 8
        source += (width + kernel - 1) * words
    return count
