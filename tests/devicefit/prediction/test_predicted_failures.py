"""Predicted failures of one known device against exact binomial laws."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from devicefit.distributions.sensing import BerCurve, SensingOptions
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import DevicePosterior
from devicefit.likelihood.compressed import Compressed
from devicefit.prediction.counted_errors import ErrorCounts
from devicefit.prediction.predicted_failures import FailureCell, predicted_failures

CURRENTS = np.array([5e-5, 1e-4, 2e-4, 4e-4])
LN_T = np.log(3e4)
STATES = ("LRS", "HRS")


def truth(posterior: DevicePosterior) -> dict[str, np.ndarray]:
    """P(wrong side of 30 kohm) at each current and draw, shape (draw, current); a normal tail."""
    found = {}
    for state, law in posterior.mixtures(CURRENTS).items():
        z = (LN_T - law.location[0]) / law.scale[0]
        tail = stats.norm.sf(z) if state == "LRS" else stats.norm.cdf(z)
        found[state] = tail.reshape(-1, len(CURRENTS))
    return found


def exact_ends(n: int, p: np.ndarray) -> tuple[int, int, int]:
    """2.5, 50 and 97.5 % quantiles of the even mixture of binomial laws."""
    cdf = stats.binom.cdf(np.arange(n + 1)[:, None], n, p).mean(axis=1)
    return tuple(int(np.searchsorted(cdf, level)) for level in (0.025, 0.5, 0.975))


@pytest.fixture
def cells_of(
    make_state: Callable[..., Any], make_compressed: Callable[..., Compressed]
) -> Callable[..., tuple[FailureCell, ...]]:
    """Predict failures of a posterior at 30 kohm.

    `taken` readings of each state at each current, pooled in groups of `group` currents; `errors`
    for each group.
    """

    def make(
        posterior: DevicePosterior,
        *,
        taken: dict[str, list[int]],
        group: int = 1,
        effect: float = 1.0,
        errors: int = 0,
        counted: dict[str, list[int]] | None = None,
    ) -> tuple[FailureCell, ...]:
        curve = ber_curves(posterior, CURRENTS, options=SensingOptions(threshold_ohm=3e4))["1T1R"]
        states = {
            s: make_state(
                np.arange(4), np.zeros(4), conditions=4, count=taken[s], design_effect=effect
            )
            for s in STATES
        }
        trials = {s: np.array((counted or taken)[s]).reshape(-1, group).sum(axis=1) for s in STATES}
        groups = len(trials["LRS"])
        counts = ErrorCounts(
            CURRENTS[::group],
            CURRENTS[group - 1 :: group],
            {s: np.full(groups, errors) for s in STATES},
            trials,
            np.arange(groups) + 50,
        )
        compressed = make_compressed(posterior.frame.programming, CURRENTS, states)
        return predicted_failures(
            posterior, compressed, counts, curve, rng=np.random.default_rng(71)
        )

    return make


EVEN = {s: [400] * 4 for s in STATES}


def assert_between(found: float, n: int, p: np.ndarray, level: float, draws: int) -> None:
    """Check that a sample quantile lies between the exact quantiles at level +- 4.5 se.

    Its rank is binomial; 4.5 standard errors fail one of 24 checks with probability 2e-4.
    """
    cdf = stats.binom.cdf(np.arange(n + 1)[:, None], n, p).mean(axis=1)
    se = 4.5 * np.sqrt(level * (1 - level) / draws)
    least, most = np.searchsorted(cdf, [max(level - se, 0), min(level + se, 1 - 1e-12)])
    assert least <= found <= most


def test_intervals_are_those_of_the_binomial_law(
    known_posterior: Callable[..., DevicePosterior], cells_of: Callable[..., Any]
) -> None:
    posterior = known_posterior(ln_v_c=np.log(2.0))
    p = truth(posterior)
    cells = cells_of(posterior, taken=EVEN)
    assert [(c.programming_low, c.state) for c in cells] == [
        (x, s) for x in CURRENTS for s in STATES
    ]
    for number, cell in enumerate(cells):
        at = number // 2
        assert cell.programming_high == cell.programming_low
        assert (cell.trials, cell.errors, cell.devices) == (400, 0, 50 + at)
        for found, level in ((cell.low, 0.025), (cell.median, 0.5), (cell.high, 0.975)):
            assert_between(found, 400, p[cell.state][:1, at], level, 1000)
    # the check can fail: it sees one reading in 20 more
    with pytest.raises(AssertionError):
        assert_between(cells[1].median + 20, 400, p["HRS"][:1, 0], 0.5, 1000)


def test_draws_that_differ_widen_the_interval(
    known_posterior: Callable[..., DevicePosterior], cells_of: Callable[..., Any]
) -> None:
    known = known_posterior()
    values = np.log(1e5) + 0.3 * np.random.default_rng(72).standard_normal((2, 500))
    draws = known.draws.assign(ln_r_hrs=xr.DataArray(values, dims=("chain", "draw")))
    posterior = dataclasses.replace(known, draws=draws)
    p = truth(posterior)["HRS"]
    cell = cells_of(posterior, taken=EVEN)[1]
    for found, level in ((cell.low, 0.025), (cell.median, 0.5), (cell.high, 0.975)):
        assert_between(found, 400, p[:, 0], level, 1000)
    low, _, high = exact_ends(400, p[:, 0].mean(keepdims=True))
    # control: one binomial law with the mean probability is narrower
    assert cell.high - cell.low > 1.5 * (high - low)


@pytest.mark.parametrize("taken", [[100, 700, 400, 400], [700, 100, 400, 400]])
def test_a_group_is_weighted_by_its_readings(
    known_posterior: Callable[..., DevicePosterior], cells_of: Callable[..., Any], taken: list[int]
) -> None:
    posterior = known_posterior(ln_v_c=np.log(2.0))
    p = truth(posterior)["LRS"][0, :2]
    cell = cells_of(posterior, taken={"LRS": taken, "HRS": [400] * 4}, group=2)[0]
    share = np.array([taken[0] * p[0] + taken[1] * p[1]]) / 800
    assert (cell.programming_low, cell.programming_high, cell.trials) == (5e-5, 1e-4, 800)
    for found, level in ((cell.low, 0.025), (cell.median, 0.5), (cell.high, 0.975)):
        assert_between(found, 800, share, level, 1000)
    # control: evenly weighted, the median would be elsewhere
    with pytest.raises(AssertionError):
        assert_between(cell.median, 800, p[:2].mean(keepdims=True), 0.5, 1000)


def test_the_design_effect_and_less_than_one_effective_failure(
    known_posterior: Callable[..., DevicePosterior], cells_of: Callable[..., Any]
) -> None:
    # 400 readings count as 20, one of which is 20 readings; 19 more or fewer are no surprise
    posterior = known_posterior(ln_r_hrs=np.log(4e4))
    p = truth(posterior)["HRS"]
    assert 0.2 < p[0, 0] < 0.4
    cell = cells_of(posterior, taken=EVEN, effect=20.0)[1]
    assert cell.median % 20 == 0
    for found, level in (
        ((cell.low + 19) / 20, 0.025),
        (cell.median / 20, 0.5),
        ((cell.high - 19) / 20, 0.975),
    ):
        assert found == round(found)
        assert_between(found, 20, p[:1, 0], level, 1000)


def test_ends_stay_among_possible_numbers(
    known_posterior: Callable[..., DevicePosterior], cells_of: Callable[..., Any]
) -> None:
    # an HRS of 1 Gohm never and one of 1 ohm always reads below 30 kohm
    for ln_r, expected in ((np.log(1e9), (0, 0, 19)), (0.0, (381, 400, 400))):
        posterior = known_posterior(ln_r_hrs=ln_r)
        cell = cells_of(posterior, taken=EVEN, effect=20.0)[1]
        assert (cell.low, cell.median, cell.high) == expected


def test_a_state_without_readings_has_no_cell(
    known_posterior: Callable[..., DevicePosterior], cells_of: Callable[..., Any]
) -> None:
    taken = {"LRS": [400, 0, 400, 400], "HRS": [400] * 4}
    cells = cells_of(known_posterior(), taken=taken)
    assert [(c.programming_low, c.state) for c in cells if c.programming_low == 1e-4] == [
        (1e-4, "HRS")
    ]
    assert len(cells) == 7


@pytest.mark.parametrize(("errors", "inside"), [(1, False), (2, True), (5, True), (6, False)])
def test_both_ends_are_inside(errors: int, inside: bool) -> None:
    assert FailureCell(1.0, 2.0, "HRS", 9, 10, errors, 2.0, 3.0, 5.0).inside is inside


def test_failures_need_a_threshold(
    known_posterior: Callable[..., DevicePosterior], make_compressed: Callable[..., Compressed]
) -> None:
    posterior = known_posterior()
    curve = BerCurve("2T2R", CURRENTS, np.zeros((1, 1, 4)), None, np.zeros(4, bool), 0.1)
    counts = ErrorCounts(CURRENTS, CURRENTS, {}, {}, np.zeros(4))
    compressed = make_compressed(posterior.frame.programming, CURRENTS, {})
    with pytest.raises(ValueError, match="2T2R has no threshold; .* threshold of the 1T1R curve"):
        predicted_failures(posterior, compressed, counts, curve, rng=np.random.default_rng(1))


def test_counts_of_other_readings(
    known_posterior: Callable[..., DevicePosterior], cells_of: Callable[..., Any]
) -> None:
    counted = {s: [402, 400, 400, 400] for s in STATES}
    with pytest.raises(
        ValueError, match="402 LRS readings were counted from 5e-05 to 5e-05, 400 were"
    ):
        cells_of(known_posterior(), taken=EVEN, counted=counted)
