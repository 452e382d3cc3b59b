"""Answers of a chip whose weights are misread, anew for every image.

Layers that read pixels get the misread positions of every image, those of
`bnn.errors.chips.draw_misread`. In fully connected layers with binary inputs only the number of
matches of a neuron matters, so that is drawn from its law (:mod:`bnn.engines.misread.law`)
instead: one random number for each neuron and image, however many weights are misread. What an
image is read as depends on the seed, the chip and the number of the image alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from bnn.engines.misread.kernels import read_fired, read_pixels, read_sums
from bnn.engines.misread.law import misread_law
from bnn.engines.packed import packed
from bnn.errors.chips import draw_misread
from bnn.errors.errors import Errors
from bnn.errors.flips import MEAN_GAPS
from bnn.machine.counter_random import Stream, StreamKey
from bnn.machine.exact_float import EXACT_FLOAT32
from bnn.machine.packing import Words, pack_bits, word_count
from bnn.machine.threads import torch_threads
from bnn.machine.workers import in_threads
from bnn.networks.network import (
    PIXEL_LEVELS,
    ConvLayer,
    FoldedNetwork,
    HiddenLayer,
    flip_weights,
    layer_signs,
)

READING = "philox4x64-10, positions of pixels and convolutions, sums of other layers, 1"
"""Name of the way read errors are drawn: results under different names are of different reads."""

Positions = Mapping[str, npt.NDArray[np.int64]]
Answers = npt.NDArray[np.int64]

_BLOCK = 64
_MANY = 50
"""One weight in so many flipped: from there on pixel sums are computed anew."""


@dataclass(frozen=True, eq=False)
class Reader:
    """Images ready to be answered by chips with read errors; see :func:`start_reader`.

    Attributes
    ----------
    network : FoldedNetwork
        Network without errors.
    images : uint8 array, shape (images, pixels)
        Images.
    reads : int64 array, shape (images,)
        Number of the read that each image is.
    sums : int32 array, shape (images, rows), or None
        Error-free pre-activations of the first layer; None where it is a convolution.
    seed, threads : int
        Seed of the family of chips; CPU threads.
    """

    network: FoldedNetwork
    images: npt.NDArray[np.uint8]
    reads: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int32] | None
    seed: int
    threads: int

    def answers(self, wrong: Positions, errors: Errors, *, chip: int) -> Answers:
        """Answers of one chip, shape (images,).

        Parameters
        ----------
        wrong : mapping of layer name to int64 array
            Bits that are wrong on the chip, ``row * columns + column``, strictly increasing.
        errors : Errors
            Its transient part is drawn, once for each image.
        chip : int
            Number of the chip.
        """
        if self.sums is None:
            return answers_by_positions(self, wrong, errors, chip=chip)
        return _answers_by_sums(self, wrong, errors, chip)


def start_reader(
    network: FoldedNetwork,
    images: npt.NDArray[np.uint8],
    *,
    reads: npt.NDArray[np.int64],
    seed: int,
    threads: int,
) -> Reader:
    """Prepare images for chips with read errors.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors. With convolutions, whose weights are used many times in one read,
        every image is computed by itself with its own misread weights: exact, and slow.
    images : uint8 array, shape (images, pixels)
        Images.
    reads : int64 array, shape (images,)
        Number of the read that each image is, 0..2**40-1.
    seed : int
        Seed of the family of chips.
    threads : int
        CPU threads; the answers do not depend on them.

    Raises
    ------
    ValueError
        A first layer so wide that float32 could round.
    """
    images = np.ascontiguousarray(images)
    first = network.layers[0]
    sums = None
    if not isinstance(first, ConvLayer):
        if first.columns * PIXEL_LEVELS >= EXACT_FLOAT32:
            raise ValueError(
                f"read errors: pre-activations of {first.columns} pixels are not exact in float32"
            )
        sums = _pixel_sums(network, images, threads)
    return Reader(network, images, np.ascontiguousarray(reads), sums, seed, threads)


def reader_bytes(network: FoldedNetwork, images: int) -> int:
    """Memory of a reader in bytes, images not counted."""
    pixels, rows = network.sizes[0], network.sizes[1]
    # float32 images and pre-activations while they are computed, int32 pre-activations kept
    return images * (4 * pixels + 8 * rows) + 2**24


def answers_by_positions(reader: Reader, wrong: Positions, errors: Errors, *, chip: int) -> Answers:
    """Answers by brute force: every image by itself, on the weights that its read gives.

    The reference of the fast way, and the way of convolutions. The misread bits are those of
    `bnn.errors.chips.draw_misread`.
    """
    found = np.empty(len(reader.images), np.int64)
    for index, read in enumerate(reader.reads):
        misread = draw_misread(reader.network, errors, seed=reader.seed, chip=chip, read=int(read))
        # a wrong bit that is misread comes out right
        now = {name: np.setxor1d(places, wrong.get(name, places[:0])) for name, places in
               misread.items()}  # fmt: skip
        network = flip_weights(reader.network, now)
        image = packed.prepare(reader.images[index : index + 1])
        found[index] = packed.predict(network, image, threads=1)[0]
    return found


def _pixel_sums(
    network: FoldedNetwork, images: npt.NDArray[np.uint8], threads: int
) -> npt.NDArray[np.int32]:
    """Pre-activations of the first layer, exact in float32."""
    weights = torch.from_numpy(layer_signs(network.layers[0])).float()
    with torch_threads(threads), torch.inference_mode():
        # a copy: images from a file may be read-only, which PyTorch does not know
        values = torch.tensor(images).float().mul_(2.0).sub_(PIXEL_LEVELS)
        sums: npt.NDArray[np.int32] = (values @ weights.T).int().numpy()
    return sums


def _answers_by_sums(reader: Reader, wrong: Positions, errors: Errors, chip: int) -> Answers:
    layers = flip_weights(reader.network, wrong)
    first = layers.layers[0]
    moved = wrong.get(first.name, np.empty(0, np.int64))
    assert reader.sums is not None
    sums = reader.sums
    if _MANY * len(moved) > len(first.weights) * first.columns:
        sums, moved = _pixel_sums(layers, reader.images, reader.threads), moved[:0]
    output = layers.layers[-1]
    found = np.empty(len(reader.images), np.int64)
    steps = [_step(layer, index, errors, reader.seed, chip) for index, layer in
             enumerate(layers.layers[1:], start=1)]  # fmt: skip
    key = StreamKey(reader.seed, chip, 0, Stream.READ).words()
    rate = errors.misread_rate(first.name)

    def work(begin: int, end: int) -> None:
        for start in range(begin * _BLOCK, min(end * _BLOCK, len(found)), _BLOCK):
            here = slice(start, start + _BLOCK)
            reads = reader.reads[here]
            z = sums[here].copy()
            read_pixels(
                z,
                reader.images[here],
                first.columns,
                first.weights,
                moved,
                rate,
                MEAN_GAPS,
                reads,
                *key,
            )
            if isinstance(first, HiddenLayer):
                bits = pack_bits(first.direction * z >= first.threshold)
                for step in steps[:-1]:
                    bits = step.fired(bits, reads)
                z = steps[-1].sums(bits, reads)
            found[here] = np.argmax(z * output.scale + output.shift, axis=1)  # type: ignore[union-attr]

    in_threads(work, -(-len(found) // _BLOCK), reader.threads)
    return found


@dataclass(frozen=True, eq=False)
class _Step:
    """Reading of one fully connected layer with binary inputs on one chip."""

    weights: Words
    columns: int
    limit: npt.NDArray[np.int64]
    turned: npt.NDArray[np.bool_]
    law: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]
    key: tuple[np.uint64, ...]

    def fired(self, bits: Words, reads: npt.NDArray[np.int64]) -> Words:
        """Packed outputs of a hidden layer."""
        out = np.zeros((len(bits), word_count(len(self.weights))), np.uint64)
        read_fired(
            bits,
            self.weights,
            self.columns,
            self.limit,
            self.turned,
            *self.law,
            reads,
            *self.key,
            out,
        )
        return out

    def sums(self, bits: Words, reads: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Pre-activations."""
        out = np.empty((len(bits), len(self.weights)), np.int32)
        read_sums(bits, self.weights, self.columns, *self.law, reads, *self.key, out)
        return out


def _step(layer: object, index: int, errors: Errors, seed: int, chip: int) -> _Step:
    assert not isinstance(layer, ConvLayer)
    rows, n = len(layer.weights), layer.columns  # type: ignore[attr-defined]
    limit, turned = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
    if isinstance(layer, HiddenLayer):
        # direction * (2 m - n) >= threshold: m at least, or below, a number of matches
        threshold = layer.threshold.astype(np.int64)
        turned = layer.direction < 0
        limit = np.where(turned, (n - threshold) // 2 + 1, -((-threshold - n) // 2))
    law = misread_law(n, errors.misread_rate(layer.name))  # type: ignore[attr-defined]
    return _Step(
        layer.weights,  # type: ignore[attr-defined]
        n,
        limit,
        turned,
        (law.first, law.start, law.below),
        StreamKey(seed, chip, index, Stream.READ_SUMS).words(),
    )
