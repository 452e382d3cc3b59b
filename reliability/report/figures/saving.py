"""Figure of the energy savings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from reliability.report.figures.drawing import (
    INK,
    PALETTE,
    QUIET,
    WIDTH_PX,
    finished,
    label_rows,
    legend_key,
    log_axis,
    look,
    new_figure,
)
from reliability.report.figures.words import saving_middle


@dataclass(frozen=True)
class SavingRow:
    """One interval of the saving figure.

    Parameters
    ----------
    words : str
        The reference.
    record : mapping
        Median, low and high, or a bound; all None where there is no saving.
    true : float or None
        True factor of a simulated device.
    """

    words: str
    record: Mapping[str, Any]
    true: float | None


@look()
def saving_figure(rows: Sequence[SavingRow]) -> str:
    """Energy savings as intervals, with an arrow where only a bound is known."""
    figure = new_figure(WIDTH_PX, 34 * len(rows) + 90)
    ax = figure.subplots()
    ends = [1.0]
    for y, row in enumerate(rows):
        _saving_row(ax, row, y, PALETTE[(0, 2, 3)[y % 3]])
        bound = row.record["bound"]
        ends += [row.record[end] for end in ("low", "high") if row.record[end] is not None]
        ends += [] if bound is None else [bound["value"]]
        ends += [] if row.true is None else [row.true]
    ax.axvline(1, color=INK, lw=1)
    label_rows(ax, [row.words for row in rows])
    positive = [e for e in ends if e > 0]
    low, high = min(positive) / 1.25, max(positive) * 1.6
    log_axis(ax, "x", low, high)
    ax.set_xlim(low, high)
    ax.set_xlabel("energy of the reference / energy of the design (1: no saving)")
    handles: list[Any] = [
        legend_key("median and interval", color=QUIET, lw=2.4, marker="o", ms=6),
        legend_key("at least (right), at most (left)", color=QUIET, marker=">", ms=6, ls="none"),
    ]
    if any(row.true is not None for row in rows):
        handles.append(legend_key("true", color="black", marker="D", ms=5, mfc="none", ls="none"))
    return finished(figure, handles, "savings", "Energy savings against the references", columns=3)


def _bound_mark(ax: Axes, end: float, tip: float, y: int, colour: Any, gid: str) -> None:
    arrow = ax.annotate(
        "", (tip, y), (end, y),
        arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    assert arrow.arrow_patch is not None
    arrow.arrow_patch.set_gid(gid)
    ax.plot([end], [y], marker="|", ms=9, mew=2, color=colour, ls="none")


def _saving_row(ax: Axes, row: SavingRow, y: int, colour: str) -> None:
    record, bound = row.record, row.record["bound"]
    if bound is not None:
        at_least = bound["side"] == "at least"
        tip = bound["value"] * 1.3 if at_least else bound["value"] / 1.3
        name = "least" if at_least else "most"
        _bound_mark(ax, bound["value"], tip, y, colour, f"mark-at-{name}-{y}")
    elif record["median"] is not None:
        ax.plot([record["low"], record["high"]], [y, y], color=colour, lw=2.4)
        ax.plot([record["median"]], [y], marker="o", ms=6, color=colour, ls="none")
    if row.true is not None:
        ax.plot([row.true], [y], marker="D", ms=6, mfc="none", mew=1.3, color="black", ls="none")
    ax.annotate(
        saving_middle(record), (1, y), xycoords=ax.get_yaxis_transform(), xytext=(6, 0),
        textcoords="offset points", va="center", fontsize=11, color=INK,
    )  # fmt: skip
