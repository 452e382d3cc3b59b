"""A posterior density of this library as a PyMC model, for what PyMC and its friends offer.

Fits here hand the density to nutpie directly. In a PyMC model the same density can be sampled by
other samplers, approximated, or joined with further variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op

from devicefit.density import ValueAndGradient

STANDARD = "standard_normal"


class _Density(Op):
    """Value and gradient of a log density; the first output is the value."""

    __props__ = ("evaluate",)

    def __init__(self, evaluate: ValueAndGradient) -> None:
        self.evaluate = evaluate

    def make_node(self, *inputs: Any) -> Apply:
        return Apply(self, [pt.as_tensor_variable(inputs[0])], [pt.dscalar(), pt.dvector()])

    def perform(self, node: Apply, inputs: Sequence[Any], outputs: Any) -> None:
        value, outputs[1][0] = self.evaluate(inputs[0])
        outputs[0][0] = np.asarray(value)

    def L_op(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        by_value, by_gradient = output_gradients
        if not isinstance(by_gradient.type, DisconnectedType):
            raise NotImplementedError("the density has no second derivatives")
        return [by_value * outputs[1]]


def pymc_model(ln_posterior: ValueAndGradient, parameters: int) -> pm.Model:
    """PyMC model with one vector, in units of the priors.

    Parameters
    ----------
    ln_posterior : callable
        From :func:`devicefit.fitting.ln_posterior`.
    parameters : int
        Length of its vector.

    Returns
    -------
    pymc.Model
        Free variable ``standard_normal``, standard normal before the data;
        :func:`devicefit.fitting.named_draws` turns its draws into parameters.
    """
    with pm.Model() as model:
        z = pm.Normal(STANDARD, 0.0, 1.0, shape=parameters)
        # Arrays have no hash, which an operation needs; a function around what holds them has one.
        value: Any = _Density(lambda vector: ln_posterior(vector))(z)
        # The density has the prior already.
        pm.Potential("ln_likelihood", value[0] + 0.5 * pt.sum(z**2))
    return model
