"""Decisions over two knobs, against devices with one that have the same laws. All simulated."""

from collections.abc import Callable
from dataclasses import replace
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
from devicefit.prediction.condition_readings import ConditionReadings, pooled_errors
from devicefit.sampling.prior import prior_record
from reliability.decision.compare import compare
from reliability.decision.comparison import Comparison, design_energy
from reliability.decision.options import DecisionOptions
from reliability.decision.requirement import Requirement
from reliability.decision.second_variable import MOST, at_one_second, compared_values, leading
from reliability.device.files import save_study
from reliability.device.study import DeviceStudy
from reliability.energy.energy import EnergyOptions
from reliability.networks.study import NetworkStudy, save_counts
from reliability.report.alternatives import alternative_figure, alternative_table
from reliability.results.results import read_results
from tests.reliability.made_up import fragile_network

CURRENT = Programming("SET compliance current", "A")
GATE = Programming("SET gate voltage", "V")
WIDTH = Programming("SET pulse width", "s")
WIDTHS = (1e-7, 1e-6)
GRID = np.geomspace(2e-5, 4e-4, 41)


def device(programming: Programming, *, second: bool, shift: float = 0.0) -> DevicePosterior:
    """HRS that rises with the pulse width by a factor e from one end to the other, or shifted."""
    of_second: dict[str, Any] = {}
    if second:
        of_second = {"second": WIDTH, "second_low": WIDTHS[0], "second_high": WIDTHS[1]}
        of_second["second_reference"] = 3e-7
    frame = Frame(programming, GRID[0], GRID[-1], **of_second)
    priors = FAMILIES["lognormal"].priors(frame)
    values = {p.name: np.full((2, 60), p.mean) for p in priors}
    values["ln_sd_filament"] = np.full((2, 60), np.log(0.25))
    rise = np.linspace(-0.05, 0.05, 120).reshape(2, 60)
    values["ln_r_hrs"] = np.log(6e4) + shift + rise
    values["ln_sd_hrs"] = np.full((2, 60), np.log(0.7))
    if second:
        values["hrs_second"] = np.full((2, 60), 1.0)
    draws = xr.Dataset({k: (("chain", "draw"), v) for k, v in values.items()})
    record = {
        "devices": 500, "design_effect": {"LRS": 1.0, "HRS": 1.0}, "priors": prior_record(priors),
        "readings": {"LRS": 4000, "HRS": 4000}, "sampler": {"seed": 1},
    }  # fmt: skip
    diagnostics = Diagnostics(1.0, 1e3, 1e3, 0, 120)
    return DevicePosterior("lognormal", draws, frame, diagnostics, record)


def readings(width: float, errors: int, x: float = 5e-5) -> ConditionReadings:
    counts = np.array([100 - errors, errors])
    bins = {"LRS": (np.array([0, 1]), counts), "HRS": (np.array([0, 1]), counts[::-1])}
    return ConditionReadings(x, width, "", 50, 2e4, bins)


@pytest.fixture(scope="module")
def study(study_record: Callable[..., dict[str, Any]]) -> DeviceStudy:
    return make(device(CURRENT, second=True), study_record)


def make(posterior: DevicePosterior, study_record: Callable[..., dict[str, Any]]) -> DeviceStudy:
    record = study_record(
        measured=[readings(w, k).record() for w, k in zip(WIDTHS, (3, 5), strict=True)]
    )
    record["data"] |= {"second_variable": WIDTH.name, "second_values": list(WIDTHS)}
    record["families"] = {"lognormal": {"weight": None}}
    return DeviceStudy({"lognormal": posterior}, {}, {}, GRID, record)


@pytest.fixture(scope="module")
def networks() -> dict[str, NetworkStudy]:
    return {"standard": fragile_network(8.0, ber=0.0, seed=1)}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reliability.decision.compare.PAIRED_DRAWS", 400)


def compared(study: DeviceStudy, networks: dict[str, NetworkStudy]) -> Comparison:
    return compare(
        study,
        networks,
        DecisionOptions(
            requirement=Requirement(), sensing=SensingOptions(), energy=EnergyOptions(), seed=1
        ),
    )


def test_a_value_of_the_second_variable_is_that_of_a_device_with_its_law(
    study: DeviceStudy, networks: dict[str, NetworkStudy]
) -> None:
    for width, shift in zip(WIDTHS, (-0.5, 0.5), strict=True):
        here = study.at_second(width)
        alone = replace(study, posteriors={"lognormal": device(CURRENT, second=False, shift=shift)})
        alone = replace(alone, grid=here.grid)
        found, expected = compared(here, networks), compared(alone, networks)
        for one, other in zip(found.designs, expected.designs, strict=True):
            assert one.p_met == pytest.approx(other.p_met, abs=1e-9)
        assert found.second == (WIDTH, width)
        assert expected.second is None
        plan = found.plan(found.designs[0], 5e-5)
        assert plan.second == width
        assert f", {WIDTH.format(width)} (SET pulse width), stored as 1T1R" in found.words(plan)
        assert plan.record()["programming"] == 5e-5
        # pulses of their own width: the RESET pulse stays as it was
        e, d = EnergyOptions(), replace(EnergyOptions(), set_pulse_s=width)
        assert e.at_second(here.main.frame) == d
        ratio = found.energy.e_cell_j / compared(alone, networks).energy.e_cell_j
        mean = ratio.mean()
        set_j = e.set_voltage_v * width + e.reset_voltage_v * e.reset_pulse_s
        assert mean == pytest.approx(
            set_j / (e.set_voltage_v * 1e-7 + e.reset_voltage_v * e.reset_pulse_s), rel=0.02
        )


def test_a_current_as_second_variable_is_known_for_the_energy() -> None:
    from reliability.energy.energy import programming_energy

    frame = Frame(
        GATE, 1.0, 2.0, second=CURRENT, second_low=1e-5, second_high=1e-4, second_reference=5e-5
    )
    values = {p.name: np.full((2, 30), p.mean) for p in FAMILIES["lognormal"].priors(frame)}
    draws = xr.Dataset({k: (("chain", "draw"), v) for k, v in values.items()})
    posterior = replace(device(CURRENT, second=False), frame=frame, draws=draws)
    options = replace(EnergyOptions(), voltage_sd=0.0, reset_current_sd=0.0)
    found = programming_energy(
        posterior, np.array([1.0, 2.0]), np.arange(10), options=options,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert found.e_cell_j == pytest.approx(5e-5 * (1.2 * 1e-7 + 1.6 * 1e-7))
    assert found.basis.startswith("SET compliance current known")


def test_counts_and_thresholds_are_those_of_the_value(study: DeviceStudy) -> None:
    for width, errors in zip(WIDTHS, (3, 5), strict=True):
        counts = study.at_second(width).record["counts"]
        assert counts["errors"] == {"LRS": [errors], "HRS": [errors]}
        assert counts["trials"] == {"LRS": [100], "HRS": [100]}
    assert study.at_second(3e-7).record["counts"] == {}
    thresholds = [
        ber_curves(study.at_second(w).main, GRID, options=SensingOptions())["1T1R"].threshold_ohm
        for w in WIDTHS
    ]
    assert thresholds[0] is not None
    assert thresholds[1] is not None
    # a higher HRS moves the threshold up
    assert (thresholds[1] > thresholds[0]).all()


def test_neighbouring_values_are_pooled_to_a_hundred_devices() -> None:
    many = [readings(1e-7, k, x) for k, x in enumerate(np.linspace(1e-5, 2e-5, 8))]
    counts = pooled_errors(many)
    assert counts.devices.tolist() == [100] * 4
    assert counts.errors["LRS"].tolist() == [0 + 1, 2 + 3, 4 + 5, 6 + 7]
    assert counts.programming_high[0] == many[1].programming


def test_which_values_are_compared() -> None:
    assert compared_values(None, None, ()) == ()
    assert compared_values(None, WIDTH, WIDTHS) == WIDTHS
    assert compared_values("1us", WIDTH, WIDTHS) == (1e-6,)
    assert compared_values("300ns", WIDTH, WIDTHS) == (3e-7,)
    many = np.geomspace(1e-7, 1e-6, 30).tolist()
    chosen = compared_values(None, WIDTH, many)
    assert len(chosen) == MOST
    assert (chosen[0], chosen[-1]) == (many[0], many[-1])
    for said, variable, words in (
        ("1us", None, "measured with one programming variable"),
        ("2us", WIDTH, "measured at 100 ns, 1 us, which tells nothing of 2 us"),
        ("1V", WIDTH, "is in V; the SET pulse width is in s"),
        ("soon", WIDTH, "no finite number"),
    ):
        with pytest.raises(ValueError, match=words):
            compared_values(said, variable, WIDTHS)


def test_one_value_has_to_be_named_where_there_are_several(study: DeviceStudy) -> None:
    with pytest.raises(ValueError, match="100 ns, 1 us; name one, for example --second 100ns"):
        at_one_second(study, None)
    assert at_one_second(study, "1us").main.frame.second_reference == 1e-6
    one = replace(study, posteriors={"lognormal": device(CURRENT, second=False)})
    assert at_one_second(one, None) is one


def test_the_best_of_all_values_leads_and_the_verdict_names_every_knob(
    study: DeviceStudy,
    networks: dict[str, NetworkStudy],
    tmp_path: Path,
    call: Callable[..., Any],
) -> None:
    every = [compared(study.at_second(w), networks) for w in WIDTHS]
    least = [
        min(np.median(design_energy(d, c.energy)) for d in c.designs if d.safe.lowest is not None)
        for c in every
    ]
    assert leading(every) == int(np.argmin(least))
    save_counts(networks["standard"], tmp_path / "standard.nc")
    (tmp_path / "device").mkdir()
    save_study(study, tmp_path / "device")

    def decide(*options: object) -> Any:
        return call(
            "decide", "device", "--counts", "standard.nc", "--out", "results.json", "--force",
            "--confirm-minutes", "0", "--quiet", *options,
        )  # fmt: skip

    found = decide()
    assert found.returncode == 0, found.stderr
    width = WIDTHS[leading(every)]
    values = read_results(tmp_path / "results.json").values
    words = f"({CURRENT.name}), {WIDTH.format(width)} (SET pulse width)"
    assert words in values["verdict"]["sentence"]
    assert words in found.stdout
    assert values["verdict"]["recommended_second"]["value"] == width
    assert values["programming"]["second"]["compared"] == list(WIDTHS)
    assert values["energy"]["options"]["set_pulse_s"] == width
    table = values["alternatives"]
    assert sorted(row["second"] for row in table) == sorted(WIDTHS * (len(table) // 2))
    energies = [row["e_bit_j"]["median"] for row in table if row["e_bit_j"]]
    assert energies == sorted(energies)
    assert table[0]["second"] == width
    shown = alternative_table(values, CURRENT, {"standard_bnn": "Standard", "memory": "Memory"})
    column = shown.header.index("SET pulse width")
    assert [row[column] for row in shown.rows] == [WIDTH.format(row["second"]) for row in table]
    assert shown.marked == 0
    assert sum("(recommended)" in row[0] for row in shown.rows) == 1
    assert f", {WIDTH.format(width)}<" in alternative_figure(values)
    assert "SET pulse width" in found.stdout.split("stored as   ")[-1].splitlines()[0]
    # named: only this one, though it costs more
    other = WIDTHS[1 - leading(every)]
    found = decide("--second", WIDTH.format(other).replace(" ", ""))
    assert found.returncode == 0, found.stderr
    values = read_results(tmp_path / "results.json").values
    assert {row["second"] for row in values["alternatives"]} == {other}
    assert values["verdict"]["recommended_second"]["value"] == other
    assert decide("--second", "5us").returncode == 2


@pytest.mark.parametrize(
    "command",
    [
        ("ber", "device", "--out", "ber.csv"),
        ("evaluate", "zoo:digits-standard", "--device", "device", "--programming", "50uA",
         "--out", "counts.nc", "--chips", "2", "--quiet"),
    ],
)  # fmt: skip
def test_commands_never_choose_a_value_by_themselves(
    study: DeviceStudy, tmp_path: Path, call: Callable[..., Any], command: tuple[str, ...]
) -> None:
    (tmp_path / "device").mkdir()
    save_study(study, tmp_path / "device")
    refused = call(*command)
    assert refused.returncode == 2
    assert "name one, for example --second 100ns" in refused.stderr
    done = call(*command, "--second", "1us")
    assert done.returncode == 0, done.stderr
