"""Gates on error rates counted from readings, beside those of a model."""

from __future__ import annotations

from collections.abc import Sequence

from devicefit.checks.counted_share import CountedShare
from devicefit.checks.totals import MATERIAL, shares_gate
from devicefit.fitting.gate import Gate
from devicefit.inputs.programming import Programming
from reliability.chips.readings import FALSE_ALARMS, ReadingsCheck

_REMEDY = (
    "the model misses the failures near the recommended programming: fit another family (--model), "
    "leave out conditions far from it (--where), or measure more devices there"
)


def comparisons_of(checks: Sequence[ReadingsCheck]) -> int:
    """Numbers of errors that are compared in all."""
    return sum(len(check.counts) for check in checks)


def readings_gate(checks: Sequence[ReadingsCheck], programming: Programming) -> Gate:
    """Whether chips by readings alone meet the requirement as often as chips by the model.

    Fails where both the counted errors contradict the model and the shares of chips differ by more
    than chance: a right model fails in at most `FALSE_ALARMS`. What rate of errors would be noticed
    stands in the record of each check.

    Parameters
    ----------
    checks : sequence of ReadingsCheck
        At least one, chips counted.
    programming : Programming
        For the words.
    """
    m = comparisons_of(checks)
    worst = min(check.p_value(m) for check in checks)
    said = []
    for check in checks:
        assert check.by_readings is not None
        assert check.by_model is not None
        one, other = check.by_readings, check.by_model
        text = (
            f"at {programming_range(check, programming)} the requirement is met by {one.share:.3f} "
            f"of {one.chips:,} chips whose error rates were counted from readings, and by "
            f"{other.share:.3f} of {other.chips:,} chips of the model"
        )
        noticed = max(c.detectable(FALSE_ALARMS / m) for c in check.counts)
        text += f" (so few readings show a wrong model if an error rate is {noticed:.2g} or more"
        if check.p_of_shares() < FALSE_ALARMS <= check.p_value(m):
            text += "; here they do not tell"
        text += ")"
        said.append(text)
    return Gate(
        "readings without a model",
        "Do chips by error rates counted from readings alone meet the requirement as often as "
        "chips by the model?",
        worst >= FALSE_ALARMS,
        worst,
        FALSE_ALARMS,
        "; ".join(said),
        _REMEDY,
    )


def near_gate(near: ReadingsCheck, programming: Programming) -> Gate:
    """Whether the errors counted near the recommended programming are those of the model.

    Fails as :func:`devicefit.checks.totals.totals_gate` does, whatever the chips say: of errors
    that are off by a factor a chip with less to spare would fail.
    """
    where = programming_range(near, programming)
    shares = [
        CountedShare(
            c.state,
            f"{where}, array {c.array}" if c.array else where,
            c.errors / c.trials,
            round(c.trials),
            float(c.effective),
            c.model,
        )
        for c in near.counts
    ]
    return shares_gate(
        shares,
        name="errors near the recommended programming",
        question="Does the model predict the errors counted near the recommended programming?",
        what="shares of errors",
        factor=MATERIAL,
        remedy=_REMEDY,
    )


def programming_range(check: ReadingsCheck, programming: Programming) -> str:
    """Measured value of a check, or the ends of several."""
    low, high = (programming.format(end) for end in (check.low, check.high))
    return low if low == high else f"{low} to {high}"
