"""Posteriors of life as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from devicefit.endurance import EnduranceState
from devicefit.fitting import Diagnostics
from devicefit.life_fit import LifeDraws
from devicefit.life_study import CycledCells, Endurance, Life, Retention
from devicefit.programming import Programming
from devicefit.retention import RetentionState
from devicefit.wear_out import WearOut

FORMAT = "rram-reliability life posterior 1"
KINDS = ("endurance", "retention", "wear-out")


def save_life(life: Life, path: Path) -> None:
    """Write a posterior of life as one netCDF file."""
    head: dict[str, Any] = {"format": FORMAT, "record": life.record, "parts": {}}
    parts: dict[str, LifeDraws]
    if isinstance(life, CycledCells):
        w = life.wear_out
        parts = {"all": w.fitted}
        head |= {
            "kind": "wear-out",
            "law": w.law,
            "programming": vars(w.programming),
            "x_low": w.x_low,
            "x_high": w.x_high,
            "cycles_high": w.cycles_high,
        }
    else:
        parts = {name: state.fitted for name, state in life.states.items()}
        head["kind"] = "endurance" if isinstance(life, Endurance) else "retention"
    for name, fitted in parts.items():
        head["parts"][name] = {
            "diagnostics": vars(fitted.diagnostics),
            "record": fitted.record,
        }
    if isinstance(life, Endurance):
        for name, state in life.states.items():
            head["parts"][name]["range"] = [state.cycles_low, state.cycles_high]
    elif isinstance(life, Retention):
        for name, baked in life.states.items():
            head["parts"][name]["range"] = [baked.reference_s, baked.reference_k]
    draws = xr.Dataset(
        {f"{name}.{v}": f.draws[v] for name, f in parts.items() for v in f.draws.data_vars}
    )
    draws.assign_attrs(rram_reliability=json.dumps(head)).to_netcdf(path, engine="h5netcdf")


def load_life(path: Path) -> Life:
    """Read what :func:`save_life` wrote.

    Raises
    ------
    ValueError
        No such file, not such a file, or one of another version.
    """
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            dataset = opened.load()
        head = json.loads(dataset.attrs["rram_reliability"])
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file; write it with `rram-reliability life endurance`, `retention` "
            "or `wear-out`"
        ) from None
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: not a posterior of life; write it with `rram-reliability life endurance`, "
            f"`retention` or `wear-out` ({error})"
        ) from None
    if head.get("format") != FORMAT:
        raise ValueError(f"{path}: format {head.get('format')!r}, this version reads {FORMAT!r}")
    parts = {name: _part(dataset, name, part) for name, part in head["parts"].items()}
    ends = {name: part.get("range") for name, part in head["parts"].items()}
    if head["kind"] == "endurance":
        return Endurance(
            {name: EnduranceState(p, *ends[name]) for name, p in parts.items()}, head["record"]
        )
    if head["kind"] == "retention":
        return Retention(
            {name: RetentionState(p, *ends[name]) for name, p in parts.items()}, head["record"]
        )
    wear_out = WearOut(
        head["law"],
        parts["all"],
        Programming(**head["programming"]),
        head["x_low"],
        head["x_high"],
        head["cycles_high"],
    )
    return CycledCells(wear_out, head["record"])


def _part(dataset: xr.Dataset, name: str, part: dict[str, Any]) -> LifeDraws:
    start = f"{name}."
    draws = xr.Dataset(
        {
            str(v)[len(start) :]: (dataset[v].dims, np.asarray(dataset[v].values))
            for v in dataset.data_vars
            if str(v).startswith(start)
        }
    )
    return LifeDraws(draws, Diagnostics(**part["diagnostics"]), part["record"])
