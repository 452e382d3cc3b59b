"""Cycles to wear-out over the programming variable, from cells that failed and survivors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, ndtri

from devicefit.backend import SamplerOptions
from devicefit.density import ValueAndGradient
from devicefit.life_fit import LifeDraws, sample_life
from devicefit.priors import Prior
from devicefit.programming import FloatArray, IntArray, Programming, beyond

LAWS = ("lognormal", "weibull")
PRIORS = (
    Prior(
        "ln_median_cycles",
        math.log(1e7),
        3.5,
        "ln of the median cycles to wear-out, mid range",
        "weak; 3e4 to 3e9. Published: above 1e8 (Garbin 2015), degraded at 1e7 (Dalgaty 2021)",
    ),
    Prior(
        "slope",
        0.0,
        5.0,
        "change of that from mid range to the strong end",
        "weak, either way; published: low-voltage programming lives for billions (Bocquet 2018)",
    ),
    Prior(
        "ln_scale", math.log(1.5), 0.5, "ln of the scale of ln cycles at one programming", "weak"
    ),
)


@dataclass(frozen=True)
class WearOutTable:
    """Inspections of groups of cells that are cycled at one programming each.

    Parameters
    ----------
    x : float array, shape (row,)
        Value of the programming variable, SI.
    previous_cycles, cycles : float array, shape (row,)
        Cycles of the inspection before and of this one; 0 where there was none before.
    failed, survivors : int array, shape (row,)
        Cells that failed between the two, and cells that left the test unfailed at `cycles`.
    programming : Programming
        The programming variable.

    Raises
    ------
    ValueError
        Values contradict each other, no cell failed, or there is one programming only.
    """

    x: FloatArray
    previous_cycles: FloatArray
    cycles: FloatArray
    failed: IntArray
    survivors: IntArray
    programming: Programming

    def __post_init__(self) -> None:
        for name, bad, remedy in (
            (
                "cycles",
                ~(np.isfinite(self.cycles) & (self.cycles > 0)),
                "give cycles above 0; what was bad before cycling did not wear out, leave it out",
            ),
            (
                "previous_cycles",
                ~((self.previous_cycles >= 0) & (self.previous_cycles < self.cycles)),
                "give the cycles of the inspection before, 0 if there was none",
            ),
            ("failed", self.failed < 0, "count cells"),
            ("survivors", self.survivors < 0, "count cells"),
            (
                "failed",
                self.failed + self.survivors < 1,
                "a row needs a cell that failed or left unfailed",
            ),
        ):
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                raise ValueError(f"{name} is {getattr(self, name)[row]} in row {row + 1}; {remedy}")
        if not self.failed.sum():
            raise ValueError(
                "no cell failed: that tells no median, only that it is beyond the test; cycle "
                "longer, or state what is known with a required number of cycles below the test's"
            )
        if len(np.unique(self.x)) < 2:
            raise ValueError(
                "all cells were programmed alike, which tells nothing over programming; cycle "
                "cells at two programming values or more"
            )

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.failed.sum() + self.survivors.sum())


@dataclass(frozen=True)
class WearOut:
    """Posterior of the cycles to wear-out over the programming variable.

    Parameters
    ----------
    law : {"lognormal", "weibull"}
        Law of the cycles of one programming.
    fitted : LifeDraws
        Parameters of :data:`PRIORS`.
    programming : Programming
        The programming variable.
    x_low, x_high : float
        Measured programming values.
    cycles_high : float
        Longest test.
    """

    law: str
    fitted: LifeDraws
    programming: Programming
    x_low: float
    x_high: float
    cycles_high: float

    def median_cycles(self, x: ArrayLike) -> FloatArray:
        """Median cycles to wear-out, shape (chain, draw, x)."""
        u = _coordinate(self.programming, x, self.x_low, self.x_high)
        median, slope = self.fitted["ln_median_cycles"], self.fitted["slope"]
        return np.asarray(np.exp(median[..., None] + slope[..., None] * u))

    def cycles_to_share(self, x: ArrayLike, share: float) -> FloatArray:
        """Cycles by which a share of the cells is worn out, shape (chain, draw, x).

        Raises
        ------
        ValueError
            `share` is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; it must lie between 0 and 1")
        number = self.fitted.diagnostics.draws
        found = self.cycles_to_shares(x, np.full((number, 1), share), np.arange(number))
        return found.reshape(*self.fitted["slope"].shape, -1)

    def cycles_to_shares(self, x: ArrayLike, share: FloatArray, draw: IntArray) -> FloatArray:
        """The same for a share of each draw and value.

        Parameters
        ----------
        x : float array, shape (x,)
            Programming values.
        share : float array, shape (draw, x) or (draw, 1)
            Between 0 and 1.
        draw : int array, shape (draw,)
            Which draw of the posterior (chains flattened) belongs to each row.

        Returns
        -------
        float array, shape (draw, x)
        """
        if self.law == "lognormal":
            v = ndtri(share)
        else:
            v = np.log(-np.log1p(-share) / math.log(2.0))
        median = self.median_cycles(x)
        scale = np.exp(self.fitted["ln_scale"].ravel()[draw])[:, None]
        return np.asarray(median.reshape(-1, median.shape[-1])[draw] * np.exp(scale * v))

    def worn(self, x: ArrayLike, cycles: float) -> FloatArray:
        """Share of cells that are worn out after a number of cycles, shape (chain, draw, x)."""
        if cycles <= 0:
            return np.zeros_like(self.median_cycles(x))
        scale = np.exp(self.fitted["ln_scale"])[..., None]
        v = (math.log(cycles) - np.log(self.median_cycles(x))) / scale
        return np.asarray(-np.expm1(_ln_survival(self.law, v)[0]))

    def extrapolated(self, x: ArrayLike, cycles: float) -> np.ndarray:
        """Where the programming or the cycles lie outside what was tested, shape (x,)."""
        return beyond(np.atleast_1d(x), self.x_low, self.x_high) | (
            cycles > self.cycles_high * (1 + 1e-9)
        )


def _coordinate(programming: Programming, x: ArrayLike, low: float, high: float) -> FloatArray:
    """-1 at the weak end, 1 at the strong end."""
    u = programming.coordinate(np.atleast_1d(np.asarray(x, dtype=np.float64)))
    ends = programming.coordinate([low, high])
    return (2 * u - ends[0] - ends[1]) / (ends[1] - ends[0])


def _ln_survival(law: str, v: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ln of the survival function and of the density at standard arguments; 0 is the median."""
    if law == "lognormal":
        return np.asarray(log_ndtr(-v)), -0.5 * v**2 - 0.5 * math.log(2 * math.pi)
    ln2 = math.log(2.0)
    with np.errstate(over="ignore"):
        hazard = ln2 * np.exp(np.minimum(v, 700.0))
    return -hazard, math.log(ln2) + v - hazard


def fit_wear_out(
    table: WearOutTable, *, law: str = "lognormal", options: SamplerOptions
) -> WearOut:
    """Regress the cycles to wear-out on the programming variable.

    Parameters
    ----------
    table : WearOutTable
        Inspections; a failure is known between two of them, a survivor beyond the last.
    law : {"lognormal", "weibull"}, optional
        Law of the cycles at one programming.
    options : SamplerOptions
        Chains, draws and seed.

    Returns
    -------
    WearOut

    Raises
    ------
    ValueError
        Unknown law; lists the known ones.
    """
    if law not in LAWS:
        raise ValueError(f"law {law!r} is not known; known: {', '.join(LAWS)}")
    low, high = float(table.x.min()), float(table.x.max())
    record = {
        "law": law,
        "cells": table.cells,
        "failed": int(table.failed.sum()),
        "survivors": int(table.survivors.sum()),
        "x_low": low,
        "x_high": high,
        "cycles_high": float(table.cycles.max()),
    }
    fitted = sample_life(wear_out_likelihood(table, law), PRIORS, options, record)
    return WearOut(law, fitted, table.programming, low, high, float(table.cycles.max()))


def wear_out_likelihood(table: WearOutTable, law: str) -> ValueAndGradient:
    """Ln likelihood of the parameters of :data:`PRIORS`, in their order, with its gradient."""
    low, high = float(table.x.min()), float(table.x.max())
    u = _coordinate(table.programming, table.x, low, high)
    with np.errstate(divide="ignore"):
        ends = np.log(np.stack([table.previous_cycles, table.cycles]))
    failed, survivors = table.failed.astype(float), table.survivors.astype(float)
    first = np.isneginf(ends[0])

    def ln_likelihood(theta: FloatArray) -> tuple[float, FloatArray]:
        mu, scale = theta[0] + theta[1] * u, math.exp(theta[2])
        v = (np.where(np.isneginf(ends), 0.0, ends) - mu) / scale
        ln_s, ln_f = _ln_survival(law, v)
        ln_s[0, first], ln_f[0, first] = 0.0, -np.inf
        gap = np.minimum(ln_s[1] - ln_s[0], -1e-300)
        ln_between = ln_s[0] + np.log(-np.expm1(gap))
        value = float(failed @ ln_between + survivors @ ln_s[1])
        by_v = np.stack(
            [
                -failed * np.exp(ln_f[0] - ln_between),
                failed * np.exp(ln_f[1] - ln_between) - survivors * np.exp(ln_f[1] - ln_s[1]),
            ]
        )
        by_mu = -by_v.sum(axis=0) / scale
        gradient = np.array([by_mu.sum(), by_mu @ u, -float((by_v * v).sum())])
        return value, gradient

    return ln_likelihood
