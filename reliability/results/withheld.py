"""A verdict that a failed gate withholds: nothing to act on, what to do first, the figures apart.

Every gate withholds: a check whose failure would change nothing is no gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WHERE = "verdict.not_to_be_relied_on"
COUNTS = "accuracy surface"
"""Name of the gate that is about the counts of chips."""


@dataclass(frozen=True)
class Made:
    """How the results were made, as far as a remedy needs it.

    Parameters
    ----------
    command : str
        Command line.
    sampler : mapping
        ``draws``, ``warmup`` and ``target_accept`` of the device fit.
    chips : int
        Chips of each network at each rate.
    """

    command: str = ""
    sampler: Mapping[str, Any] = field(default_factory=dict)
    chips: int = 0


def withheld(
    figures: Mapping[str, Any],
    gates: Sequence[Mapping[str, Any]],
    *,
    of_device: Sequence[Mapping[str, Any]],
    made: Made,
) -> dict[str, Any]:
    """The verdict without what was found, which stands apart.

    Parameters
    ----------
    figures : mapping
        What the verdict would have said.
    gates : sequence of mapping
        Records of all gates; at least one failed.
    of_device : sequence of mapping
        Those among them that belong to the device fit.
    made : Made
        For a command that does what is to be done first.

    Returns
    -------
    dict
        The keys of `figures`, each None but for ``lines`` and ``sentence``, and ``withheld``,
        ``first_to_do``, ``not_to_be_relied_on``.
    """
    failed = [gate for gate in gates if not gate["passed"]]
    names = "; ".join(gate["name"] for gate in failed)
    first = first_to_do(failed[0], of_device=failed[0] in of_device, made=made)
    lines = [
        f"VERDICT WITHHELD: {len(failed)} of {len(gates)} gates failed ({names}). Nothing is "
        "recommended, and neither a probability nor a saving is stated.",
        first["sentence"],
    ]
    return {
        **dict.fromkeys(figures),
        "withheld": True,
        "first_to_do": first,
        "not_to_be_relied_on": dict(figures),
        "lines": [
            *lines,
            f"Figures that are not to be relied on stand in the results ({WHERE}) and further down "
            "in the report.",
        ],
        "sentence": " ".join(lines),
    }


def first_to_do(gate: Mapping[str, Any], *, of_device: bool, made: Made) -> dict[str, Any]:
    """The remedy of a gate, as a command to paste where the whole path was one command.

    Returns
    -------
    dict
        ``gate``, ``finding``, ``remedy``, ``command`` (None where the remedy is no option of a
        command, or the command that fitted or counted is not known) and ``sentence``.
    """
    is_known = of_device or gate["name"] == COUNTS
    step, options = _options(gate["name"], made) if is_known else ("", "")
    text = f"What to do first, for the gate {gate['name']!r}: {gate['remedy']}."
    command = None
    if options and made.command.startswith("rram-reliability run "):
        force = "" if " --force" in made.command else " --force"
        command = f"{made.command} {options}{force}"
    elif options:
        text += f" Here: `rram-reliability {step}` again with {options}, then decide again."
    return {
        "gate": gate["name"],
        "finding": gate["finding"],
        "remedy": gate["remedy"],
        "command": command,
        "sentence": text if command is None else f"{text} Command: {command}",
    }


def _options(name: str, made: Made) -> tuple[str, str]:
    """Command and options that help where a gate asks for more of something; empty elsewhere."""
    known = made.sampler
    if name == COUNTS and made.chips:
        return "evaluate", f"--chips {2 * made.chips}"
    if name == "R-hat" and "warmup" in known:
        return "fit", f"--warmup {2 * known['warmup']}"
    if name == "effective draws" and "draws" in known:
        return "fit", f"--draws {2 * known['draws']}"
    if name == "divergences" and known.get("target_accept", 1.0) < 0.99:
        return "fit", "--target-accept 0.99"
    return "", ""
