"""Cells against the closed forms of error probabilities and distribution functions of the laws."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.optimize import brentq

from devicefit.distributions.mixture import Mixture
from devicefit.distributions.sensing import SensingOptions, ln_ber_1t1r, ln_ber_2t2r
from devicefit.distributions.threshold import choose_threshold
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.cells import CellReader, cell_reader, draw_ln_resistance
from devicefit.fitting.fit import DevicePosterior, Diagnostics
from devicefit.inputs.programming import Programming

X = 1e-4
CELLS = 40_000
# 48 comparisons in this module, 0.0005 in all
REJECT = 1e-5


@pytest.fixture(scope="module")
def device(
    prior_vectors: Callable[..., Any], by_name: Callable[..., Any]
) -> Callable[[str], DevicePosterior]:
    """Make a posterior of a family whose draws lie near the middle of the priors."""

    def make(family: str) -> DevicePosterior:
        frame = Frame(Programming("SET compliance current", "A"), 2e-5, 6e-4)
        vectors = prior_vectors(family, frame, draws=6, seed=4, narrow=0.3)
        named = {
            name: (("chain", "draw", f"{name}_term")[: 1 + values.ndim], values.reshape(2, 3, -1))
            if values.ndim > 1
            else (("chain", "draw"), values.reshape(2, 3))
            for name, values in by_name(family, frame, vectors).items()
        }
        record = {"devices": 100, "design_effect": {"LRS": 1.0, "HRS": 1.0}}
        return DevicePosterior(
            family, xr.Dataset(named), frame, Diagnostics(1.0, 1e3, 1e3, 0, 6), record
        )

    return make


def rng_of(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def agree(errors: int, trials: int, probability: float) -> bool:
    return bool(stats.binomtest(int(errors), trials, probability).pvalue > REJECT)


def thresholds(reader: CellReader, draw: int) -> list[float]:
    """Two thresholds: 2 % of the LRS cells above the first, 7 % of the HRS cells below the second.

    The errors of the two states are then far from equal at both.
    """
    lrs, hrs = reader.lrs.part((draw,)), reader.hrs.part((draw,))
    return [
        brentq(lambda t: float(lrs.ln_survival(t)) - np.log(0.02), 0, 40),
        brentq(lambda t: float(hrs.ln_distribution(t)) - np.log(0.07), 0, 40),
    ]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_errors_of_each_state_follow_the_closed_form(
    family: str, device: Callable[[str], DevicePosterior]
) -> None:
    reader = cell_reader(device(family), X, scheme="1T1R", options=SensingOptions())
    assert reader.draws == 6
    bits = rng_of(1).random(CELLS) < 0.4
    for number, threshold in enumerate(thresholds(reader, 4)):
        at = replace(reader, threshold_ln_r=threshold)
        wrong = at.wrong(bits, draw=4, rng=rng_of(2, number))
        expected = {s: float(p[4]) for s, p in at.error_probability.items()}
        assert expected["LRS" if number == 0 else "HRS"] == pytest.approx((0.02, 0.07)[number])
        assert agree(wrong[bits].sum(), int(bits.sum()), expected["LRS"])
        assert agree(wrong[~bits].sum(), int((~bits).sum()), expected["HRS"])
        # both bits equally frequent: the BER of the curves
        ber = np.exp(ln_ber_1t1r(at.lrs, at.hrs, threshold))[4]
        assert sum(expected.values()) / 2 == pytest.approx(ber)
        # control that must fail: the states swapped
        assert not agree(wrong[bits].sum(), int(bits.sum()), expected["HRS"])
        swapped = replace(at, one_is="HRS").wrong(bits, draw=4, rng=rng_of(3, number))
        assert agree(swapped[bits].sum(), int(bits.sum()), expected["HRS"])


@pytest.mark.parametrize("family", list(FAMILIES))
def test_errors_of_pairs_follow_the_curve(
    family: str, device: Callable[[str], DevicePosterior]
) -> None:
    options = SensingOptions(offset_ln_r=1.5)
    reader = cell_reader(device(family), X, scheme="2T2R", options=options)
    expected = np.exp(ln_ber_2t2r(reader.lrs, reader.hrs, 1.5))[2]
    assert 1e-3 < expected < 0.4
    bits = rng_of(1).random(CELLS) < 0.5
    wrong = reader.wrong(bits, draw=2, rng=rng_of(7))
    assert agree(wrong.sum(), CELLS, expected)
    # either bit has one of each cell
    assert agree(wrong[bits].sum(), int(bits.sum()), expected)
    # control that must fail: an amplifier without offset
    assert not agree(wrong.sum(), CELLS, float(np.exp(ln_ber_2t2r(reader.lrs, reader.hrs, 0.0))[2]))


@pytest.mark.parametrize("kernel", ["normal", "student-t", "logistic"])
def test_drawn_values_have_the_distribution_of_the_law(kernel: str) -> None:
    kernels = (kernel, "normal", "logistic")
    law = Mixture(
        np.log([0.6, 0.3, 0.1]),
        np.array([8.0, 11.0, 13.0]),
        np.array([0.4, 0.2, 0.6]),
        kernels,
        np.array([2.5, 1.0, 1.0]) if kernel == "student-t" else None,
    )
    y = draw_ln_resistance(law, 50_000, rng=rng_of(5))
    assert stats.kstest(np.exp(law.ln_distribution(y)), "uniform").pvalue > REJECT
    # far tail, where a coarse uniform number would show
    far = 8.0 - 9.0
    assert agree((y < far).sum(), len(y), float(np.exp(law.ln_distribution(far))))


def test_a_component_without_weight_is_never_drawn() -> None:
    law = Mixture(np.array([-np.inf, 0.0]), np.array([100.0, 1.0]), np.array([1.0, 1e-3]))
    assert draw_ln_resistance(law, 1000, rng=rng_of(1)).max() < 2.0


def test_cells_of_several_laws_are_matched() -> None:
    one, other = (Mixture(np.zeros(1), np.array([m]), np.array([1.0])) for m in (3.0, 5.0))
    drawn = [draw_ln_resistance(law, 40_000, rng=rng_of(9)) for law in (one, other)]
    np.testing.assert_allclose(drawn[1] - drawn[0], 2.0)
    # fewer cells are the first of more
    np.testing.assert_array_equal(draw_ln_resistance(one, 100, rng=rng_of(9)), drawn[0][:100])
    assert draw_ln_resistance(one, 0, rng=rng_of(9)).shape == (0,)


def test_the_threshold_is_that_of_the_curves(device: Callable[[str], DevicePosterior]) -> None:
    posterior = device("switching-failure")
    laws = posterior.mixtures(np.array([X]))
    reader = cell_reader(posterior, X, scheme="1T1R", options=SensingOptions())
    assert reader.threshold_ln_r == choose_threshold(laws["LRS"], laws["HRS"])[0]
    given = cell_reader(posterior, X, scheme="1T1R", options=SensingOptions(threshold_ohm=2e4))
    assert given.threshold_ln_r == pytest.approx(np.log(2e4))
    assert given.sha256 != reader.sha256
    with pytest.raises(ValueError, match="2T2R has no threshold"):
        _ = cell_reader(posterior, X, scheme="2T2R", options=SensingOptions()).error_probability


def test_a_large_network_takes_well_under_a_second(
    device: Callable[[str], DevicePosterior],
) -> None:
    reader = cell_reader(device("skewed-failure"), X, scheme="1T1R", options=SensingOptions())
    bits = rng_of(1).random(1_900_000) < 0.5
    begin = time.process_time()
    reader.wrong(bits, draw=0, rng=rng_of(2))
    # 0.2 s on an idle core
    assert time.process_time() - begin < 1.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheme": "3T"}, "scheme '3T' is not known; known: 1T1R, 2T2R"),
        ({"one_is": "on"}, "one_is is 'on'; a 1 is stored as one of LRS, HRS"),
        ({"programming": 0.0}, "SET compliance current must be finite and positive"),
        ({"programming": np.nan}, "programming is nan"),
        ({"array": 1}, r"array is 1; measured were the arrays 0\.\.0"),
    ],
)
def test_wrong_input_is_refused(
    device: Callable[[str], DevicePosterior], changes: dict[str, Any], message: str
) -> None:
    given = {"programming": X, "scheme": "1T1R", "options": SensingOptions(), **changes}
    with pytest.raises(ValueError, match=message):
        cell_reader(device("lognormal"), given.pop("programming"), **given)


def test_wrong_draws_are_refused(device: Callable[[str], DevicePosterior]) -> None:
    reader = cell_reader(device("lognormal"), X, scheme="1T1R", options=SensingOptions())
    with pytest.raises(ValueError, match=r"draw is 6; there are the posterior draws 0\.\.5"):
        reader.wrong(np.ones(3, bool), draw=6, rng=rng_of(1))
    with pytest.raises(ValueError, match="choose one draw and one place"):
        draw_ln_resistance(reader.lrs, 3, rng=rng_of(1))
    with pytest.raises(ValueError, match="cells is -1"):
        draw_ln_resistance(reader.lrs.part((0,)), -1, rng=rng_of(1))
