"""Risk of a recommendation in numbers and words, all read from one law of the loss."""

from __future__ import annotations

from typing import Any

from reliability.decision.comparison import Comparison, Design
from reliability.decision.safe_set import points
from reliability.statements.loss import StatedLoss


def images_record(comparison: Comparison, law: StatedLoss) -> dict[str, Any]:
    """P on these images beside P for their population, and whether the images are enough."""
    wanted, error = comparison.requirement.probability, law.image_error
    p, p_population = law.p_met, law.p_in_population
    accepted = points(law.max_loss)
    too_small = error > law.max_loss / 3
    here, there = probability(p, wanted), probability(p_population, wanted)
    text = (
        f"Test images: a chip loses at most {accepted} with probability {here} on these "
        f"{law.images:,} images, {there} in the population that they came from; so many "
        f"images leave a standard error of {100 * error:.2f} points in the loss of a chip "
        "near the limit."
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
    wanted, start = comparison.requirement.probability, 100 * abs(law.lower)
    starts = (
        f"{start:.2f} points {'below' if law.lower > 0 else 'above'} it" if start else "like it"
    )
    return [
        f"Both networks, {law.counted}: a chip loses at most {most} with probability "
        f"{probability(p['standard'], wanted)} against {standard!r} without errors, and "
        f"{probability(p['own'], wanted)} against {best.network!r} without errors, which starts "
        f"{starts}. Both must hold."
    ]


def risk_record(comparison: Comparison, law: StatedLoss) -> dict[str, Any]:
    """How often a chip loses too much, how much on average, and how much at most."""
    requirement = comparison.requirement
    wanted, most = requirement.probability, requirement.max_loss
    p_violated = 1 - law.p_met
    kept, mean = law.not_exceeded(wanted) + law.above, law.mean + law.above
    return {
        "p_violated": p_violated,
        "allowed": requirement.risk,
        "expected_loss": mean,
        "loss_not_exceeded": kept,
        "probability": wanted,
        "sentence": f"Risk, {law.counted}: a chip loses more than {points(most)} with probability "
        f"{probability(p_violated, requirement.risk)} (allowed: {requirement.risk:g}); on average "
        f"it loses {100 * mean:.2f} points, and at most {beside(100 * kept, 100 * most, 2)} "
        f"points with probability {wanted:g}. This counts what is not known of the device, and "
        "that chips differ.",
    }


def beside(value: float, bound: float, digits: int) -> str:
    """A number beside its bound: so many digits, and more where rounding would reach the bound."""

    def side(x: float) -> int:
        return int(x > bound + 1e-9) - int(x < bound - 1e-9)

    while side(float(f"{value:.{digits}f}")) != side(value) and digits < 9:
        digits += 1
    return f"{value:.{digits}f}"


def probability(p: float, bound: float) -> str:
    """A probability beside its bound, three decimals or more.

    A draw that was not seen is no impossibility, nor is one that was always seen a certainty.
    """
    if p < 0.0005:
        return "below 0.001"
    return "above 0.999" if 0.9995 <= p < 1 else beside(p, bound, 3)
