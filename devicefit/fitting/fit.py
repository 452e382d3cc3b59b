"""Fitting a family of device models to compressed measurements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from devicefit.distributions.mixture import Mixture, mix
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES, Family
from devicefit.fitting.filament import Filament
from devicefit.fitting.new_arrays import add_new_arrays
from devicefit.fitting.starts import data_starts
from devicefit.likelihood.compressed import Compressed
from devicefit.numerics.arrays import FloatArray, IntArray
from devicefit.numerics.short_repr import short_repr
from devicefit.priors.files import PriorFile, apply, without_missing
from devicefit.priors.statements import Statement, statement_record
from devicefit.sampling.diagnostics import bulk_ess, r_hat, tail_ess
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import Prior, prior_record
from devicefit.sampling.sampler import Standardised, sample_model, standardised


@dataclass(frozen=True)
class Diagnostics:
    """Convergence of a fit.

    Parameters
    ----------
    r_hat : float
        Largest split R-hat over parameters.
    bulk_ess, tail_ess : float
        Smallest effective sample sizes.
    divergences : int
        Divergent transitions after warmup.
    draws : int
        Kept draws over all chains.
    """

    r_hat: float
    bulk_ess: float
    tail_ess: float
    divergences: int
    draws: int

    @classmethod
    def of(cls, draws: xr.Dataset, diverging: np.ndarray) -> Diagnostics:
        """Of draws by name, dimensions ``chain, draw``, and which transitions diverged."""
        return cls(
            r_hat=max(r_hat(draws).values()),
            bulk_ess=min(bulk_ess(draws).values()),
            tail_ess=min(tail_ess(draws).values()),
            divergences=int(diverging.sum()),
            draws=draws.sizes["chain"] * draws.sizes["draw"],
        )


@short_repr
@dataclass(frozen=True)
class DevicePosterior:
    """Posterior draws of a device model and what is needed to use them.

    Parameters
    ----------
    family : str
        Key of :data:`devicefit.families.registry.FAMILIES`.
    draws : xarray.Dataset
        Parameters, dimensions ``chain, draw``.
    frame : Frame
        Programming variable and measured range.
    diagnostics : Diagnostics
        Convergence.
    record : dict
        Sampler options, priors, design effects, number of devices: plain values.
    """

    family: str
    draws: xr.Dataset
    frame: Frame
    diagnostics: Diagnostics
    record: dict[str, Any]

    def at_second(self, value: float) -> DevicePosterior:
        """The same fit, at this value of the second variable where none is asked for."""
        return replace(self, frame=replace(self.frame, second_reference=value))

    def with_new_arrays(self, count: int) -> DevicePosterior:
        """The same fit with arrays that were not measured, the last ones of the frame.

        For each draw they come from the law between arrays of this draw, with the seed of the fit:
        the same each time that they are asked for.
        """
        several = replace(self.frame, arrays=("a", "b")) if self._is_alone else self.frame
        draws, frame = add_new_arrays(
            self.draws,
            self.frame,
            FAMILIES[self.family].priors(several),
            count=count,
            seed=self.record["sampler"]["seed"],
        )
        return replace(self, draws=draws, frame=frame)

    @property
    def _is_alone(self) -> bool:
        return len(self.frame.measured_arrays) == 1

    def mixtures(
        self,
        x: FloatArray,
        *,
        second: FloatArray | float | None = None,
        array: IntArray | int | None = None,
    ) -> dict[str, Mixture]:
        """Law of ln R of each state, trailing shape (chain, draw, programming).

        Parameters
        ----------
        x : float array, shape (programming,)
            Values of the programming variable, SI.
        second : float array, shape (programming,), or float, optional
            Values of the second variable; the reference value of the frame when left out.
        array : int array, shape (programming,), or int, optional
            Index of the array; when left out the law of a cell of any of the measured arrays, each
            as likely as the others.
        """
        if array is None and not self._is_alone:
            arrays = range(len(self.frame.measured_arrays))
            each = [self.mixtures(x, second=second, array=a) for a in arrays]
            even = np.full(len(each), -np.log(len(each)))
            return {state: mix([law[state] for law in each], even) for state in each[0]}
        places = self.frame.places(x, second=second, array=0 if array is None else array)
        return FAMILIES[self.family].mixtures(self._parameters(), self.frame, places)

    def filament(
        self,
        x: FloatArray,
        *,
        second: FloatArray | float | None = None,
        array: IntArray | int | None = None,
    ) -> Filament:
        """Resistance of the filament alone, shape (chain, draw, programming).

        Parameters as of :meth:`mixtures`; without `array` the mean over the measured arrays.
        """
        if array is None and not self._is_alone:
            arrays = range(len(self.frame.measured_arrays))
            return Filament.mean([self.filament(x, second=second, array=a) for a in arrays])
        places = self.frame.places(x, second=second, array=0 if array is None else array)
        return Filament.of(self._parameters(), self.frame, places)

    def _parameters(self) -> dict[str, FloatArray]:
        """Draws by name, vectors with their terms last."""
        return {
            str(name): np.asarray(variable.values, dtype=np.float64)
            for name, variable in self.draws.data_vars.items()
        }


def ln_posterior(
    family: Family,
    compressed: Compressed,
    *,
    priors: tuple[Prior, ...] | None = None,
    statements: tuple[Statement, ...] = (),
) -> Standardised:
    """Log posterior density and its gradient, up to a constant.

    Parameters
    ----------
    family, compressed
        What is fitted to what.
    priors : tuple of Prior, optional
        The family's own when left out.
    statements : tuple of Statement, optional
        What else is known.

    Returns
    -------
    Standardised
        Of the parameters in units of their priors, float array, shape (parameter,), in the order
        of :func:`devicefit.sampling.prior.layout`: standard normal before the data.
    """
    priors = family.priors(Frame.of(compressed)) if priors is None else priors
    return standardised(family.model(compressed, priors=priors, statements=statements), priors)


def fit(
    compressed: Compressed,
    *,
    family: str = "switching-failure",
    options: SamplerOptions,
    prior_file: PriorFile | None = None,
) -> DevicePosterior:
    """Fit a family with NUTS.

    Parameters
    ----------
    compressed : Compressed
        Output of :func:`devicefit.compression.compression.compress`.
    family : str, optional
        Key of :data:`devicefit.families.registry.FAMILIES`.
    options : SamplerOptions
        Chains, draws, seed.
    prior_file : PriorFile, optional
        What the user knows, in place of the default priors. What it says about parameters that
        the family does not have is left out.

    Returns
    -------
    DevicePosterior
        Also when the chains did not converge: the diagnostics tell, and the gates of
        :mod:`devicefit.checks.fit_gates` fail.

    Raises
    ------
    ValueError
        Unknown family; lists the known ones.
    """
    if family not in FAMILIES:
        raise ValueError(f"family {family!r} is not known; known: {', '.join(FAMILIES)}")
    frame = Frame.of(compressed)
    chosen = FAMILIES[family]
    priors = chosen.priors(frame)
    statements: tuple[Statement, ...] = ()
    if prior_file is not None:
        known, _ = without_missing(prior_file, priors)
        priors, statements = apply(known, priors, programming=frame.programming)
    model = chosen.model(compressed, priors=priors, statements=statements)
    coordinates = chosen.coordinates(frame) if chosen.coordinates else None
    near = data_starts(compressed, frame)
    sampled = sample_model(model, priors, options, near=near, coordinates=coordinates)
    draws = sampled.draws
    record = {
        "modes": {
            "starts": len(sampled.ln_evidence),
            "ln_evidence": [round(float(e), 1) for e in sampled.ln_evidence],
        },
        "sampler": options.record(),
        "priors": prior_record(priors),
        "statements": statement_record(statements),
        "design_effect": {s: compressed.states[s].design_effect for s in compressed.states},
        "devices": compressed.devices,
        "readings": {s: int(compressed.states[s].n.sum()) for s in compressed.states},
        "bins": {s: len(compressed.states[s].count) for s in compressed.states},
    }
    return DevicePosterior(family, draws, frame, Diagnostics.of(draws, sampled.diverging), record)
