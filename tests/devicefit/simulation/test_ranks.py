"""Ranks of normal draws, for which uniformity is known, and controls that must fail."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from devicefit.simulation.ranks import RANKS, RankStudy, rank_of


def study(sets: int, *, seed: int, narrow: float = 1.0, shift: float = 0.0) -> RankStudy:
    """Truth and draws from one normal law, the draws narrowed and shifted."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(sets):
        draws = {n: shift + rng.standard_normal(RANKS) / narrow for n in "ab"}
        truth = {n: rng.standard_normal() for n in "ab"}
        records.append(
            {
                "number": number,
                "ranks": {n: rank_of(truth[n], draws[n], rng=rng) for n in "ab"},
                "of": RANKS,
                "inside": {n: bool(abs(truth[n] - shift) < 1.6449 / narrow) for n in "ab"},
                "probability": 0.9,
            }
        )
    return RankStudy.from_records(records)


@given(st.integers(0, 49))
def test_rank_counts_the_draws_below(below: int) -> None:
    draws = np.concatenate([np.full(below, -1.0), np.full(49 - below, 1.0)])
    rng = np.random.default_rng(0)
    assert rank_of(0.0, rng.permutation(draws), rng=rng) == below


def test_ties_are_broken_evenly() -> None:
    rng = np.random.default_rng(1)
    found = np.array([rank_of(0.0, np.zeros(49), rng=rng) for _ in range(5000)])
    # 50 ranks, 100 times each on average: 4.5 standard errors of 10 for 50 checks, 3e-4
    assert np.abs(np.bincount(found, minlength=50) - 100).max() < 45


def test_thinning_is_even() -> None:
    rng = np.random.default_rng(2)
    # of 0 ... 489, every tenth beginning with 5 is kept: 5 ... 485
    for truth, rank in ((4, 0), (6, 1), (484, 48), (486, 49)):
        assert rank_of(truth, np.arange(490.0), rng=rng) == rank


@pytest.mark.parametrize(
    ("truth", "draws", "message"),
    [
        (0.0, np.zeros(48), "48 draws, the rank needs 49"),
        (np.nan, np.zeros(49), "is not a number"),
        (0.0, np.full(49, np.nan), "is not a number"),
    ],
)
def test_bad_draws(truth: float, draws: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_of(truth, draws, rng=np.random.default_rng(0))


@pytest.mark.parametrize("sets", [25, 200])
def test_a_calibrated_study_passes(sets: int) -> None:
    found = study(sets, seed=3)
    assert found.corrected_p > 0.01
    assert found.spread_p_values.min() > 0.005
    assert np.all(found.coverage >= binom.ppf(0.001, sets, 0.9) / sets)
    record = found.record()
    assert record["data_sets"] == sets
    assert record["quantities"]["b"]["coverage"] == found.coverage[1]


def test_p_values_are_uniform_where_ranks_are() -> None:
    p = np.concatenate([study(40, seed=s).p_values for s in range(100, 250)])
    # 300 studies: the share below 0.1 within 4 standard errors of 0.017
    assert abs((p < 0.1).mean() - 0.1) < 0.07
    spread = np.concatenate([study(40, seed=s).spread_p_values for s in range(100, 250)])
    assert abs((spread < 0.1).mean() - 0.1) < 0.07


@pytest.mark.parametrize("change", [{"narrow": 2.0}, {"narrow": 0.5}, {"shift": 1.0}])
def test_control_wrong_posteriors_must_fail(change: dict[str, float]) -> None:
    assert study(200, seed=4, **change).corrected_p < 1e-4
    if "narrow" in change:
        assert study(25, seed=5, **change).spread_p_values.max() < 0.01


def test_chi_square_by_hand() -> None:
    # 25 data sets allow 5 cells; 10, 5, 5, 5, 0 of 5 expected: (25 + 25) / 5 = 10, 4 dof
    ranks = np.repeat([0, 10, 20, 30], [10, 5, 5, 5])[:, None]
    found = RankStudy(("a",), ranks, np.ones((25, 1), bool), 49, 0.9)
    # chi-square tail of 10 at 4 degrees of freedom: exp(-5) (1 + 5)
    assert found.p_values[0] == pytest.approx(6 * np.exp(-5))
    assert found.corrected_p == found.p_values[0]


def record(**change: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"number": 1, "ranks": {"a": 3}, "inside": {"a": True}}
    return row | {"of": 49, "probability": 0.9} | change


def test_records_of_one_study() -> None:
    found = RankStudy.from_records([record(number=2, ranks={"a": 7}), record()])
    np.testing.assert_array_equal(found.ranks, [[3], [7]])
    with pytest.raises(ValueError, match="there are no data sets"):
        RankStudy.from_records([])
    for change in ({"ranks": {"b": 3}}, {"of": 9}, {"probability": 0.5}):
        with pytest.raises(ValueError, match="data set 2 has other quantities, ranks or interv"):
            RankStudy.from_records([record(), record(number=2, **change)])
    with pytest.raises(ValueError, match="2 data sets are too few for a chi-square test"):
        _ = found.p_values
