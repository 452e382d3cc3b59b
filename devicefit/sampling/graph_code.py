"""Machine code of operations in PyTensor graphs, and of whole graphs.

PyTensor keeps the code of graphs on disk itself, under a name that it makes of the operations in
them; a number for each operation stands for the sources that its code comes from.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import pytensor
from pytensor.compile.mode import NUMBA, Mode
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import io_toposort
from pytensor.link.numba.dispatch.basic import (
    cache_key_for_constant,
    numba_funcify_and_cache_key,
    numba_typify,
)
from pytensor.link.numba.linker import NumbaLinker
from pytensor.link.utils import fgraph_to_python

from devicefit.numerics.compiled import PACKAGES, digest

_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of functions that machine code alone calls."""


def of_lines(name: str, lines: Sequence[str], known: Mapping[str, Any], file: str) -> Any:
    """Function from its lines, for operations with any number of inputs.

    Parameters
    ----------
    name : str
        Of the function.
    lines : sequence of str
        Its text.
    known : mapping of str to object
        What the text may name.
    file : str
        Module whose sources the function depends on.

    Returns
    -------
    function, int
        The function for numba, and the number by which PyTensor keeps it: other sources, another
        number.
    """
    names = dict(known)
    exec("\n".join(lines), names)
    return numba.njit(names[name], **_INNER), int(digest(file), 16)


def graph_key(inputs: Sequence[Any], outputs: Sequence[Any]) -> str | None:
    """Name of a graph as it was written, the same in every process.

    PyTensor rewrites equal graphs in another order in each process, so that what comes out of it
    has no such name where graphs are large.

    Parameters
    ----------
    inputs, outputs : sequence of PyTensor variables
        Of the graph.

    Returns
    -------
    str or None
        None if an operation cannot be written down.
    """
    names: dict[Any, Any] = {v: ("input", i, str(v.type)) for i, v in enumerate(inputs)}
    parts: list[Any] = [pytensor.__version__, numba.__version__, pytensor.config.numba__fastmath]
    # what code of ours stands behind operations, PyTensor's own among them
    parts += [digest(str(path)) for path in sorted(_OPERATIONS.glob("*.py"))]
    try:
        for i, node in enumerate(io_toposort(inputs, outputs)):
            for v in node.inputs:
                if v not in names:
                    constant: Any = v
                    content = pickle.dumps((str(v.type), constant.data))
                    names[v] = hashlib.sha256(content).hexdigest()
            parts.append((_op_name(node.op), [names[v] for v in node.inputs]))
            names |= {v: (i, j, str(v.type)) for j, v in enumerate(node.outputs)}
        parts.append([names[v] for v in outputs])
    except (AttributeError, KeyError, TypeError, pickle.PicklingError):
        return None
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _op_name(op: Any) -> str:
    """What an operation is, with the sources of those of this project."""
    kind = type(op)
    file = getattr(sys.modules[kind.__module__], "__file__", "")
    own = digest(file) if kind.__module__.partition(".")[0] in PACKAGES else ""
    content = hashlib.sha256(pickle.dumps(op)).hexdigest()
    return f"{kind.__module__}.{kind.__qualname__} {own} {content}"


_OPERATIONS = Path(__file__).resolve().parents[1] / "likelihood"


@dataclass(frozen=True)
class GraphCode:
    """Code of a whole graph.

    Parameters
    ----------
    function : function
        From the inputs to a tuple of the outputs, for numba to compile.
    key : str or None
        Names what it does, the same in every process; None if some operation has no such name.
    """

    function: Any
    key: str | None

    def __call__(self, *inputs: Any) -> Any:
        """Outputs, called from Python."""
        return self._from_python(*inputs)

    @functools.cached_property
    def inner(self) -> Any:
        """The function for other numba functions."""
        return numba.njit(self.function, **_INNER)

    @functools.cached_property
    def _from_python(self) -> Any:
        return numba.njit(self.function, nogil=True)


class _Linker(NumbaLinker):
    """Graphs as functions that numba compiles as a whole.

    PyTensor's own linker stores each operation and each graph by themselves, so that the code of
    what they call is optimised again at every level.
    """

    def fgraph_convert(self, fgraph: Any, *_: Any, **options: Any) -> GraphCode:
        order = fgraph.toposort()
        names: dict[Any, Any] = {v: ("input", i) for i, v in enumerate(fgraph.inputs)}
        for i, node in enumerate(order):
            names |= {v: (i, j) for j, v in enumerate(node.outputs)}
        keys: list[Any] = []

        def operation(op: Any, *, node: Any, **more: Any) -> Any:
            function, key = numba_funcify_and_cache_key(op, node=node, **more)
            keys.append((key, [names[v] for v in node.inputs]))
            return function

        def constant(value: Any, *, variable: Any, **more: Any) -> Any:
            if isinstance(variable, Constant):
                names[variable] = cache_key_for_constant(value)
            return numba_typify(value, variable=variable, **more)

        function = fgraph_to_python(
            fgraph, operation, type_conversion_fn=constant, fgraph_name="graph", **options
        )
        keys += [names[v] for v in fgraph.outputs]
        known = pytensor.config.numba__cache and all(k[0] is not None for k in keys)
        text = f"{pytensor.__version__} {pytensor.config.numba__fastmath} {keys}"
        return GraphCode(function, hashlib.sha256(text.encode()).hexdigest() if known else None)

    def jit_compile(self, fn: Any) -> Any:
        return fn


WITHOUT_LOCK = Mode(_Linker(), NUMBA.provided_optimizer)
"""How PyTensor compiles graphs here: to machine code by numba, without Python's lock."""
