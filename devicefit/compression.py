"""Readings compressed to sufficient statistics and fine bins, per state and condition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from devicefit.measurements import STATES, Measurements
from devicefit.programming import FloatArray, Programming

IntArray = NDArray[np.int64]

BINS_PER_SPREAD = 20
"""Bins per robust standard deviation of ln R within one state and condition.

A reading is replaced by the mean of its bin, so a lone reading is kept exactly. The variance lost
inside a bin is near (1/20)^2/12 = 2e-4 of the spread's square, that of readings spread evenly over
the bin, and at most (1/20)^2/4 = 6e-4, that of readings at its two ends.
"""


@dataclass(frozen=True)
class CompressedState:
    """Readings of one state.

    Parameters
    ----------
    condition : int array, shape (bin,)
        Index into ``Compressed.conditions``.
    ln_r : float array, shape (bin,)
        Mean of ln(R / ohm) of the readings in the bin.
    count : int array, shape (bin,)
        Readings in the bin.
    n : int array, shape (condition,)
        Readings of the condition.
    mean, sum_of_squares : float array, shape (condition,)
        Mean of ln R and sum of squared deviations from it; zero where ``n`` is zero. With ``n``
        the exact sufficient statistics of a normal law.
    design_effect : float
        Variance of a mean over clustered readings relative to as many independent ones
        (Kish 1965), at least 1. See :func:`compress`.
    """

    condition: IntArray
    ln_r: FloatArray
    count: IntArray
    n: IntArray
    mean: FloatArray
    sum_of_squares: FloatArray
    design_effect: float


@dataclass(frozen=True)
class Compressed:
    """Compressed readings of both states over the same conditions.

    Parameters
    ----------
    programming : Programming
        The programming variable.
    conditions : float array, shape (condition,)
        Its distinct values, ascending, SI.
    states : dict of str to CompressedState
        ``"LRS"`` and ``"HRS"``.
    devices : int
        Number of distinct devices.
    devices_per_condition : int array, shape (condition,)
        Distinct devices at each condition, the fewer of the two states.
    """

    programming: Programming
    conditions: FloatArray
    states: dict[str, CompressedState]
    devices: int
    devices_per_condition: IntArray


def compress(measurements: Measurements, *, bins_per_spread: int = BINS_PER_SPREAD) -> Compressed:
    """Compress readings to what the likelihoods need.

    Parameters
    ----------
    measurements : Measurements
        Checked readings.
    bins_per_spread : int, optional
        Bins per robust standard deviation, at least 4.

    Returns
    -------
    Compressed

    Raises
    ------
    ValueError
        ``bins_per_spread`` below 4.

    Notes
    -----
    Readings of one device resemble each other, so ``n`` readings of ``n/m`` devices tell less
    than ``n`` devices would. The design effect is the ratio of the cluster-robust variance of a
    mean to the variance under independence,

        deff = sum_d (sum_{i in d} r_i)^2 / sum_i r_i^2,

    with ``r_i`` the deviation of a reading from its condition's median in units of the robust
    spread, cut at 3 so that single failures do not dominate. The likelihoods divide
    log-likelihoods by it: a composite likelihood with the right amount of information about
    locations and, since squared deviations are less correlated, too little about spreads, so the
    posterior is on the wide side.
    """
    if bins_per_spread < 4:
        raise ValueError(f"bins_per_spread is {bins_per_spread}; use at least 4")
    table = measurements.table
    conditions, condition_of_row = np.unique(table["programming"].to_numpy(), return_inverse=True)
    per_state = {}
    fewest = np.full(len(conditions), np.iinfo(np.int64).max)
    for state in STATES:
        rows = (table["state"] == state).to_numpy()
        device = pd.factorize(table["device_id"][rows])[0]
        condition = condition_of_row[rows]
        ln_r = np.log(table["resistance_ohm"].to_numpy()[rows])
        per_state[state] = _compress_state(
            ln_r, condition, device, len(conditions), bins_per_spread
        )
        pairs = np.unique(np.stack([condition, device]), axis=1)
        fewest = np.minimum(fewest, np.bincount(pairs[0], minlength=len(conditions)))
    return Compressed(
        programming=measurements.programming,
        conditions=conditions,
        states=per_state,
        devices=measurements.devices,
        devices_per_condition=fewest,
    )


def _compress_state(
    ln_r: FloatArray,
    condition: IntArray,
    device: IntArray,
    conditions: int,
    bins_per_spread: int,
) -> CompressedState:
    n = np.bincount(condition, minlength=conditions)
    mean = np.bincount(condition, weights=ln_r, minlength=conditions) / np.maximum(n, 1)
    squares: FloatArray = np.bincount(
        condition, weights=(ln_r - mean[condition]) ** 2, minlength=conditions
    ).astype(np.float64)

    grouped = pd.Series(ln_r).groupby(condition)
    median = grouped.median().reindex(range(conditions)).to_numpy()
    low = grouped.quantile(0.16).reindex(range(conditions)).to_numpy()
    high = grouped.quantile(0.84).reindex(range(conditions)).to_numpy()
    spread = (high - low) / 2
    typical = np.nanmedian(spread)
    spread = np.where(np.isfinite(spread) & (spread > 1e-9), spread, max(float(typical), 1e-9))

    width = spread[condition] / bins_per_spread
    index = np.floor((ln_r - median[condition]) / width).astype(np.int64)
    key = np.stack([condition, index])
    occupied, bin_of_row = np.unique(key, axis=1, return_inverse=True)
    bin_of_row = bin_of_row.ravel()
    count = np.bincount(bin_of_row)
    centre = np.bincount(bin_of_row, weights=ln_r) / count

    residual = np.clip((ln_r - median[condition]) / spread[condition], -3.0, 3.0)
    residual -= (np.bincount(condition, residual, conditions) / np.maximum(n, 1))[condition]
    total = np.bincount(device, weights=residual)
    independent = float(np.sum(residual**2))
    effect = float(np.sum(total**2)) / independent if independent > 0 else 1.0
    return CompressedState(
        condition=occupied[0],
        ln_r=centre,
        count=count,
        n=n,
        mean=mean,
        sum_of_squares=squares,
        design_effect=max(1.0, effect),
    )
