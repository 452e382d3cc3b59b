"""Priors as data: what is assumed before the first reading, with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.programming import FloatArray, Programming


@dataclass(frozen=True)
class Prior:
    """Normal prior of one parameter on the scale in which the model uses it.

    Parameters
    ----------
    name : str
        Name of the parameter in the posterior.
    mean, sd : float
        Of the normal law.
    meaning : str
        What the parameter is, with scale and unit.
    source : str
        Where the numbers come from. "weak" marks a range chosen wide enough not to matter.
    """

    name: str
    mean: float
    sd: float
    meaning: str
    source: str

    def __post_init__(self) -> None:
        if not self.sd > 0:
            raise ValueError(f"prior {self.name}: sd is {self.sd}; it must be positive")


LN10 = float(np.log(10.0))

_HRS = (
    Prior(
        "ln_r_hrs",
        np.log(1e5),
        1.5,
        "median HRS at mid range or before any SET, ln ohm",
        "weak; 10 k to 1 Mohm",
    ),
    Prior("hrs_slope", 0.0, 0.3, "change of ln R_HRS over the range", "weak; small in HfO2 arrays"),
    Prior("ln_sd_hrs", np.log(0.5), 0.4, "ln of sd of ln R_HRS", "Synaptogen 0.47; arrays 0.4-0.6"),
    Prior("hrs_sd_slope", 0.0, 0.3, "change of ln sd of HRS over the range", "weak"),
)
_LRS_SPREAD = (
    Prior(
        "ln_sd_filament",
        np.log(0.25),
        0.5,
        "ln of relative sd of a 10 kohm filament",
        "weak; spread rises near the conductance quantum",
    ),
    Prior(
        "sd_exponent",
        0.5,
        0.3,
        "exponent of filament resistance in its relative sd",
        "1/2 for a Poisson count of defects (Ambrogio 2014, recalled)",
    ),
    Prior("ln_sd_floor", np.log(0.03), 0.7, "ln of sd of the series part", "weak; 0.8 % to 12 %"),
)
_COMPLIANCE_LRS = (
    Prior("ln_v_c", np.log(0.5), 0.5, "V_c, ln volt", "0.4-0.6 V (recalled), widened"),
    Prior("exponent", 1.0, 0.15, "b in V_c / I^b", "near 1, 0.8-1.2 (recalled)"),
    Prior("ln_r_series", np.log(1e3), 1.0, "series resistance, ln ohm", "weak; 0.1 to 10 kohm"),
)
_OVERDRIVE_LRS = (
    Prior("onset", 0.2, 0.5, "SET onset, fraction of the range", "weak"),
    Prior("ln_onset_width", np.log(0.01), 1.0, "rounding of the onset, ln of fraction", "weak"),
    Prior("ln_r_filament", np.log(5e3), 1.5, "filament a tenth of the range above onset", "weak"),
    Prior("exponent", 1.0, 0.4, "exponent of the overdrive", "transistor current near linear"),
    Prior("ln_r_series", np.log(4e3), 1.0, "series resistance, ln ohm", "weak; cell + transistor"),
)
_FLOOR_SOURCE = (
    "stuck cells: below 1e-6 in strong programming to 1e-2 in measured 40 nm and 1 Mbit arrays"
)
_FAILURE = (
    Prior("log10_set_floor", -5.0, 1.5, "log10 odds of a failed SET, strong end", _FLOOR_SOURCE),
    Prior("log10_reset_floor", -5.0, 1.5, "log10 odds of a failed RESET", _FLOOR_SOURCE),
    Prior("log10_incomplete", -2.5, 1.0, "log10 odds of an incomplete SET", "weak; 1e-4 to 1e-1"),
    Prior(
        "logit_incomplete_place",
        -1.4,
        0.5,
        "logit of where incomplete SETs read between LRS and HRS",
        "a fifth of the gap in a 1 Mbit array",
    ),
    Prior("ln_incomplete_sd", np.log(0.1), 0.4, "ln of their sd over the gap", "as above"),
    Prior("stuck_offset", 0.0, 0.4, "failed RESET reads like the strongest LRS + this", "weak"),
    Prior(
        "ln_sd_stuck",
        np.log(0.35),
        0.15,
        "ln of sd of failed RESETs",
        "a cluster, narrower than the HRS; keeps it from taking the place of the HRS tails",
    ),
    Prior("ln_set_width", np.log(0.1), 0.6, "width of the SET transition, ln of fraction", "weak"),
)
_COMPLIANCE_FAILURE = (
    Prior("set_centre", -0.4, 0.4, "SETs fail half of the time here, fraction of range", "weak"),
)


def core_priors(programming: Programming) -> tuple[Prior, ...]:
    """Priors of location and scale of both states."""
    lrs = _COMPLIANCE_LRS if programming.is_current else _OVERDRIVE_LRS
    return (*lrs, *_LRS_SPREAD, *_HRS)


def failure_priors(programming: Programming) -> tuple[Prior, ...]:
    """Priors of the switching failures."""
    return (*_FAILURE, *(_COMPLIANCE_FAILURE if programming.is_current else ()))


def sample_priors(
    priors: tuple[Prior, ...], *, draws: int, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Draw parameters from their priors, shape (1, draws) each (one chain)."""
    return {p.name: rng.normal(p.mean, p.sd, size=(1, draws)) for p in priors}


def prior_record(priors: tuple[Prior, ...]) -> list[dict[str, Any]]:
    """Priors as plain rows for JSON and reports."""
    return [
        {"name": p.name, "mean": p.mean, "sd": p.sd, "meaning": p.meaning, "source": p.source}
        for p in priors
    ]
