"""Convolutions on chips, as the front of the engine that follows changes.

The first convolution computes the channels with wrong weights anew; further ones follow what
changes (:mod:`bnn.engines.convolution.changes`). Layers before the first wrong weight cost nothing.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.engines.convolution.changes import follow_maps
from bnn.engines.convolution.flips import strings_bytes
from bnn.engines.convolution.maps import CleanConvolution
from bnn.engines.convolution.state import chip_convolution, clean_convolution
from bnn.engines.packed import conv_layer
from bnn.engines.packed.conv_types import MapShape
from bnn.engines.pixels import pixel_conv
from bnn.engines.pixels.front import (
    BLOCK,
    NO_FLIPS,
    Flips,
    Step,
    Thresholds,
    mark_open,
    threads_for,
)
from bnn.machine.packing import Words, pack_bits, word_count
from bnn.machine.workers import in_threads, tasks_in_threads
from bnn.networks.network import ConvLayer, layer_signs


@dataclass(frozen=True, eq=False)
class ConvFront:
    """Error-free state of convolutions.

    Attributes
    ----------
    layers : tuple of ConvLayer
        The convolutions without errors.
    pixels : int16 array
        Encoded images, from :func:`bnn.engines.pixels.pixel_conv.pad_pixels`.
    signs : int8 array, shape (output channels, columns)
        Weights of the first one.
    first : uint64 array, shape (images, positions, words)
        Outputs of the first one.
    further : tuple of CleanConvolution
        Those after it.
    bits : uint64 array, shape (images, words)
        Outputs of the last one as inputs of a fully connected layer.
    """

    layers: tuple[ConvLayer, ...]
    pixels: npt.NDArray[np.int16]
    signs: npt.NDArray[np.int8]
    first: Words
    further: tuple[CleanConvolution, ...]
    bits: Words

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
        follow = _follower(self, flips, thresholds, changed, threads)

        def step(start: int, stop: int) -> None:
            follow(start, stop)
            mark_open(changed, allowed, active, start, stop)

        return step


def state_bytes(convolutions: Sequence[ConvLayer], images: int) -> int:
    """Memory of the error-free state in bytes at most."""
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
    total += 8 * word_count(convolutions[-1].outputs)
    return images * total + strings


def prepare(
    convolutions: Sequence[ConvLayer], images: npt.NDArray[np.uint8], *, threads: int
) -> ConvFront:
    """Compute the error-free state of convolutions on images, shape (images, pixels)."""
    layer = convolutions[0]
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
    return ConvFront(tuple(convolutions), pixels, signs, first, tuple(further), flat)


def _follower(
    front: ConvFront,
    flips: Flips,
    thresholds: Thresholds,
    changed: Words,
    threads: int,
) -> Step:
    """Work that fills `changed`, shape (images, words), for blocks of images."""
    convolutions = front.layers
    touched = [
        len(flips.get(layer.name, NO_FLIPS)) > 0 or layer.name in thresholds
        for layer in convolutions
    ]
    if not any(touched):
        changed[:] = 0
        return lambda start, stop: None
    begin = touched.index(True)
    pixels = _pixel_changes(front, flips, thresholds)
    chips = tasks_in_threads(
        [
            functools.partial(
                chip_convolution,
                layer,
                clean,
                flips.get(layer.name, NO_FLIPS),
                thresholds.get(layer.name),
            )
            for layer, clean in zip(convolutions[1:], front.further, strict=True)
        ],
        threads_for(flips, threads),
    )
    inputs = (front.first, *(clean.fired for clean in front.further))
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
                    front.further[index - 1],
                    chips[index - 1],
                    after,
                )
                changes = after
            changed[at:end] = conv_layer.flat_bits(changes, channels)

    return follow


def _pixel_changes(
    front: ConvFront, flips: Flips, thresholds: Thresholds
) -> Callable[[int, int], Words]:
    """Changed outputs of the first convolution for images from one to another."""
    layer = front.layers[0]
    own = flips.get(layer.name, NO_FLIPS)
    threshold = thresholds.get(layer.name, layer.threshold)
    moved = np.flatnonzero(threshold != layer.threshold)
    rows = np.union1d(own // layer.columns, moved).astype(np.int32)
    signs = front.signs.copy()
    signs.reshape(-1)[own] *= -1
    chosen = np.zeros((1, len(layer.weights)), np.uint8)
    chosen[0, rows] = 1
    (mask,) = pack_bits(chosen)

    def changes(at: int, end: int) -> Words:
        fired = pixel_conv.fire_pixels(layer, front.pixels[at:end], rows, signs, threshold)
        return (conv_layer.pooled(layer, fired) ^ front.first[at:end]) & mask

    return changes
