"""On which arrays the cells of a chip lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from devicefit.fitting.new_arrays import ENOUGH_ARRAYS as ENOUGH


@dataclass(frozen=True)
class ChipArrays:
    """Which arrays a chip lies on.

    On new arrays, drawn from the law between arrays, where `ENOUGH` were measured to tell it. With
    fewer, chips lie on each measured array in turn, and the requirement is asked of each.

    Parameters
    ----------
    names : tuple of str
        Measured arrays; one empty name where the readings name none.
    per_chip : int
        Arrays that the cells of one chip lie on, each drawn by itself.
    new : bool
        Whether they are new ones.

    Raises
    ------
    ValueError
        A chip on no array.
    """

    names: tuple[str, ...] = ("",)
    per_chip: int = 1
    new: bool = False

    def __post_init__(self) -> None:
        if self.per_chip < 1:
            raise ValueError(
                f"arrays_per_chip is {self.per_chip}; a chip lies on at least one array"
            )

    @property
    def in_rates(self) -> int:
        """Arrays in a table of rates: those of one chip where they are new, or the measured."""
        return self.per_chip if self.new else len(self.names)

    @property
    def are_tallied(self) -> bool:
        """Whether a chip lies on one of several measured arrays, each of which has its share."""
        return self.per_chip == 1 and len(self.names) > 1 and not self.new

    @property
    def in_turn(self) -> bool:
        """Whether chips lie on the measured arrays in turn, each of which has to qualify."""
        return self.are_tallied and len(self.names) < ENOUGH

    @property
    def groups(self) -> int:
        """Groups of chips that have to qualify, each by itself."""
        return len(self.names) if self.in_turn else 1

    def of(self, seed: int, chip: int) -> NDArray[np.int64]:
        """Arrays of a chip in a table of rates, shape (per_chip,); measured ones may be drawn."""
        if self.new:
            return np.arange(self.per_chip)
        if self.in_turn:
            return np.array([chip % len(self.names)])
        # imported here: a decision without chips needs none of the packages of networks
        from bnn.machine.counter_random import Stream, StreamKey, uniforms_at

        key = StreamKey(seed, chip, 0, Stream.ARRAY)
        drawn = uniforms_at(key, np.arange(self.per_chip)) * len(self.names)
        return drawn.astype(np.int64)
