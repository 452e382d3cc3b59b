"""Readings, bounds, counts and summaries: how they are read, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from devicefit.compression.compression import compress
from devicefit.inputs.columns import parse_columns
from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.measurements.measurements import MeasurementError, Measurements, check_measurements
from devicefit.measurements.measurements import read_measurements as read

Write = Callable[..., Path]
CURRENT = Programming("SET compliance current", "A")


def check(table: pd.DataFrame) -> Measurements:
    """Check a user's table as the reader does, rows counted from one."""
    renamed = table.rename(columns={"i_cc_a": "programming"})
    return check_measurements(renamed.set_index(pd.RangeIndex(1, len(table) + 1)), CURRENT)


def counts(**changes: Any) -> pd.DataFrame:
    """Errors of 40 devices at two currents."""
    table = pd.DataFrame(
        {
            "state": ["LRS", "HRS", "LRS", "HRS"],
            "i_cc_a": [1e-5, 1e-5, 2e-5, 2e-5],
            "errors": [4, 1, 0, 40],
            "trials": [40, 40, 40, 40],
            "threshold_ohm": [2e4, 2e4, 3e4, 3e4],
        }
    ).astype({"errors": object, "trials": object})
    for name, value in changes.items():
        table.loc[1, name] = value
    return table


def summaries(**changes: Any) -> pd.DataFrame:
    """Published mean and spread at two currents."""
    table = pd.DataFrame(
        {
            "state": ["LRS", "HRS", "LRS", "HRS"],
            "i_cc_a": [1e-5, 1e-5, 2e-5, 2e-5],
            "n": [40, 30, 1, 20],
            "mean_ln_r": [9.0, 11.5, 8.5, 11.4],
            "sd_ln_r": [0.2, 0.5, np.nan, 0.4],
        }
    ).astype({"n": object, "mean_ln_r": object})
    for name, value in changes.items():
        table.loc[1, name] = value
    return table


def censored(table: pd.DataFrame) -> pd.DataFrame:
    """Readings of which the tenth row is known to be above, the twelfth between two values."""
    table = table.assign(resistance_low_ohm=np.nan, resistance_high_ohm=np.nan)
    table.loc[9, ["resistance_ohm", "resistance_low_ohm"]] = np.nan, 5e4
    table.loc[11, ["resistance_ohm", "resistance_low_ohm", "resistance_high_ohm"]] = (
        np.nan,
        6e4,
        8e4,
    )
    return table


# --- what is read ---------------------------------------------------------------------------------


def test_censored_readings_become_intervals(user_table: pd.DataFrame, write: Write) -> None:
    found = read(write(censored(user_table)))
    assert len(found.table) == 142
    assert found.devices == 36
    assert found.intervals["state"].tolist() == ["HRS", "HRS"]
    assert found.intervals["low_ohm"].tolist() == [5e4, 6e4]
    assert found.intervals["high_ohm"].tolist() == [np.inf, 8e4]
    assert found.intervals["device_id"].tolist() == ["d2", "d2"]
    hrs = compress(found).states["HRS"]
    assert hrs.intervals.condition.tolist() == [0, 0]
    assert hrs.intervals.count.tolist() == [1, 1]
    np.testing.assert_allclose(hrs.intervals.ln_low, np.log([5e4, 6e4]), atol=2**-29)
    assert hrs.intervals.ln_high[0] == np.inf
    assert hrs.intervals.ln_high[1] == pytest.approx(np.log(8e4), abs=2**-29)
    assert hrs.n.tolist() == [22, 24, 24]
    assert compress(found).devices_per_condition.tolist() == [12, 12, 12]


def test_bounds_in_kohm_and_by_mapping(user_table: pd.DataFrame, write: Write) -> None:
    table = censored(user_table)
    table["R_min"] = table.pop("resistance_low_ohm") / 1e3
    columns = parse_columns(["resistance_low_ohm=R_min:kohm"])
    assert read(write(table), columns=columns).intervals["low_ohm"].tolist() == [5e4, 6e4]


def test_counted_errors_become_two_intervals_each(write: Write) -> None:
    found = read(write(counts()))
    assert (len(found.table), found.devices) == (0, 80)
    assert found.conditions.tolist() == [1e-5, 2e-5]
    compressed = compress(found)
    t = np.log([2e4, 3e4])
    expected = {
        # an LRS is in error above the threshold, an HRS below; intervals of none are left out
        "LRS": ([0, 0, 1], [-np.inf, t[0], -np.inf], [t[0], np.inf, t[1]], [36, 4, 40]),
        "HRS": ([0, 0, 1], [-np.inf, t[0], -np.inf], [t[0], np.inf, t[1]], [1, 39, 40]),
    }
    for state, (condition, low, high, count) in expected.items():
        intervals = compressed.states[state].intervals
        assert intervals.condition.tolist() == condition
        np.testing.assert_allclose(intervals.ln_low, low, atol=2**-29)
        np.testing.assert_allclose(intervals.ln_high, high, atol=2**-29)
        assert intervals.count.tolist() == count
        assert compressed.states[state].n.tolist() == [0, 0]
        assert compressed.states[state].design_effect == 1.0
    assert compressed.devices == 80
    assert compressed.devices_per_condition.tolist() == [40, 40]
    assert len(compressed.device_array) == 0


def test_devices_of_counts_are_counted_once_where_they_are_named() -> None:
    table = pd.concat([counts().assign(device_id=f"d{number}") for number in range(12)])
    found = check(table)
    assert found.devices == compress(found).devices == 12
    assert compress(found).devices_per_condition.tolist() == [12, 12]
    assert compress(found).states["LRS"].intervals.count.tolist() == [12 * 36, 12 * 4, 12 * 40]


def test_summaries(write: Write) -> None:
    found = read(write(summaries()))
    # at each condition as many devices as the state with more of them: 40 and 20
    assert found.devices == 60
    compressed = compress(found)
    assert compressed.devices == 60
    assert compressed.devices_per_condition.tolist() == [30, 1]
    lrs, hrs = (compressed.states[state].summaries for state in ("LRS", "HRS"))
    assert (lrs.condition.tolist(), lrs.n.tolist()) == ([0, 1], [40, 1])
    assert lrs.mean.tolist() == [9.0, 8.5]
    # the sd is divided by n - 1, that of a lone reading is not known
    np.testing.assert_allclose(lrs.sum_of_squares, [39 * 0.2**2, 0.0], rtol=1e-14)
    np.testing.assert_allclose(hrs.sum_of_squares, [29 * 0.5**2, 19 * 0.4**2], rtol=1e-14)


def test_a_summary_has_the_statistics_of_its_readings(user_table: pd.DataFrame) -> None:
    ln_r = np.log(user_table["resistance_ohm"])
    groups = ln_r.groupby([user_table["state"], user_table["i_cc_a"]])
    table = groups.agg(n="size", mean_ln_r="mean", sd_ln_r="std").reset_index()
    data, readings = compress(check(table)), compress(check(user_table))
    for state in ("LRS", "HRS"):
        tables, known = data.states[state].summaries, readings.states[state]
        assert tables.n.tolist() == known.n.tolist()
        np.testing.assert_allclose(tables.mean, known.mean, atol=2**-29)
        np.testing.assert_allclose(tables.sum_of_squares, known.sum_of_squares, rtol=1e-7)


@pytest.mark.parametrize("together", [True, False])
def test_all_kinds_at_once(user_table: pd.DataFrame, write: Write, together: bool) -> None:
    parts = [censored(user_table), counts(), summaries()]
    if together:
        found = read(write(pd.concat(parts)))
    else:
        paths = [write(part, f"{number}.csv") for number, part in enumerate(parts)]
        found = read(paths)
        assert found.source == "0.csv + 1.csv + 2.csv"
        assert found.sha256 == read(paths[::-1]).sha256 != read(paths[0]).sha256
    assert (len(found.table), len(found.intervals), len(found.summaries)) == (142, 8, 4)
    assert found.devices == 36 + (40 + 40) + (40 + 20) - 0
    assert found.conditions.tolist() == [1e-5, 2e-5, 5e-5, 1e-4, 2e-4]


def test_a_second_variable(user_table: pd.DataFrame, write: Write) -> None:
    table = user_table.assign(pulse_width_s=np.where(user_table["cycle"] == 0, 1e-7, 1e-6))
    for text in ("programming_2=pulse_width_s:s", "programming_2=pulse_width_s"):
        found = read(write(table), columns=parse_columns([text]))
        assert found.programming == CURRENT
        assert found.second == Programming("SET pulse width", "s")
        compressed = compress(found)
        assert compressed.conditions.tolist() == [5e-5, 5e-5, 1e-4, 1e-4, 2e-4, 2e-4]
        assert compressed.second_values.tolist() == [1e-7, 1e-6] * 3
    # cycles of one condition are told apart by it
    without = read(
        write(table.drop(columns="cycle")), columns=parse_columns(["programming_2=pulse_width_s:s"])
    )
    assert len(without.table) == 144


def test_no_programming_variable(user_table: pd.DataFrame, write: Write) -> None:
    columns = parse_columns(["programming=none"])
    table = user_table.drop(columns="i_cc_a")
    found = read(write(table), columns=columns)
    assert found.programming == ONE_CONDITION
    assert found.conditions.tolist() == [1.0]
    assert found.warnings == (
        "all LRS and HRS readings are at one programming condition (no programming variable): no "
        "curve over programming can be had, only the bit errors there",
    )
    assert compress(found).conditions.tolist() == [1.0]
    # what is declared away is said
    first = read(write(user_table), columns=columns).warnings[0]
    assert first == (
        "readings.csv: declared to be of one condition, so its column i_cc_a is not used for "
        "144 rows"
    )


def test_names_are_read_as_they_are_written(user_table: pd.DataFrame, write: Write) -> None:
    table = user_table.assign(device_id=user_table["device_id"].str[1:].str.zfill(4))
    assert sorted(set(read(write(table)).table["device_id"]))[:2] == ["0000", "0001"]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "column trials is not a whole number of at least 1 in row 2 .values 0"),
        ({"trials": 0.5}, "column trials is not a whole number .*; count readings, not shares"),
        ({"errors": -1}, "column errors is not a whole number of at least 0 in row 2 .values -1"),
        ({"errors": 0.025}, "column errors is not a whole number .*; count errors, not shares"),
        ({"errors": 41}, "column errors is more than trials in row 2 .values 41"),
        ({"errors": None}, "column errors is empty in row 2 .*; counted errors need errors, tr"),
        ({"threshold_ohm": 0.0}, "column threshold_ohm is not a positive finite number in row 2"),
        ({"threshold_ohm": np.inf}, "column threshold_ohm is not a positive finite number"),
        ({"state": "RESET"}, "column state has unknown values in row 2 .values 'RESET'"),
        ({"i_cc_a": -1e-5}, "is not a positive finite number in row 2 "),
    ],
)
def test_wrong_counts(write: Write, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        read(write(counts(**changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "column n is not a whole number of at least 1 in row 2 .values 0"),
        ({"n": 10.5}, "column n is not a whole number"),
        (
            {"mean_ln_r": 5000.0},
            "column mean_ln_r is no natural logarithm .* in row 2 .values 50",
        ),
        ({"mean_ln_r": None}, "column mean_ln_r is empty in row 2 .*; a summary needs n, mean_"),
        ({"sd_ln_r": 0.0}, "column sd_ln_r is not a standard deviation .* in row 2 .values 0.0"),
        ({"sd_ln_r": -0.1}, "column sd_ln_r is not a standard deviation"),
        ({"sd_ln_r": None}, "column sd_ln_r is empty in row 2"),
    ],
)
def test_wrong_summaries(write: Write, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        read(write(summaries(**changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"resistance_low_ohm": -5.0},
            "column resistance_low_ohm is negative or no resistance in r",
        ),
        ({"resistance_low_ohm": np.inf}, "column resistance_low_ohm is negative or no resistance"),
        ({"resistance_low_ohm": 8e4}, "column resistance_high_ohm is not above resistance_low_ohm"),
        ({"resistance_high_ohm": 0.0}, "column resistance_high_ohm is not positive in row 12 "),
        ({"resistance_ohm": 7e4}, "row 12 hold a reading and bounds of a reading at once"),
        (
            {"resistance_low_ohm": np.nan, "resistance_high_ohm": np.nan},
            "row 12 hold no reading; fill in resistance_ohm, or resistance_low_ohm/resistance_hig",
        ),
        ({"resistance_low_ohm": 0.0, "resistance_high_ohm": np.inf}, "row 12 bound nothing"),
        ({"device_id": None}, "column device_id is empty in row 12; give every reading its device"),
    ],
)
def test_wrong_bounds(
    user_table: pd.DataFrame, write: Write, changes: dict[str, Any], message: str
) -> None:
    table = censored(user_table).astype({"device_id": object})
    for name, value in changes.items():
        table.loc[11, name] = value
    with pytest.raises(MeasurementError, match=message):
        read(write(table))


def test_a_row_of_two_kinds(user_table: pd.DataFrame, write: Write) -> None:
    table = pd.concat([user_table, counts()], ignore_index=True)
    table.loc[3, ["errors", "trials", "threshold_ohm"]] = 1, 10, 2e4
    with pytest.raises(MeasurementError) as error:
        read(write(table))
    assert str(error.value) == (
        "readings.csv: row 4 hold a reading and counted errors at once (columns resistance_ohm, "
        "errors, trials, threshold_ohm); a row is one or the other: leave the other columns empty, "
        "or give each its own row"
    )


def test_a_censored_reading_that_repeats_another(user_table: pd.DataFrame) -> None:
    table = censored(user_table)
    with pytest.raises(MeasurementError, match="2 readings share their .* rows 10 and 145 "):
        check(pd.concat([table, user_table.iloc[[9]]]))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (counts().iloc[::2], "column state holds only LRS; bit errors need readings of both"),
        (counts().assign(trials=9, errors=0).iloc[:2], "9 devices in LRS, at least 10 are needed"),
        (
            counts().drop(columns="trials"),
            r"need the columns errors, trials, threshold_ohm; trials i",
        ),
        (counts().drop(columns="state"), r"column 'state' .state. is missing; name it with --col"),
        (counts().assign(resistance_ohm=1e4), r"column 'device_id' .device_id. is missing; name i"),
        (counts().iloc[:0], "no readings; nothing is left"),
    ],
)
def test_too_little(write: Write, table: pd.DataFrame, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        read(write(table))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["errors=wrong"], "counted errors need the columns errors, trials, threshold_ohm; trials"),
        (["n=wrong"], "a summary needs the columns n, mean_ln_r, sd_ln_r; mean_ln_r is missing"),
        (["programming_2=gone:s"], r"column 'gone' .programming_2. is missing; check the name"),
        (["programming_2=width"], "unit of the second programming variable is not stated; write "),
        (["programming_2=i_cc_a:A", "programming=i_cc_a:A"], "stands beside a first one"),
        (["programming_2=width:s", "programming=none"], "stands beside a first one; map that with"),
    ],
)
def test_wrong_columns(
    user_table: pd.DataFrame, write: Write, columns: list[str], message: str
) -> None:
    table = user_table.assign(wrong=1, width=1e-6)
    with pytest.raises(MeasurementError, match=message):
        read(write(table), columns=parse_columns(columns))


@pytest.mark.parametrize("value", [0.0, -1e-6, np.nan, np.inf])
def test_a_second_value_is_one_the_variable_can_have(
    user_table: pd.DataFrame, write: Write, value: float
) -> None:
    table = user_table.assign(width=1e-6)
    table.loc[6, "width"] = value
    message = r"the second variable \(width\) is not a positive finite number in row 7 \(values"
    with pytest.raises(MeasurementError, match=message):
        read(write(table), columns=parse_columns(["programming_2=width:s"]))


def test_an_array_for_each_row_or_for_none(user_table: pd.DataFrame, write: Write) -> None:
    table = user_table.assign(array_id="a")
    table.loc[2, "array_id"] = None
    with pytest.raises(
        MeasurementError, match="array_id is empty in row 3; give every reading its"
    ):
        read(write(table))
    assert "array_id" not in read(write(table.assign(array_id=None))).table


def test_several_files_that_do_not_fit(user_table: pd.DataFrame, write: Write) -> None:
    a = write(user_table, "a.csv")
    gate = write(counts().rename(columns={"i_cc_a": "set_gate_voltage_v"}), "gate.csv")
    with pytest.raises(MeasurementError, match="gate.csv: the programming variable is SET gate"):
        read([a, gate])
    with pytest.raises(MeasurementError, match="a.csv: the file is named twice; give it once"):
        read([a, a])
    with pytest.raises(MeasurementError, match="no file; give a CSV or Parquet table"):
        read([])
    bad = write(counts(errors=50), "bad.csv")
    with pytest.raises(MeasurementError, match=r"errors is more than trials in row .*bad\.csv:2 "):
        read([a, bad])
    with pytest.raises(MeasurementError, match="--where run=1: no column 'run'; the file has dev"):
        read([a, write(counts(), "counts.csv")], where=[("run", "1")])
    # a condition holds in the files that have its column
    where = [("cycle", "1")]
    assert len(read([a, write(counts(), "counts.csv")], where=where).table) == 72


def test_simulated_beside_measured(user_table: pd.DataFrame, tmp_path: Path, write: Write) -> None:
    path = tmp_path / "sim.csv"
    path.write_text("# simulated\n" + counts().to_csv(index=False))
    found = read([write(user_table), path])
    assert found.simulated
    assert "some of the files are simulated; all readings count as simulated" in found.warnings
