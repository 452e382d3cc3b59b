"""Arrays that start where a line of the cache starts, so that no vector lies across two lines."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

LINE_BYTES = 64


def aligned_empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Array without values, shape `shape`, that starts at a multiple of 64 bytes."""
    kind = np.dtype(dtype)
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    room = np.empty(size * kind.itemsize + LINE_BYTES, np.uint8)
    start = -room.ctypes.data % LINE_BYTES
    return room[start : start + size * kind.itemsize].view(kind).reshape(shape)


def aligned_zeros(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Array of zeros that starts at a multiple of 64 bytes."""
    found = aligned_empty(shape, dtype)
    found[...] = 0
    return found


def aligned_copy(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Copy of an array that starts at a multiple of 64 bytes."""
    found = aligned_empty(values.shape, values.dtype)
    found[...] = values
    return found
