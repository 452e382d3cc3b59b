"""Does a decision keep its promises on fresh chips, and how long does it take?

Question
    (promises) Do as many fresh chips meet the requirement as is promised, for each design on
    measured and simulated devices? (quantiles) Are quantiles of accuracy those of fresh chips?
    (caution) Would ten times as many chips recommend less energy? (chips) How long do 1,000 chips
    of 784-1024-1024-10 take? (decision) How long does a decision take from stored posteriors?

Run ``python -m benchmarks.reliability --json FILE --data DATA --cases CASES --work DIR``. `DATA`
has ``devices/`` and ``images/``, `CASES` the simulated laboratory files. `DIR` keeps fits, counts,
plans and what chips answered; what is there is used, and an interrupted run goes on. Empty it, or
at least its ``plans``, when the surfaces or the drawing of chips change.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import bnn
from benchmarks.reliability_confirming import MOST_RATIO, energy_ratio, time_chips
from benchmarks.reliability_decision import time_decision
from benchmarks.reliability_promises import (
    comparison_of,
    count_all,
    count_place,
    in_turns,
    planned,
    summary,
)
from benchmarks.reliability_quantiles import compared
from benchmarks.reliability_quantiles import summary as quantiles_summary
from benchmarks.reliability_subjects import (
    DEVICES,
    SAMPLER,
    SEED,
    Subjects,
    all_subjects,
    device_directory,
    device_study,
    say,
)
from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.error_rates import ber_curves
from reliability.accuracy.surface_fit import fit_accuracy_surfaces
from reliability.confirmation.confirmed import DesignChips
from reliability.confirmation.confirming import Confirmable, Confirming
from reliability.decision.comparison import Comparison
from reliability.device.study import DeviceStudy
from reliability.networks.treated import TREATMENTS
from reliability.plans.storage import STORAGES

QUANTILE_PLACES, QUANTILE_CHIPS = 40, 300
DEVICE_OF_TIMES = "measured gate sweep 1 us"
CAUTION = (
    ("simulated reference device", "digits-standard", "1T1R"),
    ("simulated reference device", "digits-4e-2", "1T1R, scrambled"),
    ("measured gate sweep 1 us", "digits-4e-2", "1T1R, scrambled"),
    ("laboratory file (cases/20)", "digits-4e-2", "1T1R"),
    ("measured gate sweep 1 us", "digits-4e-2", "1T1R + BCH(127,64), scrambled"),
)
"""Designs of which the energy with usual lots is compared with that of larger ones."""


@dataclass
class Bench:
    """What the parts share; everything is made at first use.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command line.
    """

    arguments: argparse.Namespace
    _images: dict[str, bnn.ImageSet] = field(default_factory=dict)
    _studies: dict[str, DeviceStudy] = field(default_factory=dict)
    _subjects: dict[tuple[str, str], Confirmable] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """Folder that keeps what was done."""
        found: Path = self.arguments.work
        return found

    @property
    def subjects(self) -> list[Subjects]:
        """Image sets and treatments of thresholds that are asked."""
        a = self.arguments
        every = all_subjects(a.mnist_images, a.threads)
        return [s for s in every if s.image_set in a.images and s.thresholds in a.thresholds]

    def study(self, device: str) -> DeviceStudy:
        """A fitted device."""
        a = self.arguments
        if device not in self._studies:
            self._studies[device] = device_study(device, a.data, a.cases, a.work)
        return self._studies[device]

    def images(self, subjects: Subjects) -> bnn.ImageSet:
        """The images of a set."""
        if subjects.image_set not in self._images:
            self._images[subjects.image_set] = subjects.images(self.arguments.data)
        return self._images[subjects.image_set]

    def confirmable(self, subjects: Subjects, name: str) -> Confirmable:
        """A network to count chips of."""
        key = (subjects.label, name)
        if key not in self._subjects:
            self._subjects[key] = subjects.confirmable(name, self.images(subjects))
        return self._subjects[key]

    def compared(self, device: str, subjects: Subjects) -> Comparison:
        """Designs of the networks on a device, by the surfaces."""
        counts = {n: subjects.counted(n, self.images(subjects), self.work) for n in subjects.names}
        return comparison_of(self.study(device), counts, subjects, DEVICES[device].energy)


def promises(bench: Bench) -> dict[str, Any]:
    """Every design of every device asked of fresh chips."""
    a, rows = bench.arguments, []
    until = time.monotonic() + 60 * a.minutes
    of = {subjects.label: subjects for subjects in bench.subjects}
    for label, subjects in of.items():
        for device in a.devices:
            of_images = f"{label}, {subjects.most_images} images"
            path = bench.work / "plans" / f"{device.replace('/', '-')}, {of_images}.json"
            if not path.exists():
                if time.monotonic() > until:
                    continue
                say(f"plan of the {device}, {label}")
                path.parent.mkdir(parents=True, exist_ok=True)
                plan = planned(bench.compared(device, subjects))
                path.write_text(json.dumps(plan), encoding="utf-8")
            found = json.loads(path.read_text(encoding="utf-8"))
            rows += [{"device": device, "networks": label, **row} for row in found]
    asked = [row for row in rows if "promise" in row]
    ordered = [r for s in a.images for r in in_turns(asked) if r["networks"].startswith(s)]

    def count(row: dict[str, Any]) -> dict[str, Any]:
        subject = bench.confirmable(of[row["networks"]], row["network"])
        return count_place(
            row, subject, bench.study(row["device"]), chips=a.chips, threads=a.threads
        )

    counted = count_all(ordered, bench.work / "promises.jsonl", count, until=until, say=say)
    return {
        "criterion": "|share - promise| <= max(0.02, three standard errors of both sides)",
        "sampler": SAMPLER.record(),
        "readings": {name: DEVICES[name].note for name in a.devices},
        "test_images": {s.image_set: s.most_images for s in bench.subjects},
        "places_planned": len(asked),
        **summary(rows, counted),
        "rows": counted,
    }


def quantiles(bench: Bench) -> dict[str, Any]:
    """Quantiles of accuracy at programming values drawn by chance, against fresh chips."""
    a, rng = bench.arguments, np.random.default_rng(SEED)
    store = bench.work / "quantiles.jsonl"
    lines = store.read_text(encoding="utf-8").splitlines() if store.exists() else []
    rows = [row for line in lines for row in json.loads(line)]
    for number in range(QUANTILE_PLACES):
        device = str(rng.choice(a.devices))
        subjects = bench.subjects[int(rng.integers(len(bench.subjects)))]
        name, storage = str(rng.choice(subjects.names)), STORAGES[int(rng.integers(len(STORAGES)))]
        study = bench.study(device)
        x = float(rng.choice(study.grid))
        if number < len(lines):
            continue
        counts = subjects.counted(name, bench.images(subjects), bench.work)
        surface = fit_accuracy_surfaces({name: counts}, seed=SEED)[name]
        curves = ber_curves(study.main, np.array([x]), options=SensingOptions())
        confirming = Confirming({}, study.main, threads=a.threads)
        subject = bench.confirmable(subjects, name)
        of = DesignChips(subject, storage, SensingOptions(), "LRS", confirming)
        losses = of.losses(x, QUANTILE_CHIPS, 500_000 + number, 0)
        about = {
            "device": device,
            "networks": subjects.label,
            "network": name,
            "storage": storage.name,
            "programming": x,
            "known": float(surface.known(storage.seen(curves)).mean()),
        }
        found = [
            about | row for row in compared(surface, storage.seen(curves), losses, seed=number)
        ]
        rows += found
        with store.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        say("; ".join(str(v) for v in about.values()) + f": z {[round(r['z'], 1) for r in found]}")
    return {
        "places": QUANTILE_PLACES,
        "chips": QUANTILE_CHIPS,
        **quantiles_summary(rows),
        "rows": rows,
    }


def caution(bench: Bench) -> dict[str, Any]:
    """Energy at what usual lots recommend against lots ten times as large."""
    a, rows = bench.arguments, []
    store = bench.work / "caution.jsonl"
    lines = store.read_text(encoding="utf-8").splitlines() if store.exists() else []
    rows = [json.loads(line) for line in lines]
    subjects = next(s for s in bench.subjects if s.label == "digits, fixed")
    for device, name, storage in CAUTION[len(rows) :]:
        comparison = bench.compared(device, subjects)
        design = next(d for d in comparison.designs if (d.network, d.scheme) == (name, storage))
        if design.safe.lowest is None:
            row: dict[str, Any] = {"network": name, "storage": storage, "promised": None}
        else:
            subject = bench.confirmable(subjects, name)
            row = energy_ratio(comparison, design, subject, bench.study(device), a.threads)
        rows.append({"device": device, **row})
        with store.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        say(json.dumps(rows[-1]))
    return {"criterion": f"ratio of energies at most {MOST_RATIO:g}", "rows": rows}


def chips(bench: Bench) -> dict[str, Any]:
    """Time of 1,000 chips of the large network on all test images, thresholds fixed."""
    subjects = next(s for s in bench.subjects if s.label == "mnist, fixed")
    device = DEVICE_OF_TIMES
    comparison = bench.compared(device, subjects)
    whole = replace(subjects, most_images=10_000)
    images = whole.images(bench.arguments.data)
    rows = []
    for name, storage in (("mnist-4e-2", "1T1R, scrambled"), ("mnist-standard", "1T1R")):
        design = next(d for d in comparison.designs if (d.network, d.scheme) == (name, storage))
        if design.safe.lowest is None:
            continue
        subject = whole.confirmable(name, images)
        study = bench.study(device)
        rows.append(time_chips(comparison, design, subject, study, chips=1000, threads=2))
        say(json.dumps(rows[-1]))
    return {"criterion": "under 20 s on two cores that are otherwise idle", "rows": rows}


def decision(bench: Bench) -> dict[str, Any]:
    """Time of the decision of two networks on the measured gate sweep."""
    subjects = next(s for s in bench.subjects if s.label == "mnist, fixed")
    images = bench.images(subjects)
    paths = [subjects.counts_path(n, images, bench.work) for n in subjects.names[:2]]
    for name in subjects.names[:2]:
        subjects.counted(name, images, bench.work)
    bench.study(DEVICE_OF_TIMES)
    return time_decision(device_directory(DEVICE_OF_TIMES, bench.work), paths)


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "promises": promises,
    "quantiles": quantiles,
    "caution": caution,
    "chips": chips,
    "decision": decision,
}


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="has devices/ and images/")
    parser.add_argument("--cases", type=Path, required=True, help="simulated laboratory files")
    parser.add_argument("--work", type=Path, required=True, help="keeps what was done")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--devices", nargs="+", choices=list(DEVICES), default=list(DEVICES))
    parser.add_argument("--images", nargs="+", default=["digits", "mnist"])
    parser.add_argument(
        "--thresholds", nargs="+", choices=list(TREATMENTS), default=list(TREATMENTS)
    )
    parser.add_argument("--mnist-images", type=int, default=2000, help="test images, the first")
    parser.add_argument("--chips", type=int, default=400, help="fresh chips at each place")
    parser.add_argument("--minutes", type=float, default=600.0, help="of counting promises")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {}
    if arguments.json.exists():
        record = json.loads(arguments.json.read_text(encoding="utf-8"))
    record["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    bench = Bench(arguments)
    for part in arguments.parts:
        record[part] = PARTS[part](bench)
        brief = {k: v for k, v in record[part].items() if k not in ("rows", "worst")}
        say(f"{part}: {json.dumps(brief, indent=1)}")
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
