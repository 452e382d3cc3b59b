"""On which of the measured arrays the cells of a chip lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reliability.propagation import ENOUGH_ARRAYS

ENOUGH = ENOUGH_ARRAYS


@dataclass(frozen=True)
class ChipArrays:
    """Which arrays a chip lies on.

    Arrays have no distribution of their own yet, so a new array is one of the measured ones, drawn
    for each chip, never for each cell. With fewer than `ENOUGH` measured, that says little of other
    arrays: chips then lie on each measured array in turn, and the requirement is asked of each.

    Parameters
    ----------
    names : tuple of str
        Measured arrays; one empty name where the readings name none.
    per_chip : int
        Arrays that the cells of one chip lie on, each drawn by itself.

    Raises
    ------
    ValueError
        A chip on no array.
    """

    names: tuple[str, ...] = ("",)
    per_chip: int = 1

    def __post_init__(self) -> None:
        if self.per_chip < 1:
            raise ValueError(
                f"arrays_per_chip is {self.per_chip}; a chip lies on at least one array"
            )

    @property
    def are_tallied(self) -> bool:
        """Whether a chip lies on one of several arrays, so that each array has its own share."""
        return self.per_chip == 1 and len(self.names) > 1

    @property
    def in_turn(self) -> bool:
        """Whether chips lie on the measured arrays in turn, each of which has to qualify."""
        return self.are_tallied and len(self.names) < ENOUGH

    @property
    def groups(self) -> int:
        """Groups of chips that have to qualify, each by itself."""
        return len(self.names) if self.in_turn else 1

    def of(self, seed: int, chip: int) -> NDArray[np.int64]:
        """Arrays of a chip, shape (per_chip,); its seed and number say which are drawn."""
        if self.in_turn:
            return np.array([chip % len(self.names)])
        # imported here: a decision without chips needs none of the packages of networks
        from bnn.counter_random import Stream, StreamKey, uniforms_at

        key = StreamKey(seed, chip, 0, Stream.ARRAY)
        drawn = uniforms_at(key, np.arange(self.per_chip)) * len(self.names)
        return drawn.astype(np.int64)
