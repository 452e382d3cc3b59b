"""The short ranking of further measurements that travels with the results of `run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reliability.decision.comparison import STANDARD, Comparison
from reliability.decision.series_gate import series_gate
from reliability.device.study import DeviceStudy
from reliability.measure_next.candidates import Candidate, MoreCycles, MoreDevices
from reliability.measure_next.options import MeasureNextOptions
from reliability.measure_next.ranking import measure_next
from reliability.measure_next.usual import usual_candidates
from reliability.networks.study import NetworkStudy

QUICK = MeasureNextOptions(simulations=60, moments_simulations=12, moments_draws=400)
"""Fewer outcomes than the command simulates, as the report should not wait."""


def next_record(
    device: DeviceStudy,
    comparison: Comparison,
    networks: Mapping[str, NetworkStudy],
    *,
    shares: Mapping[str, float] | None = None,
    seed: int,
    life: bool = False,
) -> dict[str, Any]:
    """Ranking of a short list of candidates, or why there is none.

    `shares` are those of the variance of the saving against the standard network, where they are
    known. `life` says whether the comparison is that of the end of a life.

    Returns
    -------
    dict
        ``ranking`` as of :meth:`reliability.measure_next.ranking.MeasureNext.record`, or None; then
        ``why_not`` says why.
    """
    if not comparison.energy.is_known:
        return {"ranking": None, "why_not": "no energy is known, so there is no saving to rank by"}
    standard = next(r for r in comparison.references if r.key == STANDARD)
    gate = series_gate(comparison.energy, comparison.focus.condition, standard.condition)
    if gate is not None and not gate.passed:
        return {
            "ranking": None,
            "why_not": f"the gate {gate.name!r} failed for the saving against the standard network "
            f"({gate.finding})",
        }
    if life:
        return {
            "ranking": None,
            "why_not": "the verdict is about the end of a required life, and further measurements "
            "are ranked for fresh cells only; `rram-reliability measure-next` does that",
        }
    found = measure_next(
        device,
        comparison,
        _few(usual_candidates(comparison, device, comparison.focus), device),
        options=QUICK,
        shares=shares,
        seed=seed,
        bits={name: int(study.counts.attrs["weights"]) for name, study in networks.items()},
    )
    return {"ranking": found.record(), "why_not": None}


def _few(candidates: list[Candidate], device: DeviceStudy) -> list[Candidate]:
    """Those that are ranked quickly: no cycles, no many devices, none above the range."""
    high = device.main.frame.high
    least = min(c.devices for c in candidates if isinstance(c, MoreDevices))
    return [
        c
        for c in candidates
        if not isinstance(c, MoreCycles)
        and not (isinstance(c, MoreDevices) and (c.devices > least or c.programming > high))
    ]
