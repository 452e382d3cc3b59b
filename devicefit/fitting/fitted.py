"""What later steps need of a fitted device, be it one family or a stack of them."""

from __future__ import annotations

from typing import Any, Protocol

from devicefit.distributions.mixture import Mixture
from devicefit.families.frame import Frame
from devicefit.fitting.filament import Filament
from devicefit.numerics.arrays import FloatArray, IntArray


class Fitted(Protocol):
    """A fitted device: laws of ln R with draws, and where they were measured."""

    @property
    def family(self) -> str:
        """Name of the family, or that it is a stack."""

    @property
    def frame(self) -> Frame:
        """Programming variables and measured range."""

    @property
    def record(self) -> dict[str, Any]:
        """Plain values about the fit; has ``devices`` and ``design_effect``."""

    def at_second(self, value: float) -> Fitted:
        """The same fit, at this value of the second variable where none is asked for."""

    def with_new_arrays(self, count: int) -> Fitted:
        """The same fit with arrays that were not measured, the last ones of the frame."""

    def mixtures(
        self,
        x: FloatArray,
        *,
        second: FloatArray | float | None = None,
        array: IntArray | int | None = None,
    ) -> dict[str, Mixture]:
        """Law of ln R of each state, trailing shape (chain, draw, programming)."""

    def filament(
        self,
        x: FloatArray,
        *,
        second: FloatArray | float | None = None,
        array: IntArray | int | None = None,
    ) -> Filament:
        """Resistance of the filament alone, shape (chain, draw, programming)."""
