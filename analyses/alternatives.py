"""Which storage, network and treatment of thresholds needs the least programming energy on MNIST?

Question
    Single cells, single cells with SECDED(72,64) or BCH(127,64), or 2T2R; networks trained without
    errors, for errors, for a range of errors or with a margin; thresholds as trained, folded for
    the operating BER or calibrated on each chip. All on the same draws of the device and the same
    chips: at which programming does each lose at most one point with probability 0.95, and what
    does that cost?

Inputs
    The simulated reference device (nothing here was measured), the networks of `bnn.zoo` and the
    MNIST files under ``--images-dir``.

Choices
    Requirement, pulses and sensing are the defaults. All layers exposed, all 10,000 test images,
    the rates of `RATES`, `CHIPS` chips of each, 1,000 unlabelled training images for folding and
    calibrating. With so few chips the spread between chips is known to about a quarter only; the
    posterior of the accuracy surface carries that.

Seed
    1 for everything.

Outputs
    ``analyses/results/alternatives/``: ``counts.json`` (images lost and gained, chip by chip; what
    is there is not counted again), ``results.json`` (the table and its verdict) and ``.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import bnn
from bnn.calibration.treatments import FIXED, FOLDED_FOR_EACH, PER_CHIP
from devicefit.distributions.sensing import SensingOptions
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import reference_measurements
from reliability.decision.options import DecisionOptions
from reliability.decision.requirement import Requirement
from reliability.device.files import load_study, save_study
from reliability.device.study import DeviceStudy, study_device
from reliability.energy.energy import EnergyOptions
from reliability.networks.names import names_of
from reliability.networks.study import NetworkStudy
from reliability.networks.treatments import reference_from, treated_record
from reliability.results.alternatives import alternative_lines
from reliability.results.answer import answer

NETWORKS = ("mnist-standard", "mnist-4e-2", "mnist-margin", "mnist-range")
TREATMENTS = (FIXED, FOLDED_FOR_EACH, PER_CHIP)
RATES = (1e-4, 1e-3, 1e-2, 3e-2, 5e-2, 0.1, 0.2, 0.5)
CHIPS = 10
CALIBRATION_IMAGES = 1000
SEED = 1
OUT = Path(__file__).resolve().parent / "results" / "alternatives"


def count(name: str, treatment: str, images: bnn.ImageSet) -> NetworkStudy:
    """Counts of one network with one treatment of its thresholds."""
    network, record = bnn.load_zoo(name)
    data = (images.test_images, images.test_labels)
    options: dict[str, Any] = {"ber": RATES, "chips": CHIPS, "seed": SEED, "threads": 1}
    if treatment == FIXED:
        return NetworkStudy(bnn.evaluate(network, *data, **options), record)
    reference = reference_from(network, images, number=CALIBRATION_IMAGES, seed=SEED, threads=1)
    run = bnn.evaluate_folded if treatment == FOLDED_FOR_EACH else bnn.evaluate_calibrated
    record = treated_record(record, treatment, reference, images, seed=SEED)
    return NetworkStudy(run(reference, *data, **options), record)


def counted(directory: Path | None, out: Path) -> list[NetworkStudy]:
    """Counts of every network and treatment, from the file where they are there."""
    path = out / "counts.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    images: bnn.ImageSet | None = None
    studies = []
    for name in NETWORKS:
        for treatment in TREATMENTS:
            key = f"{name}, {treatment}"
            if key not in stored:
                images = images or bnn.load_images("mnist", images_dir=directory)
                start = time.process_time()
                study = count(name, treatment, images)
                stored[key] = {"counts": study.counts.to_dict(), "record": study.record}
                path.write_text(json.dumps(stored) + "\n", encoding="utf-8")
                print(f"{key}: {time.process_time() - start:.0f} s of processor time", flush=True)
            line = stored[key]
            studies.append(NetworkStudy(xr.Dataset.from_dict(line["counts"]), line["record"]))
    return studies


def device_study(directory: Path | None) -> DeviceStudy:
    """The fitted reference device, from a directory written by `fit` if one is given."""
    if directory is not None and directory.exists():
        return load_study(directory)
    study = study_device(
        reference_measurements(), sampler=SamplerOptions(seed=SEED), sensing=SensingOptions()
    )
    if directory is not None:
        directory.mkdir(parents=True)
        save_study(study, directory)
    return study


def draw(values: dict[str, Any], path: Path) -> None:
    """Energy per bit of every design, one panel for each treatment of thresholds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    from reliability.report.figures.drawing import STORAGE_COLOURS

    rows = values["alternatives"]
    networks = list(dict.fromkeys(n.split(", thresholds")[0] for n in values["tolerated_ber"]))
    storages = list(STORAGE_COLOURS)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, len(TREATMENTS), sharey=True)
    for ax, treatment in zip(axes, TREATMENTS, strict=True):
        for row in (r for r in rows if r["thresholds"] == treatment):
            if row["e_bit_j"] is None:
                continue
            i = networks.index(row["network"].split(", thresholds")[0])
            x = i + 0.18 * (storages.index(row["scheme"]) - 1.5)
            low, median, high = (1e12 * row["e_bit_j"][k] for k in ("low", "median", "high"))
            colour = STORAGE_COLOURS[row["scheme"]]
            ax.plot([x, x], [low, high], color=colour, lw=2)
            edge = "white" if row["at_weakest_measured"] else colour
            ax.plot([x], [median], "o", color=colour, mfc=edge)
        ax.set_title(f"thresholds {treatment}", fontsize=10)
        ax.set_xticks(range(len(networks)), [n.replace(" ", "\n", 2) for n in networks], fontsize=8)
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(FixedLocator([4, 5, 6, 7, 8, 10, 12, 15, 20, 30]))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.grid(axis="y", which="both", lw=0.4)
    axes[0].set_ylabel("programming energy per bit (pJ), 90 % ETI")
    for name, colour in STORAGE_COLOURS.items():
        axes[-1].plot([], [], "o", color=colour, label=name)
    axes[-1].plot([], [], "o", color="black", mfc="white", label="at most: weakest measured")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=5,
                  fontsize=8)  # fmt: skip
    figure.suptitle("Lowest safe programming on the simulated reference device, MNIST", fontsize=11)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Count, decide, draw and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images-dir", type=Path)
    parser.add_argument("--device", type=Path, help="fitted reference device; made if missing")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    studies = counted(arguments.images_dir, arguments.out)
    names = names_of([study.record for study in studies])
    start = time.process_time()
    results = answer(
        device_study(arguments.device),
        dict(zip(names, studies, strict=True)),
        DecisionOptions(
            requirement=Requirement(), sensing=SensingOptions(), energy=EnergyOptions(), seed=SEED
        ),
        command="python analyses/alternatives.py --images-dir DIR",
    )
    print(f"fit and decision: {time.process_time() - start:.0f} s of processor time")
    values = dict(results.values)
    kept = ("verdict", "programming", "requirement", "tolerated_ber", "alternatives", "gates")
    text = json.dumps({key: values[key] for key in kept}, indent=1)
    (arguments.out / "results.json").write_text(text + "\n", encoding="utf-8")
    draw(values, arguments.out / "alternatives.png")
    print(values["verdict"]["sentence"])
    print("\n".join(alternative_lines(values)))
    if np.any([gate["passed"] is False for gate in values["gates"]]):
        print("a gate failed:", values["verdict"]["failed_gates"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
