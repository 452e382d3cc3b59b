"""The curve against simulated counts with known law. All counts here are simulated."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit, logit
from scipy.stats import norm

from devicefit.backend import SamplerOptions
from reliability.accuracy_curve import (
    AccuracyCurve,
    chip_variance,
    first_crossing,
    fit_accuracy_curves,
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
    variance = chip_variance(curve, "lost", at, draw).mean(axis=0) / CORRECT**2
    ratio = np.sqrt(variance) / _true_sd(BER)
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
    lost = mean_share(found, "lost", at, draw)
    np.testing.assert_allclose(mean_loss(found, at, draw), lost)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {}, "no network to fit"),
        (lambda c: {"a": c.isel(ber=slice(0, 3))}, "at least 4 are needed"),
        (lambda c: {"a": c.isel(chip=slice(0, 1))}, "has 1 chip"),
        (lambda c: {"a": c, "b": c.assign_coords(ber=BER * 1.1)}, "use one grid"),
        (lambda c: {"a": []}, "no network to fit"),
        (lambda c: {"a": [c, c.assign_attrs(images_sha256="b")]}, "differ in their test set"),
        (
            lambda c: {"a": [c.assign_attrs(network_sha256="n")] * 2},
            "one network twice among its trainings",
        ),
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


def test_networks_do_not_depend_on_each_other_nor_on_the_cores() -> None:
    counts = {"a": _counts(1), "b": _counts(2)}
    options = SamplerOptions(draws=50, warmup=50, seed=3)
    both = fit_accuracy_curves(counts, options=options)
    alone = fit_accuracy_curves({"a": counts["a"]}, options=replace(options, cores=1))
    np.testing.assert_array_equal(both["a"].logit_share["lost"], alone["a"].logit_share["lost"])
    assert not np.array_equal(both["a"].logit_share["lost"], both["b"].logit_share["lost"])


def test_one_training_is_said_to_be_one(curve: AccuracyCurve) -> None:
    assert curve.trainings == 1
    assert "conditional on this training" in curve.condition
    assert np.all(curve.error_free_deviation == 0)


def _training(seed: int, logit: float, correct: int) -> xr.Dataset:
    """Counts of a training whose logit of the share of lost images is shifted."""
    rng = np.random.default_rng(seed)
    mean = expit(1.8 * np.log(BER) + 2.5 + logit)[:, None]
    lost = rng.binomial(correct, mean, (len(BER), CHIPS))
    gained = rng.binomial(IMAGES - correct, np.minimum(5 * BER, 0.1)[:, None], (len(BER), CHIPS))
    return xr.Dataset(
        {"lost": (("ber", "chip"), lost), "gained": (("ber", "chip"), gained)},
        coords={"ber": BER},
        attrs={"images": IMAGES, "error_free_correct": correct},
    )


def test_a_further_training_has_the_spread_of_those_seen() -> None:
    """Twelve simulated trainings: shifts of known spread, error-free accuracy likewise."""
    rng = np.random.default_rng(11)
    shift, free = 0.4 * rng.standard_normal(12), np.rint(12 * rng.standard_normal(12))
    tables = [_training(i, shift[i], CORRECT + int(free[i])) for i in range(12)]
    found = fit_accuracy_curves(
        {"recipe": tables}, options=SamplerOptions(draws=500, warmup=150, seed=2)
    )["recipe"]
    assert found.trainings == 12
    assert "12 training seeds" in found.condition
    # Where counts are large a further training is Student-t around the mean of the twelve.
    at = np.full((found.draws, 1), np.log(BER[5]))
    drawn = logit(mean_share(found, "lost", at, np.arange(found.draws)))[:, 0]
    truth = 1.8 * np.log(BER[5]) + 2.5 + shift
    # Standard error of the centre of the predictive law over draws, and of the mean of trainings.
    assert drawn.mean() == pytest.approx(truth.mean(), abs=4 * 0.4 / np.sqrt(12) / np.sqrt(12))
    expected = shift.std(ddof=1) * np.sqrt(1 + 1 / 12)
    assert drawn.std() == pytest.approx(expected, rel=0.25)
    spread = found.error_free_deviation.std() * IMAGES
    assert spread == pytest.approx(free.std(ddof=1) * np.sqrt((1 + 1 / 12) * 11 / 9), rel=0.25)
    assert np.all(np.diff(found.logit_share["lost"], axis=1) >= 0)
    record = found.further.record() if found.further is not None else {}
    lost = record["spread_between_trainings"]["lost"]
    assert lost["low"] < 0.4 < lost["high"]
