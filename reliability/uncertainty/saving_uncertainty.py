"""What the uncertainty of the saving comes from, in words and plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from reliability.accuracy.variance_shares import not_in_the_shares
from reliability.decision.comparison import Comparison
from reliability.decision.saving import is_withheld, stated_saving
from reliability.uncertainty.saving_shares import DRAWS, SavingSources, saving_sources
from reliability.uncertainty.source_shares import INTERACTION

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
NAMES = {
    "standard_bnn": "the standard network",
    "memory": "plain memory",
    "stated": "the stated reference",
}
"""References that the sentence speaks of."""

_SEEN, _LARGE, _MOSTLY = 0.05, 0.2, 0.5


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
    for key, name in NAMES.items():
        if key in findings:
            said.setdefault(findings[key], []).append(name)
    parts = [f"against {_joined(names)}, {text}" for text, names in said.items()]
    share = next(iter(found.values())).shares.share
    return {
        "meaning": MEANING,
        "design": {"network": c.focus.network, "scheme": c.focus.scheme},
        "draws": DRAWS,
        "not_in_the_shares": not_in_the_shares(dict.fromkeys(share, np.zeros(0))),
        "sentence": f"Uncertainty of the saving: {'; '.join(parts)}.",
        "against": {
            key: {**_record(sources), "finding": findings[key]} for key, sources in found.items()
        },
    }


def _record(sources: SavingSources) -> dict[str, Any]:
    return {
        "share": sources.shares.share,
        "standard_error": sources.shares.standard_error,
        "sd_ln_saving": sources.sd_ln,
        "share_of_bounds": sources.bounds,
        "share_beyond_strongest_measured": sources.stronger,
        "share_beyond_weakest_measured": sources.weaker,
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
