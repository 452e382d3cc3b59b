"""Tables and figure of `abstract_sentences.py`, from its record alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reliability.decision.safe_set import points

EXPOSED = {"all layers exposed": "all", "first and last layer protected": "all but the ends"}


def rate_words(found: Mapping[str, Any]) -> str:
    """A tolerated BER with its interval, ``"3.10e-2 (2.92e-2 to 3.23e-2)"``."""
    rates = {}
    for key in ("median", "low", "high"):
        bound = "at least " if found[f"{key}_is_lower_bound"] else ""
        if found[f"{key}_is_upper_bound"]:
            bound = "below "
        rates[key] = bound + short(found[key])
    if found["low_is_lower_bound"]:
        return rates["low"]
    if found["high_is_upper_bound"]:
        return rates["high"]
    return f"{rates['median']} ({rates['low']} to {rates['high']})"


def short(rate: float) -> str:
    """A rate with three digits, ``"3.10e-2"``."""
    mantissa, exponent = f"{rate:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def tolerance_table(record: Mapping[str, Any]) -> list[str]:
    """Tolerated BER of every network, one row for each exposure."""
    losses = record["losses"]
    head = [points(d) for d in losses]
    lines = [
        "| network | exposed | error-free | " + " | ".join(head) + " |",
        "|---" * (3 + len(head)) + "|",
    ]
    for group in record["tolerance"]:
        for name, found in group["networks"].items():
            cells = []
            for d in losses:
                one = found["tolerated"][f"{d:g}"]
                most = one["share_of_chips"]
                cells.append(f"{rate_words(one['mean_chip'])}; 95 % of chips {rate_words(most)}")
            exposed = EXPOSED[group["exposure"]]
            lines.append(
                f"| {name} | {exposed} | {100 * found['error_free']:.2f} % | "
                + " | ".join(cells)
                + " |"
            )
    return lines


def papers_ber_table(record: Mapping[str, Any]) -> list[str]:
    """Loss of the mean chip at the BER of the abstract, in points."""
    lines = [
        "| network | exposed | loss at 1e-4, points | loss at 4e-2, points |",
        "|---|---|---|---|",
    ]
    for group in record["tolerance"]:
        for name, found in group["networks"].items():
            exposed = EXPOSED[group["exposure"]]
            cells = [
                f"{one['median']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
                for one in found["loss_at_the_papers_ber"].values()
            ]
            lines.append(f"| {name} | {exposed} | " + " | ".join(cells) + " |")
    return lines


def savings_table(record: Mapping[str, Any], *, loss_limit: float) -> list[str]:
    """Savings at one loss, and between the BER of the abstract."""
    keys = ("standard network", "memory", "memory with ECC")
    lines = [
        "| device | network | exposed | " + " | ".join(f"against {k}" for k in keys) + " |",
        "|---" * (3 + len(keys)) + "|",
    ]
    for device, found in record["savings"].items():
        cells = [one["sentence"] for one in found["the_papers_rates"].values()]
        lines.append(
            f"| {device} | *BER 4e-2, whatever the network; against BER 1e-4, memory, memory with "
            "ECC* | | " + " | ".join(cells) + " |"
        )
        for group in found["networks"]:
            exposed = EXPOSED[group["exposure"]]
            for name, savings in group["by_loss"][f"{loss_limit:g}"].items():
                cells = [savings[key]["sentence"] for key in keys]
                if name == next(iter(group["by_loss"][f"{loss_limit:g}"])):
                    cells[0] = "the reference itself"
                lines.append(f"| {device} | {name} | {exposed} | " + " | ".join(cells) + " |")
    return lines


def write_tables(record: Mapping[str, Any], page: Path) -> None:
    """Put the tables between the marks of a page.

    Raises
    ------
    ValueError
        The page lacks a mark.
    """
    text = page.read_text(encoding="utf-8")
    missing = "; ".join(record["absent"]) or "nothing"
    tables = {
        "tolerated": tolerance_table(record),
        "loss": papers_ber_table(record),
        "saving": savings_table(record, loss_limit=record["losses"][-1]),
        "absent": [f"Not there when the tables were made: {missing}."],
    }
    for name, lines in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"{page} lacks the marks {begin.strip()!r} and {end!r}")
        before, rest = text.split(begin, 1)
        _, after = rest.split(end, 1)
        text = before + begin + "\n".join(lines) + "\n" + end + after
    page.write_text(text, encoding="utf-8")


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Tolerated BER of all networks beside the BER of the abstract."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    groups = record["tolerance"]
    rows = sum(len(g["networks"]) for g in groups[:: len(EXPOSED)])
    sets = list(dict.fromkeys(g["image_set"] for g in groups))
    figure, axes = plt.subplots(
        len(sets),
        len(EXPOSED),
        figsize=(13, 1.7 * len(sets) + 0.75 * rows),
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey="row",
    )
    for group in groups:
        axis = axes[sets.index(group["image_set"]), list(EXPOSED).index(group["exposure"])]
        names = list(group["networks"])
        for place, name in enumerate(names):
            for shift, (limit, found) in enumerate(group["networks"][name]["tolerated"].items()):
                for key, marker in (("mean_chip", "o"), ("share_of_chips", "s")):
                    one = found[key]
                    at = place + 0.24 * (shift - 1) + (0.08 if key == "share_of_chips" else 0.0)
                    axis.errorbar(
                        one["median"],
                        at,
                        xerr=[[one["median"] - one["low"]], [one["high"] - one["median"]]],
                        fmt=marker,
                        ms=4,
                        color=f"C{shift}",
                        mfc="white" if key == "share_of_chips" else None,
                        label=f"{points(float(limit))}, "
                        + ("mean chip" if key == "mean_chip" else "95 % of chips"),
                    )
        for words, rate in record["paper"].items():
            axis.axvline(rate, color="black", ls="--" if words == "standard" else ":", lw=1)
            axis.annotate(
                f"{rate:g}",
                (rate, 1.0),
                xycoords=("data", "axes fraction"),
                fontsize=8,
                va="bottom",
                ha="center",
            )
        axis.set_xscale("log")
        axis.set_yticks(range(len(names)), [n.replace(", ", ",\n") for n in names])
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_title(f"{group['image_set']}, {group['exposure']}\n", loc="left", fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("tolerated bit error rate")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(
        "BER at which a loss is reached, 90 % ETI; lines: the abstract's 1e-4 (standard network) "
        "and 4e-2 (trained for errors)",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)
