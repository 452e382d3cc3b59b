"""Sampling and diagnostics, on laws that are known."""

import dataclasses
import importlib.metadata
import os
import signal
from typing import Any

import numpy as np
import pytest
import xarray as xr
from devicefit.density import ONCE, Density, Posterior, Term, ValueAndGradient
from devicefit.tape import SYMBOLS, expressions
from scipy import stats

from devicefit import backend
from devicefit.fitting.sampler import (
    CLIMBS,
    NotFinite,
    Sampled,
    SamplerOptions,
    bulk_ess,
    r_hat,
    sample_density,
    tail_ess,
    versions,
)
from devicefit.programming import FloatArray


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


def normal(z: FloatArray) -> tuple[float, FloatArray]:
    """Log density of three normal variables without its constant, and its gradient."""
    pull = np.linalg.solve(COVARIANCE, MEAN - z)
    return -0.5 * float((MEAN - z) @ pull), pull


def as_posterior(
    mean: FloatArray, covariance: FloatArray, *, end: float | None = None
) -> Posterior:
    """A normal law from formulas, which is sampled as machine code; no density below `end`."""
    n = len(mean)
    z = [expressions({"z": i})["z"] for i in range(n)]
    apart = [z[i] - mean[i] for i in range(n)]
    root = np.linalg.cholesky(np.linalg.inv(covariance))
    squares = [sum(root[i, j] * apart[i] for i in range(n)) ** 2 for j in range(n)]
    # less the standard normal prior that a posterior has
    inputs = [*(-0.5 * s for s in squares), *(0.5 * one**2 for one in z)]
    if end is not None:
        inputs.append(0.0 * SYMBOLS.log(z[0] - end))
    return Posterior(Density.of([Term(ONCE, inputs)], 1), np.zeros(n), np.ones(n))


NORMAL = {"Python": normal, "machine code": as_posterior(MEAN, COVARIANCE)}


@pytest.fixture(scope="module", params=NORMAL)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sampled(way: str) -> Sampled:
    return sample_density(NORMAL[way], OPTIONS, centre=np.zeros(3), spread=np.ones(3))


def test_both_ways_are_one_density() -> None:
    for z in MEAN + np.random.default_rng(5).normal(size=(5, 3)) * [1.0, 0.003, 0.1]:
        one, other = (density(z) for density in NORMAL.values())
        assert other[0] == pytest.approx(one[0], rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(other[1], one[1], rtol=1e-9, atol=1e-6)


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
    # twice nine moments within 4.5 standard errors: 1e-4 that a correct sampler fails
    assert np.all(np.abs(flat.mean(axis=0) - MEAN) < 4.5 * sd / np.sqrt(ess))
    standard = (flat - MEAN) / sd
    moments = standard.T @ standard / len(flat)
    expected = COVARIANCE / np.outer(sd, sd)
    error = np.sqrt((1 + expected**2) / ess.min())
    assert np.all(np.abs(moments - expected) < 4.5 * error)


def test_every_start_reports_its_evidence(sampled: Sampled) -> None:
    # the root of the covariance's determinant
    expected = 0.5 * np.linalg.slogdet(COVARIANCE)[1]
    assert sampled.ln_evidence.shape == (CLIMBS,)
    np.testing.assert_allclose(sampled.ln_evidence, expected, atol=0.05)


def test_the_seed_decides_the_draws(sampled: Sampled, way: str) -> None:
    def again(options: SamplerOptions) -> np.ndarray:
        where = {"centre": np.zeros(3), "spread": np.ones(3)}
        return sample_density(NORMAL[way], options, **where).draws

    assert again(OPTIONS).tobytes() == sampled.draws.tobytes()
    # the number of chains at a time does not
    assert again(dataclasses.replace(OPTIONS, cores=2)).tobytes() == sampled.draws.tobytes()
    assert not np.any(again(dataclasses.replace(OPTIONS, seed=4)) == sampled.draws)
    assert not np.any(sampled.draws[0] == sampled.draws[1])


CUT = -0.5
HALF = np.array([[1.0, 0.09], [0.09, 0.01]])


def ends_with(value: float) -> ValueAndGradient:
    precision = np.linalg.inv(HALF)

    def density(z: FloatArray) -> tuple[float, FloatArray]:
        if z[0] < CUT:
            return value, np.full(2, np.nan)
        return -0.5 * float(z @ precision @ z), -precision @ z

    return density


@pytest.mark.parametrize(
    "density",
    [ends_with(-np.inf), ends_with(np.nan), as_posterior(np.zeros(2), HALF, end=CUT)],
    ids=["infinite", "not a number", "machine code"],
)
def test_a_density_that_ends_is_sampled_up_to_its_end(density: ValueAndGradient) -> None:
    """A normal law of which 31 % are cut off, through the middle of the chains' starts."""
    options = SamplerOptions(chains=4, draws=1000, warmup=300, seed=3, cores=1, target_accept=0.9)
    found = sample_density(density, options, centre=np.zeros(2), spread=np.ones(2))
    a, b = found.draws[..., 0], found.draws[..., 1]
    assert a.min() > CUT
    # what steps over the end is told, and its place is not kept
    assert found.diverging.any()
    law = stats.truncnorm(CUT, np.inf)
    # the second is 0.09 of the first and an independent rest
    rest = (b - 0.09 * a) / np.sqrt(0.01 - 0.09**2)
    columns = {
        "a": (a, law.mean(), law.std()),
        "rest": (rest, 0.0, 1.0),
        "a^2": (a**2, law.moment(2), np.sqrt(law.moment(4) - law.moment(2) ** 2)),
        "rest^2": (rest**2, 1.0, np.sqrt(2.0)),
        "a rest": (a * rest, 0.0, np.sqrt(law.moment(2))),
    }
    ess = bulk_ess(chains(**{name: v for name, (v, _, _) in columns.items()}))
    # 4000 draws; chains that turn back at an end in half of the transitions are less efficient
    assert min(ess.values()) > 400
    # three runs of five moments within 4.5 standard errors: 1e-4 that a correct sampler fails
    off = {
        name: abs(v.mean() - mean) / sd * np.sqrt(ess[name])
        for name, (v, mean, sd) in columns.items()
    }
    assert max(off.values()) < 4.5, off
    # control: the law without its end
    assert abs(a.mean()) * np.sqrt(ess["a"]) > 4.5


def test_versions_are_those_installed() -> None:
    found = versions()
    assert found["pymc"] == importlib.metadata.version("pymc")
    assert {"nutpie", "arviz", "numpy", "scipy", "torch"} <= set(found)


def test_a_density_that_is_nowhere_finite_is_refused() -> None:
    def nowhere(z: FloatArray) -> tuple[float, FloatArray]:
        return np.nan, np.full(2, np.nan)

    with pytest.raises(NotFinite, match="not finite around any of 8 starts"):
        sample_density(nowhere, OPTIONS, centre=np.zeros(2), spread=np.ones(2))


def test_draws_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(model: object, options: SamplerOptions) -> dict[str, xr.Dataset]:
        w = np.zeros((options.chains, options.draws, 3))
        w[1, 2:, 0] = np.nan
        return {"posterior": xr.Dataset({"w": (("chain", "draw", "n"), w)})}

    monkeypatch.setattr("devicefit.fitting.sampler._run", lost)
    options = SamplerOptions(chains=2, draws=5, warmup=1)
    with pytest.raises(NotFinite, match=r"3 of 10 draws are not finite \(in 1 of 2 chains\).*seed"):
        sample_density(normal, options, centre=np.zeros(3), spread=np.ones(3))


def test_a_gradient_that_is_not_finite_is_not_followed() -> None:
    """Its place is one where the density cannot be computed, as in machine code."""

    def lost_beyond_one(z: FloatArray) -> tuple[float, FloatArray]:
        return -0.5 * float(z @ z), -z if z[0] < 1 else np.full(2, np.nan)

    options = SamplerOptions(chains=2, draws=200, warmup=100, seed=1, cores=1, target_accept=0.9)
    found = sample_density(lost_beyond_one, options, centre=np.zeros(2), spread=np.ones(2))
    assert np.isfinite(found.draws).all()
    assert found.draws[..., 0].max() < 1


def test_interruption_between_chains_is_none_of_the_draws(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The sampler answers Ctrl-C with the draws so far, and the rest is not a number."""
    starts = 0
    name = {"Python": "_model", "machine code": "_native_model"}[way]
    real = getattr(backend, name)
    options = dataclasses.replace(OPTIONS, cores=1)

    def model(*args: Any) -> Any:
        def start(seed: Any) -> FloatArray:
            nonlocal starts
            starts += 1
            if starts == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return args[-1](seed)

        return real(*args[:-1], start)

    monkeypatch.setattr(backend, name, model)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            sample_density(NORMAL[way], options, centre=np.zeros(3), spread=np.ones(3))
    finally:
        signal.signal(signal.SIGINT, before)
    assert starts >= 2
