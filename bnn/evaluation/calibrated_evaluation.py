"""Counting how often chips answer right whose thresholds were calibrated or folded for a rate."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from bnn.calibration.calibration import CalibrationReference, fold_for_ber
from bnn.calibration.treatments import FOLDED_FOR_EACH, PER_CHIP
from bnn.evaluation.calibrated_engines import CalibratedEngine, FoldedEngine
from bnn.evaluation.counting import Progress
from bnn.evaluation.counts import SECONDS
from bnn.evaluation.evaluation import checked_rates, evaluate
from bnn.evaluation.runner import check_engine


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
    return _described(counts, PER_CHIP, reference)


def evaluate_folded(
    reference: CalibrationReference,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    *,
    ber: Sequence[float],
    chips: int,
    engine: str = "auto",
    protected: frozenset[str] = frozenset(),
    progress: Progress | None = None,
    **options: Any,
) -> xr.Dataset:
    """Count right answers of chips whose thresholds are folded for the BER that the chips have.

    Parameters
    ----------
    reference : CalibrationReference
        From `calibration_reference`: the network without errors and the images of the folding.
    images, labels, ber, chips, engine, protected, progress
        As of `bnn.evaluate`.
    **options
        Of `bnn.evaluate`: seed, threads and so on.

    Returns
    -------
    xarray.Dataset
        As of `bnn.evaluate` with the same chips. At every rate all chips have the thresholds and
        the affine output of `fold_for_ber` for this rate, so the operating rate is taken as known.
        ``error_free_correct``, ``changed``, ``lost`` and ``gained`` refer to the network without
        errors and with the thresholds it was trained with. Attributes besides: ``thresholds``
        ("folded for each BER"), ``calibration_images`` and ``calibration_sha256``.

    Raises
    ------
    ValueError
        As of `bnn.evaluate`.
    """
    check_engine(engine)
    rates = checked_rates(ber, protected)
    network, parts = reference.network, []
    for turn, rate in enumerate(rates):

        def tick(done: int, total: int, turn: int = turn) -> None:
            if progress is not None:
                progress(turn * total + done, len(rates) * total)

        folded = fold_for_ber(reference, rate, protected=protected)
        parts.append(
            evaluate(
                network,
                images,
                labels,
                ber=[rate],
                chips=chips,
                engine=FoldedEngine(reference, folded, engine),  # type: ignore[arg-type]
                protected=protected,
                progress=tick,
                **options,
            )
        )
    attrs = dict(parts[0].attrs)
    if SECONDS in attrs:
        attrs[SECONDS] = float(sum(part.attrs[SECONDS] for part in parts))
    counts = xr.concat([part.drop_attrs(deep=False) for part in parts], dim="ber")
    return _described(counts.assign_attrs(attrs), FOLDED_FOR_EACH, reference)


def _described(counts: xr.Dataset, thresholds: str, reference: CalibrationReference) -> xr.Dataset:
    return counts.assign_attrs(
        thresholds=thresholds,
        calibration_images=len(reference.images.values),
        calibration_sha256=reference.sha256,
    )
