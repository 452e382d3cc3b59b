import numpy as np
import pytest

from devicefit.inputs.programming import Programming
from reliability.decision.limits import weakest_condition
from reliability.decision.requirement import Requirement
from reliability.decision.safe_set import safe_set
from reliability.decision.saving import Saving

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
    found = weakest_condition(x, np.log(1e-2) - ln_ber, CURRENT)
    # Straight line in (ln x, ln BER): one decade of BER is half a decade of current.
    assert found.x[0] == pytest.approx(10**-4.5, rel=1e-9)
    assert not found.not_reached[0]
    assert not found.at_edge[0]


def test_weakest_condition_marks_both_ends() -> None:
    x = np.array([1.0, 2.0, 3.0])
    ln_ber = np.log([[1e-1, 1e-2, 1e-3], [1e-1, 1e-2, 1e-3]])
    found = weakest_condition(x, np.log([[1e-9], [0.5]]) - ln_ber, GATE)
    np.testing.assert_array_equal(found.x, [3.0, 1.0])
    np.testing.assert_array_equal(found.not_reached, [True, False])
    np.testing.assert_array_equal(found.at_edge, [False, True])


def test_u_shaped_ber_gives_the_first_crossing() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    found = weakest_condition(x, np.log(1e-2 / np.array([[0.3, 1e-4, 1e-4, 0.2]])), GATE)
    assert 1.0 < found.x[0] < 2.0


FACTOR = np.linspace(1.0, 2.0, 1001)
NONE = np.zeros(1001, dtype=bool)


def test_a_saving_within_the_measured_range_is_an_interval() -> None:
    few = FACTOR > 1.96  # 4 % of the draws
    record = Saving(FACTOR, few, NONE).record()
    assert (record["low"], record["median"], record["high"]) == pytest.approx((1.05, 1.5, 1.95))
    assert (record["kind"], record["probability"], record["bound"]) == ("ETI", 0.9, None)
    assert record["share_at_least"] == pytest.approx(0.04, abs=1e-3)
    assert record["sentence"] == "1.5 times (90 % ETI 1.05 to 1.95)"


@pytest.mark.parametrize(
    ("least", "most", "sentence"),
    [
        (FACTOR > 1.9, NONE, "at least 1.05 times with probability 0.95"),
        (~NONE, NONE, "at least 1.05 times with probability 0.95"),
        (NONE, FACTOR < 1.1, "at most 1.95 times with probability 0.95"),
        # 3 % that may be anything smaller leave 2 % below the end
        (FACTOR > 1.5, FACTOR > 1.97, "at least 1.02 times with probability 0.95"),
        (NONE, ~NONE, "at most 1.95 times with probability 0.95"),
        (
            FACTOR > 1.7,
            FACTOR < 1.2,
            "not known within the measured range: 30 % of the draws are lower bounds of it, 20 % "
            "upper bounds",
        ),
    ],
)
def test_a_saving_beyond_the_measured_range_is_a_bound(
    least: np.ndarray, most: np.ndarray, sentence: str
) -> None:
    record = Saving(FACTOR, least, most).record()
    assert record["sentence"] == sentence
    assert record["median"] is record["low"] is record["high"] is None


def test_a_bound_holds_as_often_as_it_says() -> None:
    """Draws beyond the range, whose true savings are made up here, keep the bound."""
    rng = np.random.default_rng(2)
    true = np.exp(rng.standard_normal(20_000))
    capped = np.minimum(true, 1.5)
    bound = Saving(capped, true > 1.5, np.zeros(20_000, dtype=bool)).record()["bound"]
    assert bound["side"] == "at least"
    assert np.mean(true >= bound["value"]) == pytest.approx(0.95, abs=1e-3)


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
