"""Models that ask for gigabytes in a few bytes are refused before anything is computed."""

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")

from bnn.importing.onnx_operators import check_expansion  # noqa: E402


def model(sizes: list[int]) -> "onnx.ModelProto":
    """Adds ones of this shape to its input."""
    helper = onnx.helper
    shape = onnx.numpy_helper.from_array(np.array(sizes, np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["ones"]),
        helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [shape])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_large_values_are_found_before_they_are_computed(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(model([100_000, 100_000]), path)
    assert path.stat().st_size < 1000
    with pytest.raises(ValueError, match=r"'ones' of the shape \[100000, 100000\] takes more than"):
        check_expansion(path)
    onnx.save(model([100, 100]), path)
    check_expansion(path)
