from collections.abc import Callable

import numpy as np
import pytest
from devicefit.density import ONCE, Density, Term
from devicefit.tape import SYMBOLS, expressions
from scipy.stats import norm

from devicefit.families.frame import Frame
from devicefit.families.prior import layout, sample_priors
from devicefit.families.registry import FAMILIES
from devicefit.programming import FloatArray, Programming
from devicefit.statements import QUANTITIES, Statement, ln_factor, ln_quantity, statement_record

CURRENT, GATE = Programming("i", "A"), Programming("v", "V")


def frame_of(programming: Programming = CURRENT, **more: object) -> Frame:
    return Frame(programming, 1e-5, 1e-3, **more)


def drawn(frame: Frame, draws: int = 5) -> dict[str, np.ndarray]:
    """Parameters from their priors, scalars with an axis for places."""
    found = sample_priors(
        FAMILIES["lognormal"].priors(frame), draws=draws, rng=np.random.default_rng(2)
    )
    return {k: v if v.ndim == 3 else v[..., None] for k, v in found.items()}


def test_the_lrs_median_is_series_resistance_plus_filament() -> None:
    # FACTS (c): R_s + V_c / I^b, the current relative to the middle of the range, 100 uA here
    p = drawn(frame_of())
    statement = Statement("lrs_median", 2e-4, 8.0, 0.5, "")
    found = np.exp(ln_quantity(np, p, frame_of(), statement))[0, :, 0]
    filament = np.exp(p["ln_v_c"]) / 1e-4 * (1e-4 / 2e-4) ** p["exponent"]
    np.testing.assert_allclose(found, (np.exp(p["ln_r_series"]) + filament)[0, :, 0], rtol=1e-12)


def test_the_hrs_spread_at_mid_range_is_its_parameter() -> None:
    p = drawn(frame_of())
    found = ln_quantity(np, p, frame_of(), Statement("hrs_spread", 1e-4, 0.0, 0.5, ""))
    np.testing.assert_allclose(found, p["ln_sd_hrs"], atol=1e-12)


def test_the_factor_is_the_sum_of_normal_log_densities() -> None:
    frame = frame_of()
    p = drawn(frame)
    statements = (
        Statement("hrs_median", 1e-4, 11.0, 0.3, ""),
        Statement("hrs_spread", 1e-4, -0.5, 0.2, ""),
    )
    found = ln_factor(np, p, frame, statements)
    expected = norm.logpdf(p["ln_r_hrs"], 11.0, 0.3) + norm.logpdf(p["ln_sd_hrs"], -0.5, 0.2)
    constant = norm.logpdf(0, 0, 0.3) + norm.logpdf(0, 0, 0.2)
    np.testing.assert_allclose(found, expected[..., 0] - constant, rtol=1e-12)
    assert ln_factor(np, p, frame, ()) == 0.0


@pytest.mark.parametrize("quantity", [name for name, q in QUANTITIES.items() if q.core])
@pytest.mark.parametrize("programming", [CURRENT, GATE])
def test_a_fit_sees_the_same_factor(
    differences: Callable[..., FloatArray], quantity: str, programming: Programming
) -> None:
    frame = frame_of(programming, arrays=("a", "b"), terms=4)
    priors = FAMILIES["switching-failure"].priors(frame)
    values = sample_priors(priors, draws=1, rng=np.random.default_rng(4))
    statements = (Statement(quantity, 2e-4, 8.0, 0.5, ""),)
    vector = np.concatenate([values[p.name][0, 0].reshape(-1) for p in priors])
    expression = ln_factor(SYMBOLS, expressions(layout(priors)), frame, statements)
    # one factor, however many places the readings have
    density = Density.of([Term(ONCE, [expression])], 7)
    value, gradient = density(vector)
    expanded = {k: v if v.ndim == 3 else v[..., None] for k, v in values.items()}
    assert value == pytest.approx(float(ln_factor(np, expanded, frame, statements)[0, 0]), rel=1e-9)
    assert np.any(gradient != 0)
    # the sharpest bend, of the onset, has a hundredth of the range: (100 / 10^5)^4 / 30
    slopes = differences(lambda v: density(v)[0], vector, 1e-5)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-6 * np.abs(slopes).max())


def test_a_statement_is_not_about_the_first_array() -> None:
    frame = frame_of(arrays=("a", "b"))
    p = drawn(frame)
    statement = Statement("hrs_median", 1e-4, 11.0, 0.3, "")
    np.testing.assert_allclose(ln_quantity(np, p, frame, statement), p["ln_r_hrs"], atol=1e-12)


def test_records_are_plain() -> None:
    assert statement_record((Statement("lrs_median", 1e-4, 8.0, 0.5, "wafer 12"),)) == [
        {"quantity": "lrs_median", "at": 1e-4, "mean": 8.0, "sd": 0.5, "source": "wafer 12"}
    ]
