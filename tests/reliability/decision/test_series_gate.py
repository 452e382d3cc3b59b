"""Savings that energies inferred from the LRS cannot tell; the programming stands. Simulated."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from markupsafe import escape

from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.sampling.prior import prior_record
from reliability.decision.compare import compare
from reliability.decision.comparison import STANDARD, Comparison
from reliability.decision.options import DecisionOptions
from reliability.decision.requirement import Requirement, StatedReference
from reliability.decision.series_gate import series_gate
from reliability.device.files import save_study
from reliability.device.study import DeviceStudy
from reliability.energy.energy import EnergyOptions
from reliability.measure_next.options import MeasureNextOptions
from reliability.measure_next.ranking import Ranking
from reliability.measure_next.short import next_record
from reliability.networks.study import NetworkStudy, save_counts
from reliability.report import render_report, tables
from reliability.report.tables import saving_share_table
from reliability.results.results import Results, read_results
from tests.reliability.made_up import fragile_network

GATE = Programming("SET gate voltage", "V")
GRID = np.linspace(1.0, 2.0, 41)
DRAWS = 200
EXAMPLE = Path(__file__).parents[1] / "data" / "results_example.json"


def device(series_ohm: float, series_sd: float = 0.1) -> DevicePosterior:
    """Filament of 5 kohm at 1 V and 0.25 kohm at 2 V, a HRS that rises with the voltage."""
    frame = Frame(GATE, GRID[0], GRID[-1])
    priors = FAMILIES["lognormal"].priors(frame)
    rng = np.random.default_rng(5)
    known = {
        "onset": -0.05, "exponent": 1.0, "ln_onset_width": np.log(1e-3),
        "ln_r_filament": np.log(2.6e3), "ln_r_hrs": np.log(2.5e4), "hrs_slope": 2.0,
        "ln_sd_hrs": 0.0, "hrs_sd_slope": 0.0, "ln_sd_filament": np.log(0.2),
    }  # fmt: skip
    values = {p.name: np.full((2, DRAWS // 2), known.get(p.name, p.mean)) for p in priors}
    values["ln_r_series"] = np.log(series_ohm) + series_sd * rng.standard_normal((2, DRAWS // 2))
    draws = xr.Dataset({k: (("chain", "draw"), v) for k, v in values.items()})
    record = {
        "devices": 500, "design_effect": {"LRS": 1.0, "HRS": 1.0}, "priors": prior_record(priors),
        "readings": {"LRS": 4000, "HRS": 4000}, "sampler": {"seed": 1},
    }  # fmt: skip
    diagnostics = Diagnostics(1.0, 1e3, 1e3, 0, DRAWS)
    return DevicePosterior("lognormal", draws, frame, diagnostics, record)


@pytest.fixture
def study(study_record: Callable[..., dict[str, Any]]) -> Callable[..., DeviceStudy]:
    def made(series_ohm: float, series_sd: float = 0.1) -> DeviceStudy:
        record = study_record(families={"lognormal": {"weight": None}})
        return DeviceStudy({"lognormal": device(series_ohm, series_sd)}, {}, {}, GRID, record)

    return made


@pytest.fixture(scope="module")
def networks() -> dict[str, NetworkStudy]:
    return {
        "standard": fragile_network(8.0, ber=0.0, seed=1),
        "trained": fragile_network(1.0, ber=0.04, seed=2),
    }


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reliability.decision.compare.PAIRED_DRAWS", 400)


def compared(study: DeviceStudy, networks: dict[str, NetworkStudy]) -> Comparison:
    requirement = Requirement(reference=StatedReference(2.0, "V"))
    return compare(
        study,
        networks,
        DecisionOptions(
            requirement=requirement, sensing=SensingOptions(), energy=EnergyOptions(), seed=1
        ),
    )


def share_by_hand(posterior: DevicePosterior, volt: float) -> np.ndarray:
    """R_s / (R_s + R_f) with R_f = 2.6 kohm * 0.1 / (V - 0.95)."""
    series = np.exp(posterior.draws["ln_r_series"].values.ravel())
    return series / (series + 2.6e3 * 0.1 / (volt - 0.95))


@pytest.mark.parametrize(
    ("series_ohm", "sd", "passed"),
    [(500.0, 0.1, True), (8000.0, 0.1, False), (1000.0, 2.0, False), (1000.0, 0.1, True)],
)
def test_the_share_is_that_of_the_stronger_side_with_what_is_not_known_of_it(
    study: Callable[..., DeviceStudy],
    networks: dict[str, NetworkStudy],
    series_ohm: float,
    sd: float,
    passed: bool,
) -> None:
    """A wide posterior of the series resistance fails at a median share that would pass."""
    of = study(series_ohm, sd)
    c = compared(of, networks)
    stated = next(r for r in c.references if r.key == "stated")
    gate = series_gate(c.energy, c.focus.condition, stated.condition)
    assert gate is not None
    by_hand = share_by_hand(of.posteriors["lognormal"], 2.0)[c.pairing.device]
    assert gate.value == pytest.approx(np.quantile(by_hand, 0.95), abs=1e-6)
    assert gate.passed is passed
    assert (np.median(by_hand) <= 0.9) == (series_ohm < 8000)
    assert f"up to {100 * gate.value:.0f} %" in gate.finding


def test_a_saving_that_the_lrs_cannot_tell_is_withheld_and_the_programming_stands(
    study: Callable[..., DeviceStudy],
    networks: dict[str, NetworkStudy],
    tmp_path: Path,
    call: Callable[..., Any],
) -> None:
    of = study(2500.0)
    for name, network in networks.items():
        save_counts(network, tmp_path / f"{name}.nc")
    (tmp_path / "device").mkdir()
    save_study(of, tmp_path / "device")
    (tmp_path / "need.toml").write_text('[reference]\nprogramming = "2 V"\n')

    def decide(*options: object) -> tuple[dict[str, Any], str]:
        done = call(
            "decide", "device", "--counts", "standard.nc", "--counts", "trained.nc", "--out",
            "results.json", "--requirement", "need.toml", "--confirm-minutes", "0", "--quiet",
            "--force", *options,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return dict(read_results(tmp_path / "results.json").values), done.stdout

    values, text = decide()
    verdict, savings = values["verdict"], values["energy_saving"]
    assert not verdict["withheld"]
    assert verdict["recommended_programming"] is not None
    assert verdict["network"] == "trained for errors"
    stated = savings["stated"]
    assert not stated["gate"]["passed"]
    assert stated["gate"]["value"] > 0.9 == stated["gate"]["limit"]
    assert stated["median"] is stated["low"] is stated["bound"] is stated["at_recommended"] is None
    assert stated["not_to_be_relied_on"]["median"] > 1
    words = "not stated (the gate 'series resistance' failed)"
    assert stated["sentence"] == words
    # the two networks stand where the filament is a part large enough
    assert savings["standard_bnn"]["gate"]["passed"]
    assert savings["standard_bnn"]["median"] > 1
    assert "stated" not in values["saving_shares"]["against"]
    assert "standard_bnn" in values["saving_shares"]["against"]
    table = saving_share_table(values)
    assert table is not None
    assert {row[0] for row in table.rows} == {
        tables.REFERENCES[key] for key in values["saving_shares"]["against"]
    }
    recommended = next(a for a in values["alternatives"] if a["saving"] is not None)
    assert recommended["saving"]["stated"]["median"] is None
    line = f"Gate failed, series resistance: {stated['gate']['finding']}. No saving is stated"
    assert line in text
    assert stated["gate"]["remedy"] in text
    assert verdict["failed"].startswith("Failed: series resistance")
    # the remedy: the current that was measured
    (tmp_path / "energy.csv").write_text(
        "set_gate_voltage_v,i_set_a,i_set_se_a\n1,5e-5,1e-7\n1.5,5e-4,1e-6\n2,1e-3,1e-6\n"
    )
    values, text = decide("--energy", "energy.csv")
    assert values["energy_saving"]["stated"]["gate"] is None
    assert values["energy_saving"]["stated"]["median"] > 1
    assert values["verdict"]["failed"].startswith("Nothing failed")


def test_the_report_says_that_a_saving_is_not_stated() -> None:
    values = copy.deepcopy(dict(read_results(EXAMPLE).values))
    words = "not stated (the gate 'series resistance' failed)"
    values["energy_saving"]["memory"] |= {
        **dict.fromkeys(("median", "low", "high", "bound", "at_recommended")), "sentence": words
    }  # fmt: skip
    html = render_report(Results(values))
    assert f"not known<small>{escape(words)}</small>" in html


def test_no_measurement_is_ranked_by_a_saving_that_is_withheld(
    study: Callable[..., DeviceStudy], networks: dict[str, NetworkStudy]
) -> None:
    of = study(8000.0)
    c = compared(of, networks)
    standard = next(r for r in c.references if r.key == STANDARD)
    assert series_gate(c.energy, standard.condition, standard.condition) is None
    gate = series_gate(c.energy, c.focus.condition, standard.condition)
    assert gate is not None
    assert not gate.passed
    found = next_record(of, c, networks, seed=1)
    assert found["ranking"] is None
    assert gate.finding in found["why_not"]
    with pytest.raises(ValueError, match="gate 'series resistance' failed"):
        Ranking(of, c, MeasureNextOptions(), 1)
