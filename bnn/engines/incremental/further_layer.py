"""Hidden layers with binary inputs on chips: state, flips and what they cost.

What is computed for images stands in :mod:`bnn.engines.incremental.changed_layer`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.engines.incremental import changed_layer, layer_state
from bnn.engines.incremental.layer_state import LayerFlips, LayerState
from bnn.engines.packed import binary_layer
from bnn.engines.pixels.front import NO_FLIPS, Step
from bnn.machine.aligned import aligned_copy, aligned_empty
from bnn.machine.packing import Words, word_count
from bnn.machine.workers import in_threads
from bnn.networks.network import HiddenLayer


def error_free_state(layer: HiddenLayer, inputs: Words, *, threads: int) -> LayerState:
    """Error-free state of a layer with the inputs of shape (images, words)."""
    count, size = len(inputs), 64 * word_count(len(layer.weights))
    limit, turned = binary_layer.limits_of(layer.threshold, layer.direction, columns=layer.columns)
    by_column = layer_state.column_bits(layer.weights, layer.columns, turned, _stride(size))
    state = LayerState(
        inputs,
        layer_state.bits_by_input(inputs, layer.columns),
        binary_layer.lanes_of(layer.weights),
        limit,
        turned,
        aligned_copy(by_column),
        aligned_empty(count * size, np.int8),
        aligned_empty((count, size // 64), np.uint64),
    )
    state.ceiling[:] = 127
    state.fired[:] = 0

    def run(start: int, stop: int) -> None:
        binary_layer.error_free(
            inputs, state.lanes, limit, turned, state.ceiling, state.fired, start, stop
        )

    in_threads(run, count, threads)
    return state


def _stride(size: int) -> int:
    """Words of a column, padded to whole vectors."""
    return -(-size // 512) * 8


@dataclass(frozen=True, eq=False)
class LayerChip:
    """A further layer on a chip; `reach`: by how much its flips and thresholds may move ``q``."""

    state: LayerState
    flips: LayerFlips
    lanes: Words
    limit: npt.NDArray[np.int64]
    turned: npt.NDArray[np.uint8]
    by_column: Words
    reach: int


def layer_chip(
    layer: HiddenLayer,
    clean: LayerState,
    own: npt.NDArray[np.int64],
    threshold: npt.NDArray[np.int32] | None,
) -> LayerChip:
    """A layer with the wrong bits `own` and, where they are given, other thresholds."""
    rows, words, size = len(layer.weights), clean.bits.shape[1], 64 * clean.fired.shape[1]
    limit, turned = clean.limit, clean.turned
    shift = np.zeros(size, np.int8)
    moved = 0
    if threshold is not None:
        limit, turned = binary_layer.limits_of(threshold, layer.direction, columns=layer.columns)
        by = layer.direction * (limit[:rows] - clean.limit[:rows])
        moved = int(np.abs(by).max(initial=0))
        shift[:rows] = np.clip(by, -128, 127)
    starts = np.searchsorted(own, np.arange(rows + 1) * layer.columns)
    reach = moved + int(np.diff(starts).max(initial=0))
    many = len(own) > MANY_FLIPS * size
    most = min(most_followed(words, size, len(own), many), changed_layer.MOST_CHANGE - reach)
    lanes, by_column = clean.lanes, clean.by_column
    followed = own
    if most < 0:
        # everything is counted anew: how the flips lie does not matter
        most, many, followed = -1, False, NO_FLIPS
    if len(own):
        lanes = binary_layer.flip_lanes(clean.lanes, words, layer.columns, own)
    if many:
        by_column = layer_state.flip_column_bits(by_column, _stride(size), layer.columns, own)
    touched, first, middle, column, number = layer_state.layer_flips(
        followed, layer.columns, size, clean.by_column, _stride(size)
    )
    flips = LayerFlips(touched, first, middle, column, number, shift, most, many, moved > 0)
    return LayerChip(clean, flips, lanes, limit, turned, by_column, reach)


def layer_step(
    chip: LayerChip, allowed: npt.NDArray[np.int8], before: Words, active: Words, after: Words
) -> Step:
    """Work that fills `after` with the changed neurons of the active images; see LayerState."""

    def step(start: int, stop: int) -> None:
        changed_layer.changed_neurons(
            chip.state,
            chip.flips,
            chip.lanes,
            chip.limit,
            chip.turned,
            chip.by_column,
            allowed,
            before,
            active,
            after,
            start,
            stop,
        )

    return step


COUNT_NS = 0.5
"""Counting a word of eight neurons; measured, like all costs here, for an image and one thread."""

FOLLOW_NS = 0.3
"""Counting a changed input for 64 neurons."""

FEW_NS, DOUBT_NS = 12.0, 0.5
"""Comparing 64 neurons, and a flipped weight, where those are looked up in doubtful cases."""

MANY_NS, SUM_NS = 18.0, 0.015
"""The same where flipped weights are summed up beforehand."""

MANY_FLIPS = 0.8
"""Flipped weights per neuron from which they are summed up beforehand."""


def most_followed(words: int, size: int, flips: int, many: bool) -> int:
    """Largest number of changed inputs that is cheaper to follow than to count anew; -1: none."""
    count = COUNT_NS * words * size / 8
    fixed, per_flip = (MANY_NS, SUM_NS) if many else (FEW_NS, DOUBT_NS)
    spare = count - fixed * size / 64 - per_flip * flips
    return int(spare / (FOLLOW_NS * size / 64)) if spare > 0 else -1
