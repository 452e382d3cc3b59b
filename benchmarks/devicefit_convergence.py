"""Do fits converge at the defaults, and after how many seconds of the processor?

Every measured data set of :mod:`benchmarks.devicefit_prediction` as a whole, the case of twelve
currents, and the simulated reference device with each family of a stack. Asked of ln BER at every
tabulated value: R-hat below 1.01, an effective sample size of 400 or more, and at most 0.1 % of
divergences. Seconds are those of the processor for all chains together: climbs to the mode and
sampling. Compiling is apart; it depends on what is on disk from earlier fits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.devicefit_prediction import DATA_SETS, whole
from devicefit.compression.compression import compress
from devicefit.distributions.sensing import SensingOptions
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.convergence import answer_diagnostics
from devicefit.fitting.error_rates import ber_curves
from devicefit.fitting.fit import fit
from devicefit.measurements.measurements import Measurements, read_measurements
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.sampler import standardised
from devicefit.simulation.reference_device import reference_measurements
from reliability.device.study import GRID_POINTS, STACKED_FAMILIES, adaptive_grid

FAMILY = "switching-failure"
TWELVE_CURRENTS = "24-twelve-currents/f08.csv"
SIMULATED = "simulated device"


def subjects(devices: Path, cases: Path) -> Iterator[tuple[str, str, Measurements]]:
    """Name, family and readings of each fit; readings are read when they are asked for."""
    for data in DATA_SETS:
        yield data.name, FAMILY, whole(data, devices)
    yield "twelve currents", FAMILY, read_measurements(cases / TWELVE_CURRENTS)
    for family in (FAMILY, *STACKED_FAMILIES):
        yield SIMULATED, family, reference_measurements()


def measure(devices: Path, cases: Path, done: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Fit what is not in `done` yet, adding to it; yields after each."""
    for name, family, readings in subjects(devices, cases):
        key = f"{name}, {family}"
        if key not in done:
            done[key] = convergence(readings, family)
            yield {key: done[key]}


def convergence(readings: Measurements, family: str) -> dict[str, Any]:
    """Convergence and cost of one fit at the defaults."""
    compressed = compress(readings)
    compiling = time.process_time()
    page, frame = FAMILIES[family], Frame.of(compressed)
    coordinates = page.coordinates(frame) if page.coordinates else None
    standardised(page.model(compressed), page.priors(frame), coordinates)
    compiling = time.process_time() - compiling
    wall, processor = time.perf_counter(), time.process_time()
    found = fit(compressed, family=family, options=SamplerOptions())
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    grid = adaptive_grid(found, GRID_POINTS)
    r_hat, ess = answer_diagnostics(ber_curves(found, grid, options=SensingOptions()))
    d = found.diagnostics
    return {
        "readings": int(sum(s.n.sum() for s in compressed.states.values())),
        "compiling_processor_s": round(compiling, 1),
        "processor_s": round(processor, 1),
        "wall_s": round(wall, 1),
        "r_hat_of_ln_ber": round(r_hat, 4),
        "ess_of_ln_ber": round(ess),
        "r_hat_of_parameters": round(d.r_hat, 4),
        "ess_of_parameters": round(min(d.bulk_ess, d.tail_ess)),
        "divergences": d.divergences,
        "draws": d.draws,
        "converges": bool(r_hat < 1.01 and ess >= 400 and d.divergences <= 1e-3 * d.draws),
    }
