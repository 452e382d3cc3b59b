"""Densities of single readings under every draw, and which device each reading belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from devicefit.distributions.kernels import LOGISTIC, NORMAL, STUDENT, ln_pdf, logistic_ln_pdf
from devicefit.distributions.mixture import Mixture
from devicefit.fitting.fit import DevicePosterior
from devicefit.likelihood import level_density, levels
from devicefit.likelihood.compressed import Compressed, CompressedState
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.compiled import njit

# Numbers that are held at a time for columns, or for devices, and draws: 32 MiB.
_BLOCK = 2**22


@dataclass(frozen=True)
class DeviceReadings:
    """Readings of named devices, in columns that readings share.

    A column is a bin of the fit, or a pair of bounds. However many devices there are, a density is
    evaluated once for each column and draw.

    Parameters
    ----------
    devices : tuple of str
        Names, in the numbering of :class:`devicefit.likelihood.compressed.DeviceCells`.
    counts : sparse array, shape (device, column)
        Readings of each device in each column.
    state, condition : int array, shape (column,)
        Indices into :data:`devicefit.measurements.measurements.STATES` and into the conditions.
    ln_low, ln_high : float array, shape (column,)
        Bounds of ln R; both are the mean of ln R where the column is a bin.
    effect : float array, shape (column,)
        Design effect by which the fit divides the log likelihood of the column's readings.
    """

    devices: tuple[str, ...]
    counts: csr_array
    state: IntArray
    condition: IntArray
    ln_low: FloatArray
    ln_high: FloatArray
    effect: FloatArray

    @property
    def is_binned(self) -> np.ndarray:
        """Which columns are bins, bool, shape (column,)."""
        return self.ln_low == self.ln_high


def device_readings(measurements: Measurements, compressed: Compressed) -> DeviceReadings:
    """Readings, and readings known by bounds, of every named device.

    Raises
    ------
    ValueError
        The readings are not those that were compressed.
    """
    parts = (measurements.table, measurements.intervals, measurements.summaries)
    of_parts = [pd.unique(p["device_id"].dropna()) for p in parts if "device_id" in p]
    names = pd.Index(sorted(set().union(*of_parts)))
    if len(names) != len(compressed.device_array):
        raise ValueError(
            f"{len(names)} devices, {len(compressed.device_array)} were compressed; compress these "
            "measurements and fit again"
        )
    bounds = measurements.intervals
    if "device_id" in bounds:
        bounds = bounds[bounds["device_id"].notna()]
    columns, entries, before = [], [], 0
    for code, state in enumerate(STATES):
        data = compressed.states[state]
        rows = measurements.table[measurements.table["state"] == state]
        if len(rows):
            place = _bins(rows, compressed, state)
            found = (data.condition, data.ln_r, data.ln_r)
            columns.append((code, data.design_effect, found))
            entries.append((rows["device_id"], before + place, np.ones(len(rows))))
            before += len(data.count)
        rows = bounds[bounds["state"] == state] if "device_id" in bounds else bounds
        if len(rows):
            found, place = _distinct_bounds(rows, compressed)
            columns.append((code, 1.0, found))
            entries.append((rows["device_id"], before + place, rows["count"].to_numpy(np.float64)))
            before += len(found[0])
    lengths = [len(found[0]) for *_, found in columns]
    condition, low, high = (
        np.concatenate([found[i] for *_, found in columns]) if columns else np.zeros(0)
        for i in range(3)
    )
    device, column, count = (
        np.concatenate([entry[i] for entry in entries]) if entries else np.zeros(0)
        for i in range(3)
    )
    at = (names.get_indexer(device), column.astype(np.int64))
    return DeviceReadings(
        tuple(names),
        csr_array((count, at), shape=(len(names), before)),
        np.repeat([code for code, *_ in columns], lengths).astype(np.int64),
        condition.astype(np.int64),
        low,
        high,
        np.repeat([effect for _, effect, _ in columns], lengths),
    )


def _bins(rows: pd.DataFrame, compressed: Compressed, state: str) -> IntArray:
    """Bin of each reading: bins are intervals of ln R, so ranks tell."""
    data: CompressedState = compressed.states[state]
    condition = conditions_of(rows, compressed)
    if not np.array_equal(np.bincount(condition, minlength=len(data.n)), data.n):
        raise ValueError(
            f"the {state} readings are not those that were compressed; compress these "
            "measurements and fit again"
        )
    order = np.lexsort((rows["resistance_ohm"].to_numpy(), condition))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.repeat(np.arange(len(data.count)), data.count)
    return place


def _distinct_bounds(
    rows: pd.DataFrame, compressed: Compressed
) -> tuple[tuple[IntArray, FloatArray, FloatArray], IntArray]:
    """Condition, lower and upper bound of ln R of each distinct column; column of each row."""
    with np.errstate(divide="ignore"):  # no lower bound is written as 0 ohm
        low, high = (np.log(rows[name].to_numpy()) for name in ("low_ohm", "high_ohm"))
    keys = np.stack([conditions_of(rows, compressed), low, high], axis=1)
    distinct, place = np.unique(keys, axis=0, return_inverse=True)
    condition, low, high = distinct.T
    return (condition.astype(np.int64), low, high), place.ravel()


def ln_device_likelihoods(
    posterior: DevicePosterior,
    compressed: Compressed,
    readings: DeviceReadings,
    chosen: IntArray | None = None,
) -> FloatArray:
    """What each device adds to the log likelihood of the fit, shape (device, draw).

    For the lognormal family with levels the density of the device's readings given all others,
    otherwise the sum over its readings, divided by the design effect. Of the `chosen` devices only,
    if any are named.
    """
    if chosen is None:
        chosen = np.arange(len(readings.devices))
    total = np.zeros((len(chosen), number_of_draws(posterior)))
    if is_joint(posterior):
        # Of all devices, because those of one array depend on each other.
        parts = [
            ln_left_out(part, compressed)[chosen].reshape(len(chosen), *_shape(part))
            for part in draw_blocks(posterior, len(readings.devices))
        ]
        total += np.concatenate(parts, axis=2).reshape(total.shape)
    mine = readings.counts[chosen]
    columns = np.unique(mine.indices)
    power = powers(posterior, readings)[columns]
    of_columns = ln_densities(posterior, compressed, readings, columns)
    return total + (mine[:, columns] * power) @ of_columns


def powers(posterior: DevicePosterior, readings: DeviceReadings) -> FloatArray:
    """Power of a reading's density in the likelihood, beside the joint law if there is one."""
    joint = readings.is_binned & is_joint(posterior)
    return np.where(joint, 0.0, 1.0 / readings.effect)


def is_joint(posterior: DevicePosterior) -> bool:
    """Whether the fit used the joint law of the readings of a device."""
    return bool(set(posterior.frame.levels) & set(posterior.draws.data_vars))


def ln_left_out(posterior: DevicePosterior, compressed: Compressed) -> FloatArray:
    """Log density of each device's readings given all others, shape (device, draw)."""
    laws = posterior.mixtures(
        compressed.conditions, second=compressed.second_values, array=compressed.array
    )
    n = number_of_draws(posterior)
    mean = {s: law.location.reshape(n, -1) for s, law in laws.items()}
    sd = {s: law.scale.reshape(n, -1) for s, law in laws.items()}
    values = {name: posterior.draws[name].values.ravel() for name in posterior.frame.levels}
    cells = (compressed.states["LRS"].cells, compressed.states["HRS"].cells)
    return np.stack(
        [
            level_density.ln_left_out(
                levels.levels_of(np, {name: v[i] for name, v in values.items()}),
                *cells,
                {s: m[i] for s, m in mean.items()},
                {s: m[i] for s, m in sd.items()},
                compressed.device_array,
            )
            for i in range(n)
        ],
        axis=1,
    )


def _shape(posterior: DevicePosterior) -> tuple[int, int]:
    return posterior.draws.sizes["chain"], posterior.draws.sizes["draw"]


def number_of_draws(posterior: DevicePosterior) -> int:
    """Draws of all chains."""
    return int(np.prod(_shape(posterior)))


def draw_blocks(posterior: DevicePosterior, rows: int) -> Iterator[DevicePosterior]:
    """The posterior a few draws at a time: as many as fit for so many `rows` of numbers."""
    chains, length = _shape(posterior)
    size = max(1, _BLOCK // (max(rows, 1) * chains))
    for start in range(0, length, size):
        yield replace(posterior, draws=posterior.draws.isel(draw=slice(start, start + size)))


def thinned(posterior: DevicePosterior, draws: int) -> DevicePosterior:
    """The posterior with about `draws` of its draws, evenly spaced in each chain.

    Raises
    ------
    ValueError
        Fewer than one draw for each chain is asked for.
    """
    return replace(posterior, draws=posterior.draws.isel(draw=thinned_places(posterior, draws)))


def thinned_places(posterior: DevicePosterior, draws: int) -> IntArray:
    """Indices along ``draw`` that :func:`thinned` keeps."""
    chains, length = _shape(posterior)
    each = min(draws // chains, length)
    if each < 1:
        raise ValueError(f"draws is {draws}; ask for at least one of each of {chains} chains")
    return ((np.arange(each) + 0.5) * length / each).astype(np.int64)


def ln_densities(
    posterior: DevicePosterior,
    compressed: Compressed,
    readings: DeviceReadings,
    columns: IntArray,
) -> FloatArray:
    """Log density in ln R of these columns, or log probability of bounds, shape (column, draw).

    Draws are chain by chain.
    """
    draws = number_of_draws(posterior)
    found = np.empty((len(columns), draws))
    size = max(1, _BLOCK // (16 * draws))
    for code, state in enumerate(STATES):
        for is_binned in (True, False):
            kind = (readings.state == code) & (readings.is_binned == is_binned)
            places = np.flatnonzero(kind[columns])
            for start in range(0, len(places), size):
                some = places[start : start + size]
                mine = columns[some]
                conditions, place = np.unique(readings.condition[mine], return_inverse=True)
                law = posterior.mixtures(
                    compressed.conditions[conditions],
                    second=compressed.second_values[conditions],
                    array=compressed.array[conditions],
                )[state]
                low, high = readings.ln_low[mine], readings.ln_high[mine]
                if is_binned:
                    found[some] = _of_bins(law, place, low)
                else:
                    inside = law.part((slice(None), slice(None), place)).ln_interval(low, high)
                    found[some] = inside.reshape(draws, -1).T
    return found


def _of_bins(law: Mixture, place: IntArray, y: FloatArray) -> FloatArray:
    """Log density at each `y` of the law at its place, shape (y, draw)."""
    *draws, places = law.trailing
    kernels, *parts = law.flat(law.trailing)
    ln_weight, location, scale, dof = (
        np.ascontiguousarray(
            np.broadcast_to(part, (law.components, int(np.prod(draws)), places)).transpose(2, 1, 0)
        )
        for part in parts
    )
    norm = np.full(dof.shape, -0.5 * np.log(2 * np.pi))
    for c in np.flatnonzero(kernels == STUDENT):
        norm[..., c] = ln_pdf(0.0, "student-t", dof[..., c])
    norm[..., kernels == LOGISTIC] = 0.0
    base = ln_weight - np.log(scale) + norm
    return np.asarray(_ln_densities(kernels, base, location, scale, dof, place, y))


def conditions_of(table: pd.DataFrame, compressed: Compressed) -> IntArray:
    """Index of each reading's condition."""
    known = pd.DataFrame(
        {
            "programming": compressed.conditions,
            "second": compressed.second_values,
            "array": [compressed.arrays[a] for a in compressed.array],
        }
    )
    wanted = pd.DataFrame(
        {
            "programming": table["programming"].to_numpy(),
            "second": table["programming_2"].to_numpy() if "programming_2" in table else 0.0,
            "array": table["array_id"].to_numpy() if "array_id" in table else "",
        }
    )
    found = pd.MultiIndex.from_frame(known).get_indexer(pd.MultiIndex.from_frame(wanted))
    if np.any(found < 0):
        row = wanted.iloc[int(np.argmin(found))].to_dict()
        raise ValueError(f"no readings were compressed at {row}; compress these measurements")
    return np.asarray(found, dtype=np.int64)


@njit(error_model="numpy")
def _ln_densities(kernels, base, location, scale, dof, place, y):  # type: ignore[no-untyped-def]
    """Log density of each bin (place, y) under each draw; parameters (place, draw, component)."""
    draws, components = base.shape[1:]
    found = np.empty((len(y), draws))
    term = np.empty(components)
    for b in range(len(y)):
        for s in range(draws):
            top = -np.inf
            for c in range(components):
                k = (place[b], s, c)
                z = (y[b] - location[k]) / scale[k]
                if kernels[c] == NORMAL:
                    term[c] = base[k] - 0.5 * z * z
                elif kernels[c] == LOGISTIC:
                    term[c] = base[k] + logistic_ln_pdf(z)
                else:
                    term[c] = base[k] - 0.5 * (dof[k] + 1.0) * np.log1p(z * z / dof[k])
                top = max(top, term[c])
            total = 0.0
            for c in range(components):
                total += np.exp(term[c] - top)
            found[b, s] = top + np.log(total)
    return found
