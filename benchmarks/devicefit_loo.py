"""What does leaving out each of 3.3e5 devices cost, next to the fit to the same readings?

A simulated device, one SET and one RESET reading of each cell at eight currents, fitted with the
switching-failure family at the defaults, in one process with one thread. The sum over devices, and
the devices with a high Pareto k, are compared with those of the plain formula, in which the ratios
of every device are smoothed.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np

import devicefit.prediction.loo
from devicefit.compression.compression import compress
from devicefit.fitting.fit import fit
from devicefit.prediction.loo import DRAWS, loo
from devicefit.sampling.options import SamplerOptions
from devicefit.simulation.reference_device import ReferencePlan, reference_measurements

DEVICES = 330_000
FAMILY = "switching-failure"
REPEATS = 5


def measure(devices: int = DEVICES) -> dict[str, Any]:
    """Seconds of the fit and of leaving out devices, memory, and what the plain formula gives."""
    plan = ReferencePlan(devices_per_current=devices // 8, cycles=1)
    measurements = reference_measurements(plan=plan)
    compressed = compress(measurements)
    began, began_cpu = time.perf_counter(), time.process_time()
    posterior = fit(compressed, family=FAMILY, options=SamplerOptions(seed=1, cores=1))
    fitted = time.perf_counter() - began, time.process_time() - began_cpu
    found = loo(posterior, compressed, measurements, draws=posterior.draws.sizes["chain"])
    seconds = []
    before = _memory(reset=True)
    for _ in range(REPEATS):
        began = time.process_time()
        found = loo(posterior, compressed, measurements)
        seconds.append(time.process_time() - began)
    peak = _memory()
    everywhere, smoothing = _smoothed_everywhere(posterior, compressed, measurements)
    return {
        "devices": devices,
        "family": FAMILY,
        "draws": DRAWS,
        "simulated": True,
        "fit_seconds_wall": fitted[0],
        "fit_seconds_processor": fitted[1],
        "r_hat": posterior.diagnostics.r_hat,
        "loo_seconds_processor": seconds,
        "loo_over_fit": float(np.median(seconds)) / fitted[1],
        "process_gb_before": before,
        "process_gb_peak": peak,
        "devices_smoothed": int(np.count_nonzero(found.pareto_k)),
        "elpd": found.elpd,
        "elpd_se": found.se,
        "elpd_less_smoothed_everywhere": found.elpd - everywhere.elpd,
        "largest_difference_of_a_device": float(np.abs(found.lpd - everywhere.lpd).max()),
        "high_k": found.high_k.tolist(),
        "same_high_k": found.high_k.tolist() == everywhere.high_k.tolist(),
        "seconds_smoothed_everywhere": smoothing,
    }


def _smoothed_everywhere(*arguments: Any) -> tuple[devicefit.prediction.loo.Loo, float]:
    alike = devicefit.prediction.loo.ALIKE
    devicefit.prediction.loo.ALIKE = -1.0
    try:
        began = time.process_time()
        return loo(*arguments), time.process_time() - began
    finally:
        devicefit.prediction.loo.ALIKE = alike


def _memory(*, reset: bool = False) -> float:
    """Largest memory of this process, GB; of now, and counted from now on, after a reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024 / 1e9
