"""What chips said of the designs, as plain values and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from devicefit.inputs.programming import Programming
from reliability.chips.arrays import ENOUGH
from reliability.chips.lots import CONFIDENCE, Lot
from reliability.chips.readings_gates import near_gate, readings_gate
from reliability.decision.comparison import Comparison, Design


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
            f"Not confirmed by chips{why}: the probability is that of accuracy surfaces through "
            "counts, which can be wrong. `run` counts chips; `decide` does where it finds the "
            "networks and images of the counts (--networks DIR, --images-dir DIR)."
        )
    lot = found.fresh
    said = (
        f"{lot.met:,} of {lot.chips:,} fresh chips drawn from the posterior meet the requirement "
        f"there ({_share(lot)})"
    )
    if found.arrays.in_turn:
        worst = min(lot.arrays, key=lambda name: lot.arrays[name].met)
        said += f" on array {worst}, that with the fewest"
    if found.is_contradicted:
        return (
            f"CONTRADICTED by chips: only {said}, where {found.wanted:g} is asked for. Count again "
            "with another --seed before you rely on this."
        )
    return f"Confirmed by chips: {said}."


def _share(lot: Lot) -> str:
    """``0.960, exact 95 % interval 0.951 to 0.969``."""
    low, high = lot.interval
    return f"{lot.share:.3f}, exact {100 * CONFIDENCE:.0f} % interval {low:.3f} to {high:.3f}"


def array_line(design: Design, names: Sequence[str]) -> str:
    """On which arrays chips are taken to lie, and what is found on each.

    Parameters
    ----------
    design : Design
        The recommended one.
    names : sequence of str
        Measured arrays; one empty name where the readings name none.
    """
    found = design.confirmation
    per_chip = 1 if found is None else found.arrays.per_chip
    on = "one array" if per_chip == 1 else f"{per_chip} arrays"
    assumed = f"The cells of a chip are taken to lie on {on} (assumed, --arrays-per-chip)."
    if len(names) == 1:
        told = (
            f"One array was measured, {names[0]}; how others differ from it is not known."
            if names[0]
            else "The readings have no array_id: all cells are taken as one array."
        )
        return f"Arrays: {told} {assumed}"
    if found is None or found.fresh is None:
        return (
            f"Arrays: {len(names)} were measured ({', '.join(names)}); "
            + (
                "the probability is that of a chip on the array with the fewest good ones"
                if len(names) < ENOUGH
                else f"the probability is that of a chip on {_new(per_chip)}"
            )
            + f". {assumed}"
        )
    lot = found.fresh
    if found.arrays.new:
        return (
            f"Arrays: the probability is that of a chip on {_new(per_chip)}; {len(names)} were "
            f"measured ({', '.join(names)}). {assumed}"
        )
    beside = ""
    if found.on_new is not None:
        beside = (
            f" On {_new(per_chip)}: {_share(found.on_new)}; this rests on the prior of the spread "
            f"between arrays, for fewer than {ENOUGH} were measured."
        )
    if not lot.arrays:
        return (
            f"Arrays: each of those that a chip lies on is one of the {len(names)} measured, drawn "
            f"by itself.{beside} {assumed}"
        )
    each = "; ".join(
        f"{name} {of.met:,} of {of.chips:,} ({_share(of)})" for name, of in lot.arrays.items()
    )
    return (
        f"Arrays: the requirement is asked of a chip on each measured array: {each}.{beside} "
        f"{assumed}"
    )


def _new(per_chip: int) -> str:
    """The new array, or arrays, of a chip."""
    on = "a new array" if per_chip == 1 else f"{per_chip} new arrays"
    return f"{on}, drawn from the law between arrays"


def readings_gates(comparison: Comparison) -> list[dict[str, Any]]:
    """Gates on readings without a model near the best design; none where they were not counted."""
    best = comparison.best
    if best is None or best.confirmation is None or not best.confirmation.readings:
        return []
    gates = [readings_gate(best.confirmation.readings, comparison.programming)]
    if best.confirmation.near is not None:
        gates.append(near_gate(best.confirmation.near, comparison.programming))
    return [gate.record() for gate in gates]


def readings_line(design: Design, programming: Programming) -> str:
    """What chips by error rates from readings alone say, or that there are none."""
    found = design.confirmation
    if found is None or found.fresh is None:
        return "Readings without a model: not put to chips."
    if not found.readings:
        return (
            "Readings without a model: none were single readings of both states near the "
            "recommended programming, so the error rates rest on the model."
        )
    gate = readings_gate(found.readings, programming)
    return f"Readings without a model{'' if gate.passed else ' CONTRADICT'}: {gate.finding}."


def refused_lines(comparison: Comparison) -> list[str]:
    """Designs that the surfaces promise and chips refuse."""
    return [
        f"Chips refuse {d.scheme}, network {d.network!r}: {d.safe.sentence}"
        for d in comparison.designs
        if d.confirmation is not None and d.confirmation.programming is None
    ]
