"""Figures of the answer: accuracy, probability, variance shares and savings."""

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
    SCRAMBLED,
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
    storage_line,
)
from reliability.report.figures.words import NONE, interval_name, percent, rate

SHARE_WORDS = {
    "family": "family: which model of the device",
    "device": "device: its law is not known exactly",
    "training": "training: trainings differ",
    "curve": "simulation: a finite number of chips",
    "chip": "chip: chips differ",
    "test set": "test set: a finite number of images",
    "interaction": "these together",
}
SHARE_COLOURS = (PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[9], PALETTE[7], PALETTE[4], PALETTE[5])


@look()
def accuracy_over_ber_figure(
    networks: Mapping[str, Mapping[str, Any]],
    tolerated: Mapping[str, Mapping[str, Any]],
    *,
    required: float,
    max_loss: float,
) -> str:
    """Accuracy over BER: all of it, and magnified around the requirement.

    Parameters
    ----------
    networks, tolerated : mapping
        ``results["networks"]`` and ``results["tolerated_ber"]``.
    required, max_loss : float
        Required accuracy and largest loss, fractions.
    """
    figure = new_figure(WIDTH_PX, 420)
    whole, near = figure.subplots(1, 2)
    rates = [b for n in networks.values() for b in n["ber"] if b > 0]
    handles: list[Any] = []
    for index, (name, network) in enumerate(networks.items()):
        colour = NETWORK_COLOURS[index % len(NETWORK_COLOURS)]
        curve = network["curve"]
        band = curve["accuracy"]
        for ax in (whole, near):
            shade(ax, curve["ber"], band, colour, alpha=0.3)
            ax.plot(curve["ber"], band["median"], color=colour, lw=1.4)
            ax.plot(
                network["ber"], network["accuracy_mean_of_chips"], ls="none", marker="o",
                ms=5, color=colour,
            )  # fmt: skip
            ax.plot(
                network["ber"], network["accuracy_worst_chip"], ls="none", marker="v",
                ms=5, mfc="white", color=colour,
            )  # fmt: skip
        label = f"network {short(name)}: fit, {interval_name(band)}"
        handles.append(legend_key(label, color=colour))
    handles += [
        legend_key("mean of chips", color=INK, marker="o", ms=5, ls="none"),
        legend_key("worst chip", color=INK, marker="v", ms=5, mfc="white", ls="none"),
        legend_key("required accuracy", **LIMIT),
    ]
    for ax in (whole, near):
        ax.axhline(required, **LIMIT)
        log_axis(ax, "x", min(rates), max(rates), form=rate)
        ax.set_xlabel("bit error rate (BER)")
    whole.set_xlim(min(rates) / 1.5, 1.0)
    whole.set_ylim(0, 1.02)
    percent_axis(whole.yaxis)
    whole.set_ylabel("accuracy on the test images (%)")
    whole.set_title("Whole range")
    best = max(n["error_free_accuracy"] for n in networks.values())
    near.set_xlim(max(min(rates) / 1.5, 7e-5), 0.3)
    near.set_ylim(required - 5 * max_loss, best + 1.5 * max_loss)
    percent_axis(near.yaxis, decimals=1)
    near.set_title("Around the requirement")
    for index, name in enumerate(networks):
        limit = tolerated[name]
        if limit["median"] is None or limit["median"] <= 0:
            continue
        colour = NETWORK_COLOURS[index % len(NETWORK_COLOURS)]
        near.axvspan(limit["low"], limit["high"], color=colour, alpha=0.18, lw=0)
        near.axvline(limit["median"], color=colour, lw=1)
        beside(
            near, limit["median"], 0.06 + 0.075 * index,
            f"{short(name, 22)} tolerates {rate(limit['median'])}", colour,
        )  # fmt: skip
    return finished(figure, handles, "accuracy-ber", "Accuracy over bit error rate")


@look()
def unequal_rates_figure(
    networks: Mapping[str, Mapping[str, Any]], *, required: float, max_loss: float
) -> str:
    """Accuracy over the mean of both error rates, a line for each share of stored ones.

    Parameters
    ----------
    networks : mapping
        Those of ``results["networks"]`` that were counted at unequal rates.
    required, max_loss : float
        Required accuracy and largest loss, fractions.
    """
    figure = new_figure(WIDTH_PX if len(networks) > 1 else 560, 400)
    axes = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    floor, words = required - 6 * max_loss, {}
    for ax, (name, network) in zip(axes, networks.items(), strict=True):
        counted, surface = network["unequal"], network["unequal"]["surface"]
        unequal = np.array([counted[k] for k in ("ber", "tilt", "accuracy_mean_of_chips")])
        equal = np.array([network["ber"], network["accuracy_mean_of_chips"]])
        ber, of, accuracy = np.hstack([unequal, np.insert(equal, 1, 0.0, axis=0)])
        for tilt, median in zip(surface["tilt"], surface["accuracy_median"], strict=True):
            line = {"color": _tilt_colour(tilt), "alpha": 0.35 + 0.65 * abs(tilt or 1.0)}
            words[_tilt_words(tilt)] = line
            ax.plot(surface["ber"], median, **line, lw=1.4)
            at = of == tilt
            ax.plot(ber[at], accuracy[at], **line, ls="none", marker="o", ms=5)
        ax.axhline(required, **LIMIT)
        rates, highest = surface["ber"], np.max(surface["accuracy_median"], axis=0)
        low, high = rates[0], rates[max(1, int((highest > floor).sum()) - 1)]
        log_axis(ax, "x", low, high, form=rate)
        ax.set_xlim(low / 1.1, high * 1.1)
        ax.set_xlabel("mean of both error rates")
        ax.set_title(f"Network {short(name)}")
    best = max(n["error_free_accuracy"] for n in networks.values())
    axes[0].set_ylim(floor, best + max_loss / 2)
    percent_axis(axes[0].yaxis, decimals=1)
    axes[0].set_ylabel("accuracy on the test images (%)")
    handles = [legend_key(text, **line) for text, line in words.items()]
    handles.append(legend_key("required accuracy", **LIMIT))
    return finished(figure, handles, "unequal-rates", "Accuracy at unequal error rates")


def _tilt_colour(tilt: float) -> str:
    return "black" if tilt == 0 else PALETTE[3 if tilt > 0 else 0]


def _tilt_words(tilt: float) -> str:
    """What share of the wrong bits is of one kind, ones and zeros being equally frequent."""
    if tilt == 0:
        return "stored ones and zeros go wrong alike"
    kind = "ones" if tilt > 0 else "zeros"
    if abs(tilt) == 1:
        return f"only stored {kind} go wrong"
    return f"{50 * (1 + abs(tilt)):.0f} % of the wrong bits are stored {kind}"


@look()
def accuracy_over_programming_figure(
    accuracy: Mapping[str, Mapping[str, Any]],
    safe: Mapping[str, Mapping[str, Any]],
    programming: Programming,
    *,
    scheme: str,
    required: float,
    max_loss: float,
    risk: float,
) -> str:
    """Accuracy of a chip over the programming variable, and P(requirement met) below it.

    Parameters
    ----------
    accuracy, safe : mapping
        ``results["accuracy"]`` and ``results["safe_programming"]``.
    programming : Programming
        The x axis.
    scheme : str
        Whose accuracy is drawn; the probability is drawn for all.
    required, max_loss, risk : float
        Required accuracy, largest loss, largest probability of missing it.
    """
    figure = new_figure(WIDTH_PX if len(accuracy) > 1 else 560, 600)
    axes = figure.subplots(
        2, len(accuracy), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2)
    )
    colour = storage_line(scheme)["color"]
    floor, top, name_of_band = required, required, ""
    for column, (name, schemes) in enumerate(accuracy.items()):
        upper, lower = axes[:, column]
        record = schemes[scheme]
        grid = record["grid"]
        on_set, population = record["test_set"], record["population"]
        name_of_band = interval_name(on_set)
        shade(upper, grid, population, colour, alpha=0.16)
        shade(upper, grid, on_set, colour, alpha=0.4)
        upper.plot(grid, on_set["median"], color=colour)
        upper.axhline(required, **LIMIT)
        floor = min(floor, *population["low"])
        top = max(top, *population["high"])
        upper.set_title(f"Network {short(name)}")
        lower.axhline(1 - risk, **LIMIT)
        programming_axis(lower, programming, grid[0], grid[-1])
        safe_from: dict[str, list[str]] = {}
        for other, values in schemes.items():
            lower.plot(grid, values["p_met"], **storage_line(other))
            lowest = safe[name][other]["lowest"]
            plain = other.removesuffix(SCRAMBLED)
            words = plain if other == plain else SCRAMBLED.removeprefix(", ")
            at = NONE if lowest is None else programming.format(lowest)
            safe_from.setdefault(plain, []).append(f"{words} {at}")
            if lowest is None:
                continue
            lower.axvline(lowest, color=storage_line(other)["color"], lw=1.2, ls=":")
            if other == scheme:
                upper.axvline(lowest, color=colour, lw=1, ls=":")
                beside(upper, lowest, 0.06, f"lowest safe: {programming.format(lowest)}", INK)
        lines = [", ".join(found) for found in safe_from.values()]
        lower.set_title("lowest safe: " + "\n".join(lines), weight="normal")
    axes[0, 0].set_ylim(max(floor, required - 8 * max_loss, 0.0), min(top + max_loss / 2, 1))
    percent_axis(axes[0, 0].yaxis, decimals=1)
    axes[0, 0].set_ylabel(f"accuracy of a chip, {scheme} (%)")
    axes[1, 0].set_ylim(-0.03, 1.04)
    axes[1, 0].set_ylabel("P(requirement met)")
    handles = _programming_keys(accuracy, scheme, name_of_band, required=required, risk=risk)
    return finished(
        figure, handles, "accuracy-programming", f"Accuracy over the {programming.name}"
    )


def _programming_keys(
    accuracy: Mapping[str, Mapping[str, Any]],
    scheme: str,
    name_of_band: str,
    *,
    required: float,
    risk: float,
) -> list[Any]:
    """Legend of the accuracy over the programming variable."""
    colour = storage_line(scheme)["color"]
    return [
        Patch(color=colour, alpha=0.55, label=f"on this test set: median, {name_of_band}"),
        Patch(color=colour, alpha=0.16, label=f"in the population: {name_of_band}"),
        *(
            legend_key(f"P(met), {s}", **storage_line(s))
            for s in dict.fromkeys(s for schemes in accuracy.values() for s in schemes)
        ),
        legend_key(f"required: accuracy {percent(required)}, probability {1 - risk:g}", **LIMIT),
        legend_key("lowest safe programming", color=INK, lw=1, ls=":"),
    ]


@look()
def share_figure(
    record: Mapping[str, Any], programming: Programming, *, lowest: float | None
) -> str:
    """Shares of the variance of a chip's accuracy, stacked over the programming variable.

    Parameters
    ----------
    record : mapping
        ``results["accuracy"][network][scheme]``.
    programming : Programming
        The x axis.
    lowest : float or None
        Lowest safe programming, marked.
    """
    figure = new_figure(WIDTH_PX, 380)
    ax = figure.subplots()
    shares = record["variance_shares"]
    ax.stackplot(
        record["grid"],
        *shares.values(),
        colors=SHARE_COLOURS[: len(shares)],
        edgecolor="white",
        linewidth=0.4,
    )
    programming_axis(ax, programming, record["grid"][0], record["grid"][-1])
    ax.set_ylim(0, 1)
    ax.grid(visible=False)
    percent_axis(ax.yaxis)
    ax.set_ylabel("share of the variance (%)")
    if lowest is not None:
        ax.axvline(lowest, color="black", lw=1.2, ls=":")
        beside(ax, lowest, 0.06, f"recommended: {programming.format(lowest)}", INK)
    handles = [
        Patch(color=colour, label=SHARE_WORDS.get(name, name))
        for name, colour in zip(shares, SHARE_COLOURS, strict=False)
    ]
    return finished(figure, handles, "shares", "Shares of the variance of accuracy")
