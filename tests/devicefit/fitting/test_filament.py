"""The filament's part of the read path: closed forms by hand, arrays and stacks draw by draw."""

import numpy as np
import pytest
import xarray as xr

from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming
from devicefit.prediction.stacking import StackedDevice
from devicefit.sampling.prior import sample_priors

CURRENT = Programming("SET compliance current", "A")
GATE = Programming("SET gate voltage", "V")
WIDTH = Programming("SET pulse width", "s")
AMPERE = np.geomspace(2e-5, 6e-4, 7)
VOLT = np.linspace(1.0, 2.0, 7)


def drawn(frame: Frame, family: str = "lognormal", seed: int = 1) -> DevicePosterior:
    """Draws of the prior."""
    priors = FAMILIES[family].priors(frame)
    named = {
        name: (("chain", "draw", f"{name}_term")[: values.ndim], values)
        for name, values in sample_priors(priors, draws=30, rng=np.random.default_rng(seed)).items()
    }
    diagnostics = Diagnostics(1.0, 30, 30, 0, 30)
    return DevicePosterior(family, xr.Dataset(named), frame, diagnostics, {"devices": 10})


def value(posterior: DevicePosterior, name: str) -> np.ndarray:
    return posterior.draws[name].values[..., None]


def test_filament_of_a_compliance_current() -> None:
    """R_f = V_c / I^b with I in units of the geometric middle of the range."""
    posterior = drawn(Frame(CURRENT, 2e-5, 6e-4))
    middle = np.sqrt(2e-5 * 6e-4)
    v_c, b = np.exp(value(posterior, "ln_v_c")), value(posterior, "exponent")
    expected = v_c / middle * (AMPERE / middle) ** -b
    series = np.exp(value(posterior, "ln_r_series"))
    found = posterior.filament(AMPERE)
    np.testing.assert_allclose(np.exp(found.ln_r), expected, rtol=1e-9)
    np.testing.assert_allclose(found.series_share, series / (series + expected), rtol=1e-9)
    # together they are the median of the LRS
    path = np.exp(posterior.mixtures(AMPERE)["LRS"].location[0])
    np.testing.assert_allclose(np.exp(found.ln_r) + series, path, rtol=1e-9)


@pytest.mark.parametrize("two", [False, True])
def test_filament_of_a_gate_voltage_and_a_pulse_width(two: bool) -> None:
    of_second = (
        {"second": WIDTH, "second_low": 1e-7, "second_high": 1e-5, "second_reference": 1e-5}
        if two
        else {}
    )
    posterior = drawn(Frame(GATE, 1.0, 2.0, **of_second))
    at = 1e-5  # its upper end
    position = VOLT - 1 + (0.5 * value(posterior, "second_shift") if two else 0)
    over = position - value(posterior, "onset")
    width = np.exp(value(posterior, "ln_onset_width"))
    rounded = width * np.logaddexp(0, over / width) + 1e-13
    own = np.exp(value(posterior, "ln_r_filament")) / (rounded / 0.1) ** value(
        posterior, "exponent"
    )
    hrs = value(posterior, "ln_r_hrs") + value(posterior, "hrs_slope") * np.maximum(over, 0)
    if two:
        width = np.exp(value(posterior, "ln_second_width"))
        over = width * np.logaddexp(0, (0.5 - value(posterior, "second_centre")) / width)
        own = own + np.exp(value(posterior, "ln_r_second")) / (over / 0.5)
        hrs = hrs + 0.5 * value(posterior, "hrs_second")
    series = np.exp(value(posterior, "ln_r_series"))
    found = posterior.filament(VOLT, second=at if two else None)
    np.testing.assert_allclose(np.exp(found.ln_r), 1 / (1 / own + np.exp(-hrs)), rtol=1e-6)
    np.testing.assert_allclose(found.series_share, series / (series + own), rtol=1e-6)
    path = posterior.mixtures(VOLT, second=at if two else None)["LRS"].location[0]
    np.testing.assert_allclose(np.exp(path), 1 / (1 / (series + own) + np.exp(-hrs)), rtol=1e-6)


def test_one_condition_has_the_whole_path() -> None:
    posterior = drawn(Frame(GATE, 1.5, 1.5))
    found = posterior.filament(np.array([1.5]))
    np.testing.assert_array_equal(found.ln_r, value(posterior, "ln_r_lrs"))
    assert found.series_share is None
    assert found.flat(np.array([3])).ln_r.shape == (1, 1)
    assert found.flat(np.array([3])).series_share is None


def test_smooth_deviations_and_arrays_scale_both_parts() -> None:
    posterior = drawn(Frame(GATE, 1.0, 2.0, arrays=("a", "b", "c"), terms=4))
    each = [posterior.filament(VOLT, array=a) for a in range(3)]
    for a, found in enumerate(each):
        path = np.exp(posterior.mixtures(VOLT, array=a)["LRS"].location[0])
        hrs = np.exp(posterior.mixtures(VOLT, array=a)["HRS"].location[0])
        well_set = 1 / (1 / path - 1 / hrs)
        own = 1 / (1 / np.exp(found.ln_r) - 1 / hrs)
        assert found.series_share is not None
        known = found.series_share > 1e-6  # elsewhere the difference of the inverses is rounding
        ratio = own[known] / (well_set * (1 - found.series_share))[known]
        np.testing.assert_allclose(ratio, 1.0, rtol=1e-4)
    all_of_them = posterior.filament(VOLT)
    np.testing.assert_allclose(all_of_them.ln_r, np.mean([f.ln_r for f in each], axis=0))
    np.testing.assert_allclose(
        all_of_them.series_share, np.mean([f.series_share for f in each], axis=0)
    )


def test_draws_of_a_stack_are_those_of_their_family() -> None:
    frame = Frame(GATE, 1.0, 2.0)
    parts = {f: drawn(frame, f, seed) for seed, f in enumerate(("lognormal", "student-t"))}
    stacked = StackedDevice(parts, {"lognormal": 0.7, "student-t": 0.3})
    found, of = stacked.filament(VOLT), stacked.allotment()
    assert 0 < of.sum() < of.size
    for k, posterior in enumerate(parts.values()):
        own = posterior.filament(VOLT)
        np.testing.assert_array_equal(found.ln_r[of == k], own.ln_r[of == k])
        assert own.series_share is not None
        assert found.series_share is not None
        np.testing.assert_array_equal(found.series_share[of == k], own.series_share[of == k])
    flat = found.flat(np.array([4, 2]))
    np.testing.assert_array_equal(flat.ln_r, found.ln_r[0][[4, 2]])
