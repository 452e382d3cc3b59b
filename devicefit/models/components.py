"""Components of a mixture model: from parameters to likelihoods and to laws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt

from devicefit.compressed import Compressed, CompressedState, Summaries
from devicefit.mixture import Mixture
from devicefit.models.binned import KERNELS, BinnedMixture
from devicefit.models.frame import Frame, Places
from devicefit.models.interval import IntervalMixture
from devicefit.programming import FloatArray


@dataclass(frozen=True)
class Component:
    """One component of the law of ln R at some places (arrays or expressions)."""

    ln_weight: Any
    location: Any
    scale: Any
    kernel: str = "normal"
    dof: Any = None


Build = Callable[[Any, Mapping[str, Any], Frame, Places], dict[str, list[Component]]]


def ln_likelihood_of(
    build: Build, p: Mapping[str, Any], compressed: Compressed, frame: Frame
) -> Any:
    """Log likelihood of compressed readings, each state divided by its design effect."""
    places = frame.places(
        compressed.conditions, second=compressed.second_values, array=compressed.array
    )
    total: Any = 0.0
    for state, components in build(pt, p, frame, places).items():
        data = compressed.states[state]
        total = total + state_ln_likelihood(components, data, len(places.position))
    return total


def state_ln_likelihood(components: list[Component], data: CompressedState, places: int) -> Any:
    """Log likelihood of one state as a PyTensor expression.

    Readings in bins, readings known by bounds, and published summaries, each where there are any.

    Notes
    -----
    A summary (n, mean, standard deviation of ln R) does not determine the likelihood of a law that
    is not normal. It enters as that of a normal law with the mean and the variance of the mixture,
    which is right in those two and says nothing about tails. A Student-t component has a variance
    above two degrees of freedom only; below 2.1 its variance is taken at 2.1.
    """
    columns = [
        pt.stack([value + np.zeros(places) for value in values], axis=1)
        for values in (
            [c.ln_weight for c in components],
            [c.location for c in components],
            [pt.log(c.scale) for c in components],
        )
    ]
    dof = pt.stack([1.0 if c.dof is None else c.dof for c in components])
    kernels = tuple(KERNELS[c.kernel] for c in components)
    total: Any = 0.0
    if len(data.count):
        points: Any = BinnedMixture(kernels)(
            *columns, dof, data.condition, data.ln_r, data.count.astype(np.float64)
        )
        total = points[0] / data.design_effect
    bounds = data.intervals
    if len(bounds.count):
        known: Any = IntervalMixture(kernels)(
            *columns,
            dof,
            bounds.condition,
            bounds.ln_low,
            bounds.ln_high,
            bounds.count.astype(np.float64),
        )
        total = total + known[0]
    if len(data.summaries.n):
        total = total + _summaries(components, data.summaries, places)
    return total


def _summaries(components: list[Component], data: Summaries, places: int) -> Any:
    mean: Any = 0.0
    square: Any = 0.0
    for c in components:
        weight = pt.exp(c.ln_weight)
        variance = c.scale**2
        if c.kernel == "logistic":
            variance = variance * np.pi**2 / 3
        elif c.kernel == "student-t":
            dof = pt.maximum(c.dof, 2.1)
            variance = variance * dof / (dof - 2)
        mean = mean + weight * c.location
        square = square + weight * (variance + c.location**2)
    at = data.condition
    centre = (mean + np.zeros(places))[at]
    variance = (square - mean**2 + np.zeros(places))[at]
    squares = data.sum_of_squares + data.n * (data.mean - centre) ** 2
    return pt.sum(-0.5 * squares / variance - 0.5 * data.n * pt.log(2 * np.pi * variance))


def mixtures_of(
    build: Build, p: Mapping[str, FloatArray], frame: Frame, places: Places
) -> dict[str, Mixture]:
    """Law of ln R of each draw and place; `p` holds draws, vectors with their terms last."""
    expanded = {k: v if v.ndim == 3 else v[..., None] for k, v in p.items()}
    laws = {}
    for state, components in build(np, expanded, frame, places).items():
        arrays = np.broadcast_arrays(
            *[value for c in components for value in (c.ln_weight, c.location, c.scale)],
            places.position,
        )[:-1]
        ln_weight, location, scale = (np.stack(arrays[i::3]) for i in range(3))
        kernels = tuple(c.kernel for c in components)
        dof = None
        if "student-t" in kernels:
            dof = np.stack(
                [
                    np.broadcast_to(1.0 if c.dof is None else c.dof, location.shape[1:])
                    for c in components
                ]
            )
        laws[state] = Mixture(ln_weight, location, scale, kernels, dof)
    return laws
