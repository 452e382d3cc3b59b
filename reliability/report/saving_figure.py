"""Figure of the energy savings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reliability.report.drawing import (
    INK,
    PALETTE,
    QUIET,
    WIDTH_PX,
    log_axis,
    look,
    new_figure,
    to_svg,
)
from reliability.report.words import saving_middle


@dataclass(frozen=True)
class SavingRow:
    """One interval of the saving figure.

    Parameters
    ----------
    group, words : str
        The reference, and which comparison with it.
    record : mapping or None
        Median, low, high and which of them are lower bounds; None where there is no saving.
    true : float or None
        True factor of a simulated device.
    """

    group: str
    words: str
    record: Mapping[str, Any] | None
    true: float | None


def saving_figure(rows: Sequence[SavingRow]) -> str:
    """Energy savings as intervals, with arrows where only a lower bound is known.

    Parameters
    ----------
    rows : sequence of SavingRow
        In the order of drawing; rows of a group stand together.
    """
    groups = list(dict.fromkeys(row.group for row in rows))
    with look():
        figure = new_figure(WIDTH_PX, 26 * (len(rows) + len(groups)) + 80)
        ax = figure.subplots()
        ends = [1.0]
        ticks, labels, heads, y = [], [], [], 0
        for index, group in enumerate(groups):
            ticks.append(y)
            labels.append(group)
            heads.append(y)
            y += 1
            for row in (r for r in rows if r.group == group):
                _saving_row(ax, row, y, PALETTE[(0, 2, 3)[index % 3]])
                ticks.append(y)
                labels.append(row.words)
                if row.record is not None and row.record["median"] is not None:
                    ends += [row.record.get(end, row.record["median"]) for end in ("low", "high")]
                if row.true is not None:
                    ends.append(row.true)
                y += 1
        ax.axvline(1, color=INK, lw=1)
        ax.set_yticks(ticks, labels)
        for at, text in zip(ticks, ax.get_yticklabels(), strict=True):
            if at in heads:
                text.set_fontweight("bold")
        ax.set_ylim(y - 0.4, -0.6)
        positive = [e for e in ends if e > 0]
        low, high = min(positive) / 1.25, max(positive) * 1.6
        log_axis(ax, "x", low, high)
        ax.set_xlim(low, high)
        ax.grid(visible=False, axis="y")
        ax.set_xlabel("energy of the reference / energy of the design (1: no saving)")
        handles: list[Any] = [
            Line2D([], [], color=QUIET, lw=2.4, marker="o", ms=6, label="median and interval"),
            Line2D(
                [],
                [],
                color=QUIET,
                marker=">",
                ms=6,
                ls="none",
                label="at least (right), at most (left)",
            ),
        ]
        if any(row.true is not None for row in rows):
            handles.append(
                Line2D([], [], color="black", marker="D", ms=5, mfc="none", ls="none", label="true")
            )
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        return to_svg(figure, name="savings", label="Energy savings against the references")


def _bound_mark(ax: Axes, end: float, tip: float, y: int, colour: Any, gid: str) -> None:
    arrow = ax.annotate(
        "", (tip, y), (end, y),
        arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    assert arrow.arrow_patch is not None
    arrow.arrow_patch.set_gid(gid)
    ax.plot([end], [y], marker="|", ms=9, mew=2, color=colour, ls="none")


def _saving_row(ax: Axes, row: SavingRow, y: int, colour: str) -> None:
    record = row.record
    if record is not None and record["median"] is not None:
        low, high = (record.get(end, record["median"]) for end in ("low", "high"))
        least = record.get("high_is_lower_bound", record.get("is_lower_bound", False))
        if not record.get("low_is_lower_bound", least):
            ax.plot([low, high], [y, y], color=colour, lw=2.4)
        if not record.get("median_is_lower_bound", least):
            ax.plot([record["median"]], [y], marker="o", ms=6, color=colour, ls="none")
        # where the whole interval is a bound, the words name its far end, and so does the mark
        if least:
            end = low if record.get("low_is_lower_bound", least) else high
            _bound_mark(ax, end, high * 1.3, y, colour, f"mark-at-least-{y}")
        if record.get("low_is_upper_bound", False):
            end = high if record.get("high_is_upper_bound", False) else low
            _bound_mark(ax, end, low / 1.3, y, colour, f"mark-at-most-{y}")
    if row.true is not None:
        ax.plot([row.true], [y], marker="D", ms=6, mfc="none", mew=1.3, color="black", ls="none")
    ax.annotate(
        saving_middle(record), (1, y), xycoords=ax.get_yaxis_transform(), xytext=(6, 0),
        textcoords="offset points", va="center", fontsize=11, color=INK,
    )  # fmt: skip
