"""Readings one by one, exact or known by bounds, and their side of a threshold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from devicefit.measurements.measurements import Measurements
from devicefit.numerics.arrays import FloatArray

_ROUNDING = 1e-9


def single_readings(measurements: Measurements) -> pd.DataFrame:
    """Every reading of a named device; counted errors and summaries are none.

    Returns
    -------
    pandas.DataFrame
        ``device_id, state, programming``, where given ``programming_2, array_id``, and
        ``low_ohm, high_ohm``, which are equal where the resistance is known. Exact readings first,
        in the order of :attr:`Measurements.table`.
    """
    table, intervals = measurements.table, measurements.intervals
    exact = table.assign(low_ohm=table["resistance_ohm"], high_ohm=table["resistance_ohm"])
    if "is_reading" not in intervals or not intervals["is_reading"].any():
        return exact
    bounds = intervals[intervals["is_reading"].astype(bool)]
    keep = [name for name in exact if name in bounds]
    return pd.concat([exact, bounds[keep]] if len(exact) else [bounds[keep]], ignore_index=True)


def is_above(readings: pd.DataFrame, threshold_ohm: FloatArray) -> tuple[np.ndarray, np.ndarray]:
    """Which readings are above their threshold, and of which the side is known.

    Parameters
    ----------
    readings : pandas.DataFrame
        From :func:`single_readings`.
    threshold_ohm : float array, shape (row,)
        Threshold of each reading.
    """
    low, high = (readings[name].to_numpy(dtype=np.float64) for name in ("low_ohm", "high_ohm"))
    # A bound at the threshold tells the side; thresholds are exponentials of logarithms.
    at = threshold_ohm * np.where(high > low, 1 - _ROUNDING, 1.0)
    above = (low > threshold_ohm) | ((high > low) & (low >= at))
    return above, above | (high <= threshold_ohm * (1 + _ROUNDING)) | (high == low)
