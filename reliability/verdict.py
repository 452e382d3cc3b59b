"""The answer in plain words: what to program at, what it saves, at what risk, on what grounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reliability.choices import losses
from reliability.confirmation.words import (
    array_line,
    confirmation_line,
    readings_line,
    refused_lines,
)
from reliability.decision.safe_set import points
from reliability.decision.saving import NO_SAVING_STATED
from reliability.designs import Comparison, Design, loss_limits
from reliability.device_study import FITTED
from reliability.requirement import Life

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
    arrays: Sequence[str] = ("",),
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
    arrays : sequence of str
        Measured arrays; one empty name where the readings name none.
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
            "recommended_second": None,
            "p_requirement_met": None,
            "nearest": nearest,
            "lines": lines,
            "sentence": f"{lines[0]} {lines[1]}",
        }
    at = int(np.argmin(np.abs(comparison.grid - best.safe.lowest)))
    risk = _risk(comparison, best, at)
    record["rests_on"] += _support(comparison, best, at)
    confirmed = confirmation_line(best, not_confirmed)
    lines = [
        f"Program at {comparison.at(best.safe.lowest)}, stored as "
        f"{best.scheme}, network {best.network!r}. {best.safe.sentence}",
        confirmed,
        array_line(best, arrays),
        readings_line(best, programming),
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
        "recommended_second": _second_record(comparison),
        "network": best.network,
        "scheme": best.scheme,
        "cells_per_bit": best.cells,
        "p_requirement_met": best.stated(comparison.grid)[1],
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
    requirement = comparison.requirement
    assert best.safe.lowest is not None
    text = (
        f"Program at {comparison.at(best.safe.lowest)}, stored as {best.scheme}, network "
        f"{best.network!r}: "
        f"P(loss <= {points(requirement.max_loss)}) = {best.stated(comparison.grid)[1]:.3f}"
        f"{' of fresh chips' if best.judged_by == 'chips' else ' by the curves'}. "
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
    at = int(np.argmin(np.abs(c.grid - x)))
    kept = float(np.quantile(losses(c, design)[:, at], 1 - c.requirement.risk))
    by_curve = (
        f"; there a chip loses at most {100 * kept:.3g} points with probability "
        f"{1 - c.requirement.risk:g}"
    )
    chips = design.judged_by == "chips"
    return {
        "network": design.network,
        "scheme": design.scheme,
        "programming": x,
        "p_requirement_met": p_met,
        "loss_not_exceeded": None if chips else kept,
        "probability": 1 - c.requirement.risk,
        "sentence": f"Nearest comes {design.scheme}, network {design.network!r}, at "
        f"{c.at(x)}: P = {p_met:.3f}{' of chips' if chips else by_curve}.",
    }


def _saving_lines(comparison: Comparison, saving: Mapping[str, Any]) -> list[str]:
    if not comparison.energy.is_known:
        return [f"Saving: {NO_SAVING_STATED}; measure energies and give them with --energy FILE."]

    against = "; ".join(f"{r['sentence']} against {NAMES.get(k, k)}" for k, r in saving.items())
    lines = [
        "Saving in programming energy (that of the other over that of this design, both held to "
        f"the same rule): {against}."
    ]
    energy = comparison.energy
    if energy.measured is not None and energy.extrapolated.any():
        low, high = (comparison.programming.format(end) for end in energy.measured)
        lines.append(f"Energies were measured from {low} to {high}; beyond, they are extrapolated.")
    return lines


def _risk(comparison: Comparison, best: Design, at: int) -> dict[str, Any]:
    requirement = comparison.requirement
    loss, counted = losses(comparison, best)[:, at], "by the curves"
    found = best.confirmation
    if found is not None and found.fresh is not None:
        # against the standard network, like the requirement
        own = loss_limits(comparison.curves, requirement)[best.network]
        loss = found.losses + (requirement.max_loss - own)
        counted = f"by {found.fresh.chips:,} fresh chips"
    p_violated = 1 - best.stated(comparison.grid)[1]
    kept = float(np.quantile(loss, 1 - requirement.risk))
    return {
        "p_violated": p_violated,
        "allowed": requirement.risk,
        "expected_loss": float(loss.mean()),
        "loss_not_exceeded": kept,
        "probability": 1 - requirement.risk,
        "sentence": f"Risk, {counted}: a chip loses more than {points(requirement.max_loss)} with "
        f"probability {_probability(p_violated)} (allowed: {requirement.risk:g}); on average it "
        f"loses {100 * loss.mean():.2f} points, and at most {100 * kept:.2f} points with "
        f"probability {1 - requirement.risk:g}. This counts what is not known of the device, and "
        "that chips differ.",
    }


def _probability(p: float) -> str:
    """Three decimals; a draw that was not seen is no impossibility."""
    return "below 0.001" if p < 0.0005 else f"{p:.3f}"


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
