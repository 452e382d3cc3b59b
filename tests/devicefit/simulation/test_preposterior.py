"""Simulated readings and what they teach, against normal laws in closed form."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from devicefit.distributions.mixture import Mixture
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.sampling.diagnostics import psis
from devicefit.simulation.moved_draws import linear_update, moments_update, updated
from devicefit.simulation.new_readings import (
    NewReadings,
    binned,
    independent_readings,
    ln_likelihoods,
)

FRAME = Frame(Programming("SET compliance current", "A"), 2e-5, 6e-4)


def _normal(location: np.ndarray, scale: float) -> Mixture:
    shape = (1, len(location))
    return Mixture(np.zeros(shape), location[None], np.full(shape, scale))


def _posterior(family: str = "lognormal", draws: int = 400) -> DevicePosterior:
    """Draws a tenth as wide as the family's priors."""
    rng = np.random.default_rng(1)
    priors = FAMILIES[family].priors(FRAME)
    named = {}
    for p in priors:
        assert not p.size
        named[p.name] = (("chain", "draw"), p.mean + 0.1 * p.sd * rng.standard_normal((1, draws)))
    record = {
        "devices": 100,
        "design_effect": {"LRS": 1.0, "HRS": 1.0},
        "readings": {"LRS": 100, "HRS": 100},
    }
    return DevicePosterior(
        family, xr.Dataset(named), FRAME, Diagnostics(1.0, 1e3, 1e3, 0, draws), record
    )


@pytest.mark.parametrize(
    ("devices", "cycles", "design_effect", "before", "expected"),
    [
        (100, 1, 3.0, 5.0, 100.0),
        (100, 5, 3.0, 5.0, 500 / 3),  # as measured: divided by the design effect
        (100, 5, 1.0, 5.0, 500.0),  # cycles are new each time
        (100, 50, 5.0, 5.0, 100.0),  # cycles repeat each other
        (7, 1, 1.0, 1.0, 7.0),
        (0, 5, 3.0, 5.0, 0.0),
    ],
)
def test_repeated_readings_are_worth_less(
    devices: int, cycles: int, design_effect: float, before: float, expected: float
) -> None:
    found = independent_readings(
        devices, cycles, design_effect=design_effect, readings_per_device=before
    )
    assert found == pytest.approx(expected)


def test_cycles_of_devices_read_once_are_refused() -> None:
    with pytest.raises(ValueError, match="no device was read twice"):
        independent_readings(10, 2, design_effect=1.0, readings_per_device=1.0)


def test_bins_have_the_probabilities_of_the_law_far_into_the_tails() -> None:
    law = binned(_normal(np.array([-0.3, 0.0, 0.4]), 0.5))
    np.testing.assert_allclose(np.exp(law.ln_p).sum(axis=1), 1.0, rtol=1e-9)
    for row, location in enumerate((-0.3, 0.0, 0.4)):
        below = norm.cdf(law.edges[0], location, 0.5)
        above = norm.sf(law.edges[-1], location, 0.5)
        assert np.exp(law.ln_p[row, 0]) == pytest.approx(below, rel=1e-9)
        assert np.exp(law.ln_p[row, -1]) == pytest.approx(above, rel=1e-9)
    assert norm.sf(law.edges[-1], 0.0, 0.5) < 1e-6


def test_bins_lose_less_than_one_percent_of_the_information() -> None:
    step = 1e-3
    law = binned(_normal(np.array([-step, 0.0, step]), 1.0))
    p = np.exp(law.ln_p)
    information = np.sum(((p[2] - p[0]) / (2 * step)) ** 2 / p[1])
    # 1 / sd^2 for the mean of a normal law
    assert 0.99 < information < 1.0 + 1e-6


def test_binned_likelihood_is_that_of_the_readings() -> None:
    rng = np.random.default_rng(2)
    places = np.linspace(-0.1, 0.1, 5)
    bins = binned(_normal(places, 1.0))
    y = rng.normal(0.05, 1.0, 2000)
    found = bins.ln_likelihood(bins.count(y)[None])[0]
    exact = norm.logpdf(y[:, None], places, 1.0).sum(axis=0)
    # A loss of 1 % of the information is noise of sqrt(0.01 n) times the distance: z = 3.
    limit = 3 * np.sqrt(0.01 * 2000) * (places - places[0])
    assert np.all(np.abs((found - found[0]) - (exact - exact[0])) <= limit)
    assert found.argmax() == exact.argmax()


def test_simulated_counts_have_the_asked_number_in_the_mean() -> None:
    law = binned(_normal(np.zeros(1), 1.0))
    counts = law.simulate(2.25, np.zeros(4000, dtype=np.int64), rng=np.random.default_rng(3))
    totals = counts.sum(axis=1)
    assert set(totals) == {2.0, 3.0}
    # z = 4; the variance of the number is 0.25 * 0.75
    assert totals.mean() == pytest.approx(2.25, abs=4 * np.sqrt(0.1875 / 4000))


@pytest.mark.parametrize("n", [0.0, 3.0, 30.0])
def test_weights_shrink_a_conjugate_normal_posterior_as_they_should(n: float) -> None:
    rng = np.random.default_rng(4)
    prior_sd, draws, simulations = 0.3, 1500, 150
    theta = prior_sd * rng.standard_normal(draws)
    law = binned(_normal(theta, 1.0))
    truth = rng.permutation(draws)[:simulations]
    ln_weight, _ = psis(law.ln_likelihood(law.simulate(n, truth, rng=rng)))
    weight = np.exp(ln_weight)
    mean = weight @ theta
    sd = np.sqrt(np.maximum(weight @ theta**2 - mean**2, 0))
    expected = prior_sd / np.sqrt(1 + n * prior_sd**2)
    # The sd of 1,500 draws is known to 1.8 %, that of weighted ones a little less: z = 3.
    assert sd.mean() == pytest.approx(expected, rel=0.06)
    # Means spread as the law of total variance says: z = 3.5 for 150 of them.
    assert mean.var() == pytest.approx(prior_sd**2 - expected**2, rel=0.4, abs=1e-12)


def test_linear_update_is_the_normal_posterior() -> None:
    rng = np.random.default_rng(5)
    root = rng.normal(size=(4, 4))
    before = rng.normal(size=(5000, 4)) @ root.T + 7.0
    half = rng.normal(size=(2, 4))
    information = half.T @ half
    update = linear_update(before, information)
    covariance = np.cov(before, rowvar=False)
    expected = np.linalg.inv(np.linalg.inv(covariance) + information)
    moved = update.draws(before, rng=rng)
    np.testing.assert_allclose(np.cov(moved, rowvar=False), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        update.shift_root @ update.shift_root.T, covariance - expected, rtol=1e-8, atol=1e-8
    )


def test_no_readings_move_nothing() -> None:
    posterior = _posterior()
    nothing = moments_update(posterior, [NewReadings(1e-4, {"LRS": 0.0, "HRS": 0.0})])
    same = updated(posterior, nothing, rng=np.random.default_rng(6))
    for state, law in same.mixtures(np.array([1e-4])).items():
        np.testing.assert_allclose(
            law.location, posterior.mixtures(np.array([1e-4]))[state].location, rtol=1e-9
        )


def test_both_routes_agree_on_a_device_model() -> None:
    """The law at the measured condition narrows alike with weights and with moments."""
    posterior, x = _posterior(draws=2000), np.array([1e-4])
    readings = [NewReadings(1e-4, {"LRS": 12.0, "HRS": 12.0})]
    location = posterior.mixtures(x)["LRS"].location[0, 0, :, 0]
    rng = np.random.default_rng(7)
    truth = rng.permutation(2000)[:100]
    weight = np.exp(psis(ln_likelihoods(posterior, readings, np.arange(2000), truth, rng=rng))[0])
    mean = weight @ location
    by_weights = np.sqrt(weight @ location**2 - mean**2).mean()
    update = moments_update(posterior, readings)
    by_moments = np.mean(
        [
            updated(posterior, update, rng=rng).mixtures(x)["LRS"].location[0, 0, :, 0].std()
            for _ in range(20)
        ]
    )
    assert by_weights < 0.9 * location.std()
    # Locations spread by 2 % over outcomes; the posterior is normal but for its scale.
    assert by_weights == pytest.approx(by_moments, rel=0.06)
