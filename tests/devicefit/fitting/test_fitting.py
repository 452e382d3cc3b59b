"""Fits of simulated devices: sound, failing, and fitted with the wrong family."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logit, logsumexp

from devicefit.compression.compression import compress
from devicefit.distributions.sensing import ln_ber_1t1r, ln_ber_2t2r
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import (
    DevicePosterior,
    Diagnostics,
    fit,
    ln_posterior,
)
from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.intervals import equal_tailed
from devicefit.priors.statements import Statement
from devicefit.sampling import sampler
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import prior_record
from devicefit.sampling.sampler import CLIMBS
from devicefit.simulation.reference_device import (
    ReferencePlan,
    reference_measurements,
    true_mixtures,
)


def truth(fitted: Any, scheme: str) -> np.ndarray:
    """True ln BER on the curve's grid, at the curve's own thresholds."""
    curve = fitted.curves[scheme]
    laws = true_mixtures(fitted.device, curve.programming)
    if scheme == "1T1R":
        return ln_ber_1t1r(laws["LRS"], laws["HRS"], np.log(curve.threshold_ohm))
    return ln_ber_2t2r(laws["LRS"], laws["HRS"], 0.05)


def off(fitted: Any, scheme: str) -> np.ndarray:
    """How far the true ln BER is from the posterior mean, in posterior standard deviations."""
    draws = fitted.curves[scheme].ln_ber
    return (truth(fitted, scheme) - draws.mean(axis=(0, 1))) / draws.std(axis=(0, 1))


@pytest.mark.parametrize("scheme", ["1T1R", "2T2R"])
@pytest.mark.parametrize("name", ["good_fit", "failing_fit"])
def test_the_true_ber_is_where_the_posterior_is(
    request: pytest.FixtureRequest, name: str, scheme: str
) -> None:
    found = request.getfixturevalue(name)
    # a curve of few parameters, four curves: 1e-3 that a correct fit fails
    assert np.abs(off(found, scheme)).max() < 4
    # and the band is informative where errors are counted in dozens
    band = equal_tailed(found.curves[scheme].ln_ber)
    assert (band.high - band.low)[0] < np.log(3)


@pytest.mark.parametrize("scheme", ["1T1R", "2T2R"])
def test_control_the_wrong_family_must_miss(wrong_fit: Any, scheme: str) -> None:
    assert np.median(np.abs(off(wrong_fit, scheme))) > 4
    band = equal_tailed(wrong_fit.curves[scheme].ln_ber)
    inside = (band.low <= truth(wrong_fit, scheme)) & (truth(wrong_fit, scheme) <= band.high)
    assert inside.mean() < 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("ln_v_c", np.log(0.5)), ("exponent", 1.0), ("ln_r_series", np.log(1000.0))]
    + [("ln_r_hrs", np.log(1.1e5)), ("ln_sd_hrs", np.log(0.5)), ("sd_exponent", 0.5)]
    + [("logit_device_share_lrs", logit(0.5)), ("logit_device_share_hrs", logit(0.13))]
    + [("atanh_cycle_correlation_lrs", 0.0), ("atanh_cycle_correlation_hrs", 0.0)],
)
def test_parameters_are_recovered(good_fit: Any, name: str, value: float) -> None:
    # ten parameters within 4 posterior standard deviations: 6e-4 that a correct fit fails
    draws = good_fit.posterior.draws[name].values
    assert abs(draws.mean() - value) < 4 * draws.std()
    prior = {p["name"]: p for p in good_fit.posterior.record["priors"]}[name]
    assert draws.std() < prior["sd"] / 2


@pytest.mark.parametrize("name", ["log10_set_floor", "log10_reset_floor"])
def test_failures_are_recovered(failing_fit: Any, name: str) -> None:
    draws = failing_fit.posterior.draws[name].values
    # odds of 5 %; with 400 readings of each state known to about a fifth
    assert abs(draws.mean() - np.log10(0.05 / 0.95)) < 4 * draws.std()
    assert draws.std() < 0.3


def test_diagnostics_and_record(good_fit: Any) -> None:
    posterior = good_fit.posterior
    d = posterior.diagnostics
    assert 0.99 < d.r_hat < 1.02
    assert 400 < d.bulk_ess
    assert 400 < d.tail_ess
    assert d.divergences == 0
    sizes = posterior.draws.sizes
    assert (d.draws, sizes["chain"], sizes["draw"]) == (4000, 4, 1000)
    record = posterior.record
    assert record["sampler"] == {
        "name": "nutpie NUTS",
        "chains": 4,
        "draws": 1000,
        "warmup": 300,
        "seed": 1,
        "target_accept": 0.9,
    }
    # all starts climb to one mode
    assert record["modes"]["starts"] == CLIMBS
    assert np.ptp(record["modes"]["ln_evidence"]) < 0.5
    priors = FAMILIES["lognormal"].priors(posterior.frame)
    assert record["priors"] == prior_record(priors)
    assert set(posterior.draws.data_vars) == {p["name"] for p in record["priors"]}
    assert (record["devices"], record["readings"]) == (800, {"LRS": 4000, "HRS": 4000})
    for state, effect in record["design_effect"].items():
        assert effect == good_fit.compressed.states[state].design_effect
    json.dumps(record)


def test_laws_of_the_posterior_have_the_grid_last(good_fit: Any) -> None:
    laws = good_fit.posterior.mixtures(np.array([1e-4, 2e-4, 3e-4]))
    assert laws["LRS"].location.shape == (1, 4, 1000, 3)
    assert good_fit.posterior.mixtures(1e-4)["HRS"].location.shape == (1, 4, 1000, 1)


def test_laws_of_several_arrays_and_a_second_variable() -> None:
    """Without an array the law of a cell of any; without a second value that of the median."""
    width = Programming("t", "s")
    frame = Frame(Programming("v", "V"), 1.0, 3.0, width, 1e-7, 1e-5, 1e-6, ("a", "b", "c"))
    rng = np.random.default_rng(4)
    priors = FAMILIES["lognormal"].priors(frame)
    draws = {
        p.name: p.mean + 0.1 * rng.normal(size=(2, 6, *[p.size] * bool(p.size))) for p in priors
    }
    dataset = xr.Dataset(
        {k: (("chain", "draw", f"{k}_term")[: v.ndim], v) for k, v in draws.items()}
    )
    posterior = DevicePosterior(
        "lognormal", dataset, frame, Diagnostics(1.0, 1e3, 1e3, 0, 12), {"devices": 1}
    )
    x = np.array([1.5, 2.5])
    together = posterior.mixtures(x)
    each = [posterior.mixtures(x, array=a) for a in range(3)]
    for state, law in together.items():
        ln_density = [one[state].ln_density(10.0) for one in each]
        assert np.ptp(ln_density, axis=0).min() > 0
        expected = logsumexp(ln_density, axis=0) - np.log(3)
        np.testing.assert_allclose(law.ln_density(10.0), expected, rtol=1e-12)
        for second, same in ((1e-6, True), (1e-5, False)):
            other = posterior.mixtures(x, second=second)[state].location
            assert np.allclose(other, law.location) is same
    mixed = posterior.mixtures(x, array=np.array([2, 0]))["HRS"].location
    np.testing.assert_array_equal(mixed[..., 0], each[2]["HRS"].location[..., 0])
    np.testing.assert_array_equal(mixed[..., 1], each[0]["HRS"].location[..., 1])


# --- determinism ----------------------------------------------------------------------------------


def test_same_seed_same_bytes() -> None:
    plan = ReferencePlan(currents=3, devices_per_current=20, cycles=1)
    compressed = compress(reference_measurements(plan=plan))
    options = SamplerOptions(chains=2, draws=8, warmup=20, seed=5, cores=1)

    def draws(chosen: SamplerOptions) -> xr.Dataset:
        return fit(compressed, family="log-logistic", options=chosen).draws

    first = draws(options)
    # the number of cores does not change the draws
    again = draws(dataclasses.replace(options, cores=2))
    for name in first.data_vars:
        assert first[name].values.tobytes() == again[name].values.tobytes()
        assert not np.any(first[name].values[0] == first[name].values[1])


def test_interrupted_fit_has_no_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a notebook, at the start of the second chain: it was blamed on the seed."""
    plan = ReferencePlan(currents=3, devices_per_current=20, cycles=1)
    compressed = compress(reference_measurements(plan=plan))
    real = sampler._model
    starts = []

    def model(*args: Any) -> Any:
        def begin(seed: Any) -> Any:
            starts.append(seed)
            if len(starts) == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return args[-1](seed)

        return real(*args[:-1], begin)

    monkeypatch.setattr(sampler, "_model", model)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(compressed, family="log-logistic", options=SamplerOptions(cores=1))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(starts) >= 2


@pytest.mark.parametrize("family", ["normal", "", "Lognormal"])
def test_unknown_family(family: str) -> None:
    message = f"family {family!r} is not known; known: {', '.join(FAMILIES)}"
    with pytest.raises(ValueError, match=message):
        fit(
            compress(reference_measurements(plan=ReferencePlan(currents=2, cycles=1))),
            family=family,
            options=SamplerOptions(),
        )


# --- files ----------------------------------------------------------------------------------------


def test_frame_of_a_fit_is_the_measured_range(good_fit: Any) -> None:
    frame = good_fit.posterior.frame
    assert (frame.programming, frame.low, frame.high) == (
        good_fit.measurements.programming, 20e-6, 600e-6,
    )  # fmt: skip
    assert (frame.terms, frame.arrays, frame.second) == (0, ("",), None)
    assert set(frame.levels) <= set(good_fit.posterior.draws.data_vars)


# --- the vector that is sampled -------------------------------------------------------------------


def test_the_density_is_the_posterior_in_units_of_the_priors(
    make_state: Callable[..., Any],
    make_compressed: Callable[..., Any],
    by_name: Callable[..., Any],
    differences: Callable[..., FloatArray],
) -> None:
    """Against normal priors by SciPy, and readings under the laws that the family hands over.

    The likelihoods of all families have tests of their own; here it is one, with a statement.
    """
    name = "log-logistic"
    y = np.linspace(8.5, 11.5, 6)
    state = make_state(np.arange(6), y, conditions=6)
    compressed = make_compressed(
        Programming("v", "V"), np.linspace(1, 3, 6), {"LRS": state, "HRS": state}
    )
    frame, family = Frame.of(compressed), FAMILIES[name]
    priors = family.priors(frame)
    statements = (Statement("hrs_median", 2.0, 11.0, 0.3, ""),)
    density = ln_posterior(family, compressed, priors=priors, statements=statements)
    # its own priors where none are given, and nothing is compiled twice
    own = ln_posterior(family, compressed, statements=statements)
    assert own.model.density.function is density.model.density.function
    mean = np.concatenate([np.full(max(p.size, 1), p.mean) for p in priors])
    sd = np.concatenate([np.full(max(p.size, 1), p.sd) for p in priors])
    places = frame.places(compressed.conditions)
    rng = np.random.default_rng(6)

    def reference(z: FloatArray) -> float:
        draws = by_name(name, frame, (mean + sd * z)[None, None])
        laws = family.mixtures(draws, frame, places)
        value = sum(law.ln_density(y)[0, 0].sum() for law in laws.values())
        middle = family.mixtures(draws, frame, frame.places(np.array([2.0])))["HRS"]
        value += stats.norm.logpdf(middle.location[0, 0, 0, 0], 11.0, 0.3)
        return float(value + stats.norm.logpdf(z).sum())

    # up to a constant
    origin = np.zeros(len(mean))
    for _ in range(3):
        z = 0.5 * rng.normal(size=len(mean))
        value, gradient = density(z)
        apart = reference(z) - reference(origin)
        assert value - density(origin)[0] == pytest.approx(apart, rel=1e-10)
        assert own(z)[0] == value
        # the sharpest bend, of the onset, has a fiftieth of its prior's width: (50 / 10^4)^4 / 30
        slopes = differences(reference, z, 1e-4)
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-6 * np.abs(slopes).max())
