"""What the truth of a simulated device says about the answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from devicefit.programming import FloatArray
from devicefit.reference_device import ReferenceDevice, true_mixtures
from devicefit.sensing import ln_ber_1t1r, ln_ber_2t2r, tilt_1t1r
from reliability.decision import weakest_condition
from reliability.designs import Comparison
from reliability.ecc import SECDED_72_64, raw_ber_for
from reliability.storage import PLAIN, Storage


def truth_record(
    truth: ReferenceDevice, comparison: Comparison, values: Mapping[str, Any]
) -> dict[str, Any]:
    """True BER at the chosen thresholds and true savings, and whether the intervals hold them.

    Parameters
    ----------
    truth : ReferenceDevice
        True law.
    comparison : Comparison
        What was found.
    values : mapping
        The results so far, with ``ber`` and ``energy_saving``.
    """
    grid, programming, design = comparison.grid, comparison.programming, comparison.focus
    laws = true_mixtures(truth, grid)
    threshold = comparison.main_ber["1T1R"].threshold_ohm
    assert threshold is not None
    ln_true = {
        "1T1R": ln_ber_1t1r(laws["LRS"], laws["HRS"], np.log(threshold)),
        "2T2R": ln_ber_2t2r(laws["LRS"], laws["HRS"], comparison.sensing.offset_ln_r),
    }
    record: dict[str, Any] = {
        "note": "The true law of the simulated device is known; the networks' tolerated BER is "
        "taken at its posterior median, and what unequal rates do to them at its mean.",
        "ber": {},
        "energy_saving": {},
    }
    for scheme, ln_ber in ln_true.items():
        interval = values["ber"][scheme]["interval"]
        low, high = np.log(interval["low"]), np.log(interval["high"])
        inside = (low <= ln_ber) & (ln_ber <= high)
        record["ber"][scheme] = {
            "true": np.exp(ln_ber).tolist(),
            "share_of_grid_inside": float(inside.mean()),
        }
    if design.safe.lowest is None or not values["energy"]["known"] or values["energy"]["table"]:
        return record
    requirement, borne = comparison.requirement, comparison.tolerated_ln_ber
    targets = {
        "standard_bnn": (float(np.median(borne[next(iter(borne))])), 1.0),
        "memory": (np.log(requirement.memory_ber), 1.0),
        "memory_with_ecc": (
            np.log(raw_ber_for(SECDED_72_64, requirement.memory_ber)),
            SECDED_72_64.cells_per_bit,
        ),
    }
    seen = None
    if comparison.unequal is not None:
        tilt = tilt_1t1r(laws["HRS"], np.log(threshold), ln_true["1T1R"])
        seen = comparison.unequal.at_mean(tilt[None, :])

    def harm(network: str, storage: Storage) -> FloatArray:
        """Ln of the true BER, with equal rates of the same harm, shape (1, x)."""
        ln_ber = storage.ln_ber_after(ln_true[storage.scheme])[None, :]
        return ln_ber if seen is None else seen.ln_seen(network, storage, ln_ber)

    limit = weakest_condition(
        grid,
        harm(design.network, design.storage),
        np.array([float(np.median(borne[design.network]))]),
        programming,
    )
    # Energy is proportional to the current in the simulated device: what is uncertain cancels.
    for key, (ln_target, cells) in targets.items():
        standard = key == "standard_bnn"
        ln_ber = (
            harm(next(iter(comparison.curves)), PLAIN) if standard else ln_true["1T1R"][None, :]
        )
        condition = weakest_condition(grid, ln_ber, np.array([ln_target]), programming)
        found = values["energy_saving"][key]
        record["energy_saving"][key] = {
            "not_reached": bool(condition.not_reached[0]),
            **_true_factor(condition.x[0] / design.safe.lowest * cells / design.cells, found),
            "at_tolerance": _true_factor(
                condition.x[0] / limit.x[0] * cells / design.cells, found["at_tolerance"]
            ),
        }
    return record


def _true_factor(true: float, found: Mapping[str, Any]) -> dict[str, Any]:
    """A true saving and whether the interval holds it (an end that is a bound holds all beyond)."""
    low = -np.inf if found["low_is_upper_bound"] else found["low"] * (1 - 1e-9)
    high = np.inf if found["high_is_lower_bound"] else found["high"] * (1 + 1e-9)
    return {"true": float(true), "inside": bool(low <= true <= high)}
