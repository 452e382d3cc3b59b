"""Counts at pairs of rates of stored ones and zeros, against chips counted by hand."""

import numpy as np
import pytest

import bnn
from bnn.calibration.treatments import FOLDED_FOR_EACH, PER_CHIP
from bnn.errors.errors import Errors
from bnn.study.rate_pairs import (
    TILTED_RATES,
    count_rate_pairs,
    stored_ones,
    tilted_flips,
    tilted_rates,
)


@pytest.fixture(scope="module")
def digits() -> bnn.ImageSet:
    return bnn.load_images("digits")


def test_flips_with_a_tilt_have_the_mean_rate() -> None:
    flips = tilted_flips(0.03, 0.4)
    assert (flips.zero_to_one, flips.one_to_zero) == pytest.approx((0.018, 0.042))
    only_ones = tilted_flips(0.03, 1.0)
    assert (only_ones.zero_to_one, only_ones.one_to_zero) == (0.0, 0.06)
    with pytest.raises(ValueError, match=r"tilt is 1\.2"):
        tilted_flips(0.03, 1.2)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ((1e-3, 0.5), TILTED_RATES),
        ((1e-3, 4e-2), (5e-3, 1e-2, 2e-2, 3e-2, 4e-2)),
        ((1e-4, 1e-3), (1e-3,)),
        ((0.1, 0.7), TILTED_RATES),
    ],
)
def test_tilts_are_counted_up_to_the_highest_equal_rate(
    rates: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert tilted_rates(rates) == expected


def test_counts_at_unequal_rates_are_those_of_such_chips(digits: bnn.ImageSet) -> None:
    network, _ = bnn.load_zoo("digits-4e-2")
    found = count_rate_pairs(
        network, digits, rates=[1e-2, 2e-2], tilts=[-1.0, 0.5], chips=3, seed=11, threads=1
    )
    case = found.isel(case=[2])
    assert (case["ber"].item(), case["tilt"].item()) == (2e-2, -1.0)
    by_hand = bnn.evaluate_errors(
        network,
        digits.test_images,
        digits.test_labels,
        errors=[Errors((bnn.Flips(zero_to_one=0.04, one_to_zero=0.0),))],
        chips=3,
        seed=11,
        threads=1,
    )
    for name in ("correct", "lost", "gained", "flips"):
        np.testing.assert_array_equal(case[name].values, by_hand[name].values)
    bits = np.concatenate(
        [bnn.networks.network.layer_signs(layer).ravel() for layer in network.layers]
    )
    assert found.attrs["ones"] == (bits > 0).mean() == stored_ones(network)


def test_protected_layers_are_not_counted_among_the_ones() -> None:
    network, _ = bnn.load_zoo("digits-standard")
    last = network.layers[-1]
    bits = [bnn.networks.network.layer_signs(layer).ravel() for layer in network.layers[:-1]]
    assert stored_ones(network, frozenset({last.name})) == (np.concatenate(bits) > 0).mean()


def test_treated_thresholds_are_counted_with_their_treatment(digits: bnn.ImageSet) -> None:
    """Calibrated and folded chips at one rate, against the functions that count them."""
    network, _ = bnn.load_zoo("digits-standard")
    reference = bnn.calibration_reference(network, digits.train_images[:300])
    data = (digits.test_images, digits.test_labels)
    errors = [Errors((tilted_flips(0.05, u),)) for u in (-1.0, 1.0)]
    options = {"errors": errors, "chips": 2, "seed": 3, "threads": 1}
    by_hand = {
        PER_CHIP: bnn.evaluate_calibrated(reference, *data, count=bnn.evaluate_errors, **options),
        FOLDED_FOR_EACH: bnn.evaluate_errors(bnn.fold_for_ber(reference, 0.05), *data, **options),
    }
    for treatment, expected in by_hand.items():
        found = count_rate_pairs(
            network,
            digits,
            treatment=treatment,
            reference=reference,
            rates=[0.05],
            tilts=[-1.0, 1.0],
            chips=2,
            seed=3,
            threads=1,
        )
        np.testing.assert_array_equal(found["correct"].values, expected["correct"].values)
    with pytest.raises(ValueError, match="known: fixed"):
        count_rate_pairs(network, digits, treatment="none", chips=2, seed=3)
    with pytest.raises(ValueError, match="need a reference"):
        count_rate_pairs(network, digits, treatment=PER_CHIP, chips=2, seed=3)
