"""Plain values about readings and levels for the device study."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from devicefit.fitting.fit import DevicePosterior
from devicefit.likelihood.compressed import Compressed
from devicefit.likelihood.levels import Levels, levels_of
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.measurements.single_readings import single_readings
from devicefit.numerics.intervals import PROBABILITY
from devicefit.persistence.dependence import fit_levels, normal_scores, score_cells
from devicefit.persistence.windows import WindowedPersistence
from devicefit.prediction.counted_errors import ErrorCounts, group_conditions
from devicefit.prediction.loo import Loo, elpd_difference
from devicefit.prediction.places import places_of
from devicefit.prediction.prediction import reading_ranges
from devicefit.prediction.stacking import StackedDevice
from devicefit.sampling.options import SamplerOptions

_SCORE_DRAWS = 20
_BLOCK = 4_000_000


def data_record(measurements: Measurements, compressed: Compressed) -> dict[str, Any]:
    """What was read."""
    table = measurements.table
    states = compressed.states
    record = {
        "source": measurements.source,
        "sha256": measurements.sha256,
        "simulated": measurements.simulated,
        "devices": compressed.devices,
        "readings": {s: int(states[s].n.sum()) for s in STATES},
        "known_by_bounds": {s: int(states[s].intervals.count.sum()) for s in STATES},
        "in_summaries": {s: int(states[s].summaries.n.sum()) for s in STATES},
        "conditions": len(np.unique(compressed.conditions)),
        "second_variable": compressed.second.name if compressed.second else None,
        "second_values": np.unique(compressed.second_values).tolist() if compressed.second else [],
        "cycles": int(table["cycle"].nunique()) if "cycle" in table else 1,
        "arrays": len(compressed.arrays),
        "read_at": reading_ranges(measurements) if len(table) else {},
        "warnings": list(measurements.warnings),
        **measurements.treatment.record(),
    }
    if len(table):
        record["median_ohm"] = {s: _median_ohm(measurements, s) for s in STATES}
    return record


def _median_ohm(measurements: Measurements, state: str) -> float:
    """Median of the readings of a state; one that is known by one bound is taken at it."""
    read = single_readings(measurements)
    read = read[read["state"] == state]
    low, high = read["low_ohm"].to_numpy(), read["high_ohm"].to_numpy()
    middle = np.sqrt(np.maximum(low, 1e-300)) * np.sqrt(high)
    r = np.where(np.isinf(high), low, np.where(low > 0, middle, high))
    return float(np.median(r)) if len(r) else float("nan")


def levels_record(
    posterior: DevicePosterior,
    measurements: Measurements,
    compressed: Compressed,
    persistence: dict[str, WindowedPersistence],
    sampler: SamplerOptions,
) -> dict[str, Any]:
    """How readings of one device hang together: shares, correlations, persistent failures.

    Empty when every device was read once in each state. A family that has the levels among its
    parameters answers itself; for others they are fitted to normal scores of the readings.
    """
    if not posterior.frame.levels:
        return {}
    if any(name in posterior.draws for name in posterior.frame.levels):
        drawn = {n: posterior.draws[n].values for n in posterior.frame.levels}
        found = levels_of(np, drawn)
        values = {n: np.asarray(getattr(found, n)) for n in Levels.__dataclass_fields__}
        how = "parameters of the family"
    else:
        cells = _score_cells(posterior, measurements)
        dataset = fit_levels(cells["LRS"], cells["HRS"], compressed.device_array, options=sampler)
        values = {str(n): dataset[n].values for n in dataset.data_vars}
        how = "normal scores of the readings under the family (inference functions for margins)"
    low, high = (1 - PROBABILITY) / 2, (1 + PROBABILITY) / 2
    record: dict[str, Any] = {"how": how, "interval": "ETI", "probability": PROBABILITY}
    for name, draws in values.items():
        if np.ptp(draws) > 0:
            q = np.quantile(draws, [low, 0.5, high])
            record[name] = {"low": float(q[0]), "median": float(q[1]), "high": float(q[2])}
    for state, windowed in persistence.items():
        rows = []
        for start, window in zip(windowed.start, windowed.windows, strict=True):
            row: dict[str, Any] = {"programming_from": float(start)}
            for name, draws in vars(window).items():
                q = np.quantile(draws, [low, 0.5, high])
                row[name] = {"low": float(q[0]), "median": float(q[1]), "high": float(q[2])}
            rows.append(row)
        record[f"failures_{state.lower()}"] = rows
    return record


def _score_cells(posterior: DevicePosterior, measurements: Measurements) -> dict[str, Any]:
    """Normal scores of the readings under the posterior mean law, in cells of each state."""
    table = measurements.table
    places = places_of(measurements, posterior.frame)
    laws = posterior.mixtures(places.x, second=places.second, array=places.array)
    device = table["device_id"].astype("category").cat.codes.to_numpy().astype(np.int64)
    y = np.log(table["resistance_ohm"].to_numpy())
    cells = {}
    for state in STATES:
        rows = np.flatnonzero((table["state"] == state).to_numpy())
        law = laws[state].thinned(max(1, _SCORE_DRAWS // laws[state].location.shape[1]))
        per = law.components * law.location.shape[1] * law.location.shape[2]
        tails = [np.empty(len(rows)), np.empty(len(rows))]
        block = max(1, _BLOCK // per)
        for start in range(0, len(rows), block):
            here = rows[start : start + block]
            part = law.part((slice(None), slice(None), places.of_row[here]))
            for tail, of in zip(tails, (part.ln_distribution, part.ln_survival), strict=True):
                tail[start : start + block] = np.log(np.exp(of(y[here])).mean(axis=(0, 1)))
        cells[state] = score_cells(
            normal_scores(*tails), device[rows], places.of_row[rows].astype(np.int64)
        )
    return cells


def family_records(
    posteriors: dict[str, DevicePosterior],
    failed: dict[str, str],
    loos: dict[str, Loo],
    weights: dict[str, float],
) -> dict[str, Any]:
    """What is known of each family: prediction of left-out devices, weight, or its failure."""
    best = max(loos, key=lambda f: loos[f].elpd) if loos else None
    found: dict[str, Any] = {}
    for family in posteriors:
        found[family] = {"weight": weights.get(family)}
        if best is not None:
            difference, se = elpd_difference(loos[family], loos[best])
            found[family]["loo"] = loos[family].record()
            found[family]["elpd_difference"] = {"to": best, "value": difference, "se": se}
    return {**found, **{family: {"failed": why} for family, why in failed.items()}}


def counts_record(counts: ErrorCounts, main: DevicePosterior | StackedDevice) -> dict[str, Any]:
    """Counted errors in groups of conditions, with the interval of their share."""
    interval = counts.interval(PROBABILITY, main.record["design_effect"])
    return {
        "programming_low": counts.programming_low.tolist(),
        "programming_high": counts.programming_high.tolist(),
        "devices": counts.devices.tolist(),
        "errors": {s: counts.errors[s].tolist() for s in STATES},
        "undecided": counts.undecided,
        "trials": {s: counts.trials[s].tolist() for s in STATES},
        "share": {
            "value": (
                (counts.errors["LRS"] + counts.errors["HRS"])
                / np.maximum(counts.trials["LRS"] + counts.trials["HRS"], 1)
            ).tolist(),
            **interval.record(),
            "note": "trials divided by the design effect of repeated readings",
        },
    }


def quantile_rows(
    measurements: Measurements, posterior: DevicePosterior | StackedDevice
) -> list[dict[str, Any]]:
    """Measured quantiles of ln R with predictive bands, for up to six groups of conditions."""
    groups = group_conditions(measurements, devices_per_group=max(100, measurements.devices // 12))
    chosen = sorted({round(i) for i in np.linspace(0, len(groups) - 1, 6)})
    score = np.linspace(-3.5, 3.5, 71)
    levels = ndtr(score)
    table = single_readings(measurements)
    rows = []
    for low, high in (groups[i] for i in chosen):
        inside = table["programming"].between(low, high)
        for state in STATES:
            part = table[inside & (table["state"] == state)]
            if len(part) < 5:
                continue
            exact = part["low_ohm"] == part["high_ohm"]
            y = np.sort(np.log(part["low_ohm"][exact].to_numpy()))
            if len(y) < 5:
                continue
            # A reading beyond all others has its place, but no value; one between others has none.
            above = int((np.log(part["low_ohm"][~exact]) >= y[-1]).sum())
            under = int((np.log(part["high_ohm"][~exact]) <= y[0]).sum())
            conditions, n = np.unique(part["programming"].to_numpy(), return_counts=True)
            law = posterior.mixtures(conditions)[state]
            few = law.thinned(25)
            support = np.linspace(y[0] - 1.0, y[-1] + 1.0, 240)
            cdf = np.stack(
                [np.exp(few.ln_distribution(v)) @ (n / n.sum()) for v in support], axis=-1
            ).reshape(-1, len(support))
            predicted = np.stack([np.interp(levels, c, support) for c in cdf])
            band = np.exp(np.quantile(predicted, [0.05, 0.5, 0.95], axis=0))
            # Quantiles at fixed scores, three digits: a summary that can be shared, no readings.
            place = ndtri((under + np.arange(len(y)) + 0.5) / (under + len(y) + above))
            seen = (score >= place[0]) & (score <= place[-1])
            measured = np.exp(np.interp(score[seen], place, y))
            rows.append(
                {
                    "state": state,
                    "programming_low": low,
                    "programming_high": high,
                    "readings": len(y),
                    "score": score[seen].tolist(),
                    "resistance_ohm": [float(f"{r:.3g}") for r in measured],
                    "band_score": score[seen].tolist(),
                    "band_low_ohm": band[0][seen].tolist(),
                    "band_median_ohm": band[1][seen].tolist(),
                    "band_high_ohm": band[2][seen].tolist(),
                }
            )
    return rows
