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

from devicefit.backend import psis
from devicefit.fitting import DevicePosterior, Diagnostics
from devicefit.models import FAMILIES
from devicefit.models.frame import Frame
from devicefit.preposterior import ln_likelihoods
from devicefit.priors import prior_record
from devicefit.programming import Programming
from devicefit.sensing import SensingOptions, ber_curves
from reliability.accuracy_curve import AccuracyCurve
from reliability.ber_table import ber_table
from reliability.candidates import (
    MeasuredEnergy,
    MoreChips,
    MoreCycles,
    MoreDevices,
    MoreImages,
)
from reliability.chip_yield import chip_yield
from reliability.decision import Requirement
from reliability.designs import Comparison, compare_designs, loss_limits, saving_at_limit
from reliability.device_study import DeviceStudy
from reliability.ecc import SECDED_72_64
from reliability.energy import EnergyOptions, no_energy, programming_energy
from reliability.judge import Judge
from reliability.limit_saving import limits_of, ln_saving, weighted_quantile
from reliability.limit_shares import limit_shares
from reliability.measure_next import measure_next
from reliability.network_study import NetworkStudy, save_counts
from reliability.outlook import MOMENTS, WEIGHTS, MeasureNextOptions
from reliability.planned_readings import planned_readings
from reliability.propagation import pair_draws
from reliability.report.next_table import next_table
from reliability.report_next import next_record
from reliability.safe_walk import NOWHERE, first_safe
from reliability.storage import STORAGES, Storage
from reliability.study_files import save_study
from reliability.usual_candidates import usual_candidates

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


def _curve(seed: int, spread: float, shift: float) -> AccuracyCurve:
    rng = np.random.default_rng(seed)
    lost = 1.2 * LN_KNOTS + 1.0 + shift + spread * rng.standard_normal((DRAWS, 1))
    flat = np.full((DRAWS, len(LN_KNOTS)), -12.0)
    return AccuracyCurve(
        LN_KNOTS, {"lost": lost, "gained": flat}, {"lost": flat, "gained": flat}, 1000, 950, 50, {}
    )


@cache
def _case(device_spread: float = 0.1, curve_spread: float = 0.1) -> tuple[DeviceStudy, Comparison]:
    study = _study(device_spread)
    curves = {
        "standard": _curve(2, curve_spread, 2.5),
        "trained for errors": _curve(3, curve_spread, 0.8),
    }
    rng = np.random.default_rng(4)
    pairing = pair_draws(DRAWS, DRAWS, draws=DRAWS, rng=rng)
    energy = programming_energy(study.main, GRID, pairing.device, options=EnergyOptions(), rng=rng)
    comparison = compare_designs(
        {"lognormal": ber_curves(study.main, GRID, options=SensingOptions())},
        curves,
        pairing,
        energy,
        requirement=Requirement(max_loss=0.05, memory_ber=1e-3),
        sensing=SensingOptions(),
        programming=FRAME.programming,
    )
    return study, comparison


def _judge(reference: str = "standard_bnn", **options: Any) -> Judge:
    study, comparison = _case()
    chosen = MeasureNextOptions(**{"reference": reference, "simulations": 60, **options})
    return Judge(study, comparison, EnergyOptions(), chosen, 1)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return _judge()


def test_tabulated_saving_is_that_of_the_designs() -> None:
    study, c = _case()
    table = ber_table(study.main, c.grid, c.pairing.device, "1T1R", c.sensing)
    place = table.best(np.full((1, DRAWS), 1 / DRAWS))[0]
    one = next(d for d in c.designs if d.scheme == "1T1R" and d.network != "standard")
    for reference in c.references:
        found = ln_saving(limits_of(c, one, reference), (table, place), (table, place))
        expected = saving_at_limit(c, one, reference)
        # Thresholds are interpolated, and the expected BER is flat where they lie.
        np.testing.assert_allclose(found.value, np.log(expected.factor), atol=0.01)
        assert np.std(found.value - np.log(expected.factor)) < 0.003
        bound = expected.at_least | expected.at_most
        assert np.mean(found.is_bound != bound) < 0.005


@pytest.mark.parametrize("storage", STORAGES, ids=lambda s: s.name)
@pytest.mark.parametrize("reference", ["standard_bnn", "memory_with_ecc"])
def test_saving_of_every_storage_is_that_of_the_designs(storage: Storage, reference: str) -> None:
    _, c = _case()
    judge = _judge(reference, stored_as=storage.name, network="trained for errors")
    assert judge.case.design.storage == storage
    expected = saving_at_limit(c, judge.case.design, judge.case.reference)
    np.testing.assert_allclose(judge.case.now, np.log(expected.factor), atol=0.01)
    assert np.std(judge.case.now - np.log(expected.factor)) < 0.003


def test_another_posterior_gives_the_interval_of_a_coded_design() -> None:
    """The same draws, evaluated anew on half of the grid."""
    study, _ = _case()
    for storage in STORAGES[1:3]:
        case = _judge("memory", stored_as=storage.name).case
        width = case.width_of(case.read(study.main, set()))
        # Draws are paired in another order: z = 3 for two times 600 draws.
        assert width == pytest.approx(case.width_now, rel=3 * 0.89 * np.sqrt(2 / DRAWS))


def test_unknown_designs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"known: 1T1R; 1T1R \+ SECDED\(72,64\)"):
        _judge(stored_as="1T1R + HAMMING")
    with pytest.raises(ValueError, match="known: standard; trained for errors"):
        _judge(network="other")


# --- the choice after a measurement ---------------------------------------------------------------


def test_the_choice_now_is_that_of_the_decision(judge: Judge) -> None:
    _, c = _case()
    record = judge.choice.record()
    assert record is not None
    best = c.best
    assert best is not None
    assert record["programming"] == best.safe.lowest
    assert (record["network"], record["scheme"]) == (best.network, best.scheme)
    even = judge.case.even[None]
    same = judge.choice.by_weights(np.repeat(even, 3, axis=0), judge.case.places_of(even)[1])
    assert same.p_changes == 0.0
    assert same.ln_energy_saved == pytest.approx(0.0, abs=1e-9)


def test_lowest_safe_place_is_that_of_a_search_over_the_grid(judge: Judge) -> None:
    """Brute force: P(met) at every grid value, shares of chips from the law, not from a table."""
    _, c = _case()
    choice, rng = judge.choice, np.random.default_rng(8)
    weights = rng.dirichlet(np.full(DRAWS, 0.2), size=4)
    places = np.repeat(judge.case.places_of(judge.case.even[None])[1], 4, axis=0)
    k = next(i for i, d in enumerate(choice.designs) if d.storage.code == SECDED_72_64)
    design = choice.designs[k]
    limit = loss_limits(c.curves, c.requirement)[design.network]
    share = chip_yield(
        c.curves[design.network], c.network_ln_ber(design.storage), c.pairing, limit
    ).share
    p_met = weights @ share
    expected = [np.interp(0.95, p[at - 1 : at + 1], [at - 1, at]) for p in p_met
                for at in [int((p >= 0.95).argmax())]]  # fmt: skip
    start, still = np.full(4, int(expected[0])), np.zeros(4)
    found = choice._walk(k, design, start, weights, places, np.zeros(DRAWS), still)
    # The table of shares and the parabola over thresholds; a grid value is 0.11 in ln of current.
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_first_safe_interpolates_the_first_crossing() -> None:
    p = np.array([[0.1, 0.5, 0.9, 0.4, 1.0], [0.9, 0.1, 0.1, 0.1, 0.1], [0.0, 0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(first_safe(p, 0.7), [1.5, 0.0, NOWHERE])


def test_a_known_device_saves_what_perfect_information_is_worth() -> None:
    """With networks known, weights that keep one draw alone are all there is to know."""
    study, comparison = _case(0.1, 1e-6)
    judge = Judge(study, comparison, EnergyOptions(), MeasureNextOptions(simulations=50), 1)
    rows = np.arange(0, DRAWS, 4)
    weights = np.eye(DRAWS)[rows]
    places = np.repeat(judge.case.places_of(judge.case.even[None])[1], len(rows), axis=0)
    found, perfect = judge.choice.by_weights(weights, places), judge.choice.perfect
    assert found.ln_energy_saved is not None
    assert found.standard_error is not None
    assert perfect.ln_energy_saved is not None
    assert found.ln_energy_saved > 0.05
    error = found.standard_error
    assert found.ln_energy_saved == pytest.approx(perfect.ln_energy_saved, abs=3 * error)


def test_the_new_choice_keeps_the_promise(judge: Judge) -> None:
    """The draw that plays the truth, with no part in the choice, meets it as often as asked."""
    study, c = _case()
    choice, draw, truth = judge.choice, c.pairing.device, np.arange(0, DRAWS, 2)
    readings = planned_readings(MoreDevices(5e-5, 15), study)
    rng = np.random.default_rng(9)
    ln_ratio = ln_likelihoods(study.main, readings, draw, truth, rng=rng)
    ln_ratio = np.where(draw[None] == draw[truth][:, None], -np.inf, ln_ratio)
    weights = np.exp(psis(ln_ratio - ln_ratio.max(axis=1, keepdims=True))[0])
    k, design = 0, choice.designs[0]
    share = choice._shares[k] + choice._offsets[k]
    start = (weights @ share >= choice.needed).argmax(axis=1)
    places = judge.case.places_of(weights)[1]
    still = np.zeros(len(truth))
    at = choice._walk(k, design, start, weights, places, np.zeros(DRAWS), still)
    assert np.std(at) > 0.2
    grid = np.arange(len(c.grid))
    met = [np.interp(a, grid, share[t]) for a, t in zip(at, truth, strict=True)]
    error = np.std(met) / np.sqrt(len(met))
    # z = 3.5; the threshold of the truth is that of now, and 600 draws know P(met) to 0.01.
    assert np.mean(met) == pytest.approx(choice.needed, abs=3.5 * error + 0.01)


def test_more_is_learned_of_the_choice_by_more_devices() -> None:
    study, comparison = _case(0.1, 1e-6)
    judge = Judge(study, comparison, EnergyOptions(), MeasureNextOptions(simulations=200), 1)
    found = [judge.outlook(MoreDevices(5e-5, n)).choice for n in (3, 3000)]
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
    perfect = judge.choice.perfect
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
        energy_options=EnergyOptions(),
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
    of_bits = Judge(study, c, EnergyOptions(), MeasureNextOptions(), 1, bits=bits).choice.record()
    per_bit = _judge().choice.record()
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
        {"lognormal": ber_curves(study.main, GRID, options=far_off)},
        c.curves,
        c.pairing,
        c.energy,
        requirement=c.requirement,
        sensing=far_off,
        programming=c.programming,
        storages=STORAGES[:1],
    )
    assert nowhere.best is None
    found = measure_next(
        study,
        nowhere,
        [MoreDevices(5e-5, 20)],
        energy_options=EnergyOptions(),
        options=MeasureNextOptions(simulations=20),
        seed=1,
    )
    assert found.choice is None
    assert "No programming is safe now" in found.sentence
    choice = found.outlooks[0].choice
    assert choice is not None
    assert choice.ln_energy_saved is None
    json.dumps(found.record(), allow_nan=False)


def test_threshold_is_chosen_anew_for_weighted_draws() -> None:
    study, c = _case()
    table = ber_table(study.main, c.grid, c.pairing.device, "1T1R", c.sensing)
    weights = np.zeros((1, DRAWS))
    weights[0, :40] = 1 / 40
    place = table.best(weights)[0]
    assert table.threshold_ln_r is not None
    steps = np.arange(len(table.threshold_ln_r))
    found = [np.interp(k, steps, t) for k, t in zip(place, table.threshold_ln_r.T, strict=True)]
    few = replace(study.main, draws=study.main.draws.stack(all=("chain", "draw")))
    chosen = few.draws.isel(all=c.pairing.device[:40]).reset_index("all", drop=True)
    alone = replace(
        study.main,
        draws=xr.Dataset({k: (("chain", "draw"), v.values[None]) for k, v in chosen.items()}),
    )
    own = ber_curves(alone, c.grid, options=c.sensing)["1T1R"].threshold_ohm
    assert own is not None
    np.testing.assert_allclose(found, np.log(own), atol=0.02)


def test_weighted_quantile() -> None:
    values = np.array([3.0, 1.0, 2.0, 5.0])
    levels = np.array([0.02, 0.3, 0.75, 0.95])
    # Middles of the sorted weights: 0.05, 0.3, 0.65, 0.9
    found = weighted_quantile(values, np.array([0.3, 0.1, 0.4, 0.2]), levels)
    np.testing.assert_allclose(found, [1.0, 2.0, 3.8, 5.0])
    even = weighted_quantile(values, np.full(4, 0.25), levels)
    np.testing.assert_allclose(even, np.quantile(values, levels, method="hazen"))


@pytest.mark.parametrize("nothing", [MoreDevices(1e-4, 0), MoreCycles(0), MoreChips(0)])
def test_nothing_shrinks_nothing(judge: Judge, nothing: Any) -> None:
    outlook = judge.outlook(nothing)
    assert outlook.shrinkage == 0.0
    assert outlook.standard_error == 0.0


def test_shrinkage_grows_with_devices() -> None:
    # Against memory the device alone decides.
    judge = _judge("memory")
    found = [judge.outlook(MoreDevices(5e-5, n)) for n in (5, 40, 3000)]
    shrinkage = [o.shrinkage for o in found]
    assert found[0].route == WEIGHTS
    assert found[2].route == MOMENTS
    assert shrinkage[0] < shrinkage[1] < shrinkage[2]
    assert shrinkage[0] > -3 * found[0].standard_error
    assert shrinkage[2] > 0.15


def test_both_routes_agree(judge: Judge) -> None:
    candidate = MoreDevices(5e-5, 15)
    weights = judge.outlook(candidate)
    moments = _judge(least_effective=1e6, moments_draws=DRAWS).outlook(candidate)
    assert (weights.route, moments.route) == (WEIGHTS, MOMENTS)
    error = np.hypot(weights.standard_error, moments.standard_error)
    # z = 3, and 0.02 for the normal approximation
    assert weights.shrinkage == pytest.approx(moments.shrinkage, abs=3 * error + 0.02)


def test_chips_shrink_what_chips_leave_open() -> None:
    study, comparison = _case(1e-6, 0.1)
    judge = Judge(study, comparison, EnergyOptions(), MeasureNextOptions(simulations=50), 1)
    shares = limit_shares(judge.case, with_test_set=False)
    # A correlation of 600 pairs has a standard error of 0.04: z = 4.
    assert shares["device"] < 0.16
    assert shares["energy inputs"] < 0.16
    assert shares["chips simulated"] > 0.84
    # Four times the chips: half the width.
    assert judge.outlook(MoreChips(150)).shrinkage == pytest.approx(0.5, abs=0.02)


def test_the_device_is_the_only_source() -> None:
    study, comparison = _case(0.1, 1e-6)
    judge = Judge(study, comparison, EnergyOptions(), MeasureNextOptions(simulations=50), 1)
    assert limit_shares(judge.case, with_test_set=False)["device"] > 0.95
    assert judge.outlook(MoreChips(150)).shrinkage == pytest.approx(0.0, abs=0.01)


def test_images_matter_for_the_population_alone() -> None:
    study, comparison = _case(1e-6, 0.02)
    judge, population = (
        Judge(
            study,
            comparison,
            EnergyOptions(),
            MeasureNextOptions(reference="memory", question=question, simulations=50),
            1,
        )
        for question in ("test-set", "population")
    )
    more = MoreImages(3000)
    assert judge.outlook(more).shrinkage == 0.0
    assert population.case.width_now > 1.5 * judge.case.width_now
    assert limit_shares(population.case, with_test_set=True)["test set"] > 0.5
    many = population.outlook(MoreImages(10**9))
    # A population that is known is a test set that is given.
    assert many.width == pytest.approx(judge.case.width_now, rel=0.03)
    assert 0.05 < population.outlook(more).shrinkage < many.shrinkage


def test_an_energy_that_cancels_teaches_nothing(judge: Judge) -> None:
    """With the current known, voltages and widths are factors of both sides."""
    found = judge.outlook(MeasuredEnergy(1e-4, 0.05))
    assert limit_shares(judge.case, with_test_set=False)["energy inputs"] < 0.16
    assert abs(found.shrinkage) < 0.02


def test_cycles_are_worth_what_the_design_effect_leaves() -> None:
    study, _ = _case()
    found = planned_readings(MoreCycles(2), study)
    assert [r.x for r in found] == pytest.approx([2e-5, 1e-4, 6e-4])
    # LRS: rho = 0.5; four cycles are worth 4 / 2.5, two 2 / 1.5
    assert found[1].n["LRS"] == pytest.approx(100 * (4 / 2.5 - 2 / 1.5))


def test_ranking_is_ordered_says_what_to_do_and_is_plain(judge: Judge) -> None:
    study, comparison = _case()
    chosen = [MoreDevices(5e-5, 0), MoreChips(450), MoreDevices(1e-3, 10)]
    found = measure_next(
        study,
        comparison,
        chosen,
        energy_options=EnergyOptions(),
        options=MeasureNextOptions(simulations=30),
        seed=1,
    )
    shrinkage = [o.shrinkage for o in found.outlooks]
    assert shrinkage == sorted(shrinkage, reverse=True)
    assert found.outlooks[0].words in found.sentence
    assert next(o for o in found.outlooks if o.candidate == chosen[2]).extrapolated
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["candidates"][0]["shrinkage"] == shrinkage[0]
    assert sum(record["shares"].values()) >= 1 - 1e-9
    nothing = measure_next(
        study,
        comparison,
        chosen[:1],
        energy_options=EnergyOptions(),
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
        _judge("dram")
    with pytest.raises(ValueError, match="known: test-set, population"):
        MeasureNextOptions(question="chips")


def test_the_report_shows_a_short_list_or_says_why_not() -> None:
    study, c = _case()
    networks = dict.fromkeys(c.curves, _counts(0.0))
    found = next_record(
        study, c, networks, energy_options=EnergyOptions(), energy_table=None, seed=1
    )
    json.dumps(found, allow_nan=False)
    candidates = found["ranking"]["candidates"]
    assert not any("more_cycles" in one["candidate"] for one in candidates)
    table = next_table({"measure_next": found})
    assert table is not None
    assert [row[0].split(" (")[0] for row in table.rows] == [one["words"] for one in candidates]
    assert table.rows[0][1].startswith(f"{100 * candidates[0]['shrinkage']:.1f} % +- ")
    unknown = replace(c, energy=no_energy(c.grid, DRAWS, c.programming))
    without = next_record(study, unknown, networks, energy_options=None, energy_table=None, seed=1)
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
