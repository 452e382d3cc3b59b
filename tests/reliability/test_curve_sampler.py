"""Draws of a curve against nutpie and ArviZ. Counts are simulated."""

import arviz as az
import numpy as np
import pytest

from devicefit.backend import SamplerOptions, bulk_ess, r_hat, sample_density
from reliability.curve_density import CurveDensity
from reliability.curve_sampler import bulk_ess as own_ess
from reliability.curve_sampler import sample_curve, split_r_hat

BER = np.array([1e-4, 1e-3, 1e-2, 5e-2, 0.2])


@pytest.fixture(scope="module")
def density() -> CurveDensity:
    rng = np.random.default_rng(1)
    share = np.array([2e-4, 2e-3, 0.02, 0.1, 0.5])[:, None]
    tables = {
        "lost": rng.binomial(900, share, (5, 30)),
        "gained": rng.binomial(100, 0.05, (5, 30)),
    }
    return CurveDensity(np.log(BER), tables, {"lost": 900, "gained": 100})


def test_draws_are_those_of_another_sampler(density: CurveDensity) -> None:
    own = sample_curve(density, SamplerOptions(draws=1500, warmup=200, target_accept=0.85)).draws
    other = sample_density(
        density,  # as a Python function: the gradient too is then used by other code
        SamplerOptions(chains=2, draws=600, warmup=300, target_accept=0.85),
        centre=np.zeros(density.size),
        spread=np.full(density.size, 0.1),
        climbs=1,
    ).draws
    sizes = [own_ess(d) for d in (own, other)]
    means = [d.reshape(-1, density.size).mean(axis=0) for d in (own, other)]
    sds = [d.reshape(-1, density.size).std(axis=0) for d in (own, other)]
    error = sds[0] * np.sqrt(1 / sizes[0] + 1 / sizes[1])
    # Two tests for each of 24 parameters: z = 4 is a family-wise 0.3 %.
    assert np.all(np.abs(means[0] - means[1]) < 4 * error)
    # Squares mix more slowly than values: half the effective draws, and sd / sqrt(2 n) of each.
    ln_ratio = np.log(sds[0] / sds[1])
    assert np.all(np.abs(ln_ratio) < 4 * np.sqrt(1 / sizes[0] + 1 / sizes[1]))


def test_convergence_is_measured_as_arviz_does() -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((4, 300, 3))
    slow = noise.copy()
    for i in range(1, 300):
        slow[:, i] = 0.8 * slow[:, i - 1] + 0.6 * noise[:, i]
    shifted = noise + np.array([0.0, 0.0, 1.5, 0.0])[:, None, None]
    wide = noise * np.array([1.0, 1.0, 1.0, 3.0])[:, None, None]
    for draws in (noise, slow, shifted, wide):
        posterior = az.convert_to_dataset({"x": draws})
        assert split_r_hat(draws).max() == pytest.approx(r_hat(posterior)["x"], abs=2e-3)
        assert own_ess(draws).min() == pytest.approx(bulk_ess(posterior)["x"], rel=0.03)
    assert split_r_hat(shifted).max() > 1.1  # a control that must fail
    assert split_r_hat(wide).max() > 1.1


def test_the_same_seed_gives_the_same_draws(density: CurveDensity) -> None:
    options = SamplerOptions(draws=20, warmup=20, seed=5)
    np.testing.assert_array_equal(
        sample_curve(density, options).draws, sample_curve(density, options).draws
    )
