import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from bnn import FoldedNetwork, HiddenLayer, OutputLayer, flip_weights, network_sha256
from bnn.network import layer_signs
from bnn.packing import padding_is_zero

Make = Callable[..., FoldedNetwork]


def hidden(**changes: object) -> HiddenLayer:
    parts: dict[str, object] = {
        "name": "hidden_1",
        "columns": 3,
        "weights": np.array([[5], [2]], np.uint64),
        "threshold": np.zeros(2, np.int32),
        "direction": np.array([1, -1], np.int8),
    }
    return HiddenLayer(**{**parts, **changes})  # type: ignore[arg-type]


def output(**changes: object) -> OutputLayer:
    parts: dict[str, object] = {
        "name": "output",
        "columns": 2,
        "weights": np.array([[1], [2], [3]], np.uint64),
        "scale": np.ones(3),
        "shift": np.zeros(3),
    }
    return OutputLayer(**{**parts, **changes})  # type: ignore[arg-type]


def test_sizes_names_and_bits() -> None:
    network = FoldedNetwork((hidden(), output()))
    assert network.sizes == (3, 2, 3)
    assert network.layer_names == ("hidden_1", "output")
    assert network.weight_bits == {"hidden_1": 6, "output": 6}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": 0}, "columns must be at least 1, got 0"),
        ({"columns": 2}, "bits beyond column 1 must be zero"),
        ({"columns": 65}, r"\(rows, 2\) for 65 columns"),
        ({"weights": np.array([[5], [2]])}, "weights must be uint64, got int64"),
        ({"weights": np.empty((0, 1), np.uint64)}, "at least one row|shape"),
        ({"threshold": np.zeros(2)}, "threshold must be int32"),
        ({"threshold": np.zeros(3, np.int32)}, r"shape \(2,\), got int32 with the shape \(3,\)"),
        ({"direction": np.array([1, 0], np.int8)}, "got 0 at index 1"),
    ],
)
def test_bad_hidden_layers_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hidden(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": np.array([1.0, np.nan, 1.0])}, "scale must be finite, got nan at index 1"),
        ({"shift": np.array([np.inf, 0.0, 0.0])}, "shift must be finite, got inf at index 0"),
        ({"shift": np.zeros(3, np.float32)}, "shift must be float64"),
    ],
)
def test_bad_output_layers_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        output(**changes)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), "at least its output layer"),
        ((hidden(),), "must be the OutputLayer 'output', got the HiddenLayer 'hidden_1'"),
        ((hidden(name="first"), output()), "HiddenLayer 'hidden_1', got the HiddenLayer 'first'"),
        ((hidden(), output(columns=1, weights=np.zeros((3, 1), np.uint64))), "1 inputs, but"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FoldedNetwork(layers)


def test_arrays_are_read_only_but_those_of_the_caller_stay_writeable() -> None:
    weights = np.array([[5], [2]], np.uint64)
    layer = hidden(weights=weights)
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0, 0] = 1
    assert weights.flags.writeable


def test_flip_weights_changes_named_bits_only(random_network: Make) -> None:
    network = random_network((70, 5, 3), seed=0)
    flipped = flip_weights(network, {"hidden_1": np.array([0, 69, 70, 349])})
    before, after = (layer_signs(n.layers[0]).reshape(-1) for n in (network, flipped))
    np.testing.assert_array_equal(np.flatnonzero(before != after), [0, 69, 70, 349])
    assert padding_is_zero(flipped.layers[0].weights, columns=70)
    assert flipped.layers[1] is network.layers[1]


def test_flip_weights_refuses_unknown_layers(random_network: Make) -> None:
    network = random_network((7, 5, 3), seed=0)
    with pytest.raises(ValueError, match=r"'hidden_2'; this network has 'hidden_1', 'output'"):
        flip_weights(network, {"hidden_2": np.array([0])})


def test_hash_sees_every_number(random_network: Make) -> None:
    network = random_network((7, 5, 3), seed=0)
    hashes = {network_sha256(network), network_sha256(random_network((7, 5, 3), seed=0))}
    assert len(hashes) == 1
    first, last = network.layers
    assert isinstance(first, HiddenLayer)
    assert isinstance(last, OutputLayer)
    changed = [
        flip_weights(network, {"output": np.array([14])}),
        FoldedNetwork((dataclasses.replace(first, threshold=first.threshold + np.int32(1)), last)),
        FoldedNetwork((dataclasses.replace(first, direction=-first.direction), last)),
        FoldedNetwork((first, dataclasses.replace(last, shift=last.shift + 1e-12))),
        FoldedNetwork((first, dataclasses.replace(last, scale=-last.scale))),
    ]
    hashes.update(map(network_sha256, changed))
    assert len(hashes) == 6
