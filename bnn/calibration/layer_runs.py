"""One layer on all images of a calibration: its moments, then what fires at some thresholds.

Two ways give the same integers. `DenseRun` computes with float32 of PyTorch, also on a GPU and with
transient errors; `PackedRun` counts bits and is several times as fast.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnn.engines.dense import dense
from bnn.engines.misread.reference import Misreads, read_sums
from bnn.engines.packed import conv_layer, conv_sums, packed
from bnn.engines.packed.packed import PackedImages
from bnn.machine.arrays import Longs
from bnn.machine.packing import Words, pack_bits, word_count
from bnn.machine.workers import in_threads
from bnn.networks.network import (
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    Layer,
    OutputLayer,
    layer_signs,
)

# pre-activations of a layer that are kept rather than computed twice: 512 MB in float32
_KEPT_VALUES = 2**27
_BLOCK_VALUES = 2**22
_BLOCK_IMAGES = 16

Thresholds = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and spread of the pre-activations of a layer over images and places of the map.

    Attributes
    ----------
    mean, sd : float64 array, shape (rows,)
        Mean and standard deviation; `sd` is exactly 0 where a pre-activation never changes.
    """

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, total: Longs, squares: Longs, count: int) -> Self:
        """Moments from exact sums and sums of squares of `count` pre-activations a neuron."""
        # Python integers: the difference of two huge numbers decides whether a neuron is constant
        spread = count * squares.astype(object) - total.astype(object) ** 2
        return cls(total / count, np.sqrt(spread.astype(np.float64)) / count)


def _block_images(values: int) -> int:
    """Images to work on together that make so many numbers each."""
    return max(1, min(_BLOCK_IMAGES, _BLOCK_VALUES // values))


class LayerRun(Protocol):
    """One layer on all images."""

    def moments(self) -> Moments:
        """Moments over images and places, after the pooling."""

    def next(self, threshold: Thresholds, layer: Layer) -> "LayerRun":
        """Run of the following layer on what fires at some thresholds."""


class DenseRun:
    """One layer on all images, in blocks, with PyTorch.

    Parameters
    ----------
    layer : Layer
        Layer of the chip.
    values : tensor, shape (images, ...)
        Its inputs: encoded pixels, or +1 and -1.
    misreads : Misreads, optional
        Transient errors, one read for each image.
    """

    def __init__(self, layer: Layer, values: Tensor, misreads: Misreads | None = None) -> None:
        self.layer, self.values, self.misreads = layer, values, misreads
        self.weights = dense.layer_weights(layer, values.device)
        size = layer.inputs + layer.outputs * (layer.pool**2 if isinstance(layer, ConvLayer) else 1)
        self.block = max(1, _BLOCK_VALUES // size)
        self.kept: list[Tensor] | None = None
        if len(values) * layer.outputs <= _KEPT_VALUES or misreads is not None:
            self.kept = [self._sums(start) for start in range(0, len(values), self.block)]

    def moments(self) -> Moments:
        """Moments over images and places, after the pooling."""
        rows = len(self.layer.weights)
        total, squares, count = np.zeros(rows), np.zeros(rows), 0
        for z in self._blocks():
            exact = z.double()
            dims = (0,) if z.ndim == 2 else (0, 2, 3)
            # sums of integers below 2**53 are exact, so no order of adding them matters
            total += exact.sum(dims).cpu().numpy()
            squares += exact.square().sum(dims).cpu().numpy()
            count += z.numel() // rows
        return Moments.of(total.astype(np.int64), squares.astype(np.int64), count)

    def fired(self, threshold: Thresholds) -> Tensor:
        """Outputs +1 and -1 at some thresholds, int8 tensor of shape (images, ...)."""
        assert not isinstance(self.layer, OutputLayer)
        layer = dataclasses.replace(self.layer, threshold=threshold)
        crossing = dense.crossing_of(layer, self.values.device)
        assert crossing is not None
        return torch.cat([dense.fire_(z, *crossing).to(torch.int8) for z in self._blocks()])

    def next(self, threshold: Thresholds, layer: Layer) -> "DenseRun":
        """Run of the following layer on what fires at some thresholds."""
        return DenseRun(layer, self.fired(threshold), self.misreads)

    def _blocks(self) -> Iterable[Tensor]:
        if self.kept is not None:
            return self.kept
        return map(self._sums, range(0, len(self.values), self.block))

    def _sums(self, start: int) -> Tensor:
        values = self.values[start : start + self.block].float()
        return read_sums(self.layer, self.weights, values, self.misreads, start)


@dataclass(frozen=True, eq=False)
class PixelProducts:
    """Sums over images and places of the inputs of a convolution that reads pixels.

    A pre-activation is ``w @ x``, so its sum is ``w @ sum(x)`` and its sum of squares
    ``w @ sum(x x') @ w``: the moments of a layer without pooling follow for any weights, without a
    look at the images.

    Attributes
    ----------
    total : int64 array, shape (columns,)
        Inputs, added up.
    products : int64 array, shape (columns, columns)
        Products of two inputs, added up.
    count : int
        Images times places.
    """

    total: Longs
    products: Longs
    count: int

    @classmethod
    def of(cls, layer: ConvLayer, images: npt.NDArray[np.uint8]) -> Self:
        """Add up the inputs of a convolution that reads images, shape (images, pixels)."""
        total = np.zeros(layer.columns)
        products = np.zeros((layer.columns, layer.columns))
        block = _block_images(layer.columns * layer.height * layer.width)
        for start in range(0, len(images), block):
            values = dense.prepare(images[start : start + block]).values.double()
            maps = values.reshape(-1, layer.channels, layer.height, layer.width)
            taps = torch.nn.functional.unfold(maps, layer.kernel, padding=layer.kernel // 2)
            # columns are counted tap by tap, those of a tap channel by channel
            by_tap = taps.unflatten(1, (layer.channels, -1)).transpose(1, 2).flatten(1, 2)
            inputs = by_tap.movedim(1, 0).flatten(1).numpy()
            # integers below 2**53: exact
            total += inputs.sum(axis=1)
            products += inputs @ inputs.T
        places = layer.height * layer.width
        return cls(total.astype(np.int64), products.astype(np.int64), len(images) * places)

    def moments(self, layer: ConvLayer) -> Moments:
        """Moments of a layer with these inputs."""
        signs = layer_signs(layer).astype(np.int64)
        squares = np.einsum("rc,rc->r", signs @ self.products, signs)
        return Moments.of(signs @ self.total, squares, self.count)


def counts_packed(network: FoldedNetwork, images: int) -> bool:
    """Whether `PackedRun` counts a network on so many images, in as much memory as `DenseRun`."""
    for index, layer in enumerate(network.layers):
        if isinstance(layer, ConvLayer):
            if index > 0 and layer.columns > conv_sums.MOST_COLUMNS:
                return False
        # sums of fully connected layers are kept in 64 bits
        elif 2 * images * layer.outputs > _KEPT_VALUES:
            return False
    return True


class PackedRun:
    """One layer on all images, with the kernels of the packed engine.

    Parameters
    ----------
    layer : Layer
        Layer of the chip.
    inputs : PackedImages or uint64 array
        Images; or packed outputs of the layer before, shape (images, positions, words) after a
        convolution and (images, words) after a fully connected layer.
    products : PixelProducts, optional
        Of the images, where the layer is a convolution without pooling that reads them.
    threads : int
        CPU threads.
    """

    def __init__(
        self,
        layer: Layer,
        inputs: PackedImages | Words,
        products: PixelProducts | None = None,
        *,
        threads: int,
    ) -> None:
        self.layer, self.inputs, self.products, self.threads = layer, inputs, products, threads
        self.sums: Longs | None = None
        self.maps: npt.NDArray[np.int16] | None = None

    def moments(self) -> Moments:
        """Moments over images and places, after the pooling."""
        layer, inputs = self.layer, self.inputs
        if not isinstance(layer, ConvLayer):
            self.sums = packed.layer_sums(layer, inputs, threads=self.threads)
            squares = np.einsum("ir,ir->r", self.sums, self.sums)
            return Moments.of(self.sums.sum(axis=0), squares, len(self.sums))
        if isinstance(inputs, PackedImages):
            if self.products is not None:
                return self.products.moments(layer)
            return _pixel_moments(layer, inputs, self.threads)
        height, width, rows = layer.output_shape
        values = len(inputs) * height * width * conv_sums.room_of(rows)
        found = conv_sums.conv_sums(
            layer, inputs, keep=values <= _KEPT_VALUES, threads=self.threads
        )
        self.maps = found.kept
        return Moments.of(found.total, found.squares, found.count)

    def next(self, threshold: Thresholds, layer: Layer) -> "PackedRun":
        """Run of the following layer on what fires at some thresholds."""
        assert not isinstance(self.layer, OutputLayer)
        bits = self._fired(dataclasses.replace(self.layer, threshold=threshold))
        if bits.ndim == 3 and not isinstance(layer, ConvLayer):
            bits = conv_layer.flat_bits(bits, layer.inputs // bits.shape[1])
        return PackedRun(layer, bits, threads=self.threads)

    def _fired(self, layer: ConvLayer | HiddenLayer) -> Words:
        inputs = self.inputs
        if isinstance(layer, HiddenLayer):
            assert self.sums is not None
            return pack_bits(layer.direction.astype(np.int64) * self.sums >= layer.threshold)
        if self.maps is not None:
            return conv_sums.fired_maps(layer, self.maps, threads=self.threads)
        height, width, rows = layer.output_shape
        number = inputs.images if isinstance(inputs, PackedImages) else len(inputs)
        fired = np.empty((number, height * width, word_count(rows)), np.uint64)
        weights = conv_layer.pack_convolution(layer)

        def work(first: int, stop: int) -> None:
            for start in range(first, stop, _BLOCK_IMAGES):
                part = slice(start, min(stop, start + _BLOCK_IMAGES))
                if isinstance(inputs, PackedImages):
                    fired[part] = conv_layer.pixel_conv_bits(layer, inputs.plain[part])
                else:
                    fired[part] = conv_layer.conv_bits(layer, weights, inputs[part])

        in_threads(work, number, self.threads)
        return fired


def _pixel_moments(layer: ConvLayer, images: PackedImages, threads: int) -> Moments:
    """Moments of a convolution that reads pixels, counted image by image."""
    height, width, rows = layer.output_shape
    at_once = _block_images(layer.height * layer.width * rows)
    parts: list[tuple[Longs, Longs]] = []

    def work(first: int, stop: int) -> None:
        for start in range(first, stop, at_once):
            block = images.plain[start : min(stop, start + at_once)]
            z = np.empty((len(block), layer.height * layer.width, rows), np.int64)
            conv_layer.pixel_conv_bits(layer, block, z)
            by_pool = z.reshape(len(block), height, layer.pool, width, layer.pool, rows)
            flat = by_pool.max(axis=(2, 4)).reshape(-1, rows)
            parts.append((flat.sum(axis=0), np.einsum("ir,ir->r", flat, flat)))

    in_threads(work, images.images, threads)
    total, squares = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    return Moments.of(total, squares, images.images * height * width)
