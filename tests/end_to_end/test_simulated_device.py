"""The whole path on the simulated device, whose truth is known, in a reduced form."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bnn
from devicefit.distributions.sensing import SensingOptions
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import ReferenceDevice, reference_measurements
from reliability.decision.options import DecisionOptions
from reliability.decision.requirement import Requirement
from reliability.device.files import load_study, save_study
from reliability.device.study import DeviceStudy, study_device
from reliability.energy.energy import EnergyOptions
from reliability.networks.study import (
    NetworkOptions,
    NetworkStudy,
    evaluate_network,
    load_counts,
    name_of,
    save_counts,
    train_network,
)
from reliability.report import render_report
from reliability.results.answer import answer
from reliability.results.results import Results

OPTIONS = NetworkOptions(hidden=(128,), epochs=20, chips=30, threads=1)


@pytest.fixture(scope="module")
def device() -> DeviceStudy:
    return study_device(
        reference_measurements(),
        sampler=SamplerOptions(draws=400, warmup=500),
        sensing=SensingOptions(),
    )


@pytest.fixture(scope="module")
def networks() -> dict[str, NetworkStudy]:
    images = bnn.load_images("digits")
    found = {}
    for rate in (0.0, OPTIONS.train_ber):
        network, record = train_network(
            images, OPTIONS, ber=rate, say=lambda text: None, tick=lambda done, total: None
        )
        found[name_of(record)] = evaluate_network(
            network, images, OPTIONS, record, tick=lambda done, total: None
        )
    return found


def _answer(
    device: DeviceStudy, networks: dict[str, NetworkStudy], requirement: Requirement
) -> Results:
    return answer(
        device,
        networks,
        DecisionOptions(
            requirement=requirement, sensing=SensingOptions(), energy=EnergyOptions(), seed=3
        ),
        command="test",
        truth=ReferenceDevice(),
    )


@pytest.fixture(scope="module")
def results(device: DeviceStudy, networks: dict[str, NetworkStudy]) -> Results:
    return _answer(device, networks, Requirement(max_loss=0.02))


def test_true_ber_lies_in_the_band(results: Results) -> None:
    for scheme, found in results.values["simulated_truth"]["ber"].items():
        assert found["share_of_grid_inside"] >= 0.8, scheme


def test_true_savings_lie_in_their_intervals(results: Results) -> None:
    truth = results.values["simulated_truth"]["energy_saving"]
    assert set(truth) == {"standard_bnn", "memory", "memory_with_ecc"}
    for key, found in truth.items():
        assert found["inside"], key


def test_truth_is_not_the_fit(results: Results) -> None:
    """Control that must fail: the truth of another device is outside the band."""
    low = np.array(results.values["ber"]["1T1R"]["interval"]["low"])
    high = np.array(results.values["ber"]["1T1R"]["interval"]["high"])
    true = np.array(results.values["simulated_truth"]["ber"]["1T1R"]["true"])
    assert ((low <= 3 * true) & (3 * true <= high)).mean() < 0.8


def test_results_have_what_a_reader_looks_for(results: Results) -> None:
    values = results.values
    assert values["programming"]["unit"] == "A"
    assert values["data"]["simulated"] is True
    for scheme in ("1T1R", "2T2R"):
        found = values["ber"][scheme]
        assert len(found["mean"]) == len(values["ber"]["grid"])
        assert found["interval"]["kind"] == "ETI"
        assert found["interval"]["probability"] == 0.9
    for reference in ("standard_bnn", "memory", "memory_with_ecc"):
        for key in ("median", "low", "high", "kind", "probability"):
            assert key in values["energy_saving"][reference]
    assert {"seeds", "versions", "inputs", "command"} <= set(values["provenance"])
    for shares in (d["1T1R"]["variance_shares"] for d in values["accuracy"].values()):
        np.testing.assert_allclose(sum(np.array(s) for s in shares.values()), 1.0)


def test_probabilities_and_rates_are_in_range(results: Results) -> None:
    values = results.values
    for network in values["accuracy"].values():
        for scheme in network.values():
            for key in ("mean", "median", "low", "high"):
                accuracy = np.array(scheme["test_set"][key])
                assert np.all((accuracy >= 0) & (accuracy <= 1))
            assert np.all((np.array(scheme["p_met"]) >= 0) & (np.array(scheme["p_met"]) <= 1))
    for scheme in ("1T1R", "2T2R"):
        mean = np.array(values["ber"][scheme]["mean"])
        assert np.all((mean > 0) & (mean < 0.6))


def test_stored_posteriors_and_counts_give_the_same_bytes(
    device: DeviceStudy, networks: dict[str, NetworkStudy], results: Results, tmp_path: Path
) -> None:
    save_study(device, tmp_path)
    stored = {}
    for name, study in networks.items():
        path = tmp_path / f"{name}.nc"
        save_counts(study, path)
        stored[name] = load_counts(path)
    again = _answer(load_study(tmp_path), stored, Requirement(max_loss=0.02))
    assert again.to_json() == results.to_json()


def test_what_plain_cells_cannot_do_is_left_to_a_code_and_marked(
    device: DeviceStudy, networks: dict[str, NetworkStudy]
) -> None:
    counts = networks["standard"].counts.copy()
    # A network that loses 5 % of its answers at the smallest BER already.
    counts["lost"] = counts["lost"] + int(0.05 * counts.attrs["images"])
    fragile = {"standard": replace(networks["standard"], counts=counts)}
    found = _answer(device, fragile, Requirement(max_loss=1e-4, risk=0.01))
    designs = {row["scheme"]: row for row in found.values["alternatives"]}
    for scheme in ("1T1R", "2T2R"):
        assert designs[scheme]["lowest_safe_programming"] is None
        assert "No measured SET compliance current meets" in designs[scheme]["sentence"]
    # A strong code leaves next to no errors; that these cost next to nothing is extrapolated.
    verdict = found.values["verdict"]
    verdict = verdict["not_to_be_relied_on"] or verdict
    assert verdict["scheme"] == "1T1R + BCH(127,64)"
    assert designs[verdict["scheme"]]["share_below_evaluated_ber"] > 0.5
    assert "EXTRAPOLATED" in render_report(found)


def test_report_is_made_from_the_results_alone(results: Results) -> None:
    page = render_report(results)
    assert "SIMULATED DEVICE" in page
    assert page == render_report(results)
