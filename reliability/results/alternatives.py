"""The table of alternatives: every network, treatment of thresholds and storage, by energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import PROBABILITY, band
from reliability.decision.comparison import Comparison, Design, design_energy
from reliability.decision.saving import stated_saving
from reliability.energy.energy import energy_at
from reliability.networks.names import training_of
from reliability.networks.study import NetworkStudy
from reliability.networks.treatments import treatment_of
from reliability.plans.codes import NO_CODE
from reliability.statements.loss import stated_loss

SHOWN = 12
"""Most designs that are printed at the command line."""


def alternative_records(
    comparisons: Sequence[Comparison], networks: Mapping[str, NetworkStudy]
) -> list[dict[str, Any]]:
    """Rows of the table of alternatives, the least energy first, those nowhere safe last.

    Parameters
    ----------
    comparisons : sequence of Comparison
        Designs on the same draws and chips, for each value of a second programming variable.
    networks : mapping of str to NetworkStudy
        By the names of the comparison.
    """
    every = [(c, design) for c in comparisons for design in c.designs]
    ranked = sorted(every, key=lambda one: one[0].rank(one[1]))
    return [_record(c, design, networks[design.network]) for c, design in ranked]


def _record(comparison: Comparison, design: Design, study: NetworkStudy) -> dict[str, Any]:
    ln_tolerated = comparison.tolerated_ln_ber[design.network]
    storage, safe = design.storage, design.safe
    bits = int(study.counts.attrs["weights"])
    coded = storage.code != NO_CODE
    at = design.place(comparison.grid)
    law, tolerated = stated_loss(comparison, design), _rates(ln_tolerated)
    record: dict[str, Any] = {
        "network": design.network,
        "training": training_of(study.record),
        "thresholds": treatment_of(study.record),
        "scheme": design.scheme,
        "read_as": storage.scheme,
        "code": storage.code.name if coded else None,
        "cells_per_bit": design.cells,
        "cells": storage.cells_for(bits),
        "lowest_safe_programming": safe.lowest,
        "second": None if comparison.second is None else comparison.second[1],
        "at_weakest_measured": safe.at_edge,
        "p_requirement_met": design.stated(comparison.grid)[1],
        "p_against": None if law is None else law.p_against,
        "judged_by": design.judged_by,
        "likeliest_programming": float(comparison.grid[design.p_met.argmax()]),
        "tolerated_ber": tolerated,
        "tolerated_read_ber": _rates(storage.ln_ber_read(ln_tolerated)) if coded else tolerated,
        "sentence": safe.sentence,
        "network_ber": None,
        "share_below_evaluated_ber": None,
        "e_bit_j": None,
        "e_network_j": None,
        "saving": None,
    }
    if safe.lowest is None:
        return record
    ln_ber = comparison.network_ln_ber(storage)[comparison.pairing.rates, at]
    below = ln_ber < comparison.curves[design.network].ln_rate[0]
    record |= {"network_ber": _rates(ln_ber), "share_below_evaluated_ber": float(np.mean(below))}
    if not comparison.energy.is_known:
        return record
    e_cell = energy_at(comparison.energy, safe.lowest)
    return {
        **record,
        "e_bit_j": band(design_energy(design, comparison.energy), axis=0),
        "e_network_j": band(e_cell * storage.cells_for(bits), axis=0),
        "saving": {r.key: stated_saving(comparison, design, r) for r in comparison.references},
    }


def _rates(ln_rate: FloatArray) -> dict[str, Any] | None:
    """Median and interval of a rate; None where not even a rate of zero will do."""
    if np.isneginf(ln_rate).all():
        return None
    tail = (1 - PROBABILITY) / 2
    low, median, high = np.exp(np.quantile(ln_rate, [tail, 0.5, 1 - tail])).tolist()
    interval = {"low": low, "high": high, "kind": "ETI", "probability": PROBABILITY}
    return {"median": median, **interval}


def alternative_lines(values: Mapping[str, Any]) -> list[str]:
    """The table in short, for the command line.

    Parameters
    ----------
    values : mapping
        Of the results: ``alternatives`` and ``programming``.
    """
    records: Sequence[Mapping[str, Any]] = values["alternatives"]
    programming = Programming(values["programming"]["name"], values["programming"]["unit"])
    safe = [r for r in records if r["lowest_safe_programming"] is not None]
    second = values["programming"]["second"]
    lines = []
    if safe:
        head = ("stored as", "network", "thresholds", "cells/bit", "lowest safe", "P(met)",
                "energy per bit", "saving: standard", "memory")  # fmt: skip
        rows = [head, *(_row(record, programming) for record in safe[:SHOWN])]
        if second is not None:
            variable = Programming(second["name"], second["unit"])
            knob = [variable.name, *(variable.format(r["second"]) for r in safe[:SHOWN])]
            rows = [(*row[:5], at, *row[5:]) for row, at in zip(rows, knob, strict=True)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [
            "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    if len(safe) > SHOWN:
        lines.append(f"and {len(safe) - SHOWN} more that are safe, with more energy")
    if len(safe) < len(records):
        lines.append(
            f"{len(records) - len(safe)} of {len(records)} designs are safe at no measured "
            f"{programming.name}; why is in the results"
        )
    return lines


def _row(record: Mapping[str, Any], programming: Programming) -> tuple[str, ...]:
    lowest = programming.format(record["lowest_safe_programming"])
    energy, savings = record["e_bit_j"], record["saving"] or {}
    return (
        record["scheme"],
        record["training"],
        record["thresholds"],
        f"{record['cells_per_bit']:.4g}",
        f"at most {lowest}" if record["at_weakest_measured"] else lowest,
        f"{record['p_requirement_met']:.3f} "
        f"({'chips' if record['judged_by'] == 'chips' else 'surface'})",
        "not known"
        if energy is None
        else f"{energy['median'] * 1e12:.3g} pJ ({energy['low'] * 1e12:.3g} to "
        f"{energy['high'] * 1e12:.3g})",
        *(_factor(savings.get(key)) for key in ("standard_bnn", "memory")),
    )


def _factor(saving: Mapping[str, Any] | None) -> str:
    if saving is None:
        return "-"
    bound = saving["bound"]
    if bound is not None:
        return f"{bound['side']} {bound['value']:.3g}"
    return "not known" if saving["median"] is None else f"{saving['median']:.3g}"
