"""The same network in the operators of many opsets, and operators whose meaning changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from bnn import ImageSet, from_onnx
from bnn.engines.packed import packed
from bnn.importing.source_graph import PixelEncoding
from bnn.importing.source_stages import ImportRefusedError
from bnn.networks.network import network_sha256

onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx': pip install '.[onnx]'")
pytest.importorskip("onnx.reference", reason="needs onnx.reference, from onnx 1.13 on")

from bnn.importing.onnx_operators import node_evaluator, operators, prepared  # noqa: E402

LATEST = onnx.defs.onnx_opset_version()
SYMMETRIC = PixelEncoding((1, 8, 8), 2 / 255, -1.0)
FLOAT = onnx.TensorProto.FLOAT


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "kernel": rng.choice([-1.0, 1.0], (6, 1, 3, 3)),
        "gamma": rng.normal(size=6),
        "beta": rng.normal(size=6),
        "mean": rng.normal(size=6),
        "variance": rng.uniform(0.5, 2, 6),
        "dense": rng.choice([-1.0, 1.0], (10, 96)),
        "bias": rng.normal(size=10),
    }


class Nodes:
    """Nodes of a graph, with settings as attributes or as inputs as the opset wants them."""

    def __init__(self, opset: int) -> None:
        self.opset, self.nodes, self.stored = opset, [], []  # type: ignore[var-annotated]

    def keep(self, name: str, values: Any, kind: Any = np.float32) -> str:
        self.stored.append(onnx.numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def add(
        self, kind: str, *inputs: str, gives: str = "", inputs_from: int = 0, **said: Any
    ) -> str:
        """Add a node; what is `said` are attributes, from opset `inputs_from` on inputs."""
        gives = gives or f"{kind.lower()}_{len(self.nodes)}"
        if inputs_from and self.opset >= inputs_from:
            keep = {name: said.pop(name) for name in ("keepdims",) if name in said}
            for name, value in said.items():
                type_ = np.float32 if isinstance(value, float) else np.int64
                inputs = (*inputs, self.keep(f"{gives}_{name}", value, type_))
            said = keep
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [gives], name=gives, **said))
        return gives


def network(opset: int, batch: Any = "images") -> Any:
    """Everything whose form changed between opset 7 and today, around a small network."""
    made, parts = Nodes(opset), weights()
    for name, values in parts.items():
        made.keep(name, values)
    made.keep("zero", 0.0)
    made.keep("one", 1.0)
    made.keep("two", 2.0)
    x = made.add("Squeeze", "x", axes=[1], inputs_from=13)
    x = made.add("Unsqueeze", x, axes=[1], inputs_from=13)
    x = made.add("Pad", x, pads=[0] * 8, inputs_from=11)
    x = made.add("Slice", x, starts=[0], ends=[1], axes=[1], inputs_from=10)
    x = made.add("ReduceMean", x, axes=[1], keepdims=1, inputs_from=18)
    x = made.add("Conv", x, "kernel", pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    x = made.add("BatchNormalization", x, "gamma", "beta", "mean", "variance", momentum=0.9)
    x = made.add("Clip", x, min=-1.0, max=1.0, inputs_from=11)
    x = made.add("Cast", made.add("Not", made.add("Less", x, "zero")), to=FLOAT)
    x = made.add("Sub", made.add("Mul", x, "two"), "one")
    x = made.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = made.add("Dropout", x, ratio=0.5, inputs_from=12)
    x = made.add("Gemm", made.add("Flatten", x), "dense", "bias", transB=1)
    made.add("Softmax", x, gives="y")
    graph = onnx.helper.make_graph(
        made.nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", FLOAT, [batch, 1, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", FLOAT, [batch, 10])],
        made.stored,
    )
    versions = [onnx.helper.make_opsetid("", opset)]
    found = onnx.helper.make_model(graph, opset_imports=versions, ir_version=8)
    onnx.checker.check_model(found)
    return found


def by_torch(images: np.ndarray) -> np.ndarray:
    """Answers of the same network, in double precision."""
    part = {
        name: torch.tensor(values.astype(np.float32)).double() for name, values in weights().items()
    }
    x = torch.tensor(SYMMETRIC(images)).double()
    x = functional.conv2d(x, part["kernel"], padding=1)
    x = functional.batch_norm(x, part["mean"], part["variance"], part["gamma"], part["beta"])
    x = functional.max_pool2d(torch.where(x >= 0, 1.0, -1.0).double(), 2).flatten(1)
    return (x @ part["dense"].T + part["bias"]).argmax(dim=1).numpy()


@pytest.mark.parametrize("batch", [1, "images"])
@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 14, 17, 18, LATEST])
def test_one_network_in_all_opsets(opset: int, batch: Any, digits: ImageSet) -> None:
    images = digits.test_images[: 40 if batch == 1 else 200]
    found = from_onnx(network(opset, batch), images, encoding=SYMMETRIC)
    newest = from_onnx(network(LATEST), images, encoding=SYMMETRIC)
    assert network_sha256(found.network) == network_sha256(newest.network)
    answers = packed.predict(found.network, packed.prepare(images), threads=1)
    np.testing.assert_array_equal(answers, by_torch(images))
    assert len(np.unique(answers)) > 3


def changed(opset: int, kind: str, **said: Any) -> Any:
    made = network(opset)
    (node,) = [node for node in made.graph.node if node.op_type == kind]
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in said.items())
    return made


def training(opset: int, kind: str) -> Any:
    """The same network with a node in training mode."""
    if kind == "BatchNormalization" and opset >= 14:
        return changed(opset, kind, training_mode=1)
    made = network(opset)
    (node,) = [node for node in made.graph.node if node.op_type == kind]
    if kind == "BatchNormalization":
        node.output.extend(f"further_{k}" for k in range(4))
    else:
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "training"))
        node.input.append("training")
    return made


@pytest.mark.parametrize(
    ("opset", "kind"),
    [(7, "BatchNormalization"), (13, "BatchNormalization"), (14, "BatchNormalization"),
     (LATEST, "BatchNormalization"), (12, "Dropout"), (LATEST, "Dropout")],
)  # fmt: skip
def test_nodes_in_training_mode_are_refused(opset: int, kind: str, digits: ImageSet) -> None:
    with pytest.raises(ImportRefusedError, match=rf"\({kind}\).*training mode.*model\.eval\(\)"):
        from_onnx(training(opset, kind), digits.test_images[:10], encoding=SYMMETRIC)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ([("", 6)], r"has opset 6; .* know 7 to \d+: convert it, for .*version_converter"),
        ([("", 99)], r"has opset 99; .* know 7 to \d+: export it with opset \d+, or install a new"),
        ([("elsewhere", 1)], "does not name its opset"),
    ],
)
def test_opsets_that_are_not_known_are_refused(
    versions: list[Any], message: str, digits: ImageSet
) -> None:
    made = network(13)
    del made.opset_import[:]
    made.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in versions)
    with pytest.raises(ImportRefusedError, match=message):
        from_onnx(made, digits.test_images[:10], encoding=SYMMETRIC)


def test_other_names_of_the_standard_and_local_functions(digits: ImageSet) -> None:
    plain = from_onnx(network(17), digits.test_images[:40], encoding=SYMMETRIC).network
    made = network(17)
    made.opset_import[0].domain = "ai.onnx"
    for node in made.graph.node:
        node.domain = "ai.onnx"
    named = from_onnx(made, digits.test_images[:40], encoding=SYMMETRIC)
    assert network_sha256(named.network) == network_sha256(plain)
    # the same with its convolution in a function of the model
    made = network(17)
    (conv,) = [node for node in made.graph.node if node.op_type == "Conv"]
    inside = onnx.helper.make_node("Conv", ["a", "b"], ["c"], pads=[1, 1, 1, 1])
    made.functions.append(
        onnx.helper.make_function(
            "own", "Inner", ["a", "b"], ["c"], [inside], [onnx.helper.make_opsetid("", 17)]
        )
    )
    made.opset_import.append(onnx.helper.make_opsetid("own", 1))
    conv.CopyFrom(onnx.helper.make_node("Inner", list(conv.input), list(conv.output), domain="own"))
    inlined = from_onnx(made, digits.test_images[:40], encoding=SYMMETRIC)
    assert network_sha256(inlined.network) == network_sha256(plain)


@pytest.mark.parametrize(
    ("opset", "kind", "said"),
    [
        (7, "Upsample", {"scales": [1.0, 1.0, 2.0, 2.0]}),
        (9, "Upsample", {"scales": [1.0, 1.0, 2.0, 2.0], "inputs_from": 9}),
        (10, "Resize", {"scales": [1.0, 1.0, 2.0, 2.0], "inputs_from": 10}),
        (LATEST, "Resize", {"roi": [0.0], "scales": [1.0, 1.0, 2.0, 2.0], "inputs_from": 11}),
    ],
)
def test_scaling_of_images_is_refused_by_name(
    opset: int, kind: str, said: dict[str, Any], digits: ImageSet
) -> None:
    made = Nodes(opset)
    kept = {name: np.array(v, np.float32) for name, v in said.items() if name != "inputs_from"}
    if "inputs_from" in said:
        inputs = [made.keep(name, values) for name, values in kept.items()]
        made.add(kind, "x", *inputs, gives="scaled")
    else:
        made.add(kind, "x", gives="scaled", **said)
    made.keep("dense", np.ones((256, 10)))
    made.add("MatMul", made.add("Flatten", "scaled"), "dense", gives="y")
    graph = onnx.helper.make_graph(
        made.nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", FLOAT, ["n", 1, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", FLOAT, ["n", 10])],
        made.stored,
    )
    versions = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=versions, ir_version=8)
    with pytest.raises(ImportRefusedError, match=rf"\({kind}\)"):
        from_onnx(model, digits.test_images[:10], encoding=SYMMETRIC)


def one_node(opset: int, kind: str, inputs: dict[str, np.ndarray], **said: Any) -> np.ndarray:
    """What one node gives, executed alone and within a model."""
    node = onnx.helper.make_node(kind, list(inputs), ["y"], **said)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "one", [info(name, FLOAT, v.shape) for name, v in inputs.items()],
        [info("y", FLOAT, None)],
    )  # fmt: skip
    versions = [onnx.helper.make_opsetid("", opset)]
    model = prepared(onnx, onnx.helper.make_model(graph, opset_imports=versions, ir_version=8))
    (alone,) = node_evaluator(onnx, model, node).run(None, inputs)
    evaluator = onnx.reference.ReferenceEvaluator(model, new_ops=operators(onnx))
    (within,) = evaluator.run(None, inputs)
    np.testing.assert_array_equal(alone, within)
    result: np.ndarray = alone
    return result


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(
    ("opset", "said", "axes"),
    [
        (11, {}, (1, 2)),
        (11, {"axis": 2}, (2,)),
        (11, {"axis": -3}, (0, 1, 2)),
        (13, {}, (2,)),
        (LATEST, {"axis": 1}, (1,)),
        (LATEST, {"axis": 0}, (0,)),
    ],
)
def test_softmax_sums_over_the_axes_of_its_opset(
    kind: str, opset: int, said: dict[str, int], axes: tuple[int, ...]
) -> None:
    """Before opset 13 over the axis and all after it, 1 unless said; then over one, the last."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    found = one_node(opset, kind, {"x": x}, **said)
    shares = np.exp(found) if kind == "LogSoftmax" else found
    expected = np.exp(x) / np.exp(x).sum(axis=axes, keepdims=True)
    np.testing.assert_allclose(shares, expected, rtol=1e-5)


@pytest.mark.parametrize(("spatial", "shape"), [(1, (3,)), (0, (3, 2, 2))])
def test_batch_norm_of_each_place_before_opset_9(spatial: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, 3, 2, 2)).astype(np.float32)
    scale, bias, mean = (rng.normal(size=shape).astype(np.float32) for _ in range(3))
    variance = rng.uniform(0.5, 2, shape).astype(np.float32)
    parts = {"x": x, "s": scale, "b": bias, "m": mean, "v": variance}
    found = one_node(7, "BatchNormalization", parts, spatial=spatial, epsilon=1e-3)
    s, b, m, v = (
        p[None] if p.ndim == 3 else p[None, :, None, None] for p in list(parts.values())[1:]
    )
    np.testing.assert_allclose(found, s * (x - m) / np.sqrt(v + 1e-3) + b, rtol=1e-4, atol=1e-5)


def damaged(kind: str) -> Any:
    """Models that ONNX itself would stumble over, each in its own way."""
    made = network(17)
    stored = {value.name: value for value in made.graph.initializer}
    if kind == "input":
        (conv,) = [node for node in made.graph.node if node.op_type == "Conv"]
        conv.input[0] = "nowhere"
    elif kind == "values":
        stored["dense"].raw_data = stored["dense"].raw_data[:40]
    elif kind == "nan":
        values = np.full((10, 96), np.nan, np.float32)
        stored["dense"].CopyFrom(onnx.numpy_helper.from_array(values, "dense"))
    elif kind == "variance":
        values = np.full(6, np.nan, np.float32)
        stored["variance"].CopyFrom(onnx.numpy_helper.from_array(values, "variance"))
    else:
        stored["dense"].ClearField("raw_data")
        stored["dense"].data_location = onnx.TensorProto.EXTERNAL
        stored["dense"].external_data.add(key="location", value="../elsewhere.bin")
    return made


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("input", r"\(Conv\) reads 'nowhere', which no node before it gives"),
        ("values", "the stored values 'dense' are damaged"),
        ("nan", r"weights must be \+a and -a.*'gemm_16': 100\.0%"),
        ("variance", r"must read two values, but after 'conv_5' there is only 1;.*BatchNorm"),
        ("external", r"net\.onnx: its data cannot be read"),
    ],
)
def test_damaged_models_are_refused(
    kind: str, message: str, digits: ImageSet, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(damaged(kind).SerializeToString())
    with pytest.raises(ValueError, match=message):
        from_onnx(tmp_path / "net.onnx", digits.test_images[:10], encoding=SYMMETRIC)
