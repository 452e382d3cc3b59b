"""A simulated device with known truth, built from the published laws of HfO2 cells.

Nothing here was measured. The laws and their sources are those of ``docs/reference_device.md``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from devicefit.distributions.mixture import Mixture
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import Measurements, check_measurements
from devicefit.numerics.arrays import FloatArray

PROGRAMMING = Programming("SET compliance current", "A")
DEFAULT_SEED = 20190407


@dataclass(frozen=True)
class ReferenceDevice:
    """True parameters of the simulated device. SI units; spreads are of ln R.

    Parameters
    ----------
    v_c_v, exponent, r_series_ohm : float
        ``R_LRS = r_series + v_c / I^exponent``, with the current in ampere and the exponent
        acting relative to 1e-4 A.
    filament_spread : float
        Relative standard deviation of a 10 kohm filament; grows with the square root of its
        resistance, as for a Poisson count of defects.
    floor_spread : float
        Spread of the series part.
    r_hrs_ohm, hrs_spread : float
        Median and spread of the HRS, the same at every current.
    device_share_lrs, device_share_hrs : float
        Share of the variance that belongs to the device; the rest is new in every cycle.
    set_current_a, set_width : float
        A SET fails with probability ``floor + logistic(-(ln I - ln set_current) / set_width)``,
        independently at each write.
    set_floor, reset_floor : float
        Probabilities of a failed SET at strong programming and of a failed RESET, per write.
    incomplete : float
        Probability per write that a SET stops short and leaves a filament of higher resistance.
    incomplete_rise, incomplete_exponent, incomplete_spread : float
        ln R of such a filament is higher by ``rise (R / 3 kohm)^exponent``, where R is that of the
        ordinary one, and has this standard deviation. The unset cell conducts beside it.
    r_stuck_ohm, stuck_spread : float
        Median and spread of cells whose RESET failed.
    """

    v_c_v: float = 0.5
    exponent: float = 1.0
    r_series_ohm: float = 1000.0
    filament_spread: float = 0.25
    floor_spread: float = 0.04
    r_hrs_ohm: float = 1.1e5
    hrs_spread: float = 0.5
    device_share_lrs: float = 0.5
    device_share_hrs: float = 0.13
    set_current_a: float = 5e-6
    set_width: float = 0.35
    set_floor: float = 3e-6
    reset_floor: float = 4e-6
    incomplete: float = 3e-3
    incomplete_rise: float = 0.8
    incomplete_exponent: float = -0.25
    incomplete_spread: float = 0.35
    r_stuck_ohm: float = 1600.0
    stuck_spread: float = 0.2


@dataclass(frozen=True)
class ReferencePlan:
    """How the simulated device is measured: each device is programmed at one current.

    Parameters
    ----------
    low_a, high_a : float
        Smallest and largest compliance current.
    currents : int
        Number of currents, evenly spaced in their logarithm.
    devices_per_current : int
        Devices at each current.
    cycles : int
        SET and RESET cycles of each device, one reading after each.
    """

    low_a: float = 20e-6
    high_a: float = 600e-6
    currents: int = 8
    devices_per_current: int = 100
    cycles: int = 5

    def __post_init__(self) -> None:
        if not 0 < self.low_a < self.high_a:
            raise ValueError(f"currents from {self.low_a} to {self.high_a} A: need 0 < low < high")
        for name in ("currents", "devices_per_current", "cycles"):
            if getattr(self, name) < (2 if name == "currents" else 1):
                raise ValueError(f"{name} is {getattr(self, name)}; it is too small")

    @property
    def currents_a(self) -> FloatArray:
        """Programmed currents, rounded to four digits, A."""
        values = np.geomspace(self.low_a, self.high_a, self.currents)
        return np.array([float(f"{value:.4g}") for value in values])


def true_mixtures(device: ReferenceDevice, i_cc_a: FloatArray) -> dict[str, Mixture]:
    """True law of ln R over devices and cycles, trailing shape as `i_cc_a`."""
    current = np.asarray(i_cc_a, dtype=np.float64)
    filament = device.v_c_v / 1e-4 * (current / 1e-4) ** -device.exponent
    path = device.r_series_ohm + filament
    mean_lrs = np.log(path)
    relative = device.filament_spread * np.sqrt(filament / 1e4)
    sd_lrs = np.hypot(device.floor_spread, relative * filament / path)
    mean_hrs = np.full_like(mean_lrs, np.log(device.r_hrs_ohm))
    sd_hrs = np.full_like(mean_lrs, device.hrs_spread)
    odds = (current / device.set_current_a) ** (-1 / device.set_width)
    fails = device.set_floor + (1 - device.set_floor) * odds / (1 + odds)
    short = filament * np.exp(
        device.incomplete_rise * (filament / 3e3) ** device.incomplete_exponent
    )
    mean_short = -np.log(1 / (device.r_series_ohm + short) + 1 / device.r_hrs_ohm)
    relative_short = np.hypot(
        device.filament_spread * np.sqrt(short / 1e4), device.incomplete_spread
    )
    sd_path = np.hypot(device.floor_spread, relative_short * short / (device.r_series_ohm + short))
    beside = np.exp(mean_short) / device.r_hrs_ohm
    sd_short = np.hypot((1 - beside) * sd_path, beside * device.hrs_spread)
    ones = np.ones_like(mean_lrs)
    lrs = Mixture(
        np.stack(
            [
                np.log1p(-fails) + np.log1p(-device.incomplete),
                np.log1p(-fails) + np.log(device.incomplete),
                np.log(fails),
            ]
        ),
        np.stack([mean_lrs, mean_short, mean_hrs]),
        np.stack([sd_lrs, sd_short, sd_hrs]),
    )
    hrs = Mixture(
        np.stack([np.log1p(-device.reset_floor) * ones, np.log(device.reset_floor) * ones]),
        np.stack([mean_hrs, np.log(device.r_stuck_ohm) * ones]),
        np.stack([sd_hrs, device.stuck_spread * ones]),
    )
    return {"LRS": lrs, "HRS": hrs}


def simulate_readings(
    device: ReferenceDevice, plan: ReferencePlan, *, rng: np.random.Generator
) -> pd.DataFrame:
    """Simulate the readings of `plan`.

    Parameters
    ----------
    device : ReferenceDevice
        Truth.
    plan : ReferencePlan
        What is measured.
    rng : numpy.random.Generator
        A device's offsets last for all its cycles; which operation fails and the rest of the
        spread are new in every cycle.

    Returns
    -------
    pandas.DataFrame
        Columns ``device_id, cycle, state, i_cc_a, resistance_ohm``; resistance to six digits.
    """
    frames = []
    for number, current in enumerate(plan.currents_a):
        laws = true_mixtures(device, np.asarray(current))
        for state, share in (("LRS", device.device_share_lrs), ("HRS", device.device_share_hrs)):
            law = laws[state]
            shape = (plan.devices_per_current, plan.cycles)
            edges = np.cumsum(np.exp(law.ln_weight))[:-1]
            component = np.searchsorted(edges, rng.random(shape))
            # The standard score has a part of the device and a part of the cycle.
            score = np.sqrt(share) * rng.standard_normal((shape[0], 1)) + np.sqrt(
                1 - share
            ) * rng.standard_normal(shape)
            resistance = np.exp(law.location[component] + law.scale[component] * score)
            names = [f"sim-{number * plan.devices_per_current + d:04d}" for d in range(shape[0])]
            frames.append(
                pd.DataFrame(
                    {
                        "device_id": np.repeat(names, plan.cycles),
                        "cycle": np.tile(np.arange(plan.cycles), shape[0]),
                        "state": state,
                        "i_cc_a": current,
                        "resistance_ohm": [float(f"{r:.6g}") for r in resistance.ravel()],
                    }
                )
            )
    table = pd.concat(frames, ignore_index=True)
    return table.sort_values(["device_id", "cycle", "state"], kind="stable", ignore_index=True)


def reference_csv(
    *,
    seed: int = DEFAULT_SEED,
    device: ReferenceDevice | None = None,
    plan: ReferencePlan | None = None,
) -> str:
    """Text of the CSV of the simulated device; the same seed gives the same bytes."""
    device, plan = device or ReferenceDevice(), plan or ReferencePlan()
    table = simulate_readings(device, plan, rng=np.random.default_rng(seed))
    head = f"# simulated HfO2 reference device, seed {seed}; nothing in this file was measured\n"
    return head + str(table.to_csv(index=False, lineterminator="\n"))


def reference_measurements(
    *,
    seed: int = DEFAULT_SEED,
    device: ReferenceDevice | None = None,
    plan: ReferencePlan | None = None,
) -> Measurements:
    """Readings of the simulated device, checked like any user's file."""
    device, plan = device or ReferenceDevice(), plan or ReferencePlan()
    table = simulate_readings(device, plan, rng=np.random.default_rng(seed))
    text = reference_csv(seed=seed, device=device, plan=plan)
    return check_measurements(
        table.rename(columns={"i_cc_a": "programming"}),
        PROGRAMMING,
        simulated=True,
        source=f"simulated reference device (seed {seed})",
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
