"""How many readings a fit predicts on the wrong side of the threshold, beside those counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from devicefit.distributions.sensing import BerCurve
from devicefit.fitting.fitted import Fitted
from devicefit.likelihood.compressed import Compressed
from devicefit.measurements.measurements import STATES
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.prediction.counted_errors import ErrorCounts
from devicefit.prediction.reading_density import conditions_of

PREDICTIVE = 0.95
"""Probability of the predictive intervals of counted failures."""

_LEVELS = (0.025, 0.5, 0.975)


@dataclass(frozen=True)
class FailureCell:
    """Counted and predicted failures of one state in one group of conditions.

    Parameters
    ----------
    programming_low, programming_high : float
        Ends of the group of conditions, SI.
    state : {"LRS", "HRS"}
        Intended state.
    devices : int
        Distinct devices of the group, in either state.
    trials, errors : int
        Readings of the state, and how many of them are on the wrong side of the threshold.
    low, median, high : float
        Median and ends of the equal-tailed `PREDICTIVE` interval of the number of errors, 0 to
        `trials`.
    """

    programming_low: float
    programming_high: float
    state: str
    devices: int
    trials: int
    errors: int
    low: float
    median: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the counted errors lie in the predictive interval, ends included."""
        return self.low <= self.errors <= self.high


def predicted_failures(
    posterior: Fitted,
    compressed: Compressed,
    counts: ErrorCounts,
    curve: BerCurve,
    *,
    rng: np.random.Generator,
) -> tuple[FailureCell, ...]:
    """Predict the readings on the wrong side of the threshold where they were counted.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    compressed : Compressed
        The readings, which tell how many were taken at each condition.
    counts : ErrorCounts
        From :func:`devicefit.prediction.counted_errors.count_errors` with `curve`.
    curve : BerCurve
        The 1T1R curve, whose threshold is interpolated.
    rng : numpy.random.Generator
        For the predicted counts, one for each draw.

    Returns
    -------
    tuple of FailureCell
        One for each group of conditions and state with readings, in the order of the groups, LRS
        first.

    Raises
    ------
    ValueError
        The curve has no threshold, or the counts are not of the compressed readings.

    Notes
    -----
    The predicted share is that over the group's own conditions and readings. Readings of a device
    are alike, so trials are divided by the design effect. One effective failure then stands for
    several counted ones; the interval is wider by what is less than one of them.
    """
    if curve.threshold_ohm is None:
        raise ValueError(
            f"{curve.scheme} has no threshold; failures are counted and predicted at the threshold "
            "of the 1T1R curve"
        )
    n = _readings_of_conditions(compressed, counts)
    coordinate = posterior.frame.programming.coordinate
    cells = []
    for g in range(len(counts.devices)):
        ends = float(counts.programming_low[g]), float(counts.programming_high[g])
        rows = np.flatnonzero(
            (compressed.conditions >= ends[0]) & (compressed.conditions <= ends[1])
        )
        x = compressed.conditions[rows]
        ln_t = np.interp(coordinate(x), coordinate(curve.programming), np.log(curve.threshold_ohm))
        laws = posterior.mixtures(
            x, second=compressed.second_values[rows], array=compressed.array[rows]
        )
        for state in STATES:
            law = laws[state]
            trials, errors = int(counts.trials[state][g]), int(counts.errors[state][g])
            of_condition = n[state][rows]
            if of_condition.sum() != trials:
                raise ValueError(
                    f"{trials} {state} readings were counted from {ends[0]:.6g} to {ends[1]:.6g}, "
                    f"{of_condition.sum()} were compressed; count and compress the same readings"
                )
            if trials == 0:
                continue
            wrong = law.ln_survival(ln_t) if state == "LRS" else law.ln_distribution(ln_t)
            p = np.clip((np.exp(wrong) @ (of_condition / trials)).ravel(), 0.0, 1.0)
            effect = compressed.states[state].design_effect
            of_number = _interval(p, trials, effect, rng)
            cells.append(
                FailureCell(*ends, state, int(counts.devices[g]), trials, errors, *of_number)
            )
    return tuple(cells)


def _readings_of_conditions(compressed: Compressed, counts: ErrorCounts) -> dict[str, IntArray]:
    """Readings of each state at each condition, those that are known by bounds too."""
    n: dict[str, IntArray] = {state: compressed.states[state].n.copy() for state in STATES}
    if len(counts.bounded):
        at = conditions_of(counts.bounded, compressed)
        for state in STATES:
            np.add.at(n[state], at[(counts.bounded["state"] == state).to_numpy()], 1)
    return n


def _interval(
    p: FloatArray, trials: int, design_effect: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Low end, median and high end of the number of errors in trials that are alike."""
    effective = max(1, round(trials / design_effect))
    each = trials / effective
    low, median, high = each * np.quantile(
        rng.binomial(effective, p), _LEVELS, method="inverted_cdf"
    )
    # One effective failure is `each` counted ones; less than it is no surprise.
    low, high = max(0.0, float(low) - (each - 1)), min(trials, float(high) + (each - 1))
    return low, float(median), high
