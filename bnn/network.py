"""A folded network: packed weights, integer thresholds and the affine output layer.

This is the unit of storage and evaluation. It knows nothing of training and does not need
PyTorch.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.packing import Words, flip_bits, padding_is_zero, unpack_signs

PIXEL_LEVELS = 255
"""Largest magnitude of an encoded pixel, ``2 * pixel - 255``."""

ALWAYS = np.iinfo(np.int32).min
"""Threshold of a hidden neuron that fires on every input."""

NEVER = np.iinfo(np.int32).max
"""Threshold of a hidden neuron that never fires."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HiddenLayer:
    """Binary weights and one integer threshold per neuron.

    A neuron with pre-activation ``z`` gives +1 where ``direction * z >= threshold``, else -1.

    Attributes
    ----------
    name : str
        ``hidden_1``, ``hidden_2``, ...
    columns : int
        Inputs of the layer.
    weights : uint64 array, shape (rows, words)
        Packed signs, padding zero.
    threshold : int32 array, shape (rows,)
        Smallest ``direction * z`` that fires; `ALWAYS` and `NEVER` mark constant neurons.
    direction : int8 array, shape (rows,)
        +1, or -1 where the batch norm had a negative scale.
    """

    name: str
    columns: int
    weights: Words
    threshold: npt.NDArray[np.int32]
    direction: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        """Check types, shapes and padding."""
        _check_weights(self.name, self.weights, self.columns)
        rows = len(self.weights)
        _check_vector(self.name, "threshold", self.threshold, rows, np.dtype(np.int32))
        _check_vector(self.name, "direction", self.direction, rows, np.dtype(np.int8))
        bad = np.flatnonzero(np.abs(self.direction) != 1)
        if bad.size:
            raise ValueError(
                f"layer {self.name!r}: direction must be +1 or -1, got "
                f"{self.direction[bad[0]]} at index {bad[0]}"
            )
        _freeze(self, "weights", "threshold", "direction")


@dataclass(frozen=True, eq=False, kw_only=True)
class OutputLayer:
    """Binary weights and an affine map to the scores of the classes.

    The score of class ``r`` is ``z[r] * scale[r] + shift[r]`` in float64; the answer is the class
    with the highest score, the lowest one on a tie.

    Attributes
    ----------
    name : str
        ``output``.
    columns : int
        Inputs of the layer.
    weights : uint64 array, shape (rows, words)
        Packed signs, padding zero.
    scale, shift : float64 array, shape (rows,)
        Affine map of the pre-activations, finite.
    """

    name: str
    columns: int
    weights: Words
    scale: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check types, shapes, padding and that the affine map is finite."""
        _check_weights(self.name, self.weights, self.columns)
        rows = len(self.weights)
        for part in ("scale", "shift"):
            values = getattr(self, part)
            _check_vector(self.name, part, values, rows, np.dtype(np.float64))
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                raise ValueError(
                    f"layer {self.name!r}: {part} must be finite, got {values[bad[0]]} at index "
                    f"{bad[0]}"
                )
        _freeze(self, "weights", "scale", "shift")


@dataclass(frozen=True, eq=False)
class FoldedNetwork:
    """Layers in the order of computation: ``hidden_1``, ``hidden_2``, ..., ``output``.

    The inputs of the first layer are the pixels, encoded as ``2 * pixel - 255``.
    """

    layers: tuple[HiddenLayer | OutputLayer, ...]

    def __post_init__(self) -> None:
        """Check names, order and that the sizes of the layers fit together."""
        if not self.layers:
            raise ValueError("a folded network needs at least its output layer")
        for index, layer in enumerate(self.layers):
            last = index == len(self.layers) - 1
            kind, name = (OutputLayer, "output") if last else (HiddenLayer, f"hidden_{index + 1}")
            if not isinstance(layer, kind) or layer.name != name:
                raise ValueError(
                    f"layer {index} must be the {kind.__name__} {name!r}, got the "
                    f"{type(layer).__name__} {layer.name!r}"
                )
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if len(before.weights) != after.columns:
                raise ValueError(
                    f"layer {after.name!r} has {after.columns} inputs, but {before.name!r} has "
                    f"{len(before.weights)} outputs"
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs of the network and outputs of each layer, such as (784, 1024, 1024, 10)."""
        return (self.layers[0].columns, *(len(layer.weights) for layer in self.layers))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers in order."""
        return tuple(layer.name for layer in self.layers)

    @property
    def weight_bits(self) -> dict[str, int]:
        """Weight bits of each layer, padding not counted."""
        return {layer.name: len(layer.weights) * layer.columns for layer in self.layers}


def layer_signs(layer: HiddenLayer | OutputLayer) -> npt.NDArray[np.int8]:
    """Weights of a layer as +1 and -1, int8 array of shape (rows, columns)."""
    return unpack_signs(layer.weights, columns=layer.columns)


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
    layers = []
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
    return digest.hexdigest()


def _check_weights(name: str, weights: Words, columns: int) -> None:
    if columns < 1:
        raise ValueError(f"layer {name!r}: columns must be at least 1, got {columns}")
    if weights.dtype != np.uint64:
        raise ValueError(f"layer {name!r}: weights must be uint64, got {weights.dtype}")
    try:
        clean = padding_is_zero(weights, columns=columns)
    except ValueError as error:
        raise ValueError(f"layer {name!r}: {error}") from None
    if not clean:
        raise ValueError(f"layer {name!r}: bits beyond column {columns - 1} must be zero")
    if len(weights) < 1:
        raise ValueError(f"layer {name!r}: weights must have at least one row")


def _check_vector(
    name: str, part: str, values: npt.NDArray[np.generic], rows: int, dtype: np.dtype[np.generic]
) -> None:
    if values.dtype != dtype or values.shape != (rows,):
        raise ValueError(
            f"layer {name!r}: {part} must be {dtype} with the shape ({rows},), got "
            f"{values.dtype} with the shape {values.shape}"
        )


def _freeze(layer: HiddenLayer | OutputLayer, *parts: str) -> None:
    # views: the arrays of the caller stay writeable for the caller
    for part in parts:
        view = getattr(layer, part).view()
        view.flags.writeable = False
        object.__setattr__(layer, part, view)
