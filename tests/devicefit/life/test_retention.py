"""Errors over bakes: likelihood against SciPy, Arrhenius extrapolation, censoring."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import betabinom, binom, norm

from devicefit.fitting.fit import Diagnostics
from devicefit.life.fit import BOLTZMANN_EV, LifeDraws
from devicefit.life.retention import (
    PRIORS,
    BakeCounts,
    RetentionState,
    check_hardest,
    fit_retention,
    replicate,
    retention_model,
)
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import sample_priors
from tests.devicefit import plain

SAMPLER = SamplerOptions(chains=2, draws=200, warmup=250, seed=1, cores=1, target_accept=0.9)
TRUTH = {
    "ln_relaxation": -1.0,
    "ln_shift": 0.7,
    "ln_activation_ev": np.log(1.1),
    "ln_exponent": np.log(0.4),
    "logit_icc": -7.0,
    "probit_baked": -3.0 + np.exp(-1.0) + np.exp(0.7),
}
YEARS_10 = 10 * 365.25 * 24 * 3600.0


def known(**changes: Any) -> RetentionState:
    """A state of which everything is known."""
    values = TRUTH | changes
    draws = xr.Dataset(
        {n: (("chain", "draw"), np.broadcast_to(v, (1, 500))) for n, v in values.items()}
    )
    fitted = LifeDraws(draws, Diagnostics(1, 500, 500, 0, 500), {})
    return RetentionState(fitted, 3.6e5, 498.15)


def plan(trials: int = 3000) -> BakeCounts:
    """Three temperatures, fresh and three times each."""
    times = np.tile([0.0, 3.6e3, 3.6e4, 3.6e5], 3)
    kelvin = np.repeat([398.15, 448.15, 498.15], 4)
    return BakeCounts(times, kelvin, np.zeros(12, int), np.full(12, trials))


def test_likelihood_is_the_beta_binomial_of_the_law() -> None:
    rng = np.random.default_rng(1)
    counts = plan(50)
    counts = BakeCounts(counts.time_s, counts.temperature_k, rng.integers(0, 9, 12), counts.trials)
    theta = np.array(list(TRUTH.values()))
    other = theta + np.array([0.2, -0.4, 0.1, -0.2, 2.0, 0.3])

    def direct(t: np.ndarray) -> float:
        total = 0.0
        for i in range(12):
            time, kelvin = counts.time_s[i], counts.temperature_k[i]
            z = t[5] - np.exp(t[0]) - np.exp(t[1])  # fresh
            if time > 0:
                rate = np.exp(np.exp(t[2]) / BOLTZMANN_EV * (1 / 498.15 - 1 / kelvin))
                z += np.exp(t[0]) + np.exp(t[1]) * (rate * time / 3.6e5) ** np.exp(t[3])
            kappa = 1 / (np.exp(t[4]) + np.exp(-20.0))
            p, q = norm.cdf(z), norm.sf(z)
            total += betabinom.logpmf(counts.errors[i], 50, p * kappa, q * kappa)
        return total

    likelihood = plain.likelihood(retention_model(counts), PRIORS)
    found = likelihood(theta)[0] - likelihood(other)[0]
    assert found == pytest.approx(direct(theta) - direct(other), rel=1e-8)
    steps = 1e-5 * np.eye(6)
    slopes = [(likelihood(theta + s)[0] - likelihood(theta - s)[0]) / 2e-5 for s in steps]
    np.testing.assert_allclose(likelihood(theta)[1], slopes, rtol=1e-5, atol=1e-6)


def test_time_and_temperature_trade_by_arrhenius() -> None:
    state = known()
    # At 1.1 eV this long at 85 degrees does what the bake did.
    factor = np.exp(1.1 / BOLTZMANN_EV * (1 / 358.15 - 1 / 498.15))
    assert state.equivalent_s(3.6e5 * factor, 358.15) == pytest.approx(3.6e5, rel=1e-9)
    both = state.ber([3.6e5, 3.6e5 * factor], [498.15, 358.15])[0, 0]
    assert both[0] == pytest.approx(both[1], rel=1e-9)
    assert both[0] == pytest.approx(norm.cdf(-3 + np.exp(-1) + np.exp(0.7)), rel=1e-9)
    fresh = state.ber(0.0, 300.0)[0, 0, 0]
    assert fresh == pytest.approx(norm.cdf(-3), rel=1e-9)


def test_extrapolation_covers_devices_drawn_from_the_prior() -> None:
    """Probit BER of 10 years at 85 degrees in the 80 % interval: 12 devices, two-sided 0.2 %.

    Truths come from the prior, so that coverage is exact but for Monte-Carlo error.
    """
    rng = np.random.default_rng(11)
    truths = sample_priors(PRIORS, draws=12, rng=rng)
    # the prior of the first one is that of fresh cells
    truths["probit_baked"] += np.exp(truths["ln_relaxation"]) + np.exp(truths["ln_shift"])
    inside = 0
    for i in range(12):
        truth = known(**{n: v[0, i] for n, v in truths.items()})
        errors = replicate(truth, plan(), draws=1, rng=rng)[0]
        counts = BakeCounts(plan().time_s, plan().temperature_k, errors, plan().trials)
        state = fit_retention(counts, options=SAMPLER)
        low, high = np.quantile(state.probit(YEARS_10, 358.15), [0.1, 0.9])
        inside += bool(low <= truth.probit(YEARS_10, 358.15)[0, 0, 0] <= high)
    low, high = binom.interval(0.998, 12, 0.8)
    assert low <= inside <= high


def test_one_duration_leaves_the_activation_energy_to_its_prior() -> None:
    """Product of energy and power is known from bakes of one duration, neither is alone."""
    kelvin = np.repeat([373.15, 413.15, 453.15, 493.15, 533.15], 2)
    time = np.tile([0.0, 5000.0], 5)
    errors = np.array([0, 0, 0, 0, 0, 1, 0, 18, 0, 656])
    counts = BakeCounts(time, kelvin, errors, np.full(10, 3277))
    state = fit_retention(counts, options=replace(SAMPLER, draws=500))
    ev, n = state.fitted["ln_activation_ev"], state.fitted["ln_exponent"]
    # Independent before the data, and the sum then has a variance of 0.3^2 + 0.6^2.
    assert np.corrcoef(ev.ravel(), n.ravel())[0, 1] < -0.3
    assert (ev + n).std() < 0.6 * np.hypot(0.3, 0.6)
    found = state.extrapolation(YEARS_10, 358.15)
    assert found.activation_sd_ratio > 0.8
    assert found.activation_share > 0.6
    assert "hardly inform" in found.sentence()
    assert f"{100 * found.activation_share:.0f} % from the activation energy" in found.sentence()


def test_no_error_is_an_upper_limit() -> None:
    """Without an error the interval reaches down freely but ends near 3 / trials at the bake."""
    state = fit_retention(plan(1000), options=SAMPLER)
    low, high = np.quantile(state.ber(3.6e5, 498.15), [0.05, 0.95])
    assert high < 0.02
    assert low < 1e-5 < high
    # Nothing was measured beyond: the interval of ten more years at that heat is wide.
    assert np.quantile(state.ber(YEARS_10, 498.15), 0.95) > 2 * high


def test_hardest_bake_is_predicted_from_the_others() -> None:
    truth, rng = known(), np.random.default_rng(7)
    errors = replicate(truth, plan(), draws=1, rng=rng)[0]
    counts = BakeCounts(plan().time_s, plan().temperature_k, errors, plan().trials)
    check = check_hardest(counts, options=SAMPLER, rng=rng)
    assert check is not None
    assert (*check.at.values(), check.errors) == (3.6e5, 498.15, errors[-1])
    assert check.inside
    wrong = BakeCounts(
        counts.time_s, counts.temperature_k, np.append(errors[:-1], 3000), counts.trials
    )
    missed = check_hardest(wrong, options=SAMPLER, rng=rng)
    assert missed is not None
    assert not missed.inside
    lone = counts.rows(np.isin(np.arange(12), [8, 11]))
    assert check_hardest(lone, options=SAMPLER, rng=rng) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_s": np.array([0.0, -1.0])}, "time_s is -1.0 in row 1"),
        ({"temperature_k": np.array([358.0, 85.0])}, "degrees Celsius plus 273.15"),
        ({"time_s": np.zeros(2)}, "no row has a time above 0"),
        ({"errors": np.array([0, 11])}, "between 0 and trials"),
        ({"errors": np.array([0])}, "one length"),
    ],
)
def test_bakes_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    good = {
        "time_s": np.array([0.0, 3600.0]),
        "temperature_k": np.array([358.15, 358.15]),
        "errors": np.array([0, 1]),
        "trials": np.array([10, 10]),
    }
    with pytest.raises(ValueError, match=message):
        BakeCounts(**(good | change))
