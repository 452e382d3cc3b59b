"""Do device models predict unseen devices, are their error rates exact, and what do they cost?

Eight parts, most with a module of their own: predictions for left-out devices of measured arrays
(``prediction``), convergence at the defaults (``convergence``), error rates from draws against
references and a time limit (``ber``), effective draws per second against nutpie and PyMC alone
(``sampling``), leaving out each of 3.3e5 devices next to the fit (``loo``), independence of units
and row order (``invariance``), how often gates fail on good and on wrong devices (``gates``), and
intervals for arrays that were not measured (``arrays``). Each part, and each data set of the first
two, is stored as it comes; parts that the file has already are not measured again unless
``--force``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import (
    devicefit_arrays,
    devicefit_ber,
    devicefit_convergence,
    devicefit_gates,
    devicefit_loo,
    devicefit_sampling,
)
from benchmarks.devicefit_prediction import DATA_SETS, SEED, predict_data_set
from devicefit.compression.compression import compress
from devicefit.fitting.fit import fit
from devicefit.measurements.measurements import check_measurements
from devicefit.sampling.diagnostics import versions
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import reference_measurements
from reliability.cli.inputs import chosen_models

PARTS = ("prediction", "convergence", "ber", "sampling", "loo", "invariance", "gates", "arrays")


def invariance() -> dict[str, Any]:
    """Draws of fits to one simulated table: other units at the border, rows shuffled."""
    readings = reference_measurements()
    table = readings.table
    options = SamplerOptions(chains=2, draws=50, warmup=100, seed=1)

    def draws_of(changed: Any) -> np.ndarray:
        checked = check_measurements(changed, readings.programming, simulated=True)
        posterior = fit(compress(checked), family="lognormal", options=options)
        return np.concatenate([v.values.ravel() for v in posterior.draws.data_vars.values()])

    plain = draws_of(table)
    shuffled = draws_of(table.sample(frac=1.0, random_state=3).reset_index(drop=True))
    record: dict[str, Any] = {"shuffled_rows_same_bytes": plain.tobytes() == shuffled.tobytes()}
    for unit, factor in (("kohm", 1e3), ("Mohm", 1e6)):
        # What reading a file in this unit does: numbers as written there, times the factor.
        ohm = (table["resistance_ohm"] / factor) * factor
        other = draws_of(table.assign(resistance_ohm=ohm))
        record[f"{unit}_largest_difference"] = float(np.abs(other - plain).max())
    return record


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="file to write, and to go on from")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--devices", type=Path, default=Path("../shared/data/devices"))
    parser.add_argument("--cases", type=Path, default=Path("../shared/cases"))
    parser.add_argument("--data", nargs="+", help="names of data sets; all of them by default")
    parser.add_argument("--model", action="append", help="as of `rram-reliability fit`")
    parser.add_argument("--split-seed", type=int, default=SEED, help="decides what is left out")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--warmup", type=int, default=400)
    parser.add_argument("--force", action="store_true", help="measure again what is there")
    arguments = parser.parse_args()
    record: dict[str, Any] = {}
    if arguments.json.exists():
        record = json.loads(arguments.json.read_text(encoding="utf-8"))
    record.update(machine=platform.processor() or platform.machine(), versions=versions())

    def store() -> None:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    if "prediction" in arguments.parts:
        families, stacked = chosen_models(arguments.model or ["skewed-failure"])
        sampler = SamplerOptions(draws=arguments.draws, warmup=arguments.warmup, seed=1)
        done = record.setdefault("prediction", {})
        for data in DATA_SETS:
            name = f"{data.name}, {'stacked' if stacked else families[0]}"
            if arguments.split_seed != SEED:
                name += f", split {arguments.split_seed}"
            if arguments.data and data.name not in arguments.data:
                continue
            if name in done and not arguments.force:
                continue
            done[name] = predict_data_set(
                data,
                arguments.devices,
                families=families,
                stacked=stacked,
                sampler=sampler,
                seed=arguments.split_seed,
            )
            brief = {k: v for k, v in done[name].items() if k != "bins"}
            print(json.dumps(brief), flush=True)
            store()
    if "convergence" in arguments.parts:
        if arguments.force:
            record.pop("convergence", None)
        done = record.setdefault("convergence", {})
        for found in devicefit_convergence.measure(arguments.devices, arguments.cases, done):
            print(json.dumps(found), flush=True)
            store()
    others = {
        "ber": devicefit_ber.measure,
        "sampling": lambda: devicefit_sampling.measure(500),
        "loo": devicefit_loo.measure,
        "invariance": invariance,
        "gates": lambda: devicefit_gates.measure(arguments.json.with_suffix(".gates.jsonl")),
        "arrays": lambda: devicefit_arrays.measure(
            arguments.json.with_suffix(".arrays.jsonl"), devices=arguments.devices
        ),
    }
    for part, measure in others.items():
        if part in arguments.parts and (part not in record or arguments.force):
            record[part] = measure()
            print(part, json.dumps(record[part]), flush=True)
            store()
    return 0


if __name__ == "__main__":
    sys.exit(main())
