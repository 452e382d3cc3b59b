"""Formulas of the models of life: priors as variables, and laws of counts.

They are in PyTensor, and PyMC takes their gradients. Only what builds a model imports this module,
since PyMC takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import disconnected_grad

from devicefit.families.core import ln_add
from devicefit.likelihood.special_ops import ln_normal_cdf
from devicefit.sampling.prior import Prior

Tensor = Any
"""Expression of PyTensor."""
_LN_LEAST_CORRELATION = -20.0
"""Ln of the least odds of a correlation: differences of ln gamma keep 6 digits above it."""
_LN_LEAST_SHAPE = -600.0


def normals(priors: Sequence[Prior], width: Tensor = 1.0) -> dict[str, Tensor]:
    """The parameters of a table of priors as variables of the present PyMC model.

    `width` multiplies the standard deviations.
    """
    return {prior.name: pm.Normal(prior.name, prior.mean, prior.sd * width) for prior in priors}


def ln_total(ln_terms: Tensor) -> Tensor:
    """Ln of the sum of exponentials along the last axis."""
    # The largest term is taken out, so that nothing overflows; the slope by it is zero.
    largest = disconnected_grad(pt.max(ln_terms, axis=-1, keepdims=True))
    return pt.log(pt.sum(pt.exp(ln_terms - largest), axis=-1)) + largest[..., 0]


def ln_beta_binomial(
    errors: Tensor, trials: Tensor, ln_p: Tensor, ln_q: Tensor, ln_odds: Tensor
) -> Tensor:
    """Ln of the beta-binomial law of counts, without its binomial coefficient.

    Parameters
    ----------
    errors, trials : tensor
        Counts as floats.
    ln_p, ln_q : tensor
        Ln of the mean share of errors and of one minus it.
    ln_odds : tensor
        Ln of the odds of the correlation of two readings of a count; the sum of both shapes is one
        over these odds. Below e^-20 they count as e^-20, which is binomial for fewer readings.
    """
    ln_kappa = -ln_add(pt, ln_odds, _LN_LEAST_CORRELATION)

    def rising(ln_shape: Tensor, count: Tensor) -> Tensor:
        shape = pt.exp(pt.maximum(ln_shape, _LN_LEAST_SHAPE))
        return pt.gammaln(shape + count) - pt.gammaln(shape)

    wrong, right = rising(ln_p + ln_kappa, errors), rising(ln_q + ln_kappa, trials - errors)
    return wrong + right - rising(ln_kappa, trials)


def ln_normal_between(low: Tensor, high: Tensor) -> Tensor:
    """Ln of the probability of a standard normal value between two ends, exact in both tails."""
    upper = low + high > 0
    ln_low = ln_normal_cdf(pt.switch(upper, -high, low))
    ln_high = ln_normal_cdf(pt.switch(upper, -low, high))
    return ln_high + pt.log(-pt.expm1(pt.minimum(ln_low - ln_high, -1e-300)))
