"""Counts of a network whose thresholds are folded for the operating BER or calibrated per chip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.calibration.calibration import CalibrationReference
from bnn.calibration.treatments import FIXED, FOLDED_FOR_EACH, PER_CHIP
from bnn.evaluation.calibrated_evaluation import evaluate_calibrated, evaluate_folded
from bnn.evaluation.counting import Progress
from bnn.evaluation.evaluation import evaluate
from bnn.images.sets import ImageSet
from bnn.networks.network import FoldedNetwork, network_sha256
from bnn.study.rate_pairs import count_rate_pairs
from reliability.networks.study import BER_GRID, NetworkOptions, NetworkStudy

TREATMENTS = {"fixed": FIXED, "folded": FOLDED_FOR_EACH, "calibrated": PER_CHIP}
"""Treatments of thresholds by their word at the command line."""

COUNTERS: dict[str, Callable[..., xr.Dataset]] = {
    FOLDED_FOR_EACH: evaluate_folded,
    PER_CHIP: evaluate_calibrated,
}
"""What counts the chips of a treatment other than `FIXED`."""


def count_treated(
    network: FoldedNetwork,
    reference: CalibrationReference | None,
    images: ImageSet,
    treatment: str,
    *,
    rates: Sequence[float],
    **options: Any,
) -> npt.NDArray[np.int64]:
    """Right answers of chips with a treatment of thresholds, shape (rates, chips).

    `reference` is that of the network; `FIXED` needs none. `options` are those of `bnn.evaluate`:
    chips, first_chip, seed, threads, progress.
    """
    data = (images.test_images, images.test_labels)
    if treatment == FIXED:
        counts = evaluate(network, *data, ber=rates, **options)
    elif reference is None:
        raise ValueError(f"thresholds {treatment} need the reference of a calibration")
    else:
        counts = COUNTERS[treatment](reference, *data, ber=rates, **options)
    return np.asarray(counts["correct"].transpose("ber", "chip").values, dtype=np.int64)


def treated_study(
    reference: CalibrationReference,
    images: ImageSet,
    options: NetworkOptions,
    record: dict[str, Any],
    *,
    treatment: str,
    tick: Progress,
) -> NetworkStudy:
    """Count answers of every chip at every BER of the grid.

    Parameters
    ----------
    reference : CalibrationReference
        The network without errors and the images of the calibration.
    images : ImageSet
        Its test images are counted.
    options : NetworkOptions
        Chips, seed, threads. The chips are those of
        `reliability.networks.study.evaluate_network` with the same options.
    record : dict
        Record of the network with this treatment.
    treatment : str
        ``FOLDED_FOR_EACH``: thresholds for all chips, folded at each BER of the grid for this BER;
        ``PER_CHIP``: every chip is calibrated anew at each BER.
    tick : callable
        Progress.

    Raises
    ------
    ValueError
        Another treatment.
    """
    if treatment not in COUNTERS:
        raise ValueError(f"treatment {treatment!r} is not known; known: {', '.join(COUNTERS)}")
    counts = COUNTERS[treatment](
        reference,
        images.test_images,
        images.test_labels,
        ber=BER_GRID,
        chips=options.chips,
        seed=options.seed,
        threads=options.threads,
        progress=tick,
    )
    unequal = None
    chips = min(options.chips, options.unequal_chips)
    if chips:
        unequal = count_rate_pairs(
            reference.network,
            images,
            treatment=treatment,
            reference=reference,
            chips=chips,
            seed=options.seed,
            threads=options.threads,
            progress=tick,
        )
    found = {**record, "network_sha256": network_sha256(reference.network)}
    return NetworkStudy(counts, found, unequal=unequal)
