"""Error rates counted from readings alone, beside those of the model, at measured values.

Chips drawn from the posterior test the accuracy of the network, not the model of the device. At the
measured programming values next to the recommended one, the errors among the readings give rates
without any model; chips drawn from these are counted beside chips drawn from the model.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import beta, binom, fisher_exact

from devicefit.distributions.sensing import CELLS_PER_BIT, SensingOptions
from devicefit.fitting.fitted import Fitted
from devicefit.measurements.measurements import STATES
from devicefit.numerics.arrays import FloatArray
from devicefit.prediction.condition_readings import ConditionReadings
from reliability.chips.lots import Lot
from reliability.chips.rates import ChipRates, chip_rates
from reliability.plans.storage import Storage

FALSE_ALARMS = 0.01
"""Probability, at most, that the gate fails though the model is right."""

POWER = 0.8
"""Probability with which the rate that is stated as detectable would be noticed."""

LEAST_READINGS = 50
"""Readings of each state for which neighbouring measured values are taken together."""

NEAR_READINGS = 1000
"""Readings of each state near the recommended programming whose errors are added up."""

PAIR = "pair"
"""Stands for the state where two cells store a bit."""


@dataclass(frozen=True)
class CountedErrors:
    """Errors among the readings of one array, and what the model says of their rate.

    Parameters
    ----------
    array : str
        Empty where the readings name none.
    state : {"LRS", "HRS", "pair"}
        State; pairs of both for 2T2R.
    errors, trials : float
        Readings on the wrong side of the threshold, of how many; for pairs the expected number
        among as many pairs as readings of the rarer state.
    effective : int
        Independent readings that they are worth: see :func:`_worth`.
    model : float array, shape (draw,)
        Rate by the model, over the same conditions.
    """

    array: str
    state: str
    errors: float
    trials: float
    effective: int
    model: FloatArray

    @property
    def effective_errors(self) -> float:
        """Errors among the effective readings."""
        return self.effective * self.errors / self.trials

    def posterior(self, size: int, rng: np.random.Generator) -> FloatArray:
        """Draws of the rate without a model: Beta(k + 1/2, n - k + 1/2)."""
        k, n = self.effective_errors, self.effective
        return rng.beta(k + 0.5, n - k + 0.5, size)

    @property
    def p_value(self) -> float:
        """Posterior predictive probability, two-sided, of errors as far from the model's.

        A part of an effective reading counts for the model.
        """
        k, n = self.effective_errors, self.effective
        more = binom.sf(np.floor(k + 1e-9) - 1, n, self.model).mean()
        fewer = binom.cdf(np.ceil(k - 1e-9), n, self.model).mean()
        return float(min(1.0, 2 * min(more, fewer)))

    def detectable(self, level: float) -> float:
        """Smallest rate above the model's at which `p_value` is below `level` with `POWER`.

        One where no number of errors is surprising.
        """
        n = self.effective
        k = bisect_left(
            range(n + 1),
            True,
            key=lambda k: bool(2 * binom.sf(k - 1, n, self.model).mean() < level),
        )
        return 1.0 if k > n else float(beta.ppf(POWER, k, n - k + 1))


@dataclass(frozen=True)
class ReadingsCheck:
    """Chips by readings alone and by the model, near one measured value.

    Parameters
    ----------
    low, high : float
        Ends of the measured programming values that are taken together, SI.
    counts : tuple of CountedErrors
        For each array and state.
    by_readings, by_model : Lot or None
        Chips; None before they are counted.
    """

    low: float
    high: float
    counts: tuple[CountedErrors, ...]
    by_readings: Lot | None = None
    by_model: Lot | None = None

    @property
    def arrays(self) -> tuple[str, ...]:
        """Arrays that were read in both states."""
        return tuple(dict.fromkeys(c.array for c in self.counts))

    def p_of_shares(self) -> float:
        """Fisher's exact probability of shares of chips as far apart."""
        assert self.by_readings is not None
        assert self.by_model is not None
        table = [[lot.met, lot.chips - lot.met] for lot in (self.by_readings, self.by_model)]
        return float(fisher_exact(table).pvalue)

    def p_value(self, comparisons: int) -> float:
        """Small only where neither chance among chips nor the number of readings explains it.

        The larger of the probability of the shares and of that of the counted errors, the latter
        times the number of comparisons.
        """
        counted = min(1.0, comparisons * min(c.p_value for c in self.counts))
        return max(counted, self.p_of_shares())

    def rates(self, one_is: str, *, size: int, rng: np.random.Generator) -> dict[str, ChipRates]:
        """Rates of chips ``by_readings`` and ``by_model``; `size` draws of the former."""
        of = {(c.array, c.state): c for c in self.counts}
        zero = "HRS" if one_is == "LRS" else "LRS"
        found = {}
        for key in ("by_readings", "by_model"):
            per_array = []
            for array in self.arrays:
                states = [PAIR] if (array, PAIR) in of else [zero, one_is]
                draws = [
                    of[array, state].posterior(size, rng)
                    if key == "by_readings"
                    else of[array, state].model
                    for state in states
                ]
                per_array.append(np.stack([draws[0], draws[-1]], axis=-1))
            values = np.stack(per_array, axis=1)[:, :, None]
            found[key] = ChipRates(np.array([(self.low + self.high) / 2]), values)
        return found

    def record(self, comparisons: int) -> dict[str, Any]:
        """Plain values."""
        assert self.by_readings is not None
        assert self.by_model is not None
        return {
            "programming_low": self.low,
            "programming_high": self.high,
            "counts": [
                {
                    "array": c.array,
                    "state": c.state,
                    "errors": c.errors,
                    "trials": c.trials,
                    "effective_trials": c.effective,
                    "model_rate": float(c.model.mean()),
                    "p_value": c.p_value,
                    "detectable_rate": c.detectable(FALSE_ALARMS / comparisons),
                }
                for c in self.counts
            ],
            "by_readings": self.by_readings.record(),
            "by_model": self.by_model.record(),
            "p_of_shares": self.p_of_shares(),
            "p_value": self.p_value(comparisons),
        }


def checks_near(
    x: float,
    measured: Sequence[ConditionReadings],
    device: Fitted,
    storage: Storage,
    *,
    sensing: SensingOptions,
    one_is: str,
) -> tuple[ReadingsCheck, ...]:
    """What was counted at the measured values at or next below a programming value and next above.

    Parameters
    ----------
    x : float
        Programming value, SI.
    measured : sequence of ConditionReadings
        At the second value of the device, where there is one.
    device : Fitted
        Model.
    storage : Storage
        How bits are stored.
    sensing : SensingOptions
        Offset of the sense amplifier; thresholds are those of the readings.
    one_is : {"LRS", "HRS"}
        State that stores a one.

    Returns
    -------
    tuple of ReadingsCheck
        Chips are not yet counted. None for a side where no array was read in both states.
    """
    both, values = _in_both_states(measured, device)
    split = x + 1e-9 * abs(x)
    below, above = [v for v in values if v <= split][::-1], [v for v in values if v > split]
    found = []
    for side in (below, above):
        taken: list[ConditionReadings] = []
        for value in side:
            taken += [c for c in both if c.programming == value]
            if min(sum(c.trials(s) for c in taken) for s in STATES) >= LEAST_READINGS:
                break
        if taken:
            found.append(_check_of(taken, device, storage, sensing, one_is))
    return tuple(found)


def errors_near(
    x: float,
    measured: Sequence[ConditionReadings],
    device: Fitted,
    storage: Storage,
    *,
    sensing: SensingOptions,
    one_is: str,
) -> ReadingsCheck | None:
    """Errors that were counted at the measured values nearest to a programming value.

    As many values as give `NEAR_READINGS` of each state, or all; arguments as of
    :func:`checks_near`. None where no value was read in both states.
    """
    both, values = _in_both_states(measured, device)
    scale = device.frame.programming.coordinate
    at = float(scale(x))
    taken: list[ConditionReadings] = []
    for value in sorted(values, key=lambda v: abs(float(scale(v)) - at)):
        taken += [c for c in both if c.programming == value]
        if min(sum(c.trials(s) for c in taken) for s in STATES) >= NEAR_READINGS:
            break
    return _check_of(taken, device, storage, sensing, one_is) if taken else None


def _in_both_states(
    measured: Sequence[ConditionReadings], device: Fitted
) -> tuple[list[ConditionReadings], list[float]]:
    """Conditions that were read in both states, and their programming values, ascending."""
    both = [c for c in measured if all(c.trials(s) for s in STATES)]
    if device.frame.second is not None:
        both = [c for c in both if c.second == device.frame.second_reference]
    return both, sorted({c.programming for c in both})


def _check_of(
    taken: Sequence[ConditionReadings],
    device: Fitted,
    storage: Storage,
    sensing: SensingOptions,
    one_is: str,
) -> ReadingsCheck:
    """Errors that were counted under some conditions, for each array and state."""
    effect: dict[str, float] = device.record["design_effect"]
    names = device.frame.arrays
    modelled = {
        (c.programming, c.threshold_ohm): chip_rates(
            device,
            [c.programming],
            storage,
            sensing=replace(sensing, threshold_ohm=c.threshold_ohm),
            one_is=one_is,
        ).values[:, :, 0]
        for c in taken
    }
    paired = CELLS_PER_BIT[storage.scheme] == 2
    counts = []
    for k, array in enumerate(names):
        here = [c for c in taken if c.array == array]
        if not here:
            continue
        for state in (PAIR,) if paired else STATES:
            if paired:
                trials = np.array([float(min(c.trials(s) for s in STATES)) for c in here])
                worth = sum(min(_worth(c, s, effect) for s in STATES) for c in here)
                errors = float(trials @ [c.pair_error(sensing.offset_ln_r) for c in here])
            else:
                trials = np.array([float(c.trials(state)) for c in here])
                worth = sum(_worth(c, state, effect) for c in here)
                errors = float(sum(c.errors(state) for c in here))
            rates = np.stack(
                [modelled[c.programming, c.threshold_ohm][:, k, int(state == one_is)] for c in here]
            )
            model = np.clip(trials @ rates / trials.sum(), 0.0, 1.0)
            total = float(trials.sum())
            counts.append(CountedErrors(array, state, errors, total, max(1, round(worth)), model))
    ends = [c.programming for c in taken]
    return ReadingsCheck(min(ends), max(ends), tuple(counts))


def _worth(c: ConditionReadings, state: str, effect: dict[str, float]) -> float:
    """Independent readings that those of a state are worth: at most one for each device.

    Cells that always fail are rare: that of 60 devices none is such a cell tells little, however
    often each was read. The design effect, which is of ln R, does not know that.
    """
    return min(c.trials(state) / effect[state], float(c.devices))
