"""Endurance and retention of both states with their checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from devicefit.fitting.convergence import convergence_gates
from devicefit.fitting.gate import Gate
from devicefit.inputs.refusals import STATES
from devicefit.life import endurance, endurance_checks, retention
from devicefit.life.checks import each_gate, held_out_gate, spread_gate
from devicefit.life.endurance import EnduranceCounts, EnduranceState
from devicefit.life.fit import LifeDraws
from devicefit.life.retention import BakeCounts, RetentionState
from devicefit.life.wear_out import WearOut, WearOutTable, fit_wear_out
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import PROBABILITY
from devicefit.sampling.options import SamplerOptions

_CONVERGED_REMEDY = (
    "raise --draws, try another --seed; if it stays, the counts are too few to tell the parameters "
    "apart: measure more units, windows of cycles or bakes"
)
_DECADES_REMEDY = (
    "cells that wear out together are one unit: name what they share (word, column, array) as the "
    "unit; or leave out cycles before the device settled"
)
_LAST_REMEDY = (
    "do not trust an extrapolation beyond the measured cycles; name what wears out together as the "
    "unit, or cycle longer"
)
_BAKES_REMEDY = "look at the bakes outside; other mechanisms at some temperatures, or wrong times"
_HARDEST_REMEDY = (
    "this state does not follow one activated law; do not trust an extrapolation in temperature, "
    "and leave out bakes far hotter than the use"
)
_UNITS_REMEDY = "measure 4 or more; until then nothing is known of other devices, whatever these do"
_BAKES_APART_REMEDY = "bake at a second temperature or for a second time, a decade apart"
_FAILED_REMEDY = "cycle until 4 cells or more have failed, at several programming values"
COIN = 0.5
"""BER of what holds nothing any more."""
FAR = 0.95
"""Probability from which on a median is said to lie outside of all inspections."""
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
        ``gates``, ``checks`` (counted beside predicted), ``not_checked`` (sentences).
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
        """Bit error rate, mean of both states but no worse than a coin.

        Shape (chain, draw, cycles).
        """
        return _mean([s.ber(cycles) for s in self.states.values()])


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
        """Bit error rate, mean of both states but no worse than a coin.

        Shape (chain, draw, condition).
        """
        return _mean([s.ber(time_s, temperature_k) for s in self.states.values()])


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
    states: dict[str, EnduranceState] = {}
    units = min(counts[state].units for state in _both(counts))
    gates = [spread_gate(units, what="units", where="over cycles", remedy=_UNITS_REMEDY)]
    checks: dict[str, Any] = {}
    held_out: list[Gate | str] = []
    rng = np.random.default_rng([options.seed, 21])
    for place, state in enumerate(_both(counts)):
        own = replace(options, seed=options.seed ^ place)  # states are independent
        with _naming(state):
            states[state] = endurance.fit_endurance(counts[state], options=own)
            decades = endurance_checks.check_decades(states[state], counts[state], rng=rng)
            last = endurance_checks.check_last_decade(counts[state], options=_fewer(own), rng=rng)
        gates += _converged(states[state].fitted, f"{state} over cycles")
        gates.append(each_gate(decades, state=state, what="decade", remedy=_DECADES_REMEDY))
        held_out.append(
            held_out_gate(
                last,
                state=state,
                what="last decade",
                rest="the cycles before",
                where=f"above {counts[state].cycles[-1] / 10:.3g} cycles",
                remedy=_LAST_REMEDY,
                why="fewer than two windows of cycles lie before it",
            )
        )
        checks[state] = {
            "decades": [d.record() for d in decades],
            "last_decade_held_out": last and last.record(),
        }
    return Endurance(states, _record(about, gates, checks, held_out))


def study_retention(
    counts: Mapping[str, BakeCounts],
    *,
    devices: int | None = None,
    options: SamplerOptions = LIFE_SAMPLER,
    about: Mapping[str, Any] | None = None,
) -> Retention:
    """Fit both states over time and temperature and check the fits.

    Parameters and errors as :func:`study_endurance`; `devices` is the number of devices that were
    baked, None where it is not known and each reading is taken to be of a device of its own.
    """
    states: dict[str, RetentionState] = {}
    baked = min(int((counts[state].time_s > 0).sum()) for state in _both(counts))
    gates = [
        spread_gate(baked, what="bakes", where="of the fit", remedy=_BAKES_APART_REMEDY, least=2)
    ]
    if devices is not None:
        gates.append(spread_gate(devices, what="devices", where="baked", remedy=_UNITS_REMEDY))
    checks: dict[str, Any] = {}
    held_out: list[Gate | str] = []
    rng = np.random.default_rng([options.seed, 22])
    for place, state in enumerate(_both(counts)):
        own = replace(options, seed=options.seed ^ place)  # states are independent
        with _naming(state):
            states[state] = retention.fit_retention(counts[state], options=own)
            bakes = retention.check_bakes(states[state], counts[state], rng=rng)
            hardest = retention.check_hardest(counts[state], options=_fewer(own), rng=rng)
        gates += _converged(states[state].fitted, f"{state} over bakes")
        gates.append(each_gate(bakes, state=state, what="bake", remedy=_BAKES_REMEDY))
        held_out.append(
            held_out_gate(
                hardest,
                state=state,
                what="hardest bake",
                rest="all other bakes",
                where=f"at {counts[state].temperature_k[counts[state].hardest]:.0f} K",
                remedy=_HARDEST_REMEDY,
                why="no other bake is left",
            )
        )
        checks[state] = {
            "bakes": [b.record() for b in bakes],
            "hardest_held_out": hardest and hardest.record(),
        }
    return Retention(states, _record(about, gates, checks, held_out))


def study_wear_out(
    table: WearOutTable,
    *,
    law: str = "lognormal",
    options: SamplerOptions = LIFE_SAMPLER,
    about: Mapping[str, Any] | None = None,
) -> CycledCells:
    """Regress cycles to wear-out on the programming variable and check the fit.

    The record's ``says`` are sentences about the medians and about what the priors decide: the
    fit is repeated with priors twice as wide.
    """
    wear_out = fit_wear_out(table, law=law, options=options)
    wide = fit_wear_out(table, law=law, options=_fewer(options), prior_width=2.0)
    failed = int(table.failed.sum())
    gates = [
        *_converged(wear_out.fitted, "cycles to wear-out"),
        spread_gate(failed, what="cells", where="that failed", remedy=_FAILED_REMEDY),
    ]
    said = {"says": [*_medians(wear_out), _of_priors(wear_out, wide)]}
    return CycledCells(wear_out, _record(about, gates, {}) | said)


def _medians(wear_out: WearOut) -> list[str]:
    """Median cycles at both ends, and whether any inspection was there."""
    found = []
    for x in (wear_out.x_low, wear_out.x_high):
        cycles = wear_out.median_cycles(x)
        before = float((cycles < wear_out.cycles_low).mean())
        beyond = float((cycles > wear_out.cycles_high).mean())
        sentence = f"median cycles to wear-out at {wear_out.programming.format(x)}: "
        first = f"below the first inspection at {wear_out.cycles_low:.3g} cycles"
        last = f"above the longest test of {wear_out.cycles_high:.3g} cycles"
        if before > FAR or beyond > FAR:
            side, share = (first, before) if before > FAR else (last, beyond)
            sentence += f"{side} (probability {share:.2g}); how far is told by the law's shape and "
            sentence += "the priors, not by cells"
        else:
            sentence += interval_words(cycles)
            for side, share in ((first, before), (last, beyond)):
                if share > 1 - FAR:
                    sentence += f", with probability {share:.2g} {side}"
        found.append(sentence)
    return found


def _of_priors(wear_out: WearOut, wide: WearOut) -> str:
    """The change of the median over the range, and what wider priors make of it."""
    own, other = (np.exp(2 * w.fitted["slope"]) for w in (wear_out, wide))
    wider = _ln_width(other) / _ln_width(own)
    decides = "the priors decide how far it reaches" if wider > 1.3 else "the counts decide"
    return (
        f"from {wear_out.programming.format(wear_out.x_low)} to "
        f"{wear_out.programming.format(wear_out.x_high)} the median changes by a factor of "
        f"{interval_words(own)}; with priors twice as wide {interval_words(other)}: {decides}"
    )


def _ln_width(draws: FloatArray) -> float:
    found = band(draws)
    return math.log(found["high"] / found["low"])


def _record(
    about: Mapping[str, Any] | None,
    gates: Sequence[Gate],
    checks: Mapping[str, Any],
    held_out: Sequence[Gate | str] = (),
) -> dict[str, Any]:
    """Plain values; `held_out` has gates of what was held out, or sentences why there are none."""
    all_gates = [*gates, *(found for found in held_out if isinstance(found, Gate))]
    return dict(about or {}) | {
        "gates": [gate.record() for gate in all_gates],
        "checks": dict(checks),
        "not_checked": [found for found in held_out if isinstance(found, str)],
    }


def _both(counts: Mapping[str, Any]) -> tuple[str, ...]:
    missing = [state for state in STATES if state not in counts]
    if missing:
        raise ValueError(f"no counts of {missing[0]}; a bit error rate needs both states")
    return STATES


@contextmanager
def _naming(state: str) -> Iterator[None]:
    """Say which state an error is about."""
    try:
        yield
    except ValueError as error:
        raise type(error)(f"{state}: {error}") from None


def _fewer(options: SamplerOptions) -> SamplerOptions:
    """For a refit that only checks."""
    return replace(options, draws=max(options.draws // 3, 100))


def _converged(fitted: LifeDraws, what: str) -> list[Gate]:
    """Gates of convergence; their remedies name what the commands about life offer."""
    return [
        replace(gate, name=f"{gate.name} ({what})", remedy=_CONVERGED_REMEDY)
        for gate in convergence_gates(fitted)
    ]


def _mean(shares: list[FloatArray]) -> FloatArray:
    return np.asarray(np.minimum(np.mean(shares, axis=0), COIN))


def interval_words(draws: FloatArray) -> str:
    """``"0.31 (90 % ETI 0.19 to 0.44)"``."""
    found = band(draws)
    return (
        f"{found['median']:.2g} ({100 * found['probability']:.0f} % {found['kind']} "
        f"{found['low']:.2g} to {found['high']:.2g})"
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
