"""Fast engine for chips: from the error-free state only what wrong weights change is followed.

Bits and margins of the error-free network are computed once. For a chip, the first layer adds the
pixels of flipped weights to the margins of their neurons only; further layers add the weights of
changed inputs to the margins, or count anew where that is cheaper.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from bnn.engines import binary_layer, changed_layer, pixel_layer
from bnn.engines.packed import output_answers
from bnn.network import FoldedNetwork, HiddenLayer, OutputLayer, layer_signs
from bnn.packing import Words, flip_bits, word_count
from bnn.stored_code import forget_stale
from bnn.workers import in_threads

forget_stale(__file__, pixel_layer)

Flips = Mapping[str, npt.NDArray[np.int64]]
Thresholds = Mapping[str, npt.NDArray[np.int32]]
_FAR = 1 << 30
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """Error-free state of the layer that reads pixels; see :mod:`bnn.engines.pixel_layer`."""

    pixels: npt.NDArray[np.uint8]
    signs: npt.NDArray[np.int8]
    ceiling: npt.NDArray[np.int16]
    margin: npt.NDArray[np.int32]
    fired: Words


@dataclass(frozen=True, eq=False)
class FurtherLayer:
    """Error-free state of a layer with binary inputs; see :mod:`bnn.engines.changed_layer`."""

    lanes: Words
    limit: npt.NDArray[np.int64]
    turned: npt.NDArray[np.uint8]
    by_column: Words
    signs: npt.NDArray[np.int8]
    ceiling: npt.NDArray[np.int8]
    fired: Words


@dataclass(frozen=True, eq=False)
class State:
    """Error-free state of a network on images.

    Attributes
    ----------
    network : FoldedNetwork
        Network without errors.
    first : FirstLayer
        The layer that reads pixels.
    further : tuple of FurtherLayer
        The hidden layers after it.
    bits : uint64 array, shape (images, words)
        Outputs of the first layer.
    answers : int64 array, shape (images,)
        Error-free answers.
    spare : list
        Arrays for the changes of a chip that are not in use: fresh memory costs more than filling
        it. Each call takes one set and gives it back, so that calls may run at once.
    """

    network: FoldedNetwork
    first: FirstLayer
    further: tuple[FurtherLayer, ...]
    bits: Words
    answers: npt.NDArray[np.int64]
    spare: list[list[Words]]


def supports(network: FoldedNetwork) -> bool:
    """Whether the engine can follow a network: fully connected, with a hidden layer."""
    return len(network.layers) > 1 and all(
        isinstance(layer, HiddenLayer | OutputLayer) for layer in network.layers
    )


def state_bytes(network: FoldedNetwork, images: int) -> int:
    """Memory of the error-free state in bytes, what a chip needs on top included."""
    padded = -(-images // pixel_layer.BLOCK) * pixel_layer.BLOCK
    sizes = network.sizes
    total = padded * (sizes[0] + 8 * sizes[1])
    for inputs, outputs in zip(sizes[1:-2], sizes[2:-1], strict=True):
        total += padded * (inputs + 64 * word_count(outputs))
    words = sum(word_count(size) for size in sizes[1:-1])
    return total + 2 * 8 * padded * words


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
    count = len(images)
    rows, words = len(layer.weights), word_count(len(layer.weights))
    blocks = pixel_layer.pixel_blocks(images)
    signs = np.ascontiguousarray(layer_signs(layer) * layer.direction[:, None])
    fired = np.zeros((len(blocks), rows), np.uint64)
    cells = len(blocks) * rows * pixel_layer.BLOCK
    first = FirstLayer(
        blocks.reshape(-1), signs, np.empty(2 * cells, np.int16), np.empty(cells, np.int32), fired
    )
    patterns = pixel_layer.patterns_of(layer.weights, layer.columns)
    total = layer_signs(layer).sum(axis=1, dtype=np.int64)
    lack = -np.clip(layer.threshold.astype(np.int64), -_FAR, _FAR)
    columns, direction = layer.columns, layer.direction

    def margins(start: int, stop: int) -> None:
        pixel_layer.error_free_margins(
            first.pixels,
            columns,
            patterns,
            total,
            direction,
            lack,
            first.ceiling,
            first.margin,
            fired,
            start,
            stop,
        )

    in_threads(margins, len(blocks), threads)
    bits = np.zeros((count, words), np.uint64)
    _words_of_images(fired, bits)
    further = []
    inputs = bits
    for layer in network.layers[1:-1]:
        assert isinstance(layer, HiddenLayer)
        size = 64 * word_count(len(layer.weights))
        limit, turned = binary_layer.limits_of(
            layer.threshold, layer.direction, columns=layer.columns
        )
        state = FurtherLayer(
            binary_layer.lanes_of(layer.weights),
            limit,
            turned,
            changed_layer.column_bits(layer.weights, layer.columns, turned, _stride(size)),
            changed_layer.spread_signs(inputs, layer.columns),
            np.full(count * size, 127, np.int8),
            np.zeros((count, size // 64), np.uint64),
        )
        _run_error_free(inputs, state, count, threads)
        further.append(state)
        inputs = state.fired
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    found = output_answers(output, inputs, threads)
    return State(network, first, tuple(further), bits, found, [])


def _run_error_free(inputs: Words, state: FurtherLayer, count: int, threads: int) -> None:
    def run(start: int, stop: int) -> None:
        binary_layer.error_free(
            inputs,
            state.lanes,
            state.limit,
            state.turned,
            state.ceiling,
            state.fired,
            start,
            stop,
        )

    in_threads(run, count, threads)


@numba.njit(nogil=True, cache=True)
def _words_of_images(fired: Words, bits: Words) -> None:  # pragma: no cover
    """Turn bits by neuron, shape (blocks, neurons), into bits by image, (images, words)."""
    group = np.empty(64, np.uint64)
    blocks, rows = fired.shape
    for block in range(blocks):
        for word in range(bits.shape[1]):
            group[:] = 0
            for r in range(64 * word, min(rows, 64 * word + 64)):
                group[r - 64 * word] = fired[block, r]
            pixel_layer.transpose_bits(group)
            for i in range(min(64, len(bits) - 64 * block)):
                bits[64 * block + i, word] = group[i]


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
    """
    network, count = state.network, len(state.answers)
    new = dict(thresholds or {})
    try:
        changes = state.spare.pop()
    except IndexError:
        changes = [np.empty_like(a) for a in (state.bits, *(f.fired for f in state.further))]
    steps = [_first_step(state, flips, new, changes[0])]
    inputs = state.bits
    for layer, clean, before, after in zip(
        network.layers[1:-1], state.further, changes[:-1], changes[1:], strict=True
    ):
        steps.append(_further_step(layer, clean, inputs, before, flips, new, after))
        inputs = clean.fired
    changed = changes[-1]
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    found = np.empty(count, np.int64)
    own = flips.get(output.name, _NONE)
    weights = binary_layer.lanes_of(flip_bits(output.weights, own, columns=output.columns))

    def last(start: int, stop: int) -> None:
        binary_layer.answers(
            inputs,
            changed,
            weights,
            output.columns,
            output.scale,
            output.shift,
            state.answers,
            len(own) > 0,
            found,
            start,
            stop,
        )

    def work(start: int, stop: int) -> None:
        for step in steps:
            step(start, stop)
        last(start * pixel_layer.BLOCK, min(count, stop * pixel_layer.BLOCK))

    in_threads(work, state.first.fired.shape[0], threads)
    state.spare.append(changes)
    return found


def _first_step(
    state: State, flips: Flips, thresholds: dict[str, npt.NDArray[np.int32]], changed: Words
) -> Callable[[int, int], None]:
    layer, first = state.network.layers[0], state.first
    assert isinstance(layer, HiddenLayer)
    # q = floor((m) / 2) moves by half the change of the threshold only where that is even
    shift = np.zeros(len(layer.weights), np.int32)
    if layer.name in thresholds:
        shift = _shift_of(layer, thresholds[layer.name])
    rows, start, middle, places, moved = _first_layer_flips(
        flips.get(layer.name, _NONE), layer.columns, first.signs, shift
    )

    def step(begin: int, stop: int) -> None:
        changed[begin * pixel_layer.BLOCK : stop * pixel_layer.BLOCK] = 0
        pixel_layer.changed_neurons(
            first.pixels,
            layer.columns,
            first.ceiling,
            first.margin,
            first.fired,
            rows,
            start,
            middle,
            places,
            moved,
            changed,
            begin,
            stop,
        )

    return step


def _further_step(
    layer: Any,
    clean: FurtherLayer,
    inputs: Words,
    changed: Words,
    flips: Flips,
    thresholds: dict[str, npt.NDArray[np.int32]],
    result: Words,
) -> Callable[[int, int], None]:
    own = flips.get(layer.name, _NONE)
    rows, words, size = len(layer.weights), inputs.shape[1], 64 * clean.fired.shape[1]
    limit, turned = clean.limit, clean.turned
    shift = np.zeros(size, np.int8)
    reach = 0
    if layer.name in thresholds:
        limit, turned = binary_layer.limits_of(
            thresholds[layer.name], layer.direction, columns=layer.columns
        )
        moved = np.where(layer.direction > 0, limit[:rows] - clean.limit[:rows], 0)
        moved = np.where(layer.direction < 0, clean.limit[:rows] - limit[:rows], moved)
        reach = int(np.abs(moved).max(initial=0))
        shift[:rows] = np.clip(moved, -128, 127)
    touched, start, middle, column, number = _own_flips(
        own, layer.columns, size, clean.by_column, _stride(size)
    )
    lanes, by_column = clean.lanes, clean.by_column
    many = len(own) > MANY_FLIPS * size
    most = most_followed(words, size, len(own), many)
    if reach + int(number.max(initial=0)) > 126:
        most = -1
    if len(own):
        lanes = binary_layer.flip_lanes(clean.lanes, words, layer.columns, own)
    if many and most >= 0:
        by_column = changed_layer.flip_column_bits(by_column, _stride(size), layer.columns, own)

    def step(begin: int, stop: int) -> None:
        changed_layer.changed_neurons(
            inputs,
            changed,
            clean.signs,
            lanes,
            limit,
            turned,
            by_column,
            clean.ceiling,
            clean.fired,
            touched,
            start,
            middle,
            column,
            number,
            shift,
            most,
            many,
            result,
            begin,
            stop,
        )

    return step


COUNT_NS = 0.6
"""Counting a word of eight neurons; measured, like all costs here, for an image and one thread."""

FOLLOW_NS = 0.3
"""Counting a changed input for 64 neurons."""

FEW_NS, DOUBT_NS = 16.0, 0.6
"""Comparing 64 neurons, and a flipped weight, where those are looked up in doubtful cases."""

MANY_NS, SUM_NS = 45.0, 0.01
"""The same where flipped weights are summed up beforehand."""

MANY_FLIPS = 0.8
"""Flipped weights per neuron from which they are summed up beforehand."""


def most_followed(words: int, size: int, flips: int, many: bool) -> int:
    """Largest number of changed inputs that is cheaper to follow than to count anew; -1: none."""
    count = COUNT_NS * words * size / 8
    fixed, per_flip = (MANY_NS, SUM_NS) if many else (FEW_NS, DOUBT_NS)
    spare = count - fixed * size / 64 - per_flip * flips
    return int(spare / (FOLLOW_NS * size / 64)) if spare > 0 else -1


def _shift_of(layer: HiddenLayer, threshold: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    old, new = (np.clip(t.astype(np.int64), -_FAR, _FAR) for t in (layer.threshold, threshold))
    # pre-activations of a neuron are all odd or all even, like the number of its inputs
    odd = layer.columns % 2
    half = [(odd - t) >> 1 for t in (old, new)]
    return (half[1] - half[0]).astype(np.int32)


@numba.njit(nogil=True, cache=True)
def _first_layer_flips(
    places: npt.NDArray[np.int64],
    columns: int,
    signs: npt.NDArray[np.int8],
    shift: npt.NDArray[np.int32],
) -> Any:  # pragma: no cover
    """Flipped columns of each touched neuron, those that are added to the margin first."""
    neurons = len(signs)
    rows = np.empty(neurons, np.int32)
    first = np.zeros(len(rows) + 1, np.uint64)
    middle = np.zeros(len(rows), np.uint64)
    ordered = np.empty(len(places), np.uint32)
    moved = np.zeros(len(rows), np.int32)
    touched, at = 0, 0
    for r in range(neurons):
        begin = at
        while at < len(places) and places[at] < (r + 1) * columns:
            at += 1
        if at == begin and shift[r] == 0:
            continue
        left, right = begin, at
        for j in range(begin, at):
            column = places[j] - r * columns
            if signs[r, column] < 0:
                ordered[left] = 64 * column
                left += 1
            else:
                right -= 1
                ordered[right] = 64 * column
        rows[touched] = r
        first[touched] = begin
        middle[touched] = left
        moved[touched] = shift[r]
        touched += 1
        first[touched] = at
    return rows[:touched], first[: touched + 1], middle[:touched], ordered, moved[:touched]


def _stride(size: int) -> int:
    """Words of a column, padded to whole vectors."""
    return -(-size // 512) * 8


@numba.njit(nogil=True, cache=True)
def _own_flips(
    places: npt.NDArray[np.int64], columns: int, size: int, by_column: Words, stride: int
) -> Any:  # pragma: no cover
    """Rows with flips; start, turn and columns of the flips of each, and their number."""
    first, middle = np.zeros(size + 1, np.uint64), np.zeros(size, np.uint64)
    column = np.empty(len(places), np.int32)
    number = np.zeros(size, np.int8)
    rows = np.empty(min(size, len(places)), np.int32)
    touched, at = 0, 0
    for r in range(size):
        begin = at
        while at < len(places) and places[at] < (r + 1) * columns:
            at += 1
        left, right = begin, at
        for j in range(begin, at):
            c = places[j] - r * columns
            if (by_column[c * stride + r // 64] >> np.uint64(r % 64)) & np.uint64(1):
                right -= 1
                column[right] = c
            else:
                column[left] = c
                left += 1
        middle[r] = left
        first[r + 1] = at
        number[r] = min(at - begin, 127)
        if at > begin:
            rows[touched] = r
            touched += 1
    return rows[:touched], first, middle, column, number
