"""Stopping by precision: chips and images are added until the accuracy loss is known well."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import xarray as xr

from bnn.evaluation.counts import OF_IMAGES, PRECISION, combine
from bnn.evaluation.loss_variance import QUESTIONS, LossVariance, check_question, loss_variance
from bnn.images.parts import ImagePart

_LEAST_CHIPS = 8  # below that the spread between chips is not known either
_LEAST_IMAGES = 64
_GROWTH = 4
_FLOOR = 0.1
"""Share of the variance between images below which more chips are not worth their time."""


@dataclass(frozen=True)
class Precision:
    """How well a mean accuracy loss has to be known.

    Parameters
    ----------
    standard_error : float
        Largest standard error of the mean loss, a fraction of the images.
    most_chips : int
        Chips at which to stop anyway, at least 8.
    question : {"test set", "population"}
        Whose mean loss is meant; see
        :meth:`bnn.evaluation.loss_variance.LossVariance.standard_error`.
    least_images : int or None
        Begin with so many images, at least 64, a random sample of the set, and take more as the
        variance asks for; None takes all from the beginning.
    """

    standard_error: float
    most_chips: int
    question: str = QUESTIONS[0]
    least_images: int | None = None

    def __post_init__(self) -> None:
        """Check everything."""
        if not 0 < self.standard_error < np.inf:
            raise ValueError(
                f"standard_error is {self.standard_error}; it must be positive and finite, a "
                "fraction of the images such as 0.001"
            )
        if self.most_chips < _LEAST_CHIPS:
            raise ValueError(f"most_chips is {self.most_chips}; give at least {_LEAST_CHIPS}")
        check_question(self.question)
        if self.least_images is not None and self.least_images < _LEAST_IMAGES:
            raise ValueError(
                f"least_images is {self.least_images}; give at least {_LEAST_IMAGES}, or none to "
                "take all images"
            )


class Count(Protocol):
    """An evaluation of chips on images, such as `evaluate` with the rest of its arguments given."""

    def __call__(
        self, *, chips: int, first_chip: int, part: ImagePart | None, by_image: bool
    ) -> xr.Dataset:
        """Counts of these chips on this part of the images."""


def count_to_precision(
    count: Count,
    *,
    images: int,
    precision: Precision,
    seed: int,
    progress: Callable[[int, float], None] | None = None,
) -> xr.Dataset:
    """Add chips and images to an evaluation until its mean loss is known well enough.

    Parameters
    ----------
    count : callable
        The evaluation.
    images : int
        Images of the set.
    precision : Precision
        What is asked for.
    seed : int
        Seed of the order in which images are taken.
    progress : callable, optional
        Called with (chips done, largest standard error) after each round.

    Returns
    -------
    xarray.Dataset
        The same data as one evaluation of as many chips, from 0, and images. Attributes state what
        was reached: ``precision_question``, ``precision_asked``; ``precision_chips`` and
        ``precision_images``; for each case ``precision_between_chips``,
        ``precision_between_images`` and ``precision_residual``, components of the variance of one
        image on one chip; ``precision_test_set`` and ``precision_population``, the largest standard
        errors of both questions; ``precision_limit``: what kept it from the error asked for,
        ``chips``, ``images`` or ``chips and images``, or nothing; with it what :class:`Limit` says.

    Notes
    -----
    A look at the error after every round stops a little too early on average; rounds that go as
    far as the error asks for, at most to four times the chips or images, keep the looks few. Of
    the tables that should reach it the one with the least answers is taken next. For the population
    a test set may be too small whatever the chips; then chips are added until they matter little.
    """
    chips, taken = _LEAST_CHIPS, min(images, precision.least_images or images)
    counts = count(chips=chips, first_chip=0, part=_part(0, taken, images, seed), by_image=True)
    while True:
        variance = loss_variance(counts)
        reached = float(variance.standard_error(precision.question).max())
        if progress is not None:
            progress(chips, reached)
        if reached <= precision.standard_error:
            return _stated(counts, variance, precision, None)
        more, wider = next_table(variance, precision)
        if (more, wider) == (chips, taken):
            return _stated(counts, variance, precision, limit_of(variance, precision))
        if wider > taken:
            further = count(
                chips=chips,
                first_chip=0,
                part=_part(taken, wider, images, seed),
                by_image=True,
            )
            counts, taken = combine(counts, further), wider
        if more > chips:
            further = count(
                chips=more - chips,
                first_chip=chips,
                part=_part(0, taken, images, seed),
                by_image=True,
            )
            counts, chips = combine(counts, further), more


@dataclass(frozen=True)
class Limit:
    """What keeps an evaluation from the standard error asked for.

    Attributes
    ----------
    limit : {"chips", "images", "chips and images"}
        Chips: more of them reach it. Images: those of the set leave too large an error, whatever
        the chips. Both: the images do, and more chips would still make the error clearly smaller.
    chips_needed : int
        About how many chips reach it on all images of the set; 0 where none do.
    images_needed : int
        About how many images reach it with very many chips; 0 where those of the set do.
    images_alone : float
        Standard error that the images of the set leave, whatever the chips; 0 likewise.
    """

    limit: str
    chips_needed: int
    images_needed: int
    images_alone: float


def limit_of(variance: LossVariance, precision: Precision) -> Limit:
    """What keeps an evaluation from the standard error asked for, from the variance it saw."""
    whole, asked = variance.image_set, precision.standard_error
    needed = _chips_needed(variance, whole, precision)
    if np.isfinite(needed):
        # where nothing was lost so far the error is that of one loss more
        of_one = 1.0 / (asked * whole) if variance.unseen.any() else 0.0
        chips = max(needed, np.ceil(of_one), variance.chips + 1)
        return Limit("chips", int(chips), 0, 0.0)
    between = float(variance.between_images.max())
    both = variance.chips < _chips_worth(variance)
    return Limit(
        "chips and images" if both else "images",
        0,
        int(np.ceil(between / asked**2)),
        float(np.sqrt(between / whole)),
    )


def _chips_worth(variance: LossVariance) -> float:
    """Chips beyond which they add little to the error that the images alone leave."""
    per_chip = (variance.between_chips + variance.residual / variance.images).max()
    return float(per_chip / (_FLOOR * variance.between_images.max() / variance.images))


def next_table(variance: LossVariance, precision: Precision) -> tuple[int, int]:
    """Chips and images to go to, at least as many of each; the same if more would not help."""
    chips, images, whole = variance.chips, variance.images, variance.image_set
    most = max(chips, precision.most_chips)
    sizes = [images]
    while sizes[-1] < min(whole, _GROWTH * images):
        sizes.append(min(2 * sizes[-1], whole))
    needed = {size: _chips_needed(variance, size, precision) for size in sizes}
    affordable = [size for size in sizes if needed[size] <= most]
    at_whole = _chips_needed(variance, whole, precision)
    more, wider = float(chips), images
    if affordable:
        wider = min(affordable, key=lambda size: needed[size] * size)
        more = needed[wider]
        if (more, wider) == (chips, images):
            # the variance that was seen says that it is enough, what was reached that it is not
            more += _LEAST_CHIPS
            wider = images if chips < most else sizes[-1]
    elif np.isfinite(needed[images]) and chips < most:
        more = needed[images]
    elif images < whole:
        # if even all images leave too much to the chips, more of them are no use
        wider = images if np.isfinite(at_whole) and at_whole > most else sizes[-1]
    elif not np.isfinite(at_whole):
        # the images alone exceed the error: chips until they add little to that
        more = _chips_worth(variance)
    return max(chips, int(min(np.ceil(more), _GROWTH * chips, most))), wider


def _chips_needed(variance: LossVariance, images: int, precision: Precision) -> float:
    """Chips of all cases, at least as many as there are; infinite if none suffice."""
    needed = variance.chips_needed(images, precision.standard_error, precision.question).max()
    return max(float(variance.chips), float(np.ceil(needed)))


def _part(start: int, stop: int, images: int, seed: int) -> ImagePart | None:
    return None if (start, stop) == (0, images) else ImagePart(start, stop, seed)


def _stated(
    counts: xr.Dataset, variance: LossVariance, precision: Precision, limit: Limit | None
) -> xr.Dataset:
    """The counts with what is known of their precision."""
    known = {
        "question": precision.question,
        "asked": precision.standard_error,
        **({"limit": ""} if limit is None else asdict(limit)),
        "chips": variance.chips,
        "images": variance.images,
        "between_chips": variance.between_chips,
        "between_images": variance.between_images,
        "residual": variance.residual,
        "test_set": float(variance.standard_error(QUESTIONS[0]).max()),
        "population": float(variance.standard_error(QUESTIONS[1]).max()),
    }
    return counts.drop_vars([*OF_IMAGES, "image"]).assign_attrs(
        {f"{PRECISION}_{name}": value for name, value in known.items()}
    )
