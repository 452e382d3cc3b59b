"""Surfaces made by hand and counts of made-up networks, for tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bnn.study.rate_pairs import TILTED_RATES, TILTS
from reliability.accuracy.surface import AccuracySurface
from reliability.networks.study import NetworkStudy

BER = np.array([0.0, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.2, 0.5])
IMAGES, CORRECT, CHIPS = 500, 480, 12


def flat_in_tilt(
    ln_rate: np.ndarray,
    logit_share: Mapping[str, np.ndarray],
    ln_dispersion: Mapping[str, np.ndarray],
    **more: Any,
) -> AccuracySurface:
    """Surface on which only the mean rate matters; tables have the shape (draw, rate)."""

    def both(table: np.ndarray) -> np.ndarray:
        return np.repeat(np.asarray(table)[..., None], 2, axis=-1)

    return AccuracySurface(
        ln_rate=np.asarray(ln_rate),
        tilt=np.array([-1.0, 1.0]),
        logit_share={kind: both(table) for kind, table in logit_share.items()},
        ln_dispersion={kind: both(table) for kind, table in ln_dispersion.items()},
        **{"chips": 20, "diagnostics": {"converged": 1.0, "misfit": 1.0, "points": 6.0}} | more,
    )


def fragile_network(fragility: float, *, ber: float, seed: int) -> NetworkStudy:
    """Counts of a network whose right images are lost at rate 1 - exp(-fragility BER).

    Unequal rates of ones and zeros cost as much as equal ones of the same mean.
    """
    rng = np.random.default_rng(seed)
    attrs = {
        "images": IMAGES,
        "error_free_correct": CORRECT,
        "weights": 10_000,
        "protected": "",
        "seed": seed,
        "images_sha256": "0" * 64,
        "network_sha256": "1" * 64,
    }

    def table(dim: str, rates: np.ndarray) -> xr.Dataset:
        hit = -np.expm1(-fragility * rates)[:, None]
        shape, dims = (len(rates), CHIPS), (dim, "chip")
        lost = rng.binomial(CORRECT, 0.9 * hit, shape)
        gained = rng.binomial(IMAGES - CORRECT, 0.1 * hit, shape)
        of = {"correct": CORRECT - lost + gained, "lost": lost, "gained": gained}
        of |= {"changed": lost + gained, "flips": np.zeros_like(lost)}
        return xr.Dataset({k: (dims, v) for k, v in of.items()}, attrs=attrs)

    pairs = np.array([(rate, tilt) for rate in TILTED_RATES for tilt in TILTS])
    unequal = table("case", pairs[:, 0]).assign_attrs(ones=0.5)
    return NetworkStudy(
        table("ber", BER).assign_coords(ber=BER),
        {"training": {"ber": ber, "hidden": [8], "images": "simulated"}},
        unequal=unequal.assign_coords(ber=("case", pairs[:, 0]), tilt=("case", pairs[:, 1])),
    )
