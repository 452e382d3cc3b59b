"""Sampling and diagnostics, on laws that are known."""

import dataclasses
import importlib.metadata

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr

from devicefit.backend import (
    CENTRE,
    ROOT,
    Sampled,
    SamplerOptions,
    bulk_ess,
    r_hat,
    sample_scaled,
    tail_ess,
    versions,
)


@pytest.mark.parametrize("name", ["chains", "draws", "warmup", "cores"])
@pytest.mark.parametrize("value", [0, -1])
def test_counts_are_positive(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be at least 1"):
        SamplerOptions(**{name: value})


@pytest.mark.parametrize("value", [0.4, 1.0, 95.0, np.nan])
def test_target_accept_is_a_fraction(value: float) -> None:
    with pytest.raises(ValueError, match="target_accept is .*; use 0.5 to below 1"):
        SamplerOptions(target_accept=value)


def chains(**columns: np.ndarray) -> xr.Dataset:
    return xr.Dataset({k: (("chain", "draw"), v) for k, v in columns.items()})


def test_diagnostics_tell_chains_that_agree_from_chains_that_do_not() -> None:
    rng = np.random.default_rng(1)
    good = rng.standard_normal((4, 500))
    apart = good + np.array([[0.0], [0.0], [0.0], [3.0]])
    sticky = np.repeat(rng.standard_normal((4, 50)), 10, axis=1)
    posterior = chains(good=good, apart=apart, sticky=sticky)
    assert r_hat(posterior)["good"] < 1.01 < r_hat(posterior)["apart"]
    # 2000 independent draws, and ten equal ones in a row
    assert bulk_ess(posterior)["good"] == pytest.approx(2000, rel=0.15)
    assert bulk_ess(posterior)["sticky"] == pytest.approx(200, rel=0.3)
    assert tail_ess(posterior)["sticky"] < 600 < tail_ess(posterior)["good"]
    assert bulk_ess(posterior)["apart"] < 20


# --- sampling in the scale of the Laplace approximation -------------------------------------------

MEAN = np.array([1.0, -2.0, 0.5])
# standard deviations 1, 0.003 and 0.1; the first and the last correlated with 0.9
COVARIANCE = np.array([[1.0, 0.0, 0.09], [0.0, 9e-6, 0.0], [0.09, 0.0, 0.01]])
OPTIONS = SamplerOptions(chains=2, draws=500, warmup=200, seed=3, cores=1, target_accept=0.9)


def normal_model() -> pm.Model:
    """Density of three normal variables in the form that :func:`sample_scaled` asks for."""
    with pm.Model() as model:
        w = pm.Normal("w", 0.0, 1.0, shape=3)
        z = pm.Data(CENTRE, np.zeros(3)) + pm.Data(ROOT, np.eye(3)) @ w
        apart = z - MEAN
        pm.Potential("prior", 0.5 * pt.sum(w**2))
        pm.Potential("law", -0.5 * apart @ np.linalg.inv(COVARIANCE) @ apart)
    return model


@pytest.fixture(scope="module")
def sampled() -> Sampled:
    return sample_scaled(normal_model(), OPTIONS, centre=np.zeros(3), spread=np.ones(3))


def test_draws_are_those_of_the_law(sampled: Sampled) -> None:
    assert sampled.draws.shape == (2, 500, 3)
    assert sampled.diverging.shape == (2, 500)
    assert not sampled.diverging.any()
    names = ("a", "b", "c")
    posterior = chains(**{n: sampled.draws[..., i] for i, n in enumerate(names)})
    ess = np.array([bulk_ess(posterior)[n] for n in names])
    # the scale is right from the start: as good as independent draws
    assert ess.min() > 400
    flat = sampled.draws.reshape(-1, 3)
    sd = np.sqrt(np.diag(COVARIANCE))
    # nine moments within 4.5 standard errors: 6e-5 that a correct sampler fails
    assert np.all(np.abs(flat.mean(axis=0) - MEAN) < 4.5 * sd / np.sqrt(ess))
    standard = (flat - MEAN) / sd
    moments = standard.T @ standard / len(flat)
    expected = COVARIANCE / np.outer(sd, sd)
    error = np.sqrt((1 + expected**2) / ess.min())
    assert np.all(np.abs(moments - expected) < 4.5 * error)


def test_every_start_reports_its_evidence(sampled: Sampled) -> None:
    # the root of the covariance's determinant; PyMC's constant of the three normal variables
    expected = 0.5 * np.linalg.slogdet(COVARIANCE)[1] - 1.5 * np.log(2 * np.pi)
    assert sampled.ln_evidence.shape == (2,)
    np.testing.assert_allclose(sampled.ln_evidence, expected, atol=0.05)


def test_the_seed_decides_the_draws(sampled: Sampled) -> None:
    def again(options: SamplerOptions) -> np.ndarray:
        where = {"centre": np.zeros(3), "spread": np.ones(3)}
        return sample_scaled(normal_model(), options, **where).draws

    # the number of chains at a time does not
    np.testing.assert_array_equal(again(dataclasses.replace(OPTIONS, cores=2)), sampled.draws)
    assert not np.any(again(dataclasses.replace(OPTIONS, seed=4)) == sampled.draws)
    assert not np.any(sampled.draws[0] == sampled.draws[1])


def test_versions_are_those_installed() -> None:
    found = versions()
    assert found["pymc"] == importlib.metadata.version("pymc")
    assert {"nutpie", "arviz", "numpy", "scipy", "torch"} <= set(found)
