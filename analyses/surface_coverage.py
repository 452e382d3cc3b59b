"""Does the accuracy surface know how well it is known?

Question
    Over count sets of simulated chips: how often do 90 % intervals of the surface hold the truth,
    for the mean loss at counted pairs of error rates and between them, for the tolerated BER and
    for the share of chips within a limit?

Inputs
    None. Chips are independent wrong bits of the two networks of `bnn.zoo` for digits.

Choices
    A count set is what `evaluate` counts: chips at the equal rates of
    ``reliability.networks.study.BER_GRID``, the first 30 of them at tilts too
    (``bnn.study.rate_pairs``), nested: bits that are wrong at one rate are wrong at higher ones.
    Sets are drawn from a pool of chips that were counted at further pairs as well; its means are
    the truth. A set is drawn without replacement, each chip once in a round of sets, so that its
    mean is off the truth by 0.97 of what it would be with an endless pool.

Seed
    Chips of block ``b`` from 5000 + b, sets from 1, draws of set ``k`` from ``k``.

Outputs
    ``analyses/results/surface_coverage.json`` and ``.png``. Counts are kept in
    ``build/surface_coverage``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

import bnn
from bnn.networks.network import network_sha256
from bnn.study.rate_pairs import TILTED_RATES, TILTS, count_rate_pairs, stored_ones
from devicefit.numerics.intervals import clopper_pearson
from reliability.accuracy.propagation import pair_draws
from reliability.accuracy.surface import (
    KINDS,
    AccuracySurface,
    first_crossing,
    mean_loss,
    tolerated_ln_ber,
)
from reliability.accuracy.surface_fit import fit_accuracy_surfaces
from reliability.chips.chip_yield import chip_yield
from reliability.networks.study import BER_GRID, NetworkOptions, NetworkStudy
from reliability.plans.seen_rates import SeenRates

FloatArray = NDArray[np.float64]

RESULTS = Path(__file__).resolve().parent / "results"
CACHE = Path(__file__).resolve().parents[1] / "build" / "surface_coverage"
NETWORKS = ("digits-standard", "digits-4e-2")
EQUAL_BETWEEN = (7e-3, 1.4e-2, 2.5e-2, 3.5e-2, 4.5e-2, 6e-2, 8.5e-2, 0.12, 0.14, 0.175, 0.25)
TILTED_BETWEEN = (7e-3, 1.4e-2, 2.5e-2, 4.5e-2, 6e-2, 0.14)
TILTS_BETWEEN = (-0.8, -0.4, 0.4, 0.8)
CHIPS, TILTED_CHIPS = NetworkOptions().chips, NetworkOptions().unequal_chips
BLOCK, BLOCKS, SETS = 200, 10, 100
LIMITS = (0.005, 0.01, 0.02, 0.05)
YIELD_LIMIT = 0.02
SURE = 0.02
"""Yields are judged where the true one is neither below this nor above one less it."""


@dataclass(frozen=True)
class Pool:
    """Chips whose means are the truth.

    Parameters
    ----------
    ber, tilt : float array, shape (pair,)
        Where all chips were counted, the equal rates first and ascending.
    counted : bool array, shape (pair,)
        Whether a count set has the pair.
    lost, gained : int array, shape (pair, chip)
        Images.
    images, correct : int
        Test images, and right answers among them without errors.
    ones : float
        Share of the bits that are stored ones.
    """

    ber: FloatArray
    tilt: FloatArray
    counted: NDArray[np.bool_]
    lost: NDArray[np.int64]
    gained: NDArray[np.int64]
    images: int
    correct: int
    ones: float

    @property
    def loss(self) -> FloatArray:
        """Accuracy that each chip loses, shape (pair, chip)."""
        return np.asarray((self.lost - self.gained) / self.images)

    def study(self, chips: NDArray[np.int64], tilted: int) -> NetworkStudy:
        """Counts of some chips, the first `tilted` of them at tilts."""
        equal = self.counted & (self.tilt == 0)
        other = self.counted & (self.tilt != 0)
        attrs = {"images": self.images, "error_free_correct": self.correct, "seed": 1}

        def table(dim: str, at: NDArray[np.bool_], of: NDArray[np.int64]) -> xr.Dataset:
            counts = {kind: ((dim, "chip"), getattr(self, kind)[at][:, of]) for kind in KINDS}
            return xr.Dataset(counts, attrs=attrs)

        unequal = table("case", other, chips[:tilted]).assign_attrs(ones=self.ones)
        return NetworkStudy(
            table("ber", equal, chips).assign_coords(ber=self.ber[equal]),
            {},
            unequal=unequal.assign_coords(
                ber=("case", self.ber[other]), tilt=("case", self.tilt[other])
            ),
        )


def counted_pool(name: str, cache: Path = CACHE) -> Pool:
    """Chips of a network of the zoo, from the cache where they are there."""
    images, (network, _) = bnn.load_images("digits"), bnn.load_zoo(name)
    equal = sorted({*BER_GRID, *EQUAL_BETWEEN})
    grids = ((TILTED_RATES, TILTS), (TILTED_BETWEEN, TILTS_BETWEEN))
    pairs = [(p, 0.0) for p in equal] + [
        (p, u) for rates, tilts in grids for p in rates for u in tilts
    ]
    blocks = []
    for block in range(BLOCKS):
        path = cache / f"{name}_{network_sha256(network)[:12]}_{block}.npz"
        if not path.exists():
            options: dict[str, Any] = {"chips": BLOCK, "seed": 5000 + block, "threads": 1}
            data = (images.test_images, images.test_labels)
            tables = [bnn.evaluate(network, *data, ber=equal, **options).transpose("ber", "chip")]
            for rates, tilts in grids:
                found = count_rate_pairs(network, images, rates=rates, tilts=tilts, **options)
                tables.append(found.transpose("case", "chip"))
            cache.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}.npz")
            np.savez(
                unfinished,
                pairs=pairs,
                correct=tables[0].attrs["error_free_correct"],
                **{kind: np.concatenate([t[kind].values for t in tables]) for kind in KINDS},
            )
            unfinished.replace(path)
            print(f"{name}: {BLOCK * (block + 1)} chips", flush=True)
        with np.load(path) as found:
            if not np.array_equal(found["pairs"], pairs):
                raise SystemExit(f"{path} is of other rates; remove it and run again")
            blocks.append({key: found[key] for key in (*KINDS, "correct")})
    ber, tilt = np.array(pairs).T
    between = (tilt == 0) & np.isin(ber, EQUAL_BETWEEN)
    between |= (tilt != 0) & np.isin(tilt, TILTS_BETWEEN)
    lost, gained = (np.concatenate([b[k] for b in blocks], axis=1).astype(np.int64) for k in KINDS)
    return Pool(
        ber,
        tilt,
        ~between,
        lost,
        gained,
        len(images.test_labels),
        int(blocks[0]["correct"]),
        stored_ones(network),
    )


def members(chips: int, sets: int, each: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """Chips of each set, shape (set, each); a chip is in one set of a round."""
    whole = chips // each
    rounds = [rng.permutation(chips)[: whole * each] for _ in range(-(-sets // whole))]
    return np.concatenate(rounds).reshape(-1, each)[:sets]


def answers(surface: AccuracySurface, pool: Pool) -> dict[str, FloatArray]:
    """Draws of what is judged, shape (draw, value)."""
    draws = surface.draws
    seen = SeenRates(*(np.tile(x, (draws, 1)) for x in (np.log(pool.ber), pool.tilt)))
    pairing = pair_draws(1, draws, draws=draws, rng=np.random.default_rng(0))
    one = seen.of(slice(0, 1))
    return {
        "mean loss": mean_loss(surface, seen, np.arange(draws)),
        "tolerated BER": np.stack([tolerated_ln_ber(surface, x) for x in LIMITS], axis=1),
        "yield": chip_yield(surface, one, pairing, YIELD_LIMIT).share,
    }


def truth_of(pool: Pool) -> dict[str, FloatArray]:
    """What the pool of chips says."""
    mean, equal = pool.loss.mean(axis=1), pool.tilt == 0
    ln_ber = np.log(pool.ber[equal])
    fine = np.linspace(ln_ber[0], ln_ber[-1], 40_001)
    excess = PchipInterpolator(ln_ber, mean[equal])(fine)
    crossings = [float(first_crossing(fine, (excess - x)[None, :])[0]) for x in LIMITS]
    return {
        "mean loss": mean,
        "tolerated BER": np.array(crossings),
        "yield": (pool.loss <= YIELD_LIMIT + 1e-9).mean(axis=1),
    }


def judged(
    pool: Pool, *, sets: int = SETS, chips: int = CHIPS, tilted: int = TILTED_CHIPS
) -> dict[str, Any]:
    """Intervals that hold the truth, and errors of the median beside posterior spreads."""
    truth = truth_of(pool)
    rows: dict[str, list[FloatArray]] = {key: [] for key in truth}
    every = members(pool.lost.shape[1], sets, chips, rng=np.random.default_rng(1))
    for number, of in enumerate(every):
        study = pool.study(of, tilted)
        surface = fit_accuracy_surfaces({"network": study}, seed=number)["network"]
        for key, draws in answers(surface, pool).items():
            quantiles = np.quantile(draws, [0.05, 0.5, 0.95], axis=0)
            rows[key].append(np.vstack([quantiles, draws.std(axis=0)]))
    found = {}
    for key, of_key in rows.items():
        low, median, high, sd = np.moveaxis(np.array(of_key), 1, 0)
        inside = (low <= truth[key]) & (truth[key] <= high)
        found[key] = {
            "truth": truth[key].tolist(),
            "inside": inside.sum(axis=0).tolist(),
            "bias": (median - truth[key]).mean(axis=0).tolist(),
            "sd_of_median": median.std(axis=0, ddof=1).tolist(),
            "posterior_sd": sd.mean(axis=0).tolist(),
        }
    return {
        "chips_of_truth": pool.lost.shape[1],
        "count_sets": sets,
        "error_free_correct": pool.correct,
        "ber": pool.ber.tolist(),
        "tilt": pool.tilt.tolist(),
        "counted": pool.counted.tolist(),
        "answers": found,
        "share_inside": shares(found, pool, sets),
    }


def shares(found: dict[str, Any], pool: Pool, sets: int) -> dict[str, Any]:
    """Mean share of intervals that hold the truth, for counted pairs and for those between."""
    inside = {key: np.array(of["inside"]) / sets for key, of in found.items()}
    sure = np.array(found["yield"]["truth"])
    open_ = (sure > SURE) & (sure < 1 - SURE)
    groups = {
        "counted, equal rates": pool.counted & (pool.tilt == 0),
        "counted, tilted": pool.counted & (pool.tilt != 0),
        "between, equal rates": ~pool.counted & (pool.tilt == 0),
        "between, tilted": ~pool.counted & (pool.tilt != 0),
    }
    out: dict[str, Any] = {}
    for group, at in groups.items():
        out[group] = {"pairs": int(at.sum()), "mean loss": float(inside["mean loss"][at].mean())}
        if (at & open_).any():
            share = float(inside["yield"][at & open_].mean())
            out[group] |= {"pairs of yield": int((at & open_).sum()), "yield": share}
    of_limits = inside["tolerated BER"].tolist()
    out["tolerated BER"] = {f"{x:g}": s for x, s in zip(LIMITS, of_limits, strict=True)}
    return out


def draw(found: dict[str, Any], path: Path) -> None:
    """Share of intervals that hold the truth over the mean rate, by whether a pair was counted."""
    networks = found["networks"]
    figure, axes = plt.subplots(
        len(networks), 2, figsize=(9, 3 * len(networks)), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for row, (name, of) in zip(axes, networks.items(), strict=True):
        ber, tilt, counted = (np.array(of[key]) for key in ("ber", "tilt", "counted"))
        n = of["count_sets"]
        chance = clopper_pearson(round(0.9 * n), n)
        for axis, key in zip(row, ("mean loss", "yield"), strict=True):
            inside, truth = (np.array(of["answers"][key][k]) for k in ("inside", "truth"))
            keep = np.ones(len(ber), bool)
            if key == "yield":
                keep = (truth > SURE) & (truth < 1 - SURE)
            for words, at, colour in (
                ("counted", counted, "C0"), ("between", ~counted, "C1")
            ):  # fmt: skip
                for flat, mark in ((tilt == 0, "o"), (tilt != 0, "x")):
                    use = keep & at & flat
                    label = f"{words}, {'equal rates' if mark == 'o' else 'tilted'}"
                    axis.plot(ber[use], inside[use] / n, mark, color=colour, label=label, ms=5)
            axis.axhspan(chance.low, chance.high, color="0.9", zorder=0)
            axis.axhline(0.9, color="0.6", linewidth=0.8, zorder=0)
            axis.set(xscale="log", xlabel="mean of both error rates", title=f"{name}: {key}")
        row[0].set_ylabel("share of 90 % ETI holding the truth")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Fit, count and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found = {
        "chips": CHIPS,
        "tilted_chips": TILTED_CHIPS,
        "loss_limits": list(LIMITS),
        "yield_limit": YIELD_LIMIT,
        "networks": {name: judged(counted_pool(name)) for name in NETWORKS},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "surface_coverage.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found, arguments.out / "surface_coverage.png")
    for name, of in found["networks"].items():
        print(name, json.dumps(of["share_inside"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
