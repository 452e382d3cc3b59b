"""Counts of networks, one table for each training: which belong together, which cannot be used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from reliability.networks.study import NetworkStudy


def check_counts(networks: Mapping[str, NetworkStudy]) -> None:
    """Refuse counts that no surfaces can be fitted to.

    Raises
    ------
    ValueError
        No network, counts over something else than BER, fewer than four BER above zero or fewer
        than two chips, trainings with different test sets or protected layers.
    """
    if not networks:
        raise ValueError("no network to fit; give at least one table of counts")
    of = {n: [s.counts, *(t.counts for t in s.further_trainings)] for n, s in networks.items()}
    tables = [(name, table) for name, tables in of.items() for table in tables]
    for name, table in tables:
        if "ber" not in table.dims:
            raise ValueError(_not_over_ber(name, table))
    for name, table in tables:
        if table.sizes["chip"] < 2:
            raise ValueError(f"{name!r} has {table.sizes['chip']} chip; at least 2 needed")
        positive = int(np.sum(table["ber"].values > 0))
        if positive < 4:
            raise ValueError(f"{name!r} has {positive} BER above zero; at least 4 are needed")
    for name, trainings in of.items():
        _check_trainings(name, trainings)


def _not_over_ber(name: str, table: xr.Dataset) -> str:
    """Why a table of other cases than bit error rates decides nothing, and what to do."""
    if "programming" in table.dims:
        why = (
            "at programming values of a device (--device): such counts hold for that device and "
            "those values, and decide nothing between them; `run` and `decide` draw such chips "
            "themselves, to confirm what they recommend"
        )
    else:
        why = (
            "in cases of errors of its own (--errors: layers, stuck cells, lines, read errors), "
            "which no bit error rate of the device tells of"
        )
    return (
        f"{name!r} was counted {why}. Count it over BER: `rram-reliability evaluate` without "
        "--errors and --device"
    )


def _check_trainings(name: str, tables: Sequence[xr.Dataset]) -> None:
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
            further = (*first.further_trainings, study)
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
