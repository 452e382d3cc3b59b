"""Does the accuracy curve know how well it is known, and what does it owe to nested chips?

Question
    Over count sets of 100 simulated chips: how often do 90 % intervals of the curve hold the truth,
    for the mean loss at and between the BER with counts, for the tolerated BER and for the yield?
    How often did they before chips were taken as alike over BER, and how often where chips are not
    nested?

Inputs
    None. Chips are independent wrong bits of the two networks of `bnn.zoo` for digits.

Choices
    Counts at the rates of ``reliability.network_study.BER_GRID`` go into the fit, eight rates
    between them only into the truth. Truth is the pool of all chips: a count set is drawn from it
    without replacement, each chip once in a round of sets, so that the sets of a round are
    independent but for the pool's mean, whose error is 1/7 of that of a set. Three ways:
    ``independent``, means at different BER taken as independent and straight lines between them
    (the likelihood until chips were found to be alike); ``shuffled``, the same where each BER has
    chips of its own (a control: the likelihood is then right); ``alike``, the curve as it is.

Seed
    Chips of block ``b`` from 5000 + b, sets from 1, chains of set ``k`` from ``k``.

Outputs
    ``analyses/results/curve_coverage.json`` and ``.png``. Counts are kept in
    ``build/curve_coverage``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from reliability.accuracy_curve import (
    AccuracyCurve,
    first_crossing,
    fit_accuracy_curves,
    mean_loss,
)
from reliability.curve_density import KINDS, CurveDensity
from reliability.curve_sampler import sample_curve
from scipy.interpolate import PchipInterpolator

import bnn
from devicefit.intervals import clopper_pearson
from reliability.answer import CURVE_SAMPLER
from reliability.chip_yield import chip_yield
from reliability.network_study import BER_GRID
from reliability.propagation import pair_draws

RESULTS = Path(__file__).resolve().parent / "results"
CACHE = Path(__file__).resolve().parents[1] / "build" / "curve_coverage"
NETWORKS = ("digits-standard", "digits-4e-2")
BETWEEN = (0.025, 0.035, 0.045, 0.06, 0.085, 0.125, 0.175, 0.25)
CHIPS, BLOCKS, SETS = 100, 50, 200
LIMITS = (0.005, 0.01, 0.02, 0.05)
YIELD_LIMIT = 0.01
SAMPLER = replace(CURVE_SAMPLER, chains=1, draws=300, warmup=100, cores=1)
FINE = np.linspace(np.log(2e-3), np.log(0.4), 250)
WAYS = ("independent", "shuffled", "alike")
Counts = dict[str, NDArray[np.int64]]


def pool_of(name: str) -> tuple[Counts, NDArray[np.float64], int, int]:
    """Counts of all chips over all rates, the rates, images and right answers without errors."""
    images = bnn.load_images("digits")
    network, _ = bnn.load_zoo(name)
    rates = sorted({*BER_GRID, *BETWEEN})
    blocks = []
    for block in range(BLOCKS):
        path = CACHE / f"{name}_{block}.npz"
        if not path.exists():
            counts = bnn.evaluate(
                network,
                images.test_images,
                images.test_labels,
                ber=rates,
                chips=CHIPS,
                seed=5000 + block,
                threads=1,
            )
            CACHE.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}.npz")
            np.savez(
                unfinished,
                ber=counts["ber"].values,
                free=counts.attrs["error_free_correct"],
                **{kind: counts[kind].transpose("ber", "chip").values for kind in KINDS},
            )
            unfinished.replace(path)
        with np.load(path) as found:
            if not np.array_equal(found["ber"], rates):
                raise SystemExit(f"{path} is of other rates; remove it and run again")
            blocks.append({key: found[key] for key in (*KINDS, "free")})
    pool = {k: np.concatenate([b[k] for b in blocks], axis=1).astype(np.int64) for k in KINDS}
    return pool, np.array(rates), len(images.test_labels), int(blocks[0]["free"])


def members(chips: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """Chips of each set, shape (set, chip); a chip is in one set of a round."""
    each = chips // CHIPS
    rounds = [rng.permutation(chips)[: each * CHIPS] for _ in range(-(-SETS // each))]
    return np.concatenate(rounds).reshape(-1, CHIPS)[:SETS]


def independent_curve(counts: xr.Dataset, seed: int) -> AccuracyCurve:
    """The curve with means at different BER independent and straight lines between them."""
    ln_ber = np.log(counts["ber"].values)
    right, images = counts.attrs["error_free_correct"], counts.attrs["images"]
    tables = {kind: counts[kind].values for kind in KINDS}
    alone = dict.fromkeys(KINDS, np.eye(len(ln_ber)))
    density = CurveDensity(ln_ber, tables, {"lost": right, "gained": images - right}, alone)
    draws = sample_curve(density, replace(SAMPLER, seed=seed)).draws.reshape(-1, density.size)
    shares, dispersions = density.curves(draws)
    return AccuracyCurve(ln_ber, shares, dispersions, images, right, CHIPS, {})


def answers(curve: AccuracyCurve, ber: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Draws of what is judged, shape (draw, value)."""
    draw = np.arange(curve.draws)
    at = np.broadcast_to(np.log(ber), (curve.draws, len(ber)))
    loss = mean_loss(curve, np.broadcast_to(FINE, (curve.draws, len(FINE))), draw)
    pairing = pair_draws(1, curve.draws, draws=curve.draws, rng=np.random.default_rng(0))
    return {
        "mean loss": mean_loss(curve, at, draw),
        "tolerated BER": np.stack([first_crossing(FINE, loss - x) for x in LIMITS], axis=1),
        "yield": chip_yield(curve, np.log(ber)[None, :], pairing, YIELD_LIMIT).share,
    }


def truth_of(pool: Counts, ber: NDArray[np.float64], images: int) -> dict[str, NDArray[np.float64]]:
    """What the pool of chips says."""
    loss = (pool["lost"] - pool["gained"]) / images
    fine = np.linspace(np.log(ber[0]), np.log(ber[-1]), 40_001)
    mean = PchipInterpolator(np.log(ber), loss.mean(axis=1))(fine)
    crossings = [float(first_crossing(fine, (mean - x)[None, :])[0]) for x in LIMITS]
    return {
        "mean loss": loss.mean(axis=1),
        "tolerated BER": np.array(crossings),
        "yield": (loss <= YIELD_LIMIT + 1e-9).mean(axis=1),
    }


def judged(name: str) -> dict[str, Any]:
    """Coverage, bias and width of every answer in all three ways."""
    pool, ber, images, right = pool_of(name)
    truth = truth_of(pool, ber, images)
    fit = ~np.isin(ber, BETWEEN)
    rng = np.random.default_rng(1)
    chips = pool["lost"].shape[1]
    sets = members(chips, rng=rng)
    shuffles = np.stack([members(chips, rng=rng) for _ in range(int(fit.sum()))], axis=1)
    found: dict[str, dict[str, list[NDArray[np.float64]]]] = {
        way: {key: [] for key in truth} for way in WAYS
    }
    for number in range(SETS):
        for way in WAYS:
            of = shuffles[number] if way == "shuffled" else sets[number][None, :]
            counts = xr.Dataset(
                {k: (("ber", "chip"), np.take_along_axis(pool[k][fit], of, 1)) for k in KINDS},
                coords={"ber": ber[fit]},
                attrs={"images": images, "error_free_correct": right},
            )
            if way == "alike":
                options = replace(SAMPLER, seed=number)
                curve = fit_accuracy_curves({name: counts}, options=options)[name]
            else:
                curve = independent_curve(counts, number)
            for key, draws in answers(curve, ber).items():
                quantiles = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
                found[way][key].append(np.vstack([quantiles, draws.std(axis=0)]))
        if number % 20 == 19:
            print(f"{name}: {number + 1} of {SETS} count sets", flush=True)
    return {
        "chips_of_truth": chips,
        "error_free_correct": right,
        "ber": ber.tolist(),
        "fitted": fit.tolist(),
        "loss_limits": list(LIMITS),
        "truth": {key: values.tolist() for key, values in truth.items()},
        "ways": {
            way: {key: _row(np.array(rows), truth[key]) for key, rows in of_way.items()}
            for way, of_way in found.items()
        },
    }


def _row(rows: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, Any]:
    """Sets whose interval holds the truth, and errors of the median beside posterior spreads."""
    low, median, high, sd = np.moveaxis(rows, 1, 0)
    inside = (low <= truth) & (truth <= high)
    return {
        "inside": inside.sum(axis=0).tolist(),
        "bias": (median - truth).mean(axis=0).tolist(),
        "sd_of_median": median.std(axis=0, ddof=1).tolist(),
        "posterior_sd": sd.mean(axis=0).tolist(),
    }


def draw(found: dict[str, Any], path: Path) -> None:
    """Share of intervals that hold the truth, over BER and loss limits."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), sharey=True, layout="constrained")
    n = found["count_sets"]
    chance = [clopper_pearson(round(0.9 * n), n).low, clopper_pearson(round(0.9 * n), n).high]
    marks = {"independent": "o", "shuffled": "x", "alike": "s"}
    for row, (name, of) in zip(axes, found["networks"].items(), strict=True):
        ber, fit = np.array(of["ber"]), np.array(of["fitted"])
        for axis, key in zip(row, ("mean loss", "tolerated BER", "yield"), strict=True):
            x = 100 * np.array(of["loss_limits"]) if key == "tolerated BER" else ber
            used = np.array(of["truth"]["yield"])
            keep = (used > 0.02) & (used < 0.98) if key == "yield" else np.ones(len(x), bool)
            for way, mark in marks.items():
                inside = np.array(of["ways"][way][key]["inside"]) / n
                axis.plot(x[keep], inside[keep], mark, label=way, alpha=0.8, markersize=5)
            axis.axhspan(*chance, color="0.9", zorder=0)
            axis.axhline(0.9, color="0.6", linewidth=0.8, zorder=0)
            axis.set_xscale("log")
            axis.set_title(f"{name}: {key}", fontsize=9)
            axis.set_xlabel("loss limit (points)" if key == "tolerated BER" else "BER")
            if key == "mean loss":
                axis.set_ylabel("share of 90 % ETI holding the truth")
                for p in ber[~fit]:
                    axis.axvline(p, color="0.85", linewidth=0.6, zorder=0)
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Fit, count and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found = {"count_sets": SETS, "chips": CHIPS, "networks": {n: judged(n) for n in NETWORKS}}
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "curve_coverage.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found, arguments.out / "curve_coverage.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
