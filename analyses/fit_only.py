"""A device study without the checks that need more than the chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devicefit.compression.compression import compress
from devicefit.fitting.convergence import convergence_gates
from devicefit.fitting.fit import fit
from devicefit.measurements.measurements import Measurements
from devicefit.sampling.options import SamplerOptions
from reliability.device.records import data_record
from reliability.device.study import GRID_POINTS, DeviceStudy, adaptive_grid


def fit_only(
    measurements: Measurements, family: str, sampler: SamplerOptions, note: Mapping[str, Any]
) -> DeviceStudy:
    """Fit one family and look at convergence alone.

    Parameters
    ----------
    measurements : Measurements
        Checked readings.
    family : str
        Family of device models.
    sampler : SamplerOptions
        Chains and draws.
    note : mapping
        Plain values that are kept in the record under ``note``.

    Returns
    -------
    DeviceStudy
        Its record has empty places for what was not looked at.
    """
    compressed = compress(measurements)
    posterior = fit(compressed, family=family, options=sampler)
    record = {
        "data": data_record(measurements, compressed),
        "gates": [gate.record() for gate in convergence_gates(posterior)],
        **{key: {} for key in ("counts", "families", "levels", "checks")},
        "quantiles": [],
        "left_out_conditions": [],
        "measured": [],
        "note": dict(note),
    }
    return DeviceStudy({family: posterior}, {}, {}, adaptive_grid(posterior, GRID_POINTS), record)
