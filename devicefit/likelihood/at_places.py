"""Variables of a PyMC model at places: what :mod:`devicefit.likelihood.draws` does with draws.

A test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from devicefit.likelihood.draws import ARRAY, NUMBER, TERM
from devicefit.numerics.compiled import njit
from devicefit.sampling.graph_code import of_lines
from devicefit.sampling.parts import joined, length
from devicefit.sampling.pymc_lines import differentiable


def variables_at_places(
    variables: Mapping[str, Any], kinds: Mapping[str, str], basis: Any, array: Any
) -> dict[str, Any]:
    """PyTensor variables of parameters at places, as ``draws_at_places`` of one draw."""
    vectors: Any = AtPlaces(tuple(kinds[name] for name in variables))(
        *joined(list(variables.values())), basis, array, return_list=True
    )
    return dict(zip(variables, vectors, strict=True))


def taken(values: Any, index: Any) -> Any:
    """PyTensor vector of the values at indices."""
    return variables_at_places({"": values}, {"": ARRAY}, np.zeros((0, 0)), index)[""]


def group_sums(values: Any, index: Any, like: Any) -> Any:
    """PyTensor vector, of the length of `like`, of the sums of the values of each index."""
    return _Totals((ARRAY,), (True,))(values, length(like), np.zeros((0, 0)), index)


def everywhere(numbers: Mapping[str, Any], like: Any) -> dict[str, Any]:
    """PyTensor numbers as vectors of the length of an int vector."""
    kinds = dict.fromkeys(numbers, NUMBER)
    return variables_at_places(numbers, kinds, np.zeros((0, 0)), like)


@differentiable
class AtPlaces(Op):
    """All parameters at all places in one operation.

    As many small operations would take a minute to compile; between this one and the likelihood
    everything is a formula of vectors, which PyTensor joins to a few loops.
    """

    __props__ = ("kinds",)

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.kinds = kinds

    def make_node(self, *inputs: Any) -> Apply:
        """Apply to the vector of the parameters, their ends, the basis, the array of each place."""
        variables = [pt.as_tensor_variable(i) for i in inputs]
        return Apply(self, variables, [pt.dvector() for _ in self.kinds])

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        """Vectors over places, in Python."""
        vector, ends, basis, array = inputs
        values = np.split(vector, ends[:-1])
        for kind, value, output in zip(self.kinds, values, outputs, strict=True):
            if kind == TERM:
                output[0] = value @ basis
            elif kind == ARRAY:
                output[0] = value[array]
            else:
                output[0] = np.full(len(array), value)

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Slope by the vector of the parameters."""
        used = tuple(not isinstance(g.type, DisconnectedType) for g in output_gradients)
        slopes = [g for g, is_used in zip(output_gradients, used, strict=True) if is_used]
        total = _Totals(self.kinds, used)(*slopes, *inputs[1:])
        return [total, *(DisconnectedType()() for _ in inputs[1:])]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Nothing changes with ends, basis and arrays."""
        n = len(self.kinds)
        return [[True] * n] + [[False] * n] * 3


@differentiable
class _Totals(Op):
    """Slope by the vector of the parameters from slopes by their values at places.

    Inputs: the slopes by the values that are used, ends of the parameters, basis and arrays.
    """

    __props__ = ("kinds", "used")

    def __init__(self, kinds: tuple[str, ...], used: tuple[bool, ...]) -> None:
        self.kinds = kinds
        self.used = used

    def make_node(self, *inputs: Any) -> Apply:
        return Apply(self, [pt.as_tensor_variable(i) for i in inputs], [pt.dvector()])

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        *slopes, ends, basis, array = inputs
        total = np.zeros(ends[-1])
        left = iter(slopes)
        for kind, used, part in zip(self.kinds, self.used, np.split(total, ends[:-1]), strict=True):
            if used:
                slope = next(left)
                if kind == TERM:
                    part += basis @ slope
                elif kind == ARRAY:
                    part += np.bincount(array, slope, minlength=len(part))
                else:
                    part += slope.sum()
        outputs[0][0] = total

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        slopes: Any = AtPlaces(self.kinds)(output_gradients[0], *inputs[-3:], return_list=True)
        of_slopes = [s for s, used in zip(slopes, self.used, strict=True) if used]
        return [*of_slopes, *(DisconnectedType()() for _ in range(3))]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        return [[True]] * sum(self.used) + [[False]] * 3


@register_funcify_default_op_cache_key(AtPlaces)
def _at_places(op: AtPlaces, **_: Any) -> Any:
    lines = ["def at_places(vector, ends, basis, array):"]
    lines += [f"    {_BEFORE[k].format(i)}" for i, k in enumerate(op.kinds)]
    lines += [
        f"    found = np.empty(({len(op.kinds)}, len(array)))",
        "    for j in range(len(array)):",
    ]
    lines += [f"        found[{i}, j] = {_VALUE[k].format(i)}" for i, k in enumerate(op.kinds)]
    # One output is handed over as it is, several as a tuple.
    lines.append(f"    return {', '.join(f'found[{i}]' for i in range(len(op.kinds)))}")
    return _compiled(lines, "at_places")


@register_funcify_default_op_cache_key(_Totals)
def _totals(op: _Totals, **_: Any) -> Any:
    used = [(i, op.kinds[i]) for i, is_used in enumerate(op.used) if is_used]
    lines = [
        f"def totals({', '.join(f's{i}' for i, _ in used)}, ends, basis, array):",
        "    vector = np.zeros(ends[-1])",
        *(f"    {_BEFORE[kind].format(i)}" for i, kind in used),
        "    for j in range(len(array)):",
        *(f"        {_ADDED[kind].format(i)}" for i, kind in used),
        *(f"    vector[ends[{i}] - 1] = v{i}" for i, kind in used if kind == NUMBER),
    ]
    return _compiled([*lines, "    return vector"], "totals")


# What is the same at all places is looked up before the loop over them.
_BEFORE = {
    NUMBER: "v{0} = vector[ends[{0}] - 1]",
    TERM: "e{0} = ends[{0}]",
    ARRAY: "e{0} = start(ends, {0})",
}
_VALUE = {
    NUMBER: "v{0}",
    TERM: "term_at(vector, e{0}, basis, j)",
    ARRAY: "vector[e{0} + array[j]]",
}
_ADDED = {
    NUMBER: "v{0} += s{0}[j]",
    TERM: "add_terms(vector, e{0}, s{0}[j], basis, j)",
    ARRAY: "vector[e{0} + array[j]] += s{0}[j]",
}


def _compiled(lines: Sequence[str], name: str) -> Any:
    """Machine code of lines, and the number by which PyTensor keeps it."""
    helpers = {"start": _start, "term_at": _term_at, "add_terms": _add_terms}
    return of_lines(name, lines, {"np": np, **helpers}, __file__)


@njit
def _start(ends, i):  # type: ignore[no-untyped-def]
    return ends[i - 1] if i else 0


@njit
def _term_at(vector, end, basis, j):  # type: ignore[no-untyped-def]
    total = 0.0
    terms = len(basis)
    for t in range(terms):
        total += vector[end - terms + t] * basis[t, j]
    return total


@njit
def _add_terms(total, end, slope, basis, j):  # type: ignore[no-untyped-def]
    terms = len(basis)
    for t in range(terms):
        total[end - terms + t] += slope * basis[t, j]
