"""Special functions in PyTensor graphs whose machine code can be stored.

PyTensor's own psi and erfcx call SciPy's code by its address. Machine code that holds an address is
not stored, nor is that of a graph around it: a model of endurance compiled for 50 s in every
process.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from pytensor import scalar
from pytensor.link.numba.dispatch.basic import register_funcify_and_cache_key
from pytensor.scalar.math import Psi
from pytensor.tensor.elemwise import Elemwise
from scipy.special import log_ndtr

from devicefit.distributions.kernels import normal_ln_cdf
from devicefit.numerics.compiled import digest, njit
from devicefit.sampling.pymc_lines import differentiable

_LN_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_FAR = -1e4


@differentiable
class LnNormalCdf(scalar.UnaryScalarOp):
    """Logarithm of the standard normal distribution function, exact in both tails."""

    nfunc_spec = ("scipy.special.log_ndtr", 1, 1)

    def impl(self, z: float) -> float:
        """Value, in Python."""
        return float(log_ndtr(z))

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Slope: density over distribution function.

        From where both lose their digits it is ``-z``, to 1e-8 of it.
        """
        (z,), (value,), (slope,) = inputs, outputs, output_gradients
        ratio = scalar.exp(-0.5 * z * z - _LN_SQRT_2PI - value)
        return [slope * scalar.switch(z < _FAR, -z, ratio)]


# no C code: graphs here are compiled by numba
_SCALAR: Any = LnNormalCdf(scalar.upgrade_to_float, name="ln_normal_cdf")  # type: ignore[abstract]
_LN_NORMAL_CDF = Elemwise(_SCALAR)


def ln_normal_cdf(z: Any) -> Any:
    """Logarithm of the standard normal distribution function of a PyTensor tensor."""
    return _LN_NORMAL_CDF(z)


@njit
def digamma(x: float) -> float:
    """Slope of the logarithm of the gamma function.

    The asymptotic series (DLMF 5.11.2) from 10 on, where its next term is below 1e-16; the
    recurrence (DLMF 5.5.2) leads there, the reflection (DLMF 5.5.4) from negative numbers.
    """
    total = 0.0
    if x <= 0.0:
        if x == math.floor(x):
            return np.nan
        total = -math.pi / math.tan(math.pi * x)
        x = 1.0 - x
    while x < 10.0:
        total -= 1.0 / x
        x += 1.0
    s = 1.0 / (x * x)
    series = 1 / 240 - s * (1 / 132 - s * (691 / 32760 - s / 12))
    series = s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * series)))
    return total + math.log(x) - 0.5 / x - series


def _register(operation: type, function: Any) -> None:
    """Give an operation the code of a function, stored by the sources that it comes from."""
    key = hashlib.sha256(f"{operation.__name__} {digest(__file__)}".encode()).hexdigest()

    @register_funcify_and_cache_key(operation)
    def code(op: Any, **_: Any) -> tuple[Any, str]:
        return function, key


_register(LnNormalCdf, normal_ln_cdf)
_register(Psi, digamma)
