"""Propagation against plain Monte Carlo on a hand-made surface. Everything here is simulated."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from reliability.accuracy.propagation import pair_draws, propagate
from reliability.accuracy.surface import AccuracySurface, FurtherTraining
from reliability.plans.seen_rates import SeenRates

Surface = Callable[..., AccuracySurface]


def test_pairing_uses_every_draw_evenly() -> None:
    pairing = pair_draws(300, 200, draws=600, rng=np.random.default_rng(1))
    assert np.all(np.bincount(pairing.device) == 2)
    assert np.all(np.bincount(pairing.curve) == 3)


def test_without_errors_every_chip_is_error_free(straight_surface: Surface) -> None:
    surface = straight_surface(dispersion=1.0)
    ln_ber = np.full((10, 3), -np.inf)
    pairing = pair_draws(10, surface.draws, draws=100, rng=np.random.default_rng(2))
    found = propagate(surface, SeenRates.equal(ln_ber), pairing)
    np.testing.assert_array_equal(found.test_set, 0.95)
    assert found.error_free == 0.95


def test_test_set_accuracy_has_mean_and_variance_of_the_chips(straight_surface: Surface) -> None:
    surface = straight_surface(dispersion=1.0)
    at = np.log(0.05)
    pairing = pair_draws(1, surface.draws, draws=4000, rng=np.random.default_rng(3))
    found = propagate(surface, SeenRates.equal(np.full((1, 1), at)), pairing).test_set[:, 0]
    lost, gained = expit(1.5 * at + 2.0), expit(-3.0)
    mean = (950 * (1 - lost) + 50 * gained) / 1000
    # The fit allows a twelfth for rounding, so that is what chips get beside the dispersion.
    variance = (np.e * (950 * lost * (1 - lost) + 50 * gained * (1 - gained)) + 2 / 12) / 1000**2
    # Piecewise linear between knots: the surface itself is straight here, so no bias.
    assert found.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 4000))
    assert found.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / 4000))


def test_population_is_wider_than_the_test_set(straight_surface: Surface) -> None:
    surface = straight_surface()
    pairing = pair_draws(1, surface.draws, draws=4000, rng=np.random.default_rng(4))
    found = propagate(surface, SeenRates.equal(np.full((1, 1), np.log(0.01))), pairing)
    extra = found.population.var() - found.test_set.var()
    # About the binomial variance of a thousand images.
    a = found.test_set.mean()
    assert extra == pytest.approx(a * (1 - a) / 1000, rel=0.25)


def test_the_test_set_leaves_the_error_of_a_paired_loss(straight_surface: Surface) -> None:
    """One image is lost (+1), gained (-1) or neither: the variance of the mean over images."""
    surface = straight_surface(dispersion=0.0)
    at = np.log([0.01, 0.05])
    pairing = pair_draws(1, surface.draws, draws=20_000, rng=np.random.default_rng(5))
    halves = np.arange(20_000) % 2
    found = propagate(surface, SeenRates.equal(at[None]), pairing)
    lost, gained = 0.95 * expit(1.5 * at + 2.0), 0.05 * expit(-3.0)
    error = np.sqrt((lost + gained - (lost - gained) ** 2) / 1000)
    # images turn lost or not within their pool: (lost - gained)^2 is a per cent; 5,000 draws
    for k in range(2):
        assert found.image_error(k, lost[k] - gained) == pytest.approx(error[k], rel=0.06)
    # chips that lose little have few images that count, whatever others lose
    both = propagate(
        surface, SeenRates.equal(np.array([[at[0]], [at[1]]])), replace(pairing, device=halves)
    )
    for k in range(2):
        assert both.image_error(0, lost[k] - gained) == pytest.approx(error[k], rel=0.06)
    # without bias: a chip loses in the population what it loses here, on average
    extra = (found.population_loss - found.loss).mean(axis=0)
    assert np.all(np.abs(extra) < 4 * error / np.sqrt(20_000) + 1e-5)


def test_chips_lose_whole_images(straight_surface: Surface) -> None:
    surface = straight_surface(dispersion=1.0)
    pairing = pair_draws(1, surface.draws, draws=500, rng=np.random.default_rng(7))
    found = propagate(surface, SeenRates.equal(np.full((1, 2), np.log([0.003, 0.05]))), pairing)
    images = found.loss * surface.images
    np.testing.assert_allclose(images, np.rint(images), atol=1e-9)
    assert len(np.unique(images[:, 0])) > 5
    np.testing.assert_allclose(found.test_set, 0.95 - found.loss)


def test_a_chip_keeps_its_rank_over_ber(straight_surface: Surface) -> None:
    surface = straight_surface(dispersion=2.0)
    fine = np.linspace(np.log(1e-3), np.log(0.2), 50)
    pairing = pair_draws(1, 1, draws=2, rng=np.random.default_rng(8))
    chip = np.array([[0.2, 0.5], [0.8, 0.5]])
    found = propagate(
        surface,
        SeenRates.equal(fine[None]),
        replace(pairing, chip=chip, rounding=np.full((2, 2), 0.5)),
    )
    assert np.all(found.loss[1] >= found.loss[0])
    assert np.all(found.loss[1, -20:] > found.loss[0, -20:])


def test_population_has_the_mean_of_the_test_set(straight_surface: Surface) -> None:
    """Nothing is lost without errors, in the population neither: no prior count is added."""
    surface = straight_surface(dispersion=0.0)
    pairing = pair_draws(1, surface.draws, draws=20_000, rng=np.random.default_rng(9))
    found = propagate(surface, SeenRates.equal(np.full((1, 1), np.log(1e-3))), pairing)
    loss_population = 0.95 - found.population.mean()
    # Jeffreys' half images: 950.5 right of 1001.
    shift = 0.95 - 950.5 / 1001
    error = np.hypot(found.population.std(), found.loss.std()) / np.sqrt(20_000)
    assert loss_population - shift == pytest.approx(found.loss.mean(), abs=4 * error)


def test_a_further_training_moves_the_accuracy_but_not_the_loss(straight_surface: Surface) -> None:
    surface = straight_surface()
    own = np.where(np.arange(surface.draws) % 2 == 0, 0.01, -0.01)
    zero = {kind: np.zeros_like(surface.logit_share["lost"]) for kind in ("lost", "gained")}
    further = FurtherTraining(2, zero, {}, own)
    pairing = pair_draws(1, surface.draws, draws=400, rng=np.random.default_rng(10))
    at = np.full((1, 1), np.log(0.01))
    plain, moved = (
        propagate(c, SeenRates.equal(at), pairing)
        for c in (surface, replace(surface, further=further))
    )
    np.testing.assert_array_equal(plain.loss, moved.loss)
    np.testing.assert_allclose(
        moved.test_set - plain.test_set, own[pairing.curve][:, None], atol=1e-12
    )
    assert "training" in moved.shares
    assert "training" not in plain.shares


def test_monte_carlo_error_is_that_of_repeated_pairings(straight_surface: Surface) -> None:
    surface = straight_surface(dispersion=2.0)
    at = np.full((1, 1), np.log(0.05))
    rng = np.random.default_rng(11)
    runs = [
        propagate(surface, SeenRates.equal(at), pair_draws(1, surface.draws, draws=100, rng=rng))
        for _ in range(200)
    ]
    seen = np.std([run.test_set.mean() for run in runs])
    stated = np.mean([run.monte_carlo_error["test_set"][0] for run in runs])
    # A standard deviation of 200: standard error 5 %; z = 4.
    assert seen == pytest.approx(stated, rel=0.2)
