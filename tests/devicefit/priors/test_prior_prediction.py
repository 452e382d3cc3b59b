import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from scipy.stats import norm

from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray
from devicefit.priors.predictive import (
    LEAST_EFFECTIVE,
    QUANTILES,
    draw_parameters,
    ln_quantile,
    prior_prediction,
)
from devicefit.priors.statements import Statement
from devicefit.sampling.prior import Prior, sample_priors

CURRENT, GATE = Programming("SET compliance current", "A"), Programming("gate", "V")
MIDDLE = 1e-4
X = np.array([2e-5, 1e-4, 8e-4])


def frame_of(programming: Programming = CURRENT, **more: object) -> Frame:
    return Frame(programming, 1e-5, 1e-3, **more)


def priors_of(family: str, frame: Frame, **changed: tuple[float, float]) -> tuple[Prior, ...]:
    priors = FAMILIES[family].priors(frame)
    assert set(changed) <= {p.name for p in priors}
    return tuple(
        dataclasses.replace(p, mean=changed[p.name][0], sd=changed[p.name][1])
        if p.name in changed
        else p
        for p in priors
    )


def test_without_statements_parameters_come_from_their_priors() -> None:
    frame = frame_of()
    priors = priors_of("lognormal", frame)
    found, effective = draw_parameters(frame, priors, (), draws=100, rng=np.random.default_rng(5))
    expected = sample_priors(priors, draws=100, rng=np.random.default_rng(5))
    assert effective == 100
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_statement_about_a_parameter_is_conjugate() -> None:
    # at mid range the HRS median is the parameter ln_r_hrs: normal prior, normal factor
    frame = frame_of()
    priors = priors_of("lognormal", frame, ln_r_hrs=(11.5, 1.0))
    statement = Statement("hrs_median", MIDDLE, 11.0, 0.5, "")
    draws = 4000
    found, effective = draw_parameters(
        frame, priors, (statement,), draws=draws, rng=np.random.default_rng(6)
    )
    precision = 1 / 1.0**2 + 1 / 0.5**2
    mean, sd = (11.5 / 1.0**2 + 11.0 / 0.5**2) / precision, precision**-0.5
    values = found["ln_r_hrs"][0]
    assert values.shape == (draws,)
    # 4 standard errors of `effective` independent draws for mean and sd: 1.3e-4 to fail in all;
    # the pool is larger than what is drawn, so `effective` is at its cap
    assert effective == draws
    assert abs(values.mean() - mean) < 4 * sd / np.sqrt(effective)
    assert abs(values.std() / sd - 1) < 4 / np.sqrt(2 * effective)
    # control: without the statement the same check fails
    own, _ = draw_parameters(frame, priors, (), draws=draws, rng=np.random.default_rng(6))
    assert abs(own["ln_r_hrs"].mean() - mean) > 4 * sd / np.sqrt(draws)


def test_effective_number_is_that_of_the_weights() -> None:
    # Weights N(y; m, s)^1 against y ~ N(0, 1): (E w)^2 / E w^2 in closed form
    frame = frame_of()
    priors = priors_of("lognormal", frame, ln_r_hrs=(11.0, 1.0))
    s, m, draws = 0.005, 12.0, 4000
    _, effective = draw_parameters(
        frame,
        priors,
        (Statement("hrs_median", MIDDLE, m, s, ""),),
        draws=draws,
        rng=np.random.default_rng(8),
    )
    once = norm.pdf(m, 11.0, np.hypot(1, s)) * np.sqrt(2 * np.pi) * s
    twice = norm.pdf(m, 11.0, np.hypot(1, s / np.sqrt(2))) * np.sqrt(np.pi) * s
    pool = 20 * draws
    assert effective < draws
    # The relative error of either mean is about 1 / sqrt(hits), hits of the order of 300.
    assert effective == pytest.approx(pool * once**2 / twice, rel=0.25)


def test_statements_that_contradict_the_priors_are_refused() -> None:
    frame = frame_of()
    priors = priors_of("lognormal", frame)
    good = Statement("hrs_median", MIDDLE, np.log(1e5), 0.5, "")
    bad = Statement("lrs_median", MIDDLE, np.log(5e6), 0.1, "")
    with pytest.raises(
        ValueError,
        match=r"at least 50 effective ones .*: lrs_median at 100 uA, stated 4.24e\+06 to 5.89e\+06"
        r", priors .*Check the statement and its unit",
    ):
        draw_parameters(frame, priors, (good, bad), draws=1000, rng=np.random.default_rng(1))
    _, effective = draw_parameters(frame, priors, (good,), draws=1000, rng=np.random.default_rng(1))
    assert effective > LEAST_EFFECTIVE


def test_quantities_of_lognormal_devices() -> None:
    frame = frame_of()
    priors = priors_of("lognormal", frame)
    draws = 40
    found = prior_prediction(
        "lognormal", frame, priors, (), X, draws=draws, rng=np.random.default_rng(9)
    )
    p = {
        k: v[0][:, None]
        for k, v in sample_priors(priors, draws=draws, rng=np.random.default_rng(9)).items()
    }
    # formulas of FACTS (c) written out again, not the library's
    place = np.log(X / MIDDLE) / np.log(1e-3 / 1e-5)
    filament = np.exp(p["ln_v_c"]) / MIDDLE * (MIDDLE / X) ** p["exponent"]
    r_lrs = np.exp(p["ln_r_series"]) + filament
    mean_hrs = p["ln_r_hrs"] + p["hrs_slope"] * place
    sd_hrs = np.exp(p["ln_sd_hrs"] + p["hrs_sd_slope"] * place)
    relative = np.exp(p["ln_sd_filament"]) * (filament / 1e4) ** p["sd_exponent"]
    capped = 1 / (1 / relative + 1 / 3)
    sd_lrs = np.hypot(np.exp(p["ln_sd_floor"]), capped * filament / r_lrs)
    mean_lrs = np.log(r_lrs)

    def check(name: str, values: FloatArray, rel: float) -> None:
        for q, probability in QUANTILES.items():
            expected = np.quantile(values, probability, axis=0)
            assert found.table[name][q] == pytest.approx(expected.tolist(), rel=rel, abs=1e-300)

    check("lrs_median_ohm", r_lrs, 1e-8)
    check("hrs_median_ohm", np.exp(mean_hrs), 1e-8)
    check("lrs_spread", sd_lrs, 1e-6)
    check("hrs_spread", sd_hrs, 1e-6)
    check("set_failed", np.minimum(2 * norm.sf((mean_hrs - mean_lrs) / sd_lrs), 1.0), 1e-6)
    both = np.sqrt(sd_lrs**2 + sd_hrs**2 + 0.05**2)
    check("ber_2t2r", norm.cdf((mean_lrs - mean_hrs) / both), 1e-6)

    def best(ml: float, sl: float, mh: float, sh: float) -> float:
        def ln_ber(t: float) -> float:
            return float(np.logaddexp(norm.logsf(t, ml, sl), norm.logcdf(t, mh, sh)) - np.log(2))

        if ml >= mh:
            return 0.5
        return np.exp(
            min(minimize_scalar(ln_ber, bounds=(ml, mh), method="bounded").fun, ln_ber(1e9))
        )

    reference = np.vectorize(best)(mean_lrs, sd_lrs, mean_hrs, sd_hrs)
    # the last of three scans has steps of 1/1,000 of the distance between the medians
    check("ber_1t1r", reference, 0.01)


def test_a_given_threshold_is_used() -> None:
    frame = frame_of()
    priors = priors_of("lognormal", frame)
    found = prior_prediction(
        "lognormal",
        frame,
        priors,
        (),
        np.array([MIDDLE]),
        options=SensingOptions(threshold_ohm=1e30),
        draws=50,
        rng=np.random.default_rng(1),
    )
    assert found.table["ber_1t1r"]["q50"] == [0.5]  # every HRS cell reads as LRS


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize(
    "frame",
    [frame_of(terms=4), frame_of(GATE), Frame(CURRENT, MIDDLE, MIDDLE)],
    ids=["current", "gate", "one condition"],
)
def test_every_family_predicts(family: str, frame: Frame) -> None:
    statements = (Statement("hrs_median", MIDDLE, np.log(1e5), 0.5, ""),)
    priors = FAMILIES[family].priors(frame)
    found = prior_prediction(
        family, frame, priors, statements, X, draws=100, rng=np.random.default_rng(3)
    )
    for name, quantiles in found.table.items():
        low, middle, high = (np.array(quantiles[q]) for q in QUANTILES)
        assert low.shape == X.shape
        assert np.all((low <= middle) & (middle <= high) & np.isfinite(high)), name
        if name.startswith(("ber", "set")):
            assert np.all((low >= 0) & (high <= 1))
    again = prior_prediction(
        family, frame, priors, statements, X, draws=100, rng=np.random.default_rng(3)
    )
    assert again.table == found.table


def test_failures_are_seen_in_the_prediction() -> None:
    # floors of 1 % far from the transition, narrow states: 1 % of SETs read like HRS, and every
    # threshold between the states leaves (1 % + 1 %) / 2 of the bits wrong
    frame = frame_of()
    sharp = 1e-6
    odds = float(np.log10(0.01 / 0.99))
    priors = priors_of(
        "switching-failure",
        frame,
        log10_set_floor=(odds, sharp),
        log10_reset_floor=(odds, sharp),
        reset_floor_slope=(0.0, sharp),
        set_centre=(-3.0, sharp),
        ln_r_hrs=(np.log(1e6), sharp),
        ln_r_series=(np.log(1e3), sharp),
        ln_v_c=(np.log(0.2), sharp),
        log10_incomplete=(-9.0, sharp),
        ln_sd_hrs=(np.log(0.2), sharp),
        stuck_offset=(-1.5, sharp),  # below the LRS, so below every threshold
    )
    found = prior_prediction(
        "switching-failure",
        frame,
        priors,
        (),
        np.array([5e-4]),
        draws=200,
        rng=np.random.default_rng(4),
    )
    assert found.table["set_failed"]["q50"][0] == pytest.approx(0.01, rel=0.03)
    assert found.table["ber_1t1r"]["q50"][0] == pytest.approx(0.01, rel=0.03)


def test_absurd_priors_are_flagged_with_a_remedy() -> None:
    frame = frame_of()
    sober = prior_prediction(
        "lognormal",
        frame,
        priors_of("lognormal", frame, ln_r_hrs=(np.log(2e5), 0.5)),
        (),
        X,
        draws=400,
        rng=np.random.default_rng(1),
    )
    assert sober.flags == ()
    # an HRS of 10 kohm with the LRS at 20 uA near 26 kohm
    reversed_states = prior_prediction(
        "lognormal",
        frame,
        priors_of("lognormal", frame, ln_r_hrs=(np.log(1e4), 0.5), ln_sd_hrs=(2.0, 0.1)),
        (),
        X,
        draws=400,
        rng=np.random.default_rng(1),
    )
    assert len(reversed_states.flags) == 2
    assert (
        "the LRS median lies above the HRS median with probability 0.9"
        in (reversed_states.flags[0])
    )
    assert "at 20 uA; state lrs_median and hrs_median in a prior file" in reversed_states.flags[0]
    assert (
        "ln R of the HRS spreads by more than 3 with probability 1.00" in (reversed_states.flags[1])
    )
    assert reversed_states.lines()[-1] == f"check: {reversed_states.flags[1]}"


def test_lines_hold_every_number() -> None:
    frame = frame_of()
    found = prior_prediction(
        "lognormal",
        frame,
        priors_of("lognormal", frame),
        (),
        X,
        draws=50,
        rng=np.random.default_rng(1),
    )
    lines = found.lines()
    assert len(lines) == 2 + len(found.table) * len(X)
    assert lines[-1] == "(50 effective draws from the prior)"
    assert lines[0].split() == ["quantity", *CURRENT.name.split(), *"5 % 50 % 95 %".split()]
    row = next(line for line in lines if line.startswith("hrs_spread") and "800 uA" in line)
    expected = [found.table["hrs_spread"][q][2] for q in QUANTILES]
    assert [float(v) for v in row.split()[-3:]] == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("probability", [0.01, 0.5, 0.99])
def test_quantiles_of_a_law(probability: float) -> None:
    frame = frame_of()
    priors = FAMILIES["switching-failure"].priors(frame)
    p = sample_priors(priors, draws=4, rng=np.random.default_rng(2))
    law = FAMILIES["switching-failure"].mixtures(p, frame, frame.places(X))["LRS"]
    found = ln_quantile(law, probability, (1, 4, len(X)))
    terms = law.ln_weight + norm.logcdf(found, law.location, law.scale)
    np.testing.assert_allclose(np.exp(logsumexp(terms, axis=0)), probability, rtol=1e-5)


def test_unknown_family() -> None:
    with pytest.raises(ValueError, match="family 'weibull' is not known; known: lognormal"):
        prior_prediction("weibull", frame_of(), (), (), X, draws=10, rng=np.random.default_rng(1))
