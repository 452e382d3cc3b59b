"""The scale on which a model sees its programming variables, arrays and smooth deviations."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicefit.compression.compression import compress
from devicefit.families.frame import (
    DEVIATION_SCALE,
    DEVIATION_TERMS,
    Frame,
    deviation_basis,
)
from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.simulation.reference_device import ReferencePlan, reference_measurements

CURRENT, GATE, WIDTH = Programming("i", "A"), Programming("v", "V"), Programming("t", "s")


@pytest.fixture
def frame_of(
    make_state: Callable[..., Any], make_compressed: Callable[..., Any]
) -> Callable[..., Frame]:
    """Frame of conditions with one reading each."""

    def make(programming: Programming, x: Any, **more: Any) -> Frame:
        n = len(x)
        state = make_state(np.arange(n), np.full(n, 9.0), conditions=n)
        states = {"LRS": state, "HRS": state}
        return Frame.of(make_compressed(programming, np.array(x), states, **more))

    return make


def test_frame_of_measurements() -> None:
    compressed = compress(reference_measurements())
    frame = Frame.of(compressed)
    assert (frame.low, frame.high, frame.arrays, frame.second) == (20e-6, 600e-6, ("",), None)
    # the geometric middle is the middle of a current's range
    np.testing.assert_allclose(
        frame.position(np.array([20e-6, np.sqrt(20e-6 * 600e-6), 600e-6, 18e-3])), [0, 0.5, 1, 2]
    )
    # five cycles of each device in both states: shares, successive cycles, and states
    assert len(frame.levels) == 5
    once = compress(reference_measurements(plan=ReferencePlan(currents=2, cycles=1)))
    assert Frame.of(once).levels == ()


def test_frame_of_a_voltage_is_even() -> None:
    np.testing.assert_allclose(Frame(GATE, 1.0, 3.0).position(np.array([0.0, 2.0])), [-0.5, 0.5])


@pytest.mark.parametrize(("low", "high"), [(2.0, 1.0), (np.nan, 1.0), (1.0, np.nan)])
def test_frame_is_not_reversed(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="low must not exceed high"):
        Frame(GATE, low, high)


@pytest.mark.parametrize("programming", [CURRENT, GATE, WIDTH, ONE_CONDITION])
def test_one_condition(frame_of: Callable[..., Frame], programming: Programming) -> None:
    frame = frame_of(programming, [1.0])
    assert frame.is_single
    assert frame.terms == 0
    # everywhere is the same place, wherever it is asked for
    places = frame.places(np.array([0.5, 1.0, 7.0]))
    assert places.position.tolist() == [0.5] * 3
    assert places.basis.shape == (0, 3)
    assert not frame_of(CURRENT, [1.0, 2.0]).is_single


@pytest.mark.parametrize(
    ("conditions", "terms"),
    [(1, 0), (2, 0), (6, 0), (11, 0), (12, 2), (14, 2), (15, 3), (24, 6), (100, DEVIATION_TERMS)],
)
def test_terms_by_number_of_conditions(
    frame_of: Callable[..., Frame], conditions: int, terms: int
) -> None:
    x = np.linspace(1.0, 2.0, conditions)
    assert frame_of(GATE, x).terms == terms
    # repeats of a value with other second values or arrays add nothing to know about the first
    twice = np.repeat(x, 2)
    second = np.tile([1e-6, 1e-5], conditions)
    assert frame_of(GATE, twice, second=WIDTH, second_values=second).terms == terms
    assert frame_of(GATE, twice, array=np.tile([0, 1], conditions)).terms == terms


def test_second_variable(frame_of: Callable[..., Frame]) -> None:
    width = np.array([1e-7, 1e-6, 1e-6, 1e-5])
    frame = frame_of(GATE, [1.0, 1.5, 2.0, 2.0], second=WIDTH, second_values=width)
    assert (frame.second_low, frame.second_high, frame.second_reference) == (1e-7, 1e-5, 1e-6)
    x = np.array([1.0, 1.5, 2.0])
    # a pulse width acts through its logarithm
    places = frame.places(x, second=np.array([1e-7, 1e-6, 1e-4]))
    np.testing.assert_allclose(places.second, [-0.5, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(places.position, [0.0, 0.5, 1.0])
    np.testing.assert_allclose(frame.places(x).second, 0.0, atol=1e-12)
    np.testing.assert_allclose(frame.places(x, second=1e-5).second, 0.5)


def test_a_second_variable_of_one_value_does_nothing(frame_of: Callable[..., Frame]) -> None:
    frame = frame_of(GATE, [1.0, 2.0], second=WIDTH, second_values=np.full(2, 1e-6))
    assert frame.places(np.array([1.0, 2.0]), second=1e-5).second.tolist() == [0.0, 0.0]


def test_arrays(frame_of: Callable[..., Frame]) -> None:
    frame = frame_of(GATE, [1.0, 1.0, 2.0], array=np.array([0, 1, 1]))
    assert frame.arrays == ("array 0", "array 1")
    assert frame.places(np.array([1.0, 2.0])).array.tolist() == [0, 0]
    assert frame.places(np.array([1.0, 2.0]), array=1).array.tolist() == [1, 1]
    assert frame.places(np.array([1.0, 2.0]), array=np.array([1, 0])).array.tolist() == [1, 0]


def test_a_number_is_one_place() -> None:
    places = Frame(GATE, 1.0, 3.0, terms=4).places(2.0)
    assert places.position.tolist() == [0.5]
    assert places.basis.shape == (4, 1)


# --- smooth deviations ----------------------------------------------------------------------------


def kernel_without_line(at: np.ndarray) -> np.ndarray:
    """Squared-exponential kernel of a process less its straight line by least squares."""
    kernel = np.exp(-0.5 * ((at[:, None] - at) / DEVIATION_SCALE) ** 2)
    line = np.stack([np.ones_like(at), at], axis=1)
    rest = np.eye(len(at)) - line @ np.linalg.pinv(line)
    return np.asarray(rest @ kernel @ rest)


def test_the_basis_is_a_process_of_the_stated_length_without_its_line() -> None:
    # with many terms; the box of the sines ends 1.25 length scales beyond the range, which costs
    # some of the variance at its ends
    at = np.linspace(0.0, 1.0, 201)
    basis = deviation_basis(at, 40)
    expected = kernel_without_line(at)
    assert np.abs(basis.T @ basis - expected).max() < 0.03
    inner = slice(20, -20)
    assert np.abs((basis.T @ basis - expected)[inner, inner]).max() < 0.01


def test_the_terms_in_use_hold_nearly_all_of_it() -> None:
    at = np.linspace(0, 1, 201)
    own, whole = deviation_basis(at, DEVIATION_TERMS), kernel_without_line(at)
    assert (own**2).sum() / np.trace(whole) > 0.97


@pytest.mark.parametrize("terms", range(1, DEVIATION_TERMS + 1))
def test_no_straight_line_is_in_a_deviation(terms: int) -> None:
    at = np.linspace(0, 1, 201)
    basis = deviation_basis(at, terms)
    np.testing.assert_allclose(basis @ np.stack([np.ones_like(at), at], axis=1), 0.0, atol=1e-12)
    # terms are orthogonal, the largest first
    products = basis @ basis.T
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-9)
    assert np.all(np.diff(np.diag(products)) < 0)


@given(st.floats(-1e3, 1e3), st.integers(1, DEVIATION_TERMS))
def test_the_basis_is_constant_beyond_the_ends(position: float, terms: int) -> None:
    end = np.clip(position, 0.0, 1.0)
    found = deviation_basis(np.array([position]), terms)
    np.testing.assert_array_equal(found, deviation_basis(np.array([end]), terms))


def test_frames_are_values() -> None:
    frame = Frame(GATE, 1.0, 3.0, arrays=("a", "b"))
    assert frame == dataclasses.replace(frame)
    assert hash(frame) == hash(dataclasses.replace(frame))


def test_values_beyond_the_measured_range_are_told_apart() -> None:
    frame = Frame(GATE, 1.0, 1.5, WIDTH, 1e-7, 1e-6)
    # the rounding of a change of units is none
    x = np.array([0.99, 1.0 * (1 - 1e-12), 1.2, 1.5 * (1 + 1e-12), 1.51])
    assert frame.extrapolated(x).tolist() == [True, False, False, False, True]
    second = np.array([1e-7, 1e-7, 2e-6, 1e-6, 1e-7])
    assert frame.extrapolated(x, second).tolist() == [True, False, True, False, True]


@pytest.mark.parametrize(
    ("frame", "x", "message"),
    [
        (Frame(CURRENT, 1e-5, 1e-4), 0.0, "x is 0.0; a i must be finite and positive"),
        (Frame(CURRENT, 1e-5, 1e-4), np.nan, "x is nan; a i must be finite and positive"),
        (Frame(GATE, 1.0, 1.5), np.inf, "x is inf; a v must be finite"),
        (Frame(GATE, 1.0, 1.5), 1e308, "x is 1e[+]308 V, more than 20 times the measured range"),
        (Frame(GATE, 1.0, 1.5), -1.7e308, "more than 20 times the measured range away"),
        (Frame(CURRENT, 1e-5, 2e-5), 1e30, "check the unit, SI is expected"),
        (Frame(CURRENT, 1e-4, 1e-4), 5e-5, "measured at 100 uA only, which tells nothing of other"),
        (Frame(ONE_CONDITION, 1.0, 1.0), 2.0, "without a programming variable, whose only value"),
    ],
)
def test_values_without_a_law_are_refused(frame: Frame, x: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frame.check(np.array([frame.low, x]), "x")


def test_values_with_a_law_are_taken() -> None:
    Frame(CURRENT, 1e-5, 1e-4).check(np.array([1e-9, 5e-5, 1.0]))
    Frame(GATE, 1.0, 1.5).check(np.array([-3.0, 1.2, 11.0]))
    Frame(CURRENT, 1e-4, 1e-4).check(np.array([1e-4 * (1 + 1e-12)]))
