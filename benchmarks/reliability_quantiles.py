"""Are the accuracy quantiles that a surface promises those of fresh chips?

A place is a device, a network with its storage and thresholds, and a programming value, all drawn
by chance. The surface promises quantiles of what chips lose there; fresh chips, drawn as they are
for a confirmation, say what share of them lies below. That share has a binomial standard error,
and the promise one of its own, because the surface rests on a finite number of chips: the spread
over its draws of the share it expects below.

Counts are whole images: both sides get a uniform number of half an image either way (Machado and
Santos Silva 2005), else quantiles would be tied.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from reliability.accuracy.propagation import Pairing, pair_draws, propagate
from reliability.accuracy.surface import AccuracySurface
from reliability.plans.seen_rates import SeenRates

QUANTILES = (0.05, 0.5, 0.95)
"""Of accuracy."""

LARGEST_Z, NEAR_POINTS = 4.0, 0.03
"""A quantile agrees within either."""

CHIPS_OF_THE_SURFACE = 20_000
SURFACES = 100


def compared(
    surface: AccuracySurface, seen: SeenRates, losses: np.ndarray, *, seed: int
) -> list[dict[str, Any]]:
    """Promised quantiles of accuracy beside those of chips; one row for each.

    Parameters
    ----------
    surface : AccuracySurface
        Of the network.
    seen : SeenRates
        Rates that it sees at one programming value, shape (draw of the device, 1).
    losses : float array, shape (chip,)
        What fresh chips lose, a fraction of the test images.
    seed : int
        Of the chips of the surface, and of the rounding of both sides.
    """
    rng = np.random.default_rng([seed, 3])
    n, images = len(losses), surface.images
    pairing = pair_draws(len(seen.ln_ber), surface.draws, draws=CHIPS_OF_THE_SURFACE, rng=rng)
    jitter = rng.uniform(-0.5, 0.5, CHIPS_OF_THE_SURFACE)
    promised = _images_lost(surface, seen, pairing) + jitter
    counted = losses * images + rng.uniform(-0.5, 0.5, n)
    rows = []
    for level in QUANTILES:
        # a quantile of accuracy is one of the loss from the other end
        at = float(np.quantile(promised, 1 - level))
        of_surface = _spread_below(surface, seen, pairing, jitter, at)
        share = float((counted <= at).mean())
        error = math.hypot(math.sqrt(level * (1 - level) / n), of_surface)
        of_chips = float(np.quantile(counted, 1 - level))
        points = 100 * (at - of_chips) / images
        z = (share - (1 - level)) / error
        rows.append(
            {
                "quantile_of_accuracy": level,
                "promised": surface.error_free - at / images,
                "of_chips": surface.error_free - of_chips / images,
                "difference_points": points,
                "share_of_chips_at_least_as_accurate": share,
                "error_of_surface": of_surface,
                "z": z,
                "agrees": bool(abs(z) <= LARGEST_Z or abs(points) < NEAR_POINTS),
            }
        )
    return rows


def _images_lost(surface: AccuracySurface, seen: SeenRates, pairing: Pairing) -> np.ndarray:
    """Images lost on balance by the surface's own chips, shape (chip,)."""
    return np.asarray(propagate(surface, seen, pairing).loss[:, 0] * surface.images)


def _spread_below(
    surface: AccuracySurface, seen: SeenRates, pairing: Pairing, jitter: np.ndarray, at: float
) -> float:
    """Standard deviation over draws of the surface of the share of its chips that lose up to `at`.

    All draws get the same chips and draws of the device, so that only the surface differs.
    """
    part = slice(0, CHIPS_OF_THE_SURFACE // 10)
    few = Pairing(
        pairing.device[part],
        pairing.curve[part],
        pairing.chip[part],
        pairing.test_set[part],
        pairing.rounding[part],
    )
    shares = [
        float(
            (
                _images_lost(
                    surface, seen, replace(few, curve=np.full(len(few.curve), c, dtype=np.int64))
                )
                + jitter[part]
                <= at
            ).mean()
        )
        for c in np.linspace(0, surface.draws - 1, SURFACES).round().astype(int)
    ]
    return float(np.std(shares, ddof=1))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many quantiles agree, and how large the z are."""
    z = np.array([row["z"] for row in rows])
    return {
        "criterion": f"|z| <= {LARGEST_Z:g}, or less than {NEAR_POINTS:g} points apart",
        "quantiles": len(rows),
        "agree": sum(row["agrees"] for row in rows),
        "rms_z": float(np.sqrt((z**2).mean())),
        "largest_z": float(z[np.abs(z).argmax()]),
        "worst": sorted(rows, key=lambda row: (row["agrees"], -abs(row["z"])))[:5],
    }
