"""Draws of a posterior moved to where readings that are not yet taken would put them.

Linearly, so that their covariance is that of a normal posterior with the Fisher information of the
readings added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from devicefit.fitting.fit import DevicePosterior
from devicefit.fitting.fitted import Fitted
from devicefit.measurements.measurements import STATES
from devicefit.numerics.arrays import FloatArray
from devicefit.prediction.stacking import StackedDevice
from devicefit.simulation.new_readings import NewReadings, binned

_STEP = 0.05
_FISHER_DRAWS = 24


@dataclass(frozen=True)
class LinearUpdate:
    """What readings do to draws when everything is normal.

    Parameters
    ----------
    mean : float array, shape (parameter,)
        Mean of the draws.
    shrink : float array, shape (parameter, parameter)
        Turns deviations from the mean into those of the new posterior.
    shift_root : float array, shape (parameter, parameter)
        Root of the covariance of the new mean over simulated readings.
    """

    mean: FloatArray
    shrink: FloatArray
    shift_root: FloatArray

    def draws(self, before: FloatArray, *, rng: np.random.Generator) -> FloatArray:
        """Draws (draw, parameter) after one set of simulated readings."""
        shift = self.shift_root @ rng.standard_normal(len(self.mean))
        return np.asarray(self.mean + shift + (before - self.mean) @ self.shrink.T)


def linear_update(before: FloatArray, information: FloatArray) -> LinearUpdate:
    """Normal posterior of draws after readings with a Fisher information.

    Parameters
    ----------
    before : float array, shape (draw, parameter)
        Draws.
    information : float array, shape (parameter, parameter)
        Fisher information of the readings.

    Notes
    -----
    With the draws' covariance ``C = L L'`` and ``M = I + L' F L`` the new covariance is
    ``C' = L M^-1 L'``. Deviations are multiplied by ``L M^-1/2 L^-1``; the new mean has the
    covariance ``C - C'`` over simulated readings. A skewed posterior stays skewed.
    """
    mean = before.mean(axis=0)
    covariance = np.atleast_2d(np.cov(before, rowvar=False))
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-12 * values.max())
    root = vectors * np.sqrt(values)
    inverse = (vectors / np.sqrt(values)).T
    gain, directions = np.linalg.eigh(root.T @ information @ root)
    gain = np.maximum(gain, 0.0)
    shrink = root @ (directions / np.sqrt(1 + gain)) @ directions.T @ inverse
    shift = root @ (directions * np.sqrt(gain / (1 + gain)))
    return LinearUpdate(mean, shrink, shift)


def moments_update(posterior: Fitted, readings: Sequence[NewReadings]) -> dict[str, LinearUpdate]:
    """Linear update of the draws of each family."""
    found = {}
    for family, part in _families(posterior).items():
        before = _vectors(part)
        found[family] = linear_update(before, _information(part, before, readings))
    return found


def updated(
    posterior: Fitted, updates: Mapping[str, LinearUpdate], *, rng: np.random.Generator
) -> Fitted:
    """The posterior after one set of simulated readings, by moments.

    Weights of stacked families stay as they are.
    """
    parts = {
        family: _with_vectors(part, updates[family].draws(_vectors(part), rng=rng))
        for family, part in _families(posterior).items()
    }
    if isinstance(posterior, StackedDevice):
        return replace(posterior, posteriors={**posterior.posteriors, **parts})
    return next(iter(parts.values()))


def thinned_posterior(posterior: Fitted, draws: int) -> Fitted:
    """The posterior with about so many draws, evenly spaced in each chain."""
    if isinstance(posterior, StackedDevice):
        return replace(
            posterior, posteriors={f: _thin(p, draws) for f, p in posterior.posteriors.items()}
        )
    assert isinstance(posterior, DevicePosterior)
    return _thin(posterior, draws)


def _thin(posterior: DevicePosterior, draws: int) -> DevicePosterior:
    sizes = posterior.draws.sizes
    every = max(1, sizes["chain"] * sizes["draw"] // draws)
    return replace(posterior, draws=posterior.draws.isel(draw=slice(None, None, every)))


def _families(posterior: Fitted) -> dict[str, DevicePosterior]:
    if isinstance(posterior, StackedDevice):
        return {name: posterior.posteriors[name] for name in posterior.used}
    assert isinstance(posterior, DevicePosterior)
    return {posterior.family: posterior}


def _vectors(posterior: DevicePosterior) -> FloatArray:
    """Draws as vectors, shape (draw, parameter), chains one after another."""
    count = posterior.draws.sizes["chain"] * posterior.draws.sizes["draw"]
    return np.concatenate(
        [v.values.reshape(count, -1) for v in posterior.draws.data_vars.values()], axis=1
    )


def _with_vectors(
    posterior: DevicePosterior, vectors: FloatArray, shape: tuple[int, int] | None = None
) -> DevicePosterior:
    sizes = posterior.draws.sizes
    chains, draws = shape or (sizes["chain"], sizes["draw"])
    named, start = {}, 0
    for name, variable in posterior.draws.data_vars.items():
        tail = variable.shape[2:]
        width = int(np.prod(tail, dtype=np.int64))
        part = vectors[:, start : start + width]
        named[str(name)] = (variable.dims, part.reshape((chains, draws, *tail)))
        start += width
    return replace(posterior, draws=xr.Dataset(named))


def _information(
    posterior: DevicePosterior, before: FloatArray, readings: Sequence[NewReadings]
) -> FloatArray:
    """Expected Fisher information of readings, mean over draws, shape (parameter, parameter).

    ``sum_b (dp_b)(dp_b)' / p_b`` over fine bins b, slopes by central differences of a twentieth of
    a posterior standard deviation.
    """
    size = before.shape[1]
    at = before[:: max(1, len(before) // _FISHER_DRAWS)][:_FISHER_DRAWS]
    step = _STEP * np.maximum(before.std(axis=0), 1e-9)
    moves = np.concatenate([np.zeros((1, size)), np.diag(step), -np.diag(step)])
    vectors = (at[:, None, :] + moves[None]).reshape(-1, size)
    probe = _with_vectors(posterior, vectors, (1, len(vectors)))
    total = np.zeros((size, size))
    for new in readings:
        laws = probe.mixtures(np.array([new.x]))
        for state in STATES:
            if new.n[state] <= 0:
                continue
            law = laws[state].part((0, slice(None), 0))
            ln_p = binned(law).ln_p.reshape(len(at), len(moves), -1)
            p = np.exp(ln_p)
            slope = (p[:, 1 : size + 1] - p[:, size + 1 :]) / (2 * step[:, None])
            score = slope / np.sqrt(np.maximum(p[:, :1], 1e-12))
            total += new.n[state] * np.einsum("dib,djb->ij", score, score) / len(at)
    return total
