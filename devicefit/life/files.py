"""Posteriors of life as files, and what they must be when they are read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from devicefit.fitting.fit import Diagnostics
from devicefit.fitting.gate import Gate
from devicefit.fitting.posterior_files import HEAD, Strict, check_diagnostics, check_draws
from devicefit.inputs.programming import Programming
from devicefit.inputs.refusals import STATES
from devicefit.life import endurance, retention, wear_out
from devicefit.life.endurance import EnduranceState
from devicefit.life.fit import LifeDraws
from devicefit.life.retention import RetentionState
from devicefit.life.study import CycledCells, Endurance, Life, Retention
from devicefit.life.wear_out import WearOut
from devicefit.numerics.datasets import read_datasets, write_datasets
from devicefit.numerics.stored import plain_number, reading

FORMAT = "rram-reliability life posterior 3"
PRIORS = {
    "endurance": endurance.PRIORS,
    "retention": retention.PRIORS,
    "wear-out": wear_out.PRIORS,
}
"""Priors of the parameters of each kind of life."""

ALL = "all"
"""Name of the only part of wear-out, which is not told apart by states."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# what is said of a range, and of a life, in sentences
_RECORDS: dict[str, tuple[tuple[str, type], ...]] = {
    "endurance": (("units", int),),
    "retention": (
        ("time_low_s", float),
        ("time_high_s", float),
        ("temperature_low_k", float),
        ("temperature_high_k", float),
    ),
    "wear-out": (("cells", int), ("failed", int), ("cycles_low", float)),
}


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    diagnostics: Diagnostics
    record: dict[str, Any]
    range: tuple[Positive, Positive] | None = None


class _Record(Strict):
    gates: list[Gate]
    source: str = ""
    simulated: bool = False
    says: list[str] = []
    not_checked: list[str] = []


class _Head(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    kind: Literal["endurance", "retention", "wear-out"]
    record: _Record
    parts: dict[str, _Part]
    law: Literal["lognormal", "weibull"] = "lognormal"
    programming: Programming | None = None
    x_low: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    x_high: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    cycles_high: Positive = 1.0


def save_life(life: Life, path: Path) -> None:
    """Write a posterior of life as one netCDF file."""
    head: dict[str, Any] = {"record": life.record, "parts": {}}
    parts: dict[str, LifeDraws]
    if isinstance(life, CycledCells):
        w = life.wear_out
        parts = {ALL: w.fitted}
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
    write_datasets(path, FORMAT, {"": draws.assign_attrs({HEAD: json.dumps(head)})})


def load_life(path: Path) -> Life:
    """Read what :func:`save_life` wrote.

    Raises
    ------
    ValueError
        No such file, not such a file, one of another version, a damaged one, or one that cannot be
        a posterior; says what is wrong and what to do.
    """
    remedy = "write it with `rram-reliability life endurance`, `retention` or `wear-out`"
    with reading(path, "posterior of life", remedy):
        dataset = read_datasets(path, FORMAT)[""]
        text = dataset.attrs[HEAD]
        return _life(_Head.model_validate_json(text), json.loads(text)["record"], dataset)


def _life(head: _Head, record: dict[str, Any], dataset: xr.Dataset) -> Life:
    """Life from a checked head and its draws."""
    names = (ALL,) if head.kind == "wear-out" else STATES
    if set(head.parts) != set(names):
        raise ValueError(f"its parts are {', '.join(head.parts)}, wanted are {', '.join(names)}")
    left = {str(v) for v in dataset.data_vars if str(v).split(".")[0] not in names}
    if left:
        raise ValueError(f"unknown parameters {', '.join(sorted(left))}")
    parts = {name: _part(dataset, name, head) for name in head.parts}
    if head.kind == "wear-out":
        if head.programming is None:
            raise ValueError("the programming variable is missing")
        if head.x_low > head.x_high or (head.programming.is_logarithmic and head.x_low <= 0):
            raise ValueError(f"programming from {head.x_low} to {head.x_high} cannot be")
        worn = WearOut(
            head.law, parts[ALL], head.programming, head.x_low, head.x_high, head.cycles_high
        )
        return CycledCells(worn, record)
    ranges = {}
    for name, part in head.parts.items():
        if part.range is None:
            raise ValueError(f"{name}: the measured range is missing")
        ranges[name] = part.range
    if head.kind == "retention":
        return Retention({n: RetentionState(p, *ranges[n]) for n, p in parts.items()}, record)
    for name, (low, high) in ranges.items():
        if low > high:
            raise ValueError(f"{name}: cycles from {low} to {high} cannot be")
    return Endurance({n: EnduranceState(p, *ranges[n]) for n, p in parts.items()}, record)


def _part(dataset: xr.Dataset, name: str, head: _Head) -> LifeDraws:
    """Draws of one part, checked."""
    start, part = f"{name}.", head.parts[name]
    draws = xr.Dataset(
        {
            str(v)[len(start) :]: (dataset[v].dims, np.asarray(dataset[v].values))
            for v in dataset.data_vars
            if str(v).startswith(start)
        }
    )
    check_draws(draws, PRIORS[head.kind])
    check_diagnostics(part.diagnostics, draws)
    for key, kind in _RECORDS[head.kind]:
        value = part.record[key]
        number = plain_number(value) if isinstance(value, kind) else None
        if number is None or number < 0:
            raise ValueError(f"{name}: {key} is {value!r}; it must be a {kind.__name__} from 0 on")
    return LifeDraws(draws, part.diagnostics, part.record)
