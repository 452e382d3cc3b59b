"""Names that networks get from their records."""

from typing import Any

import pytest

import bnn
from bnn.calibration.treatments import FOLDED_FOR_EACH, PER_CHIP
from reliability.networks.names import name_of, names_of, training_of


def trained(treatment: str | None = None, **training: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "architecture": {"sizes": [64, 32, 10]},
        "training": {"ber": 0.0, "seed": 1, **training},
    }
    return record if treatment is None else record | {"thresholds": {"treatment": treatment}}


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({}, "standard"),
        ({"source": {"file": "net.onnx"}}, "imported"),
        (trained(), "standard"),
        (trained(ber=0.04), "trained for errors"),
        (trained(ber=0.04, ber_from=None, margin=0.0), "trained for errors"),
        (trained(ber=0.15, ber_from=0.0), "trained for a range of errors"),
        (trained(margin=4.0), "margin loss"),
        (trained(loss="squared hinge", margin=1.0), "squared hinge"),
        (trained(ber=0.04, margin=4.0), "trained for errors, margin loss"),
        (trained(FOLDED_FOR_EACH), "standard, thresholds folded for each BER"),
        (trained(PER_CHIP, margin=4.0), "margin loss, thresholds calibrated per chip"),
    ],
)
def test_a_record_says_what_its_network_is(record: dict[str, Any], name: str) -> None:
    assert name_of(record) == name
    assert name.startswith(training_of(record))


def test_networks_of_one_name_are_told_apart_by_what_differs() -> None:
    records = [
        trained(),
        trained(seed=2),
        trained(PER_CHIP, seed=2),
        trained(ber=0.04),
        trained(ber=0.1, seed=2),
        trained(margin=4.0),
        trained(margin=4.0),
        {"source": {"file": "a.onnx"}},
        {"source": {"file": "b.onnx"}},
    ]
    assert names_of(records) == [
        "standard (seed 1)",
        "standard (seed 2)",
        "standard (seed 2), thresholds calibrated per chip",
        "trained for errors (BER 0.04)",
        "trained for errors (BER 0.1)",
        "margin loss 1",
        "margin loss 2",
        "imported (a.onnx)",
        "imported (b.onnx)",
    ]
    # the same network with other thresholds needs nothing more
    assert names_of([trained(), trained(PER_CHIP)])[0] == "standard"


def test_networks_of_the_zoo_have_distinct_names() -> None:
    names = {n.name: bnn.load_zoo(n.name)[1] for n in bnn.zoo_networks()}
    mnist = {name: record for name, record in names.items() if name.startswith("mnist")}
    found = dict(zip(mnist, names_of(list(mnist.values())), strict=True))
    assert found["mnist-standard"] == "standard"
    assert found["mnist-4e-2"] == "trained for errors"
    assert found["mnist-margin"] == "margin loss"
    assert found["mnist-range"] == "trained for a range of errors (BER 0 to 0.15)"
    assert found["mnist-range-fixed"] == "trained for a range of errors (BER 0 to 0.06)"


def test_a_name_does_not_steer_the_terminal() -> None:
    assert name_of({"training": {"loss": "x\n\x1b[2J"}}) == "x??[2J"
