"""The scale on which a model sees its programming variables, arrays and smooth deviations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devicefit.inputs.programming import ONE_CONDITION, Programming, beyond
from devicefit.likelihood.compressed import Compressed
from devicefit.likelihood.levels import identifiable, level_priors
from devicefit.numerics.arrays import FloatArray, IntArray

DEVIATION_TERMS = 6
"""Terms of a smooth deviation when conditions allow: enough for `DEVIATION_SCALE`."""

LEAST_CONDITIONS = 12
"""Programming values from which on smooth deviations are modelled."""

DEVIATION_SCALE = 0.2
"""Length scale of smooth deviations, fraction of the measured range."""

FARTHEST = 20.0
"""Measured ranges beyond its ends at which a law is still evaluated, be it as an extrapolation."""

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
    ln_middle, ln_width : float
        Middle and width of the measured range of a compliance current, ln ampere.

    Notes
    -----
    In a PyMC model all of them are PyTensor variables of the same names.
    """

    position: Any
    second: Any
    array: Any
    basis: Any
    ln_middle: Any = 0.0
    ln_width: Any = 0.0


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
        Value of the second variable where none is asked for: the measured median, or the one that
        was chosen since.
    arrays : tuple of str
        Names of the arrays.
    terms : int
        Terms of each smooth deviation, 0 for none.
    levels : tuple of str
        Parameters of the levels (devices, cycles, arrays) that the readings can tell apart.
    new_arrays : int
        How many of the arrays, the last ones, were not measured but drawn from the law between
        arrays.
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
    new_arrays: int = 0

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
        if not 0 <= self.new_arrays < len(self.arrays):
            raise ValueError(
                f"new_arrays is {self.new_arrays}; it must lie within 0..{len(self.arrays) - 1}"
            )
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
        terms = min(DEVIATION_TERMS, len(values) // 3 - 2) if len(values) >= LEAST_CONDITIONS else 0
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
    def names_arrays(self) -> bool:
        """Whether the readings said which array they are of."""
        return self.measured_arrays != ("",)

    @property
    def measured_arrays(self) -> tuple[str, ...]:
        """Names of the arrays that were measured."""
        return self.arrays[: len(self.arrays) - self.new_arrays]

    @property
    def is_current(self) -> bool:
        """Whether the programming variable is the compliance current itself."""
        return self.programming.is_current

    def extrapolated(self, x: FloatArray, second: FloatArray | None = None) -> NDArray[np.bool_]:
        """Where values of the programming variables lie outside the measured range."""
        outside = beyond(x, self.low, self.high)
        if second is None or self.second is None:
            return outside
        return outside | beyond(second, self.second_low, self.second_high)

    def check(self, x: FloatArray, argument: str = "programming") -> None:
        """Refuse values of the programming variable at which there is no law.

        Raises
        ------
        ValueError
            A value is not finite, cannot be had, or is farther than :data:`FARTHEST` measured
            ranges away; or all readings were at another one.
        """
        values = np.atleast_1d(np.asarray(x, dtype=np.float64))
        positive = self.programming.is_logarithmic
        bad = ~np.isfinite(values) | (positive & (values <= 0))
        if bad.any():
            raise ValueError(
                f"{argument} is {values[bad][0]}; a {self.programming.name} must be finite"
                f"{' and positive' if positive else ''}"
            )
        other = self.extrapolated(values)
        if self.is_single and other.any():
            here = self.programming.format(self.low)
            what = (
                "was fitted without a programming variable, whose only value is 1"
                if self.programming == ONE_CONDITION
                else f"was measured at {here} only, which tells nothing of other values"
            )
            raise ValueError(
                f"{argument} is {self.programming.format(float(values[other][0]))}; the device "
                f"{what}; ask for {here}, or fit readings of several values"
            )

        if not self.is_single:
            # halves: the difference of two large values is not finite
            low, high = 0.5 * self.programming.coordinate([self.low, self.high])
            with np.errstate(over="ignore"):
                ranges = np.abs(0.5 * self.programming.coordinate(values) - low) / (high - low)
            if ranges.max() > FARTHEST:
                far = float(values[ranges.argmax()])
                raise ValueError(
                    f"{argument} is {far:g} {self.programming.unit}, more than {FARTHEST:g} times "
                    "the measured range away from it "
                    f"({self.programming.format(self.low)} to {self.programming.format(self.high)}"
                    "); nothing measured says anything there: check the unit, SI is expected"
                )

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
        basis = deviation_basis(position, self.terms)
        if self.is_single or not self.is_current:
            return Places(position, other, index, basis)
        ln_low, ln_high = np.log([self.low, self.high])
        return Places(position, other, index, basis, (ln_low + ln_high) / 2, ln_high - ln_low)

    def strong_end(self, array: IntArray) -> Places:
        """Places of the strong end of the measured range, in these arrays, shape (place,)."""
        return self.places(np.full(len(array), self.high), array=array)


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

    Notes
    -----
    The process has unit variance and length scale `DEVIATION_SCALE`, as sines times the square root
    of the squared-exponential spectral density (Riutort-Mayol et al. 2023, equations 8 and 11).
    What a straight line through the range follows is taken out of it: level and slope have
    parameters of their own, and a sampler can hardly move along two that do the same. The terms
    are the principal functions of what is left; two fewer than sines hold it all but 1 %.
    """
    if not terms:
        return np.zeros((0, len(position)))
    line, mixing = _without_line(terms)
    inside = np.clip(position, 0.0, 1.0)
    return np.asarray(mixing @ (_sines(inside, terms + 2) - line @ _line(inside)))


@cache
def _without_line(terms: int) -> tuple[FloatArray, FloatArray]:
    """Coefficients of the straight line through each sine, and principal functions of the rest."""
    grid = np.linspace(0.0, 1.0, 201)
    sines, line = _sines(grid, terms + 2), _line(grid)
    through = np.asarray(np.linalg.lstsq(line.T, sines.T, rcond=None)[0].T, dtype=np.float64)
    rest = sines - through @ line
    mixing = np.linalg.svd(rest, full_matrices=False)[0].T[:terms]
    # The sign of a singular vector is a choice.
    signs = np.sign((mixing @ rest)[:, -1])
    return through, np.asarray(signs[:, None] * mixing, dtype=np.float64)


def _line(inside: FloatArray) -> FloatArray:
    return np.stack([np.ones_like(inside), inside])


def _sines(inside: FloatArray, number: int) -> FloatArray:
    """Sines scaled to unit prior standard deviation of their sum, shape (sine, place)."""
    frequency = np.arange(1, number + 1)[:, None] * np.pi / (2 * _HALF_WIDTH)
    density = (
        DEVIATION_SCALE * np.sqrt(2 * np.pi) * np.exp(-0.5 * (DEVIATION_SCALE * frequency) ** 2)
    )
    wave = np.sin(frequency * (inside - 0.5 + _HALF_WIDTH)) / np.sqrt(_HALF_WIDTH)
    return np.asarray(np.sqrt(density) * wave)
