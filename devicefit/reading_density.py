"""Densities of single readings under every draw, and which device each reading belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from devicefit import levels
from devicefit.compressed import Compressed, CompressedState, IntArray
from devicefit.fitting import DevicePosterior
from devicefit.kernels import LOGISTIC, NORMAL, STUDENT, ln_pdf, logistic_ln_pdf
from devicefit.measurements import STATES, Measurements
from devicefit.numerics.compiled import njit
from devicefit.programming import FloatArray

# Densities (bin, draw) that are held at a time: 32 MiB.
_BLOCK = 2**22

Blocks = Iterator[tuple[slice, FloatArray]]


@dataclass(frozen=True)
class Term:
    """Readings of one state and kind, in columns that readings share.

    Parameters
    ----------
    counts : sparse array, shape (device, column)
        Readings of each device in each column: a bin, or a pair of bounds.
    blocks : callable
        Gives, for a posterior, slices of columns with the log density (column, draw) in ln R, or
        the log probability where only bounds are known.
    effect : float
        Design effect by which the fit divides the log likelihood.
    is_binned : bool
        Whether the columns are bins of readings, not bounds.
    """

    counts: csr_array
    blocks: Callable[[DevicePosterior], Blocks]
    effect: float
    is_binned: bool


def device_terms(
    measurements: Measurements, compressed: Compressed
) -> tuple[tuple[str, ...], list[Term]]:
    """Readings, and readings known by bounds, of every named device.

    Returns
    -------
    devices : tuple of str
        Names, in the numbering of :class:`devicefit.compressed.DeviceCells`.
    terms : list of Term

    Raises
    ------
    ValueError
        The readings are not those that were compressed.
    """
    parts = (measurements.table, measurements.intervals, measurements.summaries)
    names = sorted({name for p in parts if "device_id" in p for name in p["device_id"].dropna()})
    if len(names) != len(compressed.device_array):
        raise ValueError(
            f"{len(names)} devices, {len(compressed.device_array)} were compressed; compress these "
            "measurements and fit again"
        )
    terms = []
    for state in STATES:
        rows = measurements.table[measurements.table["state"] == state]
        if len(rows):
            terms.append(_binned(rows, names, compressed, state))
        if "device_id" in measurements.intervals:
            bounds = measurements.intervals
            bounds = bounds[(bounds["state"] == state) & bounds["device_id"].notna()]
            if len(bounds):
                terms.append(_bounded(bounds, names, compressed, state))
    return tuple(names), terms


def _binned(rows: pd.DataFrame, names: list[str], compressed: Compressed, state: str) -> Term:
    data = compressed.states[state]
    condition = conditions_of(rows, compressed)
    if not np.array_equal(np.bincount(condition, minlength=len(data.n)), data.n):
        raise ValueError(
            f"the {state} readings are not those that were compressed; compress these "
            "measurements and fit again"
        )
    place = _bins(condition, rows["resistance_ohm"].to_numpy(), data)
    device = pd.Index(names).get_indexer(rows["device_id"])
    return Term(
        csr_array((np.ones(len(rows)), (device, place)), shape=(len(names), len(data.count))),
        lambda posterior: density_blocks(posterior, compressed, state),
        data.design_effect,
        True,
    )


def _bounded(rows: pd.DataFrame, names: list[str], compressed: Compressed, state: str) -> Term:
    condition = conditions_of(rows, compressed)
    with np.errstate(divide="ignore"):  # no lower bound is written as 0 ohm
        low, high = (np.log(rows[name].to_numpy()) for name in ("low_ohm", "high_ohm"))
    device = pd.Index(names).get_indexer(rows["device_id"])
    column = np.arange(len(rows))
    count = rows["count"].to_numpy(dtype=np.float64)

    def blocks(posterior: DevicePosterior) -> Blocks:
        size = max(1, _BLOCK // (16 * _number(posterior)))
        for start in range(0, len(rows), size):
            some = slice(start, min(start + size, len(rows)))
            law = posterior.mixtures(
                compressed.conditions[condition[some]],
                second=compressed.second_values[condition[some]],
                array=compressed.array[condition[some]],
            )[state]
            found = law.ln_interval(low[some], high[some])
            yield some, np.ascontiguousarray(found.reshape(_number(posterior), -1).T)

    shape = (len(names), len(rows))
    return Term(csr_array((count, (device, column)), shape=shape), blocks, 1.0, False)


def ln_device_likelihoods(
    posterior: DevicePosterior, compressed: Compressed, terms: list[Term]
) -> FloatArray:
    """What each device adds to the log likelihood of the fit, shape (device, draw).

    For the lognormal family with levels the density of the device's readings given all others,
    otherwise the sum over its readings, divided by the design effect.
    """
    total = np.zeros((len(compressed.device_array), _number(posterior)))
    joint = bool(set(posterior.frame.levels) & set(posterior.draws.data_vars))
    if joint:
        total += _ln_left_out(posterior, compressed)
    for term in terms:
        if term.is_binned and joint:
            continue
        for columns, ln_f in term.blocks(posterior):
            total += term.counts[:, columns] @ ln_f / term.effect
    return total


def _ln_left_out(posterior: DevicePosterior, compressed: Compressed) -> FloatArray:
    laws = posterior.mixtures(
        compressed.conditions, second=compressed.second_values, array=compressed.array
    )
    n = _number(posterior)
    mean = {s: law.location.reshape(n, -1) for s, law in laws.items()}
    sd = {s: law.scale.reshape(n, -1) for s, law in laws.items()}
    values = {name: posterior.draws[name].values.ravel() for name in posterior.frame.levels}
    cells = (compressed.states["LRS"].cells, compressed.states["HRS"].cells)
    return np.stack(
        [
            levels.ln_left_out(
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


def _number(posterior: DevicePosterior) -> int:
    return int(posterior.draws.sizes["chain"] * posterior.draws.sizes["draw"])


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
    chains, length = posterior.draws.sizes["chain"], posterior.draws.sizes["draw"]
    each = min(draws // chains, length)
    if each < 1:
        raise ValueError(f"draws is {draws}; ask for at least one of each of {chains} chains")
    return ((np.arange(each) + 0.5) * length / each).astype(np.int64)


def density_blocks(posterior: DevicePosterior, compressed: Compressed, state: str) -> Blocks:
    """Log densities of all bins of a state under every draw, a block of bins at a time.

    Yields
    ------
    rows : slice
        Bins of the block.
    ln_f : float array, shape (bin, draw)
        Log density of ln R; draws chain by chain.
    """
    data = compressed.states[state]
    draws = _number(posterior)
    size = max(1, _BLOCK // draws)
    for start in range(0, len(data.count), size):
        rows = slice(start, min(start + size, len(data.count)))
        conditions, place = np.unique(data.condition[rows], return_inverse=True)
        law = posterior.mixtures(
            compressed.conditions[conditions],
            second=compressed.second_values[conditions],
            array=compressed.array[conditions],
        )[state]
        kernels, *parts = law.flat(law.trailing)
        ln_weight, location, scale, dof = (
            np.ascontiguousarray(
                np.broadcast_to(part, (law.components, draws, len(conditions))).transpose(2, 1, 0)
            )
            for part in parts
        )
        norm = np.full(dof.shape, -0.5 * np.log(2 * np.pi))
        for c in np.flatnonzero(kernels == STUDENT):
            norm[..., c] = ln_pdf(0.0, "student-t", dof[..., c])
        norm[..., kernels == LOGISTIC] = 0.0
        base = ln_weight - np.log(scale) + norm
        yield rows, _ln_densities(kernels, base, location, scale, dof, place, data.ln_r[rows])


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


def _bins(condition: IntArray, r_ohm: FloatArray, data: CompressedState) -> IntArray:
    """Bin of each reading: bins are intervals of ln R, so ranks tell."""
    order = np.lexsort((r_ohm, condition))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.repeat(np.arange(len(data.count)), data.count)
    return place


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
