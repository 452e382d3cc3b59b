"""Records of the choices there are: expected loss, regret and Pareto front of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from devicefit.programming import FloatArray
from reliability.designs import Comparison, Design
from reliability.pareto import front_probability, pareto_front
from reliability.regret import energy_regret, utility_regret

FRONT_CANDIDATES = 300
FRONT_DRAWS = 200
Cycles = Mapping[tuple[str, str], FloatArray] | FloatArray | None


def losses(comparison: Comparison, design: Design) -> FloatArray:
    """Accuracy lost against the standard network without errors, shape (draw, x)."""
    return np.asarray(comparison.standard.error_free - design.accuracy.test_set)


def choices_record(comparison: Comparison, design: Design) -> dict[str, Any]:
    """Every programming value of a design: loss, risk, energy, regret; by utility if one is stated.

    Parameters
    ----------
    comparison : Comparison
        All designs on the same draws.
    design : Design
        One of them.
    """
    requirement = comparison.requirement
    loss = losses(comparison, design)
    met = loss <= requirement.max_loss + 1e-12
    record: dict[str, Any] = {
        "network": design.network,
        "scheme": design.scheme,
        "grid": comparison.grid.tolist(),
        "expected_loss": loss.mean(axis=0).tolist(),
        "loss_not_exceeded": {
            "value": np.quantile(loss, 1 - requirement.risk, axis=0).tolist(),
            "probability": 1 - requirement.risk,
        },
        "p_violated": (1 - met.mean(axis=0)).tolist(),
        "share_never_met": float(np.mean(~met.any(axis=1))),
        "meaning": "a draw is one chip of one possible device; who knew it would program at the "
        "least energy that meets the requirement",
        "energy_regret": None,
        "utility": None,
    }
    if not comparison.energy.is_known:
        return record
    e_bit = design.cells * comparison.energy.e_cell_j
    regret = energy_regret(e_bit, met)
    record["e_bit_j"] = np.median(e_bit, axis=0).tolist()
    record["energy_regret"] = {
        "expected_j": regret.expected_j.tolist(),
        "factor_where_met": [float(f) if np.isfinite(f) else None for f in regret.factor],
    }
    if requirement.utility is not None:
        found = utility_regret(e_bit, loss, met, requirement.utility)
        record["utility"] = {
            "unit": "ln of energy: 0.69 is a factor of 2",
            "expected_cost": found.expected_cost.tolist(),
            "opportunity_loss": found.opportunity_loss.tolist(),
            "best_programming": float(comparison.grid[found.best]),
            "p_violated_at_best": float(1 - met[:, found.best].mean()),
            "perfect_information_factor": float(np.exp(found.perfect_information)),
            "sentence": _utility_sentence(comparison, found.best, 1 - met[:, found.best].mean()),
        }
    return record


def _utility_sentence(comparison: Comparison, best: int, p_violated: float) -> str:
    utility, programming = comparison.requirement.utility, comparison.programming
    assert utility is not None
    at = programming.format(float(comparison.grid[best]))
    edge = ""
    if best == 0:
        edge = ", the weakest measured"
    elif best == len(comparison.grid) - 1:
        edge = ", the strongest measured"
    worth = [f"one point of accuracy is worth a factor of {utility.energy_factor_per_point:g}"]
    if utility.energy_factor_of_violation > 1:
        worth.append(f"a missed requirement one of {utility.energy_factor_of_violation:g}")
    return (
        f"If {' and '.join(worth)} in energy, {at}{edge} costs least on average; a chip then "
        f"misses the requirement with probability {p_violated:.3f}."
    )


def pareto_record(
    comparison: Comparison, cycles_to_requirement: Cycles = None
) -> dict[str, Any] | None:
    """Front of energy, accuracy and, where it is known, endurance over all designs.

    Parameters
    ----------
    comparison : Comparison
        All designs on the same draws.
    cycles_to_requirement : float array, shape (draw, x), or mapping of (network, scheme), optional
        Cycles after which the requirement is no longer met.

    Returns
    -------
    dict or None
        None where no energy is known.
    """
    c = comparison
    if not c.energy.is_known:
        return None
    places = [_places(c, design) for design in c.designs]
    draws = np.unique(np.linspace(0, len(c.energy.e_cell_j) - 1, FRONT_DRAWS).astype(int))
    energy = _joined(
        [d.cells * c.energy.e_cell_j[:, at] for d, at in zip(c.designs, places, strict=True)]
    )
    accuracy = _joined(
        [d.accuracy.test_set[:, at] for d, at in zip(c.designs, places, strict=True)]
    )
    # Accuracies are equal when they differ by less than a tenth of a test image.
    steps = 10 * c.standard.images
    gains = [np.round(accuracy * steps) / steps]
    if cycles_to_requirement is not None:
        gains.append(
            _joined(
                [
                    _cycles_of(cycles_to_requirement, d)[:, at]
                    for d, at in zip(c.designs, places, strict=True)
                ]
            )
        )
    middle = np.median(energy, axis=0)
    means = accuracy.mean(axis=0)
    centre = [np.round(means * steps) / steps, *(np.median(g, axis=0) for g in gains[1:])]
    front = pareto_front(middle, *centre)
    share = front_probability(energy[draws], *(gain[draws] for gain in gains))
    names = [(d, at) for d, where in zip(c.designs, places, strict=True) for at in where]
    rows = [
        {
            "network": design.network,
            "scheme": design.scheme,
            "programming": float(c.grid[at]),
            "e_bit_j": float(middle[i]),
            "mean_accuracy": float(means[i]),
            "p_requirement_met": float(design.p_met[at]),
            "cycles": float(centre[1][i]) if len(centre) > 1 else None,
            "on_front": bool(front[i]),
            "p_on_front": float(share[i]),
        }
        for i, (design, at) in enumerate(names)
    ]
    return {
        "objectives": ["median energy per bit", "mean accuracy of chips"]
        + (["median cycles to requirement"] if len(gains) > 1 else []),
        "resolution": f"accuracies are equal within {1 / steps:g}, a tenth of a test image",
        "draws": len(draws),
        "candidates": rows,
    }


def _places(comparison: Comparison, design: Design) -> list[int]:
    """Grid values of a design that are candidates: spread evenly, and the lowest safe one."""
    grid = comparison.grid
    number = max(2, min(len(grid), FRONT_CANDIDATES // len(comparison.designs)))
    chosen = set(np.linspace(0, len(grid) - 1, number).round().astype(int).tolist())
    if design.safe.lowest is not None:
        chosen.add(int(np.argmin(np.abs(grid - design.safe.lowest))))
    return sorted(chosen)


def _joined(parts: list[FloatArray]) -> FloatArray:
    return np.concatenate(parts, axis=1)


def _cycles_of(cycles: Cycles, design: Design) -> FloatArray:
    if isinstance(cycles, Mapping):
        return cycles[design.network, design.scheme]
    assert cycles is not None
    return cycles
