"""Do intervals for an array that was not measured hold, and how wide are they?

Question
    (a) Simulated sets of 3, 5 and 10 arrays from a known law between arrays: the share of 90 %
    intervals that hold the true ln BER of a new array (1T1R at the fitted threshold, 2T2R), and
    their width over that of one who knows the device and the law between arrays. (b) Measured chips
    and runs, each left out in turn: failures counted on the left-out one, with the 95 % predictive
    interval.

In (a) the parameters that all arrays share stay as they are; how much arrays differ is drawn anew
for each set. Each set, and each array left out, is one line of a file, written as soon as it is
done: a run that was stopped goes on where it was.

Run ``python -m benchmarks.devicefit_arrays FILE.jsonl``, or as the part ``arrays`` of
``python -m benchmarks.devicefit``. About ten processor seconds for each set.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.devicefit_gates import quantiles, read_lines
from benchmarks.devicefit_prediction import DATA_SETS
from devicefit.compression.compression import compress
from devicefit.distributions.sensing import SensingOptions, ln_ber_1t1r, ln_ber_2t2r
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.error_rates import array_curves, ber_curves
from devicefit.fitting.fit import fit
from devicefit.inputs.programming import ONE_CONDITION
from devicefit.measurements.measurements import STATES, Measurements, check_measurements
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import clopper_pearson
from devicefit.prediction.prediction import predict
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import PROGRAMMING

SAMPLER = SamplerOptions(draws=500, warmup=400, cores=1)
SENSING = SensingOptions()
CURRENTS_A = np.array([float(f"{v:.4g}") for v in np.geomspace(20e-6, 300e-6, 8)])
PLACES_A = CURRENTS_A[[0, 2, 5]]
DEVICES = 40
"""Cells of an array at each current, each read once in each state."""

ARRAYS = (3, 5, 10)
NEW = 4
"""Further arrays of each set, whose true error rates are asked for."""

KNOWING = 2000
"""Arrays from which one who knows the law takes an interval."""

PROBABILITY = 0.9
SHARED = {
    "ln_v_c": np.log(0.5), "exponent": 1.0, "ln_r_series": np.log(1e3),
    "ln_sd_filament": np.log(0.3), "sd_exponent": 0.5, "ln_sd_floor": np.log(0.04),
    "ln_r_hrs": np.log(1e5), "hrs_slope": 0.0, "ln_sd_hrs": np.log(0.5), "hrs_sd_slope": 0.0,
    "log10_set_floor": -2.5, "log10_reset_floor": -2.2, "reset_slope": 0.0,
    "log10_incomplete": -2.3, "logit_incomplete_place": -1.4, "ln_incomplete_sd": np.log(0.1),
    "stuck_offset": 0.0, "ln_sd_stuck": np.log(0.3), "ln_set_width": np.log(0.1),
    "set_centre": -0.4,
}  # fmt: skip
"""What the simulated arrays have in common, others the means of their priors (docs/priors.md)."""

SD_BETWEEN = {
    "lrs_location": 0.15, "hrs_location": 0.2, "lrs_ln_sd": 0.15, "hrs_ln_sd": 0.1,
    "position": 0.03, "set_floor": 0.8, "incomplete": 0.8, "reset_floor": 0.8,
}  # fmt: skip
"""Typical standard deviation between arrays of each kind of shift."""

LN_SD_OF_SETS = 0.4
"""Standard deviation of its logarithm from set to set."""

MEASURED_CELLS = 2000
"""Cells of a measured array that are used, drawn at random, and one reading of each."""


@dataclass(frozen=True)
class ArraySet:
    """Simulated arrays, and further ones of the same law.

    Parameters
    ----------
    family : str
        Of which the device is.
    arrays : int
        Arrays that are measured; then come `NEW` that are not, and `KNOWING` for the law.
    draws : dict of str to float array, shape (1, 1) or (1, 1, array)
        True parameters.
    """

    family: str
    arrays: int
    draws: Mapping[str, FloatArray]

    @classmethod
    def drawn(cls, family: str, arrays: int, *, rng: np.random.Generator) -> ArraySet:
        """A set with a law between arrays of its own."""
        every = arrays + NEW + KNOWING
        found: dict[str, FloatArray] = {}
        for p in FAMILIES[family].priors(_frame(2)):
            if p.dim == "array":
                sd = np.exp(found[p.ln_sd])[..., None] if p.ln_sd else 1.0
                found[p.name] = sd * rng.standard_normal((1, 1, every))
            elif p.name.endswith("_array"):
                kind = p.name.removeprefix("ln_sd_").removesuffix("_array")
                ln_sd = np.log(SD_BETWEEN[kind]) + LN_SD_OF_SETS * rng.standard_normal()
                found[p.name] = np.full((1, 1), ln_sd)
            else:
                found[p.name] = np.full((1, 1), SHARED.get(p.name, p.mean))
        return cls(family, arrays, found)

    def laws(self, x: FloatArray, array: int) -> Mapping[str, Any]:
        """True law of ln R of both states on an array, trailing shape (1, 1, x)."""
        frame = _frame(self.arrays + NEW + KNOWING)
        places = frame.places(x, array=array)
        return FAMILIES[self.family].mixtures(self.draws, frame, places)

    def readings(self, *, rng: np.random.Generator) -> Measurements:
        """Readings of the arrays that are measured."""
        frames = []
        for array in range(self.arrays):
            laws = self.laws(CURRENTS_A, array)
            for i, current in enumerate(CURRENTS_A):
                names = [f"{array}-{i}-{d}" for d in range(DEVICES)]
                for state in STATES:
                    law = laws[state].part((0, 0, slice(i, i + 1)))
                    y = quantiles(law, rng.standard_normal(DEVICES))
                    part = pd.DataFrame({"device_id": names, "resistance_ohm": np.exp(y)})
                    frames.append(
                        part.assign(state=state, programming=current, array_id=f"array {array}")
                    )
        return check_measurements(
            pd.concat(frames, ignore_index=True), PROGRAMMING, simulated=True, source="simulated"
        )

    def ln_ber(self, x: FloatArray, arrays: range, threshold: FloatArray) -> dict[str, FloatArray]:
        """True ln BER of arrays, read at thresholds (ln ohm), shape (array, x)."""
        found: dict[str, list[FloatArray]] = {"1T1R": [], "2T2R": []}
        for array in arrays:
            laws = self.laws(x, array)
            pair = laws["LRS"], laws["HRS"]
            found["1T1R"].append(ln_ber_1t1r(*pair, threshold)[0, 0])
            found["2T2R"].append(ln_ber_2t2r(*pair, SENSING.offset_ln_r)[0, 0])
        return {scheme: np.stack(values) for scheme, values in found.items()}


def _frame(arrays: int) -> Frame:
    names = tuple(f"array {a}" for a in range(arrays))
    return Frame(PROGRAMMING, float(CURRENTS_A[0]), float(CURRENTS_A[-1]), arrays=names)


def judge(
    family: str, arrays: int, number: int, *, options: SamplerOptions = SAMPLER
) -> dict[str, Any]:
    """Simulate set `number`, fit it, and compare a new array's intervals with true new arrays."""
    rng = np.random.default_rng([number, arrays, 91])
    of_set = ArraySet.drawn(family, arrays, rng=rng)
    readings = of_set.readings(rng=rng)
    began = time.process_time()
    posterior = fit(compress(readings), family=family, options=replace(options, seed=number + 1))
    curves = ber_curves(posterior, PLACES_A, options=SENSING)
    larger = posterior.with_new_arrays(1)
    new = array_curves(larger, curves["1T1R"], options=SENSING)[-1]
    seconds = time.process_time() - began
    assert curves["1T1R"].threshold_ohm is not None
    ask = partial(of_set.ln_ber, PLACES_A, threshold=np.log(curves["1T1R"].threshold_ohm))
    first = arrays + NEW
    true, knowing = ask(range(arrays, first)), ask(range(first, first + KNOWING))
    tails = (1 - PROBABILITY) / 2, (1 + PROBABILITY) / 2
    schemes = {}
    for scheme, curve in new.items():
        low, high = np.quantile(curve.ln_ber, tails, axis=(0, 1))
        known = np.quantile(knowing[scheme], tails, axis=0)
        schemes[scheme] = {
            "inside": ((low <= true[scheme]) & (true[scheme] <= high)).astype(int).tolist(),
            "width": (high - low).tolist(),
            "width_knowing": (known[1] - known[0]).tolist(),
        }
    d = posterior.diagnostics
    return {
        "family": family,
        "arrays": arrays,
        "number": number,
        "schemes": schemes,
        "divergences": d.divergences,
        "r_hat": d.r_hat,
        "ess": d.bulk_ess,
        "seconds": seconds,
    }


def summary(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Share of intervals that hold, by arrays and scheme, with its error over sets; widths."""
    found = {}
    rows = [row for row in rows if "schemes" in row]
    for key in sorted({(row["family"], row["arrays"]) for row in rows}):
        mine = [row for row in rows if (row["family"], row["arrays"]) == key]
        entry: dict[str, Any] = {"sets": len(mine)}
        for scheme in mine[0]["schemes"]:
            of_scheme = [row["schemes"][scheme] for row in mine]
            # places and new arrays of a set are not independent, sets are
            share = np.array([np.mean(s["inside"]) for s in of_scheme])
            ratio = np.array([np.divide(s["width"], s["width_knowing"]) for s in of_scheme])
            entry[scheme] = {
                "share_inside": float(share.mean()),
                "standard_error": float(share.std(ddof=1) / np.sqrt(len(share)))
                if len(share) > 1
                else None,
                "median_width_over_knowing": float(np.median(ratio)),
            }
        entry["sets_with_divergences"] = sum(row["divergences"] > 0 for row in mine)
        entry["seconds_per_set"] = float(np.mean([row["seconds"] for row in mine]))
        found[f"{key[0]}, {key[1]} arrays"] = entry
    return found


def _one_reading_of_cells(table: pd.DataFrame, *, rng: np.random.Generator) -> pd.DataFrame:
    """`MEASURED_CELLS` cells of each array, and one reading of each in each state."""
    shuffled = table.iloc[rng.permutation(len(table))]
    once = shuffled.drop_duplicates(["array_id", "device_id", "state"])
    names = once[["array_id", "device_id"]].drop_duplicates()
    kept = names.groupby("array_id").head(MEASURED_CELLS)
    return once.merge(kept, on=["array_id", "device_id"]).sort_values(
        ["array_id", "device_id", "state"], kind="stable"
    )


def _runs(devices: Path) -> pd.DataFrame:
    table = pd.read_parquet(devices / "radar_cycling/cycling.parquet")
    # the first cycles are those of cells that were not formed alike
    return table[table["cycle"] >= 10].assign(programming=1.0, array_id=table["run"].astype(str))


def _read_outs(devices: Path) -> pd.DataFrame:
    (data,) = (d for d in DATA_SETS if d.name == "SAPIENS programmed arrays")
    return data.read(devices)[0]


LEAST_CELLS = 10
"""Cells that a left-out array needs: fewer are refused as measurements."""

MEASURED: Mapping[str, Callable[[Path], pd.DataFrame]] = {
    "SAPIENS read-outs": _read_outs,
    "RADAR cycling runs": _runs,
}


def leave_out(
    name: str, array: str, devices: Path, *, family: str, options: SamplerOptions = SAMPLER
) -> dict[str, Any]:
    """Fit all but one array of a measured data set, and predict that one as a new array."""
    columns = ["device_id", "state", "programming", "resistance_ohm", "array_id"]
    table = MEASURED[name](devices)[columns].astype({"array_id": str, "device_id": str})
    table = _one_reading_of_cells(table, rng=np.random.default_rng(17))
    out = (table["array_id"] == array).to_numpy()

    def checked(part: pd.DataFrame) -> Measurements:
        return check_measurements(part.reset_index(drop=True), ONE_CONDITION, source=name)

    began = time.process_time()
    posterior = fit(compress(checked(table[~out])), family=family, options=options)
    predicted = predict(
        posterior, checked(table[out]), options=SENSING, new_array=True,
        devices_per_bin=MEASURED_CELLS, rng=np.random.default_rng(18),
    )  # fmt: skip
    kept = ["state", "devices", "failures_observed"]
    kept += [n for n in predicted if n.startswith("failures_q")]
    return {
        "data": name,
        "left_out": array,
        "family": family,
        "measured_arrays": len(posterior.frame.arrays),
        "cells": predicted[kept].to_dict("records"),
        "divergences": posterior.diagnostics.divergences,
        "r_hat": posterior.diagnostics.r_hat,
        "seconds": time.process_time() - began,
    }


def measured_summary(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Cells of left-out arrays inside the 95 % predictive interval."""
    cells = [cell for row in rows if "cells" in row for cell in row["cells"]]
    inside = sum(c["failures_q025"] <= c["failures_observed"] <= c["failures_q975"] for c in cells)
    if not cells:
        return {}
    interval = clopper_pearson(float(inside), float(len(cells)), probability=0.9)
    return {"cells": len(cells), "inside": inside, "share": interval.record()}


def measure(
    file: Path,
    *,
    sets: int = 40,
    family: str = "lognormal",
    devices: Path | None = None,
    measured_family: str = "switching-failure",
) -> dict[str, Any]:
    """Judge what `file` lacks, one line for each set or left-out array, and sum up.

    Parameters
    ----------
    file : Path
        Lines of JSON; added to.
    sets : int, optional
        Simulated sets of each number of arrays.
    family : str, optional
        Of the simulated sets.
    devices : Path, optional
        Folder of measured device data; none are left out without it.
    measured_family : str, optional
        Fitted to the measured ones.
    """
    rows = read_lines(file)
    jobs: list[tuple[Any, Callable[[], dict[str, Any]]]] = [
        ((family, arrays, number), partial(judge, family, arrays, number))
        for number in range(sets)
        for arrays in ARRAYS
    ]
    if devices is not None:
        for name, read in MEASURED.items():
            table = read(devices)
            cells = table.groupby(table["array_id"].astype(str))["device_id"].nunique()
            for array in sorted(cells[cells >= LEAST_CELLS].index):
                run = partial(leave_out, name, array, devices, family=measured_family)
                jobs.append(((measured_family, name, array), run))
    done = {
        (row["family"], row.get("arrays", row.get("data")), row.get("number", row.get("left_out")))
        for row in rows
    }
    cut_off = file.exists() and not file.read_text(encoding="utf-8").endswith("\n")
    with file.open("a", encoding="utf-8") as out:
        out.write("\n" if cut_off else "")
        for key, run in jobs:
            if key in done:
                continue
            row = run()
            rows.append(row)
            out.write(json.dumps(row) + "\n")
            out.flush()
    return {"simulated": summary(rows), "measured": measured_summary(rows)}


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="lines of JSON to write, and to go on from")
    parser.add_argument("--model", default="lognormal", help="family of the simulated sets")
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--devices", type=Path, help="folder of measured device data")
    parser.add_argument("--measured-model", default="switching-failure")
    a = parser.parse_args()
    found = measure(
        a.file, sets=a.sets, family=a.model, devices=a.devices, measured_family=a.measured_model
    )
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
