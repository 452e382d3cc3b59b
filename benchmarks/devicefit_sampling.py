"""How fast is a fit, and does its cost depend on the number of readings?

Question
    Effective draws per second of a family's PyMC model (lognormal with its levels, compressed
    readings) in three ways: as :func:`devicefit.sampling.sampler.sample_model` does it, in the
    scale of the Laplace approximation; with nutpie as a user would call it; and with
    ``pm.sample``. One model, so the posteriors must agree first. Our seconds include the climbs to
    the mode. Then seconds per value and gradient for 1e4, 1e5 and 1e6 readings of as many devices.

Run ``python -m benchmarks.devicefit_sampling --json FILE``. One core for all; ratios are taken from
the seconds of the processor, which other processes do not lengthen much, and wall clock is reported
beside it. The figure of merit is the smallest bulk ESS over all parameters. Seconds of compilation
are apart: ours depend on what PyTensor has on disk from earlier fits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import nutpie
import nutpie.compile_pymc  # the seconds of imports count for none of the ways
import pymc as pm
import xarray as xr

from devicefit.compression.compression import compress
from devicefit.families.frame import Frame
from devicefit.families.registry import FAMILIES
from devicefit.fitting.fit import Diagnostics, ln_posterior
from devicefit.fitting.starts import data_starts
from devicefit.likelihood.compressed import Compressed
from devicefit.sampling.diagnostics import bulk_ess, versions
from devicefit.sampling.options import SamplerOptions
from devicefit.sampling.sampler import sample_model, standardised
from devicefit.simulation.reference_device import ReferencePlan, reference_measurements

FAMILY = FAMILIES["lognormal"]
DEVICES_PER_CURRENT = 60
CYCLES = (10, 100, 1000)
SEED = 3


def simulated(cycles: int) -> Compressed:
    """Readings of the simulated reference device, compressed."""
    plan = ReferencePlan(devices_per_current=DEVICES_PER_CURRENT, cycles=cycles)
    return compress(reference_measurements(seed=SEED, plan=plan))


def now() -> np.ndarray:
    """Wall clock and seconds of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def timed(act: Callable[[], Any]) -> tuple[Any, np.ndarray]:
    """What a function gives, and its seconds."""
    start = now()
    found = act()
    return found, now() - start


def rate(
    draws: xr.Dataset, diverging: np.ndarray, compiling: np.ndarray, sampling: np.ndarray
) -> dict[str, Any]:
    """Diagnostics, seconds and effective draws per second of sampling."""
    found: dict[str, Any] = asdict(Diagnostics.of(draws, diverging))
    for i, clock in enumerate(("wall", "processor")):
        found[f"compiling_seconds_{clock}"] = compiling[i]
        found[f"sampling_seconds_{clock}"] = sampling[i]
        found[f"ess_per_second_{clock}"] = found["bulk_ess"] / sampling[i]
    return found


def run_ours(compressed: Compressed, options: SamplerOptions) -> tuple[xr.Dataset, dict[str, Any]]:
    """Sample as a fit does."""
    frame = Frame.of(compressed)
    priors, near = FAMILY.priors(frame), data_starts(compressed, frame)
    model = FAMILY.model(compressed)
    _, compiling = timed(lambda: standardised(model, priors))
    # what sampling spends on finding that the model is compiled
    _, finding = timed(lambda: standardised(model, priors))
    sampled, both = timed(lambda: sample_model(model, priors, options, near=near))
    return sampled.draws, rate(sampled.draws, sampled.diverging, compiling, both - finding)


def run_nutpie(
    compressed: Compressed, options: SamplerOptions
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Sample with nutpie as its documentation says, in the units of the parameters."""
    model = FAMILY.model(compressed)
    compiled, compiling = timed(lambda: nutpie.compile_pymc_model(model))
    trace, sampling = timed(
        lambda: nutpie.sample(
            compiled,
            draws=options.draws,
            tune=options.warmup,
            chains=options.chains,
            cores=options.cores,
            seed=options.seed,
            target_accept=options.target_accept,
            progress_bar=False,
        )
    )
    draws, diverging = parts(trace)
    return draws, rate(draws, diverging, compiling, sampling)


def run_pymc(compressed: Compressed, options: SamplerOptions) -> tuple[xr.Dataset, dict[str, Any]]:
    """Sample with PyMC's own NUTS."""
    marks: list[np.ndarray] = []

    def mark(trace: Any, draw: Any) -> None:
        if not marks:  # compiled, first draw of the warmup done
            marks.append(now())

    start = now()
    with FAMILY.model(compressed):
        trace = pm.sample(
            draws=options.draws,
            tune=options.warmup,
            chains=options.chains,
            cores=options.cores,
            random_seed=options.seed,
            target_accept=options.target_accept,
            progressbar=False,
            callback=mark,
            nuts_sampler="pymc",
            compute_convergence_checks=False,
        )
    draws, diverging = parts(trace)
    return draws, rate(draws, diverging, marks[0] - start, now() - marks[0])


def parts(trace: Any) -> tuple[xr.Dataset, np.ndarray]:
    """Draws and divergences, of any version of ArviZ."""
    posterior = trace["posterior"]
    posterior = posterior if isinstance(posterior, xr.Dataset) else posterior.to_dataset()
    return posterior, np.asarray(trace["sample_stats"]["diverging"].values)


def agreement(first: xr.Dataset, second: xr.Dataset) -> float:
    """Largest difference of posterior means in its Monte-Carlo standard errors."""
    ess = bulk_ess(first), bulk_ess(second)
    found = []
    for name in first.data_vars:
        values = first[name].values, second[name].values
        error = np.hypot(
            *(v.std(axis=(0, 1)) / np.sqrt(e[str(name)]) for v, e in zip(values, ess, strict=True))
        )
        apart = values[0].mean(axis=(0, 1)) - values[1].mean(axis=(0, 1))
        found.append(np.max(np.abs(apart) / error))
    return float(max(found))


def gradients(cycles: tuple[int, ...]) -> dict[str, Any]:
    """Microseconds per value and gradient, the sizes in turn, median over repeats."""
    densities, readings = [], []
    for n in cycles:
        compressed = simulated(n)
        densities.append(ln_posterior(FAMILY, compressed))
        readings.append(sum(int(state.n.sum()) for state in compressed.states.values()))
    point = np.full(densities[0].model.density.n, 0.01)
    seconds: list[list[float]] = [[] for _ in densities]
    for _ in range(40):
        for mine, density in zip(seconds, densities, strict=True):
            start = time.process_time()
            for _ in range(50):
                density(point)
            mine.append((time.process_time() - start) / 50)
    found = [statistics.median(s) * 1e6 for s in seconds]
    return {
        "readings": readings,
        "microseconds_per_gradient": found,
        "largest_over_smallest": max(found) / min(found),
    }


def measure(draws: int, cycles: tuple[int, ...] = CYCLES) -> dict[str, Any]:
    """All figures of this benchmark; `draws` for each chain, and as many of warmup."""
    compressed = simulated(cycles[0])
    options = SamplerOptions(chains=2, draws=draws, warmup=draws, seed=SEED, cores=1)
    record: dict[str, Any] = {
        "devices": compressed.devices,
        "simulated": True,
        "sampler": options.record(),
    }
    ways = {"ours": run_ours, "nutpie": run_nutpie, "pymc": run_pymc}
    found: dict[str, xr.Dataset] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, run in ways.items():
            found[name], record[name] = run(compressed, options)
    for name in ("nutpie", "pymc"):
        record[f"largest_z_to_{name}"] = agreement(found["ours"], found[name])
        for clock in ("processor", "wall"):
            record[f"ratio_{clock}_to_{name}"] = (
                record["ours"][f"ess_per_second_{clock}"] / record[name][f"ess_per_second_{clock}"]
            )
    record["gradients"] = gradients(cycles)
    record["versions"] = versions()
    return record


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=500, help="draws and warmup of a chain")
    arguments = parser.parse_args()
    record = measure(arguments.draws)
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
