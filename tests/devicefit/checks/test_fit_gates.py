"""Gates: pass where the model is right, fail where it is wrong."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from devicefit.checks.fit_gates import gate_report, loo_gate, modes_gate, sensitivity_gate
from devicefit.checks.predictive_tests import predictive_tests
from devicefit.checks.sensitivity import Scaling, Sensitivity
from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.fitting.convergence import answer_diagnostics, convergence_gates
from devicefit.fitting.fit import Diagnostics
from devicefit.fitting.gate import Gate, GateReport
from devicefit.prediction.loo import Loo, loo


def report_of(fitted: Any) -> GateReport:
    return gate_report(
        fitted.posterior,
        fitted.compressed,
        curves=fitted.curves,
        left_out=loo(fitted.posterior, fitted.compressed, fitted.measurements, draws=200),
        tests=predictive_tests(fitted.posterior, fitted.measurements, options=SensingOptions()),
    )


def test_gates_pass_where_the_model_is_right(good_fit: Any) -> None:
    report = report_of(good_fit)
    assert [gate.name for gate in report.gates] == [
        "R-hat",
        "effective draws",
        "divergences",
        "posterior modes",
        "overlap of the states",
        "law of ln R",
        "pairs of readings",
        "left-out devices",
        "priors",
    ]
    for gate in report.gates:
        assert gate.passed, gate.finding
        assert gate.question.endswith("?")
        assert gate.remedy
    assert report.passed
    assert report.lines()[0] == "all 9 gates passed"


def test_control_totals_and_law_must_fail_for_the_wrong_family(wrong_fit: Any) -> None:
    report = report_of(wrong_fit)
    gates = {gate.name: gate for gate in report.gates}
    assert not report.passed
    # 5 % of the readings of either state are those of the other, which a lognormal law cannot say
    for name in ("overlap of the states", "law of ln R", "pairs of readings"):
        assert not gates[name].passed, gates[name].finding


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


def curve_of(ln_ber: np.ndarray) -> BerCurve:
    x = np.arange(1.0, ln_ber.shape[-1] + 1)
    return BerCurve("1T1R", x, ln_ber, None, np.zeros(len(x), bool), 0.01)


@pytest.mark.parametrize(
    ("r_hat", "ess", "apart", "failed", "value"),
    [
        # parameters that mix slowly and change no answer
        (1.03, 150, 0.0, [], None),
        # parameters in different places in each chain, few draws of them
        (1.06, 150, 0.0, ["R-hat"], 1.06),
        (1.03, 90, 0.0, ["effective draws"], 90),
        # answers that differ between chains, by half a standard deviation
        (1.0, 2000, 0.5, ["R-hat", "effective draws"], None),
    ],
)
def test_answers_are_asked_for_more_than_parameters(
    known_posterior: Callable[..., Any],
    r_hat: float,
    ess: float,
    apart: float,
    failed: list[str],
    value: float | None,
) -> None:
    ln_ber = np.random.default_rng(54).standard_normal((4, 500, 3))
    ln_ber[0, :, 1] += apart
    ln_ber[..., 2] = np.log(0.5)  # exactly one half: known, whatever the chains did
    posterior = dataclasses.replace(
        known_posterior(), diagnostics=Diagnostics(r_hat, ess, ess, 0, 2000)
    )
    gates = convergence_gates(posterior, {"1T1R": curve_of(ln_ber)})
    assert [gate.name for gate in gates if not gate.passed] == failed
    for gate in gates:
        if value is not None and not gate.passed:
            assert gate.value == value
            assert gate.limit in (1.05, 100)
    # control: without curves the parameters are the answer
    names = [gate.name for gate in convergence_gates(posterior) if not gate.passed]
    assert names == (["R-hat", "effective draws"] if r_hat > 1 else [])


def test_answers_that_do_not_vary_are_known() -> None:
    assert answer_diagnostics({"1T1R": curve_of(np.full((2, 50, 2), -0.7))}) == (1.0, 100.0)


# --- modes, left-out devices, priors --------------------------------------------------------------


@pytest.mark.parametrize(
    ("evidence", "r_hat", "passed", "share", "words"),
    [
        ([-50.0, -50.2, -50.9], 1.1, True, 0.0, "1 modes from 3 starts, 0 of them hopeless"),
        # 1 / (1 + e^4) of the posterior
        ([-50.0, -54.0, -50.0], 1.1, True, 0.018, "2 modes from 3 starts"),
        ([-54.0, -52.0], 1.1, False, 0.119, "chains do not agree"),
        ([-54.0, -52.0], 1.0, True, 0.119, "chains do agree"),
        ([-900.0, -50.0, -61.0], 1.1, True, 1.7e-5, "3 modes from 3 starts, 1 of them hopeless"),
    ],
)
def test_modes(
    known_posterior: Callable[..., Any],
    evidence: list[float],
    r_hat: float,
    passed: bool,
    share: float,
    words: str,
) -> None:
    posterior = dataclasses.replace(
        known_posterior(),
        diagnostics=Diagnostics(r_hat, 1e3, 1e3, 0, 1000),
        record={"modes": {"starts": len(evidence), "ln_evidence": evidence}},
    )
    gate = modes_gate(posterior)
    assert gate.passed is passed
    assert gate.value == pytest.approx(share, rel=0.03, abs=1e-12)
    assert words in gate.finding


@pytest.mark.parametrize(
    ("k", "passed", "words"),
    [
        (
            [0.1, 0.5],
            True,
            "0 of 2 devices with Pareto k above 0.7 or not finite; largest finite k 0.50",
        ),
        ([0.1, 0.9, 0.8, np.nan], True, "3 of 4 devices"),
        ([0.1] + 4 * [np.nan], False, "4 of 5 devices"),
        (4 * [np.inf], False, "largest finite k none"),
        ([0.0] * 997 + [0.8, 0.8, 1.2], True, "3 of 1000 devices"),
        ([0.0] * 996 + 4 * [0.8], False, "4 of 1000 devices"),
        ([0.0] * 4996 + 4 * [0.8], True, "4 of 5000 devices"),
    ],
)
def test_left_out_devices(k: list[float], passed: bool, words: str) -> None:
    found = Loo(tuple(f"d{i}" for i in range(len(k))), np.zeros(len(k)), np.array(k))
    gate = loo_gate(found)
    assert gate.passed is passed
    assert words in gate.finding
    assert gate.remedy.startswith("refit without these devices")


def sensitivities(
    *prior: float, answers: tuple[bool, ...], error: float = 0.01, moved: float = -0.3
) -> Sensitivity:
    n = len(prior)
    return Sensitivity(
        tuple(f"q{i}" for i in range(n)),
        Scaling(np.array(prior), np.zeros(n), np.full(n, moved), np.full(n, error)),
        Scaling(np.full(n, 0.2), np.zeros(n), np.full(n, moved), np.full(n, error)),
        np.array(answers),
    )


def test_priors() -> None:
    # two answers share 0.5 %: 2.807 errors, the 99.75 % quantile of the normal law
    gate = sensitivity_gate(sensitivities(0.01, 0.078, 0.4, answers=(True, True, False)))
    assert gate.passed
    assert gate.value == pytest.approx(0.078 - 0.02807, abs=1e-5)
    gate = sensitivity_gate(sensitivities(0.01, 0.079, 0.4, answers=(True, True, False)))
    assert not gate.passed
    assert gate.finding == (
        "1 of 2 answers move with the priors; of those that move by a factor of 1.25 or more for "
        "each doubling of their power the largest change is 0.079, at least 0.051 beyond its "
        "Monte-Carlo error: q1 (0.08, rests on prior and data)"
    )
    # the same change with twice as large an error may be chance
    gate = sensitivity_gate(sensitivities(0.01, 0.079, answers=(True, True), error=0.02))
    assert gate.passed
    # a BER that is known to 10 % moves by a tenth of a standard deviation and more, and stays
    gate = sensitivity_gate(sensitivities(0.01, 0.4, answers=(True, True), moved=0.2))
    assert (gate.passed, gate.value) == (True, 0.0)
    none = sensitivity_gate(sensitivities(0.4, answers=(False,)))
    assert none.passed
    assert (none.value, "0 of 0 answers" in none.finding) == (0.0, True)


def gate(name: str, *, passed: bool) -> Gate:
    return Gate(name, f"{name}?", passed, 1.0, 2.0, f"found {name}", f"repair {name}")


def test_report() -> None:
    report = GateReport((gate("a", passed=True), gate("b", passed=False), gate("c", passed=True)))
    assert not report.passed
    assert [g.name for g in report.failed] == ["b"]
    assert report.lines() == [
        "1 of 3 gates failed",
        "passed  a: found a",
        "FAILED  b: found b",
        "        remedy: repair b",
        "passed  c: found c",
    ]
    record = report.record()
    assert (record["passed"], record["failed"]) == (False, ["b"])
    assert record["gates"][1] == report.gates[1].record()
    for names in ((), ("a", "a")):
        with pytest.raises(ValueError, match="give at least one, each under its own name"):
            GateReport(tuple(gate(n, passed=True) for n in names))
