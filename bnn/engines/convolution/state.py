"""State of convolutions without errors, and what the errors of a chip change in them."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bnn.engines.convolution.columns import MOST_CHANGED, columns_of, stride_of
from bnn.engines.convolution.flips import MOST_SURE, sort_flips, strings_of
from bnn.engines.convolution.maps import ChipConvolution, CleanConvolution
from bnn.engines.packed import conv_layer
from bnn.engines.packed.conv_layer import pack_convolution
from bnn.engines.packed.conv_types import MapShape, PackedConvolution
from bnn.machine.aligned import aligned_copy
from bnn.machine.arrays import Longs
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, pack_bits, word_count
from bnn.machine.workers import in_threads
from bnn.networks.network import ConvLayer

CUT = 127
"""Sums are cut here."""

_NO_FLIPS = np.empty(0, np.int64)


def clean_convolution(layer: ConvLayer, inputs: Words, *, threads: int) -> CleanConvolution:
    """Error-free state of a convolution with binary inputs.

    Parameters
    ----------
    layer : ConvLayer
        The layer.
    inputs : uint64 array, shape (images, height * width, words)
        Inputs of all images.
    threads : int
        CPU threads.
    """
    packed = pack_convolution(layer)
    height, width, rows = layer.output_shape
    words = word_count(rows)
    # padding never fires
    ceiling = np.full(len(inputs) * layer.height * layer.width * 64 * words, CUT, np.int8)
    fired = np.empty((len(inputs), height * width, words), np.uint64)
    size = layer.height * layer.width * 64 * words

    def run(start: int, stop: int) -> None:
        fired[start:stop] = conv_layer.conv_bits(
            layer, packed, inputs[start:stop], ceiling=ceiling[start * size : stop * size]
        )

    in_threads(run, len(inputs), threads)
    return CleanConvolution(
        packed,
        layer.channels,
        columns_of(layer.weights, layer.columns, packed.turned),
        stride_of(rows),
        pack_bits(np.ones((1, rows), np.uint8))[0],
        ceiling,
        fired,
        strings_of(packed.shape, layer.channels, inputs),
    )


def chip_convolution(
    layer: ConvLayer,
    clean: CleanConvolution,
    flips: Longs,
    threshold: npt.NDArray[np.int32] | None,
) -> ChipConvolution:
    """What a chip changes in a convolution with binary inputs.

    Parameters
    ----------
    layer : ConvLayer
        The layer without errors.
    clean : CleanConvolution
        Its state.
    flips : int64 array, shape (flips,)
        Wrong bits, ``row * columns + column``, strictly increasing.
    threshold : int32 array, shape (output channels,), optional
        Thresholds in place of those of the layer.
    """
    size, rows = 64 * len(clean.real), len(layer.weights)
    packed, columns = clean.packed, clean.columns
    kinds, taps = packed.outside.shape
    shift = np.zeros((kinds, size), np.int64)
    if threshold is not None:
        packed = pack_convolution(replace(layer, threshold=threshold))
        moved = (packed.limit - clean.packed.limit).reshape(kinds, -1)[:, :rows]
        shift[:, :rows] = np.where(layer.direction > 0, moved, -moved)
    if len(flips):
        packed = packed._replace(
            lanes=aligned_copy(packed.lanes), limit=packed.limit.copy(), valid=packed.valid.copy()
        )
        _flip(packed, layer.columns, layer.channels, flips)
    summed, most = way_of(packed.shape, layer.columns, rows, len(flips))
    looked, sums = (_NO_FLIPS, flips) if summed else (flips, _NO_FLIPS)
    if most < 0:
        looked, sums = _NO_FLIPS, _NO_FLIPS
    ordered, odd = sort_flips(
        sums, layer.columns, layer.channels, taps, size, clean.columns, clean.stride
    )
    if len(sums):
        columns = aligned_copy(columns)
        _flip_columns(columns, clean.stride, layer.columns, flips)
        shift -= packed.outside.astype(np.int64) @ odd.T
    number_summed = int(np.diff(ordered.first).max(initial=0))
    first, tap, channel, sign, number = _own_flips(
        looked, layer.columns, layer.channels, layer.kernel, size, clean.columns, clean.stride
    )
    reach = int(np.abs(shift).max()) + int(number.max()) + number_summed
    reach = CUT if number_summed > MOST_SURE else min(reach, CUT)
    return ChipConvolution(
        packed,
        columns,
        summed,
        ordered,
        first,
        tap,
        channel,
        sign,
        number,
        (number > 0).reshape(-1, 64).any(axis=1),
        reach,
        np.clip(shift, -CUT - 1, CUT).astype(np.int8).reshape(-1),
        bool(np.any(shift != 0)),
        most,
    )


COUNT_NS = 0.45
"""Counting 512 weights at a position; measured, like all costs here, for an image and a thread."""

LIST_NS = 2.4
"""A changed input."""

COLUMN_NS, VECTOR_NS = 0.55, 0.4
"""Counting its column at a position, and for 512 neurons of it."""

POSITION_NS, COMPARE_NS = 12.0, 34.0
"""A position, and comparing 64 neurons there."""

DECIDE_NS, OWN_NS = 10.0, 5.0
"""A neuron that flipped weights could decide, and each of them, where they are looked at."""

NEURON_NS, SUM_NS = 0.3, 4.0
"""A neuron at a position, and a flipped weight at 512 positions, where they are summed up."""


def way_of(shape: MapShape, columns: int, rows: int, flips: int) -> tuple[bool, int]:
    """How flipped weights and changed inputs are dealt with most cheaply.

    Parameters
    ----------
    shape : MapShape
        Shape of the layer.
    columns, rows : int
        Weights of a neuron, and neurons.
    flips : int
        Flipped weights.

    Returns
    -------
    bool
        Whether flipped weights are summed up beforehand.
    int
        Largest number of changed inputs of an image that is followed; -1: always count anew.
    """
    positions, taps = shape.height * shape.width, shape.kernel**2
    own = flips / rows
    # margins have about the spread of a sum of signs in half steps, sqrt(columns) / 2
    deciding = min(1.0, 1.6 * own / columns**0.5)
    look = rows * deciding * (DECIDE_NS + OWN_NS * own)
    add_up = rows * NEURON_NS + flips * SUM_NS / 512
    fixed = POSITION_NS + COMPARE_NS * rows / 64 + min(look, add_up)
    spare = (COUNT_NS * columns * rows / 512 - fixed) * positions
    if columns > MOST_CHANGED or spare <= 0:
        return add_up < look, -1
    column = COLUMN_NS + VECTOR_NS * stride_of(rows) / 8
    return add_up < look, int(spare / (LIST_NS + taps * column))


@njit
def _flip_columns(
    by_column: Words, stride: int, columns: int, flips: Longs
) -> None:  # pragma: no cover
    r, start = 0, 0
    for place in flips:
        while place >= start + columns:
            start += columns
            r += 1
        by_column[(place - start) * stride + r // 64] ^= np.uint64(1) << np.uint64(r % 64)


@njit
def _flip(
    packed: PackedConvolution, columns: int, channels: int, flips: Longs
) -> None:  # pragma: no cover
    """Flip weights in place, and the limits at edges, where weights outside are counted."""
    kinds, taps = packed.outside.shape
    words = (channels + 63) // 64
    padded = 8 * len(packed.turned)
    r, start = 0, 0
    for place in flips:
        while place >= start + columns:
            start += columns
            r += 1
        # divisions of 32 bits are faster
        own = np.int64(np.uint32(place - start) // np.uint32(channels))
        channel = place - start - own * channels
        at = ((r // 8) * taps * words + own * words + channel // 64) * 8 + r % 8
        bit = np.uint64(1) << np.uint64(channel % 64)
        packed.lanes[at] ^= bit
        more = 1 if packed.lanes[at] & bit else -1
        for kind in range(kinds):
            if packed.outside[kind, own]:
                packed.limit[kind * padded + r] += more
                packed.valid[kind * padded + r] += 2 * more


@njit
def _own_flips(
    flips: Longs,
    columns: int,
    channels: int,
    kernel: int,
    size: int,
    by_column: Words,
    stride: int,
) -> Any:  # pragma: no cover
    """Start, taps, channels, signs and number of the flipped weights of each neuron."""
    first, number = np.empty(size + 1, np.int64), np.zeros(size, np.int8)
    tap, channel = np.empty(len(flips), np.int32), np.empty(len(flips), np.int32)
    sign = np.empty(len(flips), np.int8)
    at = 0
    for r in range(size):
        first[r] = at
        while at < len(flips) and flips[at] < (r + 1) * columns:
            c = flips[at] - r * columns
            place = c // channels
            tap[at], channel[at] = ((place // kernel) << 16) + place % kernel, c % channels
            bit = (by_column[c * stride + r // 64] >> np.uint64(r % 64)) & np.uint64(1)
            sign[at] = -1 if bit else 1
            at += 1
        number[r] = min(at - first[r], 127)
    first[size] = at
    return first, tap, channel, sign, number
