import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from bnn import FoldedNetwork
from bnn.machine.packing import padding_is_zero
from bnn.networks.network import (
    ConvLayer,
    HiddenLayer,
    OutputLayer,
    flip_weights,
    layer_signs,
    network_sha256,
)

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


def conv(**changes: object) -> ConvLayer:
    """Make a layer of 2 channels of 4 x 6, 18 columns, 3 output channels of 2 x 3."""
    parts: dict[str, object] = {
        "name": "hidden_1",
        "channels": 2,
        "height": 4,
        "width": 6,
        "kernel": 3,
        "pool": 2,
        "weights": np.array([[5], [2], [1 << 17]], np.uint64),
        "threshold": np.zeros(3, np.int32),
        "direction": np.array([1, -1, 1], np.int8),
    }
    return ConvLayer(**{**parts, **changes})  # type: ignore[arg-type]


def conv_output(columns: int = 18, **changes: object) -> OutputLayer:
    return output(columns=columns, **changes)


def test_sizes_names_and_bits() -> None:
    network = FoldedNetwork((hidden(), output()))
    assert network.sizes == (3, 2, 3)
    assert network.layer_names == ("hidden_1", "output")
    assert network.weight_bits == {"hidden_1": 6, "output": 6}


def test_sizes_names_and_bits_with_convolutions() -> None:
    weights = np.array([[7], [0], [2]], np.uint64)
    second = conv(name="hidden_2", channels=3, height=2, width=3, kernel=1, pool=1, weights=weights)
    network = FoldedNetwork((conv(), second, conv_output()))
    # 2 x 4 x 6 pixels; 2 x 3 places of 3 channels twice
    assert network.sizes == (48, 18, 18, 3)
    assert network.layer_names == ("hidden_1", "hidden_2", "output")
    assert network.weight_bits == {"hidden_1": 54, "hidden_2": 9, "output": 54}
    assert conv().output_shape == (2, 3, 3)
    assert conv(pool=1).output_shape == (4, 6, 3)
    assert (conv().columns, conv().inputs, conv().outputs) == (18, 48, 18)
    assert layer_signs(conv()).shape == (3, 18)


def test_kernel_is_3_and_nothing_is_pooled_unless_said() -> None:
    layer = ConvLayer(
        name="hidden_1",
        channels=1,
        height=5,
        width=7,
        weights=np.zeros((1, 1), np.uint64),
        threshold=np.zeros(1, np.int32),
        direction=np.ones(1, np.int8),
    )
    assert (layer.kernel, layer.pool) == (3, 1)
    assert layer.output_shape == (5, 7, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": 0}, "columns must be an int of at least 1, got 0"),
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
    ("changes", "message"),
    [
        ({"channels": 0}, "'hidden_1': channels must be an int of at least 1, got 0"),
        ({"height": -2}, "height must be an int of at least 1, got -2"),
        ({"width": 6.0}, r"width must be an int of at least 1, got 6\.0"),
        ({"pool": True}, "pool must be an int of at least 1, got True"),
        ({"kernel": "3"}, "kernel must be an int of at least 1, got '3'"),
        ({"kernel": 2}, "kernel must be odd, .* got 2"),
        ({"pool": 3, "height": 3}, "pool must be 1 or 2, got 3"),
        ({"height": 5}, "5 x 6 cannot be pooled in blocks of 2 x 2"),
        ({"width": 7}, "4 x 7 cannot be pooled"),
        ({"kernel": 1}, "bits beyond column 1 must be zero"),
        ({"channels": 8}, r"\(rows, 2\) for 72 columns"),
        ({"weights": np.array([[5], [2], [1]])}, "weights must be uint64, got int64"),
        ({"weights": np.array([[5], [2]], np.uint64)}, r"threshold must be int32 .* shape \(2,\)"),
        ({"threshold": np.zeros(3, np.int64)}, "threshold must be int32"),
        ({"direction": np.ones(3)}, "direction must be int8"),
        ({"direction": np.array([1, 0, 1], np.int8)}, "got 0 at index 1"),
    ],
)
def test_bad_convolutions_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conv(**changes)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((conv(),), "must be the OutputLayer 'output', got the ConvLayer 'hidden_1'"),
        (
            (conv(name="conv_1"), conv_output()),
            "must be the ConvLayer or HiddenLayer 'hidden_1', got the ConvLayer 'conv_1'",
        ),
        (
            (hidden(), conv(name="hidden_2"), conv_output()),
            "layer 1 must be the HiddenLayer 'hidden_2', got the ConvLayer",
        ),
        (
            (conv(), conv(name="hidden_2"), conv_output()),
            "'hidden_2' reads 2 channels of 4 x 6, but 'hidden_1' gives 3 channels of 2 x 3",
        ),
        # as many values, but rows and columns of the map exchanged
        (
            (
                conv(
                    pool=1,
                    weights=np.array([[5], [2]], np.uint64),
                    threshold=np.zeros(2, np.int32),
                    direction=np.ones(2, np.int8),
                ),
                conv(name="hidden_2", height=6, width=4),
                conv_output(),
            ),
            "'hidden_2' reads 2 channels of 6 x 4, but 'hidden_1' gives 2 channels of 4 x 6",
        ),
        ((conv(), conv_output(17)), "'output' has 17 inputs, but 'hidden_1' has 18 outputs"),
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


def test_flips_of_a_convolution_are_counted_row_by_row() -> None:
    flipped = flip_weights(FoldedNetwork((conv(), conv_output())), {"hidden_1": np.array([0, 35])})
    layer = flipped.layers[0]
    # 35 = row 1, column 17
    assert layer.weights.tolist() == [[4], [2 + (1 << 17)], [1 << 17]]
    assert isinstance(layer, ConvLayer)
    assert layer.output_shape == (2, 3, 3)


def test_hash_of_a_fully_connected_network_is_that_of_the_first_release() -> None:
    # names, sizes, types, shapes and bytes in order, hashed by hand
    expected = "dccb0902452f78514e53ba04b93acf593a1abdb6a7d0bd72fef3da8a00d06cd1"
    assert network_sha256(FoldedNetwork((hidden(), output()))) == expected


def test_hash_sees_every_field_of_a_convolution() -> None:
    # all have 18 columns and 18 outputs, so that no other layer and no size shows the difference
    changes: list[dict[str, object]] = [
        {},
        {"weights": np.array([[5], [2], [1 << 16]], np.uint64)},
        {"threshold": np.array([0, 0, 1], np.int32)},
        {"direction": np.array([1, 1, 1], np.int8)},
        {"height": 6, "width": 4},
        {"height": 2, "width": 3, "pool": 1},
        {"channels": 18, "kernel": 1},
    ]
    networks = [FoldedNetwork((conv(**change), conv_output())) for change in changes]
    assert len(set(map(network_sha256, networks))) == len(changes)
    assert network_sha256(networks[0]) == network_sha256(FoldedNetwork((conv(), conv_output())))
    varied = {part for change in changes for part in change}
    assert varied == {field.name for field in dataclasses.fields(ConvLayer)} - {"name"}


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
