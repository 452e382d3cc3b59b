"""Where the uncertainty of the saving comes from: shares of the variance of its logarithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from devicefit.numerics.arrays import FloatArray, IntArray
from reliability.chips.chip_yield import share_within
from reliability.decision.comparison import Comparison, Design, Reference, both
from reliability.decision.limits import enough_chips, loss_limits
from reliability.decision.references import references
from reliability.decision.saving import saving_of
from reliability.uncertainty.source_shares import Indices, Labels, SourceShares, shares_of_answers

DRAWS = 2000


@dataclass(frozen=True)
class SavingSources:
    """Sources of the variance of ln of one saving.

    Parameters
    ----------
    shares : SourceShares
        ``family`` (which model, where families are stacked), ``device``, ``training`` (where there
        are several), ``curve`` (finite number of simulated chips), ``test set`` (where it is a
        sample), ``energy inputs``, ``interaction``. All zero where the saving does not vary.
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
    comparison: Comparison,
    design: Design,
    *,
    shifts: Mapping[str, FloatArray] | None = None,
    draws: int = DRAWS,
    seed: int,
) -> dict[str, SavingSources]:
    """Sources of the saving of a design, for each reference.

    Parameters
    ----------
    comparison : Comparison
        Energies are known.
    design : Design
        One of its designs.
    shifts : mapping of str to float array, shape (pair,), optional
        For each network what the test set adds to its limit of loss: a source then, ``test set``.
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
    anew. The saving is about shares of chips, which therefore have no share of the variance. Draws
    that are bounds count with the end of the measured range.
    """
    c, rows = comparison, len(comparison.pairing.device)
    several = any(c.curves[d.network].further is not None for d in both(c, design))
    of_chips = (
        "device",
        *(("training",) if several else ()),
        "curve",
        *(("test set",) if shifts is not None else ()),
    )
    names = (*of_chips, "energy inputs")
    known: dict[tuple[int, ...], Comparison] = {}

    def answers(of: Indices) -> dict[str, FloatArray]:
        # arrangements that differ in the energy inputs alone have the same programming values
        key = tuple(id(of[name]) for name in of_chips)
        if key not in known:
            known[key] = rearranged(c, design, of, shifts)
        changed = replace(known[key], energy=c.energy.of(of["device"], of["energy inputs"]))
        own = changed.designs[-1]
        return {r.key: np.log(saving_of(changed, own, r).factor) for r in changed.references}

    shares = shares_of_answers(
        answers,
        dict.fromkeys(names, rows),
        labels=None if c.family is None else Labels("family", "device", c.family[c.pairing.device]),
        draws=draws,
        rng=np.random.default_rng([seed, 31]),
    )
    return {r.key: _sources(shares[r.key], c, design, r) for r in c.references}


def rearranged(
    comparison: Comparison,
    design: Design,
    of: Mapping[str, IntArray],
    shifts: Mapping[str, FloatArray] | None = None,
) -> Comparison:
    """The comparison with each source taken from pairs of its own.

    Parameters
    ----------
    comparison : Comparison
        Paired draws.
    design : Design
        The one whose saving is looked at.
    of : mapping of str to int array
        Pairs that ``device``, ``curve`` and, where there are several, ``training`` come from;
        ``test set`` where `shifts` are given.
    shifts : mapping of str to float array, optional
        As of :func:`saving_sources`.

    Returns
    -------
    Comparison
        The standard network in single cells and the design, pairs one by one, with programming
        values and references anew; all else as it was.
    """
    c = comparison
    limits = loss_limits(c.curves, c.requirement)
    designs = []
    for one in both(c, design):
        limit: float | FloatArray = limits[one.network]
        if shifts is not None:
            limit = limit + shifts[one.network][of["test set"]]
        near = _near(c, one)
        share = _share(c, one, of, limit, near)
        enough = enough_chips(c.grid[near], share, 1 - c.requirement.risk, c.programming)
        designs.append(replace(one, condition=enough))
    at = c.seen[c.plain].ln_ber[c.pairing.rates[of["device"]]]
    found = references(designs[0], at, c.grid, c.requirement, c.programming)
    return replace(c, designs=tuple(designs), references=tuple(found))


def _near(comparison: Comparison, design: Design) -> slice:
    """Values of the grid among which pairs that are paired anew suffice: all there is, and more.

    Half as much again on both sides; the few pairs beyond count with the end.
    """
    first, last = np.searchsorted(comparison.grid, np.quantile(design.condition.x, [0.0, 1.0]))
    beside = 2 + (last - first) // 2
    return slice(max(0, first - 1 - beside), min(len(comparison.grid), last + 1 + beside))


def _share(
    comparison: Comparison,
    design: Design,
    of: Mapping[str, IntArray],
    limit: float | FloatArray,
    near: slice,
) -> FloatArray:
    """Share of chips within a limit, (pair, x), with device, surface and training of own pairs."""
    c, surface = comparison, comparison.curves[design.network]
    rows, device = np.arange(len(of["device"])), c.pairing.rates[of["device"]]
    i = c.pairing.curve[of["curve"]]
    logit = {kind: share[i] for kind, share in surface.logit_share.items()}
    if surface.further is not None:
        deviation = surface.further.deviation
        j = c.pairing.curve[of["training"]]
        logit = {
            kind: share - deviation[kind][i] + deviation[kind][j] for kind, share in logit.items()
        }
    ln_dispersion = {kind: values[i] for kind, values in surface.ln_dispersion.items()}
    return share_within(
        replace(surface, logit_share=logit, ln_dispersion=ln_dispersion, further=None),
        c.seen[design.storage].of(device).at(near),
        replace(c.pairing, device=rows, curve=rows, array=None),
        limit,
    )


def _sources(
    shares: SourceShares, comparison: Comparison, design: Design, reference: Reference
) -> SavingSources:
    """Shares with the share of draws beyond either end of the measured range."""
    saving = saving_of(comparison, design, reference)
    own, its = design.condition, reference.condition
    return SavingSources(
        shares,
        float(np.log(saving.factor).std()),
        float(((own.not_reached | its.not_reached) & saving.outside).mean()),
        float(((own.at_edge | its.at_edge) & saving.outside).mean()),
        float(saving.outside.mean()),
    )
