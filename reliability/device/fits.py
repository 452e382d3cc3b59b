"""The families that could be fitted to one set of readings, and why others could not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from devicefit.compression.compression import compress
from devicefit.fitting.fit import DevicePosterior, fit
from devicefit.likelihood.compressed import Compressed
from devicefit.measurements.measurements import Measurements
from devicefit.prediction.loo import Loo, loo
from devicefit.prediction.stacking import StackedDevice, stacking_weights
from devicefit.priors.files import PriorFile
from devicefit.sampling.options import SamplerOptions

Say = Callable[[str], None]


@dataclass(frozen=True)
class Fits:
    """Families that could be fitted, and why others could not.

    Parameters
    ----------
    measurements : Measurements
        Readings.
    compressed : Compressed
        The same, compressed.
    posteriors, failed, loos, weights : dict
        By family: posterior, why there is none, prediction of left-out devices, stacking weight.
        No predictions where there were no single readings, no weights where one family answers.
    """

    measurements: Measurements
    compressed: Compressed
    posteriors: dict[str, DevicePosterior]
    failed: dict[str, str]
    loos: dict[str, Loo]
    weights: dict[str, float]

    @property
    def main(self) -> DevicePosterior | StackedDevice:
        """What answers are based on."""
        return answering(self.posteriors, self.weights)

    @property
    def leading(self) -> DevicePosterior:
        """The family that is checked."""
        main = self.main
        return main.leading if isinstance(main, StackedDevice) else main


def answering(
    posteriors: dict[str, DevicePosterior], weights: dict[str, float]
) -> DevicePosterior | StackedDevice:
    """The stack, or the first family."""
    if weights:
        return StackedDevice(posteriors, weights)
    return next(iter(posteriors.values()))


def fit_families(
    measurements: Measurements,
    families: tuple[str, ...],
    stacked: bool,
    sampler: SamplerOptions,
    priors: PriorFile | None,
    say: Say,
) -> Fits:
    """Fit families and predict left-out devices by each.

    Parameters as of :func:`reliability.device.study.study_device`.

    Raises
    ------
    ValueError
        No family could be fitted; says why for each.
    """
    compressed = compress(measurements)
    posteriors, failed = _fit_all(compressed, measurements, families, sampler, priors, say)
    say("predicting left-out devices")
    loos = {}
    if len(measurements.table):
        loos = _score_all(posteriors, failed, compressed, measurements, say)
    weights = stacking_weights(loos) if stacked and loos else {}
    return Fits(measurements, compressed, posteriors, failed, loos, weights)


def _fit_all(
    compressed: Compressed,
    measurements: Measurements,
    families: tuple[str, ...],
    sampler: SamplerOptions,
    priors: PriorFile | None,
    say: Say,
) -> tuple[dict[str, DevicePosterior], dict[str, str]]:
    """Posterior of each family that could be fitted, and why the others could not."""
    posteriors: dict[str, DevicePosterior] = {}
    failed: dict[str, str] = {}
    readings = sum(int(s.n.sum()) for s in compressed.states.values())
    for family in families:
        say(f"fitting the {family} family to {readings} readings")
        try:
            found = fit(compressed, family=family, options=sampler, prior_file=priors)
            if not all(np.isfinite(found.draws[name]).all() for name in found.draws.data_vars):
                raise FloatingPointError("its draws are not finite")
            posteriors[family] = found
        except (RuntimeError, ArithmeticError, np.linalg.LinAlgError) as error:
            # One family that cannot be fitted must not take the others with it.
            failed[family] = f"{type(error).__name__}: {error}"
            say(f"the {family} family could not be fitted: {failed[family]}")
    _refuse_none(posteriors, failed, measurements)
    return posteriors, failed


def _refuse_none(
    posteriors: dict[str, DevicePosterior], failed: dict[str, str], measurements: Measurements
) -> None:
    """Stop when no family is left."""
    if not posteriors:
        reasons = "; ".join(f"{f}: {why}" for f, why in failed.items())
        raise ValueError(
            f"{measurements.source}: no family could be fitted ({reasons}); check the readings "
            "with `rram-reliability check`"
        )


def _score_all(
    posteriors: dict[str, DevicePosterior],
    failed: dict[str, str],
    compressed: Compressed,
    measurements: Measurements,
    say: Say,
) -> dict[str, Loo]:
    """Prediction of left-out devices by each family; one without finite scores counts as failed."""
    loos = {}
    for family, posterior in list(posteriors.items()):
        found = loo(posterior, compressed, measurements)
        if np.isfinite(found.lpd).all():
            loos[family] = found
            continue
        del posteriors[family]
        failed[family] = "FloatingPointError: it gives readings no finite density"
        say(f"the {family} family cannot be used: {failed[family]}")
    _refuse_none(posteriors, failed, measurements)
    return loos
