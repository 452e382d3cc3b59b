"""What the figures of the device's checks show, as plain values for the device study.

Drawing never computes: :mod:`reliability.report.figures.checks` takes these records as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.families.frame import Frame
from devicefit.families.heavy_tailed import LEAST_DOF
from devicefit.fitting.fit import DevicePosterior
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import PROBABILITY, equal_tailed
from devicefit.prediction.predicted_failures import PREDICTIVE, FailureCell


@dataclass(frozen=True)
class Shown:
    """A parameter in the units in which it is shown.

    Parameters
    ----------
    label, unit : str
        What it is; unit "" for pure numbers, "programming" for values of that variable.
    logarithmic : bool
        Whether it is drawn on a logarithmic axis.
    of : callable
        From draws on the model's scale.
    """

    label: str
    unit: str
    logarithmic: bool
    of: Callable[[FloatArray, Frame], FloatArray]


def _same(draws: FloatArray, frame: Frame) -> FloatArray:
    return draws


def _exp(draws: FloatArray, frame: Frame) -> FloatArray:
    return np.exp(draws)


def _power_of_ten(draws: FloatArray, frame: Frame) -> FloatArray:
    return np.asarray(10.0**draws)


def _dof(draws: FloatArray, frame: Frame) -> FloatArray:
    return LEAST_DOF + np.exp(draws)


def _place(draws: FloatArray, frame: Frame) -> FloatArray:
    """Value of the programming variable at a position of the measured range."""
    low, high = frame.programming.coordinate([frame.low, frame.high])
    return frame.programming.from_coordinate(low + draws * (high - low))


MAIN: dict[str, Shown] = {
    "ln_r_lrs": Shown("LRS median", "ohm", True, _exp),
    "ln_v_c": Shown("V_c of the filament", "V", False, _exp),
    "onset": Shown("SET onset", "programming", False, _place),
    "exponent": Shown("exponent of the filament", "", False, _same),
    "ln_r_series": Shown("series resistance", "ohm", True, _exp),
    "ln_sd_lrs": Shown("spread of ln R, LRS", "", False, _exp),
    "ln_sd_filament": Shown("spread of a 10 kohm filament", "", False, _exp),
    "ln_r_hrs": Shown("HRS median", "ohm", True, _exp),
    "ln_sd_hrs": Shown("spread of ln R, HRS", "", False, _exp),
    "ln_dof_lrs": Shown("degrees of freedom, LRS", "", True, _dof),
    "ln_dof_hrs": Shown("degrees of freedom, HRS", "", True, _dof),
    "log10_set_floor": Shown("odds of a failed SET", "", True, _power_of_ten),
    "log10_incomplete": Shown("odds of an incomplete SET", "", True, _power_of_ten),
    "log10_reset_floor": Shown("odds of a failed RESET", "", True, _power_of_ten),
}
"""Main parameters in the order in which they are shown; a family need not have them all."""


def device_checks_record(
    posteriors: Mapping[str, DevicePosterior], cells: Sequence[FailureCell]
) -> dict[str, Any]:
    """Plain values behind the forest plot and the predictive check of failures.

    Parameters
    ----------
    posteriors : mapping of str to DevicePosterior
        By family.
    cells : sequence of FailureCell
        Counted and predicted failures of what answers are based on.

    Returns
    -------
    dict
        ``forest``, see :func:`forest_record`, and ``failures``, see :func:`failures_record`.
    """
    return {"forest": forest_record(posteriors), "failures": failures_record(cells)}


def forest_record(posteriors: Mapping[str, DevicePosterior]) -> dict[str, Any]:
    """Main parameters of every family in units that a reader knows.

    Parameters
    ----------
    posteriors : mapping of str to DevicePosterior
        By family; of one data set.

    Returns
    -------
    dict
        ``kind`` and ``probability`` of the intervals, and ``parameters``: a list of ``name, label,
        unit, logarithmic, families``, the last from family to ``low, median, high``. A family
        that lacks a parameter is not among its families.
    """
    parameters = []
    for name, shown in MAIN.items():
        families = {}
        for family, posterior in posteriors.items():
            if name not in posterior.draws:
                continue
            values = shown.of(np.asarray(posterior.draws[name].values), posterior.frame)
            interval = equal_tailed(values)
            families[family] = {
                "low": float(interval.low),
                "median": float(np.median(values)),
                "high": float(interval.high),
            }
        if families:
            frame = next(iter(posteriors.values())).frame
            own = shown.unit == "programming"
            parameters.append(
                {
                    "name": name,
                    "label": shown.label,
                    "unit": frame.programming.unit if own else shown.unit,
                    "logarithmic": frame.programming.is_logarithmic if own else shown.logarithmic,
                    "families": families,
                }
            )
    return {"kind": "ETI", "probability": PROBABILITY, "parameters": parameters}


def failures_record(cells: Sequence[FailureCell]) -> dict[str, Any]:
    """Counted readings on the wrong side of the threshold beside what draws predict.

    Parameters
    ----------
    cells : sequence of FailureCell
        From :func:`devicefit.prediction.predicted_failures.predicted_failures`.

    Returns
    -------
    dict
        ``kind`` and ``probability`` of the intervals, and ``cells``: for each
        ``programming_low, programming_high, state, devices, trials, errors, predicted`` with
        ``low, median, high``, and ``inside``.
    """
    return {
        "kind": "ETI",
        "probability": PREDICTIVE,
        "cells": [
            {
                "programming_low": cell.programming_low,
                "programming_high": cell.programming_high,
                "state": cell.state,
                "devices": cell.devices,
                "trials": cell.trials,
                "errors": cell.errors,
                "predicted": {"low": cell.low, "median": cell.median, "high": cell.high},
                "inside": cell.inside,
            }
            for cell in cells
        ],
    }
