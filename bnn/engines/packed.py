"""Engine on packed words: XNOR and popcount, pixels by tables of signed sums.

Products of +-1 vectors of length n are ``z = n - 2 * popcount(x ^ w)``; padding is zero in both, so
it never counts. Fully connected networks only.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.engines import binary_layer, pixel_layer
from bnn.engines.workers import in_threads
from bnn.network import PIXEL_LEVELS, FoldedNetwork, HiddenLayer, OutputLayer, layer_signs
from bnn.packing import Words, pack_bits, pack_pixel_planes, word_count

_NO_MARGINS = np.empty(0, np.int8)
_FAR = 1 << 30


@dataclass(frozen=True, eq=False)
class PackedImages:
    """Images in blocks of 64, the image as the last axis.

    Attributes
    ----------
    blocks : uint8 array, flat from (blocks, pixels, 64)
        Pixels; images beyond the last one are zero.
    images, pixels : int
        Images, and pixels of each.
    """

    blocks: npt.NDArray[np.uint8]
    images: int
    pixels: int


def supports(network: FoldedNetwork) -> bool:
    """Whether the engine can compute a network: all of its layers are fully connected."""
    return all(isinstance(layer, HiddenLayer | OutputLayer) for layer in network.layers)


def prepare(images: npt.NDArray[np.uint8]) -> PackedImages:
    """Bring images, shape (images, pixels), into blocks; as large as the images."""
    return PackedImages(pixel_layer.pixel_blocks(images).reshape(-1), *images.shape)


def pre_activations(
    network: FoldedNetwork, prepared: PackedImages, *, threads: int
) -> tuple[npt.NDArray[np.int64], ...]:
    """Pre-activations of every layer.

    Parameters
    ----------
    network : FoldedNetwork
        Network, with or without flipped weights.
    prepared : PackedImages
        Images from `prepare`.
    threads : int
        CPU threads.

    Returns
    -------
    tuple of int64 array, shape (images, rows)
        One array per layer.

    Raises
    ------
    ValueError
        The network has convolutions, the images do not fit it, or `threads` is below 1.
    """
    _check(network, prepared)
    found = [_pixel_sums(network.layers[0], prepared, threads)]
    for before, layer in zip(network.layers, network.layers[1:], strict=False):
        assert isinstance(before, HiddenLayer)
        fired = before.direction * found[-1] >= before.threshold
        found.append(_sums(layer, pack_bits(fired), threads))
    return tuple(found)


def predict(
    network: FoldedNetwork, prepared: PackedImages, *, threads: int
) -> npt.NDArray[np.int64]:
    """Answer for every image.

    Parameters
    ----------
    network : FoldedNetwork
        Network, with or without flipped weights.
    prepared : PackedImages
        Images from `prepare`.
    threads : int
        CPU threads.

    Returns
    -------
    int64 array, shape (images,)
        Class with the highest score, the lowest one on a tie.

    Raises
    ------
    ValueError
        The network has convolutions, the images do not fit it, or `threads` is below 1.
    """
    _check(network, prepared)
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    if len(network.layers) == 1:
        z = _pixel_sums(output, prepared, threads)
        return np.argmax(z * output.scale + output.shift, axis=1).astype(np.int64, copy=False)
    bits = _first_bits(network.layers[0], prepared, threads)
    for layer in network.layers[1:-1]:
        bits = hidden_bits(layer, bits, threads)
    return output_answers(output, bits, threads)


def hidden_bits(layer: object, bits: Words, threads: int) -> Words:
    """Packed outputs, shape (images, words), of a hidden layer with packed inputs."""
    assert isinstance(layer, HiddenLayer)
    fired = np.empty((len(bits), word_count(len(layer.weights))), np.uint64)
    lanes = binary_layer.lanes_of(layer.weights)
    limits = binary_layer.limits_of(layer.threshold, layer.direction, columns=layer.columns)

    def work(start: int, stop: int) -> None:
        binary_layer.error_free(bits, lanes, *limits, _NO_MARGINS, fired, start, stop)

    in_threads(work, len(bits), threads)
    return fired


def output_answers(layer: OutputLayer, bits: Words, threads: int) -> npt.NDArray[np.int64]:
    """Answers of the output layer for packed inputs, shape (images, words)."""
    found = np.zeros(len(bits), np.int64)
    lanes = binary_layer.lanes_of(layer.weights)
    unchanged = np.zeros_like(bits)

    def work(start: int, stop: int) -> None:
        binary_layer.answers(
            bits,
            unchanged,
            lanes,
            layer.columns,
            layer.scale,
            layer.shift,
            found,
            True,
            found,
            start,
            stop,
        )

    in_threads(work, len(bits), threads)
    return found


def _first_bits(layer: object, prepared: PackedImages, threads: int) -> Words:
    assert isinstance(layer, HiddenLayer)
    bits = np.empty((prepared.images, word_count(len(layer.weights))), np.uint64)
    patterns = pixel_layer.patterns_of(layer.weights, layer.columns)
    # direction * (2 s - 255 total) >= threshold, for the sum s of signed pixels
    total = layer_signs(layer).sum(axis=1, dtype=np.int64)
    threshold = np.clip(layer.threshold.astype(np.int64), -_FAR, _FAR)
    upward = layer.direction > 0
    limit = np.where(upward, threshold, 1 - threshold) + PIXEL_LEVELS * total
    least = (-(-limit // 2)).astype(np.int32)

    def work(start: int, stop: int) -> None:
        pixel_layer.fired_words(
            prepared.blocks, layer.columns, patterns, least, ~upward, bits, start, stop
        )

    in_threads(work, -(-prepared.images // pixel_layer.BLOCK), threads)
    return bits


def _pixel_sums(layer: object, prepared: PackedImages, threads: int) -> npt.NDArray[np.int64]:
    """Pre-activations of the first layer, by the bit planes of the pixels."""
    assert isinstance(layer, HiddenLayer | OutputLayer)
    count, pixels = prepared.images, prepared.pixels
    images = prepared.blocks.reshape(-1, pixels, pixel_layer.BLOCK).transpose(0, 2, 1)
    planes = pack_pixel_planes(images.reshape(-1, pixels)[:count])
    # 2 * pixel - 255 = sum_b 2**b * (2 * bit_b - 1)
    z = np.zeros((count, len(layer.weights)), np.int64)
    for b in range(planes.shape[1]):
        z += _sums(layer, np.ascontiguousarray(planes[:, b]), threads) << b
    return z


def _sums(layer: object, bits: Words, threads: int) -> npt.NDArray[np.int64]:
    """Pre-activations of a layer with packed inputs, shape (images, rows)."""
    assert isinstance(layer, HiddenLayer | OutputLayer)
    lanes = binary_layer.lanes_of(layer.weights)
    z = np.empty((len(bits), len(layer.weights)), np.int64)

    def work(start: int, stop: int) -> None:
        binary_layer.sums(bits, lanes, layer.columns, z, start, stop)

    in_threads(work, len(bits), threads)
    return z


def _check(network: FoldedNetwork, prepared: PackedImages) -> None:
    if not supports(network):
        raise ValueError("the packed engine has no convolutions; use the dense engine")
    if prepared.pixels != network.sizes[0]:
        raise ValueError(
            f"the network reads {network.sizes[0]} pixels, the images have {prepared.pixels}"
        )
