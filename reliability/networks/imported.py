"""Networks from files of other tools, and a description of a network in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bnn.engines.packed import packed
from bnn.images.sets import ImageSet
from bnn.importing.array_import import from_npz
from bnn.importing.imported import ImportedNetwork, importing
from bnn.importing.keras_import import from_keras
from bnn.importing.onnx_import import from_onnx, model_shape
from bnn.importing.onnx_operators import check_expansion
from bnn.importing.source_graph import PixelEncoding
from bnn.networks.network import (
    ALWAYS,
    NEVER,
    ConvLayer,
    FoldedNetwork,
    OutputLayer,
    network_sha256,
)
from reliability.networks.treatments import treatment_of

ROUND_TRIP_IMAGES = 500
"""Test images on which source and import are compared."""

_ENCODINGS = {"unit": (1 / 255, 0.0), "symmetric": (2 / 255, -1.0), "raw": (1.0, 0.0)}
_SUFFIXES = (".onnx", ".h5", ".hdf5", ".npz")


def read_network(path: Path, images: ImageSet, encoding: str | None) -> ImportedNetwork:
    """Import a file by its suffix and compare it with its source on test images.

    Parameters
    ----------
    path : Path
        File of another tool.
    images : ImageSet
        Set that the network was made for.
    encoding : str or None
        ``unit``, ``symmetric``, ``raw`` or ``MEAN,STD``; None for the default of the format.

    Raises
    ------
    ValueError
        Unknown suffix or encoding, a missing package, or as of the importer.
    """
    some = images.test_images[:ROUND_TRIP_IMAGES]
    if not path.is_file():
        raise ValueError(f"{path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    line = None if encoding is None else straight_line(encoding)
    if path.suffix == ".npz":
        if line is not None:
            raise ValueError("--encoding: a .npz file says itself how it takes its pixels")
        found = from_npz(path, some)
    elif path.suffix in (".h5", ".hdf5"):
        scale, offset = line or _ENCODINGS["symmetric"]
        found = from_keras(path, some, scale=scale, offset=offset)
    elif path.suffix == ".onnx":
        found = _from_onnx(path, some, line or _ENCODINGS["unit"])
    else:
        raise ValueError(
            f"{path}: unknown suffix; known: {', '.join(_SUFFIXES)}. PyTorch modules are imported "
            "from Python with bnn.from_torch, or exported to ONNX"
        )
    source = {**found.record["source"], "image_set": images.name, "encoding": encoding or "default"}
    return replace(found, record={**found.record, "source": source})


def _from_onnx(path: Path, images: Any, line: tuple[float, float]) -> ImportedNetwork:
    with importing(path, "ONNX model"):
        try:
            chosen = PixelEncoding(model_shape(path), *line)
            check_expansion(path)
            return from_onnx(path, images, encoding=chosen)
        except ImportError as error:
            raise ValueError(f"{path}: {error}") from None


def straight_line(encoding: str) -> tuple[float, float]:
    """Scale and offset of an encoding by its name, or of ``MEAN,STD``.

    Raises
    ------
    ValueError
        Neither.
    """
    if encoding in _ENCODINGS:
        return _ENCODINGS[encoding]
    try:
        mean, std = (float(text) for text in encoding.split(","))
        if not std > 0 or not np.isfinite([mean, std]).all():
            raise ValueError
    except ValueError:
        raise ValueError(
            f"--encoding {encoding!r} is not known; known: {', '.join(_ENCODINGS)}, or MEAN,STD "
            "such as 0.1307,0.3081"
        ) from None
    return 1 / (255 * std), -mean / std


def round_trip_lines(source: dict[str, Any]) -> list[str]:
    """What the comparison of an imported network with its source gave, from its record."""
    images, tied = source["round_trip_images"], source.get("tied_images", 0)
    lines = [f"same answers as the source on {images} images"]
    at_ties = source.get("differ_at_ties", 0)
    hidden = source.get("differ_by_hidden_rounding", 0)
    if tied:
        theirs = (
            f"the source's own answer depends on rounding there ({at_ties} differ)"
            if at_ties
            else "as the source did"
        )
        lines.append(
            f"{tied} of {images} images have tied best scores: the lowest of those classes is "
            f"answered, {theirs}"
        )
    if hidden:
        lines.append(
            f"{hidden} of {images} images are answered otherwise because hidden sums lie at their "
            "thresholds within the rounding of the source"
        )
    if at_ties or hidden:
        lines[0] += ", but for those named next"
    return lines


def accuracy_on(network: FoldedNetwork, images: ImageSet) -> tuple[int, int]:
    """Right answers on the test images, and their number."""
    answers = packed.predict(network, packed.prepare(images.test_images), threads=1)
    return int((answers == images.test_labels).sum()), len(answers)


def network_lines(network: FoldedNetwork, record: dict[str, Any]) -> list[str]:
    """What a network is, line by line."""
    lines = [f"sizes: {'-'.join(str(size) for size in network.sizes)}"]
    for layer in network.layers:
        rows = len(layer.weights)
        text = f"{layer.name}: "
        if isinstance(layer, ConvLayer):
            text += (
                f"convolution {layer.kernel} x {layer.kernel}, {layer.channels} to {rows} channels "
                f"of {layer.height} x {layer.width}"
            )
            text += ", maximum pooling 2 x 2" if layer.pool == 2 else ""
        else:
            text += f"fully connected, {layer.columns} to {rows}"
        text += f", {rows * layer.columns} weight bits"
        if isinstance(layer, OutputLayer):
            text += ", affine output"
        else:
            constant = int(((layer.threshold == ALWAYS) | (layer.threshold == NEVER)).sum())
            falling = int((layer.direction < 0).sum())
            text += f", {rows} thresholds ({falling} falling, {constant} constant)"
        lines.append(text)
    lines.append(f"weight bits: {sum(network.weight_bits.values())}")
    lines.append(f"thresholds: {treatment_of(record)}")
    lines.append(f"from: {_origin(record)}")
    lines.append(f"SHA-256: {network_sha256(network)}")
    return lines


def _origin(record: dict[str, Any]) -> str:
    training, source = record.get("training"), record.get("source")
    if training is not None:
        rate = float(training.get("ber", 0.0))
        kind = f"at BER {rate:g}" if rate else "without errors"
        name = record.get("image_set", {}).get("name", "images that the record does not name")
        history = record.get("history") or [{}]
        text = f"training on {name} {kind}"
        if "test_correct" in history[-1]:
            text += (
                f", {history[-1]['test_correct']} of {history[-1]['test_images']} test images right"
            )
        return text
    if source is not None:
        return (
            f"{source.get('file', source.get('class', 'a module'))} ({source['format']}), "
            f"{'; '.join(round_trip_lines(source))}"
        )
    return "the record does not say"
