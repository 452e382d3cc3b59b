"""Operators of ONNX as the opset of a file means them.

ONNX's reference implementation chooses an operator by opset only within a whole model, and a few of
its operators have one meaning where the standard has several. Those are here, and the check that
no value of a model is too large to be computed.
"""

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from bnn.importing.source_stages import ImportRefusedError
from bnn.machine.stored import MOST_EXPANDED

Array = npt.NDArray[Any]

OLDEST_OPSET = 7
"""Before it, arithmetic operators said by attributes how shapes are matched."""

_BIPOLAR_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")


def prepared(onnx: Any, model: Any) -> Any:
    """Copy of a model whose nodes can be executed one by one.

    Parameters
    ----------
    onnx : module
        The package.
    model : onnx.ModelProto
        Model; not changed.

    Returns
    -------
    onnx.ModelProto
        With local functions written out, one name for the domain of the standard, and a version
        for each domain of ``BipolarQuant``.

    Raises
    ------
    ImportRefusedError
        The model names no opset, or one that is too old or too new.
    """
    own = onnx.ModelProto()
    own.CopyFrom(model)
    if len(own.functions):
        own = onnx.inliner.inline_local_functions(own)
    for part in (*own.opset_import, *own.graph.node):
        if part.domain == "ai.onnx":
            part.domain = ""
    versions = opsets(own)
    newest = onnx.defs.onnx_opset_version()
    if "" not in versions:
        raise ImportRefusedError(
            "the model does not name its opset, so its operators are not known"
        )
    if not OLDEST_OPSET <= versions[""] <= newest:
        remedy = (
            f"convert it, for instance with onnx.version_converter.convert_version(model, {newest})"
            if versions[""] < OLDEST_OPSET
            else f"export it with opset {newest}, or install a newer onnx"
        )
        raise ImportRefusedError(
            f"the model has opset {versions['']}; the package onnx {onnx.__version__} and this "
            f"import know {OLDEST_OPSET} to {newest}: {remedy}"
        )
    for domain in _BIPOLAR_DOMAINS:
        if domain not in versions:
            own.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    return own


def stored_array(onnx: Any, value: Any) -> Array:
    """The values of an initializer.

    Raises
    ------
    ImportRefusedError
        They do not fit its type and shape.
    """
    try:
        found: Array = onnx.numpy_helper.to_array(value)
    except (ValueError, TypeError, KeyError) as error:
        raise ImportRefusedError(f"the stored values {value.name!r} are damaged: {error}") from None
    return found


def opsets(model: Any) -> dict[str, int]:
    """Versions of the domains of a model."""
    return {item.domain: item.version for item in model.opset_import}


def node_evaluator(onnx: Any, model: Any, node: Any) -> Any:
    """Executes one node of a prepared model in the opsets of that model."""
    empty = onnx.helper.make_empty_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "node",
        [empty(name) for name in dict.fromkeys(node.input) if name],
        [empty(name) for name in node.output if name],
    )
    return onnx.reference.ReferenceEvaluator(graph, opsets=opsets(model), new_ops=operators(onnx))


def operators(onnx: Any) -> list[Any]:
    """Operators for ``new_ops`` of ``onnx.reference.ReferenceEvaluator``."""
    base = onnx.reference.op_run.OpRun
    own = {
        "BatchNormalization": _batch_normalization,
        "Dropout": _dropout,
        "LogSoftmax": _log_softmax,
        "Softmax": _softmax,
    }
    return [
        *(type(name, (base,), {"op_domain": "", "_run": run}) for name, run in own.items()),
        *(
            type("BipolarQuant", (base,), {"op_domain": domain, "_run": _bipolar_quant})
            for domain in _BIPOLAR_DOMAINS
        ),
    ]


def _bipolar_quant(self: Any, x: Array, scale: Array) -> tuple[Array]:
    """The sign, +1 at 0, times a scale."""
    return ((np.where(x >= 0, 1, -1).astype(x.dtype) * scale).astype(x.dtype),)


def _batch_normalization(
    self: Any, x: Array, scale: Array, bias: Array, mean: Array, variance: Array, **settings: Any
) -> tuple[Array]:
    """Normalise with stored statistics; before opset 14 further outputs ask for training."""
    opset = self.run_params["opsets"][""]
    outputs = sum(1 for name in self.onnx_node.output if name)
    if outputs > 1 if opset < 14 else settings["training_mode"]:
        raise ValueError(
            "it is in training mode and normalises by the images at hand; export the model in "
            "evaluation mode, as after model.eval() in PyTorch"
        )
    # opset 7 and 8 may have statistics for each place of a map
    shape = (1, -1, *[1] * (x.ndim - 2)) if settings.get("spatial", 1) else (1, *x.shape[1:])
    scale, bias, mean, variance = (part.reshape(shape) for part in (scale, bias, mean, variance))
    normal = scale * (x - mean) / np.sqrt(variance + settings["epsilon"]) + bias
    return (normal.astype(x.dtype),)


def _dropout(self: Any, x: Array, *inputs: Any, **settings: Any) -> tuple[Array, Array]:
    """Leave the values as they are, as in evaluation."""
    if len(inputs) > 1 and inputs[1] is not None and np.any(inputs[1]):
        raise ValueError(
            "it is in training mode and drops values at random; export the model in evaluation "
            "mode, as after model.eval() in PyTorch"
        )
    return x, np.ones(x.shape, np.bool_)


def _softmax(self: Any, x: Array, **settings: Any) -> tuple[Array]:
    return (np.exp(_log_softmax(self, x, **settings)[0]).astype(x.dtype),)


def _log_softmax(self: Any, x: Array, **settings: Any) -> tuple[Array]:
    """Over one axis; before opset 13 over that axis and all that follow."""
    said = {item.name: item.i for item in self.onnx_node.attribute}
    if self.run_params["opsets"][""] < 13:
        axis = said.get("axis", 1)
        rows = x.reshape(*x.shape[:axis], -1)
        axis = -1
    else:
        axis, rows = said.get("axis", -1), x
    above = rows - rows.max(axis=axis, keepdims=True)
    found = above - np.log(np.exp(above).sum(axis=axis, keepdims=True))
    return (found.reshape(x.shape).astype(x.dtype),)


def check_expansion(path: str | os.PathLike[str]) -> None:
    """Refuse a model of which a value would not fit: a few bytes can ask for gigabytes of ones.

    Only shapes that the model or ONNX's shape inference tells are known; an axis that they leave
    open counts as one.

    Raises
    ------
    ValueError
        A value of one image would take more than `bnn.machine.stored.MOST_EXPANDED` bytes; names
        it.
    ImportError
        The package ``onnx`` is missing.
    """
    import onnx
    import onnx.shape_inference

    model = onnx.shape_inference.infer_shapes(onnx.load(os.fspath(path)), data_prop=True)
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        tensor = value.type.tensor_type
        sizes = [size.dim_value for size in tensor.shape.dim if size.dim_value > 0]
        bits = 64 if tensor.elem_type in (onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64) else 32
        if math.prod(sizes) * bits // 8 > MOST_EXPANDED:
            raise ValueError(
                f"the value {value.name!r} of the shape {sizes} takes more than {MOST_EXPANDED} "
                "bytes"
            )
