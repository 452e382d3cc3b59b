"""Where to measure next: what each candidate is expected to do to the saving and to the choice.

Candidates are ranked by how much they shrink the interval of the saving. That is the one with
design and reference exactly at the limit of what they tolerate
(:func:`reliability.designs.saving_at_limit`): its interval shows what is not known, while that of
the recommended programming depends on a rule whose choice changes with every new reading. What the
new choice is expected to save (:mod:`reliability.next_choice`) stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.intervals import PROBABILITY
from reliability.candidates import Candidate
from reliability.designs import Comparison
from reliability.device_study import DeviceStudy
from reliability.energy import EnergyOptions
from reliability.energy_table import EnergyTable
from reliability.judge import Judge
from reliability.limit_case import POPULATION
from reliability.limit_saving import weighted_quantile
from reliability.limit_shares import limit_shares
from reliability.next_sentence import first_sentence, next_sentence
from reliability.outlook import MeasureNextOptions, Outlook

__all__ = ["MeasureNext", "MeasureNextOptions", "Outlook", "measure_next"]

FORMAT = "rram-reliability measure-next 3"

_TAIL = (1 - PROBABILITY) / 2


@dataclass(frozen=True)
class MeasureNext:
    """Candidates ranked by what they are expected to do to the interval of the saving.

    Parameters
    ----------
    design, reference : str
        What is compared.
    question : str
        As in the options.
    low, median, high : float
        Saving now: median and 90 % equal-tailed interval.
    width : float
        Width of the interval of ln saving now.
    share_bounds : float
        Share of draws in which the design or the reference lies beyond the measured range.
    shares : dict of str to float
        First-order shares of the sources in the variance of ln saving, and what they do together.
    choice : dict or None
        What is chosen now, and its energy; None where nothing is safe.
    outlooks : tuple of Outlook
        Ranked, the best first.
    first : str
        What to do first.
    sentence : str
        The same, what the choice gains by it, and where the variance comes from.
    simulated : bool
        Whether the readings behind it are simulated.
    """

    design: str
    reference: str
    question: str
    low: float
    median: float
    high: float
    width: float
    share_bounds: float
    shares: dict[str, float]
    choice: dict[str, Any] | None
    outlooks: tuple[Outlook, ...]
    first: str
    sentence: str
    simulated: bool

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {k: v for k, v in vars(self).items() if k != "outlooks"}
        return {
            "format": FORMAT,
            **values,
            "kind": "ETI",
            "probability": PROBABILITY,
            "criterion": "expected relative shrinkage of the interval of ln saving, both sides at "
            "the limit of what they tolerate, mean chip",
            "candidates": [outlook.record() for outlook in self.outlooks],
        }


def measure_next(
    device: DeviceStudy,
    comparison: Comparison,
    candidates: Sequence[Candidate],
    *,
    energy_options: EnergyOptions | None,
    energy_table: EnergyTable | None = None,
    options: MeasureNextOptions | None = None,
    seed: int,
    bits: Mapping[str, int] | None = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> MeasureNext:
    """Rank candidates by the expected shrinkage of the interval of the saving.

    Parameters
    ----------
    device : DeviceStudy
        Fitted device.
    comparison : Comparison
        From :func:`reliability.answer.compare` for the same study.
    candidates : sequence of MoreDevices, MoreCycles, MoreChips, MoreImages, MeasuredEnergy
        What might be done.
    energy_options, energy_table
        Those of the comparison.
    options : MeasureNextOptions, optional
        How candidates are judged.
    seed : int
        Seed of the simulated outcomes; all candidates have the same truths.
    bits : mapping of str to int, optional
        Weight bits of each network; without them energies are per bit.
    tick : callable, optional
        Told how many candidates are done.

    Returns
    -------
    MeasureNext

    Raises
    ------
    ValueError
        No candidate, an unknown reference or design, or cycles are asked for of which nothing is
        known.

    Notes
    -----
    For each simulated outcome a paired draw (device, curve, energy) plays the truth, new data are
    simulated under it, and the other draws are weighted by the likelihood of the data (Pareto
    smoothed). The threshold of 1T1R reads is chosen anew for the weighted posterior, and so is each
    draw's limit. Repeated readings of a device count as fewer independent ones, by the design
    effect of the readings that were fitted. Further chips narrow the posterior of the tolerated BER
    by ``sqrt(n / (n + m))`` around a mean that moves accordingly, and so do images. After each
    outcome the rule of `decide` is applied again.
    """
    if not candidates:
        raise ValueError("no candidate; give at least one")
    judge = Judge(
        device,
        comparison,
        energy_options,
        options or MeasureNextOptions(),
        seed,
        energy_table=energy_table,
        bits=bits,
    )
    outlooks = []
    for done, candidate in enumerate(candidates):
        outlooks.append(judge.outlook(candidate))
        tick(done + 1, len(candidates))
    ranked = tuple(sorted(outlooks, key=lambda o: -o.shrinkage))
    case, choice = judge.case, judge.choice.record()
    q = np.exp(weighted_quantile(case.now, case.even, np.array([_TAIL, 0.5, 1 - _TAIL])))
    shares = limit_shares(case, with_test_set=judge.options.question == POPULATION)
    share_bounds = float(case.is_bound.mean())
    return MeasureNext(
        f"{case.design.network}, {case.design.scheme}",
        case.reference.words,
        judge.options.question,
        float(q[0]),
        float(q[1]),
        float(q[2]),
        case.width_now,
        share_bounds,
        shares,
        choice,
        ranked,
        first_sentence(ranked),
        next_sentence(ranked, shares, share_bounds, choice, comparison.programming),
        bool(device.record["data"]["simulated"]),
    )
