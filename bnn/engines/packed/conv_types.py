"""What a packed convolution is made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bnn.machine.arrays import Ints, Longs, Octets
from bnn.machine.packing import Words

FAR = 1 << 30


NO_CEILING = np.empty(0, np.int8)


class MapShape(NamedTuple):
    """Shape of a convolution; see `ConvLayer`."""

    height: int
    width: int
    kernel: int
    pool: int


class PackedConvolution(NamedTuple):
    """Weights and limits of a convolution with binary inputs.

    Attributes
    ----------
    shape : MapShape
        Shape.
    lanes : uint64 array, flat
        Weights tap by tap, every tap in whole words; see `binary_layer.lanes_of`.
    kind : int32 array, shape (height * width,)
        Kind of each position: which taps lie outside the map.
    outside : bool array, shape (kinds, taps)
        Taps outside the map.
    limit : int64 array, flat from (kinds, padded rows)
        A neuron fires where the count of unequal bits is at most the limit.
    valid : int64 array, flat from (kinds, padded rows)
        ``z = valid - 2 * count``.
    turned : uint8 array, shape (padded rows / 8,)
        Neurons that fire where it is above the limit.
    upward : uint64 array, shape (out words,)
        Neurons that fire after the pooling where any position does; the others, where all do.
    """

    shape: MapShape
    lanes: Words
    kind: Ints
    outside: npt.NDArray[np.bool_]
    limit: Longs
    valid: Longs
    turned: Octets
    upward: Words
