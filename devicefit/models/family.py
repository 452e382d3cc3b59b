"""What a family of device models consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from devicefit.compression import Compressed
from devicefit.mixture import NormalMixture
from devicefit.models.core import Frame
from devicefit.priors import Prior
from devicefit.programming import FloatArray, Programming


@dataclass(frozen=True)
class Family:
    """A family of device models as three functions.

    Parameters
    ----------
    name : str
        Name by which a user asks for it.
    priors : callable
        Priors for a programming variable.
    ln_likelihood : callable
        (parameters, compressed, frame) -> scalar PyTensor expression.
    mixtures : callable
        (parameters, frame, x) -> law of ln R of each state, trailing shape
        ``parameters.shape + x.shape``.
    """

    name: str
    priors: Callable[[Programming], tuple[Prior, ...]]
    ln_likelihood: Callable[[Mapping[str, Any], Compressed, Frame], Any]
    mixtures: Callable[[Mapping[str, FloatArray], Frame, FloatArray], dict[str, NormalMixture]]
