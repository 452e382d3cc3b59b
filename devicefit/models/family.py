"""What a family of device models consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from devicefit.compressed import Compressed
from devicefit.density import Term
from devicefit.mixture import Mixture
from devicefit.models.frame import Frame, Places
from devicefit.priors import Prior
from devicefit.programming import FloatArray


@dataclass(frozen=True)
class Family:
    """A family of device models as three functions.

    Parameters
    ----------
    name : str
        Name by which a user asks for it.
    priors : callable
        Priors of the parameters for a frame.
    ln_likelihood : callable
        (parameters as expressions, compressed, frame) -> terms of the log likelihood.
    mixtures : callable
        (parameters, frame, places) -> law of ln R of each state, trailing shape
        ``(chain, draw, place)``.
    """

    name: str
    priors: Callable[[Frame], tuple[Prior, ...]]
    ln_likelihood: Callable[[Mapping[str, Any], Compressed, Frame], list[Term]]
    mixtures: Callable[[Mapping[str, FloatArray], Frame, Places], dict[str, Mixture]]
