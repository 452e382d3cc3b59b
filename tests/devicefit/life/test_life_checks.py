"""Gates of the models of life."""

import numpy as np
import pytest
from scipy.stats import binom, norm, poisson

from devicefit.fitting.gate import Gate
from devicefit.life import endurance, wear_out
from devicefit.life.checks import (
    CHANCE,
    LEAST_TO_TELL_SPREAD,
    CountCheck,
    each_gate,
    held_out_gate,
    spread_factor,
    spread_gate,
)


def test_a_spread_is_told_from_the_units_on_that_know_more_than_the_prior() -> None:
    z = norm.ppf(0.95)
    for priors, name in ((endurance.PRIORS, "ln_sd_worn"), (wear_out.PRIORS, "ln_scale")):
        sd = next(p.sd for p in priors if p.name == name)
        known_before = np.exp(2 * z * sd)
        assert spread_factor(LEAST_TO_TELL_SPREAD) < known_before
        assert spread_factor(LEAST_TO_TELL_SPREAD - 1) > known_before


def test_factor_is_that_of_simulated_units() -> None:
    """Ratio of the ends of the interval that chi-square gives, for 200,000 samples of five."""
    rng = np.random.default_rng(3)
    sd = rng.standard_normal((200_000, 5)).std(axis=1, ddof=1)
    low, high = np.quantile(sd, [0.05, 0.95])
    # each quantile is known to 0.4 %
    assert spread_factor(5) == pytest.approx(high / low, rel=0.015)
    assert spread_factor(1) == np.inf


@pytest.mark.parametrize(
    ("units", "passed", "words"),
    [
        (1, False, "1 of at least 4 units: how much others differ from it is the prior's alone"),
        (2, False, "within a factor of 31"),
        (3, False, "within a factor of 7.6"),
        (4, True, "4 of at least 4 units"),
    ],
)
def test_few_units_fail_the_gate(units: int, passed: bool, words: str) -> None:
    gate = spread_gate(units, what="units", where="over cycles", remedy="measure more")
    assert gate.passed is passed
    assert words in gate.finding
    assert (gate.name, gate.value, gate.limit) == ("units over cycles", units, 4)


def counted(errors: int, mean: float, *, draws: int = 4000, spread: float = 0.0) -> CountCheck:
    """A count beside Poisson predictions, the mean of which may be uncertain."""
    rng = np.random.default_rng(5)
    predicted = rng.poisson(mean * np.exp(spread * rng.standard_normal(draws)))
    return CountCheck.of({"low": 1.0}, np.array([errors]), np.array([10**6]), predicted)


@pytest.mark.parametrize("errors", [3, 11, 20, 33, 41])
def test_chance_is_two_sided(errors: int) -> None:
    """Against the Poisson law of known mean, half of the equal counts on each side."""
    below = poisson.cdf(errors - 1, 20) + 0.5 * poisson.pmf(errors, 20)
    expected = 2 * min(below, 1 - below)
    # a share of 4,000 draws on one side, doubled; z of 4
    error = 2 * np.sqrt(expected / 2 / 4000) * 4 + 1 / 4000
    assert counted(errors, 20).chance == pytest.approx(expected, abs=error)


def test_counts_as_predicted_pass_and_others_fail_on_either_side() -> None:
    rest = [counted(20, 20), counted(0, 0.01), counted(100, 100)]
    for errors, passed in ((20, True), (2, False), (60, False)):
        gate = each_gate([*rest, counted(errors, 20)], state="LRS", what="decade", remedy="r")
        assert gate.passed is passed
        assert gate.limit == CHANCE
    assert "60 of 1000000, predicted 20 (95 % 12 to 2" in gate.finding


def test_gate_fails_by_chance_as_often_as_it_says() -> None:
    """2,000 sets of four decades that are predicted exactly; two-sided 99.8 % of the number."""
    rng = np.random.default_rng(6)
    predicted = rng.poisson(200.0, 20_000)
    trials = np.array([10**6])
    failed = sum(
        not each_gate(
            [CountCheck.of({}, rng.poisson(200.0, 1), trials, predicted) for _ in range(4)],
            state="LRS",
            what="decade",
            remedy="r",
        ).passed
        for _ in range(2000)
    )
    low, high = binom.interval(0.998, 2000, CHANCE)
    assert low <= failed <= high


def test_predictions_that_say_nothing_do_not_pass_silently() -> None:
    wide, narrow = counted(23, 900, spread=4.0), counted(23, 20)
    assert wide.inside
    assert not wide.tells
    mostly = each_gate([wide, wide, narrow], state="HRS", what="decade", remedy="r")
    assert not mostly.passed
    assert "in 2 of 3 the interval spans more than a factor of 1000, which tells" in mostly.finding
    assert each_gate([wide, narrow], state="HRS", what="decade", remedy="r").passed
    words = {"state": "HRS", "what": "last decade", "where": "above 1e5 cycles"}
    words |= {"rest": "others", "remedy": "r"}
    said = held_out_gate(wide, why="", **words)
    assert isinstance(said, str)
    assert said.startswith("Not checked (HRS): above 1e5 cycles a fit to the rest predicts the")
    assert "23 of 1000000, predicted" in said
    why = "fewer than two windows of cycles lie before it"
    gone = held_out_gate(None, why=why, **words)
    assert isinstance(gone, str)
    assert gone.endswith(
        "cannot be held out, because fewer than two windows of cycles lie before it."
    )
    wrong = held_out_gate(counted(60, 20), why="", **words)
    assert isinstance(wrong, Gate)
    assert not wrong.passed
    right = held_out_gate(narrow, why="", **words)
    assert isinstance(right, Gate)
    assert right.passed
