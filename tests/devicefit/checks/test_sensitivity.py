"""Power-scaling against conjugate normal models, where the scaled posterior is known."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from devicefit.checks.sensitivity import (
    SENSITIVE,
    Sensitivity,
    curve_sensitivity,
    jensen_shannon,
    ln_likelihoods,
    ln_priors,
    power_scaling,
)
from devicefit.compression.compression import compress
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import check_measurements
from devicefit.priors.statements import Statement, statement_record
from devicefit.sampling.prior import prior_record, sample_priors

CURRENT = Programming("SET compliance current", "A")


def distance(p: Callable[[float], float], q: Callable[[float], float], end: float) -> float:
    """Cumulative Jensen-Shannon distance of two distribution functions on [-end, end]."""

    def one_sided(p: Callable[[float], float], q: Callable[[float], float]) -> float:
        def inner(x: float) -> float:
            a, b = p(x), q(x)
            return a * np.log2(2 * a / (a + b)) + b * np.log2(2 * b / (a + b))

        top, bound = (
            quad(f, -end, end, limit=200, epsabs=1e-13)[0] for f in (inner, lambda x: p(x) + q(x))
        )
        return float(np.sqrt(top / bound))

    # the mirrored distributions have survival functions as distribution functions
    return max(one_sided(p, q), one_sided(lambda x: 1 - p(-x), lambda x: 1 - q(-x)))


@pytest.mark.parametrize(("shift", "scale"), [(0.5, 1.0), (-1.0, 1.0), (0.0, 0.7), (0.3, 0.8)])
def test_distance_against_quadrature(shift: float, scale: float) -> None:
    # evenly spread draws, weighted into another normal law
    draws = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    ln_weight = norm.logpdf(draws, shift, scale) - norm.logpdf(draws)
    weight = np.exp(ln_weight - ln_weight.max())
    found = jensen_shannon(draws, weight / weight.sum())
    end = draws[-1]
    expected = distance(
        lambda v: float(norm.cdf(v)), lambda v: float(norm.cdf(v, shift, scale)), end
    )
    assert found == pytest.approx(expected, rel=0.01)


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30),
    seed=st.integers(0, 1000),
    factor=st.floats(1e-3, 1e3),
)
def test_distance_has_no_unit_and_no_sign(values: list[float], seed: int, factor: float) -> None:
    x = np.array(values)
    weight = np.random.default_rng(seed).dirichlet(np.ones(len(x)))
    found = jensen_shannon(x, weight)
    assert 0 <= found <= 1
    assert jensen_shannon(factor * x, weight) == pytest.approx(found, rel=1e-6, abs=1e-9)
    assert jensen_shannon(-x, weight) == pytest.approx(found, rel=1e-6, abs=1e-7)
    assert jensen_shannon(x, np.full(len(x), 1 / len(x))) < 1e-7


def conjugate(n: int, prior_mean: float, *, draws: int = 4000) -> Any:
    """Scaling of a normal mean, prior N(prior_mean, 1), n readings of sd 1 with mean 0."""
    rng = np.random.default_rng(17)
    precision = 1 + n
    centre = prior_mean / precision
    mu = centre + rng.standard_normal(draws) / np.sqrt(precision)
    prior = power_scaling({"mu": mu}, -0.5 * (mu - prior_mean) ** 2)
    return prior, power_scaling({"mu": mu}, -0.5 * n * mu**2), precision, centre


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_shift_of_a_conjugate_mean(n: int) -> None:
    prior, likelihood, precision, _ = conjugate(n, 3.0)
    # Prior power a: mean = 3 a / (a + n), whose derivative at one is 3 n / (1 + n)^2; in units of
    # 1 / sqrt(1 + n), for each doubling, times ln 2. The likelihood has the opposite derivative.
    expected = np.log(2) * 3 * n / precision**1.5
    # cov(mu, ln p) from 4000 draws: relative error near sqrt((1 + 2 (1 + n)^-1 ...) / 4000) < 6 %
    assert prior.shift[0] == pytest.approx(expected, rel=0.08, abs=0.03)
    assert likelihood.shift[0] == pytest.approx(-expected, rel=0.08, abs=0.05)
    assert prior.matters[0] == (n < 1000)
    assert (prior.change[0] >= SENSITIVE) == (n < 1000)


def test_distance_of_a_conjugate_mean() -> None:
    prior, _, precision, centre = conjugate(10, 3.0, draws=20_000)
    power = 1.01
    sd = 1 / np.sqrt(precision)
    other = 1 / np.sqrt(power + 10)
    shifted = 3 * power / (power + 10)
    expected = distance(
        lambda v: float(norm.cdf(sd * v + centre, centre, sd)),
        lambda v: float(norm.cdf(sd * v + centre, shifted, other)),
        # 20,000 draws reach about 4 standard deviations
        4.0,
    ) / np.log2(power)
    assert prior.change[0] == pytest.approx(expected, rel=0.1)


def test_what_quantities_rest_on() -> None:
    rng = np.random.default_rng(18)
    known, unknown = rng.normal(0, 0.01, 4000), rng.normal(0, 1, 4000)
    quantities = {"known": known, "unknown": unknown, "fixed": np.zeros(4000)}
    found = Sensitivity(
        tuple(quantities),
        power_scaling(quantities, -0.5 * (known**2 + unknown**2)),
        power_scaling(quantities, -0.5 * known**2 / 0.01**2),
        np.array([True, False, False]),
    )
    assert found.diagnosis == ("data", "prior", "data")
    # prior power 2 makes a normal law narrower by sqrt 2; nothing moves
    assert abs(found.prior.shift[1]) < 0.05
    assert found.prior.moved == pytest.approx(
        found.prior.shift * [known.std(), unknown.std(), 0.0], abs=1e-12
    )
    assert (found.prior.change[2], found.prior.shift[2], found.prior.error[2]) == (0, 0, 0)
    rows = found.record()
    assert [row["rests_on"] for row in rows] == list(found.diagnosis)
    assert [row["is_answer"] for row in rows] == [True, False, False]
    assert rows[1]["likelihood_error"] == found.likelihood.error[1]


@pytest.mark.parametrize("draws", [200, 4000])
def test_chance_is_told_from_change(draws: int) -> None:
    # thirty priors, of which one has to do with the quantity in the second case
    rng = np.random.default_rng(20)
    z = rng.standard_normal((draws, 30))
    ln_density = -0.5 * (z**2).sum(axis=1)
    unrelated = power_scaling({"q": rng.standard_normal(draws)}, ln_density)
    assert not unrelated.matters[0]
    related = power_scaling({"q": z[:, 0]}, ln_density - 3 * z[:, 0])
    assert related.matters[0]
    assert unrelated.change[0] < 4 * unrelated.error[0]


@pytest.mark.parametrize("draws", [1000, 4000])
def test_the_error_is_that_of_the_change(draws: int) -> None:
    # a quantity whose own prior matters among thirty, 60 times; a standard deviation from 60 values
    # is known within 9 %
    rng = np.random.default_rng(21)
    found, exact = [], []
    for _ in range(60):
        z = rng.standard_normal((draws, 30))
        ln_density = -0.5 * (z[:, 1:] ** 2).sum(axis=1) - 0.6 * z[:, 0]
        found.append(power_scaling({"q": z[:, 0]}, ln_density))
        exact.append(power_scaling({"q": z[:, 0]}, -0.6 * z[:, 0]).change[0])
    change = np.array([f.change[0] for f in found])
    error = np.array([f.error[0] for f in found])
    assert change.std() == pytest.approx(error.mean(), rel=0.35)
    # the same draws without the other priors, which have nothing to do with the quantity
    assert change.mean() == pytest.approx(np.mean(exact), rel=0.05)


@pytest.mark.parametrize(
    ("quantities", "message"),
    [
        ({"a": np.zeros(4)}, r"a has shape \(4,\); expected \(5,\)"),
        ({"a": np.array([0, 1, np.inf, 0, 0.0])}, "a is not finite at draw 2"),
    ],
)
def test_bad_draws(quantities: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        power_scaling(quantities, np.zeros(5))


# --- of a device ----------------------------------------------------------------------------------


def device(family: str) -> tuple[DevicePosterior, Any]:
    """Draws close to the prior means, and readings at twelve currents: smooth deviations."""
    rng = np.random.default_rng(19)
    currents = np.geomspace(5e-5, 3e-4, 12)
    rows = [
        (f"d{d}", state, currents[d % 12], np.exp(rng.normal(mean, 0.3)))
        for d in range(60)
        for state, mean in (("LRS", 8.5), ("HRS", 11.5))
    ]
    names = ["device_id", "state", "programming", "resistance_ohm"]
    compressed = compress(check_measurements(pd.DataFrame(rows, columns=names), CURRENT))
    frame = Frame.of(compressed)
    assert frame.terms > 0
    priors = FAMILIES[family].priors(frame)
    narrow = tuple(dataclasses.replace(p, sd=p.sd / 5) for p in priors)
    named = sample_priors(narrow, draws=40, rng=rng)
    draws = xr.Dataset(
        {
            name: (("chain", "draw", *([f"{name}_term"] if v.ndim == 3 else [])), v)
            for name, v in named.items()
        }
    )
    record = {"devices": 60, "priors": prior_record(priors)}
    return (
        DevicePosterior(family, draws, frame, Diagnostics(1.0, 1e3, 1e3, 0, 40), record),
        compressed,
    )


@pytest.mark.parametrize("family", ["lognormal", "student-t"])
def test_likelihood_of_every_draw(family: str) -> None:
    posterior, compressed = device(family)
    found = ln_likelihoods(posterior, compressed)
    laws = posterior.mixtures(compressed.conditions)
    expected = np.zeros(40)
    for state, data in compressed.states.items():
        law = laws[state].part((0, slice(None), slice(None)))
        at = (slice(None), data.condition)
        if family == "lognormal":
            ln_f = norm.logpdf(data.ln_r, law.location[0][at], law.scale[0][at])
        else:
            ln_f = np.stack([law.part(at).ln_density(y)[:, i] for i, y in enumerate(data.ln_r)], 1)
        expected += ln_f @ data.count
    # up to a constant; the lognormal family has exact statistics, not bins
    np.testing.assert_allclose(
        found - found[0],
        expected - expected[0],
        rtol=1e-9,
        atol=(1e-3 if family == "lognormal" else 1e-9) * np.abs(expected).max(),
    )


def test_prior_of_every_draw() -> None:
    posterior, _ = device("lognormal")
    expected = np.zeros(40)
    for row in posterior.record["priors"]:
        if not row["name"].endswith("_deviation"):
            expected += norm.logpdf(posterior.draws[row["name"]].values[0], row["mean"], row["sd"])
    found = ln_priors(posterior)
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=1e-9, atol=1e-9)
    # what was stated about the device belongs to the prior
    stated = Statement("hrs_median", 1e-4, np.log(2e5), 0.3, "made up")
    record = posterior.record | {"statements": statement_record((stated,))}
    more = ln_priors(dataclasses.replace(posterior, record=record))
    median = posterior.mixtures(np.array([1e-4]))["HRS"].location[0, 0, :, 0]
    np.testing.assert_allclose(
        more - found, -0.5 * ((median - np.log(2e5)) / 0.3) ** 2, rtol=1e-9, atol=1e-9
    )


def test_answers_are_above_the_support_line() -> None:
    posterior, compressed = device("lognormal")
    x = np.geomspace(5e-5, 3e-4, 11)
    curves = ber_curves(posterior, x, options=SensingOptions(threshold_ohm=9e3))
    found = curve_sensitivity(posterior, compressed, curves, places=3)
    assert found.names[:3] == (
        "ln BER 1T1R at 50 uA",
        "ln BER 1T1R at 122 uA",
        "ln BER 1T1R at 300 uA",
    )
    assert set(found.names[6:]) == {
        row["name"] for row in posterior.record["priors"] if not row["size"]
    }
    assert not found.is_answer[6:].any()
    for i, scheme in enumerate(("1T1R", "2T2R")):
        for j, place in enumerate((0, 5, 10)):
            tenth = np.quantile(np.exp(curves[scheme].ln_ber[..., place]), 0.1)
            assert found.is_answer[3 * i + j] == (tenth >= 1 / 30)
    assert found.is_answer.any()
    assert not found.is_answer.all()
