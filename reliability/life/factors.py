"""What a required life does to bit error rates, from posteriors of endurance and retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from devicefit.distributions.sensing import SensingOptions
from devicefit.inputs.programming import Programming
from devicefit.life.study import CycledCells, Endurance, Life, Retention, band
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import PROBABILITY
from reliability.life.required import LifeFactor, LifeRequirement, combine

STUCK_ERROR = 0.5
"""Share of bits that a cell stuck in one state gets wrong: half of them want the other."""
OF_A_PAIR = (
    "A 2T2R pair with one cell in the wrong state reads like a coin: assumed is a resistance that "
    "is typical of this state (were it shorted or open beyond every sound cell, the pair would "
    "read wrong)."
)
_ENDS = 1e-300, 1 - 1e-12
"""Error shares between which a margin is finite."""


def life_factor(
    lives: Sequence[Life],
    required: LifeRequirement,
    x: FloatArray,
    *,
    programming: Programming,
    sensing: SensingOptions,
    rng: np.random.Generator,
) -> LifeFactor:
    """What a required life does to bit error rates, from all that is known of life.

    Parameters
    ----------
    lives : sequence of Endurance, Retention or CycledCells
        Fitted to measurements, one of each kind at most; wear that is known over programming
        stands in for the worn-out share of an endurance set.
    required : LifeRequirement
        What the cells have to go through.
    x : float array, shape (x,)
        Values of the programming variable.
    programming : Programming
        The variable itself.
    sensing : SensingOptions
        How the cells are read.
    rng : numpy.random.Generator
        Pairs independent posteriors.

    Raises
    ------
    ValueError
        As :func:`check_lives` and :func:`check_programming`.
    """
    check_lives(lives, required)
    check_programming(lives, programming)
    cycled = [life for life in lives if isinstance(life, CycledCells)]
    endured = [life for life in lives if isinstance(life, Endurance)]
    kept = [life for life in lives if isinstance(life, Retention)]
    factors = []
    if required.cycles is not None:
        if endured:
            factors.append(endurance_factor(endured[0], required.cycles, worn=not cycled))
        if cycled:
            factors.append(wear_out_factor(cycled[0], required.cycles, x))
    if required.retention_s is not None and required.temperature_k is not None:
        factors.append(retention_factor(kept[0], required.retention_s, required.temperature_k))
    assumed = _assumed(lives, programming, sensing)
    return combine(
        [replace(factors[0], rests_on=factors[0].rests_on + assumed), *factors[1:]], rng=rng
    )


def check_lives(lives: Sequence[Life], required: LifeRequirement) -> None:
    """Refuse posteriors that do not cover a required life.

    Raises
    ------
    ValueError
        A part of the required life has no posterior, or a kind comes twice.
    """
    kinds = [type(life) for life in lives]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ValueError(f"{kinds.count(kind)} posteriors of kind {_name(kind)}; give one")
    if required.cycles is not None and not {CycledCells, Endurance} & set(kinds):
        raise ValueError(
            f"{required.cycles:.3g} cycles are required, but nothing is known of cycling; give "
            "the posterior of `rram-reliability life endurance` or `life wear-out`"
        )
    if required.retention_s is not None and Retention not in kinds:
        raise ValueError(
            f"{required.words()} is required, but nothing is known of retention; give the "
            "posterior of `rram-reliability life retention`"
        )


def check_programming(lives: Sequence[Life], programming: Programming) -> None:
    """Refuse cycles to wear-out over another variable than the device's.

    Raises
    ------
    ValueError
        The units differ; names both variables.
    """
    for life in lives:
        if not isinstance(life, CycledCells):
            continue
        other = life.wear_out.programming
        if other.unit != programming.unit:
            raise ValueError(
                f"cycles to wear-out ({life.record.get('source', 'table')}) are over {other.name} "
                f"({other.unit}), the device over {programming.name} ({programming.unit}); values "
                "of one say nothing of the other: give wear-out over the variable of the device, "
                "or leave it out"
            )


def _assumed(
    lives: Sequence[Life], programming: Programming, sensing: SensingOptions
) -> tuple[str, ...]:
    """What has to be taken for the same though files name it differently."""
    found = []
    for life in lives:
        if isinstance(life, CycledCells):
            name = life.wear_out.programming.name
            if name != programming.name:
                found.append(
                    f"Assumed: {name!r} of the wear-out is the {programming.name!r} of the device."
                )
            continue
        if life.record.get("threshold_again"):
            found.append(
                f"Errors of the {_name(type(life))} set were counted with a read threshold that is "
                "chosen again after ageing: a treatment that the memory has to carry out."
            )
        counted, read = life.record.get("threshold_ohm"), sensing.threshold_ohm
        if counted and read and abs(counted - read) > 1e-6 * read:
            found.append(
                f"Errors of the {_name(type(life))} set were counted against {counted:.4g} ohm, "
                f"cells are read against {read:.4g} ohm; assumed: they lose the same margin."
            )
    return tuple(found)


def _name(kind: type) -> str:
    return {Endurance: "endurance", Retention: "retention"}.get(kind, "wear-out")


def endurance_factor(life: Endurance, cycles: float, *, worn: bool = True) -> LifeFactor:
    """What cycling does, from errors over cycles at one programming.

    Parameters
    ----------
    life : Endurance
        Fitted.
    cycles : float
        Required cycles.
    worn : bool, optional
        Whether worn-out cells are taken from here; else drift alone.

    Notes
    -----
    Fresh means the fewest measured cycles. A memory has to serve at any time, so a drift for the
    better is not credited: the shift is the largest up to `cycles`.
    """
    start = life.cycles_low
    path = np.geomspace(start, max(cycles, start), 25)
    parts = [state.parts(path) for state in life.states.values()]
    sound = np.mean([p[0] for p in parts], axis=0).reshape(-1, len(path))
    sound = np.clip(sound, *_ENDS)
    shift = np.maximum((ndtri(sound) - ndtri(sound[:, :1])).max(axis=1), 0.0)
    shares = [p[1][..., -1].ravel() for p in parts]
    wrong = [p[1][..., -1].ravel() * p[2][..., -1].ravel() for p in parts]
    share = np.mean(shares, axis=0) if worn else np.zeros(len(shift))
    error = np.sum(wrong, axis=0) / np.maximum(np.sum(shares, axis=0), 1e-300)
    beyond = bool(cycles > life.cycles_high * (1 + 1e-9))
    source = life.record.get("source", "counts")
    units = min(int(s.fitted.record["units"]) for s in life.states.values())
    sentences = [
        f"Wear over cycles is measured ({source}; {units} independent units, {start:.3g} to "
        f"{life.cycles_high:.3g} cycles) at one programming"
        + (
            f"; assumed: as many cells wear out at every programming ({_percent(share)} after "
            f"{cycles:.3g} cycles)"
            if worn
            else ""
        )
        + f", and drift takes the same margin from the rest ({_sd(shift)})."
    ]
    if worn:
        sentences.append(
            f"Worn-out cells are wrong for {_percent(error)} of their bits. {OF_A_PAIR}"
        )
    if beyond:
        sentences.append(
            f"{cycles:.3g} cycles are beyond the measured {life.cycles_high:.3g}: extrapolated by "
            "the model's shape."
        )
    sentences += life.record.get("not_checked", [])
    return LifeFactor(_row(shift), _row(share), _row(error), tuple(sentences), np.array([beyond]))


def retention_factor(life: Retention, time_s: float, temperature_k: float) -> LifeFactor:
    """What storage does, from errors before and after bakes."""
    before = life.ber(0.0, temperature_k).reshape(-1)
    after = life.ber(time_s, temperature_k).reshape(-1)
    shift = np.maximum(ndtri(np.clip(after, *_ENDS)) - ndtri(np.clip(before, *_ENDS)), 0.0)
    zero = np.zeros(len(shift))
    source = life.record.get("source", "counts")
    sentences = [
        f"Loss while stored is measured in bakes ({source}) at one programming; assumed: every "
        f"programming loses the same margin ({_sd(shift)})."
    ]
    beyond = False
    for name, state in life.states.items():
        found = state.extrapolation(time_s, temperature_k)
        record = state.fitted.record
        outside = (
            time_s > record["time_high_s"] * (1 + 1e-9)
            or not record["temperature_low_k"] <= temperature_k <= record["temperature_high_k"]
        )
        beyond |= outside
        if outside:
            sentences.append(
                f"{name}: {time_s:.3g} s at {temperature_k:.0f} K is extrapolated from bakes of "
                f"{record['time_low_s']:.3g} to {record['time_high_s']:.3g} s at "
                f"{record['temperature_low_k']:.0f} to {record['temperature_high_k']:.0f} K. "
                + found.sentence()
            )
    sentences += life.record.get("not_checked", [])
    sides = _row(shift), _row(zero), _row(zero + 0.5)
    return LifeFactor(*sides, tuple(sentences), np.array([beyond]))


def wear_out_factor(life: CycledCells, cycles: float, x: FloatArray) -> LifeFactor:
    """What cycling does where cycles to wear-out are known over programming."""
    wear_out = life.wear_out
    worn = wear_out.worn(x, cycles)
    worn = worn.reshape(-1, worn.shape[-1])
    record = wear_out.fitted.record
    format_x = wear_out.programming.format
    sentences = [
        f"Wear-out over programming is measured ({life.record.get('source', 'table')}; "
        f"{record['cells']} cells, {record['failed']} failed, {format_x(wear_out.x_low)} to "
        f"{format_x(wear_out.x_high)}, up to {wear_out.cycles_high:.3g} cycles); a worn-out cell "
        f"is taken to be stuck in one state, wrong for {STUCK_ERROR:g} of the bits. {OF_A_PAIR}"
    ]
    sentences += [
        f"{sentence[0].upper()}{sentence[1:]}." for sentence in life.record.get("says", [])
    ]
    outside = wear_out.extrapolated(x, cycles)
    if outside.any():
        sentences.append(
            f"Cycles to wear-out are extrapolated at {int(outside.sum())} of {len(outside)} "
            "programming values."
        )
    zero = np.zeros_like(worn)
    return LifeFactor(zero, worn, zero + STUCK_ERROR, tuple(sentences), outside)


def cycles_to_requirement(
    life: CycledCells,
    x: FloatArray,
    ln_ber: FloatArray,
    ln_tolerated: FloatArray,
    *,
    rng: np.random.Generator,
) -> FloatArray:
    """Cycles until worn-out cells raise the BER to what is tolerated.

    Parameters
    ----------
    life : CycledCells
        Cycles to wear-out over programming.
    x : float array, shape (x,)
        Values of the programming variable.
    ln_ber : float array, shape (draw, x)
        Fresh BER.
    ln_tolerated : float array, shape (draw,)
        What is tolerated.
    rng : numpy.random.Generator
        Pairs draws.

    Returns
    -------
    float array, shape (draw, x)
        0 where the fresh BER is too high already, infinite where even all cells worn out would be
        tolerated.
    """
    tolerated, fresh = np.exp(ln_tolerated)[:, None], np.exp(ln_ber)
    rows = rng.permutation(np.arange(len(fresh)) % life.wear_out.fitted.diagnostics.draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (tolerated - fresh) / (STUCK_ERROR - fresh)
    inside = np.clip(share, 1e-15, 1 - 1e-12)
    cycles = life.wear_out.cycles_to_shares(x, inside, rows)
    cycles = np.where((share >= 1) | (tolerated >= STUCK_ERROR), np.inf, cycles)
    return np.asarray(np.where(tolerated < fresh, 0.0, cycles))


def _row(values: FloatArray) -> FloatArray:
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def _percent(values: FloatArray) -> str:
    b = band(100 * values)
    return f"{b['median']:.2g} %, {_kind()} {b['low']:.2g} to {b['high']:.2g} %"


def _sd(values: FloatArray) -> str:
    b = band(values)
    return f"{b['median']:.2g} sd, {_kind()} {b['low']:.2g} to {b['high']:.2g}"


def _kind() -> str:
    return f"{100 * PROBABILITY:.0f} % ETI"
