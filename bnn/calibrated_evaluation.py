"""Counting how often chips answer right after their thresholds were calibrated."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.calibration import PER_CHIP, CalibrationReference
from bnn.engines.calibrated import CalibratedEngine
from bnn.evaluation import evaluate


def evaluate_calibrated(
    reference: CalibrationReference,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    *,
    count: Callable[..., xr.Dataset] = evaluate,
    engine: str = "auto",
    **options: Any,
) -> xr.Dataset:
    """Count right answers of chips that are calibrated one by one.

    Parameters
    ----------
    reference : CalibrationReference
        From `calibration_reference`: the network without errors and the calibration images.
    images : uint8 array, shape (images, pixels)
        Images to be answered, others than those of the calibration.
    labels : int64 array, shape (images,)
        Right answers.
    count : callable
        `bnn.evaluate`, `bnn.evaluate_errors` or `bnn.evaluate_to_precision`.
    engine : str
        Engine of the answers, not ``incremental``.
    **options
        Of `count`: rates or errors, chips, seed and so on.

    Returns
    -------
    xarray.Dataset
        As of `count`: the same chips, each with thresholds and affine output of its own in every
        case. ``error_free_correct``, ``changed``, ``lost`` and ``gained`` refer to the network
        without errors. Attributes besides: ``thresholds`` ("calibrated per chip"),
        ``calibration_images`` and ``calibration_sha256``.

    Raises
    ------
    ValueError
        As of `count`, or the engine ``incremental``.
    """
    counts = count(
        reference.network, images, labels, engine=CalibratedEngine(reference, engine), **options
    )
    return counts.assign_attrs(
        thresholds=PER_CHIP,
        calibration_images=len(reference.images.values),
        calibration_sha256=reference.sha256,
    )
