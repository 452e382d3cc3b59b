"""Files by the layout of Keras, written with h5py; the answers are computed here with NumPy."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bnn import ImageSet, from_keras
from bnn.engines.packed import packed
from bnn.importing.source_stages import ImportRefusedError

RNG = np.random.default_rng(5)
WEIGHTS: dict[str, dict[str, Any]] = {
    "conv": {"kernel": RNG.normal(size=(3, 3, 1, 6))},
    "norm": {
        "gamma": RNG.normal(size=6),
        "beta": RNG.normal(size=6),
        "moving_mean": RNG.normal(size=6),
        "moving_variance": RNG.uniform(0.5, 2, 6),
    },
    "dense": {"kernel": RNG.normal(size=(96, 10))},
    "scale": {
        "beta": RNG.normal(size=10),
        "moving_mean": RNG.normal(size=10),
        "moving_variance": RNG.uniform(0.5, 2, 10),
    },
}
SIGN = {"class_name": "Larq>SteSign", "config": {"clip_value": 1.0}}


def layers() -> list[dict[str, Any]]:
    same = {"padding": "same", "strides": [1, 1], "activation": "linear", "use_bias": False}
    return [
        {
            "class_name": "QuantConv2D",
            "config": {
                "name": "conv",
                "batch_input_shape": [None, 8, 8, 1],
                "kernel_quantizer": SIGN,
                "input_quantizer": None,
                **same,
            },
        },
        {"class_name": "MaxPooling2D", "config": {"name": "pool", "pool_size": [2, 2]}},
        {"class_name": "BatchNormalization", "config": {"name": "norm", "epsilon": 1e-3}},
        {"class_name": "Flatten", "config": {"name": "flat"}},
        {
            "class_name": "QuantDense",
            "config": {
                "name": "dense",
                "kernel_quantizer": "magnitude_aware_sign",
                "input_quantizer": "ste_sign",
                "activation": "linear",
            },
        },
        {"class_name": "BatchNormalization", "config": {"name": "scale", "epsilon": 1e-3}},
        {"class_name": "Activation", "config": {"name": "softmax", "activation": "softmax"}},
    ]


def write(path: Path, described: list[dict[str, Any]], kind: str = "Sequential") -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(
            {"class_name": kind, "config": {"layers": described}}
        )
        for name, arrays in WEIGHTS.items():
            for part, values in arrays.items():
                file[f"model_weights/{name}/{name}/{part}:0"] = values.astype(np.float32)


def expected(images: np.ndarray) -> np.ndarray:
    """Answers, channels last all the way, in single steps."""
    values = (images.reshape(-1, 8, 8, 1) / 127.5 - 1).astype(np.float64)
    kernel = np.where(WEIGHTS["conv"]["kernel"] >= 0, 1.0, -1.0)
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)))
    z = np.zeros((len(images), 8, 8, 6))
    for row in range(3):
        for column in range(3):
            z += padded[:, row : row + 8, column : column + 8] @ kernel[row, column]
    z = z.reshape(-1, 4, 2, 4, 2, 6).max(axis=(2, 4))
    norm = WEIGHTS["norm"]
    z = (z - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-3)
    z = z * norm["gamma"] + norm["beta"]
    dense = WEIGHTS["dense"]["kernel"]
    weights = np.where(dense >= 0, 1.0, -1.0) * np.abs(dense).mean(axis=0)
    scores = np.where(z >= 0, 1.0, -1.0).reshape(len(images), -1) @ weights
    scale = WEIGHTS["scale"]
    scores = (scores - scale["moving_mean"]) / np.sqrt(scale["moving_variance"] + 1e-3)
    return np.argmax(scores + scale["beta"], axis=1)


def test_a_larq_model_answers_as_computed_by_hand(digits: ImageSet, tmp_path: Path) -> None:
    write(tmp_path / "net.h5", layers())
    found = from_keras(tmp_path / "net.h5", digits.test_images)
    answers = packed.predict(found.network, packed.prepare(digits.test_images), threads=1)
    np.testing.assert_array_equal(answers, expected(digits.test_images))
    assert len(np.unique(answers)) > 3
    assert found.record["source"] == {
        "format": "Keras HDF5",
        "file": "net.h5",
        "round_trip_images": 600,
        "tied_images": 0,
        "differ_at_ties": 0,
        "differ_by_hidden_rounding": 0,
    }


def changed(name: str, **config: Any) -> list[dict[str, Any]]:
    described = layers()
    for layer in described:
        if layer["config"]["name"] == name:
            layer["config"].update(config)
    return described


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (changed("conv", kernel_quantizer=None), r"by layer: 'conv': \d+\.\d%"),
        (changed("conv", kernel_quantizer="ste_tern"), "'conv': the kernel quantizer 'ste_tern'"),
        (changed("conv", padding="valid"), "'conv': a convolution must have padding 'same'"),
        (changed("dense", input_quantizer="dorefa"), "'dense': the input quantizer 'dorefa'"),
        (changed("softmax", activation="elu"), r"not understood: 'softmax' \(Activation\)"),
        (
            [*layers()[:3], {"class_name": "PReLU", "config": {"name": "act"}}, *layers()[3:]],
            r"not understood: 'act' \(PReLU\)",
        ),
    ],
)
def test_what_cannot_be_imported_is_named(
    described: list[dict[str, Any]], message: str, digits: ImageSet, tmp_path: Path
) -> None:
    write(tmp_path / "net.h5", described)
    with pytest.raises(ImportRefusedError, match=message):
        from_keras(tmp_path / "net.h5", digits.test_images)


def test_other_files_are_refused(digits: ImageSet, tmp_path: Path) -> None:
    write(tmp_path / "net.h5", layers(), kind="Functional")
    with pytest.raises(ImportRefusedError, match="Functional, only Sequential ones"):
        from_keras(tmp_path / "net.h5", digits.test_images)
    (tmp_path / "net.h5").write_bytes(b"no file")
    with pytest.raises(ValueError, match=r"net\.h5: not a Keras model saved whole as HDF5"):
        from_keras(tmp_path / "net.h5", digits.test_images)


@pytest.mark.parametrize(
    "config",
    [
        "[" * 100_000,
        "[]",
        '"Sequential"',
        '{"class_name": "Sequential"}',
        '{"class_name": "Sequential", "config": {"layers": 3}}',
        '{"class_name": "Sequential", "config": [{"config": {"batch_input_shape": [0, "8"]}}]}',
        '{"class_name": "Sequential", "config": [{"config": {"batch_input_shape": 10}}]}',
    ],
)
def test_descriptions_that_cannot_be_are_refused(
    config: str, digits: ImageSet, tmp_path: Path
) -> None:
    path = tmp_path / "net.h5"
    write(path, layers())
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = config
    with pytest.raises(ValueError, match=r"net\.h5: not a Keras model saved whole as HDF5"):
        from_keras(path, digits.test_images)


def test_arrays_are_expanded_within_a_bound(digits: ImageSet, tmp_path: Path) -> None:
    """A few kilobytes that declare 80 GB: refused before anything is read."""
    path = tmp_path / "net.h5"
    write(path, layers())
    with h5py.File(path, "a") as file:
        file.create_dataset("model_weights/more", (10**5, 10**5), "f8", compression="gzip")
    assert path.stat().st_size < 1e5
    with pytest.raises(ValueError, match=r"net\.h5: .*declare more than \d+ bytes .*more"):
        from_keras(path, digits.test_images)


def test_links_to_other_files_are_not_followed(digits: ImageSet, tmp_path: Path) -> None:
    path = tmp_path / "net.h5"
    write(path, layers())
    with h5py.File(path, "a") as file:
        file["model_weights/more"] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(ValueError, match=r"net\.h5: .*more is a link to another place"):
        from_keras(path, digits.test_images)


@pytest.mark.parametrize(("free", "size"), [(True, 0), (False, 2**64 - 16), (False, 2**40)])
def test_heaps_that_hdf5_reads_for_ever_are_refused(
    free: bool, size: int, digits: ImageSet, tmp_path: Path
) -> None:
    path = tmp_path / "net.h5"
    write(path, layers())
    data = bytearray(path.read_bytes())
    place = data.index(b"GCOL") + 16
    while free and data[place : place + 2] != b"\0\0":
        place += 16 + -(-int.from_bytes(data[place + 8 : place + 16], "little") // 8) * 8
    data[place + 8 : place + 16] = size.to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"net\.h5: .*a heap of texts is damaged"):
        from_keras(path, digits.test_images)
