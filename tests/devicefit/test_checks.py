"""Gates: pass where the model is right, fail where it is wrong."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from devicefit.checks import Gate, convergence_gates, overlap_gate, tail_gate
from devicefit.compression import Compressed, compress
from devicefit.fitting import Diagnostics
from devicefit.measurements import Measurements
from devicefit.sensing import BerCurve, ErrorCounts, SensingOptions, ber_curves

Measure = Callable[..., Measurements]


def gates_of(fitted: Any) -> dict[str, Gate]:
    gates = (
        *convergence_gates(fitted.posterior),
        overlap_gate(
            fitted.posterior,
            fitted.counts,
            fitted.curves["1T1R"],
            rng=np.random.default_rng(0),
        ),
        tail_gate(fitted.posterior, fitted.compressed),
    )
    return {gate.name: gate for gate in gates}


def test_gates_pass_where_the_model_is_right(good_fit: Any) -> None:
    gates = gates_of(good_fit)
    assert set(gates) == {
        "R-hat",
        "effective draws",
        "divergences",
        "overlap of the states",
        "tails",
    }
    for gate in gates.values():
        assert gate.passed, gate.finding
        assert gate.question.endswith("?")
        assert gate.remedy


def test_control_overlap_and_tails_must_fail_for_the_wrong_family(wrong_fit: Any) -> None:
    gates = gates_of(wrong_fit)
    assert not gates["overlap of the states"].passed
    assert not gates["tails"].passed
    # 5 % of the readings of either state lie where 1 % should, and none where another 1 % should:
    # at worst, fewer than one of 4000
    assert "LRS low 0 %, LRS high 5" in gates["tails"].finding
    assert gates["tails"].value == pytest.approx(40)


@pytest.mark.parametrize(
    ("diagnostics", "failed"),
    [
        (Diagnostics(1.0, 400, 400, 0, 1000), []),
        (Diagnostics(1.0099, 401, 5000, 1, 1000), []),
        (Diagnostics(1.01, 400, 400, 0, 1000), ["R-hat"]),
        (Diagnostics(1.0, 399, 400, 0, 1000), ["effective draws"]),
        (Diagnostics(1.0, 400, 399, 0, 1000), ["effective draws"]),
        (Diagnostics(1.0, 400, 400, 2, 1000), ["divergences"]),
        (Diagnostics(np.nan, np.nan, np.nan, 1000, 1000), ["R-hat", "effective draws"]),
        (Diagnostics(np.inf, 0, 0, 0, 1000), ["R-hat", "effective draws"]),
    ],
)
def test_convergence(
    known_posterior: Callable[..., Any], diagnostics: Diagnostics, failed: list[str]
) -> None:
    posterior = dataclasses.replace(known_posterior(), diagnostics=diagnostics)
    gates = convergence_gates(posterior)
    found = [gate.name for gate in gates if not gate.passed]
    assert found == failed + (["divergences"] if diagnostics.divergences == 1000 else [])
    for gate in gates:
        record = gate.record()
        assert record["passed"] is gate.passed
        assert set(record) == {f.name for f in dataclasses.fields(Gate)}


# --- overlap, with a posterior that is one known device -------------------------------------------

CURRENTS = np.geomspace(2e-5, 6e-4, 12)


def known_overlap(
    known_posterior: Callable[..., Any], *, factor: float, effect: float = 1.0
) -> Gate:
    """Gate for errors drawn at `factor` times the true rate, one condition in each group."""
    rng = np.random.default_rng(51)
    posterior = known_posterior(design_effect=effect, ln_v_c=np.log(2.0))
    curve = ber_curves(posterior, CURRENTS, options=SensingOptions(threshold_ohm=3e4))["1T1R"]
    laws = posterior.mixtures(CURRENTS)
    ln_t = np.log(3e4)
    wrong = {"LRS": laws["LRS"].ln_survival(ln_t), "HRS": laws["HRS"].ln_distribution(ln_t)}
    trials = np.full(12, 2000)
    independent = round(2000 / effect)
    errors = {
        s: rng.binomial(independent, np.minimum(factor * np.exp(p[0, 0]), 1)) * round(effect)
        for s, p in wrong.items()
    }
    counts = ErrorCounts(CURRENTS, CURRENTS, errors, dict.fromkeys(errors, trials), trials)
    return overlap_gate(posterior, counts, curve, rng=np.random.default_rng(52))


def test_overlap_of_the_truth_passes(known_posterior: Callable[..., Any]) -> None:
    gate = known_overlap(known_posterior, factor=1.0)
    assert gate.passed, gate.finding
    assert gate.finding.endswith(
        "of 24 cells (group of conditions, state) inside the 95 % predictive interval"
    )


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_control_another_error_rate_must_fail(
    known_posterior: Callable[..., Any], factor: float
) -> None:
    assert not known_overlap(known_posterior, factor=factor).passed


def test_repeated_readings_are_no_independent_trials(known_posterior: Callable[..., Any]) -> None:
    # every error shows in all 20 readings of a device
    assert known_overlap(known_posterior, factor=1.0, effect=20.0).passed


def test_overlap_needs_a_threshold(known_posterior: Callable[..., Any]) -> None:
    curve = BerCurve("2T2R", CURRENTS, np.zeros((1, 1, 12)), None, np.zeros(12, bool), 0.1)
    counts = ErrorCounts(CURRENTS, CURRENTS, {}, {}, np.zeros(12))
    with pytest.raises(ValueError, match="at the threshold of the 1T1R curve"):
        overlap_gate(known_posterior(), counts, curve, rng=np.random.default_rng(1))


# --- tails, likewise ------------------------------------------------------------------------------


def known_readings(
    known_posterior: Callable[..., Any], measured: Measure, *, spread: float
) -> Compressed:
    """Readings of the known device with its spreads multiplied by `spread`."""
    rng = np.random.default_rng(53)
    currents = np.repeat(CURRENTS[:4], 500)
    laws = known_posterior().mixtures(currents)
    y = [
        m.mean[0, 0, 0] + spread * m.sd[0, 0, 0] * rng.standard_normal(2000)
        for m in (laws["LRS"], laws["HRS"])
    ]
    return compress(
        measured(
            np.concatenate(y),
            state=np.repeat(["LRS", "HRS"], 2000),
            programming=np.tile(currents, 2),
            device=np.tile(np.arange(2000), 2),
            cycle=np.zeros(4000),
        )
    )


def test_tails_of_the_truth_pass(known_posterior: Callable[..., Any], measured: Measure) -> None:
    gate = tail_gate(known_posterior(), known_readings(known_posterior, measured, spread=1.0))
    assert gate.passed, gate.finding


@pytest.mark.parametrize(("spread", "share"), [(1.5, 0.0605), (0.7, 0.0004)])
def test_control_other_spreads_must_fail(
    known_posterior: Callable[..., Any], measured: Measure, spread: float, share: float
) -> None:
    # beyond the 1 % quantile, 2.326 standard deviations, lies 2 Q(2.326 / spread) / 2 of them
    gate = tail_gate(known_posterior(), known_readings(known_posterior, measured, spread=spread))
    assert not gate.passed, gate.finding
    if spread > 1:
        assert gate.value == pytest.approx(share / 0.01, rel=0.3)
