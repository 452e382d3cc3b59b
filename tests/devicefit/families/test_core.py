"""Location and spread of both states."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from devicefit.families.core import Core, Here, PathCoordinates, core, incomplete_set, ln_expit
from devicefit.families.family import draws_here
from devicefit.families.frame import Frame, Places, deviation_basis
from devicefit.families.operations import FailureCoordinates, set_outcome
from devicefit.families.prior_tables import core_priors, plain_failure_priors
from devicefit.inputs.programming import ONE_CONDITION, Programming
from devicefit.numerics.arrays import FloatArray
from devicefit.simulation.reference_device import ReferenceDevice, true_mixtures

CURRENT, GATE, WIDTH = Programming("i", "A"), Programming("v", "V"), Programming("t", "s")

LAW = ("mean_lrs", "sd_lrs", "mean_hrs", "sd_hrs")


def parameters(frame: Frame, **chosen: Any) -> dict[str, Any]:
    priors = core_priors(frame)
    values = {p.name: np.full(p.size, p.mean) if p.size else p.mean for p in priors}
    assert set(chosen) <= set(values)
    return values | chosen


def here(p: dict[str, Any], places: Places) -> Here:
    """One draw of the parameters at places."""
    return draws_here({name: np.asarray(v)[None, None] for name, v in p.items()}, places)


def law_at(frame: Frame, p: dict[str, Any], places: Places) -> Core:
    """The core of one draw, shape (place,)."""
    found = core(np, frame, here(p, places))
    return Core(
        **{
            k: None if v is None else np.broadcast_to(v, (1, 1, len(places.position)))[0, 0]
            for k, v in vars(found).items()
        }
    )


def core_at(frame: Frame, position: FloatArray, **chosen: Any) -> Core:
    """The core at positions of the measured range, parameters at their prior means but some."""
    ends = frame.programming.coordinate([frame.low, frame.high])
    x = frame.programming.from_coordinate(ends[0] + np.asarray(position) * (ends[1] - ends[0]))
    return law_at(frame, parameters(frame, **chosen), frame.places(x))


@given(st.floats(0.1, 2.0), st.floats(0.6, 1.4), st.floats(50, 2e4), st.floats(1e-6, 1e-3))
def test_lrs_is_series_resistance_plus_filament(
    v_c: float, exponent: float, r_series: float, current: float
) -> None:
    # FACTS (c): R_LRS = R_s + V_c / I^b; the current enters relative to the middle of the range
    frame = Frame(CURRENT, 20e-6, 600e-6)
    p = parameters(frame, ln_v_c=np.log(v_c), exponent=exponent, ln_r_series=np.log(r_series))
    middle = np.sqrt(20e-6 * 600e-6)
    expected = r_series + v_c / middle * (middle / current) ** exponent
    found = law_at(frame, p, frame.places(np.array([current]))).mean_lrs
    assert np.exp(found) == pytest.approx(expected, rel=1e-12)


def test_the_law_of_the_reference_device() -> None:
    # V_c = 0.5 V, b = 1, R_s = 1 kohm, floor of 0.04 and relative filament spread of 0.25 at
    # 10 kohm growing as its square root
    frame, device = Frame(CURRENT, 20e-6, 600e-6), ReferenceDevice()
    x = np.geomspace(20e-6, 600e-6, 7)
    p = parameters(
        frame,
        ln_v_c=np.log(0.5),
        exponent=1.0,
        ln_r_series=np.log(1000.0),
        ln_sd_filament=np.log(0.25),
        ln_sd_floor=np.log(0.04),
        sd_exponent=0.5,
    )
    found = law_at(frame, p, frame.places(x))
    truth = true_mixtures(device, x)["LRS"]
    np.testing.assert_allclose(found.mean_lrs, truth.location[0], rtol=1e-12)
    # the model caps relative spreads near 3, which costs s / 3 of a spread s of 0.4
    relative = 0.25 * np.sqrt(0.5 / x / 1e4)
    capped = 1 / (1 / relative + 1 / 3)
    share = (0.5 / x) / (1000 + 0.5 / x)
    np.testing.assert_allclose(found.sd_lrs, np.hypot(0.04, share * capped), rtol=1e-12)
    assert np.all(found.sd_lrs < truth.scale[0])


def test_hrs_of_a_knob_is_level_up_to_the_onset() -> None:
    chosen = {"onset": 0.5, "hrs_slope": 0.4, "hrs_sd_slope": 0.2}
    at = np.array([0.0, 0.5, 0.75, 1.0])
    found = core_at(Frame(GATE, 0.0, 3.0), at, ln_r_hrs=11.0, ln_sd_hrs=-1.0, **chosen)
    np.testing.assert_allclose(found.mean_hrs, [11.0, 11.0, 11.1, 11.2])
    np.testing.assert_allclose(np.log(found.sd_hrs), [-1.0, -1.0, -0.95, -0.9])


def test_hrs_of_a_current_is_linear_in_the_position() -> None:
    chosen = {"hrs_slope": 0.4, "hrs_sd_slope": -0.2, "ln_r_hrs": 11.0, "ln_sd_hrs": -1.0}
    found = core_at(Frame(CURRENT, 1e-5, 1e-3), np.array([0.0, 0.5, 1.0]), **chosen)
    np.testing.assert_allclose(found.mean_hrs, [10.8, 11.0, 11.2])
    np.testing.assert_allclose(np.log(found.sd_hrs), [-0.9, -1.0, -1.1])


@pytest.mark.parametrize("programming", [GATE, WIDTH])
def test_a_pulse_too_weak_leaves_the_hrs(programming: Programming) -> None:
    frame = Frame(programming, 1.0, 10.0)
    p = parameters(frame)
    found = core_at(frame, np.array([0.0, 1.0]), onset=0.5, hrs_slope=0.0)
    assert found.mean_lrs[0] == pytest.approx(found.mean_hrs[0], abs=1e-3)
    # nothing of the path is left: what varies is the HRS
    assert found.sd_lrs[0] == pytest.approx(found.sd_hrs[0], rel=1e-3)
    # far above: the overdrive is the distance from the onset, in tenths of the range
    path = np.exp(p["ln_r_series"]) + np.exp(p["ln_r_filament"]) * 5.0 ** -p["exponent"]
    parallel = 1 / (1 / path + 1 / np.exp(found.mean_hrs[1]))
    assert np.exp(found.mean_lrs[1]) == pytest.approx(parallel, rel=1e-9)


def test_spread_of_a_knob_is_that_of_three_resistors() -> None:
    # a filament in series with a resistor, parallel to the unset cell: first-order propagation,
    # here by differences of the formula for R instead of the shares
    frame = Frame(GATE, 0.0, 1.0)
    p = parameters(frame)
    series, filament = np.exp(p["ln_r_series"]), np.exp(p["ln_r_filament"])
    at = 0.3  # a tenth above the onset: the filament is the reference one
    found = core_at(frame, np.array([at]))
    hrs = np.exp(p["ln_r_hrs"])

    def ln_r(ln_whole: float, ln_filament: float, ln_hrs: float) -> float:
        path = (series + filament * np.exp(ln_filament)) * np.exp(ln_whole)
        return float(-np.log(1 / path + 1 / (hrs * np.exp(ln_hrs))))

    slopes = [
        (ln_r(*(1e-5 * np.eye(3)[i])) - ln_r(*(-1e-5 * np.eye(3)[i]))) / 2e-5 for i in range(3)
    ]
    relative = np.exp(p["ln_sd_filament"]) * (filament / 1e4) ** p["sd_exponent"]
    spreads = np.exp(p["ln_sd_floor"]), 1 / (1 / relative + 1 / 3), np.exp(p["ln_sd_hrs"])
    expected = np.linalg.norm([a * b for a, b in zip(slopes, spreads, strict=True)])
    # softplus at ten widths above the onset is off by e^-10 of a width
    assert found.sd_lrs[0] == pytest.approx(expected, rel=1e-4)


def incomplete_at(frame: Frame, p: dict[str, Any], x: FloatArray) -> FloatArray:
    """Mean and standard deviation of incomplete SETs of one draw, shape (2, place)."""
    own = {q.name: q.mean for q in plain_failure_priors(frame) if not q.size}
    at = here(own | p, frame.places(x))
    found = incomplete_set(np, frame, at, core(np, frame, at))
    return np.stack([np.broadcast_to(v, (1, 1, len(x)))[0, 0] for v in found])


@pytest.mark.parametrize("programming", [CURRENT, GATE])
def test_an_incomplete_set_is_a_filament_of_higher_resistance(programming: Programming) -> None:
    # series resistor and filament, parallel to the unset cell; the spread by differences
    frame = Frame(programming, 1e-5, 1e-3)
    p = parameters(frame, ln_r_hrs=np.log(1e6))
    p |= {"ln_incomplete_rise": np.log(1.8), "incomplete_exponent": 0.0}
    p |= {"ln_incomplete_sd": np.log(0.3), "sd_exponent": 0.0}
    x = np.geomspace(3e-4, 1e-3, 3)
    found = core(np, frame, here(p, frame.places(x)))
    filament = np.exp(found.ln_filament[0, 0])
    series, hrs = np.exp(p["ln_r_series"]), np.exp(np.ravel(found.mean_hrs))

    def ln_r(whole: float, own: float, unset: float) -> FloatArray:
        path = (series + np.exp(1.8 + own) * filament) * np.exp(whole)
        return np.asarray(-np.log(1 / path + 1 / (hrs * np.exp(unset))))

    mean, sd = incomplete_at(frame, p, x)
    np.testing.assert_allclose(mean, ln_r(0.0, 0.0, 0.0), rtol=1e-9)
    slopes = [(ln_r(*(1e-5 * e)) - ln_r(*(-1e-5 * e))) / 2e-5 for e in np.eye(3)]
    relative = np.hypot(1 / (1 / np.exp(p["ln_sd_filament"]) + 1 / 3), 0.3)
    spreads = (np.exp(p["ln_sd_floor"]), relative, np.ravel(found.sd_hrs))
    expected = np.sqrt(sum((a * b) ** 2 for a, b in zip(slopes, spreads, strict=True)))
    np.testing.assert_allclose(sd, expected, rtol=1e-5)


def test_incomplete_sets_of_the_reference_device() -> None:
    frame, device = Frame(CURRENT, 20e-6, 600e-6), ReferenceDevice()
    x = np.geomspace(20e-6, 600e-6, 7)
    p = parameters(
        frame,
        ln_v_c=np.log(0.5),
        ln_r_series=np.log(1e3),
        ln_sd_floor=np.log(0.04),
        ln_sd_filament=np.log(0.25),
        ln_r_hrs=np.log(device.r_hrs_ohm),
        ln_sd_hrs=np.log(0.5),
    )
    p |= {"ln_incomplete_rise": np.log(0.8), "incomplete_exponent": -0.25}
    p |= {"ln_incomplete_sd": np.log(0.35)}
    mean, sd = incomplete_at(frame, p, x)
    truth = true_mixtures(device, x)["LRS"]
    np.testing.assert_allclose(mean, truth.location[1], rtol=1e-9)
    # the family caps the relative spread of a filament at 3, which is felt a little below
    np.testing.assert_allclose(sd, truth.scale[1], rtol=0.1)


@pytest.mark.parametrize("programming", [CURRENT, GATE])
@pytest.mark.parametrize("kind", [PathCoordinates, FailureCoordinates])
def test_coordinates_say_their_volume_and_what_is_read(
    programming: Programming, kind: type[PathCoordinates]
) -> None:
    frame = Frame(programming, 1e-5, 1e-3)
    coordinates = kind.of(frame)
    assert coordinates is not None
    p = {k: v for k, v in parameters(frame).items() if np.ndim(v) == 0}
    if kind is FailureCoordinates:
        p |= {q.name: q.mean for q in plain_failure_priors(frame) if not q.size}
    names = list(p)

    def vector_of(values: FloatArray) -> FloatArray:
        moved = coordinates.parameters(np, dict(zip(names, values, strict=True)))
        return np.array([moved[name] for name in names])

    at = coordinates.coordinates(np, p)
    values = np.array([at[name] for name in names])
    np.testing.assert_allclose(vector_of(values), [p[name] for name in names], rtol=1e-12)
    steps = 1e-6 * np.eye(len(names))
    slopes = [(vector_of(values + s) - vector_of(values - s)) / 2e-6 for s in steps]
    volume = np.exp(coordinates.ln_volume(np, at))
    assert abs(np.linalg.det(np.array(slopes))) == pytest.approx(volume, rel=1e-6)
    # what replaces the series resistance is ln R of the path at the strong end
    found = core(np, frame, here(p, frame.places(np.array([frame.high]))))
    path = np.logaddexp(found.ln_series, found.ln_filament)
    assert at["ln_r_series"] == pytest.approx(float(np.ravel(path)[0]), rel=1e-9)
    if kind is FailureCoordinates and programming is CURRENT:
        # and in the place of the SET centre the log odds of a failed SET at the weak end, times
        # the square root of the width of the transition
        floor = {"log10_set_floor": -30.0}
        weak = here(p | floor, frame.places(np.array([frame.low])))
        ln_works, ln_fails = set_outcome(np, frame, weak)
        odds = float(np.ravel(ln_fails - ln_works)[0])
        assert at["set_centre"] == pytest.approx(odds * np.exp(0.5 * p["ln_set_width"]), rel=1e-9)


def test_coordinates_of_arrays_at_one_condition() -> None:
    frame = Frame(ONE_CONDITION, 1.0, 1.0, arrays=("a", "b", "c"))
    coordinates = FailureCoordinates.of(frame)
    assert coordinates is not None
    p = {q.name: q.mean for q in plain_failure_priors(frame) if not q.size}
    name = "reset_floor_array_in_sd"
    shifts = np.array([0.3, -0.5, 1.0])
    found = coordinates.parameters(np, p | {name: shifts, f"ln_sd_{name[:-6]}": np.log(4.0)})
    np.testing.assert_allclose(found[name], shifts / 2)
    back = coordinates.coordinates(np, found)
    np.testing.assert_allclose(back[name], shifts)
    # three shifts, each half as wide
    assert coordinates.ln_volume(np, back) == pytest.approx(3 * np.log(0.5))


@pytest.mark.parametrize("programming", [CURRENT, GATE, WIDTH])
def test_stronger_programming_never_raises_the_lrs(programming: Programming) -> None:
    chosen = {} if programming.is_current else {"hrs_slope": 0.0}
    found = core_at(Frame(programming, 1e-6, 1e-3), np.linspace(-0.5, 1.5, 200), **chosen)
    assert np.all(np.diff(found.mean_lrs) <= 1e-12)


@pytest.mark.parametrize("programming", [CURRENT, GATE])
@pytest.mark.parametrize(
    ("name", "moved", "by"),
    [("lrs_location", 0, 0.2), ("lrs_ln_sd", 1, 0.3), ("hrs_location", 2, 0.2)]
    + [("hrs_ln_sd", 3, 0.3)],
)
def test_a_deviation_moves_its_own_function(
    programming: Programming, name: str, moved: int, by: float
) -> None:
    # a current strong enough that the unset cell beside the path conducts nothing
    frame = Frame(programming, 1.0, 3.0, terms=3)
    at = np.linspace(0.6, 1.0, 5)
    strong = {"ln_r_hrs": 30.0} if programming is GATE else {}
    weights = np.array([0.3, -0.5, 0.7])
    plain = core_at(frame, at, **strong)
    found = core_at(frame, at, **strong, **{f"{name}_deviation": weights})
    shift = by * weights @ deviation_basis(at, 3)
    for i, part in enumerate(LAW):
        before, after = getattr(plain, part), getattr(found, part)
        if part.startswith("sd"):
            before, after = np.log(before), np.log(after)
        if i != moved:
            np.testing.assert_allclose(after, before, atol=1e-6)
        elif part == "sd_lrs":
            # the relative spread of a filament saturates: at most the whole shift
            assert np.all(np.abs(after - before) <= np.abs(shift) + 1e-9)
            assert np.all(np.abs(after - before) >= 0.7 * np.abs(shift))
            np.testing.assert_array_equal(np.sign(after - before), np.sign(shift))
        else:
            np.testing.assert_allclose(after - before, shift, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("frame_of", [lambda **k: Frame(CURRENT, 1e-5, 1e-3, **k)]
                         + [lambda **k: Frame(ONE_CONDITION, 1.0, 1.0, **k)])  # fmt: skip
def test_arrays_shift_their_own_cells(frame_of: Callable[..., Frame]) -> None:
    frame = frame_of(arrays=("a", "b"))
    x = np.full(2, frame.high)
    p = parameters(frame)
    plain = law_at(frame, p, frame.places(x, array=np.array([0, 1])))
    shifts = {"lrs_location": 0.1, "hrs_location": -0.2, "hrs_ln_sd": 0.4}
    p |= {f"{n}_array": np.array([0.0, v]) for n, v in shifts.items()}
    found = law_at(frame, p, frame.places(x, array=np.array([0, 1])))
    zero = np.zeros(2)
    np.testing.assert_allclose(found.mean_lrs - plain.mean_lrs, [0, 0.1], atol=1e-12)
    np.testing.assert_allclose(found.mean_hrs - plain.mean_hrs, [0, -0.2], atol=1e-12)
    np.testing.assert_allclose(np.log(found.sd_hrs / plain.sd_hrs), [0, 0.4], atol=1e-12)
    np.testing.assert_allclose(np.log(found.sd_lrs / plain.sd_lrs) + zero, zero, atol=1e-12)


@pytest.mark.parametrize("programming", [CURRENT, GATE])
def test_a_second_variable_shifts_the_first(programming: Programming) -> None:
    frame = Frame(programming, 1.0, np.e, second=WIDTH, second_low=1.0, second_high=np.e**2)
    x, longer = frame.programming.from_coordinate(np.array([1.6])), np.array([np.e**1.5])
    own = {"lrs_second": 0.3}
    if programming is GATE:
        own = {"second_centre": -0.8, "ln_second_width": np.log(0.01), "ln_r_second": np.log(700.0)}
    p = parameters(frame, second_shift=0.4, hrs_second=-0.2, hrs_slope=0.0, **own)
    found = law_at(frame, p, frame.places(x, second=longer))
    # a quarter of the second range above its middle is a tenth of the first range further
    further = frame.position(x)[0] + 0.4 * 0.25
    alone = Frame(programming, 1.0, np.e)
    expected = core_at(alone, np.array([further]), ln_r_hrs=p["ln_r_hrs"] - 0.2 * 0.25,
                       hrs_slope=0.0)  # fmt: skip
    np.testing.assert_allclose(found.mean_hrs, expected.mean_hrs, rtol=1e-12)
    if programming is CURRENT:
        np.testing.assert_allclose(found.mean_lrs, expected.mean_lrs + 0.3 * 0.25, rtol=1e-12)
    else:  # in series with the path; 1.05 of the range above its onset, in units of half of it
        path = 1 / (np.exp(-expected.mean_lrs) - np.exp(-expected.mean_hrs))
        longer_path = path + 700.0 * 0.5 / 1.05
        parallel = 1 / (1 / longer_path + np.exp(-expected.mean_hrs))
        np.testing.assert_allclose(np.exp(found.mean_lrs), parallel, rtol=1e-9)


def test_one_condition_has_its_four_numbers() -> None:
    frame = Frame(ONE_CONDITION, 1.0, 1.0)
    p = parameters(frame, ln_r_lrs=9.0, ln_sd_lrs=-2.0, ln_r_hrs=11.0, ln_sd_hrs=-1.0)
    found = law_at(frame, p, frame.places(np.ones(3)))
    law = [found.mean_lrs, np.log(found.sd_lrs), found.mean_hrs, np.log(found.sd_hrs)]
    np.testing.assert_allclose(np.transpose(law), [[9.0, -2.0, 11.0, -1.0]] * 3)


@given(st.floats(-700, 700))
def test_ln_expit(z: float) -> None:
    assert ln_expit(np, z) == pytest.approx(special.log_expit(z), rel=1e-14, abs=1e-300)


def test_inputs_are_left_alone() -> None:
    frame = Frame(CURRENT, 1e-5, 1e-3, terms=2)
    at = here(parameters(frame), frame.places(np.geomspace(1e-5, 1e-3, 5)))
    before = {k: v.copy() for k, v in at.p.items()}
    core(np, frame, at)
    assert all(np.array_equal(before[k], at.p[k]) for k in before)
