"""Adding records: every way to split an evaluation gives the same bytes as one evaluation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bnn import Flips, FoldedNetwork, StuckAt, evaluate, evaluate_errors
from bnn.errors.errors import Errors
from bnn.evaluation.evaluation import combine
from bnn.images.parts import ImagePart, joined_ranges, ranges_of, ranges_text

Make = Callable[..., FoldedNetwork]
CASES = [
    Errors(persistent=(Flips(0.01, 0.2),)),
    Errors(persistent=(StuckAt(0.05, 0.1),), protected=frozenset({"output"})),
]
IMAGES = 60


@pytest.fixture(scope="module")
def counted(random_network: Make) -> Callable[..., xr.Dataset]:
    network = random_network((9, 8, 3), seed=0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 9), dtype=np.uint8)
    labels = rng.integers(0, 3, IMAGES)

    def count(**changes: Any) -> xr.Dataset:
        options = {"errors": CASES, "chips": 4, "seed": 1, "threads": 1, **changes}
        if "ber" in options:
            del options["errors"]
            return evaluate(network, images, labels, **options)
        return evaluate_errors(network, images, labels, **options)

    return count


def part(start: int, stop: int, seed: int = 5) -> ImagePart:
    return ImagePart(start, stop, seed)


@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize("cases", [{}, {"ber": [0.01, 0.2]}])
def test_chips_and_images_add_up_to_one_evaluation(
    cases: dict[str, Any], by_image: bool, counted: Callable[..., xr.Dataset]
) -> None:
    whole = counted(by_image=by_image, **cases)
    pieces = [
        counted(chips=chips, first_chip=first, part=images, by_image=by_image, **cases)
        for first, chips in ((1, 3), (0, 1))
        for images in (part(40, IMAGES), part(0, 25), part(25, 40))
    ]
    assert pieces[0].attrs["image_ranges"] == "40:60"
    assert pieces[0].attrs["images"] == 20
    joined = combine(*pieces)
    xr.testing.assert_identical(joined, whole)
    for name in whole.variables:
        assert joined[name].values.tobytes() == whole[name].values.tobytes()
        assert joined[name].values.flags.c_contiguous
    some = combine(*(p for p in pieces if p.attrs["image_ranges"] != "25:40"))
    assert some.attrs["image_ranges"] == "0:25,40:60"
    assert some.attrs["images"] == 45
    again = [p for p in pieces if p.attrs["image_ranges"] == "25:40"]
    xr.testing.assert_identical(combine(some, *again), whole)


def test_counts_of_images_and_of_chips_have_one_total(counted: Callable[..., xr.Dataset]) -> None:
    found = counted(by_image=True, chips=7)
    assert found["lost"].sum() > 0
    assert found["gained"].sum() > 0
    for name in ("lost", "gained"):
        np.testing.assert_array_equal(
            found[name].sum("chip"), found[f"{name}_of_image"].sum("image")
        )
    assert (found["lost_of_image"] <= 7).all()
    assert found["image"].values.tolist() == list(range(IMAGES))


def test_a_part_counts_its_own_images(
    counted: Callable[..., xr.Dataset], random_network: Make
) -> None:
    whole, some = counted(by_image=True), counted(by_image=True, part=part(10, 30))
    numbers = part(10, 30).numbers(IMAGES)
    assert some["image"].values.tolist() == numbers.tolist()
    picked = whole["lost_of_image"].sel(image=numbers)
    np.testing.assert_array_equal(some["lost_of_image"], picked)


def test_parts_are_nested_random_samples() -> None:
    few, more = part(0, 10).numbers(200), part(0, 40).numbers(200)
    assert set(few) < set(more)
    both = np.concatenate([part(0, 70).numbers(200), part(70, 200).numbers(200)])
    assert sorted(both.tolist()) == list(range(200))
    assert part(0, 10, seed=6).numbers(200).tolist() != few.tolist()
    # 400 orders of 200 images, the first 50 of each: every image is drawn 100 times on average
    times = np.bincount(np.concatenate([part(0, 50, seed=s).numbers(200) for s in range(400)]))
    # the sum over images of the squared deviations, by the hypergeometric variance of each
    statistic = ((times - 100) ** 2).sum() / (400 * 0.25 * 0.75) * 199 / 200
    assert 1e-4 < stats.chi2.sf(statistic, 199) < 1 - 1e-4


def test_seconds_add_up_and_do_not_count(counted: Callable[..., xr.Dataset]) -> None:
    timed = [counted(chips=1, first_chip=k, timed=True) for k in range(2)]
    assert all(0 < record.attrs["seconds"] < 60 for record in timed)
    total = combine(*timed)
    assert total.attrs["seconds"] == sum(record.attrs["seconds"] for record in timed)
    untimed = counted(chips=1, first_chip=2)
    assert "seconds" not in untimed.attrs
    # of a record without a time the sum is not known
    assert "seconds" not in combine(*timed, untimed).attrs
    xr.testing.assert_identical(combine(*timed, untimed), counted(chips=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"errors": CASES[:1]}, "errors is .* instead of"),
        ({"ber": [0.1, 0.2]}, "the dim of the cases is 'ber' instead of 'case'"),
        ({"seed": 2}, "seed is 2 instead of 1"),
        ({"part": part(0, 30, seed=6)}, "image_order_seed is 6 instead of 5"),
        ({"part": None}, "image_order_seed is None instead of 5"),
        ({"part": part(20, 60)}, "images 20:30 occur more than once"),
        ({"part": part(30, 60), "chips": 5}, r"chips \[4\] were evaluated on images 0:30 or 30:60"),
        ({"part": part(30, 60), "by_image": True}, "what is counted is"),
        ({"first_chip": 3}, r"chips \[3\] occur more than once"),
    ],
)
def test_unlike_records_are_not_added(
    changes: dict[str, Any], message: str, counted: Callable[..., xr.Dataset]
) -> None:
    first = counted(part=part(0, 30))
    with pytest.raises(ValueError, match=message):
        combine(first, counted(**{"part": part(0, 30), **changes}))


def test_ranges_are_joined() -> None:
    assert ranges_of(ranges_text(((0, 3), (5, 9)))) == ((0, 3), (5, 9))
    assert joined_ranges([((5, 9),), ((0, 3),), ((3, 5), (11, 12))]) == ((0, 9), (11, 12))


@pytest.mark.parametrize("ends", [(0, 0), (3, 2), (-1, 4)])
def test_wrong_parts_are_refused(ends: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= start < stop"):
        part(*ends)
    with pytest.raises(ValueError, match="ends at 5, the set has 4 images"):
        part(0, 5).numbers(4)
