"""Checks of the models of life: counted errors beside predicted ones, and their gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

from devicefit.fitting.gate import Gate
from devicefit.numerics.arrays import IntArray

CHANCE = 0.01
"""Probability with which the counts of one gate may differ as much by chance: two-sided, over all
places of the gate together."""
TELLS_WITHIN = 1000.0
"""Factor that a predictive interval may span and still tell a wrong model from a right one."""


@dataclass(frozen=True)
class CountCheck:
    """Counted errors beside what is predicted.

    Parameters
    ----------
    at : mapping of str to float
        What they were counted at: ends of a decade of cycles, or time and temperature of a bake.
    errors, trials : int
        Counted.
    predicted_low, predicted_median, predicted_high : float
        Median and ends of the 95 % predictive interval of the errors.
    chance : float
        Two-sided probability that a prediction lies as far out as the count.
    """

    at: Mapping[str, float]
    errors: int
    trials: int
    predicted_low: float
    predicted_median: float
    predicted_high: float
    chance: float

    @classmethod
    def of(
        cls, at: Mapping[str, float], errors: IntArray, trials: IntArray, predicted: IntArray
    ) -> CountCheck:
        """Of counts in any number of places, and predicted sums, shape (draw,)."""
        low, median, high = np.quantile(predicted, [0.025, 0.5, 0.975])
        counted, draws = int(np.sum(errors)), len(predicted)
        # Half of the equal ones on either side; one more draw, so that nothing is impossible.
        below = (np.sum(predicted < counted) + 0.5 * np.sum(predicted == counted) + 0.5) / (
            draws + 1
        )
        chance = float(2 * min(below, 1 - below))
        sums = int(np.sum(trials))
        return cls(at, counted, sums, float(low), float(median), float(high), chance)

    @property
    def inside(self) -> bool:
        """Whether the count lies in the interval."""
        return self.predicted_low <= self.errors <= self.predicted_high

    @property
    def spans(self) -> float:
        """Ratio of the ends of the interval, one error added to each."""
        return (self.predicted_high + 1) / (self.predicted_low + 1)

    @property
    def tells(self) -> bool:
        """Whether the interval is narrow enough to tell a wrong model from a right one."""
        return self.spans <= TELLS_WITHIN

    def words(self) -> str:
        """Counted and predicted: ``"23 of 5000, predicted 31 (95 % 4 to 90)"``."""
        return (
            f"{self.errors} of {self.trials}, predicted {self.predicted_median:.0f} (95 % "
            f"{self.predicted_low:.0f} to {self.predicted_high:.0f})"
        )

    def record(self) -> dict[str, Any]:
        """Plain values."""
        found = asdict(self)
        return dict(found.pop("at")) | found | {"inside": self.inside, "tells": self.tells}


def each_gate(checks: Sequence[CountCheck], *, state: str, what: str, remedy: str) -> Gate:
    """Whether predicted and counted errors of each `what` (decade, bake) differ by chance only.

    Fails where one of the counts is less likely than :data:`CHANCE` over their number, and where
    most of the intervals are too wide to tell anything.
    """
    worst = min(checks, key=lambda check: check.chance)
    chance = min(worst.chance * len(checks), 1.0)
    silent = sum(not check.tells for check in checks)
    finding = f"farthest out of {len(checks)} {what}s: {worst.words()}, as far by chance in "
    finding += f"{chance:.2g} of all such sets"
    if silent:
        finding += (
            f"; in {silent} of {len(checks)} the interval spans more than a factor of "
            f"{TELLS_WITHIN:.0f}, which tells nothing"
        )
    return Gate(
        f"errors of each {what} ({state})",
        f"Does the model predict the errors of each {what}?",
        chance >= CHANCE and 2 * silent <= len(checks),
        chance,
        CHANCE,
        finding,
        remedy,
    )


def held_out_gate(
    check: CountCheck | None,
    *,
    state: str,
    what: str,
    rest: str,
    where: str,
    remedy: str,
    why: str,
) -> Gate | str:
    """Whether a fit to the `rest` predicts what was held out; else a sentence why none is made.

    There is no gate where nothing could be held out (None; `why`), nor where the prediction is too
    wide to tell.
    """
    if check is None:
        return f"Not checked ({state}): the {what} cannot be held out, because {why}."
    if not check.tells:
        return (
            f"Not checked ({state}): {where} a fit to the rest predicts the {what} too widely to "
            f"find a wrong model: {check.words()}."
        )
    return Gate(
        f"{what} held out ({state})",
        f"Does a fit to {rest} predict the errors of the {what}?",
        check.chance >= CHANCE,
        check.chance,
        CHANCE,
        f"{where}: {check.words()}, as far out by chance with probability {check.chance:.2g}",
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
