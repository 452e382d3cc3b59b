"""The curve against simulated counts with known law. All counts here are simulated."""

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit, logit
from scipy.stats import norm

from devicefit.backend import SamplerOptions
from reliability.accuracy_curve import (
    AccuracyCurve,
    chip_share,
    first_crossing,
    fit_accuracy_curves,
    loss,
    mean_loss,
    mean_share,
    tolerated_ln_ber,
)

BER = np.array([1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 4e-2, 7e-2, 0.1, 0.2])
IMAGES, CORRECT, CHIPS = 2000, 1900, 60


def _true_mean(ber: np.ndarray) -> np.ndarray:
    return expit(1.8 * np.log(ber) + 2.5)


def _true_sd(ber: np.ndarray) -> np.ndarray:
    """Half the binomial spread at small BER, three times it at large BER."""
    mean = _true_mean(ber)
    factor = np.exp(np.interp(np.log(ber), np.log(BER[[0, -1]]), np.log([0.5, 3.0])))
    return factor * np.sqrt(mean * (1 - mean) / CORRECT)


def _counts(seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    share = _true_mean(BER)[:, None] + _true_sd(BER)[:, None] * rng.standard_normal(
        (len(BER), CHIPS)
    )
    lost = np.clip(np.rint(CORRECT * share), 0, CORRECT).astype(np.int64)
    gained = rng.binomial(IMAGES - CORRECT, np.minimum(5 * BER, 0.1)[:, None], (len(BER), CHIPS))
    return xr.Dataset(
        {"lost": (("ber", "chip"), lost), "gained": (("ber", "chip"), gained)},
        coords={"ber": BER},
        attrs={"images": IMAGES, "error_free_correct": CORRECT},
    )


@pytest.fixture(scope="module")
def curve() -> AccuracyCurve:
    options = SamplerOptions(draws=500, warmup=500, target_accept=0.85, seed=4)
    return fit_accuracy_curves({"network": _counts(1)}, options=options)["network"]


def test_fit_converges(curve: AccuracyCurve) -> None:
    assert curve.diagnostics["r_hat"] < 1.02
    assert curve.diagnostics["divergences"] == 0


def test_mean_and_spread_of_chips_are_recovered(curve: AccuracyCurve) -> None:
    draw = np.arange(curve.draws)
    at = np.broadcast_to(np.log(BER), (curve.draws, len(BER)))
    mean = mean_share(curve, "lost", at, draw)
    # 9 knots at once, Bonferroni: z = 3 for a family-wise 2 %.
    error = np.hypot(mean.std(axis=0), _true_sd(BER) / np.sqrt(CHIPS))
    assert np.all(np.abs(mean.mean(axis=0) - _true_mean(BER)) < 3 * error)
    uniform = np.random.default_rng(2).random((curve.draws, 1))
    chips = chip_share(curve, "lost", at, draw, uniform)
    ratio = chips.std(axis=0) / np.sqrt(_true_sd(BER) ** 2 + 1 / 12 / CORRECT**2)
    # Standard error of a standard deviation from 60 chips: 9 %; from the random walk less.
    # Two smallest knots are left out: rounding to whole images dominates there.
    assert np.all(np.abs(np.log(ratio[2:])) < 3.5 * 0.1)


def test_curve_starts_at_the_error_free_accuracy(curve: AccuracyCurve) -> None:
    none = np.full((curve.draws, 1), -np.inf)
    assert np.all(mean_loss(curve, none, np.arange(curve.draws)) == 0)
    assert curve.error_free == CORRECT / IMAGES


def test_lost_share_is_monotone_between_and_beyond_knots(curve: AccuracyCurve) -> None:
    fine = np.linspace(np.log(1e-8), np.log(0.5), 300)
    at = np.broadcast_to(fine, (curve.draws, len(fine)))
    share = mean_share(curve, "lost", at, np.arange(curve.draws))
    assert np.all(np.diff(share, axis=1) >= 0)
    assert np.all((share >= 0) & (share <= 1))


def test_a_chip_keeps_its_rank_over_ber(curve: AccuracyCurve) -> None:
    fine = np.linspace(np.log(1e-3), np.log(0.2), 50)
    at = np.broadcast_to(fine, (200, len(fine)))
    draw = np.zeros(200, dtype=np.int64)
    uniform = np.linspace(0.01, 0.99, 200)[:, None]
    chips = chip_share(curve, "lost", at, draw, uniform)
    assert np.all(np.diff(chips, axis=0) >= 0)


def test_tolerated_ber_is_where_the_mean_loss_reaches_the_limit(curve: AccuracyCurve) -> None:
    ln_p = tolerated_ln_ber(curve, 0.01)
    at = mean_loss(curve, ln_p[:, None], np.arange(curve.draws))[:, 0]
    np.testing.assert_allclose(at, 0.01, atol=2e-4)
    # Closed form without gained images: the limit is at least that BER.
    closed = (logit(0.01 * IMAGES / CORRECT) - 2.5) / 1.8
    assert norm.sf(np.abs(np.quantile(ln_p, 0.5) - closed) / 0.2) > 0.001


def test_tolerated_ber_needs_a_fraction(curve: AccuracyCurve) -> None:
    with pytest.raises(ValueError, match="give a fraction between 0 and 1"):
        tolerated_ln_ber(curve, 1.0)


def test_network_that_never_errs_has_nothing_to_gain() -> None:
    counts = _counts(3)
    counts["gained"] = counts["gained"] * 0
    counts.attrs["error_free_correct"] = IMAGES
    options = SamplerOptions(draws=100, warmup=300, seed=1)
    found = fit_accuracy_curves({"perfect": counts}, options=options)["perfect"]
    draw = np.arange(found.draws)
    at = np.full((found.draws, 1), np.log(0.05))
    assert found.pool("gained") == 0
    share = chip_share(found, "gained", at, draw, np.full((found.draws, 1), 0.5))
    assert np.all(loss(found, np.zeros_like(share), share) == 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {}, "no network to fit"),
        (lambda c: {"a": c.isel(ber=slice(0, 3))}, "at least 4 are needed"),
        (lambda c: {"a": c.isel(chip=slice(0, 1))}, "has 1 chip"),
        (lambda c: {"a": c, "b": c.assign_coords(ber=BER * 1.1)}, "use one grid"),
    ],
)
def test_unusable_counts_are_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        fit_accuracy_curves(change(_counts(1)), options=SamplerOptions(draws=10, warmup=10))


@pytest.mark.parametrize(
    ("excess", "expected"),
    [
        ([-1.0, -0.5, 0.5, 2.0], 1.5),
        ([1.0, 2.0, 3.0, 4.0], 0.0),
        ([-4.0, -3.0, -2.0, -1.0], 3.0),
        ([-1.0, 1.0, -1.0, 1.0], 0.5),
    ],
)
def test_first_crossing(excess: list[float], expected: float) -> None:
    assert first_crossing(np.arange(4.0), np.array([excess]))[0] == pytest.approx(expected)
