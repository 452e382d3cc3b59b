"""Where the uncertainty of the saving comes from: shares of the variance of its logarithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from devicefit.numerics.arrays import FloatArray, IntArray
from reliability.accuracy.variance_shares import not_in_the_shares
from reliability.chips.chip_yield import share_within
from reliability.decision.comparison import STANDARD, Comparison, Design, Reference, both
from reliability.decision.limits import Condition
from reliability.decision.references import NAMES, with_conditions
from reliability.decision.saving import is_withheld, saving_of, stated_saving
from reliability.uncertainty.source_shares import (
    INTERACTION,
    Indices,
    Labels,
    SourceShares,
    shares_of_answers,
)

DRAWS = 2000

MEANING = (
    "shares of the variance of ln saving, of each source alone and of what they do together; on "
    "this test set; draws in which a side lies beyond the measured range count with its end"
)
WORDS = {
    "family": "the choice of the device model",
    "device": "what is not known of the device",
    "training": "trainings that differ",
    "curve": "the finite number of simulated chips",
    "test set": "the finite test set",
    "energy inputs": "what is not known of the energies",
    INTERACTION: "these together",
}
_SPOKEN_OF = (STANDARD, "memory", "stated")
"""References that the sentence speaks of."""

_SEEN, _LARGE, _MOSTLY = 0.05, 0.2, 0.5


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

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "share": self.shares.share,
            "standard_error": self.shares.standard_error,
            "sd_ln_saving": self.sd_ln,
            "share_of_bounds": self.bounds,
            "share_beyond_strongest_measured": self.stronger,
            "share_beyond_weakest_measured": self.weaker,
        }


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

    def condition(one: Design) -> Condition:
        limit: float | FloatArray = c.limits[one.network]
        if shifts is not None:
            limit = limit + shifts[one.network][of["test set"]]
        near = _near(c, one)
        return c.enough(_share(c, one, of, limit, near), near)

    return with_conditions(c, condition, design, of["device"])


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


def saving_uncertainty(comparison: Comparison, *, seed: int) -> dict[str, Any] | None:
    """Shares of every saving with their Monte-Carlo errors, and a sentence.

    Parameters
    ----------
    comparison : Comparison
        All designs and references.
    seed : int
        Randomness of the pairing.

    Returns
    -------
    dict or None
        None where there is no saving: no energy is known, nothing is safe, or gates failed.
        ``sentence`` says where most of the uncertainty comes from; under ``against`` the shares by
        reference, those that are stated.
    """
    c = comparison
    if c.best is None or not c.energy.is_known:
        return None
    stated = [r.key for r in c.references if not is_withheld(stated_saving(c, c.focus, r))]
    if not stated:
        return None
    found = saving_sources(c, c.focus, seed=seed)
    found = {key: found[key] for key in stated}
    findings = {key: _finding(c, sources) for key, sources in found.items()}
    said: dict[str, list[str]] = {}
    for key in _SPOKEN_OF:
        if key in findings:
            said.setdefault(findings[key], []).append(NAMES[key])
    parts = [f"against {_joined(names)}, {text}" for text, names in said.items()]
    share = next(iter(found.values())).shares.share
    return {
        "meaning": MEANING,
        "design": {"network": c.focus.network, "scheme": c.focus.scheme},
        "draws": DRAWS,
        "not_in_the_shares": not_in_the_shares(dict.fromkeys(share, np.zeros(0))),
        "sentence": f"Uncertainty of the saving: {'; '.join(parts)}.",
        "against": {
            key: {**sources.record(), "finding": findings[key]} for key, sources in found.items()
        },
    }


def _finding(comparison: Comparison, sources: SavingSources) -> str:
    """Where the uncertainty of one saving comes from."""
    form, grid = comparison.programming.format, comparison.grid
    wider = []
    if sources.stronger > _SEEN:
        wider.append(f"above {form(float(grid[-1]))}")
    if sources.weaker > _SEEN:
        wider.append(f"below {form(float(grid[0]))}")
    bounds = _percent(sources.bounds)
    beyond = f"in {bounds} of the draws a side lies beyond the measured range"
    if wider:
        beyond += f" ({' or '.join(wider)})"
    if sources.bounds > _MOSTLY:
        return f"it is only a bound, for {beyond}"
    share, error = sources.shares.share, sources.shares.standard_error
    if not any(share.values()):
        return "nothing that is drawn changes it"
    order = sorted(share, key=lambda name: -share[name])
    first, large = order[0], [name for name in order if share[name] > _LARGE] or order[:1]
    if share[first] - 2 * error[first] > _MOSTLY and first != INTERACTION:
        text = f"most of it ({_percent(share[first])} of the variance) comes from {WORDS[first]}"
    else:
        each = [f"{WORDS[name]} ({_percent(share[name])} of the variance)" for name in large]
        text = f"no single source makes most of it; the largest are {_joined(each)}"
    if sources.bounds > _SEEN:
        text += f"; {beyond}, so that more is unknown than this"
    return text


def _percent(share: float) -> str:
    """A share without decimals; never rounded up to all."""
    return "more than 99 %" if 0.995 <= share < 1 - 1e-9 else f"{100 * share:.0f} %"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
