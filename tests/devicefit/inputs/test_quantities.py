"""Numbers with a unit, by one rule for every option and file."""

import pytest

from devicefit.inputs.programming import Programming
from devicefit.inputs.quantities import parse_quantity, programming_value, value_in

CURRENT = Programming("SET compliance current", "A")
VOLTAGE = Programming("SET gate voltage", "V")


@pytest.mark.parametrize(
    ("value", "number", "unit"),
    [
        ("24uA", 2.4e-5, "A"),
        ("200 uA", 2e-4, "A"),
        (" 1.5e-1 mV ", 1.5e-4, "V"),
        ("3e-5", 3e-5, None),
        (".5", 0.5, None),
        ("-2.", -2.0, None),
        (20, 20.0, None),
        (1e-9, 1e-9, None),
        ("20 kohm", 2e4, "ohm"),
    ],
)
def test_what_is_read(value: object, number: float, unit: str | None) -> None:
    assert parse_quantity(value) == (number, unit)


@pytest.mark.parametrize(
    "value",
    ["", "uA", "nan", "inf", "1e999", "1 2 uA", "0,5 V", "--1", True, None, [1], float("nan")],
)
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(ValueError, match=r"^--x: .* is no finite number; give one in V, or with"):
        value_in(value, "V", "--x")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1 V", "--low: 1 V is in V; the SET compliance current is in A"),
        ("1kohm", "--low: 1kohm is in ohm; the SET compliance current is in A"),
        ("1 furlong", "--low: '1 furlong': unit 'furlong' is not known; known units: A, mA"),
        ("0", "--low: 0 must be positive, as a SET compliance current"),
        ("-20uA", "--low: -20uA must be positive"),
    ],
)
def test_a_value_that_is_none_of_the_device(value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        programming_value(value, CURRENT, "--low")


def test_voltages_may_be_negative() -> None:
    assert programming_value("-200 mV", VOLTAGE, "--low") == -0.2
