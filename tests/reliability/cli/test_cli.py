"""Wrong use and bad input at the command line: a clear message, exit code 2, no traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from devicefit.numerics.stored import document_text

COMMAND = [sys.executable, "-m", "reliability"]
EXAMPLE = Path(__file__).resolve().parents[1] / "data" / "results_example.json"


def _table(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for device in range(12):
        for current, low in ((2e-5, 3e4), (1e-4, 6e3)):
            for state, median in (("LRS", low), ("HRS", 1e5)):
                rows.append((f"d{device}", state, current, median * np.exp(rng.normal() / 4)))
    return pd.DataFrame(rows, columns=["device_id", "state", "i_cc_a", "resistance_ohm"])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.csv"
    _table(np.random.default_rng(1)).to_csv(path, index=False)
    return path


def test_check_accepts_a_good_file(good: Path, call: Callable[..., Any]) -> None:
    found = call("check", "--measurements", good)
    assert found.returncode == 0
    assert "48 readings of 12 devices" in found.stdout
    assert found.stdout.endswith("accepted\n")


def test_check_names_overflow_and_far_values(good: Path, call: Callable[..., Any]) -> None:
    table = pd.read_csv(good).astype({"resistance_ohm": object})
    table.loc[4, "resistance_ohm"], table.loc[7, "resistance_ohm"] = 9.9e37, "OVLD"
    table.loc[10, "resistance_ohm"] = 2.5e13
    table.to_csv(good, index=False)
    found = call("check", "--measurements", good)
    assert found.returncode == 0, found.stderr
    assert "45 readings, 3 readings" not in found.stdout
    assert "46 readings, 2 readings known by bounds or as counts of 12 devices" in found.stdout
    assert "warning: 2 readings (1 LRS and 1 HRS) are overflow" in found.stdout
    assert "warning: 1 reading lies decades away" in found.stdout
    assert "row 11 (LRS of d2: 2.5e+13 ohm" in found.stdout
    declared = call("check", "--measurements", good, "--overrange", "1Gohm")
    assert "3 readings (2 LRS and 1 HRS)" in declared.stdout
    assert "each is R > 1e+09 ohm" in declared.stdout
    left = call("check", "--measurements", good, "--exclude", "d2", "--exclude", "unformed")
    assert "of 11 devices" in left.stdout
    assert "left out by --exclude, of 12 devices: cell d2, 0 unformed cells (4" in left.stdout
    refused = call("check", "--measurements", good, "--overrange", "none")
    assert refused.returncode == 2
    assert "is overflow of the instrument, no resistance, in rows 5, 8" in refused.stderr


def test_check_says_what_kinds_of_rows_there_are(
    good: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    table = pd.read_csv(good).assign(width=np.tile([1e-7, 1e-6], 24), wafer="w7")
    table["resistance_high_ohm"] = np.nan
    table.loc[5, ["resistance_ohm", "resistance_high_ohm"]] = np.nan, 2e5
    table.to_csv(good, index=False)
    (tmp_path / "more.csv").write_text(
        "state,i_cc_a,width,wafer,n,mean_ln_r,sd_ln_r\nHRS,1e-4,1e-6,w8,200,11.5,0.3\n"
    )
    found = call(
        "check", "--measurements", good, "--measurements", "more.csv",
        "--column", "programming_2=width:s", "--column", "array_id=wafer",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[:4] == [
        "good.csv + more.csv: 47 readings, 1 readings known by bounds or as counts, "
        "200 readings in 1 summaries of 212 devices",
        "programming variable: SET compliance current, 2 conditions from 20 uA to 100 uA",
        "second variable: width, 2 conditions from 100 ns to 1 us",
        "arrays: 2 (w7, w8)",
    ]
    assert lines[4].startswith("LRS: 24 readings, median ")
    assert lines[5].endswith(", 1 known by bounds or as counts, 200 in summaries")
    assert lines[-1] == "accepted"


def test_check_accepts_counts_at_one_condition(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "counts.csv").write_text(
        "state,errors,trials,threshold_ohm\nLRS,3,1000,2e4\nHRS,0,1000,2e4\n"
    )
    found = call("check", "--measurements", "counts.csv", "--column", "programming=none")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [
        "counts.csv: 2000 readings known by bounds or as counts of 1000 devices",
        "programming variable: none, all at one condition",
        "LRS: 1000 known by bounds or as counts",
        "HRS: 1000 known by bounds or as counts",
        "warning: all LRS and HRS readings are at one programming condition (no programming "
        "variable): no curve over programming can be had, only the bit errors there",
        "accepted",
    ]


@pytest.mark.parametrize(
    ("head", "row", "message"),
    [
        ("state,i_cc_a,errors,trials,threshold_ohm", "LRS,1e-4,7,5,2e4", "errors is more than"),
        ("state,i_cc_a,errors,trials", "LRS,1e-4,7,5", "threshold_ohm is missing"),
        ("state,i_cc_a,n,mean_ln_r,sd_ln_r", "LRS,1e-4,7,5,-1", "not a standard deviation"),
        ("device_id,state,i_cc_a,resistance_low_ohm", "a,LRS,1e-4,", "hold no reading"),
        ("device_id,state,i_cc_a,resistance_high_ohm", "a,LRS,1e-4,-1", "is not positive"),
        ("state,i_cc_a,errors,trials,threshold_ohm", "LRS,1e-4,x,5,2e4", "text where a number"),
    ],
)
def test_wrong_rows_of_other_kinds(
    tmp_path: Path, call: Callable[..., Any], head: str, row: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(f"{head}\n{row}\n")
    found = call("check", "--measurements", "a.csv")
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("resistance_ohm", 3, -5.0, "resistance_ohm is not a positive finite number in row 4"),
        ("resistance_ohm", 0, -np.inf, "a negative overflow of the instrument (SCPI: -9.9e37) in"),
        ("state", 7, "SET", "column state has unknown values in row 8 (values 'SET')"),
    ],
)
def test_bad_readings_are_refused(
    good: Path,
    tmp_path: Path,
    call: Callable[..., Any],
    column: str,
    row: int,
    value: object,
    message: str,
) -> None:
    table = pd.read_csv(good).astype({"resistance_ohm": float})
    table.loc[row, column] = value
    table.to_csv(good, index=False)
    for command in (["check"], ["fit", "--out", "fitted"], ["run", "--out", "report"]):
        found = call(*command, "--measurements", good)
        assert found.returncode == 2
        assert message in found.stderr
        assert "Traceback" not in found.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "Missing option '--out'"),
        (["nothing"], "No such command 'nothing'"),
        (["check", "--measurements", "none.csv"], "none.csv: no such file"),
        (["check", "--column", "R=r"], "need --measurements"),
        (["check", "--measurements", "good.csv", "--column", "r=R"], "not a name of the schema"),
        (["check", "--measurements", "good.csv", "--column", "cycle"], "OURS=THEIRS[:UNIT]"),
        (["check", "--measurements", "good.csv", "--where", "x"], "COLUMN=VALUE"),
        (["check", "--measurements", "good.csv", "--overrange", "x"], "e.g. --overrange 1e9"),
        (
            ["check", "--measurements", "good.csv", "--exclude", "x"],
            "no such device; give unfor",
        ),
        (["check", "--exclude", "unformed"], "need --measurements"),
        (["check", "--measurements", "good.csv", "--where", "state=x"], "keeps no row"),
        (["fit", "--out", "o", "--family", "normal"], "is not known; known: lognormal"),
        (["fit", "--out", "o", "--leave-out", "-1"], "Invalid value for '--leave-out'"),
        (["fit", "--out", "o", "--leave-out", "1"], "--leave-out 1: simulated reference device"),
        (["fit", "--out", "o", "--leave-out", "1"], "8 values can be left out in 2 to 7 groups"),
        (["fit", "--out", "o", "--leave-out", "8"], "can be left out in 2 to 7 groups"),
        (
            ["fit", "--out", "o", "--leave-out", "2", "--measurements", "good.csv"],
            "2 values can be left out in no way: measure more, or fit without it",
        ),
        (
            ["fit", "--out", "o", "--leave-out", "2", "--measurements", "good.csv", "--where"]
            + ["i_cc_a=2e-5"],
            "there are readings at 1 programming value; leaving some out needs 4 or more",
        ),
        (["fit", "--out", "o", "--priors", "none.toml"], "none.toml: no such file"),
        (["fit", "--out", "o", "--seed", str(2**64)], "Invalid value for '--seed'"),
        (["fit", "--out", "o", "--draws", str(10**9)], "Invalid value for '--draws'"),
        (["fit", "--out", "o", "--warmup", "-5"], "Invalid value for '--warmup'"),
        (["fit", "--out", "o", "--threads", "100000"], "Invalid value for '--threads'"),
        (["fit", "--out", "o", "--target-accept", "nan"], "Invalid value for '--target-accept'"),
        (
            ["fit", "--out", "o", "--threshold-ohm", "nan"],
            "'nan' is no finite number; give one in ohm",
        ),
        (["fit", "--out", "o", "--priors", "."], "cannot be read (Is a directory)"),
        (["check", "--measurements", "."], ".: a directory; give a CSV or Parquet table"),
        (["run", "--out", "o", "--max-loss", "nan"], "max_loss is nan"),
        (["run", "--out", "o", "--pulse-s", "1e300"], "set_pulse_s is 1e+300; it must be positive"),
        (
            ["run", "--out", "o", "--energy-sd", "voltage=0.1", "--energy-sd", "voltage=0.2"],
            "voltage is given twice; give it once",
        ),
        (["priors", "--model", "stacked"], "joins several families, each with priors of its own"),
        (["priors", "--model", "weibull"], "is not known; known: lognormal"),
        (["priors", "--priors", "none.toml"], "none.toml: no such file"),
        (
            ["run", "--out", "o", "--network", "zoo:digits-standard", "--train-ber", "0.1"],
            "--train-ber: --network names trained networks",
        ),
        (["priors", "--measurements", "none.csv"], "none.csv: no such file"),
        (["priors", "--column", "R=r"], "need --measurements"),
        (["priors", "--threshold-ohm", "-1"], "threshold_ohm is -1.0; it must be positive"),
        (["run", "--out", "o", "--images", "faces"], "known: digits, mnist"),
        (["run", "--out", "o", "--images", "mnist"], "--images-dir"),
        (["run", "--out", "o", "--max-loss", "2"], "max_loss is 2.0"),
        (["run", "--out", "o", "--hidden", "a,b"], "give widths like 1024,1024"),
        (["run", "--out", "o", "--thresholds", "best"], "known: fixed, folded, calibrated"),
        (["run", "--out", "o", "--network", "no.safetensors"], "no.safetensors"),
        (["run", "--out", "good.csv"], "is a file; name a directory"),
        (["train", "--out", "net.pt"], "must end in .safetensors"),
        (["evaluate", "no.safetensors", "--out", "c.nc"], "no.safetensors"),
        (["ber", "nowhere", "--out", "b.csv"], "no device study here"),
        (["decide", "nowhere", "--counts", "c.nc", "--out", "r.json"], "no device study here"),
        (["report", "none.json", "--out", "r.html"], "none.json: no such file"),
        (["simulate", "--out", "good.csv"], "exists; replace it with --force"),
    ],
)
def test_wrong_use(
    good: Path, tmp_path: Path, call: Callable[..., Any], arguments: list[str], message: str
) -> None:
    found = call(*arguments)
    assert found.returncode == 2, found.stderr
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.csv"]


def test_results_that_lack_what_a_report_shows(tmp_path: Path, call: Callable[..., Any]) -> None:
    values = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    del values["alternatives"][0]["share_below_evaluated_ber"]
    (tmp_path / "old.json").write_text(document_text(values), encoding="utf-8")
    found = call("report", "old.json", "--out", "r.html")
    assert found.returncode == 2
    assert "old.json: not a set of results that this version reads" in found.stderr
    assert "share_below_evaluated_ber" in found.stderr
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("report", "d/results.json", "--out", "r.html"),
        ("ber", "d", "--out", "ber.csv"),
        ("decide", "d", "--counts", "c.nc", "--out", "r.json"),
    ],
)
def test_results_that_a_killed_run_left_half_in_place_are_not_read(
    tmp_path: Path, call: Callable[..., Any], command: tuple[object, ...]
) -> None:
    (tmp_path / "d" / ".rram-reliability").mkdir(parents=True)
    (tmp_path / "d" / ".rram-reliability" / "journal").write_text("{}")
    (tmp_path / "d" / "results.json").write_bytes(EXAMPLE.read_bytes())
    found = call(*command)
    assert found.returncode == 2
    assert "d: some of its files are new and some are not, since a run was killed" in found.stderr


def test_simulated_file_is_written_and_read_back(tmp_path: Path, call: Callable[..., Any]) -> None:
    assert call("simulate", "--out", "sim.csv").returncode == 0
    first = (tmp_path / "sim.csv").read_bytes()
    assert call("simulate", "--out", "sim.csv", "--force").returncode == 0
    assert (tmp_path / "sim.csv").read_bytes() == first
    found = call("check", "--measurements", "sim.csv")
    assert found.returncode == 0
    assert "(simulated)" in found.stdout


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGINT])
def test_killed_run_leaves_no_output(tmp_path: Path, kill: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "--out", "report"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A suite started in the background hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "fitting" in line:
            break
    time.sleep(0.5)
    process.send_signal(kill)
    code = process.wait(timeout=120)
    text = process.stderr.read()
    process.stderr.close()
    assert code == 1, text
    assert "interrupted" in text
    assert list(tmp_path.iterdir()) == []
