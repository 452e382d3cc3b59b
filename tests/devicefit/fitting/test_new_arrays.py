"""Arrays that were not measured: their law, their seed, and what is done with them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import kstest

from devicefit.distributions.sensing import SensingOptions, ln_ber_2t2r
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.error_rates import array_curves, ber_curves
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.fitting.new_arrays import new_array_note
from devicefit.inputs.programming import Programming
from devicefit.prediction.stacking import StackedDevice
from devicefit.sampling.prior import prior_record, sample_priors

CURRENT = Programming("i", "A")
X = np.array([5e-5, 1e-4, 3e-4])
SENSING = SensingOptions(threshold_ohm=3e4)


def posterior_of(*arrays: str, family: str = "lognormal", draws: int = 1000) -> DevicePosterior:
    """Draws of the priors, narrow but for what arrays differ by."""
    frame = Frame(CURRENT, 5e-5, 3e-4, arrays=arrays)
    priors = FAMILIES[family].priors(frame)
    narrow = tuple(p if "_array" in p.name else replace(p, sd=p.sd / 20) for p in priors)
    drawn = sample_priors(narrow, draws=draws, rng=np.random.default_rng(3))
    named = {
        k: (("chain", "draw", f"{k}_array")[: v.ndim], v.reshape(2, draws // 2, *v.shape[2:]))
        for k, v in drawn.items()
    }
    record: dict[str, Any] = {
        "devices": 100,
        "priors": prior_record(priors),
        "sampler": {"seed": 7},
    }
    found = Diagnostics(1.0, 1e3, 1e3, 0, draws)
    return DevicePosterior(family, xr.Dataset(named), frame, found, record)


@pytest.mark.parametrize(("family", "kinds"), [("lognormal", 5), ("switching-failure", 8)])
def test_shifts_of_new_arrays_have_the_law_of_each_draw(family: str, kinds: int) -> None:
    measured = posterior_of("a", "b", family=family)
    larger = measured.with_new_arrays(3)
    assert larger.frame.arrays == ("a", "b", "new array 1", "new array 2", "new array 3")
    assert larger.frame.measured_arrays == ("a", "b")
    scores = []
    for prior in FAMILIES[family].priors(measured.frame):
        old, new = measured.draws[prior.name].values, larger.draws[prior.name].values
        np.testing.assert_array_equal(new[..., :2] if prior.size else new, old)
        if prior.size:
            sd = np.exp(measured.draws[prior.ln_sd].values)[..., None] if prior.ln_sd else 1.0
            scores.append((new[..., 2:] / sd).reshape(-1, 3))
    every = np.stack(scores)
    assert len(every) == kinds
    assert kstest(every.ravel(), "norm").pvalue > 1e-3
    # kinds of shifts, and new arrays, are independent: 4.5 standard errors for up to 276 pairs
    flat = every.transpose(0, 2, 1).reshape(3 * kinds, -1)
    correlation = np.corrcoef(flat)[np.triu_indices(3 * kinds, 1)]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(1000)


def test_new_arrays_are_the_same_each_time_and_change_nothing_of_the_measured_ones() -> None:
    measured = posterior_of("a", "b")
    one, again, two = (measured.with_new_arrays(n) for n in (1, 1, 2))
    for name, variable in one.draws.data_vars.items():
        assert variable.values.tobytes() == again.draws[name].values.tobytes()
    together, larger = measured.mixtures(X), two.mixtures(X)
    for state, law in together.items():
        np.testing.assert_array_equal(law.location, larger[state].location)
    # one draw is one array at all programming values, whichever are asked for
    whole, part = one.mixtures(X, array=2), one.mixtures(X[1:2], array=2)
    np.testing.assert_array_equal(whole["LRS"].location[..., 1:2], part["LRS"].location)
    other = replace(measured, record={**measured.record, "sampler": {"seed": 8}})
    moved = other.with_new_arrays(1).draws["lrs_location_array"].values
    assert (moved[..., 2] != one.draws["lrs_location_array"].values[..., 2]).all()


def test_shifts_in_units_of_their_sd_are_multiplied_by_it() -> None:
    larger = posterior_of("a", "b", family="switching-failure").with_new_arrays(1)
    draws = larger.draws
    sd = np.exp(draws["ln_sd_reset_floor_array"].values)
    shift = sd * draws["reset_floor_array_in_sd"].values[..., 2]
    ln_odds = np.log(10) * draws["log10_reset_floor"].values + shift
    # at mid range the odds of a failed RESET do not depend on the programming
    middle = CURRENT.from_coordinate(CURRENT.coordinate([X[0], X[-1]]).mean(keepdims=True))
    law = larger.mixtures(middle, array=2)["HRS"]
    np.testing.assert_allclose(law.ln_weight[1, ..., 0], -np.log1p(np.exp(-ln_odds)), rtol=1e-9)


def test_both_cells_of_a_pair_are_on_the_new_array() -> None:
    larger = posterior_of("a", "b").with_new_arrays(1)
    curves = ber_curves(larger, X, options=SENSING)
    new = array_curves(larger, curves["1T1R"], options=SENSING)[-1]
    laws = larger.mixtures(X, array=2)
    np.testing.assert_array_equal(
        new["2T2R"].ln_ber, ln_ber_2t2r(laws["LRS"], laws["HRS"], SENSING.offset_ln_r)
    )
    # cells of any measured array are not those of the new one
    assert (new["1T1R"].ln_ber != curves["1T1R"].ln_ber).all()


def test_one_measured_array_leaves_the_spread_to_the_prior() -> None:
    alone = posterior_of("a")
    larger = alone.with_new_arrays(1)
    shifts = larger.draws["lrs_location_array"].values
    ln_sd = larger.draws["ln_sd_lrs_location_array"].values
    assert (shifts[..., 0] == 0).all()
    assert kstest((shifts[..., 1] / (np.sqrt(2) * np.exp(ln_sd))).ravel(), "norm").pvalue > 1e-3
    several = FAMILIES["lognormal"].priors(replace(alone.frame, arrays=("a", "b")))
    prior = next(p for p in several if p.name == "ln_sd_lrs_location_array")
    assert kstest(((ln_sd - prior.mean) / prior.sd).ravel(), "norm").pvalue > 1e-3
    for state, law in alone.mixtures(X).items():
        np.testing.assert_array_equal(law.location, larger.mixtures(X)[state].location)
        np.testing.assert_array_equal(law.location, larger.mixtures(X, array=0)[state].location)


def test_a_stack_has_the_new_arrays_of_its_families() -> None:
    families = ("lognormal", "student-t")
    stack = StackedDevice(
        {f: posterior_of("a", "b", family=f) for f in families}, dict.fromkeys(families, 0.5)
    )
    larger = stack.with_new_arrays(1)
    assert larger.frame.arrays == ("a", "b", "new array 1")
    allotted = larger.allotment()
    found = larger.mixtures(X, array=2)["HRS"].location
    for k, f in enumerate(families):
        of_family = larger.posteriors[f].mixtures(X, array=2)["HRS"].location
        inside = found[:, allotted == k]
        assert (inside == of_family[:, allotted == k]).any(axis=0).all()


def test_too_few_measured_arrays_are_said() -> None:
    assert new_array_note(posterior_of(*"abcde").frame) == ""
    assert "2 arrays were measured, fewer than 5" in new_array_note(posterior_of("a", "b").frame)
    larger = posterior_of("a").with_new_arrays(9).frame
    assert "1 array was measured" in new_array_note(larger)


def test_new_arrays_that_cannot_be_are_refused() -> None:
    measured = posterior_of("a", "b", draws=4)
    with pytest.raises(ValueError, match="count is 0; at least one new array"):
        measured.with_new_arrays(0)
    with pytest.raises(ValueError, match="1 new arrays already; ask for all at once"):
        measured.with_new_arrays(1).with_new_arrays(1)
    with pytest.raises(ValueError, match=r"new_arrays is 1; it must lie within 0\.\.0"):
        replace(posterior_of("a", draws=4).frame, new_arrays=1)
