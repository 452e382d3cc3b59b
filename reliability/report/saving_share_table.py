"""Table of the sources of the uncertainty of each saving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reliability.report.figures.words import number
from reliability.report.table import Table
from reliability.report.tables import references

SOURCES = {
    "family": "Device model (family)",
    "device": "Device",
    "training": "Training",
    "curve": "Simulated chips",
    "energy inputs": "Energies",
    "interaction": "These together",
}


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
                *(_share(record, source) for source in sources),
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


def _share(record: Mapping[str, Any], source: str) -> str:
    """``"84 +- 2 %"``; nothing where the saving does not vary."""
    share, error = record["share"][source], record["standard_error"][source]
    if not any(record["share"].values()):
        return "-"
    if error >= 0.005:
        return f"{100 * share:.0f} +- {100 * error:.0f} %"
    if error >= 0.0005:
        return f"{100 * share:.1f} +- {100 * error:.1f} %"
    return f"{100 * share:.1f} %"
