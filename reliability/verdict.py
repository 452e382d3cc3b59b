"""The answer in plain words: what to program at, what it saves, at what risk, on what grounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reliability.confirmation.words import confirmation_line, refused_lines
from reliability.decision import NO_SAVING_STATED, points
from reliability.designs import Comparison, Design
from reliability.device_study import FITTED
from reliability.requirement import Life
from reliability.stated_loss import StatedLoss, stated_loss

NAMES = {
    "standard_bnn": "the standard network",
    "memory": "plain memory",
    "memory_with_ecc": "plain memory with ECC",
    "stated": "the stated reference",
}


def verdict_record(
    comparison: Comparison,
    saving: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
    *,
    device: Mapping[str, Any],
    uncertainty: str | None = None,
    regret: str | None = None,
    end_of_life: str | None = None,
    not_confirmed: str = "",
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
        Records of all gates.
    device : mapping
        Record of the device study.
    uncertainty : str, optional
        Where the uncertainty of the saving comes from.
    regret : str, optional
        What knowing the design exactly would save.
    end_of_life : str, optional
        What is found for the end of the life that the requirement asks for.
    not_confirmed : str, optional
        Why chips did not confirm the design, where they did not.
    simulated : bool
        Whether the device is simulated.

    Returns
    -------
    dict
        ``sentence`` says it in one paragraph, ``lines`` line by line for a meeting.
    """
    best, programming = comparison.best, comparison.programming
    failed = [gate["name"] for gate in gates if not gate["passed"]]
    unfitted = failed_families(device)
    record: dict[str, Any] = {
        "simulated": simulated,
        "failed_gates": failed,
        "failed_families": unfitted,
        "gates_passed": not failed,
        "failed": _failed_words(gates, unfitted, comparison),
        "rests_on": _rests_on(comparison, device),
    }
    if best is None or best.safe.lowest is None:
        nearest = _nearest(comparison)
        lines = [
            _nothing_safe(comparison),
            *refused_lines(comparison),
            nearest["sentence"],
            "Saving: none, because no programming is safe.",
            *([] if uncertainty is None else [uncertainty]),
            *_life_lines(comparison.requirement.life, end_of_life),
            f"Rests on: {'; '.join(record['rests_on'])}.",
        ]
        return {
            **record,
            "recommended_programming": None,
            "network": None,
            "scheme": None,
            "p_requirement_met": None,
            "nearest": nearest,
            "lines": lines,
            "sentence": f"{lines[0]} {lines[1]}",
        }
    at = int(np.argmin(np.abs(comparison.grid - best.safe.lowest)))
    law = stated_loss(comparison, best)
    assert law is not None
    risk, test_set = _risk(comparison, law), _test_set(comparison, law)
    record["rests_on"] += _support(comparison, best, at)
    confirmed = confirmation_line(best, not_confirmed)
    lines = [
        f"Program at {programming.format(best.safe.lowest)} ({programming.name}), stored as "
        f"{best.scheme}, network {best.network!r}. {best.safe.sentence}",
        confirmed,
        test_set["sentence"],
        *_against_lines(comparison, best, law),
        *refused_lines(comparison),
        *_saving_lines(comparison, saving),
        *([] if uncertainty is None else [uncertainty]),
        risk["sentence"],
        *([] if regret is None else [regret]),
        *_life_lines(comparison.requirement.life, end_of_life),
        f"Rests on: {'; '.join(record['rests_on'])}.",
    ]
    return {
        **record,
        "recommended_programming": best.safe.lowest,
        "recommended_programming_words": programming.format(best.safe.lowest),
        "network": best.network,
        "scheme": best.scheme,
        "cells_per_bit": best.cells,
        "p_requirement_met": best.stated(comparison.grid)[1],
        "p_against": law.p_against,
        "test_set": test_set,
        "p_of_curve": float(best.p_met[at]),
        "confirmed": confirmed,
        "fresh": None
        if best.confirmation is None or best.confirmation.fresh is None
        else best.confirmation.fresh.record(),
        "risk": risk,
        "lines": lines,
        "sentence": _sentence(comparison, saving, best, at),
        "safe_set": best.safe.sentence,
    }


def _sentence(comparison: Comparison, saving: Mapping[str, Any], best: Design, at: int) -> str:
    programming, requirement = comparison.programming, comparison.requirement
    assert best.safe.lowest is not None
    text = (
        f"Program at {programming.format(best.safe.lowest)} "
        f"({programming.name}), stored as {best.scheme}, network {best.network!r}: "
        f"P(loss <= {points(requirement.max_loss)}) = {best.stated(comparison.grid)[1]:.3f}"
        f"{' of fresh chips' if best.judged_by == 'chips' else ' by the curves'}. "
    )
    if not comparison.energy.is_known:
        return f"{text}{_capital(NO_SAVING_STATED)}."
    return (
        f"{text}Programming energy saved if both sides went to the limit of what they tolerate: "
        f"{saving['standard_bnn']['at_tolerance']['sentence']} against the standard network, "
        f"{saving['memory']['at_tolerance']['sentence']} against plain memory. At the recommended "
        "programming, which keeps a margin, against references that keep none: "
        f"{saving['standard_bnn']['sentence']} and {saving['memory']['sentence']}."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _nothing_safe(comparison: Comparison) -> str:
    requirement = comparison.requirement
    return (
        f"No measured {comparison.programming.name} meets the requirement with any of the "
        f"compared designs: a loss of at most {points(requirement.max_loss)} with probability "
        f"{1 - requirement.risk:g}."
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
        said = _beside(100 * kept, 100 * c.requirement.max_loss, 2)
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
        "sentence": f"Nearest comes {design.scheme}, network {design.network!r}, at "
        f"{c.programming.format(x)}: P = {p_met:.3f}{of}.",
    }


def _saving_lines(comparison: Comparison, saving: Mapping[str, Any]) -> list[str]:
    if not comparison.energy.is_known:
        return [f"Saving: {NO_SAVING_STATED}; measure energies and give them with --energy FILE."]

    def against(records: Mapping[str, Mapping[str, Any]]) -> str:
        return "; ".join(f"{r['sentence']} against {NAMES.get(k, k)}" for k, r in records.items())

    lines = [
        "Saving in programming energy (that of the other over that of this programming, the other "
        f"at its own limit): {against(saving)}.",
        "With both exactly at the limit of what they tolerate, no margin on either side: "
        f"{against({key: record['at_tolerance'] for key, record in saving.items()})}.",
    ]
    energy = comparison.energy
    if energy.measured is not None and energy.extrapolated.any():
        low, high = (comparison.programming.format(end) for end in energy.measured)
        lines.append(f"Energies were measured from {low} to {high}; beyond, they are extrapolated.")
    return lines


def _test_set(comparison: Comparison, law: StatedLoss) -> dict[str, Any]:
    """P on these images beside P for their population, and whether the images are enough."""
    wanted, error = 1 - comparison.requirement.risk, law.image_error
    p, p_population = law.p_met, law.p_in_population
    accepted = points(law.max_loss)
    too_small = error > law.max_loss / 3
    text = (
        f"Test images: P(loss <= {accepted}) = {_beside(p, wanted, 3)} on these {law.images:,}, "
        f"{_beside(p_population, wanted, 3)} for the population that they came from; they leave a "
        f"standard error of {100 * error:.2f} points in the loss."
    )
    if too_small:
        text += (
            f" THE TEST SET IS TOO SMALL for this requirement: that is above a third of {accepted}."
            f" Count on {law.images_needed:,} images or more, or accept a larger loss."
        )
    return {
        "images": law.images,
        "p_test_set": p,
        "p_population": p_population,
        "standard_error": error,
        "too_small": too_small,
        "images_needed": law.images_needed,
        "sentence": text,
    }


def _against_lines(comparison: Comparison, best: Design, law: StatedLoss) -> list[str]:
    """P against both networks, where the design is not the standard one."""
    standard = next(iter(comparison.curves))
    if best.network == standard:
        return []
    p, most = law.p_against, points(comparison.requirement.max_loss)
    risk, start = comparison.requirement.risk, 100 * abs(law.lower)
    starts = (
        f"{start:.2f} points {'below' if law.lower > 0 else 'above'} it" if start else "like it"
    )
    return [
        f"P(loss <= {most}), {law.counted}: {_beside(p['standard'], 1 - risk, 3)} against "
        f"{standard!r} without errors, {_beside(p['own'], 1 - risk, 3)} against {best.network!r} "
        f"without errors, which starts {starts}. Both must hold."
    ]


def _risk(comparison: Comparison, law: StatedLoss) -> dict[str, Any]:
    requirement = comparison.requirement
    wanted, most = 1 - requirement.risk, requirement.max_loss
    p_violated = 1 - law.p_met
    kept, mean = law.not_exceeded(wanted) + law.above, law.mean + law.above
    return {
        "p_violated": p_violated,
        "allowed": requirement.risk,
        "expected_loss": mean,
        "loss_not_exceeded": kept,
        "probability": wanted,
        "sentence": f"Risk, {law.counted}: a chip loses more than {points(most)} with probability "
        f"{_probability(p_violated, requirement.risk)} (allowed: {requirement.risk:g}); on average "
        f"it loses {100 * mean:.2f} points, and at most {_beside(100 * kept, 100 * most, 2)} "
        f"points with probability {wanted:g}. This counts what is not known of the device, and "
        "that chips differ.",
    }


def _beside(value: float, bound: float, digits: int) -> str:
    """A number beside its bound: so many digits, and more where rounding would cross the bound."""
    over = value > bound + 1e-9
    while (float(f"{value:.{digits}f}") > bound + 1e-9) != over and digits < 9:
        digits += 1
    return f"{value:.{digits}f}"


def _probability(p: float, allowed: float) -> str:
    """Three decimals or more; a draw that was not seen is no impossibility."""
    return "below 0.001" if p < 0.0005 else _beside(p, allowed, 3)


def _life_lines(life: Life | None, end_of_life: str | None) -> list[str]:
    if end_of_life is not None:
        return [f"At the end of life: {end_of_life}"]
    if life is None:
        return []
    asked = []
    if life.years is not None:
        asked.append(f"{life.years:g} years")
    if life.temperature_k is not None:
        asked.append(f"{life.temperature_k - 273.15:.4g} degrees Celsius")
    if life.cycles is not None:
        asked.append(f"{life.cycles:g} programming cycles")
    return [
        f"Life asked for: {', '.join(asked)}. The probabilities above hold for cells as they were "
        "measured; they say nothing about wear and retention. Give what is known with --life FILE."
    ]


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
    gates: Sequence[Mapping[str, Any]], unfitted: Mapping[str, str], comparison: Comparison
) -> str:
    """What failed, in a sentence."""
    parts = [f"{gate['name']} ({gate['finding']})" for gate in gates if not gate["passed"]]
    if unfitted and not any(gate["name"] == FITTED for gate in gates):
        parts.append(
            f"{', '.join(unfitted)} could not be fitted; the answer rests on "
            f"{next(iter(comparison.ber))}"
        )
    if not parts:
        return f"Nothing failed: all {len(gates)} gates passed."
    return f"Failed: {'; '.join(parts)}."
