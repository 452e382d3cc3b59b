"""How candidates are ranked, and for which design."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reliability.decision.comparison import STANDARD, Comparison, Design
from reliability.decision.references import MEMORY_CODES
from reliability.plans.storage import STORAGES, Storage

POPULATION = "population"
QUESTIONS = ("test-set", POPULATION)
REFERENCES = (STANDARD, *MEMORY_CODES)


@dataclass(frozen=True)
class MeasureNextOptions:
    """How candidates are ranked.

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
        above 0.7. A candidate with more than a tenth of such outcomes is ranked by moments.
    """

    reference: str = STANDARD
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

    @property
    def names_a_design(self) -> bool:
        """Whether one design is named, at least in part."""
        return self.network is not None or self.stored_as is not None


def check_design_names(
    networks: Sequence[str],
    network: str | None,
    stored_as: str | None,
    storages: Sequence[Storage] = STORAGES,
) -> None:
    """Refuse names of a design that there is not; lists the known ones."""
    for option, name, known in (
        ("network", network, list(networks)),
        ("stored-as", stored_as, [s.name for s in storages]),
    ):
        if name is not None and name not in known:
            raise ValueError(f"{option} {name!r} is not known; known: {'; '.join(known)}")


def chosen_design(comparison: Comparison, network: str | None, stored_as: str | None) -> Design:
    """The design that is named, or the best of those that the names leave.

    Parameters
    ----------
    comparison : Comparison
        All designs.
    network, stored_as : str, optional
        Network and storage of the design, ``"1T1R + SECDED(72,64)"``; None for the best.

    Raises
    ------
    ValueError
        No such network or storage; lists the known ones.
    """
    check_design_names(list(comparison.curves), network, stored_as)
    if network is None and stored_as is None:
        return comparison.focus
    return next(
        d
        for d in comparison.ranked
        if network in (None, d.network) and stored_as in (None, d.scheme)
    )
