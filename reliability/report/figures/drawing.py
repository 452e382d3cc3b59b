"""Shared look of the report's figures: style, axes, and SVG text that is the same every time."""

from __future__ import annotations

import contextlib
import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import matplotlib
import numpy.typing as npt
import seaborn as sns
from markupsafe import escape
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from devicefit.inputs.programming import Programming
from reliability.report.figures.words import number, prefix_for

PALETTE = sns.color_palette("colorblind").as_hex()
SCHEME_COLOURS = {"1T1R": PALETTE[0], "2T2R": PALETTE[1]}
STORAGE_COLOURS = {
    **SCHEME_COLOURS,
    "1T1R + SECDED(72,64)": PALETTE[2],
    "1T1R + BCH(127,64)": PALETTE[4],
}
SCRAMBLED = ", scrambled"
STATE_COLOURS = {"LRS": PALETTE[2], "HRS": PALETTE[4]}
NETWORK_COLOURS = ("#4d4d4d", *(PALETTE[i] for i in (3, 9, 5, 2, 4)))
INK = "#333333"
QUIET = "#767676"
LIMIT: dict[str, Any] = {"color": "black", "lw": 1, "ls": "--"}
"""Line of what is required or allowed."""

# One unit of the SVG is one CSS pixel, so font sizes are pixels at 100 %.
UNITS_PER_INCH = 72
FONT_PX = 11.5
WIDTH_PX = 940
LOOK: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": FONT_PX,
    "axes.labelsize": FONT_PX,
    "axes.titlesize": FONT_PX,
    "axes.titleweight": "bold",
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "hatch.linewidth": 0.5,
    "svg.fonttype": "none",
    "text.usetex": False,
    # Names come from users: a dollar sign is not mathematics.
    "text.parse_math": False,
}


def storage_line(name: str) -> dict[str, Any]:
    """Colour and dashes of a way of storing: scrambled is dashed in the colour of the plain one."""
    plain = name.removesuffix(SCRAMBLED)
    return {"color": STORAGE_COLOURS.get(plain, QUIET), "ls": "-" if plain == name else (0, (3, 2))}


@contextlib.contextmanager
def look() -> Iterator[None]:
    """Style of all figures, for the time a figure is drawn and written."""
    settings: Any = {**sns.axes_style("whitegrid"), **LOOK}
    with matplotlib.rc_context(settings):
        yield


def new_figure(width_px: int, height_px: int) -> Figure:
    """Empty figure whose SVG has one unit for each CSS pixel."""
    size = (width_px / UNITS_PER_INCH, height_px / UNITS_PER_INCH)
    return Figure(figsize=size, dpi=UNITS_PER_INCH, layout="constrained")


def legend_key(label: str, **style: Any) -> Line2D:
    """Entry of a legend: a line or a marker in this style."""
    return Line2D([], [], label=label, **style)


def finished(
    figure: Figure, keys: Sequence[Artist], name: str, label: str, *, columns: int = 2
) -> str:
    """Inline SVG, as of :func:`to_svg`, of a figure with the keys of its legend below it."""
    figure.legend(handles=keys, loc="outside lower center", ncols=columns)
    return to_svg(figure, name=name, label=label)


def to_svg(figure: Figure, *, name: str, label: str) -> str:
    """Inline SVG of a figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    name : str
        Salt of the ids, different for each figure of a page.
    label : str
        What the figure shows, for readers who do not see it.

    Returns
    -------
    str
        An ``<svg>`` element without dates, outside references and page-wide styles; the same
        figure gives the same bytes. Ids that nothing refers to are dropped, except those of
        artists whose gid starts with ``mark-``.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # Text stays text: the browser has the letters that the measuring font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing, dpi=2 * UNITS_PER_INCH)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for pattern in (r"<!--.*?-->", r"<metadata>.*?</metadata>", r"<style.*?</style>"):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*</defs>", "", text)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(
        r' id="([^"]*)"',
        lambda m: m[0] if m[1] in used or m[1].startswith("mark-") else "",
        text,
    )
    view = re.search(r'viewBox="([^"]*)"', text)
    assert view is not None
    width = float(view[1].split()[2])
    head = (
        f'<svg viewBox="{view[1]}" role="img" aria-label="{escape(label)}" '
        f'style="max-width: {width:g}px">'
    )
    text = head + text[text.index(">") + 1 :]
    return re.sub(r"\n\s*", "\n", text).strip()


def short(name: str, width: int = 40) -> str:
    """Name that fits a title."""
    return textwrap.shorten(name, width, placeholder=" ...") if len(name) > width else name


def programming_words(programming: Programming, low: float, high: float) -> str:
    """One value or a range of the programming variable."""
    if low == high:
        return programming.format(low)
    return f"{programming.format(low)} to {programming.format(high)}"


def middle(programming: Programming, low: float, high: float) -> float:
    """Where a group of conditions is drawn: the middle in the variable's own scale."""
    ends = programming.coordinate([low, high])
    return float(programming.from_coordinate(ends.mean()))


def programming_axis(ax: Axes, programming: Programming, low: float, high: float) -> None:
    """Scale, limits, ticks and label of an x axis in SI values of the programming variable."""
    prefix, factor = prefix_for(middle(programming, low, high) or high)
    margin = 0.015
    ends = programming.coordinate([low, high])
    # One condition has no range of its own.
    width = margin * (ends[1] - ends[0]) or 0.5
    if programming.is_logarithmic:
        log_axis(ax, "x", low, high, factor=factor)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / factor:.4g}"))
    limits = programming.from_coordinate([ends[0] - width, ends[1] + width])
    ax.set_xlim(float(limits[0]), float(limits[1]))
    if programming.unit == "1":
        ax.set_xticks([])
        ax.set_xlabel(short(programming.name))
    else:
        ax.set_xlabel(f"{short(programming.name)} ({prefix}{programming.unit})")


def log_axis(
    ax: Axes,
    which: Literal["x", "y"],
    low: float,
    high: float,
    *,
    factor: float = 1.0,
    form: Callable[[float], str] = number,
) -> None:
    """Logarithmic axis with plain numbers; ticks at 1, 2, 5 where there are few decades."""
    axis: Axis
    if which == "x":
        ax.set_xscale("log")
        axis = ax.xaxis
    else:
        ax.set_yscale("log")
        axis = ax.yaxis
    decades = math.log10(high / low)
    axis.set_major_locator(
        LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.6 else (1.0,), numticks=20)
    )
    axis.set_major_formatter(FuncFormatter(lambda v, _: form(v / factor)))
    axis.set_minor_locator(LogLocator(subs=tuple(range(2, 10)), numticks=20))
    axis.set_minor_formatter(NullFormatter())


def percent_axis(axis: Axis, *, decimals: int = 0) -> None:
    """Fractions shown as percent."""
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.{decimals}f}"))


def shade(
    ax: Axes, x: npt.ArrayLike, interval: Mapping[str, Any], color: str, alpha: float
) -> None:
    """Shade an interval over x, from its ``low`` to its ``high`` end."""
    ax.fill_between(x, interval["low"], interval["high"], color=color, alpha=alpha, lw=0)


def label_rows(ax: Axes, names: Sequence[str]) -> None:
    """One row for each name, the first at the top, without lines between them."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")


def note_in_row(ax: Axes, row: int, text: str, fontsize: float = FONT_PX) -> None:
    """Say in the middle of a row why nothing is drawn there."""
    ax.text(
        0.5,
        row,
        text,
        transform=ax.get_yaxis_transform(),
        ha="center",
        va="center",
        color=QUIET,
        fontsize=fontsize,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )


def beside(ax: Axes, x: float, y: float, text: str, colour: str) -> None:
    """Label of a vertical line, on the side where there is room; `y` is a share of the axes."""
    left, right = ax.get_xlim()
    if ax.get_xscale() == "log":
        on_the_left = x < math.sqrt(left * right)
    else:
        on_the_left = x < (left + right) / 2
    ax.annotate(
        text,
        (x, y),
        xycoords=ax.get_xaxis_transform(),
        xytext=(5 if on_the_left else -5, 0),
        textcoords="offset points",
        ha="left" if on_the_left else "right",
        va="center",
        color=colour,
        fontsize=11,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )
