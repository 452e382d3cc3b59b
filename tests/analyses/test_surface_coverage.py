"""Coverage of the surface on made-up chips, and a pool whose truth is known. All is simulated."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from analyses import surface_coverage
from analyses.surface_coverage import Pool
from bnn.study.rate_pairs import TILTED_RATES, TILTS
from reliability.networks.study import BER_GRID

IMAGES, CORRECT = 2000, 1900


def _pool(chips: int) -> Pool:
    """Chips that are better or worse than the mean at all pairs alike, and a part of their own."""
    equal = np.array(sorted({*BER_GRID, *surface_coverage.EQUAL_BETWEEN}))
    tilted = [(p, u) for p in TILTED_RATES for u in TILTS]
    more = [(p, u) for p in (0.014, 0.06) for u in (-0.8, 0.4)]
    ber, tilt = np.concatenate(
        [np.stack([equal, 0 * equal], axis=1), np.array(tilted), np.array(more)]
    ).T
    counted = np.concatenate([np.isin(equal, BER_GRID), np.ones(len(tilted)), np.zeros(len(more))])
    rng = np.random.default_rng(3)
    mean = expit(1.4 * np.log(ber) + 1.0 + 1.5 * (ber * tilt) ** 2 / (0.01 + ber))
    alike, own = rng.standard_normal((1, chips)), rng.standard_normal((len(ber), chips))
    score = 0.8 * alike + 0.6 * own
    sd = 1.5 * np.sqrt(CORRECT * mean * (1 - mean))
    lost = np.clip(np.rint(CORRECT * mean[:, None] + sd[:, None] * score), 0, CORRECT)
    gained = rng.binomial(IMAGES - CORRECT, np.minimum(2 * ber, 0.2)[:, None], lost.shape)
    return Pool(
        ber, tilt, counted.astype(bool), lost.astype(np.int64), gained, IMAGES, CORRECT, 0.5
    )


@pytest.fixture(scope="module")
def pool() -> Pool:
    return _pool(1000)


def test_intervals_hold_the_truth_as_often_as_they_say(pool: Pool, tmp_path: Path) -> None:
    """Twenty sets, whose intervals at all pairs are alike: a mean share within 0.9 +- 0.15."""
    found = surface_coverage.judged(pool, sets=20, chips=50, tilted=20)
    of = found["share_inside"]
    for group in ("counted, equal rates", "counted, tilted", "between, equal rates"):
        assert 0.75 < of[group]["mean loss"] <= 1, group
    json.dumps(found, allow_nan=False)
    surface_coverage.draw({"networks": {"made up": found}}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_a_count_set_that_is_off_misses_the_truth(pool: Pool) -> None:
    """A control: sets of chips that lose a fifth less than the pool."""
    truth = surface_coverage.truth_of(pool)
    off = replace(pool, lost=np.rint(0.8 * pool.lost).astype(np.int64))
    study = off.study(np.arange(50), 20)
    surface = surface_coverage.fit_accuracy_surfaces({"network": study}, seed=1)["network"]
    drawn = surface_coverage.answers(surface, pool)["mean loss"]
    high = np.quantile(drawn, 0.95, axis=0)
    assert (high < truth["mean loss"]).mean() > 0.5


def test_a_chip_is_in_one_set_of_a_round() -> None:
    sets = surface_coverage.members(1000, 25, 100, rng=np.random.default_rng(1))
    assert sets.shape == (25, 100)
    assert sorted(sets[:10].ravel()) == list(range(1000))
    assert all(len(set(of)) == 100 for of in sets)


def test_a_count_set_has_the_counted_pairs_of_its_chips(pool: Pool) -> None:
    chips = np.arange(40, 90)
    study = pool.study(chips, 20)
    assert study.counts["ber"].values.tolist() == sorted(BER_GRID)
    np.testing.assert_array_equal(
        study.counts["lost"].sel(ber=0.1), pool.lost[np.flatnonzero(pool.ber == 0.1)[0], chips]
    )
    assert study.unequal is not None
    assert study.unequal.sizes == {"case": len(TILTED_RATES) * len(TILTS), "chip": 20}
