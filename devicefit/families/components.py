"""Components of the laws of ln R, and the mixture of them at the values of draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.distributions.mixture import Mixture
from devicefit.numerics.arrays import FloatArray


@dataclass(frozen=True)
class Component:
    """One component of the law of ln R at some places (arrays or expressions)."""

    ln_weight: Any
    location: Any
    scale: Any
    kernel: str = "normal"
    dof: Any = None


Laws = dict[str, list[Component]]
"""Components of both states, ``"LRS"`` and ``"HRS"``."""


def mixture_of(components: Sequence[Component], shape: tuple[int, ...]) -> Mixture:
    """Mixture of components whose values are arrays that broadcast to a shape."""

    def joined(values: Sequence[Any]) -> FloatArray:
        return np.stack([np.broadcast_to(v, shape) for v in values]).astype(np.float64)

    kernels = tuple(c.kernel for c in components)
    return Mixture(
        joined([c.ln_weight for c in components]),
        joined([c.location for c in components]),
        joined([c.scale for c in components]),
        kernels,
        joined([1.0 if c.dof is None else c.dof for c in components])
        if "student-t" in kernels
        else None,
    )
