"""Risk of a recommendation in numbers and words, all read from one law of the loss."""

from __future__ import annotations

from typing import Any

from reliability.decision import points
from reliability.designs import Comparison, Design
from reliability.stated_loss import StatedLoss


def test_set_record(comparison: Comparison, law: StatedLoss) -> dict[str, Any]:
    """P on these images beside P for their population, and whether the images are enough."""
    wanted, error = 1 - comparison.requirement.risk, law.image_error
    p, p_population = law.p_met, law.p_in_population
    accepted = points(law.max_loss)
    too_small = error > law.max_loss / 3
    text = (
        f"Test images: P(loss <= {accepted}) = {beside(p, wanted, 3)} on these {law.images:,}, "
        f"{beside(p_population, wanted, 3)} for the population that they came from; they leave a "
        f"standard error of {100 * error:.2f} points in the loss of a chip near the limit."
    )
    if too_small:
        text += (
            f" THE TEST SET IS TOO SMALL for this requirement: that is above a third of {accepted}."
            f" Count on {law.images_needed:,} images or more, or accept a larger loss."
        )
    return {
        "images": law.images,
        "p_test_set": p,
        "p_population": p_population,
        "standard_error": error,
        "too_small": too_small,
        "images_needed": law.images_needed,
        "sentence": text,
    }


def against_lines(comparison: Comparison, best: Design, law: StatedLoss) -> list[str]:
    """P against both networks, where the design is not the standard one."""
    standard = next(iter(comparison.curves))
    if best.network == standard:
        return []
    p, most = law.p_against, points(comparison.requirement.max_loss)
    risk, start = comparison.requirement.risk, 100 * abs(law.lower)
    starts = (
        f"{start:.2f} points {'below' if law.lower > 0 else 'above'} it" if start else "like it"
    )
    return [
        f"P(loss <= {most}), {law.counted}: {beside(p['standard'], 1 - risk, 3)} against "
        f"{standard!r} without errors, {beside(p['own'], 1 - risk, 3)} against {best.network!r} "
        f"without errors, which starts {starts}. Both must hold."
    ]


def risk_record(comparison: Comparison, law: StatedLoss) -> dict[str, Any]:
    """How often a chip loses too much, how much on average, and how much at most."""
    requirement = comparison.requirement
    wanted, most = 1 - requirement.risk, requirement.max_loss
    p_violated = 1 - law.p_met
    kept, mean = law.not_exceeded(wanted) + law.above, law.mean + law.above
    return {
        "p_violated": p_violated,
        "allowed": requirement.risk,
        "expected_loss": mean,
        "loss_not_exceeded": kept,
        "probability": wanted,
        "sentence": f"Risk, {law.counted}: a chip loses more than {points(most)} with probability "
        f"{_probability(p_violated, requirement.risk)} (allowed: {requirement.risk:g}); on average "
        f"it loses {100 * mean:.2f} points, and at most {beside(100 * kept, 100 * most, 2)} "
        f"points with probability {wanted:g}. This counts what is not known of the device, and "
        "that chips differ.",
    }


def beside(value: float, bound: float, digits: int) -> str:
    """A number beside its bound: so many digits, and more where rounding would cross the bound."""
    over = value > bound + 1e-9
    while (float(f"{value:.{digits}f}") > bound + 1e-9) != over and digits < 9:
        digits += 1
    return f"{value:.{digits}f}"


def _probability(p: float, allowed: float) -> str:
    """Three decimals or more; a draw that was not seen is no impossibility."""
    return "below 0.001" if p < 0.0005 else beside(p, allowed, 3)
