"""Do real refits shrink the interval of the saving as much as `measure-next` predicts?

Question
    For several candidate measurements of a simulated device: is the shrinkage of the 90 % interval
    of ln saving that importance weights predict the one that fits to the old and the new readings
    together give?

Inputs
    None. The device is simulated (``devicefit.reference_device``, 5 currents, 60 devices each, 3
    cycles); the networks are trained on scikit-learn's digits, or their counts are given with
    ``--counts`` (standard network first).

Seed
    Readings 20190407, fit 1. Repetition ``r`` has the r-th draw that plays the truth in
    `measure-next`, its readings the seed (31, r).

Outputs
    ``results/measure_next.json``: for each candidate the predicted shrinkage over all simulated
    outcomes, and for each repetition the width with weights and with a refit to the same readings;
    ``results/measure_next.png``.

Method
    In a repetition a draw of the posterior plays the truth. Readings of new devices are drawn from
    it, with the correlation between cycles that the design effect implies, and (a) weigh the draws,
    log likelihood divided by the design effect, as the fit does; (b) are appended to the old
    readings, and everything is fitted anew. Both give a width from the same curve draws.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bnn
from devicefit.backend import SamplerOptions, psis
from devicefit.compression import compress
from devicefit.fitting import fit
from devicefit.measurements import STATES, check_measurements
from devicefit.preposterior import binned, correlation, laws_at
from devicefit.reference_device import PROGRAMMING, ReferencePlan, reference_measurements
from devicefit.sensing import SensingOptions
from reliability.answer import compare
from reliability.candidates import MoreDevices
from reliability.decision import Requirement
from reliability.device_study import study_device
from reliability.energy import EnergyOptions
from reliability.judge import Judge
from reliability.network_study import (
    evaluate_network,
    load_counts,
    name_of,
    network_names,
    options_for,
    train_network,
)
from reliability.outlook import MeasureNextOptions
from reliability.progress import Narrator

HERE = Path(__file__).resolve().parent
PLAN = ReferencePlan(currents=5, devices_per_current=60, cycles=3)
CANDIDATES = (
    MoreDevices(20e-6, 60, 3),
    MoreDevices(20e-6, 240, 3),
    MoreDevices(30e-6, 60, 3),
    MoreDevices(600e-6, 60, 3),
)
SAMPLER = SamplerOptions(chains=2, draws=600, warmup=300, target_accept=0.9, seed=1, cores=1)


def new_table(
    judge: Judge, candidate: MoreDevices, truth: int, *, rng: np.random.Generator
) -> pd.DataFrame:
    """Readings of new devices under the paired draw that plays the truth."""
    main = judge.device.main
    laws = laws_at(main, np.array([candidate.programming]), judge.c.pairing.device[[truth]])
    parts = []
    names = [f"new-{d:04d}" for d in range(candidate.devices)]
    shape = (candidate.devices, candidate.cycles)
    for state in STATES:
        law = laws[state].part((0, 0))
        rho = correlation(
            main.record["design_effect"][state],
            main.record["readings"][state] / main.record["devices"],
        )
        component = np.searchsorted(np.cumsum(np.exp(law.ln_weight))[:-1], rng.random(shape))
        lasting, fresh = rng.standard_normal((shape[0], 1)), rng.standard_normal(shape)
        score = np.sqrt(rho or 0.0) * lasting + np.sqrt(1 - (rho or 0.0)) * fresh
        ln_r = law.location[component] + law.scale[component] * score
        parts.append(
            pd.DataFrame(
                {
                    "device_id": np.repeat(names, candidate.cycles),
                    "cycle": np.tile(np.arange(candidate.cycles), candidate.devices),
                    "state": state,
                    "programming": candidate.programming,
                    "resistance_ohm": np.exp(ln_r).ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def weighted_width(judge: Judge, candidate: MoreDevices, truth: int, table: pd.DataFrame) -> dict:
    """Width with the draws weighed by the readings, and how many draws that rests on."""
    main, draw = judge.device.main, judge.c.pairing.device
    laws = laws_at(main, np.array([candidate.programming]), draw)
    total = np.zeros(len(draw))
    for state in STATES:
        law = binned(laws[state].part((slice(None), 0)))
        ln_r = np.log(table.loc[table["state"] == state, "resistance_ohm"].to_numpy())
        total += law.ln_likelihood(law.count(ln_r)[None])[0] / main.record["design_effect"][state]
    total[draw == draw[truth]] = -np.inf
    ln_weight, k = psis((total - total.max())[None])
    return judge.width_of_weights(np.exp(ln_weight))[0] | {"pareto_k": float(k[0])}


def repetition(judge: Judge, old: pd.DataFrame, candidate: MoreDevices, number: int) -> dict:
    """Both widths for one simulated outcome."""
    started = time.process_time()
    truth = int(judge.truth[number])
    table = new_table(judge, candidate, truth, rng=np.random.default_rng([31, number]))
    both = check_measurements(
        pd.concat([old, table], ignore_index=True),
        PROGRAMMING,
        simulated=True,
        source="simulated",
        sha256="",
    )
    options = replace(SAMPLER, seed=SAMPLER.seed + number)
    refitted = fit(compress(both), family=judge.device.main.family, options=options)
    return {
        "number": number,
        "refit": judge.width_with(refitted),
        "r_hat": refitted.diagnostics.r_hat,
        "weights": weighted_width(judge, candidate, truth, table),
        "processor_s": time.process_time() - started,
    }


def summary(judge: Judge, rows: dict[str, dict]) -> dict:
    """Shrinkages with their standard errors, and how far apart they are."""
    before = judge.width_with(judge.device.main)
    found = []
    for words, row in rows.items():
        refit = np.array([r["refit"] for r in row["repetitions"]]) / before
        weights = np.array([r["weights"]["width"] for r in row["repetitions"]]) / judge.width_now
        n = len(refit)
        differences = weights - refit
        found.append(
            {
                "candidate": words,
                "predicted": row["predicted"],
                "refit_shrinkage": float(1 - refit.mean()),
                "refit_standard_error": float(refit.std(ddof=1) / np.sqrt(n)),
                "weights_on_the_same_readings": float(1 - weights.mean()),
                "difference": float(-differences.mean()),
                "difference_standard_error": float(differences.std(ddof=1) / np.sqrt(n)),
                "repetitions": row["repetitions"],
            }
        )
    return {
        "note": "simulated device; shrinkage of the 90 % interval of ln saving at the limit",
        "width_now": before,
        "width_now_from_the_table": judge.width_now,
        "candidates": found,
    }


def figure(values: dict, path: Path) -> None:
    """Predicted shrinkage beside that of refits."""
    rows = values["candidates"]
    place = np.arange(len(rows))
    figure, axes = plt.subplots(figsize=(7.0, 0.8 + 0.7 * len(rows)), layout="constrained")
    for offset, key, error, label in (
        (-0.2, "shrinkage", "standard_error", "predicted, all simulated outcomes"),
        (0.2, "refit_shrinkage", "refit_standard_error", "refits"),
    ):
        source = [row["predicted"] if offset < 0 else row for row in rows]
        axes.errorbar(
            [100 * s[key] for s in source],
            place + offset,
            xerr=[196 * s[error] for s in source],
            fmt="o",
            capsize=3,
            label=label,
        )
    axes.plot(
        [100 * row["weights_on_the_same_readings"] for row in rows],
        place,
        "x",
        color="0.3",
        label="weights, on the readings of the refits",
    )
    axes.set_yticks(place, [row["candidate"] for row in rows])
    axes.invert_yaxis()
    axes.axvline(0, color="0.7", lw=0.8)
    axes.set_xlabel("shrinkage of the 90 % interval of ln saving, % (bars: 1.96 standard errors)")
    axes.set_title("Simulated device", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _networks(paths: list[Path] | None, narrator: Narrator) -> dict:
    if paths:
        tables = [load_counts(path) for path in paths]
        return dict(zip(network_names(tables), tables, strict=True))
    images, options = bnn.load_images("digits"), options_for("digits")
    networks = {}
    for rate in (0.0, options.train_ber):
        network, record = train_network(
            images, options, ber=rate, say=narrator.say, tick=narrator.tick
        )
        networks[name_of(record)] = evaluate_network(
            network, images, options, record, tick=narrator.tick
        )
    return networks


def main() -> int:
    """Run the study; repetitions already in the output are kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=6)
    parser.add_argument("--counts", type=Path, action="append")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "measure_next.json")
    arguments = parser.parse_args()
    measurements = reference_measurements(plan=PLAN)
    rows: dict[str, dict] = {}
    if arguments.out.exists():
        stored = json.loads(arguments.out.read_text())["candidates"]
        rows = {row["candidate"]: row for row in stored}
    with Narrator() as narrator:
        networks = _networks(arguments.counts, narrator)
        device = study_device(
            measurements,
            families=("switching-failure",),
            sampler=replace(SAMPLER, chains=4, draws=1000, warmup=500),
            sensing=SensingOptions(),
            say=narrator.say,
        )
        comparison = compare(device, networks, Requirement(), SensingOptions(), EnergyOptions(), 1)
        judge = Judge(device, comparison, EnergyOptions(), MeasureNextOptions(), 1)
        for candidate in CANDIDATES:
            outlook = judge.outlook(candidate)
            kept = rows.get(outlook.words, {"repetitions": []})
            rows[outlook.words] = {**kept, "predicted": outlook.record()}
        for number in range(arguments.repetitions):
            for candidate in CANDIDATES:
                row = rows[candidate.words(PROGRAMMING)]
                if len(row["repetitions"]) > number:
                    continue
                narrator.say(f"repetition {number + 1}: {candidate.words(PROGRAMMING)}")
                row["repetitions"].append(repetition(judge, measurements.table, candidate, number))
            if number:
                values = summary(judge, rows)
                arguments.out.write_text(json.dumps(values, indent=1) + "\n")
        figure(values, arguments.out.with_suffix(".png"))
    for row in values["candidates"]:
        print(
            f"{row['candidate']}: predicted {row['predicted']['shrinkage']:.3f} +- "
            f"{row['predicted']['standard_error']:.3f}, refits {row['refit_shrinkage']:.3f} +- "
            f"{row['refit_standard_error']:.3f}, on the same readings "
            f"{row['difference']:+.3f} +- {row['difference_standard_error']:.3f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
