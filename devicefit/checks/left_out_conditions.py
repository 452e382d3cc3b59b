"""Errors predicted at programming conditions that were left out of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from devicefit.checks.fit_gates import COVERED_LIMIT
from devicefit.compression.compression import compress
from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.convergence import R_HAT_LIMIT
from devicefit.fitting.fit import fit
from devicefit.fitting.gate import Gate
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.prediction.prediction import fit_persistence, predict
from devicefit.priors.files import PriorFile
from devicefit.sampling.options import SamplerOptions

LEAST_KEPT = 2
"""Programming values that a fit needs to say anything of others."""


def split_conditions(measurements: Measurements, groups: int) -> list[tuple[float, float]]:
    """Split neighbouring programming values into groups of about equal numbers of devices.

    Parameters
    ----------
    measurements : Measurements
        Readings.
    groups : int
        Number of groups, from 2 to the number of distinct programming values less 1.

    Returns
    -------
    list of (low, high)
        Ends of each group, SI, ascending; every programming value with readings is in one. A
        device counts once at each of its programming values.

    Raises
    ------
    ValueError
        The number of groups is out of range, there is one condition only, or one of the groups
        cannot be left out; says why and what to do.
    """
    table = measurements.table
    at = table.groupby("programming")["device_id"].nunique() if len(table) else pd.Series()
    values = at.index.to_numpy(dtype=np.float64)
    if len(values) < 2:
        raise ValueError(
            f"{measurements.source}: there are readings at {len(values)} programming value"
            f"{'' if len(values) == 1 else 's'}; leaving some out needs 4 or more, fit without it"
        )
    if not 2 <= groups < len(values):
        most = len(values) - 1
        raise ValueError(
            f"{measurements.source}: {groups} groups of programming values were asked for; "
            f"{len(values)} values can be left out in "
            + (f"2 to {most} groups" if most > 1 else "no way: measure more, or fit without it")
        )
    seen = np.cumsum(at.to_numpy())
    starts = [0]
    for number in range(1, groups):
        nearest = 1 + int(np.abs(seen - seen[-1] * number / groups).argmin())
        # At least one value for this group, and one for each that follows.
        starts.append(min(max(nearest, starts[-1] + 1), len(values) - groups + number))
    ends = [*(start - 1 for start in starts[1:]), len(values) - 1]
    found = [(float(values[i]), float(values[j])) for i, j in zip(starts, ends, strict=True)]
    check_groups(measurements, found)
    return found


def check_groups(measurements: Measurements, groups: Sequence[tuple[float, float]]) -> None:
    """Refuse groups of conditions that cannot be left out.

    Raises
    ------
    ValueError
        A group has no readings; or without it a state has none, fewer than `LEAST_KEPT`
        programming values are left, or one of several arrays is missing.
    """
    table = measurements.table
    for low, high in groups:
        inside = table["programming"].between(low, high)
        if not inside.any():
            raise ValueError(
                f"no readings from {low:.6g} to {high:.6g}; the variable goes from "
                f"{measurements.conditions[0]:.6g} to {measurements.conditions[-1]:.6g}"
            )
        if any(not (~inside & (table["state"] == s)).any() for s in STATES):
            raise ValueError(
                f"a state has no readings outside {low:.6g} to {high:.6g}; leave out less"
            )
        left = int(((measurements.conditions < low) | (measurements.conditions > high)).sum())
        if left < LEAST_KEPT:
            raise ValueError(
                f"{left} programming value is left without those from {low:.6g} to {high:.6g}, "
                "which says nothing of others; leave out less at a time (more groups), or measure "
                "more values"
            )
        if "array_id" in table:
            without = _part(measurements, low, high, inside=False)
            parts = (without.table, without.intervals, without.summaries)
            kept = {name for part in parts if "array_id" in part for name in part.array_id}
            only = sorted(set(table.loc[inside, "array_id"]) - kept)
            if only:
                raise ValueError(
                    f"array {only[0]!r} was read from {low:.6g} to {high:.6g} only and cannot be "
                    "predicted without; leave out less at a time (more groups), or keep other "
                    "arrays with --where"
                )


def leave_conditions_out(
    measurements: Measurements,
    groups: Sequence[tuple[float, float]],
    *,
    family: str,
    options: SamplerOptions,
    sensing: SensingOptions,
    prior_file: PriorFile | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Refit without each group of conditions and predict the failures counted there.

    Parameters
    ----------
    measurements : Measurements
        Readings; bounds and tables are left out with the readings of their conditions.
    groups : sequence of (low, high)
        Ranges of the programming variable, ends included, SI; for example from
        :func:`split_conditions`. A range at an end asks the model to extrapolate.
    family : str
        Family to fit.
    options : SamplerOptions
        Chains, draws and seed of each fit.
    sensing : SensingOptions
        Threshold of the 1T1R read; a chosen one is chosen by the fit without the group.
    prior_file : PriorFile, optional
        What the user knows, in place of the default priors of every fit.
    seed : int, optional
        Of the predictive numbers.

    Returns
    -------
    pandas.DataFrame
        A row for each (group, state) with the columns of
        :func:`devicefit.prediction.prediction.predict`, ``inside``: whether the failures lie in
        the 95 % predictive interval, ``extrapolated``: whether the group reaches beyond the
        programming values that stayed in the fit, and ``r_hat``: largest split R-hat of the fit
        without the group.

    Raises
    ------
    ValueError
        As :func:`check_groups`, before the first fit.

    Notes
    -----
    One fit for each group. Devices that were read at other conditions too stay in the fit with
    those readings: conditions are left out, not devices.
    """
    check_groups(measurements, groups)
    parts = []
    for number, (low, high) in enumerate(groups):
        kept = _part(measurements, low, high, inside=False)
        out = _part(measurements, low, high, inside=True)
        posterior = fit(compress(kept), family=family, options=options, prior_file=prior_file)
        rng = np.random.default_rng([seed, 6, number])
        persistence = fit_persistence(posterior, kept, options=sensing, rng=rng)
        predicted = predict(
            posterior,
            out,
            persistence=persistence,
            options=sensing,
            # All of the group in one bin.
            devices_per_bin=len(out.table) + len(out.intervals),
            rng=rng,
        )
        ends = kept.conditions[[0, -1]]
        parts.append(
            predicted.assign(
                extrapolated=(predicted["programming_low"] < ends[0])
                | (predicted["programming_high"] > ends[1]),
                r_hat=posterior.diagnostics.r_hat,
            )
        )
    found = pd.concat(parts, ignore_index=True)
    return found.assign(
        inside=found["failures_observed"].between(found["failures_q025"], found["failures_q975"])
    )


def _part(measurements: Measurements, low: float, high: float, *, inside: bool) -> Measurements:
    """Readings, bounds and tables at programming values inside a range, or at all others."""
    parts = {}
    for name in ("table", "intervals", "summaries"):
        part = getattr(measurements, name)
        if len(part):
            chosen = part["programming"].between(low, high) == inside
            part = part[chosen].reset_index(drop=True)
        parts[name] = part
    return replace(measurements, **parts)


def left_out_conditions_gate(found: pd.DataFrame, programming: Programming) -> Gate:
    """Whether failures are predicted at programming values that a fit has not seen.

    Parameters
    ----------
    found : pandas.DataFrame
        From :func:`leave_conditions_out`; at least one row.
    programming : Programming
        The programming variable, for the words.
    """
    covered = int(found["inside"].sum())
    share = covered / len(found)
    finding = f"{covered} of {len(found)} cells (group, state) inside the 95 % predictive interval"
    ends = ["programming_low", "programming_high"]
    beyond = found[found["extrapolated"]]
    if len(beyond):
        finding += (
            f"; extrapolated: {_ranges(beyond[ends], programming)}, "
            f"{int(beyond['inside'].sum())} of {len(beyond)} cells inside there"
        )
    # An R-hat that is not a number is not below the limit.
    astray = found[~(found["r_hat"] < R_HAT_LIMIT)]
    if len(astray):
        finding += f"; chains do not agree without {_ranges(astray[ends], programming)}"
    return Gate(
        "left-out conditions",
        "Are failures predicted at programming values that were left out of the fit?",
        share >= COVERED_LIMIT,
        share,
        COVERED_LIMIT,
        finding,
        "look at the groups outside: between measured values try another family or measure more "
        "values there; where only extrapolated ones are outside, do not answer beyond the measured "
        "range",
    )


def _ranges(ends: pd.DataFrame, programming: Programming) -> str:
    """``20 uA to 50 uA and 300 uA``, each range once."""
    words = []
    for low, high in ends.drop_duplicates().itertuples(index=False):
        first, last = programming.format(float(low)), programming.format(float(high))
        words.append(first if low == high else f"{first} to {last}")
    return " and ".join(words)
