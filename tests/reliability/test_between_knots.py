"""The curve between knots against a known function."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reliability.between_knots import PARTS, at_finer_knots, finer_knots

KNOTS = np.log([1e-3, 1e-2, 3e-2, 5e-2, 0.1, 0.2])


def test_a_curve_that_bends_is_followed() -> None:
    """``exp(0.8 x)`` bends upwards: a straight line from knot to knot is above it throughout."""
    fine = np.linspace(KNOTS[2], KNOTS[-2], 500)
    truth = np.exp(0.8 * fine)
    straight = np.interp(fine, KNOTS, np.exp(0.8 * KNOTS)) - truth
    values = at_finer_knots(KNOTS, np.exp(0.8 * KNOTS)[None, :])[0]
    cubic = np.interp(fine, finer_knots(KNOTS), values) - truth
    assert np.abs(cubic).max() < straight.max() / 5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=6, max_size=6))
def test_values_stay_between_those_of_the_knots(values: list[float]) -> None:
    table = np.array([values, np.sort(values)])
    found = at_finer_knots(KNOTS, table)
    assert finer_knots(KNOTS).shape == found.shape[1:]
    np.testing.assert_array_equal(found[:, ::PARTS], table)
    np.testing.assert_array_equal(finer_knots(KNOTS)[::PARTS], KNOTS)
    low, high = (f(table[:, :-1], table[:, 1:]) for f in (np.minimum, np.maximum))
    for part in range(1, PARTS):
        inner = found[:, part::PARTS]
        assert np.all((inner >= low - 1e-9) & (inner <= high + 1e-9))


def test_parabolas_and_their_limit() -> None:
    """Slopes of ``x^2`` are exact; next to a level stretch the curve stays level."""
    knots = np.array([1.0, 2.0, 4.0, 5.0])
    fine = finer_knots(knots)
    inner = (fine >= 2.0) & (fine <= 4.0)
    np.testing.assert_allclose(
        at_finer_knots(knots, knots[None, :] ** 2)[0, inner], fine[inner] ** 2
    )
    level = at_finer_knots(knots, np.array([[0.0, 0.0, 3.0, 4.0]]))[0]
    assert np.all(level[:PARTS] == 0)
