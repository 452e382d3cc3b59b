"""Posterior draws and chips straight through the evaluator, against the accuracy curve.

Every draw of the device has a bit error rate at each programming value and a chip of its own, which
is evaluated at exactly that rate. The curve, fitted to other chips at its knots, predicts the same
counts. Compared are the 5, 50 and 95 % quantiles of the images a chip loses on balance.

Standard errors of a difference: over draws and chips by bootstrap (whole draws are drawn again, for
both sides alike), and of the curve, whose counts come from a finite number of chips, from the
spread of the quantile over draws of the curve. Counts are whole images: both sides get a uniform
number of half an image either way (Machado and Santos Silva 2005), else quantiles would be tied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from reliability.accuracy_curve import AccuracyCurve
from scipy.special import ndtri

import bnn
from reliability.propagation import Pairing, propagate

QUANTILES = (0.05, 0.5, 0.95)
TARGETS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 2e-2, 4e-2, 7e-2, 0.1)
"""Programming values are those of the grid whose median BER is nearest to these rates."""

DRAWS = 1000
CHIPS_PER_DRAW = 20
BOOTSTRAPS = 400
CURVE_DRAWS = 200
BRUTE_SEED = 20260
FAMILY_WISE = 0.01


@dataclass(frozen=True)
class Place:
    """Draws of the bit error rate at programming values.

    Parameters
    ----------
    programming : float array, shape (x,)
        Values.
    ln_ber : float array, shape (draw, x)
        ln BER of the draws that are pushed through.
    """

    programming: np.ndarray
    ln_ber: np.ndarray


def choose_places(grid: np.ndarray, ln_ber: np.ndarray, *, draws: int) -> Place:
    """Programming values that span the rates a network cares about, and evenly chosen draws."""
    median = np.median(ln_ber, axis=0)
    near = {
        int(np.argmin(np.abs(median - math.log(target))))
        for target in TARGETS
        if median.min() - 0.2 <= math.log(target) <= median.max() + 0.2
    }
    chosen = sorted(near)
    take = np.linspace(0, len(ln_ber) - 1, draws).round().astype(int)
    return Place(grid[chosen], ln_ber[np.ix_(take, chosen)])


def push_through(
    network: bnn.FoldedNetwork,
    images: bnn.ImageSet,
    place: Place,
    *,
    threads: int,
    store: Path,
    say: Any,
    step: int = 50,
) -> np.ndarray:
    """Images lost on balance of each draw's chip at each value, int array (draw, x).

    Chips already in `store` are kept, so an interrupted run goes on.
    """
    done = np.load(store) if store.exists() else np.empty((0, len(place.programming)), np.int64)
    rates = np.exp(place.ln_ber)

    def positions(chip: int) -> Iterator[dict[str, np.ndarray]]:
        drawn = {
            name: bnn.chip_flips(
                bits=bits, ber=float(rates[chip].max()), seed=BRUTE_SEED, chip=chip, layer=layer
            )
            for layer, (name, bits) in enumerate(network.weight_bits.items())
        }
        for rate in rates[chip]:
            yield {name: at[levels < rate] for name, (at, levels) in drawn.items()}

    while len(done) < len(rates):
        counts = bnn.evaluate_positions(
            network,
            images.test_images,
            images.test_labels,
            positions=positions,
            cases=xr.Variable("programming", place.programming),
            identity={"benchmark": "brute force"},
            chips=min(step, len(rates) - len(done)),
            first_chip=len(done),
            threads=threads,
        )
        lost = (counts["lost"] - counts["gained"]).transpose("chip", "programming").values
        done = np.concatenate([done, lost])
        np.save(store, done)
        say(f"{len(done)} of {len(rates)} chips")
    return done[: len(rates)]


def compare(
    curve: AccuracyCurve, place: Place, brute: np.ndarray, *, seed: int
) -> list[dict[str, Any]]:
    """Quantiles of both sides, their difference, its standard errors and z; one row for each."""
    rng = np.random.default_rng(seed)
    draws, values = brute.shape
    predicted = _predicted(curve, place.ln_ber, rng).reshape(draws, CHIPS_PER_DRAW, values)
    predicted = predicted + rng.uniform(-0.5, 0.5, predicted.shape)
    jittered = brute + rng.uniform(-0.5, 0.5, brute.shape)
    differences = np.empty((BOOTSTRAPS, len(QUANTILES), values))
    for b in range(BOOTSTRAPS):
        again = rng.integers(draws, size=draws)
        differences[b] = np.quantile(jittered[again], QUANTILES, axis=0) - np.quantile(
            predicted[again].reshape(-1, values), QUANTILES, axis=0
        )
    of_curve = _curve_error(curve, place.ln_ber, rng)
    there = np.quantile(jittered, QUANTILES, axis=0)
    here = np.quantile(predicted.reshape(-1, values), QUANTILES, axis=0)
    rows = []
    for i, level in enumerate(QUANTILES):
        for x in range(values):
            sampling = float(differences[:, i, x].std(ddof=1))
            total = math.hypot(sampling, float(of_curve[i, x]))
            # A quantile of the loss is one minus the quantile of the accuracy.
            accuracy = curve.error_free - np.array([there[i, x], here[i, x]]) / curve.images
            rows.append(
                {
                    "programming": float(place.programming[x]),
                    "median_ber": float(np.exp(np.median(place.ln_ber[:, x]))),
                    "quantile_of_accuracy": round(1 - level, 2),
                    "accuracy_brute_force": float(accuracy[0]),
                    "accuracy_curve": float(accuracy[1]),
                    "difference_images": float(there[i, x] - here[i, x]),
                    "standard_error_draws_and_chips": sampling,
                    "standard_error_curve": float(of_curve[i, x]),
                    "z": float((there[i, x] - here[i, x]) / total),
                }
            )
    return rows


def _predicted(curve: AccuracyCurve, ln_ber: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images lost on balance, shape (draw * CHIPS_PER_DRAW, x): the curve's own chips."""
    n = len(ln_ber) * CHIPS_PER_DRAW
    pairing = Pairing(
        np.repeat(np.arange(len(ln_ber)), CHIPS_PER_DRAW),
        rng.integers(curve.draws, size=n),
        rng.random((n, 2)),
        rng.random((n, 3)),
        rng.random((n, 2)),
    )
    return propagate(curve, ln_ber, pairing).loss * curve.images


def _curve_error(curve: AccuracyCurve, ln_ber: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Standard deviation over draws of the curve of each quantile, shape (quantile, x).

    All draws of the curve get the same chips, so that only the curve differs.
    """
    draws = len(ln_ber)
    pairing = Pairing(
        np.arange(draws),
        np.zeros(draws, np.int64),
        rng.random((draws, 2)),
        rng.random((draws, 3)),
        rng.random((draws, 2)),
    )
    jitter = rng.uniform(-0.5, 0.5, ln_ber.shape)
    found = [
        np.quantile(
            propagate(curve, ln_ber, replace(pairing, curve=np.full(draws, c))).loss * curve.images
            + jitter,
            QUANTILES,
            axis=0,
        )
        for c in np.linspace(0, curve.draws - 1, CURVE_DRAWS).round().astype(int)
    ]
    return np.std(found, axis=0, ddof=1)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How large the z are, against what chance allows for so many."""
    z = np.array([row["z"] for row in rows])
    limit = float(-ndtri(FAMILY_WISE / 2 / len(z)))
    return {
        "comparisons": len(z),
        "largest_z": float(np.abs(z).max()),
        "rms_z": float(np.sqrt((z**2).mean())),
        "above_2": int((np.abs(z) > 2).sum()),
        "limit_z": limit,
        "limit_meaning": f"Bonferroni, family-wise {FAMILY_WISE:g}",
        "agrees": bool(np.abs(z).max() < limit),
    }
