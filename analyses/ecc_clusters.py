"""Do the errors that a code leaves, which come in whole words, hurt a network more than others?

Question
    After a code the wrong bits of a chip are not independent: words fail whole. The decision reads
    the accuracy surface, which was counted with independent errors, at the residual BER. Is the
    accuracy of chips the same, in the mean, in the spread and for the worst chips, when the errors
    come from decoded words?

Inputs
    ``digits-standard`` of `bnn.zoo` and the 600 test images of digits.

Choices
    Chips of stored words with independent raw errors, decoded word by word
    (`reliability.plans.decoders`): a word is 64 weights of one neuron, or 64 weights spread over
    the layer (interleaved). Raw rates that leave residual rates near 1e-3, 1e-2 and 4e-2. The
    control has independent errors at the rate that was counted on the coded chips.

Seed
    1; chip k of every arrangement draws from (seed, arrangement, k).

Outputs
    ``analyses/results/ecc_clusters.json``: mean loss, its standard error, standard deviation over
    chips and the loss of the worst 5 % of the chips, with z of the differences to the control.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

import bnn
from bnn.evaluation.evaluation import evaluate_positions
from reliability.plans.codes import BCH_127_64, SECDED_72_64, Code, raw_ber_for
from reliability.plans.decoders import coded_chip

OUT = Path(__file__).resolve().parent / "results" / "ecc_clusters.json"
SEED, CHIPS = 1, 400
RESIDUAL = (1e-3, 1e-2, 4e-2)
CODES = (SECDED_72_64, BCH_127_64)

Losses = npt.NDArray[np.float64]


def losses(
    network: bnn.FoldedNetwork, images: bnn.ImageSet, code: Code, raw: float
) -> dict[str, Losses]:
    """Loss of accuracy of every chip, for words in one neuron, words spread, and the control."""

    def wrong(arrangement: int, chip: int) -> dict[str, npt.NDArray[np.int64]]:
        rng = np.random.default_rng([SEED, arrangement, chip])
        return coded_chip(network, code, raw, interleaved=arrangement == 1, rng=rng)

    bits = sum(network.weight_bits.values())
    counted = sum(
        len(places) for a in (0, 1) for k in range(CHIPS) for places in wrong(a, k).values()
    )
    rate = counted / (2 * CHIPS * bits)

    def independent(chip: int) -> dict[str, npt.NDArray[np.int64]]:
        rng = np.random.default_rng([SEED, 2, chip])
        return {n: np.flatnonzero(rng.random(b) < rate) for n, b in network.weight_bits.items()}

    def positions(chip: int) -> Iterator[dict[str, npt.NDArray[np.int64]]]:
        yield wrong(0, chip)
        yield wrong(1, chip)
        yield independent(chip)

    names = ["words within a neuron", "words spread over the layer", "independent"]
    counts = evaluate_positions(
        network,
        images.test_images,
        images.test_labels,
        positions=positions,
        cases=xr.Variable("arrangement", np.array(names)),
        identity={"code": code.name, "raw": raw, "seed": SEED},
        chips=CHIPS,
        threads=1,
    )
    free = counts.attrs["error_free_correct"]
    lost = (free - counts["correct"].values) / counts.attrs["images"]
    return {"rate": np.array([rate]), **dict(zip(names, lost, strict=True))}


def summary(found: dict[str, Losses]) -> dict[str, Any]:
    """Moments and quantiles of each arrangement, and what differs from independent errors."""
    control = found["independent"]
    worst = 100 * float(np.quantile(control, 0.95))
    lines: dict[str, Any] = {"residual_ber": float(found["rate"][0])}
    for name, loss in found.items():
        if name == "rate":
            continue
        error = loss.std(ddof=1) / np.sqrt(CHIPS)
        line = {
            "mean_loss_points": round(100 * float(loss.mean()), 4),
            "standard_error": round(100 * float(error), 4),
            "sd_of_chips_points": round(100 * float(loss.std(ddof=1)), 4),
            "loss_exceeded_by_5_percent_points": round(100 * float(np.quantile(loss, 0.95)), 4),
        }
        if name != "independent":
            both = np.hypot(error, control.std(ddof=1) / np.sqrt(CHIPS))
            ratio = loss.std(ddof=1) / control.std(ddof=1)
            line |= {
                "z_of_mean": round(float((loss.mean() - control.mean()) / both), 2),
                "sd_ratio": round(float(ratio), 3),
                # ln of a standard deviation of n normal values has the error 1 / sqrt(2 (n - 1))
                "z_of_sd": round(float(np.log(ratio) * np.sqrt(CHIPS - 1)), 2),
                "worst_5_percent_against_independent_points": round(
                    100 * float(np.quantile(loss, 0.95)) - worst, 4
                ),
            }
        lines[name] = line
    return lines


def main() -> int:
    """Count, store and print."""
    network, _ = bnn.load_zoo("digits-standard")
    images = bnn.load_images("digits")
    found: dict[str, Any] = {"network": "digits-standard", "chips": CHIPS, "seed": SEED}
    for code in CODES:
        for residual in RESIDUAL:
            raw = raw_ber_for(code, residual)
            line = {"raw_ber": raw, **summary(losses(network, images, code, raw))}
            found[f"{code.name}, residual about {residual:g}"] = line
            print(json.dumps(line, indent=1), flush=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
