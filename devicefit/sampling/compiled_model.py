"""Value and gradient of a PyMC model as machine code, from one vector of all its variables.

nutpie compiles a PyMC model anew in every process (17 s for a family, with all of PyTensor's pieces
found on disk). Here the whole, from a vector to value and gradient, is found on disk; it takes the
readings as arguments, so that it serves all data of the same kind, and chains call it without
Python, so that they run beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import equal_computations
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import ancestors, graph_inputs, io_toposort

from devicefit.numerics.compiled import announce
from devicefit.sampling.compile_graph import compile_apart, compiled_graph, kinds_of
from devicefit.sampling.graph_code import graph_key
from devicefit.sampling.machine_density import MachineDensity, density_of
from devicefit.sampling.parts import Joined, Parts

ToParameters = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], Any]]


@dataclass(frozen=True)
class _Compiled:
    """A compiled graph, and the graph, for the next model of the same kind."""

    inputs: list[Any]
    ln_density: Any
    function: Any


_KNOWN: list[_Compiled] = []
"""Graphs that this process has compiled."""

_MOST_KNOWN = 64


@dataclass(frozen=True)
class CompiledModel:
    """Log density and gradient of a PyMC model.

    Parameters
    ----------
    names : tuple of str
        Free variables, in the order of the vector.
    shapes : tuple of tuple of int
        Their shapes.
    dims : tuple of tuple of str
        Their dimensions.
    transforms : tuple
        PyMC's transform of each, None for most: the vector then holds the transformed value.
    density : MachineDensity
        Log density and gradient of the vector.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dims: tuple[tuple[str, ...], ...]
    transforms: tuple[Any, ...]
    density: MachineDensity


def compile_model(model: pm.Model, parameters: ToParameters | None = None) -> CompiledModel:
    """Compile a PyMC model, or find it compiled.

    Parameters
    ----------
    model : pymc.Model
        All its free variables are continuous, numbers or vectors.
    parameters : callable, optional
        Free variables from what the vector holds in their places, by name, as expressions; the
        variables themselves when left out. Then ln of the volume that a unit of volume becomes.

    Returns
    -------
    CompiledModel

    Raises
    ------
    ValueError
        A free variable is discrete or has more than one dimension; names it.
    """
    values = model.value_vars
    rvs = [model.values_to_rvs[v] for v in values]
    for value, rv in zip(values, rvs, strict=True):
        if value.dtype.startswith("int") or value.ndim > 1:
            raise ValueError(
                f"variable {rv.name} is {value.type}; only continuous numbers and vectors can be "
                "sampled: sum discrete ones out, and split or flatten tables"
            )
    dims = [tuple(model.named_vars_to_dims.get(rv.name) or ()) for rv in rvs]
    shapes = [_shape(v, d, model) for v, d in zip(values, dims, strict=True)]
    ln_density = model.logp()
    shared = [v for v in graph_inputs([ln_density]) if isinstance(v, SharedVariable)]
    joined, ends = pt.dvector("joined"), pt.lvector("ends")
    data = [v.type(name=v.name) for v in shared]
    parts: Any = Parts(tuple(v.ndim for v in values))(joined, ends, return_list=True)
    if parameters is not None:
        named, ln_volume = parameters(dict(zip([rv.name for rv in rvs], parts, strict=True)))
        inside: dict[Any, Any] = dict(zip(shared, data, strict=True))
        parts = clone_replace([named[rv.name] for rv in rvs], inside)
    replaced = dict(zip([*values, *shared], [*parts, *data], strict=True))
    # The vector itself where a model joins all of its parts again.
    for found in ancestors([ln_density]):
        node = found.owner
        if node is not None and isinstance(node.op, Joined) and node.inputs == values:
            if found is node.outputs[1]:
                replaced[found] = ends
            elif parameters is None:
                replaced[found] = joined
    (ln_density,) = clone_replace([ln_density], replaced)
    if parameters is not None:
        ln_density = ln_density + ln_volume
    inputs = [joined, ends, *data]
    lengths = [int(np.prod(s, dtype=np.int64)) for s in shapes]
    arguments = [np.cumsum(lengths), *(np.asarray(v.get_value(), order="C") for v in shared)]
    return CompiledModel(
        tuple(rv.name for rv in rvs),
        tuple(shapes),
        tuple(dims),
        tuple(model.rvs_to_transforms.get(rv) for rv in rvs),
        MachineDensity(_function(inputs, ln_density), sum(lengths), tuple(arguments)),
    )


def _shape(value: Any, dims: Sequence[str], model: pm.Model) -> tuple[int, ...]:
    if not value.ndim:
        return ()
    if value.type.shape[0] is not None:
        return (int(value.type.shape[0]),)
    return (len(model.coords[dims[0]]),)


def _function(inputs: list[Any], ln_density: Any) -> Any:
    """C function of a graph, from what this process has if there is an equal one."""
    for known in _KNOWN:
        same = [a.type for a in known.inputs] == [b.type for b in inputs]
        if same and equal_computations([known.ln_density], [ln_density], known.inputs, inputs):
            return known.function
    density, key = None, graph_key(inputs, [ln_density]) if pytensor.config.numba__cache else None
    if key is not None:
        for node in io_toposort(inputs, [ln_density]):
            if hasattr(node.op, "link"):
                node.op.link()
        density = density_of(None, kinds_of(inputs), key)
    if density is None:
        if not any((Path(pytensor.config.base_compiledir) / "numba").glob("*.nbi")):
            announce()
        if key is not None:
            density = compile_apart(inputs, ln_density, key)
        if density is None:
            density = compiled_graph(inputs, ln_density, key)
    _KNOWN.insert(0, _Compiled(inputs, ln_density, density))
    del _KNOWN[_MOST_KNOWN:]
    return density
