"""From laws of resistance to bit error rates: 1T1R against a threshold, 2T2R pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, logsumexp

from devicefit.fitting import DevicePosterior
from devicefit.intervals import Interval, clopper_pearson
from devicefit.measurements import Measurements
from devicefit.mixture import NormalMixture
from devicefit.programming import FloatArray

SCHEMES = ("1T1R", "2T2R")
CELLS_PER_BIT = {"1T1R": 1, "2T2R": 2}
_GOLDEN = (np.sqrt(5.0) - 1) / 2


@dataclass(frozen=True)
class SensingOptions:
    """How cells are read.

    Parameters
    ----------
    threshold_ohm : float or None
        Threshold of a 1T1R read; None chooses, for each value of the programming variable, the
        one with the least posterior expected BER.
    offset_ln_r : float
        Standard deviation of the sense amplifier's offset in ln R, for 2T2R. No measured value is
        published for this amplifier, so it is a parameter whose effect should be looked at.
    """

    threshold_ohm: float | None = None
    offset_ln_r: float = 0.05

    def __post_init__(self) -> None:
        if self.threshold_ohm is not None and not 0 < self.threshold_ohm < np.inf:
            raise ValueError(f"threshold_ohm is {self.threshold_ohm}; it must be positive")
        if not 0 <= self.offset_ln_r < np.inf:
            raise ValueError(f"offset_ln_r is {self.offset_ln_r}; it must not be negative")


@dataclass(frozen=True)
class BerCurve:
    """Draws of the bit error rate over the programming variable.

    Parameters
    ----------
    scheme : {"1T1R", "2T2R"}
        How the bit is read.
    programming : float array, shape (x,)
        Values of the programming variable, ascending, SI.
    ln_ber : float array, shape (chain, draw, x)
        Natural logarithm of the BER.
    threshold_ohm : float array, shape (x,), or None
        Threshold of 1T1R.
    extrapolated : bool array, shape (x,)
        Where the programming variable lies outside the measured range.
    support : float
        1 / (number of devices): a BER below it rests on the model's shape, not on data.
    """

    scheme: str
    programming: FloatArray
    ln_ber: FloatArray
    threshold_ohm: FloatArray | None
    extrapolated: np.ndarray
    support: float


def ln_ber_1t1r(lrs: NormalMixture, hrs: NormalMixture, threshold_ln_r: ArrayLike) -> FloatArray:
    """Natural logarithm of the BER of cells read against a threshold.

    ``BER = (P(y_LRS > t) + P(y_HRS < t)) / 2``: both bits are equally frequent.

    Parameters
    ----------
    lrs, hrs : NormalMixture
        Laws of ln R with the same trailing shape.
    threshold_ln_r : float array
        ln of the threshold in ohm, broadcast against the trailing shape.

    Returns
    -------
    float array, trailing shape of the laws
    """
    upper, lower = lrs.ln_survival(threshold_ln_r), hrs.ln_distribution(threshold_ln_r)
    return np.asarray(np.logaddexp(upper, lower) - np.log(2.0))


def ln_ber_2t2r(lrs: NormalMixture, hrs: NormalMixture, offset_ln_r: float) -> FloatArray:
    """Natural logarithm of the BER of complementary pairs.

    ``BER = P(y_LRS + offset > y_HRS)`` with the two cells different devices and the offset normal
    with mean zero. Differences of normal components are normal, so the sum is exact.

    Parameters
    ----------
    lrs, hrs : NormalMixture
        Laws of ln R with the same trailing shape.
    offset_ln_r : float
        Standard deviation of the offset in ln R, not negative.

    Returns
    -------
    float array, trailing shape of the laws
    """
    terms = [
        lrs.ln_weight[i]
        + hrs.ln_weight[j]
        + log_ndtr(
            (lrs.mean[i] - hrs.mean[j]) / np.sqrt(lrs.sd[i] ** 2 + hrs.sd[j] ** 2 + offset_ln_r**2)
        )
        for i in range(lrs.components)
        for j in range(hrs.components)
    ]
    return np.minimum(logsumexp(np.stack(terms), axis=0), 0.0)


def choose_threshold(lrs: NormalMixture, hrs: NormalMixture) -> FloatArray:
    """Threshold with the least posterior expected BER, for each programming value.

    One value over all draws: nobody who sets a threshold knows which draw is true.

    Parameters
    ----------
    lrs, hrs : NormalMixture
        Laws with trailing shape (chain, draw, x).

    Returns
    -------
    float array, shape (x,)
        ln of the threshold in ohm, to within 1e-4.

    Notes
    -----
    A scan of 81 points over a thinned posterior brackets the minimum, golden-section search over
    all draws finishes. The expected BER is flat near its minimum, so the last digits of the
    threshold do not matter.
    """

    def expected(threshold: FloatArray, a: NormalMixture, b: NormalMixture) -> FloatArray:
        return np.exp(ln_ber_1t1r(a, b, threshold)).mean(axis=(0, 1))

    few = [law.thinned(50) for law in (lrs, hrs)]
    ends = [(m.mean - 2 * m.sd, m.mean + 2 * m.sd) for m in few]
    lowest = np.minimum(*(low[0].min(axis=(0, 1)) for low, _ in ends))
    highest = np.maximum(*(high[0].max(axis=(0, 1)) for _, high in ends))
    fractions = np.linspace(0, 1, 81)
    scan = np.stack([expected(lowest + f * (highest - lowest), *few) for f in fractions])
    best = scan.argmin(axis=0)
    step = (highest - lowest) / (len(fractions) - 1)
    low = lowest + np.maximum(best - 1, 0) * step
    high = lowest + np.minimum(best + 1, len(fractions) - 1) * step
    inner = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    values = expected(inner[0], lrs, hrs), expected(inner[1], lrs, hrs)
    while np.max(high - low) > 1e-4:
        left = values[0] < values[1]
        low, high = np.where(left, low, inner[0]), np.where(left, inner[1], high)
        fresh = np.where(left, high - _GOLDEN * (high - low), low + _GOLDEN * (high - low))
        value = expected(fresh, lrs, hrs)
        inner = np.where(left, fresh, inner[1]), np.where(left, inner[0], fresh)
        values = np.where(left, value, values[1]), np.where(left, values[0], value)
    return np.asarray((low + high) / 2)


def ber_curves(
    posterior: DevicePosterior, x: FloatArray, *, options: SensingOptions
) -> dict[str, BerCurve]:
    """BER draws of every sensing scheme over values of the programming variable.

    Parameters
    ----------
    posterior : DevicePosterior
        Fitted device.
    x : float array, shape (x,)
        Values of the programming variable, ascending, SI.
    options : SensingOptions
        Threshold and offset.

    Returns
    -------
    dict of str to BerCurve
        Keys ``"1T1R"`` and ``"2T2R"``.

    Raises
    ------
    ValueError
        `x` is not ascending.
    """
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    if np.any(np.diff(x) <= 0):
        raise ValueError("values of the programming variable must be ascending")
    if posterior.frame.programming.is_logarithmic and x[0] <= 0:
        raise ValueError(
            f"the smallest value is {x[0]}; a {posterior.frame.programming.name} must be positive"
        )
    laws = posterior.mixtures(x)
    lrs, hrs = laws["LRS"], laws["HRS"]
    if options.threshold_ohm is None:
        threshold = choose_threshold(lrs, hrs)
    else:
        threshold = np.full(len(x), np.log(options.threshold_ohm))
    frame = posterior.frame
    outside = (x < frame.low) | (x > frame.high)
    support = 1.0 / posterior.record["devices"]
    return {
        "1T1R": BerCurve(
            "1T1R", x, ln_ber_1t1r(lrs, hrs, threshold), np.exp(threshold), outside, support
        ),
        "2T2R": BerCurve(
            "2T2R", x, ln_ber_2t2r(lrs, hrs, options.offset_ln_r), None, outside, support
        ),
    }


@dataclass(frozen=True)
class ErrorCounts:
    """Readings on the wrong side of the threshold, per group of conditions.

    Parameters
    ----------
    programming_low, programming_high : float array, shape (group,)
        Ends of each group of conditions, SI.
    errors, trials : dict of str to int array, shape (group,)
        For each state.
    devices : int array, shape (group,)
        Distinct devices.
    """

    programming_low: FloatArray
    programming_high: FloatArray
    errors: dict[str, np.ndarray]
    trials: dict[str, np.ndarray]
    devices: np.ndarray

    @property
    def ber(self) -> FloatArray:
        """Counted BER: mean of the two states' error shares."""
        shares = [self.errors[s] / np.maximum(self.trials[s], 1) for s in ("LRS", "HRS")]
        return np.asarray((shares[0] + shares[1]) / 2)

    def interval(self, probability: float, design_effect: dict[str, float]) -> Interval:
        """Exact interval of the pooled share of wrong readings.

        Errors and trials of each state are divided by its design effect, because several readings
        of one device are worth fewer independent ones.
        """
        scale = {s: 1 / design_effect[s] for s in ("LRS", "HRS")}
        trials = sum(self.trials[s] * scale[s] for s in scale)
        shares = sum(self.errors.values()) / np.maximum(sum(self.trials.values()), 1)
        return clopper_pearson(shares * trials, trials, probability=probability)


def count_errors(
    measurements: Measurements, curve: BerCurve, *, devices_per_group: int = 100
) -> ErrorCounts:
    """Count readings on the wrong side of a 1T1R curve's threshold.

    Neighbouring conditions are pooled until a group has `devices_per_group` devices. The
    threshold between grid points is interpolated.

    Raises
    ------
    ValueError
        The curve has no threshold (2T2R).
    """
    if curve.threshold_ohm is None:
        raise ValueError(f"{curve.scheme} has no threshold to count against; use the 1T1R curve")
    table = measurements.table
    scale = measurements.programming.coordinate
    threshold = np.exp(
        np.interp(
            scale(table["programming"]), scale(curve.programming), np.log(curve.threshold_ohm)
        )
    )
    is_lrs = (table["state"] == "LRS").to_numpy()
    high = table["resistance_ohm"].to_numpy() > threshold
    wrong = np.where(is_lrs, high, ~high)
    groups = group_conditions(measurements, devices_per_group=devices_per_group)
    edges = np.array([low for low, _ in groups])
    index = np.searchsorted(edges, table["programming"].to_numpy(), side="right") - 1
    errors, trials = {}, {}
    for state, rows in (("LRS", is_lrs), ("HRS", ~is_lrs)):
        trials[state] = np.bincount(index[rows], minlength=len(groups))
        errors[state] = np.bincount(index[rows & wrong], minlength=len(groups))
    return ErrorCounts(
        edges,
        np.array([high for _, high in groups]),
        errors,
        trials,
        table["device_id"].groupby(index).nunique().reindex(range(len(groups))).to_numpy(),
    )


def group_conditions(
    measurements: Measurements, *, devices_per_group: int
) -> list[tuple[float, float]]:
    """Neighbouring conditions pooled until each group has enough devices; (low, high) ends."""
    by_condition = measurements.table.groupby("programming")["device_id"].unique()
    groups: list[tuple[float, float]] = []
    start: float | None = None
    seen: set[str] = set()
    for condition, devices in by_condition.items():
        start = float(condition) if start is None else start
        seen.update(devices)
        if len(seen) >= devices_per_group:
            groups.append((start, float(condition)))
            start, seen = None, set()
    if start is not None:
        last = float(by_condition.index[-1])
        if groups and len(seen) < devices_per_group / 2:
            groups[-1] = (groups[-1][0], last)
        else:
            groups.append((start, last))
    return groups
