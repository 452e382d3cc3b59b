"""Where the uncertainty of the saving comes from: shares of the variance of its logarithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from devicefit.programming import FloatArray, IntArray
from reliability.chip_yield import chip_yield
from reliability.decision.limits import enough_chips
from reliability.decision.saving import saving_of
from reliability.designs import Comparison, Design, Reference, loss_limits, references
from reliability.source_shares import Indices, Labels, SourceShares, shares_of_answers

DRAWS = 2000


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
        Share of draws in which a side lies above the strongest and below the weakest measured
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
) -> dict[str, SavingSources]:
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
    dict of str to SavingSources
        By key of the reference.

    Notes
    -----
    The draws of device, curve, training and energy inputs that the comparison pairs are paired
    anew. The saving is about shares of chips on this test set, so neither chips nor images have a
    share. Draws that are bounds count with the end of the measured range.
    """
    c, design = comparison, comparison.focus
    rows = len(c.pairing.device)
    several = any(c.curves[d.network].further is not None for d in (design, c.designs[0]))
    names = ("device", *(("training",) if several else ()), "curve", "energy inputs")
    known: dict[tuple[int, ...], Comparison] = {}

    def answers(of: Indices) -> dict[str, FloatArray]:
        # arrangements that differ in the energy inputs alone have the same programming values
        of_chips = tuple(id(of[name]) for name in names if name != "energy inputs")
        if of_chips not in known:
            known[of_chips] = rearranged(c, of)
        changed = replace(known[of_chips], energy=c.energy.of(of["device"], of["energy inputs"]))
        own = next(d for d in changed.designs if _same(d, design))
        return {r.key: np.log(saving_of(changed, own, r).factor) for r in changed.references}

    shares = shares_of_answers(
        answers,
        dict.fromkeys(names, rows),
        labels=None if c.family is None else Labels("family", "device", c.family[c.pairing.device]),
        draws=draws,
        rng=np.random.default_rng([seed, 31]),
    )
    return {r.key: _sources(shares[r.key], c, r) for r in c.references}


def rearranged(comparison: Comparison, of: Mapping[str, IntArray]) -> Comparison:
    """The comparison with each source taken from pairs of its own.

    Parameters
    ----------
    comparison : Comparison
        Paired draws.
    of : mapping of str to int array
        Pairs that ``device``, ``curve`` and, where there are several, ``training`` come from.

    Returns
    -------
    Comparison
        The standard network in single cells and the design in focus, pairs one by one, with
        programming values and references anew; all else as it was.
    """
    c, focus = comparison, comparison.focus
    chosen = [c.designs[0], *([] if _same(focus, c.designs[0]) else [focus])]
    designs = tuple(
        replace(
            d,
            condition=enough_chips(c.grid, _share(c, d, of), 1 - c.requirement.risk, c.programming),
        )
        for d in chosen
    )
    at = c.seen[c.plain].ln_ber[c.pairing.device[of["device"]]]
    found = references(designs[0], at, c.grid, c.requirement, c.programming)
    return replace(c, designs=designs, references=tuple(found))


def _same(a: Design, b: Design) -> bool:
    return (a.network, a.storage) == (b.network, b.storage)


def _share(comparison: Comparison, design: Design, of: Mapping[str, IntArray]) -> FloatArray:
    """Share of chips that meet the requirement, (pair, x): device, surface, training of own pairs."""
    c, surface = comparison, comparison.curves[design.network]
    rows, device = np.arange(len(of["device"])), c.pairing.device[of["device"]]
    i = c.pairing.curve[of["curve"]]
    logit = {kind: share[i] for kind, share in surface.logit_share.items()}
    if surface.further is not None:
        deviation = surface.further.deviation
        j = c.pairing.curve[of["training"]]
        logit = {
            kind: share - deviation[kind][i] + deviation[kind][j] for kind, share in logit.items()
        }
    ln_dispersion = {kind: values[i] for kind, values in surface.ln_dispersion.items()}
    return chip_yield(
        replace(surface, logit_share=logit, ln_dispersion=ln_dispersion, further=None),
        c.seen[design.storage].of(device),
        replace(c.pairing, device=rows, curve=rows),
        loss_limits(c.curves, c.requirement)[design.network],
    ).share


def _sources(shares: SourceShares, comparison: Comparison, reference: Reference) -> SavingSources:
    """Shares with the share of draws beyond either end of the measured range."""
    design = comparison.focus
    saving = saving_of(comparison, design, reference)
    own, its = design.condition, reference.condition
    return SavingSources(
        shares,
        float(np.log(saving.factor).std()),
        float(((own.not_reached | its.not_reached) & saving.outside).mean()),
        float(((own.at_edge | its.at_edge) & saving.outside).mean()),
        float(saving.outside.mean()),
    )
