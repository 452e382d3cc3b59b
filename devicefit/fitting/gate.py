"""Verdicts on a fit: each a number against a limit, with what to do when it fails."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Gate:
    """One check.

    Parameters
    ----------
    name, question : str
        What is checked.
    passed : bool
        Verdict.
    value, limit : float
        The number and what it is compared with.
    finding : str
        The number in words.
    remedy : str
        What to do when it failed.
    """

    name: str
    question: str
    passed: bool
    value: float
    limit: float
    finding: str
    remedy: str

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class GateReport:
    """All gates of a fit.

    Parameters
    ----------
    gates : tuple of Gate
        In the order in which they are read.

    Raises
    ------
    ValueError
        No gate, or two of one name.
    """

    gates: tuple[Gate, ...]

    def __post_init__(self) -> None:
        names = [gate.name for gate in self.gates]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"gates {names}: give at least one, each under its own name")

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Gate, ...]:
        """Gates that did not pass."""
        return tuple(gate for gate in self.gates if not gate.passed)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "passed": self.passed,
            "failed": [gate.name for gate in self.failed],
            "gates": [gate.record() for gate in self.gates],
        }

    def lines(self) -> list[str]:
        """Text for a terminal: the verdict, then a line for each gate and one for each remedy."""
        verdict = (
            f"all {len(self.gates)} gates passed"
            if self.passed
            else f"{len(self.failed)} of {len(self.gates)} gates failed"
        )
        found = [verdict]
        for gate in self.gates:
            found.append(f"{'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.finding}")
            if not gate.passed:
                found.append(f"        remedy: {gate.remedy}")
        return found
