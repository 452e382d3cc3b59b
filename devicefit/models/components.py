"""Components of a mixture model: from parameters to likelihoods and to laws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.binned import KERNELS
from devicefit.compressed import Compressed, CompressedState, Summaries
from devicefit.density import BINS, INTERVALS, TOTAL, Term
from devicefit.mixture import Mixture
from devicefit.models.frame import Frame, Places
from devicefit.programming import FloatArray
from devicefit.tape import SYMBOLS


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
) -> list[Term]:
    """Terms of the log likelihood, each state's readings divided by its design effect."""
    places = frame.places(
        compressed.conditions, second=compressed.second_values, array=compressed.array
    )
    laws = build(SYMBOLS, p, frame, places)
    return [
        term
        for state, components in laws.items()
        for term in state_ln_likelihood(components, compressed.states[state])
    ]


def state_ln_likelihood(components: list[Component], data: CompressedState) -> list[Term]:
    """Terms of the log likelihood of one state.

    Readings in bins, readings known by bounds, and published summaries, each where there are any.

    Notes
    -----
    A summary (n, mean, standard deviation of ln R) does not determine the likelihood of a law that
    is not normal. It enters as that of a normal law with the mean and the variance of the mixture,
    which is right in those two and says nothing about tails. A Student-t component has a variance
    above two degrees of freedom only; below 2.1 its variance is taken at 2.1.
    """
    inputs = [
        *(c.ln_weight for c in components),
        *(c.location for c in components),
        *(SYMBOLS.log(c.scale) for c in components),
        *(1.0 if c.dof is None else c.dof for c in components),
    ]
    kernels = np.array([KERNELS[c.kernel] for c in components])
    terms = []
    if len(data.count):
        of_bins = (kernels, data.condition, data.ln_r, data.count / data.design_effect)
        terms.append(Term(BINS, inputs, of_bins))
    bounds = data.intervals
    if len(bounds.count):
        count = bounds.count.astype(np.float64)
        of_bounds = (kernels, bounds.condition, bounds.ln_low, bounds.ln_high, count)
        terms.append(Term(INTERVALS, inputs, of_bounds))
    if len(data.summaries.n):
        mean, variance = _moments(components)
        terms.append(normal_summaries(data.summaries, mean, variance, len(data.n)))
    return terms


def _moments(components: list[Component]) -> tuple[Any, Any]:
    """Mean and variance of a mixture."""
    mean: Any = 0.0
    square: Any = 0.0
    for c in components:
        weight = SYMBOLS.exp(c.ln_weight)
        variance = c.scale**2
        if c.kernel == "logistic":
            variance = variance * (np.pi**2 / 3)
        elif c.kernel == "student-t":
            dof = SYMBOLS.maximum(c.dof, 2.1)
            variance = variance * (dof / (dof - 2.0))
        mean = mean + weight * c.location
        square = square + weight * (variance + c.location**2)
    return mean, square - mean**2


def normal_summaries(data: Summaries, mean: Any, variance: Any, places: int) -> Term:
    """Term of summaries (n, mean, sum of squares) under a normal law at each place.

    Parameters
    ----------
    data : Summaries
        Any number for a condition.
    mean, variance : expressions
        Of the law.
    places : int
        Number of conditions.
    """
    some = data.n > 0
    at, of, own_mean = data.condition[some], data.n[some], data.mean[some]
    n = np.bincount(at, of, minlength=places)
    pooled = np.bincount(at, of * own_mean, minlength=places) / np.maximum(n, 1)
    squares = np.bincount(
        at, data.sum_of_squares[some] + of * (own_mean - pooled[at]) ** 2, minlength=places
    )
    around = squares + n * (mean - pooled) ** 2
    ln_density = -0.5 * around / variance - 0.5 * n * SYMBOLS.log(2 * np.pi * variance)
    return Term(TOTAL, [ln_density])


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
