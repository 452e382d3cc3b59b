"""Parts of an image set: what is evaluated when not all images are."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnn.machine.counter_random import Stream, StreamKey, uniforms_at

Ranges = tuple[tuple[int, int], ...]
"""Disjoint ranges ``[start, stop)`` in increasing order."""


@dataclass(frozen=True)
class ImagePart:
    """Images number `start` up to but not including `stop` in a random order of a set.

    Parts that start at 0 are nested, and each is a simple random sample of the set.

    Attributes
    ----------
    start, stop : int
        Range in the random order, not empty.
    order_seed : int
        Seed of the order, 0..2**128-1.
    """

    start: int
    stop: int
    order_seed: int

    def __post_init__(self) -> None:
        """Check the range; the seed is checked where it is used."""
        if not 0 <= self.start < self.stop:
            raise ValueError(
                f"an image part is a range 0 <= start < stop, got {self.start} and {self.stop}"
            )

    def numbers(self, images: int) -> npt.NDArray[np.int64]:
        """Numbers of the images in a set of so many, int64 array, strictly increasing.

        Raises
        ------
        ValueError
            The part ends beyond the set.
        """
        if self.stop > images:
            raise ValueError(f"the image part ends at {self.stop}, the set has {images} images")
        key = StreamKey(self.order_seed, 0, 0, Stream.IMAGE_ORDER)
        order = np.argsort(uniforms_at(key, np.arange(images)), kind="stable")
        return np.sort(order[self.start : self.stop])


def ranges_text(ranges: Ranges) -> str:
    """Ranges as text, such as ``0:250,500:600``."""
    return ",".join(f"{start}:{stop}" for start, stop in ranges)


def ranges_of(text: str) -> Ranges:
    """Ranges from their text."""
    pairs = (part.split(":") for part in text.split(","))
    return tuple((int(start), int(stop)) for start, stop in pairs)


def joined_ranges(parts: Iterable[Ranges]) -> Ranges:
    """Union of ranges that must be disjoint.

    Raises
    ------
    ValueError
        Two of them share an image; says which.
    """
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(pair for part in parts for pair in part):
        if joined and start < joined[-1][1]:
            raise ValueError(f"images {start}:{min(stop, joined[-1][1])} occur more than once")
        if joined and start == joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)
