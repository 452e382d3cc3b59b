"""Whether networks were counted at the rates that a device has, and how these are shared out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from devicefit.fitting.gate import Gate
from devicefit.numerics.intervals import band

if TYPE_CHECKING:
    from reliability.decision.comparison import Comparison, Design

COUNTED = "counted rates"
"""Name of the gate that fails where a network was not counted at the rates of the device."""

COUNT_AGAIN = (
    "count the networks again with `rram-reliability evaluate`, whose default covers equal and "
    "unequal rates up to 0.5"
)
LEAST_KNOWN = 0.95
"""Share of the draws whose rates must lie within the counts."""


def counted_rates_record(comparison: Comparison) -> dict[str, Any]:
    """Plain values of how unequal the two rates are, over the grid and at the design in focus."""
    c, design = comparison, comparison.focus
    at, rows = design.place(c.grid), c.pairing.rates
    curve = c.main_ber["1T1R"]
    tilt = np.zeros((1, len(c.grid)))
    if curve.tilt is not None:
        tilt = curve.tilt.reshape(-1, len(c.grid)) * (1 if c.one_is == "LRS" else -1)
    seen = c.seen[design.storage].of(rows)
    record: dict[str, Any] = {
        "one_is": c.one_is,
        "counted": {name: surface.has_tilts for name, surface in c.curves.items()},
        "tilt_meaning": "(rate of stored ones - rate of stored zeros) / their sum, one cell a bit",
        "grid": c.grid.tolist(),
        "tilt": band(tilt, axis=0),
        "design": {"network": design.network, "scheme": design.scheme},
        "programming": float(c.grid[at]),
        "share_of_ones": band((1 + seen.tilt[:, at]) / 2, axis=0),
        "ber": band(np.exp(seen.ln_ber[:, at]), axis=0),
    }
    return {**record, "sentence": _sentence(c, design, record)}


def counted_rates_gate(comparison: Comparison) -> Gate:
    """Whether the rates of the device lie within what networks were counted at.

    Asked of the recommended design, which they do, or, where none is safe, of all designs where
    they are likeliest to meet the requirement: what is not known might be safe.
    """
    c = comparison
    asked = c.designs if c.best is None else (c.best,)
    of = min(asked, key=lambda design: known_share(c, design))
    least, at = known_share(c, of), c.programming.format(float(c.grid[of.place(c.grid)]))
    inside = "all" if least == 1 else f"{100 * least:.3g} %"
    return Gate(
        COUNTED,
        "Were the networks counted at the error rates that the device has?",
        least >= LEAST_KNOWN,
        least,
        LEAST_KNOWN,
        f"at {at}, {of.scheme}, network {of.network!r}, {inside} of the draws lie within the rates "
        "that were counted",
        COUNT_AGAIN,
    )


def known_share(comparison: Comparison, design: Design) -> float:
    """Share of the draws whose rates were counted, where the design is judged."""
    return float(design.chip_yield.known[:, design.place(comparison.grid)].mean())


def _sentence(comparison: Comparison, design: Design, record: dict[str, Any]) -> str:
    form = comparison.programming.format
    if design.storage.scheme == "2T2R":
        return "Bits are stored in pairs of cells: ones and zeros go wrong alike."
    if design.storage.scrambled:
        return "Weights are stored scrambled: ones and zeros go wrong alike."
    return (
        f"At {form(record['programming'])}, {100 * record['share_of_ones']['median']:.0f} % of the "
        f"wrong bits are stored ones ({record['one_is']}, stored 0 and 1 equally frequent)."
    )
