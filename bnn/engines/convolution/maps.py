"""Maps of a convolution without errors and on a chip."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.engines.convolution.flips import SortedFlips, Strings
from bnn.engines.packed.conv_types import PackedConvolution
from bnn.machine.arrays import Ints, Longs, Small
from bnn.machine.packing import Words


class CleanConvolution(NamedTuple):
    """Error-free state of a convolution with binary inputs.

    Attributes
    ----------
    packed : PackedConvolution
        Weights and limits.
    channels : int
        Input channels.
    columns : uint64 array, flat from (taps * channels + 1, stride)
        From :func:`bnn.engines.convolution.columns.columns_of`.
    stride : int
        Words of a column.
    real : uint64 array, shape (out words,)
        Bits of the neurons, without padding.
    ceiling : int8 array, flat from (images, height * width, 64 * out words)
        ``~q`` of every position, cut to 8 bits.
    fired : uint64 array, shape (images, positions after the pooling, out words)
        Outputs.
    strings : Strings
        Inputs by channel.
    """

    packed: PackedConvolution
    channels: int
    columns: Words
    stride: int
    real: Words
    ceiling: Small
    fired: Words
    strings: Strings


class ChipConvolution(NamedTuple):
    """What a chip changes in a convolution.

    Attributes
    ----------
    packed : PackedConvolution
        Weights with errors and limits of the chip.
    columns : uint64 array, flat
        As of `CleanConvolution`; with errors where flipped weights are `summed`.
    summed : bool
        Whether flipped weights are summed up for error-free inputs beforehand
        (:mod:`bnn.engines.convolution.flips`), or looked at where they can decide.
    flips : SortedFlips
        Flipped weights that are summed up.
    first : int64 array, shape (64 * out words + 1,)
        Where the flipped weights of each neuron that are looked at start.
    tap, channel : int32 array, shape (flips,)
        Flipped weights: the row of the kernel times 65,536 plus its column, and the channel.
    sign : int8 array, shape (flips,)
        What each adds to ``q`` where its input is +1.
    number : int8 array, shape (64 * out words,)
        Flipped weights of each neuron, cut to 127; zero where they are `summed`.
    has_own : bool array, shape (out words,)
        Whether any of 64 neurons has one.
    reach : int
        Largest sum of what flipped weights and thresholds can change, at least 127 where it is cut.
    shift : int8 array, flat from (kinds of positions, 64 * out words)
        What is added to ``q`` for changed thresholds and for taps outside the map that
        `SortedFlips` counts, cut to 8 bits.
    moved : bool
        Whether `shift` is added.
    most : int
        Largest number of changed inputs of an image that is followed.
    """

    packed: PackedConvolution
    columns: Words
    summed: bool
    flips: SortedFlips
    first: Longs
    tap: Ints
    channel: Ints
    sign: Small
    number: Small
    has_own: npt.NDArray[np.bool_]
    reach: int
    shift: Small
    moved: bool
    most: int
