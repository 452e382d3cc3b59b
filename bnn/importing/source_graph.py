"""A foreign network as the steps that it computed on some images, each of which can be repeated.

Importers of different formats give this; `bnn.importing.source_folding` turns it into a folded
network. Only steps that depend on the images are kept: whatever a source does to its weights before
it uses them is done by then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Key = int
"""Names a value that depends on the images."""

Values = dict[Key, Any]
"""Values in the format of the source."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Weighted:
    """What a step with weights multiplies, and what it gave.

    Attributes
    ----------
    weights : float array, shape (rows, columns) or (rows, channels, kernel, kernel)
        Weights as the source used them.
    bias : float array, shape (rows,)
        Added to each row.
    reads, gives : float array, shape (images, columns) or (images, channels, height, width)
        Inputs and outputs on the images that were computed.
    problem : str
        Why the step cannot be represented, or nothing.
    """

    weights: npt.NDArray[Any]
    bias: npt.NDArray[Any]
    reads: npt.NDArray[Any]
    gives: npt.NDArray[Any]
    problem: str = ""


def convolution_problem(
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    transposed: bool = False,
) -> str:
    """Why a folded network cannot represent a convolution, or nothing.

    Parameters
    ----------
    kernel : sequence of int
        Size of the kernel along each axis of the map.
    strides, dilations : sequence of int
        One for each axis, or one for all.
    pads : sequence of int
        Zeros before each axis, then those behind each axis.
    groups : int
        Groups of channels.
    transposed : bool
        Whether it is the transpose of a convolution.
    """
    kernel, pads = list(kernel), list(pads)
    if (
        len(kernel) == 2
        and kernel[0] == kernel[1]
        and kernel[0] % 2 == 1
        and pads == [size // 2 for size in kernel] * 2
        and set(strides) == {1}
        and set(dilations) == {1}
        and groups == 1
        and not transposed
    ):
        return ""
    return (
        "a convolution must have an odd square kernel, stride 1, zero padding of half the kernel "
        f"and no groups or dilation, this one has the kernel {kernel}, strides {list(strides)}, "
        f"padding {pads}, dilations {list(dilations)}, groups {groups}"
        + (", and is transposed" if transposed else "")
    )


def pooling(
    size: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> tuple[int, int, int]:
    """Size, stride and padding of a maximum pooling; -1 for one that differs between the axes."""
    a, b, c = (part[0] if len(set(part)) == 1 else -1 for part in (size, stride, padding))
    return a, b, c


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """One operation of a source.

    Attributes
    ----------
    layer : str
        Name of the layer it belongs to, for people.
    operation : str
        Name of the operation, for people.
    usual : bool
        Whether binarized networks have it between their layers: it is not among the suspects when
        such a part cannot be represented.
    reads, writes : tuple of int
        Values that it takes and gives.
    run : callable
        Takes the values so far and adds those that it gives.
    weighted : Weighted, optional
        For linear layers and convolutions.
    pool : tuple of int, optional
        Size, stride and padding of a maximum pooling.
    """

    layer: str
    operation: str
    usual: bool
    reads: tuple[Key, ...]
    writes: tuple[Key, ...]
    run: Callable[[Values], None]
    weighted: Weighted | None = None
    pool: tuple[int, int, int] | None = None

    @property
    def called(self) -> str:
        """Layer and operation in words."""
        return f"{self.layer!r} ({self.operation})" if self.layer else self.operation


@dataclass(frozen=True, eq=False, kw_only=True)
class SourceGraph:
    """A source on the images that it was computed for.

    Attributes
    ----------
    steps : tuple of Step
        In the order of computation.
    start, end : int
        The images as the source takes them, and its scores.
    to_source, from_source : callable
        Between NumPy arrays and values of the source.
    """

    steps: tuple[Step, ...]
    start: Key
    end: Key
    to_source: Callable[[npt.NDArray[Any]], Any]
    from_source: Callable[[Any], npt.NDArray[Any]]

    def repeat(
        self, steps: tuple[Step, ...], given: Key, value: npt.NDArray[Any], wanted: Key
    ) -> npt.NDArray[Any]:
        """Value `wanted` after some steps that begin with another value than before.

        The shape and type of `value` are those of the value that was there.
        """
        values = {given: self.to_source(value)}
        for step in steps:
            step.run(values)
        return self.from_source(values[wanted])


@dataclass(frozen=True)
class PixelEncoding:
    """How a source wants its images: ``pixel * scale + offset``, float32.

    Attributes
    ----------
    shape : tuple of int
        Shape of one image, such as (784,), (1, 28, 28) or, with the channel last, (32, 32, 3).
    scale, offset : float or tuple of float
        For pixels 0..255; one value, or one for each channel.
    channels_last : bool
        The channel is the last axis; the pixels of an image always come as (channel, row, column).

    Notes
    -----
    ``ToTensor()`` is the scale 1/255; ``Normalize(mean, std)`` after it the scale
    ``1 / (255 * std)`` and the offset ``-mean / std``.
    """

    shape: tuple[int, ...]
    scale: float | tuple[float, ...] = 1 / 255
    offset: float | tuple[float, ...] = 0.0
    channels_last: bool = False

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Encode images, uint8 array of shape (images, pixels).

        Returns
        -------
        float32 array, shape (images, *shape)

        Raises
        ------
        ValueError
            The shape does not hold the pixels.
        """
        count = len(images)
        if images[0].size != int(np.prod(self.shape)):
            raise ValueError(
                f"shape {self.shape} does not hold the {images[0].size} pixels of an image"
            )
        scale, offset = (np.array(part, np.float32) for part in (self.scale, self.offset))
        if self.channels_last:
            height, width, channels = self.shape
            maps = images.reshape(count, channels, height, width).transpose(0, 2, 3, 1)
        else:
            maps = images.reshape(count, *self.shape)
            if len(self.shape) == 3:
                scale, offset = (part.reshape(-1, 1, 1) for part in (scale, offset))
        encoded: npt.NDArray[np.float32] = maps.astype(np.float32) * scale + offset
        return encoded
