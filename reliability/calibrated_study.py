"""Counts of a network whose chips are calibrated one by one."""

from __future__ import annotations

from typing import Any

from bnn import CalibrationReference, ImageSet, evaluate_calibrated, network_sha256
from reliability.network_study import BER_GRID, NetworkOptions, NetworkStudy, Tick


def calibrated_study(
    reference: CalibrationReference,
    images: ImageSet,
    options: NetworkOptions,
    record: dict[str, Any],
    *,
    tick: Tick,
) -> NetworkStudy:
    """Count answers of every chip at every BER of the grid, calibrated anew each time.

    The chips are those of `reliability.network_study.evaluate_network` with the same options.
    """
    counts = evaluate_calibrated(
        reference,
        images.test_images,
        images.test_labels,
        ber=BER_GRID,
        chips=options.chips,
        seed=options.seed,
        threads=options.threads,
        progress=tick,
    )
    return NetworkStudy(counts, {**record, "network_sha256": network_sha256(reference.network)})
