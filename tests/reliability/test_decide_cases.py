"""The whole decide step where it is least comfortable. Everything here is simulated.

A small device is fitted once; for other shapes of the BER curve its draws are replaced by chosen
ones. Counts of networks follow a law that is written down here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import reliability.device.fits as device_fits
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame, deviation_basis
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, fit
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import prior_record
from devicefit.simulation.reference_device import ReferencePlan, reference_measurements
from reliability.device.files import save_study
from reliability.device.study import DeviceStudy, adaptive_grid, study_device
from reliability.networks.study import load_counts, save_counts
from reliability.report import render_report
from reliability.results.results import read_results
from tests.reliability.made_up import fragile_network

SAMPLER = SamplerOptions(chains=2, draws=60, warmup=100, cores=1)


@pytest.fixture(scope="module")
def fitted() -> DeviceStudy:
    return fitted_again()


def shaped(study: DeviceStudy, overlap: Callable[[np.ndarray], np.ndarray]) -> DeviceStudy:
    """The study with a lognormal device whose ln spread of the HRS follows `overlap`."""
    position = np.linspace(0, 1, 101)
    basis = deviation_basis(position, 6)
    line = np.stack([np.ones_like(position), position - 0.5])
    level, slope, *terms = np.linalg.lstsq(
        np.concatenate([line, 0.3 * basis]).T, overlap(position), rcond=None
    )[0]
    posterior = study.posteriors["lognormal"]
    rng = np.random.default_rng(4)
    draws = xr.Dataset(coords=posterior.draws.coords)
    sizes = (posterior.draws.sizes["chain"], posterior.draws.sizes["draw"])
    means = {
        "ln_v_c": np.log(0.3), "exponent": 0.05, "ln_r_series": np.log(1e3),
        "ln_sd_filament": np.log(0.1), "sd_exponent": 0.5, "ln_sd_floor": np.log(0.05),
        "ln_r_hrs": np.log(1e5), "hrs_slope": 0.0, "ln_sd_hrs": np.log(0.3) + level,
        "hrs_sd_slope": slope,
    }  # fmt: skip
    for name, mean in means.items():
        draws[name] = (("chain", "draw"), mean + 0.01 * rng.standard_normal(sizes))
    for name in ("lrs_location", "lrs_ln_sd", "hrs_location", "hrs_ln_sd"):
        values = terms if name == "hrs_ln_sd" else np.zeros(6)
        draws[f"{name}_deviation"] = (
            ("chain", "draw", f"{name}_deviation_term"),
            np.broadcast_to(values, (*sizes, 6)).copy(),
        )
    frame = replace(posterior.frame, terms=6, levels=())
    assert isinstance(frame, Frame)
    priors = prior_record(FAMILIES["lognormal"].priors(frame))
    changed = replace(
        posterior, draws=draws, frame=frame, record={**posterior.record, "priors": priors}
    )
    assert isinstance(changed, DevicePosterior)
    families = {"lognormal": study.record["families"]["lognormal"]}
    # these draws were chosen, not fitted: no gate of a fit is about them
    record = {**study.record, "families": families, "gates": []}
    return DeviceStudy({"lognormal": changed}, {}, {}, adaptive_grid(changed, 41), record)


@pytest.fixture
def decide(
    tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs the command on a study; returns values, text and HTML."""
    monkeypatch.setattr("reliability.decision.compare.PAIRED_DRAWS", 600)
    save_counts(fragile_network(25.0, ber=0.0, seed=1), tmp_path / "standard.nc")
    save_counts(fragile_network(4.0, ber=0.04, seed=2), tmp_path / "trained.nc")

    def run(study: DeviceStudy, *options: object) -> tuple[dict[str, Any], str, str]:
        (tmp_path / "device").mkdir()
        save_study(study, tmp_path / "device")
        found = call(
            "decide", "device", "--counts", "standard.nc", "--counts", "trained.nc",
            "--out", "results.json", "--quiet", *options,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        results = read_results(tmp_path / "results.json")
        text = (tmp_path / "results.json").read_text()
        assert json.loads(text)["verdict"] == results.values["verdict"]
        return dict(results.values), found.stdout, render_report(results)

    return run


def two_pieces(position: np.ndarray) -> np.ndarray:
    return 2.2 * np.cos(4 * np.pi * position)


def test_empty_safe_set(fitted: DeviceStudy, decide: Callable[..., Any]) -> None:
    values, text, html = decide(shaped(fitted, lambda u: 2.6 + 0 * u))
    assert values["verdict"]["recommended_programming"] is None
    assert all(a["lowest_safe_programming"] is None for a in values["alternatives"])
    nearest = values["verdict"]["nearest"]
    assert nearest["p_requirement_met"] < 0.95
    assert nearest["loss_not_exceeded"] > 0.01
    assert "Nothing is safe: no measured SET compliance current meets the requirement" in text
    assert "Nearest comes" in text
    assert "Saving: none, because no programming is safe." in text
    assert "Uncertainty of the saving" not in text
    assert values["saving_shares"] is None
    assert "No recommendation." in html


def test_safe_set_in_two_pieces(fitted: DeviceStudy, decide: Callable[..., Any]) -> None:
    values, text, html = decide(shaped(fitted, two_pieces))
    best = values["verdict"]
    found = values["safe_programming"][best["network"]][best["scheme"]]
    (low, first_end), (second, high) = found["intervals"]
    assert 2e-5 < low < first_end < second < high < 6e-4
    assert best["recommended_programming"] == low
    # Not safe between the pieces, nor where programming is strongest.
    p_met = np.array(values["accuracy"][best["network"]][best["scheme"]]["p_met"])
    grid = np.array(values["ber"]["grid"])
    assert p_met[(grid > first_end) & (grid < second)].max() < 0.95
    assert p_met[-1] < 0.95
    for words in ("The safe set is in 2 pieces", "programming that is too strong fails too"):
        assert words in text
        assert words in html


def test_already_met_at_the_lowest(fitted: DeviceStudy, decide: Callable[..., Any]) -> None:
    values, text, html = decide(shaped(fitted, lambda u: -0.5 + 0 * u))
    assert values["verdict"]["recommended_programming"] == pytest.approx(2e-5)
    assert "Already the weakest measured SET compliance current, 20 uA, meets" in text
    assert "a weaker one might do, but was not measured" in html
    saving = values["energy_saving"]["standard_bnn"]
    # it is the standard network itself that is recommended
    assert saving["sentence"] == "1 times"
    memory = values["energy_saving"]["memory"]
    assert memory["share_at_least"] == memory["share_at_most"] == 1.0
    assert memory["sentence"].startswith("not known within the measured range: 100 %")
    found = values["saving_shares"]["against"]["memory"]
    assert found["share_of_bounds"] == 1.0
    assert found["finding"].endswith("below 20 uA)")
    assert found["finding"] in text


def test_a_network_that_was_counted_at_equal_rates_only(
    fitted: DeviceStudy, decide: Callable[..., Any], tmp_path: Path
) -> None:
    """Cells read against a threshold fail at unequal rates: only scrambled bits are known."""
    for name in ("standard", "trained"):
        study = load_counts(tmp_path / f"{name}.nc")
        save_counts(replace(study, unequal=None), tmp_path / f"{name}.nc")
    values, text, _ = decide(shaped(fitted, two_pieces))
    assert "scrambled" in values["verdict"]["scheme"] or "2T2R" in values["verdict"]["scheme"]
    plain = values["accuracy"]["standard"]["1T1R"]["yield"]
    assert max(plain["share_within_counts"]) == max(plain["mean"]) == 0
    # what is recommended is known; only what the standard network does in single cells is not
    assert values["verdict"]["gates_passed"]
    assert values["energy_saving"]["standard_bnn"]["median"] is None
    assert "not known, because the standard network was not counted" in text


def test_what_was_not_counted_is_not_called_unsafe(
    fitted: DeviceStudy, decide: Callable[..., Any], tmp_path: Path
) -> None:
    """Networks counted up to a rate of 1e-4 only: whether a programming is safe is not known."""
    for name in ("standard", "trained"):
        study = load_counts(tmp_path / f"{name}.nc")
        few = replace(study, counts=study.counts.isel(ber=slice(1, 5)), unequal=None)
        few.counts["ber"] = few.counts["ber"] * 1e-6
        save_counts(few, tmp_path / f"{name}.nc")
    values, text, _ = decide(shaped(fitted, lambda u: 2.6 + 0 * u))
    gate = next(g for g in values["gates"] if g["name"] == "counted rates")
    assert not gate["passed"]
    assert gate["value"] == 0
    assert gate["remedy"] in text
    assert values["verdict"]["withheld"]
    assert "Nothing is safe" not in values["verdict"]["sentence"]


def test_no_energy_data(fitted: DeviceStudy, decide: Callable[..., Any]) -> None:
    values, text, html = decide(shaped(fitted, two_pieces), "--energy", "none")
    assert values["verdict"]["recommended_programming"] > 2e-5
    assert values["energy"]["basis"] == "none"
    assert values["energy"]["e_cell_j"] is None
    assert values["pareto"] is None
    assert values["choices"]["energy_regret"] is None
    assert values["saving_shares"] is None
    assert max(values["choices"]["p_violated"]) > 0.05
    for record in values["energy_saving"].values():
        assert record.get("median") is None
    assert "Saving: no saving can be stated, because no energy is known" in text
    assert "not known<small>no saving can be stated, because no energy is known</small>" in html


def broken(families: tuple[str, ...]) -> Callable[..., DevicePosterior]:
    def broken_fit(compressed: Any, *, family: str, **options: Any) -> DevicePosterior:
        if family in families:
            raise FloatingPointError("no start has a finite density")
        return fit(compressed, family=family, **options)

    return broken_fit


def test_one_family_fails(decide: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_fits, "fit", broken(("lognormal",)))
    values, text, html = decide(fitted_again())
    assert list(values["device"]["families"]) == ["student-t"]
    gate = next(g for g in values["gates"] if g["name"] == "families fitted")
    assert not gate["passed"]
    assert values["verdict"]["failed_families"] == {
        "lognormal": "FloatingPointError: no start has a finite density"
    }
    # the gate withholds the verdict; what it would have said stands apart
    assert values["verdict"]["withheld"]
    assert values["verdict"]["recommended_programming"] is None
    figures = values["verdict"]["not_to_be_relied_on"]
    assert figures["recommended_programming"] is not None
    assert figures["recommended_programming_words"] not in text
    assert "P(met)" not in text
    assert "VERDICT WITHHELD: " in text
    assert "Recommended programming" not in html[: html.index("<h3>Terms</h3>")]
    words = "lognormal could not be fitted: FloatingPointError: no start has a finite density"
    assert f"FAILED families fitted: {words}; the answer rests on student-t" in text
    assert words in html


def fitted_again() -> DeviceStudy:
    plan = ReferencePlan(currents=6, devices_per_current=20, cycles=1)
    return study_device(
        reference_measurements(plan=plan),
        families=("lognormal", "student-t"),
        sampler=SAMPLER,
        sensing=SensingOptions(),
    )


def test_all_families_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_fits, "fit", broken(("lognormal", "student-t")))
    with pytest.raises(ValueError, match=r"no family could be fitted \(lognormal: .*student-t: "):
        fitted_again()


def test_measured_energies_and_a_requirement_file(
    fitted: DeviceStudy, decide: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "need.toml").write_text(
        "[accuracy]\nmax_loss_points = 5\nprobability = 0.9\n"
        "[life]\nyears = 10\ntemperature_c = 85\ncycles = 1000\n"
        '[reference]\nmemory_ber = 1e-6\nprogramming = "200 uA"\n'
        "[utility]\nenergy_factor_per_point = 1.5\n"
    )
    # 100 pJ at 100 uA, proportional to the current; not measured at the weak end.
    (tmp_path / "energy.csv").write_text(
        "i_cc_a,e_cell_j,e_cell_se_j\n4e-5,4e-11,1e-12\n1e-4,1e-10,2e-12\n6e-4,6e-10,1e-11\n"
    )
    values, text, html = decide(
        shaped(fitted, two_pieces), "--requirement", "need.toml", "--energy", "energy.csv",
        "--max-loss", "0.01",
    )  # fmt: skip
    wanted = values["requirement"]
    # The command line overrides the file.
    assert (wanted["max_loss"], wanted["risk"], wanted["memory_ber"]) == (0.01, 0.1, 1e-6)
    assert wanted["life"] == {"years": 10.0, "temperature_k": 358.15, "cycles": 1000.0}
    at = values["verdict"]["recommended_programming"]
    stated = values["energy_saving"]["stated"]
    assert stated["low"] < 200e-6 / at < stated["high"]
    assert values["energy"]["extrapolated"][0]
    assert not values["energy"]["extrapolated"][-1]
    assert "Energies were measured from 40 uA to 600 uA; beyond, they are extrapolated." in text
    assert "they say nothing about wear and retention" in text
    assert "one point of accuracy is worth a factor of 1.5 in energy" in text
    assert "Stated reference" in html
    for key, found in values["saving_shares"]["against"].items():
        # against itself a design saves the same in all draws
        own = values["energy_saving"][key]["sentence"] == "1 times"
        assert sum(found["share"].values()) == pytest.approx(0 if own else 1)
        assert set(found["standard_error"]) == set(found["share"])
    assert "the stated reference, " in text
    assert "What the uncertainty of each saving comes from" in html
    regret = values["choices"]["energy_regret"]
    assert regret["sentence"] in text
    # Who knows the chip too is no worse off, but for the finite number of draws.
    worth = values["choices"]["utility"]
    known, per_chip = (worth[f"perfect_information_{of}factor"] for of in ("", "per_chip_"))
    assert 1 <= known <= per_chip + 0.02
    assert len(values["choices"]["energy_regret_per_chip"]["p_missed"]) == 41


def test_a_required_life_leads(
    fitted: DeviceStudy, decide: Callable[..., Any], call: Callable[..., Any], tmp_path: Path
) -> None:
    """Cells that wear out sooner the stronger they are programmed: 1e5 cycles are too many."""
    (tmp_path / "wear.csv").write_text(
        "# simulated\ni_cc_a,cycles,failed,survivors\n5e-5,1e6,10,1\n1e-4,1e5,9,2\n2e-4,1e4,8,2\n"
    )
    made = call(
        "life", "wear-out", "--measurements", "wear.csv", "--out", "w.nc", "--draws", 600,
        "--quiet",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (tmp_path / "need.toml").write_text("[life]\ncycles = 1e5\n")
    study = shaped(fitted, two_pieces)
    values, text, html = decide(study, "--requirement", "need.toml", "--life", "w.nc")
    verdict, young = values["verdict"], values["life"]["fresh"]
    assert not verdict["withheld"], verdict["failed"]
    assert young["recommended_programming"] > 2e-5
    assert young["p_requirement_met"] >= 0.95
    assert verdict["holds_for"] == "the end of life (1e+05 cycles)"
    # every key that a program reads is about the end of life
    assert verdict["recommended_programming"] is None
    assert verdict["p_requirement_met"] is None
    assert all(a["lowest_safe_programming"] is None for a in values["alternatives"])
    assert max(values["accuracy"]["standard"]["1T1R"]["p_met"]) < 0.95
    assert min(values["choices"]["p_violated"]) > 0.05
    assert values["energy_saving"]["memory"]["median"] is None
    assert text.index("At the end of life (1e+05 cycles): Nothing is safe") < text.index("Fresh")
    page_one = html[: html.index("<h3>Terms</h3>")]
    assert page_one.index("No recommendation") < page_one.index("Fresh cells: lowest safe")
    # counts of readings stand beside the curves of the cells that were read
    assert values["ber"]["1T1R"]["mean"][0] < 0.5
    assert "These curves and counts are of fresh cells" in html


@pytest.mark.parametrize(
    ("options", "files", "message"),
    [
        # named as the user wrote them, not as the options that they become
        (["--pulse-s", "-1"], {}, "--pulse-s is -1.0; it must be positive"),
        (["--energy-sd", "voltage=2"], {}, "--energy-sd 'voltage=2': 2 must lie between 0 and 1"),
        (["--requirement", "need.toml"], {"need.toml": "[life]\nyear = 10\n"},
         "need.toml, line 2, [life] year: year is not known; known: years, temperature_c"),
        (["--requirement", "need.toml"], {"need.toml": '[reference]\nprogramming = "2 V"\n'},
         "the reference programming is in V, but the programming variable (SET compliance current)"
         " is in A"),
        (["--requirement", "need.toml"], {"need.toml": '[reference]\nprogramming = "1 mA"\n'},
         "the reference programming 1 mA is outside the measured 20 uA to 600 uA"),
        (["--energy", "e.csv"], {"e.csv": "pulse_width_s,e_cell_j,e_cell_se_j\n1,1,0\n2,2,0\n"},
         "programming values are in s, but the programming variable of the device"),
        (["--energy", "e.csv"], {"e.csv": "programming,e_cell_j,e_cell_se_j\n100,1,0\n600,2,0\n"},
         "which is 0 % of the range of the device fit (20 uA to 600 uA)"),
        (["--energy", "none", "--pulse-s", "1e-7"], {}, "--energy none says that nothing is known"),
        (["--energy-sd", "volt=0.1"], {}, "names: voltage, reset_current, v_c, inference, pulse"),
        (["--energy-sd", "voltage=x"], {}, "'x' is not a number"),
    ],
)  # fmt: skip
def test_wrong_options_leave_nothing(
    fitted: DeviceStudy,
    tmp_path: Path,
    call: Callable[..., Any],
    options: list[str],
    files: dict[str, str],
    message: str,
) -> None:
    (tmp_path / "device").mkdir()
    save_study(fitted, tmp_path / "device")
    save_counts(fragile_network(25.0, ber=0.0, seed=1), tmp_path / "standard.nc")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = call("decide", "device", "--counts", "standard.nc", "--out", "results.json", *options)
    assert found.returncode == 2, found.stderr
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "results.json").exists()
