"""The life commands: from a user's table to aged error rates, and clear refusals."""

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
from devicefit.inputs.programming import Programming
from devicefit.sampling.prior import prior_record, sample_priors
from reliability.device.files import save_study
from reliability.device.study import DeviceStudy

WEAR = "i_cc_a,cycles,failed,survivors\n5e-5,1e6,1,9\n1e-4,1e5,4,0\n1e-4,1e6,3,3\n2e-4,1e4,8,2\n"


@pytest.fixture
def device(tmp_path: Path, study_record: Callable[..., dict[str, Any]]) -> Path:
    """A device study made of draws of the priors: nothing is fitted."""
    frame = Frame(Programming("SET compliance current", "A"), 50e-6, 200e-6)
    drawn = sample_priors(
        FAMILIES["lognormal"].priors(frame), draws=100, rng=np.random.default_rng(4)
    )
    posterior = DevicePosterior(
        "lognormal",
        xr.Dataset({n: (("chain", "draw"), v) for n, v in drawn.items() if v.ndim == 2}),
        frame,
        Diagnostics(1.0, 100, 100, 0, 100),
        {
            "devices": 100,
            "design_effect": {"LRS": 1.0, "HRS": 1.0},
            "readings": {"LRS": 100, "HRS": 100},
            "priors": prior_record(FAMILIES["lognormal"].priors(frame)),
            "sampler": {"seed": 4},
        },
    )
    record = study_record()
    path = tmp_path / "device"
    path.mkdir()
    save_study(DeviceStudy({"lognormal": posterior}, {}, {}, np.array([5e-5]), record), path)
    return path


@pytest.fixture
def wear(tmp_path: Path) -> Path:
    path = tmp_path / "wear.csv"
    path.write_text("# simulated\n" + WEAR)
    return path


def test_wear_out_is_fitted_and_ages_a_device(
    wear: Path, device: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    short = ("--out", "w.nc", "--draws", 300, "--quiet")
    found = call("life", "wear-out", "--measurements", wear, *short)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("SIMULATED")
    assert "median cycles to wear-out at 50 uA" in found.stdout
    assert "gates passed" in found.stdout
    found = call(
        "life", "ber", device, "--life", "w.nc", "--cycles", "1e6", "--points", 4,
        "--out", "aged.csv",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "Wear-out over programming is measured (wear.csv; 30 cells, 16 failed" in found.stdout
    assert "EXTRAPOLATED" not in found.stdout
    table = pd.read_csv(tmp_path / "aged.csv")
    wide = table.pivot_table(index=["scheme", "programming"], columns="life", values="ber_mean")
    assert (wide["end"] > wide["fresh"]).all()
    # The strongest programming wears out most.
    assert wide["end"].xs("1T1R").iloc[-1] > 0.3
    found = call(
        "life", "ber", device, "--life", "w.nc", "--years", 10, "--temperature-c", 85,
        "--out", "kept.csv",
    )  # fmt: skip
    assert found.returncode == 2
    assert "nothing is known of retention" in found.stderr


def test_wear_out_over_another_variable_or_range_is_not_taken_for_the_devices(
    device: Path, tmp_path: Path, call: Callable[..., Any]
) -> None:
    """The device is over 50 to 200 uA: 1.5 V are nothing there, and 200 uA were not tested."""
    few = WEAR.rsplit("\n", 2)[0]
    gate = few.replace("i_cc_a", "set_gate_voltage_v").replace("5e-5", "1.5").replace("1e-4", "2")
    ages = ("--cycles", "1e6", "--points", 3, "--out", "aged.csv")
    for name, text in (("volts", gate), ("few", few)):
        (tmp_path / f"{name}.csv").write_text(text)
        found = call(
            "life", "wear-out", "--measurements", f"{name}.csv", "--out", f"{name}.nc", "--draws",
            50, "--quiet",
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
    found = call("life", "ber", device, "--life", "volts.nc", *ages)
    assert found.returncode == 2
    assert "over SET gate voltage (V), the device over SET compliance current (A)" in found.stderr
    assert not (tmp_path / "aged.csv").exists()
    found = call("life", "ber", device, "--life", "few.nc", *ages)
    assert found.returncode == 0, found.stderr
    assert "EXTRAPOLATED: 1 of 3 values of the SET compliance current" in found.stdout
    table = pd.read_csv(tmp_path / "aged.csv")
    marked = table[table["extrapolated"]]
    assert set(marked["programming"]) == {200e-6}
    assert set(marked["life"]) == {"end"}


def test_one_device_says_nothing_of_others(tmp_path: Path, call: Callable[..., Any]) -> None:
    """The interval for a second device is the prior's: a gate fails, whatever the readings."""
    rows = [
        f"m,{state},{cycles},{ohm}"
        for cycles in (0, 3, 10, 30)
        for state, ohm in (("LRS", 9e3), ("HRS", 2e5))
    ]
    (tmp_path / "e.csv").write_text(
        "\n".join(["device_id,state,prior_cycles,resistance_ohm", *rows])
    )
    short = ("--draws", 50, "--quiet")
    found = call("life", "endurance", "--measurements", "e.csv", "--out", "e.nc", *short)
    assert found.returncode == 0, found.stderr
    assert "FAILED units over cycles: 1 of at least 4 units: how much others differ" in found.stdout
    assert "BER after 1 cycles" in found.stdout
    bakes = [
        f"m,{state},{time},398.15,{errors},50"
        for time, errors in ((0, 0), (3600, 1), (36000, 2))
        for state in ("LRS", "HRS")
    ]
    (tmp_path / "b.csv").write_text(
        "\n".join(["device_id,state,time_after_program_s,temperature_k,errors,trials", *bakes])
    )
    found = call("life", "retention", "--measurements", "b.csv", "--out", "b.nc", *short)
    assert found.returncode == 0, found.stderr
    assert "FAILED devices baked: 1 of at least 4 devices" in found.stdout
    assert "FAILED bakes" not in found.stdout
    (tmp_path / "w.csv").write_text(
        WEAR.replace("4,0", "1,3").replace("3,3", "1,5").replace("8,2", "0,9")
    )
    found = call("life", "wear-out", "--measurements", "w.csv", "--out", "w.nc", *short)
    assert found.returncode == 0, found.stderr
    assert "FAILED cells that failed: 3 of at least 4 cells: they tell" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cycles", "nan"), "cycles is nan; it must be positive and finite"),
        (("--cycles", "0.5"), "programmed at least once"),
        (("--years", "1e305", "--temperature-c", "85"), "retention_s is inf; it must be positive"),
        (("--cycles", "5", "--points", "100000000"), "Invalid value for '--points'"),
        (("--cycles", "5", "--seed", 2**70), "Invalid value for '--seed'"),
        (("--cycles", "5", "--life", "."), "--life . is a directory; name a file"),
    ],
)
def test_wrong_use_of_ber_is_refused(
    device: Path, tmp_path: Path, call: Callable[..., Any], arguments: tuple[str, ...], message: str
) -> None:
    lives = () if "--life" in arguments else ("--life", "none.nc")
    found = call("life", "ber", device, *lives, "--out", "a.csv", *arguments)
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("wear-out", "--out", "w.csv"), "must end in .nc"),
        (("wear-out", "--out", "w.nc", "--seed", 2**64), "Invalid value for '--seed'"),
        (("wear-out", "--out", "w.nc", "--draws", 10**20), "Invalid value for '--draws'"),
        (("endurance", "--out", "e.nc", "--column", "array_id=cycles"), "not used here"),
        (("wear-out", "--law", "gamma", "--out", "w.nc"), "known: lognormal, weibull"),
        (("endurance", "--out", "e.nc"), "state"),
        (("retention", "--out", "r.nc"), "state"),
        (("retention", "--out", "r.nc", "--column", "time_after_program_s=t:h"), "unit 'h'"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    wear: Path, tmp_path: Path, call: Callable[..., Any], arguments: tuple[str, ...], message: str
) -> None:
    found = call("life", arguments[0], "--measurements", wear, *arguments[1:])
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["wear.csv"]


def test_one_number_of_cycles_is_refused(tmp_path: Path, call: Callable[..., Any]) -> None:
    rows = [
        f"c{i},{state},1000,{ohm}" for i in range(3) for state, ohm in (("LRS", 9e3), ("HRS", 2e5))
    ]
    (tmp_path / "e.csv").write_text("\n".join(["device_id,state,cycle,resistance_ohm", *rows]))
    found = call("life", "endurance", "--measurements", "e.csv", "--out", "e.nc")
    assert found.returncode == 2
    assert "read it after more cycles" in found.stderr


def test_life_that_is_not_asked_for_is_refused(call: Callable[..., Any]) -> None:
    found = call("life", "ber", "nowhere", "--life", "x.nc", "--out", "a.csv")
    assert found.returncode == 2
    assert "no life is asked for" in found.stderr


def counted(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["state,time_after_program_s,temperature_k,errors,trials", *rows]))
    return path


def test_a_single_temperature_without_errors_is_an_upper_limit(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    """The hardest case of a bake: the answer is the priors', and the command says so."""
    rows = [
        f"{state},{t},398.15,{e},1000"
        for state, wrong in (("LRS", (0, 0)), ("HRS", (1, 900)))
        for t, e in zip((0, 3600), wrong, strict=True)
    ]
    table = counted(tmp_path / "b.csv", rows)
    found = call(
        "life", "retention", "--measurements", table, "--out", "r.nc", "--draws", 100, "--quiet"
    )
    assert found.returncode == 0, found.stderr
    assert "LRS: no error in 2000 readings; its rate is an upper limit" in found.stdout
    assert "HRS: " in found.stdout
    assert "are wrong, more than half" not in found.stdout  # 901 of 2000
    assert "which the data hardly inform: it is the prior's" in found.stdout
    assert "FAILED bakes of the fit: 1 of at least 2 bakes" in found.stdout
    assert "assumed: each reading is of a device of its own" in found.stdout


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["LRS,-5,398,1,9", "HRS,0,398,1,9"], "column time_after_program_s is negative"),
        (["LRS,5,85,1,9", "HRS,0,398,1,9"], "degrees Celsius plus 273.15"),
        (["LRS,0,398,1,9", "HRS,0,398,1,9"], "give cells that were stored or baked"),
        (["LRS,5,398,10,9", "HRS,5,398,1,9"], "errors at most trials"),
        (["LRS,5,398,1,9"], "column state has no HRS"),
        ([], "no rows"),
    ],
)
def test_bakes_that_cannot_be_are_refused(
    tmp_path: Path, call: Callable[..., Any], rows: list[str], message: str
) -> None:
    table = counted(tmp_path / "b.csv", rows)
    found = call("life", "retention", "--measurements", table, "--out", "r.nc")
    assert found.returncode == 2
    assert message in found.stderr
    assert not (tmp_path / "r.nc").exists()
