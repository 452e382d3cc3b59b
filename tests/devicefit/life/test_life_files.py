"""Posteriors of life that cannot be are refused, with hashes that fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from devicefit.fitting.fit import Diagnostics
from devicefit.fitting.posterior_files import HEAD
from devicefit.inputs.programming import Programming
from devicefit.life.files import FORMAT, PRIORS, load_life
from devicefit.numerics.datasets import write_datasets

RECORDS = {
    "endurance": {"units": 3},
    "retention": {
        "time_low_s": 1.0, "time_high_s": 9.0, "temperature_low_k": 300.0,
        "temperature_high_k": 400.0,
    },
    "wear-out": {"cells": 9, "failed": 3, "cycles_low": 1e3},
}  # fmt: skip
Head = dict[str, Any]


def written(path: Path, kind: str, change: Callable[[Head, xr.Dataset], object]) -> Path:
    """Write a posterior whose draws are the means of the priors, changed on purpose."""
    names = ("all",) if kind == "wear-out" else ("LRS", "HRS")
    part = {"diagnostics": vars(Diagnostics(1.0, 9.0, 9.0, 0, 9)), "record": RECORDS[kind]}
    if kind != "wear-out":
        part |= {"range": [100.0, 1000.0]}
    head: Head = {"kind": kind, "record": {"gates": []}, "parts": dict.fromkeys(names, part)}
    if kind == "wear-out":
        head |= {"law": "weibull", "x_low": 2e-5, "x_high": 6e-4, "cycles_high": 1e6}
        head["programming"] = vars(Programming("SET compliance current", "A"))
    head = json.loads(json.dumps(head))
    draws = xr.Dataset(
        {
            f"{name}.{p.name}": (("chain", "draw"), np.full((1, 9), p.mean))
            for name in names
            for p in PRIORS[kind]
        }
    )
    change(head, draws)
    write_datasets(path, FORMAT, {"": draws.assign_attrs({HEAD: json.dumps(head)})})
    return path


@pytest.mark.parametrize("kind", RECORDS)
def test_lives_that_can_be_are_read(kind: str, tmp_path: Path) -> None:
    """Control: what the next test changes is read as it is."""
    load_life(written(tmp_path / "l.nc", kind, lambda head, draws: None))


def set_draw(name: str, value: float) -> Callable[[Head, xr.Dataset], object]:
    return lambda head, draws: draws[name].values.__setitem__((0, 4), value)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("endurance", set_draw("HRS.slope", 2147483647), "slope is 2.14748e.09 in chain 0, draw 4"),
        ("endurance", set_draw("LRS.logit_icc", np.nan), "logit_icc is nan"),
        ("endurance", lambda h, d: d.__delitem__("LRS.slope"), "unknown parameters: slope"),
        ("endurance", lambda h, d: d.update({"MRS.slope": d["LRS.slope"]}), "MRS.slope"),
        ("endurance", lambda h, d: h.update(kind="retention"), "parameters"),
        ("endurance", lambda h, d: h.update(kind="erosion"), "kind: Input should be 'endurance'"),
        ("endurance", lambda h, d: h["parts"].pop("HRS"), "its parts are LRS, wanted are LRS, HRS"),
        ("endurance", lambda h, d: h["parts"]["LRS"].pop("range"), "measured range is missing"),
        ("endurance", lambda h, d: h["parts"]["LRS"].update(range=[9.0, 1.0]), "from 9.0 to 1.0"),
        ("endurance", lambda h, d: h["parts"]["LRS"].update(range=[0.0, 1.0]), "range.0"),
        ("endurance", lambda h, d: h["parts"]["LRS"].update(range=[1.0]), "range"),
        ("endurance", lambda h, d: h["parts"]["LRS"]["record"].update(units="3"), "units is '3'"),
        ("endurance", lambda h, d: h["parts"]["LRS"]["record"].pop("units"), "'units' is missing"),
        ("endurance", lambda h, d: h["parts"]["LRS"]["diagnostics"].update(draws=8), "of 8 draws"),
        ("endurance", lambda h, d: h["record"].pop("gates"), "record.gates: Field required"),
        ("endurance", lambda h, d: h["record"].update(gates=[{"passed": True}]), "record.gates.0"),
        ("endurance", lambda h, d: h["record"].update(simulated="no"), "record.simulated"),
        (
            "retention",
            lambda h, d: h["parts"]["HRS"]["record"].update(time_high_s=float("inf")),
            "time_high_s is inf",
        ),
        ("wear-out", lambda h, d: h.update(x_low=1.0), "programming from 1.0 to 0.0006 cannot be"),
        ("wear-out", lambda h, d: h.update(x_low=-1.0), "programming from -1.0"),
        ("wear-out", lambda h, d: h.update(cycles_high=0.0), "cycles_high"),
        ("wear-out", lambda h, d: h.update(law="normal"), "law: Input should be 'lognormal'"),
        ("wear-out", lambda h, d: h.pop("programming"), "the programming variable is missing"),
        ("wear-out", lambda h, d: h.update(programming={"name": "x", "unit": "K"}), "unit 'K'"),
        ("wear-out", lambda h, d: h["parts"]["all"]["record"].update(cells=-1), "cells is -1"),
    ],
)
def test_lives_that_cannot_be_are_refused(
    kind: str, change: Callable[[Head, xr.Dataset], object], message: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "l.nc", kind, change)
    with pytest.raises(ValueError, match=f"l.nc: not a posterior of life.*{message}.*write it"):
        load_life(path)
