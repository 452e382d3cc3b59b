"""Error rates and predictions of a fitted device: one condition, thresholds, arrays, marks."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.persistence.persistence import Persistence
from devicefit.persistence.windows import WindowedPersistence
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import prior_record, sample_priors
from reliability.device.files import load_study, save_study
from reliability.device.study import DeviceStudy

CURRENT, GATE = Programming("SET compliance current", "A"), Programming("SET gate voltage", "V")
Call = Callable[..., Any]


def study(frame: Frame, path: Path, **record: Any) -> Path:
    """A device made of draws of the priors; its readings were counted at the record's threshold."""
    priors = FAMILIES["lognormal"].priors(frame)
    drawn = sample_priors(priors, draws=100, rng=np.random.default_rng(4))
    posterior = DevicePosterior(
        "lognormal",
        xr.Dataset({n: (("chain", "draw", f"{n}_array")[: v.ndim], v) for n, v in drawn.items()}),
        frame,
        Diagnostics(1.0, 100, 100, 0, 100),
        {
            "devices": 100,
            "readings": {"LRS": 100, "HRS": 100},
            "design_effect": {"LRS": 1.0, "HRS": 1.0},
            "priors": prior_record(priors),
            "sampler": SamplerOptions().record(),
        },
    )
    alike = Persistence(*(np.full(20, v) for v in (0.5, 1e-3, 3.0, 1e-3)))
    threshold = record.get("threshold_ohm")
    persistence = {"HRS": WindowedPersistence(np.array([0.0]), (alike,), threshold)}
    data = {
        "sha256": "0" * 64,
        "source": "draws",
        "devices": 100,
        "conditions": 2,
        "readings": {"LRS": 100, "HRS": 100},
    }
    more = {
        "data": {**data, "simulated": True, "read_at": {"temperature_k": [300.0, 300.0]}},
        "gates": [],
        "counts": {},
        "quantiles": [],
        "families": {},
        "levels": {},
        "checks": {},
        "left_out_conditions": [],
        "measured": [],
    }
    path.mkdir()
    save_study(
        DeviceStudy(
            {"lognormal": posterior}, {}, persistence, np.array([frame.low]), more | record
        ),
        path,
    )
    return path


@pytest.fixture
def device(tmp_path: Path) -> Path:
    return study(Frame(CURRENT, 5e-5, 2e-4), tmp_path / "device", threshold_ohm=None)


@pytest.fixture
def readings(tmp_path: Path) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        [(f"d{d}", s, x) for d in range(12) for s in ("LRS", "HRS") for x in (5e-5, 2e-4)],
        columns=["device_id", "state", "i_cc_a"],
    )
    table["device_id"] += "-" + table["i_cc_a"].astype(str)
    centre = table["state"].map({"LRS": 8.5, "HRS": 11.5})
    return table.assign(resistance_ohm=np.exp(centre + 0.3 * rng.normal(size=len(table))))


def test_a_device_of_one_condition_has_one_row_for_each_scheme(tmp_path: Path, call: Call) -> None:
    study(Frame(ONE_CONDITION, 1.0, 1.0), tmp_path / "one")
    found = call("ber", "one", "--out", "b.csv")
    assert found.returncode == 0, found.stderr
    table = pd.read_csv(tmp_path / "b.csv")
    assert list(table["scheme"]) == ["1T1R", "2T2R"]
    assert set(table["programming"]) == {1.0}
    assert not table["extrapolated"].any()
    same = call("ber", "one", "--out", "c.csv", "--low", 1, "--high", 1, "--points", 7)
    assert same.returncode == 0, same.stderr
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "c.csv").read_bytes()
    # what is not possible with it is said at once
    for command in ("decide", "measure-next"):
        found = call(command, "one", "--counts", "none.nc", "--out", "r.json")
        assert found.returncode == 2
        assert "at one condition, so there is no programming to choose" in found.stderr


def test_evaluating_draws_imports_no_sampler(device: Path) -> None:
    # PyMC takes seconds, which a command that fits nothing should not cost
    code = (
        "import sys\n"
        "from reliability.cli.main import main\n"
        "sys.argv = ['rram-reliability', 'ber', 'device', '--out', 'b.csv']\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        # what decide and report do with a device
        "    import reliability.results.answer, reliability.statements.life\n"
        "    import reliability.report.render\n"
        "    print({'pymc', 'pytensor', 'nutpie', 'arviz'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=device.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (device.parent / "b.csv").exists()
    assert done.stdout.splitlines()[-1] == "set()"


def test_one_measured_current_is_no_curve(tmp_path: Path, call: Call) -> None:
    study(Frame(CURRENT, 1e-4, 1e-4), tmp_path / "one")
    assert call("ber", "one", "--out", "b.csv").returncode == 0
    found = call("ber", "one", "--out", "c.csv", "--high", 2e-4)
    assert found.returncode == 2
    assert "--high is 200 uA; the device was measured at 100 uA only" in found.stderr


def test_error_rates_outside_the_measured_range_are_marked(
    device: Path, tmp_path: Path, call: Call
) -> None:
    found = call("ber", device, "--out", "b.csv", "--low", 2.5e-5, "--points", 4)
    assert found.returncode == 0, found.stderr
    line = (
        "EXTRAPOLATED: 1 of 4 values of the SET compliance current lie outside the measured 50 uA"
    )
    assert line in found.stdout
    table = pd.read_csv(tmp_path / "b.csv")
    assert set(table.loc[table["extrapolated"], "programming"]) == {2.5e-5}
    few = int(table["below_support"].sum())
    assert ("it rests on the shape of the model" in found.stdout) is (few > 0)
    assert "EXTRAPOLATED" not in call("ber", device, "--out", "c.csv").stdout
    one = call("ber", device, "--out", "d.csv", "--low", 1e-4, "--high", 1e-4)
    assert one.returncode == 0, one.stderr
    assert len(pd.read_csv(tmp_path / "d.csv")) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--low", "inf"), "--low: 'inf' is no finite number"),
        (("--low", "nan"), "--low: 'nan' is no finite number"),
        (("--high", "24"), "--high 24 is 24 A, far from the measured 50 uA to 200 uA; if the unit"),
        (("--high", "1e308A"), "--high is 1e+308 A, more than 20 times the measured range away"),
        (("--low", "3e-4"), "--low 0.0003 must not be above --high 0.0002"),
        (("--low", "1e-4", "--high", "1.0000000000000002e-4"), "cannot be told apart; give fewer"),
        (("--points", "100000000"), "Invalid value for '--points'"),
        (("--threshold-ohm", "nan"), "'nan' is no finite number"),
        (("--threshold-ohm", "inf"), "'inf' is no finite number"),
        (("--offset-ln-r", "inf"), "offset_ln_r is inf; it must not be negative nor infinite"),
        (("--out", "."), "must end in .csv"),
    ],
)
def test_options_of_ber_are_refused_before_work(
    device: Path, tmp_path: Path, call: Call, arguments: tuple[str, ...], message: str
) -> None:
    out = () if "--out" in arguments else ("--out", "b.csv")
    found = call("ber", device, *out, *arguments)
    assert found.returncode == 2, found.stderr
    assert message in found.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["device"]


def test_a_gate_voltage_far_away_is_refused(tmp_path: Path, call: Call) -> None:
    """Formulas overflow there, which is no result and no warning of theirs."""
    study(Frame(GATE, 1.0, 2.0), tmp_path / "gate")
    for value in ("1e308", "-1e308"):
        found = call("ber", "gate", "--out", "b.csv", "--high", value)
        assert found.returncode == 2
        assert "check the unit, SI is expected" in found.stderr
    assert call("ber", "gate", "--out", "b.csv", "--low", -18, "--high", 21).returncode == 0


def test_places_without_a_study_say_so(tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for place in ("file", "empty", "none"):
        found = call("ber", place, "--out", "b.csv")
        assert found.returncode == 2
        assert f"{place}: no device study here (device.json is missing)" in found.stderr


def test_a_threshold_is_that_of_the_fit_unless_given(tmp_path: Path, call: Call) -> None:
    path = study(Frame(CURRENT, 5e-5, 2e-4), tmp_path / "at", threshold_ohm=2e4)
    for arguments, ohm in (((), 2e4), (("--threshold-ohm", "3e4"), 3e4)):
        assert call("ber", path, "--out", "b.csv", "--force", *arguments).returncode == 0
        table = pd.read_csv(tmp_path / "b.csv")
        assert set(table.loc[table["scheme"] == "1T1R", "threshold_ohm"].round(6)) == {ohm}
    # a decision shows checks of the fit, which are of its threshold
    for command in ("decide", "measure-next"):
        asked = (command, path, "--counts", "none.nc", "--out", "r.json", "--threshold-ohm", "3e4")
        found = call(*asked)
        assert found.returncode == 2
        assert "was fitted and checked with the threshold 20000 ohm; fit again" in found.stderr
    assert load_study(path).persistence["HRS"].threshold_ohm == 2e4


def test_predictions_say_what_they_take_for_granted(
    device: Path, readings: pd.DataFrame, tmp_path: Path, call: Call
) -> None:
    warm = readings.assign(temperature_k=350.0, I_set=readings["i_cc_a"]).drop(columns="i_cc_a")
    warm.to_csv(tmp_path / "warm.csv", index=False)
    found = call(
        "predict", device, "--measurements", "warm.csv", "--column", "programming=I_set:A",
        "--out", "p.csv",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0].startswith("assumed: 'I_set' of the readings is the 'SET compliance current'")
    assert lines[1].startswith("EXTRAPOLATED: 2 of 2 (bin, state) cells")
    assert "50 uA to 200 uA, temperature_k 300 to 300" in lines[1]
    table = pd.read_csv(tmp_path / "p.csv")
    assert table["extrapolated"].all()
    assert set(table["readings"]) == {"once"}


def test_predictions_of_repeated_readings_keep_to_the_threshold(
    device: Path, readings: pd.DataFrame, tmp_path: Path, call: Call
) -> None:
    twice = pd.concat([readings.assign(cycle=c) for c in (0, 1)])
    twice.to_csv(tmp_path / "twice.csv", index=False)
    asked = ("predict", device, "--measurements", "twice.csv", "--out", "p.csv")
    found = call(*asked, "--threshold-ohm", "3e4")
    assert found.returncode == 2
    assert "how failures persist was fitted with the threshold that is chosen" in found.stderr
    assert "--out DIR --threshold-ohm 30000` and predict" in found.stderr
    found = call(*asked)
    assert found.returncode == 0, found.stderr
    # the fit had repeated readings in HRS alone
    table = pd.read_csv(tmp_path / "p.csv").set_index("state")
    assert table["readings"].to_dict() == {"LRS": "independent", "HRS": "persistent"}
    assert "intervals are too narrow where devices differ" in found.stdout


def test_readings_of_another_array_need_a_word(
    readings: pd.DataFrame, tmp_path: Path, call: Call
) -> None:
    path = study(Frame(CURRENT, 5e-5, 2e-4, arrays=("A",)), tmp_path / "on_a")
    readings.assign(array_id="B").to_csv(tmp_path / "b.csv", index=False)
    asked = ("predict", path, "--measurements", "b.csv", "--out", "p.csv")
    found = call(*asked)
    assert found.returncode == 2
    assert "array 'B' was not fitted (fitted: A)" in found.stderr
    assert "--as-array NAME" in found.stderr
    assert "with --new-array" in found.stderr
    found = call(*asked, "--as-array", "A")
    assert found.returncode == 0, found.stderr
    assert "assumed: all readings are on the fitted array 'A'" in found.stdout
    assert set(pd.read_csv(tmp_path / "p.csv")["as_array"]) == {"A"}


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_new_array_is_drawn_and_said_to_rest_on_the_prior_where_few_were_measured(
    number: int, readings: pd.DataFrame, tmp_path: Path, call: Call
) -> None:
    arrays = tuple("ABCDE"[:number])
    path = study(Frame(CURRENT, 5e-5, 2e-4, arrays=arrays), tmp_path / "on_arrays")
    readings.assign(array_id="Z").to_csv(tmp_path / "z.csv", index=False)
    asked = ("predict", path, "--measurements", "z.csv", "--out", "p.csv", "--force")
    found = call(*asked, "--new-array")
    assert found.returncode == 0, found.stderr
    rests = "a new array rests on the prior of the spread between arrays"
    assert (rests in found.stdout) == (number < 5)
    table = pd.read_csv(tmp_path / "p.csv")
    assert table["new_array"].all()
    # the same bytes again, and wider than on an array that is known
    (tmp_path / "p.csv").rename(tmp_path / "first.csv")
    assert call(*asked, "--new-array").returncode == 0
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "p.csv").read_bytes()
    found = call(*asked, "--new-array", "--as-array", "A")
    assert found.returncode == 2
    assert "--as-array A and --new-array: give one of them" in found.stderr
    readings.assign(array_id="A").to_csv(tmp_path / "z.csv", index=False)
    found = call(*asked, "--new-array")
    assert found.returncode == 2
    assert "all arrays of the readings (A) were fitted; leave it out" in found.stderr

    found = call("ber", path, "--out", "any.csv")
    assert rests not in found.stdout
    found = call("ber", path, "--out", "new.csv", "--new-array")
    assert found.returncode == 0, found.stderr
    assert (rests in found.stdout) == (number < 5)
    measured, new = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("any", "new"))
    assert list(measured) == list(new)
    pd.testing.assert_series_equal(measured["threshold_ohm"], new["threshold_ohm"])
    assert (measured["ber_median"] != new["ber_median"]).all()
