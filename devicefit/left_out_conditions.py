"""Errors predicted at programming conditions that were left out of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from devicefit.backend import SamplerOptions
from devicefit.compression import compress
from devicefit.fitting import fit
from devicefit.measurements import STATES, Measurements
from devicefit.prediction import fit_persistence, predict
from devicefit.sensing import SensingOptions


def leave_conditions_out(
    measurements: Measurements,
    groups: Sequence[tuple[float, float]],
    *,
    family: str,
    options: SamplerOptions,
    sensing: SensingOptions,
    seed: int = 0,
) -> pd.DataFrame:
    """Refit without each group of conditions and predict the failures counted there.

    Parameters
    ----------
    measurements : Measurements
        Readings; bounds and tables are left as they are in every fit.
    groups : sequence of (low, high)
        Ranges of the programming variable, ends included, SI; for example from
        :func:`devicefit.sensing.group_conditions`. A range at an end asks the model to
        extrapolate.
    family : str
        Family to fit.
    options : SamplerOptions
        Chains, draws and seed of each fit.
    sensing : SensingOptions
        Threshold of the 1T1R read; a chosen one is chosen by the fit without the group.
    seed : int, optional
        Of the predictive numbers.

    Returns
    -------
    pandas.DataFrame
        A row for each (group, state) with the columns of :func:`devicefit.prediction.predict`
        and ``inside``: whether the failures lie in the 95 % predictive interval.

    Raises
    ------
    ValueError
        A group has no readings, or none are left without it.

    Notes
    -----
    One fit for each group. Devices that were read at other conditions too stay in the fit with
    those readings: conditions are left out, not devices.
    """
    parts = []
    for number, (low, high) in enumerate(groups):
        inside = measurements.table["programming"].between(low, high)
        if not inside.any():
            raise ValueError(
                f"no readings from {low:.6g} to {high:.6g}; the variable goes from "
                f"{measurements.conditions[0]:.6g} to {measurements.conditions[-1]:.6g}"
            )
        if any(not (~inside & (measurements.table["state"] == s)).any() for s in STATES):
            raise ValueError(
                f"a state has no readings outside {low:.6g} to {high:.6g}; leave out less"
            )
        kept, out = (
            replace(measurements, table=measurements.table[rows].reset_index(drop=True))
            for rows in (~inside, inside)
        )
        posterior = fit(compress(kept), family=family, options=options)
        rng = np.random.default_rng([seed, number])
        persistence = fit_persistence(posterior, kept, options=sensing, rng=rng)
        parts.append(
            predict(
                posterior,
                out,
                persistence=persistence,
                options=sensing,
                # All of the group in one bin.
                devices_per_bin=len(out.table),
                rng=rng,
            )
        )
    found = pd.concat(parts, ignore_index=True)
    return found.assign(
        inside=found["failures_observed"].between(found["failures_q025"], found["failures_q975"])
    )
