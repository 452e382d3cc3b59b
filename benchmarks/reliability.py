"""Do curves predict what brute force finds, and how long does a decision take?

Question
    (a) Are accuracy quantiles of chips from the accuracy curve those of posterior draws and chips
    pushed straight through the evaluator, on the simulated reference device and on the measured
    gate sweep? (b) How long does the decision take from stored posteriors and counts?

Run ``python -m benchmarks.reliability --json FILE --data DATA --work DIR``. `DATA` has
``devices/`` and ``images/``. `DIR` keeps device fits, counts and chips that were evaluated; what is
there is used, and an interrupted run goes on. ``--parts decision`` takes (b) alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from reliability.accuracy_curve import fit_accuracy_curves

import bnn
from analyses.measured_gate_sweep import read_sweep
from benchmarks.reliability_brute_force import (
    DRAWS,
    choose_places,
    compare,
    push_through,
    summary,
)
from benchmarks.reliability_decision import time_decision
from devicefit.backend import SamplerOptions
from devicefit.reference_device import reference_measurements
from devicefit.sensing import SensingOptions, ber_curves
from reliability.answer import CURVE_SAMPLER
from reliability.device_study import DeviceStudy, study_device
from reliability.network_study import (
    BER_GRID,
    NetworkOptions,
    NetworkStudy,
    evaluate_network,
    load_counts,
    save_counts,
)
from reliability.study_files import load_study, save_study

NETWORKS = ("mnist-standard", "mnist-4e-2")
DEVICES = ("simulated reference device", "measured gate sweep")
SEED = 1
PARTS = ("brute-force", "decision")


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def device_study(name: str, data: Path, work: Path) -> DeviceStudy:
    """Fit of a device, from `work` if it is there."""
    directory = work / name.replace(" ", "-")
    if (directory / "device.json").exists():
        return load_study(directory)
    say(f"fitting the {name}")
    found = reference_measurements(seed=SEED) if name == DEVICES[0] else read_sweep(data)
    study = study_device(
        found,
        sampler=SamplerOptions(draws=750, warmup=700, target_accept=0.98, seed=SEED, cores=1),
        sensing=SensingOptions(),
        say=say,
    )
    directory.mkdir(parents=True, exist_ok=True)
    save_study(study, directory)
    return study


def network_counts(name: str, images: bnn.ImageSet, chips: int, work: Path) -> Path:
    """Counts that a curve is fitted to, from `work` if they are there."""
    path = work / f"{name}-{chips}.nc"
    if not path.exists():
        say(f"evaluating {chips} chips of {name} at {len(BER_GRID)} rates")
        network, record = bnn.load_zoo(name)
        options = NetworkOptions(chips=chips, seed=SEED, threads=1)
        study = evaluate_network(network, images, options, record, tick=lambda done, of: None)
        save_counts(NetworkStudy(study.counts, study.record), path)
    return path


def brute_force(arguments: argparse.Namespace, images: bnn.ImageSet) -> dict[str, Any]:
    """Every device with the network; rows and summary of each, and of all together."""
    found: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    name = NETWORKS[0]
    counts = load_counts(network_counts(name, images, arguments.chips, arguments.work)).counts
    curve = fit_accuracy_curves({name: counts}, options=CURVE_SAMPLER)[name]
    network, _ = bnn.load_zoo(name)
    for device in DEVICES:
        study = device_study(device, arguments.data, arguments.work)
        ber = ber_curves(study.main, study.grid, options=SensingOptions())["1T1R"].ln_ber
        place = choose_places(study.grid, ber.reshape(-1, len(study.grid)), draws=DRAWS)
        place = replace(place, ln_ber=place.ln_ber[: arguments.draws])
        store = arguments.work / f"{name}-{device.replace(' ', '-')}-brute.npy"
        brute = push_through(
            network, images, place, threads=arguments.threads, store=store, say=say
        )
        compared = compare(curve, place, brute, seed=SEED)
        rows += compared
        found[device] = {
            "network": name,
            "family": study.main.family,
            "programming": study.main.frame.programming.name,
            "unit": study.main.frame.programming.unit,
            "draws": arguments.draws,
            "chips_of_the_curve": curve.chips,
            "summary": summary(compared),
            "rows": compared,
        }
    return {"summary": summary(rows), "devices": found}


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="has devices/ and images/")
    parser.add_argument("--work", type=Path, required=True, help="keeps fits and chips")
    parser.add_argument("--chips", type=int, default=50, help="chips behind the curve")
    parser.add_argument(
        "--draws",
        type=int,
        default=DRAWS,
        help=f"of {DRAWS} draws, chain after chain, those pushed straight through",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    images = bnn.load_images("mnist", images_dir=arguments.data / "images")
    record: dict[str, Any] = {}
    if arguments.json.exists():
        record = json.loads(arguments.json.read_text(encoding="utf-8"))
    record["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    if "brute-force" in arguments.parts:
        record["brute_force"] = brute_force(arguments, images)
        say(json.dumps(record["brute_force"]["summary"], indent=1))
    if "decision" in arguments.parts:
        paths = [network_counts(name, images, arguments.chips, arguments.work) for name in NETWORKS]
        device_study(DEVICES[1], arguments.data, arguments.work)
        record["decision"] = time_decision(arguments.work / DEVICES[1].replace(" ", "-"), paths)
        say(json.dumps(record["decision"], indent=1))
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
