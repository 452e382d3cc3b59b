"""Tables of the answer: rows of words from plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from devicefit.inputs.programming import Programming
from reliability.report.figures.answer import SHARE_WORDS
from reliability.report.figures.saving import SavingRow
from reliability.report.figures.words import (
    NONE,
    estimate,
    interval_name,
    number,
    percent,
    quantity,
    saving,
    share,
    with_interval,
)
from reliability.report.table import Table

REFERENCES = {
    "standard_bnn": "Standard network",
    "memory": "Plain memory",
    "memory_with_ecc": "Plain memory with ECC",
    "stated": "Stated reference",
}
ENERGY_WORDS = {
    "set_voltage_v": "SET voltage",
    "reset_voltage_v": "RESET voltage",
    "set_pulse_s": "SET pulse width",
    "reset_pulse_s": "RESET pulse width",
    "voltage_sd": "relative standard deviation of each voltage",
    "reset_current_sd": "standard deviation of ln(RESET current / SET current)",
    "v_c_v": "V_c of the filament, by which a current that is not known is inferred",
    "v_c_sd": "standard deviation of ln V_c",
    "inference_sd": "standard deviation of ln b, the exponent with which a current is inferred",
    "pulse_sd": "relative standard deviation of each pulse width",
    "current_sd": "relative standard deviation of all stated currents together",
    "current_slope_sd": "standard deviation of the exponent of true over stated current, less 1",
}


SOURCES = {
    "family": "Device model (family)",
    "device": "Device",
    "training": "Training",
    "curve": "Simulated chips",
    "energy inputs": "Energies",
    "interaction": "These together",
}


def references(values: Mapping[str, Any]) -> dict[str, str]:
    """Name of each reference there is, by key."""
    return {key: name for key, name in REFERENCES.items() if key in values["energy_saving"]}


def lower_first(text: str) -> str:
    """Text as it stands within a sentence: ``"plain memory with ECC"``."""
    return text[:1].lower() + text[1:]


def saving_rows(values: Mapping[str, Any]) -> list[SavingRow]:
    """Rows of the saving figure, with true factors where they are known."""
    truth = (values.get("simulated_truth") or {}).get("energy_saving") or {}
    return [
        SavingRow(name, values["energy_saving"][key], truth.get(key, {}).get("true"))
        for key, name in references(values).items()
    ]


def saving_table(values: Mapping[str, Any], programming: Programming) -> Table:
    """The saving against each reference, and the energies at the recommended values."""
    found = values["energy_saving"]
    rows = []
    for key, name in references(values).items():
        plain = found[key]["at_recommended"]
        rows.append(
            (
                name,
                saving(found[key]),
                "no recommended value"
                if plain is None
                else programming.format(plain["programming"]),
                saving(plain),
            )
        )
    design = found["design"]
    rank = "compared" if values["verdict"]["network"] is None else "recommended"
    return Table(
        f"Programming energy of the reference divided by that of the {rank} design (network "
        f"{design['network']}, {design['scheme']}): median ({interval_name(found['memory'])}).",
        (
            "Compared with",
            "Saving, both held to the same rule",
            "Recommended value of the reference",
            "Ratio of the energies at the two recommended values",
        ),
        tuple(rows),
    )


def reference_table(values: Mapping[str, Any], programming: Programming) -> Table:
    """Where each reference stands."""
    found = values["energy_saving"]
    rows = []
    for key, name in references(values).items():
        at = found[key]["reference_programming"]
        rows.append(
            (
                name,
                found[key]["reference"],
                with_interval(at, programming.format),
                f"{100 * at['share_not_reached']:.3g} %",
            )
        )
    return Table(
        f"The weakest {programming.name} at which each reference holds: median "
        f"({interval_name(found['memory']['reference_programming'])}). Draws in which the "
        "strongest measured value does not suffice count as that value.",
        ("Reference", "What it is", "Weakest programming", "Draws in which it is not reached"),
        tuple(rows),
        words=2,
    )


def share_table(record: Mapping[str, Any], at: float) -> Table:
    """Shares of the variance at one programming value."""
    i = grid_index(record["grid"], at)
    rows = tuple(
        (SHARE_WORDS.get(name, name), share(shares[i]))
        for name, shares in record["variance_shares"].items()
    )
    return Table("Shares at the recommended programming.", ("Source", "Share"), rows)


def energy_table(record: Mapping[str, Any]) -> Table | None:
    """Assumptions about the pulses; None where the energy does not rest on them."""
    if record["options"] is None:
        return None
    rows = []
    for key, value in record["options"].items():
        if key.endswith("_v"):
            text = quantity(value, "V")
        elif key.endswith("_s"):
            text = quantity(value, "s")
        else:
            text = number(value)
        rows.append((ENERGY_WORDS.get(key, key), text))
    return Table(
        "What the energy rests on: as given by the user, else assumed values of usual size.",
        ("Quantity", "Value"),
        tuple(rows),
    )


def truth_table(values: Mapping[str, Any]) -> Table:
    """Whether the intervals hold what is true of the simulated device."""
    truth = values["simulated_truth"]
    rows = [
        (
            f"BER, {scheme}",
            "a curve",
            f"{percent(record['share_of_grid_inside'])} of the programming grid",
        )
        for scheme, record in truth["ber"].items()
    ]
    for key, name in REFERENCES.items():
        true = truth["energy_saving"].get(key)
        if true is None:
            continue
        least = "at least " if true["not_reached"] else ""
        inside = "inside" if true["inside"] else "OUTSIDE"
        rows.append(
            (
                f"Saving, compared with: {lower_first(name)}",
                f"{least}{estimate(true['true'])}",
                f"{inside} {saving(values['energy_saving'][key])}",
            )
        )
    return Table(
        "True values beside the answer of this report "
        f"({interval_name(values['ber']['1T1R']['interval'])}).",
        ("What", "True", "Inside the interval?"),
        tuple(rows),
    )


def grid_index(grid: Sequence[float], at: float) -> int:
    """Index of the grid value nearest to `at`."""
    return int(np.argmin(np.abs(np.array(grid) - at)))


def confirmation_table(
    confirmed: Sequence[Mapping[str, Any]], programming: Programming
) -> Table | None:
    """Chips that were counted to confirm designs, lot by lot; None where none were."""
    if not confirmed:
        return None
    rows = []
    for design in confirmed:
        lots = [(lot, "chooses") for lot in design["tried"]]
        if design["fresh"] is not None:
            fresh = design["fresh"]
            each = design["each_array_qualifies"]
            lots.append(
                (fresh, "fresh, stated: array with the fewest" if each else "fresh, stated")
            )
            lots += [(lot, f"fresh, array {name}") for name, lot in fresh["arrays"].items()]
            if design["on_new_array"] is not None:
                lots.append((design["on_new_array"], "a new array, by the prior of the spread"))
        for check in design["readings"]:
            lots.append((check["by_readings"], "error rates counted from readings, no model"))
            lots.append((check["by_model"], "the model at the same measured values"))
        rows += [
            (
                design["scheme"],
                design["network"],
                role,
                programming.format(lot["programming"]),
                f"{lot['met']:,} of {lot['chips']:,}",
                f"{lot['share']:.3f} ({lot['low']:.3f} to {lot['high']:.3f})",
            )
            for lot, role in lots
        ]
    return Table(
        "Chips drawn from the posterior: how many meet the requirement (exact 95 % confidence "
        "interval of the share)",
        ("Stored as", "Network", "Lot", programming.name, "Chips that meet it", "Share"),
        tuple(rows),
        words=3,
    )


def saving_share_table(values: Mapping[str, Any]) -> Table | None:
    """Shares of the sources in the variance of ln of each saving; None where there are none.

    Parameters
    ----------
    values : mapping
        Of the results.
    """
    found = values.get("saving_shares")
    if found is None:
        return None
    missing = found["not_in_the_shares"] or "nothing"
    rows, sources = [], []
    for key, name in references(values).items():
        record = found["against"].get(key)
        if record is None:  # this saving is not stated
            continue
        sources = list(record["share"])
        rows.append(
            (
                name,
                number(record["sd_ln_saving"], 2),
                *(_share_with_error(record, source) for source in sources),
                f"{100 * record['share_of_bounds']:.0f} %",
            )
        )
    return Table(
        "What the uncertainty of each saving comes from: shares of the variance of ln saving, with "
        f"the Monte-Carlo standard error ({found['draws']:,} draws of each arrangement). Draws "
        "that are bounds count with the end of the measured range. Not in the shares: "
        f"{missing}.",
        (
            "Saving against",
            "SD of ln saving",
            *(SOURCES.get(source, source) for source in sources),
            "Draws that are bounds",
        ),
        tuple(rows),
    )


def _share_with_error(record: Mapping[str, Any], source: str) -> str:
    """``"84 +- 2 %"``; nothing where the saving does not vary."""
    share, error = record["share"][source], record["standard_error"][source]
    if not any(record["share"].values()):
        return "-"
    if error >= 0.005:
        return f"{100 * share:.0f} +- {100 * error:.0f} %"
    if error >= 0.0005:
        return f"{100 * share:.1f} +- {100 * error:.1f} %"
    return f"{100 * share:.1f} %"


def next_table(values: Mapping[str, Any]) -> Table | None:
    """Ranked candidates; None where the results hold no ranking."""
    ranking = (values.get("measure_next") or {}).get("ranking")
    if ranking is None:
        return None
    return Table(
        f"Further measurements, ranked by how much they are expected to shrink the "
        f"{100 * ranking['probability']:.0f} % {ranking['kind']} of ln saving "
        f"(reference: {ranking['reference']}). After +-: Monte-Carlo standard error.",
        ("What", "Interval shrinks", "Energy saved by the new choice", "P(choice moves by 5 %)"),
        tuple(_next_row(candidate) for candidate in ranking["candidates"]),
    )


def _next_row(candidate: Mapping[str, Any]) -> tuple[str, str, str, str]:
    choice = candidate["choice"] or {}
    saved = choice.get("ln_energy_saved")
    notes = [candidate["note"]] if candidate["note"] else []
    if candidate["extrapolated"]:
        notes.append("outside the measured range: rests on the model")
    return (
        candidate["words"] + (f" ({'; '.join(notes)})" if notes else ""),
        _percent_with_error(candidate["shrinkage"], candidate["standard_error"]),
        NONE if saved is None else _percent_with_error(saved, choice["standard_error"]),
        number(choice.get("p_notable"), 2),
    )


def _percent_with_error(fraction: float, error: float) -> str:
    return f"{100 * fraction:z.1f} % +- {100 * error:.1f}"
