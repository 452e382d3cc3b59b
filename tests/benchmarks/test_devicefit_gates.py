"""The benchmark of gates: its simulated devices, its lines, and one fit of each sort."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import devicefit_gates
from benchmarks.devicefit_gates import (
    SHAPES,
    WELL_SPECIFIED,
    Case,
    quantiles,
    read_lines,
    simulate,
    summary,
)
from devicefit.distributions.mixture import Mixture
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import ReferencePlan, true_mixtures

AT = np.array([5e-5, 4e-4])


def test_quantiles_of_a_normal_law_and_of_a_mixture() -> None:
    score = np.linspace(-5, 5, 21)
    one = Mixture(np.zeros((1, 1)), np.full((1, 1), 9.0), np.full((1, 1), 0.3))
    assert quantiles(one, score) == pytest.approx(9 + 0.3 * score, abs=1e-4)
    two = Mixture(np.log([[0.9], [0.1]]), np.array([[9.0], [11.0]]), np.array([[0.1], [0.4]]))
    y = quantiles(two, score)
    below = 0.9 * stats.norm.cdf(y, 9, 0.1) + 0.1 * stats.norm.cdf(y, 11, 0.4)
    assert stats.norm.ppf(below) == pytest.approx(score, abs=2e-2)


@pytest.mark.parametrize("shape", SHAPES)
def test_readings_follow_the_planted_law(shape: str) -> None:
    plan = ReferencePlan(low_a=AT[0], high_a=AT[1], currents=2, devices_per_current=400, cycles=2)
    case = dataclasses.replace(SHAPES[shape], plan=plan)
    measurements = simulate(case, rng=np.random.default_rng(1))
    table = measurements.table
    # one reading of each device: independent; 1 in 1,000 for each of the four
    first = table[table["cycle"] == 0]
    for x in AT:
        laws = case.laws(np.array([x]))
        for state, law in laws.items():
            rows = first[(first["state"] == state) & np.isclose(first["programming"], x)]
            y = np.log(rows["resistance_ohm"].to_numpy())
            if state == "LRS":
                number = rows["device_id"].str.split("-").str[-1].astype(int)
                y = y - np.array(case.array_shift)[number % len(case.array_shift)]
            u = np.exp(law.ln_distribution(y[:, None]))[:, 0]
            assert stats.kstest(u, "uniform").pvalue > 2.5e-4
            assert np.exp(law.ln_survival(y[:1])) == pytest.approx(1 - u[0], abs=1e-9)


def test_planted_shapes_are_not_those_of_the_reference_device() -> None:
    reference = true_mixtures(devicefit_gates.ReferenceDevice(), AT)
    mode = SHAPES["second LRS mode"].laws(AT)["LRS"]
    at = reference["LRS"].location[0] + np.log(3.5)
    lower = np.exp(reference["LRS"].ln_survival(at - 1.0)) + 0.1
    assert np.all(np.exp(mode.ln_survival(at - 1.0)) > lower)
    kink = SHAPES["kink in R(I)"].laws(AT)["LRS"].location[0]
    assert kink[0] == pytest.approx(reference["LRS"].location[0, 0])
    # at 400 uA the filament has 5000 / sqrt(4) in place of 5000 / 4, beside 1000 in series
    assert np.exp(kink[1]) == pytest.approx(1000 + 2500)
    weibull = SHAPES["Weibull HRS"].laws(AT)["HRS"]
    law = stats.weibull_min(np.pi / np.sqrt(6) / 0.5)
    median = reference["HRS"].location[0, 0]
    r = np.exp(median) / law.median()
    for y in (median - 2, median, median + 1):
        assert np.exp(weibull.ln_distribution(y))[0] == pytest.approx(law.cdf(np.exp(y) / r))


def test_repeated_readings_share_a_part_of_their_score() -> None:
    plan = ReferencePlan(low_a=1e-4, high_a=2e-4, currents=2, devices_per_current=1500, cycles=2)
    laws = SHAPES["kink in R(I)"].laws
    case = Case(laws, plan, {"LRS": 0.5, "HRS": 0.0})
    table = simulate(case, rng=np.random.default_rng(2)).table
    for state, share in (("LRS", 0.5), ("HRS", 0.0)):
        wide = table[table["state"] == state].pivot_table(
            index="device_id", columns="cycle", values="resistance_ohm"
        )
        rank = stats.spearmanr(wide[0], wide[1]).statistic if state == "HRS" else None
        if rank is None:  # within a current: between them the level differs
            low = wide[wide.index.str.startswith("sim-0")]
            rank = stats.spearmanr(low[0], low[1]).statistic
        # of normal scores with correlation r the rank correlation is 6 / pi arcsin(r / 2)
        assert rank == pytest.approx(6 / np.pi * np.arcsin(share / 2), abs=0.08)


def line(kind: str, number: int, **gates: bool) -> dict[str, Any]:
    named = {name.replace("_", "-"): {"passed": p, "value": 0.0} for name, p in gates.items()}
    return {"kind": kind, "number": number, "family": "f", "gates": named, "covered": {"1T1R": 0.5},
            "seconds": 1.0}  # fmt: skip


def test_summary_counts_failures() -> None:
    rows = [
        line(WELL_SPECIFIED, 0, tails=True, R_hat=True),
        line(WELL_SPECIFIED, 1, tails=True, R_hat=False),
        line(WELL_SPECIFIED, 2, tails=False, R_hat=False),
        line("kink", 0, tails=False),
    ]
    found = summary(rows)
    good = found[WELL_SPECIFIED]
    assert good["devices"] == 3
    assert good["failed"] == {"tails": 1, "R-hat": 2}
    assert (good["any"], good["any_but_sampling"]) == (2, 1)
    assert found["kink"]["failed"] == {"tails": 1}
    assert good["true_ber_in_interval"] == 0.5


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = []

    def judge(kind: str, number: int, *, family: str, options: SamplerOptions) -> dict[str, Any]:
        judged.append((kind, number))
        return {**line(kind, number, tails=True), "family": family}

    monkeypatch.setattr(devicefit_gates, "judge", judge)
    file = tmp_path / "gates.jsonl"
    first = devicefit_gates.measure(file, devices=3, power=1)
    assert first[WELL_SPECIFIED]["devices"] == 3
    assert len(judged) == 3 + len(SHAPES)
    with file.open("a") as out:
        out.write('{"kind": "cut o')
    assert len(read_lines(file)) == len(judged)
    done = list(judged)
    second = devicefit_gates.measure(file, devices=4, power=1)
    assert judged[len(done) :] == [(WELL_SPECIFIED, 3)]
    assert second[WELL_SPECIFIED]["devices"] == 4
    assert len(read_lines(file)) == len(judged)


def test_a_device_of_the_family_and_one_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    # the quick way: short chains, a small plan
    options = SamplerOptions(chains=2, draws=100, warmup=150, cores=1)
    monkeypatch.setattr(devicefit_gates, "SAMPLER", options)
    small = ReferencePlan(currents=6, devices_per_current=60, cycles=1)
    weibull = dataclasses.replace(SHAPES["Weibull HRS"], plan=small)
    monkeypatch.setitem(SHAPES, "Weibull HRS", weibull)
    row = devicefit_gates.judge(WELL_SPECIFIED, 0, family="switching-failure", options=options)
    assert json.loads(json.dumps(row)) == row
    for name in ("overlap of the states", "law of ln R", "pairs of readings"):
        assert row["gates"][name]["passed"], row["found"]
    assert set(row["covered"]) == {"1T1R", "2T2R"}
    row = devicefit_gates.judge("Weibull HRS", 0, family="switching-failure", options=options)
    # the pair error of a law that is no mixture is not known exactly
    assert set(row["covered"]) == {"1T1R"}
