"""The answer in plain words: what to program at, what it saves, at what risk, on what grounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reliability.confirmation.words import (
    array_line,
    confirmation_line,
    readings_line,
    refused_lines,
)
from reliability.decision.comparison import Comparison, Design
from reliability.decision.references import NAMES
from reliability.decision.safe_set import points
from reliability.decision.saving import NO_SAVING_STATED
from reliability.results.grounds import (
    Grounds,
    failed_savings,
    failed_words,
    holds_for,
    life_lines,
    rests_on,
    support,
)
from reliability.results.withheld import withheld
from reliability.statements.loss import stated_loss
from reliability.statements.risk import (
    against_lines,
    beside,
    images_record,
    probability,
    risk_record,
)

_FOUND = (
    "recommended_programming",
    "recommended_programming_words",
    "recommended_second",
    "plan",
    "network",
    "scheme",
    "cells_per_bit",
    "p_requirement_met",
    "p_against",
    "test_set",
    "p_of_curve",
    "confirmed",
    "fresh",
    "risk",
    "safe_set",
)
"""What is said of a recommended design, None where there is none."""


def verdict_record(
    comparison: Comparison,
    saving: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
    grounds: Grounds,
) -> dict[str, Any]:
    """The answer, with what it rests on.

    Parameters
    ----------
    comparison : Comparison
        All designs and references.
    saving : mapping
        Records of the savings by reference.
    gates : sequence of mapping
        Records of all gates; each withholds the verdict where it failed.
    grounds : Grounds
        What is said beside it.

    Returns
    -------
    dict
        ``sentence`` says it in one paragraph, ``lines`` line by line for a meeting. Where a gate
        failed ``withheld`` is true, ``recommended_programming``, ``network``, ``scheme`` and
        ``p_requirement_met`` are None, and the figures stand in ``not_to_be_relied_on``.
    """
    failed = [gate["name"] for gate in gates if not gate["passed"]]
    unfitted, asked = grounds.unfitted, comparison.requirement.life
    reasons = rests_on(comparison, grounds.device)
    record: dict[str, Any] = {
        "simulated": bool(grounds.device["data"]["simulated"]),
        "failed_gates": failed,
        "failed_families": unfitted,
        "gates_passed": not failed,
        "failed": failed_words(gates, unfitted, comparison, saving),
    }
    best = comparison.best
    if best is None:
        found = _nothing_is_safe(comparison, grounds)
    else:
        found = _recommended(comparison, best, saving, grounds)
        reasons += support(comparison, best)
    record["holds_for"], before = holds_for(asked, grounds.life)
    found["lines"][0] = before + found["lines"][0]
    found["sentence"] = before + found["sentence"]
    end = [*life_lines(asked, grounds.life), f"Rests on: {'; '.join(reasons)}."]
    found["lines"] += end
    record |= {"withheld": False, "first_to_do": None, "not_to_be_relied_on": None}
    record |= {"rests_on": reasons, **found}
    if failed:
        of_device = grounds.device.get("gates", [])
        record |= withheld(found, gates, of_device=of_device, made=grounds.made)
        record["lines"] += end[-1:]
    return record


def _recommended(
    comparison: Comparison, best: Design, saving: Mapping[str, Any], grounds: Grounds
) -> dict[str, Any]:
    """What is recommended, in figures and words."""
    c, lowest = comparison, best.safe.lowest
    law = stated_loss(c, best)
    assert lowest is not None
    assert law is not None
    risk, test_set = risk_record(c, law), images_record(c, law)
    confirmed = confirmation_line(best, grounds.not_confirmed)
    fresh = None if best.confirmation is None else best.confirmation.fresh
    lines = [
        _first_line(c, best),
        best.safe.sentence,
        confirmed,
        test_set["sentence"],
        *against_lines(c, best, law),
        array_line(best, grounds.arrays),
        readings_line(best, c.programming),
        *refused_lines(c),
        *_saving_lines(c, saving),
        grounds.uncertainty,
        risk["sentence"],
        grounds.regret,
    ]
    return {
        "recommended_programming": lowest,
        "recommended_programming_words": c.programming.format(lowest),
        "recommended_second": _second_record(c),
        "plan": c.plan(best, lowest).record(),
        "network": best.network,
        "scheme": best.scheme,
        "cells_per_bit": best.cells,
        "p_requirement_met": best.stated(c.grid)[1],
        "p_against": law.p_against,
        "test_set": test_set,
        "p_of_curve": float(best.p_met[best.place(c.grid)]),
        "confirmed": confirmed,
        "fresh": None if fresh is None else fresh.record(),
        "risk": risk,
        "nearest": None,
        "lines": [line for line in lines if line is not None],
        "sentence": _sentence(c, saving, best),
        "safe_set": best.safe.sentence,
    }


def _nothing_is_safe(comparison: Comparison, grounds: Grounds) -> dict[str, Any]:
    """That no programming is safe, and what comes nearest."""
    c, nearest = comparison, _nearest(comparison)
    by = "by the accuracy surfaces"
    if any(design.confirmation is not None for design in c.designs):
        by = "chips refuse what the accuracy surfaces promised"
    lines = [
        f"Nothing is safe: no measured {c.programming.name} meets the requirement with any of the "
        f"compared designs, a loss of at most {points(c.requirement.max_loss)} with probability "
        f"{c.requirement.probability:g} ({by}).",
        *refused_lines(c),
        nearest["sentence"],
        "Saving: none, because no programming is safe.",
    ]
    if grounds.uncertainty is not None:
        lines.append(grounds.uncertainty)
    return {
        **dict.fromkeys(_FOUND),
        "nearest": nearest,
        "lines": lines,
        "sentence": f"{lines[0]} {nearest['sentence']}",
    }


def _first_line(comparison: Comparison, best: Design) -> str:
    """What to program, and whether chips confirmed it."""
    c, lowest = comparison, best.safe.lowest
    assert lowest is not None
    what = f"Program at {c.words(c.plan(best, lowest))}"
    found = best.confirmation
    if found is None or found.fresh is None:
        p = probability(best.stated(c.grid)[1], c.requirement.probability)
        return f"{what}: not confirmed by chips; the accuracy surface promises P = {p}."
    chips = f"{found.fresh.met:,} of {found.fresh.chips:,} fresh chips meet the requirement"
    if found.is_contradicted:
        return (
            f"CONTRADICTED by chips. {what}, is what the first lot chose, but only {chips}; "
            f"{found.wanted:g} of them are asked for."
        )
    return f"{what}: {chips}."


def _sentence(comparison: Comparison, saving: Mapping[str, Any], best: Design) -> str:
    requirement, found = comparison.requirement, best.confirmation
    assert best.safe.lowest is not None
    text = "" if found is None or not found.is_contradicted else "CONTRADICTED by chips. "
    text += (
        f"Program at {comparison.words(comparison.plan(best, best.safe.lowest))}: "
        f"P(loss <= {points(requirement.max_loss)}) = {best.stated(comparison.grid)[1]:.3f}"
        f"{' of fresh chips' if best.judged_by == 'chips' else ' by the accuracy surface'}. "
    )
    if not comparison.energy.is_known:
        return f"{text}{NO_SAVING_STATED[:1].upper()}{NO_SAVING_STATED[1:]}."
    return (
        f"{text}Programming energy saved: {saving['standard_bnn']['sentence']} against the "
        f"standard network, {saving['memory']['sentence']} against plain memory."
    )


def _second_record(comparison: Comparison) -> dict[str, Any] | None:
    """Value of the second variable, where there is one."""
    if comparison.second is None:
        return None
    variable, value = comparison.second
    return {"name": variable.name, "value": value, "words": variable.format(value)}


def _nearest(comparison: Comparison) -> dict[str, Any]:
    """The choice that comes nearest to a requirement that none meets."""
    c = comparison
    design = max(c.designs, key=lambda d: d.stated(c.grid)[1])
    x, p_met = design.stated(c.grid)
    wanted, law = c.requirement.probability, stated_loss(c, design)
    kept, of = None, " of chips"
    if law is not None:
        kept = law.not_exceeded(wanted) + law.above
        said = beside(100 * kept, 100 * c.requirement.max_loss, 2)
        of = (
            f", {law.counted}; there a chip loses at most {said} points with probability {wanted:g}"
        )
    return {
        "network": design.network,
        "scheme": design.scheme,
        "programming": x,
        "p_requirement_met": p_met,
        "p_population": None if law is None else law.p_in_population,
        "loss_not_exceeded": kept,
        "probability": wanted,
        "sentence": f"Nearest comes {c.words(c.plan(design, x))}: "
        f"P = {probability(p_met, wanted)}{of}.",
    }


def _saving_lines(comparison: Comparison, saving: Mapping[str, Any]) -> list[str]:
    if not comparison.energy.is_known:
        return [f"Saving: {NO_SAVING_STATED}; measure energies and give them with --energy FILE."]

    against = "; ".join(f"{r['sentence']} against {NAMES.get(k, k)}" for k, r in saving.items())
    lines = [
        "Saving in programming energy (that of the other over that of this design, both held to "
        f"the same rule): {against}."
    ]
    lines += [
        f"Gate failed, {gate['name']}: {gate['finding']}. No saving is stated against {names}. "
        f"What to do: {gate['remedy']}."
        for gate, names in failed_savings(saving)
    ]
    energy = comparison.energy
    if energy.measured is not None and energy.extrapolated.any():
        low, high = (comparison.programming.format(end) for end in energy.measured)
        lines.append(f"Energies were measured from {low} to {high}; beyond, they are extrapolated.")
    return lines
