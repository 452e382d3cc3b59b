"""Devices whose law is known, standing in for fits: the null case of every predictive gate."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from devicefit.distributions.mixture import Mixture
from devicefit.families.frame import Frame
from devicefit.measurements.measurements import Measurements, check_measurements
from devicefit.simulation.reference_device import (
    PROGRAMMING,
    ReferenceDevice,
    ReferencePlan,
    simulate_readings,
    true_mixtures,
)

FAILING = ReferenceDevice(set_floor=0.01, reset_floor=0.01, incomplete=0.02)


@dataclass(frozen=True)
class KnownDevice:
    """What a fit would be with an infinite number of readings: one draw, the truth."""

    device: ReferenceDevice
    frame: Frame
    family: str = "known"
    record: dict[str, Any] = field(default_factory=dict)

    def at_second(self, value: float) -> "KnownDevice":
        return self

    def mixtures(
        self, x: np.ndarray, *, second: Any = None, array: Any = None
    ) -> dict[str, Mixture]:
        laws = true_mixtures(self.device, np.atleast_1d(x))
        return {s: law.part((None, None, slice(None))) for s, law in laws.items()}


@pytest.fixture(scope="session")
def known_device() -> Callable[..., KnownDevice]:
    """Give the truth as a fit."""

    def make(device: ReferenceDevice = FAILING, arrays: tuple[str, ...] = ("",)) -> KnownDevice:
        return KnownDevice(device, Frame(PROGRAMMING, 2e-5, 6e-4, arrays=arrays))

    return make


@pytest.fixture(scope="session")
def readings_of() -> Callable[..., Measurements]:
    """Simulate readings of a device, changed by `change` before they are checked."""

    def make(
        device: ReferenceDevice = FAILING,
        *,
        seed: int,
        change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
        **plan: int,
    ) -> Measurements:
        rng = np.random.default_rng([seed, 61])
        table = simulate_readings(device, ReferencePlan(**plan), rng=rng)
        table = change(table.rename(columns={"i_cc_a": "programming"}))
        return check_measurements(table, PROGRAMMING, simulated=True)

    return make


@pytest.fixture(scope="session")
def rate_at_most() -> Callable[[np.ndarray, float], None]:
    """Check that small probabilities are no more frequent than they say, within 3.3 errors."""

    def check(p_values: np.ndarray, level: float) -> None:
        n = len(p_values)
        found = np.mean(np.asarray(p_values) < level)
        assert found <= level + 3.3 * np.sqrt(level * (1 - level) / n)

    return check
