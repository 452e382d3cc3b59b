"""How well a device model predicts each device that it has not seen: PSIS-LOO by device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.backend import psis
from devicefit.compressed import Compressed, IntArray
from devicefit.fitting import DevicePosterior
from devicefit.measurements import Measurements
from devicefit.numerics.compiled import njit
from devicefit.programming import FloatArray
from devicefit.reading_density import device_terms, ln_device_likelihoods, thinned

DRAWS = 500
"""Draws that densities are evaluated for, evenly spaced over the posterior."""

K_LIMIT = 0.7
"""Pareto k above which an importance-sampling estimate is not to be trusted."""


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
        Shape of the tail of the device's importance ratios.
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
    the fit (:func:`devicefit.reading_density.ln_device_likelihoods`): that quotient is the
    importance ratio, smoothed as in Vehtari et al. 2024 (J. Mach. Learn. Res. 25:72). The score is
    the sum over the device's readings i of ``ln E[f_i]`` under those weights: the marginal law of
    each reading, which every family predicts in the same sense, and not the joint law of a device's
    readings, by which families without device effects would be judged on their independence.
    Densities are those of a reading's bin (:data:`devicefit.compression.BINS_PER_SPREAD`); a
    reading known by bounds counts with its probability. Readings of devices without a name, and
    published tables, are not scored.
    """
    names, terms = device_terms(measurements, compressed)
    few = thinned(posterior, draws)
    ln_weight, pareto_k = psis(-ln_device_likelihoods(few, compressed, terms))
    lpd, scored = np.zeros(len(names)), np.zeros(len(names), dtype=bool)
    of_readings, counts = [], []
    for term in terms:
        for columns, ln_f in term.blocks(few):
            part = term.counts[:, columns].tocoo()
            device, column = part.coords
            found = _weighted_sums(ln_weight, ln_f, device, column)
            lpd += np.bincount(device, part.data * found, len(names))
            scored[device] = True
            of_readings.append(found)
            counts.append(part.data.astype(np.float64))
    kept = np.flatnonzero(scored)
    return Loo(
        tuple(names[i] for i in kept),
        lpd[kept],
        pareto_k[kept],
        np.concatenate([*of_readings, np.zeros(0)]),
        np.concatenate([*counts, np.zeros(0)]),
    )


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
