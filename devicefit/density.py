"""Log densities of many parameters with their gradients, put together from terms.

What a term needs at each place is recorded from formulas (:mod:`devicefit.tape`). A term is of one
of a few kinds; it walks over its data once and gives its value and the gradient by what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np

from devicefit.binned import binned_mixture
from devicefit.interval import interval_mixture
from devicefit.level_density import density_and_gradient
from devicefit.native import (
    DENSITY,
    Native,
    answer,
    floats,
    integers,
    out_of_scale,
    place,
)
from devicefit.numerics.compiled import cfunc, njit
from devicefit.programming import FloatArray
from devicefit.tape import STEP_COLUMNS, Tape, record
from devicefit.tape_kernel import backward, forward

ValueAndGradient = Callable[[FloatArray], tuple[float, FloatArray]]
"""A log density: from a vector to the value and its gradient."""

BINS, INTERVALS, LEVELS, TOTAL, ONCE = range(5)
"""Kinds of terms.

`BINS` and `INTERVALS`: readings in fine bins, or known by bounds, under a mixture (the data of
:func:`devicefit.binned.binned_mixture` and :func:`devicefit.interval.interval_mixture`, kernels
first); the inputs are ln weight, location, ln scale and degrees of freedom of each component.
`LEVELS`: correlated readings (:func:`devicefit.level_density.density_and_gradient`); the inputs are
the means and standard deviations of both states and the levels. `TOTAL`: the sum of the inputs over
places. `ONCE`: the sum of inputs that are the same at all places.
"""

_MOST_DATA = 5
_TERM = 3 + 2 * _MOST_DATA
_PLACES, _STEPS, _CONSTANTS, _OUTPUTS, _TERMS = 0, 1, 3, 5, 7
_HEAD = 8


@dataclass(frozen=True, eq=False)
class Term:
    """A summand of a log density.

    Parameters
    ----------
    kind : int
        `BINS`, `INTERVALS`, `LEVELS`, `TOTAL` or `ONCE`.
    inputs : sequence of expressions or numbers
        What it needs: one value, or one for each place.
    data : tuple of arrays, optional
        What it walks over.
    """

    kind: int
    inputs: Sequence[Any]
    data: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True, eq=False)
class Density:
    """Sum of terms as a function of the vector of all parameters.

    Parameters
    ----------
    tape : Tape
        Computes the inputs of all terms.
    terms : tuple of Term
        Summands; their inputs are the outputs of the tape, in order.
    """

    tape: Tape
    terms: tuple[Term, ...]

    @classmethod
    def of(cls, terms: Sequence[Term], places: int) -> Density:
        """Density with the given terms at a number of places.

        Raises
        ------
        ValueError
            There is no term.
        """
        if not terms:
            raise ValueError("no term: there is nothing that a likelihood could be made of")
        return cls(record([i for t in terms for i in t.inputs], places), tuple(terms))

    def __call__(self, vector: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient; a value that is not finite has a gradient of no meaning."""
        return _evaluate(np.ascontiguousarray(vector, dtype=np.float64), self.table)

    @cached_property
    def table(self) -> np.ndarray:
        """Sizes and addresses of everything, for compiled code."""
        tape, kept = self.tape, iter(self.kept)
        head = [tape.places, *(e for _ in range(3) for e in place(next(kept))), len(self.terms)]
        rows = []
        first = 0
        for term in self.terms:
            end = first + len(term.inputs)
            ends = [e for _ in term.data for e in place(next(kept))]
            rows += [term.kind, first, end, *ends, *[0] * (2 * _MOST_DATA - len(ends))]
            first = end
        return np.array(head + rows, dtype=np.int64)

    @cached_property
    def kept(self) -> tuple[np.ndarray, ...]:
        """Arrays whose addresses are in `table`: those of the tape, then those of the terms."""
        of_terms = (array for term in self.terms for array in term.data)
        return tuple(
            np.ascontiguousarray(a, dtype=np.int64 if a.dtype.kind in "iub" else np.float64)
            for a in (self.tape.steps, self.tape.constants, self.tape.outputs, *of_terms)
        )


@dataclass(frozen=True, eq=False)
class Posterior:
    """A density times a prior, in units of the prior.

    Parameters
    ----------
    likelihood : Density
        Of the vector of all parameters.
    mean, sd : float array, shape (parameter,)
        Of the normal priors.
    """

    likelihood: Density
    mean: FloatArray
    sd: FloatArray

    def __call__(self, z: FloatArray) -> tuple[float, FloatArray]:
        """Value up to a constant, and gradient; `z` is standard normal before the data."""
        value, gradient = self.likelihood(self.mean + self.sd * z)
        return value - 0.5 * float(z @ z), self.sd * gradient - z

    def native(self, centre: FloatArray, root: FloatArray) -> Native:
        """The same at ``centre + root @ w`` as machine code."""
        own = tuple(
            np.ascontiguousarray(a, dtype=np.float64)
            for a in (centre, root, self.mean, self.sd, self.likelihood.table.view(np.float64))
        )
        table = np.array([place(a)[0] for a in own] + [len(self.likelihood.table)], dtype=np.int64)
        return Native(_native_posterior, table, (*own, *self.likelihood.kept))


@njit(error_model="numpy")
def _evaluate(vector, table):  # type: ignore[no-untyped-def]
    places = table[_PLACES]
    steps = integers(table[_STEPS], table[_STEPS + 1]).reshape(-1, STEP_COLUMNS)
    constants = floats(table[_CONSTANTS], table[_CONSTANTS + 1])
    outputs = integers(table[_OUTPUTS], table[_OUTPUTS + 1])
    found, memory = forward(vector, steps, constants, outputs, places)
    seed = np.zeros(found.shape)
    total = 0.0
    for t in range(table[_TERMS]):
        term = table[_HEAD + t * _TERM : _HEAD + (t + 1) * _TERM]
        rows, slopes = found[term[1] : term[2]], seed[term[1] : term[2]]
        if term[0] == TOTAL:
            total += rows.sum()
            slopes[:] = 1.0
        elif term[0] == ONCE:
            total += rows[:, 0].sum()
            slopes[:, 0] = 1.0
        elif term[0] == LEVELS:
            total += _levels(term, rows, slopes)
        else:
            total += _mixture(term, rows, slopes)
    return total, backward(vector, steps, constants, outputs, memory, seed)


@njit(error_model="numpy")
def _mixture(term, rows, slopes):  # type: ignore[no-untyped-def]
    n = term[4]
    kernels, condition = integers(term[3], n), integers(term[5], term[6])
    ln_weight = np.ascontiguousarray(rows[:n].T)
    location = np.ascontiguousarray(rows[n : 2 * n].T)
    ln_scale = np.ascontiguousarray(rows[2 * n : 3 * n].T)
    dof = rows[3 * n :, 0].copy()
    first, second = floats(term[7], term[8]), floats(term[9], term[10])
    if term[0] == BINS:
        value, by_weight, by_location, by_scale, by_dof = binned_mixture(
            kernels, ln_weight, location, ln_scale, dof, condition, first, second
        )
    else:
        count = floats(term[11], term[12])
        value, by_weight, by_location, by_scale, by_dof = interval_mixture(
            kernels, ln_weight, location, ln_scale, dof, condition, first, second, count
        )
    slopes[:n], slopes[n : 2 * n], slopes[2 * n : 3 * n] = by_weight.T, by_location.T, by_scale.T
    slopes[3 * n :, 0] = by_dof
    return value


@njit(error_model="numpy")
def _levels(term, rows, slopes):  # type: ignore[no-untyped-def]
    index = integers(term[3], term[4]).reshape(-1, 3)
    statistics = floats(term[5], term[6]).reshape(len(index), -1)
    array = integers(term[7], term[8])
    value, by_level, by_mean, by_sd = density_and_gradient(
        rows[4:, 0].copy(), rows[:2].copy(), rows[2:4].copy(), index, statistics, array
    )
    slopes[:2], slopes[2:4], slopes[4:, 0] = by_mean, by_sd, by_level
    return value


@cfunc(DENSITY, error_model="numpy")
def _native_posterior(n, w_, gradient_, value_, table_):  # type: ignore[no-untyped-def]
    table = numba.carray(table_, (6,), dtype=np.int64)
    root = floats(table[1], n * n)
    z = out_of_scale(numba.carray(w_, (n,)), floats(table[0], n), root)
    mean, sd = floats(table[2], n), floats(table[3], n)
    value, gradient = _evaluate(mean + sd * z, integers(table[4], table[5]))
    return answer(
        value - 0.5 * np.sum(z * z),
        sd * gradient - z,
        root,
        numba.carray(value_, (1,)),
        numba.carray(gradient_, (n,)),
    )
