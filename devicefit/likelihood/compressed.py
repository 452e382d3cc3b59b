"""Readings in the compressed form on which likelihoods work: what is kept of each state."""

from __future__ import annotations

from dataclasses import dataclass

from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.short_repr import short_repr


@dataclass(frozen=True)
class Intervals:
    """Readings of which only bounds are known: censored, coded, or counted errors.

    Parameters
    ----------
    condition : int array, shape (interval,)
        Index into the conditions.
    ln_low, ln_high : float array, shape (interval,)
        Bounds of ln(R / ohm), ``low < high``; minus or plus infinity where there is none.
    count : int array, shape (interval,)
        Readings with these bounds.

    Notes
    -----
    Errors counted against a threshold are two intervals: the errors beyond it and the rest.
    """

    condition: IntArray
    ln_low: FloatArray
    ln_high: FloatArray
    count: IntArray


@dataclass(frozen=True)
class Summaries:
    """Published tables: number, mean and spread of ln R of readings that are not at hand.

    Parameters
    ----------
    condition : int array, shape (summary,)
        Index into the conditions.
    n : int array, shape (summary,)
        Readings.
    mean, sum_of_squares : float array, shape (summary,)
        Mean of ln R, and sum of squared deviations from it.
    """

    condition: IntArray
    n: IntArray
    mean: FloatArray
    sum_of_squares: FloatArray


@dataclass(frozen=True)
class DeviceCells:
    """Readings of one state per (device, condition), in order of cycle.

    Parameters
    ----------
    device : int array, shape (cell,)
        Index of the device, shared by both states; ascending.
    condition : int array, shape (cell,)
        Index into the conditions.
    n : int array, shape (cell,)
        Readings.
    mean, sum_of_squares : float array, shape (cell,)
        Mean of ln R, and sum of squared deviations from it.
    lag_product : float array, shape (cell,)
        Sum over successive readings of the product of their deviations from the mean.
    first, last : float array, shape (cell,)
        Deviation of the first and of the last reading from the mean.
    """

    device: IntArray
    condition: IntArray
    n: IntArray
    mean: FloatArray
    sum_of_squares: FloatArray
    lag_product: FloatArray
    first: FloatArray
    last: FloatArray


@short_repr
@dataclass(frozen=True)
class CompressedState:
    """Readings of one state.

    Parameters
    ----------
    condition : int array, shape (bin,)
        Index into the conditions, ascending.
    ln_r : float array, shape (bin,)
        Mean of ln(R / ohm) of the readings in the bin, ascending within a condition.
    count : int array, shape (bin,)
        Readings in the bin.
    n : int array, shape (condition,)
        Readings of the condition; those known by bounds or from tables are not among them.
    mean, sum_of_squares : float array, shape (condition,)
        Mean of ln R and sum of squared deviations from it; zero where ``n`` is zero. With ``n``
        the sufficient statistics of a normal law.
    design_effect : float
        Variance of a mean over clustered readings relative to as many independent ones
        (Kish 1965), at least 1.
    intervals : Intervals
        Readings known by bounds; may be empty.
    summaries : Summaries
        Published tables; may be empty.
    cells : DeviceCells
        The readings once more, per device and condition.
    """

    condition: IntArray
    ln_r: FloatArray
    count: IntArray
    n: IntArray
    mean: FloatArray
    sum_of_squares: FloatArray
    design_effect: float
    intervals: Intervals
    summaries: Summaries
    cells: DeviceCells


@short_repr
@dataclass(frozen=True)
class Compressed:
    """Compressed readings of both states over the same conditions.

    Parameters
    ----------
    programming : Programming
        The programming variable.
    second : Programming or None
        A second programming variable, e.g. the pulse width beside the gate voltage.
    arrays : tuple of str
        Names of the arrays, sorted; one empty name when the readings do not tell.
    conditions : float array, shape (condition,)
        Programming value of each condition, ascending, SI. A condition is a distinct
        combination of programming value, second value and array.
    second_values : float array, shape (condition,)
        Value of the second variable; zeros when there is none.
    array : int array, shape (condition,)
        Index into ``arrays``.
    states : dict of str to CompressedState
        ``"LRS"`` and ``"HRS"``.
    devices : int
        Number of distinct devices.
    device_array : int array, shape (device,)
        Array of each device, in the numbering of :class:`DeviceCells`.
    devices_per_condition : int array, shape (condition,)
        Distinct devices at each condition, the fewer of the two states.
    """

    programming: Programming
    second: Programming | None
    arrays: tuple[str, ...]
    conditions: FloatArray
    second_values: FloatArray
    array: IntArray
    states: dict[str, CompressedState]
    devices: int
    device_array: IntArray
    devices_per_condition: IntArray
