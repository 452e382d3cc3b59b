"""The model of shares over both rates. Everything here is simulated."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit, logit, ndtri
from scipy.stats import chi2

from reliability.accuracy.surface_draws import draw_dispersions, draw_shares
from reliability.accuracy.surface_model import Pairs, Smoothness, linearise

RATES = np.geomspace(1e-3, 0.2, 8)
AT = Pairs(np.log(np.repeat(RATES, 3)), np.tile([-0.7, 0.0, 0.7], 8))
BETWEEN = Pairs(np.log([2.9e-3, 1.4e-2, 1.4e-2, 6e-2, 6e-2]), np.array([0.3, -0.4, 0.0, 0.5, -0.2]))
TAME = Smoothness(level=0.7, over_rate=0.6, over_tilt=0.6, own=0.05)
"""A prior whose draws networks could have: neither all nor nothing at all rates."""

SPREADS = Smoothness(level=0.4, over_rate=0.3, over_tilt=0.3, own=0.1)


def _all(pairs: Pairs, more: Pairs) -> Pairs:
    return Pairs(
        np.concatenate([pairs.ln_rate, more.ln_rate]), np.concatenate([pairs.tilt, more.tilt])
    )


def test_without_tilt_nothing_depends_on_the_offset() -> None:
    equal = Pairs(np.log(RATES), np.zeros(8))
    other = Smoothness(TAME.level, TAME.over_rate, 50.0, TAME.own)
    np.testing.assert_allclose(other.kernel(equal, equal), TAME.kernel(equal, equal))
    assert np.linalg.eigvalsh(TAME.kernel(AT, AT)).min() > 0


def test_rates_of_zeros_and_ones_have_their_mean_and_tilt() -> None:
    pairs = Pairs(np.log([0.02, 0.1]), np.array([0.5, -1.0]), ones=0.25)
    np.testing.assert_allclose(pairs.rates, [[0.01, 0.03], [0.2, 0.0]])
    # 0.75 of the bits are zeros
    np.testing.assert_allclose(np.exp(pairs.ln_wrong), [0.015, 0.15])


def test_draws_are_those_of_the_normal_law_given_the_counts() -> None:
    """Mean and covariance against the textbook formula; z = 4 over all values."""
    rng = np.random.default_rng(1)
    pool, chips = 5000, np.full(24, 50)
    mean = pool * expit(logit(0.02) + AT.ln_wrong - np.log(1e-2) + 0.2 * rng.standard_normal(24))
    found = linearise(AT, chips, mean, mean, np.eye(24), pool, share=TAME, dispersion=SPREADS)
    assert found.converged
    draws = 4000
    drawn = draw_shares([found], BETWEEN, draws=draws, rng=rng, prior=TAME).values
    total = TAME.kernel(AT, AT) + found.covariance
    to = TAME.kernel(BETWEEN, AT)
    weights = np.linalg.solve(total, np.ones(24))
    level = weights @ found.logit_share / weights.sum()
    expected = level + BETWEEN.ln_wrong + to @ np.linalg.solve(total, found.logit_share - level)
    covariance = TAME.kernel(BETWEEN, BETWEEN) - to @ np.linalg.solve(total, to.T)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - expected), 4 * sd / np.sqrt(draws))
    # at the mode of the counts the linearised values are the empirical logits
    np.testing.assert_allclose(found.logit_share + AT.ln_wrong, logit(mean / pool), atol=0.01)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=5 * sd.max() ** 2 / np.sqrt(draws))
    # chips of unit dispersion: a binomial variance of the count
    away = np.abs(np.diag(found.covariance) - 1 / (50 * mean * (1 - mean / pool)))
    assert np.all(away < 0.5 * np.diag(found.covariance))


def test_without_any_loss_the_share_stays_small_and_uncertain() -> None:
    chips, nothing = np.full(24, 20), np.zeros(24)
    found = linearise(AT, chips, nothing, nothing, np.eye(24), 600)
    drawn = draw_shares([found], AT, draws=200, rng=np.random.default_rng(2)).values
    assert found.converged
    # no image in 20 chips at each of 24 points: fewer than 0.2 of 600 images
    assert np.quantile(600 * expit(drawn), 0.95, axis=0).max() < 0.5
    assert drawn.std(axis=0).min() > 0.5


def _ranks(
    simulate: Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray],
    correlation: np.ndarray,
    *,
    sets: int,
) -> np.ndarray:
    """Ranks of true logits among 99 draws, shape (sets, points of `BETWEEN`)."""
    every, n, pool = _all(AT, BETWEEN), 24, 2000
    root = np.linalg.cholesky(TAME.kernel(every, every))
    root_d = np.linalg.cholesky(SPREADS.kernel(every, every))
    ranks = []
    for number in range(sets):
        rng = np.random.default_rng([6, number])
        truth = logit(0.03) + every.ln_wrong - np.log(2e-2) + root @ rng.standard_normal(n + 5)
        dispersion = (root_d @ rng.standard_normal(n + 5))[:n]
        share = expit(truth[:n])
        sd = np.sqrt(np.exp(dispersion) * pool * share * (1 - share))
        counts = np.clip(np.rint(simulate(rng, pool * share, sd)), 0, pool)
        fit = linearise(
            AT,
            np.full(n, counts.shape[1]),
            counts.mean(axis=1),
            counts.var(axis=1, ddof=1),
            correlation,
            pool,
            share=TAME,
            dispersion=SPREADS,
        )
        drawn = draw_shares([fit], BETWEEN, draws=99, rng=rng, prior=TAME).values
        ranks.append((drawn < truth[n:]).sum(axis=0))
    return np.array(ranks)


ALIKE = 0.8 * np.ones((24, 24)) + 0.2 * np.eye(24)
CHIPS = 12


def _nested(rng: np.random.Generator, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    own = np.linalg.cholesky(ALIKE) @ rng.standard_normal((24, CHIPS))
    return np.asarray(mean[:, None] + sd[:, None] * own)


@pytest.mark.parametrize(
    ("correlation", "right"),
    [(ALIKE, True), (np.eye(24), False)],
    ids=["nested", "control: nested, taken as independent"],
)
def test_simulation_based_calibration(correlation: np.ndarray, right: bool) -> None:
    """Normal scores of the ranks of the truth are chi-squared: 5 points, 0.001 in all."""
    sets = 150
    scores = ndtri((_ranks(_nested, correlation, sets=sets) + 0.5) / 100)
    low, high = chi2.ppf([0.0001, 0.9999], sets)
    found = (scores**2).sum(axis=0)
    assert bool(np.all((low < found) & (found < high))) == right, found


def test_dispersions_are_those_of_the_chips() -> None:
    """Counts of 200 chips with a known variance at each rate; z = 4 for a sample variance."""
    rng = np.random.default_rng(7)
    chips, pool = 200, 20_000
    mean = pool * expit(logit(0.02) + AT.ln_wrong - np.log(1e-2))
    ln_d = 0.5 + 0.3 * AT.ln_rate - 0.3 * np.log(1e-2)
    sd = np.sqrt(np.exp(ln_d) * mean * (1 - mean / pool))
    counts = np.rint(mean[:, None] + sd[:, None] * rng.standard_normal((24, chips)))
    found = linearise(
        AT,
        np.full(24, chips),
        counts.mean(axis=1),
        counts.var(axis=1, ddof=1),
        np.eye(24),
        pool,
    )
    drawn = draw_dispersions(found, AT, draws=500, rng=rng)
    assert np.all(np.abs(drawn.mean(axis=0) - ln_d) < 4 * np.sqrt(2 / (chips - 1)))
    # not better known than neighbours can make it, not worse than from 200 chips alone, 0.1
    assert 0.05 < np.median(drawn.std(axis=0)) < 0.105
    held = (np.abs(drawn.mean(axis=0) - ln_d) / drawn.std(axis=0)) ** 2
    assert held.sum() < chi2.ppf(0.9999, 24)
