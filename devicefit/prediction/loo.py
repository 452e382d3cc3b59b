"""How well a device model predicts each device that it has not seen: PSIS-LOO by device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.fitting.fit import DevicePosterior
from devicefit.likelihood.compressed import Compressed
from devicefit.measurements.measurements import Measurements
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.compiled import njit
from devicefit.prediction.reading_density import (
    DeviceReadings,
    device_readings,
    draw_blocks,
    is_joint,
    ln_densities,
    ln_device_likelihoods,
    ln_left_out,
    number_of_draws,
    powers,
    thinned,
)
from devicefit.sampling.diagnostics import psis

DRAWS = 500
"""Draws that densities are evaluated for, evenly spaced over the posterior."""

K_LIMIT = 0.7
"""Pareto k above which an importance-sampling estimate is not to be trusted."""

ALIKE = 0.2
"""Range of a device's ln importance ratios over the draws up to which they are not smoothed."""

# Devices whose ratios are smoothed at a time.
_SMOOTHED = 1024


@dataclass(frozen=True)
class Loo:
    """Leave-one-device-out prediction of one family.

    Parameters
    ----------
    devices : tuple of str
        Names of the devices, sorted.
    lpd : float array, shape (device,)
        Sum over the device's readings of the log density predicted without the device, in ln R.
    pareto_k : float array, shape (device,)
        Shape of the tail of the device's importance ratios; 0 where they range over `ALIKE` at
        most and have no tail that matters.
    reading_lpd, reading_count : float array, shape (pair,)
        The same by pairs of a device and a bin: log density of a reading, and number of readings.
        None where only the sums are known.
    """

    devices: tuple[str, ...]
    lpd: FloatArray
    pareto_k: FloatArray
    reading_lpd: FloatArray | None = None
    reading_count: FloatArray | None = None

    @property
    def elpd(self) -> float:
        """Expected log predictive density: sum over devices."""
        return float(self.lpd.sum())

    @property
    def se(self) -> float:
        """Standard error of `elpd` over devices."""
        return _standard_error(self.lpd)

    @property
    def high_k(self) -> IntArray:
        """Indices of devices whose k is above `K_LIMIT` or not a number."""
        return np.flatnonzero(~np.isfinite(self.pareto_k) | (self.pareto_k > K_LIMIT))

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        finite = self.pareto_k[np.isfinite(self.pareto_k)]
        return {
            "elpd": self.elpd,
            "se": self.se,
            "devices": len(self.devices),
            "largest_finite_k": float(finite.max()) if len(finite) else None,
            "high_k": len(self.high_k),
            "high_k_devices": [self.devices[i] for i in self.high_k[:20]],
        }


def loo(
    posterior: DevicePosterior,
    compressed: Compressed,
    measurements: Measurements,
    *,
    draws: int = DRAWS,
) -> Loo:
    """PSIS-LOO with the device as the unit that is left out.

    Parameters
    ----------
    posterior : DevicePosterior
        Fitted to `compressed`.
    compressed : Compressed
        Of `measurements`.
    measurements : Measurements
        Tells which readings belong to which device.
    draws : int, optional
        Draws to use, evenly spaced.

    Returns
    -------
    Loo

    Raises
    ------
    ValueError
        The readings are not those that were compressed.

    Notes
    -----
    Leaving out device d divides the density of a draw by what the device added to the likelihood of
    the fit (:func:`devicefit.prediction.reading_density.ln_device_likelihoods`): that quotient is
    the importance ratio, smoothed as in Vehtari et al. 2024 (J. Mach. Learn. Res. 25:72). The
    score is the sum over the device's readings i of ``ln E[f_i]`` under those weights: the
    marginal law of each reading, which every family predicts in the same sense, and not the joint
    law of a device's readings, by which families without device effects would be judged on their
    independence. Densities are those of a reading's bin
    (:data:`devicefit.compression.compression.BINS_PER_SPREAD`); a reading known by bounds counts
    with its probability. Readings of devices without a name, and published tables, are not scored.

    Ratios that range over `ALIKE` at most are used as they are: the largest is at most 1.22 times
    their mean. A tail of shape k beyond the sampled draws would add about
    ``0.22 / (draws (1 - k))`` to that mean, 0.0015 for 500 draws and k = 0.7, as much as the error
    of the draws. Smoothing all devices would change the sum over 3.3e5 of them by 0.14 at most,
    where the draws leave an error of 0.16 to 0.22 and the devices one of 700 to 1,100. The
    variances of all ln ratios add up to the effective number of parameters (Gelman, Hwang and
    Vehtari 2014, Stat. Comput. 24:997), so the number of devices that need smoothing has a bound
    that does not grow with the devices. The others take one exponential for each device and draw,
    and memory for a block of draws.
    """
    readings = device_readings(measurements, compressed)
    few = thinned(posterior, draws)
    counts = readings.counts
    found, alike = _unsmoothed(few, compressed, readings)
    pareto_k = np.zeros(len(readings.devices))
    rest = np.flatnonzero(~alike)
    # Devices that share columns together: their densities are evaluated once.
    rest = rest[np.argsort(counts.indices[counts.indptr[rest]], kind="stable")]
    for start in range(0, len(rest), _SMOOTHED):
        some = rest[start : start + _SMOOTHED]
        ln_weight, pareto_k[some] = psis(-ln_device_likelihoods(few, compressed, readings, some))
        mine = counts[some]
        columns, column = np.unique(mine.indices, return_inverse=True)
        ln_f = ln_densities(few, compressed, readings, columns)
        row = np.repeat(np.arange(len(some)), np.diff(mine.indptr))
        entries = np.repeat(counts.indptr[some] - mine.indptr[:-1], np.diff(mine.indptr))
        entries += np.arange(len(entries))
        found[entries] = _weighted_sums(ln_weight, ln_f, row, column)
    each = np.diff(counts.indptr)
    device = np.repeat(np.arange(len(each)), each)
    lpd = np.bincount(device, counts.data * found, len(each)).astype(np.float64)
    kept = np.flatnonzero(each)
    return Loo(
        tuple(readings.devices[i] for i in kept),
        lpd[kept],
        pareto_k[kept],
        found,
        counts.data,
    )


def _unsmoothed(
    posterior: DevicePosterior, compressed: Compressed, readings: DeviceReadings
) -> tuple[FloatArray, np.ndarray]:
    """Log density of each (device, column) under plain ratios; devices whose ratios are alike."""
    counts, devices = readings.counts, len(readings.devices)
    joint = is_joint(posterior)
    columns = np.arange(counts.shape[1])
    power = counts.data * powers(posterior, readings)[counts.indices]
    # Everything relative to the first draw, so that exponentials stay near one.
    of_first: FloatArray | None = None
    first = np.full(devices, np.nan)
    low, high, total = np.full(devices, np.inf), np.full(devices, -np.inf), np.zeros(devices)
    weighted = np.zeros(len(counts.data))
    for part in draw_blocks(posterior, max(len(columns), devices * joint)):
        ln_f = ln_densities(part, compressed, readings, columns)
        of_first = ln_f[:, 0].copy() if of_first is None else of_first
        base = ln_left_out(part, compressed) if joint else np.zeros((0, number_of_draws(part)))
        with np.errstate(all="ignore"):  # where this matters the ratios are smoothed
            f = np.exp(ln_f - of_first[:, None])
        _add(
            (counts.indptr, counts.indices, power), (base, ln_f, f),
            (first, low, high, total, weighted),
        )  # fmt: skip
    with np.errstate(all="ignore"):
        each = np.diff(counts.indptr)
        found = np.log(weighted) - np.repeat(np.log(total), each)
        if of_first is not None:
            found += of_first[counts.indices]
    alike = (high - low <= ALIKE) | (each == 0)
    alike[np.repeat(np.arange(devices), each)[~np.isfinite(found)]] = False
    return found, alike


@njit(error_model="numpy")
def _add(entries, densities, sums):  # type: ignore[no-untyped-def]
    """Add a block of draws to the sums over draws of each device and (device, column)."""
    start, column, power = entries
    base, ln_f, f = densities
    first, low, high, total, weighted = sums
    draws = ln_f.shape[1]
    ratio = np.empty(draws)
    for d in range(len(first)):
        ratio[:] = 0.0
        if len(base):
            ratio -= base[d]
        for i in range(start[d], start[d + 1]):
            for s in range(draws):
                ratio[s] -= power[i] * ln_f[column[i], s]
        if np.isnan(first[d]):
            first[d] = ratio[0]
        for s in range(draws):
            r = ratio[s] - first[d]
            low[d], high[d] = min(low[d], r), max(high[d], r)
            ratio[s] = np.exp(r)
            total[d] += ratio[s]
        for i in range(start[d], start[d + 1]):
            for s in range(draws):
                weighted[i] += ratio[s] * f[column[i], s]


def elpd_difference(first: Loo, second: Loo) -> tuple[float, float]:
    """Difference of expected log predictive densities, first less second, and its standard error.

    Raises
    ------
    ValueError
        The two are not of the same devices.
    """
    if first.devices != second.devices:
        raise ValueError("the two are of different devices; fit both families to one data set")
    gain = first.lpd - second.lpd
    return float(gain.sum()), _standard_error(gain)


@njit
def _weighted_sums(ln_weight, ln_f, device, column):  # type: ignore[no-untyped-def]
    """Logarithm of the weighted mean density of each (device, bin) pair."""
    found = np.empty(len(device))
    for i in range(len(device)):
        w, f = ln_weight[device[i]], ln_f[column[i]]
        top = -np.inf
        for s in range(len(w)):
            top = max(top, w[s] + f[s])
        total = 0.0
        for s in range(len(w)):
            total += np.exp(w[s] + f[s] - top)
        found[i] = top + np.log(total)
    return found


def _standard_error(values: FloatArray) -> float:
    if len(values) < 2:
        return float("nan")
    return float(np.sqrt(len(values)) * values.std(ddof=1))
