"""Stopping by precision against the standard error by hand and one evaluation of the same."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from bnn import Flips, FoldedNetwork, ImageSet, TransientFlips, evaluate, evaluate_errors
from bnn.errors.errors import Errors
from bnn.evaluation.evaluation import combine
from bnn.evaluation.loss_variance import LossVariance
from bnn.evaluation.precision import (
    Limit,
    Precision,
    count_to_precision,
    limit_of,
    next_table,
)
from bnn.images.parts import ImagePart

RATES = [0.001, 0.05]


def loss_standard_error(counts: xr.Dataset) -> np.ndarray:
    """Standard deviation of the loss between chips over the root of their number, by hand."""
    loss = (counts["lost"].values - counts["gained"].values) / counts.attrs["images"]
    return np.asarray(loss.std(axis=1, ddof=1) / np.sqrt(loss.shape[1]))


def evaluated(network: FoldedNetwork, digits: ImageSet, standard_error: float, most: int, **more):
    rounds: list[tuple[int, float]] = []
    data = (network, digits.test_images, digits.test_labels)
    asked = {k: more.pop(k) for k in ("question", "least_images") if k in more}
    kind = evaluate_errors if "errors" in more else evaluate
    how = {"seed": 3, "threads": 1, **({} if "errors" in more else {"ber": RATES}), **more}
    counts = count_to_precision(
        lambda **which: kind(*data, **how, **which),
        images=len(digits.test_images),
        precision=Precision(standard_error, most, **asked),
        seed=3,
        progress=lambda *step: rounds.append(step),
    )
    return counts, rounds


def same_counts(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Identical but for what is said of precision."""
    bare = combine(found)
    assert not any(str(key).startswith("precision") for key in bare.attrs)
    xr.testing.assert_identical(bare, expected)


def test_chips_are_added_until_the_error_is_small(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    data = folded_digits, digits.test_images, digits.test_labels
    first = evaluate(*data, ber=RATES, chips=8, seed=3)
    asked = 0.6 * float(loss_standard_error(first).max())
    counts, rounds = evaluated(folded_digits, digits, asked, 1000)
    chips = counts.sizes["chip"]
    assert 8 < chips < 1000
    assert [done for done, _ in rounds] == sorted({done for done, _ in rounds})
    assert rounds[-1][1] <= asked < rounds[-2][1]
    same_counts(counts, evaluate(*data, ber=RATES, chips=chips, seed=3))
    by_hand = loss_standard_error(counts)
    assert max(by_hand) == pytest.approx(rounds[-1][1])
    said = counts.attrs
    assert said["precision_test_set"] == pytest.approx(max(by_hand))
    assert said["precision_population"] > said["precision_test_set"]
    assert (said["precision_chips"], said["precision_images"]) == (chips, 600)
    assert said["precision_limit"] == ""
    assert all(len(said[f"precision_{n}"]) == 2 for n in ("between_chips", "between_images"))


def test_images_are_added_as_the_variance_asks(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    """A loose error needs a sample of the images, a tight one all of them; counts are the same."""
    data = folded_digits, digits.test_images, digits.test_labels
    loose, _ = evaluated(folded_digits, digits, 0.02, 400, least_images=64)
    images = loose.attrs["precision_images"]
    assert 64 <= images < 600
    part = ImagePart(0, images, 3)
    chips = loose.sizes["chip"]
    same_counts(loose, evaluate(*data, ber=RATES, chips=chips, seed=3, part=part))
    assert loose.attrs["precision_test_set"] <= 0.02 < loose.attrs["precision_population"] + 0.02
    tight, _ = evaluated(folded_digits, digits, 0.003, 2000, least_images=64)
    chips = tight.sizes["chip"]
    assert tight.attrs["precision_images"] > images
    if tight.attrs["precision_images"] == 600:
        same_counts(tight, evaluate(*data, ber=RATES, chips=chips, seed=3))
    # the loose table answers both questions no better than it says
    whole = (tight["lost"] - tight["gained"]).mean("chip") / tight.attrs["images"]
    part_of = (loose["lost"] - loose["gained"]).mean("chip") / loose.attrs["images"]
    # z = 4.5 for two rates
    assert (abs(part_of - whole) < 4.5 * (0.02 + 0.003)).all()


def test_a_test_set_can_be_too_small_for_the_population(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    counts, rounds = evaluated(folded_digits, digits, 1e-4, 3000, question="population")
    said = counts.attrs
    assert said["precision_limit"] == "images"
    # it did not go on to the most chips for nothing: chips add little to what images leave
    assert counts.sizes["chip"] < 3000
    of_images = np.sqrt(np.max(said["precision_between_images"]) / 600)
    assert 1e-4 < of_images <= said["precision_population"] < 1.2 * of_images


def test_it_stops_at_the_largest_number_of_chips(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    counts, rounds = evaluated(folded_digits, digits, 1e-9, 11)
    assert counts.sizes["chip"] == 11
    assert [done for done, _ in rounds] == [8, 11]
    assert counts.attrs["precision_limit"] == "chips"


def test_error_cases_and_reads_are_added_like_rates(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    cases = [Errors((Flips(0.0, 0.05),)), Errors(transient=(TransientFlips(0.01),))]
    counts, _ = evaluated(folded_digits, digits, 0.01, 60, errors=cases, least_images=100)
    images = counts.attrs["precision_images"]
    whole = evaluate_errors(
        folded_digits,
        digits.test_images,
        digits.test_labels,
        errors=cases,
        chips=counts.sizes["chip"],
        seed=3,
        part=None if images == 600 else ImagePart(0, images, 3),
    )
    same_counts(counts, whole)


def known(chips: int, images: int, whole: int, between: tuple[float, float, float]):
    of_chip, of_image, rest = (np.array([v]) for v in between)
    return LossVariance(
        chips, images, whole, of_chip, of_image, rest, rest + images * of_chip, np.array([False])
    )


@pytest.mark.parametrize(
    ("table", "question", "asked", "expected"),
    [
        # chips alone differ: no image is added
        ((8, 100, 1000, (1e-2, 0.0, 0.0)), "test set", 0.02, (25, 100)),
        # images alone differ: all images, no chip is added
        ((8, 100, 400, (0.0, 1e-1, 0.0)), "test set", 0.002, (8, 400)),
        # the rest alone: the same from chips as from images, at the fewest answers
        ((8, 100, 1000, (0.0, 0.0, 0.16)), "test set", 0.01, (16, 100)),
        # at most four times
        ((8, 100, 1000, (1.0, 0.0, 0.0)), "test set", 0.01, (32, 100)),
        ((8, 100, 1000, (0.0, 0.1, 0.0)), "population", 1e-4, (8, 400)),
        # the population cannot be known better from this set
        ((8, 100, 100, (0.0, 0.1, 0.0)), "population", 1e-4, (8, 100)),
        ((8, 100, 100, (1e-3, 0.1, 0.0)), "population", 1e-4, (10, 100)),
        # no more chips than are allowed
        ((60, 100, 100, (1.0, 0.0, 0.0)), "test set", 1e-4, (64, 100)),
        ((64, 100, 1000, (1.0, 0.0, 0.0)), "test set", 1e-4, (64, 100)),
        # fewer chips than needed, but images make up for it
        ((64, 100, 1000, (0.0, 0.0, 0.16)), "test set", 0.004, (64, 200)),
    ],
)
def test_the_next_table(
    table: tuple[Any, ...], question: str, asked: float, expected: tuple[int, int]
) -> None:
    assert next_table(known(*table), Precision(asked, 64, question)) == expected


@pytest.mark.parametrize(
    ("table", "question", "asked", "expected"),
    [
        # 1e-2 / 0.01^2 chips; all images are there, so they leave nothing
        ((64, 100, 100, (1e-2, 0.0, 0.0)), "test set", 0.01, Limit("chips", 100, 0, 0.0)),
        # 0.1 / 1e-4^2 images are needed, 100 leave sqrt(0.1 / 100); chips play no part
        (
            (64, 100, 100, (0.0, 0.1, 0.0)),
            "population",
            1e-4,
            Limit("images", 0, 10_000_000, np.sqrt(1e-3)),
        ),
        # the same images, but 64 chips leave 1 / 64, far above their 1e-3
        (
            (64, 100, 100, (1.0, 0.1, 0.0)),
            "population",
            1e-4,
            Limit("chips and images", 0, 10_000_000, np.sqrt(1e-3)),
        ),
        # images leave 1e-3 of the 2e-3 asked for: what is left is for the chips, 1 / 1e-3 of them
        ((64, 100, 100, (1.0, 0.1, 0.0)), "population", 2e-3**0.5, Limit("chips", 1000, 0, 0.0)),
    ],
)
def test_what_limits_the_precision(
    table: tuple[Any, ...], question: str, asked: float, expected: Limit
) -> None:
    found = limit_of(known(*table), Precision(asked, 64, question))
    assert (found.limit, found.images_needed) == (expected.limit, expected.images_needed)
    assert found.chips_needed == pytest.approx(expected.chips_needed, abs=1)
    assert found.images_alone == pytest.approx(expected.images_alone)


def test_chips_that_limit_a_population_are_told_from_images(
    folded_digits: FoldedNetwork, digits: ImageSet
) -> None:
    """Few chips allowed: the images were blamed, though chips left most of the error."""
    few = evaluated(folded_digits, digits, 1e-4, 9, question="population", ber=[0.2])[0].attrs
    assert few["precision_limit"] == "chips and images"
    assert few["precision_chips"] == 9
    assert 1e-4 < few["precision_images_alone"] < few["precision_population"]
    many = evaluated(folded_digits, digits, 1e-4, 3000, question="population")[0].attrs
    assert many["precision_limit"] == "images"
    assert many["precision_images_needed"] > 600
    # with so many chips as are said it is reached
    said = evaluated(folded_digits, digits, 0.01, 11, ber=[0.2])[0].attrs
    assert said["precision_limit"] == "chips"
    reached = evaluated(
        folded_digits, digits, 0.01, int(1.5 * said["precision_chips_needed"]), ber=[0.2]
    )[0].attrs
    assert reached["precision_limit"] == ""


def test_wrong_input_is_refused(folded_digits: FoldedNetwork, digits: ImageSet) -> None:
    with pytest.raises(ValueError, match="standard_error is 0"):
        evaluated(folded_digits, digits, 0, 11)
    with pytest.raises(ValueError, match="most_chips is 3; give at least 8"):
        evaluated(folded_digits, digits, 0.1, 3)
    with pytest.raises(ValueError, match="least_images is 10; give at least 64"):
        evaluated(folded_digits, digits, 0.1, 11, least_images=10)
    with pytest.raises(ValueError, match="known: 'test set', 'population'"):
        evaluated(folded_digits, digits, 0.1, 11, question="chips")
