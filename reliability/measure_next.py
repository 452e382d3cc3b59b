"""Where to measure next: how much each candidate is expected to shrink the interval of the saving.

The saving is the one with design and reference exactly at the limit of what they tolerate
(:func:`reliability.designs.saving_at_limit`): its interval shows what is not known, while that of
the recommended programming depends on a rule whose choice changes with every new reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from reliability.limit_saving import weighted_quantile
from reliability.outlook import MeasureNextOptions, Outlook

__all__ = ["MeasureNext", "MeasureNextOptions", "Outlook", "measure_next"]

FORMAT = "rram-reliability measure-next 1"
WORTH_DOING = 0.05
"""Expected shrinkage below which a candidate is not recommended."""

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
    outlooks : tuple of Outlook
        Ranked, the best first.
    sentence : str
        What to do first.
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
    outlooks: tuple[Outlook, ...]
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
    tick : callable, optional
        Told how many candidates are done.

    Returns
    -------
    MeasureNext

    Raises
    ------
    ValueError
        No candidate, an unknown reference, or cycles are asked for of which nothing is known.

    Notes
    -----
    For each simulated outcome a paired draw (device, curve, energy) plays the truth, new data are
    simulated under it, and the other draws are weighted by the likelihood of the data (Pareto
    smoothed). The threshold of 1T1R reads is chosen anew for the weighted posterior, and so is each
    draw's limit. Repeated readings of a device count as fewer independent ones, by the design
    effect of the readings that were fitted. Further chips narrow the posterior of the tolerated BER
    by ``sqrt(n / (n + m))`` around a mean that moves accordingly, and so do images.
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
    )
    outlooks = []
    for done, candidate in enumerate(candidates):
        outlooks.append(judge.outlook(candidate))
        tick(done + 1, len(candidates))
    ranked = tuple(sorted(outlooks, key=lambda o: -o.shrinkage))
    q = np.exp(weighted_quantile(judge.now, judge.even, np.array([_TAIL, 0.5, 1 - _TAIL])))
    shares, share_bounds = judge.shares(), float(judge.is_bound.mean())
    focus = comparison.focus
    return MeasureNext(
        f"{focus.network}, {focus.scheme}",
        judge.reference.words,
        judge.options.question,
        float(q[0]),
        float(q[1]),
        float(q[2]),
        judge.width_now,
        share_bounds,
        shares,
        ranked,
        _sentence(ranked, shares, share_bounds),
        bool(device.record["data"]["simulated"]),
    )


def _sentence(outlooks: Sequence[Outlook], shares: dict[str, float], share_bounds: float) -> str:
    best = outlooks[0]
    parts = []
    if best.shrinkage > max(WORTH_DOING, 2 * best.standard_error):
        parts.append(
            f"First: {best.words}. The interval of ln saving is expected to shrink by "
            f"{100 * best.shrinkage:.0f} % (Monte-Carlo standard error "
            f"{100 * best.standard_error:.1f} %)."
        )
        if best.extrapolated:
            parts.append("What that would show rests on the model beyond the measured range.")
    else:
        parts.append(
            f"None of these candidates is expected to shrink the interval of ln saving by more "
            f"than {100 * WORTH_DOING:.0f} % with any certainty."
        )
    sources = {name: s for name, s in shares.items() if name != "together"}
    if sources:
        largest = max(sources, key=lambda name: sources[name])
        parts.append(
            f"Most of the variance comes from the {largest} ({100 * sources[largest]:.0f} %)."
            if sources[largest] > 0.5
            else "No single source makes more than half of the variance: "
            + ", ".join(f"{name} {100 * s:.0f} %" for name, s in sources.items())
            + "."
        )
    if share_bounds > _TAIL:
        parts.append(
            f"In {100 * share_bounds:.0f} % of the draws a limit lies beyond the measured range: "
            "where an end of the interval is such a bound, readings within the range cannot move "
            "it; a wider range of programming values can."
        )
    return " ".join(parts)
