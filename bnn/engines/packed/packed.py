"""Engine on packed words: XNOR and popcount, pixels by tables of signed sums.

Products of +-1 vectors of length n are ``z = n - 2 * popcount(x ^ w)``; padding is zero in both, so
it never counts.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bnn.engines.packed import binary_layer, conv_layer
from bnn.engines.packed.binary_layer import output_answers
from bnn.engines.pixels import group_sums, lit_groups, pixel_layer
from bnn.engines.pixels.lit_groups import LitGroups
from bnn.machine.packing import Words, pack_bits, pack_pixel_planes, word_count
from bnn.machine.workers import in_threads
from bnn.networks.network import ConvLayer, FoldedNetwork, HiddenLayer, OutputLayer, layer_signs

_NO_MARGINS = np.empty(0, np.int8)
_CONV_IMAGES = 16


@dataclass(frozen=True, eq=False)
class PackedImages:
    """Images, and on demand the form in which a fully connected layer reads them.

    Attributes
    ----------
    plain : uint8 array, shape (images, pixels)
        Images as they are, which convolutions read.
    """

    plain: npt.NDArray[np.uint8]

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.plain)

    @property
    def pixels(self) -> int:
        """Pixels of an image."""
        return self.plain.shape[1]

    @cached_property
    def lit(self) -> LitGroups | None:
        """Groups of pixels that are not dark; None where the processor lacks what they take."""
        return lit_groups.lit_groups(self.plain) if lit_groups.AVAILABLE else None

    @cached_property
    def blocks(self) -> npt.NDArray[np.uint8]:
        """Pixels with the image as the last axis, flat from (blocks, pixels, 64)."""
        return pixel_layer.pixel_blocks(self.plain).reshape(-1)


def prepare(images: npt.NDArray[np.uint8]) -> PackedImages:
    """Bring images, shape (images, pixels), into the form that the engine reads."""
    return PackedImages(np.ascontiguousarray(images))


def state_bytes(network: FoldedNetwork, images: int) -> int:
    """Memory that the engine takes for a number of images, in bytes, images not counted."""
    pixels, widest = network.sizes[0], max(network.sizes[1:])
    # the form of the pixels at most, and the bits of two layers
    return images * (max(pixels, lit_groups.image_bytes(pixels)) + widest // 4)


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
        The images do not fit the network, or `threads` is below 1.
    """
    _check(network, prepared)
    found: list[npt.NDArray[np.int64]] = []
    if isinstance(network.layers[0], ConvLayer):
        _conv_maps(network, prepared, threads, found)
    else:
        found.append(_pixel_sums(network.layers[0], prepared, threads))
    for before, layer in zip(network.layers, network.layers[1:], strict=False):
        if isinstance(layer, ConvLayer):
            continue
        assert not isinstance(before, OutputLayer)
        rows = before.outputs // len(before.direction)
        fired = np.tile(before.direction, rows) * found[-1] >= np.tile(before.threshold, rows)
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
        The images do not fit the network, or `threads` is below 1.
    """
    _check(network, prepared)
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    if len(network.layers) == 1:
        z = _pixel_sums(output, prepared, threads)
        return np.argmax(z * output.scale + output.shift, axis=1).astype(np.int64, copy=False)
    if isinstance(network.layers[0], ConvLayer):
        bits = _conv_maps(network, prepared, threads, None)
    else:
        bits = _first_bits(network.layers[0], prepared, threads)
    for layer in network.layers[1:-1]:
        if isinstance(layer, HiddenLayer):
            bits = hidden_bits(layer, bits, threads)
    return output_answers(output, bits, threads)


def _conv_maps(
    network: FoldedNetwork,
    prepared: PackedImages,
    threads: int,
    sums: list[npt.NDArray[np.int64]] | None,
) -> Words:
    """Outputs of the convolutions as inputs of the next layer; their pre-activations to `sums`."""
    layers = [layer for layer in network.layers if isinstance(layer, ConvLayer)]
    further = [conv_layer.pack_convolution(layer) for layer in layers[1:]]
    last = layers[-1]
    positions = last.output_shape[0] * last.output_shape[1]
    bits = np.empty((prepared.images, word_count(last.outputs)), np.uint64)
    if sums is not None:
        sums += [np.empty((prepared.images, layer.outputs), np.int64) for layer in layers]

    def keep(index: int, start: int, z: npt.NDArray[np.int64]) -> None:
        if sums is None:
            return
        layer = layers[index]
        height, width, rows = layer.output_shape
        pooled = z.reshape(len(z), height, layer.pool, width, layer.pool, rows).max(axis=(2, 4))
        sums[index][start : start + len(z)] = pooled.reshape(len(z), -1)

    def work(first: int, stop: int) -> None:
        # few images at a time, so that the maps between layers stay in the cache
        for start in range(first, stop, _CONV_IMAGES):
            end = min(stop, start + _CONV_IMAGES)
            z = _room(layers[0], end - start, sums is not None)
            maps = conv_layer.pixel_conv_bits(layers[0], prepared.plain[start:end], z)
            keep(0, start, z)
            for index, (layer, packed) in enumerate(zip(layers[1:], further, strict=True), 1):
                z = _room(layer, end - start, sums is not None)
                maps = conv_layer.conv_bits(layer, packed, maps, z)
                keep(index, start, z)
            bits[start:end] = conv_layer.flat_bits(maps, last.outputs // positions)

    in_threads(work, prepared.images, threads)
    return bits


def _room(layer: ConvLayer, images: int, wanted: bool) -> npt.NDArray[np.int64]:
    """Room for pre-activations before the pooling; none where they are not wanted."""
    rows = len(layer.weights)
    return np.empty((images if wanted else 0, layer.height * layer.width, rows), np.int64)


def layer_sums(
    layer: HiddenLayer | OutputLayer, inputs: PackedImages | Words, *, threads: int
) -> npt.NDArray[np.int64]:
    """Pre-activations, shape (images, rows), of a fully connected layer.

    Parameters
    ----------
    layer : HiddenLayer or OutputLayer
        Layer.
    inputs : PackedImages, or uint64 array of shape (images, words)
        Images where the layer is the first, else packed signs.
    threads : int
        CPU threads.
    """
    if isinstance(inputs, PackedImages):
        return _pixel_sums(layer, inputs, threads)
    return _sums(layer, inputs, threads)


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


def _first_bits(layer: object, prepared: PackedImages, threads: int) -> Words:
    assert isinstance(layer, HiddenLayer)
    bits = np.empty((prepared.images, word_count(len(layer.weights))), np.uint64)
    lit = prepared.lit
    if lit is not None:
        codes, total = _codes(layer, lit)
        limits = group_sums.limits_of(layer.threshold, layer.direction, total)

        def look_up(start: int, stop: int) -> None:
            group_sums.fired_words(lit, codes, limits, bits, start, stop)

        in_threads(look_up, prepared.images, threads)
        return bits
    patterns = pixel_layer.patterns_of(layer.weights, layer.columns)
    least, turned = pixel_layer.least_sums(
        layer.weights, layer.columns, layer.threshold, layer.direction
    )

    def work(start: int, stop: int) -> None:
        pixel_layer.fired_words(
            prepared.blocks, layer.columns, patterns, least, turned, bits, start, stop
        )

    in_threads(work, -(-prepared.images // pixel_layer.BLOCK), threads)
    return bits


def _codes(
    layer: HiddenLayer | OutputLayer, lit: LitGroups
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Weights as places in tables, and their sums for each neuron."""
    codes = lit_groups.codes_of(layer.weights, layer.columns, lit.place, lit.groups)
    return codes, layer_signs(layer).sum(axis=1, dtype=np.int64)


def _pixel_sums(layer: object, prepared: PackedImages, threads: int) -> npt.NDArray[np.int64]:
    """Pre-activations of the first layer."""
    assert isinstance(layer, HiddenLayer | OutputLayer)
    z = np.zeros((prepared.images, len(layer.weights)), np.int64)
    lit = prepared.lit
    if lit is not None:
        codes, total = _codes(layer, lit)

        def work(start: int, stop: int) -> None:
            group_sums.pixel_sums(lit, codes, total, z, start, stop)

        in_threads(work, prepared.images, threads)
        return z
    planes = pack_pixel_planes(prepared.plain)
    # 2 * pixel - 255 = sum_b 2**b * (2 * bit_b - 1)
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
    if prepared.pixels != network.sizes[0]:
        raise ValueError(
            f"the network reads {network.sizes[0]} pixels, the images have {prepared.pixels}"
        )
