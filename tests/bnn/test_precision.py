"""Stopping by precision against the standard error by hand and one evaluation of all chips."""

import numpy as np
import pytest
import xarray as xr

from bnn import FoldedNetwork, ImageSet, evaluate, evaluate_to_precision, loss_standard_error

RATES = [0.001, 0.05]


def evaluated(network: FoldedNetwork, digits: ImageSet, standard_error: float, most: int):
    rounds: list[tuple[int, float]] = []
    counts = evaluate_to_precision(
        network,
        digits.test_images,
        digits.test_labels,
        ber=RATES,
        standard_error=standard_error,
        most_chips=most,
        seed=3,
        threads=1,
        progress=lambda *step: rounds.append(step),
    )
    return counts, rounds


def test_chips_are_added_until_the_error_is_small(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    counts, rounds = evaluated(folded_digits, digits, 0.002, 1000)
    chips = counts.sizes["chip"]
    assert 8 < chips < 1000
    assert [done for done, _ in rounds] == sorted({done for done, _ in rounds})
    assert rounds[-1][1] <= 0.002 < rounds[-2][1]
    whole = evaluate(
        folded_digits,
        digits.test_images,
        digits.test_labels,
        ber=RATES,
        chips=chips,
        seed=3,
    )
    xr.testing.assert_identical(counts, whole)
    loss = (counts["lost"].values - counts["gained"].values) / len(digits.test_images)
    by_hand = [np.sqrt(np.sum((x - x.mean()) ** 2) / (chips - 1) / chips) for x in loss]
    np.testing.assert_allclose(loss_standard_error(counts).values, by_hand)
    assert max(by_hand) == pytest.approx(rounds[-1][1])


def test_it_stops_at_the_largest_number_of_chips(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    counts, rounds = evaluated(folded_digits, digits, 1e-9, 11)
    assert counts.sizes["chip"] == 11
    assert [done for done, _ in rounds] == [8, 11]


def test_wrong_input_is_refused(folded_digits: FoldedNetwork, digits: ImageSet) -> None:
    with pytest.raises(ValueError, match="standard_error is 0"):
        evaluated(folded_digits, digits, 0, 11)
    with pytest.raises(ValueError, match="most_chips is 3; give at least 8"):
        evaluated(folded_digits, digits, 0.1, 3)
    one = evaluate(
        folded_digits, digits.test_images, digits.test_labels, ber=RATES, chips=1, seed=3
    )
    with pytest.raises(ValueError, match="needs two or more"):
        loss_standard_error(one)
