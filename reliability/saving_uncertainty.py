"""What the uncertainty of the saving comes from, in words and plain values, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from reliability.decision import Condition
from reliability.designs import Comparison, Reference, limit_condition
from reliability.saving_shares import AT_LIMIT, DRAWS, RECOMMENDED, SavingSources, saving_sources
from reliability.source_shares import INTERACTION
from reliability.variance_shares import not_in_the_shares

MEANING = (
    "shares of the variance of ln saving, of each source alone and of what they do together; "
    "at_tolerance: both sides at the limit of what they tolerate; recommended: the design at its "
    "lowest safe programming, which is chosen and not drawn; mean chip on this test set; draws "
    "whose limit lies beyond the measured range count with its end"
)
WORDS = {
    "family": "the choice of the device model",
    "device": "what is not known of the device",
    "training": "trainings that differ",
    "curve": "the finite number of simulated chips",
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
        None where no energy is known. ``sentence`` says where most of the uncertainty comes from
        and what to measure; under ``against`` the shares by reference and saving.
    """
    if not comparison.energy.is_known:
        return None
    found = saving_sources(comparison, seed=seed)
    share = next(iter(found.values()))[AT_LIMIT].shares.share
    return {
        "meaning": MEANING,
        "design": {"network": comparison.focus.network, "scheme": comparison.focus.scheme},
        "draws": DRAWS,
        "not_in_the_shares": not_in_the_shares(dict.fromkeys(share, np.zeros(0))),
        "sentence": _sentence(comparison, found),
        "against": {
            r.key: {
                kind: {**_record(sources), "finding": _finding(comparison, r, kind, sources)}
                for kind, sources in found[r.key].items()
            }
            for r in comparison.references
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


def _sentence(comparison: Comparison, found: Mapping[str, Mapping[str, SavingSources]]) -> str:
    """Of the saving that is recommended, or of both sides at their limit where none is safe."""
    said: dict[str, list[str]] = {}
    kind = AT_LIMIT if comparison.best is None else RECOMMENDED
    for reference in comparison.references:
        if reference.key in NAMES:
            text = _finding(comparison, reference, kind, found[reference.key][kind])
            said.setdefault(text, []).append(NAMES[reference.key])
    basis = " at this programming"
    if comparison.best is None:
        basis = " if the limits of the mean chip did"
    parts = [f"Against {_joined(names)}: {text}." for text, names in said.items()]
    parts.insert(0, f"Uncertainty of the saving{basis}.")
    if any(", so " in text for text in said):
        parts.append("The command measure-next ranks what helps most.")
    return " ".join(parts)


def _finding(
    comparison: Comparison, reference: Reference, kind: str, sources: SavingSources
) -> str:
    """Where the uncertainty of one saving comes from, and what to do."""
    c = comparison
    wider = []
    lowest = kind == RECOMMENDED and c.focus.safe.at_edge
    if sources.stronger > _SEEN:
        wider.append(f"above {c.programming.format(float(c.grid[-1]))}")
    if sources.weaker > _SEEN or lowest:
        wider.append(f"below {c.programming.format(float(c.grid[0]))}")
    bounds = _percent(sources.bounds)
    if sources.bounds > _MOSTLY:
        return (
            f"the saving is only a bound, for in {bounds} of the draws a limit lies beyond the "
            f"measured range, so measure {' and '.join(wider)}"
        )
    share, error = sources.shares.share, sources.shares.standard_error
    if not any(share.values()):
        text = "nothing that is drawn changes it"
        return f"{text}; it is at least this, so measure {wider[-1]}" if lowest else text
    order = sorted(share, key=lambda name: -share[name])
    first, large = order[0], [name for name in order if share[name] > _LARGE] or order[:1]
    if share[first] - 2 * error[first] > _MOSTLY and first != INTERACTION:
        large = [first]
        text = f"most of it ({_percent(share[first])} of the variance) comes from {WORDS[first]}"
    else:
        parts = (f"{WORDS[name]} ({_percent(share[name])} of the variance)" for name in large)
        text = f"no single source makes most of it; the largest are {_joined(list(parts))}"
    near = _places(c, reference, kind)
    steps = [_step(c, near, name) for name in large if name != INTERACTION]
    if steps:
        text += f", so {_joined(steps)}"
    if sources.bounds > _SEEN:
        text += (
            f"; in {bounds} of the draws a limit lies beyond the measured range, whose end then "
            "counts, so that more is unknown than this"
        )
    if lowest:
        text += "; the design stands at the weakest measured value and might go lower"
    if wider:
        text += f": measure {' and '.join(wider)} too"
    return text


def _step(comparison: Comparison, near: str, source: str) -> str:
    """What makes a source smaller."""
    more = " more exactly" if comparison.energy.measured is not None else ""
    return {
        "family": "measure many devices at a few programming values, since models differ in tails",
        "device": f"measure more devices near {near}",
        "training": "train and evaluate with further seeds",
        "curve": "evaluate more chips (--chips)",
        "energy inputs": f"measure the programming energy{more} near {near} (--energy FILE)",
    }[source]


def _places(comparison: Comparison, reference: Reference, kind: str) -> str:
    """Limits that matter: of those that are not fixed the less well known, or both."""
    programming = comparison.programming

    def spread(condition: Condition) -> float:
        return float(np.std(programming.coordinate(condition.x)))

    both = [reference.condition]
    if kind == AT_LIMIT:
        both.insert(0, limit_condition(comparison, comparison.focus))
    widest = max(spread(condition) for condition in both)
    names = [
        programming.format(float(np.median(condition.x)))
        for condition in both
        if spread(condition) >= widest / 2
    ]
    return " and ".join(dict.fromkeys(names))


def _percent(share: float) -> str:
    """A share without decimals; never rounded up to all."""
    return "more than 99 %" if 0.995 <= share < 1 - 1e-9 else f"{100 * share:.0f} %"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
