"""Checks of the models of life: counted errors beside predicted ones, and their gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from devicefit.checks.fit_gates import COVERED_LIMIT
from devicefit.checks.gate import Gate
from devicefit.programming import IntArray


@dataclass(frozen=True)
class CountCheck:
    """Counted errors beside what is predicted.

    Parameters
    ----------
    at : mapping of str to float
        What they were counted at: ends of a decade of cycles, or time and temperature of a bake.
    errors, trials : int
        Counted.
    predicted_low, predicted_high : float
        Ends of the 95 % predictive interval of the errors.
    """

    at: Mapping[str, float]
    errors: int
    trials: int
    predicted_low: float
    predicted_high: float

    @classmethod
    def of(
        cls, at: Mapping[str, float], errors: IntArray, trials: IntArray, predicted: IntArray
    ) -> CountCheck:
        """Of counts in any number of places, and predicted sums, shape (draw,)."""
        low, high = np.quantile(predicted, [0.025, 0.975])
        return cls(at, int(np.sum(errors)), int(np.sum(trials)), float(low), float(high))

    @property
    def inside(self) -> bool:
        """Whether the count lies in the interval."""
        return self.predicted_low <= self.errors <= self.predicted_high

    def record(self) -> dict[str, Any]:
        """Plain values."""
        found = asdict(self)
        return dict(found.pop("at")) | found | {"inside": self.inside}


def each_gate(checks: Sequence[CountCheck], *, state: str, what: str, remedy: str) -> Gate:
    """Whether the model predicts the errors of each `what` (decade, bake) that was fitted."""
    inside = sum(check.inside for check in checks)
    share = inside / len(checks)
    return Gate(
        f"errors of each {what} ({state})",
        f"Does the model predict the errors of each {what}?",
        share >= COVERED_LIMIT,
        share,
        COVERED_LIMIT,
        f"{inside} of {len(checks)} {what}s inside the 95 % predictive interval",
        remedy,
    )


def held_out_gate(
    check: CountCheck, *, state: str, what: str, rest: str, where: str, remedy: str
) -> Gate:
    """Whether a fit to the `rest` predicts what was held out."""
    return Gate(
        f"{what} held out ({state})",
        f"Does a fit to {rest} predict the errors of the {what}?",
        check.inside,
        float(check.errors),
        check.predicted_high,
        f"{check.errors} errors in {check.trials} readings {where}, predicted "
        f"{check.predicted_low:.0f} to {check.predicted_high:.0f} (95 %)",
        remedy,
    )


LEAST_TO_TELL_SPREAD = 4
"""Units from which on they tell how much units differ better than the priors do.

The priors know that spread within a factor of 5.2 (ln sd ~ N(., 0.5), 90 %); see
:func:`spread_factor`. Fewer leave what is said of other units to the priors.
"""


def spread_factor(units: int) -> float:
    """Ratio of the ends of the 90 % interval of a standard deviation that so many units tell.

    From the chi-square law of normal values; infinite for one.
    """
    if units < 2:
        return float("inf")
    low, high = chi2.ppf([0.05, 0.95], units - 1)
    return float(np.sqrt(high / low))


def spread_gate(
    units: int, *, what: str, where: str, remedy: str, least: int = LEAST_TO_TELL_SPREAD
) -> Gate:
    """Whether there are enough units, devices or bakes to tell how much they differ."""
    told = (
        "how much others differ from it is the prior's alone"
        if units < 2
        else f"they tell how much {what} differ within a factor of {spread_factor(units):.2g}"
    )
    return Gate(
        f"{what} {where}",
        f"Are there enough {what} to tell how much {what} differ?",
        units >= least,
        float(units),
        float(least),
        f"{units} of at least {least} {what}: {told}, and the interval with it",
        remedy,
    )
