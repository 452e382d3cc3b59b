"""The PyMC model of a family's page: its variables, its readings, what else is known.

This module imports PyMC, which takes seconds; only what builds a model imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from devicefit.families.components import Component, Laws
from devicefit.families.core import Here
from devicefit.families.frame import Frame, Places
from devicefit.families.operations import with_shifts
from devicefit.likelihood.at_places import variables_at_places
from devicefit.likelihood.compressed import Compressed, CompressedState, Intervals, Summaries
from devicefit.likelihood.draws import NUMBER
from devicefit.likelihood.mixture_op import readings_likelihood
from devicefit.sampling.prior import Prior


def pymc_model(
    compressed: Compressed,
    frame: Frame,
    priors: Sequence[Prior],
    laws_of: Callable[[Any, Frame, Here, Here], Laws],
    add_likelihood: Callable[[Mapping[str, Any], Here, Laws, Compressed, Frame], None] | None,
    statements: Sequence[Any],
) -> pm.Model:
    """:meth:`devicefit.families.family.Family.model` from the parts of a page."""
    measured = frame.places(
        compressed.conditions, second=compressed.second_values, array=compressed.array
    )
    coords = {
        "condition": np.arange(len(compressed.conditions)),
        "term": np.arange(frame.terms),
        "array": list(frame.arrays),
    }
    # Proposals beyond all bounds are divergences; asking at each step whether there are any
    # takes longer than the formulas.
    with pm.Model(coords=coords, check_bounds=False) as model:
        p: dict[str, Any] = {}
        for q in priors:
            sd = pt.exp(p[q.ln_sd]) if q.ln_sd else q.sd
            p[q.name] = pm.Normal(q.name, q.mean, sd, dims=q.dim or None)
        here = variables_here(p, priors, _data(measured))
        strongest = here
        if not frame.is_single:
            end = _data(frame.strong_end(compressed.array), "strongest_")
            strongest = variables_here(p, priors, end)
        laws = laws_of(pt, frame, here, strongest)
        if add_likelihood is not None:
            add_likelihood(p, here, laws, compressed, frame)
        else:
            for state, components in laws.items():
                add_readings(state, components, compressed.states[state])
        for i, statement in enumerate(statements):
            at = frame.places(np.array([statement.at]))
            stated = variables_here(p, priors, _data(at, f"statement_{i}_"))
            factor = statement.ln_factor(pt, frame, stated)
            pm.Potential(f"statement_{i}", factor.sum())
    return model


def _data(places: Places, prefix: str = "") -> Places:
    """Places as data of the PyMC model in whose context this runs."""
    return Places(
        pm.Data(f"{prefix}position", places.position),
        pm.Data(f"{prefix}second", places.second),
        pm.Data(f"{prefix}array_of", places.array.astype(np.int32)),
        pm.Data(f"{prefix}basis", places.basis),
        pm.Data(f"{prefix}ln_middle", places.ln_middle),
        pm.Data(f"{prefix}ln_width", places.ln_width),
    )


def variables_here(p: Mapping[str, Any], priors: Sequence[Prior], places: Places) -> Here:
    """Variables of a PyMC model at places."""
    kinds = {q.name: q.dim or NUMBER for q in priors}
    placed = variables_at_places(p, kinds, places.basis, places.array)
    return Here(with_shifts(pt, placed), places)


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
