"""The decision at the end of a required life beside the decision for fresh cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from devicefit.life_study import CycledCells, Life
from devicefit.programming import FloatArray
from reliability.decision.saving import saving_record
from reliability.designs import Comparison, compare_designs, limit_on_device
from reliability.life import LifeFactor, LifeRequirement, age_curves
from reliability.life_factors import cycles_to_requirement, life_factor
from reliability.requirement import Requirement


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
    return compare_designs(
        ber,
        fresh.curves,
        fresh.pairing,
        fresh.energy,
        requirement=fresh.requirement,
        sensing=fresh.sensing,
        programming=fresh.programming,
        family=fresh.family,
        # wear and bakes are taken to leave the ratio of the two rates as it is
        unequal=fresh.unequal,
    )


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
    """Cycles until the mean chip of each design no longer meets the requirement.

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
    found = {}
    for design in fresh.designs:
        borne = limit_on_device(fresh, design.network, design.storage)
        read = fresh.main_ber[design.storage.scheme].ln_ber
        found[design.network, design.scheme] = cycles_to_requirement(
            cycled,
            fresh.grid,
            read.reshape(-1, read.shape[-1])[fresh.pairing.device],
            design.storage.ln_ber_read(borne),
            rng=np.random.default_rng([seed, 25]),
        )
    return found


def life_answer(
    fresh: Comparison, lives: Sequence[Life], required: LifeRequirement, *, seed: int
) -> dict[str, Any]:
    """Safe programming and saving at the end of life beside those of fresh cells, and why.

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

    Returns
    -------
    dict
        Plain values: ``required``, ``factor``, ``designs``, ``energy_saving`` at the end of life,
        ``gates`` of the fits, ``sentence``.

    Raises
    ------
    ValueError
        As :func:`reliability.life_factors.life_factor`.
    """
    factor = life_factor(
        lives,
        required,
        fresh.grid,
        programming=fresh.programming,
        sensing=fresh.sensing,
        rng=np.random.default_rng([seed, 24]),
    )
    aged = compare_over_life(fresh, factor, seed=seed)
    return {
        "required": {**vars(required), "words": required.words()},
        "factor": factor.record(),
        "designs": [
            {
                "network": young.network,
                "scheme": young.scheme,
                "lowest_fresh": young.safe.lowest,
                "lowest_end_of_life": old.safe.lowest,
                "p_met_end_of_life": old.p_met.tolist(),
                "sentence_end_of_life": old.safe.sentence,
            }
            for young, old in zip(fresh.designs, aged.designs, strict=True)
        ],
        "design": {"network": aged.focus.network, "scheme": aged.focus.scheme},
        "energy_saving": {r.key: saving_record(aged, r) for r in aged.references},
        "gates": [gate for life in lives for gate in life.record["gates"]],
        "simulated": any(bool(life.record.get("simulated")) for life in lives),
        "sentence": _sentence(fresh, aged, factor, required),
    }


def _sentence(
    fresh: Comparison, aged: Comparison, factor: LifeFactor, required: LifeRequirement
) -> str:
    design = aged.focus
    young = next(
        d for d in fresh.designs if (d.network, d.scheme) == (design.network, design.scheme)
    )
    form = fresh.programming.format
    name = f"{design.network} network, {design.scheme}"
    before = "none" if young.safe.lowest is None else form(young.safe.lowest)
    if design.safe.lowest is None:
        best = int(design.p_met.argmax())
        found = (
            f"After {required.words()} no measured {fresh.programming.name} meets the requirement "
            f"({name}; the best, {form(aged.grid[best])}, reaches P = {design.p_met[best]:.3f}); "
            f"fresh: {before}."
        )
    else:
        savings = "; ".join(
            f"against {r.words}: {saving_record(aged, r)['sentence']}" for r in aged.references
        )
        found = (
            f"After {required.words()} the lowest safe {fresh.programming.name} is "
            f"{form(design.safe.lowest)} ({name}), fresh: {before}. Energy saving at the end of "
            f"life {savings}."
        )
    mark = "Extrapolated. " if factor.extrapolated.any() else ""
    return f"{found} {mark}What this rests on: {' '.join(factor.rests_on)}"
