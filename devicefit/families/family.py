"""What a family of device models consists of, and what is made of its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from devicefit.distributions.mixture import Mixture
from devicefit.families.components import Laws, mixture_of
from devicefit.families.core import Here
from devicefit.families.frame import Frame, Places
from devicefit.families.operations import with_shifts
from devicefit.likelihood.compressed import Compressed
from devicefit.likelihood.draws import ARRAY, NUMBER, TERM, draws_at_places
from devicefit.numerics.arrays import FloatArray
from devicefit.numerics.short_repr import short_repr
from devicefit.sampling.prior import Prior

if TYPE_CHECKING:
    import pymc as pm


AddLikelihood = Callable[[Mapping[str, Any], Here, Laws, Compressed, Frame], None]


@short_repr
@dataclass(frozen=True)
class Family:
    """A family of device models: a table of priors and the laws of both states.

    Parameters
    ----------
    name : str
        Name by which a user asks for it.
    priors : callable
        Priors of the parameters for a frame.
    laws : callable
        ``(xp, frame, here, strongest) -> components`` of both states, in formulas of ``xp``,
        ``pytensor.tensor`` for the PyMC model and ``numpy`` for its draws. ``here`` has the
        parameters at the places that are asked for, ``strongest`` at the strong end of the measured
        range in the same arrays.
    add_likelihood : callable, optional
        ``(variables, here, laws, compressed, frame)`` adds the likelihood to the PyMC model. Left
        out, all readings are independent draws of the laws.
    coordinates : callable, optional
        Coordinates in which the sampler moves (:class:`devicefit.sampling.sampler.Coordinates`) for
        a frame; the parameters themselves when left out. Posteriors are the same.
    """

    name: str
    priors: Callable[[Frame], tuple[Prior, ...]]
    laws: Callable[[Any, Frame, Here, Here], Laws]
    add_likelihood: AddLikelihood | None = None
    coordinates: Callable[[Frame], Any] | None = None

    def model(
        self,
        compressed: Compressed,
        *,
        priors: Sequence[Prior] | None = None,
        statements: Sequence[Any] = (),
    ) -> pm.Model:
        """PyMC model of the readings.

        Parameters
        ----------
        compressed : Compressed
            The readings.
        priors : sequence of Prior, optional
            The family's own when left out.
        statements : sequence of Statement, optional
            What else is known (:mod:`devicefit.priors.statements`).

        Returns
        -------
        pymc.Model
            A free variable for each prior; dims ``condition``, ``term`` (of smooth deviations) and
            ``array``. Readings and the measured range are ``pm.Data``, so that one compiled model
            serves all data of the same kind.
        """
        # Imported where a model is built: commands that evaluate draws have no use for PyMC.
        from devicefit.families.pymc_model import pymc_model

        frame = Frame.of(compressed)
        priors = self.priors(frame) if priors is None else tuple(priors)
        return pymc_model(compressed, frame, priors, self.laws, self.add_likelihood, statements)

    def mixtures(
        self, draws: Mapping[str, FloatArray], frame: Frame, places: Places
    ) -> dict[str, Mixture]:
        """Law of ln R of each state at places.

        Parameters
        ----------
        draws : mapping of str to float array, shape (chain, draw) or (chain, draw, term or array)
            Draws of the parameters.
        frame : Frame
            Measured range.
        places : Places
            Where.

        Returns
        -------
        dict of str to Mixture
            Trailing shape (chain, draw, place).
        """
        here = draws_here(draws, places)
        end = here if frame.is_single else draws_here(draws, frame.strong_end(places.array))
        shape = (*next(iter(draws.values())).shape[:2], len(places.position))
        laws = self.laws(np, frame, here, end)
        return {state: mixture_of(components, shape) for state, components in laws.items()}


def draws_here(draws: Mapping[str, FloatArray], places: Places) -> Here:
    """Draws of parameters at places."""
    kinds = {
        name: NUMBER if v.ndim == 2 else TERM if name.endswith("_deviation") else ARRAY
        for name, v in draws.items()
    }
    return Here(with_shifts(np, draws_at_places(draws, kinds, places.basis, places.array)), places)
