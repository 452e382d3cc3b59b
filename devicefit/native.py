"""Densities that a sampler calls as machine code, without Python between.

A chain that calls Python takes turns with the other chains, so that two cores sample no faster
than one. Here a density is a C function and a table of numbers and addresses that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from devicefit.numerics.compiled import njit
from devicefit.programming import FloatArray

_DOUBLES = types.CPointer(types.double)
DENSITY = types.int64(types.uint64, _DOUBLES, _DOUBLES, _DOUBLES, types.voidptr)
"""C type of a density: length, place, gradient, value, table; 0 if all of it is finite."""

NOT_FINITE = 3


@dataclass(frozen=True)
class Native:
    """A density as machine code.

    Parameters
    ----------
    function : numba C callback of type `DENSITY`
        What to call.
    table : int64 array
        What it reads.
    kept : tuple of arrays
        Arrays whose addresses are in the table.
    """

    function: Any
    table: np.ndarray
    kept: tuple[np.ndarray, ...]


class NativeDensity(Protocol):
    """A log density with its gradient, from Python and as machine code."""

    def __call__(self, z: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        ...

    def native(self, centre: FloatArray, root: FloatArray) -> Native:
        """The same at ``centre + root @ w``, as a function of w."""
        ...


@intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    """Void pointer of an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@njit
def floats(address, n):  # type: ignore[no-untyped-def]
    """Float array, shape (n,), at an address."""
    return numba.carray(_pointer(address), (n,), dtype=np.float64)


@njit
def integers(address, n):  # type: ignore[no-untyped-def]
    """Int64 array, shape (n,), at an address."""
    return numba.carray(_pointer(address), (n,), dtype=np.int64)


def place(array: np.ndarray) -> tuple[int, int]:
    """Address and number of elements of a contiguous array of floats or int64."""
    if not array.flags["C_CONTIGUOUS"] or array.dtype not in (np.float64, np.int64):
        raise TypeError(f"array of {array.dtype}; give a contiguous one of float64 or int64")
    return array.ctypes.data, array.size


@njit
def out_of_scale(w, centre, root):  # type: ignore[no-untyped-def]
    """``centre + root @ w``; loops, since a library would start threads for it."""
    n = len(w)
    z = np.empty(n)
    for i in range(n):
        total = centre[i]
        for j in range(n):
            total += root[i * n + j] * w[j]
        z[i] = total
    return z


@njit
def answer(value, gradient, root, slot_value, slot_gradient):  # type: ignore[no-untyped-def]
    """Hand a value and its gradient by z over as one by w; the status that the sampler expects."""
    n = len(gradient)
    if not np.isfinite(value):
        return NOT_FINITE
    for j in range(n):
        slot_gradient[j] = 0.0
    for i in range(n):
        if not np.isfinite(gradient[i]):
            return NOT_FINITE
        for j in range(n):
            slot_gradient[j] += root[i * n + j] * gradient[i]
    slot_value[0] = value
    return 0
