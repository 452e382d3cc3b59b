"""What is expected of one candidate for the next measurement, and how candidates are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reliability.candidates import Candidate, candidate_record
from reliability.choice_outlook import ChoiceOutlook
from reliability.limit_saving import REFERENCES

QUESTIONS = ("test-set", "population")
WEIGHTS, MOMENTS, EXACT = "weights", "moments", "none needed"


@dataclass(frozen=True)
class MeasureNextOptions:
    """How candidates are judged.

    Parameters
    ----------
    reference : str
        Key of the reference that the saving is against.
    network, stored_as : str, optional
        Design whose saving is looked at, and the only one that may be chosen; None for the best.
    question : {"test-set", "population"}
        Whether the test set counts as given, or as a sample of images.
    simulations : int
        Simulated outcomes of each candidate.
    moments_simulations, moments_draws : int
        Outcomes and draws where weights degenerate and draws are moved instead.
    least_effective : float
        Effective draws below which a simulated outcome counts as degenerate; so does a Pareto k
        above 0.7. A candidate with more than a tenth of such outcomes is judged by moments.
    """

    reference: str = "standard_bnn"
    network: str | None = None
    stored_as: str | None = None
    question: str = "test-set"
    simulations: int = 200
    moments_simulations: int = 40
    moments_draws: int = 600
    least_effective: float = 50.0

    def __post_init__(self) -> None:
        if self.reference not in REFERENCES:
            raise ValueError(
                f"reference {self.reference!r} is not known; known: {', '.join(REFERENCES)}"
            )
        if self.question not in QUESTIONS:
            raise ValueError(
                f"question {self.question!r} is not known; known: {', '.join(QUESTIONS)}"
            )
        for name in ("simulations", "moments_simulations", "moments_draws"):
            if getattr(self, name) < 10:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least 10")


@dataclass(frozen=True)
class Outlook:
    """What is expected of one candidate.

    Parameters
    ----------
    candidate : MoreDevices, MoreCycles, MoreChips, MoreImages or MeasuredEnergy
        What would be done.
    words : str
        The same in words.
    shrinkage, standard_error : float
        Expected relative shrinkage of the 90 % interval of ln saving, and its Monte-Carlo standard
        error over simulated outcomes.
    width : float
        Expected width of the interval of ln saving afterwards.
    route : str
        How outcomes were turned into posteriors: ``"weights"``, ``"moments"``, or ``"none needed"``
        where nothing can change.
    choice : ChoiceOutlook or None
        What `decide` would choose then, and what energy that saves; None where it is not known.
    effective_draws, pareto_k : float or None
        With weights: median effective draws, and the 90 % quantile of Pareto k.
    extrapolated : bool
        The condition lies outside the measured range: what it would show rests on the model.
    note : str
        What else is to be known.
    """

    candidate: Candidate
    words: str
    shrinkage: float
    standard_error: float
    width: float
    route: str
    choice: ChoiceOutlook | None
    effective_draws: float | None = None
    pareto_k: float | None = None
    extrapolated: bool = False
    note: str = ""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {k: v for k, v in vars(self).items() if k not in ("candidate", "choice")}
        choice = None if self.choice is None else self.choice.record()
        return {"candidate": candidate_record(self.candidate), **values, "choice": choice}
