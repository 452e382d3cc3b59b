"""Fast engine: XNOR and popcount on packed words.

Products of +-1 vectors of length n are ``z = n - 2 * popcount(x ^ w)``; padding is zero in both, so
it never counts. The pixels of the first layer, ``2 * pixel - 255 = sum_b 2**b * (2 * bit_b - 1)``,
are eight such products, one per bit plane.

Images lie in blocks that fit the cache, with the image as the last axis, so that the processor
counts several images with one instruction. Threads are plain Python threads, each with its own
blocks (the compiled code holds no lock): this needs no OpenMP runtime beside that of PyTorch and
changes no global setting.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba.extending import intrinsic

from bnn.network import FoldedNetwork, HiddenLayer, OutputLayer
from bnn.packing import PIXEL_PLANES, WORD_BITS, Words, pack_pixel_planes, word_count

_BLOCK_IMAGES = 128
_EMPTY = np.empty((0, _BLOCK_IMAGES), np.int64)


@dataclass(frozen=True, eq=False)
class PackedImages:
    """Bit planes of images, in blocks.

    Attributes
    ----------
    planes : uint64 array, shape (blocks, words, 8, images of a block)
        Bit planes; images beyond the last one are zero.
    images, pixels : int
        Images, and pixels of each.
    """

    planes: Words
    images: int
    pixels: int


def prepare(images: npt.NDArray[np.uint8]) -> PackedImages:
    """Split images into packed bit planes.

    Parameters
    ----------
    images : uint8 array, shape (images, pixels)
        Images.

    Returns
    -------
    PackedImages
        The planes; about as large as the images.
    """
    count, pixels = images.shape
    blocks = -(-count // _BLOCK_IMAGES)
    planes = np.zeros((blocks, word_count(pixels), PIXEL_PLANES, _BLOCK_IMAGES), np.uint64)
    for block in range(blocks):
        part = images[block * _BLOCK_IMAGES : (block + 1) * _BLOCK_IMAGES]
        planes[block, :, :, : len(part)] = pack_pixel_planes(part).transpose(2, 1, 0)
    return PackedImages(planes, count, pixels)


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
    """
    sums = _run(network, prepared, threads=threads, keep_all=True)
    return tuple(_by_image(part, prepared.images) for part in sums)


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
    """
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    (z,) = _run(network, prepared, threads=threads, keep_all=False)
    scores = _by_image(z, prepared.images) * output.scale + output.shift
    return np.argmax(scores, axis=1).astype(np.int64, copy=False)


def _by_image(z: npt.NDArray[np.int64], images: int) -> npt.NDArray[np.int64]:
    """Turn shape (blocks, rows, images of a block) into (images, rows)."""
    return z.transpose(0, 2, 1).reshape(-1, z.shape[1])[:images]


def _run(
    network: FoldedNetwork, prepared: PackedImages, *, threads: int, keep_all: bool
) -> list[npt.NDArray[np.int64]]:
    """Pre-activations of all layers or of the last, each (blocks, rows, images of a block)."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if prepared.pixels != network.sizes[0]:
        raise ValueError(
            f"the network reads {network.sizes[0]} pixels, the images have {prepared.pixels}"
        )
    blocks = len(prepared.planes)
    last = len(network.layers) - 1
    kept = range(last + 1) if keep_all else range(last, last + 1)
    sums = {
        index: np.empty((blocks, len(network.layers[index].weights), _BLOCK_IMAGES), np.int64)
        for index in kept
    }

    def work(start: int, stop: int) -> None:
        for block in range(start, stop):
            bits = prepared.planes[block]
            for index, layer in enumerate(network.layers):
                z = sums[index][block] if index in sums else _EMPTY
                if isinstance(layer, HiddenLayer):
                    bits = _hidden_block(
                        bits, layer.weights, layer.columns, layer.threshold, layer.direction, z
                    )
                else:
                    _output_block(bits, layer.weights, layer.columns, z)

    workers = min(threads, blocks)
    if workers <= 1:
        work(0, blocks)
    else:
        edges = [blocks * worker // workers for worker in range(workers + 1)]
        with ThreadPoolExecutor(workers) as pool:
            # list: an error in a worker is raised here
            list(pool.map(work, edges[:-1], edges[1:]))
    return [sums[index] for index in kept]


@intrinsic
def _popcount(typing_context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return numba.types.uint64(numba.types.uint64), generate


@numba.njit(nogil=True, cache=True)
def _dot(bits: Words, row: Words, columns: int, counts: Words, z: npt.NDArray[np.int64]) -> None:
    """Pre-activations of one neuron, ``z`` of shape (images,); ``counts`` is scratch space.

    ``bits`` has the shape (words, planes, images), eight planes for pixels and one for signs.
    """
    words, planes, images = bits.shape
    counts[:] = 0
    if planes == 1:
        for k in range(words):
            word, signs = row[k], bits[k, 0]
            for i in range(images):
                counts[i] += _popcount(signs[i] ^ word)
    else:
        for k in range(words):
            word, p = row[k], bits[k]
            # written out: one pass over the counts for all planes
            for i in range(images):
                counts[i] += (
                    _popcount(p[0, i] ^ word)
                    + (_popcount(p[1, i] ^ word) << np.uint64(1))
                    + (_popcount(p[2, i] ^ word) << np.uint64(2))
                    + (_popcount(p[3, i] ^ word) << np.uint64(3))
                    + (_popcount(p[4, i] ^ word) << np.uint64(4))
                    + (_popcount(p[5, i] ^ word) << np.uint64(5))
                    + (_popcount(p[6, i] ^ word) << np.uint64(6))
                    + (_popcount(p[7, i] ^ word) << np.uint64(7))
                )
    # the planes weigh 1 + 2 + ... + 128 = 255 together
    total = columns * ((1 << planes) - 1)
    for i in range(images):
        z[i] = total - 2 * np.int64(counts[i])


@numba.njit(nogil=True, cache=True)
def _hidden_block(
    bits: Words,
    weights: Words,
    columns: int,
    threshold: npt.NDArray[np.int32],
    direction: npt.NDArray[np.int8],
    z_all: npt.NDArray[np.int64],
) -> Words:
    """Signs of a hidden layer, shape (words, 1, images); fills ``z_all`` unless it is empty."""
    rows, images = len(weights), bits.shape[2]
    signs = np.zeros(((rows + WORD_BITS - 1) // WORD_BITS, 1, images), np.uint64)
    counts = np.empty(images, np.uint64)
    z = np.empty(images, np.int64)
    for r in range(rows):
        _dot(bits, weights[r], columns, counts, z)
        if len(z_all) > 0:
            z_all[r] = z
        word, bit = signs[r // WORD_BITS, 0], np.uint64(r % WORD_BITS)
        for i in range(images):
            word[i] |= np.uint64(direction[r] * z[i] >= threshold[r]) << bit
    return signs


@numba.njit(nogil=True, cache=True)
def _output_block(bits: Words, weights: Words, columns: int, z_all: npt.NDArray[np.int64]) -> None:
    """Pre-activations of the output layer, ``z_all`` of shape (rows, images)."""
    counts = np.empty(bits.shape[2], np.uint64)
    for r in range(len(weights)):
        _dot(bits, weights[r], columns, counts, z_all[r])
