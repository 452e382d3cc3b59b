"""Sums in whole numbers against rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from devicefit.compression.exact_sums import (
    ORIGIN,
    PLACE_BITS,
    STEPS,
    ln_r_of,
    moments,
    quantise,
    rounded_ln,
    split,
    sums_of,
)

# Resistances from 1e-22 to 1e30 ohm.
WHOLE = st.integers(-(2**34), 2**34)


def exact(q: np.ndarray) -> tuple[float, float, float, float, float]:
    """Mean, squares, lagged products, first and last about the mean, each rounded once."""
    values = [Fraction(int(v)) for v in q]
    mean = sum(values) / len(values)
    apart = [v - mean for v in values]
    steps = Fraction(2) ** 28
    return (
        float(Fraction(ORIGIN) + mean / steps),
        float(sum(a * a for a in apart) / steps**2),
        float(sum(a * b for a, b in zip(apart, apart[1:], strict=False)) / steps**2),
        float(apart[0] / steps),
        float(apart[-1] / steps),
    )


@given(st.floats(1e-20, 1e30))
def test_a_step_is_far_below_a_measurement(r_ohm: float) -> None:
    (q,) = quantise(np.array([r_ohm]))
    assert abs(ln_r_of(q) - np.log(r_ohm)) <= 0.5 / STEPS + 1e-14
    assert abs(rounded_ln(np.array([r_ohm]))[0] - np.log(r_ohm)) <= 0.5 / STEPS + 1e-14


def test_logarithms_of_open_bounds() -> None:
    assert rounded_ln(np.array([0.0, np.inf])).tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize("factor", [1e3, 1e6])
def test_units_change_no_step(factor: float) -> None:
    r = np.exp(np.random.default_rng(4).normal(10, 2, 20_000))
    # A change of units moves ln R by 1e-15, so one reading in 4e6 could cross a step.
    assert np.array_equal(quantise(r), quantise((r / factor) * factor))


@given(arrays(np.int64, st.integers(1, 40), elements=WHOLE))
def test_split_is_undone_by_joining(q: np.ndarray) -> None:
    h, place = split(q)
    assert np.array_equal((h << PLACE_BITS) + place, q)
    assert np.all((-(2**16) <= place) & (place < 2**16))


@settings(max_examples=200, deadline=None)
@given(
    arrays(np.int64, st.integers(1, 60), elements=WHOLE),
    st.integers(0, 33),
    st.integers(-(2**33), 2**33),
)
def test_moments_are_those_of_rational_arithmetic(q: np.ndarray, shift: int, at: int) -> None:
    # also narrow series far from the origin, where sums of squares cancel
    q = (q >> shift) + at
    found = moments(sums_of(q, np.array([0])))
    mean, squares, lag, first, last = exact(q)
    assert found.mean[0] == pytest.approx(mean, rel=4e-16)
    assert found.sum_of_squares[0] == pytest.approx(squares, rel=1e-12)
    assert found.lag_product[0] == pytest.approx(lag, rel=1e-12, abs=1e-12 * squares)
    assert found.first[0] == pytest.approx(first, rel=1e-12, abs=1e-24)
    assert found.last[0] == pytest.approx(last, rel=1e-12, abs=1e-24)


def test_equal_readings_have_no_spread() -> None:
    found = moments(sums_of(np.full(1000, 2**30 + 7), np.array([0])))
    assert (found.sum_of_squares[0], found.lag_product[0], found.first[0]) == (0, 0, 0)


def test_sums_of_many_readings_do_not_overflow() -> None:
    # 3e6 copies of a few readings, spread over a factor of e^10
    few = quantise(np.exp([2.0, 5.0, 9.0, 12.0]))
    found = moments(sums_of(np.tile(few, 750_000), np.array([0])))
    mean, squares, *_ = exact(few)
    assert found.mean[0] == pytest.approx(mean, rel=1e-15)
    assert found.sum_of_squares[0] == pytest.approx(750_000 * squares, rel=1e-12)
