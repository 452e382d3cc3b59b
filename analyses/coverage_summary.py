"""Counts and figure of `decision_coverage.py`, from its rows alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from devicefit.numerics.intervals import clopper_pearson
from reliability.decision.requirement import Requirement

ALLOWED = (84, 96)
"""Data sets of 100 whose 90 % interval may hold the truth; scaled for other numbers."""

Rows = list[dict[str, Any]]


def counted(inside: list[bool]) -> dict[str, Any]:
    """Count of intervals that hold the truth, with an exact interval of their share."""
    hits, n = sum(inside), len(inside)
    low, high = (bound * n / 100 for bound in ALLOWED)
    return {
        "inside": hits,
        "data_sets": n,
        **clopper_pearson(hits, n).record(),
        "allowed": [low, high],
        "within_allowed": bool(low <= hits <= high),
        "p_of_90_percent": float(binomtest(hits, n, 0.9).pvalue) if n else None,
    }


def summary(rows: Rows, requirement: Requirement) -> dict[str, Any]:
    """Counts over data sets."""
    decided = [row for row in rows if row["recommended_a"] is not None]
    savings = {}
    for key in rows[0]["saving"]:
        found = [row["saving"][key] for row in rows]
        exists = [f for f in found if f["inside"] is not None]
        savings[key] = {
            **counted([f["inside"] for f in exists]),
            "no_true_saving": len(found) - len(exists),
            "true_infinite": sum(f["true"] == "infinite" for f in exists),
            "bounds": sum(f["is_bound"] for f in exists),
        }
    shares = np.array([row["kept"]["met"] / row["kept"]["chips"] for row in decided])
    by_state = np.array(
        [row["kept"]["met_with_rates_of_states"] / row["kept"]["chips"] for row in decided]
    )
    first = sum(row["kept"]["first_chip_met"] for row in decided)
    names = rows[0]["tolerated"]
    return {
        "data_sets": len(rows),
        "r_hat_above_1.01": sum(row["r_hat"] > 1.01 for row in rows),
        "r_hat_above_1.05": sum(row["r_hat"] > 1.05 for row in rows),
        "failed_gates": {
            gate: sum(gate in row["failed_gates"] for row in rows)
            for gate in sorted({g for row in rows for g in row["failed_gates"]})
        },
        "ber_mean_share_of_grid_inside": {
            s: float(np.mean([row["ber"][s] for row in rows])) for s in rows[0]["ber"]
        },
        "tolerated_ber": {
            name: counted(
                [
                    row["tolerated"][name]["low"]
                    <= row["tolerated"][name]["true"]
                    <= row["tolerated"][name]["high"]
                    for row in rows
                ]
            )
            for name in names
        },
        "saving": savings,
        "promise": {
            "decided": len(decided),
            "at_weakest_measured": sum(row["at_weakest"] for row in decided),
            "designs": {
                f"{n}, {s}": sum((row["network"], row["scheme"]) == (n, s) for row in decided)
                for n, s in sorted({(row["network"], row["scheme"]) for row in decided})
            },
            "asked": 1 - requirement.risk,
            "mean_promised": float(np.mean([row["promised"] for row in decided])),
            "mean_share_of_chips_that_keep_it": float(shares.mean()),
            "standard_error": float(shares.std(ddof=1) / np.sqrt(len(shares))),
            "smallest_share": float(shares.min()),
            "with_rates_of_states": float(by_state.mean()),
            "first_chip_of_each": {
                "kept": first,
                "data_sets": len(decided),
                **clopper_pearson(first, len(decided)).record(),
            },
        },
        "processor_s": float(sum(row["processor_s"] for row in rows)),
    }


def draw(rows: Rows, requirement: Requirement, path: Path) -> None:
    """Intervals of all data sets with the truth, and the shares of chips that keep the promise."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    titles = {
        "standard_bnn": "against the standard network",
        "memory": f"against memory at {requirement.memory_ber:g}",
        "memory_with_ecc": f"against memory + ECC at {requirement.memory_ber:g}",
    }
    figure, axes = plt.subplots(2, 2, figsize=(12, 8.5), layout="constrained")
    for axis, (key, title) in zip(axes.flat, titles.items(), strict=False):
        found = [row["saving"][key] for row in rows]
        found = [f for f in found if f["inside"] is not None]
        hits = counted([f["inside"] for f in found])
        finite = [f["true"] for f in found if f["true"] != "infinite"]
        ends = [f[end] for f in found for end in ("low", "high") if f[end]]
        top = 2.2 * max([*finite, *ends])
        bottom = 0.75 * min([*(t for t in finite if t > 0), *ends])
        values = [top / 1.15 if f["true"] == "infinite" else max(f["true"], bottom) for f in found]
        order = np.lexsort((values, [f["low"] or bottom for f in found]))
        for place, index in enumerate(order):
            one, colour = found[index], "tab:blue" if found[index]["inside"] else "tab:red"
            low, high = one["low"] or bottom, one["high"] or top
            axis.plot([place, place], [low, high], color=colour, lw=1.6, alpha=0.55)
            axis.plot(
                place,
                values[index],
                color=colour if not one["inside"] else "black",
                marker="^" if one["true"] == "infinite" else "x" if not one["inside"] else ".",
                ms=5,
                ls="",
            )
        axis.set_yscale("log")
        axis.set_ylim(bottom, top)
        axis.set_title(
            f"{title}: {hits['inside']} of {hits['data_sets']} hold the truth\n"
            f"share {hits['inside'] / hits['data_sets']:.2f}, 90 % {hits['kind']} "
            f"{hits['low']:.2f} to {hits['high']:.2f}",
            loc="left",
            fontsize=10,
        )
        axis.set_xlabel("simulated device, ordered by the lower end")
        axis.set_ylabel("saving, both held to the same rule")
    _draw_promise(axes.flat[3], rows, requirement)
    figure.suptitle(
        f"{len(rows)} simulated devices: 90 % ETI (line) and truth (dot; red cross: missed; "
        "triangle: no current reaches the reference)\nlines to the upper or lower edge: a "
        "bound",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_promise(axis: Any, rows: Rows, requirement: Requirement) -> None:
    decided = [row for row in rows if row["recommended_a"] is not None]
    shares = np.sort([row["kept"]["met"] / row["kept"]["chips"] for row in decided])
    error = shares.std(ddof=1) / np.sqrt(len(shares))
    axis.plot(np.arange(len(shares)), shares, ".", color="tab:blue")
    axis.axhline(1 - requirement.risk, color="black", ls="--", label="promised at least")
    axis.axhline(shares.mean(), color="tab:blue", label="mean over devices")
    axis.set_title(
        f"chips that keep the loss at the chosen programming:\nmean share {shares.mean():.3f} "
        f"(standard error {error:.3f}), promised {1 - requirement.risk:g}",
        loc="left",
        fontsize=10,
    )
    axis.set_xlabel("simulated device, ordered by share")
    axis.set_ylabel(f"share of {decided[0]['kept']['chips']} chips")
    axis.legend(loc="lower right")
