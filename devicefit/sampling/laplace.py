"""Mode and curvature of a posterior: where chains start and the scale on which they move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

from devicefit.numerics.arrays import FloatArray

ValueAndGradient = Callable[[FloatArray], tuple[float, FloatArray]]
"""A log density: from a vector to the value and its gradient."""

_STEP = 1e-4
_ITERATIONS = 600
EVIDENCE_LOST = 12.0
"""A mode whose Laplace evidence is lower by more than this in ln holds no draw worth keeping."""


@dataclass(frozen=True)
class Modes:
    """Modes found from several starts, best first.

    Parameters
    ----------
    places : float array, shape (mode, parameter)
        Modes that are kept.
    root : float array, shape (parameter, parameter)
        Upper triangular; ``root @ root.T`` is the covariance of the Laplace approximation at the
        best mode.
    ln_evidence : float array, shape (start,)
        Laplace approximation of the ln evidence around where each start ended.
    """

    places: FloatArray
    root: FloatArray
    ln_evidence: FloatArray


def find_modes(value_and_gradient: ValueAndGradient, starts: FloatArray) -> Modes:
    """Climb to a mode from each start and measure the curvature there.

    Parameters
    ----------
    value_and_gradient : callable
        ln posterior and its gradient at a point; the prior is a standard normal.
    starts : float array, shape (start, parameter)

    Notes
    -----
    Starts that end in modes with a far lower evidence (`EVIDENCE_LOST`) would only trap chains;
    they are dropped. Modes of comparable evidence are kept, so that chains show that there are
    several: R-hat then tells.
    """
    found = [_climb(value_and_gradient, start) for start in starts]
    roots = [_root(value_and_gradient, place) for place, _ in found]
    evidence = np.array(
        [
            value + np.sum(np.log(np.diag(root)))
            for (_, value), root in zip(found, roots, strict=True)
        ]
    )
    order = np.argsort(-evidence, kind="stable")
    best = int(order[0])
    kept = [i for i in order if evidence[i] > evidence[best] - EVIDENCE_LOST]
    return Modes(np.stack([found[i][0] for i in kept]), roots[best], evidence)


def _climb(value_and_gradient: ValueAndGradient, start: FloatArray) -> tuple[FloatArray, float]:
    def negative(z: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = value_and_gradient(z)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            # High, yet low enough for the line search to interpolate on its way back.
            return 1e10, np.zeros_like(z)
        return -value, -gradient

    result = minimize(
        negative,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "maxcor": 30, "ftol": 1e-9, "gtol": 1e-3},
    )
    return np.asarray(result.x), -float(result.fun)


def _root(value_and_gradient: ValueAndGradient, place: FloatArray) -> FloatArray:
    """Upper triangular root of the inverse of the negative Hessian at `place`."""
    n = len(place)
    hessian = np.empty((n, n))
    for i in range(n):
        step = np.zeros(n)
        step[i] = _STEP
        up, down = (value_and_gradient(place + s)[1] for s in (step, -step))
        hessian[i] = -(up - down) / (2 * _STEP)
    hessian = (hessian + hessian.T) / 2
    values, vectors = np.linalg.eigh(np.nan_to_num(hessian))
    # The prior alone has curvature one. Away from the mode it can be less; that would only make
    # the scale too wide.
    values = np.clip(values, 0.5, None)
    factor = cholesky((vectors * values) @ vectors.T, lower=True)
    return np.asarray(solve_triangular(factor, np.eye(n), lower=True).T)
