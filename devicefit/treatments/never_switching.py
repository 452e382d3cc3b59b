"""Cells that never switch: unformed ones, always high, and shorted ones, always low."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from devicefit.distributions.separation import best_threshold
from devicefit.inputs.refusals import MINIMUM_DEVICES
from devicefit.numerics.arrays import FloatArray, IntArray

FAR = np.log(10.0)
"""A cell is far from the cells that switch when it is a factor of 10 beyond their median, and"""
FAR_TAILS = 2.5
"""beyond it by this many times the distance of the tail that holds `TAIL` of their readings."""
TAIL = 0.005
FALSE_ALARMS = 0.01
"""Expected number of cells of a file that are named because they failed again and again."""
RARE = 0.05
"""Share of cells that never switch at a condition, below which one can be told by repetition."""
ALIKE = 0.5
"""Of the ratio HRS to LRS (its logarithm) of cells that switch; below it both read alike."""
ALL_ALIKE = np.log(2.0)
"""The middle ratio of cells that never switch is below this, or they are in another unit."""


@dataclass(frozen=True)
class NeverSwitching:
    """Cells that never switch, as indices of devices, ascending.

    Parameters
    ----------
    unformed : int array
        Both states always high.
    shorted : int array
        Both states always low.
    judged : int
        Devices that were read in both states.
    """

    unformed: IntArray
    shorted: IntArray
    judged: int


def never_switching(
    device: IntArray,
    is_hrs: np.ndarray,
    condition: IntArray,
    ln_r: FloatArray,
    *,
    count: FloatArray | None = None,
) -> NeverSwitching:
    """Tell cells that never switch from cells that fail.

    Parameters
    ----------
    device, condition : int array, shape (row,)
        Index of the device and of the programming condition of each reading.
    is_hrs : bool array, shape (row,)
        Whether the HRS was intended.
    ln_r : float array, shape (row,)
        Ln of the reading in ohm; infinite where it is beyond the range of the instrument.
    count : float array, shape (row,), optional
        How many readings a row stands for.

    Returns
    -------
    NeverSwitching

    Notes
    -----
    A reading fails when it is on the wrong side of the threshold that separates all readings best.
    A cell *switches* when it was right at least once in each state. Nothing is told unless ten
    cells, and a tenth of them, switch. A cell that does not is named *unformed* when

    1. its readings in both states are alike: the ratio of its medians is less than the square
       root of that of the cells that switch, and the middle ratio of all such cells is below 2 as
       well. Cells in another unit have the ratio of the others; and either
    2. every reading of it lies far above the HRS of the cells that switch: ten times their median,
       and 2.5 times as far from it in ln R as their 99.5 % quantile, so that a wide or heavy-tailed
       HRS sets its own limit. This needs no repetition; or
    3. every reading of it is high, and by chance that would happen to `FALSE_ALARMS` cells of the
       file: the product of the failure shares of the SETs at its conditions is below
       `FALSE_ALARMS` divided by the number of cells. Only conditions count at which at most
       `RARE` of the cells fail always: where programming is so weak that many do, a cell that
       never SETs is ordinary.

    *Shorted* cells are the mirror image. A cell that was read once in each state, within the range
    of the HRS, cannot be told from a failed SET and is not named.

    Of 300,000 simulated cells, a quarter of them programmed so weakly that 30 % of the SETs fail,
    none was named where ln R was normal or logistic, 6 of Student-t with 5 degrees of freedom (a
    scale of 0.4) and 19 with 3.
    """
    number = np.ones(len(device)) if count is None else count
    devices = int(device.max(initial=-1)) + 1
    nothing = np.zeros(0, dtype=np.int64)
    finite = ln_r[np.isfinite(ln_r)]
    trials = [np.bincount(device[rows], number[rows], devices) for rows in (~is_hrs, is_hrs)]
    judged = (trials[0] > 0) & (trials[1] > 0)
    none = NeverSwitching(nothing, nothing, int(judged.sum()))
    if not judged.any() or not len(finite):
        return none
    cut = np.clip(ln_r, finite.min(), finite.max())
    threshold = best_threshold(cut[~is_hrs], cut[is_hrs], counts=(number[~is_hrs], number[is_hrs]))
    wrong = (ln_r > threshold) != is_hrs
    failed = [
        np.bincount(device[rows & wrong], number[rows & wrong], devices)
        for rows in (~is_hrs, is_hrs)
    ]
    switches = judged & (failed[0] < trials[0]) & (failed[1] < trials[1])
    if switches.sum() < max(MINIMUM_DEVICES, 0.1 * judged.sum()):
        return none
    table = pd.DataFrame({"device": device, "hrs": is_hrs, "y": ln_r, "count": number})
    medians = weighted_medians(table, ["device", "hrs"])["y"].unstack().reindex(range(devices))
    with np.errstate(invalid="ignore"):  # both states beyond the range are alike
        ratio = (medians[True] - medians[False]).to_numpy(dtype=np.float64)
    # One state beyond the range: so large that it is unlike, and that two of them can be added.
    ratio = np.nan_to_num(ratio, posinf=1e300, neginf=-1e300)
    usual = float(np.median(ratio[switches]))
    found = []
    for is_low in (False, True):
        # Mirrored, a shorted cell is an unformed one: the state that it never reaches is HRS.
        y, missed = (-ln_r, is_hrs) if is_low else (ln_r, ~is_hrs)
        missing, right = (1, 0) if is_low else (0, 1)
        never = judged & (failed[missing] == trials[missing]) & (failed[right] == 0)
        ordinary = switches[device] & ~missed & ~wrong
        level = _far(y[ordinary], number[ordinary])
        lowest = np.full(devices, np.inf)
        np.minimum.at(lowest, device, y)
        far = never & (lowest > level)
        # Cells that are far say nothing of how often the others fail.
        rows = missed & ~far[device]
        often = _repeated(device[rows], condition[rows], number[rows], wrong[rows], devices)
        chosen = np.flatnonzero(far | (never & often))
        alike = np.abs(ratio[chosen]) <= ALIKE * usual
        if len(chosen) and abs(np.median(ratio[chosen])) > min(ALIKE * usual, ALL_ALIKE):
            alike[:] = False
        found.append(chosen[alike].astype(np.int64))
    return NeverSwitching(found[0], found[1], int(judged.sum()))


def _far(y: FloatArray, number: FloatArray) -> float:
    """Level above which a reading is far from these."""
    order = np.argsort(y)
    reached = np.cumsum(number[order]) / number.sum()
    median, tail = (
        y[order][min(int(np.searchsorted(reached, q - 1e-12)), len(y) - 1)] for q in (0.5, 1 - TAIL)
    )
    return float(median + max(FAR, FAR_TAILS * (tail - median)))


def _repeated(
    device: IntArray, condition: IntArray, number: FloatArray, wrong: np.ndarray, devices: int
) -> np.ndarray:
    """Devices that would fail as often as they did by chance in a few files only."""
    conditions = int(condition.max(initial=-1)) + 1
    cell, of_row = np.unique(device * conditions + condition, return_inverse=True)
    trials = np.bincount(of_row, number, len(cell))
    errors = np.bincount(of_row, number * wrong, len(cell))
    who, at = np.divmod(cell, max(conditions, 1))
    cells = np.bincount(at, minlength=conditions)
    always = np.bincount(at, errors == trials, conditions) / np.maximum(cells, 1)
    share = (np.bincount(at, errors, conditions) + 1) / (np.bincount(at, trials, conditions) + 2)
    evidence = np.where(always[at] <= RARE, trials * np.log(share[at]), 0.0)
    return np.asarray(np.bincount(who, evidence, devices) < np.log(FALSE_ALARMS / devices))


def weighted_medians(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Median ``y`` of each group of rows, of which each stands for ``count`` readings.

    Between the two middle readings the mean; the index is `by`.
    """
    rows = table.sort_values([*by, "y"], kind="stable", ignore_index=True)
    groups = rows.groupby(by, sort=False)["count"]
    reached, half = groups.cumsum(), groups.transform("sum") / 2
    both = [rows[mark].groupby(by)["y"].first() for mark in (reached >= half, reached > half)]
    # Equal infinities have no difference.
    middle = np.where(both[0] == both[1], both[0], both[0] / 2 + both[1] / 2)
    return pd.DataFrame({"y": middle}, index=both[0].index)
