"""The answer in plain words: what to program at, what it saves, at what risk, on what grounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reliability.confirmation.words import (
    array_line,
    confirmation_line,
    readings_line,
    refused_lines,
)
from reliability.decision.comparison import Comparison, Design
from reliability.decision.requirement import Life
from reliability.decision.safe_set import points
from reliability.decision.saving import NO_SAVING_STATED, is_withheld
from reliability.device.study import FITTED
from reliability.results.withheld import Made, withheld
from reliability.statements.loss import stated_loss
from reliability.statements.risk import (
    against_lines,
    beside,
    images_record,
    probability,
    risk_record,
)

NAMES = {
    "standard_bnn": "the standard network",
    "memory": "plain memory",
    "memory_with_ecc": "plain memory with ECC",
    "stated": "the stated reference",
}


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
    *,
    device: Mapping[str, Any],
    uncertainty: str | None = None,
    regret: str | None = None,
    life: Mapping[str, Any] | None = None,
    not_confirmed: str = "",
    arrays: Sequence[str] = ("",),
    made: Made | None = None,
    simulated: bool,
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
    device : mapping
        Record of the device study.
    uncertainty : str, optional
        Where the uncertainty of the saving comes from.
    regret : str, optional
        What knowing the design exactly would save.
    life : mapping, optional
        Record of the life at whose end the comparison is made; None where cells are fresh.
    not_confirmed : str, optional
        Why chips did not confirm the design, where they did not.
    arrays : sequence of str
        Measured arrays; one empty name where the readings name none.
    made : Made, optional
        How the results were made, for a command that does what is to be done first.
    simulated : bool
        Whether the device is simulated.

    Returns
    -------
    dict
        ``sentence`` says it in one paragraph, ``lines`` line by line for a meeting. Where a gate
        failed ``withheld`` is true, ``recommended_programming``, ``network``, ``scheme`` and
        ``p_requirement_met`` are None, and the figures stand in ``not_to_be_relied_on``.
    """
    failed = [gate["name"] for gate in gates if not gate["passed"]]
    unfitted = failed_families(device)
    rests_on = _rests_on(comparison, device)
    record: dict[str, Any] = {
        "simulated": simulated,
        "failed_gates": failed,
        "failed_families": unfitted,
        "gates_passed": not failed,
        "failed": _failed_words(gates, unfitted, comparison, saving),
    }
    said = [line for line in (uncertainty, regret) if line is not None]
    best = comparison.best
    if best is None or best.safe.lowest is None:
        found = _nothing_is_safe(comparison, said)
    else:
        found = _recommended(comparison, best, saving, said, not_confirmed, arrays)
        rests_on += found.pop("support")
    record["holds_for"], before = _holds_for(comparison.requirement.life, life)
    found["lines"][0] = before + found["lines"][0]
    found["sentence"] = before + found["sentence"]
    end = [*_life_lines(comparison.requirement.life, life), f"Rests on: {'; '.join(rests_on)}."]
    found["lines"] += end
    record |= {"withheld": False, "first_to_do": None, "not_to_be_relied_on": None}
    record |= {"rests_on": rests_on, **found}
    if failed:
        made = Made() if made is None else made
        record |= withheld(found, gates, of_device=device.get("gates", []), made=made)
        record["lines"] += end[-1:]
    return record


def _recommended(
    comparison: Comparison,
    best: Design,
    saving: Mapping[str, Any],
    said: Sequence[str],
    not_confirmed: str,
    arrays: Sequence[str],
) -> dict[str, Any]:
    """What is recommended, in figures and words."""
    c, lowest = comparison, best.safe.lowest
    law = stated_loss(c, best)
    assert lowest is not None
    assert law is not None
    at = int(np.argmin(np.abs(c.grid - lowest)))
    risk, test_set = risk_record(c, law), images_record(c, law)
    confirmed = confirmation_line(best, not_confirmed)
    fresh = None if best.confirmation is None else best.confirmation.fresh
    contradicted = best.confirmation is not None and best.confirmation.is_contradicted
    lines = [
        _first_line(c, best),
        best.safe.sentence,
        confirmed,
        test_set["sentence"],
        *against_lines(c, best, law),
        array_line(best, arrays),
        readings_line(best, c.programming),
        *refused_lines(c),
        *_saving_lines(c, saving),
        *said[:1],
        risk["sentence"],
        *said[1:],
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
        "p_of_curve": float(best.p_met[at]),
        "confirmed": confirmed,
        "fresh": None if fresh is None else fresh.record(),
        "risk": risk,
        "nearest": None,
        "lines": lines,
        "sentence": ("CONTRADICTED by chips. " if contradicted else "")
        + _sentence(c, saving, best, at),
        "safe_set": best.safe.sentence,
        "support": _support(c, best, at),
    }


def _nothing_is_safe(comparison: Comparison, said: Sequence[str]) -> dict[str, Any]:
    """That no programming is safe, and what comes nearest."""
    nearest = _nearest(comparison)
    lines = [
        _nothing_safe(comparison),
        *refused_lines(comparison),
        nearest["sentence"],
        "Saving: none, because no programming is safe.",
        *said[:1],
    ]
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
        p = probability(best.stated(c.grid)[1], 1 - c.requirement.risk)
        return f"{what}: not confirmed by chips; the accuracy surface promises P = {p}."
    chips = f"{found.fresh.met:,} of {found.fresh.chips:,} fresh chips meet the requirement"
    if found.is_contradicted:
        return (
            f"CONTRADICTED by chips. {what}, is what the first lot chose, but only {chips}; "
            f"{found.wanted:g} of them are asked for."
        )
    return f"{what}: {chips}."


def _sentence(comparison: Comparison, saving: Mapping[str, Any], best: Design, at: int) -> str:
    requirement = comparison.requirement
    assert best.safe.lowest is not None
    text = (
        f"Program at {comparison.words(comparison.plan(best, best.safe.lowest))}: "
        f"P(loss <= {points(requirement.max_loss)}) = {best.stated(comparison.grid)[1]:.3f}"
        f"{' of fresh chips' if best.judged_by == 'chips' else ' by the accuracy surface'}. "
    )
    if not comparison.energy.is_known:
        return f"{text}{_capital(NO_SAVING_STATED)}."
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


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _nothing_safe(comparison: Comparison) -> str:
    c, requirement = comparison, comparison.requirement
    refused = any(design.confirmation is not None for design in c.designs)
    by = (
        "chips refuse what the accuracy surfaces promised"
        if refused
        else "by the accuracy surfaces"
    )
    return (
        f"Nothing is safe: no measured {c.programming.name} meets the requirement with any of the "
        f"compared designs, a loss of at most {points(requirement.max_loss)} with probability "
        f"{1 - requirement.risk:g} ({by})."
    )


def _nearest(comparison: Comparison) -> dict[str, Any]:
    """The choice that comes nearest to a requirement that none meets."""
    c = comparison
    design = max(c.designs, key=lambda d: d.stated(c.grid)[1])
    x, p_met = design.stated(c.grid)
    wanted, law = 1 - c.requirement.risk, stated_loss(c, design)
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
        for gate, names in _failed_savings(saving)
    ]
    energy = comparison.energy
    if energy.measured is not None and energy.extrapolated.any():
        low, high = (comparison.programming.format(end) for end in energy.measured)
        lines.append(f"Energies were measured from {low} to {high}; beyond, they are extrapolated.")
    return lines


def _failed_savings(saving: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """The gate of savings that failed, at its largest value, and the references."""
    failed = {key: record for key, record in saving.items() if is_withheld(record)}
    if not failed:
        return []
    worst = max((record["gate"] for record in failed.values()), key=lambda gate: gate["value"])
    return [(worst, ", ".join(NAMES.get(key, key) for key in failed))]


def _holds_for(asked: Life | None, life: Mapping[str, Any] | None) -> tuple[str, str]:
    """What cells the verdict is about, and what its first line begins with."""
    if asked is None:
        return "fresh cells", ""
    if life is None:
        holds = f"fresh cells only, because the life asked for is not known ({asked.words()})"
        return holds, f"For {holds}: "
    holds = f"the end of life ({life['required']['words']})"
    return holds, f"At {holds}: "


def _life_lines(asked: Life | None, life: Mapping[str, Any] | None) -> list[str]:
    if asked is None:
        return []
    if life is None:
        return [
            "The probabilities above hold for cells as they were measured; they say nothing about "
            "wear and retention. Give what is known with --life FILE."
        ]
    return [life["fresh"]["sentence"], life["rests_on"]]


def _rests_on(comparison: Comparison, device: Mapping[str, Any]) -> list[str]:
    data = device["data"]
    families = [name for name in comparison.ber]
    readings = sum(data["readings"].values())
    chips = {curve.chips for curve in comparison.curves.values()}
    images = {curve.images for curve in comparison.curves.values()}
    simulated = "simulated " if data["simulated"] else ""
    bounds = sum(data.get("known_by_bounds", {}).values())
    known = f" and {bounds:,} known by bounds or as counts" if bounds else ""
    return [
        f"{readings:,} {simulated}readings{known} of {data['devices']:,} devices",
        f"device model {families[0]}"
        + (f" (for comparison: {', '.join(families[1:])})" if families[1:] else ""),
        f"{_numbers(chips)} simulated chips of each network on {_numbers(images)} test images",
        f"energy: {comparison.energy.basis}" if comparison.energy.is_known else "no energies",
    ]


def _numbers(values: set[int]) -> str:
    return " to ".join(f"{v:,}" for v in sorted({min(values), max(values)}))


def _support(comparison: Comparison, best: Design, at: int) -> list[str]:
    """Whether the BER at the recommendation is one that data can show."""
    curve = comparison.main_ber[best.storage.scheme]
    ber = float(np.exp(curve.ln_ber[..., at]).mean())
    if ber >= curve.support:
        return []
    rate = f"{ber:.1e}".replace("e-0", "e-")
    return [f"the shape of the model, for the BER there, {rate}, is below 1 / devices"]


def failed_families(device: Mapping[str, Any]) -> dict[str, str]:
    """Families that could not be fitted, and why."""
    return {
        name: found["failed"] for name, found in device["families"].items() if "failed" in found
    }


def _failed_words(
    gates: Sequence[Mapping[str, Any]],
    unfitted: Mapping[str, str],
    comparison: Comparison,
    saving: Mapping[str, Any],
) -> str:
    """What failed, in a sentence."""
    parts = [f"{gate['name']} ({gate['finding']})" for gate in gates if not gate["passed"]]
    if unfitted and not any(gate["name"] == FITTED for gate in gates):
        parts.append(
            f"{', '.join(unfitted)} could not be fitted; the answer rests on "
            f"{next(iter(comparison.ber))}"
        )
    parts += [
        f"{gate['name']} ({gate['finding']}), so that no saving is stated against {names}"
        for gate, names in _failed_savings(saving)
    ]
    if not parts:
        return f"Nothing failed: all {len(gates)} gates passed."
    return f"Failed: {'; '.join(parts)}."
