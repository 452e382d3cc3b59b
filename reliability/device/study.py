"""Everything about the device that later steps and the report need, from one set of readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from devicefit.checks.fit_gates import gate_report, modes_gate
from devicefit.checks.left_out_conditions import (
    check_groups,
    leave_conditions_out,
    left_out_conditions_gate,
)
from devicefit.checks.neighbours import likenesses, neighbours_gate
from devicefit.checks.predictive_tests import predictive_tests
from devicefit.distributions.sensing import BerCurve, SensingOptions, ln_ber_1t1r
from devicefit.distributions.threshold import choose_threshold
from devicefit.fitting.convergence import convergence_gates
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import DevicePosterior
from devicefit.fitting.gate import Gate
from devicefit.measurements.measurements import Measurements
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.short_repr import short_repr
from devicefit.persistence.windows import WindowedPersistence
from devicefit.prediction.condition_readings import (
    ConditionReadings,
    condition_readings,
    pooled_errors,
)
from devicefit.prediction.counted_errors import count_errors
from devicefit.prediction.predicted_failures import predicted_failures
from devicefit.prediction.prediction import fit_persistence
from devicefit.prediction.sides import threshold_words
from devicefit.prediction.stacking import StackedDevice
from devicefit.priors.files import PriorFile
from devicefit.sampling.options import SamplerOptions
from reliability.device.figures_data import device_checks_record
from reliability.device.fits import Fits, Say, answering, fit_families
from reliability.device.records import (
    counts_record,
    data_record,
    family_records,
    levels_record,
    quantile_rows,
)

GRID_POINTS = 101


FITTED = "families fitted"
"""Name of the gate that fails when a family could not be fitted."""
STACKED = "stacked"
STACKED_FAMILIES = ("skewed-failure", "student-t", "log-logistic", "lognormal")
"""Families of a stack: the plain switching-failure family is a special case of the first."""


@short_repr
@dataclass(frozen=True)
class DeviceStudy:
    """Fitted families and what was found about data and fit.

    Parameters
    ----------
    posteriors : dict of str to DevicePosterior
        By family; the first is the one that answers are based on unless they are stacked.
    weights : dict of str to float
        Stacking weights of the families; empty when one family answers.
    persistence : dict of str to WindowedPersistence
        By state: how much devices differ in their failures. Empty without repeated readings.
    grid : float array, shape (x,)
        Programming values, denser where the BER changes.
    record : dict
        Plain values: ``data``, ``gates``, ``counts``, ``quantiles``, ``families``, ``levels``,
        ``checks``, and ``left_out_conditions``: rows of
        :func:`devicefit.checks.left_out_conditions.leave_conditions_out`, none where nothing
        was left out; ``threshold_ohm``: that at which errors were counted, None where it was
        chosen; ``measured``: the readings of each condition, compressed.
    """

    posteriors: dict[str, DevicePosterior]
    weights: dict[str, float]
    persistence: dict[str, WindowedPersistence]
    grid: FloatArray
    record: dict[str, Any]

    @property
    def main(self) -> DevicePosterior | StackedDevice:
        """What answers are based on."""
        return answering(self.posteriors, self.weights)

    @property
    def second_values(self) -> tuple[float, ...]:
        """Measured values of the second programming variable, ascending, SI."""
        return tuple(self.record["data"].get("second_values", ()))

    def at_second(self, value: float) -> DeviceStudy:
        """The study at this value of the second variable: laws, grid, and counted errors."""
        posteriors = {f: p.at_second(value) for f, p in self.posteriors.items()}
        found = replace(self, posteriors=posteriors)
        here = [c for c in self.measured if c.second == value]
        counts = counts_record(pooled_errors(here), found.main) if here else {}
        return replace(
            found,
            grid=adaptive_grid(found.main, len(self.grid)),
            record={**self.record, "counts": counts},
        )

    @property
    def measured(self) -> tuple[ConditionReadings, ...]:
        """Readings of each measured condition; none where there were no single readings."""
        return tuple(ConditionReadings.of_record(r) for r in self.record.get("measured", ()))

    def sensing(
        self, threshold_ohm: float | None = None, offset_ln_r: float | None = None
    ) -> SensingOptions:
        """How cells are read: with the threshold of the fit where none is given."""
        if threshold_ohm is None:
            threshold_ohm = self.record.get("threshold_ohm")
        options = SensingOptions(threshold_ohm)
        return options if offset_ln_r is None else replace(options, offset_ln_r=offset_ln_r)

    def check_threshold(self, sensing: SensingOptions) -> None:
        """Refuse a threshold at which the fit was not checked.

        Raises
        ------
        ValueError
            Errors were counted, and compared with the model, at another threshold.
        """
        checked = self.record.get("threshold_ohm", sensing.threshold_ohm)
        if checked != sensing.threshold_ohm:
            raise ValueError(
                f"--threshold-ohm {sensing.threshold_ohm:.12g}: the device was fitted and checked "
                f"with {threshold_words(checked)}; fit again with `rram-reliability fit "
                f"--threshold-ohm {sensing.threshold_ohm:.12g}`, or leave the option out"
            )


def study_device(
    measurements: Measurements,
    *,
    families: tuple[str, ...] = ("switching-failure", "lognormal"),
    stacked: bool = False,
    sampler: SamplerOptions,
    sensing: SensingOptions,
    priors: PriorFile | None = None,
    left_out: Sequence[tuple[float, float]] = (),
    say: Say = lambda text: None,
) -> DeviceStudy:
    """Fit families and check what answers are based on.

    Parameters
    ----------
    measurements : Measurements
        Checked readings.
    families : tuple of str
        Families to fit, the one to answer with first.
    stacked : bool, optional
        Answer with all families, weighted by how well they predict left-out devices.
    sampler : SamplerOptions
        Chains, draws and seed.
    sensing : SensingOptions
        How bits are read, for the counts.
    priors : PriorFile, optional
        What the user knows, in place of the default priors.
    left_out : sequence of (low, high), optional
        Groups of programming values, for example from
        :func:`devicefit.checks.left_out_conditions.split_conditions`. The leading family is
        refitted without each and predicts the failures there.
    say : callable, optional
        Told what is being done.

    Returns
    -------
    DeviceStudy

    Raises
    ------
    ValueError
        No family could be fitted; says why for each. Or a group cannot be left out.
    """
    check_groups(measurements, left_out)
    fits = fit_families(measurements, families, stacked, sampler, priors, say)
    main, leading = fits.main, fits.leading
    grid = adaptive_grid(main, GRID_POINTS)
    say("checking the fit")
    own = ber_curves(leading, grid, options=sensing)
    record: dict[str, Any] = {
        "data": data_record(measurements, fits.compressed),
        "gates": [],
        "counts": {},
        "quantiles": [],
        "families": family_records(fits.posteriors, fits.failed, fits.loos, fits.weights),
        "levels": {},
        "checks": {},
        "left_out_conditions": [],
        "threshold_ohm": sensing.threshold_ohm,
        "measured": [c.record() for c in condition_readings(measurements, main, sensing)],
    }
    persistence: dict[str, WindowedPersistence] = {}
    gates: tuple[Gate, ...] = (*convergence_gates(leading, own), modes_gate(leading))
    if fits.loos:
        gates, persistence, found = _check_readings(fits, own, sampler, sensing, say)
        record |= found
    if fits.failed:
        gates += (fitted_gate(fits.failed, tuple(fits.posteriors)),)
    if left_out:
        say(f"refitting the {leading.family} family without each of {len(left_out)} groups")
        predicted = leave_conditions_out(
            measurements,
            left_out,
            family=leading.family,
            options=sampler,
            sensing=sensing,
            prior_file=priors,
            seed=sampler.seed,
        )
        record["left_out_conditions"] = predicted.to_dict("records")
        gates += (left_out_conditions_gate(predicted, measurements.programming),)
    record["gates"] = [gate.record() for gate in gates]
    return DeviceStudy(fits.posteriors, fits.weights, persistence, grid, record)


def _check_readings(
    fits: Fits,
    own: dict[str, BerCurve],
    sampler: SamplerOptions,
    sensing: SensingOptions,
    say: Say,
) -> tuple[tuple[Gate, ...], dict[str, WindowedPersistence], dict[str, Any]]:
    """Gates, persistence and records that need single readings; `own` are the leading curves."""
    measurements, compressed = fits.measurements, fits.compressed
    main, leading = fits.main, fits.leading
    curve = own["1T1R"]
    if main is not leading:
        curve = ber_curves(main, curve.programming, options=sensing)["1T1R"]
    rng = np.random.default_rng([sampler.seed, 1])
    per_group = max(100, measurements.devices // 40)
    counts = count_errors(measurements, curve, devices_per_group=per_group)
    cells = predicted_failures(main, compressed, counts, curve, rng=rng)
    tests = predictive_tests(main, measurements, options=sensing)
    gates = gate_report(
        leading, compressed, curves=own, left_out=fits.loos[leading.family], tests=tests
    ).gates
    if len(measurements.places):
        say("comparing neighbouring cells")
        placed = np.random.default_rng([sampler.seed, 17])
        gates += (neighbours_gate(likenesses(measurements, main, sensing, rng=placed)),)
    say("how much devices differ")
    persistence = fit_persistence(main, measurements, options=sensing, rng=rng)
    record = {
        "counts": counts_record(counts, main),
        "checks": {
            **device_checks_record(fits.posteriors, cells),
            "predictive": tests.record(),
        },
        "quantiles": quantile_rows(measurements, main),
        "levels": levels_record(leading, measurements, compressed, persistence, sampler),
    }
    return gates, persistence, record


def fitted_gate(failed: Mapping[str, str], fitted: tuple[str, ...]) -> Gate:
    """Whether every family that was asked for could be fitted."""
    reasons = "; ".join(f"{family} could not be fitted: {why}" for family, why in failed.items())
    return Gate(
        FITTED,
        "Could every family that was asked for be fitted?",
        not failed,
        float(len(failed)),
        0.0,
        f"{reasons}; the answer rests on {', '.join(fitted)}",
        "check the readings with `rram-reliability check`, or name other families with --model",
    )


def adaptive_grid(posterior: DevicePosterior | StackedDevice, points: int) -> FloatArray:
    """Values of the measured range, evenly spaced in path length of (coordinate, log10 BER)."""
    frame = posterior.frame
    if frame.is_single:
        return np.array([frame.low])
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
