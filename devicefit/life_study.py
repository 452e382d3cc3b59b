"""Endurance and retention of both states with their checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from devicefit import endurance, retention
from devicefit.backend import SamplerOptions
from devicefit.checks import COVERED_LIMIT, convergence_gates
from devicefit.endurance import DecadeCheck, EnduranceCounts, EnduranceState
from devicefit.gates import Gate
from devicefit.intervals import PROBABILITY
from devicefit.life_fit import LifeDraws
from devicefit.programming import FloatArray
from devicefit.retention import BakeCheck, BakeCounts, RetentionState
from devicefit.wear_out import WearOut, WearOutTable, fit_wear_out

STATES = ("LRS", "HRS")
LIFE_SAMPLER = SamplerOptions(draws=1000, warmup=700, target_accept=0.95)


@dataclass(frozen=True)
class Endurance:
    """Errors over cycles of both states.

    Parameters
    ----------
    states : dict of str to EnduranceState
        LRS and HRS.
    record : dict
        Plain values: ``source``, ``sha256``, ``simulated``, ``unit``, ``threshold_ohm``,
        ``gates``, ``checks``.
    """

    states: dict[str, EnduranceState]
    record: dict[str, Any]

    @property
    def cycles_low(self) -> float:
        """Fewest cycles that were measured."""
        return min(state.cycles_low for state in self.states.values())

    @property
    def cycles_high(self) -> float:
        """Most cycles that were measured in both states."""
        return min(state.cycles_high for state in self.states.values())

    def ber(self, cycles: ArrayLike) -> FloatArray:
        """Bit error rate, mean of both states, shape (chain, draw, cycles)."""
        return np.asarray(np.mean([s.ber(cycles) for s in self.states.values()], axis=0))


@dataclass(frozen=True)
class Retention:
    """Errors over time and temperature of both states.

    Parameters
    ----------
    states : dict of str to RetentionState
        LRS and HRS.
    record : dict
        As in :class:`Endurance`.
    """

    states: dict[str, RetentionState]
    record: dict[str, Any]

    def ber(self, time_s: ArrayLike, temperature_k: ArrayLike) -> FloatArray:
        """Bit error rate, mean of both states, shape (chain, draw, condition)."""
        found = [s.ber(time_s, temperature_k) for s in self.states.values()]
        return np.asarray(np.mean(found, axis=0))


@dataclass(frozen=True)
class CycledCells:
    """Cycles to wear-out over the programming variable.

    Parameters
    ----------
    wear_out : WearOut
        Posterior.
    record : dict
        As in :class:`Endurance`.
    """

    wear_out: WearOut
    record: dict[str, Any]


Life = Endurance | Retention | CycledCells


def study_endurance(
    counts: Mapping[str, EnduranceCounts],
    *,
    options: SamplerOptions = LIFE_SAMPLER,
    about: Mapping[str, Any] | None = None,
) -> Endurance:
    """Fit both states over cycles and check the fits.

    Parameters
    ----------
    counts : mapping of str to EnduranceCounts
        For LRS and HRS.
    options : SamplerOptions, optional
        Chains, draws and seed.
    about : mapping, optional
        Where the counts come from; joins the record.

    Raises
    ------
    ValueError
        A state is missing, or was measured near one number of cycles only.
    """
    _both(counts)
    states: dict[str, EnduranceState] = {}
    gates: list[Gate] = []
    checks: dict[str, Any] = {}
    rng = np.random.default_rng([options.seed, 21])
    for state in STATES:
        try:
            states[state] = endurance.fit_endurance(counts[state], options=options)
        except ValueError as error:
            raise ValueError(f"{state}: {error}") from None
        fitted = states[state].fitted
        gates += _converged(fitted, f"{state} over cycles")
        decades = endurance.check_decades(states[state], counts[state], rng=rng)
        last = endurance.check_last_decade(counts[state], options=_fewer(options), rng=rng)
        gates += [_decades_gate(state, decades), *([_last_gate(state, last)] if last else [])]
        checks[state] = {
            "decades": [asdict(d) | {"inside": d.inside} for d in decades],
            "last_decade_held_out": None
            if last is None
            else asdict(last) | {"inside": last.inside},
        }
    record = dict(about or {}) | {"gates": [g.record() for g in gates], "checks": checks}
    return Endurance(states, record)


def study_retention(
    counts: Mapping[str, BakeCounts],
    *,
    options: SamplerOptions = LIFE_SAMPLER,
    about: Mapping[str, Any] | None = None,
) -> Retention:
    """Fit both states over time and temperature and check the fits.

    Parameters and errors as :func:`study_endurance`.
    """
    _both(counts)
    states: dict[str, RetentionState] = {}
    gates: list[Gate] = []
    checks: dict[str, Any] = {}
    rng = np.random.default_rng([options.seed, 22])
    for state in STATES:
        states[state] = retention.fit_retention(counts[state], options=options)
        gates += _converged(states[state].fitted, f"{state} over bakes")
        bakes = retention.check_bakes(states[state], counts[state], rng=rng)
        hardest = retention.check_hardest(counts[state], options=_fewer(options), rng=rng)
        gates += [_bakes_gate(state, bakes), *([_hardest_gate(state, hardest)] if hardest else [])]
        checks[state] = {
            "bakes": [asdict(b) | {"inside": b.inside} for b in bakes],
            "hardest_held_out": None
            if hardest is None
            else asdict(hardest) | {"inside": hardest.inside},
        }
    record = dict(about or {}) | {"gates": [g.record() for g in gates], "checks": checks}
    return Retention(states, record)


def study_wear_out(
    table: WearOutTable,
    *,
    law: str = "lognormal",
    options: SamplerOptions = LIFE_SAMPLER,
    about: Mapping[str, Any] | None = None,
) -> CycledCells:
    """Regress cycles to wear-out on the programming variable and check the fit."""
    wear_out = fit_wear_out(table, law=law, options=options)
    gates = _converged(wear_out.fitted, "cycles to wear-out")
    record = dict(about or {}) | {"gates": [g.record() for g in gates], "checks": {}}
    return CycledCells(wear_out, record)


def _both(counts: Mapping[str, Any]) -> None:
    missing = [state for state in STATES if state not in counts]
    if missing:
        raise ValueError(f"no counts of {missing[0]}; a bit error rate needs both states")


def _fewer(options: SamplerOptions) -> SamplerOptions:
    """For a refit that only checks."""
    return replace(options, draws=max(options.draws // 3, 100))


def _converged(fitted: LifeDraws, what: str) -> list[Gate]:
    return [replace(gate, name=f"{gate.name} ({what})") for gate in convergence_gates(fitted)]


def _decades_gate(state: str, decades: tuple[DecadeCheck, ...]) -> Gate:
    inside = sum(d.inside for d in decades)
    share = inside / len(decades)
    return Gate(
        f"errors of each decade ({state})",
        "Does the model predict the errors of each decade of cycles?",
        share >= COVERED_LIMIT,
        share,
        COVERED_LIMIT,
        f"{inside} of {len(decades)} decades inside the 95 % predictive interval",
        "cells that wear out together are one unit: name what they share (word, column, array) as "
        "the unit; or leave out cycles before the device settled",
    )


def _last_gate(state: str, last: DecadeCheck) -> Gate:
    return Gate(
        f"last decade held out ({state})",
        "Does a fit to the cycles before predict the errors of the last decade?",
        last.inside,
        float(last.errors),
        last.predicted_high,
        f"{last.errors} errors in {last.trials} readings above {last.low:.3g} cycles, predicted "
        f"{last.predicted_low:.0f} to {last.predicted_high:.0f} (95 %)",
        "do not trust an extrapolation beyond the measured cycles; name what wears out together as "
        "the unit, or cycle longer",
    )


def _bakes_gate(state: str, bakes: tuple[BakeCheck, ...]) -> Gate:
    inside = sum(b.inside for b in bakes)
    share = inside / len(bakes)
    return Gate(
        f"errors of each bake ({state})",
        "Does the model predict the errors of each bake?",
        share >= COVERED_LIMIT,
        share,
        COVERED_LIMIT,
        f"{inside} of {len(bakes)} bakes inside the 95 % predictive interval",
        "look at the bakes outside; other mechanisms at some temperatures, or wrong times",
    )


def _hardest_gate(state: str, check: BakeCheck) -> Gate:
    return Gate(
        f"hardest bake held out ({state})",
        "Does a fit to all other bakes predict the hardest one?",
        check.inside,
        float(check.errors),
        check.predicted_high,
        f"{check.errors} errors in {check.trials} readings at {check.temperature_k:.0f} K, "
        f"predicted {check.predicted_low:.0f} to {check.predicted_high:.0f} (95 %)",
        "this state does not follow one activated law; do not trust an extrapolation in "
        "temperature, and leave out bakes far hotter than the use",
    )


def band(draws: FloatArray) -> dict[str, Any]:
    """Median and 90 % equal-tailed interval of draws as plain values."""
    tail = (1 - PROBABILITY) / 2
    low, median, high = np.quantile(draws, [tail, 0.5, 1 - tail])
    return {
        "median": float(median),
        "low": float(low),
        "high": float(high),
        "kind": "ETI",
        "probability": PROBABILITY,
    }
