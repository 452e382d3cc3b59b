"""Levels of variability: between arrays, between devices, between cycles of one device.

The standardised reading ``r = (y - mean_s(c)) / sd_s(c)`` of state s at condition c, cycle t, of
device d in array a is

    r = sqrt(array_share) A + sqrt(device_share) D + sqrt(1 - array_share - device_share) e_t.

A, D and e are standard normal. e is a first-order autoregressive series within a cell (device,
condition, state) and independent between cells; D of the two states of a device are correlated,
A are independent. The shares add up to one: levels divide the marginal law, they do not change it.

The formulas take ``xp``, numpy or what records them (:mod:`devicefit.tape`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from devicefit.compressed import DeviceCells, IntArray
from devicefit.density import LEVELS, Term
from devicefit.level_density import density_and_gradient, density_left_out
from devicefit.priors import Prior
from devicefit.programming import FloatArray

STATES = ("LRS", "HRS")

_SYNAPTOGEN = "Synaptogen (oxide ReRAM, open model): {}; widened, other arrays differ"
_CHIPS = "weak; lot, wafer and chip differ in HfOx arrays (arXiv 1509.00070)"


def _prior(name: str, mean: float, sd: float, meaning: str, source: str) -> Prior:
    scale = name.split("_")[0]
    return Prior(name, mean, sd, f"{scale} of {meaning}", source)


_LASTING = "the share of {} variance that lasts (of device and array)"
_CYCLE = "the correlation of successive {} cycles of a device"
_PART = "the arrays' part in what lasts of the {} variance"
_PRIORS = (
    _prior("logit_device_share_lrs", 0.0, 1.2, _LASTING.format("LRS"), _SYNAPTOGEN.format("0.52")),
    _prior("logit_device_share_hrs", -1.2, 1.2, _LASTING.format("HRS"), _SYNAPTOGEN.format("0.13")),
    _prior(
        "atanh_cycle_correlation_lrs", 0.2, 0.35, _CYCLE.format("LRS"), _SYNAPTOGEN.format("0.46")
    ),
    _prior(
        "atanh_cycle_correlation_hrs", 0.2, 0.35, _CYCLE.format("HRS"), _SYNAPTOGEN.format("0.12")
    ),
    _prior(
        "atanh_state_correlation",
        0.0,
        0.15,
        "the correlation of the device effects of LRS and HRS",
        _SYNAPTOGEN.format("0.04 within and -0.13 across devices"),
    ),
    _prior("logit_array_part_lrs", -1.5, 1.2, _PART.format("LRS"), _CHIPS),
    _prior("logit_array_part_hrs", -1.5, 1.2, _PART.format("HRS"), _CHIPS),
)


@dataclass(frozen=True)
class Levels:
    """How the variance of both states is divided (numbers, arrays or expressions).

    Parameters
    ----------
    device_share_lrs, device_share_hrs : float
        Share of the variance between devices of one array, 0 to below 1.
    cycle_correlation_lrs, cycle_correlation_hrs : float
        Correlation of what is new in successive cycles of a device, -1 to 1, ends excluded.
    state_correlation : float
        Correlation of the device effects of the two states, -1 to 1.
    array_share_lrs, array_share_hrs : float
        Share of the variance between arrays; with the device share below 1.
    """

    device_share_lrs: Any = 0.0
    device_share_hrs: Any = 0.0
    cycle_correlation_lrs: Any = 0.0
    cycle_correlation_hrs: Any = 0.0
    state_correlation: Any = 0.0
    array_share_lrs: Any = 0.0
    array_share_hrs: Any = 0.0


def levels_of(xp: Any, p: Mapping[str, Any]) -> Levels:
    """Levels from the parameters of :func:`level_priors`; those that `p` lacks are zero."""
    values: dict[str, Any] = {}
    for s in ("lrs", "hrs"):
        if f"logit_device_share_{s}" not in p:
            continue
        lasting = _logistic(xp, p[f"logit_device_share_{s}"])
        values[f"device_share_{s}"] = lasting
        if f"logit_array_part_{s}" in p:
            part = _logistic(xp, p[f"logit_array_part_{s}"])
            values[f"device_share_{s}"] = lasting * (1.0 - part)
            values[f"array_share_{s}"] = lasting * part
    for name in ("cycle_correlation_lrs", "cycle_correlation_hrs", "state_correlation"):
        if f"atanh_{name}" in p:
            values[name] = xp.tanh(p[f"atanh_{name}"])
    return Levels(**values)


def _logistic(xp: Any, logit: Any) -> Any:
    return 0.5 * (1.0 + xp.tanh(0.5 * logit))


def identifiable(
    cells_lrs: DeviceCells, cells_hrs: DeviceCells, device_array: IntArray
) -> frozenset[str]:
    """Names of the parameters of :func:`level_priors` about which a design can tell something.

    Parameters
    ----------
    cells_lrs, cells_hrs : DeviceCells
        Readings of each state.
    device_array : int array, shape (device,)
        Array of each device.

    Returns
    -------
    frozenset of str
        Empty when no device has two readings of one state: what lasts and what is new then cannot
        be told apart, and a model should leave the levels out.

    Notes
    -----
    What lasts: a device with two readings of a state. The correlation of cycles: besides, either
    three cycles of one cell (two lags) or a device with repeated cycles and several cells (a pair
    with lag and a pair without). The correlation of states: the shares of both and a device with
    both. The part of arrays: what lasts, two arrays, and an array with two devices. The state's
    readings alone count. Where the correlation of cycles is missing, what lasts includes it.
    """
    found = set()
    shared = np.ones(len(device_array), dtype=bool)
    for state, cells in zip(STATES, (cells_lrs, cells_hrs), strict=True):
        s = state.lower()
        readings = np.bincount(cells.device, cells.n, minlength=len(device_array))
        shared &= readings > 0
        if not (readings > 1).any():
            continue
        found.add(f"logit_device_share_{s}")
        cells_of_device = np.bincount(cells.device, minlength=len(device_array))
        repeated = cells.device[cells.n > 1]
        if (cells.n > 2).any() or (cells_of_device[repeated] > 1).any():
            found.add(f"atanh_cycle_correlation_{s}")
        devices_of_array = np.bincount(device_array[readings > 0])
        if (devices_of_array > 0).sum() > 1 and (devices_of_array > 1).any():
            found.add(f"logit_array_part_{s}")
    if shared.any() and {"logit_device_share_lrs", "logit_device_share_hrs"} <= found:
        found.add("atanh_state_correlation")
    return frozenset(found)


def level_priors(names: frozenset[str]) -> tuple[Prior, ...]:
    """Priors of the parameters `names`, e.g. those that are :func:`identifiable`.

    Raises
    ------
    ValueError
        An unknown name; lists the known ones.
    """
    known = {p.name for p in _PRIORS}
    if not names <= known:
        raise ValueError(
            f"unknown level parameters {sorted(names - known)}; known: {', '.join(sorted(known))}"
        )
    return tuple(p for p in _PRIORS if p.name in names)


def ln_likelihood(
    levels: Levels,
    cells_lrs: DeviceCells,
    cells_hrs: DeviceCells,
    mean: Mapping[str, FloatArray],
    sd: Mapping[str, FloatArray],
    device_array: IntArray,
) -> float:
    """Log density of all readings, effects of devices and arrays integrated out.

    Parameters
    ----------
    levels : Levels
        Shares and correlations.
    cells_lrs, cells_hrs : DeviceCells
        Readings of each state; may be empty. Exact statistics: the cost does not depend on the
        number of cycles.
    mean, sd : mapping of str to float array, shape (condition,)
        For ``"LRS"`` and ``"HRS"`` the location and the standard deviation of ln R.
    device_array : int array, shape (device,)
        Array of each device.

    Returns
    -------
    float
        Natural logarithm of the density of ln R.

    Raises
    ------
    ValueError
        A cell names a device or a condition beyond the end of `device_array`, `mean` or `sd`.

    Notes
    -----
    Within a cell of n readings with AR(1) correlation matrix S (Hamilton 1994, section 5.2)

        1' S^-1 1 = (n - (n - 2) phi) / (1 + phi)
        1' S^-1 r = ((1 - phi) sum r + phi (r_1 + r_n)) / (1 + phi)
        r' S^-1 r = ((1 + phi^2) sum r^2 - phi^2 (r_1^2 + r_n^2) - 2 phi sum r_t r_t+1)
                    / (1 - phi^2)
        ln |S| = (n - 1) ln(1 - phi^2).

    The effects of a device (LRS, HRS) then have a Gaussian integrand against a normal law, and
    what that leaves for the effects of its array has the same form.
    """
    arguments = _arguments(levels, cells_lrs, cells_hrs, mean, sd, device_array)
    return float(density_and_gradient(*arguments)[0])


def ln_likelihood_term(
    levels: Levels,
    cells: Mapping[str, DeviceCells],
    mean: Mapping[str, Any],
    sd: Mapping[str, Any],
    device_array: IntArray,
    conditions: int,
) -> Term:
    """:func:`ln_likelihood` of expressions, as a term of a density.

    Parameters
    ----------
    levels : Levels
        Of expressions.
    cells, mean, sd : mapping of str to (DeviceCells, expression, expression)
        For ``"LRS"`` and ``"HRS"``.
    device_array : int array, shape (device,)
        Array of each device.
    conditions : int
        Number of conditions.
    """
    names = [f.name for f in fields(Levels)]
    placeholder = dict.fromkeys(STATES, np.ones(conditions))
    data = _arguments(Levels(), cells["LRS"], cells["HRS"], placeholder, placeholder, device_array)[
        3:
    ]
    inputs = [
        *(mean[s] for s in STATES),
        *(sd[s] for s in STATES),
        *(getattr(levels, name) for name in names),
    ]

    return Term(LEVELS, inputs, data)


def ln_left_out(
    levels: Levels,
    cells_lrs: DeviceCells,
    cells_hrs: DeviceCells,
    mean: Mapping[str, FloatArray],
    sd: Mapping[str, FloatArray],
    device_array: IntArray,
) -> FloatArray:
    """Log density of all readings of a device given those of all others.

    Parameters
    ----------
    levels, cells_lrs, cells_hrs, mean, sd, device_array
        As for :func:`ln_likelihood`, numbers only.

    Returns
    -------
    float array, shape (device,)
        Their sum is the log likelihood when there are no array effects. Zero for a device without
        readings.

    Notes
    -----
    Devices of an array are dependent, so this is the density that leave-one-device-out
    cross-validation needs (Buerkner, Gabry and Vehtari 2021, section 2): the integral over the
    effects of an array with the device, over that without it.
    """
    return np.asarray(
        density_left_out(*_arguments(levels, cells_lrs, cells_hrs, mean, sd, device_array))
    )


def _arguments(
    levels: Levels,
    cells_lrs: DeviceCells,
    cells_hrs: DeviceCells,
    mean: Mapping[str, FloatArray],
    sd: Mapping[str, FloatArray],
    device_array: IntArray,
) -> tuple[Any, ...]:
    """Levels, laws and readings in the form of :mod:`devicefit.level_density`."""
    both = (cells_lrs, cells_hrs)
    laws = [np.stack([law[state] for state in STATES]) * 1.0 for law in (mean, sd)]
    # The compiled loops do not check bounds.
    lengths = [("device", "device_array", len(device_array))]
    lengths += [
        ("condition", name, law.shape[1]) for name, law in zip(("mean", "sd"), laws, strict=True)
    ]
    for field, name, length in lengths:
        last = max(int(getattr(cells, field).max(initial=-1)) for cells in both)
        if last >= length:
            raise ValueError(
                f"a cell has {field} {last}, but {name} has {length} entries; give one for each"
            )

    def joined(name: str) -> Any:
        return np.concatenate([getattr(cells, name) for cells in both])

    state = np.repeat([0, 1], [len(cells.n) for cells in both])
    first, last = joined("first"), joined("last")
    index = np.stack([state, joined("device"), joined("condition")], axis=1)
    statistics = (
        joined("n"),
        joined("mean"),
        joined("sum_of_squares"),
        joined("lag_product"),
        first + last,
        first**2 + last**2,
    )
    return (
        np.stack([getattr(levels, f.name) for f in fields(Levels)]) * 1.0,
        *laws,
        index.astype(np.int64),
        np.stack(statistics, axis=1).astype(np.float64),
        np.asarray(device_array, dtype=np.int64),
    )
