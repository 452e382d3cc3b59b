"""Location and spread of both states."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devicefit.compression import Compressed, CompressedState, compress
from devicefit.models.core import Frame, core, data_starts, ln_add
from devicefit.priors import core_priors
from devicefit.programming import FloatArray, Programming
from devicefit.reference_device import ReferenceDevice, reference_measurements, true_mixtures

CURRENT, GATE, WIDTH = Programming("i", "A"), Programming("v", "V"), Programming("t", "s")
LARGE = st.floats(-1e6, 1e6)


def parameters(programming: Programming, **chosen: float) -> dict[str, float]:
    values = {p.name: p.mean for p in core_priors(programming)}
    assert set(chosen) <= set(values)
    return values | chosen


def test_frame_of_measurements() -> None:
    frame = Frame.of(compress(reference_measurements()))
    assert (frame.low, frame.high) == (20e-6, 600e-6)
    # the geometric middle is the middle of a current's range
    np.testing.assert_allclose(
        frame.position(np.array([20e-6, np.sqrt(20e-6 * 600e-6), 600e-6, 18e-3])), [0, 0.5, 1, 2]
    )


def test_frame_of_a_voltage_is_even() -> None:
    np.testing.assert_allclose(Frame(GATE, 1.0, 3.0).position(np.array([0.0, 2.0])), [-0.5, 0.5])


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0)])
def test_frame_has_a_width(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="low must be below high"):
        Frame(GATE, low, high)


@given(st.floats(0.1, 2.0), st.floats(0.6, 1.4), st.floats(50, 2e4), st.floats(1e-6, 1e-3))
def test_lrs_is_series_resistance_plus_filament(
    v_c: float, exponent: float, r_series: float, current: float
) -> None:
    # FACTS (c): R_LRS = R_s + V_c / I^b; the current enters relative to the middle of the range
    frame = Frame(CURRENT, 20e-6, 600e-6)
    p = parameters(CURRENT, ln_v_c=np.log(v_c), exponent=exponent, ln_r_series=np.log(r_series))
    middle = np.sqrt(20e-6 * 600e-6)
    expected = r_series + v_c / middle * (middle / current) ** exponent
    found = core(np, p, frame, frame.position(np.array([current]))).mean_lrs
    assert np.exp(found) == pytest.approx(expected, rel=1e-12)


def test_the_law_of_the_reference_device() -> None:
    # V_c = 0.5 V, b = 1, R_s = 1 kohm, floor of 0.04 and relative filament spread of 0.25 at
    # 10 kohm growing as its square root
    frame, device = Frame(CURRENT, 20e-6, 600e-6), ReferenceDevice()
    x = np.geomspace(20e-6, 600e-6, 7)
    p = parameters(
        CURRENT,
        ln_v_c=np.log(0.5),
        exponent=1.0,
        ln_r_series=np.log(1000.0),
        ln_sd_filament=np.log(0.25),
        ln_sd_floor=np.log(0.04),
        sd_exponent=0.5,
    )
    found = core(np, p, frame, frame.position(x))
    truth = true_mixtures(device, x)["LRS"]
    np.testing.assert_allclose(found.mean_lrs, truth.mean[0], rtol=1e-12)
    # the model caps relative spreads near 3, which costs s / 3 of a spread s of 0.4
    relative = 0.25 * np.sqrt(0.5 / x / 1e4)
    capped = 1 / (1 / relative + 1 / 3)
    share = (0.5 / x) / (1000 + 0.5 / x)
    np.testing.assert_allclose(found.sd_lrs, np.hypot(0.04, share * capped), rtol=1e-12)
    assert np.all(found.sd_lrs < truth.sd[0])


def test_hrs_of_a_knob_is_level_up_to_the_onset() -> None:
    p = parameters(GATE, onset=0.5, hrs_slope=0.4, ln_r_hrs=11.0, hrs_sd_slope=0.2, ln_sd_hrs=-1.0)
    found = core(np, p, Frame(GATE, 0.0, 3.0), np.array([0.0, 0.5, 0.75, 1.0]))
    np.testing.assert_allclose(found.mean_hrs, [11.0, 11.0, 11.1, 11.2])
    np.testing.assert_allclose(np.log(found.sd_hrs), [-1.0, -1.0, -0.95, -0.9])


def test_hrs_of_a_current_is_linear_in_the_position() -> None:
    p = parameters(CURRENT, hrs_slope=0.4, hrs_sd_slope=-0.2, ln_r_hrs=11.0, ln_sd_hrs=-1.0)
    found = core(np, p, Frame(CURRENT, 1e-5, 1e-3), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(found.mean_hrs, [10.8, 11.0, 11.2])
    np.testing.assert_allclose(np.log(found.sd_hrs), [-0.9, -1.0, -1.1])


@pytest.mark.parametrize("programming", [GATE, WIDTH])
def test_a_pulse_too_weak_leaves_the_hrs(programming: Programming) -> None:
    frame = Frame(programming, 1.0, 10.0)
    p = parameters(programming, onset=0.5, hrs_slope=0.0)
    found = core(np, p, frame, np.array([0.0, 1.0]))
    assert found.mean_lrs[0] == pytest.approx(found.mean_hrs[0], abs=1e-3)
    assert found.sd_lrs[0] == pytest.approx(
        np.hypot(found.sd_hrs[0], np.exp(p["ln_sd_floor"])), rel=1e-2
    )
    # far above: the overdrive is the distance from the onset, in tenths of the range
    path = np.exp(p["ln_r_series"]) + np.exp(p["ln_r_filament"]) * 5.0 ** -p["exponent"]
    parallel = 1 / (1 / path + 1 / np.exp(found.mean_hrs[1]))
    assert np.exp(found.mean_lrs[1]) == pytest.approx(parallel, rel=1e-9)


@pytest.mark.parametrize("programming", [CURRENT, GATE, WIDTH])
def test_stronger_programming_never_raises_the_lrs(programming: Programming) -> None:
    p = parameters(programming, **({} if programming.is_current else {"hrs_slope": 0.0}))
    found = core(np, p, Frame(programming, 1e-6, 1e-3), np.linspace(-0.5, 1.5, 200))
    assert np.all(np.diff(found.mean_lrs) <= 1e-12)


@given(LARGE, LARGE)
def test_ln_add_is_logaddexp(a: float, b: float) -> None:
    assert ln_add(np, a, b) == pytest.approx(np.logaddexp(a, b), rel=1e-15, abs=1e-15)


@pytest.mark.parametrize(
    ("a", "b"),
    [(0.0, 0.0), (-1e4, -1e4), (-1e4, -1.00001e4), (1e4, -1e4), (-800.0, -2000.0), (900.0, 899.0)],
)
def test_gradient_of_ln_add_is_the_share(a: float, b: float) -> None:
    x, y = pt.dscalars("x", "y")
    mode = pytensor.compile.mode.Mode(linker="py", optimizer="fast_run")
    gradient = pytensor.function([x, y], pt.grad(ln_add(pt, x, y), [x, y]), mode=mode)(a, b)
    share = 1 / (1 + np.exp(np.clip(b - a, -700, 700)))
    assert gradient == pytest.approx([share, 1 - share], abs=1e-12)


def starts_of(lrs: FloatArray, programming: Programming, hrs: float = 11.5) -> dict[str, float]:
    """Starts from one reading in each state at positions 0, 1, ... of the range."""
    n = len(lrs)

    def state(mean: FloatArray) -> CompressedState:
        ones = np.ones(n, np.int64)
        return CompressedState(np.arange(n), mean, ones, ones, mean, np.zeros(n), 1.0)

    x = programming.from_coordinate(np.arange(n) / (n - 1))
    states = {"LRS": state(lrs), "HRS": state(np.full(n, hrs))}
    compressed = Compressed(programming, x, states, n, np.ones(n, np.int64))
    return data_starts(compressed, Frame.of(compressed))


def test_starts_of_a_current() -> None:
    starts = starts_of(np.linspace(10.0, 8.0, 11), CURRENT)
    # a tenth of the way up from the smallest mean, less 10 %
    assert starts == pytest.approx({"ln_r_hrs": 11.5, "ln_r_series": 8.2 - 0.1})


@given(st.lists(st.booleans(), min_size=2, max_size=12))
def test_start_of_the_onset_is_the_split_with_fewest_exceptions(is_set: list[bool]) -> None:
    lrs = np.where(is_set, 8.5, 11.4)
    n = len(lrs)
    found = starts_of(lrs, GATE)["onset"] * (n - 1)
    lowest = np.quantile(lrs, 0.1)
    below = lrs < (11.5 + lowest) / 2
    wrong = [below[:cut].sum() + (~below[cut:]).sum() for cut in range(n + 1)]
    # the split lies between the readings on either side of the start
    cut = int(np.searchsorted(np.arange(n), found))
    assert wrong[cut] == min(wrong)


def test_inputs_are_left_alone() -> None:
    p: dict[str, FloatArray] = {k: np.array(v) for k, v in parameters(CURRENT).items()}
    before = {k: v.copy() for k, v in p.items()}
    core(np, p, Frame(CURRENT, 1e-5, 1e-3), np.linspace(0, 1, 5))
    assert all(np.array_equal(before[k], p[k]) for k in p)
