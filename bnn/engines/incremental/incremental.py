"""Fast engine for chips: from the error-free state only what wrong weights change is followed.

Bits and margins of the error-free network are computed once. For a chip, the layer that reads
pixels adds the pixels of flipped weights to the margins of their neurons only; further layers add
the weights of changed inputs to the margins, or count anew where that is cheaper. An image is left
as soon as its answer is certain.
"""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.engines.convolution import front as conv_front
from bnn.engines.incremental import certainty
from bnn.engines.incremental.certainty import Certainty
from bnn.engines.incremental.further_layer import error_free_state, layer_chip, layer_step
from bnn.engines.incremental.layer_state import LayerState
from bnn.engines.packed import binary_layer
from bnn.engines.packed.binary_layer import output_answers
from bnn.engines.pixels import first_layer
from bnn.engines.pixels.front import BLOCK, NO_FLIPS, Flips, Front, Thresholds, threads_for
from bnn.machine.aligned import aligned_empty
from bnn.machine.compiled import njit
from bnn.machine.packing import Words, word_count
from bnn.machine.workers import in_threads, tasks_in_threads
from bnn.networks.network import ConvLayer, FoldedNetwork, HiddenLayer, OutputLayer


@dataclass(frozen=True, eq=False)
class State:
    """Error-free state of a network on images.

    Attributes
    ----------
    network : FoldedNetwork
        Network without errors.
    front : Front
        The layer that reads pixels, or the convolutions.
    further : tuple of LayerState
        The fully connected hidden layers after it.
    certain : Certainty
        How many changes each image tolerates.
    answers : int64 array, shape (images,)
        Error-free answers.
    spare : list
        Arrays for the changes of a chip that are not in use: fresh memory costs more than filling
        it. Each call takes one set and gives it back, so that calls may run at once.
    """

    network: FoldedNetwork
    front: Front
    further: tuple[LayerState, ...]
    certain: Certainty
    answers: npt.NDArray[np.int64]
    spare: list[list[Words]]


def supports(network: FoldedNetwork) -> bool:
    """Whether the engine can follow a network: it has a hidden layer."""
    return len(network.layers) > 1


def state_bytes(network: FoldedNetwork, images: int) -> int:
    """Memory of the error-free state in bytes, what a chip needs on top included."""
    padded = -(-images // BLOCK) * BLOCK
    convolutions, connected = _parts(network)
    if convolutions:
        total = conv_front.state_bytes(convolutions, padded)
        words = word_count(convolutions[-1].outputs)
    else:
        first, *connected = connected
        total = first_layer.state_bytes(first.columns, first.outputs, padded)
        words = word_count(first.outputs)
    for layer in connected:
        total += padded * (layer.columns // 8 + 64 * word_count(layer.outputs))
        words += word_count(layer.outputs)
    bounds = 2 * (certainty.MOST_OUTPUT_FLIPS + 1)
    return total + padded * (bounds + 2 * 8 * words)


def prepare(network: FoldedNetwork, images: npt.NDArray[np.uint8], *, threads: int) -> State:
    """Compute the error-free state.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors, with a hidden layer.
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
    if not supports(network):
        raise ValueError(
            "the incremental engine follows networks with a hidden layer; use the packed engine"
        )
    pixels = network.layers[0].inputs
    if images.ndim != 2 or images.shape[1] != pixels:
        raise ValueError(f"the network reads {pixels} pixels, the images have {images.shape}")
    convolutions, connected = _parts(network)
    front: Front
    if convolutions:
        front = conv_front.prepare(convolutions, images, threads=threads)
    else:
        front = first_layer.prepare(connected.pop(0), images, threads=threads)
    further: list[LayerState] = []
    inputs = front.bits
    for layer in connected:
        further.append(error_free_state(layer, inputs, threads=threads))
        inputs = further[-1].fired
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    found = output_answers(output, inputs, threads)
    certain = certainty.certainty(
        output,
        inputs,
        further[-1].ceiling if further else np.empty(0, np.int8),
        found,
        images=-(-len(images) // BLOCK) * BLOCK,
        threads=threads,
    )
    return State(network, front, tuple(further), certain, found, [])


def _parts(network: FoldedNetwork) -> tuple[list[ConvLayer], list[HiddenLayer]]:
    """Convolutions, and fully connected hidden layers."""
    return (
        [layer for layer in network.layers if isinstance(layer, ConvLayer)],
        [layer for layer in network.layers if isinstance(layer, HiddenLayer)],
    )


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
    network, blocks = state.network, -(-len(state.answers) // BLOCK)
    new = dict(thresholds or {})
    before = threads_for(flips, threads)
    checks = [
        functools.partial(
            _check_flips,
            layer.name,
            flips.get(layer.name, NO_FLIPS),
            len(layer.weights) * layer.columns,
        )
        for layer in network.layers
    ]
    tasks_in_threads(checks, before)
    if not new and not any(len(places) for places in flips.values()):
        return state.answers.copy()
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    own = flips.get(output.name, NO_FLIPS)
    _, hidden = _parts(network)
    further = zip(hidden[len(hidden) - len(state.further) :], state.further, strict=True)
    chips = tasks_in_threads(
        [
            functools.partial(
                layer_chip, layer, clean, flips.get(layer.name, NO_FLIPS), new.get(layer.name)
            )
            for layer, clean in further
        ],
        before,
    )
    allowed = _allowed(state, [chip.reach for chip in chips], _most_in_a_row(own, output.columns))
    try:
        changes = state.spare.pop()
    except IndexError:
        changes = [aligned_empty(bits.shape, np.uint64) for bits in _hidden_bits(state)]
        changes.append(aligned_empty(blocks, np.uint64))
    active = changes[-1]
    steps = [state.front.step(flips, new, allowed[0], changes[0], active, threads=threads)]
    for chip, bound, inputs, after in zip(
        chips, allowed[1:], changes[:-2], changes[1:-1], strict=True
    ):
        steps.append(layer_step(chip, bound, inputs, active, after))
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
    return [state.front.bits, *(layer.fired for layer in state.further)]


def _check_flips(name: str, places: npt.NDArray[np.int64], bits: int) -> None:
    bad = int(_first_bad(places, bits))
    if bad >= 0:
        raise ValueError(
            f"wrong bits of layer {name!r} must lie in 0..{bits - 1} and strictly increase, got "
            f"{places[bad]} at index {bad}"
        )


@njit
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
