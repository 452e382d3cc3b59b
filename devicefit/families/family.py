"""What a family of device models consists of, and what is made of its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from devicefit.compressed import Compressed
from devicefit.families.at_places import ARRAY, NUMBER, TERM, draws_at_places, variables_at_places
from devicefit.families.components import Laws, add_readings, mixture_of
from devicefit.families.core import Here
from devicefit.families.frame import Frame, Places
from devicefit.families.prior import Prior
from devicefit.mixture import Mixture
from devicefit.programming import FloatArray

AddLikelihood = Callable[[Mapping[str, Any], Here, Laws, Compressed, Frame], None]


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
        Coordinates in which the sampler moves (:class:`devicefit.fitting.sampler.Coordinates`) for
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
            What else is known (:mod:`devicefit.statements`).

        Returns
        -------
        pymc.Model
            A free variable for each prior; dims ``condition``, ``term`` (of smooth deviations) and
            ``array``. Readings and the measured range are ``pm.Data``, so that one compiled model
            serves all data of the same kind.
        """
        frame = Frame.of(compressed)
        priors = self.priors(frame) if priors is None else tuple(priors)
        coords = {
            "condition": np.arange(len(compressed.conditions)),
            "term": np.arange(frame.terms),
            "array": list(frame.arrays),
        }
        # Proposals beyond all bounds are divergences; asking at each step whether there are any
        # takes longer than the formulas.
        with pm.Model(coords=coords, check_bounds=False) as model:
            p = {q.name: pm.Normal(q.name, q.mean, q.sd, dims=q.dim or None) for q in priors}
            here = variables_here(p, priors, _data(measured_places(compressed, frame)))
            strongest = here
            if not frame.is_single:
                end = _data(frame.strong_end(compressed.array), "strongest_")
                strongest = variables_here(p, priors, end)
            laws = self.laws(pt, frame, here, strongest)
            if self.add_likelihood is not None:
                self.add_likelihood(p, here, laws, compressed, frame)
            else:
                for state, components in laws.items():
                    add_readings(state, components, compressed.states[state])
            for i, statement in enumerate(statements):
                at = frame.places(np.array([statement.at]))
                stated = variables_here(p, priors, _data(at, f"statement_{i}_"))
                factor = statement.ln_factor(pt, frame, stated)
                pm.Potential(f"statement_{i}", factor.sum())
        return model

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


def measured_places(compressed: Compressed, frame: Frame) -> Places:
    """Places of the conditions of readings."""
    return frame.places(
        compressed.conditions, second=compressed.second_values, array=compressed.array
    )


def _data(places: Places, prefix: str = "") -> Places:
    """Places as data of the PyMC model in whose context this runs."""
    return Places(
        pm.Data(f"{prefix}position", places.position),
        pm.Data(f"{prefix}second", places.second),
        pm.Data(f"{prefix}array_of", places.array.astype(np.int32)),
        pm.Data(f"{prefix}basis", places.basis),
        pm.Data(f"{prefix}ln_middle", places.ln_middle),
        pm.Data(f"{prefix}ln_width", places.ln_width),
    )


def variables_here(p: Mapping[str, Any], priors: Sequence[Prior], places: Places) -> Here:
    """Variables of a PyMC model at places."""
    kinds = {q.name: q.dim or NUMBER for q in priors}
    return Here(variables_at_places(p, kinds, places.basis, places.array), places)


def draws_here(draws: Mapping[str, FloatArray], places: Places) -> Here:
    """Draws of parameters at places."""
    kinds = {
        name: NUMBER if v.ndim == 2 else TERM if name.endswith("_deviation") else ARRAY
        for name, v in draws.items()
    }
    return Here(draws_at_places(draws, kinds, places.basis, places.array), places)
