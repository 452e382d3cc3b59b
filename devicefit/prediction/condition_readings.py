"""Readings of each measured condition, compressed around the threshold, to count errors again.

A study keeps them, so that error rates can be counted without a model after the fit: exactly at the
threshold, and of complementary pairs for any offset of the sense amplifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.fitted import Fitted
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.measurements.single_readings import is_above, single_readings
from devicefit.numerics.arrays import IntArray
from devicefit.prediction.counted_errors import ErrorCounts
from devicefit.prediction.sides import thresholds

BIN = 0.02
"""Width of the bins of ln R: less than half of the usual offset of a sense amplifier."""


@dataclass(frozen=True)
class ConditionReadings:
    """Single readings at one measured condition.

    Parameters
    ----------
    programming : float
        SI.
    second : float or None
        Value of the second programming variable, SI; None without one.
    array : str
        Array; empty where the readings name none.
    devices : int
        Distinct devices.
    threshold_ohm : float
        Threshold of a 1T1R read at these programming values.
    bins : dict of str to (int array, int array)
        For each state, both of shape (bin,): numbers of bins, ascending, and readings in them. Bin
        k holds ``ln R - ln threshold`` above ``(k - 1) * BIN``, up to ``k * BIN``, so that readings
        above the threshold are those from bin 1 on. A reading known by a bound is at the bound.
    """

    programming: float
    second: float | None
    array: str
    devices: int
    threshold_ohm: float
    bins: dict[str, tuple[IntArray, IntArray]]

    def trials(self, state: str) -> int:
        """Readings of a state."""
        return int(self.bins[state][1].sum())

    def errors(self, state: str) -> int:
        """Readings of a state on the wrong side of the threshold."""
        bins, count = self.bins[state]
        return int(count[(bins >= 1) == (state == "LRS")].sum())

    def pair_error(self, offset_ln_r: float) -> float:
        """Share of wrong ones among all pairs of a reading in LRS and one in HRS.

        ``P(y_LRS + offset > y_HRS)`` with a normal offset, as for 2T2R; two readings of one bin
        are as good as equal.

        Raises
        ------
        ValueError
            A state was not read.
        """
        (lrs, n_lrs), (hrs, n_hrs) = (self.bins[state] for state in STATES)
        if not len(lrs) or not len(hrs):
            raise ValueError("pairs need readings of both states")
        apart = BIN * (lrs[:, None] - hrs).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            wrong = ndtr(apart / offset_ln_r) if offset_ln_r > 0 else (np.sign(apart) + 1) / 2
        return float(n_lrs @ wrong @ n_hrs / (n_lrs.sum() * n_hrs.sum()))

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "programming": self.programming,
            "second": self.second,
            "array": self.array,
            "devices": self.devices,
            "threshold_ohm": self.threshold_ohm,
            "bins": {s: self.bins[s][0].tolist() for s in STATES},
            "count": {s: self.bins[s][1].tolist() for s in STATES},
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> ConditionReadings:
        """What :meth:`record` wrote."""
        pairs = {
            s: tuple(np.array(record[key][s], dtype=np.int64) for key in ("bins", "count"))
            for s in STATES
        }
        return cls(
            record["programming"],
            record["second"],
            record["array"],
            record["devices"],
            record["threshold_ohm"],
            {s: (pair[0], pair[1]) for s, pair in pairs.items()},
        )


def condition_readings(
    measurements: Measurements, device: Fitted, options: SensingOptions
) -> tuple[ConditionReadings, ...]:
    """Readings of each measured condition.

    Parameters
    ----------
    measurements : Measurements
        Checked readings; those known by bounds that do not tell the side of the threshold are left
        out, and so are counts and summaries.
    device : Fitted
        What was fitted to them; chooses the threshold where none is given.
    options : SensingOptions
        Threshold.

    Returns
    -------
    tuple of ConditionReadings
        By programming value, second value and array.
    """
    table = single_readings(measurements).reset_index(drop=True)
    if not len(table):
        return ()
    x = table["programming"].to_numpy(dtype=np.float64)
    has_second = device.frame.second is not None
    second = table["programming_2"].to_numpy(dtype=np.float64) if has_second else None
    ln_threshold = thresholds(device, x, options, second)
    above, decided = is_above(table, np.exp(ln_threshold))
    bins = np.ceil((_ln_place(table["low_ohm"], table["high_ohm"]) - ln_threshold) / BIN)
    # the side is known exactly, whatever rounding did to the logarithm
    table = table.assign(
        second=0.0 if second is None else second,
        array=table["array_id"].astype(str) if "array_id" in table else "",
        ln_threshold=ln_threshold,
        bin=np.where(above, np.maximum(bins, 1), np.minimum(bins, 0)).astype(np.int64),
    )[decided]
    found = []
    for (value, other, array), rows in table.groupby(["programming", "second", "array"]):
        counted = {
            s: np.unique(rows["bin"][rows["state"] == s].to_numpy(), return_counts=True)
            for s in STATES
        }
        found.append(
            ConditionReadings(
                float(value),
                float(other) if has_second else None,
                array,
                int(rows["device_id"].nunique()),
                float(np.exp(rows["ln_threshold"].iloc[0])),
                counted,
            )
        )
    return tuple(found)


def pooled_errors(conditions: Sequence[ConditionReadings]) -> ErrorCounts:
    """Errors of neighbouring programming values together, 100 devices or more in each group.

    Parameters
    ----------
    conditions : sequence of ConditionReadings
        At least one, by programming value. A device that was read at several counts at each.
    """
    least = max(100, sum(c.devices for c in conditions) // 40)
    groups: list[list[ConditionReadings]] = [[]]
    for k, c in enumerate(conditions):
        full = sum(other.devices for other in groups[-1]) >= least
        if full and c.programming != conditions[k - 1].programming:
            groups.append([])
        groups[-1].append(c)
    return ErrorCounts(
        np.array([group[0].programming for group in groups]),
        np.array([group[-1].programming for group in groups]),
        {s: np.array([sum(c.errors(s) for c in group) for group in groups]) for s in STATES},
        {s: np.array([sum(c.trials(s) for c in group) for group in groups]) for s in STATES},
        np.array([sum(c.devices for c in group) for group in groups]),
    )


def _ln_place(low_ohm: Sequence[float], high_ohm: Sequence[float]) -> NDArray[np.float64]:
    """Ln of a resistance, of the one bound that is known, or of the middle between two."""
    with np.errstate(divide="ignore"):
        low, high = (np.log(np.asarray(end, dtype=np.float64)) for end in (low_ohm, high_ohm))
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isinf(high), low, np.where(np.isinf(low), high, (low + high) / 2))
    return np.asarray(middle)
