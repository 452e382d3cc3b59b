"""Candidates for the next measurement, on a hand-made posterior. Everything here is simulated."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.sampling.diagnostics import psis
from devicefit.sampling.prior import prior_record
from devicefit.simulation.new_readings import ln_likelihoods
from reliability.accuracy.propagation import pair_draws
from reliability.accuracy.surface import AccuracySurface
from reliability.decision.compare import compare_designs
from reliability.decision.comparison import Comparison, Setting
from reliability.decision.requirement import Requirement
from reliability.decision.safe_set import lowest_safe
from reliability.decision.saving import saving_of
from reliability.device.files import save_study
from reliability.device.study import DeviceStudy
from reliability.energy.energy import EnergyOptions, no_energy, programming_energy
from reliability.measure_next.candidates import (
    MeasuredEnergy,
    MoreChips,
    MoreCycles,
    MoreDevices,
    MoreImages,
)
from reliability.measure_next.moved import MovedDraws
from reliability.measure_next.options import MeasureNextOptions
from reliability.measure_next.outlook import MOMENTS, WEIGHTS
from reliability.measure_next.ranking import Ranking, measure_next
from reliability.measure_next.readings import planned_readings
from reliability.measure_next.short import next_record
from reliability.measure_next.usual import usual_candidates
from reliability.networks.study import NetworkStudy, save_counts
from reliability.plans.storage import STORAGES
from reliability.report.tables import next_table
from tests.reliability.made_up import flat_in_tilt

FRAME = Frame(Programming("SET compliance current", "A"), 2e-5, 6e-4)
GRID = FRAME.programming.grid(2e-5, 6e-4, 31)
DRAWS = 600
LN_KNOTS = np.log(np.geomspace(1e-5, 0.5, 10))


def _study(device_spread: float) -> DeviceStudy:
    """Lognormal draws around the middle of the priors, in the given part of their width."""
    rng = np.random.default_rng(1)
    named = {}
    for p in FAMILIES["lognormal"].priors(FRAME):
        values = p.mean + device_spread * p.sd * rng.standard_normal((2, DRAWS // 2))
        named[p.name] = (("chain", "draw"), values)
    record = {
        "devices": 200,
        "design_effect": {"LRS": 1.5, "HRS": 1.2},
        "readings": {"LRS": 400, "HRS": 400},
        "priors": prior_record(FAMILIES["lognormal"].priors(FRAME)),
        "sampler": {"seed": 1},
    }
    posterior = DevicePosterior(
        "lognormal", xr.Dataset(named), FRAME, Diagnostics(1.0, 1e3, 1e3, 0, DRAWS), record
    )
    counts = {
        "programming_low": [2e-5, 1e-4, 6e-4],
        "programming_high": [2e-5, 1e-4, 6e-4],
        "devices": [50, 100, 50],
    }
    data = {"source": "a test", "sha256": "0" * 64, "simulated": True}
    data |= {"devices": 200, "conditions": 4, "readings": {"LRS": 200, "HRS": 200}}
    about: dict[str, Any] = {"data": data, "counts": counts}
    about |= {"gates": [], "quantiles": [], "families": {}, "levels": {}, "checks": {}}
    about |= {"left_out_conditions": [], "measured": []}
    return DeviceStudy({"lognormal": posterior}, {}, {}, GRID, about)


def _curve(seed: int, spread: float, shift: float, by_tilt: float = 0.0) -> AccuracySurface:
    rng = np.random.default_rng(seed)
    lost = 1.2 * LN_KNOTS + 1.0 + shift + spread * rng.standard_normal((DRAWS, 1))
    none, alike = np.full((DRAWS, len(LN_KNOTS)), -12.0), np.zeros((DRAWS, len(LN_KNOTS)))
    shares, spreads = {"lost": lost, "gained": none}, {"lost": alike, "gained": alike}
    flat = flat_in_tilt(LN_KNOTS, shares, spreads, images=1000, correct=950, chips=50)
    if not by_tilt:
        return flat
    # unequal rates are worse: up to three units of the logit where only ones or zeros fail
    tilt = np.array([-1.0, 0.0, 1.0])
    tables = {
        name: {k: t[..., :1] + np.zeros(3) for k, t in getattr(flat, name).items()}
        for name in ("logit_share", "ln_dispersion")
    }
    tables["logit_share"]["lost"] = tables["logit_share"]["lost"] + by_tilt * np.abs(tilt)
    return replace(flat, tilt=tilt, **tables)


@cache
def _case(
    device_spread: float = 0.1, curve_spread: float = 0.1, *, by_tilt: float = 0.0
) -> tuple[DeviceStudy, Comparison]:
    study = _study(device_spread)
    curves = {
        "standard": _curve(2, curve_spread, 2.5, by_tilt),
        "trained for errors": _curve(3, curve_spread, 0.8, by_tilt),
    }
    rng = np.random.default_rng(4)
    pairing = pair_draws(DRAWS, DRAWS, draws=DRAWS, rng=rng)
    # currents that are right but for a common factor: of the saving against memory the device
    # alone decides
    options = EnergyOptions(current_slope_sd=0.0)
    energy = programming_energy(study.main, GRID, pairing.device, options=options, rng=rng)
    ber = ber_curves(study.main, GRID, options=SensingOptions())
    comparison = compare_designs(
        Setting(
            ber={"lognormal": ber},
            curves=curves,
            pairing=pairing,
            energy=energy,
            requirement=Requirement(max_loss=0.05, memory_ber=1e-3),
            sensing=SensingOptions(),
            programming=FRAME.programming,
        )
    )
    return study, comparison


def _ranking(reference: str = "standard_bnn", **options: Any) -> Ranking:
    chosen = MeasureNextOptions(**{"reference": reference, "simulations": 60, **options})
    return Ranking(*_case(), chosen, 1)


@pytest.fixture(scope="module")
def ranking() -> Ranking:
    return _ranking()


def _of(case: tuple[DeviceStudy, Comparison], **options: Any) -> Ranking:
    return Ranking(*case, MeasureNextOptions(**{"simulations": 50, **options}), 1)


@pytest.mark.parametrize("storage", STORAGES, ids=lambda s: s.name)
@pytest.mark.parametrize("reference", ["standard_bnn", "memory_with_ecc"])
def test_the_saving_is_that_of_the_decision(storage: Any, reference: str) -> None:
    _, c = _case()
    found = _ranking(reference, stored_as=storage.name, network="trained for errors")
    assert found.design.storage == storage
    against = next(r for r in c.references if r.key == reference)
    expected = saving_of(c, found.design, against)
    np.testing.assert_array_equal(np.exp(found.ln_saving), expected.factor)
    low, _, high = found.quantiles(found.even)[0]
    ends = np.quantile(np.log(expected.factor), [0.05, 0.95], method="hazen")
    np.testing.assert_allclose([low, high], ends)


@pytest.mark.parametrize("by_tilt", [0.0, 3.0])
def test_draws_that_have_not_moved_answer_as_the_decision_does(by_tilt: float) -> None:
    """Rates, yields and crossings anew at a dozen values, thresholds chosen anew."""
    study, c = _case(by_tilt=by_tilt)
    for key in ("standard_bnn", "memory"):
        design, reference = c.focus, next(r for r in c.references if r.key == key)
        moved = MovedDraws(c, design, reference, c.ranked[:4], None)
        found = moved.answers(study.main)
        expected = np.log(saving_of(c, design, reference).factor)
        # curves go with other draws of the device than in the comparison: z = 4 for their spread
        assert np.mean(found.ln_saving) == pytest.approx(
            expected.mean(), abs=4 * expected.std() / np.sqrt(DRAWS) + 1e-3
        )
        assert np.std(found.ln_saving) == pytest.approx(
            expected.std(), rel=4 * np.sqrt(1 / DRAWS) + 0.02
        )
        places = [lowest_safe(d.p_met[None], 0.95)[0] for d in c.ranked[:4]]
        np.testing.assert_allclose(found.places, places, atol=0.2)


def test_unknown_designs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"known: 1T1R; 1T1R \+ SECDED\(72,64\)"):
        _ranking(stored_as="1T1R + HAMMING")
    with pytest.raises(ValueError, match="known: standard; trained for errors"):
        _ranking(network="other")


# --- the choice after a measurement ---------------------------------------------------------------


def test_the_choice_now_is_that_of_the_decision(ranking: Ranking) -> None:
    _, c = _case()
    record = ranking.choice.record()
    assert record is not None
    best = c.best
    assert best is not None
    assert record["programming"] == best.safe.lowest
    assert (record["network"], record["scheme"]) == (best.network, best.scheme)
    same = ranking.choice.by_weights(np.repeat(ranking.even, 3, axis=0))
    assert same is not None
    assert same.p_changes == 0.0
    assert same.ln_energy_saved == pytest.approx(0.0, abs=1e-9)


def test_weights_of_one_draw_give_the_safe_value_of_that_draw(ranking: Ranking) -> None:
    _, c = _case()
    for design in ranking.choice.designs:
        rows = [0, 5, 99]
        p_met = design.chip_yield.p_met_of(np.eye(DRAWS)[rows])
        np.testing.assert_array_equal(p_met, design.chip_yield.share[rows])
        place = lowest_safe(p_met, 0.95)
        at = np.interp(np.log(design.condition.x[rows]), np.log(c.grid), np.arange(len(c.grid)))
        # both are interpolated in the same cell of the grid, one in the normal score
        np.testing.assert_array_equal(np.ceil(place - 1e-9), np.ceil(at - 1e-9))


def test_a_known_device_saves_what_perfect_information_is_worth() -> None:
    """With networks known, weights that keep one draw alone are all there is to know."""
    ranking = _of(_case(0.1, 1e-6))
    rows = np.arange(0, DRAWS, 4)
    found, perfect = ranking.choice.by_weights(np.eye(DRAWS)[rows]), ranking.choice.perfect
    assert found is not None
    assert found.ln_energy_saved is not None
    assert found.standard_error is not None
    assert perfect.ln_energy_saved is not None
    assert found.ln_energy_saved > 0.05
    error = found.standard_error
    assert found.ln_energy_saved == pytest.approx(perfect.ln_energy_saved, abs=3 * error)


def test_the_new_choice_keeps_the_promise(ranking: Ranking) -> None:
    """The draw that plays the truth, with no part in the choice, meets it as often as asked."""
    study, c = _case()
    draw, truth = c.pairing.device, np.arange(0, DRAWS, 2)
    readings = planned_readings(MoreDevices(5e-5, 15), study)
    rng = np.random.default_rng(9)
    ln_ratio = ln_likelihoods(study.main, readings, draw, truth, rng=rng)
    ln_ratio = np.where(draw[None] == draw[truth][:, None], -np.inf, ln_ratio)
    weights = np.exp(psis(ln_ratio - ln_ratio.max(axis=1, keepdims=True))[0])
    design = ranking.choice.designs[0]
    at = lowest_safe(design.chip_yield.p_met_of(weights), 0.95)
    assert np.std(at) > 0.2
    grid, share = np.arange(len(c.grid)), design.chip_yield.share
    met = [np.interp(a, grid, share[t]) for a, t in zip(at, truth, strict=True)]
    error = np.std(met) / np.sqrt(len(met))
    # z = 3.5, and 600 draws know P(met) to 0.01
    assert np.mean(met) == pytest.approx(0.95, abs=3.5 * error + 0.01)


def test_more_is_learned_of_the_choice_by_more_devices() -> None:
    ranking = _of(_case(0.1, 1e-6), simulations=200)
    found = [ranking.outlook(MoreDevices(5e-5, n)).choice for n in (3, 3000)]
    few, many = found
    assert few is not None
    assert many is not None
    assert few.ln_energy_saved is not None
    assert many.ln_energy_saved is not None
    assert few.standard_error is not None
    assert many.standard_error is not None
    assert few.ln_energy_saved > -3 * few.standard_error
    error = np.hypot(few.standard_error, many.standard_error)
    assert many.ln_energy_saved > few.ln_energy_saved + 2 * error
    perfect = ranking.choice.perfect
    assert perfect.ln_energy_saved is not None
    assert perfect.standard_error is not None
    error = np.hypot(many.standard_error, perfect.standard_error)
    assert many.ln_energy_saved < perfect.ln_energy_saved + 3 * error


def test_no_candidate_that_changes_the_choice_is_said_plainly() -> None:
    study, comparison = _case()
    found = measure_next(
        study,
        comparison,
        [MoreDevices(5e-5, 0), MoreImages(3000), MoreChips(0)],
        options=MeasureNextOptions(simulations=30),
        seed=1,
    )
    assert "No candidate changes the choice (1T1R" in found.sentence
    for outlook in found.outlooks:
        assert outlook.choice is not None
        assert outlook.choice.ln_energy_saved == 0.0


def test_energies_are_those_of_the_whole_network() -> None:
    study, c = _case()
    bits = {name: 1000 for name in c.curves}
    of_bits = Ranking(study, c, MeasureNextOptions(), 1, bits).choice.record()
    per_bit = _ranking().choice.record()
    assert of_bits is not None
    assert per_bit is not None
    assert of_bits["energy_unit"] == "J per programming of the network"
    assert per_bit["energy_unit"] == "J per bit"
    best = c.best
    assert best is not None
    cells = best.storage.cells_for(1000)
    assert of_bits["energy_j"] / per_bit["energy_j"] == pytest.approx(cells / best.cells)


def test_nothing_safe_now_is_told_by_its_probability() -> None:
    study, c = _case()
    far_off = SensingOptions(threshold_ohm=1e3)
    nowhere = compare_designs(
        Setting(
            ber={"lognormal": ber_curves(study.main, GRID, options=far_off)},
            curves=c.curves,
            pairing=c.pairing,
            energy=c.energy,
            requirement=c.requirement,
            sensing=far_off,
            programming=c.programming,
        ),
        STORAGES[:1],
    )
    assert nowhere.best is None
    found = measure_next(
        study,
        nowhere,
        [MoreDevices(5e-5, 20)],
        options=MeasureNextOptions(simulations=20),
        seed=1,
    )
    assert found.choice is None
    assert "No programming is safe now" in found.sentence
    choice = found.outlooks[0].choice
    assert choice is not None
    assert choice.ln_energy_saved is None
    json.dumps(found.record(), allow_nan=False)


@pytest.mark.parametrize("nothing", [MoreDevices(1e-4, 0), MoreCycles(0), MoreChips(0)])
def test_nothing_shrinks_nothing(ranking: Ranking, nothing: Any) -> None:
    outlook = ranking.outlook(nothing)
    assert outlook.shrinkage == 0.0
    assert outlook.standard_error == 0.0


def test_shrinkage_grows_with_devices() -> None:
    # Against memory the device alone decides.
    ranking = _ranking("memory")
    found = [ranking.outlook(MoreDevices(5e-5, n)) for n in (5, 40, 3000)]
    shrinkage = [o.shrinkage for o in found]
    assert found[0].route == WEIGHTS
    assert found[2].route == MOMENTS
    assert shrinkage[0] < shrinkage[1] < shrinkage[2]
    assert shrinkage[0] > -3 * found[0].standard_error
    assert shrinkage[2] > 0.15


def test_both_routes_agree(ranking: Ranking) -> None:
    candidate = MoreDevices(5e-5, 15)
    weights = ranking.outlook(candidate)
    moments = _ranking(least_effective=1e6, moments_draws=DRAWS).outlook(candidate)
    assert (weights.route, moments.route) == (WEIGHTS, MOMENTS)
    error = np.hypot(weights.standard_error, moments.standard_error)
    # z = 3, and 0.02 for the normal approximation
    assert weights.shrinkage == pytest.approx(moments.shrinkage, abs=3 * error + 0.02)


def test_chips_shrink_what_chips_leave_open() -> None:
    ranking = _of(_case(1e-6, 0.1), simulations=200)
    shares = ranking.shares()
    # A share of 2,000 pairs has a standard error of about 0.02: z = 4.
    assert shares["device"] < 0.08
    assert shares["energy inputs"] < 0.08
    assert shares["curve"] > 0.9
    # Twice the chips, so that many draws keep weight: the width falls by the root of two.
    found = ranking.outlook(MoreChips(50))
    assert found.route == WEIGHTS
    expected = 1 - np.sqrt(0.5)
    assert found.shrinkage == pytest.approx(expected, abs=3 * found.standard_error + 0.02)


def test_the_device_is_the_only_source() -> None:
    # against the standard network the device cancels
    ranking = _of(_case(0.1, 1e-6), reference="memory")
    assert ranking.shares()["device"] > 0.95
    assert ranking.outlook(MoreChips(150)).shrinkage == pytest.approx(0.0, abs=0.01)


def test_images_matter_for_the_population_alone() -> None:
    given, population = (
        _of(_case(1e-6, 0.02), reference="memory", question=question, simulations=200)
        for question in ("test-set", "population")
    )
    more = MoreImages(1000)
    assert given.outlook(more).shrinkage == 0.0
    assert population.width_now > 1.5 * given.width_now
    share = population.shares()["test set"]
    assert share > 0.5
    # Twice the images: half of the variance that they make.
    expected = 1 - np.sqrt(1 - share / 2)
    found = population.outlook(more)
    assert found.shrinkage == pytest.approx(expected, abs=3 * found.standard_error + 0.03)
    assert found.choice is not None
    assert found.choice.p_changes == 0.0


def test_an_energy_that_cancels_teaches_nothing(ranking: Ranking) -> None:
    """With the current known, voltages and widths are factors of both sides."""
    found = ranking.outlook(MeasuredEnergy(1e-4, 0.05))
    assert ranking.shares()["energy inputs"] < 0.08
    assert abs(found.shrinkage) < 0.02


def test_what_is_more_precise_than_the_draws_is_not_estimated(ranking: Ranking) -> None:
    found = ranking.outlook(MoreChips(10**6))
    assert (found.shrinkage, found.choice) == (0.0, None)
    assert found.note.startswith("not estimated")


def test_cycles_are_worth_what_the_design_effect_leaves() -> None:
    study, _ = _case()
    found = planned_readings(MoreCycles(2), study)
    assert [r.x for r in found] == pytest.approx([2e-5, 1e-4, 6e-4])
    # LRS: rho = 0.5; four cycles are worth 4 / 2.5, two 2 / 1.5
    assert found[1].n["LRS"] == pytest.approx(100 * (4 / 2.5 - 2 / 1.5))


def test_ranking_is_ordered_says_what_to_do_and_is_plain() -> None:
    study, comparison = _case()
    chosen = [MoreDevices(5e-5, 0), MoreChips(450), MoreDevices(1e-3, 10)]
    found = measure_next(
        study,
        comparison,
        chosen,
        options=MeasureNextOptions(simulations=30),
        seed=1,
    )
    shrinkage = [o.shrinkage for o in found.outlooks]
    assert shrinkage == sorted(shrinkage, reverse=True)
    assert found.outlooks[0].words in found.first
    assert found.sentence.startswith(found.first)
    assert next(o for o in found.outlooks if o.candidate == chosen[2]).extrapolated
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["candidates"][0]["shrinkage"] == shrinkage[0]
    assert sum(record["shares"].values()) >= 1 - 1e-9
    nothing = measure_next(
        study,
        comparison,
        chosen[:1],
        options=MeasureNextOptions(simulations=30),
        seed=1,
    )
    assert nothing.sentence.startswith("None of these candidates")


def test_default_list_covers_every_kind() -> None:
    study, comparison = _case()
    found = usual_candidates(comparison, study, comparison.focus)
    assert {type(c) for c in found} == {
        MoreDevices,
        MoreCycles,
        MoreChips,
        MoreImages,
        MeasuredEnergy,
    }
    places = [c.programming for c in found if isinstance(c, MoreDevices)]
    assert min(places) < 2e-5
    assert max(places) > 6e-4
    assert {c.devices for c in found if isinstance(c, MoreDevices)} == {50, 500}


def test_unknown_reference_and_question_are_refused() -> None:
    with pytest.raises(ValueError, match="known: standard_bnn, memory"):
        _ranking("dram")
    with pytest.raises(ValueError, match="known: test-set, population"):
        MeasureNextOptions(question="chips")


def test_the_report_shows_a_short_list_or_says_why_not() -> None:
    study, c = _case()
    networks = dict.fromkeys(c.curves, _counts(0.0))
    found = next_record(study, c, networks, seed=1)
    json.dumps(found, allow_nan=False)
    candidates = found["ranking"]["candidates"]
    assert not any("more_cycles" in one["candidate"] for one in candidates)
    table = next_table({"measure_next": found})
    assert table is not None
    assert [row[0].split(" (")[0] for row in table.rows] == [one["words"] for one in candidates]
    assert table.rows[0][1].startswith(f"{100 * candidates[0]['shrinkage']:.1f} % +- ")
    unknown = replace(c, energy=no_energy(c.grid, DRAWS, c.programming))
    without = next_record(study, unknown, networks, seed=1)
    assert without["ranking"] is None
    assert "no energy is known" in without["why_not"]
    assert next_table({"measure_next": without}) is None
    assert next_table({}) is None


# --- command --------------------------------------------------------------------------------------


def _counts(ln_shift: float) -> NetworkStudy:
    rng = np.random.default_rng(5)
    ber = np.array([1e-4, 1e-3, 1e-2, 0.1, 0.5])
    share = 1 / (1 + np.exp(-(1.2 * np.log(ber) + 1.0 + ln_shift)))
    lost = rng.binomial(950, np.repeat(share[:, None], 20, axis=1))
    gained = np.zeros_like(lost)
    counts = xr.Dataset(
        {
            "lost": (("ber", "chip"), lost),
            "gained": (("ber", "chip"), gained),
            "correct": (("ber", "chip"), 950 - lost),
            "changed": (("ber", "chip"), lost),
            "flips": (("ber", "chip"), np.zeros_like(lost)),
        },
        coords={"ber": ber},
        attrs={
            "images": 1000,
            "error_free_correct": 950,
            "weights": 1000,
            "seed": 1,
            "images_sha256": "0" * 64,
            "network_sha256": "1" * 64,
        },
    )
    return NetworkStudy(counts, {"training": {"ber": 0.0 if ln_shift == 0 else 0.04}})


@pytest.fixture
def stored(tmp_path: Path) -> list[str]:
    (tmp_path / "device").mkdir()
    save_study(_study(0.1), tmp_path / "device")
    save_counts(_counts(0.0), tmp_path / "a.nc")
    save_counts(_counts(-3.0), tmp_path / "b.nc")
    return ["measure-next", "device", "--counts", "a.nc", "--counts", "b.nc", "--out", "n.json"]


def test_the_command_ranks_and_writes(
    stored: list[str], tmp_path: Path, call: Callable[..., Any]
) -> None:
    (tmp_path / "c.toml").write_text("[[candidate]]\nchips = 60\n")
    found = call(
        *stored, "--candidate", "programming=50uA:devices=20", "--candidates", "c.toml",
        "--csv", "n.csv", "--max-loss", "0.05", "--simulations", "20", "--quiet",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("SIMULATED DEVICE")
    written = json.loads((tmp_path / "n.json").read_text())
    assert len(written["candidates"]) == 2
    assert {"more simulated chips", "more devices"} == {
        " ".join(c["words"].split()[1:4]) if "chips" in c["words"]
        else " ".join(c["words"].split()[1:3])
        for c in written["candidates"]
    }  # fmt: skip
    lines = (tmp_path / "n.csv").read_text().splitlines()
    assert lines[0].startswith("rank,programming,devices")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--candidate", "current=1e-4:devices=5"], "current not known; known: programming"),
        (["--candidate", "programming=1e-4"], "is no candidate; give programming=VALUE"),
        (["--candidate", "devices"], "not of the form KEY=VALUE"),
        (["--candidate", "chips=1:chips=2"], "given twice"),
        (["--candidate", "programming=1V:devices=5"], "is in A"),
        (["--candidate", "programming=1e-4:devices=-5"], "must be at least 0"),
        (["--candidate", "programming=1e-4:devices=2.5"], "whole number"),
        (["--candidate", "programming=0:devices=5"], "must be positive"),
        (["--candidate", "programming=1e-4:energy_se=0"], "relative standard error"),
        (["--candidates", "missing.toml"], "missing.toml: no such file"),
        (["--candidates", "bad.toml"], "candidate 1: device not known"),
        (["--candidates", "bad.csv"], "line 3: chips is 'many'"),
        (["--candidates", "a.nc"], "in a .toml or a .csv file"),
        (["--reference", "dram"], "known: standard_bnn, memory, memory_with_ecc"),
        (["--stored-as", "1T1R + HAMMING"], "known: 1T1R; 1T1R + SECDED(72,64)"),
        (["--network", "other"], "known: standard; "),
        (["--question", "chips"], "known: test-set, population"),
        (["--csv", "n.txt"], "must end in .csv"),
    ],
)
def test_wrong_use_is_refused(
    arguments: list[str], said: str, stored: list[str], tmp_path: Path, call: Callable[..., Any]
) -> None:
    (tmp_path / "bad.toml").write_text("[[candidate]]\ndevice = 5\n")
    (tmp_path / "bad.csv").write_text("chips,images\n5,\nmany,\n")
    found = call(*stored, *arguments)
    assert found.returncode == 2, found.stdout + found.stderr
    assert said in found.stderr
    assert not (tmp_path / "n.json").exists()
