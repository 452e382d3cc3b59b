"""Hostile files at the command line, in processes of their own: exit code 2, no traceback.

Each imitates a file that once ended in a traceback, in a wrong number or in a full memory.
"""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bnn
from bnn.machine.packing import pack_bits
from bnn.networks.network import OutputLayer
from devicefit.numerics.datasets import read_datasets, write_datasets
from devicefit.numerics.stored import document_text
from reliability.networks.study import FORMAT, NetworkStudy, save_counts

DEEP = 3000 * "["


def small_network(path: Path, record: dict[str, object]) -> Path:
    rng = np.random.default_rng(2)
    weights = pack_bits(rng.random((10, 64)) < 0.5)
    layer = OutputLayer(
        name="output", columns=64, weights=weights, scale=np.ones(10), shift=np.zeros(10)
    )
    bnn.save_network(bnn.FoldedNetwork((layer,)), path, record=record)
    return path


def counted(path: Path) -> None:
    """Counts with an impossible number of right answers."""
    network, _ = bnn.load_network(small_network(path.with_name("n.safetensors"), {}))
    images = bnn.load_images("digits")
    counts = bnn.evaluate(
        network, images.test_images, images.test_labels, ber=[0.0, 0.1], chips=2, seed=1, threads=1
    )
    save_counts(NetworkStudy(counts, {}), path)
    groups = read_datasets(path, FORMAT)
    correct = counts["correct"].values.copy()
    correct[1, 0] = 2147483647
    groups[""]["correct"] = (("ber", "chip"), correct)
    write_datasets(path, FORMAT, groups)


def bomb(path: Path) -> None:
    """Two hundred megabytes of images in two hundred kilobytes."""
    folder = path / "mnist"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(200 * gzip.compress(bytes(10**6)))


CASES: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "priors, deep": (
        lambda d: (d / "p.toml").write_text(f"a = {10 * DEEP}"),
        ["priors", "--priors", "p.toml"],
        "p.toml: not a TOML file of priors that this version reads (nested too deeply)",
    ),
    "errors, deep": (
        lambda d: (d / "e.toml").write_text(f"case = {10 * DEEP}"),
        ["evaluate", "zoo:digits-standard", "--errors", "e.toml", "--out", "c.nc"],
        "e.toml: not a TOML file of errors that this version reads (nested too deeply)",
    ),
    "record of a network, wrong type": (
        lambda d: small_network(d / "n.safetensors", {"training": "fast"}),
        ["inspect", "n.safetensors"],
        "n.safetensors: not a network with a record that this version reads (training: ",
    ),
    "twin of a network, deep": (
        lambda d: (
            small_network(d / "n.safetensors", {}),
            (d / "n.json").write_text(f'{{"record": {100 * DEEP}'),
        ),
        ["inspect", "n.safetensors"],
        "n.json: not a twin of a folded network that this version reads (nested too deeply)",
    ),
    "weights, a vector for a number": (
        lambda d: np.savez(
            d / "w.npz",
            **{"layers": np.array(["a"]), "a.weight": np.ones((10, 64)), "a.epsilon": np.ones(6)},
        ),
        ["import", "w.npz", "--out", "w.safetensors"],
        "w.npz: not a .npz file of plain arrays that this version reads ('a.epsilon' must be one",
    ),
    "counts, damaged": (
        lambda d: (counted(d / "c.nc"), (d / "c.nc").write_bytes((d / "c.nc").read_bytes()[:9000])),
        ["evaluate", "zoo:digits-standard", "--extend", "c.nc", "--chips", "3", "--out", "o.nc"],
        "c.nc: not a table of counts that this version reads (there is no hash at its end",
    ),
    "counts, impossible": (
        lambda d: counted(d / "c.nc"),
        ["evaluate", "zoo:digits-standard", "--extend", "c.nc", "--chips", "3", "--out", "o.nc"],
        "c.nc: not a table of counts that this version reads (correct is 2147483647 at ber number",
    ),
    "lives, no HDF5": (
        lambda d: (d / "l.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(5000)),
        ["decide", "device", "--counts", "c.nc", "--life", "l.nc", "--out", "r.json"],
        "l.nc: not a posterior of life that this version reads (there is no hash at its end",
    ),
    "device study, huge number": (
        lambda d: (d / "device.json").write_text(
            document_text({"format": "rram-reliability device study 5", "grid": [10**400]})
        ),
        ["ber", ".", "--out", "b.csv"],
        "device.json: not a device study that this version reads (families: ",
    ),
    "results, accuracy of millions": (
        lambda d: (d / "r.json").write_text(
            json.dumps({"format": "rram-reliability results 3", "accuracy": 3579139})
        ),
        ["report", "r.json", "--out", "r.html"],
        "r.json: not a set of results that this version reads (the hash content_sha256 is None",
    ),
    "images, a bomb": (
        lambda d: bomb(d / "data"),
        ["train", "--images", "mnist", "--images-dir", "data", "--out", "n.safetensors"],
        "holds more than 134217728 bytes",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_hostile_files_end_in_a_message(name: str, tmp_path: Path) -> None:
    write, command, message = CASES[name]
    write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    root = str(Path(__file__).parents[2])
    found = subprocess.run(
        [sys.executable, "-m", "reliability", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 2, found.stderr
    assert message in found.stderr
    assert found.stderr.startswith("rram-reliability: ")
    assert len(found.stderr.splitlines()) == 1
    assert "Traceback" not in found.stderr
    assert sorted(tmp_path.rglob("*")) == before
