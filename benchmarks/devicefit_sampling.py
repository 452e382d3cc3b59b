"""How fast is the fit with levels, and does its cost depend on the number of readings?

Question
    Effective draws per second of the compressed lognormal model with D2D and C2C (effects of
    devices integrated out, nutpie) against PyMC's default sampler on the model that a user would
    write: every reading, device effects as parameters (non-centred). Same simulated readings, same
    priors, same law: the posteriors must agree first. The seconds of our side include the climbs to
    the mode. Then seconds per value and gradient for 1e5, 1e6 and 1e7 readings of the same devices.

Run ``python -m benchmarks.devicefit_sampling --json FILE``. One process and one core for both
samplers; the ratio is taken from the seconds of the processor, which other processes do not
lengthen much, and wall clock is reported beside it. The figure of merit is the smallest bulk ESS
over the parameters that both models share. PyMC's run is short and its warmup as long as its
draws, as in PyMC's default: a rate needs no long run. A run this short has not converged (its
R-hat is in the record) and its ESS is rough, so the ratio is also given for the best case, every
draw of PyMC's an independent one. About 20 minutes of one core, nearly all of them PyMC's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from devicefit.density import Density, Posterior
from devicefit.tape import SYMBOLS, expressions

from devicefit.compressed import DeviceCells
from devicefit.dependence import score_cells, simulate_scores
from devicefit.families.core import core
from devicefit.families.frame import Frame
from devicefit.families.levels import Levels, level_priors, levels_of, ln_likelihood_term
from devicefit.families.prior import Prior, core_priors, layout, moments
from devicefit.fitting.sampler import SamplerOptions, bulk_ess, r_hat, sample_density, versions
from devicefit.programming import Programming

DEVICES = 500
CURRENTS_A = np.geomspace(20e-6, 200e-6, 8)
FRAME = Frame(Programming("SET compliance current", "A"), CURRENTS_A[0], CURRENTS_A[-1])
PLACES = FRAME.places(CURRENTS_A)
TRUTH = Levels(device_share_lrs=0.5, device_share_hrs=0.15)
SHARES = frozenset({"logit_device_share_lrs", "logit_device_share_hrs"})
ALL = SHARES | {
    "atanh_cycle_correlation_lrs",
    "atanh_cycle_correlation_hrs",
    "atanh_state_correlation",
}
ARRAY = np.zeros(DEVICES, dtype=np.int64)
CHUNK = 25
SEED = 3
OPTIONS = SamplerOptions(chains=2, draws=1000, warmup=800, seed=SEED, cores=1)
STANDARD = "standard_normal"


def design(devices: int, cycles: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Device, condition and state of each reading."""
    parts = []
    for state, n in enumerate(cycles):
        shape = (devices, len(CURRENTS_A), n)
        device, condition, _ = np.indices(shape)
        parts.append([device.ravel(), condition.ravel(), np.full(device.size, state)])
    return tuple(np.concatenate(p) for p in zip(*parts, strict=True))


def true_laws() -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of ln R, shape (state, condition)."""
    values = {p.name: p.mean for p in core_priors(FRAME)}
    c = core(np, values, FRAME, PLACES)
    rows = np.broadcast_arrays(c.mean_lrs, c.mean_hrs, c.sd_lrs, c.sd_hrs, CURRENTS_A)[:4]
    return np.stack(rows[:2]), np.stack(rows[2:])


def simulated(cycles: tuple[int, int]) -> tuple[list[DeviceCells], list[np.ndarray]]:
    """Cells of both states, accumulated in chunks of devices, and the readings of few cycles."""
    mean, sd = true_laws()
    rng = np.random.default_rng(SEED)
    cells: list[list[DeviceCells]] = [[], []]
    kept = []
    for first in range(0, DEVICES, CHUNK):
        device, condition, state = design(CHUNK, cycles)
        scores = simulate_scores(TRUTH, device, condition, state, ARRAY[:CHUNK], rng=rng)
        y = mean[state, condition] + sd[state, condition] * scores
        for s in range(2):
            mine = state == s
            cells[s].append(score_cells(y[mine], device[mine] + first, condition[mine]))
        if max(cycles) <= 20:
            kept.append([y, device + first, condition, state])
    joined = [
        DeviceCells(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in DeviceCells.__dataclass_fields__
            )
        )
        for parts in cells
    ]
    return joined, [np.concatenate(p) for p in zip(*kept, strict=True)] if kept else []


def our_priors(names: frozenset[str]) -> tuple[Prior, ...]:
    """Priors of the cores and of the levels `names`."""
    return (*core_priors(FRAME), *level_priors(names))


def compressed_density(cells: list[DeviceCells], names: frozenset[str]) -> Posterior:
    """Our model in units of its priors: device effects integrated out, cells not readings."""
    priors = our_priors(names)
    p = expressions(layout(priors))
    c = core(SYMBOLS, p, FRAME, PLACES)
    term = ln_likelihood_term(
        levels_of(SYMBOLS, p),
        dict(zip(("LRS", "HRS"), cells, strict=True)),
        {"LRS": c.mean_lrs, "HRS": c.mean_hrs},
        {"LRS": c.sd_lrs, "HRS": c.sd_hrs},
        ARRAY,
        len(CURRENTS_A),
    )
    return Posterior(Density.of([term], len(CURRENTS_A)), *moments(priors))


def parameters(priors: tuple[Prior, ...]) -> dict[str, Any]:
    """Parameters in units of their priors; call inside a model."""
    z = pm.Normal(STANDARD, 0.0, 1.0, shape=len(priors))
    return {p.name: p.mean + p.sd * z[i] for i, p in enumerate(priors)}


def usual_model(readings: list[np.ndarray]) -> pm.Model:
    """The model a user would write: a row for each reading, a parameter for each device."""
    y, device, condition, state = readings
    with pm.Model() as model:
        p = parameters(our_priors(SHARES))
        c = core(pt, p, FRAME, PLACES)
        effect = pm.Normal("device_effect", 0.0, 1.0, shape=(2, DEVICES))
        for s, (mean, sd) in enumerate(((c.mean_lrs, c.sd_lrs), (c.mean_hrs, c.sd_hrs))):
            share = pm.math.sigmoid(p[("logit_device_share_lrs", "logit_device_share_hrs")[s]])
            mine = state == s
            at, d = condition[mine], device[mine]
            pm.Normal(
                f"ln_r_{s}",
                mean[at] + sd[at] * pt.sqrt(share) * effect[s, d],
                sd[at] * pt.sqrt(1 - share),
                observed=y[mine],
            )
    return model


def rate(posterior: Any, clocks: list[float]) -> dict[str, float]:
    """Effective draws per second from (wall, processor) seconds of everything and of sampling.

    Everything: with PyMC's compilation, or with the recording of our formulas.
    """
    shared = posterior[[STANDARD]]
    ess = min(bulk_ess(shared).values())
    names = ("wall_with_compile", "processor_with_compile", "wall", "processor")
    return {
        "bulk_ess": ess,
        "r_hat": max(r_hat(shared).values()),
        **{f"seconds_{n}": c for n, c in zip(names, clocks, strict=True)},
        **{f"ess_per_second_{n}": ess / c for n, c in zip(names, clocks, strict=True)},
    }


def now() -> np.ndarray:
    """Wall clock and seconds of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def run_compressed(cells: list[DeviceCells], names: frozenset[str]) -> tuple[Any, dict]:
    """Sample our model: recorded, with its first gradient; then climbed and sampled."""
    size = len(our_priors(names))
    start = now()
    density = compressed_density(cells, names)
    density(np.zeros(size))
    recorded = now() - start
    start = now()
    sampled = sample_density(density, OPTIONS, centre=np.zeros(size), spread=np.full(size, 0.5))
    sampling = now() - start
    posterior = xr.Dataset({STANDARD: (("chain", "draw", "parameter"), sampled.draws)})
    record = rate(posterior, [*(sampling + recorded), *sampling])
    record["divergences"] = int(sampled.diverging.sum())
    return posterior, record


def run_usual(readings: list[np.ndarray], draws: int) -> tuple[Any, dict]:
    """Sample the usual model with ``pm.sample``."""
    marks: list[np.ndarray] = []

    def mark(trace: Any, draw: Any) -> None:
        if not marks:  # compiled, first draw of the warmup done
            marks.append(now())

    start = now()
    with usual_model(readings), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = pm.sample(
            draws=draws,
            tune=draws,
            chains=2,
            cores=1,
            random_seed=SEED,
            progressbar=False,
            callback=mark,
            nuts_sampler="pymc",
            compute_convergence_checks=False,
        )
    end = now()
    posterior = trace["posterior"]
    posterior = posterior if hasattr(posterior, "data_vars") else posterior.to_dataset()
    record = rate(posterior, [*(end - start), *(end - marks[0])])
    record["divergences"] = int(trace["sample_stats"]["diverging"].values.sum())
    record["mean_tree_depth"] = float(trace["sample_stats"]["tree_depth"].values.mean())
    return posterior, record


def agreement(ours: Any, theirs: Any) -> float:
    """Largest difference of posterior means in its Monte-Carlo standard errors."""
    z = []
    a, b = ours[STANDARD].values, theirs[STANDARD].values
    for i in range(a.shape[-1]):
        errors = []
        for dataset, values in ((ours, a), (theirs, b)):
            one = dataset[[STANDARD]].isel({dataset[STANDARD].dims[-1]: [i]})
            errors.append(values[..., i].std() / np.sqrt(min(bulk_ess(one).values())))
        z.append(abs(a[..., i].mean() - b[..., i].mean()) / np.hypot(*errors))
    return float(max(z))


def gradients() -> dict:
    """Microseconds per value and gradient, the three sizes in turn, median over repeats."""
    densities, readings = [], []
    point = np.full(len(our_priors(frozenset(ALL))), 0.01)
    for cycles in ((13, 12), (125, 125), (1250, 1250)):
        cells, _ = simulated(cycles)
        densities.append(compressed_density(cells, frozenset(ALL)))
        densities[-1](point)
        readings.append(sum(cycles) * DEVICES * len(CURRENTS_A))
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


def measure(draws: int) -> dict:
    """All figures of this benchmark."""
    cells, readings = simulated((13, 12))
    record: dict[str, Any] = {
        "readings": len(readings[0]),
        "devices": DEVICES,
        "currents": len(CURRENTS_A),
        "simulated": True,
        "gradients": gradients(),
    }
    ours, record["compressed"] = run_compressed(cells, SHARES)
    _, record["compressed_all_levels"] = run_compressed(cells, frozenset(ALL))
    theirs, record["pymc_default_uncompressed"] = run_usual(readings, draws)
    record["largest_z_between_posterior_means"] = agreement(ours, theirs)
    for clock in ("processor", "wall", "processor_with_compile", "wall_with_compile"):
        rates = [
            record[m][f"ess_per_second_{clock}"]
            for m in ("compressed", "pymc_default_uncompressed")
        ]
        record[f"ratio_{clock}"] = rates[0] / rates[1]
    slow = record["pymc_default_uncompressed"]
    record["ratio_processor_if_pymc_draws_were_independent"] = (
        record["compressed"]["ess_per_second_processor"]
        * slow["seconds_processor"]
        / theirs[STANDARD][..., 0].size
    )
    record["versions"] = versions()
    return record


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=100, help="draws and warmup of PyMC's run")
    arguments = parser.parse_args()
    record = measure(arguments.draws)
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
