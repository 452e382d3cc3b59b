"""Incremental engine for networks that start with convolutions.

Bits and margins of the error-free network are computed once. For a chip, the first convolution
computes the channels with wrong weights anew; further ones follow what changes
(:mod:`bnn.engines.conv_changes`); fully connected layers do as in
:mod:`bnn.engines.incremental`. Layers before the first wrong weight cost nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.engines import binary_layer, conv_layer, pixel_conv
from bnn.engines.connected_tail import BLOCK, Step, prepare_tail, tail_bytes, tail_step
from bnn.engines.conv_changes import CleanConvolution, follow_maps
from bnn.engines.conv_flips import strings_bytes
from bnn.engines.conv_layer import MapShape
from bnn.engines.conv_state import chip_convolution, clean_convolution
from bnn.engines.incremental import Flips, FurtherLayer, Thresholds
from bnn.engines.packed import output_answers
from bnn.network import ConvLayer, FoldedNetwork, HiddenLayer, OutputLayer, layer_signs
from bnn.packing import Words, flip_bits, pack_bits, word_count
from bnn.workers import in_threads

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class State:
    """Error-free state of a network on images.

    Attributes
    ----------
    network : FoldedNetwork
        Network without errors.
    pixels : int16 array
        Encoded images, from :func:`bnn.engines.pixel_conv.pad_pixels`.
    signs : int8 array, shape (output channels, columns)
        Weights of the first layer.
    first : uint64 array, shape (images, positions, words)
        Outputs of the first layer.
    further : tuple of CleanConvolution
        The convolutions after it.
    flat : uint64 array, shape (images, words)
        Outputs of the last convolution as inputs of a fully connected layer.
    tail : tuple of FurtherLayer
        The hidden layers after the convolutions.
    answers : int64 array, shape (images,)
        Error-free answers.
    """

    network: FoldedNetwork
    pixels: npt.NDArray[np.int16]
    signs: npt.NDArray[np.int8]
    first: Words
    further: tuple[CleanConvolution, ...]
    flat: Words
    tail: tuple[FurtherLayer, ...]
    answers: npt.NDArray[np.int64]


def supports(network: FoldedNetwork) -> bool:
    """Whether the engine can follow a network: the first layer is a convolution."""
    return isinstance(network.layers[0], ConvLayer)


def state_bytes(network: FoldedNetwork, images: int) -> int:
    """Memory of the error-free state in bytes, what a chip needs on top included."""
    convolutions, tail, _ = _parts(network)
    first = convolutions[0]
    strings = sum(
        strings_bytes(
            MapShape(layer.height, layer.width, layer.kernel, layer.pool), layer.channels, images
        )
        for layer in convolutions[1:]
    )
    total = 2 * pixel_conv.padded_values(first)
    for layer in convolutions:
        height, width, rows = layer.output_shape
        total += 8 * height * width * word_count(rows)
    for layer in convolutions[1:]:
        total += layer.height * layer.width * 64 * word_count(len(layer.weights))
    # inputs of the fully connected layers, and changes of them and of their outputs
    total += 8 * 2 * word_count(convolutions[-1].outputs)
    total += 8 * 2 * sum(word_count(layer.outputs) for layer in tail)
    return images * total + strings + tail_bytes(tail, images)


def prepare(network: FoldedNetwork, images: npt.NDArray[np.uint8], *, threads: int) -> State:
    """Compute the error-free state.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors whose first layer is a convolution.
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
        The network has no convolutions, or the images do not fit it.
    """
    if not supports(network):
        raise ValueError(
            "this engine follows networks that start with a convolution; use bnn.engines."
            "incremental for fully connected ones"
        )
    convolutions, tail, output = _parts(network)
    layer = convolutions[0]
    if images.ndim != 2 or images.shape[1] != layer.inputs:
        raise ValueError(
            f"the network reads {layer.inputs} pixels, the images have the shape {images.shape}"
        )
    height, width, rows = layer.output_shape
    pixels = pixel_conv.pad_pixels(layer, images)
    first = np.empty((len(images), height * width, word_count(rows)), np.uint64)
    signs, every = layer_signs(layer), np.arange(rows, dtype=np.int32)

    def fire(start: int, stop: int) -> None:
        for at in range(start, stop, BLOCK):
            end = min(stop, at + BLOCK)
            fired = pixel_conv.fire_pixels(layer, pixels[at:end], every, signs, layer.threshold)
            first[at:end] = conv_layer.pooled(layer, fired)

    in_threads(fire, len(images), threads)
    further = []
    maps = first
    for layer in convolutions[1:]:
        further.append(clean_convolution(layer, maps, threads=threads))
        maps = further[-1].fired
    flat = conv_layer.flat_bits(maps, len(convolutions[-1].weights))
    connected = prepare_tail(tail, flat, threads=threads)
    found = output_answers(output, connected[-1].fired if tail else flat, threads)
    return State(network, pixels, signs, first, tuple(further), flat, connected, found)


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
    new = dict(thresholds or {})
    count = len(state.answers)
    convolutions, tail, output = _parts(state.network)
    changed = np.zeros_like(state.flat)
    steps: list[Step] = []
    inputs, before = state.flat, changed
    for layer, clean in zip(tail, state.tail, strict=True):
        after = np.empty_like(clean.fired)
        steps.append(tail_step(layer, clean, inputs, before, flips, new, after))
        inputs, before = clean.fired, after
    own = flips.get(output.name, _NONE)
    weights = binary_layer.lanes_of(flip_bits(output.weights, own, columns=output.columns))
    found = np.empty(count, np.int64)
    follow = _follower(convolutions, state, flips, new, changed)

    def work(start: int, stop: int) -> None:
        follow(start, stop)
        for step in steps:
            step(start, stop)
        binary_layer.answers(
            inputs,
            before,
            weights,
            output.columns,
            output.scale,
            output.shift,
            state.answers,
            len(own) > 0,
            found,
            start * BLOCK,
            min(count, stop * BLOCK),
        )

    in_threads(work, -(-count // BLOCK), threads)
    return found


def _parts(
    network: FoldedNetwork,
) -> tuple[list[ConvLayer], list[HiddenLayer], OutputLayer]:
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    return (
        [layer for layer in network.layers if isinstance(layer, ConvLayer)],
        [layer for layer in network.layers if isinstance(layer, HiddenLayer)],
        output,
    )


def changed_bits(
    state: State, flips: Flips, *, threads: int, thresholds: Thresholds | None = None
) -> Words:
    """Outputs of the last convolution that a chip changes, shape (images, words).

    Parameters as of :func:`chip_answers`.
    """
    convolutions, _, _ = _parts(state.network)
    changed = np.zeros_like(state.flat)
    follow = _follower(convolutions, state, flips, dict(thresholds or {}), changed)
    in_threads(follow, -(-len(changed) // BLOCK), threads)
    return changed


def _follower(
    convolutions: Sequence[ConvLayer],
    state: State,
    flips: Flips,
    thresholds: Thresholds,
    changed: Words,
) -> Step:
    """Work that fills `changed`, shape (images, words), zero before, for blocks of images."""
    touched = [
        len(flips.get(layer.name, _NONE)) > 0 or layer.name in thresholds for layer in convolutions
    ]
    if not any(touched):
        return lambda start, stop: None
    begin = touched.index(True)
    pixels = _pixel_changes(convolutions[0], state, flips, thresholds)
    chips = [
        chip_convolution(layer, clean, flips.get(layer.name, _NONE), thresholds.get(layer.name))
        for layer, clean in zip(convolutions[1:], state.further, strict=True)
    ]
    inputs = (state.first, *(clean.fired for clean in state.further))
    channels = len(convolutions[-1].weights)

    def follow(start: int, stop: int) -> None:
        for block in range(start, stop):
            at, end = block * BLOCK, min(len(changed), (block + 1) * BLOCK)
            if begin == 0:
                changes = pixels(at, end)
            else:
                changes = np.zeros((end - at, *inputs[begin - 1].shape[1:]), np.uint64)
            for index in range(max(begin, 1), len(convolutions)):
                after = np.empty((end - at, *inputs[index].shape[1:]), np.uint64)
                follow_maps(
                    inputs[index - 1],
                    changes,
                    at,
                    state.further[index - 1],
                    chips[index - 1],
                    after,
                )
                changes = after
            changed[at:end] = conv_layer.flat_bits(changes, channels)

    return follow


def _pixel_changes(
    layer: ConvLayer, state: State, flips: Flips, thresholds: Thresholds
) -> Callable[[int, int], Words]:
    """Changed outputs of the first convolution for images from one to another."""
    own = flips.get(layer.name, _NONE)
    threshold = thresholds.get(layer.name, layer.threshold)
    moved = np.flatnonzero(threshold != layer.threshold)
    rows = np.union1d(own // layer.columns, moved).astype(np.int32)
    signs = state.signs.copy()
    signs.reshape(-1)[own] *= -1
    chosen = np.zeros((1, len(layer.weights)), np.uint8)
    chosen[0, rows] = 1
    (mask,) = pack_bits(chosen)

    def changes(at: int, end: int) -> Words:
        fired = pixel_conv.fire_pixels(layer, state.pixels[at:end], rows, signs, threshold)
        return (conv_layer.pooled(layer, fired) ^ state.first[at:end]) & mask

    return changes
