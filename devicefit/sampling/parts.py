"""A vector of numbers and vectors, and these from the vector, as PyTensor operations.

As many single arrays between operations would take half a minute to compile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from devicefit.sampling.graph_code import of_lines
from devicefit.sampling.pymc_lines import differentiable


@differentiable
class Parts(Op):
    """Numbers and vectors from the vector of all.

    Parameters
    ----------
    ranks : tuple of int
        0 for a number, 1 for a vector. The second input says where each part ends.
    """

    __props__ = ("ranks",)

    def __init__(self, ranks: tuple[int, ...]) -> None:
        self.ranks = ranks

    def make_node(self, *inputs: Any) -> Apply:
        """Apply to the vector and the ends of its parts."""
        outputs = [pt.dvector() if rank else pt.dscalar() for rank in self.ranks]
        return Apply(self, list(inputs), outputs)

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        """Cut the vector, in Python."""
        joined, ends = inputs
        for rank, part, output in zip(
            self.ranks, np.split(joined, ends[:-1]), outputs, strict=True
        ):
            output[0] = part.copy() if rank else np.asarray(part[0])

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Slope by the vector: the slopes by its parts, joined."""
        slopes = [
            pt.zeros_like(part) if isinstance(g.type, DisconnectedType) else g
            for part, g in zip(outputs, output_gradients, strict=True)
        ]
        return [joined(slopes)[0], DisconnectedType()()]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Every part changes with the vector."""
        return [[True] * len(self.ranks), [False] * len(self.ranks)]


@differentiable
class Joined(Op):
    """Vector of all from numbers and vectors, and where each part ends.

    Parameters
    ----------
    ranks : tuple of int
        0 for a number, 1 for a vector.
    """

    __props__ = ("ranks",)

    def __init__(self, ranks: tuple[int, ...]) -> None:
        self.ranks = ranks

    def make_node(self, *inputs: Any) -> Apply:
        """Apply to the parts."""
        return Apply(self, list(inputs), [pt.dvector(), pt.lvector()])

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        """Join them, in Python."""
        outputs[0][0] = np.concatenate([np.atleast_1d(i) for i in inputs])
        outputs[1][0] = np.cumsum([np.size(i) for i in inputs])

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Slopes by the parts: those of the slope by the vector."""
        parts: Any = Parts(self.ranks)(output_gradients[0], outputs[1], return_list=True)
        return list(parts)

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Only the vector changes with the values of the parts."""
        return [[True, False] for _ in self.ranks]


class Length(Op):
    """Length of a vector, as a vector of one number.

    PyTensor's own makes it compare lengths at each call, by operations whose code it cannot store.
    """

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply:
        """Apply to a vector."""
        return Apply(self, list(inputs), [pt.lvector()])

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        """Length, in Python."""
        outputs[0][0] = np.array([len(inputs[0])])

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """It does not change with the values."""
        return [[False]]


def length(vector: Any) -> Any:
    """PyTensor vector of one number, the length of a vector."""
    return Length()(vector)


def joined(parts: Sequence[Any]) -> list[Any]:
    """PyTensor vector of numbers and vectors, and of the ends of each."""
    variables = [pt.cast(p, "float64") for p in parts]
    if len(variables) == 1 and variables[0].ndim:
        return [variables[0], length(variables[0])]
    outputs: Any = Joined(tuple(v.ndim for v in variables))(*variables)
    return list(outputs)


@register_funcify_default_op_cache_key(Length)
def _length(op: Length, **_: Any) -> Any:
    lines = ["def length(vector):", "    return np.array([len(vector)])"]
    return of_lines("length", lines, {"np": np}, __file__)


@register_funcify_default_op_cache_key(Parts)
def _parts(op: Parts, **_: Any) -> Any:
    each = [
        f"joined[{f'ends[{i - 1}]' if i else '0'} : ends[{i}]].copy()"
        if rank
        else f"np.asarray(joined[ends[{i}] - 1])"
        for i, rank in enumerate(op.ranks)
    ]
    return of_lines(
        "parts", ["def parts(joined, ends):", f"    return {', '.join(each)}"], {"np": np}, __file__
    )


@register_funcify_default_op_cache_key(Joined)
def _joined(op: Joined, **_: Any) -> Any:
    names = [f"p{i}" for i in range(len(op.ranks))]
    lines = [
        f"def joined({', '.join(names)}):",
        f"    ends = np.empty({len(names)}, np.int64)",
        "    end = 0",
    ]
    for i, rank in enumerate(op.ranks):
        lines += [f"    end += {f'len(p{i})' if rank else '1'}", f"    ends[{i}] = end"]
    lines.append("    found = np.empty(end)")
    for i, rank in enumerate(op.ranks):
        if rank:
            lines.append(f"    found[ends[{i}] - len(p{i}) : ends[{i}]] = p{i}")
        else:
            lines.append(f"    found[ends[{i}] - 1] = p{i}[()]")
    return of_lines("joined", [*lines, "    return found, ends"], {"np": np}, __file__)
