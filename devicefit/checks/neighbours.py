"""Whether cells at neighbouring places are alike beyond chance.

A fit takes cells of one array and condition as exchangeable. Where files tell places, this can be
tested: by the failures against the threshold and by the ranks of ln R, without any model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.fitted import Fitted
from devicefit.fitting.gate import Gate
from devicefit.inputs.columns import PLACE
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.measurements.single_readings import is_above, single_readings
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.compiled import njit
from devicefit.prediction.sides import thresholds

FALSE_ALARMS = 0.01
"""Share of well-placed data sets for which the gate fails, at most."""

SHUFFLES = 2999
"""Placements that the measured one is compared with, at most."""

ENOUGH = 10
"""Placements as alike as the measured one after which no more are drawn."""

SHOWN = 3
"""Tests that the gate names."""

STRUCTURES = ("next to each other", "in one row", "in one column")


@dataclass(frozen=True)
class Likeness:
    """How alike cells are that share something of their place.

    Parameters
    ----------
    what : str
        State and value, for example ``"LRS failures"``.
    where : str
        One of :data:`STRUCTURES`.
    pairs : int
        Pairs of such cells.
    correlation : float
        Mean product of the standardised values over these pairs.
    effect : float
        Variance of a mean over all cells, relative to that over unrelated ones, if nothing else
        makes them alike.
    p : float
        Probability of a correlation as large or larger with cells at random places.
    """

    what: str
    where: str
    pairs: int
    correlation: float
    effect: float
    p: float


def likenesses(
    measurements: Measurements,
    device: Fitted,
    options: SensingOptions,
    *,
    rng: np.random.Generator,
) -> tuple[Likeness, ...]:
    """Test whether cells that are neighbours, or share a row or a column, are alike.

    Parameters
    ----------
    measurements : Measurements
        Readings of devices, some or all of them with places.
    device : Fitted
        Chooses the threshold where none is given.
    options : SensingOptions
        Threshold.
    rng : numpy.random.Generator
        For the random placements.

    Returns
    -------
    tuple of Likeness
        For each state its failures and its ln R, for each structure; what no two cells share, and
        values that are all equal, are left out.

    Notes
    -----
    A cell has two values for each state. *Failures*: the share of its readings that are on the
    wrong side of the threshold. *ln R*: the mean normal score of the rank of its readings among all
    of the same array, condition and state; a reading known by bounds is ranked at their middle, or
    at the one that is known. Both are standardised over the cells of one array that were read at
    the same conditions, a *group*.

    The correlation is the mean product over all pairs of cells of an array that are next to each
    other (four neighbours), in one row, or in one column: Moran's I. Its null distribution is that
    of cells placed at random within their group, so a plan that gives each row a condition of its
    own cannot raise a false alarm (nor can it show a difference between rows). p is exact whatever
    the distribution of the values: the share of as many as `SHUFFLES` random placements, the
    measured one counted, with a correlation at least as large; drawing ends early when there are
    `ENOUGH` of them for every test (Besag and Clifford 1991, Biometrika 78:301).
    """
    table = _with_places(measurements, device, options)
    if not len(table):
        return ()
    cells, values, names = _values(table)
    arrays = [cells[name].to_numpy(dtype=np.int64) for name in ("array", *PLACE)]
    return _tests(values, names, cells["group"].to_numpy(dtype=np.int64), *arrays, rng=rng)


def neighbours_gate(found: tuple[Likeness, ...]) -> Gate:
    """Whether cells may be taken as unrelated to their neighbours.

    The smallest p of all tests, times their number, is compared with `FALSE_ALARMS`: so often, at
    most, the gate fails where cells are placed at random (simulated: 9 of 1,000 arrays of 16 x 16
    or 32 x 32 cells at one condition). It found, in 100 simulated arrays each: rows whose ln R are
    shifted by 0.3 times the spread within a row in 97 (32 x 32 cells) or 34 (16 x 16); by 0.2 times
    in 62 (32 x 32); by 0.1 times in 35 (64 x 64). Failing cells of 32 x 32: 10 pairs of neighbours
    in 100, 5 pairs and 10 cells alone in 89, 3 pairs and 4 alone in 77, 3 pairs and 14 alone in 11.
    """
    smallest = min((test.p for test in found), default=1.0)
    adjusted = min(1.0, max(1, len(found)) * smallest)
    alike = [t for t in found if len(found) * t.p < FALSE_ALARMS]
    if not found:
        finding = "no two cells with places are neighbours or share a row or a column"
    elif alike:
        most = sorted(alike, key=lambda t: -t.effect)
        finding = f"alike beyond chance in {len(alike)} of {len(found)} tests: " + ", ".join(
            f"{t.what} of cells {t.where} (correlation {t.correlation:.2g}; a mean is as uncertain "
            f"as with {t.effect:.2g} times fewer cells)"
            for t in most[:SHOWN]
        )
        finding += f" and {len(most) - SHOWN} more" if len(most) > SHOWN else ""
    else:
        finding = (
            f"{len(found)} tests of failures and ln R of cells next to each other, in one row and "
            f"in one column; smallest p {smallest:.2g}, {adjusted:.2g} for all together"
        )
    return Gate(
        "neighbours",
        "Are cells of an array as different from their neighbours as from any others?",
        adjusted >= FALSE_ALARMS,
        adjusted,
        FALSE_ALARMS,
        finding,
        "look at a map of the array for a faulty row, column or corner; where rows (columns) are "
        "units of their own, made or programmed apart, name them in array_id: --column "
        "array_id=YOUR_COLUMN; the fit takes cells of one array as unrelated and is too sure",
    )


def _with_places(
    measurements: Measurements, device: Fitted, options: SensingOptions
) -> pd.DataFrame:
    """Readings of cells with a place, their failures (NaN where not known) and a place in order."""
    places = measurements.places
    table = single_readings(measurements).reset_index(drop=True)
    if not len(places) or not len(table):
        return table.iloc[:0]
    second = None
    if "programming_2" in table:
        second = table["programming_2"].to_numpy(dtype=np.float64)
    x = table["programming"].to_numpy(dtype=np.float64)
    above, known = is_above(table, np.exp(thresholds(device, x, options, second)))
    wrong = above == (table["state"] == "LRS").to_numpy()
    low, high = (table[name].to_numpy(dtype=np.float64) for name in ("low_ohm", "high_ohm"))
    middle = np.where(np.isinf(high), low, np.where(low > 0, np.sqrt(low * high), high))
    table = table.assign(fails=np.where(known, wrong, np.nan), middle=middle)
    return table.drop(columns="array_id", errors="ignore").merge(places, on="device_id")


def _values(table: pd.DataFrame) -> tuple[pd.DataFrame, FloatArray, tuple[str, ...]]:
    """Cells with group and place; standardised values, shape (cell, value); names of the values."""
    second = table["programming_2"] if "programming_2" in table else 0.0
    table = table.assign(second=second, array=pd.factorize(table["array_id"], sort=True)[0])
    condition = table.groupby(["array", "programming", "second", "state"])
    rank = condition["middle"].rank().to_numpy()
    size = condition["middle"].transform("size").to_numpy()
    table = table.assign(score=ndtri((rank - 0.5) / size), condition=condition.ngroup())
    cell, names = pd.factorize(table["device_id"], sort=True)
    cells = table.drop_duplicates("device_id").set_index("device_id").loc[names]
    # Cells of a group were read at the same conditions.
    plan = pd.DataFrame({"cell": cell, "condition": table["condition"].astype(str)})
    group = pd.factorize(plan.drop_duplicates().sort_values(["cell", "condition"])
                         .groupby("cell")["condition"].agg(" ".join))[0]  # fmt: skip
    cells = cells.assign(group=group)
    columns, labels = [], []
    for state in STATES:
        mine = (table["state"] == state).to_numpy()
        for name, word in (("fails", "failures"), ("score", "ln R")):
            mean = table[name][mine].groupby(cell[mine]).mean().reindex(range(len(names)))
            of_group = mean.groupby(group)
            spread = of_group.transform("std", ddof=0)
            centred = (mean - of_group.transform("mean")) / spread.where(spread > 1e-12)
            columns.append(centred.fillna(0.0).to_numpy())
            labels.append(f"{state} {word}")
    return cells, np.stack(columns, axis=1), tuple(labels)


def _tests(
    values: FloatArray,
    names: tuple[str, ...],
    group: IntArray,
    array: IntArray,
    row: IntArray,
    column: IntArray,
    *,
    rng: np.random.Generator,
) -> tuple[Likeness, ...]:
    """Each value (cell, value) at each structure; cells of a group change places at random."""
    used = np.flatnonzero(np.ptp(values, axis=0) > 0)
    # Within a group by place, so that neighbours lie side by side in memory.
    order = np.lexsort((column, row, array, group))
    x = np.ascontiguousarray(values[np.ix_(order, used)])
    array, row, column = array[order], row[order], column[order]
    start = np.searchsorted(group[order], group[order])
    beside = np.concatenate([_adjacent(array, row, column), _adjacent(array, column, row)])
    lines = [_codes(array, of) for of in (row, column)]
    pairs = [len(beside), *(_pairs_in(line) for line in lines)]
    measured = _products(x, beside, *lines)
    # Equal placements may differ by rounding.
    least = measured - 1e-9 * (1.0 + np.abs(measured))
    as_alike = np.zeros(measured.shape, dtype=np.int64)
    drawn = np.zeros(measured.shape, dtype=np.int64)
    tested = np.broadcast_to(np.array(pairs) > 0, measured.shape)
    for _ in range(SHUFFLES):
        is_open = tested & (as_alike < ENOUGH)
        if not is_open.any():
            break
        _shuffle(x, start, rng.random(len(x)))
        drawn += is_open
        as_alike += is_open & (_products(x, beside, *lines) >= least)
    # Ended early, the last one drawn was as alike; else the measured placement counts as one more.
    enough = as_alike >= ENOUGH
    p = np.where(enough, as_alike / np.maximum(drawn, 1), (as_alike + 1) / (drawn + 1))
    return tuple(
        Likeness(
            names[v],
            where,
            pairs[s],
            float(measured[k, s]) / pairs[s],
            1.0 + 2.0 * float(measured[k, s]) / len(x),
            float(p[k, s]),
        )
        for k, v in enumerate(used)
        for s, where in enumerate(STRUCTURES)
        if pairs[s]
    )


def _codes(array: IntArray, line: IntArray) -> IntArray:
    """Number of each cell's line, lines of different arrays apart."""
    found = np.unique(np.stack([array, line], axis=1), axis=0, return_inverse=True)[1]
    return np.asarray(found, dtype=np.int64).ravel()


def _pairs_in(line: IntArray) -> int:
    n = np.bincount(line)
    return int((n * (n - 1)).sum()) // 2


def _adjacent(array: IntArray, line: IntArray, place: IntArray) -> IntArray:
    """Pairs of cells at consecutive places of a line, shape (pair, 2)."""
    order = np.lexsort((place, line, array))
    first, second = order[:-1], order[1:]
    same = (array[first] == array[second]) & (line[first] == line[second])
    near = same & (place[second] - place[first] == 1)
    return np.stack([first[near], second[near]], axis=1)


@njit
def _shuffle(x, start, uniform):  # type: ignore[no-untyped-def]
    """Put the cells (rows) of each group, which begins at `start`, in random order, in place."""
    for i in range(len(x)):
        j = start[i] + int(uniform[i] * (i - start[i] + 1))
        for v in range(x.shape[1]):
            x[i, v], x[j, v] = x[j, v], x[i, v]


@njit
def _products(x, beside, row, column):  # type: ignore[no-untyped-def]
    """Sum of products over pairs of cells, shape (value, structure)."""
    values = x.shape[1]
    found = np.zeros((values, 3))
    of_row = np.zeros((row.max() + 1, values))
    of_column = np.zeros((column.max() + 1, values))
    for v in range(values):
        for k in range(len(beside)):
            found[v, 0] += x[beside[k, 0], v] * x[beside[k, 1], v]
        squares = 0.0
        for i in range(len(x)):
            of_row[row[i], v] += x[i, v]
            of_column[column[i], v] += x[i, v]
            squares += x[i, v] ** 2
        # Each pair of a line once: the square of the sum less the squares, halved.
        found[v, 1] = 0.5 * ((of_row[:, v] ** 2).sum() - squares)
        found[v, 2] = 0.5 * ((of_column[:, v] ** 2).sum() - squares)
    return found
