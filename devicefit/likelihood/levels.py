"""Levels of variability: between arrays, between devices, between cycles of one device.

The standardised reading ``r = (y - mean_s(c)) / sd_s(c)`` of state s at condition c, cycle t, of
device d in array a is

    r = sqrt(array_share) A + sqrt(device_share) D + sqrt(1 - array_share - device_share) e_t.

A, D and e are standard normal. e is a first-order autoregressive series within a cell (device,
condition, state) and independent between cells; D of the two states of a device are correlated,
A are independent. The shares add up to one: levels divide the marginal law, they do not change it.

The formulas take ``xp``, ``pytensor.tensor`` for the PyMC model or ``numpy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devicefit.inputs.refusals import STATES
from devicefit.likelihood.compressed import DeviceCells
from devicefit.numerics.arrays import IntArray
from devicefit.sampling.prior import Prior

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

    @property
    def has_arrays(self) -> bool:
        """Whether arrays have a share of their own."""
        return not (_is_zero(self.array_share_lrs) and _is_zero(self.array_share_hrs))

    @property
    def correlates_states(self) -> bool:
        """Whether the effects of both states are correlated."""
        shares = (self.device_share_lrs, self.device_share_hrs)
        return not (_is_zero(self.state_correlation) or any(_is_zero(s) for s in shares))


def _is_zero(value: Any) -> bool:
    return isinstance(value, float | int) and value == 0


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
