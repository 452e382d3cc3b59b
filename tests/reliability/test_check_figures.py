"""Figures of the device's checks, and the plain values behind them."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from devicefit.compression.compression import compress
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.prediction.counted_errors import count_errors
from devicefit.prediction.predicted_failures import predicted_failures
from devicefit.simulation.reference_device import (
    ReferenceDevice,
    ReferencePlan,
    reference_measurements,
)
from reliability.device.figures_data import (
    MAIN,
    device_checks_record,
    failures_record,
    forest_record,
)
from reliability.report import render_report
from reliability.report.figures.checks import failures_figure, forest_figure, stacking_figure
from reliability.report.figures.words import plain
from reliability.report.render import leading_family
from reliability.results.results import Results

CURRENT = Programming("SET compliance current", "A")
GATE = Programming("SET gate voltage", "V")
EXAMPLE = Path(__file__).parent / "data" / "results_example.json"
STUDY = {
    "switching-failure": {
        "weight": 0.83,
        "elpd_difference": {"to": "switching-failure", "value": 0.0, "se": 0.0},
    },
    "student-t": {
        "weight": 0.17,
        "elpd_difference": {"to": "switching-failure", "value": -31.0, "se": 4.0},
    },
    "lognormal": {"failed": "RuntimeError: no start has a density"},
}


def posterior(family: str, frame: Frame, **near: float) -> DevicePosterior:
    """Draws around the prior means, or around values `near` them, of two chains."""
    rng = np.random.default_rng(len(family))
    draws = {}
    for p in FAMILIES[family].priors(frame):
        shape = (2, 300, p.size) if p.size else (2, 300)
        values = near.get(p.name, p.mean) + 0.02 * p.sd * rng.normal(size=shape)
        draws[p.name] = (("chain", "draw", f"{p.name}_term")[: values.ndim], values)
    return DevicePosterior(
        family, xr.Dataset(draws), frame, Diagnostics(1.0, 600, 600, 0, 600), {"devices": 400}
    )


@pytest.fixture(scope="module")
def simulated() -> dict[str, Any]:
    """Counted errors of simulated readings, and a posterior close to what they came from."""
    plan = ReferencePlan(currents=4, devices_per_current=100, cycles=3)
    device = ReferenceDevice(
        set_current_a=1e-9, set_width=0.01, set_floor=1e-200, reset_floor=1e-200, incomplete=1e-200
    )
    measurements = reference_measurements(seed=3, device=device, plan=plan)
    near = {"ln_v_c": np.log(0.5), "ln_r_series": np.log(1e3), "ln_r_hrs": np.log(1.1e5)}
    near |= {"ln_sd_hrs": np.log(0.5), "ln_sd_floor": np.log(0.04), "exponent": 1.0}
    main = posterior("lognormal", Frame(CURRENT, 2e-5, 6e-4), **near)
    grid = CURRENT.grid(2e-5, 6e-4, 9)
    curve = ber_curves(main, grid, options=SensingOptions(threshold_ohm=2.2e4))["1T1R"]
    return {
        "posterior": main,
        "compressed": compress(measurements),
        "counts": count_errors(measurements, curve),
        "curve": curve,
    }


# --- records --------------------------------------------------------------------------------------


def test_forest_is_in_the_units_of_an_engineer() -> None:
    frame = Frame(GATE, 1.0, 3.0)
    families = {f: posterior(f, frame, onset=0.25) for f in ("student-t", "switching-failure")}
    found = {p["name"]: p for p in forest_record(families)["parameters"]}
    onset = found["onset"]
    assert (onset["unit"], onset["logarithmic"]) == ("V", False)
    # a quarter of the way from 1 to 3 V
    assert onset["families"]["student-t"]["median"] == pytest.approx(1.5, abs=0.01)
    for family, p in families.items():
        draws = np.exp(p.draws["ln_r_hrs"].values)
        shown = found["ln_r_hrs"]["families"][family]
        np.testing.assert_allclose(
            [shown["low"], shown["median"], shown["high"]], np.quantile(draws, [0.05, 0.5, 0.95])
        )
    assert set(found["ln_dof_lrs"]["families"]) == {"student-t"}
    dof = families["student-t"].mixtures(np.array([2.0]))["LRS"].dof
    assert found["ln_dof_lrs"]["families"]["student-t"]["median"] == pytest.approx(np.median(dof))
    assert set(found["log10_set_floor"]["families"]) == {"switching-failure"}
    odds = found["log10_set_floor"]["families"]["switching-failure"]["median"]
    ten_to = families["switching-failure"].draws["log10_set_floor"].values
    assert odds == pytest.approx(10 ** np.median(ten_to), rel=1e-6)
    # nothing of a compliance current or a single condition
    assert {"ln_v_c", "ln_r_lrs"}.isdisjoint(found)


def test_a_pulse_width_is_placed_in_its_logarithm() -> None:
    width = Programming("pulse width", "s")
    found = forest_record(
        {"lognormal": posterior("lognormal", Frame(width, 1e-7, 1e-5), onset=0.5)}
    )
    (onset,) = [p for p in found["parameters"] if p["name"] == "onset"]
    assert (onset["unit"], onset["logarithmic"]) == ("s", True)
    assert onset["families"]["lognormal"]["median"] == pytest.approx(1e-6, rel=0.02)


def test_every_shown_parameter_is_one_of_a_family() -> None:
    frames = (Frame(CURRENT, 1e-5, 1e-4), Frame(GATE, 1.0, 2.0), Frame(ONE_CONDITION, 1.0, 1.0))
    known = {p.name for f in FAMILIES.values() for frame in frames for p in f.priors(frame)}
    assert set(MAIN) <= known


def test_predicted_failures_are_binomial_over_the_draws(simulated: dict[str, Any]) -> None:
    record = failures_record(predicted_failures(**simulated, rng=np.random.default_rng(1)))
    main, compressed, counts = (simulated[k] for k in ("posterior", "compressed", "counts"))
    assert (record["kind"], record["probability"]) == ("ETI", 0.95)
    assert len(record["cells"]) == 2 * 4
    for cell in record["cells"]:
        state = cell["state"]
        x = np.array([cell["programming_low"]])
        assert cell["programming_high"] == x[0]
        g = int(np.flatnonzero(counts.programming_low == x[0])[0])
        assert (cell["errors"], cell["trials"]) == (counts.errors[state][g], 300)
        law = main.mixtures(x)[state]
        above = stats.norm.sf(np.log(2.2e4), law.location[0], law.scale[0]).ravel()
        p = above if state == "LRS" else 1 - above
        effect = compressed.states[state].design_effect
        n = max(1, round(300 / effect))
        each = 300 / n
        # the exact law of the mixture over draws; 600 draws leave a quantile within 2 % of level
        levels = stats.binom.cdf(np.arange(n + 1)[:, None], n, p).mean(axis=1)
        for end, tail, slack in (("low", 0.025, 1 - each), ("high", 0.975, each - 1)):
            from_to = [np.searchsorted(levels, tail + d) * each + slack for d in (-0.02, 0.02)]
            least, most = np.clip(from_to, 0, 300)
            assert least - 1e-9 <= cell["predicted"][end] <= most + 1e-9
        inside = cell["predicted"]["low"] <= cell["errors"] <= cell["predicted"]["high"]
        assert cell["inside"] is inside


def test_control_another_device_is_outside(simulated: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    good = failures_record(predicted_failures(**simulated, rng=rng))["cells"]
    other = posterior("lognormal", simulated["posterior"].frame, ln_r_hrs=np.log(5e4))
    moved = simulated | {"posterior": other}
    bad = failures_record(predicted_failures(**moved, rng=rng))["cells"]
    assert sum(c["inside"] for c in good) >= 7
    assert sum(c["inside"] for c in bad) <= 5


def test_records_are_plain(simulated: dict[str, Any]) -> None:
    cells = predicted_failures(**simulated, rng=np.random.default_rng(2))
    record = device_checks_record({"lognormal": simulated["posterior"]}, cells)
    assert set(record) == {"forest", "failures"}
    assert json.loads(json.dumps(record)) == record


# --- figures --------------------------------------------------------------------------------------


def words(svg: str) -> str:
    return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))


def failures_of(programming: Programming, ends: list[tuple[float, float]]) -> dict[str, Any]:
    cells = [
        {
            "programming_low": low,
            "programming_high": high,
            "state": state,
            "devices": 200,
            "trials": 1000,
            "errors": errors,
            "predicted": {"low": 0.0, "median": 2.0, "high": 5.0},
            "inside": errors <= 5,
        }
        for low, high in ends
        for state, errors in (("LRS", 0), ("HRS", 2000))
    ]
    return {"kind": "ETI", "probability": 0.95, "cells": cells}


def test_forest_has_a_panel_for_each_parameter_and_says_what_is_missing() -> None:
    frame = Frame(GATE, 1.0, 3.0)
    record = forest_record({f: posterior(f, frame) for f in FAMILIES})
    svg = forest_figure(record)
    text = words(svg)
    assert svg == forest_figure(record)
    assert all(p["label"] in text for p in record["parameters"])
    assert "SET onset (V)" in text
    assert "HRS median (kohm)" in text
    assert "median, 90 % ETI" in text
    absent = sum(len(FAMILIES) - len(p["families"]) for p in record["parameters"])
    assert text.count("not in this family") == absent > 0


@pytest.mark.parametrize(
    ("programming", "ends"),
    [(GATE, [(1.0, 1.4), (1.5, 1.9), (2.0, 3.0)]), (CURRENT, [(2e-5, 2e-5), (6e-4, 6e-4)])]
    + [(ONE_CONDITION, [(1.0, 1.0)])],
)
def test_failures_have_a_bar_for_each_cell(
    programming: Programming, ends: list[tuple[float, float]]
) -> None:
    svg = failures_figure(failures_of(programming, ends), programming)
    for state in ("lrs", "hrs"):
        assert len(set(re.findall(f'id="mark-cell-{state}-\\d+"', svg))) == len(ends)
    n = len(ends)
    text = words(svg)
    assert f"LRS: {n} of {n} inside" in text
    assert f"HRS: 0 of {n} inside" in text
    assert "predicted, 95 % ETI" in text
    assert programming.name in text
    assert "(1)" not in text


def test_stacking_names_the_best_and_the_failed() -> None:
    svg = stacking_figure(STUDY)
    text = words(svg)
    assert "less that of switching-failure" in text
    assert "could not be fitted" in text
    assert "0.83" in text
    assert "stacking weight" in text
    assert len(re.findall(r'id="mark-elpd-\d+"', svg)) == 2
    alone = {f: found | {"weight": None} for f, found in STUDY.items()}
    assert "stacking weight" not in words(stacking_figure(alone))


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture
def values(simulated: dict[str, Any]) -> dict[str, Any]:
    found = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    del found["format"]
    cells = predicted_failures(**simulated, rng=np.random.default_rng(2))
    record = device_checks_record({"lognormal": simulated["posterior"]}, cells)
    found["device"]["checks"] = record | {"families": STUDY}
    return found


def captions(html: str) -> list[str]:
    return re.findall(r"<figcaption><b>(Figure \d+\. [^<]*)</b>", html)


def test_the_page_numbers_its_figures(values: dict[str, Any]) -> None:
    found = captions(render_report(Results(values)))
    numbers = [int(re.findall(r"\d+", c)[0]) for c in found]
    assert numbers == list(range(1, len(found) + 1))
    without = copy.deepcopy(values)
    del without["device"]["checks"]
    assert len(captions(render_report(Results(without)))) == len(found) - 3


def test_checks_that_have_nothing_to_show_are_left_out(values: dict[str, Any]) -> None:
    whole = len(captions(render_report(Results(values))))
    values["device"]["checks"]["failures"]["cells"] = []
    values["device"]["checks"]["families"] = {"lognormal": {"weight": None}}
    assert len(captions(render_report(Results(values)))) == whole - 2


def test_a_stack_is_shown_by_its_leading_family(values: dict[str, Any]) -> None:
    device = values["device"]
    assert leading_family(device) == "switching-failure"
    device["family"] = values["ber"]["family"] = "stacked"
    weights = device["checks"]["families"] = copy.deepcopy(STUDY)
    assert leading_family(device) == "switching-failure"
    weights["lognormal"] = STUDY["student-t"] | {"weight": 0.9}
    assert leading_family(device) == "lognormal"
    html = render_report(Results(values))
    assert "switching-failure, lognormal together" in re.sub(r"\s+", " ", html)


def test_vectors_of_parameters_have_one_row(values: dict[str, Any]) -> None:
    family = values["device"]["families"]["switching-failure"]["parameters"]
    record = copy.deepcopy(next(iter(family.values())))
    record["prior"] |= {"name": "bend", "meaning": "smooth bend", "mean": 0.0, "sd": 1.0, "size": 3}
    record["posterior"] |= {
        "low": [-1.0, -0.5, 0.25],
        "median": [-0.5, 0.0, 0.75],
        "high": [0.0, 0.5, 1.5],
    }
    family["bend"] = record
    html = render_report(Results(values))
    assert f"3 values, medians {plain(-0.5)} to 0.75" in re.sub(r"\s+", " ", html)
    assert html.count("smooth bend") == 2
