"""Shares of variance against brute force on hand-made curves. Everything here is simulated."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from reliability.accuracy.surface import AccuracySurface, FurtherTraining
from reliability.accuracy.variance_shares import not_in_the_shares, variance_shares
from reliability.plans.seen_rates import SeenRates

Surface = Callable[..., AccuracySurface]
ALL = np.arange(400)


def test_shares_sum_to_one_and_name_the_only_source(straight_surface: Surface) -> None:
    rng = np.random.default_rng(5)
    ln_ber = np.log(0.05) + 0.8 * rng.standard_normal((400, 2))
    shares = variance_shares(straight_surface(dispersion=-6.0), SeenRates.equal(ln_ber), ALL, ALL)
    np.testing.assert_allclose(sum(shares.values()), 1.0)
    assert np.all(shares["device"] > 0.9)
    assert np.all(shares["curve"] < 1e-9)
    only_curve = variance_shares(
        straight_surface(spread=0.8, dispersion=-6.0),
        SeenRates.equal(np.full((400, 1), np.log(0.05))),
        ALL,
        ALL,
    )
    assert only_curve["curve"][0] > 0.9
    assert only_curve["device"][0] < 1e-9


def test_device_share_equals_the_variance_of_the_mean_over_chips(straight_surface: Surface) -> None:
    """Against the closed form of a one-way analysis of variance."""
    rng = np.random.default_rng(6)
    ln_ber = np.log(0.05) + 0.3 * rng.standard_normal((120, 1))
    curve = straight_surface(dispersion=2.0)
    shares = variance_shares(curve, SeenRates.equal(ln_ber), np.arange(120), ALL, size=120)
    lost = expit(1.5 * ln_ber[:, 0] + 2.0)
    between = (950 * lost / 1000).var()
    gained = expit(-3.0)
    within = np.exp(2.0) * (950 * lost * (1 - lost) + 50 * gained * (1 - gained)).mean() / 1e6
    accuracy = 0.95 - (950 * lost - 50 * gained) / 1000
    total = between + within + (accuracy * (1 - accuracy)).mean() / 1000
    assert shares["device"][0] == pytest.approx(between / total, rel=0.01)
    assert shares["chip"][0] == pytest.approx(within / total, rel=0.01)


def test_families_split_the_device_between_and_within(straight_surface: Surface) -> None:
    rng = np.random.default_rng(7)
    family = (np.arange(400) % 4 == 0).astype(np.int64)  # weights 0.75 and 0.25
    ln_ber = np.log(0.05) + 0.6 * family[:, None] + 0.1 * rng.standard_normal((400, 1))
    curve = straight_surface(dispersion=-6.0)
    shares = variance_shares(curve, SeenRates.equal(ln_ber), ALL, ALL, family=family, size=400)
    lost = expit(1.5 * ln_ber[:, 0] + 2.0)
    means = np.array([lost[family == f].mean() for f in (0, 1)])
    between = 0.75 * 0.25 * (means[1] - means[0]) ** 2
    ratio = shares["family"][0] / (shares["family"][0] + shares["device"][0])
    assert ratio == pytest.approx(between / lost.var(), rel=1e-6)
    together = variance_shares(curve, SeenRates.equal(ln_ber), ALL, ALL, size=400)
    assert shares["family"][0] + shares["device"][0] == pytest.approx(together["device"][0])


def test_trainings_have_a_share_of_their_own(straight_surface: Surface) -> None:
    """Training spread twice that of the centre: four times its variance; a closed linear case."""
    rng = np.random.default_rng(8)
    curve = straight_surface(spread=0.05, dispersion=-6.0)
    deviation = 0.1 * rng.standard_normal((400, 1))
    deviation = deviation[:, :, None] * np.ones((8, 3))
    lost = curve.logit_share["lost"] + deviation
    further = FurtherTraining(
        5,
        {"lost": deviation, "gained": np.zeros_like(deviation)},
        {},
        np.zeros(400),
    )
    both = replace(
        curve, logit_share={**curve.logit_share, "lost": lost}, further=further, images=1000
    )
    shares = variance_shares(both, SeenRates.equal(np.full((400, 1), np.log(0.05))), ALL, ALL)
    np.testing.assert_allclose(sum(shares.values()), 1.0)
    # Variances from 12 draws each: the ratio has a wide but known law, F(11, 11) times 4.
    assert 4 / 5 < shares["training"][0] / shares["curve"][0] < 4 * 5
    assert shares["interaction"][0] < 0.02


def test_one_of_each_is_said() -> None:
    assert not_in_the_shares({"device": ALL}) == "model family and training seed (one of each)"
    assert not_in_the_shares({"family": ALL}) == "training seed (one of each)"
    assert not_in_the_shares({"family": ALL, "training": ALL}) == ""


def test_without_any_variance_all_shares_are_zero(straight_surface: Surface) -> None:
    curve = replace(straight_surface(), correct=1000)
    shares = variance_shares(curve, SeenRates.equal(np.full((400, 1), -np.inf)), ALL, ALL)
    assert all(values[0] == 0 for values in shares.values())
