"""Densities as C functions, which a sampler calls without Python.

Chains that call Python take turns, so that two cores sample no faster than one. Here a density is
a C function and a table of the addresses of its data.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import pytensor
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic
from pytensor.link.numba.cache import compile_numba_function_src

from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.compiled import digest, njit
from devicefit.sampling.graph_code import GraphCode

_DOUBLES = types.CPointer(types.double)
DENSITY = types.int64(types.uint64, _DOUBLES, _DOUBLES, _DOUBLES, types.voidptr)
"""C type of a density: length, place, its gradient, its value, table; 0 if all of it is finite."""

COPY = types.int64(types.uint64, types.uint64, _DOUBLES, _DOUBLES, types.voidptr)
"""C type of what a sampler keeps of a place: lengths of both, place, what is kept, table."""

RAISED, NOT_FINITE = 1, 3
"""What a density gives back where it cannot be computed; a sampler turns round there."""

_CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, *[ctypes.c_void_p] * 4)


@dataclass(frozen=True)
class MachineDensity:
    """A log density with its gradient.

    Parameters
    ----------
    function : numba C callback of type `DENSITY`
        What computes it.
    n : int
        Length of its vector.
    data : tuple of arrays
        Contiguous, of the types that the function was made for.
    scale : (float array, shape (n,), float array, shape (n, n)), optional
        Centre and root: the density is that of ``centre + root @ w``, as a function of w.
    """

    function: Any
    n: int
    data: tuple[np.ndarray, ...]
    scale: tuple[FloatArray, FloatArray] | None = None

    def __call__(self, w: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient; minus infinity and zeros where they cannot be computed."""
        w = np.ascontiguousarray(w, dtype=np.float64)
        found = np.zeros(self.n + 1)
        at = found.ctypes.data
        if w.shape != (self.n,):
            raise ValueError(f"vector of shape {w.shape}; the density is one of {self.n} numbers")
        if self._call(self.n, w.ctypes.data, at, at + 8 * self.n, self.table.ctypes.data):
            return -np.inf, np.zeros(self.n)
        return float(found[-1]), found[:-1]

    def in_scale(self, centre: FloatArray, root: FloatArray) -> MachineDensity:
        """The same at ``centre + root @ w``."""
        scale = np.ascontiguousarray(centre), np.ascontiguousarray(root)
        return replace(self, scale=scale)

    @functools.cached_property
    def table(self) -> np.ndarray:
        """What the function reads: addresses of centre and root, then address and shape of data."""
        scale = [0, 0] if self.scale is None else [part.ctypes.data for part in self.scale]
        data = (number for a in self.data for number in (a.ctypes.data, *a.shape))
        return np.array([*scale, *data], dtype=np.int64)

    @functools.cached_property
    def _call(self) -> Any:
        return _CALL(self.function.address)


def density_of(
    graph: GraphCode | None, kinds: Sequence[tuple[np.dtype[Any], int]], key: str | None = None
) -> Any:
    """C function of a graph whose outputs are a log density and its gradient.

    Parameters
    ----------
    graph : GraphCode or None
        Of a vector and data; None for code that is stored.
    kinds : sequence of (dtype, int)
        Types and numbers of dimensions of the data.
    key : str, optional
        Names the graph in the store, the same in every process.

    Returns
    -------
    numba C callback of type `DENSITY`, or None where a `key` without a graph is not stored
    """
    arrays: list[str] = []
    at = 2
    for dtype, ndim in kinds:
        shape = "".join(f"table[{at + 1 + i}], " for i in range(ndim))
        made = f"carray(pointer(table[{at}]), ({shape}), {dtype.type.__name__})"
        arrays.append(f"    a{len(arrays)} = {made}")
        at += 1 + ndim
    names = ", ".join(["x", *(f"a{i}" for i in range(len(arrays)))])
    # As little as possible is tried: each statement of that is a branch to numba, and with all of
    # them it takes minutes.
    lines = [
        "def density(n, w, gradient, value, table_):",
        f"    table = carray(table_, ({at},), int64)",
        "    x = placed(w, n, table)",
        *arrays,
        "    try:",
        f"        found, slope = graph({names})",
        "    except Exception:",
        f"        return {RAISED}",
        "    return answer(found[()], slope, n, table, gradient, value)",
    ]
    source = "\n".join(lines)
    scalars = {dtype.type.__name__: dtype.type for dtype, _ in kinds}
    own = {"int64": np.int64, "placed": _placed, "answer": _answer, "pointer": _pointer}
    if graph is not None:
        of_graph = {"graph": graph.inner}
        # code that holds an address, of an operation without a name, must not be stored
        return stored_callback(
            DENSITY, source, {**scalars, **own, **of_graph}, key if graph.key else None
        )
    try:
        return stored_callback(DENSITY, source, {**scalars, **own}, key)
    except TypingError:  # it would have to be compiled
        return None


@functools.cache
def copy() -> Any:
    """C function of type `COPY` that keeps a place as it is."""
    source = """def copy(n, n_kept, w, kept, table):
    for i in range(n):
        kept[i] = w[i]
    return 0
"""
    return stored_callback(COPY, source, {}, "")


def stored_callback(
    signature: Any, source: str, known: Mapping[str, Any], key: str | None, file: str = __file__
) -> Any:
    """C function of a text, stored beside PyTensor's graphs.

    Parameters
    ----------
    signature : numba signature
        Its C types.
    source : str
        A function.
    known : mapping of str to object
        What it may name; besides, ``carray`` of numba.
    key : str or None
        Names what is known, the same in every process; None if it must not be stored.
    file : str, optional
        Module whose sources it depends on.

    Returns
    -------
    numba C callback
    """
    if key is not None and pytensor.config.numba__cache:
        parts = (key, source, str(signature), digest(file))
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    else:
        key = None
    known = {"__name__": __name__, "carray": numba.carray, **known}
    name = source.removeprefix("def ").partition("(")[0]
    function = compile_numba_function_src(source, name, dict(known), cache_key=key)
    return numba.cfunc(signature, cache=key is not None, error_model="numpy")(function)


@intrinsic
def _pointer(typing_context: Any, address: Any) -> Any:
    """Void pointer of an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@njit
def _placed(w_, n, table):  # type: ignore[no-untyped-def]
    """``centre + root @ w``; loops, since a library would start threads for it."""
    w = numba.carray(w_, (n,))
    if table[0] == 0:
        return w.copy()
    x = numba.carray(_pointer(table[0]), (n,), np.float64).copy()
    root = numba.carray(_pointer(table[1]), (n, n), np.float64)
    for i in range(n):
        for j in range(n):
            x[i] += root[i, j] * w[j]
    return x


@njit
def _answer(value, slope, n, table, gradient_, value_):  # type: ignore[no-untyped-def]
    """Hand value and gradient over, the gradient as one by w; the status."""
    for i in range(n):
        # a sampler would believe any gradient
        if not np.isfinite(slope[i]):
            return NOT_FINITE
    if not np.isfinite(value):
        return NOT_FINITE
    value_[0] = value
    gradient = numba.carray(gradient_, (n,))
    if table[0] == 0:
        gradient[:] = slope
        return 0
    root = numba.carray(_pointer(table[1]), (n, n), np.float64)
    gradient[:] = 0.0
    for i in range(n):
        for j in range(n):
            gradient[j] += root[i, j] * slope[i]
    return 0
