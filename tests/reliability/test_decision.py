import numpy as np
import pytest

from devicefit.programming import Programming
from reliability.decision import (
    Requirement,
    Saving,
    safe_set,
    saving_sentence,
    weakest_condition,
)

CURRENT = Programming("SET compliance current", "A")
GATE = Programming("SET gate voltage", "V")
X = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
RULE = Requirement(max_loss=0.01, risk=0.1)


@pytest.mark.parametrize(
    ("p_met", "lowest", "runs", "words"),
    [
        ([0.1, 0.5, 0.95, 0.99, 1.0], 3.0, [(3.0, 5.0)], "lowest SET gate voltage"),
        ([0.95, 0.96, 0.97, 0.98, 0.99], 1.0, [(1.0, 5.0)], "Already the weakest"),
        ([0.1, 0.2, 0.3, 0.2, 0.1], None, [], "best, 3 V, reaches P = 0.300"),
        ([0.1, 0.95, 0.2, 0.95, 0.95], 2.0, [(2.0, 2.0), (4.0, 5.0)], "in 2 pieces"),
        ([0.1, 0.95, 0.95, 0.2, 0.1], 2.0, [(2.0, 3.0)], "Above 3 V it is no longer met"),
        ([0.9, 0.1, 0.1, 0.1, 0.1], 1.0, [(1.0, 1.0)], "Already the weakest"),
    ],
)
def test_safe_set(p_met: list[float], lowest: float | None, runs: list, words: str) -> None:
    found = safe_set(X, np.array(p_met), RULE, GATE)
    assert found.lowest == lowest
    assert list(found.intervals) == runs
    assert words in found.sentence


def test_weakest_condition_is_interpolated_in_the_coordinate() -> None:
    x = np.array([1e-5, 1e-4, 1e-3])
    ln_ber = np.log([[1e-1, 1e-3, 1e-5]])
    found = weakest_condition(x, ln_ber, np.log([1e-2]), CURRENT)
    # Straight line in (ln x, ln BER): one decade of BER is half a decade of current.
    assert found.x[0] == pytest.approx(10**-4.5, rel=1e-9)
    assert not found.not_reached[0]
    assert not found.at_edge[0]


def test_weakest_condition_marks_both_ends() -> None:
    x = np.array([1.0, 2.0, 3.0])
    ln_ber = np.log([[1e-1, 1e-2, 1e-3], [1e-1, 1e-2, 1e-3]])
    found = weakest_condition(x, ln_ber, np.log([1e-9, 0.5]), GATE)
    np.testing.assert_array_equal(found.x, [3.0, 1.0])
    np.testing.assert_array_equal(found.not_reached, [True, False])
    np.testing.assert_array_equal(found.at_edge, [False, True])


def test_u_shaped_ber_gives_the_first_crossing() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    found = weakest_condition(x, np.log([[0.3, 1e-4, 1e-4, 0.2]]), np.log([1e-2]), GATE)
    assert 1.0 < found.x[0] < 2.0


def test_saving_marks_ends_that_are_bounds() -> None:
    factor = np.linspace(1.0, 2.0, 1001)
    least = factor > 1.8  # a fifth of the draws
    none = np.zeros_like(least)
    record = Saving(factor, least, none).record(probability=0.9)
    assert record["median"] == pytest.approx(1.5)
    assert record["low"] == pytest.approx(1.05)
    assert record["high"] == pytest.approx(1.95)
    assert (record["kind"], record["probability"]) == ("ETI", 0.9)
    assert [record[f"{n}_is_lower_bound"] for n in ("low", "median", "high")] == [
        False,
        False,
        True,
    ]
    assert not any(record[f"{n}_is_upper_bound"] for n in ("low", "median", "high"))
    assert saving_sentence(record) == "1.5 times (90 % ETI 1.05 to at least 1.95)"
    mirrored = Saving(factor, none, factor < 1.2).record(probability=0.9)
    assert saving_sentence(mirrored) == "1.5 times (90 % ETI at most 1.05 to 1.95)"


@pytest.mark.parametrize(
    ("least", "most", "sentence"),
    [
        (True, False, "at least 1.05 times with probability 0.95"),
        (False, True, "at most 1.95 times with probability 0.95"),
        (True, True, "1.5 times within the measured range, beyond which both sides could go"),
    ],
)
def test_saving_known_from_one_side_only(least: bool, most: bool, sentence: str) -> None:
    factor = np.linspace(1.0, 2.0, 1001)
    record = Saving(factor, np.full(1001, least), np.full(1001, most)).record()
    assert saving_sentence(record) == sentence


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_loss": 0.0}, "max_loss is 0.0"),
        ({"max_loss": 1.0}, "0.01 for one point"),
        ({"risk": 0.5}, "risk is 0.5"),
        ({"memory_ber": 0.0}, "memory_ber is 0.0"),
    ],
)
def test_requirement_is_checked(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Requirement(**values)
