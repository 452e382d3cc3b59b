import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicefit.inputs.programming import ONE_CONDITION, UNITS, Programming, to_si


# the SI brochure: milli 1e-3, micro 1e-6, nano 1e-9, kilo 1e3, mega 1e6
@pytest.mark.parametrize(
    ("unit", "si", "factor"),
    [
        ("A", "A", 1.0),
        ("mA", "A", 1e-3),
        ("uA", "A", 1e-6),
        ("nA", "A", 1e-9),
        ("V", "V", 1.0),
        ("mV", "V", 1e-3),
        ("s", "s", 1.0),
        ("ms", "s", 1e-3),
        ("us", "s", 1e-6),
        ("ns", "s", 1e-9),
        ("ohm", "ohm", 1.0),
        ("kohm", "ohm", 1e3),
        ("Mohm", "ohm", 1e6),
        ("K", "K", 1.0),
    ],
)
def test_units(unit: str, si: str, factor: float) -> None:
    assert to_si(unit) == (si, factor)


@pytest.mark.parametrize("unit", ["", "ua", "UA", "mohm", "µA", "kΩ"])
def test_unknown_unit_lists_the_known_ones(unit: str) -> None:
    with pytest.raises(ValueError, match=f"unit {unit!r} is not known; known units: ") as error:
        to_si(unit)
    assert str(error.value).endswith(", ".join(UNITS))


@pytest.mark.parametrize("unit", ["ohm", "uA", "K", ""])
def test_programming_has_one_of_three_units(unit: str) -> None:
    with pytest.raises(ValueError, match=f"programming unit {unit!r} is not known; use A"):
        Programming("x", unit)


def test_one_condition_is_a_plain_number() -> None:
    assert (ONE_CONDITION.is_current, ONE_CONDITION.is_logarithmic) == (False, False)
    assert ONE_CONDITION.coordinate([1.0]).tolist() == [1.0]
    assert ONE_CONDITION.format(1.0) == "1"


@pytest.mark.parametrize(
    ("unit", "current", "logarithmic"),
    [("A", True, True), ("V", False, False), ("s", False, True)],
)
def test_kinds(unit: str, current: bool, logarithmic: bool) -> None:
    programming = Programming("x", unit)
    assert (programming.is_current, programming.is_logarithmic) == (current, logarithmic)


@given(st.floats(1e-12, 1e3), st.sampled_from(["A", "V", "s"]))
def test_coordinate_round_trip(x: float, unit: str) -> None:
    programming = Programming("x", unit)
    assert programming.from_coordinate(programming.coordinate(x)) == pytest.approx(x, rel=1e-13)


def test_gate_voltage_may_be_zero() -> None:
    assert Programming("gate", "V").coordinate([0.0, -1.0]).tolist() == [0.0, -1.0]


@given(st.floats(1e-9, 1.0), st.floats(1.001, 1e4), st.integers(2, 200))
def test_grid_of_a_current_is_geometric_with_exact_ends(low: float, ratio: float, n: int) -> None:
    grid = Programming("i", "A").grid(low, low * ratio, n)
    assert (grid[0], grid[-1], len(grid)) == (low, low * ratio, n)
    np.testing.assert_allclose(grid, np.geomspace(low, low * ratio, n), rtol=1e-12)


def test_grid_of_a_voltage_is_even() -> None:
    grid = Programming("v", "V").grid(0.0, 3.0, 31)
    np.testing.assert_allclose(grid, np.arange(31) / 10, atol=1e-14)
    assert (grid[0], grid[-1]) == (0.0, 3.0)


@pytest.mark.parametrize(
    ("x", "unit", "text"),
    [
        (80e-6, "A", "80 uA"),
        (1e-6, "A", "1 uA"),
        (1e-3, "A", "1 mA"),
        (0.12345e-6, "A", "123 nA"),
        # three digits, four for a voltage; what rounds up to the next prefix takes it
        (999.9e-6, "A", "1 mA"),
        (999.4e-6, "A", "999 uA"),
        (1.725, "V", "1.725 V"),
        (0.99996, "V", "1 V"),
        (-0.2, "V", "-200 mV"),
        (0.0, "V", "0 V"),
        (1e-7, "s", "100 ns"),
        (5e-12, "s", "0.005 ns"),
        (12.0, "s", "12 s"),
        (1500.0, "s", "1500 s"),
    ],
)
def test_format(x: float, unit: str, text: str) -> None:
    assert Programming("x", unit).format(x) == text
