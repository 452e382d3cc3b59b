"""The scale on which a model sees its programming variables, arrays and smooth deviations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devicefit.compressed import Compressed, IntArray
from devicefit.levels import identifiable, level_priors
from devicefit.programming import FloatArray, Programming

DEVIATION_TERMS = 8
"""Terms of a smooth deviation when conditions allow: enough for `DEVIATION_SCALE`."""

LEAST_CONDITIONS = 12
"""Programming values from which on smooth deviations are modelled."""

DEVIATION_SCALE = 0.2
"""Length scale of smooth deviations, fraction of the measured range."""

_HALF_WIDTH = 0.75
"""Half width of the box of the cosine basis, centre at 0.5: 1.5 times that of the range."""


@dataclass(frozen=True)
class Places:
    """Where laws of ln R are asked for.

    Parameters
    ----------
    position : float array, shape (place,)
        First programming variable, 0 and 1 at the ends of the measured range.
    second : float array, shape (place,)
        Second variable, -0.5 and 0.5 at the ends; zeros when there is none.
    array : int array, shape (place,)
        Index of the array.
    basis : float array, shape (term, place)
        Basis of the smooth deviations, scaled to unit prior standard deviation of the function.
    """

    position: FloatArray
    second: FloatArray
    array: IntArray
    basis: FloatArray


@dataclass(frozen=True)
class Frame:
    """Measured range of the programming variables: what turns values into :class:`Places`.

    Parameters
    ----------
    programming : Programming
        The programming variable.
    low, high : float
        Smallest and largest measured value, SI; equal when there is one condition only.
    second : Programming or None
        Second programming variable.
    second_low, second_high : float
        Its measured range, SI.
    second_reference : float
        Value of the second variable where none is asked for: the measured median.
    arrays : tuple of str
        Names of the arrays.
    terms : int
        Terms of each smooth deviation, 0 for none.
    levels : tuple of str
        Parameters of the levels (devices, cycles, arrays) that the readings can tell apart.
    """

    programming: Programming
    low: float
    high: float
    second: Programming | None = None
    second_low: float = 0.0
    second_high: float = 0.0
    second_reference: float = 0.0
    arrays: tuple[str, ...] = ("",)
    terms: int = 0
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ranges = [(self.programming, self.low, self.high)]
        if self.second is not None:
            ranges.append((self.second, self.second_low, self.second_high))
        for variable, low, high in ranges:
            # written so that NaN is refused too
            if not -np.inf < low <= high < np.inf:
                raise ValueError(f"frame from {low} to {high}: low must not exceed high")
            if variable.is_logarithmic and not low > 0:
                raise ValueError(f"frame from {low}: a {variable.name} must be positive")
        if not np.isfinite(self.second_reference):
            raise ValueError(f"second_reference is {self.second_reference}; it must be finite")
        if not self.arrays or len(set(self.arrays)) < len(self.arrays):
            raise ValueError(f"arrays {self.arrays}: give each its own name")
        if not 0 <= self.terms <= DEVIATION_TERMS:
            raise ValueError(f"terms is {self.terms}; it must lie within 0..{DEVIATION_TERMS}")
        level_priors(frozenset(self.levels))  # refuses unknown ones

    @classmethod
    def of(cls, compressed: Compressed) -> Frame:
        """Frame of the measured range."""
        values = np.unique(compressed.conditions)
        second = compressed.second_values
        # Through few points the physics passes by its own parameters; deviations from it could
        # not be told from them.
        terms = min(DEVIATION_TERMS, len(values) // 3) if len(values) >= LEAST_CONDITIONS else 0
        states = compressed.states
        # Arrays have shifts of their own in every family, which leaves nothing for a level.
        told_apart = identifiable(states["LRS"].cells, states["HRS"].cells, compressed.device_array)
        return cls(
            compressed.programming,
            float(values[0]),
            float(values[-1]),
            compressed.second,
            float(second.min()),
            float(second.max()),
            float(np.median(second)),
            compressed.arrays,
            terms,
            tuple(sorted(told_apart - {"logit_array_part_lrs", "logit_array_part_hrs"})),
        )

    @property
    def is_single(self) -> bool:
        """Whether there is one condition only, so that nothing depends on the programming."""
        return self.low == self.high

    @property
    def is_current(self) -> bool:
        """Whether the programming variable is the compliance current itself."""
        return self.programming.is_current

    def position(self, x: FloatArray) -> FloatArray:
        """Place of `x` in the measured range, 0 to 1 inside it; 0.5 where there is one value."""
        values = np.asarray(x, dtype=np.float64)
        if self.is_single:
            return np.full(values.shape, 0.5)
        low, high = self.programming.coordinate([self.low, self.high])
        return np.asarray((self.programming.coordinate(values) - low) / (high - low))

    def places(
        self,
        x: FloatArray,
        *,
        second: FloatArray | float | None = None,
        array: IntArray | int = 0,
    ) -> Places:
        """Places of programming values.

        Parameters
        ----------
        x : float array, shape (place,)
            Values of the programming variable, SI.
        second : float array, shape (place,), or float, optional
            Values of the second variable, SI; the reference value when left out.
        array : int array, shape (place,), or int, optional
            Index into ``arrays``.
        """
        x = np.atleast_1d(np.asarray(x, dtype=np.float64))
        position = self.position(x)
        other = np.zeros(len(x))
        if self.second is not None and self.second_low < self.second_high:
            value = np.broadcast_to(self.second_reference if second is None else second, x.shape)
            low, high = self.second.coordinate([self.second_low, self.second_high])
            other = (self.second.coordinate(value) - low) / (high - low) - 0.5
        index = np.broadcast_to(np.asarray(array, dtype=np.int64), x.shape)
        return Places(position, other, index, deviation_basis(position, self.terms))


def deviation_basis(position: FloatArray, terms: int) -> FloatArray:
    """Basis of a Gaussian process on the measured range, constant beyond its ends.

    Parameters
    ----------
    position : float array, shape (place,)
        0 and 1 at the ends of the range.
    terms : int
        Number of terms.

    Returns
    -------
    float array, shape (term, place)
        Sines times the square root of the squared-exponential spectral density of unit variance
        and length scale `DEVIATION_SCALE` (Riutort-Mayol et al. 2023, equations 8 and 11).
    """
    inside = np.clip(position, 0.0, 1.0) - 0.5
    order = np.arange(1, terms + 1)[:, None]
    frequency = order * np.pi / (2 * _HALF_WIDTH)
    density = (
        DEVIATION_SCALE * np.sqrt(2 * np.pi) * np.exp(-0.5 * (DEVIATION_SCALE * frequency) ** 2)
    )
    wave = np.sin(frequency * (inside + _HALF_WIDTH)) / np.sqrt(_HALF_WIDTH)
    return np.asarray(np.sqrt(density) * wave)
