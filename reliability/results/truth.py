"""What the truth of a simulated device says about the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from devicefit.distributions.sensing import ln_ber_1t1r, ln_ber_2t2r, tilt_1t1r
from devicefit.simulation.reference_device import ReferenceDevice, true_mixtures
from reliability.decision.comparison import STANDARD, Comparison, Design, condition_of_draws
from reliability.decision.limits import Condition, weakest_condition
from reliability.decision.references import memory_excess


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
        "note": "The true law of the simulated device is known; a true saving is the median over "
        "the draws of the networks' surfaces.",
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
    tilt = tilt_1t1r(laws["HRS"], np.log(threshold), ln_true["1T1R"])
    true = {
        name: replace(
            curve,
            ln_ber=ln_true[name][None, None],
            tilt=None if curve.tilt is None else tilt[None, None],
        )
        for name, curve in comparison.main_ber.items()
    }

    def true_condition(of: Design) -> Condition:
        surface = comparison.curves[of.network]
        seen = of.storage.seen(true, comparison.one_is)
        return condition_of_draws(comparison, of.network, surface, seen)

    own = true_condition(design)
    for reference in comparison.references:
        if reference.key == "stated":
            continue
        if reference.key == STANDARD:
            its = true_condition(comparison.designs[0])
        else:
            excess = memory_excess(comparison, reference.key, ln_true["1T1R"][None, :])
            its = weakest_condition(grid, excess, programming)
        # Energy is proportional to the current in the simulated device: what is uncertain cancels.
        factor = np.median(its.x / own.x) * reference.cells_per_bit / design.cells
        record["energy_saving"][reference.key] = {
            "not_reached": bool(its.not_reached.mean() > 0.5),
            **_true_factor(float(factor), values["energy_saving"][reference.key]),
        }
    return record


def _true_factor(true: float, found: Mapping[str, Any]) -> dict[str, Any]:
    """A true saving and whether the interval or the bound holds it."""
    low, high = found["low"], found["high"]
    if found["bound"] is not None:
        end = found["bound"]["value"]
        low, high = (end, np.inf) if found["bound"]["side"] == "at least" else (0.0, end)
    elif found["median"] is None:
        low, high = 0.0, np.inf
    return {"true": true, "inside": bool(low * (1 - 1e-9) <= true <= high * (1 + 1e-9))}
