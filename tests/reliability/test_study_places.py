"""The gate of neighbouring cells stands in a study where places are given, and only there."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from devicefit.distributions.sensing import SensingOptions
from devicefit.measurements.measurements import Measurements
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import ReferencePlan, reference_measurements
from reliability.device.study import study_device


def failed(measurements: Measurements) -> dict[str, bool]:
    """Name of each gate, and whether it failed."""
    study = study_device(
        measurements,
        families=("lognormal",),
        sampler=SamplerOptions(chains=2, draws=60, warmup=150, seed=1),
        sensing=SensingOptions(),
    )
    return {gate["name"]: not gate["passed"] for gate in study.record["gates"]}


@pytest.fixture(scope="module")
def plain() -> Measurements:
    plan = ReferencePlan(currents=2, devices_per_current=200, cycles=1)
    return reference_measurements(plan=plan)


def test_with_and_without_places(plain: Measurements) -> None:
    names = sorted(plain.table["device_id"].unique())
    number = np.random.default_rng(2).permutation(len(names))
    random = pd.DataFrame(
        {"device_id": names, "array_id": "", "row": number // 20, "column": number % 20}
    )
    # Control: cells sorted by their HRS.
    hrs = plain.table[plain.table["state"] == "HRS"].set_index("device_id")["resistance_ohm"]
    rank = hrs.rank().astype(int).loc[names].to_numpy() - 1
    ordered = random.assign(row=rank // 20, column=rank % 20)
    assert "neighbours" not in failed(plain)
    assert not failed(dataclasses.replace(plain, places=random))["neighbours"]
    assert failed(dataclasses.replace(plain, places=ordered))["neighbours"]
