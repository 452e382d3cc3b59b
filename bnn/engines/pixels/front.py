"""What the engine that follows changes asks of the layers that read pixels."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bnn.machine.compiled import njit
from bnn.machine.packing import Words
from bnn.machine.vectors import popcount, word_at

BLOCK = 64
"""Images of a block, the unit of work."""

Flips = Mapping[str, npt.NDArray[np.int64]]
"""Wrong bits of each layer, ``row * columns + column``, strictly increasing."""

Thresholds = Mapping[str, npt.NDArray[np.int32]]
"""Thresholds of a chip in place of those of the network."""

Step = Callable[[int, int], None]
"""Works on the blocks of images from one to another."""

NO_FLIPS: npt.NDArray[np.int64] = np.empty(0, np.int64)


_WORTH_THREADS = 20_000


def threads_for(flips: Flips, threads: int) -> int:
    """Threads that what is done before the images is worth."""
    return threads if sum(map(len, flips.values())) > _WORTH_THREADS else 1


class Front(Protocol):
    """Layers up to the first whose outputs the fully connected layers read."""

    @property
    def bits(self) -> Words:
        """Outputs without errors, shape (images, words)."""

    def step(
        self,
        flips: Flips,
        thresholds: Thresholds,
        allowed: npt.NDArray[np.int8],
        changed: Words,
        active: Words,
        *,
        threads: int,
    ) -> Step:
        """Prepare a chip.

        Parameters
        ----------
        flips, thresholds
            What is different on it.
        allowed : int8 array, shape (64 * blocks,)
            Changed outputs up to which the answer of an image is known to stay; 127 for images
            beyond the last.
        changed : uint64 array, shape (images, words)
            The work fills it for the images whose answer is open.
        active : uint64 array, shape (blocks,)
            The work marks these images, one bit for each.
        threads : int
            CPU threads for what is done beforehand.
        """


@njit
def mark_open(
    changed: Words, allowed: npt.NDArray[np.int8], active: Words, start: int, stop: int
) -> None:  # pragma: no cover
    """Mark the images of blocks `start` to `stop` that have more changes than allowed."""
    words = changed.shape[1]
    flat = changed.reshape(-1)
    for block in range(start, stop):
        mask = np.uint64(0)
        for image in range(64 * block, min(64 * block + 64, len(changed))):
            total = np.uint64(0)
            for k in range(words):
                total += popcount(word_at(flat, image * words + k))
            mask |= np.uint64(np.int64(total) > np.int64(allowed[image])) << np.uint64(image % 64)
        active[block] = mask
