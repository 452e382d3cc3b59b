"""Gates of the models of life."""

import numpy as np
import pytest
from scipy.stats import norm

from devicefit import endurance, wear_out
from devicefit.life_checks import LEAST_TO_TELL_SPREAD, spread_factor, spread_gate


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
