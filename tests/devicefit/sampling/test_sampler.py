"""Sampling and diagnostics, on laws that are known."""

import dataclasses
import importlib.metadata
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

from devicefit.numerics.arrays import FloatArray
from devicefit.sampling import sampler
from devicefit.sampling.diagnostics import bulk_ess, psis, r_hat, tail_ess, versions
from devicefit.sampling.graph_code import WITHOUT_LOCK
from devicefit.sampling.machine_density import MachineDensity, density_of
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import Prior
from devicefit.sampling.sampler import (
    CLIMBS,
    NotFinite,
    SampledVectors,
    sample_density,
    sample_model,
    standardised,
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


def test_diagnostics_find_the_dimensions_by_name_and_the_worst_entry() -> None:
    """Chains first, draws second, whatever the order in the data."""
    rng = np.random.default_rng(2)
    values = rng.standard_normal((4, 500, 2)) + np.array([0.0, 1.0]) * np.arange(4)[:, None, None]
    posterior = xr.Dataset({"both": (("chain", "draw", "term"), values)})
    bad = chains(x=values[..., 1])
    for diagnostic in (r_hat, bulk_ess, tail_ess):
        assert diagnostic(posterior)["both"] == diagnostic(bad)["x"]
        assert diagnostic(posterior.transpose("term", "draw", "chain")) == diagnostic(posterior)


# --- smoothed importance weights ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_the_shape_of_a_pareto_tail_is_found(shape: float) -> None:
    ratios = stats.genpareto.rvs(shape, size=(200, 2000), random_state=3)
    k = psis(np.log(ratios))[1]
    # 135 ratios make the tail: sd (1 + k) / sqrt(135) each (Smith 1987), and a prior of weight 10
    # towards 0.5
    sd = (1 + shape) / np.sqrt(135)
    assert k.std() == pytest.approx(sd, rel=0.25)
    assert abs(k.mean() - (135 * shape + 10 * 0.5) / 145) < 4.5 * sd / np.sqrt(200) + 0.02


def test_tails_that_cannot_be_fitted_are_left_as_they_are() -> None:
    rng = np.random.default_rng(4)
    alike = np.zeros((1, 500))
    one = np.r_[np.zeros(499), 50.0][None]
    far = 3000 * rng.standard_normal((1, 500))
    for ratios in (alike, one, far, rng.standard_normal((3, 24))):
        ln_weight, k = psis(ratios)
        assert np.isinf(k).all()
        expected = ratios - logsumexp(ratios, axis=1)[:, None]
        np.testing.assert_allclose(ln_weight, expected, rtol=1e-12, atol=1e-12)
    # control: a tail of six (one of five is fitted by some versions of ArviZ alone)
    assert np.isfinite(psis(rng.standard_normal((3, 30)))[1]).all()


def test_one_case_does_not_change_another() -> None:
    ratios = np.random.default_rng(5).standard_normal((3, 500))
    with_others = psis(np.vstack([np.zeros(500), ratios]))
    np.testing.assert_array_equal(with_others[0][1:], psis(ratios)[0])
    np.testing.assert_array_equal(with_others[1][1:], psis(ratios)[1])


# --- sampling in the scale of the Laplace approximation -------------------------------------------

MEAN = np.array([1.0, -2.0, 0.5])
# standard deviations 1, 0.003 and 0.1; the first and the last correlated with 0.9
COVARIANCE = np.array([[1.0, 0.0, 0.09], [0.0, 9e-6, 0.0], [0.09, 0.0, 0.01]])
OPTIONS = SamplerOptions(chains=2, draws=500, warmup=200, seed=3, cores=1, target_accept=0.9)


def normal(z: FloatArray) -> tuple[float, FloatArray]:
    """Log density of three normal variables without its constant, and its gradient."""
    pull = np.linalg.solve(COVARIANCE, MEAN - z)
    return -0.5 * float((MEAN - z) @ pull), pull


def priors_of(size: int) -> tuple[Prior, ...]:
    """A number and a vector, in units of their own."""
    return (
        Prior("a", 0.5, 2.0, "first", ""),
        Prior("rest", -1.0, 3.0, "others", "", size=size - 1, dim="term"),
    )


def model_of(mean: FloatArray, covariance: FloatArray, *, end: float = -1e9) -> pm.Model:
    """A normal law, whatever the priors say; no density below `end`. All are one graph."""
    first, others = priors_of(len(mean))
    coords = {"term": np.arange(others.size), "all": np.arange(len(mean))}
    with pm.Model(coords=coords, check_bounds=False) as model:
        a = pm.Normal("a", first.mean, first.sd)
        rest = pm.Normal("rest", others.mean, others.sd, dims="term")
        precision = pm.Data("precision", np.linalg.inv(covariance), dims=("all", "other"))
        values = pt.concatenate([a[None], rest])
        apart = values - pm.Data("mean", mean, dims="all")
        prior = -0.5 * ((a - first.mean) / first.sd) ** 2 - np.log(first.sd)
        prior -= pt.sum(0.5 * ((rest - others.mean) / others.sd) ** 2 + np.log(others.sd))
        prior -= 0.5 * np.log(2 * np.pi) * values.shape[0]
        law = -0.5 * pt.sum(apart[:, None] * precision * apart[None, :])
        # the logarithm is no number beyond the end
        edge = pm.Data("zero", 0.0) * pt.log(a - pm.Data("end", end))
        pm.Potential("law", law - prior + edge)
    return model


def as_posterior(mean: FloatArray, covariance: FloatArray, *, end: float = -1e9) -> MachineDensity:
    """The same as a function of the variables in their own units."""
    density = standardised(model_of(mean, covariance, end=end), priors_of(len(mean)))
    return density.model.density


@pytest.fixture(scope="module")
def law() -> MachineDensity:
    return as_posterior(MEAN, COVARIANCE)


@pytest.fixture(scope="module")
def sampled(law: MachineDensity) -> SampledVectors:
    return sample_density(law, OPTIONS, centre=np.zeros(3), spread=np.ones(3))


def test_machine_code_is_the_law(law: MachineDensity) -> None:
    for z in MEAN + np.random.default_rng(5).normal(size=(5, 3)) * [1.0, 0.003, 0.1]:
        # PyTensor computes ln 2 and ln 3 in single precision
        assert law(z)[0] == pytest.approx(normal(z)[0], rel=1e-9, abs=1e-6)
        np.testing.assert_allclose(law(z)[1], normal(z)[1], rtol=1e-9, atol=1e-6)


def test_draws_are_those_of_the_law(sampled: SampledVectors) -> None:
    assert sampled.vectors.shape == (2, 500, 3)
    assert sampled.diverging.shape == (2, 500)
    assert not sampled.diverging.any()
    names = ("a", "b", "c")
    posterior = chains(**{n: sampled.vectors[..., i] for i, n in enumerate(names)})
    ess = np.array([bulk_ess(posterior)[n] for n in names])
    # the scale is right from the start: as good as independent draws
    assert ess.min() > 400
    flat = sampled.vectors.reshape(-1, 3)
    sd = np.sqrt(np.diag(COVARIANCE))
    # twice nine moments within 4.5 standard errors: 1e-4 that a correct sampler fails
    assert np.all(np.abs(flat.mean(axis=0) - MEAN) < 4.5 * sd / np.sqrt(ess))
    standard = (flat - MEAN) / sd
    moments = standard.T @ standard / len(flat)
    expected = COVARIANCE / np.outer(sd, sd)
    error = np.sqrt((1 + expected**2) / ess.min())
    assert np.all(np.abs(moments - expected) < 4.5 * error)


def test_every_start_reports_its_evidence(sampled: SampledVectors) -> None:
    # the root of the covariance's determinant
    expected = 0.5 * np.linalg.slogdet(COVARIANCE)[1]
    assert sampled.ln_evidence.shape == (CLIMBS,)
    np.testing.assert_allclose(sampled.ln_evidence, expected, atol=0.05)


def test_the_seed_decides_the_draws(sampled: SampledVectors, law: MachineDensity) -> None:
    def again(options: SamplerOptions) -> np.ndarray:
        where = {"centre": np.zeros(3), "spread": np.ones(3)}
        return sample_density(law, options, **where).vectors

    assert again(OPTIONS).tobytes() == sampled.vectors.tobytes()
    # the number of chains at a time does not
    assert again(dataclasses.replace(OPTIONS, cores=2)).tobytes() == sampled.vectors.tobytes()
    assert not np.any(again(dataclasses.replace(OPTIONS, seed=4)) == sampled.vectors)
    assert not np.any(sampled.vectors[0] == sampled.vectors[1])


def test_a_model_is_sampled_in_units_of_its_priors() -> None:
    """Names, shapes and dimensions of its variables; 4.5 standard errors as above."""
    sampled = sample_model(model_of(MEAN, COVARIANCE), priors_of(3), OPTIONS)
    assert dict(sampled.draws.sizes) == {"chain": 2, "draw": 500, "rest_term": 2}
    assert sampled.draws["a"].dims == ("chain", "draw")
    assert not sampled.diverging.any()
    found = [sampled.draws["a"].values, *np.moveaxis(sampled.draws["rest"].values, -1, 0)]
    sd = np.sqrt(np.diag(COVARIANCE))
    for values, mean, one in zip(found, MEAN, sd, strict=True):
        ess = bulk_ess(chains(x=values))["x"]
        assert ess > 400
        assert abs(values.mean() - mean) < 4.5 * one / np.sqrt(ess)
        assert values.std() == pytest.approx(one, rel=4.5 / np.sqrt(2 * ess))
    # a density over the units of the priors is as many times higher
    expected = 0.5 * np.linalg.slogdet(COVARIANCE)[1] - np.log([2.0, 3.0, 3.0]).sum()
    np.testing.assert_allclose(sampled.ln_evidence, expected, atol=0.05)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a",), r"differ in \['rest'\]; give one row for each variable"),
        (("a", "rest", "more"), r"differ in \['more'\]"),
        (("rest", "a"), r"differ in \('rest', 'a'\);.*in the order of the model"),
    ],
)
def test_a_table_that_is_not_that_of_the_model_is_refused(
    names: tuple[str, ...], message: str
) -> None:
    table = {p.name: p for p in (*priors_of(3), Prior("more", 0.0, 1.0, "", ""))}
    with pytest.raises(ValueError, match=message):
        standardised(model_of(MEAN, COVARIANCE), [table[name] for name in names])


CUT = -0.5
HALF = np.array([[1.0, 0.09], [0.09, 0.01]])


@pytest.fixture(scope="module")
def ends() -> Callable[..., MachineDensity]:
    """Make a normal law of two variables that is lost where the first is below an end."""
    x, precision = pt.dvector(), pt.dmatrix()
    end, value, slope = pt.dscalars("end", "value", "slope")
    pull = -(precision * x).sum(axis=1)
    lost = x[0] < end
    outputs = [0.5 * (x * pull).sum() + pt.switch(lost, value, 0.0)]
    outputs.append(pull + pt.switch(lost, slope, 0.0))
    inputs = [x, precision, end, value, slope]
    graph = pytensor.function(inputs, outputs, mode=WITHOUT_LOCK).vm.jit_fn
    function = density_of(graph, [(np.dtype(np.float64), i.ndim) for i in inputs[1:]])

    def make(
        covariance: FloatArray, end: float, *, value: float = np.nan, slope: float = np.nan
    ) -> MachineDensity:
        data = np.linalg.inv(covariance), *(np.array(v) for v in (end, value, slope))
        return MachineDensity(function, 2, data)

    return make


ENDING = {
    "infinite": {"value": -np.inf},
    "not a number": {"value": np.nan},
    "slope not a number": {"value": 0.0},
    "slope alone infinite": {"value": 0.0, "slope": np.inf},
}


@pytest.mark.parametrize("how", ENDING)
def test_what_is_not_finite_is_no_density(how: str, ends: Callable[..., MachineDensity]) -> None:
    density = ends(HALF, CUT, **ENDING[how])
    value, slope = density(np.array([CUT - 0.1, 0.0]))
    assert value == -np.inf
    assert not slope.any()
    at = np.array([0.3, -0.2])
    expected = -np.linalg.solve(HALF, at)
    np.testing.assert_allclose(density(at)[1], expected, rtol=1e-12)
    assert density(at)[0] == pytest.approx(0.5 * at @ expected, rel=1e-12)


def test_a_density_in_another_scale() -> None:
    law = as_posterior(MEAN, COVARIANCE)
    rng = np.random.default_rng(8)
    centre, root, w = rng.normal(size=3), rng.normal(size=(3, 3)), rng.normal(size=3)
    value, slope = law(centre + root @ w)
    assert law.in_scale(centre, root)(w)[0] == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(law.in_scale(centre, root)(w)[1], slope @ root, rtol=1e-10)


def test_a_vector_of_another_length_is_refused(law: MachineDensity) -> None:
    with pytest.raises(ValueError, match="the density is one of 3 numbers"):
        law(np.zeros(4))


@pytest.mark.parametrize("how", ["infinite", "not a number", "model"])
def test_a_density_that_ends_is_sampled_up_to_its_end(
    how: str, ends: Callable[..., MachineDensity]
) -> None:
    """A normal law of which 31 % are cut off, through the middle of the chains' starts."""
    options = SamplerOptions(chains=4, draws=1000, warmup=300, seed=3, cores=1, target_accept=0.9)
    if how == "model":
        density = as_posterior(np.zeros(2), HALF, end=CUT)
    else:
        density = ends(HALF, CUT, **ENDING[how])
    found = sample_density(density, options, centre=np.zeros(2), spread=np.ones(2))
    a, b = found.vectors[..., 0], found.vectors[..., 1]
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
    found = versions("pandas")
    assert {n: found[n] for n in ("pymc", "pandas")} == {
        n: importlib.metadata.version(n) for n in ("pymc", "pandas")
    }
    assert {"nutpie", "arviz", "numpy", "scipy"} <= set(found)


def test_a_density_that_is_nowhere_finite_is_refused(ends: Callable[..., MachineDensity]) -> None:
    nowhere = ends(HALF, np.inf)
    with pytest.raises(NotFinite, match="not finite around any of 8 starts"):
        sample_density(nowhere, OPTIONS, centre=np.zeros(2), spread=np.ones(2))


def test_draws_that_are_not_finite_are_refused(
    monkeypatch: pytest.MonkeyPatch, law: MachineDensity
) -> None:
    def lost(model: object, options: SamplerOptions) -> dict[str, xr.Dataset]:
        w = np.zeros((options.chains, options.draws, 3))
        w[1, 2:, 0] = np.nan
        return {"posterior": xr.Dataset({"w": (("chain", "draw", "n"), w)})}

    monkeypatch.setattr("devicefit.sampling.sampler._run", lost)
    options = SamplerOptions(chains=2, draws=5, warmup=1)
    with pytest.raises(NotFinite, match=r"3 of 10 draws are not finite \(in 1 of 2 chains\).*seed"):
        sample_density(law, options, centre=np.zeros(3), spread=np.ones(3))


def test_a_gradient_that_is_not_finite_is_not_followed(ends: Callable[..., MachineDensity]) -> None:
    """Its place is one where the density cannot be computed."""
    options = SamplerOptions(chains=2, draws=200, warmup=100, seed=1, cores=1, target_accept=0.9)
    density = ends(np.eye(2), -1.0, value=0.0)
    found = sample_density(density, options, centre=np.zeros(2), spread=np.ones(2))
    assert np.isfinite(found.vectors).all()
    assert found.vectors[..., 0].min() > -1


def test_interruption_between_chains_is_none_of_the_draws(
    monkeypatch: pytest.MonkeyPatch, law: MachineDensity
) -> None:
    """The sampler answers Ctrl-C with the draws so far, and the rest is not a number."""
    starts = 0
    real = sampler._model
    options = dataclasses.replace(OPTIONS, cores=1)

    def model(*args: Any) -> Any:
        def start(seed: Any) -> FloatArray:
            nonlocal starts
            starts += 1
            if starts == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return np.asarray(args[-1](seed))

        return real(*args[:-1], start)

    monkeypatch.setattr(sampler, "_model", model)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            sample_density(law, options, centre=np.zeros(3), spread=np.ones(3))
    finally:
        signal.signal(signal.SIGINT, before)
    assert starts >= 2
