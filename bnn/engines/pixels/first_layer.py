"""The layer that reads pixels, without errors and on chips, for engines that follow changes.

Few flipped weights are followed (:mod:`bnn.engines.pixels.pixel_changes`); many are counted anew,
by
:mod:`bnn.engines.pixels.lit_groups` where the processor can, else by
:mod:`bnn.engines.pixels.pixel_layer`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.engines.pixels import group_sums, lit_groups, pixel_changes, pixel_layer
from bnn.engines.pixels.front import BLOCK, NO_FLIPS, Flips, Step, Thresholds, mark_open
from bnn.engines.pixels.lit_groups import LitGroups
from bnn.engines.pixels.pixel_changes import PixelFlips, PixelState
from bnn.machine.aligned import aligned_copy, aligned_empty
from bnn.machine.bit_matrix import transpose_bits
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, flip_bits, word_count
from bnn.machine.vectors import word_at
from bnn.machine.workers import in_threads
from bnn.networks.network import HiddenLayer, layer_signs

_FAR = 1 << 30

FLIP_NS, TOUCH_NS = 1.0, 8.0
"""Following a flipped weight, and a neuron, for 64 images on one thread."""

LOOKUP_NS = 0.7
"""Looking up a lit group for 32 neurons."""

TABLE_NS = 3.0
"""Looking up a group for a neuron and 64 images, where lookups are in memory."""


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """Error-free state of the layer that reads pixels.

    Attributes
    ----------
    layer : HiddenLayer
        The layer without errors.
    state : PixelState
        Pixels, margins and bits by neuron.
    bits : uint64 array, shape (images, words)
        Bits by image.
    signs : int8 array, shape (neurons, columns)
        ``direction * weight``.
    total : int64 array, shape (neurons,)
        Sums of weights.
    lit : LitGroups or None
        The images, ready to count anew; None where the processor lacks what that takes.
    codes : uint8 array
        Weights in the form of :mod:`bnn.engines.pixels.lit_groups`.
    """

    layer: HiddenLayer
    state: PixelState
    bits: Words
    signs: npt.NDArray[np.int8]
    total: npt.NDArray[np.int64]
    lit: LitGroups | None
    codes: npt.NDArray[np.uint8]

    def step(
        self,
        flips: Flips,
        thresholds: Thresholds,
        allowed: npt.NDArray[np.int8],
        changed: Words,
        active: Words,
        *,
        threads: int,
    ) -> Step:
        """Prepare a chip; see :class:`bnn.engines.pixels.front.Front`."""
        layer = self.layer
        places, threshold = flips.get(layer.name, NO_FLIPS), thresholds.get(layer.name)
        shift = np.zeros(len(layer.weights), np.int64)
        if threshold is not None:
            shift = _shift_of(layer, threshold)
        if not _anew_is_cheaper(self, len(places), int((shift != 0).sum())):
            sorted_flips = PixelFlips(
                *pixel_changes.pixel_flips(places, layer.columns, self.signs, shift)
            )
            if sorted_flips.most <= pixel_changes.MOST_CHANGE:

                def follow(start: int, stop: int) -> None:
                    pixel_changes.changed_neurons(
                        self.state, sorted_flips, allowed, changed, active, start, stop
                    )

                return follow
        return _anew(self, places, threshold, allowed, changed, active, threads)


def state_bytes(pixels: int, neurons: int, images: int) -> int:
    """Memory of the state of a layer in bytes at most, for a multiple of 64 images."""
    lit = lit_groups.image_bytes(pixels) if lit_groups.AVAILABLE else 0
    return images * (pixels + 2 * neurons + neurons // 4 + lit)


def prepare(layer: HiddenLayer, images: npt.NDArray[np.uint8], *, threads: int) -> FirstLayer:
    """Compute the error-free state of a layer on images, shape (images, pixels)."""
    rows, columns = len(layer.weights), layer.columns
    signs = layer_signs(layer)
    total = signs.sum(axis=1, dtype=np.int64)
    blocks = pixel_layer.pixel_blocks(images)
    state = PixelState(
        aligned_copy(blocks.reshape(-1)),
        columns,
        aligned_empty(len(blocks) * rows * BLOCK, np.int16),
        np.zeros((len(blocks), rows), np.uint64),
    )
    lack = -np.clip(layer.threshold.astype(np.int64), -_FAR, _FAR)
    lit, codes = None, np.empty(0, np.uint8)
    if lit_groups.AVAILABLE:
        lit = lit_groups.lit_groups(images)
        codes = aligned_copy(lit_groups.codes_of(layer.weights, columns, lit.place, lit.groups))

        def work(start: int, stop: int) -> None:
            _margins_of_groups(
                lit, codes, total, layer.direction, lack, state.ceiling, state.fired, start, stop
            )
    else:
        patterns = pixel_layer.patterns_of(layer.weights, columns)

        def work(start: int, stop: int) -> None:
            _margins_of_tables(
                state.pixels,
                columns,
                patterns,
                total,
                layer.direction,
                lack,
                state.ceiling,
                state.fired,
                start,
                stop,
            )

    in_threads(work, len(blocks), threads)
    bits = np.zeros((len(images), word_count(rows)), np.uint64)
    _words_of_images(state.fired, bits)
    signs = np.ascontiguousarray(signs * layer.direction[:, None])
    return FirstLayer(layer, state, bits, signs, total, lit, codes)


def _anew_is_cheaper(first: FirstLayer, flips: int, shifted: int) -> bool:
    neurons, blocks = len(first.layer.weights), len(first.state.fired)
    touched = min(neurons, flips + shifted)
    follow = blocks * (FLIP_NS * flips + TOUCH_NS * touched)
    if first.lit is not None:
        return follow > LOOKUP_NS * len(first.lit.group) * neurons / 32
    groups = -(-first.state.columns // pixel_layer.GROUP)
    return follow > TABLE_NS * blocks * groups * neurons


def _anew(
    first: FirstLayer,
    places: npt.NDArray[np.int64],
    threshold: npt.NDArray[np.int32] | None,
    allowed: npt.NDArray[np.int8],
    changed: Words,
    active: Words,
    threads: int,
) -> Step:
    """Count all neurons anew on all images."""
    layer = first.layer
    t = layer.threshold if threshold is None else threshold
    images = len(first.bits)
    if first.lit is not None:
        lit, codes, total = first.lit, first.codes.copy(), first.total.copy()
        neurons = lit_groups.padded_neurons(len(layer.weights))

        def flip(start: int, stop: int) -> None:
            # whole rows, so that no two threads write the same sum
            ends = np.searchsorted(places, np.array((start, stop)) * layer.columns)
            lit_groups.flip_codes(
                codes, lit.place, layer.columns, neurons, places, total, *map(int, ends)
            )

        in_threads(flip, len(layer.weights), threads if len(places) > 10_000 else 1)
        limits = group_sums.limits_of(t, layer.direction, total)

        def fire(start: int, stop: int) -> None:
            group_sums.fired_words(lit, codes, limits, changed, start, stop)
    else:
        weights = flip_bits(layer.weights, places, columns=layer.columns)
        patterns = pixel_layer.patterns_of(weights, layer.columns)
        least, turned = pixel_layer.least_sums(weights, layer.columns, t, layer.direction)

        def fire(start: int, stop: int) -> None:
            pixel_layer.fired_words(
                first.state.pixels,
                layer.columns,
                patterns,
                least,
                turned,
                changed,
                start // BLOCK,
                -(-stop // BLOCK),
            )

    def count(start: int, stop: int) -> None:
        ends = start * BLOCK, min(images, stop * BLOCK)
        fire(*ends)
        _turn_into_changes(first.bits, changed, *ends)
        mark_open(changed, allowed, active, start, stop)

    return count


def _shift_of(layer: HiddenLayer, threshold: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """What new thresholds add to ``q``."""
    old, new = (np.clip(t.astype(np.int64), -_FAR, _FAR) for t in (layer.threshold, threshold))
    # pre-activations of a neuron are all odd or all even, like the number of its inputs
    odd = layer.columns % 2
    half = [(odd - t) >> 1 for t in (old, new)]
    return half[1] - half[0]


@njit
def _turn_into_changes(bits: Words, changed: Words, start: int, stop: int) -> None:
    """Turn new bits in `changed` into changes against `bits`, for images `start` to `stop`."""
    words = bits.shape[1]
    before, after = bits.reshape(-1), changed.reshape(-1)
    for at in range(start * words, stop * words):
        after[np.uint64(at)] = word_at(after, at) ^ word_at(before, at)


@njit
def _margins_of_groups(
    lit: LitGroups,
    codes: npt.NDArray[np.uint8],
    total: npt.NDArray[np.int64],
    direction: npt.NDArray[np.int8],
    lack: npt.NDArray[np.int64],
    ceiling: npt.NDArray[np.int16],
    fired: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """Fill `ceiling` and `fired` for blocks `start` to `stop`."""
    neurons = len(total)
    padded = (neurons + 63) // 64 * 64
    tables = np.empty(64 * lit.groups, np.int16)
    short, whole = np.empty(padded, np.int16), np.empty(padded, np.int32)
    images = len(lit.first) - 1
    dark = np.empty(neurons, np.int64)
    for r in range(neurons):
        dark[r] = (direction[r] * (-pixel_layer.PIXEL_LEVELS * total[r]) + lack[r]) >> 1
    for block in range(start, stop):
        for within in range(64):
            image = 64 * block + within
            segments = odd = 0
            if image < images:
                segments, odd = group_sums.centred_sums(lit, image, codes, tables, short, whole)
            bit = np.uint64(1) << np.uint64(within)
            for r in range(neurons):
                q = dark[r]
                if segments > 0:
                    light = np.int64(short[r]) if segments == 1 else np.int64(whole[r])
                    # z = 4 A - 2 S - 255 total
                    z = 4 * light - 2 * odd - pixel_layer.PIXEL_LEVELS * total[r]
                    q = (direction[r] * z + lack[r]) >> 1
                ceiling[(block * neurons + r) * 64 + within] = ~min(max(q, -32768), 32767)
                if q >= 0:
                    fired[block, r] |= bit


@njit
def _margins_of_tables(
    pixels: npt.NDArray[np.uint8],
    columns: int,
    patterns: npt.NDArray[np.uint32],
    total: npt.NDArray[np.int64],
    direction: npt.NDArray[np.int8],
    lack: npt.NDArray[np.int64],
    ceiling: npt.NDArray[np.int16],
    fired: Words,
    start: int,
    stop: int,
) -> None:  # pragma: no cover
    """The same by tables in memory."""
    neurons = len(total)
    tables = np.empty(4096 * pixel_layer.GROUPS_TOGETHER, np.int16)
    short, sums = np.empty(64 * neurons, np.int16), np.empty(64 * neurons, np.int32)
    for block in range(start, stop):
        pixel_layer.pixel_sums(pixels, block, columns, patterns, tables, short, sums)
        for r in range(neurons):
            at = (block * neurons + r) * 64
            bits = np.uint64(0)
            for i in range(64):
                z = 2 * np.int64(sums[64 * r + i]) - pixel_layer.PIXEL_LEVELS * total[r]
                q = (direction[r] * z + lack[r]) >> 1
                ceiling[at + i] = ~min(max(q, -32768), 32767)
                bits |= np.uint64(q >= 0) << np.uint64(i)
            fired[block, r] = bits


@njit
def _words_of_images(fired: Words, bits: Words) -> None:  # pragma: no cover
    """Turn bits by neuron, shape (blocks, neurons), into bits by image, (images, words)."""
    group = np.empty(64, np.uint64)
    blocks, rows = fired.shape
    for block in range(blocks):
        for word in range(bits.shape[1]):
            group[:] = 0
            for r in range(64 * word, min(rows, 64 * word + 64)):
                group[r - 64 * word] = fired[block, r]
            transpose_bits(group)
            for i in range(min(64, len(bits) - 64 * block)):
                bits[64 * block + i, word] = group[i]
