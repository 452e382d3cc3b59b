"""Propagation against plain Monte Carlo on a hand-made curve. Everything here is simulated."""

import numpy as np
import pytest
from scipy.special import expit

from reliability.accuracy_curve import AccuracyCurve
from reliability.propagation import pair_draws, propagate, variance_shares

LN_BER = np.log(np.geomspace(1e-4, 0.5, 8))


def _curve(*, spread: float = 0.0, dispersion: float = 0.0, draws: int = 400) -> AccuracyCurve:
    rng = np.random.default_rng(0)
    lost = 1.5 * LN_BER + 2.0 + spread * rng.standard_normal((draws, 1))
    gained = np.full((draws, len(LN_BER)), -3.0)
    return AccuracyCurve(
        ln_ber=LN_BER,
        logit_share={"lost": lost, "gained": gained},
        ln_dispersion={k: np.full((draws, len(LN_BER)), dispersion) for k in ("lost", "gained")},
        images=1000,
        correct=950,
        chips=50,
        diagnostics={},
    )


def test_pairing_uses_every_draw_evenly() -> None:
    pairing = pair_draws(300, 200, draws=600, rng=np.random.default_rng(1))
    assert np.all(np.bincount(pairing.device) == 2)
    assert np.all(np.bincount(pairing.curve) == 3)


def test_without_errors_every_chip_is_error_free() -> None:
    curve = _curve(dispersion=1.0)
    ln_ber = np.full((10, 3), -np.inf)
    pairing = pair_draws(10, curve.draws, draws=100, rng=np.random.default_rng(2))
    found = propagate(curve, ln_ber, pairing)
    np.testing.assert_array_equal(found.test_set, 0.95)
    assert found.error_free == 0.95


def test_test_set_accuracy_has_mean_and_variance_of_the_chips() -> None:
    curve = _curve(dispersion=1.0)
    at = np.log(0.05)
    pairing = pair_draws(1, curve.draws, draws=4000, rng=np.random.default_rng(3))
    found = propagate(curve, np.full((1, 1), at), pairing).test_set[:, 0]
    lost, gained = expit(1.5 * at + 2.0), expit(-3.0)
    mean = (950 * (1 - lost) + 50 * gained) / 1000
    variance = np.e * (950 * lost * (1 - lost) + 50 * gained * (1 - gained)) / 1000**2
    # Piecewise linear between knots: the curve itself is straight here, so no bias.
    assert found.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 4000))
    assert found.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / 4000))


def test_population_is_wider_than_the_test_set() -> None:
    curve = _curve()
    pairing = pair_draws(1, curve.draws, draws=4000, rng=np.random.default_rng(4))
    found = propagate(curve, np.full((1, 1), np.log(0.01)), pairing)
    extra = found.population.var() - found.test_set.var()
    # About the binomial variance of a thousand images.
    a = found.test_set.mean()
    assert extra == pytest.approx(a * (1 - a) / 1000, rel=0.25)


def test_shares_sum_to_one_and_name_the_only_source() -> None:
    rng = np.random.default_rng(5)
    ln_ber = np.log(0.05) + 0.8 * rng.standard_normal((400, 2))
    pairing = pair_draws(400, 400, draws=400, rng=rng)
    shares = variance_shares(_curve(dispersion=-6.0), ln_ber, pairing)
    np.testing.assert_allclose(sum(shares.values()), 1.0)
    assert np.all(shares["device"] > 0.9)
    assert np.all(shares["curve"] < 1e-9)
    only_curve = variance_shares(
        _curve(spread=0.8, dispersion=-6.0), np.full((400, 1), np.log(0.05)), pairing
    )
    assert only_curve["curve"][0] > 0.9
    assert only_curve["device"][0] < 1e-9


def test_device_share_equals_the_variance_of_the_mean_over_chips() -> None:
    """Against brute force: chips drawn for each device draw, one-way analysis of variance."""
    rng = np.random.default_rng(6)
    ln_ber = np.log(0.05) + 0.3 * rng.standard_normal((120, 1))
    curve = _curve(dispersion=2.0)
    shares = variance_shares(
        curve, ln_ber, pair_draws(120, curve.draws, draws=120, rng=rng), size=120
    )
    lost = expit(1.5 * ln_ber[:, 0] + 2.0)
    between = (950 * lost / 1000).var()
    gained = expit(-3.0)
    within = np.exp(2.0) * (950 * lost * (1 - lost) + 50 * gained * (1 - gained)).mean() / 1e6
    accuracy = 0.95 - (950 * lost - 50 * gained) / 1000
    total = between + within + (accuracy * (1 - accuracy)).mean() / 1000
    assert shares["device"][0] == pytest.approx(between / total, rel=0.01)
    assert shares["chip"][0] == pytest.approx(within / total, rel=0.01)
