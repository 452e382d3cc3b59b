"""Law of the matches that a neuron counts when each of its weights may be misread."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.machine.compiled import njit

_NEGLIGIBLE = 1e-21
"""Share of the largest probability below which the terms of a binomial law are dropped."""


@dataclass(frozen=True, eq=False)
class MisreadLaw:
    """Distribution of the matches read, for every number of matches.

    A neuron with `inputs` binary inputs of which `m` match its weights has the pre-activation
    ``2 * m - inputs``. Misread weights turn a match into a mismatch and a mismatch into a match,
    each with probability `rate`, so what is read is

        M = Binomial(m, 1 - rate) + Binomial(inputs - m, rate).

    Weights of different neurons are misread independently, so the numbers of different neurons are
    independent given the inputs.

    Attributes
    ----------
    inputs : int
        Inputs of the neuron.
    rate : float
        Probability that a weight is misread.
    first : int64 array, shape (inputs + 1,)
        Smallest value of M for each m.
    start : int64 array, shape (inputs + 2,)
        Where the row of each m begins in `below`.
    below : float64 array, flat
        P(M < first + k) of row m at ``start[m] + k``: a row begins with 0 and ends with 1.
    """

    inputs: int
    rate: float
    first: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    below: npt.NDArray[np.float64]


@functools.lru_cache(maxsize=16)
def misread_law(inputs: int, rate: float) -> MisreadLaw:
    """Law for one number of inputs and one rate.

    Parameters
    ----------
    inputs : int
        Inputs of a neuron.
    rate : float
        Probability that a weight is misread, 0..1; the ends are exact.

    Returns
    -------
    MisreadLaw
        Absolute error of the probabilities below 1e-14.

    Notes
    -----
    Terms of the binomial laws follow from their largest by ratios, multiplications and divisions
    only, so that every platform has the same table.
    """
    first, start, below = _table(inputs, float(rate))
    for values in (first, start, below):
        values.flags.writeable = False
    return MisreadLaw(inputs, float(rate), first, start, below)


@njit
def _binomial(trials: int, p: float, room: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Fill `room` with the terms that matter; gives the first value and their number."""
    if p <= 0.0 or p >= 1.0 or trials == 0:
        room[0] = 1.0
        return (trials if p >= 1.0 else 0), 1
    mode = min(trials, int(math.floor((trials + 1) * p)))
    ratio = p / (1.0 - p)
    low = mode
    term = 1.0
    while low > 0:
        term *= low / ((trials - low + 1) * ratio)
        if term < _NEGLIGIBLE:
            break
        low -= 1
    high = mode
    term = 1.0
    room[mode - low] = 1.0
    total = 1.0
    while high < trials:
        term *= (trials - high) * ratio / (high + 1)
        if term < _NEGLIGIBLE:
            break
        high += 1
        room[high - low] = term
        total += term
    term = 1.0
    for k in range(mode, low, -1):
        term *= k / ((trials - k + 1) * ratio)
        room[k - 1 - low] = term
        total += term
    for k in range(high - low + 1):
        room[k] /= total
    return low, high - low + 1


@njit
def _table(
    inputs: int, rate: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    first = np.empty(inputs + 1, np.int64)
    start = np.zeros(inputs + 2, np.int64)
    below = np.empty(4 * (inputs + 1), np.float64)
    kept, turned = np.empty(inputs + 1, np.float64), np.empty(inputs + 1, np.float64)
    for m in range(inputs + 1):
        low_kept, n_kept = _binomial(m, 1.0 - rate, kept)
        low_turned, n_turned = _binomial(inputs - m, rate, turned)
        width = n_kept + n_turned - 1
        at = start[m]
        if at + width + 1 > len(below):
            room = np.empty(2 * (at + width + 1), np.float64)
            room[:at] = below[:at]
            below = room
        below[at] = 0.0
        row = below[at + 1 : at + 1 + width]
        row[:] = 0.0
        for i in range(n_kept):
            for j in range(n_turned):
                row[i + j] += kept[i] * turned[j]
        total = 0.0
        for k in range(width):
            total += row[k]
            row[k] = total
        for k in range(width):
            row[k] = min(1.0, row[k] / total)
        row[width - 1] = 1.0
        first[m] = low_kept + low_turned
        start[m + 1] = at + width + 1
    return first, start, below[: start[inputs + 1]].copy()
