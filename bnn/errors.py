"""Persistent weight errors: which bits of a chip are wrong at a given bit error rate.

A *chip* is one error pattern over all weights, fixed from programming on. Chips are nested: each
bit has a level, uniform in [0, 1), and is wrong at every bit error rate above its level.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LOWEST_BAND = 24
"""Index of the lowest band of levels, [0, 2**-24); band k < 24 is [2**-(k+1), 2**-k)."""

_LEVEL_BITS = 52


@dataclass(frozen=True)
class IndependentFlips:
    """Every exposed weight bit is wrong with the same probability, independently.

    Attributes
    ----------
    ber : float
        Bit error rate, 0..1.
    protected : frozenset of str
        Layers whose weights stay exact. Thresholds and the affine output are always exact.
    """

    ber: float
    protected: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Check the range of `ber` and the type of `protected`."""
        check_ber(self.ber)
        # a bare string is a set of letters to Python and would protect nothing
        if not isinstance(self.protected, frozenset) or not all(
            isinstance(name, str) for name in self.protected
        ):
            raise ValueError(
                f"protected must be a frozenset of layer names, got {self.protected!r}"
            )


def check_ber(ber: float) -> None:
    """Raise ValueError unless `ber` is a fraction 0..1."""
    if not 0.0 <= ber <= 1.0:
        raise ValueError(f"ber must be a fraction between 0 and 1, got {ber}")


def chip_flips(
    *, bits: int, ber: float, seed: int, chip: int, layer: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Bits of one layer of one chip that are wrong at bit error rate `ber`.

    Parameters
    ----------
    bits : int
        Weight bits of the layer.
    ber : float
        Bit error rate, 0..1.
    seed : int
        Seed of the family of chips, not negative.
    chip, layer : int
        Number of the chip and of the layer, from 0.

    Returns
    -------
    positions : int64 array, shape (flips,)
        Wrong bits, strictly increasing.
    levels : float64 array, shape (flips,)
        Bit error rate above which the bit at the same index is wrong, all below `ber`.

    Raises
    ------
    ValueError
        A number is out of its range.

    Notes
    -----
    The chip depends on `(bits, seed, chip, layer)` only. The levels of a chip are drawn band by
    band from the lowest up, each band with its own generator keyed by `(seed, chip, layer, band)`
    (Philox, keyed through ``SeedSequence``): the number of bits in a band is binomial given the
    bands below it, the places are distinct and uniform, the levels uniform in the band. Bands
    above `ber` are not drawn, so the cost is proportional to ``bits * ber``. The law is that of
    independent uniform levels for all bits; `ber` = 0 and 1 are exact.
    """
    check_ber(ber)
    for name, number in (("bits", bits), ("seed", seed), ("chip", chip), ("layer", layer)):
        if number < 0:
            raise ValueError(f"{name} must not be negative, got {number}")
    taken = np.empty(0, np.int64)
    levels = np.empty(0, np.float64)
    for band in range(LOWEST_BAND, -1, -1):
        low = 0.0 if band == LOWEST_BAND else math.ldexp(1.0, -band - 1)
        high = math.ldexp(1.0, -band)
        if ber <= low:
            break
        key = np.random.SeedSequence(seed, spawn_key=(chip, layer, band))
        rng = np.random.Generator(np.random.Philox(key))
        count = int(rng.binomial(bits - len(taken), (high - low) / (1.0 - low)))
        places = _free_places(taken, bits=bits, count=count, rng=rng)
        # 52 random bits: low + (high - low) * step is exact and stays below high
        step = np.ldexp(rng.integers(0, 1 << _LEVEL_BITS, size=count), -_LEVEL_BITS)
        order = np.argsort(np.concatenate((taken, places)), kind="stable")
        taken = np.concatenate((taken, places))[order]
        levels = np.concatenate((levels, low + (high - low) * step))[order]
    wrong = levels < ber
    return taken[wrong], levels[wrong]


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
    expected = bits * ber
    draws = int(expected + 5.0 * math.sqrt(expected)) + 8
    parts = []
    last = -1
    while last < bits:
        # a gap beyond the end is cut at the end: it may be too large for an integer
        with np.errstate(over="ignore"):
            gaps = np.minimum(rng.standard_exponential(draws) / -math.log1p(-ber), bits)
        places = last + np.cumsum(gaps.astype(np.int64) + 1)
        parts.append(places)
        last = int(places[-1])
    positions = np.concatenate(parts)
    return positions[positions < bits]


def _free_places(
    taken: npt.NDArray[np.int64], *, bits: int, count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw `count` distinct places of 0..bits-1 that are not in `taken`, increasing."""
    if count == 0:
        return np.empty(0, np.int64)
    if 8 * (len(taken) + count) > bits:
        free = np.ones(bits, np.bool_)
        free[taken] = False
        places = np.flatnonzero(free)
        if count < len(places):
            places = places[rng.choice(len(places), count, replace=False, shuffle=False)]
        return np.sort(places).astype(np.int64, copy=False)
    drawn = np.empty(0, np.int64)
    while len(drawn) < count:
        more = rng.integers(0, bits, size=count - len(drawn))
        if len(taken):
            nearest = taken[np.minimum(np.searchsorted(taken, more), len(taken) - 1)]
            more = more[nearest != more]
        # as many as are missing at most, so nothing is ever cut off and no place is favoured
        drawn = np.unique(np.concatenate((drawn, more)))
    return drawn
