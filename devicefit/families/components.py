"""Components of the law of ln R, and what a PyMC model and a mixture of draws make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from devicefit.compressed import CompressedState, Intervals, Summaries
from devicefit.likelihood.mixture_op import readings_likelihood
from devicefit.mixture import Mixture
from devicefit.programming import FloatArray


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


def add_readings(state: str, components: Sequence[Component], data: CompressedState) -> None:
    """Add the likelihood of one state's readings to the PyMC model in whose context this runs.

    Readings in bins and readings known by bounds, and published summaries where there are any.

    Notes
    -----
    Counts are divided by the design effect. A summary (n, mean, standard deviation of ln R) does
    not determine the likelihood of a law that is not normal. It enters as that of a normal law with
    the mean and the variance of the mixture, which is right in those two and says nothing about
    tails. A Student-t component has a variance above two degrees of freedom only; below 2.1 its
    variance is taken at 2.1.
    """
    bins = {
        "at": data.condition.astype(np.int32),
        "ln_r": data.ln_r,
        "count": data.count / data.design_effect,
    }
    readings = [pm.Data(f"{state}_{k}", v, dims=f"{state}_bin") for k, v in bins.items()]
    readings += bounds_data(state, data.intervals)
    parts = [(c.kernel, c.ln_weight, c.location, pt.log(c.scale), c.dof) for c in components]
    pm.Potential(f"{state}_readings", readings_likelihood(parts, readings))
    if len(data.summaries.n):
        mean, variance = _moments(components)
        add_normal_summaries(f"{state}_summaries", data.summaries, mean, variance)


def bounds_data(state: str, intervals: Intervals) -> list[Any]:
    """Readings known by bounds as data of the PyMC model."""
    bounds = {
        "at": intervals.condition.astype(np.int32),
        "ln_low": intervals.ln_low,
        "ln_high": intervals.ln_high,
        "count": intervals.count.astype(np.float64),
    }
    dim = f"{state}_interval"
    return [pm.Data(f"{state}_between_{k}", v, dims=dim) for k, v in bounds.items()]


def _moments(components: Sequence[Component]) -> tuple[Any, Any]:
    """Mean and variance of a mixture."""
    mean: Any = 0.0
    square: Any = 0.0
    for c in components:
        weight = pt.exp(c.ln_weight)
        variance = c.scale**2
        if c.kernel == "logistic":
            variance = variance * (np.pi**2 / 3)
        elif c.kernel == "student-t":
            dof = pt.maximum(c.dof, 2.1)
            variance = variance * (dof / (dof - 2.0))
        mean = mean + weight * c.location
        square = square + weight * (variance + c.location**2)
    return mean, square - mean**2


def add_normal_summaries(name: str, data: Summaries, mean: Any, variance: Any) -> None:
    """Add the likelihood of summaries (n, mean, sum of squares) under a normal law to the model.

    Parameters
    ----------
    name : str
        Of the term.
    data : Summaries
        Any number for a condition.
    mean, variance : PyTensor vector, shape (condition,)
        Of the law.
    """
    some = data.n > 0
    values = {
        "at": data.condition[some].astype(np.int32),
        "n": data.n[some].astype(np.float64),
        "mean": data.mean[some],
        "squares": data.sum_of_squares[some],
    }
    at, n, own_mean, squares = (
        pm.Data(f"{name}_{key}", value, dims=f"{name}_row") for key, value in values.items()
    )
    v = variance[at]
    around = squares + n * (mean[at] - own_mean) ** 2
    pm.Potential(name, pt.sum(-0.5 * around / v - 0.5 * n * pt.log(2 * np.pi * v)))


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
