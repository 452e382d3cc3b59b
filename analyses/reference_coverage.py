"""Do the intervals hold the truth on simulated devices, and how often?

Question
    Over independent simulated data sets of the reference device: on which share of the grid lies
    the true BER inside its 90 % band, and how often is the true saving inside its 90 % interval?

Inputs
    None. Everything here is simulated: readings by ``devicefit.reference_device``, the counts of
    the two networks are those of one training on scikit-learn's digits, the same for all data
    sets (network and chips do not depend on the device).

Seed
    Data set ``k`` has seed ``1000 + k``; the fit has seed ``k``.

Outputs
    ``analyses/results/reference_coverage.json``: for each data set and sensing scheme the share of
    the grid inside, for each reference and comparison whether the true saving is inside, and the
    gates.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import bnn
from devicefit.backend import SamplerOptions
from devicefit.intervals import clopper_pearson
from devicefit.reference_device import ReferenceDevice, reference_measurements
from devicefit.sensing import SensingOptions
from reliability.answer import answer
from reliability.decision import Requirement
from reliability.device_study import study_device
from reliability.energy import EnergyOptions
from reliability.network_study import evaluate_network, name_of, options_for, train_network
from reliability.progress import Narrator

HERE = Path(__file__).resolve().parent


def one_data_set(number: int, networks: dict) -> dict:
    """Fit, decide and compare with the truth on one simulated data set."""
    device = study_device(
        reference_measurements(seed=1000 + number),
        families=("switching-failure",),
        sampler=SamplerOptions(draws=750, warmup=700, target_accept=0.98, seed=number),
        sensing=SensingOptions(),
    )
    results = answer(
        device,
        networks,
        requirement=Requirement(),
        sensing=SensingOptions(),
        energy_options=EnergyOptions(),
        seed=number,
        command="python analyses/reference_coverage.py",
        truth=ReferenceDevice(),
    ).values
    truth = results["simulated_truth"]
    return {
        "data_set": number,
        "share_of_grid_inside": {s: b["share_of_grid_inside"] for s, b in truth["ber"].items()},
        "saving_inside": {
            key: {"at_limit": found["inside"], "at_tolerance": found["at_tolerance"]["inside"]}
            for key, found in truth["energy_saving"].items()
        },
        "failed_gates": results["verdict"]["failed_gates"],
    }


def main() -> int:
    """Run the study; data sets already in the output are kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "reference_coverage.json")
    arguments = parser.parse_args()
    rows = []
    if arguments.out.exists():
        rows = json.loads(arguments.out.read_text())["data_sets"]
    with Narrator() as narrator:
        images, options = bnn.load_images("digits"), options_for("digits")
        networks = {}
        for rate in (0.0, options.train_ber):
            network, record = train_network(
                images, options, ber=rate, say=narrator.say, tick=narrator.tick
            )
            networks[name_of(record)] = evaluate_network(
                network, images, options, record, tick=narrator.tick
            )
        for number in range(len(rows), arguments.data_sets):
            narrator.say(f"data set {number + 1} of {arguments.data_sets}")
            rows.append(one_data_set(number, networks))
            arguments.out.write_text(json.dumps(_summary(rows), indent=1) + "\n")
    print(json.dumps({k: v for k, v in _summary(rows).items() if k != "data_sets"}, indent=1))
    return 0


def _summary(rows: list[dict]) -> dict:
    schemes = rows[0]["share_of_grid_inside"]
    shares = {s: [row["share_of_grid_inside"][s] for row in rows] for s in schemes}
    kept = [row for row in rows if row["saving_inside"]]
    savings = {}
    for key in kept[0]["saving_inside"] if kept else ():
        for which in ("at_limit", "at_tolerance"):
            inside = sum(row["saving_inside"][key][which] for row in kept)
            interval = clopper_pearson(inside, len(kept))
            savings[f"{key}, {which}"] = {
                "inside": inside,
                "data_sets": len(kept),
                **interval.record(),
            }
    return {
        "note": "simulated data sets; a 90 % interval should hold the truth in about 90 %",
        "ber": {
            s: {
                "mean_share_of_grid_inside": float(np.mean(v)),
                "data_sets_with_at_least_80_percent_inside": int(np.sum(np.array(v) >= 0.8)),
                "data_sets": len(v),
            }
            for s, v in shares.items()
        },
        "saving": savings,
        "data_sets": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
