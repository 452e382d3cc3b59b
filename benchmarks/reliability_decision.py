"""Time of the decision from stored posteriors and counts, as the command line takes it."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from devicefit.distributions.sensing import SensingOptions
from reliability.accuracy.propagation import pair_draws, propagate
from reliability.accuracy.surface_fit import fit_accuracy_surfaces
from reliability.chips.chip_yield import chip_yield
from reliability.cli.decision_inputs import counted_networks
from reliability.decision.compare import PAIRED_DRAWS
from reliability.decision.options import DecisionOptions
from reliability.decision.requirement import Requirement
from reliability.device.files import load_study
from reliability.energy.energy import EnergyOptions
from reliability.networks.study import load_counts
from reliability.plans.seen_rates import SeenRates
from reliability.results.answer import answer

REPEATS = 3


def time_decision(device: Path, counts: list[Path]) -> dict[str, Any]:
    """Seconds of `rram-reliability decide` in a process of its own, and of its parts here."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "reliability", "decide", str(device)]
        for path in counts:
            command += ["--counts", str(path)]
        command += ["--out", str(Path(folder) / "results.json"), "--force", "--quiet"]
        command += ["--confirm-minutes", "0"]
        wall, processor = [], []
        for repeat in range(REPEATS + 1):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if repeat:  # the first run compiles
                wall.append(time.perf_counter() - start)
                processor.append(
                    after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                )
    return {
        "networks": [path.stem for path in counts],
        "wall_seconds": _spread(wall),
        "processor_seconds": _spread(processor),
        "step_wall_seconds": step_seconds(device, counts),
        "parts_processor_seconds": _parts(device, counts),
        "promise": "under 5 s on two cores",
    }


def step_seconds(device: Path, counts: list[Path]) -> dict[str, float]:
    """Wall seconds of the decision alone, from what was read to all that is printed or drawn."""
    study = load_study(device)
    networks = counted_networks(counts)
    found = []
    for repeat in range(REPEATS + 1):
        start = time.perf_counter()
        answer(
            study,
            networks,
            DecisionOptions(
                requirement=Requirement(), sensing=SensingOptions(), energy=EnergyOptions(), seed=1
            ),
            command="",
        )
        if repeat:
            found.append(time.perf_counter() - start)
    return _spread(found)


def _parts(device: Path, counts: list[Path]) -> dict[str, Any]:
    """Processor seconds of fit of a surface, `propagate` and `chip_yield` of one design."""
    study = load_study(device)
    tables = {path.stem: load_counts(path) for path in counts}
    grid = len(study.grid)
    rng = np.random.default_rng(1)
    ln_ber = np.linspace(np.log(0.3), np.log(1e-6), grid) + 0.2 * rng.standard_normal((3000, 1))
    seen = SeenRates(ln_ber, np.broadcast_to(0.5 * rng.uniform(-1, 1, (3000, 1)), ln_ber.shape))
    found: dict[str, list[float]] = {"surface_fit": [], "propagate": [], "chip_yield": []}
    for repeat in range(REPEATS + 1):
        start = time.process_time()
        surfaces = fit_accuracy_surfaces(tables, seed=1)
        fitted = time.process_time()
        surface = next(iter(surfaces.values()))
        pairing = pair_draws(len(ln_ber), surface.draws, draws=PAIRED_DRAWS, rng=rng)
        begin = time.process_time()
        propagate(surface, seen, pairing)
        middle = time.process_time()
        chip_yield(surface, seen, pairing, 0.01)
        end = time.process_time()
        if repeat:
            found["surface_fit"].append((fitted - start) / len(tables))
            found["propagate"].append(middle - begin)
            found["chip_yield"].append(end - middle)
    return {
        "draws": PAIRED_DRAWS,
        "programming_values": grid,
        **{name: _spread(seconds) for name, seconds in found.items()},
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}
