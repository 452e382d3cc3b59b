"""Treatment of thresholds: the images that calibrate them, and what the record says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bnn.calibration.treatments import FIXED

if TYPE_CHECKING:
    from bnn.calibration.calibration import CalibrationReference
    from bnn.images.sets import ImageSet
    from bnn.networks.network import FoldedNetwork

CALIBRATION_IMAGES = 4000
"""Images of a calibration where the user names no number."""


def reference_from(
    network: FoldedNetwork, images: ImageSet, *, number: int | None, seed: int, threads: int
) -> CalibrationReference:
    """Reference on training images, drawn without looking at their labels.

    Parameters
    ----------
    network : FoldedNetwork
        Network without errors.
    images : ImageSet
        Image set; only its training images are used.
    number : int or None
        Images to draw; None for `CALIBRATION_IMAGES`, or all where there are fewer.
    seed : int
        Seed of the draw.
    threads : int
        CPU threads.

    Raises
    ------
    ValueError
        More images than the set has, or fewer than 2.
    """
    from bnn.calibration.calibration import calibration_reference

    chosen = calibration_images(images, number=number, seed=seed)
    return calibration_reference(network, chosen, threads=threads)


def calibration_images(images: ImageSet, *, number: int | None, seed: int) -> npt.NDArray[np.uint8]:
    """Training images of a calibration; arguments as of :func:`reference_from`."""
    there = len(images.train_images)
    wanted = min(CALIBRATION_IMAGES, there) if number is None else number
    if not 2 <= wanted <= there:
        raise ValueError(
            f"{wanted} calibration images: {images.name} has {there} training images; choose from "
            f"2 to {there}"
        )
    chosen = np.random.default_rng(seed).permutation(there)[:wanted]
    return np.ascontiguousarray(images.train_images[chosen])


def treated_record(
    record: dict[str, Any],
    treatment: str,
    reference: CalibrationReference,
    images: ImageSet,
    *,
    seed: int,
) -> dict[str, Any]:
    """Record of a network with the treatment of its thresholds and what it was made from."""
    return {
        **record,
        "thresholds": {
            "treatment": treatment,
            "image_set": images.name,
            "images": len(reference.images.values),
            "seed": seed,
            "images_sha256": reference.sha256,
        },
    }


def treatment_of(record: dict[str, Any]) -> str:
    """Treatment of the thresholds that a record names; `FIXED` where it names none."""
    return str(record.get("thresholds", {}).get("treatment", FIXED))


def check_fixed(record: dict[str, Any]) -> None:
    """Refuse a network whose thresholds were treated before.

    Raises
    ------
    ValueError
        The record names a treatment.
    """
    treatment = treatment_of(record)
    if treatment != FIXED:
        raise ValueError(
            f"the thresholds of this network are {treatment}; start from the network as trained"
        )
