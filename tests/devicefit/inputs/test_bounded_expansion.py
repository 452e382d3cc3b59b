"""Compressed and columnar files that expand far beyond their size are refused early."""

import bz2
import gzip
import io
import lzma
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devicefit.inputs import bounded_expansion
from devicefit.inputs.bounded_expansion import BoundedReader, ExpansionError, expansion_bound
from devicefit.measurements import files as measurement_files
from devicefit.measurements.files import open_table
from devicefit.measurements.measurements import MeasurementError, read_measurements

HEAD = b"device_id,state,i_cc_a,resistance_ohm\n"
OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound of 64 KiB, so that the tests are quick."""
    monkeypatch.setattr(bounded_expansion, "LEAST_BYTES", 2**16)


def bomb(path: Path, head: bytes, row: bytes, times: int) -> Path:
    with OPENERS[path.suffix](path, "wb") as handle:
        handle.write(head)
        handle.write(row * times)
    return path


@pytest.mark.parametrize(
    ("suffix", "command"), [(".gz", "gunzip -k"), (".xz", "unxz -k"), (".bz2", "bunzip2 -k")]
)
def test_a_bomb(tmp_path: Path, suffix: str, command: str) -> None:
    # 2.7 MB of some hundred bytes to 7 kB
    path = bomb(tmp_path / f"a.csv{suffix}", HEAD, b"d1,LRS,1e-5,1000,\n"[:-2] + b"\n", 160_000)
    assert path.stat().st_size * 50 < 2_700_000
    with pytest.raises(MeasurementError) as error:
        read_measurements(path)
    assert "expand to more than" in str(error.value)
    assert "50 times its own size" in str(error.value)
    assert f"`{command} a.csv{suffix}`" in str(error.value)


def test_bytes_beyond_the_bound_are_never_made(tmp_path: Path) -> None:
    path = bomb(tmp_path / "a.csv.gz", HEAD, b"x" * 1000, 1000)
    bound = expansion_bound(path)
    for size, read in ((bound, b"x" * bound), (bound + 1, None), (bound + 2**20, None)):
        stream = io.BytesIO(b"x" * size)
        reader = BoundedReader(path, stream)
        if read is None:
            with pytest.raises(ExpansionError):
                reader.readall()
        else:
            assert reader.readall() == read
        assert stream.tell() <= bound + 1


@pytest.mark.parametrize("row", [b"a" * 1000, b"#\n" * 500])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_header_without_end(
    tmp_path: Path, name: str, row: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement_files, "HEADER_BYTES", 20_000)
    path = tmp_path / name
    if name.endswith(".gz"):
        bomb(path, b"", row, 40)
    else:
        path.write_bytes(row * 40)
    with pytest.raises(MeasurementError, match="no header within the first 20,000 characters"):
        open_table(path)


def test_runs_and_dictionaries_of_parquet(tmp_path: Path) -> None:
    rows = 1_000_000
    columns = {"device_id": "d", "state": "LRS", "i_cc_a": 1e-5, "resistance_ohm": 1e3}
    table = pa.table({name: pa.repeat(value, rows) for name, value in columns.items()})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    assert path.stat().st_size < 30_000
    with pytest.raises(MeasurementError, match="says to have 1,000,000 rows of 4 columns"):
        read_measurements(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
def test_ordinary_files_are_read(tmp_path: Path, user_table: pd.DataFrame, suffix: str) -> None:
    many = pd.concat(
        [user_table.assign(device_id=f"x{i}-" + user_table["device_id"]) for i in range(40)]
    )
    path = tmp_path / f"many.csv{suffix}"
    many.to_csv(path, index=False)
    assert len(read_measurements(path).table) == len(many)
