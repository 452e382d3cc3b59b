"""Arrays that start where a cache line does: vectors then lie in one line, not in two."""

from typing import Any

import numpy as np
import numpy.typing as npt

_LINE_BYTES = 64


def aligned_zeros(items: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Flat array of zeros at the start of a cache line."""
    size = items * np.dtype(dtype).itemsize
    room = np.zeros(size + _LINE_BYTES, np.uint8)
    start = -room.ctypes.data % _LINE_BYTES
    return room[start : start + size].view(dtype)


def aligned(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Flat copy of an array at the start of a cache line."""
    copy = aligned_zeros(values.size, values.dtype)
    copy[:] = values.reshape(-1)
    return copy
