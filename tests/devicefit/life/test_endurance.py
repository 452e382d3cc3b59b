"""Errors over cycles: the likelihood against enumeration, recovery of simulated truth."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit, xlogy
from scipy.stats import betabinom, norm

from devicefit.fitting.fit import Diagnostics
from devicefit.life.endurance import (
    BEND_WIDTH,
    PRIORS,
    EnduranceCounts,
    EnduranceState,
    count_windows,
    endurance_model,
    fit_endurance,
)
from devicefit.life.endurance_checks import check_decades, check_last_decade, replicate
from devicefit.life.fit import LifeDraws
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import moments
from tests.devicefit import plain

SAMPLER = SamplerOptions(chains=2, draws=250, warmup=250, seed=1, cores=1, target_accept=0.9)
TRUTH = {
    "logit_rate": -5.0,
    "slope": 0.3,
    "settling": 0.0,
    "bend": 0.0,
    "ln_cycles_worn": np.log(2e5),
    "ln_sd_worn": np.log(1.2),
    "logit_worn_error": 0.4,
    "logit_icc": -5.0,
    "ln_burst": -1.0,
    "logit_icc_worn": -2.0,
}


def known(**changes: float) -> EnduranceState:
    """A state of which everything is known, with 1,000 equal draws."""
    values = TRUTH | changes
    draws = xr.Dataset({n: (("chain", "draw"), np.full((1, 1000), v)) for n, v in values.items()})
    return EnduranceState(LifeDraws(draws, Diagnostics(1, 1000, 1000, 0, 1000), {}), 1e2, 1e6)


def simulated(units: int, rng: np.random.Generator) -> EnduranceCounts:
    """Counts of simulated units, by the definition of the model."""
    cycles = np.geomspace(1e2, 1e6, 13)
    trials = np.full((units, 13), 60)
    worn_at = np.exp(rng.normal(TRUTH["ln_cycles_worn"], 1.2, units))
    sound = expit(TRUTH["logit_rate"] + TRUTH["slope"] * np.log(cycles / 1e4))
    is_worn = worn_at[:, None] <= cycles
    mean = np.where(is_worn, sound + (1 - sound) * expit(TRUTH["logit_worn_error"]), sound)
    odds = np.exp(TRUTH["logit_icc"]) + np.exp(TRUTH["ln_burst"]) / 60
    kappa = 1 / np.where(is_worn, np.exp(TRUTH["logit_icc_worn"]), odds)
    return EnduranceCounts(
        cycles, rng.binomial(trials, rng.beta(mean * kappa, (1 - mean) * kappa)), trials
    )


def test_likelihood_is_the_sum_over_when_each_unit_wore_out() -> None:
    rng = np.random.default_rng(2)
    cycles = np.array([1e3, 1e4, 2e5])
    counts = EnduranceCounts(cycles, rng.integers(0, 6, (5, 3)), np.full((5, 3), 9))
    theta = np.array([-2.0, 0.3, 0.7, -0.2, 10.0, 0.4, 0.2, -3.0, 0.5, -1.0])
    other = np.array([-4.0, -0.2, -1.1, 0.4, 9.0, 0.9, 1.2, -1.0, -1.0, -2.0])

    def enumerated(t: np.ndarray) -> float:
        centre, half = 0.5 * np.log(1e3 * 2e5), 0.5 * np.log(200)
        early = np.log1p(np.exp((t[3] * half - (np.log(cycles) - centre)) / BEND_WIDTH))
        sound = expit(t[0] + t[1] * (np.log(cycles) - centre) - t[2] * BEND_WIDTH * early)
        kappa, kappa_worn = 1 / (np.exp(t[7]) + np.exp(t[8]) / 9), np.exp(-t[9])
        a = 1 - (1 - sound) * (1 - expit(t[6]))
        edges = np.concatenate([[0], norm.cdf((np.log(cycles) - t[4]) / np.exp(t[5])), [1]])
        total = 0.0
        for e in counts.errors:
            ok = betabinom.pmf(e, 9, sound * kappa, (1 - sound) * kappa)
            bad = betabinom.pmf(e, 9, a * kappa_worn, (1 - a) * kappa_worn)
            total += np.log(
                sum((edges[k + 1] - edges[k]) * ok[:k].prod() * bad[k:].prod() for k in range(4))
            )
        return total

    likelihood = plain.likelihood(endurance_model(counts), PRIORS)
    # The binomial coefficients are left out, so differences are compared.
    assert likelihood(theta)[0] - likelihood(other)[0] == pytest.approx(
        enumerated(theta) - enumerated(other), rel=1e-6
    )
    steps = 1e-5 * np.eye(10)
    slopes = [(likelihood(theta + s)[0] - likelihood(theta - s)[0]) / 2e-5 for s in steps]
    np.testing.assert_allclose(likelihood(theta)[1], slopes, rtol=1e-5, atol=1e-7)


def test_truth_of_simulated_units_is_recovered() -> None:
    """Every parameter and the BER within 3.3 posterior sd: 13 checks, 1.3 % together."""
    counts = simulated(90, np.random.default_rng(5))
    state = fit_endurance(counts, options=SAMPLER)
    z = {n: (state.fitted[n].mean() - v) / state.fitted[n].std() for n, v in TRUTH.items()}
    ln_ber = np.log(state.ber([1e3, 1e5, 1e7]))
    truth = np.log(known().ber([1e3, 1e5, 1e7]))[0, 0]
    z |= dict(zip("abc", (ln_ber.mean((0, 1)) - truth) / ln_ber.std((0, 1)), strict=True))
    assert max(map(abs, z.values())) < 3.3, z
    # The data decide, not the prior.
    priors = {p.name: p.sd for p in PRIORS}
    assert state.fitted["ln_cycles_worn"].std() < 0.1 * priors["ln_cycles_worn"]
    np.testing.assert_array_equal(state.extrapolated([50, 1e2, 1e6, 2e6]), [1, 0, 0, 1])
    decades = check_decades(state, counts, rng=np.random.default_rng(1))
    assert sum(d.errors for d in decades) == counts.errors.sum()
    assert all(d.inside for d in decades)


def without_wear(rng: np.random.Generator) -> EnduranceCounts:
    """Counts of twelve sound units, every third of them half as bad again."""
    cycles = np.geomspace(1e3, 1e5, 5)
    rate = 1e-3 * (cycles / 1e3) ** 0.3 * np.where(np.arange(12) % 3 == 0, 1.5, 1.0)[:, None]
    trials = np.full((12, 5), 2000)
    return EnduranceCounts(cycles, rng.binomial(trials, rate), trials)


def test_counts_without_wear_out_are_fitted() -> None:
    """What the data are silent about keeps its prior; nothing is lost on the way."""
    counts = without_wear(np.random.default_rng(0))
    # Nearly uncorrelated counts make a narrow neck: with shorter chains it depends on the seed
    # whether they agree.
    options = replace(SAMPLER, draws=800, warmup=500, target_accept=0.995)
    state = fit_endurance(counts, options=options)
    found = state.fitted
    assert all(np.isfinite(found[name]).all() for name in found.names)
    assert found.diagnostics.r_hat < 1.05
    assert found.diagnostics.divergences <= 2
    # The correlation is small, but no smaller than its prior of -4 +- 2 has reason for.
    assert found["logit_icc"].min() > -20
    prior = {p.name: p for p in PRIORS}["logit_worn_error"]
    assert found[prior.name].mean() == pytest.approx(prior.mean, abs=0.5)
    assert found[prior.name].std() == pytest.approx(prior.sd, rel=0.3)
    rate = counts.errors.sum(axis=0) / counts.trials.sum(axis=0)
    low, high = np.quantile(state.ber(counts.cycles), [0.001, 0.999], axis=(0, 1))
    assert ((low < rate) & (rate < high)).all()


def test_no_parameters_beat_the_counted_shares() -> None:
    """Mixtures of binomial laws are nowhere above the binomial law of each cell's own share.

    Far out, differences of ln gamma functions were, by thousands.
    """
    counts = without_wear(np.random.default_rng(1))
    likelihood = plain.likelihood(endurance_model(counts), PRIORS)
    rng = np.random.default_rng(2)
    e, n = counts.errors, counts.trials
    bound = (xlogy(e, e / n) + xlogy(n - e, 1 - e / n)).sum()
    mean, sd = moments(PRIORS)
    for scale in (1.0, 8.0, 25.0):
        for _ in range(60):
            value, gradient = likelihood(mean + scale * sd * rng.standard_normal(10))
            assert value <= bound + 1e-3
            assert np.isfinite(gradient).all()


def test_last_decade_is_predicted_from_those_before() -> None:
    """At least two of three 95 % intervals hold the count; by chance fewer do in 0.7 %."""
    options = replace(SAMPLER, draws=150, warmup=200)
    found = []
    for seed in (6, 7, 8):
        counts = simulated(60, np.random.default_rng(seed))
        last = check_last_decade(counts, options=options, rng=np.random.default_rng(1))
        assert last is not None
        assert last.errors == counts.errors[:, counts.cycles > 1e5].sum()
        assert last.predicted_high < 0.8 * last.trials  # a prediction, not everything
        found.append(last.inside)
    assert sum(found) >= 2


def test_replications_have_the_mean_of_the_model() -> None:
    state = known()
    counts = EnduranceCounts(np.array([1e3, 1e6]), np.zeros((40, 2), int), np.full((40, 2), 50))
    drawn = replicate(state, counts, draws=1000, rng=np.random.default_rng(3)) / 50
    # Units are independent: standard error from their means, z below 4 at two places.
    error = drawn.reshape(-1, 2).std(axis=0) / np.sqrt(40 * 1000)
    z = (drawn.mean(axis=(0, 1)) - state.ber([1e3, 1e6])[0, 0]) / error
    assert np.abs(z).max() < 4


def test_a_unit_that_was_worn_out_stays_so() -> None:
    cycles = np.array([1e3, 1e4, 1e5])
    trials = np.full((2, 3), 60)
    seen = EnduranceCounts(cycles, np.array([[0, 35, 36], [0, 0, 0]]), trials)
    later = EnduranceCounts(np.array([2e5]), np.zeros((2, 1), int), trials[:, :1])
    drawn = replicate(known(), later, seen=seen, draws=500, rng=np.random.default_rng(4))
    share = drawn[:, :, 0].mean(axis=0) / 60
    assert share[0] == pytest.approx(expit(0.4), abs=0.06)
    # The other one wears out between with P = (F(2e5) - F(1e5)) / (1 - F(1e5)).
    f = norm.cdf(np.log([1e5, 2e5]) - np.log(2e5), scale=1.2)
    expected = (f[1] - f[0]) / (1 - f[0]) * expit(0.4)
    assert share[1] == pytest.approx(expected, abs=0.08)


def test_windows_hold_all_readings() -> None:
    unit = ["a", "a", "b", "b", "b"]
    counts = count_windows(unit, [10, 11, 10, 900, 1000], [0, 1, 0, 1, 1], per_decade=1)
    np.testing.assert_array_equal(counts.trials, [[2, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(counts.errors, [[1, 0, 0], [0, 1, 1]])
    assert counts.cycles[0] == pytest.approx((10 * 11 * 10) ** (1 / 3))
    counted = count_windows(["a"], [10], [3], trials=[7])
    assert (counted.errors[0, 0], counted.trials[0, 0]) == (3, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cycles": np.array([2.0, 1.0])}, "ascending"),
        ({"errors": np.array([[1, 9]])}, "between 0 and trials"),
        ({"trials": np.array([[5, 0]]), "errors": np.array([[1, 0]])}, "window 1 .* has no trial"),
        ({"errors": np.array([[1, 2, 3]])}, "shape"),
    ],
)
def test_counts_that_contradict_themselves_are_refused(
    change: dict[str, Any], message: str
) -> None:
    good = {
        "cycles": np.array([1.0, 2.0]),
        "errors": np.array([[1, 2]]),
        "trials": np.array([[5, 5]]),
    }
    with pytest.raises(ValueError, match=message):
        EnduranceCounts(**(good | change))


def test_one_window_tells_no_trend() -> None:
    counts = EnduranceCounts(np.array([1e3]), np.array([[1]]), np.array([[5]]))
    with pytest.raises(ValueError, match="no trend"):
        fit_endurance(counts, options=SAMPLER)
    with pytest.raises(ValueError, match="count the first programming as 1"):
        count_windows(["a"], [0], [1])
