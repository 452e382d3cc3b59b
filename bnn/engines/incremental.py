"""Fast engine for chips: from the error-free state only what wrong weights change is followed.

Bits and margins of the error-free network are computed once. For a chip, the first layer adds the
pixels of flipped weights to the margins of their neurons only; further layers add the weights of
changed inputs to the margins, or count anew where that is cheaper. An image is left as soon as its
answer is certain.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from bnn.aligned import aligned, aligned_empty
from bnn.engines import binary_layer, certainty, changed_layer, first_layer
from bnn.engines.binary_layer import output_answers
from bnn.engines.certainty import Certainty
from bnn.engines.changed_layer import LayerFlips, LayerState
from bnn.engines.first_layer import FirstLayer
from bnn.engines.pixel_layer import BLOCK
from bnn.network import FoldedNetwork, HiddenLayer, OutputLayer
from bnn.packing import Words, word_count
from bnn.workers import in_threads

Flips = Mapping[str, npt.NDArray[np.int64]]
Thresholds = Mapping[str, npt.NDArray[np.int32]]
Step = Callable[[int, int], None]
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class State:
    """Error-free state of a network on images.

    Attributes
    ----------
    network : FoldedNetwork
        Network without errors.
    first : FirstLayer
        The layer that reads pixels.
    further : tuple of LayerState
        The hidden layers after it.
    certain : Certainty
        How much each image can bear.
    answers : int64 array, shape (images,)
        Error-free answers.
    spare : list
        Arrays for the changes of a chip that are not in use: fresh memory costs more than filling
        it. Each call takes one set and gives it back, so that calls may run at once.
    """

    network: FoldedNetwork
    first: FirstLayer
    further: tuple[LayerState, ...]
    certain: Certainty
    answers: npt.NDArray[np.int64]
    spare: list[list[Words]]


def supports(network: FoldedNetwork) -> bool:
    """Whether the engine can follow a network: fully connected, with a hidden layer."""
    return len(network.layers) > 1 and all(
        isinstance(layer, HiddenLayer | OutputLayer) for layer in network.layers
    )


def state_bytes(network: FoldedNetwork, images: int) -> int:
    """Memory of the error-free state in bytes, what a chip needs on top included."""
    padded = -(-images // BLOCK) * BLOCK
    sizes = network.sizes
    total = first_layer.state_bytes(sizes[0], sizes[1], padded)
    for inputs, outputs in zip(sizes[1:-2], sizes[2:-1], strict=True):
        total += padded * (inputs // 8 + 64 * word_count(outputs))
    words = sum(word_count(size) for size in sizes[1:-1])
    bounds = 2 * (certainty.MOST_OUTPUT_FLIPS + 1)
    return total + padded * (bounds + 2 * 8 * words)


def prepare(network: FoldedNetwork, images: npt.NDArray[np.uint8], *, threads: int) -> State:
    """Compute the error-free state.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors, fully connected and with a hidden layer.
    images : uint8 array, shape (images, pixels)
        Images.
    threads : int
        CPU threads.

    Returns
    -------
    State
        Takes :func:`state_bytes`.

    Raises
    ------
    ValueError
        The network cannot be followed, or the images do not fit it.
    """
    layer = network.layers[0]
    if not supports(network) or not isinstance(layer, HiddenLayer):
        raise ValueError(
            "the incremental engine follows fully connected networks with a hidden layer; use the "
            "packed engine"
        )
    if images.ndim != 2 or images.shape[1] != layer.columns:
        raise ValueError(
            f"the network reads {layer.columns} pixels, the images have the shape {images.shape}"
        )
    first = first_layer.prepare(layer, images, threads=threads)
    further: list[LayerState] = []
    inputs = first.bits
    for layer in network.layers[1:-1]:
        assert isinstance(layer, HiddenLayer)
        further.append(_layer_state(layer, inputs, threads))
        inputs = further[-1].fired
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    found = output_answers(output, inputs, threads)
    certain = certainty.certainty(
        output,
        inputs,
        further[-1].ceiling if further else np.empty(0, np.int8),
        found,
        images=len(first.state.fired) * BLOCK,
        threads=threads,
    )
    return State(network, first, tuple(further), certain, found, [])


def _layer_state(layer: HiddenLayer, inputs: Words, threads: int) -> LayerState:
    count, size = len(inputs), 64 * word_count(len(layer.weights))
    limit, turned = binary_layer.limits_of(layer.threshold, layer.direction, columns=layer.columns)
    state = LayerState(
        inputs,
        changed_layer.bits_by_input(inputs, layer.columns),
        binary_layer.lanes_of(layer.weights),
        limit,
        turned,
        aligned(changed_layer.column_bits(layer.weights, layer.columns, turned, _stride(size))),
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


def chip_answers(
    state: State, flips: Flips, *, threads: int, thresholds: Thresholds | None = None
) -> npt.NDArray[np.int64]:
    """Answers of a chip.

    Parameters
    ----------
    state : State
        From :func:`prepare`.
    flips : mapping of layer name to int64 array
        Wrong bits of each layer, ``row * columns + column``, strictly increasing.
    threads : int
        CPU threads.
    thresholds : mapping of layer name to int32 array, optional
        Thresholds of this chip in place of those of the network.

    Returns
    -------
    int64 array, shape (images,)
        Class with the highest score, the lowest one on a tie.

    Raises
    ------
    ValueError
        Wrong bits are out of range or do not increase; says where.
    """
    network, blocks = state.network, len(state.first.state.fired)
    new = dict(thresholds or {})
    for layer in network.layers:
        _check_flips(layer.name, flips.get(layer.name, _NONE), len(layer.weights) * layer.columns)
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    own = flips.get(output.name, _NONE)
    chips = [
        _layer_chip(layer, clean, flips.get(layer.name, _NONE), new.get(layer.name))
        for layer, clean in zip(network.layers[1:-1], state.further, strict=True)
    ]
    allowed = _allowed(state, [chip.reach for chip in chips], _most_in_a_row(own, output.columns))
    try:
        changes = state.spare.pop()
    except IndexError:
        changes = [aligned_empty(bits.shape, np.uint64) for bits in _hidden_bits(state)]
        changes.append(aligned_empty(blocks, np.uint64))
    active = changes[-1]
    layer = network.layers[0]
    assert isinstance(layer, HiddenLayer)
    steps = [
        first_layer.step(
            layer,
            state.first,
            flips.get(layer.name, _NONE),
            new.get(layer.name),
            allowed[0],
            changes[0],
            active,
            threads,
        )
    ]
    for chip, bound, before, after in zip(
        chips, allowed[1:], changes[:-2], changes[1:-1], strict=True
    ):
        steps.append(_step(chip, bound, before, active, after))
    found = state.answers.copy()
    weights = binary_layer.lanes_of(output.weights)
    if len(own):
        weights = binary_layer.flip_lanes(weights, word_count(output.columns), output.columns, own)

    def work(start: int, stop: int) -> None:
        for step in steps:
            step(start, stop)
        binary_layer.answers(
            _hidden_bits(state)[-1],
            changes[-2],
            active,
            weights,
            output.columns,
            output.scale,
            output.shift,
            found,
            start,
            stop,
        )

    in_threads(work, blocks, threads)
    state.spare.append(changes)
    return found


def _hidden_bits(state: State) -> list[Words]:
    return [state.first.bits, *(layer.fired for layer in state.further)]


def _check_flips(name: str, places: npt.NDArray[np.int64], bits: int) -> None:
    bad = int(_first_bad(places, bits))
    if bad >= 0:
        raise ValueError(
            f"wrong bits of layer {name!r} must lie in 0..{bits - 1} and strictly increase, got "
            f"{places[bad]} at index {bad}"
        )


@numba.njit(nogil=True, cache=True)
def _first_bad(places: npt.NDArray[np.int64], bits: int) -> int:  # pragma: no cover
    before = np.int64(-1)
    for index in range(len(places)):
        if places[index] <= before or places[index] >= bits:
            return index
        before = places[index]
    return -1


def _most_in_a_row(places: npt.NDArray[np.int64], columns: int) -> int:
    """Largest number of flipped weights of a neuron."""
    return int(np.bincount(places // columns).max(initial=0)) if len(places) else 0


def _allowed(state: State, reaches: list[int], output_flips: int) -> list[npt.NDArray[np.int8]]:
    """Changed neurons of each hidden layer up to which the answer of an image stays.

    ``reaches``: by how much flips and thresholds of each further layer may move ``q``.
    """
    shape = state.certain.steps.shape[1]
    if output_flips > certainty.MOST_OUTPUT_FLIPS:
        nothing = np.full(shape, -1, np.int8)
        nothing[len(state.answers) :] = 127
        return [nothing] * (1 + len(reaches))
    neurons = state.certain.neurons[output_flips]
    allowed = [neurons]
    if reaches:
        steps = state.certain.steps[output_flips]
        reach = np.int8(min(reaches[-1], 127))
        left = np.maximum(steps, reach - np.int8(1)) - reach
        left[len(state.answers) :] = 127
        allowed.insert(0, left)
    for k in range(len(reaches) - 1, 0, -1):
        # what an unchanged layer feeds into layers without flips stays as it is
        none = np.minimum(neurons, np.int8(-1 if any(reaches[k - 1 :]) else 0))
        none[len(state.answers) :] = 127
        allowed.insert(0, none)
    return allowed


def _stride(size: int) -> int:
    """Words of a column, padded to whole vectors."""
    return -(-size // 512) * 8


@dataclass(frozen=True, eq=False)
class _LayerChip:
    """A further layer on a chip; `reach`: by how much its flips and thresholds may move ``q``."""

    state: LayerState
    flips: LayerFlips
    lanes: Words
    limit: npt.NDArray[np.int64]
    turned: npt.NDArray[np.uint8]
    by_column: Words
    reach: int


def _layer_chip(
    layer: object,
    clean: LayerState,
    own: npt.NDArray[np.int64],
    threshold: npt.NDArray[np.int32] | None,
) -> _LayerChip:
    assert isinstance(layer, HiddenLayer)
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
        most, many, followed = -1, False, _NONE
    if len(own):
        lanes = binary_layer.flip_lanes(clean.lanes, words, layer.columns, own)
    if many:
        by_column = changed_layer.flip_column_bits(by_column, _stride(size), layer.columns, own)
    touched, first, middle, column, number = changed_layer.layer_flips(
        followed, layer.columns, size, clean.by_column, _stride(size)
    )
    flips = LayerFlips(touched, first, middle, column, number, shift, most, many, moved > 0)
    return _LayerChip(clean, flips, lanes, limit, turned, by_column, reach)


def _step(
    chip: _LayerChip, allowed: npt.NDArray[np.int8], before: Words, active: Words, after: Words
) -> Step:
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
