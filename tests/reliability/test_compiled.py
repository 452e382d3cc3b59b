"""Stored machine code of the decision follows its sources in all packages."""

from collections.abc import Callable

import pytest

YIELD = """
from reliability.accuracy.chip_law import law_of
from reliability.chips.chip_yield import _within
print(_within(3.0, law_of(4.0, 6.0, 100.0), 6.0, 100.0))
"""


def test_shares_of_chips_follow_the_normal_tail_of_another_package(
    edit_is_seen: Callable[..., tuple[float, float]],
) -> None:
    """From the yield over the law of chips to `devicefit`: two imports."""
    before, after = edit_is_seen(
        YIELD,
        file="devicefit/numerics/vector_math.py",
        old="return fast_exp(-0.5 * x * x) * p * t\n",
        new="return fast_exp(-0.6 * x * x) * p * t\n",
        compiled={"chip_yield", "chip_law", "vector_math"},
    )
    assert 0.0 < before < 1.0
    assert after != pytest.approx(before, rel=1e-4)
