"""Files in pieces and Dask frames give the bytes of the table in memory, and its refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from devicefit.compression.accumulation import Partial, accumulate, merge
from devicefit.compression.compression import compress, finish
from devicefit.compression.streaming import compress_dask, compress_file
from devicefit.inputs.columns import parse_columns
from devicefit.measurements.measurements import MeasurementError, read_measurements
from devicefit.simulation.reference_device import ReferencePlan, reference_csv

Flat = Callable[..., dict[str, bytes]]
PLAN = ReferencePlan(currents=2, devices_per_current=15, cycles=4)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "readings.csv"
    path.write_text(reference_csv(seed=2, plan=PLAN))
    return path


@pytest.fixture(scope="module")
def table(simulated: Path) -> pd.DataFrame:
    return pd.read_csv(simulated, comment="#")


@pytest.fixture(scope="module")
def in_memory(simulated: Path, flat_bytes: Flat) -> dict[str, bytes]:
    return flat_bytes(compress(read_measurements(simulated)))


def mixed(table: pd.DataFrame) -> pd.DataFrame:
    """Readings of two arrays with equal numbers, of two variables, and rows of other kinds."""
    rng = np.random.default_rng(1)
    number = table["device_id"].str[-4:]
    table = table.assign(
        device_id=number, array_id=np.where(number < "0015", "A", "B"), width=1e-6, prior_cycles=3
    )
    # the same numbers on both arrays, with zeros in front
    table["device_id"] = (number.astype(int) % 15).map("{:03d}".format)
    table.loc[table["cycle"] > 1, "width"] = 1e-7
    censored = (table["state"] == "HRS") & (rng.random(len(table)) < 0.1)
    table["resistance_low_ohm"] = np.where(censored, 2e5, np.nan)
    table.loc[censored, "resistance_ohm"] = np.nan
    more = pd.DataFrame(
        {
            "state": ["LRS", "HRS", "LRS", "HRS"],
            "i_cc_a": 600e-6,
            "width": 1e-6,
            "array_id": "C",
            "errors": [3, 0, np.nan, np.nan],
            "trials": [50, 50, np.nan, np.nan],
            "threshold_ohm": [2e4, 2e4, np.nan, np.nan],
            "n": [np.nan, np.nan, 30, 20],
            "mean_ln_r": [np.nan, np.nan, 7.5, 11.6],
            "sd_ln_r": [np.nan, np.nan, 0.1, 0.5],
        }
    )
    return pd.concat([table, more], ignore_index=True)


MIXED = parse_columns(["programming_2=width:s"])


@pytest.mark.parametrize("chunk_rows", [5, 17, 101, 240, 10**6])
def test_csv_in_pieces(
    simulated: Path, in_memory: dict[str, bytes], flat_bytes: Flat, chunk_rows: int
) -> None:
    assert flat_bytes(compress_file(simulated, chunk_rows=chunk_rows)) == in_memory


@pytest.mark.parametrize("chunk_rows", [13, 10**6])
def test_parquet_in_pieces(
    tmp_path: Path,
    table: pd.DataFrame,
    in_memory: dict[str, bytes],
    flat_bytes: Flat,
    chunk_rows: int,
) -> None:
    table.to_parquet(tmp_path / "simulated.parquet", row_group_size=37)
    found = compress_file(tmp_path / "simulated.parquet", chunk_rows=chunk_rows)
    assert flat_bytes(found) == in_memory


@pytest.mark.parametrize("partitions", [1, 4, 20])
def test_dask(
    table: pd.DataFrame, in_memory: dict[str, bytes], flat_bytes: Flat, partitions: int
) -> None:
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_pandas(table, npartitions=partitions, sort=False)
    assert flat_bytes(compress_dask(frame)) == in_memory


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_rows(
    tmp_path: Path,
    table: pd.DataFrame,
    in_memory: dict[str, bytes],
    flat_bytes: Flat,
    seed: int,
) -> None:
    path = tmp_path / "shuffled.csv"
    table.sample(frac=1, random_state=seed).to_csv(path, index=False)
    assert flat_bytes(compress(read_measurements(path))) == in_memory
    assert flat_bytes(compress_file(path)) == in_memory
    # cycles in order, all else shuffled: then pieces are fine too
    order = table.sample(frac=1, random_state=seed).sort_values("cycle", kind="stable")
    order.to_csv(path, index=False)
    assert flat_bytes(compress_file(path, chunk_rows=50)) == in_memory


@pytest.mark.parametrize(("unit", "factor"), [("kohm", 1e3), ("Mohm", 1e6)])
def test_units(
    tmp_path: Path,
    table: pd.DataFrame,
    in_memory: dict[str, bytes],
    flat_bytes: Flat,
    unit: str,
    factor: float,
) -> None:
    path = tmp_path / "units.csv"
    scaled = table.assign(R=table["resistance_ohm"] / factor, I=table["i_cc_a"] * 1e6)
    scaled.drop(columns=["resistance_ohm", "i_cc_a"]).to_csv(path, index=False)
    columns = parse_columns([f"resistance_ohm=R:{unit}", "programming=I:uA"])
    found = flat_bytes(compress_file(path, columns=columns, chunk_rows=99))
    different = {key for key in found if found[key] != in_memory[key]}
    assert different == {".programming.name"}


@pytest.mark.parametrize("kind", ["csv", "parquet", "dask"])
def test_rows_of_every_kind_and_two_arrays(
    tmp_path: Path, table: pd.DataFrame, flat_bytes: Flat, kind: str
) -> None:
    whole = mixed(table)
    path = tmp_path / f"simulated.{'csv' if kind == 'dask' else kind}"
    whole.to_parquet(path) if kind == "parquet" else whole.to_csv(path, index=False)
    expected = compress(read_measurements(path, columns=MIXED))
    assert expected.arrays == ("A", "B", "C")
    assert expected.devices == 30 + 80
    assert len(expected.states["HRS"].intervals.count) > 2
    assert expected.states["LRS"].summaries.n.tolist() == [30]
    if kind == "dask":
        dd = pytest.importorskip("dask.dataframe")
        frame = dd.from_pandas(whole, npartitions=9, sort=False)
        found = compress_dask(frame, columns=MIXED)
    else:
        found = compress_file(path, columns=MIXED, chunk_rows=31)
    assert flat_bytes(found) == flat_bytes(expected)


def test_several_files(tmp_path: Path, table: pd.DataFrame, flat_bytes: Flat) -> None:
    whole = mixed(table)
    paths = [tmp_path / "readings.csv", tmp_path / "tables.csv"]
    whole[whole["device_id"].notna()].drop(columns=["errors", "trials"]).to_csv(
        paths[0], index=False
    )
    whole[whole["device_id"].isna()].dropna(axis="columns", how="all").to_csv(paths[1], index=False)
    whole.to_csv(tmp_path / "whole.csv", index=False)
    expected = flat_bytes(compress_file(tmp_path / "whole.csv", columns=MIXED))
    for order in (paths, paths[::-1]):
        assert flat_bytes(compress(read_measurements(order, columns=MIXED))) == expected
        assert flat_bytes(compress_file(order, columns=MIXED, chunk_rows=100)) == expected


def test_any_grouping_of_parts(
    simulated: Path, in_memory: dict[str, bytes], flat_bytes: Flat
) -> None:
    measurements = read_measurements(simulated)
    none = pd.DataFrame()
    rng = np.random.default_rng(6)
    piece = rng.integers(0, 12, len(measurements.table) // 4)
    # a device's readings at one condition stay together, the parts come in any order
    key = measurements.table["device_id"] + measurements.table["state"]
    parts: list[Partial] = [
        accumulate(rows.sample(frac=1, random_state=1), none, none)
        for _, rows in measurements.table.groupby(piece[pd.factorize(key)[0]])
    ]
    for _ in range(5):
        parts = [parts[i] for i in rng.permutation(len(parts))]
        cut = sorted(rng.choice(np.arange(1, len(parts)), 3, replace=False))
        groups = [parts[a:b] for a, b in zip([0, *cut], [*cut, None], strict=True)]
        found = finish(
            merge([merge(group) for group in groups]), programming=measurements.programming
        )
        assert flat_bytes(found) == in_memory


def test_series_are_joined_early_without_a_trace(
    simulated: Path,
    in_memory: dict[str, bytes],
    flat_bytes: Flat,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("devicefit.compression.accumulation.JOIN_FROM", 50)
    assert flat_bytes(compress_file(simulated, chunk_rows=9)) == in_memory


# --- refusals -------------------------------------------------------------------------------------


def test_rows_out_of_order_across_pieces(tmp_path: Path, table: pd.DataFrame) -> None:
    path = tmp_path / "a.csv"
    # cycles 0 and 2 in the first piece, 1 and 3 in the second; backwards would do
    odd = table["cycle"] % 2 == 1
    pd.concat([table[~odd], table[odd]]).to_csv(path, index=False)
    with pytest.raises(MeasurementError) as error:
        compress_file(path, chunk_rows=120)
    assert str(error.value).startswith("a.csv: readings of device sim-0000, LRS, are not in order")
    assert "sort the table by it, or read the table whole with read_measurements" in str(
        error.value
    )


@pytest.mark.parametrize("chunk_rows", [10, 10**6])
def test_repeated_readings(tmp_path: Path, table: pd.DataFrame, chunk_rows: int) -> None:
    path = tmp_path / "a.csv"
    pd.concat([table, table.iloc[[5]]]).to_csv(path, index=False)
    with pytest.raises(MeasurementError) as error:
        compress_file(path, chunk_rows=chunk_rows)
    message = str(error.value)
    if chunk_rows == 10:
        assert message.startswith("a.csv: readings of device sim-0000, LRS, ")
    else:
        assert "share their device_id, state, condition and place in time" in message
        assert "for example rows 6 and 241; remove copies" in message


@pytest.mark.parametrize("chunk_rows", [3, 10**6])
def test_a_file_without_cycles(tmp_path: Path, table: pd.DataFrame, chunk_rows: int) -> None:
    table.drop(columns="cycle").to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(MeasurementError, match="cycle=YOUR_COLUMN|each reading its own cycle"):
        compress_file(tmp_path / "a.csv", chunk_rows=chunk_rows)


@pytest.mark.parametrize("chunk_rows", [45, 10**6])
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("resistance_ohm", -1.0, r"not a positive finite number in row 100 \(values -1\.0\)"),
        ("resistance_ohm", "5 k", r"text where a number is needed: row 100 \(values '5 k'\)"),
        ("state", "SET", r"column state has unknown values in row 100 \(values 'SET'\)"),
        ("device_id", None, "column device_id is empty in row 100"),
        ("i_cc_a", 0.0, "is not a positive finite number in row 100"),
    ],
)
def test_bad_rows_have_the_numbers_of_the_file(
    tmp_path: Path,
    table: pd.DataFrame,
    column: str,
    value: Any,
    message: str,
    chunk_rows: int,
) -> None:
    table = table.astype({column: object})
    table.loc[99, column] = value
    table.to_csv(tmp_path / "a.csv", index=False)
    for read in (compress_file, read_measurements):
        how = {"chunk_rows": chunk_rows} if read is compress_file else {}
        with pytest.raises(MeasurementError, match=message):
            read(tmp_path / "a.csv", **how)


@pytest.mark.parametrize("part", ["i_cc_a", "array_id", "device_id"])
def test_mixed_units_across_pieces(tmp_path: Path, table: pd.DataFrame, part: str) -> None:
    number = table["device_id"].str[-4:].astype(int)
    table = table.assign(array_id=np.where(number % 2 == 0, "a", "b"))
    if part != "array_id":
        table = table.drop(columns="array_id")
    wrong = {
        "i_cc_a": table["i_cc_a"] == table["i_cc_a"].max(),
        "array_id": number % 2 == 1,
        "device_id": number % 5 == 0,
    }[part]
    table.loc[wrong, "resistance_ohm"] /= 1000
    table.to_csv(tmp_path / "a.csv", index=False)
    words = {"i_cc_a": "programming 0.0006", "array_id": "array_id b", "device_id": "6 devices"}
    with pytest.raises(MeasurementError, match=f"mix units: at {words[part]} the medians are"):
        compress_file(tmp_path / "a.csv", chunk_rows=50)
    with pytest.raises(MeasurementError, match=f"mix units: at {words[part]} .first in row"):
        read_measurements(tmp_path / "a.csv")


def test_too_little(tmp_path: Path, table: pd.DataFrame) -> None:
    path = tmp_path / "a.csv"
    table[table["state"] == "LRS"].to_csv(path, index=False)
    with pytest.raises(MeasurementError, match="column state holds only LRS"):
        compress_file(path, chunk_rows=50)
    few = table["device_id"].isin(sorted(set(table["device_id"]))[::4])
    table[few].to_csv(path, index=False)
    with pytest.raises(MeasurementError, match="8 devices in LRS, at least 10 are needed"):
        compress_file(path, chunk_rows=50)
    table.iloc[:0].to_csv(path, index=False)
    with pytest.raises(MeasurementError, match="a.csv: no readings; the table is empty"):
        compress_file(path)


def test_where_and_wrong_options(
    simulated: Path, tmp_path: Path, table: pd.DataFrame, flat_bytes: Flat
) -> None:
    twice = pd.concat([table.assign(run="1"), table.assign(run="x")])
    twice.to_csv(tmp_path / "a.csv", index=False)
    expected = flat_bytes(compress_file(simulated))
    for value in ("1", "x"):
        found = compress_file(tmp_path / "a.csv", where=[("run", value)], chunk_rows=70)
        assert flat_bytes(found) == expected
    with pytest.raises(MeasurementError, match="no readings: --where run=2 keeps no row"):
        compress_file(tmp_path / "a.csv", where=[("run", "2")], chunk_rows=70)
    with pytest.raises(MeasurementError, match="--where chip=2: no column 'chip'"):
        compress_file(tmp_path / "a.csv", where=[("chip", "2")])
    with pytest.raises(ValueError, match="chunk_rows is 0; use at least 1"):
        compress_file(simulated, chunk_rows=0)
    with pytest.raises(ValueError, match="bins_per_spread is 3"):
        compress_file(simulated, bins_per_spread=3)
