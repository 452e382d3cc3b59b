"""Gates: pass where the model is right, fail where it is wrong."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from devicefit.checks import (
    Gate,
    GateReport,
    convergence_gates,
    gate_report,
    loo_gate,
    modes_gate,
    overlap_gate,
    sensitivity_gate,
    tail_gate,
)
from devicefit.compressed import Compressed
from devicefit.compression import compress
from devicefit.fitting import Diagnostics
from devicefit.loo import Loo, loo
from devicefit.measurements import Measurements
from devicefit.predicted_failures import FailureCell, predicted_failures
from devicefit.sensing import ErrorCounts, SensingOptions, ber_curves
from devicefit.sensitivity import Scaling, Sensitivity

Measure = Callable[..., Measurements]


def report_of(fitted: Any) -> GateReport:
    return gate_report(
        fitted.posterior,
        fitted.compressed,
        counts=fitted.counts,
        curves=fitted.curves,
        left_out=loo(fitted.posterior, fitted.compressed, fitted.measurements, draws=200),
        rng=np.random.default_rng(0),
    )


def test_gates_pass_where_the_model_is_right(good_fit: Any) -> None:
    report = report_of(good_fit)
    assert [gate.name for gate in report.gates] == [
        "R-hat",
        "effective draws",
        "divergences",
        "posterior modes",
        "overlap of the states",
        "tails",
        "left-out devices",
        "priors",
    ]
    for gate in report.gates:
        assert gate.passed, gate.finding
        assert gate.question.endswith("?")
        assert gate.remedy
    assert report.passed
    assert report.lines()[0] == "all 8 gates passed"


def test_control_overlap_and_tails_must_fail_for_the_wrong_family(wrong_fit: Any) -> None:
    report = report_of(wrong_fit)
    gates = {gate.name: gate for gate in report.gates}
    assert not report.passed
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


@pytest.fixture
def known_overlap(
    known_posterior: Callable[..., Any],
    make_state: Callable[..., Any],
    make_compressed: Callable[..., Compressed],
) -> Callable[..., Gate]:
    """Give a gate for errors drawn at `factor` times the true rate, 2000 readings per condition.

    Groups hold `group` neighbouring conditions. `strong` of each eight readings of two conditions
    are taken at the second; the compressed readings say that it is `claimed`.
    """

    def make(
        factor: float,
        *,
        effect: float = 1.0,
        group: int = 1,
        strong: int = 4,
        claimed: int = 4,
    ) -> Gate:
        rng = np.random.default_rng(51)
        posterior = known_posterior(design_effect=effect, ln_v_c=np.log(2.0))
        curve = ber_curves(posterior, CURRENTS, options=SensingOptions(threshold_ohm=3e4))["1T1R"]
        last = np.arange(12) % 2 == 1
        n, compressed_n = (
            np.where(last, 500 * eighths, 500 * (8 - eighths)) for eighths in (strong, claimed)
        )
        laws = posterior.mixtures(CURRENTS)
        wrong = {
            "LRS": laws["LRS"].ln_survival(np.log(3e4)),
            "HRS": laws["HRS"].ln_distribution(np.log(3e4)),
        }
        errors = {
            s: (
                rng.binomial(
                    np.round(n / effect).astype(int), np.minimum(factor * np.exp(p[0, 0]), 1)
                )
                * round(effect)
            )
            .reshape(-1, group)
            .sum(axis=1)
            for s, p in wrong.items()
        }
        states = {
            s: make_state(
                np.arange(12), np.zeros(12), conditions=12, count=compressed_n, design_effect=effect
            )
            for s in errors
        }
        trials = n.reshape(-1, group).sum(axis=1)
        counts = ErrorCounts(
            CURRENTS[::group],
            CURRENTS[group - 1 :: group],
            errors,
            dict.fromkeys(errors, trials),
            trials,
        )
        compressed = make_compressed(posterior.frame.programming, CURRENTS, states)
        return overlap_gate(
            predicted_failures(posterior, compressed, counts, curve, rng=np.random.default_rng(52))
        )

    return make


def test_overlap_of_the_truth_passes(known_overlap: Callable[..., Gate]) -> None:
    gate = known_overlap(1.0)
    assert gate.passed, gate.finding
    assert gate.finding.endswith(
        "of 24 cells (group of conditions, state) inside the 95 % predictive interval"
    )


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_control_another_error_rate_must_fail(
    known_overlap: Callable[..., Gate], factor: float
) -> None:
    assert not known_overlap(factor).passed


def test_repeated_readings_are_no_independent_trials(known_overlap: Callable[..., Gate]) -> None:
    # every error shows in all 20 readings of a device
    assert known_overlap(1.0, effect=20.0).passed


@pytest.mark.parametrize(("strong", "claimed"), [(1, 1), (7, 7), (1, 7), (7, 1)])
def test_groups_are_predicted_at_their_own_conditions(
    known_overlap: Callable[..., Gate], strong: int, claimed: int
) -> None:
    # Errors differ within a group, so it matters where most readings were taken.
    gate = known_overlap(1.0, group=2, strong=strong, claimed=claimed)
    assert "of 12 cells" in gate.finding
    # 12 cells at 0.95: fewer than 10 inside has probability 0.02; control: the other way round
    assert (gate.value >= 10 / 12) if strong == claimed else (gate.value <= 0.75)


@pytest.mark.parametrize(("inside", "passed"), [(20, True), (18, True), (17, False), (0, False)])
def test_overlap_counts_cells(inside: int, passed: bool) -> None:
    # interval 2 to 5 of ten readings; both ends are inside
    errors = ([2, 5, 3] * 7)[:inside] + ([1, 6] * 10)[: 20 - inside]
    cells = [FailureCell(1.0, 2.0, "LRS", 10, 10, e, 2.0, 3.0, 5.0) for e in errors]
    gate = overlap_gate(cells)
    assert (gate.value, gate.limit, gate.passed) == (inside / 20, 0.9, passed)
    assert gate.finding.startswith(f"{inside} of 20 cells")


def test_overlap_needs_cells() -> None:
    with pytest.raises(ValueError, match="no cell to check; count the errors of readings first"):
        overlap_gate(())


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
        ([0.1, 0.9], False, "1 of 2 devices"),
        ([0.1, np.nan], False, "1 of 2 devices"),
        ([np.inf, np.inf], False, "largest finite k none"),
        ([0.0] * 999 + [0.8], True, "1 of 1000 devices"),
        ([0.0] * 998 + [0.8, 1.2], False, "2 of 1000 devices"),
    ],
)
def test_left_out_devices(k: list[float], passed: bool, words: str) -> None:
    found = Loo(tuple(f"d{i}" for i in range(len(k))), np.zeros(len(k)), np.array(k))
    gate = loo_gate(found)
    assert gate.passed is passed
    assert words in gate.finding
    assert gate.remedy.startswith("refit without these devices")


def sensitivities(*prior: float, answers: tuple[bool, ...], noise: float = 0.01) -> Sensitivity:
    n = len(prior)
    return Sensitivity(
        tuple(f"q{i}" for i in range(n)),
        Scaling(np.array(prior), np.zeros(n), np.full(n, noise)),
        Scaling(np.full(n, 0.2), np.zeros(n), np.full(n, noise)),
        np.array(answers),
    )


def test_priors() -> None:
    gate = sensitivity_gate(sensitivities(0.01, 0.049, 0.4, answers=(True, True, False)))
    assert gate.passed
    assert gate.value == 0.049
    gate = sensitivity_gate(sensitivities(0.01, 0.05, 0.4, answers=(True, True, False)))
    assert not gate.passed
    assert gate.finding == (
        "1 of 2 answers move with the priors, largest change 0.05 for each doubling of their "
        "power: q1 (0.05, rests on prior and data)"
    )
    gate = sensitivity_gate(sensitivities(0.01, 0.06, answers=(True, True), noise=0.07))
    assert gate.passed
    assert gate.finding.endswith("with these draws changes below 0.07 may be chance")
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


# --- tails, likewise ------------------------------------------------------------------------------


def known_readings(
    known_posterior: Callable[..., Any], measured: Measure, *, spread: float
) -> Compressed:
    """Readings of the known device with its spreads multiplied by `spread`."""
    rng = np.random.default_rng(53)
    currents = np.repeat(CURRENTS[:4], 500)
    laws = known_posterior().mixtures(currents)
    y = [
        m.location[0, 0, 0] + spread * m.scale[0, 0, 0] * rng.standard_normal(2000)
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
