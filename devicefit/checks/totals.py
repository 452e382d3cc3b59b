"""Gate: readings on the wrong side of the threshold, counted and predicted, in wide windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from devicefit.checks.counted_share import (
    FALSE_ALARMS,
    CountedShare,
    design_effect,
    equal_windows,
)
from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.fitted import Fitted
from devicefit.fitting.gate import Gate
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import STATES, Measurements
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.prediction.sides import Sides, sides

MATERIAL = 1.25
"""Factor between counted and predicted error rates from which on the misfit matters: 0.1 decades.

What is said of programming and saving changes less than that by the posterior's own width.
"""

WINDOWS = 4
"""Windows of the programming range, with equal numbers of readings."""

DECADES = (0.0, 1e-3, 1e-2, 1e-1, 1.0)
"""Ends of the predicted error rates by which conditions are put together as well.

Recommended values lie where few readings are wrong; in a window of programming values that reaches
into failing ones those few would not show.
"""

_MOST_ARRAYS = 12
# Worth the words: what failed first, then the rest.
_SAID = 3


def error_totals(
    device: Fitted, measurements: Measurements, *, options: SensingOptions
) -> tuple[CountedShare, ...]:
    """Counted and predicted shares of readings on the wrong side of the threshold.

    Parameters
    ----------
    device : Fitted
        What answers are based on.
    measurements : Measurements
        The readings that were fitted.
    options : SensingOptions
        Threshold.

    Returns
    -------
    tuple of CountedShare
        For each state: all readings, `WINDOWS` windows of programming values, conditions within
        each of the `DECADES` of predicted rates, and each array where there are several. A reading
        whose side is not known is left out.
    """
    found = sides(device, measurements, options=options)
    shares = []
    for state in STATES:
        rows = np.flatnonzero((found.readings["state"] == state).to_numpy() & found.decided)
        if len(rows):
            shares += _of_state(found, state, rows, device.frame.programming)
    return tuple(shares)


def _of_state(
    found: Sides, state: str, rows: IntArray, programming: Programming
) -> list[CountedShare]:
    wrong, place = found.fails[rows].astype(np.float64), found.places.of_row[rows]
    number = pd.factorize(found.readings["device_id"].to_numpy()[rows])[0]
    probability = found.probability[state]
    expected = np.clip(probability.mean(axis=0), 0.0, 1.0)[place]
    # A device that differs from others does so in all windows, also where it was not read.
    overall = design_effect(wrong, expected, number)
    shares = []
    for where, inside in _parts(found, rows, expected, programming):
        own = design_effect(wrong[inside], expected[inside], number[inside])
        readings = np.bincount(place[inside], minlength=probability.shape[1])
        n = len(inside)
        worst = np.bincount(number[inside]).astype(np.float64)
        most = float(np.sum(worst**2) / n)
        effect = min(max(own, overall), most)
        shares.append(
            CountedShare(
                state, where, float(wrong[inside].mean()), n, n / effect, probability @ readings / n
            )
        )
    return shares


def _parts(
    found: Sides, rows: IntArray, expected: FloatArray, programming: Programming
) -> Iterator[tuple[str, IntArray]]:
    """Sets of readings of one state, in words and as places in `rows`."""
    table = found.readings
    x = table["programming"].to_numpy(dtype=np.float64)[rows]
    yield "all readings", np.arange(len(rows))
    window = equal_windows(programming.coordinate(x), WINDOWS)
    if window.max() > 0:
        for w in range(window.max() + 1):
            inside = np.flatnonzero(window == w)
            ends = programming.format(x[inside].min()), programming.format(x[inside].max())
            yield ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}", inside
    decade = np.searchsorted(DECADES[1:-1], expected, side="right")
    for k in np.unique(decade) if np.ptp(decade) else ():
        rates = f"{DECADES[k]:g} to {DECADES[k + 1]:g}"
        yield f"where {rates} are predicted wrong", np.flatnonzero(decade == k)
    if "array_id" in table:
        arrays, names = pd.factorize(table["array_id"].to_numpy()[rows], sort=True)
        if 1 < len(names) <= _MOST_ARRAYS:
            for a, name in enumerate(names):
                yield f"array {name}", np.flatnonzero(arrays == a)


def totals_gate(totals: Sequence[CountedShare]) -> Gate:
    """Whether the counted errors are those that the model predicts.

    Fails where a share is both improbable under the model, after the number of shares that are
    compared, and apart by a factor of `MATERIAL`.

    Parameters
    ----------
    totals : sequence of CountedShare
        From :func:`error_totals`; at least one.

    Raises
    ------
    ValueError
        There is no share.
    """
    if not totals:
        raise ValueError("there is no share of errors to check; count readings first")
    return shares_gate(
        totals,
        name="overlap of the states",
        question="Does the model predict how many readings are on the wrong side of the threshold?",
        what="shares of wrong readings",
        factor=MATERIAL,
        remedy="use a family with other failures (--model), or leave out conditions that were "
        "censored (--where)",
    )


def shares_gate(
    shares: Sequence[CountedShare],
    *,
    name: str,
    question: str,
    what: str,
    factor: float,
    remedy: str,
) -> Gate:
    """Gate that fails where one of several shares is improbable and off by a factor that matters.

    Its value is the smallest probability among the shares that are off by the factor, times the
    number of all shares (Bonferroni), at most one.
    """
    judged = sorted(
        ((min(1.0, len(shares) * s.p_value), s) for s in shares), key=lambda pair: pair[0]
    )
    off = [(p, s) for p, s in judged if s.is_material(factor)]
    failing = [(p, s) for p, s in off if p < FALSE_ALARMS]
    value = off[0][0] if off else 1.0
    said = "; ".join(_words(s, p) for p, s in failing[:_SAID])
    if not failing:
        said = f"least probable: {_words(judged[0][1], judged[0][0])}"
    return Gate(
        name,
        question,
        not failing,
        value,
        FALSE_ALARMS,
        f"{len(failing)} of {len(shares)} {what} differ from the model's by more than a factor of "
        f"{factor:g} and by more than chance; {said}",
        remedy,
    )


def _words(share: CountedShare, p: float) -> str:
    chance = "p = 1" if p >= 1 else f"p = {p:.2g}"
    return (
        f"{share.state}, {share.where}: counted {share.share:.3g}, predicted "
        f"{share.predicted.mean():.3g} ({chance} after the number of comparisons)"
    )
