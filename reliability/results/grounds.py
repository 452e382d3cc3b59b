"""What a verdict rests on, what it holds for and what failed, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reliability.decision.comparison import Comparison, Design
from reliability.decision.references import NAMES
from reliability.decision.requirement import Life
from reliability.decision.saving import is_withheld
from reliability.device.study import FITTED
from reliability.results.withheld import Made


@dataclass(frozen=True, kw_only=True)
class Grounds:
    """What a verdict says beside what was compared.

    Parameters
    ----------
    device : mapping
        Record of the device study.
    uncertainty : str, optional
        Where the uncertainty of the saving comes from.
    regret : str, optional
        What knowing the design exactly would save.
    life : mapping, optional
        Record of the life at whose end the comparison is made; None where cells are fresh.
    not_confirmed : str
        Why chips did not confirm the design, where they did not.
    arrays : sequence of str
        Measured arrays; one empty name where the readings name none.
    made : Made
        How the results were made, for a command that does what is to be done first.
    """

    device: Mapping[str, Any]
    uncertainty: str | None = None
    regret: str | None = None
    life: Mapping[str, Any] | None = None
    not_confirmed: str = ""
    arrays: Sequence[str] = ("",)
    made: Made = field(default_factory=Made)

    @property
    def unfitted(self) -> dict[str, str]:
        """Families that could not be fitted, and why."""
        families = self.device["families"]
        return {name: found["failed"] for name, found in families.items() if "failed" in found}


def holds_for(asked: Life | None, life: Mapping[str, Any] | None) -> tuple[str, str]:
    """What cells the verdict is about, and what its first line begins with."""
    if asked is None:
        return "fresh cells", ""
    if life is None:
        holds = f"fresh cells only, because the life asked for is not known ({asked.words()})"
        return holds, f"For {holds}: "
    holds = f"the end of life ({life['required']['words']})"
    return holds, f"At {holds}: "


def life_lines(asked: Life | None, life: Mapping[str, Any] | None) -> list[str]:
    """What the verdict says of the life asked for, and of ageing."""
    if asked is None:
        return []
    if life is None:
        return [
            "The probabilities above hold for cells as they were measured; they say nothing about "
            "wear and retention. Give what is known with --life FILE."
        ]
    return [life["fresh"]["sentence"], life["rests_on"]]


def rests_on(comparison: Comparison, device: Mapping[str, Any]) -> list[str]:
    """Readings, models, chips and energies behind the answer."""
    data, families = device["data"], list(comparison.ber)
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


def support(comparison: Comparison, best: Design) -> list[str]:
    """Whether the BER at the recommendation is one that data can show."""
    curve, at = comparison.main_ber[best.storage.scheme], best.place(comparison.grid)
    ber = float(np.exp(curve.ln_ber[..., at]).mean())
    if ber >= curve.support:
        return []
    rate = f"{ber:.1e}".replace("e-0", "e-")
    return [f"the shape of the model, for the BER there, {rate}, is below 1 / devices"]


def failed_savings(saving: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """The gate of savings that failed, at its largest value, and the references."""
    failed = {key: record for key, record in saving.items() if is_withheld(record)}
    if not failed:
        return []
    worst = max((record["gate"] for record in failed.values()), key=lambda gate: gate["value"])
    return [(worst, ", ".join(NAMES.get(key, key) for key in failed))]


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
        for gate, names in failed_savings(saving)
    ]
    if not parts:
        return f"Nothing failed: all {len(gates)} gates passed."
    return f"Failed: {'; '.join(parts)}."
