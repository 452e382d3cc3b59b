"""Importing bare weights: ``.npz`` files by a documented layout (``docs/import.md``)."""

import os
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bnn.importing.imported import ImportedNetwork, importing
from bnn.importing.source_graph import PixelEncoding
from bnn.importing.source_stages import ImportRefusedError
from bnn.importing.torch_import import import_module
from bnn.machine.stored import MOST_EXPANDED, shown

_PARTS = ("weight", "bias", "gamma", "beta", "mean", "variance", "epsilon", "pool")
_SETTINGS = ("layers", "image_shape", "pixel_scale", "pixel_offset", "answers")

FOLDED_SCALE, FOLDED_OFFSET = 2.0, -255.0
"""Encoding of the pixels where a file names none, ``2 * pixel - 255``."""


class Sign(nn.Module):
    """Sign with ``sign(0) = +1``."""

    def forward(self, values: Tensor) -> Tensor:
        """+1 where `values` is at least 0, else -1."""
        return torch.where(values >= 0, 1.0, -1.0).to(values.dtype)


class Double(nn.Module):
    """Computes in double precision from here on."""

    def forward(self, values: Tensor) -> Tensor:
        """Turn `values` into float64."""
        return values.double()


class ChannelNorm(nn.Module):
    """Batch norm of vectors and of maps in evaluation.

    Parameters
    ----------
    mean, variance : float array, shape (channels,)
        Running statistics.
    gamma, beta : float array, shape (channels,), optional
        Factor and summand; 1 and 0 where they are not given.
    epsilon : float
        Added to the variance.
    """

    mean: Tensor
    variance: Tensor
    gamma: Tensor
    beta: Tensor

    def __init__(
        self,
        *,
        mean: npt.NDArray[Any],
        variance: npt.NDArray[Any],
        gamma: npt.NDArray[Any] | None,
        beta: npt.NDArray[Any] | None,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.epsilon = epsilon
        gamma = np.ones(len(mean)) if gamma is None else gamma
        beta = np.zeros(len(mean)) if beta is None else beta
        for name, values in (
            ("mean", mean),
            ("variance", variance),
            ("gamma", gamma),
            ("beta", beta),
        ):
            self.register_buffer(name, torch.tensor(np.asarray(values, np.float64)))

    def forward(self, values: Tensor) -> Tensor:
        """Normalise `values`, shape (images, channels) or (images, channels, height, width)."""
        return nn.functional.batch_norm(
            values, self.mean, self.variance, self.gamma, self.beta, eps=self.epsilon
        )


def from_npz(path: str | os.PathLike[str], images: npt.NDArray[np.uint8]) -> ImportedNetwork:
    """Import the weights of a ``.npz`` file.

    Parameters
    ----------
    path : path
        File with the arrays that ``docs/import.md`` describes.
    images : uint8 array, shape (images, pixels)
        Images on which the folded network is compared with the weights, computed by PyTorch in
        double precision, and with the answers in the file, where it has some: those belong to the
        first of these images.

    Returns
    -------
    ImportedNetwork
        Gives the answers of the weights on all `images`.

    Raises
    ------
    ImportRefusedError
        Weights that are not binary, or answers that differ.
    ValueError
        The file cannot be read, or an array is missing, unknown or of the wrong shape.
    """
    name = os.path.basename(os.fspath(path))
    with importing(path, ".npz file of plain arrays"):
        return _from_arrays(_read(path), images, {"format": "npz", "file": name})


def _read(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a file, which may be compressed: its size is checked before it is expanded."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MOST_EXPANDED:
        raise ValueError(f"its arrays take {size} bytes; at most {MOST_EXPANDED} are read")
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def from_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], images: npt.NDArray[np.uint8]
) -> ImportedNetwork:
    """Import weights by the layout of :func:`from_npz`, as arrays by name."""
    return _from_arrays(arrays, images, {"format": "arrays"})


def _from_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], images: npt.NDArray[np.uint8], source: dict[str, Any]
) -> ImportedNetwork:
    module, encoding = _module_of(arrays)
    answers = None
    if "answers" in arrays:
        answers = np.asarray(arrays["answers"], np.int64)
        if answers.ndim != 1 or not 0 < len(answers) <= len(images):
            raise ValueError(
                f"answers must have the shape (images,) with at most {len(images)} images, got "
                f"{answers.shape}"
            )
        source = {**source, "answers_in_file": len(answers)}
    try:
        return import_module(module, images, encoding, source=source, answers=answers)
    except RuntimeError as error:
        raise ValueError(f"the layers do not fit together: {error}") from error


def sequential(parts: list[tuple[str, nn.Module]]) -> nn.Sequential:
    """Chain of named modules that computes in double precision, in evaluation mode."""
    # a name with a dot would be a path to PyTorch
    named = [(name.replace(".", "/"), module) for name, module in parts]
    chain = nn.Sequential(OrderedDict([("double precision", Double()), *named]))
    return chain.double().eval().requires_grad_(False)


def linear(weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None) -> nn.Module:
    """Linear layer of a weight (neurons, inputs), or convolution of (out, in, kernel, kernel)."""
    module: nn.Conv2d | nn.Linear
    if weight.ndim == 4:
        out, channels, rows, columns = weight.shape
        padding = (rows // 2, columns // 2)
        module = nn.Conv2d(channels, out, (rows, columns), padding=padding, bias=bias is not None)
    else:
        module = nn.Linear(weight.shape[1], len(weight), bias=bias is not None)
    module = module.double()
    with torch.no_grad():
        module.weight.copy_(torch.tensor(np.asarray(weight, np.float64)))
        if module.bias is not None:
            module.bias.copy_(torch.tensor(np.asarray(bias, np.float64)))
    return module


def _module_of(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[nn.Sequential, PixelEncoding]:
    names = _layer_names(arrays)
    _check_numbers(arrays)
    parts: list[tuple[str, nn.Module]] = []
    maps = False
    for index, name in enumerate(names):
        own = {part: arrays.get(f"{name}.{part}") for part in _PARTS}
        weight = own["weight"]
        if weight is None or weight.ndim not in (2, 4) or not weight.size:
            shape = "missing" if weight is None else f"of the shape {weight.shape}"
            raise ValueError(
                f"'{name}.weight' is {shape}; give (neurons, inputs), or (out, in, kernel, kernel) "
                "for a convolution"
            )
        if weight.ndim == 2 and (maps or index == 0):
            parts.append((f"{name} flatten", nn.Flatten()))
        maps = weight.ndim == 4
        for part in ("bias", "gamma", "beta", "mean", "variance"):
            values = own[part]
            if values is not None and values.shape != (len(weight),):
                raise ValueError(
                    f"'{name}.{part}' must have the shape ({len(weight)},), got {values.shape}"
                )
        parts.append((name, linear(weight, own["bias"])))
        if own["pool"] is not None:
            pool = _one_number(arrays, f"{name}.pool", 1)
            if pool < 1 or pool != int(pool):
                raise ValueError(f"'{name}.pool' is {pool:g}; give a whole number from 1 on")
            parts.append((f"{name} pool", nn.MaxPool2d(int(pool))))
        mean, variance = own["mean"], own["variance"]
        epsilon = _one_number(arrays, f"{name}.epsilon", 1e-5)
        if (mean is None) != (variance is None):
            raise ValueError(f"'{name}.mean' and '{name}.variance' belong together; one is missing")
        if mean is None or variance is None:
            mean, variance = np.zeros(len(weight)), np.ones(len(weight))
            epsilon = 0.0
        if epsilon < 0 or variance.min() < 0:
            raise ValueError(f"'{name}.variance' and '{name}.epsilon' must not be negative")
        norm = ChannelNorm(
            mean=mean,
            variance=variance,
            gamma=own["gamma"],
            beta=own["beta"],
            epsilon=epsilon,
        )
        parts.append((f"{name} norm", norm))
        if index < len(names) - 1:
            parts.append((f"{name} sign", Sign()))
    return sequential(parts), _encoding_of(arrays, names)


def _check_numbers(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse arrays that hold something else than finite numbers."""
    for name, values in arrays.items():
        if name == "layers":
            continue
        if values.dtype.kind not in "biuf":
            raise ValueError(f"'{name}' holds values of the type {values.dtype}, not numbers")
        if not np.isfinite(values).all():
            raise ValueError(f"'{name}' must be finite")


def _one_number(arrays: Mapping[str, npt.NDArray[Any]], name: str, default: float) -> float:
    values = arrays.get(name, np.array(default))
    if values.size != 1:
        raise ValueError(f"'{name}' must be one number, got the shape {values.shape}")
    return float(values.item())


def _layer_names(arrays: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    if "layers" not in arrays:
        raise ValueError("'layers' is missing: the names of the layers in order, as an array")
    names = [str(name) for name in np.asarray(arrays["layers"]).ravel()]
    known = {f"{name}.{part}" for name in names for part in _PARTS} | set(_SETTINGS)
    unknown = sorted(set(arrays) - known)
    if unknown:
        raise ImportRefusedError(
            f"arrays that are not understood: {', '.join(map(repr, unknown))}; known are "
            f"{', '.join(_SETTINGS)} and LAYER.PART with the parts {', '.join(_PARTS)}"
        )
    return names


def _encoding_of(arrays: Mapping[str, npt.NDArray[Any]], names: list[str]) -> PixelEncoding:
    first = arrays[f"{names[0]}.weight"]
    scale = _one_number(arrays, "pixel_scale", FOLDED_SCALE)
    offset = _one_number(arrays, "pixel_offset", FOLDED_OFFSET)
    if "image_shape" in arrays:
        sizes = arrays["image_shape"]
        if sizes.dtype.kind not in "iu" or sizes.shape not in ((1,), (3,)) or sizes.min() < 1:
            raise ValueError(
                f"'image_shape' is {shown(sizes.tolist())}; give channels, height and width, or "
                "the number of pixels"
            )
        shape = tuple(int(size) for size in sizes)
    elif first.ndim == 4:
        raise ValueError(
            f"'image_shape' is missing: channels, height and width, which the convolution "
            f"{names[0]!r} needs"
        )
    else:
        shape = (first.shape[1],)
    return PixelEncoding(shape, scale, offset)
