"""Readings on the wrong side of the threshold, counted over neighbouring conditions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from devicefit.distributions.sensing import (
    BerCurve,
)
from devicefit.measurements.measurements import Measurements
from devicefit.measurements.single_readings import is_above, single_readings
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import Interval, clopper_pearson


@dataclass(frozen=True)
class ErrorCounts:
    """Readings on the wrong side of the threshold, per group of conditions.

    Parameters
    ----------
    programming_low, programming_high : float array, shape (group,)
        Ends of each group of conditions, SI.
    errors, trials : dict of str to int array, shape (group,)
        For each state.
    devices : int array, shape (group,)
        Distinct devices.
    bounded : pandas.DataFrame
        Readings known by bounds only that are among the trials, since their side is known:
        ``state`` and the columns of the condition.
    undecided : dict of str to int
        Readings of each state, known by bounds only, of which the side is not known. They are not
        among the trials.
    """

    programming_low: FloatArray
    programming_high: FloatArray
    errors: dict[str, np.ndarray]
    trials: dict[str, np.ndarray]
    devices: np.ndarray
    bounded: pd.DataFrame = field(default_factory=pd.DataFrame)
    undecided: dict[str, int] = field(default_factory=dict)

    @property
    def ber(self) -> FloatArray:
        """Counted BER: mean of the two states' error shares."""
        shares = [self.errors[s] / np.maximum(self.trials[s], 1) for s in ("LRS", "HRS")]
        return np.asarray((shares[0] + shares[1]) / 2)

    def interval(self, probability: float, design_effect: dict[str, float]) -> Interval:
        """Exact interval of the pooled share of wrong readings.

        Errors and trials of each state are divided by its design effect, because several readings
        of one device are worth fewer independent ones.
        """
        scale = {s: 1 / design_effect[s] for s in ("LRS", "HRS")}
        trials = sum(self.trials[s] * scale[s] for s in scale)
        shares = sum(self.errors.values()) / np.maximum(sum(self.trials.values()), 1)
        return clopper_pearson(shares * trials, trials, probability=probability)


def count_errors(
    measurements: Measurements, curve: BerCurve, *, devices_per_group: int = 100
) -> ErrorCounts:
    """Count readings on the wrong side of a 1T1R curve's threshold.

    A reading that is known by bounds counts where they tell its side. Neighbouring conditions are
    pooled until a group has `devices_per_group` devices. The threshold between grid points is
    interpolated.

    Raises
    ------
    ValueError
        The curve has no threshold (2T2R).
    """
    if curve.threshold_ohm is None:
        raise ValueError(f"{curve.scheme} has no threshold to count against; use the 1T1R curve")
    table = single_readings(measurements)
    scale = measurements.programming.coordinate
    threshold = np.exp(
        np.interp(
            scale(table["programming"]), scale(curve.programming), np.log(curve.threshold_ohm)
        )
    )
    above, decided = is_above(table, threshold)
    undecided = {s: int((~decided & (table["state"] == s)).sum()) for s in ("LRS", "HRS")}
    table, above = table[decided], above[decided]
    is_lrs = (table["state"] == "LRS").to_numpy()
    wrong = above == is_lrs
    groups = group_conditions(measurements, devices_per_group=devices_per_group)
    edges = np.array([low for low, _ in groups])
    index = np.searchsorted(edges, table["programming"].to_numpy(), side="right") - 1
    errors, trials = {}, {}
    for state, rows in (("LRS", is_lrs), ("HRS", ~is_lrs)):
        trials[state] = np.bincount(index[rows], minlength=len(groups))
        errors[state] = np.bincount(index[rows & wrong], minlength=len(groups))
    return ErrorCounts(
        edges,
        np.array([high for _, high in groups]),
        errors,
        trials,
        table["device_id"]
        .groupby(index)
        .nunique()
        .reindex(range(len(groups)), fill_value=0)
        .to_numpy(),
        table[(table["low_ohm"] < table["high_ohm"]).to_numpy()],
        undecided,
    )


def group_conditions(
    measurements: Measurements, *, devices_per_group: int
) -> list[tuple[float, float]]:
    """Neighbouring conditions pooled until each group has enough devices; (low, high) ends."""
    by_condition = single_readings(measurements).groupby("programming")["device_id"].unique()
    groups: list[tuple[float, float]] = []
    start: float | None = None
    seen: set[str] = set()
    for condition, devices in by_condition.items():
        start = float(condition) if start is None else start
        seen.update(devices)
        if len(seen) >= devices_per_group:
            groups.append((start, float(condition)))
            start, seen = None, set()
    if start is not None:
        last = float(by_condition.index[-1])
        if groups and len(seen) < devices_per_group / 2:
            groups[-1] = (groups[-1][0], last)
        else:
            groups.append((start, last))
    return groups
