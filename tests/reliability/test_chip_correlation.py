"""Chips that are alike over BER, and what follows for the curve. All counts are simulated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import chi2, multivariate_normal

from devicefit.backend import SamplerOptions
from reliability.chip_correlation import chip_correlation
from reliability.curve_density import KINDS, CurveDensity
from reliability.curve_sampler import sample_curve

BER = np.array([3e-3, 1e-2, 2e-2, 3e-2, 4e-2, 5e-2, 7e-2, 0.1])
POOLS = {"lost": 1000, "gained": 100}
BITS, DAMAGE = 300, 2.0
SETS = 30
JUDGED = slice(2, 7)
"""Knots over which the curve's level is judged: from 2e-2 to 7e-2."""


def _nested(rng: np.random.Generator, *, chips: int) -> dict[str, np.ndarray]:
    """Chips whose bits each cost two images on average: damage rests on single bits alone."""
    level = rng.random((chips, BITS))
    damage = DAMAGE * np.linspace(0.0, 2.0, BITS)
    lost = np.stack([np.rint((level < p) @ damage) for p in BER])
    gained = rng.binomial(POOLS["gained"], 0.05, (len(BER), chips))
    return {"lost": lost.astype(np.int64), "gained": gained}


def test_damage_by_single_bits_has_the_correlation_of_a_bit() -> None:
    found = chip_correlation(_nested(np.random.default_rng(1), chips=400)["lost"], np.log(BER))
    odds = BER / (1 - BER)
    expected = np.sqrt(np.minimum.outer(odds, odds) / np.maximum.outer(odds, odds))
    # The grid of laws starts at a tenth of a further bit and at 2 % of each knot's own.
    np.testing.assert_allclose(found, expected, atol=0.06)
    np.testing.assert_allclose(np.diag(found), 1.0)


def test_chips_that_are_new_at_each_ber_are_hardly_alike() -> None:
    rng = np.random.default_rng(2)
    new = np.stack([rng.permutation(row) for row in _nested(rng, chips=400)["lost"]])
    found = chip_correlation(new, np.log(BER))
    assert np.abs(found - np.eye(len(BER))).max() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(0, 3))
def test_any_counts_give_a_correlation_matrix(seed: int, chips: int, level: int) -> None:
    counts = np.random.default_rng(seed).poisson(level, (len(BER), chips))
    found = chip_correlation(counts, np.log(BER))
    np.testing.assert_allclose(np.diag(found), 1.0)
    np.testing.assert_allclose(found, found.T)
    assert np.linalg.eigvalsh(found).min() > 0
    alike = counts.min(axis=1) == counts.max(axis=1)
    assert np.all(found[alike] == np.eye(len(BER))[alike])


def test_density_is_that_of_correlated_means_and_single_spreads() -> None:
    """Against SciPy's multivariate normal and chi-squared laws, and finite differences."""
    rng = np.random.default_rng(3)
    chips = 7
    tables = _nested(rng, chips=chips)
    density = CurveDensity(np.log(BER), tables, POOLS)

    def reference(z: np.ndarray) -> float:
        shares, dispersions = density.curves(z)
        total = -0.5 * float(z @ z)
        for kind in KINDS:
            table, share = tables[kind], expit(shares[kind])
            sd = np.sqrt(np.exp(dispersions[kind]) * POOLS[kind] * share * (1 - share) + 1 / 12)
            covariance = np.outer(sd, sd) * chip_correlation(table, np.log(BER)) / chips
            means = multivariate_normal(POOLS[kind] * share, covariance)
            total += float(means.logpdf(table.mean(axis=1)))
            squares = table.var(axis=1) * chips
            total += float(chi2(chips - 1, scale=sd**2).logpdf(squares).sum())
        return total

    places = 0.3 * rng.standard_normal((3, density.size))
    apart = [density(z)[0] - reference(z) for z in places]
    np.testing.assert_allclose(apart, apart[0], rtol=1e-10)
    step = 1e-5 * np.eye(density.size)
    slopes = [(density(places[0] + h)[0] - density(places[0] - h)[0]) / 2e-5 for h in step]
    np.testing.assert_allclose(density(places[0])[1], slopes, rtol=1e-5, atol=1e-4)


def _misses(*, nested: bool, correlated: bool) -> float:
    """Mean over count sets of squared errors of the curve's level in posterior variances."""
    # Rounding to whole images is even on both sides.
    share = BER[JUDGED] * DAMAGE * BITS / POOLS["lost"]
    truth = np.log(share / (1 - share)).mean()
    squares = []
    for i in range(SETS):
        tables = _nested(np.random.default_rng([4, i]), chips=60)
        if not nested:
            rng = np.random.default_rng([5, i])
            tables["lost"] = np.stack([_nested(rng, chips=60)["lost"][k] for k in range(len(BER))])
        known = None if correlated else dict.fromkeys(KINDS, np.eye(len(BER)))
        density = CurveDensity(np.log(BER), tables, POOLS, known)
        options = SamplerOptions(chains=1, draws=300, warmup=100, target_accept=0.85, seed=i)
        draws = sample_curve(density, options).draws.reshape(-1, density.size)
        level = density.curves(draws)[0]["lost"][:, JUDGED].mean(axis=1)
        squares.append(((level.mean() - truth) / level.std()) ** 2)
    return float(np.mean(squares))


@pytest.mark.parametrize(
    ("nested", "correlated", "right"),
    [(True, True, True), (False, True, True), (True, False, False)],
    ids=["nested", "new at each BER", "control: nested, taken as independent"],
)
def test_the_curve_knows_how_well_it_is_known(nested: bool, correlated: bool, right: bool) -> None:
    """Squared errors in posterior variances, of many count sets, are chi-squared."""
    low, high = chi2.ppf([0.001, 0.999], SETS) / SETS
    found = _misses(nested=nested, correlated=correlated)
    assert (low < found < high) == right, (low, found, high)
