"""From laws of resistance to bit error rates: 1T1R against a threshold, 2T2R pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from devicefit.fitting.fitted import Fitted
from devicefit.intervals import Interval, clopper_pearson
from devicefit.measurements import Measurements
from devicefit.mixture import Mixture
from devicefit.pair_error import ln_pair_error
from devicefit.programming import FloatArray
from devicefit.single_readings import is_above, single_readings
from devicefit.threshold import choose_threshold, ln_read_error

SCHEMES = ("1T1R", "2T2R")
_LN_LARGEST = float(np.log(1e300))
CELLS_PER_BIT = {"1T1R": 1, "2T2R": 2}


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
            raise ValueError(
                f"threshold_ohm is {self.threshold_ohm}; it must be positive and finite"
            )
        if not 0 <= self.offset_ln_r < np.inf:
            raise ValueError(
                f"offset_ln_r is {self.offset_ln_r}; it must not be negative nor infinite"
            )


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
    tilt : float array, shape (chain, draw, x), or None
        How unequal the rates of the states are, of :func:`tilt_1t1r`; None where they are equal, as
        those of pairs.
    """

    scheme: str
    programming: FloatArray
    ln_ber: FloatArray
    threshold_ohm: FloatArray | None
    extrapolated: np.ndarray
    support: float
    tilt: FloatArray | None = None


def ln_ber_1t1r(lrs: Mixture, hrs: Mixture, threshold_ln_r: ArrayLike) -> FloatArray:
    """Natural logarithm of the BER of cells read against a threshold.

    ``BER = (P(y_LRS > t) + P(y_HRS < t)) / 2``: both bits are equally frequent.

    Parameters
    ----------
    lrs, hrs : Mixture
        Laws of ln R with the same trailing shape.
    threshold_ln_r : float array
        ln of the threshold in ohm, broadcast against the trailing shape.

    Returns
    -------
    float array, trailing shape of the laws
    """
    return ln_read_error(lrs, hrs, threshold_ln_r)


def tilt_1t1r(hrs: Mixture, threshold_ln_r: ArrayLike, ln_ber: FloatArray) -> FloatArray:
    """How unequal the error rates of the two states are: (LRS - HRS) / (LRS + HRS), -1 to 1.

    Parameters
    ----------
    hrs : Mixture
        Law of ln R in HRS.
    threshold_ln_r : float array
        ln of the threshold in ohm, broadcast against the trailing shape.
    ln_ber : float array, trailing shape of the law
        ln of the mean of the two rates, of :func:`ln_ber_1t1r`.

    Returns
    -------
    float array, trailing shape of the law
        1 where only cells in LRS are misread, -1 where only cells in HRS are.
    """
    of_hrs = np.exp(hrs.ln_distribution(threshold_ln_r) - ln_ber)
    return np.asarray(np.clip(1.0 - of_hrs, -1.0, 1.0))


def ln_ber_2t2r(lrs: Mixture, hrs: Mixture, offset_ln_r: float) -> FloatArray:
    """Natural logarithm of the BER of complementary pairs.

    ``BER = P(y_LRS + offset > y_HRS)`` with the two cells different devices and the offset normal
    with mean zero. Differences of normal components are normal, so their part is exact; the other
    kernels are integrated (:mod:`devicefit.pair_error`).

    Parameters
    ----------
    lrs, hrs : Mixture
        Laws of ln R with the same trailing shape.
    offset_ln_r : float
        Standard deviation of the offset in ln R, not negative.

    Returns
    -------
    float array, trailing shape of the laws

    Raises
    ------
    ValueError
        `offset_ln_r` is negative or not finite.
    """
    if not 0 <= offset_ln_r < np.inf:
        raise ValueError(f"offset_ln_r is {offset_ln_r}; it must not be negative nor infinite")
    return ln_pair_error(lrs, hrs, offset_ln_r)


def curves_of_laws(
    laws: Mapping[str, Mixture],
    x: FloatArray,
    *,
    extrapolated: np.ndarray,
    support: float,
    options: SensingOptions,
) -> dict[str, BerCurve]:
    """BER draws of every sensing scheme from the laws of ln R, whichever model they come from.

    Parameters
    ----------
    laws : mapping of str to Mixture
        Keys ``"LRS"`` and ``"HRS"``; trailing shape (chain, draw, x). Stacked families are joined
        by :func:`devicefit.mixture.mix`.
    x : float array, shape (x,)
        Values of the programming variable, ascending, SI.
    extrapolated : bool array, shape (x,)
        Where `x` lies outside the measured range.
    support : float
        1 / (number of devices).
    options : SensingOptions
        Threshold and offset.

    Returns
    -------
    dict of str to BerCurve
        Keys ``"1T1R"`` and ``"2T2R"``.

    Raises
    ------
    ValueError
        `x` is not ascending, or the laws have another number of values.
    """
    if np.any(np.diff(x) <= 0):
        raise ValueError("values of the programming variable must be ascending")
    lrs, hrs = laws["LRS"], laws["HRS"]
    for state, law in laws.items():
        if len(law.trailing) != 3 or law.trailing[-1] != len(x):
            raise ValueError(
                f"the law of {state} has the trailing shape {law.trailing}; expected "
                f"(chain, draw, {len(x)})"
            )
    if options.threshold_ohm is None:
        threshold = choose_threshold(lrs, hrs)
    else:
        threshold = np.full(len(x), np.log(options.threshold_ohm))
    one, two = ln_ber_1t1r(lrs, hrs, threshold), ln_ber_2t2r(lrs, hrs, options.offset_ln_r)
    # far outside the measured range a law may lie where no number in ohm reaches
    threshold_ohm = np.exp(np.clip(threshold, -_LN_LARGEST, _LN_LARGEST))
    return {
        "1T1R": BerCurve(
            "1T1R",
            x,
            one,
            threshold_ohm,
            extrapolated,
            support,
            tilt_1t1r(hrs, threshold, one),
        ),
        "2T2R": BerCurve("2T2R", x, two, None, extrapolated, support),
    }


def ber_curves(posterior: Fitted, x: FloatArray, *, options: SensingOptions) -> dict[str, BerCurve]:
    """BER draws of every sensing scheme over values of the programming variable.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    x : float array, shape (x,)
        Values of the programming variable, ascending, SI.
    options : SensingOptions
        Threshold and offset.

    Returns
    -------
    dict of str to BerCurve
        Keys ``"1T1R"`` and ``"2T2R"``; of a cell, or a pair of cells, of any of the measured
        arrays.

    Raises
    ------
    ValueError
        `x` is not ascending, or as of :meth:`devicefit.families.frame.Frame.check`.
    """
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    frame = posterior.frame
    frame.check(x)
    curves = curves_of_laws(
        posterior.mixtures(x),
        x,
        extrapolated=frame.extrapolated(x),
        support=1.0 / posterior.record["devices"],
        options=options,
    )
    if len(frame.measured_arrays) == 1:
        return curves
    pairs = ln_ber_of_pairs(posterior, x, options.offset_ln_r)
    return curves | {"2T2R": replace(curves["2T2R"], ln_ber=pairs)}


def ln_ber_of_pairs(posterior: Fitted, x: FloatArray, offset_ln_r: float) -> FloatArray:
    """Ln of the 2T2R error rate of a pair on any of the measured arrays, each as likely.

    Both cells of a pair lie on one array, so what arrays differ by in both states cancels.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    x : float array, shape (x,)
        Values of the programming variable, SI.
    offset_ln_r : float
        Standard deviation of the offset of the sense amplifier in ln R.

    Returns
    -------
    float array, shape (chain, draw, x)
    """
    arrays = len(posterior.frame.measured_arrays)
    each = []
    for array in range(arrays):
        laws = posterior.mixtures(x, array=array)
        each.append(ln_ber_2t2r(laws["LRS"], laws["HRS"], offset_ln_r))
    return np.asarray(logsumexp(each, axis=0) - np.log(arrays))


def array_curves(
    posterior: Fitted,
    curve: BerCurve,
    *,
    options: SensingOptions,
    arrays: Iterable[int] | None = None,
) -> list[dict[str, BerCurve]]:
    """BER draws of each array, read at the thresholds of all measured arrays together.

    Parameters
    ----------
    posterior : Fitted
        Fitted device.
    curve : BerCurve
        1T1R of :func:`ber_curves`: its values and thresholds.
    options : SensingOptions
        Offset.
    arrays : iterable of int, optional
        Indices into ``posterior.frame.arrays``; all of them when left out.

    Returns
    -------
    list of dict of str to BerCurve
        As of :func:`ber_curves`, for each array.
    """
    assert curve.threshold_ohm is not None
    threshold, found = np.log(curve.threshold_ohm), []
    for array in range(len(posterior.frame.arrays)) if arrays is None else arrays:
        laws = posterior.mixtures(curve.programming, array=array)
        one = ln_ber_1t1r(laws["LRS"], laws["HRS"], threshold)
        two = ln_ber_2t2r(laws["LRS"], laws["HRS"], options.offset_ln_r)
        tilt = tilt_1t1r(laws["HRS"], threshold, one)
        pairs = replace(curve, scheme="2T2R", ln_ber=two, threshold_ohm=None, tilt=None)
        found.append({"1T1R": replace(curve, ln_ber=one, tilt=tilt), "2T2R": pairs})
    return found


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
    bounded : pandas.DataFrame
        Readings known by bounds only that are among the trials, since their side is known:
        ``state`` and the columns of the condition.
    undecided : dict of str to int
        Readings of each state, known by bounds only, of which the side is not known. They are not
        among the trials.
    """

    programming_low: FloatArray
    programming_high: FloatArray
    errors: dict[str, np.ndarray]
    trials: dict[str, np.ndarray]
    devices: np.ndarray
    bounded: pd.DataFrame = field(default_factory=pd.DataFrame)
    undecided: dict[str, int] = field(default_factory=dict)

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

    A reading that is known by bounds counts where they tell its side. Neighbouring conditions are
    pooled until a group has `devices_per_group` devices. The threshold between grid points is
    interpolated.

    Raises
    ------
    ValueError
        The curve has no threshold (2T2R).
    """
    if curve.threshold_ohm is None:
        raise ValueError(f"{curve.scheme} has no threshold to count against; use the 1T1R curve")
    table = single_readings(measurements)
    scale = measurements.programming.coordinate
    threshold = np.exp(
        np.interp(
            scale(table["programming"]), scale(curve.programming), np.log(curve.threshold_ohm)
        )
    )
    above, decided = is_above(table, threshold)
    undecided = {s: int((~decided & (table["state"] == s)).sum()) for s in ("LRS", "HRS")}
    table, above = table[decided], above[decided]
    is_lrs = (table["state"] == "LRS").to_numpy()
    wrong = above == is_lrs
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
        table["device_id"]
        .groupby(index)
        .nunique()
        .reindex(range(len(groups)), fill_value=0)
        .to_numpy(),
        table[(table["low_ohm"] < table["high_ohm"]).to_numpy()],
        undecided,
    )


def group_conditions(
    measurements: Measurements, *, devices_per_group: int
) -> list[tuple[float, float]]:
    """Neighbouring conditions pooled until each group has enough devices; (low, high) ends."""
    by_condition = single_readings(measurements).groupby("programming")["device_id"].unique()
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
