"""Figures of the device: bit error rate, quantiles, priors and posteriors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from devicefit.inputs.programming import Programming
from reliability.report.figures.drawing import (
    INK,
    PALETTE,
    QUIET,
    SCHEME_COLOURS,
    STATE_COLOURS,
    WIDTH_PX,
    finished,
    label_rows,
    legend_key,
    log_axis,
    look,
    middle,
    new_figure,
    programming_axis,
    programming_words,
    shade,
)
from reliability.report.figures.words import interval_name, prefix_for, rate

ARROW = 2.2
"""Length of the arrow below an upper limit, a factor on the log axis."""


@look()
def ber_figure(
    ber: Mapping[str, Any], programming: Programming, truth: Mapping[str, Any] | None
) -> str:
    """BER over the programming variable: curves, counts, support and, if known, the truth.

    Parameters
    ----------
    ber : mapping
        ``results["ber"]``.
    programming : Programming
        The x axis.
    truth : mapping or None
        ``results["simulated_truth"]["ber"]``.
    """
    figure = new_figure(WIDTH_PX, 520)
    ax = figure.subplots()
    grid = np.array(ber["grid"])
    low, high = float(grid[0]), float(grid[-1])
    handles: list[Any] = []
    floor, top = float(ber["support"]), float(ber["support"])
    for scheme, colour in SCHEME_COLOURS.items():
        curve = ber[scheme]
        band = curve["interval"]
        shade(ax, grid, band, colour, alpha=0.2)
        ax.plot(grid, curve["mean"], color=colour)
        ax.plot(grid, curve["median"], color=colour, lw=0.8)
        handles += [
            legend_key(f"{scheme}: mean, median (thin)", color=colour),
            Patch(color=colour, alpha=0.2, label=f"{scheme}: {interval_name(band)}"),
        ]
        floor = min(floor, *(v for v in band["low"] if v > 0))
        top = max(top, *band["high"])
    for family, curves in ber["other_families"].items():
        for scheme, colour in SCHEME_COLOURS.items():
            ax.plot(grid, curves[scheme]["mean"], color=colour, lw=1, ls=(0, (5, 3)))
        handles.append(legend_key(f"family {family}: mean", color=QUIET, lw=1, ls=(0, (5, 3))))
    if truth is not None:
        for scheme in SCHEME_COLOURS:
            ax.plot(grid, truth[scheme]["true"], color="black", lw=1.6, ls=":")
        handles.append(legend_key("true curves", color="black", lw=1.6, ls=":"))
    handles += _counts(ax, ber["counts"], programming)
    ax.axhline(ber["support"], color="#a0a0a0", lw=1.6, zorder=1.5)
    support = f"1 / devices = {rate(ber['support'], 3)}: below, the model's shape decides"
    handles.append(legend_key(support, color="#a0a0a0", lw=1.6))
    beyond = np.array(ber["extrapolated"], dtype=bool)
    if beyond.any():
        ax.fill_between(
            grid, 0, 1, where=beyond.tolist(), transform=ax.get_xaxis_transform(),
            facecolor="none", edgecolor="#bbbbbb", hatch="///", lw=0,
        )  # fmt: skip
        handles.append(
            Patch(fc="none", ec="#bbbbbb", hatch="///", label="beyond the measured range")
        )
    programming_axis(ax, programming, low, high)
    bottom, ceiling = max(floor / 3, 1e-18), min(1.0, 3 * top)
    log_axis(ax, "y", bottom, ceiling, form=rate)
    ax.set_ylim(bottom, ceiling)
    ax.set_ylabel("bit error rate (BER)")
    return finished(figure, handles, "ber", f"Bit error rate over the {programming.name}")


def _counts(ax: Axes, counts: Mapping[str, Any], programming: Programming) -> list[Any]:
    """Counted shares; zero errors as an arrow down from the upper limit."""
    share = counts["share"]
    some = none = False
    for group, value in enumerate(share["value"]):
        ends = counts["programming_low"][group], counts["programming_high"][group]
        x = middle(programming, *ends)
        upper = share["high"][group]
        if value == 0:
            none = True
            arrow = ax.annotate(
                "",
                (x, upper / ARROW),
                (x, upper),
                arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 1.2, "shrinkA": 0},
            )
            assert arrow.arrow_patch is not None
            arrow.arrow_patch.set_gid(f"mark-zero-errors-{group}")
            ax.plot([x], [upper], marker="_", ms=9, mew=1.4, color="black", ls="none")
            y = upper
        else:
            some = True
            ax.plot([x, x], [share["low"][group], upper], color="black", lw=1.2)
            ax.plot([x], [value], marker="o", ms=5, color="black", ls="none")
            y = value
        if ends[0] < ends[1]:
            ax.plot(ends, [y, y], color="black", lw=0.8)
    name = interval_name(share)
    handles = []
    if some:
        handles.append(legend_key(f"counted, {name}", color="black", marker="o", ms=5, lw=1.2))
    if none:
        handles.append(
            legend_key("no errors counted: upper limit", color="black", marker="v", ms=5, ls="none")
        )
    return handles


@look()
def quantile_figure(quantiles: Sequence[Mapping[str, Any]], programming: Programming) -> str:
    """Quantiles of resistance per group of conditions, both states, with predictive bands.

    Parameters
    ----------
    quantiles : sequence of mapping
        ``results["device"]["quantiles"]``.
    programming : Programming
        For the panel titles.
    """
    groups = sorted({(q["programming_low"], q["programming_high"]) for q in quantiles})
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    values = [r for q in quantiles for key in ("resistance_ohm", "band_low_ohm") for r in q[key]]
    low, high = min(values), max(values)
    prefix, factor = prefix_for(float(np.sqrt(low * high)))
    figure = new_figure(WIDTH_PX if columns > 1 else 520, 250 * rows + 60)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax, ends in zip(axes.flat, groups, strict=False):
        for q in quantiles:
            if (q["programming_low"], q["programming_high"]) != ends:
                continue
            colour = STATE_COLOURS[q["state"]]
            score = q["band_score"]
            bounds = {"low": q["band_low_ohm"], "high": q["band_high_ohm"]}
            shade(ax, score, bounds, color=colour, alpha=0.3)
            ax.plot(score, q["band_median_ohm"], color=colour, lw=1)
            ax.plot(
                q["score"], q["resistance_ohm"], ls="none", marker="o", ms=2.6, mew=0,
                color=INK, alpha=0.75, rasterized=True,
            )  # fmt: skip
        ax.set_title(programming_words(programming, *ends))
        ax.tick_params(labelbottom=True)
    for ax in list(axes.flat)[len(groups) :]:
        ax.set_visible(False)
    log_axis(axes[0, 0], "y", low, high, factor=factor)
    axes[0, 0].set_ylim(low / 1.4, high * 1.4)
    for ax in axes[-1]:
        ax.set_xlabel("normal score of the quantile")
    for ax in axes[:, 0]:
        ax.set_ylabel(f"resistance ({prefix}ohm)")
    handles: list[Any] = [
        Patch(color=colour, alpha=0.4, label=f"{state}: model, 90 % ETI and median")
        for state, colour in STATE_COLOURS.items()
    ]
    handles.append(legend_key("measured quantiles", color=INK, marker="o", ms=3, ls="none"))
    return finished(
        figure, handles, "quantiles", "Quantiles of measured and predicted resistance", columns=3
    )


@look()
def prior_figure(parameters: Mapping[str, Mapping[str, Any]]) -> str:
    """Posterior of each parameter in units of its prior.

    Parameters
    ----------
    parameters : mapping
        ``results["device"]["families"][family]["parameters"]``. Values of a vector are drawn over
        each other, in one row.
    """
    figure = new_figure(WIDTH_PX, 26 * len(parameters) + 90)
    ax = figure.subplots()
    widest = 2.0
    label = "posterior"
    for row, record in enumerate(parameters.values()):
        prior, posterior = record["prior"], record["posterior"]
        label = f"posterior: median, {interval_name(posterior)}"
        low, median, high = (
            (np.atleast_1d(posterior[key]) - prior["mean"]) / prior["sd"]
            for key in ("low", "median", "high")
        )
        ax.plot([-1.645, 1.645], [row, row], color="#d0d0d0", lw=8, solid_capstyle="butt")
        ax.hlines(
            np.full(len(low), row), low, high, color=PALETTE[0],
            lw=2.4, alpha=1.0 if len(low) == 1 else 0.35,
        )  # fmt: skip
        ax.plot(median, np.full(len(low), row), marker="o", ms=5, color=PALETTE[0], ls="none")
        widest = max(widest, float(np.abs(low).max()), float(np.abs(high).max()))
    ax.set_xlim(-1.08 * widest, 1.08 * widest)
    label_rows(ax, [r["prior"]["meaning"] for r in parameters.values()])
    ax.set_xlabel("(value - prior mean) / prior standard deviation")
    handles = [
        legend_key("prior, 90 % ETI", color="#d0d0d0", lw=8),
        legend_key(label, color=PALETTE[0], lw=2.4, marker="o", ms=5),
    ]
    return finished(figure, handles, "priors", "Priors and posteriors of the device model")
