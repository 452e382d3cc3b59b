"""The table of what to measure next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reliability.report.figures.words import NONE, number
from reliability.report.table import Table


def next_table(values: Mapping[str, Any]) -> Table | None:
    """Ranked candidates; None where the results hold no ranking."""
    ranking = (values.get("measure_next") or {}).get("ranking")
    if ranking is None:
        return None
    return Table(
        f"Further measurements, ranked by how much they are expected to shrink the "
        f"{100 * ranking['probability']:.0f} % {ranking['kind']} of ln saving "
        f"(reference: {ranking['reference']}). After +-: Monte-Carlo standard error.",
        ("What", "Interval shrinks", "Energy saved by the new choice", "P(choice moves by 5 %)"),
        tuple(_row(candidate) for candidate in ranking["candidates"]),
    )


def _row(candidate: Mapping[str, Any]) -> tuple[str, str, str, str]:
    choice = candidate["choice"] or {}
    saved = choice.get("ln_energy_saved")
    notes = [candidate["note"]] if candidate["note"] else []
    if candidate["extrapolated"]:
        notes.append("outside the measured range: rests on the model")
    return (
        candidate["words"] + (f" ({'; '.join(notes)})" if notes else ""),
        _percent(candidate["shrinkage"], candidate["standard_error"]),
        NONE if saved is None else _percent(saved, choice["standard_error"]),
        number(choice.get("p_notable"), 2),
    )


def _percent(fraction: float, error: float) -> str:
    return f"{100 * fraction:z.1f} % +- {100 * error:.1f}"
