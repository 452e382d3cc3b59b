"""Importing Larq and Keras models from HDF5 files, without TensorFlow (``docs/import.md``)."""

import json
import os
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from bnn.importing.array_import import ChannelNorm, Sign, linear, sequential
from bnn.importing.imported import ImportedNetwork, importing
from bnn.importing.source_graph import PixelEncoding
from bnn.importing.source_stages import ImportRefusedError
from bnn.importing.torch_import import import_module
from bnn.machine.stored import MOST_EXPANDED, check_declared

_SIGNS = frozenset(("ste_sign", "approx_sign", "swish_sign", "stesign", "approxsign", "swishsign"))
_MAGNITUDE_SIGNS = frozenset(("magnitude_aware_sign", "magnitudeawaresign"))
_NOTHING = frozenset(("InputLayer", "Dropout", "GaussianNoise", "ActivityRegularization"))

_KERNELS = {"Dense": 2, "QuantDense": 2, "Conv2D": 4, "QuantConv2D": 4}


class _ChannelsFirst(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.permute(0, 3, 1, 2) if values.ndim == 4 else values


class _FlattenChannelsLast(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return (values.permute(0, 2, 3, 1) if values.ndim == 4 else values).flatten(1)


def from_keras(
    path: str | os.PathLike[str],
    images: npt.NDArray[np.uint8],
    *,
    scale: float = 2 / 255,
    offset: float = -1.0,
) -> ImportedNetwork:
    """Import a sequential Larq or Keras model that was saved whole as HDF5.

    Parameters
    ----------
    path : path
        File of ``model.save("NAME.h5")``: the attribute ``model_config`` and the group
        ``model_weights``. Kernels are (inputs, neurons) or (row, column, in, out), with a
        ``kernel_quantizer`` that is a sign, or +a and -a as stored.
    images : uint8 array, shape (images, pixels)
        Images, pixels in the order (channel, row, column), on which the folded network is compared
        with the same layers computed by PyTorch in double precision.
    scale, offset : float
        The model takes ``pixel * scale + offset``; Larq's examples use 2 / 255 and -1.

    Returns
    -------
    ImportedNetwork
        The network. TensorFlow is not executed: compare its accuracy with what you know.

    Raises
    ------
    ImportRefusedError
        Weights that are not binary, or layers that are not understood, by name.
    ValueError
        The file is no such HDF5 file.
    """
    with importing(path, "Keras model saved whole as HDF5, model.save('NAME.h5'),"):
        return _from_keras(path, images, scale, offset)


def _from_keras(
    path: str | os.PathLike[str], images: npt.NDArray[np.uint8], scale: float, offset: float
) -> ImportedNetwork:
    name = os.path.basename(os.fspath(path))
    _check_heaps(path)
    with h5py.File(path, "r") as file:
        check_declared(file, most=MOST_EXPANDED)
        layers, shape = _layers_of(json.loads(file.attrs["model_config"]))
        weights = {layer["config"]["name"]: _weights_of(file, layer) for layer in layers}
    unknown = []
    parts: list[tuple[str, nn.Module]] = [("channels first", _ChannelsFirst())]
    for layer in layers:
        modules = _modules_of(layer, weights[layer["config"]["name"]])
        if modules is None:
            unknown.append(f"{layer['config']['name']!r} ({layer['class_name']})")
        else:
            parts.extend(modules)
    if unknown:
        raise ImportRefusedError(f"layers that are not understood: {', '.join(unknown)}")
    encoding = PixelEncoding(shape, scale, offset, channels_last=len(shape) == 3)
    source = {"format": "Keras HDF5", "file": name}
    return import_module(sequential(parts), images, encoding, source=source)


def _check_heaps(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose heaps of texts would keep the HDF5 library in an endless loop.

    A heap is a header of 16 bytes, which begins with GCOL and the version, and objects of 16 bytes
    and their content; the object number 0 is free space, whose size counts its own 16 bytes.
    """
    with open(path, "rb") as file:
        data = file.read()
    mark = b"GCOL\1\0\0\0"
    at = data.find(mark)
    while at >= 0:
        end = min(at + int.from_bytes(data[at + 8 : at + 16], "little"), len(data))
        place = at + 16
        while place + 16 <= end:
            size = int.from_bytes(data[place + 8 : place + 16], "little")
            free = data[place : place + 2] == b"\0\0"
            step = size if free else 16 + -(-size // 8) * 8
            if not 16 <= step <= end - place:
                raise ValueError(f"a heap of texts is damaged at byte {place}")
            place += step
        at = data.find(mark, at + 1)


def _layers_of(config: dict[str, Any]) -> tuple[list[dict[str, Any]], tuple[int, ...]]:
    if config["class_name"] != "Sequential":
        raise ImportRefusedError(
            f"the model is {config['class_name']}, only Sequential ones can be imported"
        )
    inner = config["config"]
    layers = inner["layers"] if isinstance(inner, dict) else inner
    for layer in layers:
        own = layer["config"]
        for key in ("batch_input_shape", "batch_shape"):
            if own.get(key):
                return layers, tuple(int(size) for size in own[key][1:])
    raise ImportRefusedError("no layer names the shape of the input (batch_input_shape)")


def _weights_of(file: Any, layer: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a layer by their last name, without the number of the output."""
    found: dict[str, npt.NDArray[Any]] = {}
    group = file["model_weights"].get(layer["config"]["name"])

    def keep(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[path.rsplit("/", 1)[-1].split(":")[0]] = np.asarray(item)

    if group is not None:
        group.visititems(keep)
    return found


def _modules_of(
    layer: dict[str, Any], weights: dict[str, npt.NDArray[Any]]
) -> list[tuple[str, nn.Module]] | None:
    """PyTorch modules of a layer; None where it is not understood."""
    kind, own = layer["class_name"], layer["config"]
    name = own["name"]
    if own.get("data_format", "channels_last") != "channels_last":
        return None
    if kind in _NOTHING:
        return []
    if kind in _KERNELS:
        return _weighted(name, kind, own, weights)
    if kind == "BatchNormalization":
        norm = ChannelNorm(
            mean=weights["moving_mean"],
            variance=weights["moving_variance"],
            gamma=weights.get("gamma"),
            beta=weights.get("beta"),
            epsilon=float(own["epsilon"]),
        )
        return [(name, norm)]
    if kind == "MaxPooling2D":
        size, stride = own["pool_size"], own.get("strides") or own["pool_size"]
        if own.get("padding", "valid") == "valid":
            return [(name, nn.MaxPool2d(tuple(size), tuple(stride)))]
    if kind == "Flatten":
        return [(name, _FlattenChannelsLast())]
    if kind == "Activation":
        return _activation(name, own["activation"])
    return None


def _weighted(
    name: str, kind: str, own: dict[str, Any], weights: dict[str, npt.NDArray[Any]]
) -> list[tuple[str, nn.Module]] | None:
    kernel = np.asarray(weights["kernel"], np.float64)
    if kernel.ndim != _KERNELS[kind]:
        return None
    if kernel.ndim == 4:
        plain = (
            own.get("padding") == "same"
            and set(own.get("strides", [1])) == {1}
            and set(own.get("dilation_rate", [1])) == {1}
            and own.get("groups", 1) == 1
            and own.get("pad_values", 0.0) == 0.0
        )
        if not plain:
            raise ImportRefusedError(
                f"layer {name!r}: a convolution must have padding 'same' with zeros, strides 1 "
                "and no groups or dilation"
            )
    quantizer, known = _quantizer(own.get("kernel_quantizer"))
    if not known:
        raise ImportRefusedError(
            f"layer {name!r}: the kernel quantizer {quantizer!r} is no known sign"
        )
    if quantizer in _SIGNS | _MAGNITUDE_SIGNS:
        signs = np.where(kernel >= 0, 1.0, -1.0)
        if quantizer in _MAGNITUDE_SIGNS:
            signs = signs * np.abs(kernel).mean(axis=tuple(range(kernel.ndim - 1)))
        kernel = signs
    weight = kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)
    parts: list[tuple[str, nn.Module]] = []
    quantizer, known = _quantizer(own.get("input_quantizer"))
    if not known or quantizer in _MAGNITUDE_SIGNS:
        raise ImportRefusedError(
            f"layer {name!r}: the input quantizer {quantizer!r} is no known sign"
        )
    if quantizer:
        parts.append((f"{name} input", Sign()))
    parts.append((name, linear(np.ascontiguousarray(weight), weights.get("bias"))))
    activation = own.get("activation", "linear")
    after = [] if activation is None else _activation(f"{name} activation", activation)
    return None if after is None else [*parts, *after]


def _quantizer(config: Any) -> tuple[str, bool]:
    """Name of a quantizer in small letters, empty for none, and whether it is a sign."""
    if config is None:
        return "", True
    name = config.get("class_name", "") if isinstance(config, dict) else str(config)
    name = name.rsplit(">", 1)[-1].lower()
    return name, name in _SIGNS | _MAGNITUDE_SIGNS


def _activation(name: str, activation: Any) -> list[tuple[str, nn.Module]] | None:
    known: dict[str, list[nn.Module]] = {
        "linear": [],
        "softmax": [nn.Softmax(dim=1)],
        "hard_tanh": [nn.Hardtanh()],
        **{sign: [Sign()] for sign in _SIGNS},
    }
    if not isinstance(activation, str):
        activation = _quantizer(activation)[0]
    found = known.get(activation)
    return None if found is None else [(name, module) for module in found]
