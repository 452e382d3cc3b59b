"""A folded network: the layers in order, their checks, their bits and their hash.

This is the unit of storage and evaluation. It knows nothing of training and does not need
PyTorch.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.machine.packing import flip_bits
from bnn.networks.folded_layers import (
    ALWAYS,
    NEVER,
    PIXEL_LEVELS,
    ConvLayer,
    HiddenLayer,
    Layer,
    OutputLayer,
    layer_signs,
)

__all__ = [
    "ALWAYS",
    "NEVER",
    "PIXEL_LEVELS",
    "ConvLayer",
    "FoldedNetwork",
    "HiddenLayer",
    "Layer",
    "OutputLayer",
    "check_layer_names",
    "check_positions",
    "flip_weights",
    "layer_signs",
    "network_sha256",
]


@dataclass(frozen=True, eq=False)
class FoldedNetwork:
    """Layers in the order of computation: ``hidden_1``, ``hidden_2``, ..., ``output``.

    Convolutions come before the first fully connected layer.

    Notes
    -----
    The inputs of the first layer are the pixels, encoded as ``2 * pixel - 255``. Before a
    convolution they lie in the order (channel, row, column), as in the image files and in PyTorch.

    The values that a convolution gives lie in the order (row, column, channel). A fully connected
    layer after a convolution has its columns in this order, so folding permutes the weights that
    PyTorch keeps in the order (channel, row, column).
    """

    layers: tuple[Layer, ...]

    def __repr__(self) -> str:
        """What an interactive session prints: how many weights each layer stores."""
        bits = ", ".join(f"{name} {number:,}" for name, number in self.weight_bits.items())
        return f"FoldedNetwork(weight bits: {bits})"

    def __post_init__(self) -> None:
        """Check names, order and that the sizes of the layers fit together."""
        if not self.layers:
            raise ValueError("a folded network needs at least its output layer")
        for index, layer in enumerate(self.layers):
            kinds: tuple[type[Layer], ...] = (HiddenLayer,)
            name = f"hidden_{index + 1}"
            if index == len(self.layers) - 1:
                kinds, name = (OutputLayer,), "output"
            elif index == 0 or isinstance(self.layers[index - 1], ConvLayer):
                kinds = (ConvLayer, HiddenLayer)
            if not isinstance(layer, kinds) or layer.name != name:
                raise ValueError(
                    f"layer {index} must be the {' or '.join(kind.__name__ for kind in kinds)} "
                    f"{name!r}, got the {type(layer).__name__} {layer.name!r}"
                )
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if isinstance(before, ConvLayer) and isinstance(after, ConvLayer):
                height, width, channels = before.output_shape
                if (after.channels, after.height, after.width) != (channels, height, width):
                    raise ValueError(
                        f"layer {after.name!r} reads {after.channels} channels of {after.height} "
                        f"x {after.width}, but {before.name!r} gives {channels} channels of "
                        f"{height} x {width}"
                    )
            elif before.outputs != after.inputs:
                raise ValueError(
                    f"layer {after.name!r} has {after.inputs} inputs, but {before.name!r} has "
                    f"{before.outputs} outputs"
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels, and values that each layer gives per image, such as (784, 1024, 1024, 10)."""
        return (self.layers[0].inputs, *(layer.outputs for layer in self.layers))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers in order."""
        return tuple(layer.name for layer in self.layers)

    @property
    def weight_bits(self) -> dict[str, int]:
        """Weight bits of each layer, padding not counted."""
        return {layer.name: len(layer.weights) * layer.columns for layer in self.layers}


def flip_weights(
    network: FoldedNetwork, positions: Mapping[str, npt.NDArray[np.int64]]
) -> FoldedNetwork:
    """Flip weight bits of a network.

    Parameters
    ----------
    network : FoldedNetwork
        Network to start from; not changed.
    positions : mapping of layer name to int64 array, shape (flips,)
        Bits to flip, counted row by row (``row * columns + column``), strictly increasing. A layer
        that is not named keeps its weights.

    Returns
    -------
    FoldedNetwork
        Same thresholds and affine output, flipped weights.

    Raises
    ------
    ValueError
        Unknown layer name, or positions out of range, out of order or repeated.
    """
    check_layer_names(network, positions, argument="positions")
    layers: list[Layer] = []
    for layer in network.layers:
        if layer.name in positions:
            weights = flip_bits(layer.weights, positions[layer.name], columns=layer.columns)
            layers.append(dataclasses.replace(layer, weights=weights))
        else:
            layers.append(layer)
    return FoldedNetwork(tuple(layers))


def check_layer_names(network: FoldedNetwork, names: object, *, argument: str) -> None:
    """Raise ValueError if `names` holds a name that no layer of `network` has."""
    unknown = sorted(set(names) - set(network.layer_names))  # type: ignore[call-overload]
    if unknown:
        raise ValueError(
            f"{argument} names unknown layers {', '.join(map(repr, unknown))}; this network has "
            f"{', '.join(map(repr, network.layer_names))}"
        )


def check_positions(
    network: FoldedNetwork, positions: Mapping[str, npt.NDArray[np.int64]], *, argument: str
) -> None:
    """Raise ValueError unless `positions` are bits of layers of `network`, in order, each once.

    Compiled code does not check bounds, so what comes from outside is checked here.
    """
    check_layer_names(network, positions, argument=argument)
    for name, bits in network.weight_bits.items():
        if name not in positions:
            continue
        places = positions[name]
        where = f"{argument}[{name!r}]"
        if not isinstance(places, np.ndarray) or places.dtype != np.int64 or places.ndim != 1:
            raise ValueError(f"{where} must be an int64 array with one axis, got {places!r}")
        if not len(places):
            continue
        wrong = np.flatnonzero((places < 0) | (places >= bits))
        if wrong.size:
            raise ValueError(
                f"{where} must lie in 0..{bits - 1}, got {places[wrong[0]]} at index {wrong[0]}"
            )
        late = np.flatnonzero(np.diff(places) < 1)
        if late.size:
            index = int(late[0]) + 1
            raise ValueError(
                f"{where} must be strictly increasing, got {places[index]} after "
                f"{places[index - 1]} at index {index}; a bit flipped twice is no error"
            )


def network_sha256(network: FoldedNetwork) -> str:
    """SHA-256 over names, sizes and all numbers of a network, independent of the file format."""
    digest = hashlib.sha256()
    for layer in network.layers:
        digest.update(f"{layer.name} {layer.columns}".encode())
        for field in dataclasses.fields(layer):
            value = getattr(layer, field.name)
            if isinstance(value, np.ndarray):
                little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
                digest.update(f"{field.name} {value.dtype.name} {value.shape}".encode())
                digest.update(little.tobytes())
            elif field.name not in ("name", "columns"):
                digest.update(f"{field.name} {value}".encode())
    return digest.hexdigest()
