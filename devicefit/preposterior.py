"""Readings that are not yet taken: what they would look like, and what they would teach.

Preposterior analysis: a draw of the posterior plays the truth, readings are simulated under it, and
the other draws are judged by them. Two routes lead from simulated readings to a posterior:

- weights: every draw has the likelihood of the readings for its importance weight;
- moments: draws are moved linearly so that their covariance is that of a normal posterior with the
  Fisher information of the readings added. For so many readings that hardly any draw keeps weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from devicefit.fitted import Fitted
from devicefit.fitting import DevicePosterior
from devicefit.measurements import STATES
from devicefit.mixture import Mixture
from devicefit.programming import FloatArray, IntArray
from devicefit.stacking import StackedDevice

_TAILS = np.logspace(-9, -2, 29)
_INNER = np.linspace(0.0125, 0.9875, 79)
_STEP = 0.05
_FISHER_DRAWS = 24


@dataclass(frozen=True)
class NewReadings:
    """Readings at one programming value that are not yet taken.

    Parameters
    ----------
    x : float
        Programming value, SI.
    n : dict of str to float
        For each state the number of independent readings that they are worth.
    """

    x: float
    n: dict[str, float]


def independent_readings(
    devices: float, cycles: float, *, design_effect: float, readings_per_device: float
) -> float:
    """How many independent readings those of some devices are worth.

    Parameters
    ----------
    devices, cycles : float
        Devices, and readings of each in one state.
    design_effect, readings_per_device : float
        Of the readings that were fitted.

    Returns
    -------
    float
        ``devices * cycles / (1 + (cycles - 1) rho)`` with the correlation ``rho`` of readings of a
        device that explains the design effect: ``deff = 1 + (m - 1) rho`` (Kish 1965).

    Raises
    ------
    ValueError
        Several cycles are asked for and no device was read twice.
    """
    if devices == 0 or cycles == 0:
        return 0.0
    rho = correlation(design_effect, readings_per_device)
    if rho is None:
        if cycles > 1:
            raise ValueError(
                "no device was read twice in one state, so what repeated cycles tell is not known; "
                "ask for one cycle"
            )
        return float(devices)
    return float(devices * cycles / (1 + (cycles - 1) * rho))


def correlation(design_effect: float, readings_per_device: float) -> float | None:
    """Correlation of readings of a device; None when devices were read once."""
    if readings_per_device <= 1 + 1e-9:
        return None
    return float(np.clip((design_effect - 1) / (readings_per_device - 1), 0.0, 1.0))


@dataclass(frozen=True)
class BinnedLaw:
    """Probability of bins of ln R under every draw.

    Parameters
    ----------
    ln_p : float array, shape (draw, bin)
        Natural logarithm; probabilities sum to one over bins, the outer ones are open.
    edges : float array, shape (bin - 1,)
        Edges between the bins, ln of ohm.
    """

    ln_p: FloatArray
    edges: FloatArray

    def count(self, ln_r: FloatArray) -> FloatArray:
        """Readings in each bin, shape (bin,)."""
        place = np.searchsorted(self.edges, ln_r)
        return np.bincount(place, minlength=self.ln_p.shape[1]).astype(np.float64)

    def simulate(self, n: float, truth: IntArray, *, rng: np.random.Generator) -> FloatArray:
        """Counts of readings, shape (simulation, bin), each row under its own true draw.

        Where `n` is not an integer each row has the next lower or higher one, `n` in the mean.
        """
        whole = int(np.floor(n))
        number = whole + (rng.random(len(truth)) < n - whole)
        p = np.exp(self.ln_p[truth])
        return rng.multinomial(number, p / p.sum(axis=1, keepdims=True)).astype(np.float64)

    def ln_likelihood(self, counts: FloatArray) -> FloatArray:
        """Log likelihood of counts, shape (simulation, draw), up to a constant of the row."""
        return counts @ self.ln_p.T


def binned(law: Mixture) -> BinnedLaw:
    """Bins of a law with trailing shape (draw,).

    Notes
    -----
    Edges are quantiles of the mean law: 80 bins of equal probability and ever smaller ones down to
    1e-9 on both sides, so that rare failures have bins of their own.
    """
    edges = _edges(law)
    return BinnedLaw(_ln_probabilities(law, edges), edges)


def _edges(law: Mixture) -> FloatArray:
    every = max(1, law.trailing[0] // 100)
    few = law.part((slice(None, None, every),))
    heavy = {"normal": 7.0, "logistic": 14.0, "student-t": 30.0}
    reach = np.array([heavy[k] for k in few.kernels])[:, None]
    seen = few.ln_weight > -60
    low = np.where(seen, few.location - reach * few.scale, np.inf).min()
    high = np.where(seen, few.location + reach * few.scale, -np.inf).max()
    grid = np.linspace(low, high, 2000)
    below = np.exp(few.ln_distribution(grid[:, None])).mean(axis=1)
    above = np.exp(few.ln_survival(grid[:, None])).mean(axis=1)
    half = np.concatenate([_TAILS, _INNER[_INNER <= 0.5]])
    left = np.interp(half, np.maximum.accumulate(below), grid)
    right = np.interp(half, np.maximum.accumulate(above[::-1]), grid[::-1])
    return np.unique(np.concatenate([left, right]))


def _ln_probabilities(law: Mixture, edges: FloatArray) -> FloatArray:
    """Logarithm of the probability of the bins between `edges`, shape (draw, bin)."""
    half = len(edges) // 2
    # Differences are taken on the side of the tail, where they keep their digits.
    below = np.exp(law.ln_distribution(edges[: half + 1, None])).T
    above = np.exp(law.ln_survival(edges[half:, None])).T
    parts = [below[..., :1], np.diff(below, axis=-1), -np.diff(above, axis=-1), above[..., -1:]]
    return np.log(np.maximum(np.concatenate(parts, axis=-1), 1e-300))


def laws_at(posterior: Fitted, x: FloatArray, draw: IntArray) -> dict[str, Mixture]:
    """Laws of chosen draws (chains flattened), trailing shape (draw, x)."""
    laws = posterior.mixtures(np.atleast_1d(np.asarray(x, dtype=np.float64)))
    size = laws["LRS"].trailing[1]
    return {state: law.part((draw // size, draw % size)) for state, law in laws.items()}


def ln_likelihoods(
    posterior: Fitted,
    readings: Sequence[NewReadings],
    draw: IntArray,
    truth: IntArray,
    *,
    rng: np.random.Generator,
) -> FloatArray:
    """Simulate readings and judge every draw by them.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    readings : sequence of NewReadings
        What is measured; may be empty.
    draw : int array, shape (draw,)
        Draws of the posterior (chains flattened) that are judged.
    truth : int array, shape (simulation,)
        Places in `draw` of those that play the truth.
    rng : numpy.random.Generator
        New readings for every simulation.

    Returns
    -------
    float array, shape (simulation, draw)
        Log likelihood up to a constant of the row.
    """
    total = np.zeros((len(truth), len(draw)))
    for new in readings:
        laws = laws_at(posterior, np.array([new.x]), draw)
        for state in STATES:
            if new.n[state] > 0:
                law = binned(laws[state].part((slice(None), 0)))
                total += law.ln_likelihood(law.simulate(new.n[state], truth, rng=rng))
    return total


# --- moments --------------------------------------------------------------------------------------


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
