"""Counted errors against SciPy's laws, and how often the gate fails on right and wrong models."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from devicefit.distributions.sensing import SensingOptions
from devicefit.fitting.fit import DevicePosterior
from devicefit.inputs.programming import Programming
from devicefit.prediction.condition_readings import ConditionReadings
from reliability.chips.lots import Lot
from reliability.chips.rates import chip_rates
from reliability.chips.readings import (
    FALSE_ALARMS,
    LEAST_READINGS,
    NEAR_READINGS,
    CountedErrors,
    ReadingsCheck,
    checks_near,
    errors_near,
)
from reliability.chips.readings_gates import near_gate, readings_gate
from reliability.plans.storage import PLAIN, Storage

VOLT = Programming("gate voltage", "V")
APART = {"by_readings": Lot(1.0, 500, 100), "by_model": Lot(1.0, 500, 480)}
ALIKE = {"by_readings": Lot(1.0, 500, 475), "by_model": Lot(1.0, 500, 480)}


def counted(errors: float, trials: int, model: np.ndarray, effective: int | None = None):  # type: ignore[no-untyped-def]
    return CountedErrors("", "LRS", errors, trials, effective or trials, model)


def condition(
    x: float,
    errors: dict[str, int],
    trials: int = 200,
    array: str = "",
    second: float | None = None,
) -> ConditionReadings:
    """So many readings on the wrong side of 18 kohm, in bins close to it."""
    bins = {}
    for state, wrong in errors.items():
        side = [0, 1] if state == "LRS" else [1, 0]
        order = np.argsort(side)
        bins[state] = (np.array(side)[order], np.array([trials - wrong, wrong])[order])
    return ConditionReadings(x, second, array, trials, 1.8e4, bins)


def test_the_p_value_is_that_of_the_predictive_law() -> None:
    model = np.random.default_rng(1).beta(20, 380, 3000)
    draws = np.random.default_rng(2).binomial(400, np.repeat(model, 100))
    for errors in (5, 20, 45):
        tails = (draws >= errors).mean(), (draws <= errors).mean()
        found = counted(errors, 400, model).p_value
        assert found == pytest.approx(min(1.0, 2 * min(tails)), abs=4 * np.sqrt(found / 3e5) + 1e-5)
    # eight readings of a device are worth two: the same share surprises less
    assert counted(45, 400, model, 100).p_value > counted(45, 400, model).p_value


def test_rates_without_a_model_have_jeffreys_posterior() -> None:
    draws = counted(3, 400, np.array([0.1]), 200).posterior(20_000, np.random.default_rng(1))
    assert stats.kstest(draws, stats.beta(1.5 + 0.5, 198.5 + 0.5).cdf).pvalue > 1e-4


def test_a_right_model_seldom_fails_and_a_wrong_rate_is_found_as_often_as_stated() -> None:
    rng = np.random.default_rng(7)
    model = rng.beta(8, 192, 500)
    failed = 0
    # the worst case: shares of chips always differ, so the counts alone decide
    for _ in range(1500):
        truth = rng.choice(model)
        cells = tuple(counted(rng.binomial(n, truth), n, model) for n in (300, 50, 1000))
        check = ReadingsCheck(1.0, 1.0, cells, **APART)
        failed += not readings_gate((check,), VOLT).passed
    assert stats.binomtest(failed, 1500, FALSE_ALARMS, alternative="greater").pvalue > 1e-3
    rate = counted(0, 300, model).detectable(FALSE_ALARMS)
    assert model.mean() < rate < 0.5
    found = np.mean(
        [counted(rng.binomial(300, rate), 300, model).p_value < FALSE_ALARMS for _ in range(2000)]
    )
    assert found == pytest.approx(0.8, abs=0.04)
    assert counted(0, 2, model).detectable(1e-3) == 1.0


def test_the_gate_needs_both_the_counts_and_the_chips() -> None:
    model = np.full(50, 0.01)
    wrong, right = counted(40, 400, model), counted(4, 400, model)
    passed = {
        (name, which): readings_gate((ReadingsCheck(1.0, 1.0, (cell,), **lots),), VOLT)
        for name, cell in (("wrong", wrong), ("right", right))
        for which, lots in (("apart", APART), ("alike", ALIKE))
    }
    assert {key for key, gate in passed.items() if not gate.passed} == {("wrong", "apart")}
    assert "here they do not tell" in passed["right", "apart"].finding
    finding = passed["wrong", "apart"].finding
    assert "by 0.200 of 500 chips whose error rates were counted from readings" in finding
    assert "by 0.960 of 500 chips of the model" in finding
    assert "--model" in passed["wrong", "apart"].remedy


@pytest.fixture(scope="module")
def device(posterior: Callable[..., DevicePosterior]) -> DevicePosterior:
    return posterior(("A", "B"))


def test_the_measured_values_next_below_and_above_are_taken(device: DevicePosterior) -> None:
    none = {"LRS": 0, "HRS": 0}
    values = (4e-5, 5e-5, 6e-5, 7e-5, 8e-5)
    measured = [condition(x, none, array=a) for x in values for a in "AB"]
    common = {"sensing": SensingOptions(), "one_is": "LRS"}
    found = checks_near(6e-5, measured, device, PLAIN, **common)
    assert [(c.low, c.high) for c in found] == [(6e-5, 6e-5), (7e-5, 7e-5)]
    assert [(c.array, c.state) for c in found[0].counts] == [
        ("A", "LRS"), ("A", "HRS"), ("B", "LRS"), ("B", "HRS")
    ]  # fmt: skip
    # too few readings at each: neighbours are taken together
    few = [
        condition(x, none, trials=-(-LEAST_READINGS // 4), array=a) for x in values for a in "AB"
    ]
    found = checks_near(6.1e-5, few, device, PLAIN, **common)
    assert [(c.low, c.high) for c in found] == [(5e-5, 6e-5), (7e-5, 8e-5)]
    # beyond the last measured value, or with one state only, there is nothing
    assert [c.low for c in checks_near(8e-5, measured, device, PLAIN, **common)] == [8e-5]
    half = [replace(c, bins={**c.bins, "HRS": (np.array([]), np.array([]))}) for c in measured]
    assert checks_near(6e-5, half, device, PLAIN, **common) == ()


def test_the_model_beside_the_counts_is_that_of_the_same_readings(device: DevicePosterior) -> None:
    few = LEAST_READINGS // 2
    measured = [
        condition(5e-5, {"LRS": 5, "HRS": 7}, trials=few, array="A"),
        condition(6e-5, {"LRS": 1, "HRS": 2}, trials=2 * few - 10, array="A"),
    ]
    (check,) = checks_near(6e-5, measured, device, PLAIN, sensing=SensingOptions(), one_is="LRS")
    rates = chip_rates(
        device, [5e-5, 6e-5], PLAIN, sensing=SensingOptions(threshold_ohm=1.8e4)
    ).values[:, 0]
    lrs, hrs = check.counts
    weights = np.array([few, 2 * few - 10]) / (3 * few - 10)
    assert lrs.errors == 6
    assert hrs.errors == 9
    assert lrs.model == pytest.approx(rates[:, :, 1] @ weights, rel=1e-12)
    assert hrs.model == pytest.approx(rates[:, :, 0] @ weights, rel=1e-12)
    drawn = check.rates("LRS", size=5000, rng=np.random.default_rng(1))
    assert drawn["by_model"].values[:, 0, 0, 1] == pytest.approx(lrs.model)
    assert drawn["by_readings"].values.shape == (5000, 1, 1, 2)
    n = lrs.trials
    assert drawn["by_readings"].values[:, 0, 0].mean(axis=0) == pytest.approx(
        [9.5 / (n + 1), 6.5 / (n + 1)], rel=0.03
    )
    turned = check.rates("HRS", size=10, rng=np.random.default_rng(1))
    assert turned["by_model"].values[:, 0, 0, 0] == pytest.approx(lrs.model)


def test_pairs_of_one_array_are_counted_for_two_cells(device: DevicePosterior) -> None:
    measured = [condition(5e-5, {"LRS": 60, "HRS": 30}, array=a) for a in "AB"]
    sensing = SensingOptions(offset_ln_r=0.0)
    (check,) = checks_near(5e-5, measured, device, Storage("2T2R"), sensing=sensing, one_is="LRS")
    assert [(c.array, c.state) for c in check.counts] == [("A", "pair"), ("B", "pair")]
    # above against below is wrong, equal bins half
    share = 0.3 * 0.15 + 0.5 * (0.3 * 0.85 + 0.7 * 0.15)
    assert check.counts[0].errors == pytest.approx(200 * share)
    assert check.counts[0].effective == 200
    model = chip_rates(device, [5e-5], Storage("2T2R"), sensing=sensing).values
    assert check.counts[1].model == pytest.approx(model[:, 1, 0, 0])


def test_only_readings_of_the_second_value_at_hand_count(
    posterior: Callable[..., DevicePosterior],
) -> None:
    one = posterior()
    frame = replace(
        one.frame, second=Programming("pulse width", "s"), second_low=1e-7, second_high=1e-6,
        second_reference=1e-6,
    )  # fmt: skip
    zero = np.zeros((2, 20))
    draws = one.draws.assign(
        {name: (("chain", "draw"), zero) for name in ("second_shift", "hrs_second", "lrs_second")}
    )
    device = replace(one, frame=frame, draws=draws)
    measured = [
        condition(5e-5, {"LRS": k, "HRS": 0}, second=width) for k, width in ((1, 1e-7), (2, 1e-6))
    ]
    (check,) = checks_near(5e-5, measured, device, PLAIN, sensing=SensingOptions(), one_is="LRS")
    assert check.counts[0].errors == 2


def test_readings_of_persistent_devices_are_no_independent_ones(
    posterior: Callable[..., DevicePosterior],
) -> None:
    """Each device read ten times fails always or never: a right model fails no more than stated."""
    rng = np.random.default_rng(3)
    device = posterior()
    rates = chip_rates(device, [5e-5], PLAIN, sensing=SensingOptions(threshold_ohm=1.8e4)).values
    failed = 0
    for _ in range(400):
        truth = rates[rng.integers(len(rates)), 0, 0]
        errors = {s: 10 * int(rng.binomial(60, truth[k])) for k, s in enumerate(("HRS", "LRS"))}
        read = replace(condition(5e-5, errors, trials=600), devices=60)
        checks = checks_near(5e-5, [read], device, PLAIN, sensing=SensingOptions(), one_is="LRS")
        assert [c.effective for c in checks[0].counts] == [60, 60]
        failed += not readings_gate([replace(c, **APART) for c in checks], VOLT).passed
    assert stats.binomtest(failed, 400, FALSE_ALARMS, alternative="greater").pvalue > 1e-3


def test_errors_near_are_those_of_the_nearest_values(device: DevicePosterior) -> None:
    none = {"LRS": 0, "HRS": 0}
    each = NEAR_READINGS // 4
    values = (2e-5, 4e-5, 5e-5, 6e-5, 7e-5, 1.2e-4)
    measured = [condition(x, none, trials=each // 2 + 1, array=a) for x in values for a in "AB"]
    common = {"sensing": SensingOptions(), "one_is": "LRS"}
    near = errors_near(5.5e-5, measured, device, PLAIN, **common)
    # four values hold a thousand readings; on the scale of logarithms 4e-5 is nearer than 1.2e-4
    assert near is not None
    assert (near.low, near.high) == (4e-5, 7e-5)
    assert sum(c.trials for c in near.counts if c.state == "LRS") == 8 * (each // 2 + 1)
    # with few readings all values
    few = errors_near(5.5e-5, measured[:6], device, PLAIN, **common)
    assert few is not None
    assert (few.low, few.high) == (2e-5, 5e-5)
    assert errors_near(5.5e-5, [], device, PLAIN, **common) is None


@pytest.mark.parametrize(
    ("errors", "passed"), [(10, True), (25, True), (45, False), (0, False), (11, True)]
)
def test_errors_near_that_the_model_misses(errors: int, passed: bool) -> None:
    # 20 of 2,000 are predicted: 25 are a quarter more, but no surprise; the law is binomial
    near = ReadingsCheck(1.0, 1.2, (counted(errors, 2000, np.full(50, 0.01)),))
    gate = near_gate(near, VOLT)
    assert gate.passed is passed
    law = stats.binom(2000, 0.01)
    p = min(1.0, 2 * min(law.sf(errors - 1), law.cdf(errors)))
    if not passed:
        assert gate.value == pytest.approx(p, rel=1e-6)
    assert "1 V to 1.2 V" in gate.finding
