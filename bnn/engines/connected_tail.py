"""Fully connected layers after others, followed change by change: bits in, changed bits out."""

from collections.abc import Callable, Sequence

import numpy as np

from bnn.engines import binary_layer, changed_layer, incremental
from bnn.engines.incremental import Flips, FurtherLayer, Thresholds
from bnn.network import HiddenLayer
from bnn.packing import Words, word_count

BLOCK = 64
"""Images of a block, the unit of work."""

Step = Callable[[int, int], None]


def prepare_tail(
    layers: Sequence[HiddenLayer], inputs: Words, *, threads: int
) -> tuple[FurtherLayer, ...]:
    """Error-free state of hidden layers whose inputs are signs, shape (images, words)."""
    states = []
    for layer in layers:
        size = 64 * word_count(len(layer.weights))
        limit, turned = binary_layer.limits_of(
            layer.threshold, layer.direction, columns=layer.columns
        )
        stride = incremental._stride(size)
        state = FurtherLayer(
            binary_layer.lanes_of(layer.weights),
            limit,
            turned,
            changed_layer.column_bits(layer.weights, layer.columns, turned, stride),
            changed_layer.spread_signs(inputs, layer.columns),
            np.full(len(inputs) * size, 127, np.int8),
            np.zeros((len(inputs), size // 64), np.uint64),
        )
        incremental._run_error_free(inputs, state, len(inputs), threads)
        states.append(state)
        inputs = state.fired
    return tuple(states)


def tail_bytes(layers: Sequence[HiddenLayer], images: int) -> int:
    """Memory of the state, in bytes."""
    padded = -(-images // BLOCK) * BLOCK
    return sum(padded * (layer.columns + 64 * word_count(layer.outputs)) for layer in layers)


def tail_step(
    layer: HiddenLayer,
    clean: FurtherLayer,
    inputs: Words,
    changed: Words,
    flips: Flips,
    thresholds: Thresholds,
    result: Words,
) -> Step:
    """Work that fills `result` with the changed outputs, for blocks of 64 images.

    Parameters
    ----------
    layer : HiddenLayer
        The layer.
    clean : FurtherLayer
        Its state.
    inputs, changed : uint64 array, shape (images, words)
        Inputs without errors, and those that changed.
    flips, thresholds : mapping of layer name to array
        Errors and thresholds of a chip.
    result : uint64 array, shape (images, out words)
        Filled.
    """
    return incremental._further_step(layer, clean, inputs, changed, flips, dict(thresholds), result)
