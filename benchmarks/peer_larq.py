"""Larq Compute Engine as a process of its own, because it needs another NumPy than the project.

Imports nothing of the project. The first argument is a file with the layers and images, the second
the number of threads. Every line of the standard input names a file with the weights of a chip; the
answer is a line with the seconds of conversion and of inference, and the output pre-activations
lie in ``z.npy`` beside that file.

Images lie along the width of a map and layers are 1 x 1 convolutions: only convolutions are binary
in Larq, and so a thousand images are computed in one call.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np

BLOCK = 1000
MARK = "peer:"


def build(arrays: Any, block: int) -> Any:
    """Keras model with the thresholds of the network; the weights of a chip are set later."""
    import larq
    import tensorflow as tf

    parts = [
        tf.keras.layers.InputLayer(batch_input_shape=(1, 1, block, arrays["signs_0"].shape[1]))
    ]
    for index in range(int(arrays["layers"])):
        parts.append(
            larq.layers.QuantConv2D(
                arrays[f"signs_{index}"].shape[0],
                1,
                use_bias=False,
                kernel_quantizer="ste_sign",
                input_quantizer="ste_sign" if index else None,
            )
        )
        if f"threshold_{index}" in arrays:
            # direction * z - threshold + 1/2 is never 0; without epsilon the scale is exactly 1
            parts.append(tf.keras.layers.BatchNormalization(epsilon=0.0))
    model = tf.keras.Sequential(parts)
    norms = iter(
        part for part in model.layers if isinstance(part, tf.keras.layers.BatchNormalization)
    )
    for index in range(int(arrays["layers"])):
        if f"threshold_{index}" not in arrays:
            continue
        direction = arrays[f"direction_{index}"].astype(np.float32)
        shift = (0.5 - arrays[f"threshold_{index}"].astype(np.float64)).astype(np.float32)
        next(norms).set_weights([direction, shift, np.zeros_like(shift), np.ones_like(shift)])
    return model


def main() -> None:
    """Answer chips until the standard input ends."""
    import larq
    import larq_compute_engine as lce
    import tensorflow as tf
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    arrays = dict(np.load(sys.argv[1]))
    threads = int(sys.argv[2])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    images = arrays["images"]
    block = max(n for n in range(1, min(BLOCK, len(images)) + 1) if len(images) % n == 0)
    values = (2.0 * images - 255.0).astype(np.float32).reshape(-1, 1, block, images.shape[1])
    model = build(arrays, block)
    kernels = [part for part in model.layers if isinstance(part, larq.layers.QuantConv2D)]
    lce.convert_keras_model(model)  # the first conversion also traces and loads
    versions = {"larq-compute-engine": lce.__version__, "tensorflow": tf.__version__}
    print(MARK + json.dumps(versions), flush=True)
    for line in sys.stdin:
        path = Path(line.strip())
        chip = np.load(path)
        signs = [chip[f"signs_{index}"] for index in range(len(kernels))]
        began = time.perf_counter()
        for part, weight in zip(kernels, signs, strict=True):
            part.set_weights([weight.T[None, None].astype(np.float32)])
        interpreter = Interpreter(
            lce.convert_keras_model(model),
            num_threads=threads,
            use_indirect_bgemm=True,
            use_xnnpack=True,
        )
        converted = time.perf_counter()
        z = interpreter.predict(values)
        done = time.perf_counter()
        np.save(path.with_name("z.npy"), z.reshape(len(images), -1))
        seconds = {"convert_s": converted - began, "predict_s": done - converted}
        print(MARK + json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
