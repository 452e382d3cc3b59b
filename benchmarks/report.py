"""What does the main job cost, and does it keep its promises?

Question
    Seconds and memory of ``rram-reliability run`` on the embedded default; whether the true BER
    and the true savings of the simulated device lie in their intervals; whether both engines give
    equal integers, and how much faster the packed one is on 784-1024-1024-10.

Run ``python -m benchmarks.report --json FILE``. Seconds are wall clock on the machine at hand; the
ratio of the engines is taken pair by pair in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import bnn
from bnn.errors.errors import chip_flips
from bnn.evaluation.engine import ENGINES
from bnn.networks.network import flip_weights
from bnn.training.architectures import BinaryMLP

REPEATS = 5
CHIPS = 50


def main_job(threads: int) -> dict:
    """Run the main job twice; the second run is the one that counts."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report"
        seconds, twins = [], []
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "reliability", "run", "--quiet", "--force"]
                + ["--threads", str(threads), "--out", str(out)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds.append(time.perf_counter() - start)
            twins.append((out / "results.json").read_bytes())
        values = json.loads(twins[0])
        peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    truth = values["simulated_truth"]
    return {
        "seconds_first_run": seconds[0],
        "seconds_second_run": seconds[1],
        "peak_memory_gb": peak_kib * 1024 / 1e9,
        "same_seed_same_bytes": twins[0] == twins[1],
        "share_of_grid_with_true_ber_inside": {
            s: b["share_of_grid_inside"] for s, b in truth["ber"].items()
        },
        "true_saving_inside": {key: s["inside"] for key, s in truth["energy_saving"].items()},
        "failed_gates": values["verdict"]["failed_gates"],
    }


def engines(threads: int) -> dict:
    """Equality on random chips first, then the ratio of dense to packed seconds."""
    rng = np.random.default_rng(0)
    digits = bnn.load_images("digits")
    small = bnn.fold(BinaryMLP((64, 256, 256, 10), seed=1).eval())
    equal = 0
    for chip in range(CHIPS):
        rate = float(rng.uniform(0, 0.3))
        flips = {
            name: chip_flips(bits=bits, ber=rate, seed=1, chip=chip, layer=layer)[0]
            for layer, (name, bits) in enumerate(small.weight_bits.items())
        }
        faulty = flip_weights(small, flips)
        answers = []
        for name in ("dense", "packed"):
            engine = ENGINES[name]
            images = engine.prepare(digits.test_images)
            answers.append(engine.pre_activations(faulty, images, threads=threads))
        equal += all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))
    large = bnn.fold(BinaryMLP((784, 1024, 1024, 10), seed=1).eval())
    pixels = rng.integers(0, 256, (10_000, 784), dtype=np.uint8)
    seconds: dict[str, list[float]] = {"dense": [], "packed": []}
    prepared = {name: ENGINES[name].prepare(pixels) for name in seconds}
    for repeat in range(REPEATS + 1):
        for name in seconds:
            start = time.perf_counter()
            ENGINES[name].predict(large, prepared[name], threads=threads)
            if repeat:  # the first pair warms up
                seconds[name].append(time.perf_counter() - start)
    ratios = [d / p for d, p in zip(seconds["dense"], seconds["packed"], strict=True)]
    return {
        "chips_with_equal_integers": equal,
        "chips": CHIPS,
        "images": len(pixels),
        "dense_seconds": statistics.median(seconds["dense"]),
        "packed_seconds": statistics.median(seconds["packed"]),
        "ratio_dense_to_packed": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
    }


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    record = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "threads": arguments.threads,
        "main_job": main_job(arguments.threads),
        "engines": engines(arguments.threads),
    }
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
