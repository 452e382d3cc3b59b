"""Everything about the device that later steps and the report need, from one set of readings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from devicefit.backend import SamplerOptions
from devicefit.checks import convergence_gates, overlap_gate, tail_gate
from devicefit.compression import compress
from devicefit.fitting import DevicePosterior, fit, load_posterior, save_posterior
from devicefit.intervals import PROBABILITY
from devicefit.measurements import STATES, Measurements
from devicefit.programming import FloatArray
from devicefit.sensing import (
    SensingOptions,
    ber_curves,
    choose_threshold,
    count_errors,
    group_conditions,
    ln_ber_1t1r,
)

FORMAT = "rram-reliability device study 1"
GRID_POINTS = 101
Say = Callable[[str], None]


@dataclass(frozen=True)
class DeviceStudy:
    """Fitted families and what was found about data and fit.

    Parameters
    ----------
    posteriors : dict of str to DevicePosterior
        By family; the first is the one that answers are based on.
    grid : float array, shape (x,)
        Programming values, denser where the BER changes.
    record : dict
        Plain values: ``data``, ``gates``, ``counts``, ``quantiles``.
    """

    posteriors: dict[str, DevicePosterior]
    grid: FloatArray
    record: dict[str, Any]

    @property
    def main(self) -> DevicePosterior:
        """Posterior of the family that answers are based on."""
        return next(iter(self.posteriors.values()))


def study_device(
    measurements: Measurements,
    *,
    families: tuple[str, ...] = ("switching-failure", "lognormal"),
    sampler: SamplerOptions,
    sensing: SensingOptions,
    say: Say = lambda text: None,
) -> DeviceStudy:
    """Fit families and check the first.

    Parameters
    ----------
    measurements : Measurements
        Checked readings.
    families : tuple of str
        Families to fit, the one to answer with first.
    sampler : SamplerOptions
        Chains, draws and seed.
    sensing : SensingOptions
        How bits are read, for the counts.
    say : callable, optional
        Told what is being done.

    Returns
    -------
    DeviceStudy
    """
    compressed = compress(measurements)
    posteriors = {}
    for family in families:
        say(f"fitting the {family} family to {len(measurements.table)} readings")
        posteriors[family] = fit(compressed, family=family, options=sampler)
    main = posteriors[families[0]]
    grid = adaptive_grid(main, GRID_POINTS)
    say("checking the fit")
    curve = ber_curves(main, grid, options=sensing)["1T1R"]
    per_group = max(100, measurements.devices // 40)
    counts = count_errors(measurements, curve, devices_per_group=per_group)
    rng = np.random.default_rng([sampler.seed, 1])
    gates = (
        *convergence_gates(main),
        overlap_gate(main, counts, curve, rng=rng),
        tail_gate(main, compressed),
    )
    interval = counts.interval(PROBABILITY, main.record["design_effect"])
    record = {
        "data": _data_record(measurements),
        "gates": [gate.record() for gate in gates],
        "counts": {
            "programming_low": counts.programming_low.tolist(),
            "programming_high": counts.programming_high.tolist(),
            "devices": counts.devices.tolist(),
            "errors": {s: counts.errors[s].tolist() for s in STATES},
            "trials": {s: counts.trials[s].tolist() for s in STATES},
            "share": {
                "value": (
                    (counts.errors["LRS"] + counts.errors["HRS"])
                    / np.maximum(counts.trials["LRS"] + counts.trials["HRS"], 1)
                ).tolist(),
                **interval.record(),
                "note": "trials divided by the design effect of repeated readings",
            },
        },
        "quantiles": _quantiles(measurements, main),
    }
    return DeviceStudy(posteriors, grid, record)


def adaptive_grid(posterior: DevicePosterior, points: int) -> FloatArray:
    """Values of the measured range, evenly spaced in path length of (coordinate, log10 BER)."""
    frame = posterior.frame
    fine = frame.programming.grid(frame.low, frame.high, 601)
    laws = posterior.mixtures(fine)
    lrs, hrs = laws["LRS"].thinned(10), laws["HRS"].thinned(10)
    ber = np.exp(ln_ber_1t1r(lrs, hrs, choose_threshold(lrs, hrs))).mean(axis=(0, 1))
    log10_ber = np.log10(ber)
    rise = np.abs(np.diff(log10_ber)) / max(np.ptp(log10_ber), 1e-9)
    path = np.concatenate([[0.0], np.cumsum(rise + 1.0 / len(rise))])
    u = np.interp(np.linspace(0, path[-1], points), path, frame.programming.coordinate(fine))
    grid = frame.programming.from_coordinate(u)
    grid[0], grid[-1] = frame.low, frame.high
    return grid


def _data_record(measurements: Measurements) -> dict[str, Any]:
    table = measurements.table
    return {
        "source": measurements.source,
        "sha256": measurements.sha256,
        "simulated": measurements.simulated,
        "devices": measurements.devices,
        "readings": {s: int((table["state"] == s).sum()) for s in STATES},
        "conditions": len(measurements.conditions),
        "cycles": int(table["cycle"].nunique()) if "cycle" in table else 1,
        "arrays": int(table["array_id"].nunique()) if "array_id" in table else 1,
        "median_ohm": {
            s: float(table.loc[table["state"] == s, "resistance_ohm"].median()) for s in STATES
        },
        "warnings": list(measurements.warnings),
    }


def _quantiles(measurements: Measurements, posterior: DevicePosterior) -> list[dict[str, Any]]:
    """Measured quantiles of ln R with predictive bands, for up to six groups of conditions."""
    groups = group_conditions(measurements, devices_per_group=max(100, measurements.devices // 12))
    chosen = sorted({round(i) for i in np.linspace(0, len(groups) - 1, 6)})
    score = np.linspace(-3.5, 3.5, 71)
    levels = ndtr(score)
    table = measurements.table
    rows = []
    for low, high in (groups[i] for i in chosen):
        inside = table["programming"].between(low, high)
        for state in STATES:
            part = table[inside & (table["state"] == state)]
            if len(part) < 5:
                continue
            y = np.sort(np.log(part["resistance_ohm"].to_numpy()))
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
            place = ndtri((np.arange(len(y)) + 0.5) / len(y))
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


def save_study(study: DeviceStudy, directory: Path) -> None:
    """Write posteriors and record into an existing directory."""
    for family, posterior in study.posteriors.items():
        save_posterior(posterior, directory / f"{family}.nc")
    head = {
        "format": FORMAT,
        "families": list(study.posteriors),
        "grid": study.grid.tolist(),
        "record": study.record,
    }
    (directory / "device.json").write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")


def load_study(directory: Path) -> DeviceStudy:
    """Read what :func:`save_study` wrote.

    Raises
    ------
    ValueError
        The directory holds no device study, or one of another version.
    """
    path = directory / "device.json"
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{directory}: no device study here (device.json is missing); write one with "
            "`rram-reliability fit --out DIR`"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f"{path}: not a device study of this version ({FORMAT!r})")
    posteriors = {f: load_posterior(directory / f"{f}.nc") for f in head["families"]}
    return DeviceStudy(posteriors, np.array(head["grid"]), head["record"])
