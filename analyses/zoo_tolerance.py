"""How many wrong weights do the networks of the zoo tolerate, with which thresholds?

Question
    Accuracy of every network of the zoo over the bit error rate (BER) of its chips, all layers
    exposed, with thresholds as trained (fixed), folded for each BER, or calibrated on each chip.
    Which combination of training and calibration keeps the promises: clean accuracy within 0.2
    points of the standard network and a mean loss of at most 0.15, 0.5 and 3 points at BER 4e-2,
    1e-1 and 2e-1; and which network loses at most 0.5 points at 4e-2 with fixed thresholds, its
    clean accuracy being within 0.3 points of the standard network? The same table for CIFAR-10,
    where the promise is a mean loss of at most 1 and 3 points at 4e-2 and 1e-1.

Inputs
    The networks of `bnn.zoo`, the MNIST and CIFAR-10 files under ``--images-dir``; digits need
    none.

Choices
    Losses are against the same network without errors. Calibration images are 4,000 training
    images (all 1,197 of digits; 2,000 of CIFAR-10, where convolutions see every image at many
    places), drawn without their labels. Accuracy is that on all test images.

Seed
    1 for chips and drawn images; chip numbers from 0. Each network meets the same chips.

Outputs
    ``analyses/results/zoo_tolerance.json``: right answers, chip by chip, written after every ten
    chips; what is there already is not counted again.
    ``analyses/results/zoo_tolerance.png``, ``zoo_tolerance_cifar.png``: heat maps.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bnn
from bnn.calibration.calibration import CalibrationReference
from bnn.networks.network import network_sha256
from reliability.networks.treated import count_treated
from reliability.networks.treatments import reference_from
from reliability.report.figures.grid import heat_maps

RESULTS = Path(__file__).resolve().parent / "results"
SEED = 1
RATES = (0.0, 1e-3, 1e-2, 4e-2, 7e-2, 0.1, 0.15, 0.2)
CIFAR_RATES = (0.0, 1e-3, 1e-2, 4e-2, 0.1)
CIFAR_CALIBRATION = 2000
FIXED, FOLDED, CALIBRATED = "fixed", "folded for each BER", "calibrated per chip"
TREATMENTS = (FIXED, FOLDED, CALIBRATED)
SHORT = {"folded": FOLDED, "calibrated": CALIBRATED}
CHIPS_TOGETHER = 10
FAMILIES = {
    "mnist": "MNIST, 784-1024-1024-10",
    "cifar": "CIFAR-10, convolutions 48-48-96-96-192-192, then 1024-1024-10",
}


def family_of(name: str) -> str:
    """Image set of a network as its name begins."""
    return name.split("-")[0]


def rates_of(name: str) -> tuple[float, ...]:
    """Rates at which a network is measured: fewer where it takes long."""
    return CIFAR_RATES if family_of(name) == "cifar" else RATES


def reference_of(network: bnn.FoldedNetwork, images: bnn.ImageSet) -> CalibrationReference:
    """Reference on as many images as the set asks for."""
    number = CIFAR_CALIBRATION if images.name == "cifar-10" else None
    return reference_from(network, images, number=number, seed=SEED, threads=1)


def measure(
    names: Sequence[str],
    directory: Path | None,
    *,
    treatments: Sequence[str],
    chips: int,
    out: Path,
) -> dict[str, Any]:
    """Count what is not there yet; the file holds every finished part."""
    found: dict[str, Any] = {"seed": SEED, "rates": RATES, "networks": {}}
    if out.exists():
        found = json.loads(out.read_text(encoding="utf-8"))
    for name in names:
        network, record = bnn.load_zoo(name)
        images = bnn.load_images(record["image_set"]["name"], images_dir=directory)
        digest = network_sha256(network)
        line = found["networks"].get(name, {})
        if line.get("network_sha256") != digest:
            line = {"network_sha256": digest, "test_images": len(images.test_images), "right": {}}
        found["networks"][name] = line
        rates = rates_of(name)
        reference = None
        for treatment in treatments:
            start = time.perf_counter()
            counts = line["right"].get(treatment, [[] for _ in rates])
            before = len(counts[0])
            while (there := len(counts[0])) < chips:
                if reference is None and treatment != FIXED:
                    reference = reference_of(network, images)
                more = count_treated(
                    network,
                    reference,
                    images,
                    treatment,
                    rates=rates,
                    chips=min(CHIPS_TOGETHER, chips - there),
                    first_chip=there,
                    seed=SEED,
                    threads=1,
                )
                counts = [old + new for old, new in zip(counts, more.tolist(), strict=True)]
                line["right"][treatment] = counts
                out.write_text(json.dumps(found) + "\n", encoding="utf-8")
            if len(counts[0]) > before:
                seconds = time.perf_counter() - start
                print(f"{name}, {treatment}: chips {before} to {chips - 1}, {seconds:.0f} s")
                sys.stdout.flush()
    return found


def percent(line: dict[str, Any], treatment: str) -> npt.NDArray[np.float64]:
    """Accuracy in percent, shape (rates, chips)."""
    counts = np.array(line["right"][treatment])
    return 100.0 * counts / line["test_images"]


def table(found: dict[str, Any], treatment: str, rates: Sequence[float]) -> str:
    """Mean of the chips and the worst one, in percent, one line for each network."""
    lines = ["| network | " + " | ".join(f"{rate:g}" for rate in rates) + " |"]
    lines.append("|---" * (len(rates) + 1) + "|")
    for name, line in found["networks"].items():
        if treatment in line["right"] and rates_of(name) == rates:
            values = percent(line, treatment)
            cells = [f"{row.mean():.2f} ({row.min():.2f})" for row in values]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def losses(found: dict[str, Any], family: str) -> dict[str, Any]:
    """What the promises ask of each network of a family, in points of accuracy."""
    networks = {n: line for n, line in found["networks"].items() if family_of(n) == family}
    standard = percent(networks[f"{family}-standard"], FIXED)[0, 0]
    answers: dict[str, Any] = {}
    for name, line in networks.items():
        rates = rates_of(name)
        at = {rate: rates.index(rate) for rate in (0.0, 4e-2, 0.1, 0.2) if rate in rates}
        for treatment in line["right"]:
            values = percent(line, treatment)
            clean = values[0].mean()
            answers[f"{name}, {treatment}"] = {
                "chips": values.shape[1],
                "clean_below_standard": round(standard - clean, 3),
                "mean_loss": {
                    f"{rate:g}": round(clean - values[row].mean(), 3) for rate, row in at.items()
                },
                "worst_loss": {
                    f"{rate:g}": round(clean - values[row].min(), 3) for rate, row in at.items()
                },
            }
    return dict(sorted(answers.items()))


def draw(found: dict[str, Any], family: str, path: Path) -> None:
    """Heat map: training x BER of the chips for each treatment, with mean and chip spread."""
    names = [name for name in found["networks"] if family_of(name) == family]
    treatments = [t for t in TREATMENTS if all(t in found["networks"][n]["right"] for n in names)]
    panels = {
        f"thresholds {treatment}": [percent(found["networks"][name], treatment) for name in names]
        for treatment in treatments
    }
    chips = min(values.shape[1] for panel in panels.values() for values in panel)
    heat_maps(
        panels,
        trainings=[name.removeprefix(f"{family}-") for name in names],
        rates=rates_of(names[0]),
        title=f"{FAMILIES[family]}: mean ± standard deviation over at least {chips} chips",
    ).savefig(path, dpi=110)


def main() -> int:
    """Count, draw and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks; all if none is named")
    parser.add_argument("--images-dir", type=Path)
    parser.add_argument(
        "--treatment",
        action="append",
        choices=TREATMENTS,
        type=lambda word: SHORT.get(word, word),
        help=f"may be repeated; all if none is named; short: {', '.join(SHORT)}",
    )
    parser.add_argument("--chips", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS / "zoo_tolerance.json")
    arguments = parser.parse_args()
    names = arguments.names or [network.name for network in bnn.zoo_networks()]
    found = measure(
        names,
        arguments.images_dir,
        treatments=arguments.treatment or TREATMENTS,
        chips=arguments.chips,
        out=arguments.out,
    )
    for rates in (RATES, CIFAR_RATES):
        for treatment in TREATMENTS:
            print(f"\n{treatment}\n{table(found, treatment, rates)}")
    for family in FAMILIES:
        if FIXED in found["networks"].get(f"{family}-standard", {}).get("right", {}):
            found.setdefault("losses_in_points", {})[family] = losses(found, family)
            print(json.dumps(found["losses_in_points"][family], indent=1))
            tail = "" if family == "mnist" else f"_{family}"
            draw(found, family, arguments.out.with_name(f"{arguments.out.stem}{tail}.png"))
    arguments.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
