"""Cycles to wear-out over programming against SciPy's laws, and recovery."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, weibull_min

from devicefit.inputs.programming import Programming
from devicefit.life.study import study_wear_out
from devicefit.life.wear_out import LAWS, PRIORS, WearOutTable, fit_wear_out, wear_out_model
from devicefit.sampling.options import SamplerOptions
from tests.devicefit import plain

GATE = Programming("SET gate voltage", "V")
SAMPLER = SamplerOptions(chains=2, draws=300, warmup=250, seed=1, cores=1, target_accept=0.9)


def table(**changes: Any) -> WearOutTable:
    """Left-, interval- and right-censored cells at three voltages."""
    good: dict[str, Any] = {
        "x": np.array([1.0, 1.5, 1.5, 2.0]),
        "previous_cycles": np.array([0.0, 1e4, 0.0, 0.0]),
        "cycles": np.array([1e6, 1e5, 1e6, 1e3]),
        "failed": np.array([0, 3, 0, 5]),
        "survivors": np.array([8, 0, 2, 0]),
        "programming": GATE,
    }
    return WearOutTable(**(good | changes))


def scipy_law(law: str, ln_median: float, scale: float) -> Any:
    if law == "lognormal":
        return norm(ln_median, scale)
    # ln of a Weibull: cycles of shape 1 / scale and median exp(ln_median).
    shape = 1 / scale
    return weibull_min(shape, scale=np.exp(ln_median) / np.log(2) ** (1 / shape))


def cdf(law: str, frozen: Any, cycles: float) -> float:
    if cycles == 0:
        return 0.0
    return float(frozen.cdf(np.log(cycles) if law == "lognormal" else cycles))


@pytest.mark.parametrize("law", LAWS)
def test_likelihood_is_that_of_censored_cells(law: str) -> None:
    theta = np.array([10.5, -4.0, 0.3])
    data = table()
    total = 0.0
    for i in range(4):
        frozen = scipy_law(law, 10.5 - 4.0 * (2 * data.x[i] - 3.0), np.exp(0.3))
        a, b = (cdf(law, frozen, c) for c in (data.previous_cycles[i], data.cycles[i]))
        if data.failed[i]:
            total += data.failed[i] * np.log(b - a)
        if data.survivors[i]:
            total += data.survivors[i] * np.log1p(-b)
    likelihood = plain.likelihood(wear_out_model(data, law), PRIORS)
    assert likelihood(theta)[0] == pytest.approx(total, rel=1e-9)
    steps = 1e-5 * np.eye(3)
    slopes = [(likelihood(theta + s)[0] - likelihood(theta - s)[0]) / 2e-5 for s in steps]
    np.testing.assert_allclose(likelihood(theta)[1], slopes, rtol=1e-6)


@pytest.mark.parametrize("law", LAWS)
def test_truth_of_simulated_cells_is_recovered(law: str) -> None:
    """Four quantities within 3.2 posterior sd; inspections every half decade, test ends at 1e7."""
    rng = np.random.default_rng(8)
    x = np.repeat([1.0, 1.4, 1.8, 2.2], 40)
    ln_median = np.log(1e6) - 5.0 * (x - 1.6) / 0.6
    cycles = np.exp(ln_median + 1.1 * rng.standard_normal(160))
    if law == "weibull":
        cycles = np.exp(ln_median + 1.1 * np.log(rng.exponential(size=160) / np.log(2)))
    ends = np.concatenate([[0], 10 ** np.arange(2, 7.01, 0.5)])
    k = np.searchsorted(ends, cycles)
    alive = k >= len(ends)
    k = np.minimum(k, len(ends) - 1)
    data = WearOutTable(
        x, np.where(alive, 0.0, ends[k - 1]), ends[k], (~alive).astype(int), alive.astype(int), GATE
    )
    assert alive.sum() > 20
    found = fit_wear_out(data, law=law, options=SAMPLER)
    truth = {"ln_median_cycles": np.log(1e6), "slope": -5.0, "ln_scale": np.log(1.1)}
    z = {n: (found.fitted[n].mean() - v) / found.fitted[n].std() for n, v in truth.items()}
    ln_weak = np.log(found.median_cycles(1.0))
    z["weak"] = (ln_weak.mean() - np.log(1e6) - 5.0) / ln_weak.std()
    assert max(map(abs, z.values())) < 3.2, z
    # Share and cycles are inverse to each other, and half of the cells are worn at the median.
    at = found.cycles_to_share([1.2, 2.0], 0.01)
    worn = found.worn([1.2, 2.0], float(at[0, 0, 0]))[0, 0, 0]
    assert worn == pytest.approx(0.01, rel=1e-9)
    half = found.worn([1.2], float(found.median_cycles(1.2)[1, 5, 0]))[1, 5, 0]
    assert half == pytest.approx(0.5, rel=1e-9)
    assert found.worn([1.2], 0.0).max() == 0
    np.testing.assert_array_equal(found.extrapolated([0.9, 1.0, 2.2], 1e7), [1, 0, 0])
    assert found.extrapolated([1.0], 2e7).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"failed": np.zeros(4, int), "survivors": np.ones(4, int)}, "no cell failed"),
        ({"x": np.ones(4)}, "programmed alike"),
        ({"previous_cycles": np.array([0, 1e5, 0, 0])}, "previous_cycles is 100000.0 in row 2"),
        ({"cycles": np.array([1e6, 1e5, 0, 1e3])}, "cycles is 0.0 in row 3"),
        ({"failed": np.array([0, 3, 0, -1])}, "failed is -1 in row 4"),
        ({"survivors": np.array([0, 0, 2, 0])}, "a row needs a cell"),
    ],
)
def test_tables_that_tell_nothing_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(**change)


def test_unknown_law_and_share_are_refused() -> None:
    with pytest.raises(ValueError, match="known: lognormal, weibull"):
        fit_wear_out(table(), law="gamma", options=SAMPLER)
    found = fit_wear_out(table(), options=replace(SAMPLER, draws=50, warmup=60))
    with pytest.raises(ValueError, match="share is 1"):
        found.cycles_to_share([1.0], 1)


def test_what_lies_outside_of_inspections_and_what_the_priors_decide_is_said() -> None:
    """One cell at each voltage; weak ones outlive the test, strong ones fail before any look."""
    x = np.linspace(1.0, 2.0, 8)
    bad = x > 1.5
    data = WearOutTable(
        x,
        np.zeros(8),
        np.where(bad, 5e4, 1e7),
        bad.astype(int),
        (~bad).astype(int),
        GATE,
    )
    says = study_wear_out(data, options=SAMPLER).record["says"]
    assert "at 1 V: above the longest test of 1e+07 cycles (probability" in says[0]
    assert "at 2 V: below the first inspection at 5e+04 cycles (probability" in says[1]
    # the steeper the better for these cells: only the prior ends it
    assert says[2].endswith("the priors decide how far it reaches")


def test_counts_that_decide_are_said_to() -> None:
    """40 cells at each of three voltages, looked at three times a decade."""
    rng = np.random.default_rng(2)
    x = np.repeat([1.0, 1.5, 2.0], 40)
    ends = np.concatenate([[0.0], np.geomspace(1e2, 1e8, 19)])
    k = np.searchsorted(ends, np.exp(rng.normal(np.log(1e5) - 2.0 * (x - 1.5), 1.0)))
    data = WearOutTable(x, ends[k - 1], ends[k], np.ones(120, int), np.zeros(120, int), GATE)
    says = study_wear_out(data, options=SAMPLER).record["says"]
    assert says[2].endswith("the counts decide")
    assert not any("inspection" in sentence for sentence in says)
