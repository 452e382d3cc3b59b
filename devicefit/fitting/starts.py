"""Where chains start: values read off the data where the prior mean may be far away."""

from __future__ import annotations

import itertools

import numpy as np

from devicefit.families.frame import Frame
from devicefit.families.skewed_failure import STUCK_CENTRE, STUCK_REACH
from devicefit.likelihood.compressed import Compressed, CompressedState
from devicefit.numerics.arrays import FloatArray

_QUARTILES_OVER_SD = 1.349
_LEAST_STUCK, _MOST_STUCK = 5, 0.3


def data_starts(compressed: Compressed, frame: Frame) -> dict[str, float | FloatArray]:
    """Values near which chains start.

    A start decides nothing once chains agree, but a chain that begins on the wrong side of the
    SET onset, or in an array ten times as wide as the others, may never find the right one.

    Returns
    -------
    dict of str to (float or float array, shape (array,))
        ``ln_r_hrs`` and ``ln_r_series`` from typical and smallest medians of ln R, for a single
        condition ``ln_r_lrs`` and both spreads; for a knob that sets the current also ``onset``,
        halfway between the conditions where the LRS median falls below the geometric middle of HRS
        and strongest LRS, likewise ``second_centre``; shifts of several arrays. Empty for states
        without readings.
    """
    lrs, hrs = compressed.states["LRS"], compressed.states["HRS"]
    if not len(lrs.count) or not len(hrs.count):
        return {}
    starts: dict[str, float | FloatArray] = {}
    middle, ln_sd = {}, {}
    for name, state in (("lrs", lrs), ("hrs", hrs)):
        low, middle[name], high = _quantiles(state, (0.25, 0.5, 0.75))
        # Two readings, or all of them alike, say nothing of a spread.
        spread = np.where((state.n > 3) & (high > low), high - low, np.nan) / _QUARTILES_OVER_SD
        ln_sd[name] = np.log(spread)
        if len(frame.arrays) > 1:
            for kind, values in (("location", middle[name]), ("ln_sd", ln_sd[name])):
                starts[f"{name}_{kind}_array"] = _shifts(values, compressed.array)
    starts |= _stuck(compressed, middle["lrs"])
    starts["ln_r_hrs"] = float(np.nanmedian(middle["hrs"]))
    if frame.is_single:
        starts["ln_r_lrs"] = float(np.nanmedian(middle["lrs"]))
        for name, values in ln_sd.items():
            if np.isfinite(values).any():
                starts[f"ln_sd_{name}"] = float(np.nanmedian(values))
        return starts
    seen = lrs.n > 0
    medians = middle["lrs"][seen]
    lowest = float(np.quantile(medians, 0.1))
    starts["ln_r_series"] = lowest - 0.1
    if not frame.is_current:
        places = frame.places(compressed.conditions[seen], second=compressed.second_values[seen])
        is_set = medians < (starts["ln_r_hrs"] + lowest) / 2
        if frame.second is None:
            (starts["onset"],) = _onsets(is_set, places.position)
        else:
            onsets = _onsets(is_set, places.position, places.second)
            starts["onset"], starts["second_centre"] = onsets
    return starts


def _stuck(compressed: Compressed, lrs_medians: FloatArray) -> dict[str, float]:
    """Where failed RESETs read, and log10 of the odds of them, if there are a few."""
    strongest = np.full(int(compressed.array.max()) + 1, np.inf)
    seen = np.isfinite(lrs_medians)
    np.minimum.at(strongest, compressed.array[seen], lrs_medians[seen])
    hrs = compressed.states["HRS"]
    offset = hrs.ln_r - strongest[compressed.array[hrs.condition]]
    near = (offset > STUCK_CENTRE - STUCK_REACH) & (offset < STUCK_CENTRE + STUCK_REACH)
    count = hrs.count[near]
    share = count.sum() / hrs.count.sum()
    # Most of them: the states overlap, and it is not failures that are seen.
    if count.sum() < _LEAST_STUCK or share > _MOST_STUCK:
        return {}
    ordered = np.argsort(offset[near])
    passed = np.cumsum(count[ordered])
    median = float(offset[near][ordered][np.searchsorted(passed, passed[-1] / 2)])
    return {
        "stuck_offset": median,
        "stuck_place": float(np.arctanh((median - STUCK_CENTRE) / STUCK_REACH)),
        "log10_reset_floor": float(np.log10(share / (1 - share))),
    }


def _shifts(values: FloatArray, array: np.ndarray) -> FloatArray:
    """Mean over conditions of each array, less that of the typical array; zero where unknown."""
    known = np.isfinite(values)
    n = np.bincount(array[known], minlength=array.max() + 1)
    mean = np.bincount(array[known], values[known], minlength=len(n)) / np.maximum(n, 1)
    return np.asarray(np.where(n > 0, mean - np.median(mean[n > 0]) if n.any() else 0.0, 0.0))


def _onsets(is_set: np.ndarray, *where: np.ndarray) -> tuple[float, ...]:
    """Onset in each variable: SET where both are beyond theirs, with the fewest exceptions."""
    cuts = []
    for values in where:
        at = np.unique(values)
        step = (at[-1] - at[0]) / max(len(at) - 1, 1) or 0.1
        cuts.append(np.concatenate([[at[0] - step], at[:-1] + np.diff(at) / 2, [at[-1] + step]]))
    best, found = len(is_set) + 1, (0.0,) * len(where)
    for place in itertools.product(*cuts):
        beyond = np.all([v > c for v, c in zip(where, place, strict=True)], axis=0)
        wrong = int(np.sum(beyond != is_set))
        if wrong < best:
            best, found = wrong, place
    return tuple(float(c) for c in found)


def _quantiles(state: CompressedState, probabilities: tuple[float, ...]) -> FloatArray:
    """Quantiles of ln R per condition, shape (probability, condition), NaN without readings."""
    found = np.full((len(probabilities), len(state.n)), np.nan)
    for k in np.flatnonzero(state.n):
        rows = state.condition == k
        passed = np.cumsum(state.count[rows])
        at = np.searchsorted(passed, np.multiply(probabilities, passed[-1]))
        found[:, k] = state.ln_r[rows][at]
    return found
