"""Tables and lines for the terminal and for CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.families.frame import Frame
from devicefit.fitting.error_rates import array_curves, ber_curves
from devicefit.fitting.fitted import Fitted
from devicefit.fitting.new_arrays import new_array_note
from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import equal_tailed
from reliability.life.required import LifeFactor, age_curves

ARRAYS_SHOWN = 5


def summary_lines(measurements: Measurements) -> list[str]:
    """What is in a checked table, a line each: kinds of rows, variables, arrays, levels."""
    table, programming = measurements.table, measurements.programming
    intervals, summaries = measurements.intervals, measurements.summaries
    kinds = [f"{len(table)} readings"] if len(table) else []
    if len(intervals):
        kinds.append(f"{int(intervals['count'].sum())} readings known by bounds or as counts")
    if len(summaries):
        kinds.append(f"{int(summaries['n'].sum())} readings in {len(summaries)} summaries")
    lines = [
        f"{measurements.source}: {', '.join(kinds)} of {measurements.devices} devices"
        + (" (simulated)" if measurements.simulated else ""),
        _variable_line("programming variable", programming, measurements.conditions),
    ]
    parts = [part for part in (table, intervals, summaries) if len(part)]
    if measurements.second is not None:
        values = np.unique(np.concatenate([part["programming_2"].to_numpy() for part in parts]))
        lines.append(_variable_line("second variable", measurements.second, values))
    arrays = sorted({name for part in parts if "array_id" in part for name in part["array_id"]})
    if arrays:
        more = f" and {len(arrays) - ARRAYS_SHOWN} more" if len(arrays) > ARRAYS_SHOWN else ""
        lines.append(f"arrays: {len(arrays)} ({', '.join(arrays[:ARRAYS_SHOWN])}{more})")
    for state in STATES:
        r_ohm = table.loc[table["state"] == state, "resistance_ohm"]
        known = []
        if len(r_ohm):
            known.append(
                f"{len(r_ohm)} readings, median {r_ohm.median():.4g} ohm, "
                f"sd of ln R {float(np.log(r_ohm).std()):.3f}"
            )
        for part, number, what in (
            (intervals, "count", "known by bounds or as counts"),
            (summaries, "n", "in summaries"),
        ):
            count = int(part.loc[part["state"] == state, number].sum()) if len(part) else 0
            if count:
                known.append(f"{count} {what}")
        lines.append(f"{state}: {', '.join(known)}")
    lines += [f"warning: {warning}" for warning in measurements.warnings]
    lines.append("accepted")
    return lines


def _variable_line(what: str, variable: Programming, values: FloatArray) -> str:
    if variable == ONE_CONDITION:
        return f"{what}: none, all at one condition"
    if len(values) == 1:
        return f"{what}: {variable.name}, 1 condition, {variable.format(float(values[0]))}"
    return (
        f"{what}: {variable.name}, {len(values)} conditions from "
        f"{variable.format(float(values[0]))} to {variable.format(float(values[-1]))}"
    )


def ber_table(
    posterior: Fitted, grid: FloatArray, options: SensingOptions, *, new_array: bool = False
) -> pd.DataFrame:
    """BER of every scheme over `grid`, one row per scheme and value.

    Columns ``programming, unit, scheme, ber_mean, ber_median, ber_low, ber_high, interval_kind,
    probability, threshold_ohm, extrapolated, below_support``. A new array is read at the threshold
    of the measured ones.
    """
    curves = ber_curves(posterior, grid, options=options)
    if new_array:
        larger, new = posterior.with_new_arrays(1), (len(posterior.frame.arrays),)
        (curves,) = array_curves(larger, curves["1T1R"], options=options, arrays=new)
    return _curves_table(curves, posterior)


def aged_table(
    posterior: Fitted,
    grid: FloatArray,
    options: SensingOptions,
    factor: LifeFactor,
    *,
    seed: int,
) -> pd.DataFrame:
    """The same twice, column ``life``: fresh, and at the end of life."""
    fresh = ber_curves(posterior, grid, options=options)
    both = {"fresh": fresh, "end": age_curves(fresh, factor, seed=seed)}
    return pd.concat(
        [_curves_table(curves, posterior).assign(life=name) for name, curves in both.items()],
        ignore_index=True,
    )


def table_notes(table: pd.DataFrame, posterior: Fitted) -> list[str]:
    """What the rows of :func:`ber_table` or :func:`aged_table` do not rest on data for."""
    frame, lines = posterior.frame, []
    for life, part in table.groupby("life", sort=False) if "life" in table else [("", table)]:
        said = {"": "", "fresh": ", fresh", "end": ", end of life"}[str(life)]
        one = part[part["scheme"] == part["scheme"].iloc[0]]
        if one["extrapolated"].any():
            of_life = frame.extrapolated(one["programming"].to_numpy()).sum()
            what = (
                f"the measured {frame.programming.format(frame.low)} to "
                f"{frame.programming.format(frame.high)}"
                if of_life == one["extrapolated"].sum()
                else "what was measured"
            )
            lines.append(
                f"EXTRAPOLATED: {int(one['extrapolated'].sum())} of {len(one)} values of the "
                f"{frame.programming.name} lie outside {what}{said}"
            )
        for scheme, rows in part.groupby("scheme", sort=False):
            if rows["below_support"].any():
                lines.append(
                    f"{scheme}: at {int(rows['below_support'].sum())} of {len(rows)} values the "
                    f"mean BER is below 1 / devices = {1 / posterior.record['devices']:.2g}{said}; "
                    "there it rests on the shape of the model"
                )
    return lines


def level_notes(posterior: Fitted) -> list[str]:
    """Which spreads the readings cannot tell: of one array, of one reading of each device."""
    frame, lines = posterior.frame, []
    if len(frame.arrays) == 1:
        lines.append("not told: how arrays differ; one array was read, or none was named")
    if not frame.levels:
        lines.append(
            "not told: what lasts in a device and what is new in a cycle; no device was read "
            "twice in a state. Error rates of other devices need only their sum"
        )
    return lines


def prediction_notes(
    table: pd.DataFrame,
    measurements: Measurements,
    frame: Frame,
    read_at: Mapping[str, Sequence[float]],
) -> list[str]:
    """What the rows of :func:`devicefit.prediction.prediction.predict` take for granted."""
    lines = []
    if measurements.programming.name != frame.programming.name:
        lines.append(
            f"assumed: {measurements.programming.name!r} of the readings is the "
            f"{frame.programming.name!r} of the fit"
        )
    named = "array_id" in measurements.table
    if table["new_array"].any():
        if note := new_array_note(frame):
            lines.append(note)
    elif table["as_array"].notna().any():
        lines.append(f"assumed: all readings are on the fitted array {table['as_array'].iloc[0]!r}")
    elif frame.names_arrays and not named:
        lines.append(
            "assumed: the readings, which name no array, are on the fitted array "
            f"{frame.arrays[0]!r}"
        )
    elif named and not frame.names_arrays:
        lines.append("assumed: the arrays of the readings are those of the fit, which names none")
    if table["extrapolated"].any():
        ranges = [f"{frame.programming.format(x)}" for x in (frame.low, frame.high)]
        fitted = [
            f"{frame.programming.name} {ranges[0]} to {ranges[1]}",
            *(f"{name} {low:g} to {high:g}" for name, (low, high) in read_at.items()),
        ]
        lines.append(
            f"EXTRAPOLATED: {int(table['extrapolated'].sum())} of {len(table)} (bin, state) cells "
            f"have readings outside what was fitted: {', '.join(fitted)}"
        )
    if (table["readings"] == "independent").any():
        lines.append(
            "devices were read repeatedly, those of the fit were not: readings are taken to fail "
            "independently, and intervals are too narrow where devices differ"
        )
    return lines


def _curves_table(curves: Mapping[str, BerCurve], posterior: Fitted) -> pd.DataFrame:
    frames = []
    for scheme, curve in curves.items():
        interval = equal_tailed(curve.ln_ber)
        mean = np.exp(curve.ln_ber).mean(axis=(0, 1))
        frames.append(
            pd.DataFrame(
                {
                    "programming": curve.programming,
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
