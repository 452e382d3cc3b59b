"""Records of the choices there are: expected loss, regret and Pareto front of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from devicefit.numerics.arrays import FloatArray
from reliability.accuracy.surface import mean_loss
from reliability.decision.comparison import Comparison, Design
from reliability.statements.pareto import front_probability, pareto_front
from reliability.statements.regret import EnergyRegret, energy_regret, utility_regret

FRONT_CANDIDATES = 300
FRONT_DRAWS = 200


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

    Notes
    -----
    Regret is against who knew the design: device, accuracy surface and energies of a draw, while
    chips differ as ever. There the requirement is that of a known design: a share of at least
    1 - risk of its chips meets it.
    """
    c, requirement = comparison, comparison.requirement
    loss = losses(c, design)
    met = design.accuracy.loss <= design.chip_yield.limit + 1e-12
    record: dict[str, Any] = {
        "network": design.network,
        "scheme": design.scheme,
        "grid": c.grid.tolist(),
        "expected_loss": loss.mean(axis=0).tolist(),
        "p_violated": (1 - design.p_met).tolist(),
        "meaning": "energy_regret: who knew the design (device, accuracy surface and energies of a "
        "draw) would program all its chips at the least energy at which a share of at least "
        f"{requirement.probability:g} of them meets the requirement; energy_regret_per_chip: who "
        "knew each chip would program it on its own",
        "energy_regret": None,
        "energy_regret_per_chip": None,
        "utility": None,
    }
    if not c.energy.is_known:
        return record
    e_bit = design.cells * c.energy.e_cell_j
    share = design.chip_yield.share
    regret = energy_regret(e_bit, share >= requirement.probability)
    record["e_bit_j"] = np.median(e_bit, axis=0).tolist()
    record["energy_regret"] = {**regret.record(), "sentence": _regret_sentence(c, design, regret)}
    record["energy_regret_per_chip"] = energy_regret(e_bit, met).record()
    if requirement.utility is not None:
        known = utility_regret(e_bit, mean_losses(c, design), 1 - share, requirement.utility)
        per_chip = utility_regret(e_bit, loss, np.where(met, 0.0, 1.0), requirement.utility)
        missed = float(1 - design.p_met[known.best])
        record["utility"] = {
            "unit": "ln of energy: 0.69 is a factor of 2",
            "expected_cost": known.expected_cost.tolist(),
            "opportunity_loss": known.opportunity_loss.tolist(),
            "best_programming": float(c.grid[known.best]),
            "p_violated_at_best": missed,
            "perfect_information_factor": float(np.exp(known.perfect_information)),
            "perfect_information_per_chip_factor": float(np.exp(per_chip.perfect_information)),
            "sentence": _utility_sentence(c, known.best, missed),
        }
    return record


def mean_losses(comparison: Comparison, design: Design) -> FloatArray:
    """Loss of the mean chip against the standard network without errors, shape (draw, x)."""
    c, curve = comparison, comparison.curves[design.network]
    of_curve = c.pairing.curve
    seen = c.seen[design.storage].of(c.pairing.rates)
    own = curve.error_free + curve.error_free_deviation[of_curve]
    return np.asarray(c.standard.error_free - own[:, None] + mean_loss(curve, seen, of_curve))


def _regret_sentence(comparison: Comparison, design: Design, regret: EnergyRegret) -> str | None:
    """What the recommended programming spends beyond need, and how often it is too weak."""
    if design.safe.lowest is None:
        return None
    at = design.place(comparison.grid)
    asked = f"{100 * (comparison.requirement.probability):g} %"
    missed, factor = float(regret.missed[at]), float(regret.factor[at])
    if not np.isfinite(factor):
        return (
            f"Regret, by the accuracy surface: at this programming fewer than {asked} of the chips "
            "would meet the requirement, whatever device and accuracy surface are."
        )
    few = "below 0.001" if 0 < missed < 0.0005 else f"{missed:.3f}"
    text = (
        "Regret, by the accuracy surface: knowing device and accuracy surface exactly would save "
        f"{100 * (1 - 1 / factor):.1f} % of this energy on average, with {asked} of the chips "
        "still meeting the requirement"
    )
    if missed > 0:
        text += f"; this counts where this programming is enough, with probability {few} it is not"
    return f"{text}."


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
        f"If {' and '.join(worth)} in energy, {at}{edge} costs least on average; by the "
        f"accuracy surface a chip then misses the requirement with probability {p_violated:.3f}."
    )


def pareto_record(
    comparison: Comparison,
    cycles_to_requirement: Mapping[tuple[str, str], FloatArray] | None = None,
) -> dict[str, Any] | None:
    """Front of energy, accuracy and, where it is known, endurance over all designs.

    Parameters
    ----------
    comparison : Comparison
        All designs on the same draws.
    cycles_to_requirement : mapping of (network, scheme) to float array, shape (draw, x), optional
        Cycles after which the requirement is no longer met.

    Returns
    -------
    dict or None
        None where no energy is known.
    """
    c = comparison
    if not c.energy.is_known:
        return None
    places = [(design, _places(c, design)) for design in c.designs]

    def of_candidates(values: Callable[[Design], FloatArray]) -> FloatArray:
        """Values over the grid, shape (draw, x), at the candidates, (draw, candidate)."""
        return np.concatenate([values(design)[:, at] for design, at in places], axis=1)

    energy = of_candidates(lambda d: d.cells * c.energy.e_cell_j)
    accuracy = of_candidates(lambda d: d.accuracy.test_set)
    # Accuracies are equal when they differ by less than a tenth of a test image.
    steps = 10 * c.standard.images
    gains = [np.round(accuracy * steps) / steps]
    if cycles_to_requirement is not None:
        gains.append(of_candidates(lambda d: cycles_to_requirement[d.network, d.scheme]))
    middle, means = np.median(energy, axis=0), accuracy.mean(axis=0)
    centre = [np.round(means * steps) / steps, *(np.median(g, axis=0) for g in gains[1:])]
    front = pareto_front(middle, *centre)
    draws = np.unique(np.linspace(0, len(c.energy.e_cell_j) - 1, FRONT_DRAWS).astype(int))
    share = front_probability(energy[draws], *(gain[draws] for gain in gains))
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
        for i, (design, at) in enumerate((design, at) for design, where in places for at in where)
    ]
    return {
        "objectives": ["median energy per bit", "mean accuracy of chips"]
        + (["median cycles to requirement"] if len(gains) > 1 else []),
        "resolution": f"accuracies are equal within {1 / steps:.2g}, a tenth of a test image",
        "draws": len(draws),
        "candidates": rows,
    }


def _places(comparison: Comparison, design: Design) -> list[int]:
    """Grid values of a design that are candidates: spread evenly, and the lowest safe one."""
    grid = comparison.grid
    number = max(2, min(len(grid), FRONT_CANDIDATES // len(comparison.designs)))
    chosen = set(np.linspace(0, len(grid) - 1, number).round().astype(int).tolist())
    if design.safe.lowest is not None:
        chosen.add(design.place(grid))
    return sorted(chosen)
