"""Readings that are not yet taken: what they would look like, and what they would teach.

Preposterior analysis: a draw of the posterior plays the truth, readings are simulated under it, and
the other draws are judged by them. Two routes lead from simulated readings to a posterior:

- weights: every draw has the likelihood of the readings for its importance weight;
- moments (:mod:`devicefit.simulation.moved_draws`): for so many readings that hardly any draw
keeps weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from devicefit.distributions.mixture import Mixture
from devicefit.fitting.fitted import Fitted
from devicefit.measurements.measurements import STATES
from devicefit.numerics.arrays import FloatArray, IntArray

_TAILS = np.logspace(-9, -2, 29)
_INNER = np.linspace(0.0125, 0.9875, 79)


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
