"""Do real refits shrink the interval of the saving as much as `measure-next` predicts?

Question
    For several candidate measurements of a simulated device: is the shrinkage of the 90 % interval
    of ln saving that importance weights predict the one that fits to the old and the new readings
    together give?

Inputs
    None. The device is simulated (``devicefit.simulation.reference_device``, 5 currents, 60
    devices each, 3 cycles); the networks are trained on scikit-learn's digits, or their counts are
    given with ``--counts`` (standard network first). ``--more-counts`` are counts of the same
    networks with more chips: what these really do to the interval then stands beside what is
    predicted. Memory has to reach a BER of 1e-3, which lies within the range that such a sweep
    covers.

Seed
    Readings 20190407, fit 1. Repetition ``r`` has the r-th draw that plays the truth in
    `measure-next`, its readings the seed (31, r).

Outputs
    ``results/measure_next.json``: for each candidate and reference the predicted shrinkage, that of
    refits, and for each repetition the width with weights and with a refit to the same readings;
    ``results/measure_next.png``.

Method
    Against the standard network most of the interval rests on the chips, against memory all on the
    device; both are looked at. In a repetition a draw of the posterior plays the truth. Readings of
    new devices are drawn from it, with the correlation between cycles that the design effect
    implies, and (a) weigh the draws, log likelihood divided by the design effect, as the fit does;
    (b) are appended to the old readings, and everything is fitted anew. Both give a width from the
    same surface draws, and their difference for the same readings is the sharpest check there is.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bnn
from devicefit.compression.compression import compress
from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.fit import fit
from devicefit.measurements.measurements import STATES, Measurements, check_measurements
from devicefit.sampling.diagnostics import psis
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.new_readings import binned, correlation, laws_at
from devicefit.simulation.reference_device import PROGRAMMING, ReferencePlan, reference_measurements
from reliability.decision.compare import compare
from reliability.decision.options import DecisionOptions
from reliability.decision.requirement import Requirement
from reliability.device.study import DeviceStudy, adaptive_grid
from reliability.energy.energy import EnergyOptions
from reliability.files.progress import Narrator
from reliability.measure_next.candidates import MoreChips, MoreDevices
from reliability.measure_next.options import MeasureNextOptions
from reliability.measure_next.ranking import Ranking
from reliability.networks.study import (
    evaluate_network,
    load_counts,
    name_of,
    network_names,
    options_for,
    train_network,
)

HERE = Path(__file__).resolve().parent
FAMILY = "switching-failure"
PLAN = ReferencePlan(currents=5, devices_per_current=60, cycles=3)
CANDIDATES = (
    MoreDevices(20e-6, 60, 3),
    MoreDevices(20e-6, 240, 3),
    MoreDevices(30e-6, 60, 3),
    MoreDevices(100e-6, 60, 3),
)
REQUIREMENT = Requirement(memory_ber=1e-3)
SAMPLER = SamplerOptions(chains=2, draws=600, warmup=300, target_accept=0.9, seed=1, cores=1)


def new_table(
    ranking: Ranking, candidate: MoreDevices, truth: int, *, rng: np.random.Generator
) -> pd.DataFrame:
    """Readings of new devices under the paired draw that plays the truth."""
    main = ranking.device.main
    laws = laws_at(main, np.array([candidate.programming]), ranking.c.pairing.device[[truth]])
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


def ln_weights(ranking: Ranking, candidate: MoreDevices, truth: int, table: pd.DataFrame) -> tuple:
    """Weights of the draws by the readings, and Pareto k."""
    main, draw = ranking.device.main, ranking.c.pairing.device
    laws = laws_at(main, np.array([candidate.programming]), draw)
    total = np.zeros(len(draw))
    for state in STATES:
        law = binned(laws[state].part((slice(None), 0)))
        ln_r = np.log(table.loc[table["state"] == state, "resistance_ohm"].to_numpy())
        total += law.ln_likelihood(law.count(ln_r)[None])[0] / main.record["design_effect"][state]
    total[draw == draw[truth]] = -np.inf
    ln_weight, k = psis((total - total.max())[None])
    return ln_weight, float(k[0])


def _with_weights(ranking: Ranking, weights: np.ndarray) -> dict[str, float]:
    """Width of the interval with one row of weights, and effective draws."""
    (width,) = ranking.widths(weights)
    return {"width": float(width), "effective_draws": float(1 / (weights**2).sum())}


def repetition(
    rankings: dict[str, Ranking], old: pd.DataFrame, candidate: MoreDevices, number: int
) -> dict:
    """Widths against each reference, with a refit and with weights, for one outcome."""
    any_ranking = next(iter(rankings.values()))
    truth = int(any_ranking.outcomes.truth[number])
    table = new_table(any_ranking, candidate, truth, rng=np.random.default_rng([31, number]))
    both = check_measurements(
        pd.concat([old, table], ignore_index=True),
        PROGRAMMING,
        simulated=True,
        source="simulated",
        sha256="",
    )
    options = replace(SAMPLER, seed=SAMPLER.seed + number)
    refitted = fit(compress(both), family=FAMILY, options=options)
    ln_weight, k = ln_weights(any_ranking, candidate, truth, table)
    return {
        "number": number,
        "r_hat": refitted.diagnostics.r_hat,
        "pareto_k": k,
        "refit": {key: ranking.width_of(refitted) for key, ranking in rankings.items()},
        "weights": {
            key: _with_weights(ranking, np.exp(ln_weight)) for key, ranking in rankings.items()
        },
    }


def summary(rankings: dict[str, Ranking], rows: dict[str, dict]) -> dict:
    """Shrinkages with their standard errors, and how far apart they are."""
    found = []
    for words, row in rows.items():
        for key, ranking in rankings.items():
            before = ranking.width_of(ranking.device.main)
            refit = np.array([r["refit"][key] for r in row["repetitions"]]) / before
            weights = np.array([r["weights"][key]["width"] for r in row["repetitions"]])
            weights /= ranking.width_now
            # Outcomes whose weights the command would not use tell nothing about weights.
            usable = np.array(
                [
                    r["weights"][key]["effective_draws"] >= ranking.options.least_effective
                    and r["pareto_k"] <= 0.7
                    for r in row["repetitions"]
                ]
            )
            difference = (refit - weights)[usable]
            predicted = row["predicted"][key]
            error = float(refit.std(ddof=1) / np.sqrt(len(refit)))
            found.append(
                {
                    "candidate": words,
                    "reference": key,
                    "route": predicted["route"],
                    "predicted": predicted["shrinkage"],
                    "predicted_standard_error": predicted["standard_error"],
                    "refits": float(1 - refit.mean()),
                    "refits_standard_error": error,
                    "z": float(
                        (predicted["shrinkage"] - 1 + refit.mean())
                        / np.hypot(error, predicted["standard_error"])
                    ),
                    "repetitions": len(refit),
                    "same_readings": {
                        "outcomes": int(usable.sum()),
                        "difference": float(difference.mean()) if usable.any() else None,
                        "standard_error": float(difference.std(ddof=1) / np.sqrt(usable.sum()))
                        if usable.sum() > 1
                        else None,
                    },
                }
            )
    return {
        "note": "simulated device; relative shrinkage of the 90 % ETI of ln saving; "
        "`same_readings` is weights less refits",
        "shares": {key: ranking.shares() for key, ranking in rankings.items()},
        "width_now": {key: ranking.width_now for key, ranking in rankings.items()},
        "table": found,
        "candidates": rows,
    }


def paired(values: dict) -> dict:
    """Width with refits less that with weights, for the same readings, over all candidates.

    Both widths swing with the outcome alike, so that their difference is known far better than
    either. A repetition has the same truth for all candidates: its candidates are averaged first.
    """
    found = {}
    for key in values["width_now"]:
        differences = []
        for row in values["table"]:
            if row["reference"] != key or row["route"] != "weights":
                continue
            rows = values["candidates"][row["candidate"]]["repetitions"]
            refit = np.array([r["refit"][key] for r in rows])
            before = refit.mean() / (1 - row["refits"])
            weights = np.array([r["weights"][key]["width"] for r in rows])
            usable = [
                r["weights"][key]["effective_draws"] >= MeasureNextOptions().least_effective
                and r["pareto_k"] <= 0.7
                for r in rows
            ]
            difference = refit / before - weights / values["width_now"][key]
            differences.append(np.where(usable, difference, np.nan))
        # Outcomes without usable weights are left out; a repetition needs one candidate at least.
        kept = np.array(differences)[:, np.isfinite(differences).any(axis=0)]
        means = np.nanmean(kept, axis=0)
        found[key] = {
            "refits_less_weights": float(means.mean()),
            "standard_error": float(means.std(ddof=1) / np.sqrt(len(means))),
            "repetitions": len(means),
            "readings": int(np.isfinite(kept).sum()),
        }
    return found


def chips_record(
    rankings: dict[str, Ranking], device: DeviceStudy, paths: list[Path]
) -> dict[str, dict[str, float]]:
    """Shrinkage that further chips are predicted to give, and that of counts with these chips."""
    networks = _counted(paths)
    more = compare(
        device,
        networks,
        DecisionOptions(
            requirement=REQUIREMENT, sensing=SensingOptions(), energy=EnergyOptions(), seed=1
        ),
    )
    found = {}
    for key, ranking in rankings.items():
        before, after = ranking.c.standard.chips, more.standard.chips
        predicted = ranking.outlook(MoreChips(after - before))
        width = Ranking(device, more, MeasureNextOptions(reference=key), 1).width_now
        found[key] = {
            "chips": before,
            "chips_then": after,
            "predicted": predicted.shrinkage,
            "predicted_standard_error": predicted.standard_error,
            "counted": 1 - width / ranking.width_now,
        }
    return found


def figure(values: dict, path: Path) -> None:
    """Predicted shrinkage beside that of refits, for each reference."""
    keys = list(values["shares"])
    size = (9.5, 1.2 + 0.55 * len(values["candidates"]))
    figure, both = plt.subplots(1, len(keys), figsize=size, sharey=True, layout="constrained")
    for axes, key in zip(both, keys, strict=True):
        rows = [row for row in values["table"] if row["reference"] == key]
        place = np.arange(len(rows))
        for offset, name, label in (
            (-0.15, "predicted", "predicted by measure-next"),
            (0.15, "refits", f"{rows[0]['repetitions']} refits"),
        ):
            axes.errorbar(
                [100 * row[name] for row in rows],
                place + offset,
                xerr=[164.5 * row[f"{name}_standard_error"] for row in rows],
                fmt="o",
                capsize=3,
                label=label,
            )
        axes.set_yticks(place, [f"{row['candidate']}\n({row['route']})" for row in rows])
        axes.axvline(0, color="0.7", lw=0.8)
        axes.set_title(f"against {key}", fontsize=10)
        axes.set_xlabel("shrinkage, % (bars: 1.645 standard errors)")
    both[0].invert_yaxis()
    both[0].legend(fontsize=8)
    figure.suptitle("90 % interval of ln saving after further devices (simulated)", fontsize=10)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _counted(paths: list[Path]) -> dict:
    tables = [load_counts(path) for path in paths]
    return dict(zip(network_names(tables), tables, strict=True))


def _networks(paths: list[Path] | None, narrator: Narrator) -> dict:
    if paths:
        return _counted(paths)
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


def base_study(measurements: Measurements) -> DeviceStudy:
    """The fit to the old readings, with what candidates need."""
    options = replace(SAMPLER, chains=4, draws=1000, warmup=500)
    posterior = fit(compress(measurements), family=FAMILY, options=options)
    record = {"data": {"simulated": True}, "counts": {}, "gates": []}
    return DeviceStudy({FAMILY: posterior}, {}, {}, adaptive_grid(posterior, 101), record)


def main() -> int:
    """Run the study; repetitions already in the output are kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=16)
    parser.add_argument("--counts", type=Path, action="append")
    parser.add_argument("--more-counts", type=Path, action="append")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "measure_next.json")
    arguments = parser.parse_args()
    if arguments.repetitions < 2:
        parser.error("--repetitions: at least 2, for their standard error")
    measurements = reference_measurements(plan=PLAN)
    rows: dict[str, dict] = {}
    if arguments.out.exists():
        rows = json.loads(arguments.out.read_text())["candidates"]
    energy = EnergyOptions()
    with Narrator() as narrator:
        networks = _networks(arguments.counts, narrator)
        narrator.say("fitting the old readings")
        device = base_study(measurements)
        comparison = compare(
            device,
            networks,
            DecisionOptions(
                requirement=REQUIREMENT, sensing=SensingOptions(), energy=energy, seed=1
            ),
        )
        rankings = {
            key: Ranking(device, comparison, MeasureNextOptions(reference=key), 1)
            for key in ("standard_bnn", "memory")
        }
        for candidate in CANDIDATES:
            words = candidate.words(PROGRAMMING)
            kept = rows.get(words, {"repetitions": []})
            predicted = {
                key: ranking.outlook(candidate).record() for key, ranking in rankings.items()
            }
            rows[words] = {**kept, "predicted": predicted}
        values: dict = {}
        for number in range(arguments.repetitions):
            narrator.say(f"repetition {number + 1} of {arguments.repetitions}")
            for candidate in CANDIDATES:
                done = rows[candidate.words(PROGRAMMING)]["repetitions"]
                if len(done) <= number:
                    done.append(repetition(rankings, measurements.table, candidate, number))
            if number:
                values = summary(rankings, rows)
                values["paired"] = paired(values)
                arguments.out.write_text(json.dumps(values, indent=1) + "\n")
        if arguments.more_counts:
            values["chips"] = chips_record(rankings, device, arguments.more_counts)
            arguments.out.write_text(json.dumps(values, indent=1) + "\n")
        figure(values, arguments.out.with_suffix(".png"))
    print(f"for the same readings: {values['paired']}; further chips: {values.get('chips')}")
    for row in values["table"]:
        print(
            f"{row['reference']}, {row['candidate']}: predicted {row['predicted']:.3f} +- "
            f"{row['predicted_standard_error']:.3f} ({row['route']}), refits {row['refits']:.3f} "
            f"+- {row['refits_standard_error']:.3f}, z {row['z']:.1f}; same readings "
            f"{row['same_readings']}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
