"""The command `evaluate`: errors of a file, of a device, and to a precision."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bnn import FoldedNetwork, load_network, save_network
from bnn.machine.packing import pack_bits
from bnn.networks.network import HiddenLayer, OutputLayer
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.sampling.prior import prior_record
from reliability.device.files import save_study
from reliability.device.study import DeviceStudy
from reliability.networks.study import load_counts

ERRORS = """
[[case]]
name = "unequal"
flips = { zero_to_one = 0.0, one_to_zero = 0.05 }

[[case]]
name = "reads"
misread = { ber = 0.02, layers = ["hidden_1"] }
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, study_record: Callable[..., dict[str, Any]]) -> None:
    """Write a network for the digits, a file of errors, and a device."""
    rng = np.random.default_rng(1)
    hidden = HiddenLayer(
        name="hidden_1",
        columns=64,
        weights=pack_bits(rng.random((40, 64)) < 0.5),
        threshold=rng.integers(-900, 900, 40).astype(np.int32),
        direction=np.ones(40, np.int8),
    )
    output = OutputLayer(
        name="output",
        columns=40,
        weights=pack_bits(rng.random((10, 40)) < 0.5),
        scale=np.ones(10),
        shift=np.zeros(10),
    )
    save_network(FoldedNetwork((hidden, output)), tmp_path / "net.safetensors", record={})
    (tmp_path / "errors.toml").write_text(ERRORS, encoding="utf-8")
    frame = Frame(Programming("SET compliance current", "A"), 2e-5, 6e-4)
    values = {p.name: p.mean for p in FAMILIES["lognormal"].priors(frame)}
    draws = xr.Dataset({k: (("chain", "draw"), np.full((2, 60), v)) for k, v in values.items()})
    posterior = DevicePosterior(
        "lognormal",
        draws,
        frame,
        Diagnostics(1.0, 1e3, 1e3, 0, 120),
        {
            "devices": 100,
            "design_effect": {"LRS": 1.0, "HRS": 1.0},
            "readings": {"LRS": 100, "HRS": 100},
            "priors": prior_record(FAMILIES["lognormal"].priors(frame)),
            "sampler": {"seed": 4},
        },
    )
    (tmp_path / "device").mkdir()
    study = DeviceStudy({"lognormal": posterior}, {}, {}, np.array([2e-5, 6e-4]), study_record())
    save_study(study, tmp_path / "device")


Call = Callable[..., Any]


def evaluate(call: Call, *arguments: object, out: str = "c.nc") -> Any:
    return call("evaluate", "net.safetensors", "--out", out, "--threads", 1, *arguments)


def test_errors_of_a_file(call: Call, tmp_path: Path) -> None:
    found = evaluate(call, "--errors", "errors.toml", "--chips", 4)
    assert found.returncode == 0, found.stderr
    assert "evaluating 2 cases of errors: 4 chips" in found.stderr
    assert "600 images at a time, 0.0" in found.stderr
    assert "counting took" in found.stderr
    lines = found.stdout.splitlines()
    assert lines[0].startswith("4 chips, 600 images, accuracy without errors 0.")
    assert lines[1].split("  ")[0] == "case"
    assert lines[3].startswith("reads")
    assert "0.02 in hidden_1" in lines[3]
    counts = load_counts(tmp_path / "c.nc").counts
    assert counts["name"].values.tolist() == ["unequal", "reads"]
    # ones that read zero: 5 % of about half the bits
    requested = float(lines[2].split()[1])
    folded, _ = load_network(tmp_path / "net.safetensors")
    ones = sum(int(np.bitwise_count(layer.weights).sum()) for layer in folded.layers)
    assert requested == pytest.approx(0.05 * ones / (64 * 40 + 400), rel=1e-3)
    assert "seconds" not in counts.attrs
    # the same seed gives the same bytes
    again = evaluate(call, "--errors", "errors.toml", "--chips", 4, "--engine", "dense", out="d.nc")
    assert again.returncode == 0
    assert (tmp_path / "d.nc").read_bytes() == (tmp_path / "c.nc").read_bytes()


def test_cells_of_a_device(call: Call, tmp_path: Path) -> None:
    found = evaluate(
        call, "--device", "device", "--programming", 3e-5, "--programming", 1e-3, "--chips", 3
    )
    assert found.returncode == 0, found.stderr
    assert "1T1R, resistances drawn from the posterior of the lognormal model" in found.stderr
    assert "1 mA (extrapolated)" in found.stdout
    units = evaluate(
        call, "--device", "device", "--programming", "30uA", "--programming", "1 mA", "--chips", 3,
        out="units.nc",
    )  # fmt: skip
    assert units.returncode == 0, units.stderr
    assert (tmp_path / "units.nc").read_bytes() == (tmp_path / "c.nc").read_bytes()
    counts = load_counts(tmp_path / "c.nc").counts
    assert counts["programming"].values.tolist() == [3e-5, 1e-3]
    assert counts["posterior_draw"].shape == (3,)
    assert counts["threshold_ohm"].shape == (2,)
    pairs = evaluate(
        call, "--device", "device", "--programming", 3e-5, "--scheme", "2T2R", "--offset-ln-r", 2,
        "--protect", "output", "--chips", 3, "--force",
    )  # fmt: skip
    assert pairs.returncode == 0, pairs.stderr
    assert load_counts(tmp_path / "c.nc").counts.attrs["scheme"] == "2T2R"
    # such counts are no curve over BER
    found = call("decide", "device", "--counts", "c.nc", "--out", "r.json")
    assert found.returncode == 2
    assert "was counted at programming values of a device (--device)" in found.stderr


def test_the_same_values_with_their_units_in_other_commands(call: Call, tmp_path: Path) -> None:
    plain = ("--low", "2.4e-5", "--high", "1e-4", "--threshold-ohm", "2e4")
    units = ("--low", "24uA", "--high", "0.1 mA", "--threshold-ohm", "20 kohm")
    for name, ends in (("plain.csv", plain), ("units.csv", units)):
        found = call("ber", "device", "--points", 3, "--out", name, *ends)
        assert found.returncode == 0, found.stderr
    assert (tmp_path / "plain.csv").read_bytes() == (tmp_path / "units.csv").read_bytes()
    for wrong, message in (
        (("--low", "1V"), "--low: 1V is in V; the SET compliance current is in A"),
        (("--high", "much"), "--high: 'much' is no finite number; give one in A, or with its unit"),
        (("--threshold-ohm", "20uA"), "a number: 20uA is in A; this option is in ohm"),
    ):
        found = call("ber", "device", "--out", "no.csv", *wrong)
        assert found.returncode == 2
        assert message in found.stderr
    decided = ("decide", "device", "--counts", "c.nc", "--out", "r.json")
    for option, value, unit in (
        ("--pulse-s", "100 V", "s"),
        ("--set-voltage-v", "2 uA", "V"),
        ("--reset-voltage-v", "2 ohm", "V"),
    ):
        found = call(*decided, option, value)
        assert found.returncode == 2
        assert f"this option is in {unit}" in found.stderr


def test_an_earlier_table_is_extended(call: Call, tmp_path: Path) -> None:
    assert evaluate(call, "--errors", "errors.toml", "--chips", 3, out="few.nc").returncode == 0
    assert evaluate(call, "--errors", "errors.toml", "--chips", 6, out="all.nc").returncode == 0
    more = evaluate(call, "--errors", "errors.toml", "--chips", 6, "--extend", "few.nc")
    assert more.returncode == 0, more.stderr
    assert (tmp_path / "c.nc").read_bytes() == (tmp_path / "all.nc").read_bytes()
    for other, message in (
        (["--chips", 6], "the dim of the cases is 'ber' instead of 'case'"),
        (["--errors", "errors.toml", "--chips", 6, "--seed", 2], "seed is 2 instead of 1"),
        (["--errors", "errors.toml", "--chips", 3], "few.nc holds 3 chips; ask for more"),
    ):
        found = evaluate(call, *other, "--extend", "few.nc", out="no.nc")
        assert found.returncode == 2
        assert message in found.stderr
    assert not (tmp_path / "no.nc").exists()


def test_a_precision_is_stated(call: Call, tmp_path: Path) -> None:
    found = evaluate(
        call, "--standard-error", 0.03, "--question", "population", "--least-images", 100,
        "--chips", 40,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "asked: 0.03 (population), reached: 0.0" in found.stdout
    assert "on this test set" in found.stdout
    attrs = load_counts(tmp_path / "c.nc").counts.attrs
    assert attrs["precision_population"] <= 0.03
    assert 100 <= attrs["images"] < 600


@pytest.mark.parametrize(
    ("asked", "chips", "question", "message"),
    [
        (
            1e-4,
            9,
            "test-set",
            r"; limited by the chips: 9 were counted, about \d\d+ are needed \(--c",
        ),
        (
            1e-6,
            9,
            "population",
            r"; limited by the chips, 9, down to 0\.0\d+ \(--chips\), then by ",
        ),
        (
            1e-6,
            400,
            "population",
            r"; limited by the images: the 600 images of this set leave 0\.0",
        ),
    ],
)
def test_what_limits_a_precision_is_stated(
    call: Call, asked: float, chips: int, question: str, message: str
) -> None:
    found = evaluate(
        call,
        "--standard-error",
        asked,
        "--question",
        question,
        "--chips",
        chips,
        "--unequal-chips",
        0,
    )
    assert found.returncode == 0, found.stderr
    (line,) = [line for line in found.stdout.splitlines() if line.startswith("asked: ")]
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--errors", "none.toml"], "none.toml: no such file"),
        (["--errors", "layers.toml"], "layers.toml: case 'case 1': errors names unknown layers"),
        (["--errors", "many.toml"], "many.toml: case 'case 1': exactly"),
        (["--errors", "errors.toml", "--protect", "output"], "write protected in the file"),
        (["--errors", "errors.toml", "--device", "device"], "two sources of errors"),
        (["--device", "nowhere", "--programming", "1e-4"], "no device study here"),
        (["--device", "device"], "--device needs --programming X"),
        (["--device", "device", "--programming", "-1"], "--programming: -1 must be positive"),
        (["--device", "device", "--programming", "nan"], "'nan' is no finite number"),
        (["--device", "device", "--programming", "1V"], "1V is in V; the SET compliance current"),
        (["--device", "device", "--programming", "24um"], "unit 'um' is not known"),
        (["--threshold-ohm", "1 V"], "a number: 1 V is in V; this option is in ohm"),
        (["--device", "device", "--programming", "1e-4", "--scheme", "3T"], "known: 1T1R, 2T2R"),
        (["--device", "device", "--programming", "1e-4", "--one-is", "on"], "LRS, HRS"),
        (["--scheme", "2T2R"], "--scheme goes with --device"),
        (["--threshold-ohm", "1e4"], "--threshold-ohm goes with --device"),
        (["--protect", "first"], "unknown layers 'first'"),
        (["--protect", "hidden_1", "--protect", "output"], "every layer is protected"),
        (["--question", "population"], "--question population goes with --standard-error"),
        (["--least-images", "100"], "--least-images 100 goes with --standard-error"),
        (["--standard-error", "0.1", "--question", "all"], "known: test-set, population"),
        (["--standard-error", "0.1", "--least-images", "3"], "give at least 64"),
        (["--standard-error", "0.1", "--extend", "c.nc"], "--extend goes with a number of --chips"),
        (["--extend", "none.nc"], "none.nc: no such file"),
        (["--engine", "fast"], "unknown engine 'fast'"),
        (["--memory", "1e-9"], "allow more"),
        (["--memory", "0"], "--memory 0.0: give GB above 0"),
        (["--memory", "-2"], "--memory -2.0: give GB above 0"),
        (["--memory", "nan"], "--memory nan: give GB above 0"),
        (["--memory", "inf"], "--memory inf: give GB above 0"),
        (["--memory", "1e300"], "--memory 1e+300: give GB above 0"),
        (["--chips", "0"], "'--chips'"),
        (["--chips", "1" + 23 * "0"], "'--chips'"),
        (["--seed", "1" + 25 * "0"], "'--seed'"),
        (["--threads", "0"], "'--threads'"),
        (["--threads", "100000"], "'--threads'"),
        (["--standard-error", "inf"], "standard_error is inf; it must be positive and finite"),
        (["--standard-error", "nan"], "standard_error is nan; it must be positive and finite"),
        (
            ["--standard-error", "0.1", "--least-images", "601"],
            "--least-images 601: digits has 600 test images; give no more",
        ),
    ],
)
def test_wrong_use(call: Call, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "layers.toml").write_text("[[case]]\nflips = {ber = 0.1, layers = ['first']}")
    (tmp_path / "many.toml").write_text(
        "[[case]]\nlines = {along = 'row', rate = 1}\n"
        "stuck_at = {zero = 0.1, one = 0, exact = true}"
    )
    before = sorted(p.name for p in tmp_path.iterdir())
    found = evaluate(call, *arguments)
    assert found.returncode == 2, found.stderr
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == before
