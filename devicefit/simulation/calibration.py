"""Simulation-based calibration: whether posteriors of simulated devices hold the truth.

Parameters are drawn from the priors, readings from the law with those parameters, and the readings
are fitted. Over many such data sets the rank of the truth among posterior draws is uniform, and
intervals of probability p hold the truth in a share p of them, when model, priors and sampler
agree (Talts et al. 2018, arXiv:1804.06788).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from devicefit.compression.compression import compress
from devicefit.distributions.sensing import ln_ber_1t1r, ln_ber_2t2r
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.starts import data_starts
from devicefit.inputs.programming import Programming
from devicefit.measurements.measurements import (
    STATES,
    MeasurementError,
    Measurements,
    check_measurements,
)
from devicefit.numerics.arrays import FloatArray
from devicefit.sampling.diagnostics import bulk_ess, r_hat
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.prior import sample_priors
from devicefit.sampling.sampler import sample_model
from devicefit.simulation.ranks import RANKS, rank_of

SAMPLER = SamplerOptions(chains=2, draws=1000, warmup=1000, cores=1, target_accept=0.99)
"""Sampler of a simulated fit.

Devices drawn from priors are wilder than real ones. At a target of 0.95 a third of the fits of the
switching-failure family had a divergence, at 0.99 one in twenty.
"""

_MOST_REDRAWS = 1000


@dataclass(frozen=True)
class Design:
    """How a simulated device is measured.

    Every device is programmed at one value and read once in each state; smooth deviations from
    the physics are left out.

    Parameters
    ----------
    programming : Programming
        The programming variable.
    values : tuple of float
        Its values, SI, ascending.
    devices : int
        Devices at each value.
    threshold_ohm : float
        Threshold of the 1T1R read.
    offset_ln_r : float
        Standard deviation of the sense amplifier's offset, for 2T2R.
    at : tuple of float
        Programming values at which the BER is looked at, SI.
    """

    programming: Programming
    values: tuple[float, ...]
    devices: int
    threshold_ohm: float
    offset_ln_r: float
    at: tuple[float, ...]

    @property
    def frame(self) -> Frame:
        """Measured range, without smooth deviations."""
        return Frame(self.programming, self.values[0], self.values[-1])


CURRENT_DESIGN = Design(
    Programming("SET compliance current", "A"),
    (20e-6, 32e-6, 50e-6, 80e-6, 126e-6, 200e-6),
    40,
    30e3,
    0.05,
    (25e-6, 63e-6, 160e-6),
)
"""Six compliance currents, 240 devices."""

GATE_DESIGN = Design(
    Programming("SET gate voltage", "V"),
    (1.4, 1.6, 1.8, 2.0, 2.2, 2.4),
    40,
    30e3,
    0.05,
    (1.5, 1.9, 2.3),
)
"""Six gate voltages, 240 devices."""


@dataclass(frozen=True)
class Recovery:
    """One simulated data set: the truth, and the posterior draws of what it is compared with.

    Parameters
    ----------
    number : int
        Number of the data set.
    truth : dict of str to float
        True value of each quantity: parameters, and ln BER by scheme and place.
    draws : dict of str to float array, shape (draw,)
        Posterior draws of the same quantities, chain by chain.
    r_hat : float
        Largest R-hat of the parameters.
    bulk_ess : float
        Smallest effective sample size of the parameters.
    divergences : int
        Divergent transitions.
    redraws : int
        Simulated data sets that were refused before this one.
    """

    number: int
    truth: dict[str, float]
    draws: dict[str, FloatArray]
    r_hat: float
    bulk_ess: float
    divergences: int
    redraws: int

    def record(self, *, probability: float = 0.9, narrow: float = 1.0) -> dict[str, Any]:
        """Plain values: rank of the truth and whether the equal-tailed interval holds it.

        Parameters
        ----------
        probability : float, optional
            Of the interval.
        narrow : float, optional
            Divides the deviations of the draws from their mean: a control, as posteriors that
            are too sure must be found out.
        """
        rng = np.random.default_rng([self.number, 2])
        tail = (1 - probability) / 2
        ranks, inside = {}, {}
        for name, draws in self.draws.items():
            centre = draws.mean()
            values = centre + (draws - centre) / narrow
            ranks[name] = rank_of(self.truth[name], values, rng=rng)
            low, high = np.quantile(values, [tail, 1 - tail])
            inside[name] = bool(low <= self.truth[name] <= high)
        return {
            "number": self.number,
            "ranks": ranks,
            "of": RANKS,
            "inside": inside,
            "probability": probability,
            "r_hat": self.r_hat,
            "bulk_ess": self.bulk_ess,
            "divergences": self.divergences,
            "redraws": self.redraws,
        }


def simulate(
    family: str, design: Design, *, rng: np.random.Generator
) -> tuple[dict[str, FloatArray], Measurements, int]:
    """Draw parameters from the priors and readings from their law.

    Returns
    -------
    parameters : dict of str to float array, shape (1, 1) or (1, 1, term)
        The truth, one chain of one draw.
    measurements : Measurements
        Simulated readings.
    redraws : int
        Data sets that were refused before this one.

    Raises
    ------
    RuntimeError
        A thousand data sets in a row were refused.

    Notes
    -----
    Weak priors allow absurd devices, for example an LRS of 1 Mohm above an HRS of 10 kohm.
    Readings that the library would refuse or warn about are drawn again together with their
    parameters. That depends on the readings alone, so the posterior given the readings, and with
    it the uniform law of ranks, stays what it was.
    """
    chosen, frame = FAMILIES[family], design.frame
    x = np.array(design.values)
    for redraws in range(_MOST_REDRAWS):
        parameters = sample_priors(chosen.priors(frame), draws=1, rng=rng)
        laws = chosen.mixtures(parameters, frame, frame.places(x))
        parts = []
        for state in STATES:
            y = laws[state].sample(design.devices, rng=rng)[:, 0, 0]
            with np.errstate(over="ignore", under="ignore"):
                r = np.exp(y)
            parts.append(
                pd.DataFrame(
                    {
                        "device_id": [f"sim-{i:04d}" for i in range(r.size)],
                        "state": state,
                        "programming": np.tile(x, design.devices),
                        "resistance_ohm": r.ravel(),
                    }
                )
            )
        try:
            found = check_measurements(
                pd.concat(parts, ignore_index=True),
                design.programming,
                simulated=True,
                source="simulated from priors",
            )
        except MeasurementError:
            continue
        if not found.warnings:
            return parameters, found, redraws
    raise RuntimeError(
        f"{_MOST_REDRAWS} data sets from the priors of {family} were refused; the design asks for "
        "devices that its priors hardly allow"
    )


def recover(
    family: str, design: Design, number: int, *, options: SamplerOptions = SAMPLER
) -> Recovery:
    """Simulate data set `number` and fit it.

    Parameters
    ----------
    family : str
        Key of :data:`devicefit.families.registry.FAMILIES`.
    design : Design
        How the device is measured.
    number : int
        Seed of truth, readings and chains.
    options : SamplerOptions, optional
        Chains and draws; its seed is not used.
    """
    truth, measurements, redraws = simulate(family, design, rng=np.random.default_rng([number, 1]))
    compressed = compress(measurements)
    frame = design.frame
    chosen = FAMILIES[family]
    priors = chosen.priors(frame)
    sampled = sample_model(
        chosen.model(compressed, priors=priors),
        priors,
        replace(options, seed=number),
        near=data_starts(compressed, frame),
        # as of a fit: without them divergences come where no user sees any
        coordinates=chosen.coordinates(frame) if chosen.coordinates else None,
    )
    draws = sampled.draws
    named = {str(name): draws[name].values for name in draws.data_vars}
    return Recovery(
        number,
        {name: float(v[0]) for name, v in _quantities(family, design, truth).items()},
        _quantities(family, design, named),
        max(r_hat(draws).values()),
        min(bulk_ess(draws).values()),
        int(sampled.diverging.sum()),
        redraws,
    )


def recoveries(
    family: str,
    design: Design,
    numbers: Sequence[int],
    *,
    options: SamplerOptions = SAMPLER,
    workers: int = 1,
) -> Iterator[Recovery]:
    """Recover many data sets, in `workers` processes; in the order in which they are ready.

    A script that asks for several workers needs the guard ``if __name__ == "__main__"``: processes
    are started afresh.
    """
    if workers == 1:
        for number in numbers:
            yield recover(family, design, number, options=options)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = [pool.submit(recover, family, design, n, options=options) for n in numbers]
        for done in as_completed(waiting):
            yield done.result()


def _quantities(
    family: str, design: Design, parameters: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Parameters and ln BER, shape (draw,) each, chain by chain."""
    found = {}
    for name, values in parameters.items():
        flat = values.reshape(-1, *values.shape[2:])
        if flat.ndim == 1:
            found[name] = flat
        else:
            found |= {f"{name} {i}": flat[:, i] for i in range(flat.shape[1])}
    frame = design.frame
    laws = FAMILIES[family].mixtures(dict(parameters), frame, frame.places(np.array(design.at)))
    one = ln_ber_1t1r(laws["LRS"], laws["HRS"], np.log(design.threshold_ohm))
    two = ln_ber_2t2r(laws["LRS"], laws["HRS"], design.offset_ln_r)
    for i, x in enumerate(design.at):
        at = design.programming.format(x)
        found[f"ln BER 1T1R at {at}"] = one[..., i].ravel()
        found[f"ln BER 2T2R at {at}"] = two[..., i].ravel()
    return found
