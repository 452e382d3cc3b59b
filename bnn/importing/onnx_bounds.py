"""How large the values of an ONNX model become, before any of them is computed."""

import math
import os

from bnn.machine.stored import MOST_EXPANDED


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
