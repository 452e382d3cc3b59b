"""Independent wrong bits that are drawn anew at every step of a training, and forgotten."""

import math

import numpy as np
import numpy.typing as npt

from bnn.errors.flips import check_ber
from bnn.machine.compiled import njit


def redrawn_flips(*, bits: int, ber: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Bits that are wrong in one draw of independent errors, forgotten after use.

    Training draws these anew at every step. They are not a chip: for evaluation use `chip_flips`.

    Parameters
    ----------
    bits : int
        Weight bits of the layer.
    ber : float
        Bit error rate, 0..1.
    rng : numpy.random.Generator
        Source of randomness, advanced.

    Returns
    -------
    int64 array, shape (flips,)
        Wrong bits, strictly increasing.

    Raises
    ------
    ValueError
        `ber` is outside 0..1.

    Notes
    -----
    Gaps between errors are geometric, ``floor(E / -ln(1 - ber))`` with ``E`` standard exponential,
    so the law is exact and the cost proportional to ``bits * ber``.
    """
    check_ber(ber)
    if ber == 0.0 or bits == 0:
        return np.empty(0, np.int64)
    if ber == 1.0:
        return np.arange(bits, dtype=np.int64)
    parts = []
    last = -1
    while last < bits:
        # a gap beyond the end is cut at the end: it may be too large for an integer
        with np.errstate(over="ignore"):
            draws = rng.standard_exponential(_gaps_at_once(bits, ber))
            gaps = np.minimum(draws / -math.log1p(-ber), bits)
        places = last + np.cumsum(gaps.astype(np.int64) + 1)
        parts.append(places)
        last = int(places[-1])
    positions = np.concatenate(parts)
    return positions[positions < bits]


def negate_redrawn(
    values: npt.NDArray[np.float32], *, ber: float, rng: np.random.Generator
) -> None:
    """Change the sign of values at the places that `redrawn_flips` would draw, in place.

    One pass without a list of the places, so that a step of training pays little for its flips.

    Parameters
    ----------
    values : float32 array, shape (bits,)
        Weights of a layer; changed.
    ber : float
        Bit error rate, 0..1.
    rng : numpy.random.Generator
        Source of randomness, advanced as by `redrawn_flips`.

    Raises
    ------
    ValueError
        `ber` is outside 0..1.
    """
    check_ber(ber)
    bits = len(values)
    if ber == 0.0 or bits == 0:
        return
    if ber == 1.0:
        np.negative(values, out=values)
        return
    last = -1
    while last < bits:
        draws = rng.standard_exponential(_gaps_at_once(bits, ber))
        last = _negate_at_gaps(values, draws, -math.log1p(-ber), last)


def _gaps_at_once(bits: int, ber: float) -> int:
    """Gaps that almost always reach the end of so many bits."""
    expected = bits * ber
    return int(expected + 5.0 * math.sqrt(expected)) + 8


@njit
def _negate_at_gaps(
    values: npt.NDArray[np.float32], draws: npt.NDArray[np.float64], rate: float, last: int
) -> int:
    """Negate after each gap ``floor(draw / rate)`` from `last` on; give the last place."""
    bits = len(values)
    for index in range(len(draws)):
        # cut at the end: a gap may be too large for an integer
        last += int(min(draws[index] / rate, float(bits))) + 1
        if last >= bits:
            break
        values[last] = -values[last]
    return last
