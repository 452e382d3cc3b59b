"""Value and gradient of PyMC models, compiled fast and run slowly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pymc as pm
import pytensor

from devicefit.sampling.prior import Prior


def likelihood(
    model: pm.Model, priors: Sequence[Prior]
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Ln likelihood of the parameters of `priors`, in their order, with its gradient."""
    values = [model.rvs_to_values[model[prior.name]] for prior in priors]
    ln_likelihood = model.logp(vars=model.potentials)
    slopes = pytensor.grad(ln_likelihood, values, disconnected_inputs="ignore")
    found = pytensor.function(values, [ln_likelihood, *slopes], mode="FAST_COMPILE")

    def of(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, *gradient = found(*theta)
        return float(value), np.array(gradient, dtype=float)

    return of
