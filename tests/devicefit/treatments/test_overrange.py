"""Overflow and limits of the instrument become bounds: which rows, which bound, what is said."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from devicefit.inputs.columns import parse_columns
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import (
    MeasurementError,
    Measurements,
    check_measurements,
    read_measurements,
)
from devicefit.treatments.overrange import UNKNOWN_RANGE, Overrange, parse_overrange

Write = Callable[..., Path]
CURRENT = Programming("SET compliance current", "A")
KOHM = parse_columns(["resistance_ohm=R:kohm"])


def check(table: pd.DataFrame, overrange: Overrange = UNKNOWN_RANGE) -> Measurements:
    renamed = table.rename(columns={"i_cc_a": "programming"})
    rows = renamed.set_index(pd.RangeIndex(1, len(table) + 1))
    return check_measurements(rows, CURRENT, overrange=overrange)


def with_overflow(table: pd.DataFrame, value: object = 9.9e37) -> pd.DataFrame:
    """Overflow in an HRS reading of row 3 and an LRS reading of row 8."""
    table = table.copy()
    hrs, lrs = table.index[table["state"] == "HRS"][1], table.index[table["state"] == "LRS"][4]
    if isinstance(value, str):
        table["resistance_ohm"] = table["resistance_ohm"].astype(object)
    table.loc[[hrs, lrs], "resistance_ohm"] = value
    return table


@pytest.mark.parametrize(
    "value", [9.9e37, 9.91e37, np.inf, 1e30, "OVLD", "ol", "+Overflow", "OVER", "0L", "over range"]
)
def test_overflow_is_a_bound(user_table: pd.DataFrame, write: Write, value: object) -> None:
    found = read_measurements(write(with_overflow(user_table, value)))
    largest = found.table["resistance_ohm"].max()
    assert len(found.table) == len(user_table) - 2
    assert found.intervals["low_ohm"].tolist() == [largest] * 2
    assert np.isinf(found.intervals["high_ohm"]).all()
    assert found.intervals["is_reading"].tolist() == [True, True]
    (warning,) = found.warnings
    assert warning.startswith("2 readings (1 LRS and 1 HRS) are overflow of the instrument (")
    assert f"R > {largest:.6g} ohm" in warning
    assert "in rows 4, 9: " in warning
    assert "--overrange VALUE" in warning
    assert ("'not a number'" in warning) == (value == 9.91e37)
    assert [(c["why"], c["state"], c["readings"]) for c in found.treatment.censored] == [
        ("overflow", "LRS", 1),
        ("overflow", "HRS", 1),
    ]


@pytest.mark.parametrize("unit", ["kohm", "Mohm", "Gohm"])
def test_overflow_has_no_unit(user_table: pd.DataFrame, write: Write, unit: str) -> None:
    # the file is in kohm, say; the instrument wrote 9.9e37 all the same
    factor = {"kohm": 1e3, "Mohm": 1e6, "Gohm": 1e9}[unit]
    table = user_table.assign(R=user_table["resistance_ohm"] / factor)
    table.loc[3, "R"] = 9.9e37
    columns = parse_columns([f"resistance_ohm=R:{unit}"])
    found = read_measurements(write(table.drop(columns="resistance_ohm")), columns=columns)
    assert len(found.intervals) == 1
    assert "(9.9e+37) in row 4:" in found.warnings[0]


def test_bounds_given_by_hand_are_the_same(user_table: pd.DataFrame) -> None:
    table = with_overflow(user_table)
    found = check(table)
    over = table["resistance_ohm"] == 9.9e37
    by_hand = table.assign(
        resistance_ohm=table["resistance_ohm"].where(~over),
        resistance_low_ohm=np.where(over, found.table["resistance_ohm"].max(), np.nan),
    )
    pd.testing.assert_frame_equal(found.intervals, check(by_hand).intervals)
    pd.testing.assert_frame_equal(found.table, check(by_hand).table, check_dtype=False)


def test_a_declared_range_censors_readings_beyond(user_table: pd.DataFrame) -> None:
    limit = float(user_table["resistance_ohm"].quantile(0.9))
    beyond = int((user_table["resistance_ohm"] >= limit).sum())
    found = check(with_overflow(user_table), Overrange(limit))
    assert len(found.intervals) == beyond + 2
    assert found.table["resistance_ohm"].max() < limit
    # a fit takes them as above the largest that is left, which is nearly the limit here
    assert found.intervals["low_ohm"].unique().tolist() == [found.table["resistance_ohm"].max()]
    assert f"at or above the declared {limit:g} ohm" in found.warnings[0]
    assert f"each is R > {limit:g} ohm" in found.warnings[0]
    assert {c["why"] for c in found.treatment.censored} == {"overflow", "declared"}


def test_a_range_far_above_does_not_move_the_bound(user_table: pd.DataFrame) -> None:
    found = check(with_overflow(user_table), Overrange(1e9))
    assert found.intervals["low_ohm"].tolist() == [found.table["resistance_ohm"].max()] * 2
    assert "--overrange VALUE" not in found.warnings[0]


def test_a_value_decades_away_does_not_bound_overflow(user_table: pd.DataFrame) -> None:
    table = with_overflow(user_table)
    table.loc[20, "resistance_ohm"] = 3e12
    found = check(table)
    assert found.intervals["low_ohm"].max() < 1e7
    assert found.table["resistance_ohm"].max() == 3e12


@pytest.mark.parametrize(
    ("value", "message"),
    [(-9.9e37, r"row 4 \(values -9.9e\+37\)"), ("-OVLD", r"row 4 \(values -inf\)")],
)
def test_negative_overflow_is_refused(
    user_table: pd.DataFrame, write: Write, value: object, message: str
) -> None:
    table = user_table.astype({"resistance_ohm": object})
    table.loc[3, "resistance_ohm"] = value
    with pytest.raises(MeasurementError, match="negative overflow of the instrument .* " + message):
        read_measurements(write(table))


def test_at_face_value_overflow_is_refused(user_table: pd.DataFrame) -> None:
    with pytest.raises(MeasurementError, match=r"is overflow .* in rows 4, 9 .* --overrange none"):
        check(with_overflow(user_table), Overrange(at_face_value=True))


@pytest.mark.parametrize(("state", "edge"), [("LRS", "low"), ("HRS", "high")])
def test_a_limit_of_the_file_that_repeats(user_table: pd.DataFrame, state: str, edge: str) -> None:
    rows = user_table["state"] == state
    r = user_table.loc[rows, "resistance_ohm"]
    limit = float(r.quantile(0.15 if edge == "low" else 0.85))
    side = {"lower": limit} if edge == "low" else {"upper": limit}
    user_table.loc[rows, "resistance_ohm"] = r.clip(**side)
    found = check(user_table)
    assert len(found.intervals) == 11
    assert found.intervals["high_ohm" if edge == "low" else "low_ohm"].unique() == [limit]
    kept = check(user_table, Overrange(at_face_value=True))
    assert len(kept.table) == len(user_table)
    assert kept.warnings[0].startswith("probable censoring")


def test_a_limit_with_noise_in_its_last_digits(user_table: pd.DataFrame) -> None:
    # as an ADC at its last code after a division: 1.33482e10, 1.33483e10, ...
    hrs = user_table.index[user_table["state"] == "HRS"][:8]
    user_table.loc[hrs, "resistance_ohm"] = 1.3348e7 * (1 + 1e-6 * np.arange(8))
    found = check(user_table)
    assert len(found.intervals) == 8
    assert found.intervals["low_ohm"].unique() == [1.3348e7]


def test_a_limit_of_one_state_within_the_range_is_kept(user_table: pd.DataFrame) -> None:
    # a write-verify that stops the LRS at one value: HRS readings lie beyond
    lrs = user_table["state"] == "LRS"
    limit = float(user_table.loc[lrs, "resistance_ohm"].quantile(0.8))
    user_table.loc[lrs, "resistance_ohm"] = user_table.loc[lrs, "resistance_ohm"].clip(upper=limit)
    found = check(user_table)
    assert len(found.table) == len(user_table)
    assert found.warnings[0].startswith("probable censoring: the largest LRS reading")


@pytest.mark.parametrize(
    ("text", "limit"),
    [("1e9", 1e9), ("1Gohm", 1e9), ("1:Gohm", 1e9), ("200 Mohm", 2e8), ("1.5e6:ohm", 1.5e6)],
)
def test_a_range_as_it_is_written(text: str, limit: float) -> None:
    assert parse_overrange(text).limit_ohm == pytest.approx(limit)


@pytest.mark.parametrize("text", ["", "big", "1e9:A", "1Xohm", "-5", "nan", "0", "1e99", "1.2.3"])
def test_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="--overrange .*e.g. --overrange 1e9"):
        parse_overrange(text)


def test_a_range_below_the_readings_is_refused(user_table: pd.DataFrame) -> None:
    with pytest.raises(MeasurementError, match=r"--overrange 100 is not above the median LRS"):
        check(user_table, Overrange(100.0))


def test_only_overflow_needs_a_range(user_table: pd.DataFrame) -> None:
    with pytest.raises(MeasurementError, match="holds overflow of the instrument only .144 rows."):
        check(user_table.assign(resistance_ohm=np.inf))


@pytest.mark.parametrize("column", ["i_cc_a", "temperature_k"])
def test_overflow_is_no_value_of_anything_else(
    user_table: pd.DataFrame, write: Write, column: str
) -> None:
    table = user_table.assign(temperature_k=300.0)
    table.loc[table.index[3], column] = 9.9e37
    with pytest.raises(MeasurementError, match=rf"column {column} holds overflow .* row 4 "):
        read_measurements(write(table))
