"""Neither the order of rows nor the unit of a file changes a byte of what is compressed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from devicefit.compression.compression import compress
from devicefit.inputs.columns import parse_columns
from devicefit.measurements.measurements import read_measurements
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
    found = flat_bytes(compress(read_measurements(path, columns=columns)))
    different = {key for key in found if found[key] != in_memory[key]}
    assert different == {".programming.name"}


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_rows_of_every_kind_and_two_arrays(
    tmp_path: Path, table: pd.DataFrame, flat_bytes: Flat, seed: int
) -> None:
    whole, path = mixed(table), tmp_path / "mixed.csv"
    whole.to_csv(path, index=False)
    expected = compress(read_measurements(path, columns=MIXED))
    assert expected.arrays == ("A", "B", "C")
    assert expected.devices == 30 + 80
    assert len(expected.states["HRS"].intervals.count) > 2
    assert expected.states["LRS"].summaries.n.tolist() == [30]
    whole.sample(frac=1, random_state=seed).to_csv(path, index=False)
    assert flat_bytes(compress(read_measurements(path, columns=MIXED))) == flat_bytes(expected)
