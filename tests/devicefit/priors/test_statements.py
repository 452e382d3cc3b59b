from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytest
from pytensor.compile.mode import Mode
from scipy.stats import norm

from devicefit.families.family import draws_here
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.inputs.programming import Programming
from devicefit.numerics.arrays import FloatArray
from devicefit.priors.statements import QUANTITIES, Statement, ln_factor, statement_record
from devicefit.sampling.prior import sample_priors

CURRENT, GATE = Programming("i", "A"), Programming("v", "V")


def frame_of(programming: Programming = CURRENT, **more: object) -> Frame:
    return Frame(programming, 1e-5, 1e-3, **more)


def drawn(frame: Frame, draws: int = 5) -> dict[str, FloatArray]:
    """Parameters from their priors, shape (1, draw) or (1, draw, term or array)."""
    priors = FAMILIES["lognormal"].priors(frame)
    return sample_priors(priors, draws=draws, rng=np.random.default_rng(2))


def ln_quantity(statement: Statement, p: dict[str, FloatArray], frame: Frame) -> FloatArray:
    """What is stated, shape (draw,)."""
    here = draws_here(p, frame.places(np.array([statement.at])))
    return np.asarray(statement.ln_quantity(np, frame, here))[0, :, 0]


def test_the_lrs_median_is_series_resistance_plus_filament() -> None:
    # FACTS (c): R_s + V_c / I^b, the current relative to the middle of the range, 100 uA here
    p = drawn(frame_of())
    found = np.exp(ln_quantity(Statement("lrs_median", 2e-4, 8.0, 0.5, ""), p, frame_of()))
    filament = np.exp(p["ln_v_c"]) / 1e-4 * (1e-4 / 2e-4) ** p["exponent"]
    np.testing.assert_allclose(found, (np.exp(p["ln_r_series"]) + filament)[0], rtol=1e-12)


def test_the_hrs_spread_at_mid_range_is_its_parameter() -> None:
    p = drawn(frame_of())
    found = ln_quantity(Statement("hrs_spread", 1e-4, 0.0, 0.5, ""), p, frame_of())
    np.testing.assert_allclose(found, p["ln_sd_hrs"][0], atol=1e-12)


def test_the_factor_is_the_sum_of_normal_log_densities() -> None:
    frame = frame_of()
    p = drawn(frame)
    statements = (
        Statement("hrs_median", 1e-4, 11.0, 0.3, ""),
        Statement("hrs_spread", 1e-4, -0.5, 0.2, ""),
    )
    found = ln_factor(p, frame, statements)
    expected = norm.logpdf(p["ln_r_hrs"], 11.0, 0.3) + norm.logpdf(p["ln_sd_hrs"], -0.5, 0.2)
    constant = norm.logpdf(0, 0, 0.3) + norm.logpdf(0, 0, 0.2)
    np.testing.assert_allclose(found, expected - constant, rtol=1e-12)
    np.testing.assert_array_equal(ln_factor(p, frame, ()), np.zeros((1, 5)))


@pytest.mark.parametrize("quantity", [name for name, q in QUANTITIES.items() if q.core])
@pytest.mark.parametrize("programming", [CURRENT, GATE])
def test_a_fit_sees_the_same_factor(
    make_state: Callable[..., Any],
    make_compressed: Callable[..., Any],
    by_name: Callable[..., dict[str, FloatArray]],
    prior_vectors: Callable[..., FloatArray],
    differences: Callable[..., FloatArray],
    quantity: str,
    programming: Programming,
) -> None:
    family = "switching-failure"
    # enough conditions for smooth deviations, of two arrays
    values, array = np.geomspace(1e-5, 1e-3, 12), np.repeat([0, 1], 6)
    state = make_state(np.arange(12), np.full(12, 9.0), conditions=12)
    states = {"LRS": state, "HRS": state}
    compressed = make_compressed(programming, values, states, array=array)
    frame = Frame.of(compressed)
    assert frame.terms > 0
    statements = (Statement(quantity, 2e-4, 8.0, 0.5, ""),)
    model = FAMILIES[family].model(compressed, statements=statements)
    (factor,) = model.logp([model["statement_0"]], sum=False)
    slopes = pytensor.grad(factor, model.value_vars, disconnected_inputs="ignore")
    evaluate = pytensor.function(
        model.value_vars,
        [factor, *slopes],
        mode=Mode(linker="py", optimizer=None),
        on_unused_input="ignore",
    )

    def reference(vector: FloatArray) -> float:
        return float(ln_factor(by_name(family, frame, vector[None, None]), frame, statements)[0, 0])

    vector = prior_vectors(family, frame, draws=1, seed=4)[0]
    value, *gradient = evaluate(*by_name(family, frame, vector).values())
    assert value == pytest.approx(reference(vector), rel=1e-9)
    # the sharpest bend, of the onset, has a hundredth of the range: (100 / 10^5)^4 / 30
    expected = differences(reference, vector, 1e-5)
    assert np.any(expected != 0)
    found = np.concatenate([np.atleast_1d(g) for g in gradient])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_a_statement_is_not_about_the_first_array() -> None:
    frame = frame_of(arrays=("a", "b"))
    p = drawn(frame)
    found = ln_quantity(Statement("hrs_median", 1e-4, 11.0, 0.3, ""), p, frame)
    np.testing.assert_allclose(found, p["ln_r_hrs"][0], atol=1e-12)


def test_records_are_plain() -> None:
    assert statement_record((Statement("lrs_median", 1e-4, 8.0, 0.5, "wafer 12"),)) == [
        {"quantity": "lrs_median", "at": 1e-4, "mean": 8.0, "sd": 0.5, "source": "wafer 12"}
    ]
