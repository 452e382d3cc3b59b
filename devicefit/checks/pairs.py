"""Gate: the error rate of 2T2R by the model against that of pairs of readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr

from devicefit.checks.counted_share import CountedShare, between, equal_windows
from devicefit.checks.totals import MATERIAL, WINDOWS, shares_gate
from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import SensingOptions, ln_ber_2t2r
from devicefit.fitting.fitted import Fitted
from devicefit.fitting.gate import Gate
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.measurements.single_readings import single_readings
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.prediction.condition_readings import BIN
from devicefit.prediction.places import Places, places_of
from devicefit.prediction.sides import flat_draws

LEAST_DEVICES = 10
"""Devices of a condition, in each state: with fewer too many pairs are of one device."""

_DRAWS = 400
# Draws and cells of ln R by which the variance of pairs under the model is found, and how many
# scales beyond its components the cells reach.
_LAW_DRAWS = 40
_CELLS = 400
_REACH = 5.0
_NAME = "pairs of readings"
_QUESTION = "Is the error rate of 2T2R that of pairs of readings, one in each state?"


@dataclass(frozen=True)
class ConditionPairs:
    """All pairs of a reading in LRS and one in HRS at one condition.

    Parameters
    ----------
    pairs : int
        Readings of the rarer state.
    wrong : float
        Share of wrong pairs.
    device : int array, shape (device,)
        Numbers of the devices that were read.
    influence : float array, shape (device,)
        What each device adds to the error of `wrong`: the first term of Hoeffding's expansion of
        this U-statistic.
    readings : tuple of int
        Readings in LRS and in HRS.
    weight, part : float array, shape (2, device)
        Share of each device in the readings of each state, and in the wrong pairs.
    independent : float
        Variance of `wrong`, if all readings were independent, by the readings.
    by_model : float
        The same by the model, which knows of failures that few readings show.
    """

    pairs: int
    wrong: float
    device: IntArray
    influence: FloatArray
    readings: tuple[int, int]
    weight: FloatArray
    part: FloatArray
    independent: float
    by_model: float


def pair_shares(
    device: Fitted, measurements: Measurements, *, options: SensingOptions
) -> tuple[CountedShare, ...]:
    """Shares of wrong pairs of readings, and by the model.

    Parameters
    ----------
    device : Fitted
        What answers are based on.
    measurements : Measurements
        The readings that were fitted; one that is known by a bound is taken at it.
    options : SensingOptions
        Offset of the sense amplifier.

    Returns
    -------
    tuple of CountedShare
        All conditions, and windows of programming values; none where no condition has
        `LEAST_DEVICES` devices in each state. Pairs lie on one array.
    """
    table = single_readings(measurements)
    places = places_of(measurements, device.frame, table=table)
    number = pd.factorize(table["device_id"].to_numpy())[0].astype(np.int64)
    ln_r = _at_bound(table)
    lrs = (table["state"] == STATES[0]).to_numpy()
    rows_of = {}
    for place in range(len(places.x)):
        here = places.of_row == place
        rows = [np.flatnonzero(here & lrs), np.flatnonzero(here & ~lrs)]
        if min(len(np.unique(number[r])) for r in rows) >= LEAST_DEVICES:
            rows_of[place] = rows
    if not rows_of:
        return ()
    kept = np.array(list(rows_of))
    laws = _laws(device, places, kept)
    lrs_law, hrs_law = (flat_draws(law, _DRAWS) for law in laws)
    predicted = np.exp(ln_ber_2t2r(lrs_law, hrs_law, options.offset_ln_r))
    found = [
        _condition(
            [ln_r[r] for r in rows],
            [number[r] for r in rows],
            [law.part((slice(None), slice(None), i)) for law in laws],
            options.offset_ln_r,
        )
        for i, rows in enumerate(rows_of.values())
    ]
    x = places.x[kept]
    programming = device.frame.programming
    repeated = np.repeat(np.arange(len(found)), [c.pairs for c in found])
    window = equal_windows(programming.coordinate(x)[repeated], WINDOWS)
    of_condition = window[np.searchsorted(repeated, np.arange(len(found)))]
    shares = [_share("all conditions", found, predicted)]
    for w in range(of_condition.max() + 1 if of_condition.max() > 0 else 0):
        inside = np.flatnonzero(of_condition == w)
        ends = programming.format(x[inside].min()), programming.format(x[inside].max())
        where = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
        shares.append(_share(where, [found[i] for i in inside], predicted[:, inside]))
    return tuple(shares)


def _at_bound(table: pd.DataFrame) -> FloatArray:
    low, high = (table[name].to_numpy(dtype=np.float64) for name in ("low_ohm", "high_ohm"))
    middle = np.where(np.isinf(high), low, np.where(low > 0, np.sqrt(low) * np.sqrt(high), high))
    return np.asarray(np.log(middle))


def _laws(device: Fitted, places: Places, kept: IntArray) -> tuple[Mixture, Mixture]:
    second = None if places.second is None else places.second[kept]
    array = None if places.array is None else places.array[kept]
    laws = device.mixtures(places.x[kept], second=second, array=array)
    return laws["LRS"], laws["HRS"]


def _condition(
    ln_r: Sequence[FloatArray],
    number: Sequence[IntArray],
    laws: Sequence[Mixture],
    offset: float,
) -> ConditionPairs:
    """All pairs at one condition, readings in bins of ln R; LRS first."""
    bins, of_row, count = zip(
        *(
            np.unique(np.round(y / BIN).astype(np.int64), return_inverse=True, return_counts=True)
            for y in ln_r
        ),
        strict=True,
    )
    n = [len(y) for y in ln_r]
    wrong = _wrong(BIN * bins[0], BIN * bins[1], offset)
    # of each reading: the share of wrong ones among its pairs
    own = [(wrong @ count[1] / n[1])[of_row[0]], (count[0] @ wrong / n[0])[of_row[1]]]
    share = float(own[0].mean())
    devices = np.unique(np.concatenate(number))
    at = [np.searchsorted(devices, d) for d in number]
    weight = np.stack([np.bincount(at[s], minlength=len(devices)) / n[s] for s in range(2)])
    part = np.stack([np.bincount(at[s], own[s], len(devices)) / n[s] for s in range(2)])
    influence = (part - share * weight).sum(axis=0)
    independent = sum(float(o.var()) / m for o, m in zip(own, n, strict=True))
    spread = zip(_variances(laws, offset), n, strict=True)
    by_model = sum(variance / m for variance, m in spread)
    return ConditionPairs(
        min(n), share, devices, influence, (n[0], n[1]), weight, part, independent, by_model
    )


def _wrong(lrs: FloatArray, hrs: FloatArray, offset: float) -> FloatArray:
    """Probability that a pair is read as the other bit, shape (lrs, hrs)."""
    apart = lrs[:, None] - hrs
    return np.asarray(ndtr(apart / offset) if offset > 0 else (np.sign(apart) + 1) / 2)


def _variances(laws: Sequence[Mixture], offset: float) -> tuple[float, float]:
    """Variance of a reading's share of wrong pairs by the model: a reading in LRS, one in HRS."""
    few = [law.thinned(max(1, _LAW_DRAWS // law.location.shape[1])) for law in laws]
    low = min(float((law.location - _REACH * law.scale).min()) for law in few)
    high = max(float((law.location + _REACH * law.scale).max()) for law in few)
    edges = np.linspace(low, high, _CELLS + 1)
    below = [np.exp(law.ln_distribution(edges[:, None, None])).mean(axis=(1, 2)) for law in few]
    p = [np.diff(b) / (b[-1] - b[0]) for b in below]
    middle = (edges[1:] + edges[:-1]) / 2
    wrong = _wrong(middle, middle, offset)
    own = wrong @ p[1], p[0] @ wrong
    mean = float(p[0] @ own[0])
    first, second = (max(float(q @ o**2) - mean**2, 0.0) for q, o in zip(p, own, strict=True))
    return first, second


def _share(where: str, conditions: Sequence[ConditionPairs], predicted: FloatArray) -> CountedShare:
    """Conditions together, each by its number of pairs, with the readings they are worth.

    The variance of the share says how many independent pairs have it: the larger of that by the
    readings and by the model, times the factor by which devices widen it. The worst case is that
    each device counts as one reading.
    """
    pairs = np.array([c.pairs for c in conditions], dtype=np.float64)
    weight = pairs / pairs.sum()
    device = np.concatenate([c.device for c in conditions])
    names, at = np.unique(device, return_inverse=True)

    def of_devices(values: Sequence[FloatArray]) -> FloatArray:
        scaled = [w * v for w, v in zip(weight, values, strict=True)]
        return np.asarray(np.bincount(at, np.concatenate(scaled)), dtype=np.float64)

    share, mean = float(weight @ [c.wrong for c in conditions]), predicted @ weight
    influence = of_devices([c.influence for c in conditions])
    clustered = float(influence @ influence) * len(names) / (len(names) - 1)
    independent = float(weight**2 @ [c.independent for c in conditions])
    by_model = float(weight**2 @ [c.by_model for c in conditions])
    kish = [of_devices([c.weight[s] for c in conditions]) for s in range(2)]
    readings = [float(np.sum(weight**2 / [c.readings[s] for c in conditions])) for s in range(2)]
    most = max(float(k @ k) / r for k, r in zip(kish, readings, strict=True))
    effect = most
    if independent > 0 and most > 1:
        parts = [of_devices([c.part[s] for c in conditions]) for s in range(2)]
        telling = min(float(p.sum()) ** 2 / float(p @ p) for p in parts)
        effect = between(float(np.clip(clustered / independent, 1.0, most)), most, telling)
    alike = [v * (1 - v) / spread for v, spread in ((share, independent),) if spread > 0]
    p = float(mean.mean())
    alike += [p * (1 - p) / by_model] if by_model > 0 else []
    effective = min(alike, default=float(pairs.sum())) / max(effect, 1.0)
    return CountedShare("pair", where, share, int(pairs.sum()), effective, mean)


def pairs_gate(shares: Sequence[CountedShare]) -> Gate:
    """Whether the error rate of 2T2R is that of pairs of readings.

    Fails as :func:`devicefit.checks.totals.totals_gate` does. Without conditions that have enough
    devices nothing is tested, and the finding says so.
    """
    if not shares:
        return Gate(
            _NAME,
            _QUESTION,
            True,
            1.0,
            0.0,
            f"not tested: no condition has {LEAST_DEVICES} devices in each state",
            "measure more devices at one programming value",
        )
    return shares_gate(
        shares,
        name=_NAME,
        question=_QUESTION,
        what="shares of wrong pairs",
        factor=MATERIAL,
        remedy="the tails in which the states meet are not those of the model: use another family "
        "(--model), or do not answer for 2T2R",
    )
