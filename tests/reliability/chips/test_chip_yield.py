"""Yield against plain sampling of chips. Everything here is simulated."""

import numpy as np
import pytest

from reliability.accuracy.propagation import pair_draws, propagate
from reliability.accuracy.surface import AccuracySurface
from reliability.chips.chip_yield import ChipYield, chip_yield
from reliability.plans.seen_rates import SeenRates

LN_BER = np.log(np.geomspace(1e-4, 0.5, 8))


def _surface(images: int, correct: int, dispersion: float) -> AccuracySurface:
    flat = np.ones((1, len(LN_BER), 2))
    return AccuracySurface(
        ln_rate=LN_BER,
        tilt=np.array([-0.5, 0.5]),
        logit_share={"lost": (1.5 * LN_BER[None, :, None] + 2.0) * flat, "gained": -3.0 * flat},
        ln_dispersion={"lost": dispersion * flat, "gained": -0.2 * flat},
        images=images,
        correct=correct,
        chips=50,
        diagnostics={},
    )


@pytest.mark.parametrize(
    ("images", "correct", "dispersion"),
    [(600, 583, 0.0), (600, 583, 2.5), (10_000, 9_800, 3.0), (600, 600, 1.0), (200, 150, -1.0)],
)
def test_share_of_chips_is_that_of_sampled_chips(
    images: int, correct: int, dispersion: float
) -> None:
    surface = _surface(images, correct, dispersion)
    rng = np.random.default_rng(1)
    n = 40_000
    seen = SeenRates.equal(np.log([[1e-4, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2]]))
    for limit in (-0.001, 0.0, 0.01, 0.03):
        found = chip_yield(surface, seen, pair_draws(1, 1, draws=1, rng=rng), limit).share[0]
        losses = propagate(surface, seen, pair_draws(1, 1, draws=n, rng=rng)).loss
        sampled = (losses <= limit + 1e-12).mean(axis=0)
        # 24 comparisons in each of five cases: z = 4; and half a percent for the strata.
        error = 4 * np.sqrt(np.maximum(sampled * (1 - sampled), 1e-4) / n) + 0.005
        assert np.all(np.abs(found - sampled) < error)


def test_yield_is_a_posterior_and_says_what_it_is() -> None:
    share = np.array([[0.99, 0.2], [0.97, 0.4], [0.90, 0.6], [0.98, 0.8]])
    found = ChipYield(share, 0.01, np.ones((4, 2), dtype=bool))
    np.testing.assert_allclose(found.p_met, [0.96, 0.5])
    np.testing.assert_allclose(found.confidence(0.95), [0.75, 0.0])
    np.testing.assert_array_equal(found.at(np.array([1.0, 2.0]), 1.9), share[:, 1])
    record = found.record(least=0.95)
    assert record["kind"] == "ETI"
    assert record["probability"] == 0.9
    assert record["p_at_least"] == [0.75, 0.0]
    assert record["low"][1] < record["median"][1] < record["high"][1]
    np.testing.assert_allclose(found.monte_carlo_error, share.std(axis=0, ddof=1) / 2)


def test_rates_that_were_not_counted_meet_nothing() -> None:
    """Two draws of the device: the second is tilted more than was counted."""
    surface = _surface(600, 583, 0.0)
    seen = SeenRates(np.log([[1e-4, 0.5], [1e-4, 0.6]]), np.array([[0.5, 0.0], [0.6, 0.0]]))
    pairing = pair_draws(2, 1, draws=2, rng=np.random.default_rng(3))
    found = chip_yield(surface, seen, pairing, 0.01)
    np.testing.assert_array_equal(found.known.mean(axis=0), [0.5, 0.5])
    assert found.p_met[0] == pytest.approx(0.5, abs=0.01)
    assert found.share[pairing.device == 1].max() == 0


def test_few_arrays_each_have_to_qualify_and_many_are_drawn() -> None:
    """Two arrays, one of which misreads nothing and the other much; brute force over rows."""
    surface = _surface(600, 583, 0.0)
    per_array = np.log([[1e-6, 0.02]])  # draws times arrays
    seen = SeenRates.equal(np.tile(per_array.reshape(-1, 1), (3, 1)))
    pairing = pair_draws(3, 1, draws=600, rng=np.random.default_rng(4), arrays=2)
    assert pairing.array is not None
    assert np.all(np.bincount(pairing.array) == 300)
    np.testing.assert_array_equal(pairing.rates % 2, pairing.array)
    np.testing.assert_array_equal(pairing.rates // 2, pairing.device)
    found = chip_yield(surface, seen, pairing, 0.01)
    worst = found.share[pairing.array == 1].mean(axis=0)
    np.testing.assert_allclose(found.p_met, worst)
    assert found.share[pairing.array == 0].min() > 0.999
    weights = np.zeros((1, 600))
    weights[0, :30] = 1 / 30
    on = pairing.array[:30] == 1
    np.testing.assert_allclose(found.p_met_of(weights)[0], found.share[:30][on].mean(axis=0))
    # enough arrays: each draw of the device has a new one
    many = pair_draws(3, 1, draws=600, rng=np.random.default_rng(4))
    new = SeenRates.equal(np.log([[1e-6], [0.02], [1e-6]]))
    drawn = chip_yield(surface, new, many, 0.01)
    np.testing.assert_allclose(drawn.p_met, drawn.share.mean(axis=0))
