"""Do decisions keep what they promise on simulated devices whose truth is known?

Question
    Over simulated devices with varied truths, from readings to decision (fit, accuracy surface,
    decision): how often does the 90 % interval of the saving hold the true saving, for each
    reference, and how often does a chip at the chosen programming keep the loss that was promised
    with probability 0.95?

Inputs
    None. Everything is simulated: truths and readings by ``analyses.simulated_truths``; chips are
    independent wrong bits of the two networks of `bnn.zoo` for digits.

Choices
    Populations of truths (``--population``): ``priors``, drawn from the priors of the fitted
    family, each device read once, kept if its readings leave a decision to be made; ``reference``,
    around the reference device, five cycles of each device; ``never-fails`` and ``heavy-tails``,
    which the fitted family does not contain. Fits use the family ``switching-failure``, four chains
    of 400 draws after 400; of the checks of a fit only convergence is looked at. Each data set has
    counts of 100 chips of each network of its own, unless several share them (``--shared-by``); the
    networks are always the same; 30 of them are counted with unequal rates of stored ones and zeros
    too, as `evaluate` does. Every way of storing is compared, scrambled ones too, by the surfaces:
    no chips confirm the choice. The true tolerated BER comes from 2,000 other chips. The true place
    of a network on a device is where 95 % of its chips lose at most what is allowed with the
    device's two rates: the 2,000 chips, and what unequal rates change, counted on 1,000 of them at
    eight tilts and interpolated. The share that keeps the promise comes from 500 chips at the true
    rates of the chosen programming, further ones for each data set. Plain memory needs a BER of
    1e-4: with 4,000 readings of a state the default of 1e-5 rests on the prior of the floors alone,
    and nearly every interval would be open to one side. Energy is proportional to the current. A
    true place outside the measured range is taken where it is; one that no current reaches counts
    as infinite.

Seed
    Truth, readings, chains, chips and decision of data set ``k`` follow from ``k``.

Outputs
    ``analyses/results/decision_coverage/POPULATION.jsonl``: a line for each data set; a run that is
    stopped goes on. ``truth.json`` and ``truth_unequal.json``: answers of the
    chips that are the truth. ``summary.json`` and
    ``POPULATION.png``: counts with exact intervals, and the intervals of all data sets. Posteriors
    and counts are kept in ``build/decision_coverage``: after a change of the decision, move the
    lines away and run again, and only decisions are made anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator, RectBivariateSpline

import bnn
from analyses.coverage_summary import draw, summary
from analyses.fit_only import fit_only
from analyses.simulated_truths import (
    FAMILY,
    FRAME,
    PLAN,
    POPULATIONS,
    STRONGEST,
    WEAKEST,
    TrueCurves,
    Truth,
    cells_of,
    compared,
    draw_measured,
    draw_truth,
    reference_limits,
    truth_of,
)
from bnn.errors.errors import Errors
from bnn.networks.network import network_sha256
from bnn.study.rate_pairs import TILTED_RATES, TILTS, count_rate_pairs
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.registry import FAMILIES
from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import prior_record
from reliability.accuracy.surface import first_crossing
from reliability.decision.options import DecisionOptions
from reliability.decision.requirement import Requirement
from reliability.device.files import load_study, save_study
from reliability.device.study import GRID_POINTS, DeviceStudy
from reliability.energy.energy import EnergyOptions
from reliability.networks.study import (
    BER_GRID,
    NetworkOptions,
    NetworkStudy,
    evaluate_network,
    load_counts,
    name_of,
    save_counts,
)
from reliability.results.answer import answer
from reliability.results.results import Results

RESULTS = Path(__file__).resolve().parent / "results" / "decision_coverage"
CACHE = Path(__file__).resolve().parents[1] / "build" / "decision_coverage"
NETWORKS = ("digits-standard", "digits-4e-2")
SAMPLER = SamplerOptions(chains=4, draws=400, warmup=400, target_accept=0.95, cores=1)
REQUIREMENT = Requirement(memory_ber=1e-4)
SENSING = SensingOptions()
CHIPS_OF_CURVE = 100
TRUE_RATES = tuple(float(f"{p:.4g}") for p in np.geomspace(5e-4, 0.25, 60))
TRUE_CHIPS, TRUE_SEED = 2000, 7
TRUE_TILTED_RATES = tuple(float(f"{p:.4g}") for p in np.geomspace(8e-3, 0.12, 16))
TRUE_TILTS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
TILTED_CHIPS = 1000
KEPT_CHIPS, KEPT_SEED = 500, 8
CURVE_SEED = 1000
Zoo = dict[str, tuple[bnn.FoldedNetwork, dict[str, Any]]]


def load_networks() -> Zoo:
    """Networks by the names they have in results, the standard one first."""
    found = [bnn.load_zoo(name) for name in NETWORKS]
    return {name_of(record): (network, record) for network, record in found}


def fingerprint(population: str, shared_by: int) -> str:
    """Hash of what must not change within a file of results."""
    digests = [network_sha256(network) for network, _ in load_networks().values()]
    chips = (
        CHIPS_OF_CURVE,
        shared_by,
        TRUE_RATES,
        TRUE_CHIPS,
        TRUE_SEED,
        TRUE_TILTED_RATES,
        TRUE_TILTS,
        TILTED_CHIPS,
        (BER_GRID, TILTED_RATES, TILTS, NetworkOptions().unequal_chips),
        KEPT_CHIPS,
        KEPT_SEED,
        CURVE_SEED,
        "saving of both sides held to the same rule",
    )
    text = repr((fit_fingerprint(population), digests, REQUIREMENT, SENSING, chips))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fit_fingerprint(population: str) -> str:
    """Hash of what determines the posteriors of a population."""
    law = draw_truth(population, rng=np.random.default_rng(0)).record()
    priors = [
        {k: row[k] for k in ("name", "mean", "sd", "size")}
        for row in prior_record(FAMILIES[FAMILY].priors(FRAME))
    ]
    text = repr((FAMILY, SAMPLER, PLAN, WEAKEST, STRONGEST, law, priors, GRID_POINTS))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def true_accuracy(networks: Zoo, path: Path) -> dict[str, Any]:
    """Answers of many chips over BER: error-free, mean, and what enough of the chips reach."""
    digests = {name: network_sha256(network) for name, (network, _) in networks.items()}
    head = {
        "chips": TRUE_CHIPS,
        "seed": TRUE_SEED,
        "ber": list(TRUE_RATES),
        "share": 1 - REQUIREMENT.risk,
        "sha256": digests,
    }
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {key: found.get(key) for key in head} == head:
            return found
    images = bnn.load_images("digits")
    found = {**head, "networks": {}}
    for name, (network, _) in networks.items():
        counts = bnn.evaluate(
            network,
            images.test_images,
            images.test_labels,
            ber=TRUE_RATES,
            chips=TRUE_CHIPS,
            seed=TRUE_SEED,
            threads=1,
        )
        right = counts["correct"].values
        found["networks"][name] = {
            "images": int(counts.attrs["images"]),
            "error_free": int(counts.attrs["error_free_correct"]),
            "mean_correct": right.mean(axis=1).tolist(),
            "kept_correct": kept_by_enough(right).tolist(),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def tilted_accuracy(networks: Zoo, path: Path) -> dict[str, Any]:
    """Answers with unequal rates that enough of many chips reach, over mean rate and tilt."""
    digests = {name: network_sha256(network) for name, (network, _) in networks.items()}
    head = {
        "chips": TILTED_CHIPS,
        "seed": TRUE_SEED,
        "ber": list(TRUE_TILTED_RATES),
        "tilt": list(TRUE_TILTS),
        "share": 1 - REQUIREMENT.risk,
        "sha256": digests,
    }
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {key: found.get(key) for key in head} == head:
            return found
    found = {**head, "networks": {}}
    for name, (network, _) in networks.items():
        counts = count_rate_pairs(
            network,
            bnn.load_images("digits"),
            rates=TRUE_TILTED_RATES,
            tilts=TRUE_TILTS,
            chips=TILTED_CHIPS,
            seed=TRUE_SEED,
            threads=1,
        )
        reached = kept_by_enough(counts["correct"].transpose("case", "chip").values)
        found["networks"][name] = reached.reshape(len(TRUE_TILTED_RATES), len(TRUE_TILTS)).tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def kept_by_enough(correct: NDArray[np.int64]) -> FloatArray:
    """Right answers that a share of 1 - risk of the chips reaches, shape (rate,).

    Counts are whole: a chip with one answer more than the limit is half a step above it.
    """
    return np.asarray(np.quantile(correct, REQUIREMENT.risk, axis=1, method="hazen"))


def least_right(accuracy: dict[str, Any], name: str) -> float:
    """Right answers of a chip that just meets the requirement."""
    standard, own = next(iter(accuracy["networks"].values())), accuracy["networks"][name]
    free = max(standard["error_free"], own["error_free"])
    return float(free - REQUIREMENT.max_loss * standard["images"])


def true_excess(
    accuracy: dict[str, Any], tilted: dict[str, Any], name: str
) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Images that too many chips lose too many, from ln of the mean rate and the tilt."""
    least = least_right(accuracy, name)
    ln_ber = np.log(accuracy["ber"])
    equal = PchipInterpolator(ln_ber, np.array(accuracy["networks"][name]["kept_correct"]))
    reached = np.array(tilted["networks"][name])
    change = reached - reached[:, [tilted["tilt"].index(0.0)]]
    ln_rate = np.log(tilted["ber"])
    of_tilt = RectBivariateSpline(ln_rate, tilted["tilt"], change, s=0)

    def excess(ln_p: FloatArray, tilt: FloatArray) -> FloatArray:
        right = equal(np.clip(ln_p, ln_ber[0], ln_ber[-1]))
        inside = np.clip(ln_p, ln_rate[0], ln_rate[-1])
        return np.asarray(least - right - of_tilt.ev(inside, tilt))

    return excess


def true_tolerated(accuracy: dict[str, Any], name: str) -> float:
    """Ln of the largest BER at which the mean chip of a network meets the requirement."""
    least = least_right(accuracy, name)
    own = accuracy["networks"][name]
    if own["error_free"] <= least:
        return -np.inf
    # Nested chips make the means smooth in the BER, and 60 of them lie closer than its bends.
    mean = PchipInterpolator(np.log(accuracy["ber"]), np.array(own["mean_correct"]))
    fine = np.linspace(np.log(accuracy["ber"][0]), np.log(accuracy["ber"][-1]), 20_001)
    return float(first_crossing(fine, (least - mean(fine))[None, :])[0])


def counts_of_chips(networks: Zoo, group: int) -> dict[str, NetworkStudy]:
    """Counts of the chips that a group of data sets shares, from the cache if they are there."""
    images = bnn.load_images("digits")
    options = NetworkOptions(chips=CHIPS_OF_CURVE, seed=CURVE_SEED + group, threads=1)
    scope = (BER_GRID, TILTED_RATES, TILTS, CHIPS_OF_CURVE, options.unequal_chips)
    counted = hashlib.sha256(repr(scope).encode()).hexdigest()[:12]
    studies = {}
    for name, (network, record) in networks.items():
        path = CACHE / f"{network_sha256(network)[:16]}_{counted}_{options.seed}.nc"
        if not path.exists():
            study = evaluate_network(
                network, images, options, record, tick=lambda done, total: None
            )
            CACHE.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}")
            save_counts(study, unfinished)
            unfinished.replace(path)
        studies[name] = load_counts(path)
    return studies


def fitted(population: str, number: int) -> tuple[DeviceStudy, Truth, int]:
    """Posterior of a data set, from the cache if it is there, its truth, and refused data sets.

    Of the checks of a fit only those of convergence are made.
    """
    directory = CACHE / f"{population}_{fit_fingerprint(population)}" / f"{number:03d}"
    if (directory / "device.json").exists():
        study = load_study(directory)
        known = study.record["note"]
        return study, truth_of(known["truth"]), int(known["refused"])
    truth, measurements, refused = draw_measured(population, number)
    study = fit_only(
        measurements,
        FAMILY,
        replace(SAMPLER, seed=number + 1),
        {"truth": truth.record(), "refused": refused},
    )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory.parent) as unfinished:
        save_study(study, Path(unfinished))
        shutil.copytree(unfinished, directory)
    return study, truth, refused


def decide(
    population: str, number: int, networks: Zoo, *, shared_by: int
) -> tuple[Results, Truth, int]:
    """Fit and decide on one data set; gives the results, the truth and refused data sets."""
    study, truth, refused = fitted(population, number)
    results = answer(
        study,
        counts_of_chips(networks, number // shared_by),
        DecisionOptions(
            requirement=REQUIREMENT, sensing=SENSING, energy=EnergyOptions(), seed=number
        ),
        command="python -m analyses.decision_coverage",
    )
    return results, truth, refused


def kept(
    network: bnn.FoldedNetwork, rates: dict[str, float], number: int, least: float
) -> dict[str, int]:
    """Chips with at least so many right answers, cells wrong at the true rates of each state."""
    images = bnn.load_images("digits")
    same = float(np.mean(list(rates.values())))
    counts = bnn.evaluate_errors(
        network,
        images.test_images,
        images.test_labels,
        # A stored 1 is a cell in LRS.
        errors=[
            Errors((bnn.Flips.symmetric(same),)),
            Errors((bnn.Flips(zero_to_one=rates["HRS"], one_to_zero=rates["LRS"]),)),
        ],
        chips=KEPT_CHIPS,
        first_chip=number * KEPT_CHIPS,
        seed=KEPT_SEED,
        threads=1,
    )
    met = counts["correct"].values >= least - 1e-9
    return {
        "chips": KEPT_CHIPS,
        "met": int(met[0].sum()),
        "met_with_rates_of_states": int(met[1].sum()),
        "first_chip_met": int(met[0, 0]),
    }


def one_data_set(population: str, number: int, out: Path, shared_by: int) -> dict[str, Any]:
    """Decide on a data set and compare with its truth."""
    start = time.process_time()
    networks = load_networks()
    accuracy = true_accuracy(networks, out / "truth.json")
    tilted = tilted_accuracy(networks, out / "truth_unequal.json")
    results, truth, refused = decide(population, number, networks, shared_by=shared_by)
    values = results.values
    grid = np.array(values["ber"]["grid"])
    curves = TrueCurves(
        truth, grid, np.array(values["ber"]["1T1R"]["threshold_ohm"]), SENSING.offset_ln_r
    )
    verdict, savings = values["verdict"], values["energy_saving"]
    # covered is what was found, whether a gate withholds it or not; gates are counted beside
    figures = verdict["not_to_be_relied_on"] or verdict
    network, scheme = savings["design"]["network"], savings["design"]["scheme"]
    ln_tolerated = {name: true_tolerated(accuracy, name) for name in networks}
    row: dict[str, Any] = {
        "number": number,
        "truth": truth.record(),
        "refused": refused,
        "network": network,
        "scheme": scheme,
        "ber": {
            s: _share_inside(values["ber"][s]["interval"], curves.ln_ber(s, grid))
            for s in ("1T1R", "2T2R")
        },
        "tolerated": {
            name: {
                "true": float(np.exp(ln_tolerated[name])),
                **{key: values["tolerated_ber"][name][key] for key in ("low", "median", "high")},
            }
            for name in networks
        },
        "r_hat": values["device"]["families"][FAMILY]["diagnostics"]["r_hat"],
        "misfit": max(network["surface"]["misfit"] for network in values["networks"].values()),
        "failed_gates": verdict["failed_gates"],
        "recommended_a": figures["recommended_programming"],
        "promised": figures["p_requirement_met"],
    }
    at = figures["recommended_programming"]
    row["saving"] = {}

    def weakest(name: str, scheme: str) -> float:
        """Current at which enough chips of a network just keep the requirement."""
        excess = true_excess(accuracy, tilted, name)
        return curves.first(lambda x: excess(curves.ln_ber(scheme, x), curves.tilt(scheme, x)))

    own = weakest(network, scheme)
    standard = next(iter(networks))
    for key, (limit, cells) in reference_limits(
        ln_tolerated[standard], REQUIREMENT.memory_ber
    ).items():
        of_memory = key != "standard_bnn"
        reference = curves.weakest("1T1R", limit) if of_memory else weakest(standard, "1T1R")
        row["saving"][key] = compared(savings[key], reference, cells, own, cells_of(scheme))
    if at is not None:
        rates = curves.rates_of_states(scheme, at)
        row["true_ber_there"] = float(np.mean(list(rates.values())))
        row["true_tilt_there"] = float(curves.tilt(scheme, np.array([at]))[0])
        row["at_weakest"] = bool(np.isclose(at, grid[0]))
        row["kept"] = kept(
            networks[network][0],
            rates,
            number,
            least_right(accuracy, network),
        )
    return {**row, "processor_s": round(time.process_time() - start, 1)}


def _share_inside(interval: dict[str, Any], ln_true: np.ndarray) -> float:
    low, high = np.log(interval["low"]), np.log(interval["high"])
    return float(((low <= ln_true) & (ln_true <= high)).mean())


def read_rows(path: Path, mark: str) -> list[dict[str, Any]]:
    """Data sets that are done; refuses those of other settings."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # A line that was being written when the run stopped is done again.
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole), encoding="utf-8")
    rows = [json.loads(line) for line in whole]
    if any(row["fingerprint"] != mark for row in rows):
        raise SystemExit(f"{path} is of other settings; move it away to start anew")
    return rows


def run(
    population: str, data_sets: int, workers: int, out: Path, *, shared_by: int, first: int = 0
) -> list[dict[str, Any]]:
    """Do the data sets that are missing, a line for each."""
    out.mkdir(parents=True, exist_ok=True)
    path, mark = out / f"{population}.jsonl", fingerprint(population, shared_by)
    rows = read_rows(path, mark)
    missing = sorted(set(range(first, data_sets)) - {row["number"] for row in rows})
    if missing:
        true_accuracy(load_networks(), out / "truth.json")
        tilted_accuracy(load_networks(), out / "truth_unequal.json")
    context = multiprocessing.get_context("spawn")
    with (
        path.open("a", encoding="utf-8") as file,
        ProcessPoolExecutor(workers, mp_context=context) as pool,
    ):
        waiting = [pool.submit(one_data_set, population, k, out, shared_by) for k in missing]
        for count, done in enumerate(as_completed(waiting), start=1):
            row = {"fingerprint": mark, **done.result()}
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
            print(f"{population}: {count} of {len(missing)}, {row['processor_s']} s", flush=True)
    chosen = [row for row in rows if row["number"] < data_sets]
    return sorted(chosen, key=lambda row: int(row["number"]))


def main() -> int:
    """Run, count and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-sets", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first data set")
    parser.add_argument(
        "--shared-by", type=int, default=1, help="data sets that share the counts of chips"
    )
    parser.add_argument("--population", choices=tuple(POPULATIONS), default="priors")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = run(
        arguments.population,
        arguments.data_sets,
        arguments.workers,
        arguments.out,
        shared_by=arguments.shared_by,
        first=arguments.first,
    )
    path = arguments.out / "summary.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[arguments.population] = summary(rows, REQUIREMENT)
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    draw(rows, REQUIREMENT, arguments.out / f"{arguments.population}.png")
    print(json.dumps(known[arguments.population], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
