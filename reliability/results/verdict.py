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
from reliability.decision.safe_set import points
from reliability.decision.saving import NO_SAVING_STATED
from reliability.results.verdict_lines import (
    capital,
    evidence_lines,
    failed_families,
    failed_words,
    life_lines,
    life_words,
    saving_lines,
    support_lines,
)
from reliability.results.withheld import Made, withheld
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
    rests_on = evidence_lines(comparison, device)
    record: dict[str, Any] = {
        "simulated": simulated,
        "failed_gates": failed,
        "failed_families": unfitted,
        "gates_passed": not failed,
        "failed": failed_words(gates, unfitted, comparison, saving),
    }
    said = [line for line in (uncertainty, regret) if line is not None]
    best = comparison.best
    if best is None or best.safe.lowest is None:
        found = _nothing_is_safe(comparison, said)
    else:
        found = _recommended(comparison, best, saving, said, not_confirmed, arrays)
        rests_on += found.pop("support")
    record["holds_for"], before = life_words(comparison.requirement.life, life)
    found["lines"][0] = before + found["lines"][0]
    found["sentence"] = before + found["sentence"]
    end = [*life_lines(comparison.requirement.life, life), f"Rests on: {'; '.join(rests_on)}."]
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
        *saving_lines(c, saving),
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
        "support": support_lines(c, best, at),
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
        return f"{text}{capital(NO_SAVING_STATED)}."
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
