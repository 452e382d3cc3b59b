"""Reference engine: plain PyTorch matrix products in float32, exact because all is integer."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnn.network import PIXEL_LEVELS, FoldedNetwork, HiddenLayer, layer_signs
from bnn.threads import torch_threads

_BLOCK_IMAGES = 2500
_EXACT_FLOAT32 = 2**24


@dataclass(frozen=True, eq=False)
class DenseImages:
    """Images as float32 tensor of shape (images, pixels), encoded as ``2 * pixel - 255``."""

    values: Tensor


def prepare(images: npt.NDArray[np.uint8]) -> DenseImages:
    """Encode images.

    Parameters
    ----------
    images : uint8 array, shape (images, pixels)
        Images.

    Returns
    -------
    DenseImages
        The encoded images.
    """
    return DenseImages(torch.tensor(images).float() * 2.0 - PIXEL_LEVELS)


def pre_activations(
    network: FoldedNetwork, prepared: DenseImages, *, threads: int
) -> tuple[npt.NDArray[np.int64], ...]:
    """Pre-activations of every layer.

    Parameters
    ----------
    network : FoldedNetwork
        Network, with or without flipped weights.
    prepared : DenseImages
        Images from `prepare`.
    threads : int
        CPU threads.

    Returns
    -------
    tuple of int64 array, shape (images, rows)
        One array per layer.
    """
    with torch_threads(threads):
        blocks = list(_sums(network, prepared))
    return tuple(np.concatenate([block[i] for block in blocks]) for i in range(len(blocks[0])))


def predict(
    network: FoldedNetwork, prepared: DenseImages, *, threads: int
) -> npt.NDArray[np.int64]:
    """Answer for every image.

    Parameters
    ----------
    network : FoldedNetwork
        Network, with or without flipped weights.
    prepared : DenseImages
        Images from `prepare`.
    threads : int
        CPU threads.

    Returns
    -------
    int64 array, shape (images,)
        Class with the highest score, the lowest one on a tie.
    """
    output = network.layers[-1]
    assert not isinstance(output, HiddenLayer)
    with torch_threads(threads):
        answers = [
            np.argmax(block[-1] * output.scale + output.shift, axis=1)
            for block in _sums(network, prepared)
        ]
    return np.concatenate(answers).astype(np.int64, copy=False)


def _sums(network: FoldedNetwork, prepared: DenseImages) -> Iterator[list[npt.NDArray[np.int64]]]:
    """Yield the pre-activations of all layers, block of images by block of images."""
    if prepared.values.shape[1] != network.sizes[0]:
        raise ValueError(
            f"the network reads {network.sizes[0]} pixels, the images have "
            f"{prepared.values.shape[1]}"
        )
    bounds = [PIXEL_LEVELS * network.sizes[0], *network.sizes[1:-1]]
    if max(bounds) >= _EXACT_FLOAT32:
        raise ValueError(
            f"pre-activations up to {max(bounds)} are not exact in float32; use the packed engine"
        )
    weights = [torch.from_numpy(layer_signs(layer).astype(np.float32)) for layer in network.layers]
    with torch.inference_mode():
        # at least one block, so that no images give empty arrays of the right shapes
        for start in range(0, max(1, len(prepared.values)), _BLOCK_IMAGES):
            values = prepared.values[start : start + _BLOCK_IMAGES]
            sums = []
            for layer, weight in zip(network.layers, weights, strict=True):
                z = values @ weight.T
                sums.append(z.numpy().astype(np.int64))
                if isinstance(layer, HiddenLayer):
                    direction = torch.from_numpy(layer.direction.astype(np.int32))
                    threshold = torch.from_numpy(layer.threshold.copy())
                    fires = direction * z.to(torch.int32) >= threshold
                    values = torch.where(fires, 1.0, -1.0)
            yield sums
