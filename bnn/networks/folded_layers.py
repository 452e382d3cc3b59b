"""Layers of a folded network: packed weights with integer thresholds or an affine output."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.machine.packing import Words, padding_is_zero, unpack_signs

PIXEL_LEVELS = 255
"""Largest magnitude of an encoded pixel, ``2 * pixel - 255``."""

ALWAYS = np.iinfo(np.int32).min
"""Threshold of a hidden neuron that fires on every input."""

NEVER = np.iinfo(np.int32).max
"""Threshold of a hidden neuron that never fires."""

_POOLS = (1, 2)


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
        _check_thresholds(self)
        _freeze(self, "weights", "threshold", "direction")

    @property
    def inputs(self) -> int:
        """Values that the layer reads per image."""
        return self.columns

    @property
    def outputs(self) -> int:
        """Values that the layer gives per image."""
        return len(self.weights)


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvLayer:
    """Binary convolution, maximum pooling and one integer threshold per output channel.

    Stride 1; zero padding ``kernel // 2`` in the encoded domain, so that a tap outside the map
    contributes exactly 0 to the pre-activation, also where the inputs are encoded pixels. The
    pooling takes the maximum of the pre-activations, before batch norm and sign: a neuron gives +1
    where ``direction * max(z) >= threshold``, else -1.

    Attributes
    ----------
    name : str
        ``hidden_1``, ``hidden_2``, ..., counted together with the fully connected layers.
    channels, height, width : int
        Shape of the input map.
    kernel : int
        Rows and columns of the kernel, odd.
    pool : int
        1 for no pooling, 2 for blocks of 2 x 2 with stride 2; divides `height` and `width`.
    weights : uint64 array, shape (output channels, words)
        Packed signs, padding zero. The weight of a tap is the column
        ``(kernel_row * kernel + kernel_column) * channels + channel``.
    threshold : int32 array, shape (output channels,)
        Smallest ``direction * max(z)`` that fires; `ALWAYS` and `NEVER` mark constant neurons.
    direction : int8 array, shape (output channels,)
        +1, or -1 where the batch norm had a negative scale.
    """

    name: str
    channels: int
    height: int
    width: int
    kernel: int = 3
    pool: int = 1
    weights: Words
    threshold: npt.NDArray[np.int32]
    direction: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        """Check numbers, types, shapes and padding."""
        for part in ("channels", "height", "width", "kernel", "pool"):
            value = getattr(self, part)
            # a bool is an int to Python, and 3.0 would be another network to JSON and the hash
            if type(value) is not int or value < 1:
                raise ValueError(
                    f"layer {self.name!r}: {part} must be an int of at least 1, got {value!r}"
                )
        if self.kernel % 2 == 0:
            raise ValueError(
                f"layer {self.name!r}: kernel must be odd, so that the padding is the same on "
                f"both sides, got {self.kernel}"
            )
        if self.pool not in _POOLS:
            raise ValueError(f"layer {self.name!r}: pool must be 1 or 2, got {self.pool}")
        if self.height % self.pool or self.width % self.pool:
            raise ValueError(
                f"layer {self.name!r}: a map of {self.height} x {self.width} cannot be pooled in "
                f"blocks of {self.pool} x {self.pool}; pool where height and width are even"
            )
        _check_weights(self.name, self.weights, self.columns)
        _check_thresholds(self)
        _freeze(self, "weights", "threshold", "direction")

    @property
    def columns(self) -> int:
        """Weights of one output channel."""
        return self.kernel * self.kernel * self.channels

    @property
    def inputs(self) -> int:
        """Values that the layer reads per image."""
        return self.channels * self.height * self.width

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the output map, after the pooling."""
        return self.height // self.pool, self.width // self.pool, len(self.weights)

    @property
    def outputs(self) -> int:
        """Values that the layer gives per image, after the pooling."""
        height, width, channels = self.output_shape
        return height * width * channels


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

    @property
    def inputs(self) -> int:
        """Values that the layer reads per image."""
        return self.columns

    @property
    def outputs(self) -> int:
        """Classes."""
        return len(self.weights)


Layer = HiddenLayer | ConvLayer | OutputLayer
"""Any layer of a folded network."""


def layer_signs(layer: Layer) -> npt.NDArray[np.int8]:
    """Weights of a layer as +1 and -1, int8 array of shape (rows, columns)."""
    return unpack_signs(layer.weights, columns=layer.columns)


def _check_weights(name: str, weights: Words, columns: int) -> None:
    # a bool is an int to Python, and 3.0 would be another network to JSON and the hash
    if type(columns) is not int or columns < 1:
        raise ValueError(f"layer {name!r}: columns must be an int of at least 1, got {columns!r}")
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


def _check_thresholds(layer: HiddenLayer | ConvLayer) -> None:
    rows = len(layer.weights)
    _check_vector(layer.name, "threshold", layer.threshold, rows, np.dtype(np.int32))
    _check_vector(layer.name, "direction", layer.direction, rows, np.dtype(np.int8))
    bad = np.flatnonzero(np.abs(layer.direction) != 1)
    if bad.size:
        raise ValueError(
            f"layer {layer.name!r}: direction must be +1 or -1, got "
            f"{layer.direction[bad[0]]} at index {bad[0]}"
        )


def _check_vector(
    name: str, part: str, values: npt.NDArray[np.generic], rows: int, dtype: np.dtype[np.generic]
) -> None:
    if values.dtype != dtype or values.shape != (rows,):
        raise ValueError(
            f"layer {name!r}: {part} must be {dtype} with the shape ({rows},), got "
            f"{values.dtype} with the shape {values.shape}"
        )


def _freeze(layer: Layer, *parts: str) -> None:
    # views: the arrays of the caller stay writeable for the caller
    for part in parts:
        view = getattr(layer, part).view()
        view.flags.writeable = False
        object.__setattr__(layer, part, view)
