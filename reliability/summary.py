"""Tables and lines for the terminal and for CSV files."""

from __future__ import annotations

import numpy as np
import pandas as pd

from devicefit.fitting import DevicePosterior
from devicefit.intervals import equal_tailed
from devicefit.measurements import STATES, Measurements
from devicefit.programming import FloatArray
from devicefit.sensing import SensingOptions, ber_curves


def summary_lines(measurements: Measurements) -> list[str]:
    """What is in a checked file, a line each."""
    table, programming = measurements.table, measurements.programming
    low, high = measurements.conditions[0], measurements.conditions[-1]
    lines = [
        f"{measurements.source}: {len(table)} readings of {measurements.devices} devices"
        + (" (simulated)" if measurements.simulated else ""),
        f"programming variable: {programming.name}, {len(measurements.conditions)} conditions "
        f"from {programming.format(float(low))} to {programming.format(float(high))}",
    ]
    for state in STATES:
        r_ohm = table.loc[table["state"] == state, "resistance_ohm"]
        spread = float(np.log(r_ohm).std())
        lines.append(
            f"{state}: {len(r_ohm)} readings, median {r_ohm.median():.4g} ohm, "
            f"sd of ln R {spread:.3f}"
        )
    lines += [f"warning: {warning}" for warning in measurements.warnings]
    lines.append("accepted")
    return lines


def ber_table(
    posterior: DevicePosterior, grid: FloatArray, options: SensingOptions
) -> pd.DataFrame:
    """BER of every scheme over `grid`, one row per scheme and value.

    Columns ``programming, unit, scheme, ber_mean, ber_median, ber_low, ber_high, interval_kind,
    probability, threshold_ohm, extrapolated, below_support``.
    """
    frames = []
    for scheme, curve in ber_curves(posterior, grid, options=options).items():
        interval = equal_tailed(curve.ln_ber)
        mean = np.exp(curve.ln_ber).mean(axis=(0, 1))
        frames.append(
            pd.DataFrame(
                {
                    "programming": grid,
                    "unit": posterior.frame.programming.unit,
                    "scheme": scheme,
                    "ber_mean": mean,
                    "ber_median": np.exp(np.median(curve.ln_ber, axis=(0, 1))),
                    "ber_low": np.exp(interval.low),
                    "ber_high": np.exp(interval.high),
                    "interval_kind": interval.kind,
                    "probability": interval.probability,
                    "threshold_ohm": np.nan if curve.threshold_ohm is None else curve.threshold_ohm,
                    "extrapolated": curve.extrapolated,
                    "below_support": mean < curve.support,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
