"""Where the uncertainty of the saving comes from: shares of the variance of its logarithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from devicefit.programming import FloatArray, IntArray
from reliability.accuracy_curve import AccuracyCurve, tolerated_ln_ber
from reliability.designs import (
    Comparison,
    limit_condition,
    loss_limits,
    references,
    saving_at_limit,
    saving_at_safe,
)
from reliability.source_shares import Indices, Labels, SourceShares, shares_of_answers
from reliability.storage import PLAIN

AT_LIMIT, RECOMMENDED = "at_tolerance", "recommended"
DRAWS = 2000
_POINTS = 150
"""Values of ln BER between which the limit of a further training is interpolated."""


@dataclass(frozen=True)
class SavingSources:
    """Sources of the variance of ln of one saving.

    Parameters
    ----------
    shares : SourceShares
        ``family`` (which model, where families are stacked), ``device``, ``training`` (where there
        are several), ``curve`` (finite number of simulated chips), ``energy inputs``,
        ``interaction``. All zero where the saving does not vary.
    sd_ln : float
        Standard deviation of ln saving.
    stronger, weaker : float
        Share of draws in which a limit lies above the strongest and below the weakest measured
        programming value: the end of the range stands for it.
    bounds : float
        Share of draws in which either is so.
    """

    shares: SourceShares
    sd_ln: float
    stronger: float
    weaker: float
    bounds: float


def saving_sources(
    comparison: Comparison, *, draws: int = DRAWS, seed: int
) -> dict[str, dict[str, SavingSources]]:
    """Sources of the saving of the design in focus, for each reference.

    Parameters
    ----------
    comparison : Comparison
        Energies are known.
    draws : int, optional
        Evaluations of each arrangement of the sources.
    seed : int
        Randomness.

    Returns
    -------
    dict of str to dict of str to SavingSources
        By key of the reference: :data:`AT_LIMIT`, with both sides at the limit of what they
        tolerate, and :data:`RECOMMENDED`, with the design at its lowest safe programming. The
        latter is left out where none is safe.

    Notes
    -----
    The draws of device, curve, training and energy inputs that the comparison pairs are paired
    anew. The recommended programming stays: it is chosen, not drawn. Both savings are those of the
    mean chip on this test set, so neither chips nor images have a share. Draws that are bounds
    count with the end of the measured range.
    """
    c, design = comparison, comparison.focus
    rows = len(c.pairing.device)
    several = any(curve.further is not None for curve in _two(c).values())
    names = ("device", *(("training",) if several else ()), "curve", "energy inputs")

    def answers(of: Indices) -> dict[str, FloatArray]:
        changed = rearranged(c, of)
        found = {}
        for reference in changed.references:
            found[f"{AT_LIMIT} {reference.key}"] = saving_at_limit(changed, design, reference)
            if design.safe.lowest is not None:
                safe = saving_at_safe(design, reference, changed.energy)
                found[f"{RECOMMENDED} {reference.key}"] = safe
        return {key: np.log(saving.factor) for key, saving in found.items()}

    shares = shares_of_answers(
        answers,
        dict.fromkeys(names, rows),
        labels=None if c.family is None else Labels("family", "device", c.family[c.pairing.device]),
        draws=draws,
        rng=np.random.default_rng([seed, 31]),
    )
    own = limit_condition(c, design)
    found: dict[str, dict[str, SavingSources]] = {}
    for reference in c.references:
        its = reference.condition
        found[reference.key] = {
            AT_LIMIT: _sources(
                shares[f"{AT_LIMIT} {reference.key}"],
                saving_at_limit(c, design, reference).factor,
                its.not_reached | own.not_reached,
                its.at_edge | own.at_edge,
            )
        }
        if design.safe.lowest is not None:
            found[reference.key][RECOMMENDED] = _sources(
                shares[f"{RECOMMENDED} {reference.key}"],
                saving_at_safe(design, reference, c.energy).factor,
                its.not_reached,
                its.at_edge,
            )
    return found


def rearranged(comparison: Comparison, of: Mapping[str, IntArray]) -> Comparison:
    """The comparison with each source taken from pairs of its own.

    Parameters
    ----------
    comparison : Comparison
        Paired draws.
    of : mapping of str to int array
        Pairs that ``device``, ``curve``, ``energy inputs`` and, where there are several,
        ``training`` come from.

    Returns
    -------
    Comparison
        Limits, references and energies anew, pairs one by one; designs as they were.

    Notes
    -----
    What unequal rates do to a network was counted with chips: it goes with ``curve``.
    """
    c, rows = comparison, np.arange(len(of["device"]))
    borne = {name: _borne(c, name, of["curve"], of.get("training")) for name in _two(c)}
    device = c.pairing.device[of["device"]]
    standard = next(iter(c.curves))
    seen = {s: c.network_ln_ber(s)[device] for s in (PLAIN, c.focus.storage)}
    harm, unequal = seen[PLAIN], None
    if c.unequal is not None:
        unequal = c.unequal.of(device, c.pairing.device[of["curve"]])
        harm = unequal.ln_seen(standard, PLAIN, harm)
    return replace(
        c,
        pairing=replace(c.pairing, device=rows, curve=rows),
        seen=seen,
        unequal=unequal,
        energy=c.energy.of(of["device"], of["energy inputs"]),
        tolerated_ln_ber=borne,
        references=tuple(
            references(
                borne[standard],
                seen[PLAIN],
                harm,
                c.grid,
                c.requirement,
                c.programming,
                standard_safe=c.designs[0].safe,
            )
        ),
    )


def _two(comparison: Comparison) -> dict[str, AccuracyCurve]:
    """Curves of the standard network and of the one in focus."""
    names = (next(iter(comparison.curves)), comparison.focus.network)
    return {name: comparison.curves[name] for name in names}


def _borne(
    comparison: Comparison, name: str, of_curve: IntArray, of_training: IntArray | None
) -> FloatArray:
    """Ln of the tolerated BER with the mean over trainings of one draw, deviation of another."""
    c, curve = comparison, comparison.curves[name]
    i = c.pairing.curve[of_curve]
    limit = loss_limits(c.curves, c.requirement)[name]
    if curve.further is None or of_training is None or limit <= 0:
        return c.tolerated_ln_ber[name][i]
    j = c.pairing.curve[of_training]
    deviation = curve.further.deviation
    logit = {
        kind: share[i] - deviation[kind][i] + deviation[kind][j]
        for kind, share in curve.logit_share.items()
    }
    # As for a further training: where a deviation would make the curve fall, it stays level.
    logit["lost"] = np.maximum.accumulate(logit["lost"], axis=1)
    return tolerated_ln_ber(replace(curve, logit_share=logit), limit, points=_POINTS)


def _sources(
    shares: SourceShares,
    factor: FloatArray,
    stronger: NDArray[np.bool_],
    weaker: NDArray[np.bool_],
) -> SavingSources:
    return SavingSources(
        shares,
        float(np.log(factor).std()),
        float(stronger.mean()),
        float(weaker.mean()),
        float((stronger | weaker).mean()),
    )
