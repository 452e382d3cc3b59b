"""The surface against counts with a known law, and against a network between its counts."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.special import expit, logit

import bnn
from bnn.errors.errors import Errors
from bnn.study.rate_pairs import TILTED_RATES, TILTS, tilted_flips
from reliability.accuracy import surface_fit
from reliability.accuracy.counted_points import counted_points
from reliability.accuracy.surface import (
    AccuracySurface,
    chip_variance,
    first_crossing,
    mean_loss,
    mean_share,
    tolerated_ln_ber,
)
from reliability.accuracy.surface_fit import fit_accuracy_surfaces
from reliability.networks.study import NetworkOptions, NetworkStudy, evaluate_network
from reliability.plans.seen_rates import SeenRates

BER = np.array([1e-4, 1e-3, 3e-3, 1e-2, 2e-2, 4e-2, 7e-2, 0.1, 0.2])
IMAGES, CORRECT, CHIPS = 2000, 1900, 60


def _true_mean(ber: np.ndarray, shift: float | np.ndarray = 0.0) -> np.ndarray:
    return expit(1.8 * np.log(ber) + 2.5 + shift)


def _true_sd(ber: np.ndarray) -> np.ndarray:
    """Half the binomial spread at small BER, three times it at large BER."""
    mean = _true_mean(ber)
    factor = np.exp(np.interp(np.log(ber), np.log(BER[[0, -1]]), np.log([0.5, 3.0])))
    return factor * np.sqrt(mean * (1 - mean) / CORRECT)


def _study(seed: int, *, shift: float | np.ndarray = 0.0, correct: int = CORRECT) -> NetworkStudy:
    """Counts at equal rates with a known law; chips are new at each rate."""
    rng = np.random.default_rng(seed)
    noise = _true_sd(BER)[:, None] * rng.standard_normal((len(BER), CHIPS))
    share = _true_mean(BER, shift)[:, None] + noise
    lost = np.clip(np.rint(correct * share), 0, correct).astype(np.int64)
    gained = rng.binomial(IMAGES - correct, np.minimum(5 * BER, 0.1)[:, None], (len(BER), CHIPS))
    table = xr.Dataset(
        {"lost": (("ber", "chip"), lost), "gained": (("ber", "chip"), gained)},
        coords={"ber": BER},
        attrs={"images": IMAGES, "error_free_correct": correct, "seed": 1},
    )
    return NetworkStudy(table, {})


def _equal(surface: AccuracySurface, ber: object) -> tuple[SeenRates, np.ndarray]:
    rates = np.atleast_1d(np.asarray(ber, dtype=np.float64))
    with np.errstate(divide="ignore"):
        ln_ber = np.tile(np.log(rates), (surface.draws, 1))
    return SeenRates.equal(ln_ber), np.arange(surface.draws)


@pytest.fixture(scope="module")
def surface() -> AccuracySurface:
    return fit_accuracy_surfaces({"network": _study(1)}, seed=4)["network"]


def test_mean_and_spread_of_chips_are_recovered(surface: AccuracySurface) -> None:
    assert surface.diagnostics["converged"] == 1
    seen, draw = _equal(surface, BER)
    mean = mean_share(surface, "lost", seen, draw)
    # 9 rates at once, Bonferroni: z = 3 for a family-wise 2 %.
    error = np.hypot(mean.std(axis=0), _true_sd(BER) / np.sqrt(CHIPS))
    assert np.all(np.abs(mean.mean(axis=0) - _true_mean(BER)) < 3 * error)
    variance = chip_variance(surface, "lost", seen, draw).mean(axis=0) / CORRECT**2
    ratio = np.sqrt(variance) / _true_sd(BER)
    # Standard error of a standard deviation from 60 chips: 9 %. The two smallest rates are left
    # out: rounding to whole images dominates there.
    assert np.all(np.abs(np.log(ratio[2:])) < 3.5 * 0.1)


def test_nothing_is_lost_without_errors(surface: AccuracySurface) -> None:
    assert np.all(mean_loss(surface, *_equal(surface, 0.0)) == 0)
    assert surface.error_free == CORRECT / IMAGES
    # between no errors and the lowest counted rate a share is proportional to the rate
    lowest, tenth = (mean_share(surface, "lost", *_equal(surface, p)) for p in (1e-4, 1e-5))
    np.testing.assert_allclose(lowest / tenth, 10.0, rtol=1e-3)


def test_tolerated_ber_is_where_the_mean_loss_reaches_the_limit(surface: AccuracySurface) -> None:
    ln_p = tolerated_ln_ber(surface, 0.01)
    at = mean_loss(surface, SeenRates.equal(ln_p[:, None]), np.arange(surface.draws))[:, 0]
    np.testing.assert_allclose(at, 0.01, atol=2e-4)
    # Closed form without gained images: the limit is at least that BER.
    closed = (logit(0.01 * IMAGES / CORRECT) - 2.5) / 1.8
    assert abs(np.quantile(ln_p, 0.5) - closed) < 0.6
    assert np.all(np.isneginf(tolerated_ln_ber(surface, 0.0)))
    with pytest.raises(ValueError, match="give a fraction below 1"):
        tolerated_ln_ber(surface, 1.0)


def test_rates_that_were_not_counted_are_not_known(surface: AccuracySurface) -> None:
    """Equal rates up to 0.2 were counted; what lies below the lowest lies between it and none."""
    ln_ber = np.log([[1e-7, 0.2, 0.21, 1e-2, 1e-2]])
    seen = SeenRates(ln_ber, np.array([[0.0, 0.0, 0.0, 0.1, -1.0]]))
    assert not surface.has_tilts
    np.testing.assert_array_equal(surface.known(seen), [[True, True, False, False, False]])


def test_network_that_never_errs_has_nothing_to_gain() -> None:
    found = fit_accuracy_surfaces({"perfect": _study(3, correct=IMAGES)}, seed=1)["perfect"]
    at = _equal(found, 0.05)
    assert found.pool("gained") == 0
    np.testing.assert_allclose(mean_loss(found, *at), mean_share(found, "lost", *at))


def test_a_net_gain_is_kept() -> None:
    """A network that errors make better by 0.5 points on every chip."""
    study = _study(5)
    counts = study.counts.copy(deep=True)
    counts["lost"] = counts["lost"] * 0 + 4
    counts["gained"] = counts["gained"] * 0 + 14
    found = fit_accuracy_surfaces({"luck": replace(study, counts=counts)}, seed=1)["luck"]
    loss = mean_loss(found, *_equal(found, [1e-3, 0.1]))
    np.testing.assert_allclose(loss.mean(axis=0), -10 / IMAGES, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {}, "no network to fit"),
        (lambda s: {"a": _of(s, s.counts.isel(ber=slice(0, 3)))}, "at least 4 are needed"),
        (lambda s: {"a": _of(s, s.counts.isel(chip=slice(0, 1)))}, "has 1 chip"),
        (
            lambda s: {
                "a": replace(
                    s, further_trainings=(_of(s, s.counts.assign_attrs(images_sha256="b")),)
                )
            },
            "differ in their test set",
        ),
        (
            lambda s: {
                "a": replace(
                    _of(s, s.counts.assign_attrs(network_sha256="n")),
                    further_trainings=(_of(s, s.counts.assign_attrs(network_sha256="n")),),
                )
            },
            "one network twice among its trainings",
        ),
        (
            lambda s: {"a": replace(s, unequal=s.counts.assign_attrs(seed=2))},
            "unequal rates differ in seed",
        ),
    ],
)
def test_unusable_counts_are_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        fit_accuracy_surfaces(change(_study(1)), seed=1, draws=10)


def _of(study: NetworkStudy, counts: xr.Dataset) -> NetworkStudy:
    return replace(study, counts=counts)


@pytest.mark.parametrize(("step", "close"), [(None, True), (0.6, False)], ids=["now", "control"])
def test_the_table_is_fine_enough_where_losses_bend(
    monkeypatch: pytest.MonkeyPatch, step: float | None, close: bool
) -> None:
    """Against a table five times as fine, halfway between counted rates; the control is coarser."""
    bent = 3.0 * np.log(np.maximum(BER, 0.03) / 0.03) ** 2
    study = {"network": _study(7, shift=bent)}
    at = np.sqrt(BER[4:-1] * BER[5:])
    if step is not None:
        monkeypatch.setattr(surface_fit, "_FINE", step)
    found = fit_accuracy_surfaces(study, seed=1)["network"]
    monkeypatch.setattr(surface_fit, "_FINE", 0.03)
    finer = fit_accuracy_surfaces(study, seed=1)["network"]
    coarse, fine = (mean_loss(s, *_equal(s, at)) for s in (found, finer))
    # the difference of two medians of 1000 draws has a standard error of 0.06 of these
    away = np.abs(np.median(coarse, axis=0) - np.median(fine, axis=0)) / fine.std(axis=0)
    assert (away.max() < 0.4) == close, away


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
    studies = {"a": _study(1), "b": _study(2)}
    both = fit_accuracy_surfaces(studies, seed=3, cores=2, draws=20)
    alone = fit_accuracy_surfaces({"a": studies["a"]}, seed=3, draws=20)
    np.testing.assert_array_equal(both["a"].logit_share["lost"], alone["a"].logit_share["lost"])
    assert not np.array_equal(both["a"].logit_share["lost"], both["b"].logit_share["lost"])


def test_one_training_is_said_to_be_one(surface: AccuracySurface) -> None:
    assert surface.trainings == 1
    assert "conditional on this training" in surface.condition
    assert np.all(surface.error_free_deviation == 0)


def test_a_further_training_has_the_spread_of_those_seen() -> None:
    """Twelve simulated trainings: shifts of known spread, error-free accuracy likewise."""
    rng = np.random.default_rng(11)
    shift, free = 0.4 * rng.standard_normal(12), np.rint(12 * rng.standard_normal(12))
    first, *others = [_study(i, shift=shift[i], correct=CORRECT + int(free[i])) for i in range(12)]
    recipe = replace(first, further_trainings=tuple(others))
    found = fit_accuracy_surfaces({"recipe": recipe}, seed=2, draws=2000)["recipe"]
    assert found.trainings == 12
    assert "12 training seeds" in found.condition
    # Where counts are large a further training is Student-t around the mean of the twelve.
    drawn = logit(mean_share(found, "lost", *_equal(found, BER[5])))[:, 0]
    truth = 1.8 * np.log(BER[5]) + 2.5 + shift
    # Standard error of the centre of the predictive law over draws, and of the mean of trainings.
    assert drawn.mean() == pytest.approx(truth.mean(), abs=4 * 0.4 / np.sqrt(12) / np.sqrt(12))
    expected = shift.std(ddof=1) * np.sqrt(1 + 1 / 12)
    assert drawn.std() == pytest.approx(expected, rel=0.25)
    spread = found.error_free_deviation.std() * IMAGES
    assert spread == pytest.approx(free.std(ddof=1) * np.sqrt((1 + 1 / 12) * 11 / 9), rel=0.25)
    record = found.further.record() if found.further is not None else {}
    lost = record["spread_between_trainings"]["lost"]
    assert lost["low"] < 0.4 < lost["high"]


def test_chips_between_the_counted_pairs_lose_what_the_surface_says() -> None:
    """New chips of a digits network at rates and tilts that were not counted.

    Mean losses of 60 chips within 4 standard errors of both sides (12 checks at 6e-5 each); the
    control, the loss at equal rates of the same mean, must be far off.
    """
    network, record = bnn.load_zoo("digits-4e-2")
    digits = bnn.load_images("digits")
    options = NetworkOptions(chips=60, unequal_chips=30, seed=11, threads=1)
    study = evaluate_network(network, digits, options, record, tick=lambda done, total: None)
    points = counted_points(study)
    assert len(points.pairs.tilt) == 17 + len(TILTED_RATES) * len(TILTS)
    found = fit_accuracy_surfaces({"network": study}, seed=1)["network"]
    pairs = [(p, u) for p in (0.014, 0.04, 0.08) for u in (-0.85, -0.4, 0.35, 0.75)]
    assert not {p for p, _ in pairs} & set(TILTED_RATES)
    counts = bnn.evaluate_errors(
        network,
        digits.test_images,
        digits.test_labels,
        errors=[Errors((tilted_flips(p, u),)) for p, u in pairs],
        chips=60,
        seed=12,
        threads=1,
    )
    lost = (counts["lost"] - counts["gained"]).transpose("case", "chip").values / 600
    p, u = np.array(pairs).T
    draw = np.arange(found.draws)
    seen = SeenRates(np.tile(np.log(p), (found.draws, 1)), np.tile(u, (found.draws, 1)))
    assert found.known(seen).all()
    said = mean_loss(found, seen, draw)
    equal = mean_loss(found, SeenRates.equal(seen.ln_ber), draw)
    error = np.hypot(said.std(axis=0), lost.std(axis=1, ddof=1) / np.sqrt(60))
    away = (lost.mean(axis=1) - said.mean(axis=0)) / error
    assert np.abs(away).max() < 4, away
    control = (lost.mean(axis=1) - equal.mean(axis=0)) / error
    assert np.abs(control).max() > 10
