"""Log likelihood of the readings of one state as one PyTensor operation.

Plain PyTensor would write every reading's density under every component into memory, forward and
backward; the kernels walk over the readings once and give value and gradient together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from llvmlite.binding import add_symbol
from numba import types
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from devicefit.likelihood.interval_kernel import interval_mixture
from devicefit.likelihood.mixture_kernel import KERNELS, STUDENT, binned_mixture
from devicefit.numerics.compiled import digest, njit
from devicefit.sampling.graph_code import of_lines
from devicefit.sampling.machine_density import stored_callback
from devicefit.sampling.pymc_lines import differentiable

_DATA = 7
"""Arrays of readings: three of the bins, four of the bounds."""

_INDICES = (-7, -4)
"""Those that are indices of places."""


@differentiable
class ReadingsLikelihood(Op):
    """Log likelihood of readings under a mixture at each place.

    Parameters
    ----------
    kernels : tuple of int
        Kernel of each component, values of :data:`devicefit.likelihood.mixture_kernel.KERNELS`.
    constants : tuple of (float or None)
        Rows of the laws (ln weights of all components, locations, ln scales, and degrees of freedom
        if one is a Student-t): the value of a row that is the same everywhere and known, None of
        one that is an input.

    Notes
    -----
    Inputs: rows of the laws, vectors over places. Then the bins (place, ln R, count) and the bounds
    (place, low, high, count). Outputs: the value, and its slope by each of the rows.
    """

    __props__ = ("kernels", "constants")

    def __init__(self, kernels: tuple[int, ...], constants: tuple[float | None, ...]) -> None:
        self.kernels = kernels
        self.constants = constants

    def make_node(self, *inputs: Any) -> Apply:
        """Apply to the vectors and the seven arrays of readings."""
        variables = [pt.cast(i, "float64") for i in inputs]
        for i in _INDICES:
            variables[i] = pt.cast(inputs[i], "int32")
        return Apply(self, variables, [pt.dscalar(), *(pt.dvector() for _ in variables[:-_DATA])])

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        """Value and slopes, in Python."""
        laws = np.empty((len(self.constants), len(inputs[0])))
        given = np.array([c is None for c in self.constants])
        laws[given] = inputs[:-_DATA]
        laws[~given] = np.array([[c] for c in self.constants if c is not None]).reshape(-1, 1)
        value, slopes = value_and_slopes(np.array(self.kernels), laws, *inputs[-_DATA:])
        outputs[0][0] = np.asarray(value)
        for output, slope in zip(outputs[1:], slopes[given], strict=True):
            output[0] = slope

    def link(self) -> None:
        """Make the C function known that stored machine code calls."""
        _kernel()

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Slopes by the vectors; nothing else has one."""
        if not all(isinstance(g.type, DisconnectedType) for g in output_gradients[1:]):
            raise NotImplementedError("the likelihood of readings has no second derivatives")
        return [
            *(output_gradients[0] * slope for slope in outputs[1:]),
            *(DisconnectedType()() for _ in range(_DATA)),
        ]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Which outputs change with which inputs."""
        outputs = len(node.outputs)
        vectors = len(node.inputs) - _DATA
        return [[True] * outputs] * vectors + [[False] * outputs] * _DATA


@njit(error_model="numpy")
def value_and_slopes(kernels, laws, at, y, count, at_bounds, low, high, count_bounds):  # type: ignore[no-untyped-def]
    """Log likelihood of readings in bins and between bounds, and its slopes.

    Parameters
    ----------
    kernels : int array, shape (component,)
        Kernels.
    laws : float array, shape (3 component, place) or (4 component, place)
        ln weights, locations, ln scales, degrees of freedom.
    at, y, count : array, shape (bin,)
        Place, ln R and readings of bins.
    at_bounds, low, high, count_bounds : array, shape (interval,)
        Place, bounds of ln R and readings.

    Returns
    -------
    value : float
    slopes : float array, of the shape of `laws`
    """
    n = len(kernels)
    weight = np.ascontiguousarray(laws[:n].T)
    location = np.ascontiguousarray(laws[n : 2 * n].T)
    scale = np.ascontiguousarray(laws[2 * n : 3 * n].T)
    dof = np.ascontiguousarray(laws[3 * n :].T) if len(laws) > 3 * n else np.ones(weight.shape)
    slopes = np.zeros(laws.shape)
    value = 0.0
    if len(y):
        value, w, m, s, d = binned_mixture(kernels, weight, location, scale, dof, at, y, count)
        _add(slopes, (w, m, s, d), n)
    if len(low):
        more, w, m, s, d = interval_mixture(
            kernels, weight, location, scale, dof, at_bounds, low, high, count_bounds
        )
        value += more
        _add(slopes, (w, m, s, d), n)
    return value, slopes


@njit
def _add(slopes, found, n):  # type: ignore[no-untyped-def]
    for part in range(len(slopes) // n):
        slopes[part * n : (part + 1) * n] += found[part].T


_AT, _OF = types.CPointer(types.int32), types.CPointer(types.float64)
_KERNEL = types.float64(
    *(types.int64, types.int64, types.int64, types.CPointer(types.int64), _OF),
    *(types.int64, _AT, _OF, _OF),
    *(types.int64, _AT, _OF, _OF, _OF),
    _OF,
)


@functools.cache
def _kernel() -> Any:
    """:func:`value_and_slopes` as a C function with a name, which other machine code calls.

    Were it a part of what calls it, it would be optimised again at every level of every graph.
    """
    source = """def readings(components, rows, places, kernels, laws, bins, at, y, count,
             intervals, at_bounds, low, high, count_bounds, slopes):
    value, found = value_and_slopes(
        carray(kernels, (components,)), carray(laws, (rows, places)),
        carray(at, (bins,)), carray(y, (bins,)), carray(count, (bins,)),
        carray(at_bounds, (intervals,)), carray(low, (intervals,)), carray(high, (intervals,)),
        carray(count_bounds, (intervals,)),
    )
    carray(slopes, (rows, places))[:] = found
    return value
"""
    known = {"value_and_slopes": value_and_slopes}
    made = stored_callback(_KERNEL, source, known, "readings", __file__)
    symbol = f"readings_{digest(__file__)}"
    add_symbol(symbol, made.address)
    # the callback goes along, since its code lives as long as it
    return types.ExternalFunction(symbol, _KERNEL), made


@register_funcify_default_op_cache_key(ReadingsLikelihood)
def _readings_likelihood(op: ReadingsLikelihood, node: Apply, **_: Any) -> Any:
    """Machine code: the vectors joined in one loop, which compiles ten times faster than stacks."""
    rows = range(len(op.constants))
    given = [i for i in rows if op.constants[i] is None]
    first = f"v{given[0]}"
    data = [f"d{i}" for i in range(_DATA)]
    lines = [
        f"def readings_likelihood({', '.join([*(f'v{i}' for i in given), *data])}):",
        f"    places = len({first})",
        f"    laws = np.empty(({len(rows)}, places))",
        "    for j in range(places):",
    ]
    for i, constant in enumerate(op.constants):
        value = f"v{i}[j]" if constant is None else repr(constant)
        lines.append(f"        laws[{i}, j] = {value}")
    bins, bounds = (
        ", ".join([f"len({part[0]})", *(f"np.ascontiguousarray({d}).ctypes" for d in part)])
        for part in (data[:3], data[3:])
    )
    lines += [
        "    slopes = np.empty(laws.shape)",
        f"    value = readings({len(op.kernels)}, {len(rows)}, places, kernels.ctypes, ",
        f"        laws.ctypes, {bins}, {bounds}, slopes.ctypes)",
        f"    return np.asarray(value), {', '.join(f'slopes[{i}]' for i in given)}",
    ]
    known = {"np": np, "kernels": np.array(op.kernels), "readings": _kernel()[0]}
    return of_lines("readings_likelihood", lines, known, __file__)


def readings_likelihood(
    components: Sequence[tuple[str, Any, Any, Any, Any]], readings: Sequence[Any]
) -> Any:
    """Log likelihood of the readings of one state.

    Parameters
    ----------
    components : sequence of (kernel, ln weight, location, ln scale, dof)
        The kernel by name, the others PyTensor vectors over places, or floats; dof is None where
        there is none.
    readings : sequence of seven PyTensor vectors
        Place, ln R and count of bins; place, lower, upper bound and count of bounded readings.

    Returns
    -------
    PyTensor scalar
    """
    kernels = tuple(KERNELS[c[0]] for c in components)
    laws = [c[part] for part in (1, 2, 3) for c in components]
    if STUDENT in kernels:
        laws += [1.0 if c[4] is None else c[4] for c in components]
    constants = tuple(v if isinstance(v, float) else None for v in laws)
    given = [v for v in laws if not isinstance(v, float)]
    outputs: Any = ReadingsLikelihood(kernels, constants)(*given, *readings)
    return outputs[0]
