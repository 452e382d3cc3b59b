"""What is expected of one candidate for the next measurement."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reliability.measure_next.candidates import Candidate

WEIGHTS, MOMENTS, EXACT = "weights", "moments", "none needed"
NOTABLE = 0.05
"""Relative change of the energy from which on a choice counts as another one."""


@dataclass(frozen=True)
class ChoiceOutlook:
    """What a candidate is expected to do to the choice.

    Parameters
    ----------
    p_changes : float
        Probability that another design or programming value is chosen, or that none is safe; where
        nothing is safe now, that something becomes so.
    p_notable : float
        The same, the energy changed by more than 5 %.
    p_none_safe : float
        Probability that nothing is safe any more; such outcomes count as no change of energy.
    ln_energy_saved, standard_error : float or None
        Expected ln of the energy at the choice now over that at the choice after, and its
        Monte-Carlo standard error; None where nothing is safe now.
    energy_saved_j, energy_standard_error_j : float or None
        The same as energy for each programming of the network.
    """

    p_changes: float
    p_notable: float
    p_none_safe: float
    ln_energy_saved: float | None
    standard_error: float | None
    energy_saved_j: float | None
    energy_standard_error_j: float | None

    @property
    def is_worth(self) -> bool:
        """Whether it is expected to save energy, beyond its Monte-Carlo error and a per cent."""
        saved, error = self.ln_energy_saved, self.standard_error
        return saved is not None and error is not None and saved > max(0.01, 2 * error)

    @property
    def percent_words(self) -> str:
        """Energy saved with its Monte-Carlo standard error, ``"3.1 % (standard error 0.4 %)"``."""
        if self.ln_energy_saved is None or self.standard_error is None:
            return "not known"
        saved = -100 * np.expm1(-self.ln_energy_saved)
        error = 100 * self.standard_error * np.exp(-self.ln_energy_saved)
        return f"{saved:z.1f} % (Monte-Carlo standard error {error:.1f} %)"

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


UNCHANGED = ChoiceOutlook(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""Of what cannot change the choice."""


@dataclass(frozen=True)
class Outlook:
    """What is expected of one candidate.

    Parameters
    ----------
    candidate : MoreDevices, MoreCycles, MoreChips, MoreImages or MeasuredEnergy
        What would be done.
    words : str
        The same in words.
    width : float
        Expected width of the interval of ln saving afterwards.
    shrinkage, standard_error : float
        Expected relative shrinkage of the 90 % interval of ln saving, and its Monte-Carlo standard
        error over simulated outcomes.
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
    width: float
    shrinkage: float = 0.0
    standard_error: float = 0.0
    route: str = EXACT
    choice: ChoiceOutlook | None = None
    effective_draws: float | None = None
    pareto_k: float | None = None
    extrapolated: bool = False
    note: str = ""

    @property
    def energy_saved(self) -> float:
        """Ln of energy that the choice after it saves; 0 where it is not known."""
        return (None if self.choice is None else self.choice.ln_energy_saved) or 0.0

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {k: v for k, v in vars(self).items() if k not in ("candidate", "choice")}
        choice = None if self.choice is None else self.choice.record()
        return {"candidate": asdict(self.candidate), **values, "choice": choice}
