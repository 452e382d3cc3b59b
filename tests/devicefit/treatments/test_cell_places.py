"""Places of cells: what is read, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from devicefit.compression.compression import compress
from devicefit.inputs.columns import parse_columns
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import (
    MeasurementError,
    Measurements,
    check_measurements,
    read_measurements,
)

Write = Callable[..., Path]
CURRENT = Programming("SET compliance current", "A")


def placed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a place for each device, six to a row."""
    number = pd.factorize(table["device_id"], sort=True)[0]
    return table.assign(row=number // 6, column=number % 6)


def check(table: pd.DataFrame) -> Measurements:
    """Check a user's table as the reader does, rows counted from one."""
    renamed = table.rename(columns={"i_cc_a": "programming"})
    return check_measurements(renamed.set_index(pd.RangeIndex(1, len(table) + 1)), CURRENT)


def test_a_place_for_each_device(user_table: pd.DataFrame, write: Write) -> None:
    table = placed(user_table)
    found = read_measurements(write(table))
    names = sorted(user_table["device_id"].unique())
    assert list(found.places.columns) == ["device_id", "array_id", "row", "column"]
    assert found.places["device_id"].tolist() == names
    assert found.places["row"].tolist() == [i // 6 for i in range(36)]
    assert found.places["column"].tolist() == [i % 6 for i in range(36)]
    assert set(found.places["array_id"]) == {""}
    # A fit knows nothing of places.
    plain = read_measurements(write(user_table, "plain.csv"))
    pd.testing.assert_frame_equal(found.table, plain.table)
    assert not len(plain.places)
    ours, theirs = (compress(m).states["LRS"] for m in (found, plain))
    np.testing.assert_array_equal(ours.ln_r, theirs.ln_r)


def test_other_names_and_a_number_of_the_line(user_table: pd.DataFrame, write: Write) -> None:
    table = placed(user_table)
    renamed = table.rename(columns={"row": "WL", "column": "BL"})
    found = read_measurements(write(renamed), columns=parse_columns(["row=WL", "column=BL"]))
    expected = read_measurements(write(table, "expected.csv")).places
    pd.testing.assert_frame_equal(found.places, expected)
    # A lone column `row` may number the lines: it is no place.
    lines = user_table.assign(row=range(len(user_table)))
    assert not len(read_measurements(write(lines, "lines.csv")).places)
    with pytest.raises(
        MeasurementError,
        match=r"the place of a cell needs the columns row, column; column is missing, name it with "
        r"--column column=YOUR_COLUMN",
    ):
        read_measurements(write(renamed), columns=parse_columns(["row=WL"]))


def test_devices_may_lack_a_place(user_table: pd.DataFrame) -> None:
    table = placed(user_table).astype({"row": float, "column": float})
    first = table["device_id"] == table["device_id"].iloc[0]
    table.loc[first, ["row", "column"]] = np.nan
    assert len(check(table).places) == 35
    # One reading with its place is enough.
    table.loc[first.idxmax(), ["row", "column"]] = 9
    assert len(check(table).places) == 36


def test_the_same_number_on_two_arrays_is_two_devices(user_table: pd.DataFrame) -> None:
    one = placed(user_table)
    both = pd.concat([one.assign(array_id="a"), one.assign(array_id="b")], ignore_index=True)
    found = check(both).places
    assert len(found) == 72
    assert found["array_id"].value_counts().to_dict() == {"a": 36, "b": 36}
    assert not found.duplicated(["array_id", "row", "column"]).any()


def test_all_faults_of_single_places_at_once(user_table: pd.DataFrame) -> None:
    table = placed(user_table).astype({"row": float, "column": float})
    table.loc[2, "row"] = -1
    table.loc[5, "column"] = 1.5
    table.loc[7, "row"] = np.inf
    table.loc[9, "column"] = np.nan
    table.loc[11, "resistance_ohm"] = -3.0
    with pytest.raises(MeasurementError) as error:
        check(table)
    text = str(error.value)
    assert "4 faults" in text
    assert (
        "column row is not a whole number of at least 0 in rows 3, 8 (values -1.0, inf); count "
        "rows and columns from 0, or rename both columns if they are no places"
    ) in text
    assert "column column is not a whole number of at least 0 in row 6 (values 1.5)" in text
    assert "column column is empty where row is given in row 10; give both" in text
    assert "column resistance_ohm is not a positive finite number in row 12" in text


def test_places_that_contradict_each_other(user_table: pd.DataFrame) -> None:
    table = placed(user_table)
    names = sorted(table["device_id"].unique())
    moved = table["device_id"] == names[3]
    table.loc[moved.idxmax(), "column"] = 30
    twin = table["device_id"] == names[8]
    table.loc[twin, ["row", "column"]] = [0, 1]
    with pytest.raises(MeasurementError) as error:
        check(table)
    text = str(error.value)
    assert "2 faults" in text
    assert "columns row, column hold several places for 1 of the devices, for example" in text
    assert f"{names[3]} at (0, 30)" in text
    assert "a cell stays where it is" in text
    assert "columns row, column hold several devices at 1 of the places, for example" in text
    assert f"{names[1]} at (0, 1), {names[8]} at (0, 1)" in text
