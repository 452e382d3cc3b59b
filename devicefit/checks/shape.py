"""Gate: whether the readings of each state follow the law of ln R that was fitted.

Error rates below one in the number of readings rest on the shape of the law. Each reading is turned
into its predictive probability u, which is even between 0 and 1 under the right law, and questions
are asked of each state: location and spread by programming, form (skew, further modes) over all
readings and by programming, and the shares beyond two quantiles of the tail that faces the other
state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import eval_sh_legendre
from scipy.stats import f as f_law

from devicefit.checks.counted_share import (
    FALSE_ALARMS,
    CountedShare,
    design_effect,
    equal_windows,
)
from devicefit.checks.ranks_of_readings import RankedState
from devicefit.fitting.gate import Gate
from devicefit.numerics.arrays import FloatArray, IntArray

Words = Callable[[float], str]

MATERIAL_DISTANCE = 0.05
"""Distance of distribution functions from which on a misfit of location or spread matters.

A shift by an eighth of a standard deviation, or a spread off by a fifth: at three standard
deviations either changes a tail by a factor of about 1.5 or more.
"""

MATERIAL_FORM = 0.02
"""The same for the form: a mode that holds 2 % of the readings decides an error rate of 1e-2."""

MATERIAL_TAIL = 2.0
"""Factor between counted and predicted tails from which on the misfit matters."""

TAILS = (0.01, 0.001)
WINDOWS = 4
MOST_WINDOWS = 12
"""Windows for location and spread: a kink shows in neighbouring conditions."""

FORM = range(3, 9)
"""Degrees of the polynomials of all readings together: skew, and waves that modes leave."""

PROFILE = range(1, 7)
"""Degrees of the polynomials in each of `WINDOWS` windows: a mode that moves with programming."""

_DEVICES_PER_WINDOW = 20
_DEVICES_PER_SUM = 10
LEAST_DEVICES = 30
"""Devices of a state below which their sums are no normal numbers, and only tails are counted."""

_LEVELS = np.linspace(0.02, 0.98, 49)


@dataclass(frozen=True)
class BulkTest:
    """Departure of the bulk of one state from its law.

    Parameters
    ----------
    state, what : str
        State, and ``"location"``, ``"spread"``, ``"form"`` or ``"form by programming"``.
    p_value : float
        Of as large a departure under the right law.
    distance : float
        Largest distance between the distribution functions, over the windows.
    where : str
        The window where it is largest.
    limit : float
        Distance from which on it matters.
    """

    state: str
    what: str
    p_value: float
    distance: float
    where: str
    limit: float

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "state": self.state,
            "what": self.what,
            "p_value": self.p_value,
            "distance": self.distance,
            "where": self.where,
            "limit": self.limit,
        }


@dataclass(frozen=True)
class ShapeTests:
    """All that is asked of the laws of both states.

    Parameters
    ----------
    bulk : tuple of BulkTest
        Location, spread and form of each state, the last also by programming.
    tails : tuple of CountedShare
        Shares beyond predictive quantiles, in the tail that faces the other state.
    """

    bulk: tuple[BulkTest, ...]
    tails: tuple[CountedShare, ...]

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "bulk": [test.record() for test in self.bulk],
            "tails": [tail.record() for tail in self.tails],
        }


def shape_tests(ranked: Mapping[str, RankedState], words: Words) -> ShapeTests:
    """Departures of both states from their laws.

    Parameters
    ----------
    ranked : mapping of str to RankedState
        From :func:`devicefit.checks.ranks_of_readings.ranked_readings`.
    words : callable
        Programming values in words.

    Notes
    -----
    All but the tails are sums of Legendre polynomials of u over windows, with the variance that
    devices give them. Under the right law with parameters that were fitted the sums are smaller
    than with the true ones, so that the stated probabilities are too large, not too small.
    """
    bulk: list[BulkTest] = []
    tails: list[CountedShare] = []
    for state, readings in ranked.items():
        devices = int(readings.device.max()) + 1
        tails += _tails(state, readings, words)
        if devices < LEAST_DEVICES:
            continue
        bulk += _bulk(state, readings, devices, words)
    return ShapeTests(tuple(bulk), tuple(tails))


def _bulk(state: str, readings: RankedState, devices: int, words: Words) -> list[BulkTest]:
    order = readings.order.astype(np.float64)
    fine = equal_windows(order, _windows(MOST_WINDOWS, devices / _DEVICES_PER_WINDOW))
    sums = len(PROFILE) * _DEVICES_PER_SUM
    wide = equal_windows(order, _windows(WINDOWS, devices / sums))
    one = np.zeros(len(fine), dtype=np.int64)
    asked = (
        ("location", range(1, 2), fine, MATERIAL_DISTANCE),
        ("spread", range(2, 3), fine, MATERIAL_DISTANCE),
        ("form", FORM, one, MATERIAL_FORM),
        ("form by programming", PROFILE, wide, MATERIAL_FORM),
    )
    found = []
    for what, degrees, window, limit in asked:
        columns = [(polynomial(readings, k), window) for k in degrees]
        p = sum_of_squares_test(columns, readings.device, devices)
        distance, where = _farthest(readings, window, words)
        found.append(BulkTest(state, what, p, distance, where, limit))
    return found


def _windows(most: int, affordable: float) -> int:
    return min(most, max(1, int(affordable)))


def _farthest(readings: RankedState, window: IntArray, words: Words) -> tuple[float, str]:
    """Largest distance of distribution functions over windows, and the window in words."""
    distance = [_distance(readings, window == w) for w in range(window.max() + 1)]
    far = int(np.argmax(distance))
    where = "all readings" if len(distance) == 1 else _range(readings, window == far, words)
    return distance[far], where


def polynomial(readings: RankedState, degree: int) -> FloatArray:
    """Orthonormal shifted Legendre polynomial of each reading's u (Neyman 1937), shape (reading,).

    A reading that is known by bounds has the mean over what lies between them.
    """
    low, high = readings.low, readings.high
    at = eval_sh_legendre(degree, low)
    bounded = high - low > 1e-9
    ends = [
        eval_sh_legendre(degree + 1, u[bounded]) - eval_sh_legendre(degree - 1, u[bounded])
        for u in (high, low)
    ]
    width = (high - low)[bounded]
    at[bounded] = (ends[0] - ends[1]) / (2 * (2 * degree + 1)) / width
    return np.asarray(np.sqrt(2 * degree + 1) * at)


def sum_of_squares_test(
    columns: Sequence[tuple[FloatArray, IntArray]], device: IntArray, devices: int
) -> float:
    """Probability of sums as far from zero, devices independent of each other.

    Parameters
    ----------
    columns : sequence of (float array, int array), both of shape (reading,)
        Scores of mean zero and variance one under the right law, and the window of each reading;
        each window of each pair is one sum.
    device : int array, shape (reading,)
        Number of the device, 0 to `devices` - 1.
    devices : int
        Number of devices.

    Notes
    -----
    The sum of the squares of the standardised sums, its law that of a scaled chi-square with the
    mean and variance that the correlations of the devices' sums give (Satterthwaite 1946), divided
    by a variance that so many devices tell. The correlations are not inverted: those of two dozen
    sums over a hundred devices are too noisy for Hotelling's statistic, which failed ten times as
    often as stated. The variance of a window is that of independent readings times the design
    effect of the window or of all windows together, whichever is larger.
    """
    sums, variances, numbers, apart = [], [], [], []
    for score, window in columns:
        for w in range(window.max() + 1):
            inside = window == w
            n = np.bincount(device[inside], minlength=devices).astype(np.float64)
            total = np.bincount(device[inside], score[inside], devices)
            centred = total - n * (total.sum() / n.sum())
            here = int((n > 0).sum())
            sums.append(total.sum())
            numbers.append(n.sum())
            variances.append(float(centred @ centred) * here / max(here - 1, 1))
            apart.append(centred)
    number, variance = np.array(numbers), np.array(variances)
    pooled = variance.sum() / number.sum()
    effect = np.maximum(np.maximum(variance / number, pooled), 1.0)
    square = np.array(sums) ** 2 / (number * effect)
    unit = np.stack(apart)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-300)
    free = len(square) ** 2 / float(np.sum((unit @ unit.T) ** 2))
    return float(f_law.sf(square.mean(), free, devices - 1))


def _distance(readings: RankedState, inside: np.ndarray) -> float:
    """Largest distance of the readings' distribution function from the even one."""
    part = RankedState(*(getattr(readings, n)[inside] for n in RankedState.__dataclass_fields__))
    return float(max(abs(part.below(level).mean() - level) for level in _LEVELS))


def _tails(state: str, readings: RankedState, words: Words) -> list[CountedShare]:
    """Shares in the tail that faces the other state: no error rests on the tail that looks away."""
    low, found = state == "HRS", []
    window = equal_windows(readings.order.astype(np.float64), WINDOWS)
    everything = np.ones(len(window), dtype=bool)
    for tail in TAILS:
        parts = [("all readings", everything)]
        if tail == TAILS[0] and window.max() > 0:
            parts += [
                (_range(readings, window == w, words), window == w) for w in range(window.max() + 1)
            ]
        event = readings.below(tail) if low else 1.0 - readings.below(1.0 - tail)
        expected = np.full(len(event), tail)
        overall = design_effect(event, expected, readings.device)
        side = f"below the {100 * tail:g} %" if low else f"above the upper {100 * tail:g} %"
        for where, inside in parts:
            number = readings.device[inside]
            n = np.bincount(number).astype(np.float64)
            most = float(np.sum(n**2) / n.sum())
            own = design_effect(event[inside], expected[inside], number)
            found.append(
                CountedShare(
                    state,
                    f"{where}, {side} quantile",
                    float(event[inside].mean()),
                    int(inside.sum()),
                    float(n.sum()) / min(max(own, overall), most),
                    np.array([tail]),
                )
            )
    return found


def _range(readings: RankedState, inside: np.ndarray, words: Words) -> str:
    x = readings.programming[inside]
    ends = words(float(x.min())), words(float(x.max()))
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def shape_gate(tests: ShapeTests) -> Gate:
    """Whether the readings follow the law that was fitted.

    Fails where a departure is both improbable under the model, after the number of all questions,
    and large: distribution functions apart by `MATERIAL_DISTANCE` or `MATERIAL_FORM`, or a tail off
    by a factor of `MATERIAL_TAIL`.
    """
    number = len(tests.bulk) + len(tests.tails)
    judged: list[tuple[float, bool, str]] = []
    for test in tests.bulk:
        p = min(1.0, number * test.p_value)
        said = (
            f"{test.state}, {test.what}: distribution functions up to {test.distance:.2g} apart at "
            f"{test.where} (p = {p:.2g})"
        )
        judged.append((p, test.distance >= test.limit, said))
    for tail in tests.tails:
        p = min(1.0, number * tail.p_value)
        said = f"{tail.state}, {tail.where}: {100 * tail.share:.2g} % of the readings (p = {p:.2g})"
        judged.append((p, tail.is_material(MATERIAL_TAIL), said))
    judged.sort(key=lambda one: one[0])
    off = [one for one in judged if one[1]]
    failing = [one for one in off if one[0] < FALSE_ALARMS]
    finding = f"{len(failing)} of {number} departures are large and more than chance"
    if failing:
        finding += "; " + "; ".join(said for *_, said in failing[:3])
    else:
        finding += f"; least probable: {judged[0][2]}"
    if not tests.bulk:
        finding += f"; location, spread and form untested with fewer than {LEAST_DEVICES} devices"
    return Gate(
        "law of ln R",
        "Do the readings of each state follow the law that was fitted?",
        not failing,
        off[0][0] if off else 1.0,
        FALSE_ALARMS,
        finding,
        "the law differs from the readings: compare families (--model), look at the quantile "
        "figure, and read BER below the support line with care",
    )
