"""Reading a chip with transient errors: every image meets weights misread in its own way."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnn.engines.dense import dense
from bnn.errors.chips import draw_misread
from bnn.errors.errors import Errors
from bnn.machine.threads import torch_threads
from bnn.networks.network import FoldedNetwork, Layer, OutputLayer

Misreads = Callable[[int], Mapping[str, npt.NDArray[np.int64]]]
"""Gives the bits that the read of an image gets wrong, by layer; images are numbered from 0."""


def misreads_of(
    network: FoldedNetwork, errors: Errors, *, seed: int, chip: int, first_read: int = 0
) -> Misreads:
    """Transient errors of a chip, one read for each image.

    Parameters
    ----------
    network : FoldedNetwork
        Network; only the sizes of its layers matter.
    errors : Errors
        Its transient part is drawn.
    seed, chip : int
        As of `bnn.draw_misread`.
    first_read : int
        Number of the read of image 0. Reads for calibration and for use must not overlap.

    Returns
    -------
    callable
        Takes the number of an image, gives the misread bits of each layer.
    """

    def misread(image: int) -> dict[str, npt.NDArray[np.int64]]:
        return draw_misread(network, errors, seed=seed, chip=chip, read=first_read + image)

    return misread


def read_sums(
    layer: Layer, weights: Tensor, values: Tensor, misreads: Misreads | None, first: int = 0
) -> Tensor:
    """Pre-activations of a layer, after its pooling, each image read with its own errors.

    Parameters
    ----------
    layer : Layer
        Layer.
    weights : float32 tensor
        Its weights as of `dense.layer_weights`; the same after the call.
    values : float32 tensor, shape (images, ...)
        Inputs of the layer.
    misreads : Misreads or None
        None: every read is right.
    first : int
        Number of the first image of `values`.

    Returns
    -------
    float32 tensor, shape (images, ...)
        Exact sums.
    """
    if misreads is None:
        return dense.layer_sums(layer, weights, values)
    # rows in memory as the bits are counted; a kernel has its channel last there
    flat = (weights if weights.ndim == 2 else weights.movedim(1, 3)).view(-1)
    found = []
    for image in range(len(values)):
        wrong = torch.from_numpy(misreads(first + image)[layer.name]).to(flat.device)
        flat[wrong] = -flat[wrong]
        found.append(dense.layer_sums(layer, weights, values[image : image + 1]))
        flat[wrong] = -flat[wrong]
    return torch.cat(found)


def read_answers(
    network: FoldedNetwork, images: npt.NDArray[np.uint8], misreads: Misreads, *, threads: int = 1
) -> npt.NDArray[np.int64]:
    """Answers of a chip whose reads have transient errors.

    Parameters
    ----------
    network : FoldedNetwork
        The chip: weights with its persistent errors, and its thresholds.
    images : uint8 array, shape (images, pixels)
        Images; every weight is read once for each.
    misreads : Misreads
        From `misreads_of`.
    threads : int
        CPU threads.

    Returns
    -------
    int64 array, shape (images,)
        Class with the highest score, the lowest one on a tie.

    Notes
    -----
    The cost is that of one pass over all weights for each image, some milliseconds where there are
    a million weights.
    """
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    values = dense.prepare(images).values
    with torch_threads(threads), torch.inference_mode():
        for layer in network.layers:
            weights = dense.layer_weights(layer, values.device)
            z = read_sums(layer, weights, values, misreads)
            crossing = dense.crossing_of(layer, values.device)
            if crossing is not None:
                values = dense.fire_(z, *crossing)
    return np.argmax(z.numpy().astype(np.int64) * output.scale + output.shift, axis=1)
