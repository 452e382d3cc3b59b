"""Importing ONNX models, QONNX's ``BipolarQuant`` included; needs the package ``onnx``.

Every node is executed by the reference implementation of ONNX, which is slow and exact enough; what
a node does is never guessed from its name.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bnn.importing.imported import ImportedNetwork, imported
from bnn.importing.onnx_operators import node_evaluator, operators, prepared, stored_array
from bnn.importing.source_folding import fold_source
from bnn.importing.source_graph import (
    PixelEncoding,
    SourceGraph,
    Step,
    Values,
    Weighted,
    convolution_problem,
    pooling,
)
from bnn.importing.source_stages import ImportRefusedError

_RECORDED_IMAGES = 8

# what lies between the layers of binarized networks; others are named first when a part is refused
_USUAL = frozenset(
    "Add BatchNormalization BipolarQuant Cast Clip Concat Div Dropout Equal Expand Flatten Gather "
    "Greater GreaterOrEqual HardTanh Identity Less LessOrEqual Max MaxPool Min Mul Neg Not Reshape "
    "Shape Sign Slice Squeeze Sub Transpose Unsqueeze Where".split()
)


def from_onnx(
    model: Any, images: npt.NDArray[np.uint8], *, encoding: PixelEncoding | None = None
) -> ImportedNetwork:
    """Import an ONNX model: a chain of binary linear layers and convolutions.

    Parameters
    ----------
    model : path or onnx.ModelProto
        Model with one input and one output. Weights are initializers of +a and -a, or pass through
        operators that make them so, such as ``BipolarQuant``.
    images : uint8 array, shape (images, pixels)
        Images on which model and result are compared; real ones, some hundred.
    encoding : PixelEncoding, optional
        How the model wants its images; without it ``pixel / 255`` in the shape of its input.

    Returns
    -------
    ImportedNetwork
        Gives the answers of the model on all `images`.

    Raises
    ------
    ImportRefusedError
        Weights that are not binary, nodes that are not understood, or answers that differ.
    ImportError
        The package ``onnx`` is missing.
    ValueError
        The file is no ONNX model.
    """
    onnx = _onnx()
    source = {"format": "ONNX"}
    if isinstance(model, str | os.PathLike):
        source["file"] = os.path.basename(os.fspath(model))
        model = _load(onnx, model)
    model = prepared(onnx, model)
    encoded = PixelEncoding(_shape(model)) if encoding is None else encoding
    batch = _dimensions(model)[0] or _RECORDED_IMAGES

    def full(part: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.resize(part, (batch, images.shape[1]))

    def record(part: npt.NDArray[np.uint8]) -> SourceGraph:
        return _record(onnx, model, encoded(full(part)))

    folded = fold_source(record(images[:batch]), full(images[:batch]), encoded)
    evaluator = onnx.reference.ReferenceEvaluator(model, new_ops=operators(onnx))
    scores = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        (found,) = evaluator.run(None, {_input(model).name: encoded(full(part))})
        scores.append(found[: len(part)])
    return imported(
        folded, images, scores=np.concatenate(scores), source=source, again=record, batch=batch
    )


def model_shape(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Shape of one image that the model in a file takes.

    Raises
    ------
    ImportRefusedError
        The model leaves it open.
    ImportError
        The package ``onnx`` is missing.
    ValueError
        The file is no ONNX model.
    """
    return _shape(_load(_onnx(), path))


def _onnx() -> Any:
    try:
        import onnx
        import onnx.inliner
        import onnx.reference
    except ImportError as error:
        raise ImportError(
            "ONNX models need the package onnx: pip install 'rram-reliability[onnx]'"
        ) from error
    return onnx


def _load(onnx: Any, path: str | os.PathLike[str]) -> Any:
    name = os.path.basename(os.fspath(path))
    try:
        return onnx.load(os.fspath(path))
    except OSError:
        raise
    except onnx.checker.ValidationError as error:
        raise ValueError(f"{name}: its data cannot be read ({error})") from error
    except Exception as error:
        # protobuf has an exception type of its own, in a package that is not ours to import
        if not isinstance(error, ValueError) and type(error).__name__ != "DecodeError":
            raise
        raise ValueError(f"{name}: not an ONNX model ({error})") from error


def _input(model: Any) -> Any:
    stored = {value.name for value in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise ImportRefusedError(
            f"the model has {len(inputs)} inputs and {len(model.graph.output)} outputs; one of "
            "each is needed"
        )
    return inputs[0]


def _shape(model: Any) -> tuple[int, ...]:
    shape = _dimensions(model)[1:]
    if not shape or not all(shape):
        raise ImportRefusedError(
            f"the input {_input(model).name!r} of the model leaves its shape open; give an encoding"
        )
    return tuple(shape)


def _dimensions(model: Any) -> list[int]:
    """Sizes of the input, 0 where the model leaves one open."""
    return [size.dim_value for size in _input(model).type.tensor_type.shape.dim]


def _record(onnx: Any, model: Any, inputs: npt.NDArray[Any]) -> SourceGraph:
    """Execute a model node by node and keep the nodes that depend on its input."""
    known: dict[str, Any] = {
        value.name: stored_array(onnx, value) for value in model.graph.initializer
    }
    start = _input(model).name
    known[start] = inputs
    keys = {start: 0}
    steps = []
    for node in model.graph.node:
        names = [name for name in node.input if name]
        missing = [name for name in names if name not in known]
        if missing:
            raise ImportRefusedError(
                f"node {node.name or node.output[0]!r} ({node.op_type}) reads {missing[0]!r}, "
                "which no node before it gives"
            )
        try:
            evaluator = node_evaluator(onnx, model, node)
            results = evaluator.run(None, {name: known[name] for name in names})
        except Exception as error:
            # what an operator raises is its own affair; unknown ones raise NotImplementedError
            raise ImportRefusedError(
                f"node {node.name or node.output[0]!r} ({node.op_type}) cannot be executed: {error}"
            ) from error
        gives = [name for name in node.output if name]
        known.update(zip(gives, results, strict=False))
        depending = [name for name in dict.fromkeys(names) if name in keys]
        if not depending:
            continue
        for name in gives:
            keys[name] = len(keys)
        steps.append(
            Step(
                layer=node.name or node.output[0],
                operation=node.op_type,
                usual=node.op_type in _USUAL,
                reads=tuple(keys[name] for name in depending),
                writes=tuple(keys[name] for name in gives),
                run=_runner(evaluator, names, gives, keys, known),
                weighted=_weighted(onnx, node, keys, known),
                pool=_pool(onnx, node),
            )
        )
    end = model.graph.output[0].name
    if end not in keys:
        raise ImportRefusedError(f"the output {end!r} of the model does not depend on its input")
    return SourceGraph(
        steps=tuple(steps), start=0, end=keys[end], to_source=np.asarray, from_source=np.asarray
    )


def _runner(
    evaluator: Any,
    names: list[str],
    gives: list[str],
    keys: dict[str, int],
    known: dict[str, Any],
) -> Callable[[Values], None]:
    fixed = {name: known[name] for name in names if name not in keys}

    def run(values: Values) -> None:
        found = {name: values[keys[name]] for name in names if name in keys}
        results = evaluator.run(None, {**fixed, **found})
        values.update((keys[name], part) for name, part in zip(gives, results, strict=False))

    return run


def _weighted(onnx: Any, node: Any, keys: dict[str, int], known: dict[str, Any]) -> Weighted | None:
    if node.op_type not in ("MatMul", "Gemm", "Conv"):
        return None
    reads, other, *rest = node.input
    if reads not in keys or other in keys:
        return None
    settings = _attributes(onnx, node)
    weights = np.asarray(known[other], np.float64)
    bias = np.zeros(1) if not rest or not rest[0] else np.asarray(known[rest[0]], np.float64)
    problem = ""
    if node.op_type == "Conv":
        problem = _conv_problem(settings, weights.shape)
    elif weights.ndim != 2 or known[reads].ndim != 2 or settings.get("transA", 0):
        problem = "only products of the shape (images, inputs) times (inputs, neurons) are known"
    else:
        if not settings.get("transB", 0):
            weights = weights.T
        weights, bias = weights * settings.get("alpha", 1.0), bias * settings.get("beta", 1.0)
    return Weighted(
        weights=weights,
        bias=np.broadcast_to(bias.reshape(-1), (len(weights),)),
        reads=np.array(known[reads]),
        gives=np.array(known[node.output[0]]),
        problem=problem,
    )


def _conv_problem(settings: dict[str, Any], shape: tuple[int, ...]) -> str:
    kernel = shape[2:]
    one = [1] * len(kernel)
    pads = settings.get("pads", [0, 0] * len(kernel))
    if settings.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        pads = [size // 2 for size in kernel] * 2
    return convolution_problem(
        kernel,
        strides=settings.get("strides", one),
        pads=pads,
        dilations=settings.get("dilations", one),
        groups=settings.get("group", 1),
    )


def _pool(onnx: Any, node: Any) -> tuple[int, int, int] | None:
    if node.op_type != "MaxPool":
        return None
    settings = _attributes(onnx, node)
    return pooling(
        settings["kernel_shape"], settings.get("strides", [1]), settings.get("pads", [0])
    )


def _attributes(onnx: Any, node: Any) -> dict[str, Any]:
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
