"""Counts of networks, one table for each training: which belong together, which cannot be used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from reliability.network_study import NetworkStudy

Counts = xr.Dataset | Sequence[xr.Dataset]
"""Table of one training, or tables of several trainings of one recipe."""


def tables_of(counts: Counts) -> tuple[xr.Dataset, ...]:
    """The tables of a network, one for each training."""
    return (counts,) if isinstance(counts, xr.Dataset) else tuple(counts)


def check_counts(counts: Mapping[str, Counts]) -> None:
    """Refuse counts that no curves can be fitted to.

    Raises
    ------
    ValueError
        As :func:`reliability.accuracy_curve.fit_accuracy_curves`.
    """
    if not counts or not all(tables_of(of) for of in counts.values()):
        raise ValueError("no network to fit; give at least one table of counts")
    tables = [(name, table) for name, of in counts.items() for table in tables_of(of)]
    for name, table in tables:
        if "ber" not in table.dims:
            raise ValueError(
                f"{name!r} was evaluated over {table['correct'].dims[0]}, a curve needs "
                "counts over BER; run `rram-reliability evaluate` without --errors and --device"
            )
    first, ber = tables[0][0], np.asarray(tables[0][1]["ber"].values, dtype=np.float64)
    for name, table in tables:
        if not np.array_equal(table["ber"].values, ber):
            raise ValueError(f"{name!r} was evaluated at other BER than {first!r}; use one grid")
        if table.sizes["chip"] < 2:
            raise ValueError(f"{name!r} has {table.sizes['chip']} chip; at least 2 needed")
    if np.sum(ber > 0) < 4:
        raise ValueError(
            f"{int(np.sum(ber > 0))} BER above zero; at least 4 are needed for a curve"
        )
    for name, of in counts.items():
        _check_trainings(name, tables_of(of))


def _check_trainings(name: str, tables: tuple[xr.Dataset, ...]) -> None:
    for attribute, what in (("images_sha256", "test set"), ("protected", "protected layers")):
        values = {str(table.attrs.get(attribute, "")) for table in tables}
        if len(values) > 1:
            raise ValueError(
                f"trainings of {name!r} differ in their {what}; evaluate all of them alike"
            )
    networks = [table.attrs.get("network_sha256") for table in tables]
    known = [sha for sha in networks if sha is not None]
    if len(set(known)) < len(known):
        raise ValueError(
            f"{name!r} has one network twice among its trainings; give each training once, and "
            "chips of one network in one table"
        )


def join_trainings(studies: Sequence[NetworkStudy]) -> list[NetworkStudy]:
    """One study for each recipe: trainings that differ in their seed alone belong together.

    Parameters
    ----------
    studies : sequence of NetworkStudy
        Counts of single networks.

    Returns
    -------
    list of NetworkStudy
        In the order of the first training of each recipe; networks that were not trained here have
        no recipe and stay alone, and so do the same weights with other thresholds.
    """
    joined: dict[str, NetworkStudy] = {}
    for number, study in enumerate(studies):
        key = recipe_of(study.record) or f"network {number}"
        if key in joined:
            first = joined[key]
            further = (*first.further_trainings, study.counts, *study.further_trainings)
            study = replace(first, further_trainings=further)
        joined[key] = study
    return list(joined.values())


def recipe_of(record: Mapping[str, Any]) -> str | None:
    """What a training is but for its seed, as text; None where the record does not say."""
    if "training" not in record:
        return None
    # Threads change no bits; seeds are what trainings of one recipe differ in.
    training = {k: v for k, v in record["training"].items() if k not in ("seed", "threads")}
    kept = {k: record.get(k) for k in ("architecture", "image_set")}
    treatment = record.get("thresholds", {}).get("treatment")
    return json.dumps({**kept, "training": training, "treatment": treatment}, sort_keys=True)
