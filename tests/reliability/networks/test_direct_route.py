"""Direct route: chips from sensed resistances against closed forms and explicit flips."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bnn import Flips, FoldedNetwork, evaluate_errors
from bnn.engines.dense import dense
from bnn.errors.errors import Errors
from bnn.evaluation.evaluation import combine, evaluate_positions
from bnn.machine.packing import pack_bits
from bnn.networks.network import HiddenLayer, OutputLayer, flip_weights, layer_signs
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from reliability.networks.direct_route import (
    ProgrammedCells,
    evaluate_direct,
    posterior_draw,
    wrong_positions,
)

X = [5e-5, 1e-4]
THRESHOLD = SensingOptions(threshold_ohm=1.8e4)
CELLS = {field.name for field in dataclasses.fields(ProgrammedCells)}
REJECT = 1e-4 / 10


@pytest.fixture(scope="module")
def network() -> FoldedNetwork:
    rng = np.random.default_rng(3)
    hidden = HiddenLayer(
        name="hidden_1",
        columns=16,
        weights=pack_bits(rng.random((70, 16)) < 0.3),
        threshold=rng.integers(-500, 500, 70).astype(np.int32),
        direction=rng.choice(np.array([-1, 1], np.int8), size=70),
    )
    output = OutputLayer(
        name="output",
        columns=70,
        weights=pack_bits(rng.random((4, 70)) < 0.3),
        scale=np.ones(4),
        shift=rng.normal(size=4),
    )
    return FoldedNetwork((hidden, output))


@pytest.fixture(scope="module")
def device() -> DevicePosterior:
    """Lognormal states that overlap; the HRS of every draw is its own."""
    frame = Frame(Programming("SET compliance current", "A"), 2e-5, 6e-4)
    values = {p.name: np.full((2, 20), p.mean) for p in FAMILIES["lognormal"].priors(frame)}
    values["ln_r_hrs"] = np.log(1e5) + np.linspace(-0.8, 0.8, 40).reshape(2, 20)
    values["ln_sd_hrs"] = np.full((2, 20), np.log(0.8))
    draws = xr.Dataset({k: (("chain", "draw"), v) for k, v in values.items()})
    record = {"devices": 100, "design_effect": {"LRS": 1.0, "HRS": 1.0}}
    return DevicePosterior("lognormal", draws, frame, Diagnostics(1.0, 1e3, 1e3, 0, 40), record)


@pytest.fixture(scope="module")
def data(network: FoldedNetwork) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    images = rng.integers(0, 256, (150, 16), dtype=np.uint8)
    return images, dense.predict(network, dense.prepare(images), threads=1)


def direct(network: FoldedNetwork, data: Any, device: DevicePosterior, **changes: Any):
    cells = {"device": device, "programming": X, "scheme": "1T1R", "sensing": THRESHOLD}
    cells.update({key: changes.pop(key) for key in CELLS & set(changes)})
    options = {"cells": ProgrammedCells(**cells), "chips": 5, "seed": 2}
    return evaluate_direct(network, *data, **{**options, "threads": 1, **changes})


def test_wrong_bits_of_a_fixed_draw_are_binomial_in_each_state(
    network: FoldedNetwork, device: DevicePosterior
) -> None:
    (reader,) = ProgrammedCells(device, X[:1], "1T1R", THRESHOLD).readers()
    ones = np.concatenate([(layer_signs(layer) > 0).reshape(-1) for layer in network.layers])
    probability = {s: float(p[7]) for s, p in reader.error_probability.items()}
    # 0.010 and 0.067
    assert probability["HRS"] > 4 * probability["LRS"] > 0.02
    counts = {True: np.zeros(400, np.int64), False: np.zeros(400, np.int64)}
    for chip in range(400):
        wrong = wrong_positions(network, reader, seed=5, chip=chip, draw=7)
        at = np.concatenate([wrong["hidden_1"], wrong["output"] + 70 * 16])
        for bit in (True, False):
            counts[bit][chip] = (ones[at] == bit).sum()
    for bit, state in ((True, "LRS"), (False, "HRS")):
        trials, p = int((ones == bit).sum()), probability[state]
        total = stats.binomtest(int(counts[bit].sum()), 400 * trials, p)
        assert total.pvalue > REJECT
        # the spread between chips is that of independent cells
        dispersion = ((counts[bit] - trials * p) ** 2).sum() / (trials * p * (1 - p))
        assert REJECT < stats.chi2.sf(dispersion, 400) < 1 - REJECT
    # control that must fail: symmetric flips at the BER of the curve
    ber = sum(probability.values()) / 2
    trials = int(ones.sum())
    assert stats.binomtest(int(counts[True].sum()), 400 * trials, ber).pvalue < REJECT


def test_losses_are_those_of_unequal_flips_at_the_rates_of_the_model(
    network: FoldedNetwork, data: Any, device: DevicePosterior
) -> None:
    (reader,) = ProgrammedCells(device, X[:1], "1T1R", THRESHOLD).readers()
    p = {s: float(values[7]) for s, values in reader.error_probability.items()}
    chips = 300
    drawn = direct(network, data, device, programming=X[:1], draw=7, chips=chips)
    cases = [
        Errors((Flips(zero_to_one=p["HRS"], one_to_zero=p["LRS"]),)),
        Errors((Flips(zero_to_one=p["LRS"], one_to_zero=p["HRS"]),)),
    ]
    flipped = evaluate_errors(network, *data, errors=cases, chips=chips, seed=9, threads=1)

    def z(counts: xr.DataArray) -> float:
        a, b = drawn["changed"].values[0], counts.values
        return float((a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / chips))

    # z = 4.4: 1e-5
    assert abs(z(flipped["changed"][0])) < 4.4
    # control that must fail: zeros and ones exchanged
    assert abs(z(flipped["changed"][1])) > 4.4


def test_chips_are_the_same_in_any_order(
    network: FoldedNetwork, data: Any, device: DevicePosterior
) -> None:
    whole = direct(network, data, device)
    assert dict(whole.sizes) == {"programming": 2, "chip": 5}
    assert whole["programming"].attrs["units"] == "A"
    assert whole["threshold_ohm"].values == pytest.approx([1.8e4, 1.8e4])
    assert (whole["flips"] > 0).all()
    later = direct(network, data, device, chips=3, first_chip=2)
    xr.testing.assert_identical(combine(later, direct(network, data, device, chips=2)), whole)
    xr.testing.assert_identical(direct(network, data, device, engine="dense", threads=2), whole)
    one = direct(network, data, device, programming=X[1:])
    np.testing.assert_array_equal(one["flips"].values, whole["flips"].values[1:])
    other = direct(network, data, device, seed=3)
    assert (other["flips"].values != whole["flips"].values).any()


def test_counts_are_those_of_the_flipped_network(
    network: FoldedNetwork, data: Any, device: DevicePosterior
) -> None:
    images, labels = data
    counts = direct(network, data, device, scheme="2T2R", sensing=SensingOptions(offset_ln_r=1.0))
    (reader,) = ProgrammedCells(device, X[:1], "2T2R", SensingOptions(offset_ln_r=1.0)).readers()
    wrong = wrong_positions(network, reader, seed=2, chip=4)
    answers = dense.predict(flip_weights(network, wrong), dense.prepare(images), threads=1)
    found = counts.isel(programming=0, chip=4)
    assert int(found["correct"]) == (answers == labels).sum()
    assert int(found["flips"]) == sum(map(len, wrong.values())) > 0
    assert "threshold_ohm" not in counts.coords


def test_each_chip_has_one_posterior_draw(
    network: FoldedNetwork, data: Any, device: DevicePosterior
) -> None:
    counts = direct(network, data, device)
    drawn = [posterior_draw(40, seed=2, chip=chip) for chip in range(5)]
    assert counts["posterior_draw"].values.tolist() == drawn
    # every draw equally often: 40 draws of 100 chips each
    of_chip = np.array([posterior_draw(40, seed=1, chip=chip) for chip in range(4000)])
    assert stats.chisquare(np.bincount(of_chip, minlength=40)).pvalue > REJECT
    fixed = direct(network, data, device, draw=3)
    assert fixed["posterior_draw"].values.tolist() == [3] * 5
    with pytest.raises(ValueError, match="draw is 3 instead of 'of each chip'"):
        combine(counts, fixed)


def test_protected_layers_stay_exact(
    network: FoldedNetwork, data: Any, device: DevicePosterior
) -> None:
    (reader,) = ProgrammedCells(device, X[:1], "1T1R", THRESHOLD).readers()
    free = wrong_positions(network, reader, seed=1, chip=0)
    part = wrong_positions(network, reader, seed=1, chip=0, protected=frozenset({"output"}))
    assert set(part) == {"hidden_1"}
    np.testing.assert_array_equal(part["hidden_1"], free["hidden_1"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"programming": []}, "programming holds no value"),
        ({"programming": [1e-4, 1e-4]}, "holds 0.0001 more than once"),
        ({"draw": 40}, r"there are the posterior draws 0\.\.39"),
        (
            {"protected": frozenset({"first"})},
            "layers 'first'; this network has 'hidden_1'",
        ),
    ],
)
def test_wrong_input_is_refused(
    changes: dict[str, Any], message: str, network: FoldedNetwork, data: Any, device: Any
) -> None:
    with pytest.raises(ValueError, match=message):
        direct(network, data, device, **changes)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"first": [1]}, "unknown layers 'first'"),
        ({"output": [280]}, r"\['output'\] must lie in 0\.\.279, got 280 at index 0"),
        ({"output": [4, 4]}, "strictly increasing, got 4 after 4 at index 1"),
        ({"output": [0.5]}, "int64 array"),
    ],
)
def test_positions_from_elsewhere_are_checked(
    places: dict[str, list[Any]], message: str, network: FoldedNetwork, data: Any
) -> None:
    wrong = {name: np.array(values) for name, values in places.items()}
    with pytest.raises(ValueError, match=message):
        evaluate_positions(
            network,
            *data,
            positions=lambda chip: [wrong],
            cases=xr.Variable("case", [0]),
            identity={"source": "test"},
            chips=1,
        )
