"""Where readings lie: programming, array and conditions of each, as places of a fitted device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from devicefit.families.frame import Frame
from devicefit.fitting.fitted import Fitted
from devicefit.measurements.measurements import Measurements
from devicefit.numerics.arrays import FloatArray, IntArray

READ_AT = ("time_after_program_s", "temperature_k", "prior_cycles")
"""What readings are taken at beside the programming; no model depends on it."""


@dataclass(frozen=True)
class Places:
    """Distinct conditions of a table of readings, and which each reading is at.

    Parameters
    ----------
    x, second : float array, shape (place,)
        Values of the programming variables, SI; second is None without a second variable.
    array : int array, shape (place,), or None
        Index of the array in the fitted frame; None when it has only one.
    of_row : int array, shape (row,)
        Place of each row of the table.
    """

    x: FloatArray
    second: FloatArray | None
    array: IntArray | None
    of_row: IntArray


def places_of(
    measurements: Measurements,
    frame: Frame,
    *,
    table: pd.DataFrame | None = None,
    as_array: str | None = None,
) -> Places:
    """Distinct conditions of readings, in the terms of a fitted frame.

    Parameters
    ----------
    measurements : Measurements
        Readings.
    frame : Frame
        Of the fit.
    as_array : str, optional
        Fitted array that all readings are taken to be on, whatever they say.

    Raises
    ------
    ValueError
        The readings have another programming variable, lack the second one, are at values that
        the fit says nothing of, or come from an array that was not fitted.
    """
    if table is None:
        table = measurements.table
    if measurements.programming.unit != frame.programming.unit:
        raise ValueError(
            f"{measurements.source}: the programming variable is {measurements.programming.name} "
            f"({measurements.programming.unit}), the device was fitted over "
            f"{frame.programming.name} ({frame.programming.unit}); map the column with --column "
            "programming=YOUR_COLUMN:UNIT"
        )
    columns = {"x": table["programming"].to_numpy(dtype=np.float64)}
    frame.check(columns["x"], f"{measurements.source}: programming")
    if frame.second is not None:
        if "programming_2" not in table:
            raise ValueError(
                f"{measurements.source}: the device was fitted with {frame.second.name} as second "
                "variable; name its column with --column programming_2=YOUR_COLUMN:UNIT"
            )
        found = measurements.second
        if found is not None and found.unit != frame.second.unit:
            raise ValueError(
                f"{measurements.source}: the second variable is {found.name} ({found.unit}), the "
                f"device was fitted with {frame.second.name} ({frame.second.unit}); map the column "
                "with --column programming_2=YOUR_COLUMN:UNIT"
            )
        columns["second"] = table["programming_2"].to_numpy(dtype=np.float64)
    array = _arrays_of(measurements.source, table, frame, as_array)
    if array is not None:
        columns["array"] = array
    keys = pd.DataFrame(columns)
    of_row = keys.groupby(list(columns), sort=True).ngroup().to_numpy()
    distinct = keys.drop_duplicates().sort_values(list(columns))
    return Places(
        distinct["x"].to_numpy(),
        distinct["second"].to_numpy() if "second" in columns else None,
        distinct["array"].to_numpy(dtype=np.int64) if "array" in columns else None,
        of_row,
    )


def _arrays_of(
    source: str, table: pd.DataFrame, frame: Frame, as_array: str | None
) -> FloatArray | None:
    """Index of the array of each reading; None where there is only one.

    The law of one array says nothing of another one, so no array stands for another unless
    `as_array` says so.
    """
    number = {name: i for i, name in enumerate(frame.arrays)}
    fitted = ", ".join(frame.measured_arrays)
    remedy = (
        "predict them for a new array, drawn from the law between arrays, with --new-array, or say "
        "which fitted array they are taken to be on with --as-array NAME"
    )
    if as_array is not None:
        if as_array not in number or not frame.names_arrays:
            known = f"fitted were {fitted}" if frame.names_arrays else "the fit names no array"
            raise ValueError(f"--as-array {as_array}: no such array; {known}")
        found = np.full(len(table), number[as_array])
    elif not frame.names_arrays and not frame.new_arrays:
        return None
    elif "array_id" in table:
        unknown = sorted(set(table["array_id"]) - set(number))
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise ValueError(
                f"{source}: array {unknown[0]!r}{more} was not fitted (fitted: {fitted}), and what "
                "was learnt of one array need not hold on another; fit its readings too, "
                f"{remedy}"
            )
        found = table["array_id"].map(number).to_numpy()
    elif len(number) > 1:
        raise ValueError(
            f"{source}: the device was fitted to {len(number)} arrays ({fitted}); name the column "
            f"that tells them apart with --column array_id=YOUR_COLUMN, {remedy}"
        )
    else:
        return None
    return found.astype(np.float64) if len(number) > 1 else None


def on_new_arrays(device: Fitted, measurements: Measurements) -> tuple[Fitted, Measurements]:
    """The device with a new array for each array of readings that it was not fitted to.

    Parameters
    ----------
    device : Fitted
        Fitted family or stack.
    measurements : Measurements
        Readings that name no array are taken to be of one.

    Returns
    -------
    device : Fitted
    measurements : Measurements
        With the names of the new arrays.

    Raises
    ------
    ValueError
        All arrays of the readings were fitted.
    """

    def named(table: pd.DataFrame) -> pd.DataFrame:
        return table if "array_id" in table else table.assign(array_id="")

    parts = [named(part) for part in (measurements.table, measurements.intervals)]
    found = {str(name) for part in parts for name in part["array_id"]}
    unknown = sorted(found - set(device.frame.arrays if device.frame.names_arrays else ()))
    if not unknown:
        raise ValueError(
            f"{measurements.source}: --new-array, but all arrays of the readings "
            f"({', '.join(sorted(found))}) were fitted; leave it out"
        )
    larger = device.with_new_arrays(len(unknown))
    new_name = dict(zip(unknown, larger.frame.arrays[-len(unknown) :], strict=True))
    table, intervals = (
        part.assign(array_id=part["array_id"].astype(str).replace(new_name)) for part in parts
    )
    return larger, replace(measurements, table=table, intervals=intervals)
