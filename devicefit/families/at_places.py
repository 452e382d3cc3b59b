"""Variables of a PyMC model at places: what :mod:`devicefit.families.draws` does with draws.

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

from devicefit.families.draws import ARRAY, NUMBER, TERM
from devicefit.numerics.compiled import njit
from devicefit.numerics.graph_code import of_lines
from devicefit.numerics.pymc_lines import differentiable


def variables_at_places(
    variables: Mapping[str, Any], kinds: Mapping[str, str], basis: Any, array: Any
) -> dict[str, Any]:
    """PyTensor variables of parameters at places, as ``draws_at_places`` of one draw."""
    vectors: Any = AtPlaces(tuple(kinds[name] for name in variables))(
        *variables.values(), basis, array, return_list=True
    )
    return dict(zip(variables, vectors, strict=True))


def taken(values: Any, index: Any) -> Any:
    """PyTensor vector of the values at indices."""
    return variables_at_places({"": values}, {"": ARRAY}, np.zeros((0, 0)), index)[""]


def group_sums(values: Any, index: Any, like: Any) -> Any:
    """PyTensor vector, of the length of `like`, of the sums of the values of each index."""
    return _Totals((ARRAY,), (True,))(values, like, np.zeros((0, 0)), index)


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
        """Apply to the parameters, the basis and the array of each place."""
        variables = [pt.as_tensor_variable(i) for i in inputs]
        return Apply(self, variables, [pt.dvector() for _ in self.kinds])

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        """Vectors over places, in Python."""
        *values, basis, array = inputs
        for kind, value, output in zip(self.kinds, values, outputs, strict=True):
            if kind == TERM:
                output[0] = value @ basis
            elif kind == ARRAY:
                output[0] = value[array]
            else:
                output[0] = np.full(len(array), value)

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Slopes by the parameters."""
        *values, basis, array = inputs
        used = tuple(not isinstance(g.type, DisconnectedType) for g in output_gradients)
        slopes = [g for g, is_used in zip(output_gradients, used, strict=True) if is_used]
        totals: Any = _Totals(self.kinds, used)(*slopes, *values, basis, array, return_list=True)
        return [*totals, DisconnectedType()(), DisconnectedType()()]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Nothing changes with basis and arrays.

        Each vector changes with its own parameter alone; said of all, :meth:`pullback` may give
        slopes of zero by parameters whose vectors are not used.
        """
        n = len(self.kinds)
        return [[True] * n] * n + [[False] * n] * 2


@differentiable
class _Totals(Op):
    """Slopes by the parameters from slopes by their values at places.

    Inputs: the slopes by the values that are used, the parameters (whose shapes are needed), basis
    and arrays.
    """

    __props__ = ("kinds", "used")

    def __init__(self, kinds: tuple[str, ...], used: tuple[bool, ...]) -> None:
        self.kinds = kinds
        self.used = used

    def make_node(self, *inputs: Any) -> Apply:
        variables = [pt.as_tensor_variable(i) for i in inputs]
        values = variables[-2 - len(self.kinds) : -2]
        return Apply(self, variables, [v.type() for v in values])

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        slopes = iter(inputs)
        values, (basis, array) = inputs[-2 - len(self.kinds) : -2], inputs[-2:]
        for kind, used, value, output in zip(self.kinds, self.used, values, outputs, strict=True):
            if not used:
                output[0] = np.zeros_like(value)
                continue
            slope = next(slopes)
            if kind == TERM:
                output[0] = basis @ slope
            elif kind == ARRAY:
                output[0] = np.bincount(array, slope, minlength=len(value))
            else:
                output[0] = np.asarray(slope.sum())

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        of_totals = [
            pt.zeros_like(total) if isinstance(g.type, DisconnectedType) else g
            for total, g in zip(outputs, output_gradients, strict=True)
        ]
        slopes: Any = AtPlaces(self.kinds)(*of_totals, *inputs[-2:], return_list=True)
        of_slopes = [s for s, used in zip(slopes, self.used, strict=True) if used]
        return [*of_slopes, *(DisconnectedType()() for _ in range(len(self.kinds) + 2))]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        n = len(self.kinds)
        return [[True] * n] * sum(self.used) + [[False] * n] * (n + 2)


@register_funcify_default_op_cache_key(AtPlaces)
def _at_places(op: AtPlaces, **_: Any) -> Any:
    names = [f"p{i}" for i in range(len(op.kinds))]
    lines = [
        f"def at_places({', '.join(names)}, basis, array):",
        "    places = len(array)",
        f"    found = np.empty(({len(names)}, places))",
        "    for j in range(places):",
    ]
    lines += [f"        found[{i}, j] = {_VALUE[k].format(f'p{i}')}" for i, k in _each(op.kinds)]
    # One output is handed over as it is, several as a tuple.
    lines.append(f"    return {', '.join(f'found[{i}]' for i in range(len(names)))}")
    return _compiled(lines, "at_places")


@register_funcify_default_op_cache_key(_Totals)
def _totals(op: _Totals, **_: Any) -> Any:
    used = [i for i, is_used in enumerate(op.used) if is_used]
    names = [*(f"s{i}" for i in used), *(f"p{i}" for i in range(len(op.kinds)))]
    lines = [f"def totals({', '.join(names)}, basis, array):"]
    for i, kind in _each(op.kinds):
        lines.append(f"    t{i} = " + ("0.0" if kind == NUMBER else f"np.zeros(len(p{i}))"))
    lines.append("    for j in range(len(array)):")
    lines += [f"        {_ADDED[op.kinds[i]].format(i)}" for i in used]
    results = (f"np.asarray(t{i})" if k == NUMBER else f"t{i}" for i, k in _each(op.kinds))
    lines.append(f"    return {', '.join(results)}")
    return _compiled(lines, "totals")


_VALUE = {NUMBER: "{0}[()]", TERM: "term_at({0}, basis, j)", ARRAY: "{0}[array[j]]"}
_ADDED = {
    NUMBER: "t{0} += s{0}[j]",
    TERM: "add_terms(t{0}, s{0}[j], basis, j)",
    ARRAY: "t{0}[array[j]] += s{0}[j]",
}


def _each(kinds: tuple[str, ...]) -> enumerate[str]:
    return enumerate(kinds)


def _compiled(lines: Sequence[str], name: str) -> Any:
    """Machine code of lines, and the number by which PyTensor keeps it."""
    known: dict[str, Any] = {"np": np, "term_at": _term_at, "add_terms": _add_terms}
    return of_lines(name, lines, known, __file__)


@njit
def _term_at(value, basis, j):  # type: ignore[no-untyped-def]
    total = 0.0
    for t in range(len(value)):
        total += value[t] * basis[t, j]
    return total


@njit
def _add_terms(total, slope, basis, j):  # type: ignore[no-untyped-def]
    for t in range(len(total)):
        total[t] += slope * basis[t, j]
