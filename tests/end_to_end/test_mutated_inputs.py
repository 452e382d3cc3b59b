"""Two thousand damaged and crafted files through every reader of the commands.

Whatever is in a file, its reader gives a result, or a ValueError or OSError that names the file.
What is crafted has hashes that fit: the meaning alone can tell. Fixed seed; nothing is fitted.
"""

import copy
import gzip
import hashlib
import io
import json
import lzma
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import safetensors.torch
import xarray as xr

import bnn
from bnn.errors.errors import Errors
from bnn.errors.files import read_error_cases
from bnn.images.files import read_cifar_batch, read_idx_images, read_idx_labels
from bnn.machine.packing import pack_bits
from bnn.networks.network import HiddenLayer, OutputLayer
from bnn.training.architectures import BinaryMLP
from bnn.training.checkpoints import HASH as TENSOR_HASH
from bnn.training.checkpoints import _content_sha256, begin_with
from bnn.training.training import check_resumable
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.fitting.posterior_files import FORMAT as POSTERIOR
from devicefit.fitting.posterior_files import HEAD, load_posterior
from devicefit.inputs.programming import Programming
from devicefit.life.files import FORMAT as LIFE
from devicefit.life.files import PRIORS, load_life
from devicefit.numerics.datasets import read_datasets, write_datasets
from devicefit.numerics.stored import document_text
from devicefit.priors.files import read_priors
from devicefit.sampling.prior import prior_record, sample_priors
from reliability.cli.inputs import read_input
from reliability.cli.life import LifeTableChoices
from reliability.decision.requirement_files import read_requirement
from reliability.device.files import load_study, save_study
from reliability.device.study import DeviceStudy
from reliability.energy.tables import read_energies
from reliability.measure_next.files import read_candidates
from reliability.networks.imported import read_network
from reliability.networks.records import open_network
from reliability.networks.study import FORMAT as COUNTS
from reliability.networks.study import NetworkStudy, load_counts, save_counts
from reliability.results.results import read_results

DAMAGED, CRAFTED = 55, 45
CURRENT = Programming("SET compliance current", "A")
FRAME = Frame(CURRENT, 2e-5, 6e-4)
EXAMPLE = Path(__file__).parents[1] / "reliability" / "data" / "results_example.json"
Rng = np.random.Generator


# --- mutations ------------------------------------------------------------------------------------


def damaged(data: bytes, rng: Rng) -> bytes:
    """Bytes with one accident."""
    found, size = bytearray(data), len(data)
    start = int(rng.integers(size + 1))
    stop = min(size, start + int(rng.integers(1, 60)))
    kind = rng.integers(10)
    if kind == 0:
        return data[:start]
    if kind == 1:
        return data[:start] + rng.bytes(int(rng.integers(1, 60))) + data[start:]
    if kind == 2:
        return data[:start] + data[stop:]
    if kind == 3:
        return data[:stop] + data[start:]
    if kind == 4:
        found[start:stop] = bytes(stop - start)
    elif kind == 5:
        return [b"", b"\0", b"[" * 100_000, b"{" * 100_000, rng.bytes(300), b"\xff" * 99][
            int(rng.integers(6))
        ]
    else:
        for place in rng.integers(size, size=int(rng.integers(1, 9) if kind < 8 else 1)):
            found[place] ^= 1 << int(rng.integers(8))
    return bytes(found)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2147483647, 10**30, 10**400, -(10**400), 0.5, -0.5, 1e308, -1e308,
    1e12, 5e-324, math.nan, math.inf, -math.inf, "", "x", "1", "nan", "../../escape", "a" * 3000,
    "\u20ac\u0000", [], [1, 2, 3], [[1.0], [2.0]], {}, {"a": 1}, nested(200),
)  # fmt: skip


def places(tree: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree of dicts and lists."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree[:4])
    found = []
    for key, value in inside:
        found.append((*way, key))
        if isinstance(value, dict | list):
            found += places(value, (*way, key))
    return found


def crafted(tree: dict[str, Any], rng: Rng) -> dict[str, Any]:
    """A tree with one value replaced, left out, doubled or added."""
    found = copy.deepcopy(tree)
    choice = places(found)
    way = choice[int(rng.integers(len(choice)))]
    parent: Any = found
    for key in way[:-1]:
        parent = parent[key]
    kind = rng.integers(8)
    if kind == 0:
        del parent[way[-1]]
    elif kind == 1 and isinstance(parent, dict):
        parent["more"] = VALUES[int(rng.integers(len(VALUES)))]
    elif kind == 2 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[way[-1]]))
    elif kind == 3 and isinstance(parent[way[-1]], int | float):
        parent[way[-1]] *= -1
    else:
        parent[way[-1]] = VALUES[int(rng.integers(len(VALUES)))]
    return found


def toml(value: Any) -> str:
    """A value as TOML; tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else json.dumps(str(value))


def toml_file(tree: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(k)} = {toml(v)}\n" for k, v in tree.items()).encode()


def crafted_cells(text: str, rng: Rng) -> bytes:
    """A CSV table with one cell, row or column changed."""
    rows = [line.split(",") for line in text.splitlines()]
    row, column = int(rng.integers(len(rows))), int(rng.integers(len(rows[0])))
    kind = rng.integers(6)
    if kind == 0:
        del rows[row]
    elif kind == 1:
        for cells in rows:
            del cells[column]
    elif kind == 2:
        rows[row].append("1")
    elif kind == 3:
        rows[0][column] = rows[0][0]
    else:
        rows[row][column] = [
            "", "nan", "inf", "-1", "0", "1e999", "9.9e37", "1" * 5000, '"', "\0", "1,5",
            "x" * 3000, "true", "\u00b5", "1e-400", "0x10", "2147483648",
        ][int(rng.integers(17))]  # fmt: skip
    return "\n".join(map(",".join, rows)).encode()


def crafted_array(values: np.ndarray, rng: Rng) -> np.ndarray:
    """An array with one value, its type or its shape changed."""
    kind = rng.integers(8)
    if kind == 0 and values.dtype.kind in "iuf":
        return values.astype(np.float32)
    if kind == 1:
        return np.asarray(values.ravel()[:1] if rng.integers(2) else values[..., None])
    if kind == 2:
        return values[:0] if values.ndim else values
    if kind == 3:
        return np.full(values.shape, "text")
    if kind == 4 and values.dtype.kind in "iuf":
        return values.astype(np.int64 if values.dtype.kind == "f" else float)
    found = np.array(values, copy=True)
    if not found.size or found.dtype.kind not in "iuf":
        return found
    bad = (
        [2**31 - 1, -1, 10**12] if found.dtype.kind in "iu" else [np.nan, np.inf, 2147483647, -1e9]
    )
    value = np.array(bad[int(rng.integers(len(bad)))])
    with np.errstate(all="ignore"):
        found.flat[int(rng.integers(found.size))] = value.astype(found.dtype)
    return found


def crafted_dataset(dataset: xr.Dataset, rng: Rng, texts: tuple[str, ...]) -> xr.Dataset:
    """A dataset with a variable or an attribute changed; `texts` are attributes of JSON."""
    name = sorted(map(str, dataset.variables))[int(rng.integers(len(dataset.variables)))]
    kind = rng.integers(6)
    if kind == 0:
        return dataset.drop_vars(name)
    if kind == 1 and texts:
        text = texts[int(rng.integers(len(texts)))]
        return dataset.assign_attrs(
            {text: json.dumps(crafted(json.loads(dataset.attrs[text]), rng))}
        )
    if kind == 2:
        attrs = dict(dataset.attrs)
        key = sorted(attrs)[int(rng.integers(len(attrs)))]
        values = [None, -1, 2**31, 0.5, math.nan, "", "x", [1, 2, 3], "0" * 63]
        value = values[int(rng.integers(len(values)))]
        attrs.pop(key)
        return dataset.drop_attrs(deep=False).assign_attrs(
            attrs if value is None else attrs | {key: value}
        )
    if kind == 3:
        return dataset.rename({name: f"{name}_other"})
    variable = dataset.variables[name]
    values = crafted_array(variable.values, rng)
    dims = variable.dims[: values.ndim] + ("more",) * (values.ndim - len(variable.dims))
    rest = dataset.drop_vars(name)
    if any(rest.sizes.get(d, n) != n for d, n in zip(dims, values.shape, strict=True)):
        dims = tuple(f"{name}_{d}" for d in dims)
    return rest.assign({name: (dims, values, variable.attrs)})


# --- readers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A file, how a command reads it, and how to craft others."""

    path: Path
    read: Callable[[Path], object]
    craft: Callable[[Rng], object]


def images() -> bnn.ImageSet:
    """Eight pictures of four by four pixels."""
    rng = np.random.default_rng(3)
    pixels, labels = rng.integers(0, 256, (8, 16), np.uint8), rng.integers(0, 3, 8)
    return bnn.ImageSet(
        name="small",
        train_images=pixels,
        train_labels=labels,
        test_images=pixels,
        test_labels=labels,
        classes=("a", "b", "c"),
        shape=(4, 4),
        source="a test",
    )


def text_reader(
    folder: Path, name: str, tree: dict[str, Any], read: Callable[[Path], object]
) -> Reader:
    path = folder / name
    path.write_bytes(toml_file(tree))
    return Reader(path, read, lambda rng: path.write_bytes(toml_file(crafted(tree, rng))))


def table_reader(folder: Path, name: str, text: str, read: Callable[[Path], object]) -> Reader:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return Reader(path, read, lambda rng: path.write_bytes(crafted_cells(text, rng)))


def document_reader(path: Path, read: Callable[[Path], object]) -> Reader:
    document = json.loads(path.read_text(encoding="utf-8"))

    def craft(rng: Rng) -> None:
        found = crafted(document, rng)
        path.write_text(document_text(found, allow_nan=True), encoding="utf-8")

    return Reader(path, read, craft)


def dataset_reader(
    path: Path, form: str, read: Callable[[Path], object], texts: tuple[str, ...]
) -> Reader:
    groups = read_datasets(path, form)

    def craft(rng: Rng) -> None:
        name = sorted(groups)[int(rng.integers(len(groups)))]
        changed = crafted_dataset(groups[name], rng, () if name else texts)
        write_datasets(path, form, groups | {name: changed})

    return Reader(path, read, craft)


def draws_of(priors: Any, draws: int, prefix: str = "") -> dict[str, Any]:
    drawn = sample_priors(priors, draws=draws, rng=np.random.default_rng(1))
    return {f"{prefix}{name}": (("chain", "draw"), values) for name, values in drawn.items()}


def study(folder: Path) -> Path:
    """A device study whose draws are those of the priors."""
    priors = FAMILIES["lognormal"].priors(FRAME)
    record = {
        "devices": 20,
        "design_effect": {"LRS": 1.0, "HRS": 1.2},
        "readings": {"LRS": 40, "HRS": 40},
        "priors": prior_record(priors),
        "sampler": {"seed": 1},
    }
    posterior = DevicePosterior(
        "lognormal",
        xr.Dataset(draws_of(priors, 20)),
        FRAME,
        Diagnostics(1.0, 9.0, 9.0, 0, 20),
        record,
    )
    data = {"source": "a test", "sha256": "0" * 64, "simulated": True, "devices": 20}
    gate = {"name": "g", "question": "?", "passed": True, "value": 1.0, "limit": 2.0}
    about = {
        "data": data | {"conditions": 4, "readings": {"LRS": 40, "HRS": 40}},
        "gates": [gate | {"finding": "f", "remedy": "r"}],
        "counts": {"programming_low": [2e-5], "programming_high": [6e-4], "devices": [20]},
        "quantiles": [], "families": {"lognormal": {"weight": None}}, "levels": {}, "checks": {},
        "left_out_conditions": [],
        "measured": [],
    }  # fmt: skip
    folder.mkdir()
    grid = CURRENT.grid(2e-5, 6e-4, 5)
    save_study(DeviceStudy({"lognormal": posterior}, {}, {}, grid, about), folder)
    return folder


def life(path: Path, kind: str) -> Path:
    """A posterior of life whose draws are those of the priors."""
    names = ("all",) if kind == "wear-out" else ("LRS", "HRS")
    record = {"units": 3, "errors": 1, "trials": 9, "cells": 9, "failed": 3, "time_low_s": 1.0}
    record["cycles_low"] = 10.0
    record |= {"time_high_s": 9.0, "temperature_low_k": 300.0, "temperature_high_k": 400.0}
    part = {"diagnostics": vars(Diagnostics(1.0, 9.0, 9.0, 0, 20)), "record": record}
    if kind != "wear-out":
        part["range"] = [100.0, 1000.0]
    head: dict[str, Any] = {"kind": kind, "parts": dict.fromkeys(names, part)}
    head["record"] = {"gates": [], "source": "a.csv", "simulated": True}
    if kind == "wear-out":
        head |= {"law": "weibull", "programming": vars(CURRENT), "x_low": 2e-5, "x_high": 6e-4}
        head["cycles_high"] = 1e6
    drawn = {k: v for name in names for k, v in draws_of(PRIORS[kind], 20, f"{name}.").items()}
    write_datasets(path, LIFE, {"": xr.Dataset(drawn, attrs={HEAD: json.dumps(head)})})
    return path


def network() -> bnn.FoldedNetwork:
    rng = np.random.default_rng(2)
    hidden = HiddenLayer(
        name="hidden_1",
        columns=16,
        weights=pack_bits(rng.random((6, 16)) < 0.5),
        threshold=rng.integers(-900, 900, 6).astype(np.int32),
        direction=np.ones(6, np.int8),
    )
    output = OutputLayer(
        name="output",
        columns=6,
        weights=pack_bits(rng.random((3, 6)) < 0.5),
        scale=np.ones(3),
        shift=np.zeros(3),
    )
    return bnn.FoldedNetwork((hidden, output))


NETWORK_RECORD = {
    "training": {"ber": 0.04, "ber_from": None, "loss": "cross-entropy", "margin": 0.0, "seed": 1},
    "architecture": {"kind": "fully connected", "sizes": [16, 6, 3]},
    "image_set": {"name": "small", "sha256": "0" * 64},
    "history": [{"epoch": 1, "test_correct": 5, "test_images": 8}],
    "copies": {"hidden_1": 2},
    "thresholds": {"treatment": "fixed", "images": 8},
}


def network_files(folder: Path) -> tuple[Reader, Reader]:
    folder.mkdir()
    tensors = folder / "net.safetensors"
    bnn.save_network(network(), tensors, record=NETWORK_RECORD)
    twin = document_reader(tensors.with_suffix(".json"), lambda _: open_network(tensors))
    arrays = safetensors.numpy.load_file(tensors)

    def craft(rng: Rng) -> None:
        name = sorted(arrays)[int(rng.integers(len(arrays)))]
        values = crafted_array(arrays[name], rng)
        if values.dtype.kind == "U":
            values = values.astype("U1").view(np.uint32)
        safetensors.numpy.save_file(arrays | {name: np.ascontiguousarray(values)}, tensors)
        document = json.loads(tensors.with_suffix(".json").read_text(encoding="utf-8"))
        # the hash of the file fits, that of the network cannot without the network
        document["tensors_sha256"] = hashlib.sha256(tensors.read_bytes()).hexdigest()
        tensors.with_suffix(".json").write_text(document_text(document), encoding="utf-8")

    return twin, Reader(tensors, open_network, craft)


def counts(path: Path) -> Path:
    pictures = images()
    found = bnn.evaluate(
        network(), pictures.test_images, pictures.test_labels, ber=[0.0, 0.1], chips=3, seed=1,
        threads=1,
    )  # fmt: skip
    unequal = bnn.evaluate_errors(
        network(), pictures.test_images, pictures.test_labels,
        errors=[Errors((bnn.Flips(0.0, 0.1),))], chips=2, seed=1, threads=1,
    )  # fmt: skip
    unequal = unequal.assign_coords(ber=("case", [0.05]), tilt=("case", [1.0])).assign_attrs(
        ones=0.5
    )
    save_counts(NetworkStudy(found, NETWORK_RECORD, unequal=unequal), path)
    return path


OPTIONS = bnn.TrainingOptions(hidden=(5,), epochs=1, batch_size=4, threads=1, seed=1)


def checkpoint(path: Path) -> Reader:
    path.parent.mkdir()
    bnn.train(images(), OPTIONS, checkpoint=path)
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="pt") as opened:
        state = json.loads(opened.metadata()["state"])

    def craft(rng: Rng) -> None:
        text = json.dumps(crafted(state, rng))
        metadata = {"state": text, TENSOR_HASH: _content_sha256(text, tensors)}
        safetensors.torch.save_file(tensors, path, metadata=metadata)

    def read(_: Path) -> None:
        check_resumable(images(), OPTIONS, checkpoint=path)
        begin_with(BinaryMLP((16, 5, 3), seed=1), path)
        # the state is loaded, there is nothing left to train; the end writes it again elsewhere
        again = path.parent.parent / "again" / path.name
        again.parent.mkdir(exist_ok=True)
        again.write_bytes(path.read_bytes())
        bnn.train(images(), OPTIONS, checkpoint=again)

    return Reader(path, read, craft)


ARRAYS: dict[str, np.ndarray] = {
    "layers": np.array(["a", "b"]),
    "image_shape": np.array([1, 4, 4]),
    "pixel_scale": np.array(2 / 255),
    "pixel_offset": np.array(-1.0),
    "a.weight": np.random.default_rng(4).choice([-1.0, 1.0], (4, 1, 3, 3)),
    "a.pool": np.array(2),
    "a.mean": np.zeros(4),
    "a.variance": np.ones(4),
    "a.epsilon": np.array(1e-5),
    "b.weight": np.random.default_rng(5).choice([-1.0, 1.0], (3, 16)),
    "b.bias": np.arange(3.0),
}


def arrays(path: Path) -> Reader:
    np.savez(path, **ARRAYS)

    def craft(rng: Rng) -> None:
        name = sorted(ARRAYS)[int(rng.integers(len(ARRAYS)))]
        changed = {k: v for k, v in ARRAYS.items() if k != name or rng.integers(9)}
        np.savez(path, **changed | {name: crafted_array(ARRAYS[name], rng)})

    return Reader(path, lambda file: read_network(file, images(), None), craft)


def keras(path: Path) -> Reader:
    quantized = {"kernel_quantizer": "ste_sign", "use_bias": False}
    config = {
        "class_name": "Sequential",
        "config": {
            "layers": [
                {"class_name": "Flatten",
                 "config": {"name": "f", "batch_input_shape": [None, 4, 4, 1]}},
                {"class_name": "QuantDense", "config": {"name": "a"} | quantized},
                {"class_name": "BatchNormalization", "config": {"name": "n", "epsilon": 1e-3}},
                {"class_name": "QuantDense",
                 "config": {"name": "b", "input_quantizer": "ste_sign"} | quantized},
                {"class_name": "Activation", "config": {"name": "s", "activation": "softmax"}},
            ]
        },
    }  # fmt: skip
    rng = np.random.default_rng(6)
    weights = {"a/kernel": rng.normal(size=(16, 5)), "b/kernel": rng.normal(size=(5, 3))}
    weights |= {"n/moving_mean": np.zeros(5), "n/moving_variance": np.ones(5)}

    def write(config: Any, weights: dict[str, np.ndarray]) -> None:
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(config)
            for name, values in weights.items():
                layer, part = name.split("/")
                if values.dtype.kind == "U":
                    values = values.astype("S")
                file[f"model_weights/{layer}/{layer}/{part}:0"] = values

    def craft(rng: Rng) -> None:
        name = sorted(weights)[int(rng.integers(len(weights)))]
        if rng.integers(2):
            write(crafted(config, rng), weights)
        else:
            write(config, weights | {name: crafted_array(weights[name], rng)})

    write(config, weights)
    return Reader(path, lambda file: read_network(file, images(), None), craft)


QONNX, BIPOLAR = "qonnx.custom_op.general", "BipolarQuant"


def onnx_model(path: Path) -> Reader:
    onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx': pip install '.[onnx]'")
    helper, rng = onnx.helper, np.random.default_rng(7)
    stored = {
        "u": rng.choice([-1.0, 1.0], (16, 5)), "v": rng.choice([-1.0, 1.0], (5, 3)),
        "s": np.array(1.0), "c": np.arange(3.0),
    }  # fmt: skip
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size])
        for name, size in (("x", 16), ("y", 3))
    ]

    def write(stored: dict[str, np.ndarray], kinds: list[str], shape: list[Any]) -> None:
        nodes = [
            helper.make_node(kinds[0], ["x", "u"], ["p"]),
            helper.make_node(
                kinds[1], ["p", "s"], ["q"], domain=QONNX if kinds[1] == BIPOLAR else ""
            ),
            helper.make_node(kinds[2], ["q", "v"], ["r"]),
            helper.make_node(kinds[3], ["r", "c"], ["y"]),
        ]
        kept = [
            onnx.numpy_helper.from_array(
                np.asarray(v, np.float32) if v.dtype.kind == "f" else v.astype(object)
                if v.dtype.kind == "U" else v, k,
            )
            for k, v in stored.items()
        ]  # fmt: skip
        ends[0] = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], kept)
        model = helper.make_model(graph, opset_imports=versions)
        path.write_bytes(model.SerializeToString())

    kinds = ["MatMul", BIPOLAR, "MatMul", "Add"]

    def craft(rng: Rng) -> None:
        name = sorted(stored)[int(rng.integers(len(stored)))]
        changed, used, shape = dict(stored), list(kinds), [1, 16]
        kind = rng.integers(3)
        if kind == 0:
            changed[name] = crafted_array(stored[name], rng)
        elif kind == 1:
            others = ["Relu", "Nonsense", "Gemm", "Expand", "Tile", "Loop", "Sqrt", "", "Concat"]
            used[int(rng.integers(4))] = others[int(rng.integers(len(others)))]
        else:
            shape = [[], [0, 16], [1, -16], [1, 10**9], ["n", 16], [16], [1, "n"], [1, 4, 4]][
                int(rng.integers(8))
            ]
        write(changed, used, shape)

    write(stored, kinds, [1, 16])
    return Reader(path, lambda file: read_network(file, images(), None), craft)


def packed(
    path: Path, content: bytes, read: Callable[[Path], object], pack: Callable[[bytes], bytes]
) -> Reader:
    """A compressed file; what is crafted is its content."""
    path.write_bytes(pack(content))
    return Reader(path, read, lambda rng: path.write_bytes(pack(damaged(content, rng))))


def parquet(path: Path, text: str, read: Callable[[Path], object]) -> Reader:
    pd.read_csv(io.StringIO(text)).to_parquet(path)

    def craft(rng: Rng) -> None:
        while True:
            try:
                pd.read_csv(io.BytesIO(crafted_cells(text, rng))).to_parquet(path)
            except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning):
                continue
            return

    return Reader(path, read, craft)


READINGS = "device_id,cycle,state,i_cc_a,resistance_ohm\n" + "".join(
    f"d{d},{c},{state},{current},{ohm + 37 * d + c}\n"
    for current in (1e-5, 1e-4)
    for d in range(12)
    for c in range(2)
    for state, ohm in (("LRS", 5000.0), ("HRS", 100000.0))
)
CYCLES = "device_id,state,prior_cycles,errors,trials\n" + "".join(
    f"{unit},{state},{cycles},1,100\n"
    for unit in "ab"
    for state in ("LRS", "HRS")
    for cycles in (100, 1000)
)
ENERGIES = "i_cc_a,e_cell_j,e_cell_se_j\n1e-5,1e-12,1e-14\n1e-4,1e-11,1e-13\n1e-3,1e-10,1e-12\n"
STATED = {
    "hrs_median": {"between": ["50 kohm", "200 kohm"], "probability": 0.8, "source": "wafer 12"},
    "lrs_median": {"between": ["2 kohm", "8 kohm"], "at": "100 uA"},
    "set_failure": {"between": [1e-6, 1e-3]},
    "parameter": {"exponent": {"mean": 1.0, "sd": 0.1}},
}
ERRORS = {
    "protected": ["output"],
    "case": [
        {"name": "a", "flips": {"ber": 0.1, "layers": ["hidden_1"]}, "misread": {"ber": 0.01}},
        {"lines": {"along": "row", "rate": 0.1, "stuck": 1, "array": [8, 8]},
         "stuck_at": [{"zero": 0.1, "one": 0.2, "exact": True}]},
    ],
}  # fmt: skip
NEED = {
    "accuracy": {"max_loss_points": 1, "probability": 0.95},
    "life": {"years": 10, "temperature_c": 85, "cycles": 1e4},
    "reference": {"programming": "200 uA", "cells_per_bit": 2},
    "utility": {"energy_factor_per_point": 2},
}
CANDIDATES = {
    "candidate": [{"programming": "50uA", "devices": 20, "cycles": 3}, {"chips": 60}],
}
CANDIDATE_ROWS = "programming,devices,cycles\n50uA,20,3\n1e-4,10,2\n"


def idx(magic: int, *sizes: int) -> bytes:
    return np.array([magic, *sizes], ">i4").tobytes() + bytes(math.prod(sizes))


MAKERS: dict[str, Callable[[Path], Reader]] = {
    "readings as CSV": lambda d: table_reader(
        d, "r.csv", READINGS, lambda p: read_input([p])
    ),
    "readings as CSV, compressed": lambda d: packed(
        d / "r.csv.gz", READINGS.encode(), lambda p: read_input([p]), gzip.compress
    ),
    "readings as Parquet": lambda d: parquet(
        d / "r.parquet", READINGS, lambda p: read_input([p])
    ),
    "cycles": lambda d: table_reader(
        d, "c.csv", CYCLES, lambda p: LifeTableChoices().read(p, "endurance")
    ),
    "priors": lambda d: text_reader(d, "p.toml", STATED, read_priors),
    "errors": lambda d: text_reader(d, "e.toml", ERRORS, read_error_cases),
    "requirement": lambda d: text_reader(d, "n.toml", NEED, read_requirement),
    "candidates": lambda d: text_reader(
        d, "c.toml", CANDIDATES, lambda p: read_candidates(p, CURRENT)
    ),
    "candidates as CSV": lambda d: table_reader(
        d, "c.csv", CANDIDATE_ROWS, lambda p: read_candidates(p, CURRENT)
    ),
    "energies": lambda d: table_reader(d, "e.csv", ENERGIES, read_energies),
    "counts": lambda d: dataset_reader(counts(d / "c.nc"), COUNTS, load_counts, ("record",)),
    "posterior": lambda d: dataset_reader(
        study(d / "s") / "lognormal.nc", POSTERIOR, load_posterior, (HEAD,)
    ),
    "endurance": lambda d: dataset_reader(life(d / "e.nc", "endurance"), LIFE, load_life, (HEAD,)),
    "retention": lambda d: dataset_reader(life(d / "r.nc", "retention"), LIFE, load_life, (HEAD,)),
    "wear-out": lambda d: dataset_reader(life(d / "w.nc", "wear-out"), LIFE, load_life, (HEAD,)),
    "device study": lambda d: document_reader(
        study(d / "s") / "device.json", lambda p: load_study(p.parent)
    ),
    "results": lambda d: document_reader(example(d / "results.json"), read_results),
    "twin of a network": lambda d: network_files(d / "n")[0],
    "tensors of a network": lambda d: network_files(d / "n")[1],
    "checkpoint": lambda d: checkpoint(d / "t" / "t.safetensors"),
    "weights": lambda d: arrays(d / "w.npz"),
    "Keras": lambda d: keras(d / "k.h5"),
    "ONNX": lambda d: onnx_model(d / "o.onnx"),
    "images": lambda d: packed(
        d / "i.gz", idx(2051, 2, 28, 28), lambda p: read_idx_images(p, shape=(28, 28)),
        gzip.compress,
    ),
    "labels": lambda d: packed(
        d / "l.gz", idx(2049, 9), lambda p: read_idx_labels(p, classes=10), gzip.compress
    ),
    "CIFAR": lambda d: packed(
        d / "c.xz", bytes(2 * 3073), lambda p: read_cifar_batch(p, records=2), lzma.compress
    ),
}  # fmt: skip


def example(path: Path) -> Path:
    path.write_bytes(EXAMPLE.read_bytes())
    return path


# --- the tests ------------------------------------------------------------------------------------


def outcome(reader: Reader, what: str) -> bool:
    """Whether a file is read; a refusal names it, and reading writes nothing."""
    folder = reader.path.parent
    before = {path: path.read_bytes() for path in folder.iterdir()}
    try:
        reader.read(reader.path)
        read = True
    except (ValueError, OSError) as error:
        text = str(error)
        assert any(name in text for name in (reader.path.name, reader.path.stem + ".")), what + text
        read = False
    except BaseException as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    assert {path: path.read_bytes() for path in folder.iterdir()} == before, what
    return read


@pytest.mark.parametrize("name", MAKERS)
def test_no_file_ends_in_anything_but_a_refusal(name: str, tmp_path: Path) -> None:
    reader = MAKERS[name](tmp_path)
    assert outcome(reader, "the good file")
    good = {path: path.read_bytes() for path in reader.path.parent.iterdir()}
    rng = np.random.default_rng(sorted(MAKERS).index(name))
    read = {"damaged": 0, "crafted": 0}
    for kind, number in [("damaged", i) for i in range(DAMAGED)] + [
        ("crafted", i) for i in range(CRAFTED)
    ]:
        for path, data in good.items():
            path.write_bytes(data)
        if kind == "damaged":
            reader.path.write_bytes(damaged(good[reader.path], rng))
        else:
            reader.craft(rng)
        is_read = outcome(reader, f"{name}, {kind} {number}: ")
        if kind == "damaged" and reader.path.suffix == ".nc":
            assert is_read == (reader.path.read_bytes() == good[reader.path])
        read[kind] += is_read
    # the mutations do harm, and a part of what is crafted does not matter
    assert read["damaged"] < DAMAGED
    assert 0 < read["crafted"] < CRAFTED or name in ("tensors of a network",)


def test_two_thousand_inputs_are_tried() -> None:
    assert len(MAKERS) * (DAMAGED + CRAFTED) >= 2000


def leak(path: Path) -> None:
    raise KeyError("correct")


def anonymous(path: Path) -> None:
    raise ValueError("something is wrong")


def writing(path: Path) -> None:
    (path.parent / "left.txt").write_text("over")


@pytest.mark.parametrize("read", [leak, anonymous, writing])
def test_control_a_reader_that_leaks_or_writes_is_caught(read: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a")
    with pytest.raises(AssertionError):
        outcome(Reader(path, read, lambda rng: None), "")
