"""Table and figure of the alternatives: which storage, network and thresholds cost what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devicefit.inputs.programming import Programming
from reliability.report.figures.drawing import (
    INK,
    QUIET,
    WIDTH_PX,
    finished,
    label_rows,
    legend_key,
    log_axis,
    look,
    new_figure,
    short,
    storage_line,
)
from reliability.report.figures.words import (
    NONE,
    energy,
    estimated_rate,
    interval_name,
    number,
    prefix_for,
    probability,
    saving,
    with_interval,
)
from reliability.report.table import Table

MARKERS = ("o", "s", "D", "^", "v", "P", "X")
SHOWN_NETWORKS = 4
FOLDED_AFTER = 12
COMPARED_WITH = ("standard_bnn", "memory")

Record = Mapping[str, Any]


def shown_networks(values: Mapping[str, Any]) -> list[str]:
    """Networks that figures have room for: the standard one, then by the rank of their designs."""
    names = list(values["networks"])
    ranked = [design["network"] for design in values["alternatives"]]
    wanted = dict.fromkeys([names[0], values["energy_saving"]["design"]["network"], *ranked])
    chosen = list(wanted)[:SHOWN_NETWORKS]
    return [name for name in names if name in chosen]


def alternative_table(
    values: Mapping[str, Any], programming: Programming, references: Mapping[str, str]
) -> Table:
    """All designs beside each other, the least energy first.

    Parameters
    ----------
    values : mapping
        Of the results.
    programming : Programming
        The programming variable.
    references : mapping of str to str
        Names of the references by their keys; those of `COMPARED_WITH` have a column.
    """
    references = {key: references[key] for key in COMPARED_WITH}
    second = values["programming"]["second"]
    knob = None if second is None else Programming(second["name"], second["unit"])
    verdict = values["verdict"]
    rows, marked = [], None
    for row, design in enumerate(values["alternatives"]):
        recommended = _is_recommended(design, verdict)
        if recommended:
            marked = row
        savings = design["saving"] or {}
        rows.append(
            (
                design["scheme"] + (" (recommended)" if recommended else ""),
                _training(design),
                design["thresholds"],
                number(design["cells_per_bit"], 4),
                _lowest(design, programming),
                *(() if knob is None else (knob.format(design["second"]),)),
                _met(design),
                _tolerated(design["tolerated_read_ber"]),
                energy(design["e_bit_j"]),
                energy(design["e_network_j"]),
                *(saving(savings.get(key)) for key in references),
            )
        )
    e_cell_j = values["energy"]["e_cell_j"]
    kind = "" if e_cell_j is None else f": medians ({interval_name(e_cell_j)})"
    return Table(
        f"All designs at their lowest safe programming, by energy per bit{kind}. In savings "
        "both sides are held to the same rule. Tolerated BER: of the bits as they are read, "
        "before a code corrects them, mean chip. In brackets: by accuracy surface or chips, and P "
        "against the standard network and against the own one without errors; both must hold.",
        (
            "Stored as",
            "Network",
            "Thresholds",
            "Cells per bit",
            f"Lowest safe {programming.name}",
            *(() if knob is None else (knob.name,)),
            "P(requirement met)",
            "Tolerated BER",
            "Energy per bit",
            "Energy for all weights",
            *(f"Saving: {name[:1].lower()}{name[1:]}" for name in references.values()),
        ),
        tuple(rows),
        words=3,
        marked=marked,
        folded_after=FOLDED_AFTER,
    )


def below_evaluated(values: Mapping[str, Any]) -> list[str]:
    """Designs whose network sees, in most draws, a smaller BER than chips were counted at."""
    return [
        f"{design['scheme']}, {design['network']}"
        for design in values["alternatives"]
        if (design["share_below_evaluated_ber"] or 0.0) > 0.5
    ]


@look()
def alternative_figure(values: Mapping[str, Any]) -> str:
    """Energy per bit of every design at its lowest safe programming, the least first."""
    designs = values["alternatives"]
    safe = [d for d in designs if d["e_bit_j"] is not None]
    figure = new_figure(WIDTH_PX, 22 * len(designs) + 110)
    ax = figure.subplots()
    treatments = list(dict.fromkeys(d["thresholds"] for d in designs))
    energies = [d["e_bit_j"][end] for d in safe for end in ("low", "high")]
    _, factor = prefix_for(min(energies, default=1.0))
    unit = f"{prefix_for(min(energies, default=1.0))[0]}J"
    for y, design in enumerate(designs):
        line = storage_line(design["scheme"])
        colour = line["color"]
        marker = MARKERS[treatments.index(design["thresholds"]) % len(MARKERS)]
        band = design["e_bit_j"]
        if band is None:
            ax.annotate(
                f"nowhere safe, at best P = {probability(design['p_requirement_met'])}",
                (0.01, y), xycoords=ax.get_yaxis_transform(), va="center", fontsize=11,
                color=QUIET,
            )  # fmt: skip
            continue
        ax.plot([band["low"], band["high"]], [y, y], lw=2.4, **line)
        open_mark = design["at_weakest_measured"]
        ax.plot(
            [band["median"]], [y], marker=marker, ms=7, ls="none", color=colour, mew=1.6,
            mfc="white" if open_mark else colour,
        )  # fmt: skip
    label_rows(
        ax,
        [
            short(f"{d['scheme']}, {_training(d)}, {d['thresholds']}{at}", 66)
            for d, at in zip(designs, _second_words(values), strict=True)
        ],
    )
    if energies:
        low, high = min(energies) / 1.15, max(energies) * 1.15
        log_axis(ax, "x", low, high, factor=factor)
        ax.set_xlim(low, high)
        ax.set_xlabel(f"programming energy per bit ({unit})")
    else:
        ax.set_xticks([])
    handles: list[Any] = [
        legend_key(name, lw=2.4, **storage_line(name))
        for name in dict.fromkeys(d["scheme"] for d in designs)
    ]
    handles += [
        legend_key(f"thresholds {t}", color=INK, marker=m, ms=7, ls="none")
        for t, m in zip(treatments, MARKERS, strict=False)
    ]
    if any(d["at_weakest_measured"] for d in safe):
        handles.append(
            legend_key(
                "at most: safe at the weakest measured value", color=INK, marker="o", mfc="white",
                ms=7, ls="none",
            )
        )  # fmt: skip
    return finished(
        figure, handles, "alternatives", "Energy per bit of the alternatives", columns=3
    )


def _second_words(values: Mapping[str, Any]) -> list[str]:
    """Value of the second variable of each design, as the end of a label."""
    second = values["programming"]["second"]
    if second is None:
        return [""] * len(values["alternatives"])
    knob = Programming(second["name"], second["unit"])
    return [f", {knob.format(design['second'])}" for design in values["alternatives"]]


def _is_recommended(design: Record, verdict: Record) -> bool:
    second = verdict["recommended_second"]
    at = None if second is None else second["value"]
    return (design["network"], design["scheme"], design["second"]) == (
        verdict["network"],
        verdict["scheme"],
        at,
    )


def _training(design: Record) -> str:
    """Name of a network without its thresholds, details kept that tell it from others."""
    return str(design["network"]).removesuffix(f", thresholds {design['thresholds']}")


def _lowest(design: Record, programming: Programming) -> str:
    lowest = design["lowest_safe_programming"]
    if lowest is None:
        return f"{NONE}; likeliest {programming.format(design['likeliest_programming'])}"
    return f"{'at most ' if design['at_weakest_measured'] else ''}{programming.format(lowest)}"


def _met(design: Record) -> str:
    """P(requirement met), and P against each network where these differ."""
    against, by = design["p_against"], "chips" if design["judged_by"] == "chips" else "surface"
    if against is not None and against["standard"] != against["own"]:
        by += "".join(f"; {name} {probability(p)}" for name, p in against.items())
    return f"{probability(design['p_requirement_met'])} ({by})"


def _tolerated(record: Record | None) -> str:
    return NONE if record is None else with_interval(record, estimated_rate)
