"""Cycles to wear-out over the programming variable, from cells that failed and survivors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from devicefit.inputs.programming import Programming, beyond
from devicefit.life.fit import LifeDraws, sample_life
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import Prior

if TYPE_CHECKING:
    import pymc as pm

LAWS = ("lognormal", "weibull")
LN_NEVER = -1e4
"""Ln of the cycles of an inspection that there was not."""
MAX_LN_HAZARD = 300.0
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

    @property
    def cycles_low(self) -> float:
        """Cycles of the first inspection."""
        return float(self.fitted.record["cycles_low"])

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
        if self.law == "lognormal":
            return np.asarray(ndtr(v))
        return np.asarray(-np.expm1(-math.log(2.0) * np.exp(np.minimum(v, MAX_LN_HAZARD))))

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


def fit_wear_out(
    table: WearOutTable,
    *,
    law: str = "lognormal",
    options: SamplerOptions,
    prior_width: float = 1.0,
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
    prior_width : float, optional
        Factor on the standard deviations of the priors, to see what they decide.

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
        "cycles_low": float(table.cycles.min()),
        "cycles_high": float(table.cycles.max()),
    }
    fitted = sample_life(
        wear_out_model(table, law, prior_width=prior_width), PRIORS, options, record
    )
    return WearOut(law, fitted, table.programming, low, high, float(table.cycles.max()))


def wear_out_model(table: WearOutTable, law: str, *, prior_width: float = 1.0) -> pm.Model:
    """Cycles to wear-out over programming as a PyMC model; `prior_width` widens all priors.

    Notes
    -----
    Named variables are those of :data:`PRIORS`; the dimension is ``inspection``. Data are
    ``pm.Data``. At the standard argument 0 half of the cells are worn out.
    """
    # Imported where a model is built: commands that evaluate draws have no use for PyMC.
    import pymc as pm
    import pytensor.tensor as pt

    from devicefit.life.formulas import ln_normal_between, normals
    from devicefit.likelihood.special_ops import ln_normal_cdf

    u = _coordinate(table.programming, table.x, float(table.x.min()), float(table.x.max()))
    before = np.where(table.previous_cycles > 0, table.previous_cycles, 1.0)
    ln_before = np.where(table.previous_cycles > 0, np.log(before), LN_NEVER)
    with pm.Model(check_bounds=False) as model:
        p = normals(PRIORS, pm.Data("prior_width", prior_width))
        u = pm.Data("position", u, dims="inspection")
        ln_before = pm.Data("ln_previous_cycles", ln_before, dims="inspection")
        ln_cycles = pm.Data("ln_cycles", np.log(table.cycles), dims="inspection")
        failed = pm.Data("failed", table.failed.astype(float), dims="inspection")
        survivors = pm.Data("survivors", table.survivors.astype(float), dims="inspection")

        ln_median, scale = p["ln_median_cycles"] + p["slope"] * u, pt.exp(p["ln_scale"])
        low, high = (ln_before - ln_median) / scale, (ln_cycles - ln_median) / scale
        if law == "lognormal":
            ln_failed, ln_survived = ln_normal_between(low, high), ln_normal_cdf(-high)
        else:
            hazards = [math.log(2.0) * pt.exp(pt.minimum(v, MAX_LN_HAZARD)) for v in (low, high)]
            gap = pt.minimum(hazards[0] - hazards[1], -1e-300)
            ln_failed, ln_survived = pt.log(-pt.expm1(gap)) - hazards[0], -hazards[1]
        pm.Potential("inspections", pt.sum(failed * ln_failed + survivors * ln_survived))
    return model
