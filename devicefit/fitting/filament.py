"""Resistance of the filament alone, without the transistor and the wires in series with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from devicefit.families.core import core
from devicefit.families.family import draws_here
from devicefit.families.frame import Frame, Places
from devicefit.numerics.arrays import FloatArray, IntArray


@dataclass(frozen=True)
class Filament:
    """Draws of the filament's resistance in cells that were SET.

    Parameters
    ----------
    ln_r : float array, shape (chain, draw, place), or (draw, place) where :meth:`flat`
        ln of the median resistance, ohm; that of the whole read path where the series resistance is
        not told apart.
    series_share : float array of that shape, or None
        Share of the series resistance in the read path of such a cell; None where it is not told
        apart, because there is one condition only.
    """

    ln_r: FloatArray
    series_share: FloatArray | None

    @classmethod
    def of(cls, p: Mapping[str, FloatArray], frame: Frame, places: Places) -> Filament:
        """Filament of each draw and place; `p` holds draws, vectors with their terms last.

        Notes
        -----
        What the smooth deviation and the arrays do to the read path they do to both of its parts
        alike, as in :func:`devicefit.families.core.core`. With a knob the current of a cell that
        the pulse is too weak to SET is that of its HRS, which lies beside the filament.
        """
        found = core(np, frame, draws_here(p, places))
        shape = np.broadcast_shapes(np.shape(found.mean_lrs), places.position.shape)
        if found.ln_filament is None:
            return cls(np.broadcast_to(found.mean_lrs, shape), None)
        path = np.logaddexp(found.ln_series, found.ln_filament)
        own = found.ln_filament
        if not frame.is_current:
            own = -np.logaddexp(-own, -found.mean_hrs)
        share = np.exp(found.ln_series - path)
        return cls(np.broadcast_to(own, shape), np.broadcast_to(share, shape))

    @classmethod
    def mean(cls, parts: Sequence[Filament]) -> Filament:
        """Geometric mean of the resistances and mean of the shares of some arrays."""
        shares = [part.series_share for part in parts if part.series_share is not None]
        return cls(
            np.mean([part.ln_r for part in parts], axis=0),
            np.mean(shares, axis=0) if shares else None,
        )

    def flat(self, draw: IntArray | slice = slice(None)) -> Filament:
        """Some draws of all chains one after the other, shape (draw, place)."""
        ln_r, share = (
            None if v is None else v.reshape(-1, v.shape[-1])[draw]
            for v in (self.ln_r, self.series_share)
        )
        assert ln_r is not None
        return Filament(ln_r, share)
