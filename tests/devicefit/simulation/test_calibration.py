"""A short calibration of the lognormal family; the full study is analyses/device_calibration.py."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from devicefit.compression.compression import compress
from devicefit.families.registry import FAMILIES
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation import calibration
from devicefit.simulation.calibration import (
    CURRENT_DESIGN,
    GATE_DESIGN,
    Design,
    Recovery,
    recover,
    recoveries,
    simulate,
)
from devicefit.simulation.ranks import RankStudy

SHORT = SamplerOptions(chains=2, draws=500, warmup=300, cores=1, target_accept=0.9)
SETS = 25


@pytest.fixture(scope="module")
def recovered() -> list[Recovery]:
    return list(recoveries("lognormal", CURRENT_DESIGN, range(SETS), options=SHORT))


def study(recovered: list[Recovery], **how: Any) -> RankStudy:
    return RankStudy.from_records([r.record(**how) for r in recovered])


def test_truth_is_recovered(recovered: list[Recovery]) -> None:
    found = study(recovered)
    assert len(found.names) == len(FAMILIES["lognormal"].priors(CURRENT_DESIGN.frame)) + 6
    assert found.corrected_p > 0.01
    # 17 quantities, two-sided: 0.01 for all of them
    assert found.spread_p_values.min() > 0.01 / len(found.names)
    # 90 % intervals: each quantity above the 1e-4 quantile of its number
    assert np.all(found.coverage >= binom.ppf(1e-4, SETS, 0.9) / SETS)
    assert found.coverage.mean() == pytest.approx(0.9, abs=0.06)
    assert np.median([r.r_hat for r in recovered]) < 1.02


@pytest.mark.parametrize("narrow", [2.0, 0.5])
def test_control_posteriors_of_another_width_must_fail(
    recovered: list[Recovery], narrow: float
) -> None:
    found = study(recovered, narrow=narrow)
    assert found.spread_p_values.min() < 1e-4
    assert np.median(found.spread_p_values) < 0.01
    assert abs(found.coverage.mean() - 0.9) > 0.08


def test_control_truths_of_other_data_sets_must_fail(recovered: list[Recovery]) -> None:
    # ranked among the draws of the next data set
    wrong = [
        Recovery(r.number, r.truth, other.draws, 1.0, 1e3, 0, 0)
        for r, other in zip(recovered, recovered[1:] + recovered[:1], strict=True)
    ]
    assert study(wrong).corrected_p < 1e-3


def test_a_number_gives_the_same_data_set_and_draws(recovered: list[Recovery]) -> None:
    again = recover("lognormal", CURRENT_DESIGN, 3, options=SHORT)
    assert again.truth == recovered[3].truth
    for name, draws in again.draws.items():
        assert draws.tobytes() == recovered[3].draws[name].tobytes()
    assert again.record() == recovered[3].record()
    assert recovered[3].truth != recovered[4].truth


# --- simulated readings ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("design", [CURRENT_DESIGN, GATE_DESIGN])
def test_simulated_readings_are_of_the_design(family: str, design: Design) -> None:
    truth, measurements, redraws = simulate(family, design, rng=np.random.default_rng(5))
    assert measurements.simulated
    assert not measurements.warnings
    assert redraws < 100
    assert set(truth) == {p.name for p in FAMILIES[family].priors(design.frame)}
    np.testing.assert_array_equal(measurements.conditions, design.values)
    compressed = compress(measurements)
    for data in compressed.states.values():
        np.testing.assert_array_equal(data.n, design.devices)
        # devices read once need no design effect
        assert data.design_effect == 1.0


def test_readings_follow_the_law_of_their_parameters() -> None:
    design = Design(CURRENT_DESIGN.programming, (2e-5, 2e-4), 2000, 3e4, 0.05, (1e-4,))
    truth, measurements, _ = simulate("lognormal", design, rng=np.random.default_rng(6))
    frame = design.frame
    laws = FAMILIES["lognormal"].mixtures(truth, frame, frame.places(np.array(design.values)))
    data = compress(measurements).states
    for state, law in laws.items():
        sd = law.scale[0, 0, 0]
        # means and spreads of 2000 readings, 8 checks at 4.5 standard errors
        error = 4.5 * sd / np.sqrt(2000)
        np.testing.assert_array_less(abs(data[state].mean - law.location[0, 0, 0]), error)
        spread = np.sqrt(data[state].sum_of_squares / 1999)
        np.testing.assert_array_less(abs(spread / sd - 1), 4.5 / np.sqrt(2 * 2000))


def test_a_design_that_priors_hardly_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_MOST_REDRAWS", 3)
    few = Design(CURRENT_DESIGN.programming, (2e-5, 2e-4), 2, 3e4, 0.05, (1e-4,))
    with pytest.raises(RuntimeError, match="3 data sets from the priors of lognormal were refused"):
        simulate("lognormal", few, rng=np.random.default_rng(7))
