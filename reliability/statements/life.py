"""The decision at the end of a required life, which leads, and that for fresh cells beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bnn.calibration.treatments import FIXED
from devicefit.life.study import CycledCells, Life
from devicefit.numerics.arrays import FloatArray
from reliability.decision.compare import compare_designs
from reliability.decision.comparison import Comparison, tolerated_on_device
from reliability.decision.requirement import Requirement
from reliability.decision.saving import saving_record
from reliability.life.factors import cycles_to_requirement, life_factor
from reliability.life.required import LifeFactor, LifeRequirement, age_curves
from reliability.statements.risk import probability


def compare_over_life(fresh: Comparison, factor: LifeFactor, *, seed: int) -> Comparison:
    """The same comparison with the bit error rates of the end of life.

    References age too: memory and the standard network have to live as long as the design.

    Parameters
    ----------
    fresh : Comparison
        For fresh cells.
    factor : LifeFactor
        On the grid of the comparison.
    seed : int
        Pairs draws of life and device.
    """
    ber = {family: age_curves(curves, factor, seed=seed) for family, curves in fresh.ber.items()}
    aged = replace(
        fresh.setting,
        ber=ber,
        by_array=[age_curves(dict(one), factor, seed=seed) for one in fresh.by_array],
    )
    # wear and bakes are taken to leave the ratio of the two rates as it is
    return compare_designs(aged, tuple(fresh.seen))


def life_asked(requirement: Requirement) -> LifeRequirement:
    """Life that a requirement asks for.

    Raises
    ------
    ValueError
        It asks for none, or for a time without a temperature.
    """
    life = requirement.life
    if life is None:
        raise ValueError(
            "posteriors of life are given, but no life is asked for; add a section [life] with "
            "cycles, or years and temperature, to the requirement file"
        )
    return LifeRequirement.of(
        cycles=life.cycles, years=life.years, temperature_k=life.temperature_k
    )


def design_cycles(
    fresh: Comparison, lives: Sequence[Life], *, seed: int
) -> dict[tuple[str, str], FloatArray] | None:
    """Cycles until too few chips of each design meet the requirement.

    Parameters
    ----------
    fresh : Comparison
        For fresh cells.
    lives : sequence of Endurance, Retention or CycledCells
        What is known of life.
    seed : int
        Pairs draws.

    Returns
    -------
    dict of (network, scheme) to float array, shape (draw, x), or None
        None where nothing is known of cycles to wear-out over programming.
    """
    cycled = next((life for life in lives if isinstance(life, CycledCells)), None)
    if cycled is None:
        return None
    return {
        (design.network, design.scheme): cycles_to_requirement(
            cycled,
            fresh.grid,
            fresh.read_ln_ber(design.storage.scheme),
            tolerated_on_device(fresh, design),
            rng=np.random.default_rng([seed, 25]),
        )
        for design in fresh.designs
    }


def at_end_of_life(
    fresh: Comparison, lives: Sequence[Life], required: LifeRequirement, *, seed: int
) -> tuple[Comparison, LifeFactor]:
    """The comparison at the end of a required life, and what the life does to error rates.

    Parameters
    ----------
    fresh : Comparison
        For fresh cells.
    lives : sequence of Endurance, Retention or CycledCells
        What is known of life.
    required : LifeRequirement
        What the cells have to go through.
    seed : int
        Pairs draws.

    Raises
    ------
    ValueError
        As :func:`reliability.life.factors.life_factor`.
    """
    factor = life_factor(
        lives,
        required,
        fresh.grid,
        programming=fresh.programming,
        sensing=fresh.sensing,
        rng=np.random.default_rng([seed, 24]),
    )
    return compare_over_life(fresh, factor, seed=seed), factor


def life_record(
    fresh: Comparison,
    aged: Comparison,
    factor: LifeFactor,
    lives: Sequence[Life],
    required: LifeRequirement,
) -> dict[str, Any]:
    """What stands beside a verdict about the end of life: fresh cells, and what ageing rests on.

    Returns
    -------
    dict
        Plain values: ``required``, ``factor``, ``fresh`` with the answer for fresh cells,
        ``designs`` with their lowest safe programming before and after, ``gates`` of the fits,
        ``sentence`` about fresh cells and ``rests_on``.
    """
    mark = "Extrapolated. " if factor.extrapolated.any() else ""
    return {
        "required": {**vars(required), "words": required.words()},
        "factor": factor.record(),
        "fresh": _fresh_record(fresh),
        "designs": [
            {
                "network": young.network,
                "scheme": young.scheme,
                "lowest_fresh": young.safe.lowest,
                "lowest_end_of_life": old.safe.lowest,
                "p_met_fresh": young.p_met.tolist(),
                "sentence_fresh": young.safe.sentence,
            }
            for young, old in zip(fresh.designs, aged.designs, strict=True)
        ],
        "gates": [gate for life in lives for gate in life.record["gates"]],
        "simulated": any(bool(life.record.get("simulated")) for life in lives),
        "rests_on": f"{mark}What the end of life rests on: "
        + " ".join([*factor.rests_on, *_treated(fresh)]),
    }


def _treated(comparison: Comparison) -> list[str]:
    """That the networks' thresholds are set again after ageing, where they are not fixed."""
    return [
        f"The thresholds of network {network!r} ({treatment}) are set again after ageing, for the "
        "error rates of the end of life: a treatment that the user has to carry out then."
        for network, treatment in comparison.thresholds.items()
        if treatment != FIXED
    ]


def _fresh_record(fresh: Comparison) -> dict[str, Any]:
    """What would be recommended for fresh cells, by the accuracy surfaces: no chips count."""
    best, programming = fresh.best, fresh.programming
    if best is None or best.safe.lowest is None:
        keys = ("recommended_programming", "network", "scheme", "p_requirement_met")
        return {
            **dict.fromkeys(keys),
            "energy_saving": None,
            "sentence": f"Fresh cells, beside it: no measured {programming.name} is safe for them "
            "either.",
        }
    p = best.stated(fresh.grid)[1]
    said = probability(p, fresh.requirement.probability)
    return {
        "recommended_programming": best.safe.lowest,
        "network": best.network,
        "scheme": best.scheme,
        "p_requirement_met": p,
        "energy_saving": {r.key: saving_record(fresh, r) for r in fresh.references},
        "sentence": f"Fresh cells, beside it: {programming.format(best.safe.lowest)}, stored as "
        f"{best.scheme}, network {best.network!r}, with P = {said} by the accuracy surface, not "
        "confirmed by chips.",
    }
