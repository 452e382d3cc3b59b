"""Priors as data: what is assumed before the first reading, with where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.numerics.arrays import FloatArray


@dataclass(frozen=True)
class Prior:
    """Normal prior of one parameter on the scale in which the model uses it.

    Parameters
    ----------
    name : str
        Name of the parameter in the posterior.
    mean, sd : float
        Of the normal law.
    meaning : str
        What the parameter is, with scale and unit.
    source : str
        Where the numbers come from. "weak" marks a range chosen wide enough not to matter.
    size : int
        0 for a number, otherwise the length of a vector of independent parameters.
    dim : str
        Dimension of a vector, ``"term"`` (of a smooth deviation) or ``"array"``; empty for a
        number.
    ln_sd : str
        Parameter, earlier in the table, that is the logarithm of the standard deviation of a
        vector: the law between arrays. `sd` is then a typical value, the scale on which a sampler
        moves. Empty where `sd` is known.
    """

    name: str
    mean: float
    sd: float
    meaning: str
    source: str
    size: int = 0
    dim: str = ""
    ln_sd: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.sd < np.inf:
            raise ValueError(f"prior {self.name}: sd is {self.sd}; it must be positive")
        if not np.isfinite(self.mean):
            raise ValueError(f"prior {self.name}: mean is {self.mean}; it must be finite")


LN10 = float(np.log(10.0))


def layout(priors: tuple[Prior, ...]) -> dict[str, int | slice]:
    """Where each prior's parameters are in the vector of all of them."""
    found: dict[str, int | slice] = {}
    at = 0
    for p in priors:
        found[p.name] = slice(at, at + p.size) if p.size else at
        at += max(p.size, 1)
    return found


def moments(priors: tuple[Prior, ...]) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each element of the vector of all parameters."""
    each = np.repeat(np.arange(len(priors)), [max(p.size, 1) for p in priors])
    mean, sd = (np.array([getattr(p, name) for p in priors])[each] for name in ("mean", "sd"))
    return mean, sd


def sample_priors(
    priors: tuple[Prior, ...], *, draws: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Draw parameters from their priors, shape (1, draws) each (one chain), vectors last."""
    found: dict[str, FloatArray] = {}
    for p in priors:
        sd = np.exp(found[p.ln_sd])[..., None] if p.ln_sd else p.sd
        found[p.name] = rng.normal(p.mean, sd, size=(1, draws, p.size) if p.size else (1, draws))
    return found


def ln_prior(priors: Iterable[Prior], draws: Mapping[str, FloatArray]) -> FloatArray:
    """Log density of draws under their priors up to a constant, shape (chain, draw)."""
    total: Any = 0.0
    for p in priors:
        values = np.asarray(draws[p.name], dtype=np.float64)
        ln_sd = np.asarray(draws[p.ln_sd])[..., None] if p.ln_sd else np.log(p.sd)
        each = -0.5 * ((values - p.mean) * np.exp(-ln_sd)) ** 2 - ln_sd
        total = total + each.reshape((*values.shape[:2], -1)).sum(axis=2)
    return np.asarray(total)


def prior_record(priors: tuple[Prior, ...]) -> list[dict[str, Any]]:
    """Priors as plain rows for JSON and reports."""
    return [
        {
            "name": p.name,
            "mean": p.mean,
            "sd": p.sd,
            "size": p.size,
            "dim": p.dim,
            "ln_sd": p.ln_sd,
            "meaning": p.meaning,
            "source": p.source,
        }
        for p in priors
    ]
