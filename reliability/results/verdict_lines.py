"""The lines of a verdict: what is said of savings, life, evidence and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reliability.decision.comparison import Comparison, Design
from reliability.decision.requirement import Life
from reliability.decision.saving import NO_SAVING_STATED, is_withheld
from reliability.device.study import FITTED

NAMES = {
    "standard_bnn": "the standard network",
    "memory": "plain memory",
    "memory_with_ecc": "plain memory with ECC",
    "stated": "the stated reference",
}


def capital(text: str) -> str:
    """A sentence with its first letter in capitals."""
    return text[:1].upper() + text[1:]


def saving_lines(comparison: Comparison, saving: Mapping[str, Any]) -> list[str]:
    """What is saved against each reference, or why that cannot be said."""
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


def life_words(asked: Life | None, life: Mapping[str, Any] | None) -> tuple[str, str]:
    """What cells the verdict is about, and what its first line begins with."""
    if asked is None:
        return "fresh cells", ""
    if life is None:
        holds = f"fresh cells only, because the life asked for is not known ({asked.words()})"
        return holds, f"For {holds}: "
    holds = f"the end of life ({life['required']['words']})"
    return holds, f"At {holds}: "


def life_lines(asked: Life | None, life: Mapping[str, Any] | None) -> list[str]:
    """What the required life does, a line or two."""
    if asked is None:
        return []
    if life is None:
        return [
            "The probabilities above hold for cells as they were measured; they say nothing about "
            "wear and retention. Give what is known with --life FILE."
        ]
    return [life["fresh"]["sentence"], life["rests_on"]]


def evidence_lines(comparison: Comparison, device: Mapping[str, Any]) -> list[str]:
    """What the verdict rests on: readings, families, chips and images."""
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


def support_lines(comparison: Comparison, best: Design, at: int) -> list[str]:
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


def failed_words(
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
