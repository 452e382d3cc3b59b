"""ONNX models made here, by the format's own helpers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn import ImageSet, from_onnx
from bnn.engines.packed import packed
from bnn.importing.source_graph import PixelEncoding
from bnn.importing.source_stages import ImportRefusedError
from bnn.networks.network import ConvLayer

onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx': pip install '.[onnx]'")
# importing it is not enough: its reference implementation is a module of its own
pytest.importorskip("onnx.reference", reason="needs onnx.reference, from onnx 1.13 on")

QONNX = "qonnx.custom_op.general"
SYMMETRIC = PixelEncoding((1, 8, 8), 2 / 255, -1.0)


def stored(**arrays: Any) -> list[Any]:
    return [
        onnx.numpy_helper.from_array(np.asarray(a, np.float32), name) for name, a in arrays.items()
    ]


def model(nodes: list[Any], arrays: list[Any], shape: list[Any], classes: int = 10) -> Any:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, [shape[0], classes])],
        arrays,
    )
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, opset_imports=versions)


def node(kind: str, inputs: str, output: str, **options: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), [output], name=f"{output}_node", **options)


def convolutional(batch: Any, kind: str = "MaxPool", shape: Any = (1, 8, 8)) -> Any:
    rng = np.random.default_rng(2)
    arrays = stored(
        kernel=rng.normal(size=(5, 1, 3, 3)),
        scale=0.37,
        gamma=rng.normal(size=5),
        beta=rng.normal(size=5),
        mean=rng.normal(size=5),
        variance=rng.uniform(0.5, 2, 5),
        dense=rng.choice([-1.0, 1.0], (80, 10)),
        bias=rng.normal(size=10),
    )
    nodes = [
        node("BipolarQuant", "kernel scale", "signs", domain=QONNX),
        node("Conv", "x signs", "z", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", "z gamma beta mean variance", "normal"),
        node("BipolarQuant", "normal scale", "active", domain=QONNX),
        node(kind, "active", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "pooled", "flat"),
        node("MatMul", "flat dense", "sums"),
        node("Add", "sums bias", "y"),
    ]
    return model(nodes, arrays, [batch, *shape])


@pytest.mark.parametrize("batch", [1, "images"])
def test_bipolar_quantizers_and_a_convolution(batch: Any, digits: ImageSet, tmp_path: Path) -> None:
    images = digits.test_images[:60]
    onnx.save(convolutional(batch), tmp_path / "net.onnx")
    found = from_onnx(tmp_path / "net.onnx", images, encoding=SYMMETRIC)
    assert isinstance(found.network.layers[0], ConvLayer)
    assert found.network.sizes == (64, 80, 10)
    assert found.record["source"] == {
        "format": "ONNX",
        "file": "net.onnx",
        "round_trip_images": 60,
        "tied_images": 0,
        "differ_at_ties": 0,
        "differ_by_hidden_rounding": 0,
    }
    answers = packed.predict(found.network, packed.prepare(images), threads=1)
    assert len(np.unique(answers)) > 3


def test_fully_connected_as_gemm_with_other_activations(digits: ImageSet) -> None:
    rng = np.random.default_rng(3)
    arrays = stored(
        one=rng.choice([-0.5, 0.5], (20, 64)),
        two=rng.choice([-1.0, 1.0], (20, 10)),
        bias=rng.normal(size=20),
        level=0.2,
        high=1.0,
        low=0.0,
    )
    nodes = [
        node("Gemm", "x one bias", "z", transB=1, alpha=0.25, beta=2.0),
        node("Greater", "z level", "above"),
        node("Where", "above high low", "active"),
        node("MatMul", "active two", "sums"),
        node("Softmax", "sums", "y"),
    ]
    found = from_onnx(model(nodes, arrays, ["n", 64]), digits.test_images[:100])
    assert found.network.sizes == (64, 20, 10)


def broken(kind: str) -> Any:
    made = convolutional("images", kind="AveragePool" if kind == "average" else "MaxPool")
    if kind == "kernel":
        del made.graph.node[0]
        made.graph.node[0].input[1] = "kernel"
    if kind == "sign":
        made.graph.node[3].CopyFrom(node("Sign", "z", "active"))
    if kind == "unknown":
        made.graph.node[3].CopyFrom(node("Threshold", "normal", "active", domain="elsewhere"))
    return made


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("kernel", r"by layer: 'z_node': \d+\.\d%\. Latent"),
        ("average", r"not understood: 'pooled_node' \(AveragePool\)"),
        ("unknown", r"node 'active_node' \(Threshold\) cannot be executed"),
        # pixels that are all 0 give sums of 0, which this sign makes 0
        ("sign", "'sums_node' must read two values, but after 'z_node' up to"),
    ],
)
def test_what_cannot_be_imported_is_named(kind: str, message: str, digits: ImageSet) -> None:
    with pytest.raises(ImportRefusedError, match=message):
        from_onnx(broken(kind), digits.test_images[:20], encoding=SYMMETRIC)


def test_wrong_files_are_refused(digits: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"net\.onnx: not an ONNX model"):
        from_onnx(tmp_path / "net.onnx", digits.test_images)
    with pytest.raises(ImportRefusedError, match="'x' of the model leaves its shape open"):
        from_onnx(convolutional("n", shape=("c", 8, 8)), digits.test_images)
