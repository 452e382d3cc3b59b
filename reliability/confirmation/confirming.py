"""What designs are confirmed with: networks and images at hand, device, arrays and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bnn.calibration.calibration import CalibrationReference
from bnn.images.sets import ImageSet
from bnn.networks.network import FoldedNetwork
from bnn.study.chip_seconds import seconds_per_chip
from devicefit.fitting.fitted import Fitted
from devicefit.prediction.condition_readings import ConditionReadings
from reliability.chips.arrays import ENOUGH, ChipArrays
from reliability.chips.lots import LotSizes

if TYPE_CHECKING:
    from reliability.confirmation.aged import Ageing


@dataclass(frozen=True)
class Confirmable:
    """A network of the comparison at hand, with the images its chips answer.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors.
    images : ImageSet
        Test images are those of the counts.
    treatment : str
        Treatment of thresholds, of :mod:`bnn.calibration.calibration`.
    calibration : callable or None
        Gives the images of the calibration, for all treatments but fixed thresholds.
    protected : frozenset of str
        Layers whose weights stay exact.
    """

    network: FoldedNetwork
    images: ImageSet
    treatment: str
    calibration: Callable[[], CalibrationReference] | None = None
    protected: frozenset[str] = frozenset()

    @cached_property
    def reference(self) -> CalibrationReference:
        """Images of the calibration: made at first use, since few designs are put to chips."""
        assert self.calibration is not None
        return self.calibration()

    @property
    def seconds_per_chip(self) -> float:
        """About how long a chip takes; depends on nothing but sizes, so that lots do not either."""
        return seconds_per_chip(self.network, len(self.images.test_images), self.treatment)


@dataclass(frozen=True)
class Confirming:
    """How designs are confirmed.

    Parameters
    ----------
    networks : mapping of str to Confirmable
        By their names in the comparison; a design of another network is not confirmed.
    device : Fitted
        What answers.
    budget_s : float
        About the time that all designs may take together; lots become smaller where it does not
        suffice.
    arrays_per_chip : int
        Arrays that the cells of a chip lie on.
    threads : int
        CPU threads.
    seed : int
        Seed of the decision; the chips have seeds of their own.
    measured : tuple of ConditionReadings
        Readings of the device, for chips without a model; none are counted without them.
    missing : str
        Why designs of other networks cannot be confirmed, in a sentence.
    ageing : Ageing or None
        What a required life does to the cells; chips are then those at its end.
    on_new : bool
        Whether chips lie on new arrays although few were measured.
    """

    networks: Mapping[str, Confirmable]
    device: Fitted
    budget_s: float = 600.0
    arrays_per_chip: int = 1
    threads: int = 2
    seed: int = 1
    measured: tuple[ConditionReadings, ...] = ()
    missing: str = ""
    ageing: Ageing | None = None
    on_new: bool = False

    def __post_init__(self) -> None:
        if not self.budget_s > 0:
            raise ValueError(f"budget_s is {self.budget_s}; give a positive number of seconds")
        _ = self.arrays  # refuses a chip on no array

    @property
    def arrays(self) -> ChipArrays:
        """Which arrays chips lie on."""
        names = self.device.frame.arrays
        return ChipArrays(names, self.arrays_per_chip, self.on_new or len(names) >= ENOUGH)

    @property
    def new_beside(self) -> Confirming | None:
        """The same with chips on new arrays, where chips on a few measured ones lead."""
        few = len(self.device.frame.arrays) > 1 and not self.arrays.new
        return replace(self, on_new=True) if few else None

    def sizes(self, confirmable: Confirmable, turn: int = 0) -> LotSizes:
        """Lots that take about the time allowed, in whole hundreds.

        Of the time the first design may take half, each further one half of what is left.
        """
        # a walk counts about three values in full, the second lot twice as many chips, and chips by
        # readings and by the model at two values half as many; on new arrays beside, as many as in
        # the second lot
        time = self.budget_s / 2 ** (turn + 1)
        lots = 7 * self.arrays.groups + 2 * (self.new_beside is not None)
        most = time / (lots * confirmable.seconds_per_chip)
        choosing = int(np.clip(most, 200, 1000)) // 100 * 100
        return LotSizes(choosing, 2 * choosing)
