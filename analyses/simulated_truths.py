"""Simulated devices with varied truths, and what is true of them, for `decision_coverage.py`.

A truth is a law of resistances. From it follow the true bit error rate (BER) at the read thresholds
that a fit chose, the true programming at which a BER is reached, and the true saving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd

from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import ln_ber_1t1r, ln_ber_2t2r, tilt_1t1r
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.measurements.measurements import MeasurementError, Measurements, check_measurements
from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.prior import sample_priors
from devicefit.simulation.reference_device import (
    PROGRAMMING,
    ReferenceDevice,
    ReferencePlan,
    reference_measurements,
    true_mixtures,
)
from reliability.accuracy.surface import first_crossing
from reliability.plans.codes import NO_CODE, SECDED_72_64, raw_ber_for
from reliability.plans.storage import STORAGES, Storage

POPULATIONS = {"priors": 0, "reference": 0, "never-fails": 1, "heavy-tails": 2}
"""Names of the populations, with what sets their random numbers apart."""

FAMILY = "switching-failure"
"""Family whose priors give the first population."""

PLAN = ReferencePlan(low_a=10e-6)
"""From weaker currents than the plan of the reference device: limits of networks lie inside."""

BEYOND = 50.0
"""How far outside the measured range, as a factor, a true limit is looked for."""

FRAME = Frame(PROGRAMMING, PLAN.currents_a[0], PLAN.currents_a[-1])
"""Measured range of the fits."""

WEAKEST, STRONGEST = (0.04, 0.35), 0.002
"""Shares of wrong readings, at the best threshold for them, between which a decision lies."""

_SINGLE_READS = 500
_CLOSE = 1e-9


class Truth(Protocol):
    """Law of a simulated device."""

    def laws(self, current_a: FloatArray) -> dict[str, Mixture]:
        """Law of ln R of both states at currents."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON, of which :func:`truth_of` makes the same law."""


@dataclass(frozen=True)
class ReferenceTruth:
    """A device like the reference device.

    Parameters
    ----------
    device : ReferenceDevice
        Its parameters.
    dof : float or None
        Degrees of freedom of the Student-t law of every working or failed SET and of every working
        RESET; None for normal laws of ln R.
    """

    device: ReferenceDevice
    dof: float | None = None

    def laws(self, current_a: FloatArray) -> dict[str, Mixture]:
        """Law of ln R of both states at currents."""
        laws = true_mixtures(self.device, current_a)
        if self.dof is None:
            return laws
        dof = np.full((1,) * laws["LRS"].location.ndim, self.dof)
        return {
            "LRS": replace(laws["LRS"], kernels=("student-t",) * 3, dof=dof),
            "HRS": replace(laws["HRS"], kernels=("student-t", "normal"), dof=dof),
        }

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"device": asdict(self.device), "dof": self.dof}


@dataclass(frozen=True)
class FamilyTruth:
    """A device of the fitted family.

    Parameters
    ----------
    parameters : dict of str to float
        Its parameters on the scale of their priors.
    """

    parameters: dict[str, float]

    def laws(self, current_a: FloatArray) -> dict[str, Mixture]:
        """Law of ln R of both states at currents."""
        draws = {name: np.full((1, 1), value) for name, value in self.parameters.items()}
        laws = FAMILIES[FAMILY].mixtures(draws, FRAME, FRAME.places(current_a))
        return {state: law.part((0, 0)) for state, law in laws.items()}

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"parameters": self.parameters}


def truth_of(record: Mapping[str, Any]) -> Truth:
    """The truth that a record describes."""
    if "parameters" in record:
        return FamilyTruth(dict(record["parameters"]))
    return ReferenceTruth(ReferenceDevice(**record["device"]), record["dof"])


def draw_truth(population: str, *, rng: np.random.Generator) -> Truth:
    """Draw a device from a population.

    Parameters
    ----------
    population : {"priors", "reference", "never-fails", "heavy-tails"}
        The priors of the fitted family; around the reference device, with lognormal states and
        failing SETs and RESETs; the same without failures; the same with Student-t states.
    rng : numpy.random.Generator
        One truth per call.

    Raises
    ------
    ValueError
        Unknown population.

    Notes
    -----
    Around the reference device medians, spreads, the place and the width of the SET transition are
    lognormal and narrower than the priors of the fit, which are weak. Floors have a log10 standard
    deviation of 1 around 1e-5, the centre of their prior.
    """
    if population not in POPULATIONS:
        raise ValueError(f"no population {population!r}; known: {', '.join(POPULATIONS)}")
    if population == "priors":
        drawn = sample_priors(FAMILIES[FAMILY].priors(FRAME), draws=1, rng=rng)
        return FamilyTruth({name: float(value[0, 0]) for name, value in drawn.items()})

    def around(centre: float, ln_sd: float) -> float:
        return float(centre * np.exp(ln_sd * rng.standard_normal()))

    base = ReferenceDevice()
    rise = around(base.incomplete_rise, 0.3)
    device = ReferenceDevice(
        v_c_v=around(base.v_c_v, 0.25),
        exponent=float(1.0 + 0.1 * rng.standard_normal()),
        r_series_ohm=around(base.r_series_ohm, 0.4),
        filament_spread=around(base.filament_spread, 0.3),
        floor_spread=around(base.floor_spread, 0.4),
        r_hrs_ohm=around(base.r_hrs_ohm, 0.35),
        hrs_spread=around(base.hrs_spread, 0.2),
        device_share_lrs=float(rng.uniform(0.2, 0.7)),
        device_share_hrs=float(rng.uniform(0.05, 0.4)),
        set_current_a=around(base.set_current_a, 0.3),
        set_width=around(base.set_width, 0.2),
        set_floor=around(1e-5, math.log(10)),
        reset_floor=around(1e-5, math.log(10)),
        incomplete=around(3e-3, 0.5 * math.log(10)),
        incomplete_rise=rise,
        incomplete_spread=around(base.incomplete_spread, 0.3),
        stuck_spread=around(0.3, 0.2),
    )
    strongest = np.exp(true_mixtures(device, np.array(PLAN.high_a))["LRS"].location[0])
    device = replace(device, r_stuck_ohm=around(float(strongest), 0.3))
    if population == "never-fails":
        # Odds that no reading and no decision can tell from zero.
        never = {"set_floor": 1e-15, "reset_floor": 1e-15, "incomplete": 1e-15}
        device = replace(device, set_current_a=1e-12, **never)
    dof = float(rng.uniform(3.0, 12.0)) if population == "heavy-tails" else None
    return ReferenceTruth(device, dof)


def measured(truth: Truth, *, seed: int) -> Measurements:
    """Readings of a truth.

    Lognormal devices like the reference device have 100 devices at each of eight currents, five
    cycles of each; all others 500 devices at each current, each read once.

    Raises
    ------
    MeasurementError
        Readings that the library refuses.
    """
    if isinstance(truth, ReferenceTruth) and truth.dof is None:
        return reference_measurements(seed=seed, device=truth.device, plan=PLAN)
    rng = np.random.default_rng(seed)
    x = PLAN.currents_a
    frames = []
    for state, law in truth.laws(x).items():
        y = law.sample(_SINGLE_READS, rng=rng)
        frames.append(
            pd.DataFrame(
                {
                    "device_id": [f"sim-{i:05d}" for i in range(y.size)],
                    "state": state,
                    "programming": np.tile(x, len(y)),
                    "resistance_ohm": np.exp(y).ravel(),
                }
            )
        )
    return check_measurements(
        pd.concat(frames, ignore_index=True),
        PROGRAMMING,
        simulated=True,
        source=f"simulated device (seed {seed})",
    )


def least_errors(table: pd.DataFrame, current_a: float) -> float:
    """Share of readings at a current on the wrong side of the threshold that is best for them."""
    here = table[table["programming"] == current_a].sort_values("resistance_ohm")
    is_lrs = (here["state"] == "LRS").to_numpy()
    wrong = is_lrs.sum() - np.cumsum(is_lrs) + np.cumsum(~is_lrs)
    return float(min(wrong.min(), is_lrs.sum()) / len(is_lrs))


def has_a_decision(measurements: Measurements) -> bool:
    """Whether readings are bad at the weakest current and good at the strongest."""
    weakest, strongest = (least_errors(measurements.table, x) for x in (FRAME.low, FRAME.high))
    return WEAKEST[0] <= weakest <= WEAKEST[1] and strongest <= STRONGEST


def draw_measured(population: str, number: int) -> tuple[Truth, Measurements, int]:
    """Truth and readings number `number` of a population, and how many were refused before.

    Weak priors allow devices that nobody would ask about. Truths drawn from them are drawn again
    together with their readings until the readings leave a decision to be made. That depends on the
    readings alone, so the posterior given the readings is what it was.
    """
    for refused in range(1000):
        rng = np.random.default_rng([number, refused, POPULATIONS[population]])
        truth = draw_truth(population, rng=rng)
        try:
            found = measured(truth, seed=int(rng.integers(2**31)))
        except MeasurementError:
            continue
        if population != "priors" or has_a_decision(found):
            return truth, found, refused
    raise RuntimeError(f"{population} {number}: a thousand simulated data sets were refused")


@dataclass(frozen=True)
class TrueCurves:
    """True BER of a device that is read as a fit decided.

    Parameters
    ----------
    truth : Truth
        Law of the device.
    grid : float array, shape (x,)
        Programming values of the fit, A.
    threshold_ohm : float array, shape (x,)
        Read threshold of 1T1R that was chosen at each; outside them that of the nearest holds.
    offset_ln_r : float
        Offset of the sense amplifier.
    """

    truth: Truth
    grid: FloatArray
    threshold_ohm: FloatArray
    offset_ln_r: float

    def ln_ber(self, scheme: str, current_a: FloatArray) -> FloatArray:
        """Natural logarithm of the BER that a network sees at currents, stored in some way."""
        storage, laws = storage_of(scheme), self.truth.laws(current_a)
        if storage.scheme == "1T1R":
            read = ln_ber_1t1r(laws["LRS"], laws["HRS"], self.ln_threshold(current_a))
        else:
            read = ln_ber_2t2r(laws["LRS"], laws["HRS"], self.offset_ln_r)
        return storage.ln_ber_after(read)

    def ln_threshold(self, current_a: FloatArray) -> FloatArray:
        """Chosen threshold, ln ohm, at currents."""
        return np.interp(np.log(current_a), np.log(self.grid), np.log(self.threshold_ohm))

    def rates_of_states(self, scheme: str, current_a: float) -> dict[str, float]:
        """Probability that a bit stored in each state is wrong; alike where storage makes it so.

        What a code leaves is tilted as the bits that are read; its errors are taken as independent,
        though they come in words.
        """
        at = np.array([current_a])
        if scheme != "1T1R":
            rate, tilt = float(np.exp(self.ln_ber(scheme, at)[0])), self.tilt(scheme, at)[0]
            return {"LRS": rate * (1 + float(tilt)), "HRS": rate * (1 - float(tilt))}
        laws, t = self.truth.laws(at), self.ln_threshold(at)
        return {
            "LRS": float(np.exp(laws["LRS"].ln_survival(t)[0])),
            "HRS": float(np.exp(laws["HRS"].ln_distribution(t)[0])),
        }

    def tilt(self, scheme: str, current_a: FloatArray) -> FloatArray:
        """Rate of stored ones (LRS) less that of stored zeros, over their sum."""
        storage = storage_of(scheme)
        if storage.scheme != "1T1R" or storage.scrambled:
            return np.zeros(len(current_a))
        t = self.ln_threshold(current_a)
        return tilt_1t1r(self.truth.laws(current_a)["HRS"], t, self.ln_ber("1T1R", current_a))

    def weakest(self, scheme: str, ln_limit: float) -> float:
        """Smallest current whose BER is at most a limit, A; infinite where none is."""
        return self.first(lambda currents: self.ln_ber(scheme, currents) - ln_limit)

    def first(self, excess_at: Callable[[FloatArray], FloatArray]) -> float:
        """Smallest current at which an excess is not positive, A; infinite where none is."""
        low, high = self.grid[0] / BEYOND, self.grid[-1] * BEYOND
        currents = np.geomspace(low, high, 3000)
        excess = excess_at(currents)
        if not (excess <= 0).any():
            return math.inf
        crossing = first_crossing(np.log(currents), np.where(excess == 0, _CLOSE, -excess)[None, :])
        return float(np.exp(crossing[0]))


def reference_limits(ln_tolerated: float, memory_ber: float) -> dict[str, tuple[float, float]]:
    """Ln of the raw BER that each reference needs, and its cells for each bit."""
    return {
        "standard_bnn": (ln_tolerated, 1.0),
        "memory": (math.log(raw_ber_for(NO_CODE, memory_ber)), NO_CODE.cells_per_bit),
        "memory_with_ecc": (
            math.log(raw_ber_for(SECDED_72_64, memory_ber)),
            SECDED_72_64.cells_per_bit,
        ),
    }


def true_saving(x_reference: float, cells_reference: float, x: float, cells: float) -> float | None:
    """Energy of a reference over that of a design; energy is proportional to the current.

    Infinite where the reference is never reached, 0 where only the design is not, None where
    neither is.
    """
    if math.isinf(x_reference) and math.isinf(x):
        return None
    if math.isinf(x):
        return 0.0
    return x_reference * cells_reference / (x * cells)


def ends_of(record: Mapping[str, Any]) -> tuple[float, float]:
    """Ends of a saving; a bound holds all beyond, and what is not known holds everything."""
    bound = record["bound"]
    if bound is not None:
        end = bound["value"]
        return (end, math.inf) if bound["side"] == "at least" else (-math.inf, end)
    if record["median"] is None:
        return -math.inf, math.inf
    return record["low"], record["high"]


def compared(
    record: Mapping[str, Any], x_reference: float, cells_reference: float, x: float, cells: float
) -> dict[str, Any]:
    """An interval or a bound of a saving beside the truth.

    Returns
    -------
    dict
        ``low`` and ``high``, None where the saving is open to that side; ``is_bound``; ``true``,
        the saving with both sides where they really are, and ``inside`` (None where there is none).
    """
    low, high = ends_of(record)
    true = true_saving(x_reference, cells_reference, x, cells)
    return {
        "low": low if math.isfinite(low) else None,
        "high": high if math.isfinite(high) else None,
        "is_bound": record["median"] is None,
        "true": None if true is None else ("infinite" if math.isinf(true) else true),
        "inside": None if true is None else bool(low * (1 - _CLOSE) <= true <= high * (1 + _CLOSE)),
    }


def storage_of(name: str) -> Storage:
    """Way of storing of that name."""
    for storage in STORAGES:
        if storage.name == name:
            return storage
    known = ", ".join(storage.name for storage in STORAGES)
    raise ValueError(f"bits stored as {name!r} are not known; known: {known}")


def cells_of(scheme: str) -> float:
    """Cells for each bit of a design."""
    return storage_of(scheme).cells_per_bit
