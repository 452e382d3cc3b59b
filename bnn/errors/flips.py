"""Independent wrong bits of chips, nested over bit error rates.

Each bit of a chip has a level, uniform in [0, 1), and is wrong at every bit error rate above its
level. Only levels below the rate asked for are drawn.
"""

import math
from decimal import Decimal, localcontext
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba.extending import intrinsic

from bnn.machine.compiled import njit
from bnn.machine.counter_random import EXACT_DECIMALS, Stream, StreamKey, exponential, philox4x64
from bnn.machine.workers import in_threads

LOWEST_BAND = 24
"""Index of the lowest band of levels, [0, 2**-24); band k < 24 is [2**-(k+1), 2**-k)."""

BLOCK_BITS = 1 << 16
"""Bits that share the random streams of their bands; blocks are drawn independently."""

DRAWING = "philox4x64-10, nested bands, 1"
"""Name of the way chips are drawn: results under different names are of different chips."""

_WORD_BITS = 64
_FEW = 32


def _mean_gaps() -> npt.NDArray[np.float64]:
    """Give ``-1 / ln(1 - q)`` for the probability ``q`` of each band given that none is below."""
    gaps = [0.0]  # band 0 takes every bit that is left
    with localcontext(EXACT_DECIMALS):
        for band in range(1, LOWEST_BAND + 1):
            high = Decimal(2) ** -band
            low = Decimal(0) if band == LOWEST_BAND else high / 2
            gaps.append(float(-1 / ((1 - high) / (1 - low)).ln()))
    return np.array(gaps)


MEAN_GAPS = _mean_gaps()
"""Argument of `compiled_levels`."""

_CELLS_WORTH_THREADS = 20_000


def check_ber(ber: float) -> None:
    """Raise ValueError unless `ber` is a fraction 0..1."""
    if not 0.0 <= ber <= 1.0:
        raise ValueError(f"ber must be a fraction between 0 and 1, got {ber}")


def chip_flips(
    *, bits: int, ber: float, seed: int, chip: int, layer: int, threads: int = 1
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Bits of one layer of one chip that are wrong at bit error rate `ber`.

    Parameters
    ----------
    bits : int
        Weight bits of the layer.
    ber : float
        Bit error rate, 0..1.
    seed : int
        Seed of the family of chips, 0..2**128-1.
    chip, layer : int
        Number of the chip and of the layer, from 0.
    threads : int
        CPU threads; the result is the same.

    Returns
    -------
    positions : int64 array, shape (flips,)
        Wrong bits, strictly increasing.
    levels : float64 array, shape (flips,)
        Bit error rate above which the bit at the same index is wrong, all below `ber`.

    Raises
    ------
    ValueError
        A number is out of its range.

    Notes
    -----
    The chip depends on `(bits, seed, chip, layer)` only; a longer layer begins with the bits of a
    shorter one. See `nested_levels` for the law.
    """
    key = StreamKey(seed=seed, chip=chip, layer=layer, stream=Stream.FLIPS)
    return nested_levels(bits=bits, ber=ber, key=key, threads=threads)


def nested_levels(
    *, bits: int, ber: float, key: StreamKey, threads: int = 1
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Levels below `ber` of `bits` cells with independent uniform levels.

    Parameters
    ----------
    bits : int
        Number of cells.
    ber : float
        Largest rate of interest, 0..1.
    key : StreamKey
        Random stream.
    threads : int
        CPU threads; few cells take one.

    Returns
    -------
    positions : int64 array, shape (cells,)
        Cells with a level below `ber`, strictly increasing.
    levels : float64 array, shape (cells,)
        Their levels.

    Raises
    ------
    ValueError
        `bits` is negative or `ber` is not a fraction.

    Notes
    -----
    Levels fall into bands that halve towards zero. Band by band from the lowest up, every cell is a
    candidate with the probability ``q = (high - low) / (1 - low)`` of the band given that its level
    is not below; a candidate that a lower band holds already is dropped, which leaves the law of
    the others untouched. Gaps between candidates are geometric, ``floor(E / -ln(1 - q))`` with
    ``E`` standard exponential from 53 bits, and levels uniform in the band with 52 bits. Bands
    above `ber` are not drawn, so the cost is proportional to ``bits * ber``. Each band of each
    block of `BLOCK_BITS` cells has its own random numbers. `ber` = 0 and 1 are exact.
    """
    check_ber(ber)
    if bits < 0:
        raise ValueError(f"bits must not be negative, got {bits}")
    blocks = -(-bits // BLOCK_BITS)
    if threads == 1 or bits * ber < _CELLS_WORTH_THREADS:
        return levels_of_blocks(bits=bits, ber=ber, key=key, first=0, last=blocks)
    parts = {}

    def draw(first: int, last: int) -> None:
        parts[first] = levels_of_blocks(bits=bits, ber=ber, key=key, first=first, last=last)

    in_threads(draw, blocks, threads)
    positions, levels = zip(*(parts[first] for first in sorted(parts)), strict=True)
    return np.concatenate(positions), np.concatenate(levels)


def levels_of_blocks(
    *, bits: int, ber: float, key: StreamKey, first: int, last: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Part of `nested_levels`: blocks `first` up to but not including `last`.

    Holds no lock of the interpreter, so that threads can share the blocks of a layer; the results
    in the order of the blocks, joined, are those of `nested_levels`. Arguments are not checked.
    """
    positions, levels = compiled_levels(bits, float(ber), first, last, MEAN_GAPS, *key.words())
    return positions, levels


@intrinsic
def _popcount(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return numba.types.uint64(numba.types.uint64), generate


@njit
def compiled_levels(
    bits: int,
    ber: float,
    first: int,
    last: int,
    mean_gaps: npt.NDArray[np.float64],
    k0: np.uint64,
    k1: np.uint64,
    c0: np.uint64,
    c2: np.uint64,
    c3: np.uint64,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Compiled part of `levels_of_blocks`, for loops over streams; the last five are the key."""
    expected = ber * max(0, min(bits, last * BLOCK_BITS) - first * BLOCK_BITS)
    positions = np.empty(int(expected + 5.0 * math.sqrt(expected)) + 8, np.int64)
    levels = np.empty(len(positions), np.float64)
    total = 0
    # one more than can be kept: a rejected candidate is written before it is known to be one
    scratch = min(bits, BLOCK_BITS) + 1
    block_places = np.empty(scratch, np.int32)
    block_levels = np.empty(scratch, np.float64)
    held = np.zeros(BLOCK_BITS // _WORD_BITS, np.uint64)
    for block in range(first, last):
        start = block * BLOCK_BITS
        size = min(BLOCK_BITS, bits - start)
        count = 0
        low, width = 0.0, 0.5**LOWEST_BAND
        for band in range(LOWEST_BAND, -1, -1):
            if ber <= low:
                break
            mean_gap = mean_gaps[band]
            draw = c0
            place = np.int64(-1)
            while True:
                w0, w1, w2, w3 = philox4x64(
                    draw, np.uint64(block), c2, c3 | np.uint64(band), k0, k1
                )
                draw += np.uint64(1)
                place += np.int64(exponential(w0) * mean_gap) + 1
                if place >= size:
                    break
                level = low + width * (np.float64(np.int64(w1 >> np.uint64(12))) * 2.0**-52)
                count += _keep(place, level, ber, count, block_places, block_levels, held)
                place += np.int64(exponential(w2) * mean_gap) + 1
                if place >= size:
                    break
                level = low + width * (np.float64(np.int64(w3 >> np.uint64(12))) * 2.0**-52)
                count += _keep(place, level, ber, count, block_places, block_levels, held)
            if low > 0.0:
                width *= 2.0
            low = width
        if total + count > len(positions):
            room = np.empty(count + total * 3 // 2, np.int64)
            room[:total] = positions[:total]
            positions = room
            room_levels = np.empty(len(positions), np.float64)
            room_levels[:total] = levels[:total]
            levels = room_levels
        _sort_block(
            start,
            block_places[:count],
            block_levels[:count],
            held,
            positions[total : total + count],
            levels[total : total + count],
        )
        total += count
    return positions[:total], levels[:total]


@njit
def _keep(
    place: int,
    level: float,
    ber: float,
    count: int,
    places: npt.NDArray[np.int32],
    levels: npt.NDArray[np.float64],
    held: npt.NDArray[np.uint64],
) -> np.int64:
    """Add a candidate unless it is held already or its level is too high: 1 if added, else 0."""
    # without a branch: a third of the candidates are refused at random
    word = place >> 6
    mask = np.uint64(1) << np.uint64(place & 63)
    added = np.uint64((held[word] & mask) == 0) & np.uint64(level < ber)
    places[count] = place
    levels[count] = level
    held[word] |= added << np.uint64(place & 63)
    return np.int64(added)


@njit
def _sort_block(
    start: int,
    places: npt.NDArray[np.int32],
    levels: npt.NDArray[np.float64],
    held: npt.NDArray[np.uint64],
    positions: npt.NDArray[np.int64],
    sorted_levels: npt.NDArray[np.float64],
) -> None:
    """Write places and levels of a block in increasing order; clears `held`."""
    count = len(places)
    if count <= _FEW:
        for index in range(count):
            place, level = places[index], levels[index]
            held[place >> 6] = 0
            at = index
            while at > 0 and positions[at - 1] > start + place:
                positions[at] = positions[at - 1]
                sorted_levels[at] = sorted_levels[at - 1]
                at -= 1
            positions[at] = start + place
            sorted_levels[at] = level
        return
    # the rank of a place is the number of held places below it
    below = np.empty(len(held), np.int64)
    rank = np.int64(0)
    for word in range(len(held)):
        below[word] = rank
        rank += np.int64(_popcount(held[word]))
    for index in range(count):
        place = places[index]
        mask = (np.uint64(1) << np.uint64(place & 63)) - np.uint64(1)
        at = below[place >> 6] + np.int64(_popcount(held[place >> 6] & mask))
        positions[at] = start + place
        sorted_levels[at] = levels[index]
    held[:] = 0
