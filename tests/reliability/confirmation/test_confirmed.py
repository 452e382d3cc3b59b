"""Designs held against chips: the digits networks of the zoo on a simulated device."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bnn import calibration_reference, evaluate, load_images, load_zoo
from bnn.networks.network import network_sha256
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.cells import cell_reader
from devicefit.fitting.error_rates import array_curves
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.prediction.condition_readings import ConditionReadings
from reliability.chips.lots import LotSizes
from reliability.chips.rates import chip_rates
from reliability.confirmation.aged import Ageing
from reliability.confirmation.confirmables import confirmables, networks_in
from reliability.confirmation.confirmed import confirm_designs, confirm_each, values_to_try
from reliability.confirmation.confirming import Confirmable, Confirming
from reliability.confirmation.words import (
    confirmation_line,
    confirmation_record,
    readings_gates,
    readings_line,
    refused_lines,
)
from reliability.decision.compare import compare
from reliability.decision.comparison import Comparison
from reliability.decision.options import DecisionOptions
from reliability.decision.requirement import Requirement
from reliability.decision.safe_set import safe_set
from reliability.decision.second_variable import leading
from reliability.device.study import DeviceStudy
from reliability.energy.energy import EnergyOptions
from reliability.life.required import LifeFactor
from reliability.networks.study import BER_GRID, NetworkStudy
from reliability.networks.treatments import reference_from
from reliability.plans.storage import PLAIN, storages_for
from reliability.statements.life import compare_over_life
from reliability.statements.loss import stated_loss

REQUIREMENT = Requirement(max_loss=0.02, risk=0.1)
GRID = np.geomspace(2e-5, 4e-4, 61)


@pytest.fixture(scope="module")
def study() -> DeviceStudy:
    """LRS and HRS that part as the current rises; draws differ in the HRS."""
    frame = Frame(Programming("SET compliance current", "A"), GRID[0], GRID[-1])
    values = {p.name: np.full((2, 50), p.mean) for p in FAMILIES["lognormal"].priors(frame)}
    values["ln_sd_filament"] = np.full((2, 50), np.log(0.25))
    values["ln_r_hrs"] = np.log(6e4) + 0.05 * np.linspace(-1, 1, 100).reshape(2, 50)
    values["ln_sd_hrs"] = np.full((2, 50), np.log(0.7))
    draws = xr.Dataset({k: (("chain", "draw"), v) for k, v in values.items()})
    record = {"devices": 500, "design_effect": {"LRS": 1.0, "HRS": 1.0}, "sampler": {"seed": 1}}
    posterior = DevicePosterior(
        "lognormal", draws, frame, Diagnostics(1.0, 1e3, 1e3, 0, 100), record
    )
    return DeviceStudy({"lognormal": posterior}, {}, {}, GRID, {})


@pytest.fixture(scope="module")
def counted() -> NetworkStudy:
    network, record = load_zoo("digits-standard")
    images = load_images("digits")
    counts = evaluate(
        network, images.test_images, images.test_labels, ber=BER_GRID, chips=30, seed=1, threads=1
    )
    return NetworkStudy(counts, record)


@pytest.fixture(scope="module")
def confirming(study: DeviceStudy) -> Confirming:
    network, _ = load_zoo("digits-standard")
    subject = Confirmable(network, load_images("digits"), "fixed")
    return Confirming({"standard": subject}, study.main, threads=1)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reliability.decision.compare.PAIRED_DRAWS", 400)
    monkeypatch.setattr(Confirming, "sizes", lambda self, subject, turn=0: LotSizes(300, 400))


def compared(study: DeviceStudy, counted: NetworkStudy) -> Comparison:
    return compare(
        study,
        {"standard": counted},
        DecisionOptions(
            requirement=REQUIREMENT,
            sensing=SensingOptions(),
            energy=EnergyOptions(),
            seed=1,
            storages=storages_for("always"),
        ),
    )


def confirmed(study: DeviceStudy, counted: NetworkStudy, confirming: Confirming) -> Comparison:
    found = compared(study, counted)
    return confirm_designs(found, confirming, lambda text: None)


def test_the_best_design_is_confirmed_near_what_the_curve_promised(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming
) -> None:
    promised = compared(study, counted).best
    assert promised is not None
    assert promised.judged_by == "curve"
    found = confirmed(study, counted, confirming)
    best = found.best
    assert best is not None
    assert best.confirmation is not None
    assert best.confirmation.fresh is not None
    assert best.judged_by == "chips"
    x, share = best.stated(GRID)
    assert (x, share) == (best.safe.lowest, best.confirmation.fresh.share)
    assert 0.85 < x / promised.safe.lowest < 1.3
    # what was promised for that value is what fresh chips do, within three standard errors
    p = float(best.p_met[np.argmin(np.abs(GRID - x))])
    assert abs(share - p) < max(0.02, 3 * np.sqrt(p * (1 - p) / 400)) + 0.02
    assert "Confirmed by chips" in confirmation_line(best, "")
    assert confirmation_record(found)[0]["fresh"]["chips"] == 400
    # the same seed, the same chips
    again = confirmed(study, counted, confirming)
    assert confirmation_record(again) == confirmation_record(found)


def test_chips_at_the_end_of_life_are_aged(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming
) -> None:
    """Half a standard deviation of margin lost: curves and chips move alike."""
    row = np.full((100, 1), 0.5)
    factor = LifeFactor(row, 0 * row, row, (), np.zeros(1, dtype=bool))
    promised = compare_over_life(compared(study, counted), factor, seed=1)
    young = confirmed(study, counted, confirming).best
    ageing = replace(confirming, ageing=Ageing(factor, GRID, 1))
    old = confirm_designs(promised, ageing, lambda text: None).best
    assert young is not None
    assert promised.best is not None
    assert old is not None
    assert old.confirmation is not None
    assert old.confirmation.fresh is not None
    assert old.safe.lowest > 1.05 * young.safe.lowest
    assert 0.85 < old.safe.lowest / promised.best.safe.lowest < 1.3
    p = float(promised.best.p_met[np.argmin(np.abs(GRID - old.safe.lowest))])
    assert abs(old.confirmation.fresh.share - p) < 0.04 + 3 * np.sqrt(p * (1 - p) / 400)


def test_chips_win_against_a_curve_that_is_wrong(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming
) -> None:
    # the counts of a network that tolerates a hundred times as many errors
    wrong = counted.counts.assign_coords(ber=np.minimum(0.5, 100 * counted.counts["ber"]))
    wrong = wrong.isel(ber=np.flatnonzero(np.diff(wrong["ber"].values, prepend=0) > 0))
    liar = NetworkStudy(wrong.assign_attrs(counted.counts.attrs), counted.record)
    promised = compared(study, liar).best
    honest = confirmed(study, counted, confirming).best
    found = confirmed(study, liar, confirming)
    assert promised is not None
    assert honest is not None
    assert promised.safe.lowest < 0.7 * honest.safe.lowest
    best = found.best
    if best is not None:
        assert best.safe.lowest > promised.safe.lowest
        assert best.confirmation is not None
        assert best.confirmation.fresh is not None
        assert best.confirmation.fresh.share > 1 - REQUIREMENT.risk - 0.05


def test_a_design_that_no_chips_vouch_for_is_not_recommended(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        "reliability.confirmation.confirmed.DesignChips.losses",
        lambda self, x, chips, seed, first: np.full(chips, 0.5),
    )
    found = confirmed(study, counted, confirming)
    assert found.best is None
    refused = refused_lines(found)
    assert len(refused) == sum(d.safe.intervals == () for d in found.designs)
    assert "often enough at no measured SET compliance current" in refused[0]
    assert found.designs[0].stated(GRID)[1] == 0.0


def test_runs_of_stronger_programming_are_tried_where_the_first_is_refused(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming, monkeypatch: Any
) -> None:
    """On a measured sweep the weakest run of a piecewise safe set was the curve's mistake."""
    found = compared(study, counted)
    best = found.best
    assert best is not None
    middle = int(np.argmin(np.abs(GRID - best.safe.intervals[0][0]))) + 8
    runs = ((best.safe.intervals[0][0], GRID[middle - 4]), (GRID[middle], GRID[-1]))
    pieces = replace(best, safe=replace(best.safe, intervals=runs))
    found = replace(found, designs=(pieces,))
    monkeypatch.setattr(
        "reliability.confirmation.confirmed.DesignChips.losses",
        lambda self, x, chips, seed, first: np.full(chips, 0.0 if x > GRID[middle + 1] else 0.5),
    )
    (done,) = confirm_designs(found, confirming, lambda text: None).designs
    assert done.safe.lowest is not None
    assert done.safe.lowest > GRID[middle + 1]
    assert done.safe.intervals == ((done.safe.lowest, GRID[-1]),)
    assert done.confirmation is not None
    assert min(lot.programming for lot in done.confirmation.tried) < GRID[middle - 3]


def test_designs_of_other_networks_stay_unconfirmed(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming
) -> None:
    found = confirmed(study, counted, replace(confirming, networks={}))
    assert found.best is not None
    assert found.best.confirmation is None
    line = confirmation_line(found.best, "the network is gone")
    assert line.startswith("Not confirmed by chips (the network is gone)")


def test_values_reach_below_the_promise_and_stay_in_its_run() -> None:
    x = np.arange(1.0, 101.0)
    p = np.clip((x - 20) / 40, 0, 1) * (x < 80)
    safe = safe_set(x, p, Requirement(risk=0.05), Programming("gate voltage", "V"))
    values = values_to_try(x, p, safe)
    assert values == sorted(values, reverse=True)
    assert safe.lowest == 58
    assert 58 in values
    # 0.5 is reached at 40; the run ends at 79
    assert min(values) == 40
    assert max(values) == 79
    assert len(values) == 40


@pytest.mark.parametrize(
    ("options", "words"),
    [({"budget_s": 0.0}, "budget_s is 0.0"), ({"arrays_per_chip": 0}, "arrays_per_chip is 0")],
)
def test_impossible_options_are_refused(
    confirming: Confirming, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        replace(confirming, **options)


def test_networks_and_images_are_found_by_their_hashes(
    counted: NetworkStudy, tmp_path: Path
) -> None:
    (tmp_path / "no-network.safetensors").write_bytes(b"x")
    find = networks_in([tmp_path])
    found, missing = confirmables({"standard": counted}, find, load_images, threads=1)
    assert missing == ""
    assert network_sha256(found["standard"].network) == counted.counts.attrs["network_sha256"]
    none, missing = confirmables({"standard": counted}, lambda sha: None, load_images, threads=1)
    assert none == {}
    assert "the network 'standard' is in none of the folders" in missing
    counts = counted.counts.assign_attrs(images_sha256="0" * 64)
    _, missing = confirmables(
        {"standard": NetworkStudy(counts, counted.record)}, find, load_images, threads=1
    )
    assert "others than those that 'standard' was counted on" in missing

    def no_images(name: str) -> Any:
        raise ValueError(f"no images {name}")

    _, missing = confirmables({"standard": counted}, find, no_images, threads=1)
    assert missing == "no images digits"


def test_calibration_images_are_checked_at_once_and_run_at_first_use(
    counted: NetworkStudy, monkeypatch: Any
) -> None:
    images = load_images("digits")
    network, _ = load_zoo("digits-standard")
    treated = {
        "treatment": "calibrated per chip", "images": 50, "seed": 3,
        "images_sha256": reference_from(network, images, number=50, seed=3, threads=1).sha256,
    }  # fmt: skip
    made: list[int] = []

    def reference(*arguments: Any, **options: Any) -> Any:
        made.append(1)
        return calibration_reference(*arguments, **options)

    monkeypatch.setattr("reliability.confirmation.confirmables.calibration_reference", reference)
    record = {**counted.record, "thresholds": treated}
    study = NetworkStudy(counted.counts, record)
    found, missing = confirmables({"x": study}, networks_in([]), load_images, threads=1)
    assert missing == ""
    assert made == []
    assert found["x"].reference.sha256 == treated["images_sha256"]
    assert found["x"].reference is found["x"].reference
    assert made == [1]
    other = {**counted.record, "thresholds": {**treated, "seed": 4}}
    study = NetworkStudy(counted.counts, other)
    found, missing = confirmables({"x": study}, networks_in([]), load_images, threads=1)
    assert found == {}
    assert missing == "the images that calibrated 'x' are others"


def on_arrays(study: DeviceStudy, shifts: dict[str, float]) -> DeviceStudy:
    """The device on arrays whose LRS is shifted."""
    (posterior,) = study.posteriors.values()
    frame = replace(posterior.frame, arrays=tuple(shifts))
    draws = posterior.draws.copy()
    for prior in FAMILIES["lognormal"].priors(frame):
        if prior.name not in draws:
            values = np.full((2, 50, prior.size) if prior.size else (2, 50), prior.mean)
            if prior.name == "lrs_location_array":
                values[:] = list(shifts.values())
            draws[prior.name] = (("chain", "draw", f"{prior.name}_array")[: values.ndim], values)
    return replace(study, posteriors={"lognormal": replace(posterior, draws=draws, frame=frame)})


def test_with_five_arrays_a_chip_on_a_new_one_leads(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming
) -> None:
    five = on_arrays(study, dict(zip("ABCDE", np.linspace(-0.2, 0.2, 5), strict=True)))
    done = confirmed(five, counted, replace(confirming, device=five.main))
    assert len(done.by_array) == 1
    assert done.pairing.array is None
    # the curve is that of the new array of each draw, as are the rates of chips
    larger = five.main.with_new_arrays(1)
    (expected,) = array_curves(
        larger, done.ber["lognormal"]["1T1R"], options=SensingOptions(), arrays=[5]
    )
    np.testing.assert_array_equal(done.by_array[0]["1T1R"].ln_ber, expected["1T1R"].ln_ber)
    found = done.best
    assert found is not None
    assert found.confirmation is not None
    assert found.confirmation.arrays.new
    fresh = found.confirmation.fresh
    assert fresh is not None
    assert fresh.arrays == {}
    assert found.confirmation.on_new is None
    # arrays that differ cost margin against one of them
    alone = confirmed(study, counted, confirming).best
    assert alone is not None
    assert found.safe.lowest > alone.safe.lowest


def test_the_worse_of_two_arrays_decides(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming
) -> None:
    """Array B has a higher LRS: a value that is safe on A alone is not recommended."""
    both = on_arrays(study, {"A": 0.0, "B": 0.3})
    done = confirmed(both, counted, replace(confirming, device=both.main))
    found = done.best
    alone = confirmed(study, counted, confirming).best
    assert alone is not None
    assert found is not None
    assert found.safe.lowest > alone.safe.lowest
    assert found.confirmation is not None
    fresh = found.confirmation.fresh
    assert fresh is not None
    assert fresh.arrays["A"].share > fresh.arrays["B"].share == fresh.share
    on_new = found.confirmation.on_new
    assert on_new is not None
    assert on_new.chips == fresh.chips
    # by the prior arrays differ in more than the LRS: chips fail that do not on measured arrays
    assert 0.5 < on_new.share < fresh.arrays["A"].share
    # all probabilities of the verdict are those of the chips on this array
    law = stated_loss(done, found)
    assert law is not None
    assert law.p_met == fresh.share
    assert "on array B, that with the fewest" in confirmation_line(found, "")


def near_readings(confirming: Confirming, times: float) -> tuple[ConditionReadings, ...]:
    """2,000 readings at every fourth value of the grid, errors at the model's rates, some times."""
    found = []
    for x in GRID[::4]:
        (rate,) = chip_rates(confirming.device, [x], PLAIN, sensing=SensingOptions()).values.mean(
            axis=(0, 1)
        )
        read = cell_reader(confirming.device, x, scheme="1T1R", options=SensingOptions())
        assert read.threshold_ln_r is not None
        wrong = {"HRS": round(2000 * rate[0]), "LRS": min(2000, round(2000 * times * rate[1]))}
        found.append(
            ConditionReadings(
                float(x), None, "", 2000, float(np.exp(read.threshold_ln_r)),
                {
                    "LRS": (np.array([0, 1]), np.array([2000 - wrong["LRS"], wrong["LRS"]])),
                    "HRS": (np.array([0, 1]), np.array([wrong["HRS"], 2000 - wrong["HRS"]])),
                },
            )
        )  # fmt: skip
    return tuple(found)


def test_chips_by_readings_alone_stand_beside_those_of_the_model(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming
) -> None:
    one_cell = replace(
        compared(study, counted),
        designs=compared(study, counted).designs[:1],
    )
    for times, passes in ((1.0, True), (4.0, False)):
        told = replace(confirming, measured=near_readings(confirming, times))
        (found,) = confirm_each([one_cell], told, lambda text: None)
        best = found.best
        assert best is not None
        assert best.confirmation is not None
        below, above = best.confirmation.readings
        assert below.low <= best.safe.lowest < above.low
        gates = readings_gates(found)
        assert [gate["name"] for gate in gates] == [
            "readings without a model",
            "errors near the recommended programming",
        ]
        assert [gate["passed"] for gate in gates] == [passes, passes], gates
        assert ("CONTRADICT" in readings_line(best, found.programming)) != passes
        record = confirmation_record(found)[0]["readings"]
        assert [r["programming_low"] for r in record] == [below.low, above.low]
        shares = [(r["by_readings"]["share"], r["by_model"]["share"]) for r in record]
        if passes:
            assert all(abs(a - b) < 0.1 for a, b in shares)
        else:
            assert min(a - b for a, b in shares) < -0.1


def test_another_value_of_the_second_variable_leads_where_chips_refuse_the_cheapest(
    study: DeviceStudy, counted: NetworkStudy, confirming: Confirming, monkeypatch: Any
) -> None:
    width = Programming("SET pulse width", "s")
    one = compared(study, counted)
    dear = replace(one.energy, e_cell_j=3 * one.energy.e_cell_j)
    both = [
        replace(one, second=(width, 1e-6), energy=dear),
        replace(one, second=(width, 1e-7)),
    ]
    assert leading(both) == 1
    monkeypatch.setattr(
        "reliability.confirmation.confirmed.DesignChips.losses",
        lambda self, x, chips, seed, first: np.full(
            chips, 0.5 if self.confirming.device.frame.second_reference == 1e-7 else 0.0
        ),
    )
    found = confirm_each(both, confirming, lambda text: None)
    assert leading(found) == 0
    best = found[0].best
    assert best is not None
    assert best.confirmation is not None
    assert best.confirmation.fresh is not None
    # all that is cheaper at the other value was put to chips and refused
    cheaper = [d for d in found[1].designs if both[1].rank(d) < found[0].rank(best)]
    assert all(d.safe.lowest is None or d.confirmation is None for d in cheaper)
    assert any(d.confirmation is not None for d in found[1].designs)
    assert both[0].designs[0].confirmation is None
