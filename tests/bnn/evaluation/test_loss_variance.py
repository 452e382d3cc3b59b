"""Components of variance against sums over the whole table, and against known effects."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bnn.evaluation.loss_variance import QUESTIONS, loss_variance

# 12 comparisons in this module
REJECT = 1e-4


def counts_of(table: np.ndarray, **attrs: object) -> xr.Dataset:
    """Counts of a table of losses, -1, 0 and 1, of shape (case, chip, image)."""
    lost, gained = table > 0, table < 0
    return xr.Dataset(
        {
            "correct": (("case", "chip"), 1 - table.sum(axis=2)),
            "lost": (("case", "chip"), lost.sum(axis=2)),
            "gained": (("case", "chip"), gained.sum(axis=2)),
            "flips": (("case", "chip"), np.ones(table.shape[:2], int)),
            "lost_of_image": (("case", "image"), lost.sum(axis=1)),
            "gained_of_image": (("case", "image"), gained.sum(axis=1)),
        },
        attrs={"images": table.shape[2], **attrs},
    )


def test_components_are_those_of_the_whole_table() -> None:
    table = np.random.default_rng(0).choice([-1, 0, 1], p=[0.1, 0.6, 0.3], size=(2, 6, 9))
    table[0, 2] = 1
    found = loss_variance(counts_of(table))
    for case, x in enumerate(table):
        chip, image, mean = x.mean(axis=1), x.mean(axis=0), x.mean()
        rest = ((x - chip[:, None] - image + mean) ** 2).sum() / (5 * 8)
        between_chips = 9 * chip.var(ddof=1)
        between_images = 6 * image.var(ddof=1)
        assert found.residual[case] == pytest.approx(rest)
        assert found.between_chips[case] == pytest.approx(max(between_chips - rest, 0) / 9)
        assert found.between_images[case] == pytest.approx(max(between_images - rest, 0) / 6)
        # all images of the set: the spread between chips alone
        by_hand = chip.std(ddof=1) / np.sqrt(6)
        assert found.standard_error("test set")[case] == pytest.approx(by_hand)


def simulated(
    rng: np.random.Generator, of_image: np.ndarray, chips: int, images: int
) -> np.ndarray:
    """Losses of some images on new chips: probability 0.2, sd 0.05 over chips, images as given."""
    of_chip = rng.uniform(-0.05, 0.05, chips) * np.sqrt(3)
    here = rng.choice(len(of_image), images, replace=False)
    return (rng.random((chips, images)) < 0.2 + of_chip[:, None] + of_image[here]).astype(int)


def test_errors_of_both_questions_are_what_they_say() -> None:
    rng = np.random.default_rng(1)
    whole, chips, images, repeats = 400, 12, 100, 1500
    of_image = rng.choice([-0.08, 0.08], whole)
    of_image -= of_image.mean()
    components, errors, means = [], {q: [] for q in QUESTIONS}, []
    for _ in range(repeats):
        found = loss_variance(
            counts_of(simulated(rng, of_image, chips, images)[None], image_set=whole)
        )
        components.append([float(getattr(found, name)[0]) for name in
                           ("between_chips", "between_images", "residual")])  # fmt: skip
        for question in QUESTIONS:
            errors[question].append(float(found.standard_error(question)[0]) ** 2)
        means.append(found)
    truth = [0.05**2, of_image.var(), 0.2 * 0.8 - 0.05**2 - of_image.var()]
    for values, true in zip(np.array(components).T, truth, strict=True):
        # cutting at zero moves the mean up by far less than its spread here
        z = (values.mean() - true) / (values.std() / np.sqrt(repeats))
        assert abs(z) < stats.norm.isf(REJECT / 2), (values.mean(), true)

    # the spread of the mean itself, over chips and samples of images of one set
    mean = np.array([simulated(rng, of_image, chips, images).mean() for _ in range(repeats)])
    ratio = mean.var(ddof=1) / np.mean(errors["test set"])
    low, high = stats.chi2.ppf([REJECT / 2, 1 - REJECT / 2], repeats - 1) / (repeats - 1)
    assert low < ratio < high
    # and over sets as well
    mean = np.array(
        [
            simulated(rng, rng.choice([-0.08, 0.08], whole), chips, images).mean()
            for _ in range(repeats)
        ]
    )
    assert low < mean.var(ddof=1) / np.mean(errors["population"]) < high
    # control that must fail: chips alone, as if the images were not drawn
    alone = [f.chip_mean_square[0] / (chips * images) for f in means]
    assert not low < mean.var(ddof=1) / np.mean(alone) < high


def test_a_sample_without_a_loss_is_not_exact() -> None:
    nothing = np.zeros((1, 8, 50), int)
    some = loss_variance(counts_of(nothing, image_set=200))
    # one image more of the 400 read, or one of the images left out on every chip
    expected = np.sqrt(1 / 400**2 + 0.75 / 50**2)
    assert some.standard_error("test set")[0] == pytest.approx(expected)
    assert loss_variance(counts_of(nothing)).standard_error("test set")[0] == pytest.approx(1 / 400)
    without = counts_of(nothing)
    without["flips"] *= 0
    assert loss_variance(without).standard_error("population")[0] == 0.0


def test_chips_needed_reach_the_error() -> None:
    table = simulated(np.random.default_rng(3), np.zeros(300), 20, 300)[None]
    found = loss_variance(counts_of(table))
    needed = found.chips_needed(300, 0.002, "test set")[0]
    per_chip = found.between_chips[0] + found.residual[0] / 300
    assert needed == pytest.approx(per_chip / 0.002**2)
    assert np.isinf(found.chips_needed(300, 1e-9, "population")[0]) == (found.between_images[0] > 0)


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 5, 1)])
def test_too_little_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="both spreads need two or more"):
        loss_variance(counts_of(np.zeros(shape, int)))


def test_counts_of_images_are_needed() -> None:
    counts = counts_of(np.zeros((1, 3, 3), int)).drop_vars("lost_of_image")
    with pytest.raises(ValueError, match="by_image=True"):
        loss_variance(counts)
    with pytest.raises(ValueError, match="known: 'test set', 'population'"):
        loss_variance(counts_of(np.zeros((1, 3, 3), int))).standard_error("both")
