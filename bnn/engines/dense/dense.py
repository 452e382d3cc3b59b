"""Reference engine: plain PyTorch in float32, exact because all numbers are integers.

Convolutions and matrix products go to PyTorch as they are, on the CPU or on a GPU. Maps lie in
memory with the channel last: PyTorch computes them faster so, and it is the order in which the
weights of a `FoldedNetwork` expect them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnn.machine.exact_float import EXACT_FLOAT32, exact_conv2d
from bnn.machine.threads import torch_threads
from bnn.networks.network import (
    PIXEL_LEVELS,
    ConvLayer,
    FoldedNetwork,
    Layer,
    OutputLayer,
    layer_signs,
)

# Values that the widest layer reads and gives in one block: 16 MB in the cache of a processor, 1 GB
# to keep a GPU busy.
_BLOCK_VALUES = {"cpu": 2**22, "cuda": 2**28}


@dataclass(frozen=True, eq=False)
class DenseImages:
    """Images as float32 tensor of shape (images, pixels), encoded as ``2 * pixel - 255``.

    The tensor lies on the device that computes.
    """

    values: Tensor


def prepare(images: npt.NDArray[np.uint8], *, device: str = "cpu") -> DenseImages:
    """Encode images.

    Parameters
    ----------
    images : uint8 array, shape (images, pixels)
        Images.
    device : str
        ``cpu``, or ``cuda`` where PyTorch has a GPU; everything that follows is computed there.

    Returns
    -------
    DenseImages
        The encoded images.

    Raises
    ------
    ValueError
        The device is unknown or not there.
    """
    if device not in _BLOCK_VALUES:
        raise ValueError(f"unknown device {device!r}; known: {', '.join(_BLOCK_VALUES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda': PyTorch finds no GPU that it can use; use 'cpu'")
    # the bytes travel to the device, not the floats
    values = torch.tensor(images, device=device).float()
    return DenseImages(values.mul_(2.0).sub_(PIXEL_LEVELS))


def pre_activations(
    network: FoldedNetwork, prepared: DenseImages, *, threads: int
) -> tuple[npt.NDArray[np.int64], ...]:
    """Pre-activations of every layer, those of a convolution after its pooling.

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
    tuple of int64 array, shape (images, outputs)
        One array per layer, that of a convolution in the order (row, column, channel).

    Raises
    ------
    ValueError
        The images do not fit, or a layer is so wide that float32 could round.
    """
    with torch_threads(threads):
        blocks = list(_sums(network, prepared, every=True))
    return tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True))


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

    Raises
    ------
    ValueError
        The images do not fit, or a layer is so wide that float32 could round.
    """
    output = network.layers[-1]
    assert isinstance(output, OutputLayer)
    with torch_threads(threads):
        # NumPy: PyTorch leaves open which class it gives on a tie
        answers = [
            np.argmax(z * output.scale + output.shift, axis=1)
            for (z,) in _sums(network, prepared, every=False)
        ]
    return np.concatenate(answers).astype(np.int64, copy=False)


def _sums(
    network: FoldedNetwork, prepared: DenseImages, *, every: bool
) -> Iterator[list[npt.NDArray[np.int64]]]:
    """Yield pre-activations of every layer or of the last, block of images by block of images."""
    images, pixels = prepared.values.shape
    if pixels != network.sizes[0]:
        raise ValueError(f"the network reads {network.sizes[0]} pixels, the images have {pixels}")
    bound = max(
        layer.columns * (PIXEL_LEVELS if index == 0 else 1)
        for index, layer in enumerate(network.layers)
    )
    if bound >= EXACT_FLOAT32:
        raise ValueError(
            f"pre-activations up to {bound} are not exact in float32; use the packed engine"
        )
    device = prepared.values.device
    block = max(1, _BLOCK_VALUES[device.type] // max(map(_held_values, network.layers)))
    with torch.inference_mode():
        weights = [layer_weights(layer, device) for layer in network.layers]
        crossings = [crossing_of(layer, device) for layer in network.layers]
        # at least one block, so that no images give empty arrays of the right shapes
        for start in range(0, max(1, images), block):
            values = prepared.values[start : start + block]
            kept = []
            for layer, weight, crossing in zip(network.layers, weights, crossings, strict=True):
                z = layer_sums(layer, weight, values)
                if every or crossing is None:
                    kept.append(_rows(z).cpu().numpy().astype(np.int64))
                if crossing is not None:
                    values = fire_(z, *crossing)
            yield kept


def _held_values(layer: Layer) -> int:
    """Values that a layer reads and gives per image, before its pooling."""
    pooled = layer.pool**2 if isinstance(layer, ConvLayer) else 1
    return layer.inputs + layer.outputs * pooled


def layer_weights(layer: Layer, device: torch.device) -> Tensor:
    """Signs as float32, shape (rows, columns) or (out, in, kernel, kernel)."""
    signs = torch.from_numpy(layer_signs(layer)).to(device)
    if isinstance(layer, ConvLayer):
        # a view: the channel stays last in memory
        signs = signs.unflatten(1, (layer.kernel, layer.kernel, layer.channels)).movedim(3, 1)
    return signs.float()


def crossing_of(layer: Layer, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Value and direction in which the neurons of a hidden layer change their sign, both float32.

    A neuron gives `direction` from the value on and ``-direction`` below it: for a direction of -1,
    ``-z >= threshold`` is the opposite of ``z >= 1 - threshold``, since z is an integer. Float32
    holds values up to 2**24 exactly and rounds those beyond to 2**24 at least, which no
    pre-activation reaches, so the comparison is exact for every threshold.
    """
    if isinstance(layer, OutputLayer):
        return None
    upward = layer.direction > 0
    value = np.where(upward, layer.threshold, 1 - layer.threshold.astype(np.int64))
    shape = (-1, 1, 1) if isinstance(layer, ConvLayer) else (-1,)
    found, direction = (
        torch.from_numpy(part.astype(np.float32)).to(device).reshape(shape)
        for part in (value, layer.direction)
    )
    return found, direction


def layer_sums(layer: Layer, weight: Tensor, values: Tensor) -> Tensor:
    """Pre-activations of one layer, after the pooling, as a new tensor."""
    if not isinstance(layer, ConvLayer):
        return _rows(values) @ weight.T
    maps = values.reshape(len(values), layer.channels, layer.height, layer.width)
    z = exact_conv2d(maps.contiguous(memory_format=torch.channels_last), weight)
    return z if layer.pool == 1 else torch.nn.functional.max_pool2d(z, layer.pool)


def fire_(z: Tensor, value: Tensor, direction: Tensor) -> Tensor:
    """Turn pre-activations into +1 and -1, in their place."""
    return torch.addcmul(-direction, z.ge_(value), 2 * direction, out=z)


def _rows(values: Tensor) -> Tensor:
    """Values of each image in one row, maps in the order (row, column, channel)."""
    return values if values.ndim == 2 else values.permute(0, 2, 3, 1).flatten(1)
