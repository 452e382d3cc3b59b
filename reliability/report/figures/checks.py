"""Figures of the device's checks: parameters by family, predicted failures, weights of families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, SymmetricalLogLocator

from devicefit.inputs.programming import Programming
from reliability.report.figures.drawing import (
    INK,
    PALETTE,
    STATE_COLOURS,
    WIDTH_PX,
    finished,
    label_rows,
    legend_key,
    log_axis,
    look,
    middle,
    new_figure,
    note_in_row,
    programming_axis,
    to_svg,
)
from reliability.report.figures.words import interval_name, number, prefix_for

FAMILY_COLOURS = (PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[4], PALETTE[5])
OUTSIDE = PALETTE[3]
COLUMNS = 3


@look()
def forest_figure(forest: Mapping[str, Any]) -> str:
    """Main parameters of each family: median and interval, one panel for each parameter.

    Parameters
    ----------
    forest : mapping
        From :func:`reliability.device.figures_data.forest_record`.
    """
    parameters = forest["parameters"]
    families = list(dict.fromkeys(f for p in parameters for f in p["families"]))
    columns = min(COLUMNS, len(parameters))
    rows = -(-len(parameters) // columns)
    figure = new_figure(WIDTH_PX, rows * (20 * len(families) + 66) + 20)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for ax, parameter in zip(axes.flat, parameters, strict=False):
        _forest_panel(ax, parameter, families)
    for ax in list(axes.flat)[len(parameters) :]:
        ax.set_visible(False)
    label_rows(axes[0, 0], families)
    handle = legend_key(f"median, {interval_name(forest)}", color=INK, lw=2.4, marker="o", ms=5)
    return finished(figure, [handle], "forest", "Main parameters of each family", columns=1)


def _forest_panel(ax: Axes, parameter: Mapping[str, Any], families: list[str]) -> None:
    values = [v for f in parameter["families"].values() for v in (f["low"], f["high"])]
    low, high = min(values), max(values)
    prefix, factor = "", 1.0
    if parameter["unit"]:
        prefix, factor = prefix_for(float(np.sqrt(low * high)) if low > 0 else high)
    for row, family in enumerate(families):
        colour = FAMILY_COLOURS[row % len(FAMILY_COLOURS)]
        found = parameter["families"].get(family)
        if found is None:
            note_in_row(ax, row, "not in this family", fontsize=10)
            continue
        ends = [found["low"] / factor, found["high"] / factor]
        ax.plot(ends, [row, row], color=colour, lw=2.4, solid_capstyle="butt")
        ax.plot([found["median"] / factor], [row], marker="o", ms=5, color=colour, ls="none")
    unit = f" ({prefix}{parameter['unit']})" if parameter["unit"] else ""
    ax.set_title(parameter["label"] + unit)
    ax.grid(visible=False, axis="y")
    if parameter["logarithmic"] and low > 0:
        margin = max((high / low) ** 0.08, 1.01)
        log_axis(ax, "x", low / factor / margin, high / factor * margin)
        ax.set_xlim(low / factor / margin, high / factor * margin)
        if high / low * margin**2 < 10:
            # Too narrow for a decade: ticks as on a linear axis.
            ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
            ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.4g}"))
        ax.margins(x=0.08)


@look()
def failures_figure(failures: Mapping[str, Any], programming: Programming) -> str:
    """Counted failures of each group of conditions beside their predictive interval.

    Parameters
    ----------
    failures : mapping
        From :func:`reliability.device.figures_data.failures_record`.
    programming : Programming
        The x axis.
    """
    cells = failures["cells"]
    states = [s for s in STATE_COLOURS if any(c["state"] == s for c in cells)]
    low = min(c["programming_low"] for c in cells)
    high = max(c["programming_high"] for c in cells)
    figure = new_figure(WIDTH_PX, 240 * len(states) + 70)
    axes = figure.subplots(len(states), 1, sharex=True, squeeze=False)[:, 0]
    for ax, state in zip(axes, states, strict=True):
        own = [c for c in cells if c["state"] == state]
        for number_of_cell, cell in enumerate(own):
            _failure_cell(ax, cell, programming, f"mark-cell-{state.lower()}-{number_of_cell}")
        top = max(max(c["errors"], c["predicted"]["high"]) for c in own)
        _count_axis(ax, top)
        inside = sum(c["inside"] for c in own)
        ax.set_title(f"{state}: {inside} of {len(own)} inside")
        ax.set_ylabel("readings on the wrong side")
    programming_axis(axes[-1], programming, low, high)
    name = interval_name(failures)
    handles: list[Any] = [
        Patch(color=STATE_COLOURS[s], alpha=0.45, label=f"{s}: predicted, {name}") for s in states
    ]
    handles += [
        legend_key("counted", color=INK, marker="o", ms=5, ls="none"),
        legend_key("counted, outside", color=OUTSIDE, marker="X", ms=7, ls="none"),
    ]
    return finished(figure, handles, "failures", "Counted and predicted failures", columns=4)


def _failure_cell(ax: Axes, cell: Mapping[str, Any], programming: Programming, gid: str) -> None:
    x = middle(programming, cell["programming_low"], cell["programming_high"])
    predicted = cell["predicted"]
    colour = STATE_COLOURS[cell["state"]]
    (bar,) = ax.plot(
        [x, x], [predicted["low"], predicted["high"]], color=colour, lw=7, alpha=0.45,
        solid_capstyle="butt",
    )  # fmt: skip
    bar.set_gid(gid)
    ax.plot([x], [predicted["median"]], marker="_", ms=9, mew=1.6, color=colour, ls="none")
    inside = cell["inside"]
    ax.plot(
        [x], [cell["errors"]], ls="none", marker="o" if inside else "X", ms=4 if inside else 7,
        color=INK if inside else OUTSIDE, zorder=3,
    )  # fmt: skip


def _count_axis(ax: Axes, top: float) -> None:
    """Counts from zero: linear up to one, logarithmic above."""
    ax.set_yscale("symlog", linthresh=1.0, linscale=0.5)
    ax.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1.0, subs=[1.0, 3.0]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(-0.25, max(2.0, 1.6 * top))


@look()
def stacking_figure(families: Mapping[str, Mapping[str, Any]]) -> str:
    """How well each family predicts left-out devices, and its weight in the stack.

    Parameters
    ----------
    families : mapping
        ``record["families"]`` of :class:`reliability.device.study.DeviceStudy`: for each family
        ``weight`` (None where families are not stacked) and ``elpd_difference`` with ``to, value,
        se``, or ``failed``.
    """
    stacked = any(f.get("weight") is not None for f in families.values())
    names = list(families)
    figure = new_figure(WIDTH_PX, 34 * len(names) + 120)
    axes = figure.subplots(1, 2 if stacked else 1, sharey=True, squeeze=False)[0]
    ax = axes[-1]
    best = ""
    for row, found in enumerate(families.values()):
        colour = FAMILY_COLOURS[row % len(FAMILY_COLOURS)]
        if "elpd_difference" not in found:
            why = "could not be fitted" if "failed" in found else "not scored"
            note_in_row(ax, row, why)
            continue
        difference = found["elpd_difference"]
        best = difference["to"]
        value, se = difference["value"], difference["se"]
        ax.plot([value - se, value + se], [row, row], color=colour, lw=2.4)
        (mark,) = ax.plot([value], [row], marker="o", ms=6, color=colour, ls="none")
        mark.set_gid(f"mark-elpd-{row}")
        if stacked:
            _weight_bar(axes[0], row, float(found["weight"] or 0.0), colour)
    ax.axvline(0.0, color="#a0a0a0", lw=1.2, zorder=1)
    ax.set_xlabel(f"elpd of left-out devices less that of {best}, ± 1 standard error")
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.4g}"))
    ax.margins(x=0.1)
    label_rows(axes[0], names)
    ax.grid(visible=False, axis="y")
    if stacked:
        axes[0].set_xlim(0, 1.15)
        axes[0].set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes[0].set_xlabel("stacking weight")
    return to_svg(figure, name="stacking", label="Weights and predictions of the families")


def _weight_bar(ax: Axes, row: int, weight: float, colour: str) -> None:
    ax.barh([row], [weight], height=0.55, color=colour, alpha=0.8)
    ax.text(weight + 0.015, row, number(weight), va="center", ha="left", fontsize=11, color=INK)
