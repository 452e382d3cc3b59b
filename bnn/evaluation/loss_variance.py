"""Where the uncertainty of a mean accuracy loss comes from: chips, images, and both together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.evaluation.counts import case_dim

FloatArray = npt.NDArray[np.float64]

QUESTIONS = ("test set", "population")
"""Whose mean loss is meant: of the images of this test set, or of what they were drawn from."""


@dataclass(frozen=True, eq=False)
class LossVariance:
    """Components of variance of the accuracy loss of one image on one chip, for each case.

    The loss is 1 for an image that is lost, -1 for one that is gained, else 0. It is taken as

        mean + effect of the chip + effect of the image + the rest,

    all independent, with the variances that are held here: a two-way layout with random effects
    and one observation per cell (Searle, Casella and McCulloch 1992, section 4.2).

    Attributes
    ----------
    chips, images, image_set : int
        Chips and images of the table, and images of the set that these were drawn from.
    between_chips, between_images, residual : float array, shape (case,)
        Unbiased estimates by sums of squares, cut at zero.
    chip_mean_square : float array, shape (case,)
        Mean square between chips: an unbiased estimate of ``residual + images * between_chips``.
    unseen : bool array, shape (case,)
        Cases with errors in which no image was lost or gained.
    """

    chips: int
    images: int
    image_set: int
    between_chips: FloatArray
    between_images: FloatArray
    residual: FloatArray
    chip_mean_square: FloatArray
    unseen: npt.NDArray[np.bool_]

    def standard_error(self, question: str) -> FloatArray:
        """Standard error of the mean loss over the chips and images of the table, shape (case,).

        Parameters
        ----------
        question : {"test set", "population"}
            For the test set its images are given: with all of them in the table only chips count,
            and the error is the standard deviation between chips over the root of their number.
            For the population they are a sample.

        Notes
        -----
        ``chip_mean_square / (chips * images) + between_images * (1 - f) / images``, where f is the
        share of the set that was evaluated for the test set, and 0 for the population. Where
        nothing was lost yet the error is not zero but that of one image more: the next one, or
        (while images are left out) the next one on every chip.
        """
        check_question(question)
        left_out = 1.0 - (self.images / self.image_set if question == QUESTIONS[0] else 0.0)
        cells = self.chips * self.images
        square = self.chip_mean_square / cells + self.between_images * left_out / self.images
        of_one = 1.0 / cells**2 + left_out / self.images**2
        return np.sqrt(np.where(self.unseen, np.maximum(square, of_one), square))

    def chips_needed(self, images: int, standard_error: float, question: str) -> FloatArray:
        """Chips with which so many images reach a standard error, (case,); infinite if none do."""
        check_question(question)
        left_out = 1.0 - (images / self.image_set if question == QUESTIONS[0] else 0.0)
        spare = standard_error**2 - self.between_images * left_out / images
        per_chip = self.between_chips + self.residual / images
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.where(spare > 0, per_chip / spare, np.inf)
        return np.asarray(needed)


def check_question(question: str) -> None:
    """Raise ValueError that lists the known questions unless `question` is one."""
    if question not in QUESTIONS:
        raise ValueError(f"question is {question!r}; known: {', '.join(map(repr, QUESTIONS))}")


def loss_variance(counts: xr.Dataset) -> LossVariance:
    """Split the variance of the loss between chips and images.

    Parameters
    ----------
    counts : xarray.Dataset
        From an evaluation with ``by_image=True``, two chips and two images or more.

    Raises
    ------
    ValueError
        One chip or one image, or counts of images are missing.

    Notes
    -----
    The counts of chips and of images, and the number of all losses and gains, determine every sum
    of squares; the table of all answers is not needed.
    """
    if "lost_of_image" not in counts:
        raise ValueError("counts has no counts of images; evaluate with by_image=True")
    chips, images = counts.sizes["chip"], counts.sizes["image"]
    if min(chips, images) < 2:
        raise ValueError(
            f"counts holds {chips} chips and {images} images; both spreads need two or more"
        )
    dim = case_dim(counts)

    def table(first: str, second: str, sign: int, other: str) -> FloatArray:
        difference = counts[first] + sign * counts[second]
        return np.asarray(difference.transpose(dim, other).values, dtype=np.float64)

    of_chip = table("lost", "gained", -1, "chip")
    of_image = table("lost_of_image", "gained_of_image", -1, "image")
    events = table("lost", "gained", 1, "chip").sum(axis=1)
    of_mean = of_chip.sum(axis=1) ** 2 / (chips * images)
    by_chip = (of_chip**2).sum(axis=1) / images - of_mean
    by_image = (of_image**2).sum(axis=1) / chips - of_mean
    rest = np.maximum(events - of_mean - by_chip - by_image, 0.0) / ((chips - 1) * (images - 1))
    by_chip, by_image = by_chip / (chips - 1), by_image / (images - 1)
    has_errors = (counts["flips"].sum("chip") > 0).values | ("reading" in counts.attrs)
    return LossVariance(
        chips,
        images,
        int(counts.attrs.get("image_set", images)),
        np.maximum(by_chip - rest, 0.0) / images,
        np.maximum(by_image - rest, 0.0) / chips,
        rest,
        by_chip,
        has_errors & (events == 0),
    )
