"""How much faster is one chip than with public peers that run on a CPU, and are answers equal?

The same trained network, images and wrong bits for all. Every peer that can take given wrong bits
gets them, and its answers are compared with ours first. Then pairs: one chip by the peer, the same
chip by the automatic engine, the drawing of the errors included in both; the ratio is that of a
pair. The peers are no dependencies of the project: what is not installed is listed with the command
that installs it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import peer_torch
from benchmarks.engines import NETWORK, ROOT, draw, images_of, int8_predictor
from benchmarks.peer_larq import MARK
from benchmarks.peer_torch import Answers, Chip, Flips
from bnn import FoldedNetwork, load_network
from bnn.engines.dense import dense
from bnn.evaluation.runner import start_runner
from bnn.networks.network import HiddenLayer, flip_weights, layer_signs
from devicefit.sampling.diagnostics import versions

RATES = (1e-4, 1e-2, 0.1)
INSTALL = {
    "pytorchfi": "pip install --no-deps --target DIR pytorchfi==0.6.0, DIR on PYTHONPATH",
    "mrfi": "pip install --no-deps --target DIR mrfi==2.1.0 PyYAML, DIR on PYTHONPATH",
    "aihwkit": "pip install --no-deps --target DIR aihwkit==1.1.0 tqdm requests, DIR on PYTHONPATH",
    "larq-compute-engine": "in an environment of its own: pip install tensorflow-cpu==2.16.2 "
    "tf_keras==2.16.0 larq==0.13.3 larq-compute-engine==0.16.0 numpy==1.26.4; --larq-python PATH",
}
NOT_RUN = {
    "aihwkit, compiled tiles": "the wheel of 1.1.0 refuses weights under PyTorch 2.13 (weights "
    "must be a CPU tensor); its tiles in PyTorch are run",
    "memtorch": "a source distribution only, whose setup ends with an error",
    "crosssim": "not on the package index",
    "BNN-QNN-ErrorEvaluation": "no package; a repository only, not at hand",
    "Atreya95, BNN inference with ReRAM bridges": "no package; notebooks only, not at hand",
    "Laborieux-Axel/Quantized_VGG": "no package; a repository only, not at hand. Its method, "
    "a fresh mask in every batch of dense PyTorch, costs at least the dense float32 pass",
}


class Larq:
    """Larq Compute Engine in a process of its own; `seconds` has the parts of the last chip."""

    def __init__(
        self, python: Path, network: FoldedNetwork, images: Any, *, threads: int, folder: Path
    ) -> None:
        arrays: dict[str, Any] = {"layers": len(network.layers), "images": images}
        for index, layer in enumerate(network.layers):
            arrays[f"signs_{index}"] = layer_signs(layer)
            if isinstance(layer, HiddenLayer):
                arrays[f"threshold_{index}"] = layer.threshold
                arrays[f"direction_{index}"] = layer.direction
        np.savez(folder / "network.npz", **arrays)
        script = Path(__file__).with_name("peer_larq.py")
        self.network, self.folder, self.log = network, folder, folder / "log.txt"
        self.seconds: dict[str, float] = {}
        # -P: modules of this folder must not hide those of the peer
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, "-P", script, folder / "network.npz", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            )
        self.version = self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARK):
                found: dict[str, Any] = json.loads(line[len(MARK) :])
                return found
        last = self.log.read_text().strip().splitlines()[-1:]
        raise RuntimeError(f"the process of Larq ended: {' '.join(last)}")

    def __call__(self, flips: Flips) -> Answers:
        """Answers of a chip."""
        chip = flip_weights(self.network, flips)
        signs = {f"signs_{i}": layer_signs(layer) for i, layer in enumerate(chip.layers)}
        np.savez(self.folder / "chip.npz", **signs)
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.folder / 'chip.npz'}\n")
        self.process.stdin.flush()
        self.seconds = self._reply()
        return peer_torch.classes(self.network, np.load(self.folder / "z.npy"))


def start_peers(
    network: FoldedNetwork, images: Any, *, threads: int, larq_python: Path | None, folder: Path
) -> tuple[dict[str, tuple[Chip, str, str]], dict[str, str]]:
    """Peers that run, each (chip, version, what is run), and why others do not."""
    prepared = dense.prepare(images)
    values = prepared.values
    int8 = int8_predictor(images, threads)
    torch_version = torch.__version__
    peers: dict[str, tuple[Chip, str, str]] = {
        "PyTorch float32": (
            lambda f: dense.predict(flip_weights(network, f), prepared, threads=threads),
            torch_version,
            "dense engine of the project",
        ),
        "PyTorch int8": (
            lambda f: int8(flip_weights(network, f)),
            torch_version,
            "products of 8-bit integers",
        ),
    }
    reasons = dict(NOT_RUN)
    builders: dict[str, tuple[str, str, Callable[[], Chip]]] = {}
    for name, compiled, dtype in (
        ("PyTorch float32, compiled", True, torch.float32),
        ("PyTorch bfloat16", False, torch.bfloat16),
        ("PyTorch bfloat16, compiled", True, torch.bfloat16),
    ):
        builders[name] = (
            "torch",
            "signs kept as floats, flipped in place and back",
            lambda compiled=compiled, dtype=dtype: peer_torch.in_place(  # type: ignore[misc]
                network, values, compiled=compiled, dtype=dtype
            ),
        )
    for name, what, start in (
        ("pytorchfi", "declare_weight_fi with the wrong bits", peer_torch.pytorchfi),
        ("mrfi", "FixPositions and the sign bit of the float", peer_torch.mrfi),
        ("aihwkit", "perfect tiles in PyTorch, wrong weights written", peer_torch.aihwkit),
    ):
        builders[name] = (name, what, lambda start=start: start(network, values))  # type: ignore[misc]
    for name, (package, what, builder) in builders.items():
        try:
            chip = builder()
            chip({layer.name: np.arange(1) for layer in network.layers})  # compiles
            peers[name] = (chip, peer_torch.version(package), what)
        except (ImportError, importlib.metadata.PackageNotFoundError):
            reasons[name] = f"not installed: {INSTALL[package]}"
        except Exception as error:  # a peer that fails is a result, not the end of the others
            reasons[name] = f"{type(error).__name__}: {str(error)[:200]}"
    name = "larq-compute-engine"
    if larq_python is None:
        reasons[name] = f"not installed: {INSTALL[name]}"
        return peers, reasons
    try:
        larq = Larq(larq_python, network, images, threads=threads, folder=folder)
        what = "1 x 1 convolutions, converted for every chip, indirect kernel"
        peers[name] = (larq, json.dumps(larq.version), what)
    except (OSError, RuntimeError) as error:
        reasons[name] = str(error)[:300]
    return peers, reasons


def measure(
    network: FoldedNetwork,
    images: Any,
    peers: dict[str, tuple[Chip, str, str]],
    *,
    threads: int,
    pairs: int,
) -> list[dict[str, Any]]:
    """Records: one per peer and bit error rate."""
    ours = start_runner("auto", network, images, threads=threads)
    records = []
    for ber in RATES:
        for name, (chip, version, what) in peers.items():
            flips = draw(network, ber, 0, threads)
            equal = float(np.mean(chip(flips) == ours.answers(flips)))
            seconds: dict[str, list[float]] = {"peer": [], "ours": []}
            parts: list[dict[str, float]] = []
            for number in range(1, pairs + 1):
                began = time.perf_counter()
                flips = draw(network, ber, number, threads)
                drawn = time.perf_counter() - began
                began = time.perf_counter()
                chip(flips)
                spent = time.perf_counter() - began
                if isinstance(chip, Larq):
                    # files between the processes are not the peer's
                    parts.append(chip.seconds)
                    spent = sum(chip.seconds.values())
                seconds["peer"].append(drawn + spent)
                began = time.perf_counter()
                ours.answers(draw(network, ber, number, threads))
                seconds["ours"].append(time.perf_counter() - began)
            ratios = [p / o for p, o in zip(seconds["peer"], seconds["ours"], strict=True)]
            record = {
                "network": "-".join(map(str, network.sizes)),
                "images": len(images),
                "ber": ber,
                "peer": name,
                "version": version,
                "run": what,
                "flips": int(sum(map(len, flips.values()))),
                "peer_seconds": statistics.median(seconds["peer"]),
                "our_seconds": statistics.median(seconds["ours"]),
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "equal_answers": equal,
            }
            for part in parts[0] if parts else ():
                record[part] = statistics.median(p[part] for p in parts)
            records.append(record)
            print(json.dumps(record), flush=True)
    return records


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument("--images", type=int, default=10_000, help="MNIST test images")
    parser.add_argument("--quick", action="store_true", help="one pair in place of three")
    parser.add_argument("--images-dir", type=Path, default=ROOT.parent / "shared/data/images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--larq-python", type=Path, help="interpreter that has Larq Compute Engine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network, _ = load_network(NETWORK)
    images, _ = images_of("mnist", arguments.images_dir, arguments.images, network.sizes[0])
    with tempfile.TemporaryDirectory() as folder:
        peers, reasons = start_peers(
            network,
            images,
            threads=arguments.threads,
            larq_python=arguments.larq_python,
            folder=Path(folder),
        )
        print(json.dumps(reasons, indent=1), flush=True)
        pairs = 1 if arguments.quick else 3
        records = measure(network, images, peers, threads=arguments.threads, pairs=pairs)
        for chip, _, _ in peers.values():
            if isinstance(chip, Larq):
                chip.process.communicate()
    result = {
        "records": records,
        "not_run": reasons,
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": arguments.threads,
        "versions": versions(),
    }
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    exact = [r for r in records if "bfloat16" not in r["peer"]]
    return 0 if all(r["equal_answers"] == 1.0 for r in exact) else 1


if __name__ == "__main__":
    sys.exit(main())
