"""Device studies and lives that cannot be are refused, with hashes that fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.fitting.posterior_files import save_posterior
from devicefit.inputs.programming import Programming
from devicefit.numerics.stored import document_text
from devicefit.persistence.persistence import Persistence
from devicefit.persistence.windows import WindowedPersistence
from devicefit.prediction.condition_readings import ConditionReadings
from devicefit.sampling.prior import prior_record
from reliability.device.files import load_study, save_study
from reliability.device.study import DeviceStudy
from reliability.files.own_files import sha256_of

FRAME = Frame(Programming("SET compliance current", "A"), 2e-5, 6e-4)
Change = Callable[[dict[str, Any]], object]


def posterior(family: str, frame: Frame = FRAME) -> DevicePosterior:
    priors = FAMILIES[family].priors(frame)
    record = {
        "devices": 20,
        "design_effect": {"LRS": 1.0, "HRS": 1.0},
        "readings": {"LRS": 40, "HRS": 40},
        "priors": prior_record(priors),
        "sampler": {"seed": 1},
    }
    draws = xr.Dataset({p.name: (("chain", "draw"), np.full((1, 9), p.mean)) for p in priors})
    return DevicePosterior(family, draws, frame, Diagnostics(1.0, 9.0, 9.0, 0, 9), record)


@pytest.fixture
def saved(tmp_path: Path, study_record: Callable[..., dict[str, Any]]) -> Path:
    window = Persistence(*(np.full(5, value) for value in (0.5, 0.1, 3.0, 0.01)))
    persistence = {"HRS": WindowedPersistence(np.array([2e-5, 1e-4]), (window, window))}
    families = {f: posterior(f) for f in ("lognormal", "student-t")}
    weights = {"lognormal": 0.25, "student-t": 0.75}
    counts = {"programming_low": [2e-5], "programming_high": [6e-4], "devices": [20]}
    gate = {"name": "g", "question": "?", "passed": True, "value": float("nan"), "limit": 2.0}
    gates = [gate | {"finding": "f", "remedy": "r"}]
    grid = FRAME.programming.grid(2e-5, 6e-4, 5)
    read = {"LRS": (np.array([0, 2]), np.array([90, 10])), "HRS": (np.array([1]), np.array([50]))}
    measured = [ConditionReadings(1e-4, None, "", 60, 2e4, read).record()]
    record = study_record(counts=counts, gates=gates, measured=measured)
    save_study(DeviceStudy(families, weights, persistence, grid, record), tmp_path)
    return tmp_path


def test_a_study_comes_back(saved: Path) -> None:
    study = load_study(saved)
    assert list(study.posteriors) == ["lognormal", "student-t"]
    assert study.weights == {"lognormal": 0.25, "student-t": 0.75}
    assert study.persistence["HRS"].windows[1].tau.tolist() == [0.5] * 5
    assert np.isnan(study.record["gates"][0]["value"])
    assert study.grid[0] == 2e-5
    (condition,) = study.measured
    assert (condition.trials("LRS"), condition.errors("LRS")) == (100, 10)
    assert (condition.trials("HRS"), condition.errors("HRS")) == (50, 0)
    assert study.second_values == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format="rram-reliability device study 3"), "its format is 'rram"),
        (lambda d: d.pop("grid"), "grid: Field required"),
        (lambda d: d.update(more=1), "more: Extra inputs are not permitted"),
        (lambda d: d.update(families=[]), "families"),
        (lambda d: d.update(families=["../../x"]), "known, each once: lognormal"),
        (lambda d: d.update(families=["lognormal"] * 2), "known, each once: lognormal"),
        (lambda d: d["weights"].update(lognormal=0.3), "sum to one"),
        (lambda d: d["weights"].update(lognormal=-0.25), "weights.lognormal"),
        (lambda d: d["weights"].update({"log-logistic": 0.0}), "one weight for each family"),
        (lambda d: d.update(grid=[2e-5, 1e-4, 5e-5]), "the grid must increase"),
        (lambda d: d.update(grid=[2e-5, 1.0]), "within the measured range, 2e-05 to 0.0006"),
        (lambda d: d.update(grid=[float("nan")]), "grid.0: Input should be a finite number"),
        (lambda d: d.update(grid=["2e-5"]), "grid.0: Input should be a valid number"),
        (lambda d: d.update(grid=[10**400]), "grid.0"),
        (lambda d: d["persistence"].update(MRS=d["persistence"]["HRS"]), "persistence.MRS"),
        (lambda d: d["persistence"]["HRS"]["start"].reverse(), "increasing starts"),
        (lambda d: d["persistence"]["HRS"]["windows"].pop(), "increasing starts need as many"),
        (lambda d: window_of(d).update(immune_share=[1.5] * 5), "immune_share.0"),
        (lambda d: window_of(d).update(persistent_share=[-0.1] * 5), "persistent_share.0"),
        (lambda d: window_of(d).update(tau=[0.5]), "equal numbers of draws"),
        (lambda d: window_of(d).update(tau=[float("inf")] * 5), "tau.0"),
        (lambda d: window_of(d).update(persistent_shift=[[1.0]]), "persistent_shift.0"),
        (lambda d: d["record"].pop("gates"), "record.gates: Field required"),
        (lambda d: d["record"]["gates"][0].update(passed="yes"), "record.gates.0.passed"),
        (lambda d: d["record"]["data"].update(simulated=0), "record.data.simulated"),
        (lambda d: d["record"]["data"].update(sha256="0"), "record.data.sha256"),
        (lambda d: d["record"]["data"].update(devices=0), "record.data.devices"),
        (lambda d: d["record"]["counts"].update(devices=["1"]), "record.counts"),
        (lambda d: d["record"].pop("measured"), "record.measured: Field required"),
        (lambda d: d["record"]["measured"][0]["bins"].pop("HRS"), "as many bins as counts"),
        (lambda d: d["record"]["measured"][0]["bins"]["LRS"].pop(), "as many bins as counts"),
        (lambda d: d["record"]["measured"][0]["bins"].update(HRS=[10**30]), "bins.HRS.0"),
        (lambda d: d["record"]["measured"][0].update(threshold_ohm=0), "measured.0.threshold_ohm"),
    ],
)
def test_records_that_cannot_be_are_refused(change: Change, message: str, saved: Path) -> None:
    path = saved / "device.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(document_text(document, allow_nan=True), encoding="utf-8")
    with pytest.raises(ValueError, match=f"device.json: not a device study.*{message}.*fit --out"):
        load_study(saved)


def window_of(document: dict[str, Any]) -> Any:
    return document["persistence"]["HRS"]["windows"][0]


def test_a_changed_number_is_noticed(saved: Path) -> None:
    path = saved / "device.json"
    text = path.read_text(encoding="utf-8")
    assert '"lognormal": 0.25' in text
    path.write_text(text.replace('"lognormal": 0.25', '"lognormal": 0.35'), encoding="utf-8")
    with pytest.raises(ValueError, match="damaged or was changed"):
        load_study(saved)


def pin(directory: Path) -> None:
    """Write the hashes of the posteriors that lie there into device.json, like a forger."""
    path = directory / "device.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for family in document["posteriors_sha256"]:
        document["posteriors_sha256"][family] = sha256_of(directory / f"{family}.nc")
    path.write_text(document_text(document, allow_nan=True), encoding="utf-8")


def test_files_that_are_not_of_one_study_are_refused(saved: Path) -> None:
    other = Frame(FRAME.programming, 2e-5, 5e-4)
    save_posterior(posterior("student-t", other), saved / "student-t.nc")
    pin(saved)
    with pytest.raises(ValueError, match="student-t.nc were fitted to different readings"):
        load_study(saved)
    save_posterior(posterior("log-logistic"), saved / "student-t.nc")
    pin(saved)
    with pytest.raises(ValueError, match="student-t.nc holds the family log-logistic"):
        load_study(saved)
    (saved / "student-t.nc").unlink()
    with pytest.raises(ValueError, match="student-t.nc: no such file; write it with"):
        load_study(saved)
    (saved / "device.json").unlink()
    with pytest.raises(ValueError, match="no device study here .device.json is missing.; write"):
        load_study(saved)


def test_a_posterior_of_another_fit_is_refused(saved: Path) -> None:
    """What a run killed between two files leaves, or a copy of one file."""
    other = posterior("lognormal")
    moved = other.draws.assign(ln_r_hrs=other.draws["ln_r_hrs"] + 0.1)
    save_posterior(replace(other, draws=moved), saved / "lognormal.nc")
    with pytest.raises(ValueError, match=r"lognormal\.nc is of another fit than device\.json"):
        load_study(saved)
