"""Priors at the command line: what is shown, what is refused, and what a fit says of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devicefit.compression.compression import compress
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.inputs.programming import Programming
from devicefit.priors.predictive import prior_prediction
from devicefit.simulation.reference_device import reference_measurements
from reliability.device.prior_check import stated_priors

HEAD = "i_cc_a,device_id,state,resistance_ohm\n"


@pytest.fixture(scope="module")
def frame() -> Frame:
    """Range of the simulated device: 20 to 600 uA, read in several cycles."""
    return Frame.of(compress(reference_measurements()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a prior file with a prior, a statement and what only families with failures have."""
    path = tmp_path / "mine.toml"
    path.write_text(
        "[hrs_median]\nbetween = ['50 kohm', '200 kohm']\nsource = 'wafer 12'\n"
        "[lrs_median]\nbetween = ['2 kohm', '8 kohm']\nat = '100 uA'\n"
        "[set_failure]\nbetween = [1e-6, 1e-3]\n"
    )
    return path


def row_of(text: str, name: str) -> list[str]:
    """Cells of the row of the table that begins with this name."""
    (line,) = [line for line in text.splitlines() if line.split("  ")[0] == name]
    return [cell.strip() for cell in line.split("  ") if cell]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_prior_of_the_family_has_a_row(
    call: Callable[..., Any], frame: Frame, family: str
) -> None:
    found = call("priors", "--model", family)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0].startswith(
        f"priors of the {family} family over SET compliance current from 20 uA to 600 uA; normal"
    )
    assert lines[1].split() == ["name", "mean", "sd", "meaning", "source"]
    priors = FAMILIES[family].priors(frame)
    for p in priors:
        expected = [p.name, f"{p.mean:.3g}", f"{p.sd:.3g}", p.meaning, p.source]
        assert row_of(found.stdout, p.name) == expected
    assert lines[2 + len(priors)] == ""


def test_vectors_say_how_long_they_are() -> None:
    # twelve conditions or more have smooth deviations
    long = Frame(Programming("SET gate voltage", "V"), 1.0, 2.0, terms=4)
    (stated,) = stated_priors(long, None, families=("lognormal",))
    row = row_of("\n".join(stated.lines()), "lrs_location_deviation (vector of 4)")
    assert row[1:3] == ["0", "1"]


def test_prediction_at_ends_and_middle(call: Callable[..., Any], frame: Frame) -> None:
    found = call("priors", "--seed", 3, "--threshold-ohm", 3e4)
    assert found.returncode == 0, found.stderr
    prediction = prior_prediction(
        "switching-failure",
        frame,
        FAMILIES["switching-failure"].priors(frame),
        (),
        # the middle of a current is that of its logarithm
        np.array([2e-5, np.sqrt(2e-5 * 6e-4), 6e-4]),
        options=SensingOptions(threshold_ohm=3e4),
        draws=2000,
        rng=np.random.default_rng(3),
    )
    assert found.stdout.endswith("\n\n" + "\n".join(prediction.lines()) + "\n")
    assert call("priors", "--seed", 3).stdout != found.stdout
    assert call("priors", "--seed", 4, "--threshold-ohm", 3e4).stdout != found.stdout


def test_a_file_takes_the_place_of_the_defaults(call: Callable[..., Any], file: Path) -> None:
    found = call("priors", "--priors", file, "--model", "lognormal")
    assert found.returncode == 0, found.stderr
    name, mean, sd, _, source = row_of(found.stdout, "ln_r_hrs")
    # the middle of 50 and 200 kohm in ln R; ln 2 is 1.645 standard deviations
    assert float(mean) == pytest.approx(np.log(1e5), rel=1e-2)
    assert float(sd) == pytest.approx(np.log(2) / 1.645, rel=1e-2)
    assert source == "wafer 12 (mine.toml)"
    assert (
        "stated: lrs_median at 100 uA is 4e+03, 90 % 2e+03 to 8e+03 (stated, no source given)\n"
        "not used: [set_failure], the lognormal family has no such parameter\n\n"
    ) in found.stdout
    # the family that has it uses it
    other = call("priors", "--priors", file)
    assert "not used" not in other.stdout
    assert row_of(other.stdout, "log10_set_floor")[-1].endswith("(mine.toml)")


def test_one_condition_is_predicted_once(call: Callable[..., Any], tmp_path: Path) -> None:
    rows = [f"1e-4,d{i},{s},{r + i}\n" for s, r in (("LRS", 5e3), ("HRS", 1e5)) for i in range(12)]
    (tmp_path / "one.csv").write_text(HEAD + "".join(rows))
    found = call("priors", "--measurements", "one.csv")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(
        "priors of the switching-failure family over SET compliance current; normal"
    )
    # median LRS is a parameter where nothing is varied
    assert row_of(found.stdout, "ln_r_lrs")
    assert sum(line.startswith("ber_1t1r") for line in found.stdout.splitlines()) == 1


@pytest.mark.parametrize("command", [["priors"], ["fit", "--out", "fitted"]])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[parameter.nonsense]\nmean = 1\nsd = 1\n", "[parameter.nonsense]: this model has no"),
        (
            "[lrs_median]\nbetween = ['2 kohm', '8 kohm']\n",
            "no such parameter. State it at a programming value",
        ),
        (
            "[lrs_median]\nbetween = ['2 kohm', '8 kohm']\nat = '2 V'\n",
            "stated at a value in V, but the programming variable (SET compliance current) is in A",
        ),
        ("[hrs_median]\nbetween = ['50', '200']\n", "'50' is not a number with its unit"),
    ],
)
def test_what_cannot_be_used_is_refused(
    call: Callable[..., Any], tmp_path: Path, command: list[str], text: str, message: str
) -> None:
    (tmp_path / "bad.toml").write_text(text)
    found = call(*command, "--priors", "bad.toml")
    assert found.returncode == 2, found.stderr
    assert found.stderr.startswith("rram-reliability: bad.toml: [")
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["bad.toml"]


CONTRADICTING = "[lrs_median]\nbetween = ['4.2 Mohm', '5.9 Mohm']\nat = '100 uA'\n"


def test_statements_that_contradict_the_priors(call: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "far.toml").write_text(CONTRADICTING)
    found = call("priors", "--priors", "far.toml")
    assert found.returncode == 2
    assert "Farthest apart: lrs_median at 100 uA" in found.stderr
    assert "Check the statement and its unit" in found.stderr


@pytest.fixture
def fitted_with(monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]) -> Callable[..., Any]:
    """Call `fit` with a stop in the place of the fitting."""

    def stop(*arguments: object, **named: object) -> None:
        raise RuntimeError("stopped before fitting")

    monkeypatch.setattr("reliability.device.study.study_device", stop)
    return lambda *arguments: call("fit", "--out", "fitted", "--quiet", *arguments)


def test_a_fit_says_what_is_absurd_in_priors_of_a_file(
    fitted_with: Callable[..., Any], tmp_path: Path
) -> None:
    # an HRS of 1 kohm lies below every LRS of the defaults
    (tmp_path / "low.toml").write_text("[hrs_median]\nbetween = ['900 ohm', '1.1 kohm']\n")
    found = fitted_with("--priors", "low.toml", "--model", "lognormal", "--model", "student-t")
    assert "stopped before fitting" in found.stderr
    lines = found.stdout.splitlines()
    assert all(line.startswith("check: ") for line in lines)
    absurd = [line for line in lines if "the LRS median lies above the HRS median" in line]
    assert [line.split("(")[-1] for line in absurd] == ["family lognormal)", "family student-t)"]
    assert "state lrs_median and hrs_median in a prior file" in absurd[0]
    # without a file nothing is said: the defaults are meant for every device
    assert fitted_with("--model", "lognormal").stdout == ""


def test_a_fit_of_good_priors_says_nothing(fitted_with: Callable[..., Any], file: Path) -> None:
    more = "[hrs_spread]\nbetween = [0.3, 0.7]\n[parameter.exponent]\nmean = 1\nsd = 0.02\n"
    file.write_text(file.read_text() + more)
    found = fitted_with("--priors", file, "--model", "lognormal", "--model", "switching-failure")
    assert "stopped before fitting" in found.stderr
    assert found.stdout == ""


def test_a_prior_that_cannot_be_predicted_does_not_forbid_the_fit(
    fitted_with: Callable[..., Any], tmp_path: Path
) -> None:
    # few effective draws may also mean that many things are stated precisely
    (tmp_path / "far.toml").write_text(CONTRADICTING)
    found = fitted_with("--priors", "far.toml", "--model", "lognormal")
    assert "stopped before fitting" in found.stderr
    assert found.stdout.startswith("check: the prior cannot be predicted: priors and statements")
