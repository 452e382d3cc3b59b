"""Tables of priors of the families, each row with where it comes from."""

from __future__ import annotations

import numpy as np

from devicefit.families.frame import Frame
from devicefit.sampling.prior import Prior

IN_SD = "_in_sd"
"""Ending of the names of shifts of arrays in units of their standard deviation between arrays."""

_HRS = (
    Prior(
        "ln_r_hrs",
        np.log(1e5),
        1.5,
        "median HRS at mid range or before any SET, ln ohm",
        "weak; 10 k to 1 Mohm",
    ),
    Prior("hrs_slope", 0.0, 0.3, "change of ln R_HRS over the range", "weak; small in HfO2 arrays"),
    Prior("ln_sd_hrs", np.log(0.5), 0.4, "ln of sd of ln R_HRS", "Synaptogen 0.47; arrays 0.4-0.6"),
    Prior("hrs_sd_slope", 0.0, 0.3, "change of ln sd of HRS over the range", "weak"),
)
_LRS_SPREAD = (
    Prior(
        "ln_sd_filament",
        np.log(0.25),
        0.5,
        "ln of relative sd of a 10 kohm filament",
        "weak; spread rises near the conductance quantum",
    ),
    Prior(
        "sd_exponent",
        0.5,
        0.3,
        "exponent of filament resistance in its relative sd",
        "1/2 for a Poisson count of defects (Ambrogio 2014, recalled)",
    ),
    Prior("ln_sd_floor", np.log(0.03), 0.7, "ln of sd of the series part", "weak; 0.8 % to 12 %"),
)
_COMPLIANCE_LRS = (
    Prior("ln_v_c", np.log(0.5), 0.5, "V_c, ln volt", "0.4-0.6 V (recalled), widened"),
    Prior("exponent", 1.0, 0.15, "b in V_c / I^b", "near 1, 0.8-1.2 (recalled)"),
    Prior("ln_r_series", np.log(1e3), 1.0, "series resistance, ln ohm", "weak; 0.1 to 10 kohm"),
)
_OVERDRIVE_LRS = (
    Prior("onset", 0.2, 0.5, "SET onset, fraction of the range", "weak"),
    Prior("ln_onset_width", np.log(0.01), 1.0, "rounding of the onset, ln of fraction", "weak"),
    Prior("ln_r_filament", np.log(5e3), 1.5, "filament a tenth of the range above onset", "weak"),
    Prior("exponent", 1.0, 0.08, "exponent of the overdrive", "transistor current near linear"),
    Prior("ln_r_series", np.log(4e3), 1.0, "series resistance, ln ohm", "weak; cell + transistor"),
)
_FLOOR_SOURCE = (
    "stuck cells: below 1e-6 in strong programming to 1e-2 in measured 40 nm and 1 Mbit arrays"
)
_INCOMPLETE_SOURCE = (
    "2 to 3 % of the SETs of a 1 Mbit array leave 3 to 10 times the resistance of a filament"
)
_FLOORS = (
    Prior("log10_set_floor", -4.0, 1.5, "log10 odds of a failed SET, strong end", _FLOOR_SOURCE),
    Prior("log10_reset_floor", -4.0, 1.5, "log10 odds of a failed RESET, mid range", _FLOOR_SOURCE),
)
_FAILURE = (
    *_FLOORS,
    Prior("log10_weak_reset", -3.0, 1.0, "log10 odds of a weak RESET", "weak; 1e-5 to 1e-1"),
    Prior(
        "weak_place",
        0.0,
        0.6,
        "weak RESETs read at 0.5 + 0.25 tanh(this) of the way from HRS to LRS",
        "halfway: the left tail of the HRS of a 1 Mbit array",
    ),
    Prior("weak_sd", 0.0, 0.6, "their sd is 0.12 exp(0.7 tanh(this)) of the gap", "as above"),
    Prior(
        "stuck_place",
        0.3,
        0.5,
        "failed RESET reads like the strongest LRS - 0.2 + 0.7 tanh(this) in ln R",
        "at the LRS of a 1 Mbit array, half of it in a 40 nm array",
    ),
    Prior(
        "ln_sd_stuck",
        np.log(0.2),
        0.3,
        "ln of sd of failed RESETs",
        "a cluster, narrower than the HRS; keeps it from taking the place of the HRS tails",
    ),
)
_PLAIN_FAILURE = (
    *_FLOORS,
    Prior(
        "stuck_offset",
        0.2,
        0.4,
        "failed RESET reads like the strongest LRS + this",
        "at the LRS of a 1 Mbit array; RESETs that stop short end above it",
    ),
    Prior(
        "ln_sd_stuck",
        np.log(0.35),
        0.5,
        "ln of sd of failed RESETs",
        "a cluster, narrower than the HRS; keeps it from taking the place of the HRS tails",
    ),
)
_INCOMPLETE = (
    Prior("log10_incomplete", -2.3, 1.0, "log10 odds of an incomplete SET", _INCOMPLETE_SOURCE),
    Prior(
        "ln_incomplete_rise",
        np.log(1.3),
        0.5,
        "ln of what an incomplete SET adds to ln R of a 3 kohm filament",
        _INCOMPLETE_SOURCE,
    ),
    Prior("ln_incomplete_sd", np.log(0.4), 0.4, "ln of the sd of that", _INCOMPLETE_SOURCE),
)
_INCOMPLETE_OVER_RANGE = (
    Prior(
        "incomplete_exponent",
        0.0,
        0.3,
        "exponent of filament resistance in what an incomplete SET adds",
        "weak; about 0 in a 1 Mbit array",
    ),
    Prior(
        "incomplete_slope",
        0.0,
        1.5,
        "change of log10 odds of an incomplete SET over the range",
        "weak; plus 2 from 0 to 3 V in a 1 Mbit array",
    ),
)
_RESET_SLOPE = (
    Prior(
        "reset_floor_slope",
        0.0,
        1.5,
        "change of log10 odds of a failed RESET over the range",
        "weak; more of them after too strong SETs, up to a thousandfold",
    ),
)
_TRANSITION = (
    Prior("ln_set_width", np.log(0.05), 1.0, "width of the SET transition, ln of fraction", "weak"),
)
_OVERDRIVE_FAILURE = (
    Prior("set_offset", 0.0, 0.02, "SETs fail half of the time here, from the onset", "weak"),
)
_SECOND_ONSET = (
    Prior("second_centre", -0.8, 0.5, "second variable: no SET below, fraction of range", "weak"),
    Prior("ln_second_width", np.log(0.1), 0.6, "width of that transition, ln of fraction", "weak"),
)
_SHAPE = (
    Prior("logit_broad", -0.7, 0.8, "logit of the weight of the broad part of the HRS", "a third"),
    Prior(
        "broad_shift",
        -0.2,
        0.7,
        "its shift from the other part, in sd of that",
        "HRS has a left tail in a 1 Mbit array",
    ),
    Prior(
        "ln_broad_excess", np.log(1.3), 0.5, "its width over that of the core less 1, ln", "weak"
    ),
    Prior("logit_far", -4.0, 1.0, "logit of the weight of the far right tail of the HRS", "weak"),
    Prior("ln_far_shift", np.log(3.0), 0.4, "its shift, ln of HRS sd", "weak; 40 nm arrays"),
    Prior("ln_far_excess", np.log(2.0), 0.5, "its width over that of the core less 1, ln", "weak"),
    Prior("logit_wide", -1.8, 0.7, "logit of the weight of the wide part of the LRS", "weak"),
    Prior(
        "wide_shift",
        0.5,
        1.0,
        "its shift from the other part, in sd of that",
        "LRS has a right tail in every array",
    ),
    Prior("ln_wide_excess", np.log(1.3), 0.5, "its width over that of the core less 1, ln", "weak"),
)
_BROAD_SLOPE = Prior(
    "broad_slope", 0.0, 1.0, "change of the logit of the broad part over the range", "weak"
)
_TAIL = (
    Prior(
        "ln_dof_lrs", np.log(4.0), 1.0, "ln of degrees of freedom above 1.5, LRS", "weak; 1.5 to 30"
    ),
    Prior(
        "ln_dof_hrs", np.log(8.0), 1.0, "ln of degrees of freedom above 1.5, HRS", "weak; 2 to 60"
    ),
)
_SINGLE = (
    Prior("ln_r_lrs", np.log(1e4), 1.2, "median LRS, ln ohm", "weak; 1 k to 100 kohm"),
    Prior("ln_sd_lrs", np.log(0.12), 0.8, "ln of sd of ln R_LRS", "weak; 2 % to 50 %"),
)
_SECOND = (
    Prior("second_shift", 0.0, 0.5, "shift by the second variable, fraction of range", "weak"),
    Prior("hrs_second", 0.0, 0.3, "its own effect on ln R_HRS over its range", "weak"),
)
_SECOND_COMPLIANCE = (
    Prior("lrs_second", 0.0, 0.3, "its own effect on ln R_LRS over its range", "weak"),
)
_SECOND_OVERDRIVE = (
    Prior(
        "ln_r_second",
        np.log(1e3),
        1.5,
        "what it adds to the filament half its range above its onset, ln ohm",
        "weak; transistor and line in series with the filament during SET",
    ),
)
_BETWEEN_ARRAYS = (
    "weak; five read-outs of a 40 nm chip: medians 0.1 (LRS) and 0.3 (HRS), ln of spreads 0.1 to "
    "0.9, ln odds of failures 1.2"
)
_COMPLIANCE_FAILURE = (
    Prior("set_centre", -0.4, 0.4, "SETs fail half of the time here, fraction of range", "weak"),
)


def core_priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of location and scale of both states."""
    names = ("lrs_location", "lrs_ln_sd", "hrs_location", "hrs_ln_sd")
    arrays = _array_priors(frame, {n: 0.15 if n.endswith("location") else 0.2 for n in names})
    if frame.is_single:
        return (*_SINGLE, _HRS[0], _HRS[2], *arrays)
    arrays += _array_priors(frame, {"position": 0.03})
    lrs = _COMPLIANCE_LRS if frame.is_current else _OVERDRIVE_LRS
    second: tuple[Prior, ...] = ()
    if frame.second is not None:
        own = _SECOND_COMPLIANCE if frame.is_current else (*_SECOND_OVERDRIVE, *_SECOND_ONSET)
        second = (*_SECOND, *own)
    return (*lrs, *_LRS_SPREAD, *_HRS, *second, *_deviations(frame, names), *arrays)


def shape_priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of the skewed cores of the switching-failure family."""
    arrays = _array_priors(frame, {"broad": 0.3}, in_sd=True)
    if frame.is_single:
        return (*_SHAPE, *arrays)
    return (*_SHAPE, _BROAD_SLOPE, *_deviations(frame, ("broad",)), *arrays)


def tail_priors() -> tuple[Prior, ...]:
    """Priors of the degrees of freedom of Student-t laws."""
    return _TAIL


def failure_priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of the switching failures of states with skewed cores."""
    return _failures(frame, _FAILURE, ("weak_reset",))


def plain_failure_priors(frame: Frame) -> tuple[Prior, ...]:
    """Priors of the switching failures of states without skew."""
    return _failures(frame, _PLAIN_FAILURE, ())


def _failures(frame: Frame, own: tuple[Prior, ...], others: tuple[str, ...]) -> tuple[Prior, ...]:
    names = ("set_floor", "incomplete", "reset_floor", *others)
    arrays = _array_priors(frame, dict.fromkeys(names, 1.0), in_sd=True)
    if frame.is_single:
        return (*own, *_INCOMPLETE, *arrays)
    centre = _COMPLIANCE_FAILURE if frame.is_current else _OVERDRIVE_FAILURE
    second = _SECOND_ONSET if frame.second is not None and frame.is_current else ()
    incomplete = (*_INCOMPLETE, *_INCOMPLETE_OVER_RANGE)
    changes = (*_RESET_SLOPE, *_TRANSITION, *centre, *second)
    return (*own, *incomplete, *changes, *_deviations(frame, ("reset_floor",)), *arrays)


def _deviations(frame: Frame, names: tuple[str, ...]) -> tuple[Prior, ...]:
    if not frame.terms:
        return ()
    return tuple(
        Prior(
            f"{name}_deviation",
            0.0,
            1.0,
            f"smooth deviation of {name.replace('_', ' ')} from the physics, standardised",
            "Gaussian process, length scale a fifth of the range",
            size=frame.terms,
            dim="term",
        )
        for name in names
    )


def _array_priors(frame: Frame, sds: dict[str, float], *, in_sd: bool = False) -> tuple[Prior, ...]:
    """Priors of the law between arrays: the sd of each kind of shift, then the shifts.

    `sds` are the medians of the sd between arrays. Readings tell locations and spreads well: a
    sampler gets 14 times as many effective draws in a second from the shifts themselves as from
    shifts in units of their sd, and no divergence. They tell odds of failures badly: there it gets
    five times as many from shifts in units of their sd (`in_sd`).
    """
    if len(frame.arrays) == 1:
        return ()
    number, found = len(frame.arrays), []
    for name, sd in sds.items():
        said, ln_sd = name.replace("_", " "), f"ln_sd_{name}_array"
        meaning, law = f"shift of {said} of each array", f"normal, its sd is exp({ln_sd})"
        spread = f"ln of the sd between arrays of {said}"
        found.append(Prior(ln_sd, np.log(sd), 0.8, spread, _BETWEEN_ARRAYS))
        if in_sd:
            meaning = f"{meaning}, in its sd between arrays"
            shifts = Prior(f"{name}_array{IN_SD}", 0.0, 1.0, meaning, law, number, "array")
        else:
            law = f"{law}; here the median of that"
            shifts = Prior(f"{name}_array", 0.0, sd, meaning, law, number, "array", ln_sd)
        found.append(shifts)
    return tuple(found)


def spread_between_arrays(shifts: str) -> str:
    """Name of ln of the sd between arrays of shifts, given or in units of it."""
    return f"ln_sd_{shifts.removesuffix(IN_SD)}"
