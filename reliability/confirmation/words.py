"""What chips said of the designs, as plain values and in words."""

from __future__ import annotations

from typing import Any

from reliability.confirmation.lots import CONFIDENCE
from reliability.designs import Comparison, Design


def confirmation_record(comparison: Comparison) -> list[dict[str, Any]]:
    """Every design that was put to chips, with its lots."""
    return [
        {"network": d.network, "scheme": d.scheme, **d.confirmation.record()}
        for d in comparison.designs
        if d.confirmation is not None
    ]


def confirmation_line(design: Design, reason: str) -> str:
    """What fresh chips say of the recommended programming, or that none were counted and why."""
    found = design.confirmation
    if found is None or found.fresh is None:
        why = f" ({reason})" if reason else ""
        return (
            f"Not confirmed by chips{why}: the probability is that of curves through counts, which "
            "can be wrong. `run` counts chips; `decide` does where it finds the networks and "
            "images of the counts (--networks DIR, --images-dir DIR)."
        )
    lot, (low, high) = found.fresh, found.fresh.interval
    said = (
        f"{lot.met:,} of {lot.chips:,} fresh chips drawn from the posterior meet the requirement "
        f"there ({lot.share:.3f}, exact {100 * CONFIDENCE:.0f} % interval {low:.3f} to {high:.3f})"
    )
    if found.is_contradicted:
        return (
            f"CONTRADICTED by chips: only {said}, where {found.wanted:g} is asked for. Count again "
            "with another --seed before you rely on this."
        )
    return f"Confirmed by chips: {said}."


def refused_lines(comparison: Comparison) -> list[str]:
    """Designs that the curves promise and chips refuse."""
    return [
        f"Chips refuse {d.scheme}, network {d.network!r}: {d.safe.sentence}"
        for d in comparison.designs
        if d.confirmation is not None and d.confirmation.programming is None
    ]
