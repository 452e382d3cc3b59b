"""What to measure first, and why, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from devicefit.inputs.programming import Programming
from devicefit.numerics.intervals import PROBABILITY
from reliability.measure_next.outlook import Outlook
from reliability.uncertainty.saving_shares import WORDS
from reliability.uncertainty.source_shares import INTERACTION

WORTH_DOING = 0.05
"""Expected shrinkage below which a candidate is not recommended."""

_TAIL = (1 - PROBABILITY) / 2


def next_sentence(
    outlooks: Sequence[Outlook],
    shares: Mapping[str, float],
    share_bounds: float,
    choice: Mapping[str, Any] | None,
    programming: Programming,
) -> str:
    """What to do first, what the choice gains by it, and where the variance comes from."""
    parts = [first_sentence(outlooks), choice_sentence(outlooks, choice, programming)]
    sources = {name: s for name, s in shares.items() if name != INTERACTION}
    if any(sources.values()):
        largest = max(sources, key=lambda name: sources[name])
        parts.append(
            f"Most of the variance comes from {WORDS[largest]} ({100 * sources[largest]:.0f} %)."
            if sources[largest] > 0.5
            else "No single source makes more than half of the variance: "
            + ", ".join(f"{WORDS[name]} {100 * s:.0f} %" for name, s in sources.items())
            + "."
        )
    if share_bounds > _TAIL:
        parts.append(
            f"In {100 * share_bounds:.0f} % of the draws a side lies beyond the measured range: "
            "where an end of the interval is such a bound, readings within the range cannot move "
            "it; a wider range of programming values can."
        )
    return " ".join(parts)


def first_sentence(outlooks: Sequence[Outlook]) -> str:
    """The first step, or that there is none that is worth it."""
    best = outlooks[0]
    if best.shrinkage <= max(WORTH_DOING, 2 * best.standard_error):
        none = (
            "None of these candidates is expected to shrink the interval of ln saving by more "
            f"than {100 * WORTH_DOING:.0f} % with any certainty."
        )
        gain = max(outlooks, key=lambda o: o.energy_saved)
        if gain.choice is None or not gain.choice.is_worth:
            return none
        return (
            f"First, for the choice: {gain.words}. The choice after it is expected to take "
            f"{gain.choice.percent_words} less energy. {none}"
        )
    found = (
        f"First: {best.words}. The interval of ln saving is expected to shrink by "
        f"{100 * best.shrinkage:.0f} % (Monte-Carlo standard error "
        f"{100 * best.standard_error:.1f} %)."
    )
    if best.extrapolated:
        found += " What that would show rests on the model beyond the measured range."
    return found


def choice_sentence(
    outlooks: Sequence[Outlook], choice: Mapping[str, Any] | None, programming: Programming
) -> str:
    """What the candidates do to the choice, and to the energy at it.

    Parameters
    ----------
    outlooks : sequence of Outlook
        Of all candidates.
    choice : mapping or None
        The choice now; None where nothing is safe.
    programming : Programming
        For the words.
    """
    known = [(o.words, o.choice) for o in outlooks if o.choice is not None]
    if not known:
        return "What the candidates do to the choice is not known."
    if choice is None:
        words, likely = max(known, key=lambda one: one[1].p_changes)
        if likely.p_changes == 0:
            return "No programming is safe now, and none becomes so after any candidate."
        return (
            "No programming is safe now; the likeliest to make one safe is: "
            f"{words} (P = {likely.p_changes:.2f})."
        )
    now = f"{choice['scheme']} at {programming.format(choice['programming'])}"
    if all(one.p_changes == 0 for _, one in known):
        return f"No candidate changes the choice ({now}){_bound(choice)}."
    words, best = max(known, key=lambda one: one[1].ln_energy_saved or 0.0)
    if not best.is_worth:
        return (
            f"No candidate is expected to save energy by another choice than {now}: at most "
            f"{best.percent_words}{_bound(choice)}."
        )
    unit = "a bit" if choice["energy_unit"] == "J per bit" else "each programming of the network"
    return (
        f"Most energy is expected to be saved by choosing after this: {words}. Instead of "
        f"{now} the choice then takes {best.percent_words} less energy on average, "
        f"{best.energy_saved_j:.2g} J for {unit}; it changes by more than 5 % with "
        f"P = {best.p_notable:.2f}."
    )


def _bound(choice: Mapping[str, Any]) -> str:
    """What knowing everything would save, and whether the choice can fall at all."""
    edge = (
        "; it is the weakest measured programming, below which nothing is considered"
        if choice["at_weakest_measured"]
        else ""
    )
    saved = choice["perfect_information"]["ln_energy_saved"]
    percent = f"{100 * abs(math.expm1(-saved)):.1f} %"
    if saved < 0:
        return (
            f"{edge}; knowing device and networks exactly would take {percent} more on average, as "
            "it would show where more is needed"
        )
    return (
        f"{edge}; knowing device and networks exactly would save {percent} on average, net of "
        "what it would add where more is needed"
    )
