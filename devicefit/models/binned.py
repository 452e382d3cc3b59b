"""Log likelihood of binned readings under a mixture, with its gradient, in one pass.

A PyTensor graph of the same sum makes an array for each step and component; this operation walks
over the bins once, skips components that contribute nothing, and returns the value together with
the gradient. It is what the sampler spends its time in.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType, grad_undefined
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

NORMAL, STUDENT, LOGISTIC = 0, 1, 2
KERNELS = {"normal": NORMAL, "student-t": STUDENT, "logistic": LOGISTIC}
_NEGLIGIBLE = 40.0
_LEAST_SHARE = 1e-18
_STEP = 1e-5


@numba.njit(cache=True, nogil=True)
def _student_constant(dof: float) -> float:
    return math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - 0.5 * math.log(dof * math.pi)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz"})
def binned_mixture(kernels, ln_weight, location, ln_scale, dof, condition, y, count):  # type: ignore[no-untyped-def]
    """Sum of ``count * ln density`` and its gradient.

    Parameters
    ----------
    kernels : int array, shape (component,)
        `NORMAL`, `STUDENT` or `LOGISTIC`.
    ln_weight, location, ln_scale : float array, shape (condition, component)
        Parameters of the components.
    dof : float array, shape (component,)
        Degrees of freedom; read for Student-t components only.
    condition, y, count : array, shape (bin,)
        Condition index, ln R and number of readings of each bin.

    Returns
    -------
    value : float
    g_weight, g_location, g_scale : float array, shape (condition, component)
    g_dof : float array, shape (component,)
    """
    components = len(kernels)
    value = 0.0
    g_weight = np.zeros(ln_weight.shape)
    g_location = np.zeros(ln_weight.shape)
    g_scale = np.zeros(ln_weight.shape)
    g_dof = np.zeros(components)
    constant = np.empty(components)
    d_constant = np.zeros(components)
    for c in range(components):
        if kernels[c] == NORMAL:
            constant[c] = -0.5 * math.log(2 * math.pi)
        elif kernels[c] == LOGISTIC:
            constant[c] = 0.0
        else:
            constant[c] = _student_constant(dof[c])
            step = _STEP * dof[c]
            d_constant[c] = (
                _student_constant(dof[c] + step) - _student_constant(dof[c] - step)
            ) / (2 * step)
    # What does not depend on the reading is had once per condition and component.
    inverse = np.exp(-ln_scale)
    base = ln_weight - ln_scale + constant
    term = np.empty(components)
    score = np.empty(components)
    for b in range(len(y)):
        k = condition[b]
        largest = -np.inf
        for c in range(components):
            z = (y[b] - location[k, c]) * inverse[k, c]
            score[c] = z
            if kernels[c] == NORMAL:
                t = base[k, c] - 0.5 * z * z
            elif kernels[c] == LOGISTIC:
                a = abs(z)
                t = base[k, c] - a - 2 * math.log1p(math.exp(-a))
            else:
                t = base[k, c] - 0.5 * (dof[c] + 1) * math.log1p(z * z / dof[c])
            term[c] = t
            if t > largest:
                largest = t
        total = 0.0
        for c in range(components):
            below = term[c] - largest
            if below == 0.0:
                term[c] = 1.0
            elif below > -_NEGLIGIBLE:
                term[c] = math.exp(below)
            else:
                term[c] = 0.0
            total += term[c]
        value += count[b] * largest
        if total != 1.0:
            value += count[b] * math.log(total)
        weight = count[b] / total
        for c in range(components):
            if term[c] < _LEAST_SHARE:
                continue
            share = weight * term[c]
            z = score[c]
            if kernels[c] == NORMAL:
                slope = z
            elif kernels[c] == LOGISTIC:
                slope = math.tanh(z / 2)
            else:
                slope = (dof[c] + 1) * z / (dof[c] + z * z)
                g_dof[c] += share * (
                    d_constant[c]
                    - 0.5 * math.log1p(z * z / dof[c])
                    + 0.5 * (dof[c] + 1) * z * z / (dof[c] * (dof[c] + z * z))
                )
            g_weight[k, c] += share
            g_location[k, c] += share * slope * inverse[k, c]
            g_scale[k, c] += share * (slope * z - 1.0)
    return value, g_weight, g_location, g_scale, g_dof


class BinnedMixture(Op):
    """PyTensor form of :func:`binned_mixture`; its first output is the value."""

    __props__ = ("kernels",)

    def __init__(self, kernels: tuple[int, ...]) -> None:
        self.kernels = kernels

    def make_node(self, *inputs: Any) -> Apply:
        """Inputs as of :func:`binned_mixture` without the kernels."""
        inputs = tuple(pt.as_tensor_variable(i) for i in inputs)
        matrix = pt.matrix(dtype="float64")
        outputs = [pt.dscalar(), matrix.type(), matrix.type(), matrix.type(), pt.dvector()]
        return Apply(self, inputs, outputs)

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        """Evaluate outside numba's mode."""
        found = binned_mixture(np.array(self.kernels), *inputs)
        for place, value in zip(outputs, found, strict=True):
            place[0] = np.asarray(value)

    def L_op(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Gradient of the value; the other outputs are that gradient and have none."""
        (g, *others) = output_gradients
        if not all(isinstance(o.type, DisconnectedType) for o in others):
            raise NotImplementedError("only the value of BinnedMixture has a gradient")
        undefined = [grad_undefined(self, i, inputs[i]) for i in range(4, 7)]
        return [*(g * o for o in outputs[1:]), *undefined]


@register_funcify_default_op_cache_key(BinnedMixture)
def _numba_binned_mixture(op: BinnedMixture, **_: Any) -> tuple[Callable[..., Any], int]:
    kernels = np.array(op.kernels)

    @numba.njit
    def run(ln_weight, location, ln_scale, dof, condition, y, count):  # type: ignore[no-untyped-def]
        value, g_weight, g_location, g_scale, g_dof = binned_mixture(
            kernels, ln_weight, location, ln_scale, dof, condition, y, count
        )
        return np.asarray(value), g_weight, g_location, g_scale, g_dof

    # PyTensor keeps compiled code by the name of the operation: another version, another key.
    return run, zlib.crc32(Path(__file__).read_bytes())
