"""Figures of the choices there are: energy, regret and Pareto front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from devicefit.inputs.programming import Programming
from reliability.report.figures.drawing import (
    INK,
    LIMIT,
    NETWORK_COLOURS,
    PALETTE,
    QUIET,
    WIDTH_PX,
    beside,
    finished,
    legend_key,
    log_axis,
    look,
    new_figure,
    percent_axis,
    programming_axis,
    shade,
    short,
)
from reliability.report.figures.words import interval_name, prefix_for

MARKERS = ("o", "s", "^", "D", "v", "P")
MEASURED = {
    "e_cell_j": "SET plus RESET",
    "e_set_j": "SET",
    "e_reset_j": "RESET",
}

REGRET_LOOKS: tuple[dict[str, Any], ...] = (
    {"color": PALETTE[0]},
    {"color": QUIET, "ls": "--", "lw": 1},
)


@look()
def energy_figure(record: Mapping[str, Any], programming: Programming) -> str:
    """Energy of one cell over the programming variable, with what was measured.

    Parameters
    ----------
    record : mapping
        ``results["energy"]``, energies known.
    programming : Programming
        The x axis.
    """
    figure = new_figure(560, 340)
    ax = figure.subplots()
    grid, band = np.array(record["grid"]), record["e_cell_j"]
    prefix, factor = prefix_for(float(np.median(band["median"])))
    shade(ax, grid, band, PALETTE[0], alpha=0.3)
    ax.plot(grid, band["median"], color=PALETTE[0])
    handles: list[Any] = [legend_key(f"one cell: median, {interval_name(band)}", color=PALETTE[0])]
    ends = [min(band["low"]), max(band["high"])]
    measured = (record.get("table") or {}).get("measured", {})
    for index, (key, name) in enumerate(MEASURED.items()):
        if key not in measured:
            continue
        at, value, error = (np.array(measured[key][k]) for k in ("programming", "value", "se"))
        ax.errorbar(
            at, value, yerr=error, ls="none", marker=MARKERS[index], ms=5, mfc="white",
            color=INK, capsize=2, lw=1,
        )  # fmt: skip
        label = f"measured, {name}, with its standard error"
        handles.append(legend_key(label, color=INK, marker=MARKERS[index], mfc="white", ls="none"))
        ends += [(value - error).min(), (value + error).max()]
    beyond = np.array(record.get("extrapolated", []), dtype=bool)
    for places in (np.flatnonzero(beyond[: len(grid)]),):
        for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
            if len(run):
                ax.axvspan(grid[run[0]], grid[run[-1]], color=QUIET, alpha=0.15, lw=0)
    if beyond.any():
        handles.append(Patch(color=QUIET, alpha=0.15, label="extrapolated"))
    programming_axis(ax, programming, float(grid[0]), float(grid[-1]))
    log_axis(ax, "y", min(e for e in ends if e > 0), max(ends), factor=factor)
    ax.set_ylabel(f"programming energy ({prefix}J)")
    return finished(figure, handles, "energy", f"Energy over the {programming.name}", columns=1)


@look()
def regret_figure(
    record: Mapping[str, Any], programming: Programming, *, risk: float, lowest: float | None
) -> str:
    """What each programming value risks and what it spends beyond need.

    Parameters
    ----------
    record : mapping
        ``results["choices"]``, energies known.
    programming : Programming
        The x axis.
    risk : float
        Allowed probability of missing the requirement.
    lowest : float or None
        Lowest safe programming, marked.
    """
    figure = new_figure(WIDTH_PX, 320)
    left, right = figure.subplots(1, 2)
    grid = record["grid"]
    left.plot(grid, record["p_violated"], color=PALETTE[3])
    left.axhline(risk, **LIMIT)
    left.set_ylim(-0.03, 1.04)
    left.set_ylabel("P(requirement missed)")
    per_chip = record.get("energy_regret_per_chip")
    # Older results have the regret of each chip alone.
    known = ("this design", "each chip") if per_chip else ("each chip",)
    drawn = [np.array(record["energy_regret"]["expected_j"])]
    drawn += [np.array(per_chip["expected_j"])] if per_chip else []
    prefix, factor = prefix_for(float(max(e.max() for e in drawn)) or 1.0)
    for expected, look_of in zip(drawn, REGRET_LOOKS, strict=False):
        right.plot(grid, expected / factor, **look_of)
    right.set_ylim(bottom=0)
    right.set_ylabel(f"expected energy beyond need ({prefix}J per bit)")
    for ax in (left, right):
        programming_axis(ax, programming, grid[0], grid[-1])
        if lowest is not None:
            ax.axvline(lowest, color=INK, lw=1, ls=":")
            beside(ax, lowest, 0.92, f"lowest safe: {programming.format(lowest)}", INK)
    handles = [
        legend_key("probability that a chip misses it", color=PALETTE[3]),
        legend_key(f"allowed: {risk:g}", **LIMIT),
        *(
            legend_key(f"energy beyond need, had {who} been known", **look_of)
            for who, look_of in zip(known, REGRET_LOOKS, strict=False)
        ),
    ]
    return finished(figure, handles, "regret", "Risk and regret of each programming value")


@look()
def pareto_figure(record: Mapping[str, Any], *, required: float) -> str:
    """Energy and accuracy of all candidates, the front stressed.

    Parameters
    ----------
    record : mapping
        ``results["pareto"]``.
    required : float
        Required accuracy.
    """
    figure = new_figure(WIDTH_PX, 420)
    ax = figure.subplots()
    rows = record["candidates"]
    middle = float(np.median([row["e_bit_j"] for row in rows]))
    prefix, factor = prefix_for(middle)
    networks = list(dict.fromkeys(row["network"] for row in rows))
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    handles: list[Any] = []
    for i, network in enumerate(networks):
        colour = NETWORK_COLOURS[i % len(NETWORK_COLOURS)]
        handles.append(Patch(color=colour, label=f"network {short(network, 56)}"))
        for k, scheme in enumerate(schemes):
            own = [r for r in rows if r["network"] == network and r["scheme"] == scheme]
            for on_front in (False, True):
                part = [r for r in own if r["on_front"] is on_front]
                ax.plot(
                    [r["e_bit_j"] for r in part], [r["mean_accuracy"] for r in part],
                    ls="none", marker=MARKERS[k % len(MARKERS)], ms=6 if on_front else 3.5,
                    color=colour, alpha=1.0 if on_front else 0.3,
                    mfc=colour if on_front else "white",
                )  # fmt: skip
    handles += [
        legend_key(scheme, color=INK, marker=MARKERS[k % len(MARKERS)], ls="none")
        for k, scheme in enumerate(schemes)
    ]
    front = sorted(
        ((r["e_bit_j"], r["mean_accuracy"]) for r in rows if r["on_front"]), key=lambda p: p[0]
    )
    if all(row["cycles"] is None for row in rows):
        ax.plot(*zip(*front, strict=True), color=QUIET, lw=1, drawstyle="steps-post", zorder=1)
    ax.axhline(required, **LIMIT)
    handles.append(legend_key("required accuracy", **LIMIT))
    energies = [row["e_bit_j"] for row in rows]
    log_axis(ax, "x", min(energies), max(energies), factor=factor)
    best = max(row["mean_accuracy"] for row in rows)
    floor = max(min(row["mean_accuracy"] for row in rows), required - 10 * (1 - required), 0.0)
    span = max(best - required, 0.005)
    ax.set_ylim(max(floor - span / 4, required - 12 * span), best + span)
    percent_axis(ax.yaxis, decimals=1)
    ax.set_xlabel(f"median programming energy per bit ({prefix}J)")
    ax.set_ylabel("mean accuracy of chips (%)")
    return finished(figure, handles, "pareto", "Energy and accuracy of all candidates")
