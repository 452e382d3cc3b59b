"""The reader, and each refusal with its column, rows, values and remedy."""

import bz2
import gzip
import lzma
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


def check(table: pd.DataFrame) -> Measurements:
    """Check a user's table as the reader does, rows counted from one."""
    renamed = table.rename(columns={"i_cc_a": "programming"})
    return check_measurements(renamed.set_index(pd.RangeIndex(1, len(table) + 1)), CURRENT)


# --- what is read ---------------------------------------------------------------------------------


def test_a_plain_table(user_table: pd.DataFrame, write: Write) -> None:
    path = write(user_table)
    found = read_measurements(path)
    assert (found.devices, found.source, found.simulated) == (36, "readings.csv", False)
    assert found.conditions.tolist() == [50e-6, 100e-6, 200e-6]
    assert found.programming == CURRENT
    assert found.warnings == ()
    expected = user_table.rename(columns={"i_cc_a": "programming"})
    key = ["state", "programming", "device_id", "cycle"]
    expected = expected.sort_values(key, ignore_index=True).astype({"cycle": float})
    pd.testing.assert_frame_equal(found.table[expected.columns], expected)


def test_sha256_is_that_of_the_file(tmp_path: Path, user_table: pd.DataFrame, write: Write) -> None:
    path = write(user_table)
    (tmp_path / "twin.csv").write_bytes(path.read_bytes())
    assert read_measurements(path).sha256 == read_measurements(tmp_path / "twin.csv").sha256
    assert len(read_measurements(path).sha256) == 64


@pytest.mark.parametrize(
    "name",
    ["a.csv", "a.CSV", "a.b.csv", "a.txt", "a.tsv", "a.semicolon.csv", "a.csv.gz", "a.csv.xz"]
    + ["a.csv.bz2", "a.tsv.gz", "a.parquet", "a.pq", "bom.csv", "crlf.csv", "trailing.csv"],
)
def test_formats_give_the_same_table(
    tmp_path: Path, user_table: pd.DataFrame, write: Write, name: str
) -> None:
    expected = read_measurements(write(user_table, "expected.csv")).table
    path = tmp_path / name
    separator = "\t" if "tsv" in name else ";" if "semicolon" in name else ","
    text = user_table.to_csv(index=False, sep=separator)
    if name == "trailing.csv":  # as many instruments write
        head, *rows = text.splitlines()
        text = "\n".join([head, *(row + "," for row in rows)])
    if name == "crlf.csv":
        text = text.replace("\n", "\r\n")
    data = text.encode("utf-8-sig" if name == "bom.csv" else "utf-8")
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}.get(path.suffix)
    if path.suffix in (".parquet", ".pq"):
        user_table.to_parquet(path)
    else:
        path.write_bytes(pack(data) if pack else data)
    pd.testing.assert_frame_equal(read_measurements(path).table, expected, check_exact=True)


@pytest.mark.parametrize("column", ["state", "device_id", "array_id"])
def test_categories_of_parquet_are_plain_values(
    tmp_path: Path, user_table: pd.DataFrame, write: Write, column: str
) -> None:
    table = user_table.assign(array_id="a")
    expected = read_measurements(write(table)).table
    backwards = sorted({*table[column], "LRS"}, reverse=True)
    table[column] = pd.Categorical(table[column], categories=backwards)
    table.to_parquet(tmp_path / "a.parquet")
    found = read_measurements(tmp_path / "a.parquet").table
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("head", "simulated"),
    [
        ("# simulated\n", True),
        ("#Simulated device, seed 3\n", True),
        ("# lab book 7\n# simulated\n", True),
        ("# measured, not simulated\n", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_comments(
    tmp_path: Path, user_table: pd.DataFrame, head: str, simulated: bool, encoding: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(head + user_table.to_csv(index=False), encoding=encoding)
    found = read_measurements(path)
    assert found.simulated is simulated
    assert len(found.table) == len(user_table)


def test_order_of_rows_changes_nothing(
    user_table: pd.DataFrame, flat_bytes: Callable[..., dict[str, bytes]]
) -> None:
    first = check(user_table)
    second = check(user_table.sample(frac=1, random_state=5))
    pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)
    assert flat_bytes(compress(first)) == flat_bytes(compress(second))


@pytest.mark.parametrize(("unit", "factor"), [("ohm", 1.0), ("kohm", 1e3), ("Mohm", 1e6)])
def test_ohm_kohm_and_mohm_give_the_same_ln_r(
    user_table: pd.DataFrame, write: Write, unit: str, factor: float
) -> None:
    expected = np.log(read_measurements(write(user_table)).table["resistance_ohm"])
    scaled = user_table.assign(R=user_table["resistance_ohm"] / factor)
    path = write(scaled.drop(columns="resistance_ohm"))
    found = read_measurements(path, columns=parse_columns([f"resistance_ohm=R:{unit}"]))
    np.testing.assert_allclose(np.log(found.table["resistance_ohm"]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("column", "text", "scale", "programming"),
    [
        ("I", "programming=I:uA", 1e6, Programming("I", "A")),
        ("width", "programming=width:ns", 1e9, Programming("width", "s")),
        ("gate", "programming=gate:mV", 1e3, Programming("gate", "V")),
        ("i_cc_a", "programming=i_cc_a:A", 1, CURRENT),
        ("i_cc_a", "programming=i_cc_a", 1, CURRENT),
        ("set_gate_voltage_v", "programming=set_gate_voltage_v", 1, Programming("SET gate", "V")),
    ],
)
def test_mapped_programming(
    user_table: pd.DataFrame,
    write: Write,
    column: str,
    text: str,
    scale: float,
    programming: Programming,
) -> None:
    table = user_table.rename(columns={"i_cc_a": column})
    table[column] *= scale
    found = read_measurements(write(table), columns=parse_columns([text]))
    assert found.programming.unit == programming.unit
    assert found.programming.name.startswith(programming.name)
    np.testing.assert_allclose(found.conditions, [50e-6, 100e-6, 200e-6], rtol=1e-14)


@pytest.mark.parametrize(
    ("where", "rows"), [(("run", "1"), 144), (("good", "True"), 144), (("site", "A 1"), 144)]
)
def test_where_keeps_rows(
    user_table: pd.DataFrame, write: Write, where: tuple[str, str], rows: int
) -> None:
    twice = pd.concat(
        [
            user_table.assign(run=1.0, good=True, site="A 1"),
            user_table.assign(run=2.0, good=False, site="A 2"),
        ]
    )
    assert len(read_measurements(write(twice), where=[where]).table) == rows


# --- refusals of the file -------------------------------------------------------------------------

HEADER = b"device_id,state,i_cc_a,resistance_ohm\n"
GARBAGE = np.random.default_rng(3).bytes(4000)
READABLE = (HEADER + b"a,LRS,1e-5,5000\n" * 3000,)


def broken_gzip() -> bytes:
    """Make a gzip file whose blocks are damaged in the middle, not only its check sum."""
    data = bytearray(gzip.compress(np.random.default_rng(1).integers(48, 58, 9000, np.uint8)))
    data[200:400] = b"\xff" * 200
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", r"a\.csv: the file is empty"),
        ("a.csv", b"# simulated\n", "the file is empty"),
        ("a.csv.gz", b"", "the file is empty"),
        ("a.csv", HEADER, "a.csv: no readings"),
        ("a.csv", GARBAGE, "cannot be read as a table: "),
        ("a.csv.gz", GARBAGE, "cannot be read as a table: Not a gzipped file"),
        ("a.csv.xz", GARBAGE, "cannot be read as a table: "),
        ("a.csv.bz2", GARBAGE, "cannot be read as a table: "),
        ("a.parquet", GARBAGE, "cannot be read as a table: "),
        ("a.parquet", b"", "cannot be read as a table: "),
        ("a.csv.gz", gzip.compress(GARBAGE)[:2000], "cannot be read as a table: "),
        ("a.csv.gz", gzip.compress(*READABLE)[:-20], "before the end-of-stream marker"),
        ("a.csv.xz", lzma.compress(*READABLE)[:-20], "cannot be read as a table: "),
        ("a.csv.bz2", bz2.compress(*READABLE)[:-20], "cannot be read as a table: "),
        ("a.csv.gz", broken_gzip(), "cannot be read as a table: Error -3"),
        ("a.csv", HEADER + b"a,LRS,1e-5,5e3,7\n", "rows have more fields than the header has"),
        ("a.csv", HEADER + b"a,LRS,1e-5,5\nb,LRS,1,2,3\n", "cannot be read as a table: .*line 3"),
        ("a.csv", HEADER + b"a,LRS,1e-5,5,\xfc\n", "cannot be read as a table: .*utf-8"),
        ("a.xlsx", b"x", "cannot tell the format from the name; use .csv, .tsv .*or .parquet"),
        ("readings", b"x", "cannot tell the format"),
    ],
)
def test_unreadable(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MeasurementError, match=message) as error:
        read_measurements(tmp_path / name)
    assert name in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    for path, what in ((tmp_path / "no.csv", "no such file"), (tmp_path, "a directory")):
        with pytest.raises(MeasurementError, match=f"{what}; give a CSV or Parquet table"):
            read_measurements(path)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (("chip", "3"), "--where chip=3: no column 'chip'; the file has device_id, cycle, state"),
        (("cycle", "first"), "--where cycle=first: the column holds numbers"),
        (("cycle", "7"), "--where cycle=7 keeps no row; the column holds for example 0, 1$"),
        (("state", "lrs"), "--where state=lrs keeps no row; the column holds for example LRS, HRS"),
        (("cycle", "nan"), "--where cycle=nan keeps no row"),
    ],
)
def test_where_refusals(
    user_table: pd.DataFrame, write: Write, where: tuple[str, str], message: str
) -> None:
    with pytest.raises(MeasurementError, match=message):
        read_measurements(write(user_table), where=[where])


def test_row_numbers_are_those_of_the_file_also_after_where(
    user_table: pd.DataFrame, write: Write
) -> None:
    table = user_table.assign(run=["x"] * 70 + ["y"] * 74)
    table.loc[99, "resistance_ohm"] = -1.0
    with pytest.raises(MeasurementError, match=r"in row 100 \(values -1\.0\)"):
        read_measurements(write(table), where=[("run", "y")])


# --- refusals of columns --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("device_id", "name it with --column device_id=YOUR_COLUMN. The file has cycle, state"),
        ("state", "name it with --column state=YOUR_COLUMN. The file has"),
        ("resistance_ohm", "name it with --column resistance_ohm=YOUR_COLUMN:ohm. The file has"),
    ],
)
def test_missing_column(user_table: pd.DataFrame, write: Write, name: str, hint: str) -> None:
    with pytest.raises(MeasurementError, match=rf"column '{name}' \({name}\) is missing; {hint}"):
        read_measurements(write(user_table.drop(columns=name)))


def test_mapped_column_that_is_not_there(user_table: pd.DataFrame, write: Write) -> None:
    message = r"column 'R' \(resistance_ohm\) is missing; check the name in --column. The file has"
    with pytest.raises(MeasurementError, match=message):
        read_measurements(write(user_table), columns=parse_columns(["resistance_ohm=R:kohm"]))
    # an optional column is asked for once it is mapped
    with pytest.raises(MeasurementError, match=r"column 'T' \(temperature_k\) is missing"):
        read_measurements(write(user_table), columns=parse_columns(["temperature_k=T:K"]))


def test_programming_that_is_not_named(user_table: pd.DataFrame, write: Write) -> None:
    table = user_table.rename(columns={"i_cc_a": "I_set"})
    with pytest.raises(MeasurementError, match="no programming variable; name its column and") as e:
        read_measurements(write(table))
    assert "--column programming=I_set:uA" in str(e.value)
    assert str(e.value).endswith("The file has device_id, cycle, state, I_set, resistance_ohm")
    with pytest.raises(MeasurementError, match="unit of the programming variable is not stated; "):
        read_measurements(write(table), columns=parse_columns(["programming=I_set"]))


def test_programming_that_could_be_two_columns(user_table: pd.DataFrame, write: Write) -> None:
    table = user_table.assign(pulse_width_s=1e-6)
    message = r"2 columns could be the programming variable \(i_cc_a, pulse_width_s\); choose one"
    with pytest.raises(MeasurementError, match=message + ", e.g. --column programming=i_cc_a:A"):
        read_measurements(write(table))
    found = read_measurements(write(table), columns=parse_columns(["programming=i_cc_a:A"]))
    assert found.programming == CURRENT


# --- refusals of values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.0"), (-5.0, "-5.0"), (np.nan, "nan"), (-1e25, "-1e+25")]
)
def test_resistance_is_positive_and_finite(
    user_table: pd.DataFrame, value: float, shown: str
) -> None:
    user_table.loc[[2, 8], "resistance_ohm"] = value
    with pytest.raises(MeasurementError) as error:
        check(user_table)
    assert str(error.value) == (
        "table: column resistance_ohm is not a positive finite number in rows 3, 9 (values "
        f"{shown}, {shown}); mark failed readings as such in the source and leave those rows out, "
        "or correct the conversion"
    )


def test_many_bad_rows_are_counted_not_listed(user_table: pd.DataFrame) -> None:
    user_table.loc[10:29, "resistance_ohm"] = -1
    with pytest.raises(MeasurementError, match=r"rows 11, 12, 13, 14, 15 and 15 more \(values -1"):
        check(user_table)


@pytest.mark.parametrize("column", ["resistance_ohm", "i_cc_a", "cycle"])
def test_text_where_a_number_is_needed(user_table: pd.DataFrame, write: Write, column: str) -> None:
    table = user_table.astype({column: object})
    table.loc[4, column] = "4,7 k"
    message = rf"column {column} has text where a number is needed: row 5 \(values '4,7 k'\); corr"
    with pytest.raises(MeasurementError, match=message):
        read_measurements(write(table))


@pytest.mark.parametrize("value", [0.0, -1e-6, np.nan, np.inf])
def test_a_current_is_positive(user_table: pd.DataFrame, value: float) -> None:
    user_table.loc[6, "i_cc_a"] = value
    message = r"\(SET compliance current\) is not a positive finite number in row 7 \(values"
    with pytest.raises(MeasurementError, match=message):
        check(user_table)


def test_a_gate_voltage_may_be_zero_but_not_infinite(user_table: pd.DataFrame) -> None:
    table = user_table.rename(columns={"i_cc_a": "programming"})
    table["programming"] = table["programming"] * 1e4 - 0.5
    gate = Programming("gate", "V")
    assert check_measurements(table, gate).conditions[0] == 0.0
    table.loc[3, "programming"] = -np.inf
    with pytest.raises(MeasurementError, match=r"\(gate\) is not a finite number in row 3 "):
        check_measurements(table, gate)


@pytest.mark.parametrize("bad", ["lrs", "SET", " LRS", "1", "low"])
def test_unknown_state(user_table: pd.DataFrame, bad: str) -> None:
    user_table.loc[[0, 5], "state"] = bad
    with pytest.raises(MeasurementError) as error:
        check(user_table)
    assert str(error.value) == (
        f"table: column state has unknown values in rows 1, 6 (values {bad!r}, {bad!r}); the "
        "intended state is LRS (after a SET) or HRS (after a RESET)"
    )


@pytest.mark.parametrize(("name", "what"), [("device_id", "its device"), ("state", "its state")])
def test_empty_cells(user_table: pd.DataFrame, write: Write, name: str, what: str) -> None:
    user_table.loc[7, name] = None
    message = f"column {name} is empty in row 8; give every reading {what}"
    with pytest.raises(MeasurementError, match=message):
        read_measurements(write(user_table))


@pytest.mark.parametrize(("only", "missing"), [("LRS", "HRS"), ("HRS", "LRS")])
def test_one_state(user_table: pd.DataFrame, only: str, missing: str) -> None:
    message = f"column state holds only {only}; bit errors need .*, add those of {missing}"
    with pytest.raises(MeasurementError, match=message):
        check(user_table[user_table["state"] == only])


@pytest.mark.parametrize("state", ["LRS", "HRS"])
def test_too_few_devices(user_table: pd.DataFrame, state: str) -> None:
    few = user_table["device_id"].isin([f"d{4 * i}" for i in range(9)])
    table = user_table[few | (user_table["state"] != state)]
    message = f"column device_id has 9 devices in {state}, at least 10 are needed .*; measure more"
    with pytest.raises(MeasurementError, match=message):
        check(table)
    ten = user_table["device_id"].isin([f"d{3 * i}" for i in range(10)])
    assert check(user_table[ten]).devices == 10


@pytest.mark.parametrize("state", ["LRS", "HRS"])
def test_one_condition_is_accepted_with_a_warning(user_table: pd.DataFrame, state: str) -> None:
    table = user_table[(user_table["i_cc_a"] == 100e-6) | (user_table["state"] != state)]
    alone, one_state = sorted(check(table).warnings)
    assert alone.startswith("2 of 3 programming conditions have readings of one state only")
    assert one_state == (
        f"all {state} readings are at one programming condition (SET compliance current = 100 uA):"
        " no curve over programming can be had, only the bit errors there"
    )


# --- duplicates -----------------------------------------------------------------------------------


def test_duplicates_with_a_cycle_column(user_table: pd.DataFrame) -> None:
    with pytest.raises(MeasurementError) as error:
        check(pd.concat([user_table, user_table.iloc[[5]]]))
    assert str(error.value) == (
        "table: 2 readings share their (device_id, cycle, state, programming) with another, for "
        "example rows 6 and 145 (device_id d1, cycle 0.0, state HRS, programming 5e-05); remove "
        "copies, or give each reading its own cycle, or keep one run with --where COLUMN=VALUE"
    )


def test_duplicates_without_a_cycle_column(user_table: pd.DataFrame) -> None:
    message = r"144 readings share their \(device_id, state, programming\) .* rows 2 and 4 .* name "
    with pytest.raises(MeasurementError, match=message + "the column .*--column cycle=YOUR_COLUMN"):
        check(user_table.drop(columns="cycle"))
    assert check(user_table[user_table["cycle"] == 1].drop(columns="cycle")).devices == 36


@pytest.mark.parametrize("column", ["array_id", "time_after_program_s", "prior_cycles"])
def test_what_tells_readings_apart_makes_no_duplicates(
    user_table: pd.DataFrame, column: str
) -> None:
    twice = pd.concat([user_table.assign(**{column: 1}), user_table.assign(**{column: 2})])
    assert len(check(twice).table) == 288
    with pytest.raises(MeasurementError, match=r"288 readings share their \(.*state, programming"):
        check(twice.drop(columns=column))


# --- mixed units ----------------------------------------------------------------------------------

SEEDS = range(20)


def two_arrays(seed: int) -> pd.DataFrame:
    """Make readings over a realistic range: LRS from 26 to 1.8 kohm, HRS spread of 0.5."""
    rng = np.random.default_rng(seed)
    device = np.arange(120)
    current = np.geomspace(20e-6, 600e-6, 4)[device % 4]
    lrs = (1000 + 0.5 / current) * np.exp(0.15 * rng.standard_normal(120))
    hrs = 1.1e5 * np.exp(0.5 * rng.standard_normal(120))
    halves = [
        pd.DataFrame({"state": state, "resistance_ohm": r, "device_id": device, "i_cc_a": current})
        for state, r in (("LRS", lrs), ("HRS", hrs))
    ]
    return pd.concat(halves, ignore_index=True).assign(array_id=lambda t: t["device_id"] // 60)


@pytest.mark.parametrize("factor", [1e3, 1e-3, 1e6])
@pytest.mark.parametrize("seed", SEEDS)
def test_mixed_units_by_array(seed: int, factor: float) -> None:
    table = two_arrays(seed)
    table.loc[table["array_id"] == 1, "resistance_ohm"] *= factor
    message = r"column resistance_ohm seems to mix units: at array_id [01] \(first in row \d+\) the"
    with pytest.raises(MeasurementError, match=message) as error:
        check(table)
    assert "at array_id 1 (first in row 61)" in str(error.value)
    assert "bring all readings to one unit" in str(error.value)


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("seed", SEEDS)
def test_mixed_units_by_condition(seed: int, which: int) -> None:
    table = two_arrays(seed).drop(columns="array_id")
    current = np.unique(table["i_cc_a"])[which]
    table.loc[table["i_cc_a"] == current, "resistance_ohm"] /= 1000
    message = f"seems to mix units: at programming {current} .first in row {which + 1}. the medians"
    with pytest.raises(MeasurementError, match=message):
        check(table)


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
@pytest.mark.parametrize("seed", SEEDS)
def test_mixed_units_by_device(seed: int, share: float) -> None:
    table = two_arrays(seed).drop(columns="array_id")
    chosen = np.random.default_rng(seed).permutation(120)[: round(share * 120)]
    table.loc[table["device_id"].isin(chosen), "resistance_ohm"] /= 1000
    with pytest.raises(MeasurementError, match="seems to mix units: at ") as error:
        check(table)
    if share != 0.5:  # at one half it also shows as a difference of conditions
        assert f"at {len(chosen)} devices (first in row {chosen.min() + 1})" in str(error.value)


@pytest.mark.parametrize("ratio", [1e2, 1e3, 2e4])
def test_a_large_ratio_of_the_states_is_no_mix_of_units(ratio: float) -> None:
    # a gate sweep whose lower half never SETs: there the intended LRS reads like the HRS
    table = two_arrays(0)
    hrs = (table["state"] == "HRS") | (table["i_cc_a"] < 1e-4)
    table.loc[hrs, "resistance_ohm"] = 2e3 * ratio * (1 + 0.1 * np.arange(hrs.sum()) / hrs.sum())
    assert check(table).devices == 120


@pytest.mark.parametrize("column", ["array_id", "i_cc_a", "device_id"])
def test_a_deeper_reset_of_some_parts_is_no_mix_of_units(column: str) -> None:
    # the LRS stays where it was
    table = two_arrays(2)
    parts = np.unique(table[column])
    deep = table[column].isin(parts[: len(parts) // 2]) & (table["state"] == "HRS")
    table.loc[deep, "resistance_ohm"] *= 3000
    assert check(table).devices == 120


@pytest.mark.parametrize("level", [1e9, 3.0])
@pytest.mark.parametrize("states", [["LRS"], ["HRS"], ["LRS", "HRS"]])
def test_stuck_cells_are_no_mix_of_units(level: float, states: list[str]) -> None:
    table = two_arrays(1)
    stuck = (table["device_id"] % 13 == 0) & table["state"].isin(states)
    table.loc[stuck, "resistance_ohm"] = level * (1 + np.arange(stuck.sum()) / 100)
    assert check(table).devices == 120


# --- all faults at once ---------------------------------------------------------------------------


def test_all_faults_of_a_file_are_told_at_once(user_table: pd.DataFrame, write: Write) -> None:
    table = user_table.astype({"resistance_ohm": object, "cycle": object})
    table.loc[2, "resistance_ohm"] = 0
    table.loc[7, "resistance_ohm"] = -3.2
    table.loc[12, "resistance_ohm"] = "4,7 k"
    table.loc[20, "resistance_ohm"] = None
    table.loc[30, "state"] = "SET"
    table.loc[31, "device_id"] = None
    table.loc[40, "i_cc_a"] = -1e-4
    table.loc[50, "cycle"] = "two"
    # two faults in one row are both told
    table.loc[60, ["state", "resistance_ohm"]] = "RESET", 0
    copy = table.loc[[100, 101]]
    with pytest.raises(MeasurementError) as error:
        read_measurements(write(pd.concat([table, copy])))
    head, *lines = str(error.value).splitlines()
    assert head == "readings.csv: 7 faults"
    assert [line.partition(". ")[0].strip() for line in lines] == list("1234567")
    for text, line in zip(
        [
            "column resistance_ohm has text where a number is needed: row 13 (values '4,7 k');",
            "column cycle has text where a number is needed: row 51 (values 'two');",
            "column device_id is empty in row 32;",
            "column state has unknown values in rows 31, 61 (values 'SET', 'RESET');",
            "column resistance_ohm is not a positive finite number in rows 3, 8, 21, 61 (values ",
            "variable (SET compliance current) is not a positive finite number in row 41",
            "4 readings share their (device_id, cycle, state, programming) with another",
        ],
        lines,
        strict=True,
    ):
        assert text in line
    # and every fault has what to do
    assert all(";" in line for line in lines)


def test_faults_of_several_files_are_told_together(user_table: pd.DataFrame, write: Write) -> None:
    one, two = user_table.copy(), user_table.assign(device_id="x" + user_table["device_id"])
    one.loc[2, "resistance_ohm"], two.loc[5, "resistance_ohm"] = -1.0, -2.0
    paths = [write(one, name="one.csv"), write(two, name="two.csv")]
    with pytest.raises(MeasurementError, match=r"one.csv:3, .*two.csv:6 \(values -1.0, -2.0\)"):
        read_measurements(paths)


def test_all_missing_columns_are_told_at_once(user_table: pd.DataFrame, write: Write) -> None:
    table = user_table.drop(columns=["state", "device_id"])
    with pytest.raises(MeasurementError) as error:
        read_measurements(write(table))
    assert "--column state=YOUR_COLUMN" in str(error.value)
    assert "--column device_id=YOUR_COLUMN" in str(error.value)
    assert str(error.value).count("The file has") == 1


# --- warnings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "edge", "word"), [("LRS", "low", "smallest"), ("HRS", "high", "largest")]
)
def test_probable_censoring(user_table: pd.DataFrame, state: str, edge: str, word: str) -> None:
    rows = user_table["state"] == state
    r = user_table.loc[rows, "resistance_ohm"]
    limit = float(r.quantile(0.15 if edge == "low" else 0.85).round(1))
    user_table.loc[rows, "resistance_ohm"] = r.clip(
        **({"lower": limit} if edge == "low" else {"upper": limit})
    )
    found = check(user_table)
    (warning,) = found.warnings
    assert warning.startswith(f"the {word} {state} reading, {limit:.6g} ohm, occurs 11 times of 72")
    assert "--overrange none" in warning


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_rounding_is_no_censoring(user_table: pd.DataFrame, digits: int) -> None:
    rounded = [float(f"{r:.{digits}g}") for r in user_table["resistance_ohm"]]
    assert check(user_table.assign(resistance_ohm=rounded)).warnings == ()


def test_unusual_level_and_swapped_states(user_table: pd.DataFrame) -> None:
    tiny = check(user_table.assign(resistance_ohm=user_table["resistance_ohm"] / 1e6)).warnings
    assert len(tiny) == 2
    assert all("unusual for RRAM; if the file is in another unit map it" in text for text in tiny)
    swapped = user_table.assign(state=user_table["state"].map({"LRS": "HRS", "HRS": "LRS"}))
    (warning,) = check(swapped).warnings
    assert warning.startswith("at most conditions the LRS median lies above the HRS median")


def test_conditions_with_one_state(user_table: pd.DataFrame) -> None:
    gone = (user_table["i_cc_a"] == 50e-6) & (user_table["state"] == "HRS")
    assert check(user_table[~gone]).warnings == (
        "1 of 3 programming conditions have readings of one state only, first 50 uA",
    )


# --- measured data --------------------------------------------------------------------------------

GATE = parse_columns(["programming=set_gate_voltage_v:V"])


def test_one_run_of_the_gate_sweep(gate_sweep: Path) -> None:
    found = read_measurements(gate_sweep, columns=GATE, where=[("sweep", "fppv_1us_2021-04-02")])
    # its description: 301 voltages from 0 to 3 V, 15,050 cells, two reads of each
    assert (found.conditions[0], found.conditions[-1], len(found.conditions)) == (0.0, 3.0, 301)
    assert found.devices == 15_050
    assert found.table["state"].value_counts().to_dict() == {"HRS": 15_050, "LRS": 15_050}
    assert found.programming == Programming("SET gate voltage", "V")
    assert found.warnings == ()
    assert not found.simulated
    # its table of medians: LRS 4.5 and HRS 82 kohm from 2.6 to 3 V, given to two digits
    strong = found.table[found.table["programming"] >= 2.6]
    medians = strong.groupby("state")["resistance_ohm"].median()
    assert medians["LRS"] == pytest.approx(4500, abs=50)
    assert medians["HRS"] == pytest.approx(82_000, abs=1500)


def test_three_runs_of_the_gate_sweep_at_once(gate_sweep: Path) -> None:
    with pytest.raises(MeasurementError, match="readings share their") as error:
        read_measurements(gate_sweep, columns=GATE)
    assert "(device_id, cycle, state, programming)" in str(error.value)
    assert str(error.value).endswith("or keep one run with --where COLUMN=VALUE")


def test_gate_sweep_without_a_mapping(gate_sweep: Path) -> None:
    message = "2 columns could be the programming variable .set_gate_voltage_v, pulse_width_s."
    with pytest.raises(MeasurementError, match=message):
        read_measurements(gate_sweep)


def test_the_same_number_on_two_arrays_is_two_devices() -> None:
    table = two_arrays(2)
    table["device_id"] = table["device_id"] % 60
    assert table["device_id"].nunique() == 60
    assert check(table).devices == 120


@pytest.mark.parametrize(("name", "simulated"), [("simulated_a", True), ("unsimulated", False)])
def test_a_parquet_file_is_marked_by_a_word_of_its_name(
    user_table: pd.DataFrame, tmp_path: Path, name: str, simulated: bool
) -> None:
    path = tmp_path / f"{name}.parquet"
    user_table.to_parquet(path)
    assert read_measurements(path).simulated is simulated
